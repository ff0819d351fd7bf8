//! Integrals over the part of a cube where a linear function is positive.
//!
//! Over all coordinates but one, the integral of a quadratic over `{x ∈ [0, 1]^s : g · x + b > 0}` is a polynomial of degree
//! `s + 1` between the places where the plane passes a corner of the cube: Gauss–Legendre rules on these pieces, nested from
//! the outermost coordinate to the innermost, are exact. There are `2^(s−1)` such places, so that beyond [`EXACT`]
//! coordinates the outer ones take a plain rule; what is left is four times differentiable there.

use super::gauss_legendre;

/// Coordinates at most.
pub const MOST: usize = 6;
/// Coordinates whose pieces are found exactly.
const EXACT: usize = 3;
/// Nodes of each outer coordinate of a cube of four, five and six.
const OUTER: [usize; MOST - EXACT] = [8, 6, 4];

/// The Gauss–Legendre rules that the integrals need.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// For a piece of one, two and three coordinates: degrees 2, 3 and 4.
    inner: [Vec<(f64, f64)>; EXACT],
    outer: [Vec<(f64, f64)>; MOST - EXACT],
}

/// A cube with the plane through it, its coordinates sorted: the steepest first, which is innermost.
struct Cut<'a> {
    rules: &'a Rules,
    steps: [(f64, usize); MOST],
    outer: &'a [(f64, f64)],
}

impl Rules {
    pub fn new() -> Self {
        Rules { inner: [2, 2, 3].map(gauss_legendre), outer: OUTER.map(gauss_legendre) }
    }

    /// Tells `each` points of the cube with `z = g · x + b > 0`: the coordinates in the order of `g`, then `z`, then a weight.
    /// Weighted sums of quadratics in `x` and `z` are their integrals, exactly so with up to three coordinates.
    pub fn visit(&self, g: &[f64], b: f64, each: &mut impl FnMut(&[f64; MOST], f64, f64)) {
        let mut steps = [(0.0, 0); MOST];
        g.iter().enumerate().for_each(|(i, g)| steps[i] = (*g, i));
        if g.len() > EXACT {
            steps[..g.len()].sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()));
        }
        let outer: &[_] = if g.len() > EXACT { &self.outer[g.len() - EXACT - 1] } else { &[] };
        Cut { rules: self, steps, outer }.level(g.len(), b, 1.0, &mut [0.0; MOST], each);
    }
}

impl Cut<'_> {
    /// Integrates the innermost `level` coordinates, the others having their values in `x` and `z` being `base` without them.
    fn level(
        &self,
        level: usize,
        base: f64,
        weight: f64,
        x: &mut [f64; MOST],
        each: &mut impl FnMut(&[f64; MOST], f64, f64),
    ) {
        let below: f64 = self.steps[..level].iter().map(|(g, _)| g.max(0.0)).sum();
        if base + below <= 0.0 {
            return;
        }
        let Some(last) = level.checked_sub(1) else {
            return each(x, base, weight);
        };
        let (slope, at) = self.steps[last];
        let mut go = |value: f64, share: f64, x: &mut [f64; MOST]| {
            x[at] = value;
            self.level(last, base + slope * value, weight * share, x, each);
        };
        if level > EXACT {
            return self.outer.iter().for_each(|(node, share)| go(*node, *share, x));
        }
        let (ends, count) = self.pieces(last, base, slope);
        for ends in ends[..count].windows(2) {
            let length = ends[1] - ends[0];
            for (node, share) in &self.rules.inner[last] {
                go(ends[0] + length * node, length * share, x);
            }
        }
    }

    /// Where coordinate `last` meets a corner of those inside it, with both its ends, in order; and how many these are.
    fn pieces(&self, last: usize, base: f64, slope: f64) -> ([f64; 2 + (1 << (EXACT - 1))], usize) {
        let mut ends = [0.0; 2 + (1 << (EXACT - 1))];
        let mut count = 1;
        for corner in 0..1usize << last {
            let inside: f64 = (0..last).filter(|k| corner >> k & 1 == 1).map(|k| self.steps[k].0).sum();
            // Without a slope this is no number or infinite, and no place inside.
            let place = -(base + inside) / slope;
            if place > 0.0 && place < 1.0 {
                ends[count] = place;
                count += 1;
            }
        }
        ends[count] = 1.0;
        ends[1..count].sort_by(f64::total_cmp);
        (ends, count + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// `∫ [z > 0] z (z − 2 x_0)` by a fine midpoint rule.
    fn midpoint(g: &[f64], b: f64, cells: usize) -> f64 {
        let total = cells.pow(g.len() as u32);
        let of = |mut k: usize| {
            let mut x = [0.0; MOST];
            for x in &mut x[..g.len()] {
                *x = ((k % cells) as f64 + 0.5) / cells as f64;
                k /= cells;
            }
            let z: f64 = b + g.iter().zip(&x).map(|(g, x)| g * x).sum::<f64>();
            if z > 0.0 { z * (z - 2.0 * x[0]) } else { 0.0 }
        };
        (0..total).map(of).sum::<f64>() / total as f64
    }

    fn ours(g: &[f64], b: f64) -> f64 {
        let mut sum = 0.0;
        Rules::new().visit(g, b, &mut |x, z, weight| sum += weight * z * (z - 2.0 * x[0]));
        sum
    }

    #[test]
    fn kinks_anywhere_are_integrated() {
        let mut rng = Rng::new(5);
        for (s, cells, off) in [(1, 200_000, 1e-9), (2, 900, 3e-6), (3, 120, 1e-4), (4, 36, 1e-3), (5, 18, 4e-3)] {
            for _ in 0..5 {
                let g: Vec<f64> = (0..s).map(|_| rng.normal_f64()).collect();
                let b = 0.3 * rng.normal_f64();
                let (got, want) = (ours(&g, b), midpoint(&g, b, cells));
                assert!((got - want).abs() < off, "{g:?} {b}: {got} for {want}");
            }
        }
    }

    /// `∫ (x₁ − x₂)₊² = 1/12`, `∫ (x₁ + x₂ − 1)₊² = 1/12`, `∫ (x₁ + x₂ + x₃ − 2)₊² = 2/5! `; no slope at all.
    #[test]
    fn closed_forms_to_the_last_digits() {
        let square = |g: &[f64], b: f64| {
            let mut sum = 0.0;
            Rules::new().visit(g, b, &mut |_, z, weight| sum += weight * z * z);
            sum
        };
        for (g, b, want) in [
            (&[1.0, -1.0][..], 0.0, 1.0 / 12.0),
            (&[1.0, 1.0], -1.0, 1.0 / 12.0),
            (&[1.0, 1.0, 1.0], -2.0, 1.0 / 60.0),
            (&[0.0, 0.0, 0.0], 0.5, 0.25),
            (&[0.0, 1e-300, 0.0], -1.0, 0.0),
            (&[], 2.0, 4.0),
            (&[1.0, -1.0, 0.0, 0.0, 0.0, 0.0], 0.0, 1.0 / 12.0),
        ] {
            assert!((square(g, b) - want).abs() < 1e-13, "{g:?} {b}: {} for {want}", square(g, b));
        }
    }
}
