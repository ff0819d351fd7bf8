//! What the same sparse probe reads from turned bases, and from labels that belong to other rows.

use rayon::prelude::*;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::{gemm_into, matmul};
use superlens_tensor::{Mat, Rng, View};

use super::ground::{Ground, Target};
use super::readout::Scores;
use super::rotation::longest_axes;
use super::selectors::Selector;

/// Numbers of projections that are in memory at once, and columns of them.
const NUMBERS: usize = 1 << 25;
const COLUMNS: usize = 256;
/// Units up to which whole rows are turned; work and memory grow with their square.
pub(super) const WIDEST: usize = 512;
/// Rows that are turned at once.
const PIECE: usize = 2048;
/// Labels are shifted by this share of the rows at least, either way round.
const LEAST_SHIFT: usize = 20;

/// F1 of each draw.
#[derive(Clone, Debug, Default)]
pub(super) struct Null(pub Vec<f64>);

impl Null {
    /// (1 + draws that are as good) / (1 + draws); `None` without draws.
    pub fn p(&self, real: f64) -> Option<f64> {
        let as_good = self.0.iter().filter(|f1| **f1 >= real).count();
        (!self.0.is_empty()).then(|| (1 + as_good) as f64 / (1 + self.0.len()) as f64)
    }

    pub fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }
}

/// What is drawn.
pub(super) struct Draws<'a> {
    pub selector: &'a Selector,
    pub k: usize,
    pub draws: usize,
    pub rng: Rng,
}

type Watch<'w> = &'w mut dyn FnMut(f64);

/// One null for each of `targets`: the probe on Haar-rotated units, those that vary, turned about their mean. `labels` `[rows, targets]`.
///
/// `None` where the selector must see turned rows and the layer is too wide for that.
pub(super) fn rotated(
    ground: &Ground,
    targets: &[&Target],
    labels: &Mat,
    asked: &Draws,
    watch: Watch,
) -> Option<Vec<Null>> {
    if asked.selector.by_difference {
        return Some(along_axes(ground, targets, asked, watch));
    }
    (ground.varying().len() <= WIDEST).then(|| turned(ground, labels, asked, watch))
}

/// Where selection sees the difference of means alone: a rotation for every concept and draw, of which only the chosen axes are made.
fn along_axes(ground: &Ground, targets: &[&Target], asked: &Draws, watch: Watch) -> Vec<Null> {
    let varying = ground.varying();
    let (rows, d, k) = (ground.x.rows(), ground.x.cols(), asked.k.min(varying.len()));
    let pairs: Vec<(usize, usize)> =
        (0..targets.len()).flat_map(|c| (0..asked.draws).map(move |draw| (c, draw))).collect();
    let per = ((NUMBERS / rows.max(1)).min(COLUMNS) / k.max(1)).max(1);
    let mut nulls = vec![Null::default(); targets.len()];
    for (at, chunk) in pairs.chunks(per).enumerate() {
        watch((at * per) as f64 / pairs.len() as f64);
        let axes = |&(c, draw): &(usize, usize)| {
            let mut rng = asked.rng.fork_index(c as u64).fork_index(draw as u64);
            let difference: Vec<f64> = varying.iter().map(|&j| targets[c].difference[j]).collect();
            longest_axes(&difference, k, &mut rng)
        };
        let axes: Vec<Vec<Vec<f64>>> = chunk.par_iter().map(axes).collect();
        let mut directions = Mat::zeros(chunk.len() * k, d);
        for (row, axis) in axes.iter().flatten().enumerate() {
            let to = directions.row_mut(row);
            varying.iter().zip(axis).for_each(|(&j, v)| to[j] = *v as f32);
        }
        let seen = matmul(ground.x, directions.t());
        let read = |(p, &(c, _)): (usize, &(usize, usize))| {
            let gather = |rows: &[usize]| Mat::from_fn(rows.len(), k, |i, j| seen[(rows[i], p * k + j)]);
            Scores::new(&gather(&ground.train), &gather(&ground.held_out), targets[c]).f1(targets[c])
        };
        let found: Vec<f64> = chunk.par_iter().enumerate().map(read).collect();
        chunk.iter().zip(found).for_each(|(&(c, _), f1)| nulls[c].0.push(f1));
    }
    nulls
}

/// Turned rows, the same for all concepts of a draw.
fn turned(ground: &Ground, labels: &Mat, asked: &Draws, watch: Watch) -> Vec<Null> {
    let varying = ground.varying();
    let (rows, m) = (ground.x.rows(), varying.len());
    let mut nulls = vec![Null::default(); labels.cols()];
    for draw in 0..asked.draws {
        watch(draw as f64 / asked.draws as f64);
        let rotation = haar_rotation(m, &mut asked.rng.fork_index(draw as u64));
        let rotation = Mat::from_vec(m, m, rotation.iter().map(|v| *v as f32).collect());
        let mut x = Mat::zeros(rows, m);
        x.data_mut().par_chunks_mut(PIECE * m.max(1)).enumerate().for_each(|(piece, to)| {
            let entry = |at: usize| {
                let (row, j) = (piece * PIECE + at / m, varying[at % m]);
                (f64::from(ground.x[(row, j)]) - ground.mean[j]) as f32
            };
            let centred: Vec<f32> = (0..to.len()).map(entry).collect();
            gemm_into(1.0, View::contiguous(to.len() / m, m, &centred), rotation.view(), 0.0, to);
        });
        let turned = Ground::new(&x, ground.split);
        let found = each(&turned, &turned.targets(labels), asked);
        nulls.iter_mut().zip(found).for_each(|(null, f1)| null.0.push(f1));
    }
    nulls
}

/// One null for each column of `labels`: the probe on labels that are shifted along the rows, the end joined to the beginning, so that they
/// keep their runs and belong to other rows. Draws in which a part has no positive row tell nothing and are left out.
pub(super) fn shifted(ground: &Ground, labels: &Mat, asked: &Draws, watch: Watch) -> Vec<Null> {
    let (rows, concepts) = labels.shape();
    let least = (rows / LEAST_SHIFT).max(1);
    let mut nulls = vec![Null::default(); concepts];
    for draw in 0..asked.draws {
        watch(draw as f64 / asked.draws as f64);
        let mut rng = asked.rng.fork_index(draw as u64);
        let by = least + rng.below(rows.saturating_sub(2 * least).max(1));
        let mut moved = Mat::zeros(rows, concepts);
        (0..rows).for_each(|i| moved.row_mut((i + by) % rows).copy_from_slice(labels.row(i)));
        let targets = ground.targets(&moved);
        let found = each(ground, &targets, asked);
        for ((null, f1), target) in nulls.iter_mut().zip(found).zip(&targets) {
            if target.positives > 0 && target.held_out.contains(&true) {
                null.0.push(f1);
            }
        }
    }
    nulls
}

/// F1 of the probe for each target.
fn each(ground: &Ground, targets: &[Target], asked: &Draws) -> Vec<f64> {
    let one = |target: &Target| {
        let support = (asked.selector.pick)(ground, target, &[asked.k]).pop().unwrap_or_default();
        Scores::of_units(ground, target, &support).f1(target)
    };
    targets.par_iter().map(one).collect()
}
