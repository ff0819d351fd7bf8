//! Which features each neuron carries.

use super::coding::pursuit;
use super::finding::Neuron;
use super::rays::Rays;
use super::whitening::Whitening;
use superlens_tensor::Mat;

/// A feature counts for a neuron from this share of the neuron's explained variance.
const CARRIED: f64 = 0.10;
/// A neuron none of whose features reaches this share is a mixture of many, though each may be small.
const DOMINANT: f64 = 0.5;
/// A neuron of whose variance the dictionary explains less carries noise and has no say.
const EXPLAINED: f64 = 0.10;

/// One entry per column of the input. `rows` are held-out rows of the `live` columns (of `dims` in all), `held_out` the same
/// rows in white coordinates.
pub(super) fn neurons(
    rows: &Mat,
    held_out: &Mat,
    rays: &Rays,
    whitening: &Whitening,
    live: &[usize],
    dims: usize,
) -> Vec<Neuron> {
    let mut out: Vec<Neuron> = (0..dims)
        .map(|index| Neuron {
            index,
            live: false,
            polysemantic: false,
            n_features: 0,
            cause: None,
            explained: 0.0,
            features: Vec::new(),
        })
        .collect();
    live.iter().for_each(|&j| out[j].live = true);
    if rays.lines.is_empty() {
        return out;
    }
    let active = (held_out.cols() / 4).clamp(4, 16);
    let sae = pursuit(&rays.directions, active);
    let code = sae.encode(held_out);
    let recon = whitening.directions(&sae.decode(&code));
    let truth = whitening.centred(rows);
    let loads = whitening.directions(&rays.line_directions());
    let variance = line_variances(&code, rays, held_out.rows());
    for (k, &j) in live.iter().enumerate() {
        let (mut left, mut total) = (0.0f64, 0.0f64);
        for i in 0..truth.rows() {
            left += f64::from(truth[(i, k)] - recon[(i, k)]).powi(2);
            total += f64::from(truth[(i, k)]).powi(2);
        }
        let neuron = &mut out[j];
        neuron.explained = if total > 0.0 { (1.0 - left / total).max(0.0) } else { 0.0 };
        if neuron.explained < EXPLAINED {
            continue;
        }
        let parts: Vec<f64> = (0..loads.rows()).map(|i| variance[i] * f64::from(loads[(i, k)]).powi(2)).collect();
        let sum: f64 = parts.iter().sum();
        let mut features: Vec<(usize, f64)> =
            parts.iter().enumerate().map(|(i, p)| (i, p / sum)).filter(|(_, share)| *share >= CARRIED).collect();
        features.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let top = parts.iter().copied().fold(0.0, f64::max) / sum;
        let many = if top < DOMINANT { sum * sum / parts.iter().map(|p| p * p).sum::<f64>() } else { 1.0 };
        neuron.n_features = features.len().max(many.round() as usize);
        neuron.polysemantic = neuron.n_features >= 2;
        neuron.features = features;
    }
    out
}

/// Variance of each line's signed coefficient over the rows.
fn line_variances(code: &crate::sae::Latents, rays: &Rays, rows: usize) -> Vec<f64> {
    let n = rays.lines.len();
    let (mut sum, mut squares) = (vec![0.0f64; n], vec![0.0f64; n]);
    for i in 0..rows {
        let (indices, values) = code.row(i);
        for (&ray, &value) in indices.iter().zip(values) {
            let line = rays.line_of[ray as usize];
            let sign = if rays.lines[line] == ray as usize { 1.0 } else { -1.0 };
            sum[line] += sign * f64::from(value);
            squares[line] += f64::from(value).powi(2);
        }
    }
    let rows = rows.max(1) as f64;
    sum.iter().zip(&squares).map(|(s, q)| (q / rows - (s / rows).powi(2)).max(0.0)).collect()
}
