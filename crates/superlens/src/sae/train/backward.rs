//! The algebra that all objectives share: reconstruction, its loss, and gradients through latents that are mostly absent.

use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::pointwise::axpy;
use superlens_tensor::kernels::sparse::{SparseRows, add_sparse_t_dense, dots, sparse_dense};
use superlens_tensor::train::Params;

/// From one entry in so many on, products of dense matrices are quicker than sparse ones.
const DENSE: usize = 6;

fn is_dense(f: &SparseRows) -> bool {
    f.nnz() * DENSE > f.rows() * f.cols()
}

/// `f · w`, `[rows, w.cols]`.
pub fn rebuild(f: &SparseRows, w: &Mat) -> Mat {
    if is_dense(f) { matmul(&f.to_dense(), w) } else { sparse_dense(f, w) }
}

/// Adds `fᵀ · slope` to `total`.
pub fn add_outer(f: &SparseRows, slope: &Mat, total: &mut Mat) {
    if is_dense(f) {
        gemm(1.0, f.to_dense().t(), slope.view(), 1.0, total);
    } else {
        add_sparse_t_dense(f, slope, total);
    }
}

/// `slope · wᵀ` where `f` has entries.
pub fn products(f: &SparseRows, slope: &Mat, w: &Mat) -> Vec<f32> {
    if !is_dense(f) {
        return dots(f, slope, w);
    }
    let all = matmul(slope, w.t());
    let row = |i: usize| f.row(i).0.iter().map(move |&j| (i, j as usize));
    (0..f.rows()).flat_map(row).map(|at| all[at]).collect()
}

/// One batch through the autoencoder.
pub struct Forward {
    /// `x − b_dec`, `[batch, d_in]`.
    pub centred: Mat,
    /// `x − x̂`, `[batch, d_in]`; zeros until [`main`](Self::main).
    pub error: Mat,
}

/// The main loss, and its gradient by each latent.
pub struct Main {
    pub loss: f64,
    pub slope: Vec<f32>,
}

impl Forward {
    pub fn new(params: &Params, x: Mat) -> Self {
        let b_dec = params.get("b_dec").data();
        let mut centred = x;
        centred.data_mut().chunks_mut(b_dec.len()).for_each(|row| axpy(-1.0, b_dec, row));
        let error = Mat::zeros(centred.rows(), centred.cols());
        Self { centred, error }
    }

    /// The mean over the prefixes of `mean‖x − x̂‖² / variance`; the gradients by the decoder and its bias are added to `grad`.
    pub fn main(
        &mut self,
        f: &SparseRows,
        widths: &[usize],
        variance: f64,
        params: &Params,
        grad: &mut Params,
    ) -> Main {
        let w_dec = params.get("w_dec");
        let weight = 1.0 / (self.error.rows() as f64 * variance * widths.len() as f64);
        let groups = Group::cut(f, widths);
        let mut rest = self.centred.clone();
        let mut errors = Vec::with_capacity(groups.len());
        let mut loss = 0.0;
        for group in &groups {
            axpy(-1.0, rebuild(&group.f, w_dec).data(), rest.data_mut());
            loss += weight * squares(rest.data());
            errors.push(rest.clone());
        }
        // A latent is part of every prefix that reaches it: its slope is the sum over these.
        let mut slope = vec![0.0; f.nnz()];
        let mut sum = Mat::zeros(rest.rows(), rest.cols());
        for (group, error) in groups.iter().zip(&errors).rev() {
            axpy((-2.0 * weight) as f32, error.data(), sum.data_mut());
            add_outer(&group.f, &sum, grad.get_mut("w_dec"));
            let products = products(&group.f, &sum, w_dec);
            group.entries.iter().zip(products).for_each(|(&e, p)| slope[e] = p);
        }
        let b_dec = grad.get_mut("b_dec").data_mut();
        sum.data().chunks(b_dec.len()).for_each(|row| axpy(1.0, row, b_dec));
        self.error = rest;
        Main { loss, slope }
    }

    /// Fraction of this batch's variance that the reconstruction leaves.
    pub fn fvu(&self) -> f64 {
        squares(self.error.data()) / scatter(&self.centred).max(f64::MIN_POSITIVE)
    }
}

/// The entries of a stretch of columns, and their places among all.
struct Group {
    f: SparseRows,
    entries: Vec<usize>,
}

impl Group {
    fn cut(f: &SparseRows, widths: &[usize]) -> Vec<Group> {
        if let [_] = widths {
            return vec![Group { f: f.clone(), entries: (0..f.nnz()).collect() }];
        }
        let mut from = 0;
        let group = |&to: &usize| {
            let (mut offsets, mut indices, mut values, mut entries) = (vec![0], vec![], vec![], vec![]);
            let mut first = 0;
            for i in 0..f.rows() {
                let (js, vs) = f.row(i);
                for (at, (&j, &v)) in
                    js.iter().zip(vs).enumerate().filter(|(_, (j, _))| (from..to).contains(&(**j as usize)))
                {
                    indices.push(j);
                    values.push(v);
                    entries.push(first + at);
                }
                first += js.len();
                offsets.push(indices.len());
            }
            from = to;
            Group { f: SparseRows::new(f.cols(), offsets, indices, values), entries }
        };
        widths.iter().map(group).collect()
    }
}

/// Gradients by the encoder, gathered over the terms of a loss.
pub struct Backward<'a> {
    pub params: &'a Params,
    centred: &'a Mat,
    pub grad: &'a mut Params,
    /// Sums of the gradient by the product over the rows, `[d_sae]`.
    sums: Vec<f32>,
}

impl<'a> Backward<'a> {
    pub fn new(params: &'a Params, centred: &'a Mat, grad: &'a mut Params) -> Self {
        let sums = vec![0.0; params.get("b_enc").cols()];
        Self { params, centred, grad, sums }
    }

    /// Adds what flows through the product when its gradient is `slope`, at the entries that have one.
    pub fn encoder(&mut self, slope: &SparseRows) {
        add_outer(slope, self.centred, self.grad.get_mut("w_enc"));
        slope.indices().iter().zip(slope.values()).for_each(|(&j, g)| self.sums[j as usize] += g);
    }

    /// The encoder's bias, and `b_dec` by way of `x − b_dec`: minus the sum over the batch of `∂z · w_encᵀ`, which is the sums of `∂z`
    /// times `w_encᵀ`. `alone` is what the bias has beyond these sums.
    pub fn finish(self, alone: &[f32]) {
        let w_enc = self.params.get("w_enc");
        let b_dec = self.grad.get_mut("b_dec").data_mut();
        for (j, &g) in self.sums.iter().enumerate().filter(|(_, g)| **g != 0.0) {
            axpy(-g, w_enc.row(j), b_dec);
        }
        let b_enc = self.grad.get_mut("b_enc").data_mut();
        axpy(1.0, &self.sums, b_enc);
        axpy(1.0, alone, b_enc);
    }
}

pub fn squares(v: &[f32]) -> f64 {
    v.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// `Σ‖row − mean row‖²`.
pub fn scatter(m: &Mat) -> f64 {
    let mut mean = vec![0.0f64; m.cols()];
    let rows = m.data().chunks(m.cols().max(1));
    rows.clone().for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &v)| *m += f64::from(v)));
    mean.iter_mut().for_each(|v| *v /= m.rows() as f64);
    rows.map(|row| row.iter().zip(&mean).map(|(&v, m)| (f64::from(v) - m).powi(2)).sum::<f64>()).sum()
}
