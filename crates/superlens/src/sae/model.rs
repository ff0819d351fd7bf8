//! [`Sae`]: the one inference form that every decomposition ends in, learned or classical.

use super::encoder::Encoder;
use crate::geometry::recover::Sparse;
use superlens_tensor::kernels::gemm::gemm;
use superlens_tensor::kernels::sparse::{SparseRows, sparse_dense};
use superlens_tensor::{Mat, View};

/// Latents of many rows, `[rows, d_sae]`, of which only the active ones are stored; column order ascends in a row.
pub type Latents = SparseRows;

/// Entries of the dense pre-activations held at once while encoding (16 MiB); at least [`MIN_BLOCK_ROWS`] rows.
const BLOCK_ENTRIES: usize = 1 << 22;
const MIN_BLOCK_ROWS: usize = 128;

/// A decomposition of activations into latents: `recon = latents · w_dec + b_dec (+ input · skip)`.
///
/// It takes raw activations. Scales that helped training are folded into the weights beforehand; what differs from row to row is
/// [`InputNorm`]. A transcoder rebuilds other activations than it reads, so `d_out` need not be `d_in`; a crosscoder reads and
/// writes the activations of its layers side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Sae {
    /// Done to each row before anything else, and undone at the end.
    pub norm: InputNorm,
    /// Subtracted from the input, `[d_in]`.
    pub b_in: Vec<f32>,
    pub encoder: Encoder,
    /// The dictionary, `[d_sae, d_out]`: one row per latent.
    pub w_dec: Mat,
    /// Added to the reconstruction, `[d_out]`.
    pub b_dec: Vec<f32>,
    /// What goes past the latents, `[d_in, d_out]`: the linear part of a skip transcoder (Paulo, Shabalin and Belrose 2025).
    pub skip: Option<Mat>,
}

/// What is done to each row of the input by itself, and undone for the reconstruction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum InputNorm {
    #[default]
    None,
    /// `(x − mean) / (std + eps)`, mean and unbiased standard deviation over the row; undone by `r · std + mean`, as SAELens and
    /// OpenAI's autoencoders do it.
    LayerNorm { eps: f32 },
    /// `x · √d_in / ‖x‖`.
    UnitRms,
}

/// What a norm does to one row.
#[derive(Clone, Copy)]
struct RowNorm {
    shift: f32,
    /// What the shifted row is divided by.
    divisor: f32,
    /// What a reconstruction is multiplied by before it is shifted back.
    factor: f32,
}

impl InputNorm {
    /// Does it to one row.
    pub fn apply(self, row: &mut [f32]) {
        if self != InputNorm::None {
            let RowNorm { shift, divisor, .. } = self.of(row);
            row.iter_mut().for_each(|x| *x = (*x - shift) / divisor);
        }
    }

    /// What latents of the row are multiplied by in its reconstruction when the norm is undone.
    pub(super) fn factor(self, row: &[f32]) -> f32 {
        self.of(row).factor
    }

    fn of(self, x: &[f32]) -> RowNorm {
        let n = x.len() as f64;
        let sum = |f: &dyn Fn(f64) -> f64| x.iter().map(|&v| f(f64::from(v))).sum::<f64>();
        match self {
            InputNorm::None => RowNorm { shift: 0.0, divisor: 1.0, factor: 1.0 },
            InputNorm::LayerNorm { eps } => {
                let mean = sum(&|v| v) / n;
                let std = (sum(&|v| (v - mean).powi(2)) / (n - 1.0).max(1.0)).sqrt();
                RowNorm { shift: mean as f32, divisor: std as f32 + eps, factor: std as f32 }
            }
            InputNorm::UnitRms => {
                let rms = (sum(&|v| v * v) / n.max(1.0)).sqrt() as f32;
                let rms = if rms > 0.0 { rms } else { 1.0 };
                RowNorm { shift: 0.0, divisor: rms, factor: rms }
            }
        }
    }
}

impl Sae {
    /// Puts the parts together, without a norm and without a skip. Panics with the shapes when they do not fit.
    pub fn new(b_in: Vec<f32>, encoder: Encoder, w_dec: Mat, b_dec: Vec<f32>) -> Self {
        let (d_sae, d_out) = w_dec.shape();
        assert_eq!(b_dec.len(), d_out, "b_dec beside w_dec [{d_sae}, {d_out}]");
        encoder.check(b_in.len(), d_sae, d_out);
        Self { norm: InputNorm::None, b_in, encoder, w_dec, b_dec, skip: None }
    }

