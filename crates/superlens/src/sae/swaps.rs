//! [`Swaps`]: latents of a larger autoencoder in the place of those of a smaller one that point the same way (Leask et al. 2025, arXiv
//! 2502.04878).
//!
//! Latents of the two whose decoder rows have a cosine above [`ALIKE`] are linked, and what hangs together by links is a group. To swap a group
//! is to take all its latents of the smaller autoencoder out and to put all of the larger one in: the reconstruction changes by
//! `u = Σ f_j d_j − Σ g_i d_i`, and `‖x − x̂‖²` by `‖u‖² − 2 (x − x̂) · u`, exactly. No bias is swapped.

use super::agreement::each_alike;
use super::spread::Sums;
use super::{Latents, Sae};
use rayon::prelude::*;
use serde::Serialize;
use superlens_tensor::Mat;
use superlens_tensor::kernels::pointwise::{axpy, dot};

/// The cosine above which two latents are taken for the same; the paper's.
const ALIKE: f32 = 0.7;
/// No group.
const ALONE: usize = usize::MAX;

pub(super) struct Swaps<'a> {
    smaller: &'a Sae,
    larger: &'a Sae,
    /// The group of each latent of the smaller and of the larger one.
    groups: (Vec<usize>, Vec<usize>),
    change: Sums,
}

/// What [`Swaps`] finds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Swapped {
    /// Groups, and those of one latent each.
    pub groups: usize,
    pub one_to_one: usize,
    /// Latents in groups, of the smaller and of the larger autoencoder.
    pub taken_out: usize,
    pub put_in: usize,
    /// Groups by whose swap the mean `‖x − x̂‖²` falls, and rises; the rest is on in no row. Of them, those where that is more than chance.
    pub better: usize,
    pub worse: usize,
    pub better_clear: usize,
    pub worse_clear: usize,
    /// Mean over the groups that are on of the change by a swap, as a share of the error of the smaller one. NaN where there are none.
    pub mean_change: f64,
}

impl<'a> Swaps<'a> {
    pub fn new(smaller: &'a Sae, larger: &'a Sae) -> Self {
        let (n, m) = (smaller.d_sae(), larger.d_sae());
        let mut parent: Vec<usize> = (0..n + m).collect();
        each_alike(&larger.w_dec, &smaller.w_dec, ALIKE, |j, i| {
            let (a, b) = (root(&mut parent, i), root(&mut parent, n + j));
            // The lower number is the root: the same groups in the same order, whatever the order of the links.
            parent[a.max(b)] = a.min(b);
        });
        let mut number = vec![ALONE; n + m];
        let mut groups = 0;
        let mut of = Vec::with_capacity(n + m);
        // A group's root is one of the smaller one's, which come first; who is linked to nobody has no group.
        let linked: Vec<usize> = (n..n + m).map(|at| root(&mut parent, at)).filter(|&r| r < n).collect();
        let is_group: std::collections::BTreeSet<usize> = linked.into_iter().collect();
        for at in 0..n + m {
            let r = root(&mut parent, at);
            if is_group.contains(&r) && number[r] == ALONE {
                number[r] = groups;
                groups += 1;
            }
            of.push(number[r]);
        }
        let larger_groups = of.split_off(n);
        Swaps { smaller, larger, groups: (of, larger_groups), change: Sums::new(groups) }
    }

    /// Takes in rows `x`, what the smaller one leaves of what is to be rebuilt, and the latents of both.
    pub fn add(&mut self, x: &Mat, residual: &Mat, by_smaller: &Latents, by_larger: &Latents) {
        let of_row = |r: usize| {
            let mut parts: Vec<(usize, f32, &[f32])> = Vec::new();
            let sides =
                [(self.smaller, &self.groups.0, by_smaller, -1.0), (self.larger, &self.groups.1, by_larger, 1.0)];
            for (sae, groups, latents, sign) in sides {
                let factor = sign * sae.norm.factor(x.row(r));
                let (indices, values) = latents.row(r);
                for (&j, &f) in indices.iter().zip(values).filter(|(j, _)| groups[**j as usize] != ALONE) {
                    parts.push((groups[j as usize], factor * f, sae.w_dec.row(j as usize)));
                }
            }
            parts.sort_by_key(|part| part.0);
            let change = |group: &[(usize, f32, &[f32])]| {
                let mut u = vec![0.0; residual.cols()];
                group.iter().for_each(|(_, f, d)| axpy(*f, d, &mut u));
                let change = f64::from(dot(&u, &u)) - 2.0 * f64::from(dot(residual.row(r), &u));
                (group[0].0, change)
            };
            parts.chunk_by(|a, b| a.0 == b.0).map(change).collect::<Vec<(usize, f64)>>()
        };
        let changes: Vec<Vec<(usize, f64)>> = (0..x.rows()).into_par_iter().map(of_row).collect();
        for row in changes {
            row.into_iter().for_each(|(group, change)| self.change.add(group, change));
            self.change.end_row();
        }
    }

