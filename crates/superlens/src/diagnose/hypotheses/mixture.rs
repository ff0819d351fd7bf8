//! Are there more directions than a mixture of Gaussians would show?

use super::untested;
use crate::diagnose::count::count;
use crate::diagnose::finding::{Count, Hypothesis};
use crate::diagnose::maxima::Cloud;
use crate::diagnose::mixture::Mixture;
use crate::diagnose::rays::{Rays, Search};
use superlens_tensor::Rng;

/// Times as many directions as a mixture shows that half of the rows must show to rule it out …
const TIMES: f64 = 1.5;
/// … or all of them: weak features are many only with all rows, and a mixture that fits badly shows too few directions …
const TIMES_WITH_ALL: f64 = 3.0;
/// … or a quarter of them, where a quarter shows this share of all: directions inside a Gaussian cloud move with the sample.
const STEADY: f64 = 0.75;
const MEASURES: &str = "directions found by the search";

/// The same search, with the same effort, on as many rows drawn from a mixture that was fitted to the data.
///
/// `seen` is the count of the data's directions. The search is too long to repeat a hundred times, so one draw is made and a
/// factor is asked for in place of a small p.
pub(in crate::diagnose) fn mixture(search: &Search, rays: &Rays, seen: Option<&Count>, rng: &Rng) -> Hypothesis {
    let n = rays.lines.len();
    if n == 0 {
        return untested("mixture", MEASURES, "No directions were found that a mixture could explain.");
    }
    if rays.complete {
        let says = "The features are a complete sparse code: each rests at one value most of the time, which no mixture of a few Gaussians does.";
        return Hypothesis { supports: true, ..untested("mixture", MEASURES, says) };
    }
    let Some(law) = Mixture::fit(search.white, &rng.fork("mixture")) else {
        return untested("mixture", MEASURES, "Too few rows to fit a mixture of Gaussians.");
    };
    let made = law.sample(search.white.rows(), &rng.fork("mixture draw"));
    let cloud = Cloud::new(&made);
    let null = Search { cloud: &cloud, white: &made, ..*search };
    let found = null.again(rays, &rng.fork("mixture search"));
    let [null_quarter, _, null_all] = growth(count(&null, &found).as_ref());
    let [quarter, half, all] = growth(seen);
    let steady = quarter >= STEADY * all && quarter >= TIMES * null_quarter;
    let supports = half >= TIMES * null_all || all >= TIMES_WITH_ALL * null_all || steady;
    let found = found.lines.len();
    Hypothesis {
        id: "mixture".into(),
        measures: MEASURES.into(),
        statistic: n as f64,
        null_mean: found as f64,
        null_high: found as f64,
        null_draws: 1,
        p_value: if n > found { 0.5 } else { 1.0 },
        supports,
        says: if supports {
            format!(
                "A mixture of Gaussians fitted to the rows shows {found} such directions, {null_quarter:.0} of them with a quarter of the rows; here there are {n}, {quarter:.0} with a quarter."
            )
        } else {
            format!(
                "A mixture of Gaussians fitted to the rows shows {found} such directions by itself; the {n} found here are no evidence of features."
            )
        },
        null: "rows drawn from a mixture of Gaussians, each with its own covariance, fitted to the data".into(),
        draws: vec![found as f64],
    }
}

/// Directions with a quarter, a half and all of the rows.
fn growth(count: Option<&Count>) -> [f64; 3] {
    let at = |k: usize| count.and_then(|c| c.growth.get(k)).map_or(0.0, |g| g.1 as f64);
    [at(0), at(1), at(2)]
}
