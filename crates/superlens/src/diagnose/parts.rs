//! Parts of a layer: neurons that nothing links to the others. Two of them may be polysemantic for different reasons, so each is asked by itself.
//!
//! Two neurons are linked if one of them, or its size, goes with the other or its size. Ranks are compared, so that a few large values decide
//! nothing. In wide layers each pair may have too little in common to show: neurons that no rank links are linked by the features on them.

use super::finding::Neuron;
use super::look::Look;
use crate::probes::{Nearest, column_aucs, column_scales, standardised};
use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;

/// A feature lies on the strongest neurons that hold this share of it together.
const HELD: f64 = 0.5;
/// Rank correlation from which neurons are linked, and how many standard errors it must be away from none.
const LINKED: f64 = 0.1;
const ERRORS: f64 = 6.0;
/// Rows that are compared.
const ROWS: usize = 8000;
/// Smaller parts have too little to be asked, and go with the layer.
const LEAST: usize = 6;
/// A part that is nearly all of the layer is the layer.
const WHOLE: f64 = 0.9;
/// Neighbours that say what a row's label is, and how far above chance they must be for a part to know it.
const NEIGHBOURS: usize = 15;
const TOLD: f64 = 0.05;
/// Parts at most, the largest: each costs a diagnosis.
const MOST: usize = 6;

/// Parts that are worth a diagnosis of their own, as columns of the input, ascending; empty where the layer is of one piece. `x` holds the
/// live columns among others, `neurons` what is known of each column so far.
pub(super) fn parts(x: &Mat, look: &Look, neurons: &[Neuron]) -> Vec<Vec<usize>> {
    let n = look.live.len();
    let mut groups = Groups::new(n);
    link_by_ranks(x, &look.live, look.effective, &mut groups);
    let alone = |groups: &mut Groups| -> Vec<usize> {
        let mut alone: Vec<usize> = groups.all().into_iter().filter(|part| part.len() < LEAST).flatten().collect();
        alone.sort_unstable();
        alone
    };
    let loose = alone(&mut groups);
    link_by_features(&look.in_neurons.select_cols(&look.live), &loose, &mut groups);
    // What is left of neurons that are more than one thing is one part: a code may show in no pair of its neurons.
    let many = |k: &usize| neurons[look.live[*k]].n_features != 1;
    let rest: Vec<usize> = alone(&mut groups).into_iter().filter(many).collect();
    rest.iter().for_each(|&k| groups.join(rest[0], k));
    let mut parts = groups.all();
    parts.retain(|part| part.len() >= LEAST && (part.len() as f64) < WHOLE * n as f64);
    parts.sort_by_key(|part| (std::cmp::Reverse(part.len()), part[0]));
    parts.truncate(MOST);
    parts.sort();
    parts.iter().map(|part| part.iter().map(|&k| look.live[k]).collect()).collect()
}

/// Which labels each of the `parts` is asked about, as columns: those that its rows tell best, or half as well as the best do. A label that no part
/// tells, and not the neurons outside of them either, may be anybody's.
pub(super) fn labels_of(parts: &[Vec<usize>], x: &Mat, labels: &Mat, live: &[usize]) -> Vec<Vec<usize>> {
    let step = x.rows().div_ceil(ROWS / 2).max(1);
    let rows: Vec<usize> = (0..x.rows()).step_by(step).collect();
    let classes = classes(&labels.select_rows(&rows));
    let outside: Vec<usize> = live.iter().copied().filter(|j| !parts.iter().any(|p| p.contains(j))).collect();
    let tell = |columns: &Vec<usize>| tells(&x.select_rows(&rows).select_cols(columns), &classes);
    let told: Vec<Vec<f64>> = parts.iter().chain([&outside]).map(tell).collect();
    let best = |c: usize| told.iter().map(|t| t[c]).fold(0.0, f64::max);
    let asked = |p: usize, c: usize| best(c) < TOLD || told[p][c] >= 0.5 * best(c);
    (0..parts.len()).map(|p| (0..labels.cols()).filter(|&c| asked(p, c)).collect()).collect()
}

/// Zeros and ones: a real label is cut at its median.
fn classes(labels: &Mat) -> Mat {
    let bounds: Vec<f32> = (0..labels.cols())
        .map(|c| {
            let mut column: Vec<f32> = (0..labels.rows()).map(|i| labels[(i, c)]).collect();
            column.sort_unstable_by(f32::total_cmp);
            let real = column.iter().any(|v| *v != 0.0 && *v != 1.0);
            if real { column[column.len() / 2] } else { 0.5 }
        })
        .collect();
    Mat::from_fn(labels.rows(), labels.cols(), |i, c| f32::from(labels[(i, c)] > bounds[c]))
}

/// How far above chance the nearest rows tell each class: AUC − ½ on every third row.
fn tells(x: &Mat, classes: &Mat) -> Vec<f64> {
    if x.cols() == 0 {
        return vec![0.0; classes.cols()];
    }
    let (mean, scale) = column_scales(x);
    let x = standardised(x, &mean, &scale);
    let (asked, known): (Vec<usize>, Vec<usize>) = (0..x.rows()).partition(|i| i % 3 == 2);
    if asked.is_empty() || known.is_empty() {
        return vec![0.0; classes.cols()];
    }
    let nearest = Nearest::fit(&x.select_rows(&known), &classes.select_rows(&known), NEIGHBOURS);
    let aucs = column_aucs(&nearest.scores(&x.select_rows(&asked)), &classes.select_rows(&asked));
    aucs.into_iter().map(|auc| (auc.unwrap_or(0.5) - 0.5).max(0.0)).collect()
}

