//! The exact end of the LASSO among a few atoms: feature-sign search (Lee, Battle, Raina and Ng 2007, *Efficient sparse coding
//! algorithms*).
//!
//! With the signs known the optimum is a system of linear equations. It is solved, followed as far as the signs hold, and solved again;
//! each step lowers the objective, so it ends, however nearly parallel the atoms are. Coordinate descent then creeps.

use superlens_tensor::kernels::pointwise::dot;

/// Steps for each atom, at most: rounding may keep two atoms changing places.
const STEPS: usize = 8;
/// Squared distance from the span of the earlier atoms below which an atom lies in it.
const DEPENDENT: f64 = 1e-11;
/// An atom comes in if it breaks its condition by more than this share of λ.
const BROKEN: f64 = 1e-6;

/// `½ ‖x − s A‖² + λ ‖s‖₁` for the `a` atoms `A`, of which `corner` `[a, a]` are the inner products, and `start` `[a]` those with `x`.
pub(super) struct FeatureSign<'a> {
    pub corner: &'a [f64],
    pub start: &'a [f64],
    pub lambda: f64,
    pub non_negative: bool,
}

impl FeatureSign<'_> {
    /// Brings `s` `[a]` to the optimum, from wherever it is.
    pub fn solve(&self, s: &mut [f64]) {
        let mut support: Vec<usize> = (0..s.len()).filter(|&k| s[k] != 0.0).collect();
        let mut signs: Vec<f64> = support.iter().map(|&k| s[k].signum()).collect();
        let mut factor: Vec<Vec<f64>> = Vec::new();
        for _ in 0..STEPS * (s.len() + 1) {
            let (towards, whole) = self.aim(&support, &signs, s, &mut factor);
            // The first whose sign would change is where it ends.
            let reach = |i: usize| {
                let (now, step) = (s[support[i]] * signs[i], towards[i] * signs[i]);
                if step < 0.0 { now / -step } else { f64::INFINITY }
            };
            let first = (0..support.len()).map(|i| (reach(i), i)).min_by(|a, b| a.0.total_cmp(&b.0));
            match first.filter(|f| f.0 < if whole { 1.0 } else { f64::INFINITY }) {
                Some((share, i)) => {
                    support.iter().zip(&towards).for_each(|(&k, t)| s[k] += share * t);
                    s[support[i]] = 0.0;
                    let came_in_vain = share == 0.0 && i + 1 == support.len();
                    support.remove(i);
                    signs.remove(i);
                    factor.truncate(i);
                    if came_in_vain {
                        return;
                    }
                }
                None => {
                    support.iter().zip(&towards).for_each(|(&k, t)| s[k] += t);
                    let Some((k, sign)) = self.most_broken(&support, s) else { return };
                    support.push(k);
                    signs.push(sign);
                }
            }
        }
    }

    /// The way to the optimum with these signs, and `true`; or, if an atom lies in the span of those before it, a way along which the
    /// sum stays and the coefficients shrink, and `false`.
    ///
    /// `factor` holds the rows of Cholesky's triangle that are still right, and gets the others.
    fn aim(&self, support: &[usize], signs: &[f64], s: &[f64], factor: &mut Vec<Vec<f64>>) -> (Vec<f64>, bool) {
        let (n, a) = (support.len(), self.start.len());
        let inner = |i: usize, j: usize| self.corner[support[i] * a + support[j]];
        for i in factor.len()..n {
            let mut row: Vec<f64> = Vec::with_capacity(i + 1);
            for (j, above) in factor.iter().enumerate() {
                row.push((inner(i, j) - dot(&row, &above[..j])) / above[j]);
            }
            let apart = inner(i, i) - dot(&row, &row);
            if apart <= DEPENDENT {
                let mut way: Vec<f64> = substitute(factor, &(0..i).map(|j| -inner(i, j)).collect::<Vec<_>>());
                way.push(1.0);
                let grows = way.iter().zip(signs).map(|(w, s)| w * s).sum::<f64>() > 0.0;
                way.iter_mut().for_each(|w| *w *= if grows { -1.0 } else { 1.0 });
                way.resize(n, 0.0);
                return (way, false);
            }
            row.push(apart.sqrt());
            factor.push(row);
        }
        let targets: Vec<f64> =
            support.iter().zip(signs).map(|(&k, sign)| self.start[k] - self.lambda * sign).collect();
        let best = substitute(factor, &targets);
        (best.iter().zip(support).map(|(b, &k)| b - s[k]).collect(), true)
    }

    /// The idle atom that correlates most with the rest, if that is more than λ, and its sign.
    fn most_broken(&self, support: &[usize], s: &[f64]) -> Option<(usize, f64)> {
        let a = s.len();
        let rest = |k: usize| self.start[k] - support.iter().map(|&j| self.corner[k * a + j] * s[j]).sum::<f64>();
        let idle = (0..a).filter(|k| !support.contains(k)).map(|k| (k, rest(k)));
        let size = |rest: f64| if self.non_negative { rest } else { rest.abs() };
        let (k, rest) = idle.max_by(|a, b| size(a.1).total_cmp(&size(b.1)))?;
        (size(rest) > self.lambda * (1.0 + BROKEN)).then(|| (k, rest.signum()))
    }
}

