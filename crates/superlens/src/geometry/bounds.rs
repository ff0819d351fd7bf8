//! How small the largest cosine between directions can be, and how many directions can keep below one.
//!
//! Two notions that are easily mixed up, so every function says which it is about: *signed* cosines (points on a sphere, a
//! spherical code) and *absolute* ones (lines through the origin). Toy models of superposition pay for positive cosines
//! only; linear read-outs pay for both.

use statrs::distribution::{Beta, ContinuousCDF};
use std::f64::consts::PI;

/// Whether directions are points, whose cosines count with their sign, or lines, whose cosines count by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Signed,
    Lines,
}

impl Kind {
    /// The word used in JSON.
    pub fn id(self) -> &'static str {
        match self {
            Kind::Signed => "signed",
            Kind::Lines => "lines",
        }
    }
}

/// A lower bound on the largest cosine, by the name that it goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub name: &'static str,
    pub cosine: f64,
}

/// All bounds that say something of `n` directions of this kind in `d` dimensions; empty with fewer than two directions.
pub fn bounds(kind: Kind, d: usize, n: usize) -> Vec<Bound> {
    if n < 2 || d == 0 {
        return Vec::new();
    }
    let bound = |name, cosine: Option<f64>| cosine.map(|cosine| Bound { name, cosine });
    let all = match kind {
        Kind::Lines => [
            bound("welch", welch(d, n)),
            bound("orthoplex", orthoplex(d, n)),
            bound("second", second(d, n)),
            bound("levenshtein", levenshtein(d, 2 * n).map(|c| c.max(0.0))),
            bound("pigeonhole", pigeonhole(kind, d, n)),
        ],
        Kind::Signed => [
            bound("rankin", Some(rankin(d, n))),
            bound("levenshtein", levenshtein(d, n)),
            bound("pigeonhole", pigeonhole(kind, d, n)),
            None,
            None,
        ],
    };
    all.into_iter().flatten().collect()
}

/// The largest of [`bounds`]; −1 where there is none.
pub fn best_bound(kind: Kind, d: usize, n: usize) -> f64 {
    bounds(kind, d, n).iter().map(|b| b.cosine).fold(-1.0, f64::max)
}

/// Up to two dimensions, exactly: of `n` points around a circle two neighbours are at most 2π/n apart, of `n` lines π/n, and in one
/// dimension there are two points and one line. Always reached.
pub fn pigeonhole(kind: Kind, d: usize, n: usize) -> Option<f64> {
    let turn = if kind == Kind::Lines { PI } else { 2.0 * PI };
    match d {
        1 => Some(if kind == Kind::Signed && n == 2 { -1.0 } else { 1.0 }),
        2 => Some((turn / n as f64).cos()),
        _ => None,
    }
}

/// Lines: `√((n − d) / (d (n − 1)))` for `n > d` (Welch 1974). Reached by equiangular tight frames alone, which need
/// `n ≤ d (d + 1) / 2`.
pub fn welch(d: usize, n: usize) -> Option<f64> {
    (n > d).then(|| ((n - d) as f64 / (d as f64 * (n - 1) as f64)).sqrt())
}

/// Lines: `1 / √d` beyond `d (d + 1) / 2` of them (Conway, Hardin and Sloane 1996). Reached by mutually unbiased bases.
pub fn orthoplex(d: usize, n: usize) -> Option<f64> {
    (n > d * (d + 1) / 2).then(|| 1.0 / (d as f64).sqrt())
}

/// Lines: `√((3n − d² − 2d) / ((d + 2)(n − d)))` beyond `d (d + 1) / 2` of them (Levenshtein 1982, Welch's second bound
/// sharpened). Reached by the 12 lines of D4 and the 120 of E8.
pub fn second(d: usize, n: usize) -> Option<f64> {
    let (df, nf) = (d as f64, n as f64);
    (n > d * (d + 1) / 2 && n > d).then(|| ((3.0 * nf - df * df - 2.0 * df) / ((df + 2.0) * (nf - df))).max(0.0).sqrt())
}

