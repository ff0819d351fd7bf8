//! Non-negative matrix factorisation with at most k atoms a row: both the latents and the dictionary are non-negative (Lee and Seung 1999;
//! with the bound on the atoms: Peharz and Pernkopf 2012, *Sparse nonnegative matrix factorization with ℓ0-constraints*).
//!
//! ```text
//! least Σ‖x − h W‖²    with h ≥ 0, W ≥ 0, ‖h‖₀ ≤ k, rows of W of unit length
//! ```
//!
//! Rows are coded by non-negative orthogonal matching pursuit, which from k = d_in on is non-negative least squares (it then is the method
//! of Lawson and Hanson) and the whole the plain factorisation. The dictionary learns by batches, atom after atom, each by its share of
//! what is left (HALS: Cichocki and Phan 2009) over a decaying memory of how much it was used, so that memory does not grow with the rows.
//!
//! Activations below zero have no such factorisation. They are refused, not shifted: a shift by the least of each column would turn
//! the zero of every neuron, which is where non-negative features begin, into an offset that atoms must spend themselves on.

use super::arch::{Arch, Entry, FitError, Watch, check_input, check_setting, report};
use super::train::Setting;
use super::train::{InMemory, Source};
use super::{Encoder, Sae};
use crate::geometry::recover::{Dictionary, Omp, Recovery};
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::kernels::sparse::{SparseRows, sparse_dense};
use superlens_tensor::{Mat, Rng};

pub(super) const ENTRY: Entry = Entry {
    id: "nmf",
    about: "non-negative factorisation with at most k atoms a row; for activations from 0 on",
    takes: &[Setting::DSae, Setting::K],
    build: |size| Box::new(Nmf { d_sae: size.d_sae, k: size.k }),
};

/// Widest: a batch is coded through products with all atoms.
const MOST_ATOMS: usize = 1 << 17;
const STEPS: u64 = 300;
const BATCH: usize = 512;
/// How much of an atom's use is remembered from batch to batch.
const MEMORY: f64 = 0.9;
/// An atom with less than this share of the mean use takes the row of which most is left.
const UNUSED: f64 = 1e-3;

/// `d_sae` atoms, at most `k` a row.
#[derive(Clone, Debug)]
pub struct Nmf {
    pub d_sae: usize,
    pub k: usize,
}

impl Arch for Nmf {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        check_setting("d_sae", self.d_sae, 1, MOST_ATOMS)?;
        check_setting("k", self.k, 1, MOST_ATOMS)?;
        check_values(x)?;
        // No fit has more atoms than columns to fit.
        let k = self.k.min(self.d_sae).min(x.cols());
        let rng = rng.fork("nmf");
        let mut source = InMemory::new(x, BATCH, &rng);
        let mut atoms = start(x, self.d_sae, &mut rng.fork("start"));
        let mut used = vec![0.0f64; self.d_sae];
        for step in 0..STEPS {
            learn(&source.batch(step)?.x, k, &mut atoms, &mut used);
            if atoms.data().iter().any(|w| !w.is_finite()) {
                return Err(FitError::NotFinite { what: "the factorisation of the activations" });
            }
            report(watch, (step + 1) as f64 / STEPS as f64)?;
        }
        let zeros = vec![0.0; x.cols()];
        Ok(Sae::new(zeros.clone(), Encoder::MatchingPursuit { k, non_negative: true }, atoms, zeros))
    }
}

fn check_values(x: &Mat) -> Result<(), FitError> {
    if x.data().iter().any(|v| !v.is_finite()) {
        return Err(FitError::NotFinite { what: "the activations" });
    }
    match x.data().iter().position(|v| *v < 0.0) {
        None => Ok(()),
        Some(at) => {
            Err(FitError::Negative { row: at / x.cols(), column: at % x.cols(), value: x.data()[at].to_string() })
        }
    }
}

/// Rows of `x` at unit length, or random directions where a row is zero.
fn start(x: &Mat, d_sae: usize, rng: &mut Rng) -> Mat {
    let order = rng.permutation(x.rows());
    let mut atoms = Mat::from_fn(d_sae, x.cols(), |_, _| rng.uniform() + 1e-3);
    for j in 0..d_sae {
        let row = x.row(order[j % order.len()]);
        // Rows that serve twice must not give two equal atoms.
        let mix = if j < order.len() { 0.0 } else { 0.1 * dot(row, row).sqrt() };
        let mixed: Vec<f32> = row.iter().zip(atoms.row(j)).map(|(x, w)| x + mix * w).collect();
        set_unit(atoms.row_mut(j), &mixed);
    }
    atoms
}

/// `to` becomes `from` at unit length; at zero length it stays, but for its own length.
fn set_unit(to: &mut [f32], from: &[f32]) {
    if dot(from, from) > 0.0 {
        to.copy_from_slice(from);
    }
    let norm = dot(to, to).sqrt();
    if norm > 0.0 {
        to.iter_mut().for_each(|w| *w /= norm);
    }
}