    /// The same with a linear path past the latents, `[d_in, d_out]`. Panics with the shapes when they do not fit.
    pub fn with_skip(mut self, skip: Mat) -> Self {
        assert_eq!(skip.shape(), (self.d_in(), self.d_out()), "skip beside w_dec {:?}", self.w_dec.shape());
        self.skip = Some(skip);
        self
    }

    /// The same for rows that are normalised first.
    pub fn with_norm(self, norm: InputNorm) -> Self {
        Self { norm, ..self }
    }

    /// A dictionary without an encoder of its own: matching pursuit around `mean`.
    pub fn from_dictionary(dictionary: Mat, mean: Vec<f32>, k: usize, non_negative: bool) -> Self {
        Self::new(mean.clone(), Encoder::MatchingPursuit { k, non_negative }, dictionary, mean)
    }

    pub fn d_in(&self) -> usize {
        self.b_in.len()
    }

    /// Width of the reconstruction: `d_in` but for transcoders.
    pub fn d_out(&self) -> usize {
        self.w_dec.cols()
    }

    pub fn d_sae(&self) -> usize {
        self.w_dec.rows()
    }

    /// One direction per row, `[d_sae, d_out]`.
    pub fn dictionary(&self) -> &Mat {
        &self.w_dec
    }

    /// The latents of `x` `[rows, d_in]`. Memory beyond the result is one block of rows. Panics on another width.
    pub fn encode(&self, x: &Mat) -> Latents {
        let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
        self.encode_blocks(x, |_, block| {
            for i in 0..block.rows() {
                let (js, vs) = block.row(i);
                indices.extend_from_slice(js);
                values.extend_from_slice(vs);
                offsets.push(indices.len());
            }
        });
        Latents::new(self.d_sae(), offsets, indices, values)
    }

    /// Encodes `x` block by block, in order: `visit(first_row, latents)`. For more rows than latents fit in memory.
    pub fn encode_blocks(&self, x: &Mat, mut visit: impl FnMut(usize, Latents)) {
        assert_eq!(x.cols(), self.d_in(), "activations {:?} for a dictionary {:?}", x.shape(), self.w_dec.shape());
        let encode = self.encoder.of_block(&self.w_dec);
        for (from, to) in blocks(x.rows(), self.d_sae().max(self.d_in())) {
            let mut block = Mat::from_vec(to - from, x.cols(), x.rows_view(from, to).data.to_vec());
            block.data_mut().chunks_mut(x.cols().max(1)).for_each(|row| self.norm.apply(row));
            subtract(&mut block, &self.b_in);
            visit(from, latents(self.d_sae(), encode(&block)));
        }
    }

    /// `latents · w_dec + b_dec`, `[rows, d_out]`: the reconstruction before the skip is added and the norm undone, which is all
    /// there is to it for most. Panics unless the latents are `d_sae` wide.
    pub fn decode(&self, latents: &Latents) -> Mat {
        let mut recon = sparse_dense(latents, &self.w_dec);
        for row in recon.data_mut().chunks_mut(self.d_out().max(1)) {
            row.iter_mut().zip(&self.b_dec).for_each(|(r, b)| *r += b);
        }
        recon
    }

    /// The reconstruction `[rows, d_out]` from the latents of `x` `[rows, d_in]`. Panics where the shapes do not fit.
    pub fn reconstruct(&self, latents: &Latents, x: View<'_>) -> Mat {
        assert_eq!((latents.rows(), self.d_in()), (x.rows, x.cols), "latents of other rows, or of another width");
        let mut recon = self.decode(latents);
        if self.norm == InputNorm::None && self.skip.is_none() {
            return recon;
        }
        let mut input = Mat::from_vec(x.rows, x.cols, x.data.to_vec());
        input.data_mut().chunks_mut(x.cols.max(1)).for_each(|row| self.norm.apply(row));
        if let Some(skip) = &self.skip {
            gemm(1.0, input.view(), skip.view(), 1.0, &mut recon);
        }
        for (recon, x) in recon.data_mut().chunks_mut(self.d_out().max(1)).zip(x.data.chunks(x.cols.max(1))) {
            let RowNorm { shift, factor, .. } = self.norm.of(x);
            recon.iter_mut().for_each(|r| *r = *r * factor + shift);
        }
        recon
    }

