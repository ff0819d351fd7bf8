//! The k largest of many inner products without computing most of them: products of eight-bit integers bound each one from both
//! sides, and only those that could be among the k largest are computed in full.
//!
//! With `x̂` and `ŵ` what the integers stand for, `x·w − x̂·ŵ = (x − x̂)·w + x̂·(w − ŵ)`, so by Cauchy and Schwarz
//! `|x·w − x̂·ŵ| ≤ ‖x − x̂‖ ‖w‖ + ‖x̂‖ ‖w − ŵ‖`: the answer is exact, not likely. Columns are scaled first so that none of them uses up
//! the eight bits of a row (as Xiao et al. 2022, SmoothQuant, arXiv 2211.10438, do for inference).
//!
//! Needs the integer dot products of AVX-512 (VNNI); elsewhere [`Screen::new`] gives nothing, and the dense product serves.

use super::pointwise::dot;
use super::sparse::{SparseRows, dots};
use super::topk::top_k_of_row;
use super::vectors::by_vectors;
use crate::Mat;
use rayon::prelude::*;

/// Rows of `w` in a tile: two registers of sixteen integers.
const TILE: usize = 32;
/// Rows of `x` that a tile is multiplied with at once.
const GROUP: usize = 12;
/// Rows of `x` per piece of parallel work.
const PANEL_ROWS: usize = 8 * GROUP;
/// Integers that are multiplied and added in one lane at once.
const QUAD: usize = 4;
/// Candidates that a row gathers before it is tidied, beyond those that stand.
const SLACK: usize = 256;

/// Rows of a matrix `w` `[n, depth]` as eight-bit integers, ready for products with rows of `x`.
pub struct Screen {
    depth: usize,
    n: usize,
    /// Tiles of `[depth / 4][TILE][4]`, each integer plus 128.
    tiles: Vec<u8>,
    /// What each column of `x` is divided by before it becomes integers, and each of `w` multiplied by.
    column: Vec<f32>,
    /// Per row, padded to whole tiles: what an integer stands for, `‖w‖`, and `‖w − ŵ‖`; columns scaled.
    scale: Vec<f32>,
    norm: Vec<f32>,
    error: Vec<f32>,
}

/// The `k` largest entries of each row of `x·wᵀ + b`, and how many products it took to know.
pub struct Screened {
    /// `[rows * k]`, ascending in a row.
    pub indices: Vec<u32>,
    /// The entries, `[rows * k]`, each as [`dot`] gives it plus `b`.
    pub values: Vec<f32>,
    /// Products that were computed in full.
    pub computed: u64,
}

impl Screen {
    /// For products with rows like those of `x`. `None` where the machine has no fast integer products.
    pub fn new(w: &Mat, x: &Mat) -> Option<Screen> {
        if !available() {
            return None;
        }
        let (n, depth) = w.shape();
        let column = column_scales(x, w);
        let (quads, tiles) = (depth.div_ceil(QUAD), n.div_ceil(TILE));
        let tile_len = quads * QUAD * TILE;
        let mut screen = Screen {
            depth,
            n,
            tiles: vec![128; tiles * tile_len],
            column,
            scale: vec![0.0; tiles * TILE],
            norm: vec![0.0; tiles * TILE],
            error: vec![0.0; tiles * TILE],
        };
        let Screen { tiles, column, scale, norm, error, .. } = &mut screen;
        let per_row = scale.par_chunks_mut(TILE).zip(norm.par_chunks_mut(TILE)).zip(error.par_chunks_mut(TILE));
        tiles.par_chunks_mut(tile_len).zip(per_row).enumerate().for_each(|(t, (tile, ((scale, norm), error)))| {
            let (mut row, mut bytes) = (vec![0.0; depth], vec![0; depth]);
            for r in 0..TILE.min(n - t * TILE) {
                row.iter_mut().zip(w.row(t * TILE + r)).zip(&*column).for_each(|((o, w), c)| *o = w * c);
                let q = Quantised::of(&row, &mut bytes);
                for (quad, bytes) in bytes.chunks(QUAD).enumerate() {
                    let at = (quad * TILE + r) * QUAD;
                    let offset = |(t, q): (&mut u8, &i8)| *t = (*q as u8).wrapping_add(128);
                    tile[at..at + bytes.len()].iter_mut().zip(bytes).for_each(offset);
                }
                (scale[r], norm[r], error[r]) = (q.scale, q.norm, q.error);
            }
        });
        Some(screen)
    }

