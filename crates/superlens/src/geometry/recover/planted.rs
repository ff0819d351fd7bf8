//! Rows whose coefficients are known, and how well they were found again.

use super::{Dictionary, Sparse};
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::{Mat, Rng};

/// A row is recovered if its coefficients are off by less than this share.
pub const SUCCESS: f32 = 1e-3;

/// The law of the sizes of planted coefficients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Amplitudes {
    /// Uniform from 1 to 2.
    #[default]
    Uniform,
    /// All 1.
    Constant,
    /// Standard normal; its size where none may be negative.
    Gaussian,
}

impl Amplitudes {
    pub const ALL: [Amplitudes; 3] = [Amplitudes::Uniform, Amplitudes::Constant, Amplitudes::Gaussian];

    /// The word that is typed.
    pub fn id(self) -> &'static str {
        match self {
            Amplitudes::Uniform => "uniform",
            Amplitudes::Constant => "constant",
            Amplitudes::Gaussian => "gaussian",
        }
    }

    fn draw(self, rng: &mut Rng) -> f32 {
        match self {
            Amplitudes::Uniform => 1.0 + rng.uniform(),
            Amplitudes::Constant => 1.0,
            Amplitudes::Gaussian => rng.normal().abs(),
        }
    }
}

/// `rows` random sums of `k` atoms, with coefficients of size 1 to 2 (positive, or of either sign), and those coefficients.
pub fn planted(
    dictionary: &Dictionary,
    rows: usize,
    k: usize,
    non_negative: bool,
    rng: &mut Rng,
) -> (Mat, Vec<Sparse>) {
    planted_as(dictionary, rows, k, Amplitudes::Uniform, non_negative, rng)
}

/// As [`planted`], with coefficients of another law.
pub fn planted_as(
    dictionary: &Dictionary,
    rows: usize,
    k: usize,
    amplitudes: Amplitudes,
    non_negative: bool,
    rng: &mut Rng,
) -> (Mat, Vec<Sparse>) {
    // A zero atom adds nothing that could be found.
    let live: Vec<u32> = (0..dictionary.n() as u32).filter(|&j| dictionary.norms()[j as usize] > 0.0).collect();
    let one = |_| {
        let mut row: Sparse = rng.permutation(live.len())[..k.min(live.len())]
            .iter()
            .map(|&place| {
                let sign = if !non_negative && rng.chance(0.5) { -1.0 } else { 1.0 };
                (live[place], sign * amplitudes.draw(rng))
            })
            .collect();
        row.sort_unstable_by_key(|a| a.0);
        row
    };
    let truth: Vec<Sparse> = (0..rows).map(one).collect();
    (dictionary.rebuild(&truth), truth)
}

/// Adds Gaussian noise of standard deviation `sigma` to every entry.
pub fn noisy(x: &Mat, sigma: f32, rng: &mut Rng) -> Mat {
    let noise = Mat::from_fn(x.rows(), x.cols(), |_, _| rng.normal());
    let mut out = x.clone();
    axpy(sigma, noise.data(), out.data_mut());
    out
}

/// Whether `found` has the coefficients of `truth`.
pub fn recovered(found: &Sparse, truth: &Sparse) -> bool {
    let size: f64 = truth.iter().map(|a| f64::from(a.1).powi(2)).sum();
    squared_error(found, truth) <= f64::from(SUCCESS).powi(2) * size
}

/// `‖found − truth‖²`; both in ascending order of atom.
fn squared_error(found: &Sparse, truth: &Sparse) -> f64 {
    let (mut f, mut t) = (found.iter().peekable(), truth.iter().peekable());
    let mut sum = 0.0;
    loop {
        let off = match (f.peek().copied(), t.peek().copied()) {
            (None, None) => return sum,
            (Some(a), Some(b)) if a.0 == b.0 => {
                f.next();
                t.next();
                f64::from(a.1) - f64::from(b.1)
            }
            (Some(a), b) if b.is_none_or(|b| a.0 < b.0) => {
                f.next();
                f64::from(a.1)
            }
            (_, Some(b)) => {
                t.next();
                f64::from(b.1)
            }
            (Some(_), None) => unreachable!("a row without an end is taken above"),
        };
        sum += off * off;
    }
}