    /// What a change of the latents of `x` adds to the reconstruction, `[rows, d_out]`: `change · w_dec`, times what the norm divided each row by.
    pub fn added(&self, change: &Latents, x: View<'_>) -> Mat {
        let mut added = sparse_dense(change, &self.w_dec);
        if self.norm != InputNorm::None {
            for (added, x) in added.data_mut().chunks_mut(self.d_out().max(1)).zip(x.data.chunks(x.cols.max(1))) {
                let factor = self.row_factor(x);
                added.iter_mut().for_each(|a| *a *= factor);
            }
        }
        added
    }

    /// What the reconstruction of a row `x` `[d_in]` is multiplied by in the end: 1 without a norm.
    pub fn row_factor(&self, x: &[f32]) -> f32 {
        self.norm.of(x).factor
    }
}

fn latents(d_sae: usize, rows: Vec<Sparse>) -> Latents {
    let nnz = rows.iter().map(Vec::len).sum();
    let (mut offsets, mut indices, mut values) = (vec![0], Vec::with_capacity(nnz), Vec::with_capacity(nnz));
    for row in rows {
        indices.extend(row.iter().map(|a| a.0));
        values.extend(row.iter().map(|a| a.1));
        offsets.push(indices.len());
    }
    Latents::new(d_sae, offsets, indices, values)
}

/// Cuts `rows` into blocks whose `[block, width]` product stays below [`BLOCK_ENTRIES`].
pub(super) fn blocks(rows: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let height = (BLOCK_ENTRIES / width.max(1)).max(MIN_BLOCK_ROWS);
    (0..rows.div_ceil(height)).map(move |b| (b * height, ((b + 1) * height).min(rows)))
}

/// Rows `from..to` of `x` less `mean`.
pub(super) fn centred(x: &Mat, from: usize, to: usize, mean: &[f32]) -> Mat {
    let mut block = Mat::from_vec(to - from, x.cols(), x.rows_view(from, to).data.to_vec());
    subtract(&mut block, mean);
    block
}

