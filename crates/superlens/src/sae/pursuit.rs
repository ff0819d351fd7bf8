//! Plain matching pursuit (Mallat and Zhang 1993), non-negative, with the stopping rules of SAELens: the encoder of its
//! `matching_pursuit` autoencoders, whose only weights are the dictionary.

use super::encoder::PlainPursuit;
use crate::geometry::recover::Sparse;
use superlens_tensor::Mat;
use superlens_tensor::kernels::encode::Product;
use superlens_tensor::kernels::pointwise::axpy;

/// The active latents of the centred rows of `x` `[rows, d_in]` over `w_dec` `[d_sae, d_in]`, whose rows need not be of unit length.
///
/// A step takes the latent with the largest product with the residual r (ties: the lower index), adds `relu(r · d)` to it, and
/// subtracts `relu(r · d) d` from r. A latent may be taken again.
pub(super) fn encode(settings: &PlainPursuit, w_dec: &Mat, x: &Mat) -> Vec<Sparse> {
    let mut active = pursue(settings, w_dec, x, |active, j, value| match active.iter_mut().find(|a| a.0 == j) {
        Some(known) => known.1 += value,
        None => active.push((j, value)),
    });
    for row in &mut active {
        row.sort_unstable_by_key(|a| a.0);
    }
    active
}

/// What each step of each row takes, and how much of it, in the order of the steps: a latent that is taken again comes again.
pub(super) fn steps(settings: &PlainPursuit, w_dec: &Mat, x: &Mat) -> Vec<Sparse> {
    pursue(settings, w_dec, x, |active, j, value| active.push((j, value)))
}

fn pursue(settings: &PlainPursuit, w_dec: &Mat, x: &Mat, add: impl Fn(&mut Sparse, u32, f32)) -> Vec<Sparse> {
    let mut active = vec![Sparse::new(); x.rows()];
    let mut open: Vec<usize> = (0..x.rows()).collect();
    let mut residuals = x.clone();
    let zeros = vec![0.0; w_dec.rows()];
    for _ in 0..settings.max_steps {
        if open.is_empty() || w_dec.rows() == 0 {
            break;
        }
        // Rows that are done leave the product.
        let best = Product { x: &residuals, w: w_dec, b: &zeros }.top_k(1);
        let goes_on: Vec<usize> = (0..open.len())
            .filter(|&i| {
                let (j, value, active) = (best.indices[i], best.values[i].max(0.0), &mut active[open[i]]);
                let repeats = value == 0.0 || settings.stop_on_repeat && active.iter().any(|a| a.0 == j);
                if value > 0.0 {
                    axpy(-value, w_dec.row(j as usize), residuals.row_mut(i));
                    add(active, j, value);
                }
                // Without a positive product nothing changes any more, whatever the settings.
                !repeats
                    && (settings.residual_below <= 0.0 || length(residuals.row(i)) >= settings.residual_below.into())
            })
            .collect();
        if goes_on.len() < open.len() {
            residuals = residuals.select_rows(&goes_on);
            open = goes_on.into_iter().map(|i| open[i]).collect();
        }
    }
    active
}

fn length(residual: &[f32]) -> f64 {
    residual.iter().map(|r| f64::from(*r).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: PlainPursuit = PlainPursuit { max_steps: 1000, residual_below: 0.0, stop_on_repeat: false };

    #[test]
    fn steps_and_stops_are_those_of_the_definition() {
        let root = 0.5_f32.sqrt();
        let w_dec = Mat::from_vec(3, 2, vec![1.0, 0.0, root, root, 0.0, 1.0]);
        let x = Mat::from_vec(2, 2, vec![3.0, 1.0, -1.0, -2.0]);
        // (3, 1): the first axis leaves (0, 1); the second axis leaves nothing. (−1, −2): nothing fits.
        let rows = encode(&ENDLESS, &w_dec, &x);
        assert_eq!(rows, [vec![(0, 3.0), (2, 1.0)], vec![]]);
        assert_eq!(encode(&PlainPursuit { max_steps: 1, ..ENDLESS }, &w_dec, &x)[0], [(0, 3.0)]);
        assert_eq!(encode(&PlainPursuit { residual_below: 1.5, ..ENDLESS }, &w_dec, &x)[0], [(0, 3.0)]);
    }

    #[test]
    fn a_row_is_done_once_it_only_repeats_itself() {
        // Of half the unit length: the same latent again and again, a quarter of the rest each time.
        let w_dec = Mat::from_vec(1, 1, vec![0.5]);
        let x = Mat::from_vec(1, 1, vec![4.0]);
        let repeats = PlainPursuit { stop_on_repeat: true, ..ENDLESS };
        // 2, then 1.5 for the residual of 3: the second step adds no latent and is the last.
        assert_eq!(encode(&repeats, &w_dec, &x)[0], [(0, 3.5)]);
        let all = encode(&ENDLESS, &w_dec, &x)[0][0].1;
        assert!((all - 8.0).abs() < 1e-5, "{all}");
    }
}