/// Points: −1/(n − 1) for at most d + 1 of them (the simplex), 0 for more (Rankin 1955; reached up to 2d).
pub fn rankin(d: usize, n: usize) -> f64 {
    if n <= d + 1 { -1.0 / (n as f64 - 1.0) } else { 0.0 }
}

/// Points: the least cosine at which Levenshtein's bound admits `n` of them; `None` in one dimension or for one point.
pub fn levenshtein(d: usize, n: usize) -> Option<f64> {
    if d < 2 || n < 2 {
        return None;
    }
    if n <= d + 1 {
        return Some(rankin(d, n));
    }
    let pieces = Pieces::new(d);
    // The bound rises with the cosine: bisection to the last digit.
    let (mut low, mut high) = (-1.0 / d as f64, 1.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if pieces.most(middle) < n as f64 * (1.0 - 1e-12) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}

/// Points: how many can have no two with a cosine above `s` (Levenshtein 1979). Infinite beyond the degrees that are tried.
pub fn most_points(d: usize, s: f64) -> f64 {
    if d < 2 || s >= 1.0 { f64::INFINITY } else { Pieces::reaching(d, s, FAR).most(s) }
}

/// Degrees of polynomials that Levenshtein's bound is made of, at most: where the cosine is sought, and where it is given.
const MOST_DEGREE: usize = 16;
const FAR: usize = 64;

/// Levenshtein's bound: piece after piece along the cosine, with the ends of each (Levenshtein 1998, *Universal bounds for codes
/// and designs*, section 5). `t_k^{1,0}` ends the pieces of odd degree 2k − 1 and `t_k^{1,1}` those of even degree 2k.
struct Pieces {
    d: usize,
    ends: Vec<[f64; 2]>,
}

impl Pieces {
    fn new(d: usize) -> Self {
        Pieces::reaching(d, 1.0, MOST_DEGREE)
    }

    /// The pieces up to that of the cosine `s`, or of `most` degrees.
    fn reaching(d: usize, s: f64, most: usize) -> Self {
        // The polynomials of the two families are, up to factors, (P_k − P_{k+1}) / (1 − t) and P_k in two dimensions more.
        let odd = |k: usize| last_root(&|t| (gegenbauer(d, k, t) - gegenbauer(d, k + 1, t)) / (1.0 - t));
        let even = |k: usize| last_root(&|t| gegenbauer(d + 2, k, t));
        let mut ends = Vec::new();
        for k in 1..=most {
            ends.push([odd(k), even(k)]);
            if ends[k - 1][1] >= s {
                break;
            }
        }
        Pieces { d, ends }
    }

    fn most(&self, s: f64) -> f64 {
        let n = self.d as f64;
        if s < -1.0 / n {
            return 1.0 - 1.0 / s.max(-1.0);
        }
        let p = |k: usize| gegenbauer(self.d, k, s);
        for (k, [odd, even]) in self.ends.iter().enumerate().map(|(i, e)| (i + 1, e)) {
            let kf = k as f64;
            if s <= *odd {
                let rest = (p(k - 1) - p(k)) / ((1.0 - s) * p(k));
                return choose(kf + n - 3.0, k - 1) * ((2.0 * kf + n - 3.0) / (n - 1.0) - rest);
            }
            if s <= *even {
                let rest = (1.0 + s) * (p(k) - p(k + 1)) / ((1.0 - s) * (p(k) + p(k + 1)));
                return choose(kf + n - 2.0, k) * ((2.0 * kf + n - 1.0) / (n - 1.0) - rest);
            }
        }
        f64::INFINITY
    }
}

/// The Gegenbauer polynomial of degree `k` of the sphere in `d` dimensions, 1 at 1.
fn gegenbauer(d: usize, k: usize, t: f64) -> f64 {
    let n = d as f64;
    let (mut before, mut now) = (1.0, t);
    if k == 0 {
        return 1.0;
    }
    for i in 1..k {
        let i = i as f64;
        (before, now) = (now, ((2.0 * i + n - 2.0) * t * now - i * before) / (i + n - 2.0));
    }
    now
}

/// The largest root of `f` in (−1, 1), whose roots are apart by more than a thousandth near 1.
fn last_root(f: &dyn Fn(f64) -> f64) -> f64 {
    const STEPS: usize = 20_000;
    let at = |i: usize| (PI * i as f64 / STEPS as f64).cos();
    let Some(i) = (1..STEPS - 1).find(|&i| f(at(i)) * f(at(i + 1)) <= 0.0) else { return -1.0 };
    let (mut high, mut low) = (at(i), at(i + 1));
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if f(middle) * f(high) <= 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// `C(top, k)` for real `top`.
fn choose(top: f64, k: usize) -> f64 {
    (0..k).map(|i| (top - i as f64) / (k - i) as f64).product()
}

/// How many directions are sure to fit, or can fit at most, by one argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    pub name: &'static str,
    /// `ln` of the number, which may be astronomical.
    pub ln_n: f64,
}

/// Lines with no |cosine| above `eps` in `d` dimensions: what each argument promises or permits.
pub fn room(d: usize, eps: f64) -> Vec<Room> {
    let exponent = d as f64 * eps * eps;
    // Dasgupta and Gupta 2003: distances of N points survive in 4 ln N / (ε²/2 − ε³/3) dimensions.
    let lindenstrauss = d as f64 * (eps * eps / 2.0 - eps.powi(3) / 3.0) / 4.0;
    vec![
        Room { name: "union", ln_n: exponent / 4.0 },
        Room { name: "cap", ln_n: -ln_cap(d, eps) },
        Room { name: "johnson_lindenstrauss", ln_n: lindenstrauss.max(0.0) },
        Room { name: "upper", ln_n: (0.5 * most_points(d, eps)).ln().min(ln_volume(d, eps)) },
    ]
}

/// `ln` of how many lines fit by volume: caps around them of half their angle don't overlap. Weak, but never without an answer.
fn ln_volume(d: usize, eps: f64) -> f64 {
    -ln_cap(d, (0.5 * (1.0 + eps)).sqrt())
}

/// `ln P(|u · v| > eps)` for two random directions: `(u · v)²` is Beta(1/2, (d − 1)/2).
pub fn ln_cap(d: usize, eps: f64) -> f64 {
    match Beta::new(0.5, (d as f64 - 1.0) / 2.0) {
        Ok(beta) if d > 1 => ln_upper_tail(&beta, d, eps),
        _ => 0.0,
    }
}

/// The tail, by its asymptotic series where the distribution function has no digits left.
fn ln_upper_tail(beta: &Beta, d: usize, eps: f64) -> f64 {
    let tail = beta.sf(eps * eps);
    if tail > 1e-250 {
        return tail.ln();
    }
    // ∫_ε^1 (1 − t²)^((d−3)/2) dt = (1 − ε²)^((d−1)/2) / ((d − 1) ε) · (1 + O(1 / (d ε²))).
    let n = d as f64;
    let ln_norm = 2f64.ln() + ln_gamma(n / 2.0) - ln_gamma((n - 1.0) / 2.0) - 0.5 * PI.ln();
    ln_norm + (n - 1.0) / 2.0 * (-eps * eps).ln_1p() - ((n - 1.0) * eps).ln()
}

fn ln_gamma(x: f64) -> f64 {
    statrs::function::gamma::ln_gamma(x)
}

/// What the largest |cosine| of `n` random directions in `d` dimensions is about: the value that one pair of all is expected to
/// exceed. `√(4 ln n / d)` bounds it from above.
pub fn expected_largest(d: usize, n: f64) -> f64 {
    let pairs = n * (n - 1.0) / 2.0;
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ln_cap(d, middle) + pairs.ln() > 0.0 { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes that reach their bound: (dimensions, points, cosine).
    #[test]
    fn known_optimal_codes_meet_their_bounds() {
        for (d, n, s) in [
            (2, 5, (0.4 * PI).cos()),
            (2, 3, -0.5),
            (3, 6, 0.0),
            (3, 12, 0.2f64.sqrt()),
            (5, 16, 0.2),
            (6, 27, 0.25),
            (7, 56, 1.0 / 3.0),
            (8, 240, 0.5),
            (22, 275, 1.0 / 6.0),
            (24, 196_560, 0.5),
        ] {
            let got = best_bound(Kind::Signed, d, n);
            assert!((got - s).abs() < 1e-9, "{n} points in {d}: {got} for {s}");
        }
        for (d, n, s) in [
            (3, 6, 0.2f64.sqrt()),
            (7, 28, 1.0 / 3.0),
            (23, 276, 0.2),
            (4, 12, 0.5),
            (16, 144, 0.25),
            (8, 120, 0.5),
            (24, 98_280, 0.5),
        ] {
            let got = best_bound(Kind::Lines, d, n);
            assert!((got - s).abs() < 1e-9, "{n} lines in {d}: {got} for {s}");
        }
    }

    /// Nothing of two dimensions or one is left open: the fan, the polygon, and copies of the only line are optimal.
    #[test]
    fn up_to_two_dimensions_the_bound_is_the_optimum() {
        for n in 2..=200 {
            let turn = PI / n as f64;
            assert!((best_bound(Kind::Lines, 2, n) - turn.cos()).abs() < 1e-12, "{n} lines");
            assert!((best_bound(Kind::Signed, 2, n) - (2.0 * turn).cos()).abs() < 1e-12, "{n} points");
        }
        assert_eq!((best_bound(Kind::Signed, 1, 2), best_bound(Kind::Signed, 1, 3)), (-1.0, 1.0));
        assert_eq!((best_bound(Kind::Lines, 1, 2), best_bound(Kind::Lines, 1, 7)), (1.0, 1.0));
    }

    /// Levenshtein's bound on kissing numbers: 26 in four dimensions, 13.28 in three.
    #[test]
    fn kissing_numbers_are_bounded() {
        assert!((most_points(4, 0.5) - 26.0).abs() < 1e-9, "{}", most_points(4, 0.5));
        assert!((12.0..14.0).contains(&most_points(3, 0.5)));
        assert_eq!(most_points(5, 1.0), f64::INFINITY);
    }

    /// The numbers of the union and the cap bound.
    #[test]
    fn room_grows_exponentially() {
        let of = |d, eps, name: &str| room(d, eps).iter().find(|r| r.name == name).unwrap().ln_n.exp();
        for (d, eps, union) in [(512, 0.2, 167.0), (1024, 0.2, 2.8e4), (2048, 0.1, 167.0), (4096, 0.1, 2.8e4)] {
            assert!((of(d, eps, "union") / union - 1.0).abs() < 0.02);
        }
        for (d, eps, cap) in
            [(256, 0.2, 789.0), (256, 0.3, 1.0e6), (512, 0.2, 2.0e5), (1024, 0.1, 742.0), (1024, 0.2, 9.6e9)]
        {
            assert!((of(d, eps, "cap") / cap - 1.0).abs() < 0.05, "{d} {eps}: {}", of(d, eps, "cap"));
        }
        // The series joins the exact tail.
        let beta = Beta::new(0.5, 511.5).unwrap();
        let (exact, d, eps): (f64, f64, f64) = (beta.sf(0.36), 1024.0, 0.6);
        let series = 2f64.ln() + ln_gamma(d / 2.0) - ln_gamma((d - 1.0) / 2.0) - 0.5 * PI.ln()
            + (d - 1.0) / 2.0 * (-eps * eps).ln_1p()
            - ((d - 1.0) * eps).ln();
        assert!((exact.ln() - series).abs() < 0.01);
    }

    #[test]
    fn upper_and_lower_bounds_are_in_order() {
        for (d, eps) in [(16, 0.5), (64, 0.3), (256, 0.2)] {
            let room = room(d, eps);
            let upper = room.iter().find(|r| r.name == "upper").unwrap().ln_n;
            assert!(room.iter().all(|r| r.ln_n <= upper + 1e-9), "{room:?}");
        }
        assert!(bounds(Kind::Lines, 3, 1).is_empty() && levenshtein(1, 5).is_none());
    }
}