/// Codes the batch, then moves each atom in turn by what is left.
fn learn(batch: &Mat, k: usize, atoms: &mut Mat, used: &mut [f64]) {
    let coded = Omp { k, non_negative: true }.recover(&Dictionary::new(atoms), batch);
    let mut offsets = vec![0];
    coded.iter().for_each(|row| offsets.push(offsets[offsets.len() - 1] + row.len()));
    let (indices, values) = coded.into_iter().flatten().unzip();
    let h = SparseRows::new(atoms.rows(), offsets, indices, values);
    let mut rest = sparse_dense(&h, atoms);
    rest.data_mut().iter_mut().zip(batch.data()).for_each(|(r, x)| *r = x - *r);
    let by_atom = h.transposed();
    for j in 0..atoms.rows() {
        let (rows, values) = by_atom.row(j);
        used[j] = MEMORY * used[j] + values.iter().map(|h| f64::from(*h).powi(2)).sum::<f64>();
        if rows.is_empty() || used[j] <= 0.0 {
            continue;
        }
        let mut moved = vec![0.0; atoms.cols()];
        rows.iter().zip(values).for_each(|(&i, h)| axpy(h / used[j] as f32, rest.row(i as usize), &mut moved));
        let before = atoms.row(j).to_vec();
        moved.iter_mut().zip(&before).for_each(|(m, w)| *m = (*m + w).max(0.0));
        let change: Vec<f32> = moved.iter().zip(&before).map(|(m, w)| m - w).collect();
        rows.iter().zip(values).for_each(|(&i, h)| axpy(-h, &change, rest.row_mut(i as usize)));
        set_unit(atoms.row_mut(j), &moved);
    }
    replace_unused(&rest, atoms, used);
}

fn replace_unused(rest: &Mat, atoms: &mut Mat, used: &mut [f64]) {
    let mean = used.iter().sum::<f64>() / used.len() as f64;
    let mut worst: Vec<(f32, usize)> = (0..rest.rows()).map(|i| (dot(rest.row(i), rest.row(i)), i)).collect();
    worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let unused = (0..used.len()).filter(|&j| used[j] < UNUSED * mean).collect::<Vec<_>>();
    for (j, (_, i)) in unused.into_iter().zip(worst) {
        let positive: Vec<f32> = rest.row(i).iter().map(|r| r.max(0.0)).collect();
        if dot(&positive, &positive) > 0.0 {
            set_unit(atoms.row_mut(j), &positive);
            // As if it had been used as the others were, so that it has time to prove itself.
            used[j] = mean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::{evaluate, mmcs};
    use std::ops::ControlFlow;
    use superlens_tensor::kernels::gemm::matmul;

    fn fit(d_sae: usize, k: usize, x: &Mat) -> Result<Sae, FitError> {
        Nmf { d_sae, k }.fit(x, &Rng::new(1), &mut |_| ControlFlow::Continue(()))
    }

    #[test]
    fn planted_atoms_are_found() {
        let mut rng = Rng::new(0).fork("nmf");
        let mut atoms = Mat::from_fn(24, 16, |_, _| if rng.chance(0.3) { 0.2 + rng.uniform() } else { 0.0 });
        (0..24).for_each(|j| {
            atoms[(j, j % 16)] += 1.0;
            let row = atoms.row(j).to_vec();
            set_unit(atoms.row_mut(j), &row);
        });
        let h = Mat::from_fn(2000, 24, |_, _| if rng.chance(0.1) { 0.5 + rng.uniform() } else { 0.0 });
        let x = matmul(&h, &atoms);
        let sae = fit(24, 6, &x).unwrap();
        let (found, m) = (mmcs(&atoms, &sae.w_dec), evaluate(&sae, &x));
        assert!(found > 0.9 && m.fvu < 0.05, "MMCS {found}, FVU {}", m.fvu);
        assert!(sae.w_dec.data().iter().all(|w| *w >= 0.0) && sae.encode(&x).values().iter().all(|h| *h > 0.0));
    }

    /// With room for all atoms inference is the best non-negative fit: no product with what is left is positive, and it is zero for atoms in
    /// use.
    #[test]
    fn inference_is_non_negative_least_squares() {
        let mut rng = Rng::new(3).fork("nmf");
        let x = Mat::from_fn(60, 7, |_, _| rng.uniform());
        let sae = fit(5, 99, &x).unwrap();
        let latents = sae.encode(&x);
        let recon = sae.decode(&latents);
        for i in 0..60 {
            let rest: Vec<f32> = x.row(i).iter().zip(recon.row(i)).map(|(x, r)| x - r).collect();
            for j in 0..5 {
                let slope = dot(&rest, sae.w_dec.row(j));
                assert!(slope < 1e-4 && (slope > -1e-4 || !latents.row(i).0.contains(&(j as u32))), "{i} {j}: {slope}");
            }
        }
    }

    #[test]
    fn what_is_below_zero_is_refused() {
        let mut x = Mat::from_fn(30, 4, |i, j| (i + j) as f32);
        x[(7, 2)] = -0.5;
        assert_eq!(fit(4, 2, &x).err(), Some(FitError::Negative { row: 7, column: 2, value: "-0.5".into() }));
    }
}
