//! [`Choice`]: how the next token follows from its logits.

use superlens_tensor::Rng;

/// Sampling with temperature from the likeliest tokens, or the likeliest itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Logits are divided by it; at 0 the likeliest token is taken, the first of equals.
    pub temperature: f32,
    /// Only the `k` likeliest.
    pub top_k: Option<usize>,
    /// Only the likeliest whose probabilities together reach this share (Holtzman et al. 2020, arXiv 1904.09751).
    pub top_p: Option<f32>,
}

impl Default for Choice {
    fn default() -> Self {
        Choice { temperature: 1.0, top_k: None, top_p: None }
    }
}

impl Choice {
    /// # Errors
    /// A setting out of its range.
    pub fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(format!("temperature: expected a number from 0, found {}", self.temperature));
        }
        if self.top_k == Some(0) {
            return Err("top-k: expected 1 at least, found 0".into());
        }
        match self.top_p {
            Some(p) if !(p > 0.0 && p <= 1.0) => {
                Err(format!("top-p: expected a number above 0 and up to 1, found {p}"))
            }
            _ => Ok(()),
        }
    }

    /// The token that is taken. Logits that are no number count as least; where all are, it is token 0.
    pub fn of(&self, logits: &[f32], rng: &mut Rng) -> u32 {
        let level = |i: usize| if logits[i].is_nan() { f32::NEG_INFINITY } else { logits[i] };
        let first_best = (0..logits.len()).fold(0, |best, i| if level(i) > level(best) { i } else { best });
        if self.temperature == 0.0 {
            return first_best as u32;
        }
        let top = f64::from(level(first_best));
        let weight = |i: usize| ((f64::from(level(i)) - top) / f64::from(self.temperature)).exp();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        if self.top_k.is_some() || self.top_p.is_some() {
            order.sort_by(|&a, &b| level(b).total_cmp(&level(a)).then(a.cmp(&b)));
            order.truncate(self.top_k.unwrap_or(usize::MAX));
        }
        let mut weights: Vec<f64> = order.iter().map(|&i| weight(i)).collect();
        if let Some(p) = self.top_p {
            let all: f64 = weights.iter().sum();
            let mut sum = 0.0;
            let inside = weights.iter().take_while(|&&w| {
                let before = sum;
                sum += w;
                before < f64::from(p) * all
            });
            let count = inside.count();
            weights.truncate(count.max(1));
        }
        let mut left = rng.uniform_f64() * weights.iter().sum::<f64>();
        for (&i, w) in order.iter().zip(&weights) {
            left -= w;
            if left < 0.0 {
                return i as u32;
            }
        }
        first_best as u32
    }
}
