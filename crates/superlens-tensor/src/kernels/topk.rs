//! The k largest entries of every row of a matrix.

use crate::Mat;
use rayon::prelude::*;

/// Rows per piece of parallel work.
const PANEL_ROWS: usize = 32;
/// Entries compared with the threshold at once before any is looked at alone.
const LANES: usize = 16;
/// Room for candidates beyond `k`, so that small `k` do not select again and again.
const SLACK: usize = 64;

/// The `k` largest entries of each row, `k` for every row; within a row in ascending order of column.
#[derive(Clone, Debug, PartialEq)]
pub struct TopK {
    pub k: usize,
    /// Columns, `[rows * k]`.
    pub indices: Vec<u32>,
    /// Entries at those columns, `[rows * k]`.
    pub values: Vec<f32>,
}

/// The `k` largest entries of each row of `m`.
///
/// Of equal entries the one in the lower column is taken (`-0.0` equals `0.0`). A NaN is below every number,
/// so it is taken only by a row with fewer than `k` numbers. Panics if `k > m.cols()`.
pub fn top_k(m: &Mat, k: usize) -> TopK {
    assert!(k <= m.cols(), "the {k} largest of the rows of a [{}, {}] matrix", m.rows(), m.cols());
    let mut out = TopK { k, indices: vec![0; m.rows() * k], values: vec![0.0; m.rows() * k] };
    if k == 0 {
        return out;
    }
    (m.data().par_chunks(PANEL_ROWS * m.cols()))
        .zip(out.indices.par_chunks_mut(PANEL_ROWS * k))
        .zip(out.values.par_chunks_mut(PANEL_ROWS * k))
        .for_each(|((rows, indices), values)| {
            let mut scratch = Vec::new();
            for ((row, indices), values) in
                rows.chunks_exact(m.cols()).zip(indices.chunks_exact_mut(k)).zip(values.chunks_exact_mut(k))
            {
                top_k_of_row(row, &mut scratch, indices, values);
            }
        });
    out
}

/// The `indices.len()` largest entries of one row, in ascending order of column; `scratch` may hold anything.
///
/// One pass with a rising threshold: an entry that does not exceed the k-th largest seen so far can never be
/// chosen (equal ones lose to the lower column), so after a few candidates almost every entry costs one
/// comparison. Each selection among `2k + 64` candidates admits `k + 64` more, so the worst case is linear as
/// well.
pub fn top_k_of_row(row: &[f32], scratch: &mut Vec<u64>, indices: &mut [u32], values: &mut [f32]) {
    let k = indices.len();
    assert!(k <= row.len() && values.len() == k, "the {k} largest of {} entries into {}", row.len(), values.len());
    if k == 0 {
        return;
    }
    let full = (2 * k + SLACK).min(row.len());
    // Room for all lanes of the chunk that fills it.
    scratch.clear();
    scratch.resize(full + LANES, 0);
    let mut len = 0;
    let mut threshold = f32::NAN;
    for (c, chunk) in row.chunks(LANES).enumerate() {
        // `x <= NaN` is false: nothing is passed over before there is a threshold, nor is a NaN ever.
        if let Ok(chunk) = <&[f32; LANES]>::try_from(chunk)
            && !chunk.iter().fold(false, |any, x| any | above(*x, threshold))
        {
            continue;
        }
        for (l, &x) in chunk.iter().enumerate() {
            // Written always and counted if it may be chosen: a branch here would be hard to predict.
            scratch[len] = rank(x, c * LANES + l);
            len += usize::from(above(x, threshold));
        }
        if len >= full {
            threshold = row[column(keep_largest(&mut scratch[..len], k))];
            len = k;
        }
    }
    scratch.truncate(len);
    keep_largest(scratch, k);
    scratch.truncate(k);
    scratch.sort_unstable_by_key(|&e| column(e));
    for ((e, i), v) in scratch.iter().zip(indices).zip(values) {
        let j = column(*e);
        (*i, *v) = (j as u32, row[j]);
    }
}

/// Not `x > threshold`, which would be false for NaN.
#[allow(clippy::neg_cmp_op_on_partial_ord)]
fn above(x: f32, threshold: f32) -> bool {
    !(x <= threshold)
}

/// Moves the `k` largest ranks to the front and returns the least of them.
fn keep_largest(ranks: &mut [u64], k: usize) -> u64 {
    *ranks.select_nth_unstable_by(k - 1, |a, b| b.cmp(a)).1
}

/// A number that orders entries by value, then by lower column; no two entries share one.
fn rank(x: f32, column: usize) -> u64 {
    let bits = (x + 0.0).to_bits(); // −0 becomes +0
    // Negative numbers have the top bit set and grow downwards.
    let order = bits ^ if bits >> 31 == 1 { !0 } else { 1 << 31 };
    let order = if x.is_nan() { 0 } else { order };
    u64::from(order) << 32 | u64::from(!(column as u32))
}

fn column(rank: u64) -> usize {
    !(rank as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use proptest::prelude::*;

    /// Sort by value (NaN last), then by column.
    fn reference(row: &[f32], k: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..row.len() as u32).collect();
        let key = |j: u32| Some(row[j as usize]).filter(|x| !x.is_nan());
        order.sort_by(|&a, &b| key(b).partial_cmp(&key(a)).unwrap().then(a.cmp(&b)));
        let mut chosen = order[..k].to_vec();
        chosen.sort_unstable();
        chosen
    }

    fn check(row: &[f32], k: usize) {
        let got = top_k(&Mat::from_vec(1, row.len(), row.to_vec()), k);
        assert_eq!(got.indices, reference(row, k), "{row:?}");
        for (&j, v) in got.indices.iter().zip(&got.values) {
            assert_eq!(v.to_bits(), row[j as usize].to_bits());
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_sort(row in prop::collection::vec(
            prop_oneof![-3f32..3.0, (-2i8..3).prop_map(f32::from), Just(-0.0), Just(f32::NAN),
                        Just(f32::INFINITY), Just(f32::NEG_INFINITY)], 1..400), at in 0.0f64..1.0) {
            check(&row, (at * (row.len() + 1) as f64) as usize);
        }
    }

    #[test]
    fn orders_that_move_the_threshold_always_or_never() {
        let up: Vec<f32> = (0..3000).map(|j| j as f32).collect();
        let down: Vec<f32> = up.iter().rev().copied().collect();
        for row in [up, down, vec![1.0; 3000], vec![f32::NAN; 3000]] {
            for k in [1, 32, 2999, 3000] {
                check(&row, k);
            }
        }
    }

    #[test]
    fn rows_are_separate_and_threads_change_nothing() {
        let mut rng = Rng::new(0).fork("topk");
        let m = Mat::from_fn(133, 257, |_, _| rng.normal());
        let run =
            |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| top_k(&m, 7));
        let one = run(1);
        assert_eq!(one, run(3));
        for i in 0..m.rows() {
            assert_eq!(one.indices[i * 7..(i + 1) * 7], reference(m.row(i), 7));
        }
    }
}
