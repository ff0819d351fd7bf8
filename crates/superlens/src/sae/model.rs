//! [`Sae`]: the one inference form that every decomposition ends in, learned or classical.

use crate::geometry::recover::{Dictionary, Omp, Recovery, Sparse};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::gemm;
use superlens_tensor::kernels::sparse::{SparseRows, sparse_dense};
use superlens_tensor::kernels::topk::top_k_of_row;

/// Latents of many rows, `[rows, d_sae]`, of which only the active ones are stored; column order ascends in a row.
pub type Latents = SparseRows;

/// Entries of the dense pre-activations held at once while encoding (16 MiB); at least [`MIN_BLOCK_ROWS`] rows.
const BLOCK_ENTRIES: usize = 1 << 22;
const MIN_BLOCK_ROWS: usize = 128;

/// A decomposition of activations into latents: `recon = latents · w_dec + b_dec`.
///
/// It takes raw activations. Scales that helped training are folded into the weights beforehand.
#[derive(Clone, Debug, PartialEq)]
pub struct Sae {
    /// Subtracted from the input, `[d_in]`.
    pub b_in: Vec<f32>,
    pub encoder: Encoder,
    /// The dictionary, `[d_sae, d_in]`: one row per latent.
    pub w_dec: Mat,
    /// Added to the reconstruction, `[d_in]`.
    pub b_dec: Vec<f32>,
}

/// How a row becomes latents.
#[derive(Clone, Debug, PartialEq)]
pub enum Encoder {
    /// `act((x − b_in) · w_enc + b_enc)`, with `w_enc` of shape `[d_in, d_sae]`.
    Linear { w_enc: Mat, b_enc: Vec<f32>, act: Activation },
    /// Orthogonal matching pursuit over the dictionary with at most `k` active latents a row: the best that is known
    /// to be cheap for *any* set of directions, so that dictionaries can be compared without their encoders.
    MatchingPursuit { k: usize, non_negative: bool },
}

/// What follows the encoder's product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    Identity,
    Relu,
    /// The `k` largest of a row, then ReLU. Ties go to the lower index.
    TopK {
        k: usize,
    },
}

impl Sae {
    /// Puts the parts together. Panics with the shapes when they do not fit.
    pub fn new(b_in: Vec<f32>, encoder: Encoder, w_dec: Mat, b_dec: Vec<f32>) -> Self {
        let (d_sae, d_in) = w_dec.shape();
        assert_eq!((b_in.len(), b_dec.len()), (d_in, d_in), "b_in and b_dec beside w_dec [{d_sae}, {d_in}]");
        if let Encoder::Linear { w_enc, b_enc, .. } = &encoder {
            assert_eq!(w_enc.shape(), (d_in, d_sae), "w_enc beside w_dec [{d_sae}, {d_in}]");
            assert_eq!(b_enc.len(), d_sae, "b_enc beside w_dec [{d_sae}, {d_in}]");
        }
        Self { b_in, encoder, w_dec, b_dec }
    }

    /// A dictionary without an encoder of its own: matching pursuit around `mean`.
    pub fn from_dictionary(dictionary: Mat, mean: Vec<f32>, k: usize, non_negative: bool) -> Self {
        Self::new(mean.clone(), Encoder::MatchingPursuit { k, non_negative }, dictionary, mean)
    }

    pub fn d_in(&self) -> usize {
        self.w_dec.cols()
    }

    pub fn d_sae(&self) -> usize {
        self.w_dec.rows()
    }

    /// One direction per row, `[d_sae, d_in]`.
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
        let encode: Box<EncodeBlock> = match &self.encoder {
            Encoder::Linear { w_enc, b_enc, act } => Box::new(|block| linear(block, w_enc, b_enc, *act)),
            Encoder::MatchingPursuit { k, non_negative } => {
                let dictionary = Dictionary::new(&self.w_dec);
                let pursuit = Omp { k: *k, non_negative: *non_negative };
                Box::new(move |block| pursuit.recover(&dictionary, block))
            }
        };
        for (from, to) in blocks(x.rows(), self.d_sae().max(self.d_in())) {
            let rows = encode(&centred(x, from, to, &self.b_in));
            visit(from, latents(self.d_sae(), rows));
        }
    }

    /// `latents · w_dec + b_dec`, `[rows, d_in]`. Panics unless the latents are `d_sae` wide.
    pub fn decode(&self, latents: &Latents) -> Mat {
        let mut recon = sparse_dense(latents, &self.w_dec);
        for row in recon.data_mut().chunks_mut(self.d_in().max(1)) {
            row.iter_mut().zip(&self.b_dec).for_each(|(r, b)| *r += b);
        }
        recon
    }
}

/// From centred rows to their active latents.
type EncodeBlock<'a> = dyn Fn(&Mat) -> Vec<Sparse> + 'a;

fn linear(x: &Mat, w_enc: &Mat, b_enc: &[f32], act: Activation) -> Vec<Sparse> {
    let mut z = Mat::from_vec(x.rows(), b_enc.len(), b_enc.repeat(x.rows()));
    gemm(1.0, x.view(), w_enc.view(), 1.0, &mut z);
    (0..x.rows()).into_par_iter().map_init(Vec::new, |scratch, i| act.active(z.row(i), scratch)).collect()
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

impl Activation {
    /// The active latents of one row of pre-activations; `scratch` may hold anything.
    fn active(self, z: &[f32], scratch: &mut Vec<u64>) -> Sparse {
        let all = z.iter().enumerate().map(|(j, &z)| (j as u32, z));
        match self {
            Activation::Identity => all.filter(|a| a.1 != 0.0).collect(),
            Activation::Relu => all.filter(|a| a.1 > 0.0).collect(),
            Activation::TopK { k } => {
                let k = k.min(z.len());
                let (mut indices, mut values) = (vec![0; k], vec![0.0; k]);
                top_k_of_row(z, scratch, &mut indices, &mut values);
                indices.into_iter().zip(values).filter(|a| a.1 > 0.0).collect()
            }
        }
    }
}

/// Cuts `rows` into blocks whose `[block, width]` product stays below [`BLOCK_ENTRIES`].
pub(super) fn blocks(rows: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let height = (BLOCK_ENTRIES / width.max(1)).max(MIN_BLOCK_ROWS);
    (0..rows.div_ceil(height)).map(move |b| (b * height, ((b + 1) * height).min(rows)))
}

/// Rows `from..to` of `x` less `mean`.
pub(super) fn centred(x: &Mat, from: usize, to: usize, mean: &[f32]) -> Mat {
    let mut block = Mat::from_vec(to - from, x.cols(), x.rows_view(from, to).data.to_vec());
    for row in block.data_mut().chunks_mut(mean.len().max(1)) {
        row.iter_mut().zip(mean).for_each(|(x, m)| *x -= m);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
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
        if let Activation::TopK { k } = *act {
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
            let sae = random(act, 7, 19);
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

    #[test]
    fn ties_go_to_the_lower_index_and_only_positive_latents_are_active() {
        let kept = |k| Activation::TopK { k }.active(&[1.0, -3.0, 1.0, 2.0, 1.0], &mut Vec::new());
        assert_eq!(kept(3), [(0, 1.0), (2, 1.0), (3, 2.0)]);
        assert_eq!(kept(9).len(), 4);
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