/// `lines` `[features, live neurons]`. Only `loose` neurons are linked: the direction of a feature is never exact, and what is wrong with it
/// would link neurons that have nothing to do with each other.
fn link_by_features(lines: &Mat, loose: &[usize], groups: &mut Groups) {
    for i in 0..lines.rows() {
        let line = lines.row(i);
        let mut order: Vec<usize> = (0..line.len()).collect();
        order.sort_by(|&a, &b| line[b].abs().total_cmp(&line[a].abs()).then(a.cmp(&b)));
        let total: f64 = line.iter().map(|v| f64::from(*v).powi(2)).sum();
        let (mut held, mut first) = (0.0, None);
        for &k in &order {
            if loose.binary_search(&k).is_ok() {
                groups.join(*first.get_or_insert(k), k);
            }
            held += f64::from(line[k]).powi(2);
            if held >= HELD * total {
                break;
            }
        }
    }
}

fn link_by_ranks(x: &Mat, live: &[usize], effective: f64, groups: &mut Groups) {
    let step = x.rows().div_ceil(ROWS).max(1);
    let rows: Vec<usize> = (0..x.rows()).step_by(step).collect();
    // Neighbouring rows of a stream count less than their number.
    let counted = (rows.len() as f64).min(effective).max(1.0);
    let bound = LINKED.max(ERRORS / counted.sqrt());
    let columns: Vec<Vec<f32>> = live
        .par_iter()
        .flat_map_iter(|&j| {
            let column: Vec<f32> = rows.iter().map(|&i| x[(i, j)]).collect();
            let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / column.len() as f64;
            let size: Vec<f32> = column.iter().map(|v| (f64::from(*v) - mean).abs() as f32).collect();
            [ranks(&column), ranks(&size)]
        })
        .collect();
    let n = live.len();
    let all = Mat::from_fn(2 * n, rows.len(), |k, i| columns[k][i]);
    let together = matmul(&all, all.t());
    for a in 0..n {
        for b in 0..a {
            let most = [(0, 0), (0, 1), (1, 0), (1, 1)]
                .map(|(p, q)| f64::from(together[(2 * a + p, 2 * b + q)].abs()))
                .into_iter()
                .fold(0.0, f64::max);
            if most >= bound {
                groups.join(a, b);
            }
        }
    }
}

/// Mean ranks, centred and at unit length; zeros where all are equal.
fn ranks(x: &[f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut out = vec![0.0; x.len()];
    let mut from = 0;
    while from < order.len() {
        let to = from + order[from..].iter().take_while(|&&i| x[i] == x[order[from]]).count();
        let centred = (from + to - 1) as f32 / 2.0 - (x.len() - 1) as f32 / 2.0;
        order[from..to].iter().for_each(|&i| out[i] = centred);
        from = to;
    }
    let length = out.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        out.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
    out
}

/// Which of `0..n` are joined, directly or through others.
struct Groups(Vec<usize>);

impl Groups {
    fn new(n: usize) -> Groups {
        Groups((0..n).collect())
    }

    fn root(&mut self, mut k: usize) -> usize {
        while self.0[k] != k {
            self.0[k] = self.0[self.0[k]];
            k = self.0[k];
        }
        k
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }

    /// Each group ascending.
    fn all(&mut self) -> Vec<Vec<usize>> {
        let n = self.0.len();
        let mut out = vec![Vec::new(); n];
        for k in 0..n {
            let root = self.root(k);
            out[root].push(k);
        }
        out.retain(|group| !group.is_empty());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_joined_through_others() {
        let mut groups = Groups::new(7);
        [(5, 2), (6, 5), (0, 1), (2, 6)].into_iter().for_each(|(a, b)| groups.join(a, b));
        assert_eq!(groups.all(), [vec![0, 1], vec![2, 5, 6], vec![3], vec![4]]);
    }

    #[test]
    fn labels_go_to_the_part_that_tells_them() {
        let mut rng = superlens_tensor::Rng::new(1);
        let x = Mat::from_fn(3000, 9, |_, _| rng.normal());
        // Of neuron 1, of the size of neuron 5, of the neuron outside of both parts, of nothing.
        let labels = Mat::from_fn(3000, 4, |i, c| {
            f32::from([x[(i, 1)] > 0.3, x[(i, 5)].abs() > 0.7, x[(i, 8)] > 0.0, i % 2 == 0][c])
        });
        let parts = [vec![0, 1, 2, 3], vec![4, 5, 6, 7]];
        let live: Vec<usize> = (0..9).collect();
        assert_eq!(labels_of(&parts, &x, &labels, &live), [vec![0, 3], vec![1, 3]]);
    }

    #[test]
    fn ranks_are_shared_by_equals() {
        let got = ranks(&[3.0, -1.0, 3.0, 9.0, -0.5]);
        let want = [0.5, -2.0, 0.5, 2.0, -1.0];
        let length = want.iter().map(|v| v * v).sum::<f32>().sqrt();
        assert!(got.iter().zip(want).all(|(g, w)| (g - w / length).abs() < 1e-6), "{got:?}");
        assert_eq!(ranks(&[2.0; 3]), [0.0; 3]);
    }
}
