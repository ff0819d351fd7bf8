//! CoSaMP: as orthogonal matching pursuit, but atoms once taken can be given back (Needell and Tropp 2009, *CoSaMP: Iterative
//! signal recovery from incomplete and inaccurate samples*).

use super::fit::least_squares;
use super::{Dictionary, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::{axpy, dot};

/// Rounds at most.
const ROUNDS: usize = 50;
/// A row is done when its residual is below this share of it: what is left is rounding.
const DONE: f32 = 1e-6;

/// Exactly `k` atoms a row, or fewer where fewer explain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoSaMp {
    pub k: usize,
    pub non_negative: bool,
}

impl Recovery for CoSaMp {
    fn name(&self) -> &'static str {
        "cosamp"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        (0..x.rows()).into_par_iter().map(|i| self.row(dictionary, x.row(i))).collect()
    }
}

impl CoSaMp {
    fn row(&self, dictionary: &Dictionary, x: &[f32]) -> Sparse {
        let k = self.k.min(dictionary.n()).min(dictionary.d());
        let whole = dot(x, x);
        let (mut best, mut least): (Sparse, f32) = (Vec::new(), whole);
        let mut residual = x.to_vec();
        for _ in 0..ROUNDS {
            let proxy: Vec<f32> = (0..dictionary.n()).map(|j| dot(dictionary.atoms().row(j), &residual)).collect();
            let mut support = self.largest(&proxy, 2 * k);
            support.extend(best.iter().map(|a| a.0 as usize));
            support.sort_unstable();
            support.dedup();
            // The 2k new and k old atoms are fitted together, and the k largest of them fitted again.
            let unit = |(j, c): (u32, f32)| c * dictionary.norms()[j as usize];
            let mut dense = vec![0.0; dictionary.n()];
            least_squares(dictionary, x, &support).into_iter().for_each(|a| dense[a.0 as usize] = unit(a));
            let kept = self.largest(&dense, k);
            let mut found = least_squares(dictionary, x, &kept);
            if self.non_negative {
                let positive: Vec<usize> = found.iter().filter(|a| a.1 > 0.0).map(|a| a.0 as usize).collect();
                found = least_squares(dictionary, x, &positive);
                found.retain(|a| a.1 > 0.0);
            }
            residual.copy_from_slice(x);
            for &(j, c) in &found {
                axpy(-c * dictionary.norms()[j as usize], dictionary.atoms().row(j as usize), &mut residual);
            }
            let left = dot(&residual, &residual);
            if left >= least * (1.0 - 1e-6) {
                break;
            }
            (best, least) = (found, left);
            if least <= DONE * DONE * whole {
                break;
            }
        }
        best
    }

    /// The places of the `k` largest entries (by size, or positive ones), in ascending order.
    fn largest(&self, values: &[f32], k: usize) -> Vec<usize> {
        let size = |j: &usize| if self.non_negative { values[*j] } else { values[*j].abs() };
        let mut places: Vec<usize> = (0..values.len()).filter(|j| size(j) > 0.0).collect();
        if places.len() > k && k > 0 {
            places.select_nth_unstable_by(k - 1, |a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
        }
        places.truncate(k);
        places.sort_unstable();
        places
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::planted;
    use super::super::unit_rows;
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn planted_rows_come_back_and_the_signs_asked_for_are_kept() {
        let mut rng = Rng::new(3);
        let dictionary = Dictionary::new(&unit_rows(200, 80, &mut rng));
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, 30, 6, non_negative, &mut rng);
            let found = CoSaMp { k: 6, non_negative }.recover(&dictionary, &x);
            for (got, want) in found.iter().zip(&truth) {
                assert!(got.len() == 6 && got.iter().zip(want).all(|(g, w)| g.0 == w.0 && (g.1 - w.1).abs() < 1e-3));
            }
        }
        let noise = Mat::from_fn(5, 80, |_, _| rng.normal());
        let found = CoSaMp { k: 9, non_negative: true }.recover(&dictionary, &noise);
        assert!(found.iter().flatten().all(|a| a.1 > 0.0));
        assert!(CoSaMp { k: 0, non_negative: false }.recover(&dictionary, &noise).iter().all(Vec::is_empty));
    }
}
