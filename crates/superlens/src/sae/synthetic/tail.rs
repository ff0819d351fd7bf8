//! [`Tail`]: the upper tail of the normal distribution, from a table.

use statrs::function::erf::{erfc, erfc_inv};

/// The table reaches from −REACH to REACH; the tail beyond is below 1e-15.
const REACH: f32 = 8.0;
/// Entries a unit. Interpolation errs by less than 1.2e-7, the rounding of the place in the table by less than 4e-7.
const FINE: f32 = 512.0;

/// `Q(a) = P(z > a)` for standard normal `z`, interpolated. Beyond rounding it never rises with `a`, so what bounds `a` bounds the tail.
#[derive(Clone, Debug)]
pub struct Tail(Vec<f32>);

impl Tail {
    pub fn new() -> Tail {
        let last = (2.0 * REACH * FINE) as usize;
        Tail((0..=last + 1).map(|i| tail(f64::from(i as f32 / FINE - REACH)) as f32).collect())
    }

    #[inline]
    pub fn of(&self, a: f32) -> f32 {
        let x = (a.clamp(-REACH, REACH) + REACH) * FINE;
        let at = x as usize;
        self.0[at] + (x - at as f32) * (self.0[at + 1] - self.0[at])
    }
}

fn tail(a: f64) -> f64 {
    0.5 * erfc(a * std::f64::consts::FRAC_1_SQRT_2)
}

/// The threshold that a standard normal variable exceeds with probability `p` in `[0, 1]`; infinite at the ends.
pub fn threshold(p: f64) -> f64 {
    match p {
        p if p <= 0.0 => f64::INFINITY,
        p if p >= 1.0 => f64::NEG_INFINITY,
        p => std::f64::consts::SQRT_2 * erfc_inv(2.0 * p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_tail_and_its_inverse_the_threshold() {
        let table = Tail::new();
        for i in -9000..9000 {
            let a = i as f32 * 0.001;
            assert!((f64::from(table.of(a)) - tail(f64::from(a))).abs() < 5e-7, "{a}");
            assert!(table.of(a) > table.of(a + 0.001) - 5e-7);
        }
        for p in [1e-4, 5e-4, 0.01, 0.4, 0.5, 0.9] {
            assert!((tail(threshold(p)) / p - 1.0).abs() < 1e-9, "{p}");
        }
        assert_eq!((table.of(f32::NEG_INFINITY), table.of(f32::INFINITY) < 1e-15), (1.0, true));
    }
}