/// How the coefficients that were found compare with those that were planted, over all rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Share of rows whose relative error is below [`SUCCESS`].
    pub success: f64,
    /// Of the atoms that are active in what was found, the share that was planted, and of those planted the share that was found.
    pub precision: f64,
    pub recall: f64,
    /// Mean over the rows of `‖found − truth‖ / ‖truth‖`.
    pub error: f64,
    /// Mean over the rows of `‖found − truth‖²`.
    pub squared_error: f64,
}

impl Score {
    /// Panics unless there is a truth for each row.
    pub fn of(found: &[Sparse], truth: &[Sparse]) -> Score {
        assert_eq!(found.len(), truth.len(), "rows found and rows planted");
        let (mut score, mut active, mut planted, mut hit) = (Score::default(), 0usize, 0usize, 0usize);
        for (f, t) in found.iter().zip(truth) {
            active += active_atoms(f).count();
            planted += t.len();
            hit += active_atoms(f).filter(|j| t.binary_search_by_key(j, |a| a.0).is_ok()).count();
            let size: f64 = t.iter().map(|a| f64::from(a.1).powi(2)).sum();
            let off = squared_error(f, t);
            score.success += f64::from(u8::from(recovered(f, t)));
            score.error += (off / size.max(f64::MIN_POSITIVE)).sqrt();
            score.squared_error += off;
        }
        let share = |part: usize, whole: usize| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
        let rows = found.len().max(1) as f64;
        Score {
            success: score.success / rows,
            precision: share(hit, active),
            recall: share(hit, planted),
            error: score.error / rows,
            squared_error: score.squared_error / rows,
        }
    }
}

/// The atoms that are active in a row: those whose coefficient is not zero, however small it is.
pub fn active_atoms(row: &Sparse) -> impl Iterator<Item = u32> {
    row.iter().filter(|a| a.1 != 0.0).map(|a| a.0)
}

#[cfg(test)]
mod tests {
    use super::super::unit_rows;
    use super::*;

    #[test]
    fn a_score_counts_atoms_and_errors() {
        let truth = vec![vec![(1, 3.0), (4, 4.0)], vec![(0, 1.0)]];
        assert_eq!(
            Score::of(&truth, &truth),
            Score { success: 1.0, precision: 1.0, recall: 1.0, error: 0.0, squared_error: 0.0 }
        );
        // One atom too many, one missing; the second row is right, with a trifle that counts as an atom all the same.
        let found = vec![vec![(1, 3.0), (2, 3.0)], vec![(0, 1.0), (9, 1e-4)]];
        let score = Score::of(&found, &truth);
        assert_eq!((score.success, score.precision), (0.5, 0.5));
        assert_eq!(score.recall, 2.0 / 3.0);
        assert!((score.squared_error - 12.5).abs() < 1e-6 && (score.error - 0.50005).abs() < 1e-6, "{score:?}");
        assert_eq!(Score::of(&[vec![]], &[vec![]]).precision, 1.0);
    }

    #[test]
    fn amplitudes_are_of_their_laws() {
        let mut rng = Rng::new(3);
        let dictionary = Dictionary::new(&unit_rows(50, 20, &mut rng));
        for law in Amplitudes::ALL {
            for non_negative in [false, true] {
                let (_, truth) = planted_as(&dictionary, 400, 5, law, non_negative, &mut rng);
                let sizes: Vec<f32> = truth.iter().flatten().map(|a| a.1).collect();
                let mean = sizes.iter().map(|s| s.abs()).sum::<f32>() / sizes.len() as f32;
                let want = [1.5, 1.0, 0.798][law as usize];
                assert!((mean - want).abs() < 0.05, "{law:?}: {mean}");
                assert_eq!(sizes.iter().all(|s| *s >= 0.0), non_negative);
            }
        }
    }
}