    /// The `k` largest entries of each row of `x·wᵀ + b`, ties to the lower index. `w` is that which this was made of; `x` may be any
    /// finite rows of that width.
    pub fn top_k(&self, x: &Mat, w: &Mat, b: &[f32], k: usize) -> Screened {
        assert!(k <= self.n && w.shape() == (self.n, self.depth) && b.len() == self.n && x.cols() == self.depth);
        let panels = (0..x.rows().div_ceil(PANEL_ROWS)).into_par_iter().map(|p| {
            let rows = p * PANEL_ROWS..((p + 1) * PANEL_ROWS).min(x.rows());
            let mut panel = Panel::new(self, x, rows, b, k);
            panel.screen();
            panel.finish()
        });
        let rows: Vec<Row> = panels.collect::<Vec<_>>().into_iter().flatten().collect();
        // The k best estimates first: the least of their exact values is a threshold that most others don't reach.
        let exact = |pick: &(dyn Fn(&Row) -> Vec<u32> + Sync)| self.exact(pick, &rows, x, w, b);
        let best = exact(&|row| row.candidates.iter().take(k).map(|c| c.1).collect());
        let least = |i: usize| best.row(i).1.iter().copied().fold(f32::INFINITY, f32::min);
        let thresholds: Vec<f32> = (0..x.rows()).map(least).collect();
        let near = exact(&|row| {
            let near = row.candidates.iter().skip(k).filter(|&&(z, j)| z + row.bound(self, j) >= thresholds[row.index]);
            near.map(|c| c.1).collect()
        });
        let computed = (best.nnz() + near.nnz()) as u64;
        let mut all = Screened { indices: vec![0; x.rows() * k], values: vec![0.0; x.rows() * k], computed };
        let out = all.indices.par_chunks_mut(k.max(1)).zip(all.values.par_chunks_mut(k.max(1)));
        out.enumerate().for_each(|(i, (indices, values))| {
            let entries = |s: &SparseRows| -> Vec<(u32, f32)> {
                let (js, vs) = s.row(i);
                js.iter().copied().zip(vs.iter().copied()).collect()
            };
            let mut known = entries(&best);
            known.extend(entries(&near));
            if known.len() < k {
                // Only what is not finite is beyond all bounds.
                let all = |j: usize| (j as u32, dot(x.row(i), w.row(j)) + b[j]);
                known = (0..self.n).map(all).collect();
            }
            known.sort_unstable_by_key(|a| a.0);
            let z: Vec<f32> = known.iter().map(|a| a.1).collect();
            top_k_of_row(&z, &mut Vec::new(), indices, values);
            indices.iter_mut().for_each(|at| *at = known[*at as usize].0);
        });
        all
    }

    /// The entries of `x·wᵀ + b` that `pick` names for each row.
    fn exact(&self, pick: &(dyn Fn(&Row) -> Vec<u32> + Sync), rows: &[Row], x: &Mat, w: &Mat, b: &[f32]) -> SparseRows {
        let picked: Vec<Vec<u32>> = rows.par_iter().map(pick).collect();
        let mut offsets = vec![0];
        picked.iter().for_each(|p| offsets.push(offsets[offsets.len() - 1] + p.len()));
        let indices = picked.concat();
        let count = indices.len();
        let mut pattern = SparseRows::new(self.n, offsets, indices, vec![0.0; count]);
        let mut z = dots(&pattern, x, w);
        z.iter_mut().zip(pattern.indices()).for_each(|(z, &j)| *z += b[j as usize]);
        pattern.values_mut().copy_from_slice(&z);
        pattern
    }
}

/// `√(rms of x / rms of w)` of each column: both then need the same range.
fn column_scales(x: &Mat, w: &Mat) -> Vec<f32> {
    let rms = |m: &Mat| {
        let mut sums = vec![0.0f32; m.cols()];
        // A few rows tell the size of a column well enough.
        let step = m.rows().div_ceil(512).max(1);
        (0..m.rows()).step_by(step).for_each(|i| sums.iter_mut().zip(m.row(i)).for_each(|(s, v)| *s += v * v));
        let seen = m.rows().div_ceil(step).max(1) as f32;
        sums.into_iter().map(move |s| (s / seen).sqrt())
    };
    let scale = |(x, w): (f32, f32)| {
        let s = (x / w).sqrt();
        if s.is_normal() { s.clamp(1e-6, 1e6) } else { 1.0 }
    };
    rms(x).zip(rms(w)).map(scale).collect()
}

