//! What an encoder keeps of `z = x·wᵀ + b`, without all of `z` in memory: the largest entries of each row, or of a batch, or
//! those above a bound of their column.

use super::gemm::gemm;
use super::pursuit::largest;
use super::screen::Screen;
use super::sparse::SparseRows;
use super::topk::{TopK, top_k};
use crate::{Mat, View};
use rayon::prelude::*;

/// Rows that are looked at first, to see whether screening pays.
const TRIAL_ROWS: usize = 96;
/// Screening pays where fewer than one product in so many is computed in full.
const PAYS: u64 = 12;
/// Narrower dictionaries are not worth screening.
const NARROW: usize = 512;
/// Entries of `z` held at once (8 MiB).
const BLOCK_ENTRIES: usize = 1 << 21;

/// The encoder's product before anything is kept: rows `x` `[rows, depth]`, one row of `w` `[n, depth]` and one entry of `b` `[n]` per
/// column.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    pub x: &'a Mat,
    pub w: &'a Mat,
    pub b: &'a [f32],
}

impl Product<'_> {
    fn n(&self) -> usize {
        self.w.rows()
    }

    /// The `k` largest entries of each row, ascending in column; ties go to the lower one. Panics if there are fewer columns.
    ///
    /// Entries are exact sums in `f32`; how they round depends on which of two ways was taken, which rows, weights and `k` alone decide.
    pub fn top_k(&self, k: usize) -> TopK {
        assert!(k <= self.n(), "the {k} largest of {} columns", self.n());
        self.screened(k).unwrap_or_else(|| self.dense_top_k(k))
    }

    fn screened(&self, k: usize) -> Option<TopK> {
        if self.n() < NARROW || k * 8 > self.n() || self.x.rows() == 0 {
            return None;
        }
        let screen = Screen::new(self.w, self.x)?;
        let few = TRIAL_ROWS.min(self.x.rows());
        let trial = Mat::from_vec(few, self.x.cols(), self.x.rows_view(0, few).data.to_vec());
        let computed = screen.top_k(&trial, self.w, self.b, k).computed;
        if computed * PAYS > (few * self.n()) as u64 {
            return None;
        }
        let found = screen.top_k(self.x, self.w, self.b, k);
        Some(TopK { k, indices: found.indices, values: found.values })
    }

    fn dense_top_k(&self, k: usize) -> TopK {
        let mut out = TopK { k, indices: Vec::new(), values: Vec::new() };
        self.each_block(|_, z| {
            let top = top_k(z, k);
            out.indices.extend(top.indices);
            out.values.extend(top.values);
        });
        out
    }

    /// The `k` entries of each row that are largest by size, with their signs.
    pub fn top_k_by_size(&self, k: usize) -> SparseRows {
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        self.each_block(|_, z| {
            let mut sizes = z.clone();
            sizes.data_mut().iter_mut().for_each(|z| *z = z.abs());
            let top = top_k(&sizes, k);
            let row = |e: usize| e / k.max(1);
            values.extend(top.indices.iter().enumerate().map(|(e, &j)| z[(row(e), j as usize)]));
            indices.extend(top.indices);
        });
        SparseRows::new(self.n(), (0..=self.x.rows()).map(|i| i * k).collect(), indices, values)
    }

    /// The `total` largest entries of all rows together that are above zero; ties go to the earlier row and the lower column. Fewer
    /// where fewer are above zero.
    pub fn largest_of_all(&self, total: usize) -> SparseRows {
        let rows = self.x.rows();
        // Enough of each row that hardly any row has more among the largest of all.
        let each = (3 * total.div_ceil(rows.max(1))).clamp(1, self.n().max(1)).min(self.n());
        let top = self.top_k(each);
        let mut kept: Vec<Vec<(u32, f32)>> = (0..rows)
            .map(|i| {
                let at = i * each..(i + 1) * each;
                let row = top.indices[at.clone()].iter().copied().zip(top.values[at].iter().copied());
                row.filter(|a| a.1 > 0.0).collect()
            })
            .collect();
        let threshold = nth_largest(&kept, total);
        // A row that is used up above the threshold may hold more: all of it is looked at.
        let short: Vec<usize> = (0..rows)
            .filter(|&i| each < self.n() && kept[i].len() == each && kept[i].iter().all(|a| a.1 >= threshold))
            .collect();
        if !short.is_empty() {
            let again = Mat::from_fn(short.len(), self.x.cols(), |r, c| self.x[(short[r], c)]);
            let above = Product { x: &again, ..*self }.above(&vec![threshold.max(0.0).next_down(); self.n()]);
            for (r, &i) in short.iter().enumerate() {
                let (js, vs) = above.row(r);
                kept[i] = js.iter().copied().zip(vs.iter().copied()).filter(|a| a.1 > 0.0).collect();
            }
        }
        let threshold = nth_largest(&kept, total);
        let mut ties = total.saturating_sub(kept.iter().flatten().filter(|a| a.1 > threshold).count());
        kept.iter_mut().for_each(|row| {
            row.retain(|a| {
                let tie = a.1 == threshold && ties > 0;
                ties -= usize::from(tie);
                a.1 > threshold || tie
            });
        });
        from_rows(self.n(), kept)
    }

    /// The largest entry of each of `groups` runs of columns, where it is above zero; ties go to the lower column. Panics unless the
    /// runs are of equal length.
    pub fn largest_of_groups(&self, groups: usize) -> SparseRows {
        assert!(groups > 0 && self.n().is_multiple_of(groups), "{groups} groups of {} columns", self.n());
        let run = self.n() / groups;
        let mut kept: Vec<Vec<(u32, f32)>> = Vec::with_capacity(self.x.rows());
        self.each_block(|_, z| {
            let row = |i: usize| {
                let winner = |(g, members): (usize, &[f32])| {
                    let (at, value) = largest(members, true)?;
                    Some(((g * run + at) as u32, value))
                };
                z.row(i).chunks(run).enumerate().filter_map(winner).collect()
            };
            kept.par_extend((0..z.rows()).into_par_iter().map(row));
        });
        from_rows(self.n(), kept)
    }

    /// Every entry above the bound of its column, `[n]`.
    pub fn above(&self, bounds: &[f32]) -> SparseRows {
        assert_eq!(bounds.len(), self.n(), "bounds for {} columns", self.n());
        let mut kept: Vec<Vec<(u32, f32)>> = Vec::with_capacity(self.x.rows());
        self.each_block(|_, z| {
            let row = |i: usize| {
                let entries = z.row(i).iter().zip(bounds).enumerate();
                entries.filter(|(_, (z, bound))| z > bound).map(|(j, (z, _))| (j as u32, *z)).collect()
            };
            kept.par_extend((0..z.rows()).into_par_iter().map(row));
        });
        from_rows(self.n(), kept)
    }

    /// All of `z`, some rows at a time.
    pub fn each_block(&self, mut visit: impl FnMut(usize, &Mat)) {
        let height = (BLOCK_ENTRIES / self.n().max(1)).clamp(256, 1 << 14);
        for from in (0..self.x.rows()).step_by(height) {
            let x: View<'_> = self.x.rows_view(from, (from + height).min(self.x.rows()));
            let mut z = Mat::from_vec(x.rows, self.n(), self.b.repeat(x.rows));
            gemm(1.0, x, self.w.t(), 1.0, &mut z);
            visit(from, &z);
        }
    }
}

