//! How many features, how surely, and whether more rows would show more.

use super::finding::Count;
use super::rays::{Rays, Search};

/// Spread of the estimate where nothing else speaks, as a share of it: merged neighbours and stray maxima.
const SPREAD: f64 = 0.05;
/// 90 % of a normal law lies within this many standard deviations.
const Z90: f64 = 1.645;
/// Growth from half of the rows to all of them above which the count is a lower bound.
const STILL_GROWING: f64 = 0.10;

/// The number of lines with its 90 % interval.
///
/// Features that no start reached are estimated by capture–recapture from those reached once and twice (Chao 1984,
/// *Nonparametric estimation of the number of classes*). Growth is measured by asking which rays would have been held
/// by both halves of half, and of a quarter, of the rows.
pub(super) fn count(search: &Search, rays: &Rays) -> Option<Count> {
    let n = rays.lines.len();
    if n == 0 {
        return None;
    }
    let rows = search.cloud.y.rows();
    let lines = rays.line_directions();
    let held = |parts: &[(usize, usize)]| {
        search.agreement(&lines, rays.power, parts).iter().filter(|a| **a > rays.agreement).count()
    };
    // Quarters and eighths of each half stand for a half and a quarter of the rows.
    let (half, quarter) = (search.half, search.half / 2);
    let with_half = held(&[(0, quarter), (half, half + quarter)]).min(n);
    let with_quarter = held(&[(0, quarter / 2), (half, half + quarter / 2)]).min(with_half);
    let growth = n as f64 / with_half.max(1) as f64 - 1.0;
    let unseen = (rays.hit_once as f64).powi(2) / (2.0 * rays.hit_twice.max(1) as f64);
    let unseen = unseen.min(n as f64);
    let spread = Z90 * SPREAD * n as f64 + 1.0;
    // A complete code has no room for more features than there are dimensions.
    let room = if rays.complete { (search.cloud.rank() - n) as f64 } else { f64::INFINITY };
    let lower_bound = growth > STILL_GROWING && room > 0.0;
    let more = if lower_bound { n as f64 * growth.min(2.0) } else { 0.0 };
    Some(Count {
        estimate: n,
        low: (n as f64 - spread).floor().max(1.0) as usize,
        high: (n as f64 + spread + unseen.max(more).min(room)).ceil() as usize,
        lower_bound,
        growth: vec![(rows / 4, with_quarter), (rows / 2, with_half), (rows, n)],
    })
}

impl Count {
    /// With features that another dictionary shows beside the ones counted: the count is a lower bound where they are many.
    pub(super) fn with_more(&mut self, more: usize) {
        self.high = self.high.max(self.estimate + more);
        self.lower_bound |= more as f64 > STILL_GROWING * self.estimate as f64;
    }
}
