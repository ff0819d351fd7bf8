//! The best packing that can be found: a smooth stand-in for the largest cosine, sharpened step by step, from many starts.
//!
//! `F_β = ln Σ_{i<j} exp(β c_ij) / β` with `c` the cosine (points) or its square (lines) exceeds the largest `c` by at most
//! `ln(pairs) / β`. L-BFGS follows its minimum from a soft β, where few valleys are left, to a sharp one.

use super::bounds::{Kind, best_bound};
use super::constructions::{construction, random};
use super::packing::Packing;
use rayon::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use superlens_tensor::kernels::gemm::gemm_into;
use superlens_tensor::lbfgs::{Stop, minimise};
use superlens_tensor::{Rng, View};

/// Sharpness over the search, and over the polish of the best starts.
const SEARCH: [f64; 4] = [5.0, 20.0, 80.0, 320.0];
const POLISH: [f64; 6] = [1e3, 4e3, 1.6e4, 6.4e4, 2.5e5, 1e6];
/// Iterations at each sharpness.
const ITERATIONS: usize = 300;
/// Of all starts, how many are polished.
const POLISHED: usize = 4;

/// Beyond this many directions no search is made: a step costs `n² d` and keeps `n²` numbers.
pub const SEARCHED: usize = 2000;
/// The same for coordinates, of which L-BFGS keeps twenty copies a start.
pub const COORDINATES: usize = 1 << 19;
/// Constructions of so many directions more are tried with these left out.
const LEFT_OUT: usize = 2;
/// A cosine this close to a bound can't be improved by a search.
const MET: f64 = 1e-9;

/// A packing and how it came about.
#[derive(Clone, Debug)]
pub struct Best {
    pub kind: Kind,
    pub packing: Packing,
    /// The largest cosine over all pairs, computed from the packing.
    pub cosine: f64,
    /// The construction's name, or the search.
    pub method: String,
    pub exact: bool,
}

/// Told the share done; may break.
pub type Watch<'a> = &'a (dyn Fn(f64) -> ControlFlow<()> + Sync);

/// `n` directions of this kind in `d` dimensions are wanted, `d > 0` and `n > 1`.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub kind: Kind,
    pub d: usize,
    pub n: usize,
    /// Random starts, at least one. Start `i` draws from the stream's `fork_index(i)` alone.
    pub starts: usize,
}

impl Search {
    /// Whether a search of so many directions is made.
    pub fn possible(&self) -> bool {
        self.n <= SEARCHED && self.n * self.d <= COORDINATES
    }

    /// The best that is known here: an exact construction, or what was searched for where that is better or there is none. A
    /// construction that meets a bound, or is too large to search beside, is not searched for. `None` where `watch` broke; panics
    /// as [`searched`](Self::searched), and where no search is [`possible`](Self::possible) and there is no construction.
    pub fn best(&self, rng: &Rng, watch: Watch) -> Option<Best> {
        let Search { kind, d, n, .. } = *self;
        let known = construction(kind, d, n).map(|c| {
            let cosine = c.packing.largest_cosine(kind);
            Best { kind, packing: c.packing, cosine, method: c.name, exact: true }
        });
        let enough = known.as_ref().is_some_and(|k| !self.possible() || k.cosine - best_bound(kind, d, n) < MET);
        if enough {
            return known;
        }
        assert!(self.possible(), "no construction of {n} directions in {d} dimensions, too many to search");
        let found = self.searched(rng, watch)?;
        // What a search finds beside an exact optimum is the same to rounding.
        let exact = known.into_iter().chain((1..=LEFT_OUT).filter_map(|k| self.larger(k)));
        Some(
            exact
                .filter(|k| k.cosine <= found.cosine + MET)
                .min_by(|a, b| a.cosine.total_cmp(&b.cosine))
                .unwrap_or(found),
        )
    }

    /// A construction of `left_out` directions more, without these.
    fn larger(&self, left_out: usize) -> Option<Best> {
        let Search { kind, d, n, .. } = *self;
        let more = construction(kind, d, n + left_out)?;
        let packing = more.packing.first(n);
        let cosine = packing.largest_cosine(kind);
        let number = if left_out == 1 { "one".to_string() } else { left_out.to_string() };
        let method = format!("{} directions, {number} left out: {}", n + left_out, more.name);
        Some(Best { kind, packing, cosine, method, exact: true })
    }