/// The `n`-th largest of all values, or 0 where there are fewer.
fn nth_largest(rows: &[Vec<(u32, f32)>], n: usize) -> f32 {
    let mut all: Vec<f32> = rows.iter().flatten().map(|a| a.1).collect();
    if n == 0 || all.len() < n {
        return if n == 0 { f32::INFINITY } else { 0.0 };
    }
    *all.select_nth_unstable_by(n - 1, |a, b| b.total_cmp(a)).1
}

fn from_rows(cols: usize, rows: Vec<Vec<(u32, f32)>>) -> SparseRows {
    let mut offsets = vec![0];
    rows.iter().for_each(|row| offsets.push(offsets[offsets.len() - 1] + row.len()));
    let nnz = offsets[rows.len()];
    let (mut indices, mut values) = (vec![0u32; nnz], vec![0f32; nnz]);
    let (mut left_j, mut left_v) = (&mut indices[..], &mut values[..]);
    let mut places = Vec::with_capacity(rows.len());
    for row in &rows {
        let (j, rest_j) = left_j.split_at_mut(row.len());
        let (v, rest_v) = left_v.split_at_mut(row.len());
        places.push((j, v));
        (left_j, left_v) = (rest_j, rest_v);
    }
    rows.par_iter().zip(places).for_each(|(row, (js, vs))| {
        row.iter().zip(js.iter_mut().zip(vs)).for_each(|(&from, (j, v))| (*j, *v) = from);
    });
    SparseRows::new(cols, offsets, indices, values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn case(rows: usize, n: usize, depth: usize) -> (Mat, Mat, Vec<f32>) {
        let mut rng = Rng::new(3).fork("encode");
        let x = Mat::from_fn(rows, depth, |i, _| rng.normal() * if i == 0 { 20.0 } else { 1.0 });
        let w = Mat::from_fn(n, depth, |_, _| rng.normal());
        (x, w, (0..n).map(|_| 0.1 * rng.normal()).collect())
    }

    fn dense(p: &Product) -> Mat {
        let mut z = Mat::from_vec(p.x.rows(), p.n(), p.b.repeat(p.x.rows()));
        gemm(1.0, p.x.view(), p.w.t(), 1.0, &mut z);
        z
    }

    fn close(a: &[f32], b: &[f32]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-4 * b.abs().max(1.0))
    }

    #[test]
    fn what_is_kept_is_what_the_whole_product_has() {
        for (rows, n, depth, k) in [(150, 1200, 40, 8), (20, 60, 5, 3)] {
            let (x, w, b) = case(rows, n, depth);
            let p = Product { x: &x, w: &w, b: &b };
            let z = dense(&p);
            let (got, want) = (p.top_k(k), top_k(&z, k));
            assert!(got.indices == want.indices && close(&got.values, &want.values));
            // The first row is so loud that it takes more than its share of the batch.
            let total = k * rows;
            let got = p.largest_of_all(total);
            let mut all: Vec<f32> = z.data().iter().copied().filter(|v| *v > 0.0).collect();
            all.sort_by(|a, b| b.total_cmp(a));
            let mut found = got.values().to_vec();
            found.sort_by(|a, b| b.total_cmp(a));
            assert!(close(&found, &all[..total]) && got.row(0).0.len() > 3 * k);
            let bounds: Vec<f32> = (0..n).map(|j| (j % 7) as f32).collect();
            let got = p.above(&bounds);
            let count = (0..rows).map(|i| (0..n).filter(|&j| z[(i, j)] > bounds[j]).count()).sum::<usize>();
            assert_eq!(got.nnz(), count);
            let runs = p.largest_of_groups(n / 10);
            for (i, run) in (0..rows).flat_map(|i| (0..n / 10).map(move |g| (i, 10 * g..10 * (g + 1)))) {
                let top = run.clone().fold(None, |top: Option<usize>, j| match top {
                    Some(best) if z[(i, best)] >= z[(i, j)] => top,
                    _ => (z[(i, j)] > 0.0).then_some(j),
                });
                let found: Vec<usize> = runs.row(i).0.iter().map(|&j| j as usize).filter(|j| run.contains(j)).collect();
                assert_eq!(found, top.into_iter().collect::<Vec<_>>());
            }
            let sizes = p.top_k_by_size(k);
            let mut flipped = z.clone();
            flipped.data_mut().iter_mut().for_each(|z| *z = z.abs());
            assert_eq!(sizes.indices(), top_k(&flipped, k).indices);
        }
    }
}