/// Solves `L Lᵀ c = targets`, row `i` of `l` having `i + 1` entries.
fn substitute(l: &[Vec<f64>], targets: &[f64]) -> Vec<f64> {
    let mut c = targets.to_vec();
    for i in 0..c.len() {
        c[i] = (c[i] - dot(&l[i][..i], &c[..i])) / l[i][i];
    }
    for i in (0..c.len()).rev() {
        let (above, here) = c.split_at_mut(i);
        here[0] /= l[i][i];
        above.iter_mut().zip(&l[i]).for_each(|(c, l)| *c -= l * here[0]);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// Optimal for atoms that are nearly parallel, more than there are dimensions, and repeated, from zero and from a wrong start.
    #[test]
    fn it_ends_at_the_optimum_however_alike_the_atoms_are() {
        let mut rng = Rng::new(4);
        for (a, d, alike) in [(6, 12, 0.0), (30, 12, 0.0), (30, 12, 3.0), (60, 20, 30.0)] {
            let mut atoms: Vec<Vec<f64>> = (0..a)
                .map(|_| {
                    let row: Vec<f64> = (0..d).map(|j| rng.normal_f64() + if j == 0 { alike } else { 0.0 }).collect();
                    let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
                    row.iter().map(|v| v / norm).collect()
                })
                .collect();
            atoms[3] = atoms[1].clone();
            let x: Vec<f64> = (0..d).map(|_| rng.normal_f64()).collect();
            let corner: Vec<f64> =
                atoms.iter().flat_map(|p| atoms.iter().map(|q| dot(p, q)).collect::<Vec<_>>()).collect();
            let start: Vec<f64> = atoms.iter().map(|p| dot(p, &x)).collect();
            for (non_negative, lambda) in [(false, 1e-4), (true, 1e-4), (false, 0.1)] {
                for from in [0.0, 0.5] {
                    let mut s = vec![from; a];
                    FeatureSign { corner: &corner, start: &start, lambda, non_negative }.solve(&mut s);
                    for k in 0..a {
                        let rest = start[k] - (0..a).map(|j| corner[k * a + j] * s[j]).sum::<f64>();
                        let off = match s[k] {
                            0.0 if non_negative => rest - lambda,
                            0.0 => rest.abs() - lambda,
                            v => (rest - lambda * v.signum()).abs(),
                        };
                        assert!(off < 1e-3 * lambda, "{a} in {d}, {alike}, λ {lambda}: {off} at {}", s[k]);
                        assert!(!non_negative || s[k] >= 0.0);
                    }
                }
            }
        }
    }
}