/// A row as integers from −127 to 127.
struct Quantised {
    scale: f32,
    norm: f32,
    hat: f32,
    error: f32,
    sum: i32,
}

impl Quantised {
    /// The integers go to `bytes`, one for each entry of the finite `row`.
    fn of(row: &[f32], bytes: &mut [i8]) -> Quantised {
        by_vectors(
            #[inline(always)]
            || Self::of_here(row, bytes),
        )
    }

    #[inline(always)]
    fn of_here(row: &[f32], bytes: &mut [i8]) -> Quantised {
        /// Adding and taking this away rounds what is small to a whole number, ties to even.
        const ROUND: f32 = 1.5 * (1 << 23) as f32;
        let largest = largest(row);
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let inverse = 1.0 / scale;
        let (mut norm, mut hat, mut error, mut sum) =
            ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES], [0i32; LANES]);
        for (row, bytes) in row.chunks(LANES).zip(bytes.chunks_mut(LANES)) {
            for (l, (&v, byte)) in row.iter().zip(bytes).enumerate() {
                let q = ((v * inverse + ROUND) - ROUND).clamp(-127.0, 127.0);
                let off = v - q * scale;
                norm[l] += v * v;
                hat[l] += q * q;
                error[l] += off * off;
                let q = q as i32;
                sum[l] += q;
                *byte = q as i8;
            }
        }
        // Squares are added in f32; their relative error is far below this.
        let up = |lanes: [f32; LANES]| (lanes.iter().map(|&v| f64::from(v)).sum::<f64>().sqrt() * 1.001) as f32;
        Quantised { scale, norm: up(norm), hat: up(hat) * scale, error: up(error), sum: sum.iter().sum() }
    }
}

/// Independent sums over a row.
const LANES: usize = 16;

#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for row in row.chunks(LANES) {
        lanes.iter_mut().zip(row).for_each(|(l, v)| *l = l.max(v.abs()));
    }
    lanes.into_iter().fold(0.0, f32::max)
}

/// What is known of one row of `x` on the way.
struct Row {
    /// Which row.
    index: usize,
    scale: f32,
    /// `‖x − x̂‖` with room for the rounding of products in `f32`, and `‖x̂‖`.
    error: f32,
    hat: f32,
    /// `128 Σ x̂` in integers, which the tiles' offset adds to every product.
    offset: i32,
    /// No entry at or below this is among the `k` largest.
    threshold: f32,
    /// Estimates that may be, by index.
    candidates: Vec<(f32, u32)>,
    room: usize,
}

impl Row {
    fn bound(&self, s: &Screen, j: u32) -> f32 {
        self.error * s.norm[j as usize] + self.hat * s.error[j as usize]
    }

    /// Raises the threshold to the `k`-th largest lower bound and lets go of what lies below it.
    fn tidy(&mut self, s: &Screen, k: usize, scratch: &mut Vec<f32>) {
        if k == 0 {
            self.candidates.clear();
        }
        if self.candidates.len() > k && k > 0 {
            scratch.clear();
            scratch.extend(self.candidates.iter().map(|&(z, j)| z - self.bound(s, j)));
            let (_, kth, _) = scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
            self.threshold = self.threshold.max(*kth);
            let mut left = std::mem::take(&mut self.candidates);
            left.retain(|&(z, j)| z + self.bound(s, j) >= self.threshold);
            self.candidates = left;
        }
        self.room = 2 * self.candidates.len() + SLACK;
    }
}

/// Some rows of `x` on their way through all tiles.
struct Panel<'a> {
    screen: &'a Screen,
    b: &'a [f32],
    k: usize,
    rows: Vec<Row>,
    /// Groups of `[depth / 4][GROUP][4]`.
    packed: Vec<i8>,
}

