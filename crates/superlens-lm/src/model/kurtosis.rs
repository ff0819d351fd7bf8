//! How heavy the tails of activations are, layer by layer, along the columns and along random directions.
//!
//! Sums of many things are close to Gaussian, whose excess kurtosis is 0; what is mostly silent and sometimes large has a high one. Where columns have a
//! higher one than random directions of the same activations, they are no basis like any other: the activations know them (Elhage et al. 2023,
//! Privileged Bases in the Transformer Residual Stream).

use rayon::prelude::*;
use serde::Serialize;
use superlens_tensor::decomp::qr;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

use super::hook::{Point, Site, Sites};
use super::transformer::Transformer;
use crate::intervene::Text;

/// Random directions of a site, at right angles to one another: enough of them for a mean, far cheaper than a whole rotation.
const DIRECTIONS: usize = 256;
/// Of less excess kurtosis than this a share would be one of chance.
const LEAST: f64 = 0.5;
/// Texts at once, whose sums are held side by side.
const AT_ONCE: usize = 8;

/// Tails at one site.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tails {
    /// Mean excess kurtosis over the columns that vary.
    pub columns: f64,
    /// The same over random directions.
    pub rotated: f64,
    /// The share of the columns' kurtosis that a rotation takes away, `1 − rotated / columns`; `None` where next to nothing is there to take away.
    pub alignment: Option<f64>,
}

/// One layer's: of its neurons, and of the stream after it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerTails {
    pub neurons: Tails,
    pub stream: Tails,
}

/// Sums of the first four powers of each column.
#[derive(Clone)]
struct Powers {
    n: f64,
    sums: Vec<[f64; 4]>,
}

impl Powers {
    fn of(x: &Mat) -> Powers {
        let mut sums = vec![[0.0; 4]; x.cols()];
        for i in 0..x.rows() {
            for (sum, &x) in sums.iter_mut().zip(x.row(i)) {
                let x = f64::from(x);
                let square = x * x;
                [x, square, square * x, square * square].into_iter().zip(sum).for_each(|(power, sum)| *sum += power);
            }
        }
        Powers { n: x.rows() as f64, sums }
    }

    fn add(&mut self, other: &Powers) {
        self.n += other.n;
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
    }

    /// The mean excess kurtosis of the columns that vary.
    fn excess(&self) -> f64 {
        let of = |sum: &[f64; 4]| {
            let [m, m2, m3, m4] = sum.map(|s| s / self.n);
            let variance = m2 - m * m;
            let fourth = m4 - 4.0 * m * m3 + 6.0 * m * m * m2 - 3.0 * m.powi(4);
            // What is left of a constant column is rounding.
            (variance > 1e-10 * m2).then(|| fourth / (variance * variance) - 3.0)
        };
        let all: Vec<f64> = self.sums.iter().filter_map(of).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }
}

/// Of every layer, over the tokens of the texts that are not spared.
pub fn of_activations(model: &Transformer, texts: &[Text], seed: u64) -> Vec<LayerTails> {
    let config = &model.config;
    let layers = config.layers.len();
    let points = [Point::Post, Point::ResidPost];
    let rng = Rng::new(seed).fork("kurtosis");
    let directions = [config.d_mlp, config.d_model].map(|d| directions(d, &mut rng.fork_index(d as u64)));
    let sites = Sites::new((0..layers).flat_map(|layer| points.map(|point| Site::Block(layer, point))), config);
    let of = |text: &Text| {
        let kept: Option<Vec<usize>> =
            text.spared.as_ref().map(|spared| (0..spared.len()).filter(|&row| !spared[row]).collect());
        let mut found: Vec<[Powers; 2]> = Vec::new();
        model.forward(&text.batch, &sites, None, &mut |site, x| {
            let x = kept.as_ref().map_or_else(|| x.clone(), |rows| x.select_rows(rows));
            let which = usize::from(matches!(site, Site::Block(_, Point::ResidPost)));
            found.push([Powers::of(&x), Powers::of(&matmul(&x, &directions[which]))]);
        });
        found
    };
    let mut sum: Vec<[Powers; 2]> = Vec::new();
    for some in texts.chunks(AT_ONCE) {
        for found in some.par_iter().map(of).collect::<Vec<_>>() {
            if sum.is_empty() {
                sum = found;
            } else {
                sum.iter_mut().zip(&found).for_each(|(a, b)| a.iter_mut().zip(b).for_each(|(a, b)| a.add(b)));
            }
        }
    }
    let tails = |[columns, rotated]: &[Powers; 2]| {
        let (columns, rotated) = (columns.excess(), rotated.excess());
        Tails { columns, rotated, alignment: (columns > LEAST).then(|| 1.0 - rotated / columns) }
    };
    sum.chunks_exact(2).map(|of| LayerTails { neurons: tails(&of[0]), stream: tails(&of[1]) }).collect()
}

/// Orthonormal directions, a column each.
fn directions(d: usize, rng: &mut Rng) -> Mat {
    let n = d.min(DIRECTIONS);
    let gaussian: Vec<f64> = (0..d * n).map(|_| rng.normal_f64()).collect();
    Mat::from_vec(d, n, qr(&gaussian, d, n).q.into_iter().map(|x| x as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    #[test]
    fn tails_are_those_of_known_laws() {
        let mut rng = Rng::new(4);
        let gaussian = Mat::from_fn(40_000, 4, |_, j| 5.0 + (j + 1) as f32 * rng.normal());
        assert!(Powers::of(&gaussian).excess().abs() < 0.1);
        let coin = Mat::from_fn(1000, 2, |i, j| if j == 0 { 1.0 } else { f32::from(u8::from(i % 2 == 0)) });
        assert!((Powers::of(&coin).excess() + 2.0).abs() < 1e-9, "the constant column is no number");
        // Independent sparse columns: along a random direction of d of them the kurtosis is about 3 / (d + 2) of theirs.
        let sparse = Mat::from_fn(20_000, 64, |_, _| if rng.normal() > 1.5 { rng.normal() } else { 0.0 });
        let rotated = matmul(&sparse, &directions(64, &mut Rng::new(1)));
        let share = Powers::of(&rotated).excess() / Powers::of(&sparse).excess();
        assert!((share - 3.0 / 66.0).abs() < 0.02, "{share}");
    }

    #[test]
    fn every_layer_has_its_tails_whatever_the_threads() {
        let model = load(&fixtures().join("llama-gqa-published")).unwrap();
        let texts: Vec<Text> =
            (0..20).map(|s| Text::one(&(0..30).map(|i| (i * i + 7 * s * i + s) % 61).collect::<Vec<u32>>())).collect();
        let found = of_activations(&model, &texts, 3);
        assert_eq!(found.len(), model.config.layers.len());
        assert!(found.iter().all(|l| l.neurons.columns.is_finite() && l.stream.rotated.is_finite()));
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(alone.install(|| of_activations(&model, &texts, 3)), found);
    }
}