    /// The best of all starts. `None` where `watch` broke; panics without dimensions or with fewer than two directions.
    pub fn searched(&self, rng: &Rng, watch: Watch) -> Option<Best> {
        let Search { kind, d, n, starts } = *self;
        assert!(d > 0 && n > 1, "{n} directions in {d} dimensions");
        let (starts, polished) = (starts.max(1), POLISHED.min(starts.max(1)));
        let (done, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let tell = || {
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / (starts + polished) as f64;
            if stopped.load(Ordering::Relaxed) || watch(share).is_break() {
                stopped.store(true, Ordering::Relaxed);
            }
            !stopped.load(Ordering::Relaxed)
        };
        let search = |i: usize| {
            let start = random(d, n, &mut rng.fork_index(i as u64));
            let Packing::Real { rows, .. } = start else { unreachable!("real rows") };
            // A soft beginning leads many starts into the same few valleys; one in three begins soft, the others sharper.
            let rows = sharpen(rows, kind, d, &SEARCH[i % 3..]);
            let cosine = Packing::real(d, rows.clone()).largest_cosine(kind);
            tell().then_some((cosine, i, rows))
        };
        let mut found: Vec<_> = (0..starts).into_par_iter().with_max_len(1).map(search).collect::<Option<_>>()?;
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        found.truncate(polished);
        let polish = |(cosine, i, rows): (f64, usize, Vec<f64>)| {
            let sharp = Packing::real(d, sharpen(rows.clone(), kind, d, &POLISH));
            let better = sharp.largest_cosine(kind);
            let best = if better <= cosine { (better, i, sharp) } else { (cosine, i, Packing::real(d, rows)) };
            tell().then_some(best)
        };
        let polished: Vec<_> = found.into_par_iter().with_max_len(1).map(polish).collect::<Option<_>>()?;
        let (cosine, _, packing) = polished.into_iter().min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        let method = format!("smoothed largest cosine, {starts} start{}", if starts == 1 { "" } else { "s" });
        Some(Best { kind, packing, cosine, method, exact: false })
    }
}

/// Follows the minimum of `F_β` through these sharpnesses; rows stay at unit length.
fn sharpen(mut rows: Vec<f64>, kind: Kind, d: usize, sharpness: &[f64]) -> Vec<f64> {
    let mut room = Room::default();
    for &beta in sharpness {
        let mut f = |x: &[f64], g: &mut [f64]| room.smooth_largest(x, g, kind, d, beta);
        minimise(&mut f, &mut rows, Stop { iterations: ITERATIONS, gradient: 1e-10, decrease: 1e-13 });
        unit(&mut rows, d);
    }
    rows
}

fn unit(rows: &mut [f64], d: usize) {
    for row in rows.chunks_exact_mut(d) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v /= norm);
    }
}

/// What an evaluation needs again and again.
#[derive(Default)]
struct Room {
    unit: Vec<f64>,
    gram: Vec<f64>,
    pull: Vec<f64>,
}

