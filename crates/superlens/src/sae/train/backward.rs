//! The algebra that all objectives share: reconstruction, its loss, and gradients through latents that are mostly absent.

use super::source::Batch;
use superlens_tensor::Mat;
use superlens_tensor::kernels::adam::sum_of_squares;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::panels::{add_scaled, add_to_rows, column_sums};
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
    f.map_rows(|i, indices, _, out| {
        let row = all.row(i);
        out.iter_mut().zip(indices).for_each(|(o, &j)| *o = row[j as usize]);
    })
}

/// One batch through the autoencoder.
pub struct Forward {
    /// What the encoder reads: `x − b_dec`, or `x` where something else is rebuilt, `[batch, d_in]`.
    pub centred: Mat,
    other: Option<Other>,
    /// What is left after the reconstruction, `[batch, d_out]`; zeros until [`main`](Self::main).
    pub error: Mat,
}

/// Targets that are not the input.
struct Other {
    /// What latents are to rebuild: `y − b_dec (− x · skip)`, `[batch, d_out]`.
    left: Mat,
    /// Of the targets themselves.
    scatter: f64,
}

/// The main loss, and its gradient by each latent.
pub struct Main {
    pub loss: f64,
    pub slope: Vec<f32>,
}

impl Forward {
    pub fn new(params: &Params, batch: impl Into<Batch>) -> Self {
        let Batch { x, y } = batch.into();
        let b_dec = params.get("b_dec").data();
        let shifted = |mut m: Mat| {
            add_to_rows(-1.0, b_dec, &mut m);
            m
        };
        let error = Mat::zeros(x.rows(), b_dec.len());
        let Some(y) = y else { return Self { centred: shifted(x), other: None, error } };
        let scatter = scatter(&y);
        let mut left = shifted(y);
        if let Some((_, skip)) = params.blocks.iter().find(|block| block.0 == "skip") {
            gemm(-1.0, x.view(), skip.view(), 1.0, &mut left);
        }
        Self { centred: x, other: Some(Other { left, scatter }), error }
    }

    /// What latents are to rebuild, `[batch, d_out]`.
    pub fn target(&self) -> &Mat {
        self.other.as_ref().map_or(&self.centred, |other| &other.left)
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
        let mut rest = self.target().clone();
        let mut errors = Vec::with_capacity(groups.len());
        let mut loss = 0.0;
        for group in &groups {
            add_scaled(-1.0, &rebuild(&group.f, w_dec), &mut rest);
            loss += weight * squares(rest.data());
            errors.push(rest.clone());
        }
        // A latent is part of every prefix that reaches it: its slope is the sum over these.
        let mut slope = vec![0.0; f.nnz()];
        let mut sum = Mat::zeros(rest.rows(), rest.cols());
        for (group, error) in groups.iter().zip(&errors).rev() {
            add_scaled((-2.0 * weight) as f32, error, &mut sum);
            add_outer(&group.f, &sum, grad.get_mut("w_dec"));
            let products = products(&group.f, &sum, w_dec);
            group.entries.iter().zip(products).for_each(|(&e, p)| slope[e] = p);
        }
        let b_dec = grad.get_mut("b_dec").data_mut();
        b_dec.iter_mut().zip(column_sums(&sum)).for_each(|(b, s)| *b += s as f32);
        if let Some((_, skip)) = grad.blocks.iter_mut().find(|block| block.0 == "skip") {
            gemm(1.0, self.centred.t(), sum.view(), 1.0, skip);
        }
        self.error = rest;
        Main { loss, slope }
    }

    /// Fraction of this batch's variance that the reconstruction leaves.
    pub fn fvu(&self) -> f64 {
        let scatter = self.other.as_ref().map_or_else(|| scatter(&self.centred), |other| other.scatter);
        squares(self.error.data()) / scatter.max(f64::MIN_POSITIVE)
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
    pass: &'a Forward,
    pub grad: &'a mut Params,
    /// Sums of the gradient by the product over the rows, `[d_sae]`.
    sums: Vec<f32>,
}

impl<'a> Backward<'a> {
    pub fn new(params: &'a Params, pass: &'a Forward, grad: &'a mut Params) -> Self {
        let sums = vec![0.0; params.get("b_enc").cols()];
        Self { params, pass, grad, sums }
    }

    /// Adds what flows through the product when its gradient is `slope`, at the entries that have one. Nothing where there is no product.
    pub fn encoder(&mut self, slope: &SparseRows) {
        if self.params.get("w_enc").rows() == 0 {
            return;
        }
        add_outer(slope, &self.pass.centred, self.grad.get_mut("w_enc"));
        axpy(1.0, &slope.column_sums(), &mut self.sums);
    }

    /// The encoder's bias, and `b_dec` by way of `x − b_dec`: minus the sum over the batch of `∂z · w_encᵀ`, which is the sums of `∂z`
    /// times `w_encᵀ`; where something else than x is rebuilt, `b_dec` has no part in what is read. `alone` is what the bias has beyond these sums.
    pub fn finish(self, alone: &[f32]) {
        let w_enc = self.params.get("w_enc");
        let b_dec = self.grad.get_mut("b_dec").data_mut();
        let reaches = self.pass.other.is_none();
        for (j, &g) in self.sums.iter().enumerate().filter(|(_, g)| reaches && **g != 0.0) {
            axpy(-g, w_enc.row(j), b_dec);
        }
        let b_enc = self.grad.get_mut("b_enc").data_mut();
        axpy(1.0, &self.sums, b_enc);
        axpy(1.0, alone, b_enc);
    }
}

pub fn squares(v: &[f32]) -> f64 {
    sum_of_squares(v)
}

/// `Σ‖row − mean row‖²`, for rows whose mean is not far from zero.
pub fn scatter(m: &Mat) -> f64 {
    let of_mean: f64 = column_sums(m).iter().map(|s| s * s).sum::<f64>() / m.rows().max(1) as f64;
    (squares(m.data()) - of_mean).max(0.0)
}