impl<'a> Panel<'a> {
    fn new(screen: &'a Screen, x: &Mat, which: std::ops::Range<usize>, b: &'a [f32], k: usize) -> Self {
        let depth = screen.depth;
        let group_len = depth.div_ceil(QUAD) * QUAD * GROUP;
        let mut packed = vec![0i8; which.len().div_ceil(GROUP) * group_len];
        let (mut scaled, mut bytes) = (vec![0.0; depth], vec![0; depth]);
        // A sum of `depth` rounded products in sixteen lanes, and the bias; twice over, since both sides of a comparison round.
        let rounding = 2.0 * (depth as f32 / 16.0 + 8.0) * f32::EPSILON;
        let mut row = |(r, i): (usize, usize)| {
            scaled.iter_mut().zip(x.row(i)).zip(&screen.column).for_each(|((o, x), c)| *o = x / c);
            let group = &mut packed[r / GROUP * group_len..][..group_len];
            let q = Quantised::of(&scaled, &mut bytes);
            for (quad, bytes) in bytes.chunks(QUAD).enumerate() {
                let at = (quad * GROUP + r % GROUP) * QUAD;
                group[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Row {
                index: i,
                scale: q.scale,
                error: q.error + rounding * q.norm,
                hat: q.hat,
                offset: 128 * q.sum,
                threshold: f32::NEG_INFINITY,
                candidates: Vec::new(),
                room: k + SLACK,
            }
        };
        let rows = which.enumerate().map(&mut row).collect();
        Panel { screen, b, k, rows, packed }
    }

    /// The rows with what could be among their `k` largest, the `k` best estimates in front.
    fn finish(mut self) -> Vec<Row> {
        let (k, mut scratch) = (self.k, Vec::new());
        for row in &mut self.rows {
            row.tidy(self.screen, k, &mut scratch);
            if row.candidates.len() > k && k > 0 {
                row.candidates.select_nth_unstable_by(k - 1, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            }
        }
        self.rows
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn screen(&mut self) {
        unreachable!("there is a screen only where `available`");
    }

    #[cfg(target_arch = "x86_64")]
    fn screen(&mut self) {
        assert!(available());
        // SAFETY: the processor has the instructions that the function is compiled for.
        unsafe { self.screen_vnni() }
    }

    /// Every tile with every group of rows.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,fma")]
    fn screen_vnni(&mut self) {
        use std::arch::x86_64::*;
        let s = self.screen;
        let quads = s.depth.div_ceil(QUAD);
        let (tile_len, group_len) = (quads * QUAD * TILE, quads * QUAD * GROUP);
        let mut bias = [f32::NEG_INFINITY; TILE];
        let mut scratch = Vec::new();
        for (t, tile) in s.tiles.chunks_exact(tile_len.max(1)).enumerate() {
            let first = t * TILE;
            let here = TILE.min(s.n - first);
            // Rows beyond the last are never candidates.
            bias[..here].copy_from_slice(&self.b[first..first + here]);
            bias[here..].fill(f32::NEG_INFINITY);
            for (g, rows) in self.rows.chunks_mut(GROUP).enumerate() {
                let group = &self.packed[g * group_len..][..group_len];
                let products = products(tile, group, quads);
                for half in 0..2 {
                    let at = first + 16 * half;
                    // SAFETY: `scale`, `norm` and `error` are padded to whole tiles and `bias` is one tile, so sixteen numbers follow each
                    // place.
                    let (scale, norm, error, bias) = unsafe {
                        (
                            _mm512_loadu_ps(s.scale.as_ptr().add(at)),
                            _mm512_loadu_ps(s.norm.as_ptr().add(at)),
                            _mm512_loadu_ps(s.error.as_ptr().add(at)),
                            _mm512_loadu_ps(bias.as_ptr().add(16 * half)),
                        )
                    };
                    for (row, products) in rows.iter_mut().zip(&products) {
                        let exact = _mm512_sub_epi32(products[half], _mm512_set1_epi32(row.offset));
                        let unit = _mm512_mul_ps(scale, _mm512_set1_ps(row.scale));
                        let z = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), unit, bias);
                        let upper = _mm512_fmadd_ps(_mm512_set1_ps(row.error), norm, z);
                        let upper = _mm512_fmadd_ps(_mm512_set1_ps(row.hat), error, upper);
                        let mut mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(upper, _mm512_set1_ps(row.threshold));
                        if mask == 0 {
                            continue;
                        }
                        let mut lanes = [0.0f32; 16];
                        // SAFETY: sixteen numbers fit.
                        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), z) };
                        while mask != 0 {
                            let lane = mask.trailing_zeros() as usize;
                            mask &= mask - 1;
                            if at + lane < s.n {
                                row.candidates.push((lanes[lane], (at + lane) as u32));
                            }
                        }
                        if row.candidates.len() >= row.room {
                            row.tidy(s, self.k, &mut scratch);
                        }
                    }
                }
            }
        }
    }
}

