//! [`effects`]: what changes do to a model's predictions, and [`gather`]: what they replace activations by.

use rayon::prelude::*;
use superlens_tensor::Mat;

use super::{Changes, Handle, Text, run, tokens};
use crate::model::loss::{divergence, surprise};
use crate::model::{Site, Sites, Transformer};

/// What changes do, on average over the tokens that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Cross entropy of the next token, nats.
    pub loss: f64,
    /// `KL(clean ‖ changed)` of the distributions of the next token, nats.
    pub kl: f64,
}

/// What several changes do, each by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Effects {
    /// Predictions that were counted.
    pub tokens: u64,
    /// Cross entropy of the model as it is, nats.
    pub loss: f64,
    pub changed: Vec<Effect>,
}

/// Runs the texts once as they are and once for each of `changes`. `watch` is told the share that is done.
///
/// Panics on a model that gives no next tokens.
pub fn effects(model: &Transformer, texts: &[Text], changes: &[Changes], watch: &(dyn Fn(f64) + Sync)) -> Effects {
    let none = Changes::default();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let of = |text: &Text| {
        let rows = text.predicting();
        let clean = run(model, text, &none);
        let loss = |logits: &Mat| {
            let surprise = surprise(logits, &text.batch);
            rows.iter().map(|&row| surprise[row + 1]).sum::<f64>()
        };
        let effect = |changes: &Changes| {
            let changed = run(model, text, changes);
            let kl = rows.iter().map(|&row| divergence(clean.row(row), changed.row(row))).sum();
            Effect { loss: loss(&changed), kl }
        };
        let sums: (u64, f64, Vec<Effect>) = (rows.len() as u64, loss(&clean), changes.iter().map(effect).collect());
        watch((done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1) as f64 / texts.len() as f64);
        sums
    };
    // Added up in the order of the texts, whatever the threads.
    let all: Vec<_> = texts.par_iter().map(of).collect();
    let mut sum = Effects { tokens: 0, loss: 0.0, changed: vec![Effect::default(); changes.len()] };
    for (tokens, loss, changed) in all {
        sum.tokens += tokens;
        sum.loss += loss;
        sum.changed.iter_mut().zip(changed).for_each(|(s, e)| (s.loss, s.kl) = (s.loss + e.loss, s.kl + e.kl));
    }
    let n = sum.tokens as f64;
    sum.loss /= n;
    sum.changed.iter_mut().for_each(|e| (e.loss, e.kl) = (e.loss / n, e.kl / n));
    sum
}

/// Coefficients over texts.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// Of each coefficient, over all tokens that are not spared.
    pub mean: Vec<f32>,
    /// The coefficients of evenly spaced tokens, `[rows, len]`.
    pub rows: Mat,
}

/// Reads the coefficients of `handle` at `site` over the texts; keeps those of `most` tokens at the most. Panics where all tokens are spared.
pub fn gather(model: &Transformer, texts: &[Text], site: Site, handle: &dyn Handle, most: usize) -> Gathered {
    let all: u64 = texts.iter().map(|text| text.batch.tokens() as u64).sum();
    let every = all.div_ceil(most.max(1) as u64).max(1);
    let of = |text: &Text| {
        let sites = Sites::new([site], &model.config);
        let (mut sum, mut kept, mut count) = (vec![0f64; handle.len()], Vec::new(), 0u64);
        model.forward(&text.batch, &sites, None, &mut |_, x| {
            let read = handle.read(x);
            for (i, token) in tokens(&text.batch, text.first).iter().enumerate() {
                if text.spared.as_ref().is_some_and(|spared| spared[i]) {
                    continue;
                }
                sum.iter_mut().zip(read.row(i)).for_each(|(s, &c)| *s += f64::from(c));
                count += 1;
                // One of each text at least: the others may all be spared.
                if token.number % every == 0 || kept.is_empty() {
                    kept.extend_from_slice(read.row(i));
                }
            }
        });
        (sum, kept, count)
    };
    let (mut mean, mut rows, mut count) = (vec![0.0; handle.len()], Vec::new(), 0);
    for (sum, kept, n) in texts.par_iter().map(of).collect::<Vec<_>>() {
        mean.iter_mut().zip(sum).for_each(|(m, s)| *m += s);
        rows.extend(kept);
        count += n;
    }
    assert!(count > 0, "no token to read");
    let mean = mean.into_iter().map(|m| (m / count as f64) as f32).collect();
    let found = rows.len() / handle.len().max(1);
    Gathered { mean, rows: Mat::from_vec(found, handle.len(), rows) }
}