impl Room {
    /// `F_β` of the directions of `x` `[n, d]`, whose lengths do not matter, and its gradient.
    fn smooth_largest(&mut self, x: &[f64], grad: &mut [f64], kind: Kind, d: usize, beta: f64) -> f64 {
        let n = x.len() / d;
        self.unit.clear();
        self.unit.extend_from_slice(x);
        unit(&mut self.unit, d);
        self.gram.resize(n * n, 0.0);
        self.pull.resize(n * d, 0.0);
        let rows = View::contiguous(n, d, &self.unit);
        gemm_into(1.0, rows, rows.t(), 0.0, &mut self.gram);
        let value = |c: f64| if kind == Kind::Lines { c * c } else { c };
        let mut top = f64::NEG_INFINITY;
        for i in 0..n {
            top = self.gram[i * n..i * n + i].iter().map(|c| value(*c)).fold(top, f64::max);
        }
        let mut sum = 0.0;
        for i in 0..n {
            for j in 0..n {
                let c = self.gram[i * n + j];
                let weight = if i == j { 0.0 } else { (beta * (value(c) - top)).exp() };
                sum += weight;
                self.gram[i * n + j] = if kind == Kind::Lines { 2.0 * c * weight } else { weight };
            }
        }
        // Each pair was counted twice.
        let sum = 0.5 * sum;
        gemm_into(1.0 / sum, View::contiguous(n, n, &self.gram), rows, 0.0, &mut self.pull);
        for i in 0..n {
            let (u, pull) = (&self.unit[i * d..(i + 1) * d], &self.pull[i * d..(i + 1) * d]);
            let along: f64 = u.iter().zip(pull).map(|(u, p)| u * p).sum();
            let norm = x[i * d..(i + 1) * d].iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            for (g, (u, p)) in grad[i * d..(i + 1) * d].iter_mut().zip(u.iter().zip(pull)) {
                *g = (p - along * u) / norm;
            }
        }
        top + sum.ln() / beta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GO: Watch = &|_| ControlFlow::Continue(());

    fn search(kind: Kind, d: usize, n: usize, starts: usize) -> Search {
        Search { kind, d, n, starts }
    }

    #[test]
    fn the_gradient_is_that_of_the_value() {
        let (n, d) = (6, 3);
        let mut rng = Rng::new(2);
        let x: Vec<f64> = (0..n * d).map(|_| rng.normal_f64()).collect();
        for kind in [Kind::Signed, Kind::Lines] {
            let mut g = vec![0.0; n * d];
            Room::default().smooth_largest(&x, &mut g, kind, d, 7.0);
            for k in 0..n * d {
                let at = |step: f64| {
                    let mut x = x.clone();
                    x[k] += step;
                    Room::default().smooth_largest(&x, &mut vec![0.0; n * d], kind, d, 7.0)
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((g[k] - numeric).abs() < 1e-6, "{} for {numeric}", g[k]);
            }
        }
    }

    /// Small cases whose optimum is known; no result is ever below a bound.
    #[test]
    fn small_packings_reach_their_optimum() {
        for (kind, d, n, want) in [
            (Kind::Signed, 2, 5, 0.30902),
            (Kind::Signed, 3, 6, 0.0),
            (Kind::Signed, 3, 12, 0.44721),
            (Kind::Signed, 4, 8, 0.0),
            (Kind::Lines, 2, 3, 0.5),
            (Kind::Lines, 3, 4, 1.0 / 3.0),
            (Kind::Lines, 3, 6, 0.44721),
            (Kind::Lines, 4, 6, 1.0 / 3.0),
        ] {
            let got = search(kind, d, n, 8).searched(&Rng::new(0), GO).unwrap().cosine;
            assert!(got < want + 1e-3 && got > best_bound(kind, d, n) - 1e-9, "{n} {} in {d}: {got}", kind.id());
        }
    }

    /// More than 2d points can't all be at right angles or more (elementary, after Rankin).
    #[test]
    fn no_more_than_2d_points_keep_apart_by_a_right_angle() {
        for d in [2, 3, 4] {
            let of = |n| search(Kind::Signed, d, n, 6).searched(&Rng::new(1), GO).unwrap().cosine;
            assert!(of(2 * d) < 1e-3);
            assert!(of(2 * d + 1) > 1e-3);
        }
    }

    #[test]
    fn threads_change_no_byte_and_breaking_ends_it() {
        let seven = search(Kind::Lines, 3, 7, 5);
        let of = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| seven.searched(&Rng::new(3), GO).unwrap().packing.to_mat())
        };
        assert_eq!(of(1), of(3));
        assert!(seven.searched(&Rng::new(3), &|_| ControlFlow::Break(())).is_none());
    }

    /// What a smoothed largest cosine is known to reach, each with what is allowed above it (see docs/geometry.md).
    #[test]
    fn the_search_alone_reaches_its_targets() {
        use Kind::{Lines, Signed};
        for (kind, d, n, target) in [
            (Signed, 2, 5, 0.30902),
            (Signed, 3, 5, 0.0),
            (Signed, 3, 6, 0.0),
            (Signed, 3, 8, 0.26198),
            (Signed, 3, 12, 0.44722),
            (Signed, 4, 8, 0.0),
            (Signed, 5, 16, 0.2),
            (Lines, 2, 3, 0.5),
            (Lines, 3, 4, 0.33333),
            (Lines, 3, 5, 0.44747),
            (Lines, 3, 6, 0.44721),
            (Lines, 3, 8, 0.64803),
            (Lines, 4, 6, 0.33378),
            (Lines, 4, 8, 0.41441),
            (Lines, 4, 12, 0.5),
            (Lines, 5, 10, 0.33333),
        ] {
            let got = search(kind, d, n, 8).searched(&Rng::new(0), GO).unwrap().cosine;
            assert!(got <= target + 1e-3, "{n} {} in {d}: {got} for {target}", kind.id());
            assert!(got >= best_bound(kind, d, n) - 1e-9, "{n} {} in {d}: {got} is below a bound", kind.id());
        }
    }

    /// Five lines in three dimensions are the icosahedron's six without one.
    #[test]
    fn a_construction_with_some_left_out_is_tried() {
        let best = search(Kind::Lines, 3, 5, 4).best(&Rng::new(0), GO).unwrap();
        assert!(best.exact && (best.cosine - 0.2f64.sqrt()).abs() < 1e-12, "{}", best.cosine);
        assert_eq!(best.packing.n(), 5);
    }

    #[test]
    fn constructions_win_over_searches_that_only_come_near() {
        let best = search(Kind::Signed, 3, 8, 4).best(&Rng::new(0), GO).unwrap();
        assert!(best.exact && best.method == "square antiprism", "{best:?}");
        let searched = search(Kind::Lines, 3, 8, 4).best(&Rng::new(0), GO).unwrap();
        assert!(!searched.exact && searched.cosine < 0.65 && searched.method.ends_with("4 starts"));
    }
}