fn subtract(block: &mut Mat, mean: &[f32]) {
    for row in block.data_mut().chunks_mut(mean.len().max(1)) {
        row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::Activation;
    use superlens_tensor::Rng;

    fn random(act: Activation, d_in: usize, d_sae: usize) -> Sae {
        let mut rng = Rng::new(4).fork("sae");
        let mut mat = |r, c| Mat::from_fn(r, c, |_, _| rng.normal());
        let (w_enc, w_dec) = (mat(d_in, d_sae), mat(d_sae, d_in));
        let (b_in, b_enc, b_dec) = (mat(1, d_in).into_vec(), mat(1, d_sae).into_vec(), mat(1, d_in).into_vec());
        Sae::new(b_in, Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec)
    }

    /// The definition, latent by latent.
    fn reference(sae: &Sae, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let Encoder::Linear { w_enc, b_enc, act } = &sae.encoder else { panic!("a linear encoder") };
        let mut f: Vec<f64> = (0..sae.d_sae())
            .map(|j| {
                let product: f64 =
                    (0..sae.d_in()).map(|c| f64::from(x[c] - sae.b_in[c]) * f64::from(w_enc[(c, j)])).sum();
                product + f64::from(b_enc[j])
            })
            .collect();
        if let &Activation::TopK { k } = act {
            let mut order: Vec<usize> = (0..f.len()).collect();
            order.sort_by(|&a, &b| f[b].total_cmp(&f[a]));
            order[k..].iter().for_each(|&j| f[j] = 0.0);
        }
        if *act != Activation::Identity {
            f.iter_mut().for_each(|f| *f = f.max(0.0));
        }
        let recon = (0..sae.d_in())
            .map(|c| {
                let sum: f64 = (0..sae.d_sae()).map(|j| f[j] * f64::from(sae.w_dec[(j, c)])).sum();
                sum + f64::from(sae.b_dec[c])
            })
            .collect();
        (f, recon)
    }

    #[test]
    fn encode_and_decode_agree_with_the_definition() {
        let mut rng = Rng::new(5).fork("x");
        for act in [Activation::Identity, Activation::Relu, Activation::TopK { k: 3 }] {
            let sae = random(act.clone(), 7, 19);
            let x = Mat::from_fn(150, 7, |_, _| rng.normal());
            let latents = sae.encode(&x);
            let recon = sae.decode(&latents);
            for i in 0..x.rows() {
                let (f, want) = reference(&sae, x.row(i));
                let mut dense = vec![0.0; sae.d_sae()];
                let (indices, values) = latents.row(i);
                indices.iter().zip(values).for_each(|(&j, &v)| dense[j as usize] = f64::from(v));
                let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-4);
                assert!(close(&dense, &f), "{act:?} row {i}");
                assert!(close(&recon.row(i).iter().map(|&r| f64::from(r)).collect::<Vec<_>>(), &want), "{act:?} {i}");
            }
        }
    }

    /// Whatever a row's own scale and offset, a normalising dictionary sees the same and gives them back.
    #[test]
    fn norms_are_undone_and_the_skip_is_added() {
        let mut rng = Rng::new(9).fork("norm");
        let x = Mat::from_fn(5, 7, |_, _| rng.normal());
        let far = Mat::from_fn(5, 7, |i, j| 3.0 * x[(i, j)] + 100.0);
        let sae = random(Activation::TopK { k: 3 }, 7, 19).with_norm(InputNorm::LayerNorm { eps: 0.0 });
        let recon = |sae: &Sae, x: &Mat| sae.reconstruct(&sae.encode(x), x.view());
        let (near, moved) = (recon(&sae, &x), recon(&sae, &far));
        assert!(near.data().iter().zip(moved.data()).all(|(a, b)| (3.0 * a + 100.0 - b).abs() < 1e-2));
        let doubled = Mat::from_fn(5, 7, |i, j| 2.0 * x[(i, j)]);
        let sae = random(Activation::Relu, 7, 19).with_norm(InputNorm::UnitRms);
        let (near, moved) = (recon(&sae, &x), recon(&sae, &doubled));
        assert!(near.data().iter().zip(moved.data()).all(|(a, b)| (2.0 * a - b).abs() < 1e-3));
        // Latents that never fire leave the skip alone.
        let none = Activation::JumpRelu { threshold: vec![f32::INFINITY; 19] };
        let skip = Mat::from_fn(7, 7, |i, j| if i == j { 2.0 } else { 0.0 });
        let sae = random(none, 7, 19).with_skip(skip);
        let got = recon(&sae, &x);
        assert!((0..5).all(|i| (0..7).all(|j| (got[(i, j)] - 2.0 * x[(i, j)] - sae.b_dec[j]).abs() < 1e-6)));
    }

    #[test]
    fn a_dictionary_without_latents_gives_the_bias() {
        let encoder = Encoder::Linear { w_enc: Mat::zeros(2, 0), b_enc: vec![], act: Activation::Relu };
        let sae = Sae::new(vec![0.0; 2], encoder, Mat::zeros(0, 2), vec![3.0, 4.0]);
        let latents = sae.encode(&Mat::zeros(2, 2));
        assert_eq!((latents.rows(), latents.nnz()), (2, 0));
        assert_eq!(sae.decode(&latents).data(), [3.0, 4.0, 3.0, 4.0]);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let mut rng = Rng::new(6).fork("x");
        let x = Mat::from_fn(700, 7, |_, _| rng.normal());
        let linear = random(Activation::TopK { k: 3 }, 7, 19);
        let pursuit = Sae::from_dictionary(linear.w_dec.clone(), vec![0.1; 7], 3, true);
        for sae in [linear, pursuit] {
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let latents = sae.encode(&x);
                    (sae.decode(&latents), latents)
                })
            };
            let one = run(1);
            for threads in [2, 5] {
                assert_eq!(one, run(threads), "{threads} threads");
            }
        }
    }

    #[test]
    fn blocks_cover_all_rows_once() {
        for (rows, width) in [(0, 5), (1, 5), (1000, 1 << 20), (5000, 64 * 1024)] {
            let cut: Vec<_> = blocks(rows, width).collect();
            assert_eq!(cut.first().map_or(0, |c| c.0), 0);
            assert_eq!(cut.last().map_or(0, |c| c.1), rows);
            assert!(cut.windows(2).all(|w| w[0].1 == w[1].0));
        }
    }
}
