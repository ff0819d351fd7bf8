//! Do more directions than dimensions explain held-out rows better than as many as there are dimensions?

use super::{Evidence, Side, against, untested};
use crate::diagnose::coding::{fvu, pursuit};
use crate::diagnose::finding::{FvuPoint, Hypothesis};
use crate::diagnose::surrogate::{radial, random_directions};
use superlens_tensor::Mat;

/// The complete dictionary must leave at least this many times as much unexplained …
pub(in crate::diagnose) const GAIN: f64 = 1.15;
/// … or the excess directions must gain this many times what random ones in their place gain.
const TIMES_RANDOM: f64 = 2.0;
/// Where features are too dense for short codes to tell, their number speaks: this many times the dimensions …
const CROWDED: f64 = 1.5;
/// … and this many times what a mixture of Gaussians shows.
const TIMES_MIXTURE: f64 = 3.0;
/// Active directions a row at which the two are compared.
const ACTIVE: [usize; 2] = [2, 4];
/// Rows coded per draw of the null.
const ROWS_A_DRAW: usize = 600;
/// Less unexplained than this is rounding.
const ROUNDING: f64 = 1e-6;
const ID: &str = "superposition";
const MEASURES: &str = "unexplained variance of the best complete dictionary over that of all directions, held out";

/// The gain of the excess directions, against as many random ones in their place; or their number, against what the mixture
/// of Gaussians showed.
pub(in crate::diagnose) fn overcomplete(e: &Evidence, mixture: &Hypothesis) -> Hypothesis {
    let rank = e.held_out.cols();
    if e.rays.lines.len() <= rank {
        let says = match e.rays.lines.len() {
            0 => "No features were found that could be too many.".to_string(),
            n => format!("{n} features fit into {rank} dimensions."),
        };
        return untested(ID, MEASURES, &says);
    }
    let best = best_complete(e);
    let complete = e.rays.directions.select_rows(&best);
    let rows = e.first_rows(ROWS_A_DRAW);
    let alone: Vec<f64> = ACTIVE.iter().map(|&k| fvu(&complete, &rows, k).max(ROUNDING)).collect();
    let gain = |all: &Mat| {
        let ratios = ACTIVE.iter().zip(&alone).map(|(&k, alone)| alone / fvu(all, &rows, k).max(ROUNDING));
        ratios.fold(0.0, f64::max)
    };
    let statistic = gain(&e.rays.directions);
    let mut stream = e.rng.fork("overcomplete");
    let extra = e.rays.directions.rows() - best.len();
    let draws = (0..e.draws).map(|_| gain(&stack(&complete, &random_directions(extra, rank, &mut stream)))).collect();
    let null = against(statistic, draws, Side::Large);
    let clear = statistic >= GAIN || statistic - 1.0 >= TIMES_RANDOM * (null.mean - 1.0);
    let gains = null.p <= 0.01 && clear;
    let n = e.rays.lines.len();
    let least = (CROWDED * rank as f64).max(TIMES_MIXTURE * mixture.null_mean);
    if !gains && mixture.null_draws > 0 && mixture.statistic >= least {
        let says = format!(
            "{n} directions are found in {rank} dimensions, {:.1} times as many as a mixture of Gaussians shows. Too many are on at once for a short code to tell how many are needed; their number speaks.",
            n as f64 / mixture.null_mean.max(1.0)
        );
        return Hypothesis {
            statistic: n as f64,
            null_mean: least,
            null_high: least,
            supports: true,
            null: "none: a rule, 1.5 times the dimensions and three times the directions of a mixture of Gaussians"
                .into(),
            ..untested(ID, "directions found by the search", &says)
        };
    }
    Hypothesis {
        id: ID.into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports: gains,
        says: if gains {
            format!(
                "{n} sparse features are found in {rank} dimensions; held to the best {rank} of them, {statistic:.1} times as much of the held-out rows stays unexplained."
            )
        } else {
            format!(
                "{n} directions are found in {rank} dimensions, but those beyond the best {rank} explain too little to count as features."
            )
        },
        null: "the excess directions replaced by as many random ones".into(),
        draws: null.draws,
    }
}

/// Positions of the rays of the `rank` lines that carry most of a sparse code of the search rows.
fn best_complete(e: &Evidence) -> Vec<usize> {
    let rank = e.held_out.cols();
    let step = (e.searched.rows() / 3000).max(1);
    let rows = e.searched.select_rows(&(0..e.searched.rows()).step_by(step).collect::<Vec<_>>());
    let code = pursuit(&e.rays.directions, 4).encode(&rows);
    let mut energy = vec![0.0f64; e.rays.lines.len()];
    for (&ray, &value) in code.indices().iter().zip(code.values()) {
        energy[e.rays.line_of[ray as usize]] += f64::from(value).powi(2);
    }
    let mut order: Vec<usize> = (0..energy.len()).collect();
    order.sort_by(|&i, &j| energy[j].total_cmp(&energy[i]));
    let mut chosen = vec![false; energy.len()];
    order.iter().take(rank).for_each(|&l| chosen[l] = true);
    (0..e.rays.directions.rows()).filter(|&i| chosen[e.rays.line_of[i]]).collect()
}

fn stack(a: &Mat, b: &Mat) -> Mat {
    Mat::from_vec(a.rows() + b.rows(), a.cols(), [a.data(), b.data()].concat())
}

/// Held-out unexplained variance against active directions a row, for the picture.
pub(in crate::diagnose) fn curve(e: &Evidence) -> Vec<FvuPoint> {
    if e.rays.lines.is_empty() {
        return Vec::new();
    }
    let complete = e.rays.directions.select_rows(&best_complete(e));
    let noise = radial(e.held_out, &e.rng.fork("curve"));
    [1, 2, 3, 4, 6, 8]
        .into_iter()
        .filter(|&k| k <= e.held_out.cols())
        .map(|k| FvuPoint {
            k,
            complete: fvu(&complete, e.held_out, k),
            overcomplete: fvu(&e.rays.directions, e.held_out, k),
            gaussian: fvu(&e.rays.directions, &noise, k),
        })
        .collect()
}