/// The products of one tile with one group of rows, each `Σ (w + 128) x` in integers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
#[inline]
fn products(tile: &[u8], group: &[i8], quads: usize) -> [[std::arch::x86_64::__m512i; 2]; GROUP] {
    use std::arch::x86_64::*;
    assert!(tile.len() == quads * QUAD * TILE && group.len() == quads * QUAD * GROUP);
    let mut sums = [[_mm512_setzero_si512(); 2]; GROUP];
    for q in 0..quads {
        // SAFETY: the lengths were just compared; each step reads 128 bytes of the tile and 48 of the group.
        unsafe {
            let w = tile.as_ptr().add(q * QUAD * TILE);
            let (w0, w1) = (_mm512_loadu_si512(w.cast()), _mm512_loadu_si512(w.add(64).cast()));
            let x = group.as_ptr().add(q * QUAD * GROUP);
            for r in 0..GROUP {
                let x = _mm512_set1_epi32(x.add(r * QUAD).cast::<i32>().read_unaligned());
                sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], w0, x);
                sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], w1, x);
            }
        }
    }
    sums
}

/// Whether this machine multiplies bytes fast.
fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        ["avx512f", "avx512bw", "avx512vl", "avx512vnni", "fma"].iter().all(|f| match *f {
            "avx512f" => is_x86_feature_detected!("avx512f"),
            "avx512bw" => is_x86_feature_detected!("avx512bw"),
            "avx512vl" => is_x86_feature_detected!("avx512vl"),
            "avx512vnni" => is_x86_feature_detected!("avx512vnni"),
            _ => is_x86_feature_detected!("fma"),
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// What is found is what all products, computed one by one, have as their largest.
    #[test]
    fn the_k_largest_are_exact() {
        let mut rng = Rng::new(0).fork("screen");
        for (rows, n, depth, k) in
            [(1, 1, 1, 1), (13, 40, 7, 3), (100, 1000, 64, 16), (30, 333, 50, 333), (5, 64, 3, 0)]
        {
            let mut x = Mat::from_fn(rows, depth, |_, _| rng.normal());
            // One loud column, a row of zeros, and rows of `w` that are equal.
            (0..rows).for_each(|i| x[(i, 0)] *= 50.0);
            x.row_mut(0).fill(0.0);
            let mut w = Mat::from_fn(n, depth, |_, _| rng.normal());
            if n > 5 {
                let first = w.row(3).to_vec();
                w.row_mut(5).copy_from_slice(&first);
            }
            let b: Vec<f32> = (0..n).map(|j| if j < 6 { 0.0 } else { 0.1 * rng.normal() }).collect();
            let Some(screen) = Screen::new(&w, &x) else { return };
            let found = screen.top_k(&x, &w, &b, k);
            for i in 0..rows {
                let z: Vec<f32> = (0..n).map(|j| dot(x.row(i), w.row(j)) + b[j]).collect();
                let (mut indices, mut values) = (vec![0; k], vec![0.0; k]);
                top_k_of_row(&z, &mut Vec::new(), &mut indices, &mut values);
                assert_eq!(found.indices[i * k..(i + 1) * k], indices, "row {i} of {rows} x {n} x {depth}");
                assert_eq!(found.values[i * k..(i + 1) * k], values);
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_no_panic() {
        let mut w = Mat::from_fn(40, 8, |i, j| (i + j) as f32);
        w[(3, 3)] = f32::NAN;
        let x = Mat::from_fn(2, 8, |i, _| if i == 0 { f32::INFINITY } else { 1.0 });
        let Some(screen) = Screen::new(&w, &x) else { return };
        assert_eq!(screen.top_k(&x, &w, &[0.0; 40], 39).indices.len(), 78);
    }

    #[test]
    fn most_products_are_never_computed() {
        let mut rng = Rng::new(1).fork("screen");
        let (rows, n, depth, k) = (64, 4096, 256, 16);
        let x = Mat::from_fn(rows, depth, |_, _| rng.normal());
        let w = Mat::from_fn(n, depth, |_, _| rng.normal());
        let Some(screen) = Screen::new(&w, &x) else { return };
        let found = screen.top_k(&x, &w, &vec![0.0; n], k);
        assert!(found.computed < (rows * n / 20) as u64, "{} of {}", found.computed, rows * n);
    }
}
