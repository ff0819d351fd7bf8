//! Is a row a sum of a few of the directions, or one direction with a dense cloud around it?
//!
//! Clusters with dense variation inside also pile up along directions, one a cluster, and there may be more clusters than
//! dimensions. What tells them from features is the rest of each row once its strongest direction is taken off: further
//! features in one case, a cloud in the other.

use super::{Evidence, Side, against, untested};
use crate::diagnose::coding::{fvu, residual};
use crate::diagnose::finding::Hypothesis;
use crate::diagnose::surrogate::gaussian_stream;
use crate::diagnose::whitening::Whitening;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng};

/// A code that leaves less than this after one direction is one-hot and needs no second.
const ONE_HOT: f64 = 0.1;
/// What further directions must leave, at most, relative to a cloud.
const STRUCTURED: f64 = 0.95;
/// Directions a row, the first included.
const ACTIVE: usize = 4;
const ROWS: usize = 600;
/// Share of the rows on which independent directions would be high together that must be seen, where features are too
/// dense for a short code to show. Clusters exclude one another.
const TOGETHER: f64 = 0.5;
/// Directions that are high in a row on average, by the thresholds of [`together`].
const HIGH_A_ROW: f64 = 0.5;
const ID: &str = "sparse_code";
const MEASURES: &str = "share of the rest left by three more directions once a row's strongest is taken off, held out";

/// What a code was judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::diagnose) enum By {
    /// There was none.
    Nothing,
    /// The rest of each row, against a cloud.
    Rest,
    /// That one direction a row leaves next to nothing.
    OneHot,
    /// That directions are high together.
    Together,
}

/// The rest of each row against a Gaussian rest of the same covariance and lengths; or a rule, where that test can't see
/// the code: a one-hot code has no rest, and a dense one no few directions that explain it.
pub(in crate::diagnose) fn codes(e: &Evidence) -> (Hypothesis, By) {
    let nothing = |says| (untested(ID, MEASURES, says), By::Nothing);
    if e.rays.lines.len() < 3 {
        return nothing("Fewer than three directions: there is no code to test.");
    }
    let dictionary = &e.rays.directions;
    let rows = e.first_rows(ROWS);
    let rest = residual(dictionary, &rows, 1);
    let first = fvu(dictionary, &rows, 1);
    let statistic = fvu(dictionary, &rows, ACTIVE) / first.max(1e-9);
    let Some(cloud) = Whitening::fit(&rest) else {
        return nothing("One direction a row leaves nothing to test.");
    };
    let stream = e.rng.fork("codes");
    let draws = (0..e.draws)
        .map(|k| {
            let made = with_cloud(&rows, &rest, &cloud, &stream.fork_index(k as u64));
            fvu(dictionary, &made, ACTIVE) / fvu(dictionary, &made, 1).max(1e-9)
        })
        .collect();
    let null = against(statistic, draws, Side::Small);
    let structured = null.p <= 0.01 && statistic <= STRUCTURED * null.mean;
    if first <= ONE_HOT {
        let says = format!(
            "One direction a row leaves only {:.0} % unexplained: the code is close to one-hot. Clusters without variation inside look the same.",
            100.0 * first
        );
        let measures = "share of the rows that their strongest direction leaves unexplained, held out";
        return (rule(measures, first, ONE_HOT, says), By::OneHot);
    }
    let together = together(e.held_out, &e.rays.line_directions());
    if !structured && together >= TOGETHER {
        let says = format!(
            "Several directions are active in a row: two or more are high together in {:.0} % as many rows as if they were independent, where clusters would exclude one another.",
            100.0 * together
        );
        let measures = "rows where two directions are high, over those expected of independent directions, held out";
        return (rule(measures, together, TOGETHER, says), By::Together);
    }
    let [left, cloud] = [statistic, null.mean].map(|share| 100.0 * share);
    let by_rest = Hypothesis {
        id: ID.into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports: structured,
        says: if structured {
            format!("Rows are sums of several directions: three more leave {left:.0} % of what the first left, where a cloud would keep {cloud:.0} %.")
        } else {
            format!("Rows are not sums of these directions: once the strongest is taken off, three more leave {left:.0} % of the rest, as they would of a dense cloud ({cloud:.0} %).")
        },
        null: "dense rest: each row keeps its strongest direction, and its rest becomes Gaussian with the same covariance and length".into(),
        draws: null.draws,
    };
    (by_rest, By::Rest)
}

/// A code that shows by one number.
fn rule(measures: &str, statistic: f64, limit: f64, says: String) -> Hypothesis {
    Hypothesis {
        statistic,
        null_mean: limit,
        null_high: limit,
        supports: true,
        null: "none: a rule".into(),
        ..untested(ID, measures, &says)
    }
}

/// `rows` with `rest` replaced by Gaussian rows of the same covariance, each as long as the one it replaces.
fn with_cloud(rows: &Mat, rest: &Mat, cloud: &Whitening, rng: &Rng) -> Mat {
    let fresh = cloud.directions(&gaussian_stream(rows.rows(), &vec![0.0; cloud.rank], rng));
    let mut out = rows.clone();
    for i in 0..rows.rows() {
        let (old, new) = (rest.row(i), fresh.row(i));
        let scale = (dot(old, old) / dot(new, new).max(1e-30)).sqrt();
        for (j, o) in out.row_mut(i).iter_mut().enumerate() {
            *o += scale * new[j] - old[j];
        }
    }
    out
}

/// Rows in which two or more directions are high, over the number expected of independent ones. A direction is high in the
/// `HIGH_A_ROW / n` rows where it is highest.
fn together(rows: &Mat, directions: &Mat) -> f64 {
    let s = matmul(rows, directions.t());
    let (n, count) = (s.rows(), s.cols());
    let top = ((HIGH_A_ROW / count as f64) * n as f64).round().max(1.0) as usize;
    let mut high = vec![0usize; n];
    for j in 0..count {
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| s[(b, j)].total_cmp(&s[(a, j)]).then(a.cmp(&b)));
        order[..top.min(n)].iter().for_each(|&i| high[i] += 1);
    }
    let rate = (top * count) as f64 / n as f64;
    let expected = 1.0 - (-rate).exp() * (1.0 + rate);
    high.iter().filter(|&&h| h >= 2).count() as f64 / (n as f64 * expected)
}