    /// `error` is `Σ‖x − x̂‖²` of the smaller one.
    pub fn finish(&self, error: f64) -> Swapped {
        let members = |of: &[usize]| {
            let mut sizes = vec![0usize; self.change.len()];
            of.iter().filter(|group| **group != ALONE).for_each(|&group| sizes[group] += 1);
            sizes
        };
        let (smaller, larger) = (members(&self.groups.0), members(&self.groups.1));
        let count = |holds: &dyn Fn(usize) -> bool| (0..self.change.len()).filter(|&group| holds(group)).count();
        let (falls, rises) = (|g: usize| self.change.total(g) < 0.0, |g: usize| self.change.total(g) > 0.0);
        let total: f64 = (0..self.change.len()).map(|g| self.change.total(g)).sum();
        let on = count(&falls) + count(&rises);
        Swapped {
            groups: self.change.len(),
            one_to_one: count(&|g| (smaller[g], larger[g]) == (1, 1)),
            taken_out: smaller.iter().sum(),
            put_in: larger.iter().sum(),
            better: count(&falls),
            worse: count(&rises),
            better_clear: count(&|g| falls(g) && self.change.is_clear(g)),
            worse_clear: count(&|g| rises(g) && self.change.is_clear(g)),
            mean_change: total / error / on as f64,
        }
    }
}

fn root(parent: &mut [usize], mut at: usize) -> usize {
    while parent[at] != at {
        parent[at] = parent[parent[at]];
        at = parent[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::{Activation, Encoder, metrics};
    use superlens_tensor::Rng;

    fn random(n: usize, shift: f32, rng: &mut Rng) -> Sae {
        let encoder = Encoder::Linear {
            w_enc: Mat::from_fn(6, n, |_, _| rng.normal()),
            b_enc: vec![shift; n],
            act: Activation::Relu,
        };
        Sae::new(vec![0.1; 6], encoder, Mat::from_fn(n, 6, |_, _| 0.3 * rng.normal()), vec![0.2; 6])
    }

    /// The change by formula is that of a reconstruction in which the groups were really swapped, one by one.
    #[test]
    fn the_change_is_what_a_swap_does() {
        let mut rng = Rng::new(4).fork("swaps");
        let smaller = random(5, -0.3, &mut rng);
        let mut larger = random(9, -0.5, &mut rng);
        // 0 and 1 of the larger one stand for 0 of the smaller one, 2 for 3; its 4 is the opposite of 1, which is no likeness.
        for (j, i, sign) in [(0, 0, 1.0), (1, 0, 2.0), (2, 3, 1.0), (4, 1, -1.0)] {
            let near: Vec<f32> = smaller.w_dec.row(i).iter().map(|d| sign * d + 0.01 * rng.normal()).collect();
            larger.w_dec.row_mut(j).copy_from_slice(&near);
        }
        let mut swaps = Swaps::new(&smaller, &larger);
        let group = |at: usize| swaps.groups.1[at];
        assert!(group(0) == group(1) && group(0) == swaps.groups.0[0] && group(2) == swaps.groups.0[3]);
        assert!(group(4) == ALONE || group(4) != swaps.groups.0[1]);
        let x = Mat::from_fn(300, 6, |_, _| rng.normal());
        let (by_smaller, by_larger) = (smaller.encode(&x), larger.encode(&x));
        let recon = smaller.reconstruct(&by_smaller, x.view());
        let residual = Mat::from_fn(300, 6, |i, j| x[(i, j)] - recon[(i, j)]);
        swaps.add(&x, &residual, &by_smaller, &by_larger);
        let error =
            |recon: &Mat| -> f64 { x.data().iter().zip(recon.data()).map(|(x, r)| f64::from(x - r).powi(2)).sum() };
        for g in 0..swaps.change.len() {
            // Only the group's rows are left in both decoders.
            let alone = |sae: &Sae, of: &[usize]| {
                let mut sae = sae.clone();
                (0..of.len()).filter(|j| of[*j] != g).for_each(|j| sae.w_dec.row_mut(j).fill(0.0));
                sae.b_dec.fill(0.0);
                sae
            };
            let (out, inn) = (alone(&smaller, &swaps.groups.0), alone(&larger, &swaps.groups.1));
            let (out, inn) = (out.decode(&by_smaller), inn.decode(&by_larger));
            let swapped = Mat::from_fn(300, 6, |i, j| recon[(i, j)] - out[(i, j)] + inn[(i, j)]);
            let change = error(&swapped) - error(&recon);
            assert!((change - swaps.change.total(g)).abs() < 1e-3 * error(&recon), "{g}: {change}");
        }
        let told = swaps.finish(error(&recon));
        assert_eq!(told.better + told.worse, told.groups);
        assert!(told.one_to_one < told.groups && told.put_in > told.taken_out);
    }

    /// A dictionary swapped with itself: as many groups as latents that are not alike, and no change.
    #[test]
    fn a_swap_with_itself_changes_nothing() {
        let mut rng = Rng::new(5).fork("swaps");
        let sae = Sae { w_dec: Mat::from_fn(4, 6, |j, c| f32::from(j == c)), ..random(4, 0.0, &mut rng) };
        let x = Mat::from_fn(200, 6, |_, _| rng.normal());
        let latents = sae.encode(&x);
        let recon = sae.reconstruct(&latents, x.view());
        let residual = Mat::from_fn(200, 6, |i, j| x[(i, j)] - recon[(i, j)]);
        let mut swaps = Swaps::new(&sae, &sae);
        swaps.add(&x, &residual, &latents, &latents);
        let told = swaps.finish(metrics::evaluate(&sae, &x).mse * 200.0);
        assert_eq!((told.groups, told.one_to_one, told.taken_out, told.put_in), (4, 4, 4, 4));
        assert_eq!((told.better, told.worse), (0, 0));
    }
}
