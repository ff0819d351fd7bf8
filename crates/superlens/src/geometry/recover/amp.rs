//! Approximate message passing: soft thresholding whose residual remembers how many coefficients stand (Donoho, Maleki and
//! Montanari 2009, *Message-passing algorithms for compressed sensing*).
//!
//! Made for random dictionaries; on others it may not settle, and then the best step is kept.

use super::{Dictionary, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::kernels::pursuit::{combine, dots};

/// Share of each step that is taken: whole steps swing from one side to the other on dictionaries of a few hundred atoms
/// (Rangan, Schniter, Riegler, Fletcher and Cevher 2016, on damping).
const DAMPING: f32 = 0.7;

/// Near the phase transition a row may take thousands of steps, and one that will never settle looks much the same for a while: it is
/// given up when this many steps bring the residual down by less than this share.
const PATIENCE: usize = 500;
const PROGRESS: f32 = 0.01;

/// The threshold is this many standard deviations of the noise that the residual shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amp {
    /// `τ`; the best for recovery without noise comes from [`weak_threshold`](super::phase::weak_threshold).
    pub tau: f32,
    pub non_negative: bool,
    /// Steps at most.
    pub steps: usize,
    /// Done when the residual is below this share of the row.
    pub tolerance: f32,
}

impl Amp {
    /// With the threshold that recovers most at this dictionary's ratio of dimensions to atoms.
    pub fn tuned(dictionary: &Dictionary, non_negative: bool) -> Self {
        let delta = (dictionary.d() as f64 / dictionary.n().max(1) as f64).clamp(1e-3, 0.999);
        let (_, tau) = super::phase::weak_threshold(delta, non_negative);
        Amp { tau: tau as f32, non_negative, steps: 6000, tolerance: 1e-5 }
    }
}

impl Recovery for Amp {
    fn name(&self) -> &'static str {
        "amp"
    }

    fn recover(&self, dictionary: &Dictionary, x: &Mat) -> Vec<Sparse> {
        (0..x.rows()).into_par_iter().map(|i| self.row(dictionary, x.row(i))).collect()
    }
}

impl Amp {
    fn row(&self, dictionary: &Dictionary, x: &[f32]) -> Sparse {
        let (atoms, n, d) = (dictionary.atoms(), dictionary.n(), dictionary.d());
        let norm = |v: &[f32]| dot(v, v).sqrt();
        let whole = norm(x);
        let mut s = vec![0.0f32; n];
        let mut rest = x.to_vec();
        let (mut pulls, mut next) = (vec![0.0f32; n], vec![0.0f32; d]);
        let (mut best, mut least) = (s.clone(), whole);
        let mut before = least;
        for step in 1..=self.steps {
            let level = self.tau * norm(&rest) / (d as f32).sqrt();
            let mut standing = 0usize;
            dots(atoms, &rest, &mut pulls);
            for (s, pull) in s.iter_mut().zip(&pulls) {
                let free = *s + pull;
                let new = if self.non_negative { free - level } else { free.signum() * (free.abs() - level).max(0.0) };
                let new = new.max(if self.non_negative { 0.0 } else { f32::NEG_INFINITY });
                standing += usize::from(new != 0.0);
                *s += DAMPING * (new - *s);
            }
            // What is left of the row, and the Onsager term, which takes out what each step says twice.
            let echo = standing as f32 / d as f32;
            rest.iter_mut().zip(x).for_each(|(r, x)| *r = (1.0 - DAMPING) * *r + DAMPING * (x + echo * *r));
            let used = s.iter().enumerate().filter(|(_, s)| **s != 0.0);
            let terms: Vec<(f32, &[f32])> = used.map(|(j, s)| (-DAMPING * s, atoms.row(j))).collect();
            combine(&rest, &terms, &mut next);
            std::mem::swap(&mut rest, &mut next);
            let left = norm(&rest);
            if !left.is_finite() {
                break;
            }
            if left < least {
                least = left;
                best.copy_from_slice(&s);
            }
            if left <= self.tolerance * whole {
                break;
            }
            if step % PATIENCE == 0 {
                if least > (1.0 - PROGRESS) * before {
                    break;
                }
                before = least;
            }
        }
        let kept = best.iter().enumerate().filter(|(_, s)| **s != 0.0);
        kept.map(|(j, s)| (j as u32, s / dictionary.norms()[j])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::planted;
    use super::super::unit_rows;
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn sparse_rows_of_a_random_dictionary_come_back() {
        let mut rng = Rng::new(8);
        let dictionary = Dictionary::new(&unit_rows(400, 200, &mut rng));
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, 6, 30, non_negative, &mut rng);
            let found = Amp::tuned(&dictionary, non_negative).recover(&dictionary, &x);
            let (a, b) = (dictionary.rebuild(&found), dictionary.rebuild(&truth));
            assert!(a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-2));
            assert!(found.iter().zip(&truth).all(|(f, t)| f.iter().filter(|a| a.1.abs() > 0.1).count() == t.len()));
        }
    }
}
