//! Studies as features with their examples: the form from which the files of other tools are made.

use serde_json::{Map, Value, json};

use super::files::dashboard::{Activation, Feature};
use super::profile::Profile;
use super::{Contexts, Peak, Source, Study, Units};

/// Bars of a histogram.
const BARS: usize = 50;
/// Neurons with which a latent's direction is told to be aligned.
const ALIGNED: usize = 3;

/// A unit with the texts of its examples. `texts` and `dataset` say how many documents there were, and what they are called.
pub fn feature(
    study: &Study,
    source: Source<'_>,
    units: &Units,
    contexts: &Contexts<'_>,
    texts: usize,
    dataset: &str,
) -> Feature {
    let p = &study.profile;
    let record = |peak: &Peak| contexts.record(source, units, p.unit, peak.row);
    let at = |peak: &Peak| (peak.row - contexts.rows(peak.row).start) as usize;
    let mut activations: Vec<Activation> =
        study.top.iter().map(|(peak, _)| Activation::top(&record(peak), at(peak), p.max)).collect();
    for (g, group) in study.groups.iter().enumerate().rev() {
        let ends = [study.boundaries[g], study.boundaries[g + 1]].map(f64::from);
        let share = share_within(p, ends);
        activations.extend(group.iter().map(|peak| Activation::within(&record(peak), at(peak), ends, share)));
    }
    let (values, heights) = bars(p);
    let mut rest: Map<String, Value> = Map::new();
    rest.insert("n_prompts_total".into(), json!(texts));
    rest.insert("n_tokens_in_prompt".into(), json!(p.rows as usize / texts.max(1)));
    rest.insert("dataset".into(), json!(dataset));
    if let Units::Latents(sae) = units {
        let (indices, strengths, shares) = aligned(sae.w_dec.row(p.unit));
        rest.insert("neuron_alignment_indices".into(), json!(indices));
        rest.insert("neuron_alignment_values".into(), json!(strengths));
        rest.insert("neuron_alignment_l1".into(), json!(shares));
    }
    Feature {
        feature_index: p.unit as u64,
        frac_nonzero: p.density,
        freq_hist_data_bar_values: values,
        freq_hist_data_bar_heights: heights,
        activations,
        rest,
    }
}

/// Share of the rows above zero that lie between two values, by bins.
fn share_within(p: &Profile, [low, high]: [f64; 2]) -> f64 {
    let positive = p.density * p.rows as f64;
    if positive > 0.0 { spread(p, low, high) / positive } else { 0.0 }
}

/// Rows above zero between two values, each bin's spread evenly over it.
fn spread(p: &Profile, low: f64, high: f64) -> f64 {
    let max = f64::from(p.max);
    // Zeros lie in the lowest bin: what is above zero there can't be told from them, and is as good as zero.
    let above = p.bins.filled().into_iter().filter(|(from, _, _)| *from > 0.0);
    let part = |(from, to, n): (f32, f32, u64)| {
        let (from, to) = (f64::from(from), f64::from(to).min(max));
        let common = (to.min(high) - from.max(low)).max(0.0);
        if to > from {
            n as f64 * common / (to - from)
        } else {
            n as f64 * f64::from(u8::from(low <= from && from <= high))
        }
    };
    above.map(part).sum()
}

/// Middles and heights of equally wide bars between zero and the largest value.
fn bars(p: &Profile) -> (Vec<f64>, Vec<f64>) {
    if p.dead() {
        return (Vec::new(), Vec::new());
    }
    let wide = f64::from(p.max) / BARS as f64;
    let middles = (0..BARS).map(|b| (b as f64 + 0.5) * wide).collect();
    (middles, (0..BARS).map(|b| spread(p, b as f64 * wide, (b + 1) as f64 * wide).round()).collect())
}

/// Columns in which a direction is largest in size, the entries there, and their shares of the sum of sizes.
fn aligned(direction: &[f32]) -> (Vec<usize>, Vec<f32>, Vec<f64>) {
    let mut order: Vec<usize> = (0..direction.len()).collect();
    order.sort_by(|a, b| direction[*b].abs().total_cmp(&direction[*a].abs()).then(a.cmp(b)));
    order.truncate(ALIGNED);
    let all: f64 = direction.iter().map(|v| f64::from(v.abs())).sum::<f64>().max(f64::MIN_POSITIVE);
    let shares = order.iter().map(|j| f64::from(direction[*j].abs()) / all).collect();
    let strengths = order.iter().map(|j| direction[*j]).collect();
    (order, strengths, shares)
}
