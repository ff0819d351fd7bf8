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
            concepts: Vec::new(),
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
        neuron.n_features = carried(&parts);
        neuron.polysemantic = neuron.n_features >= 2;
        neuron.features = shares(&parts);
    }
    out
}

/// How many features a neuron carries, of each of which it has so much variance: those that bring at least 10 %, and where none brings half, at
/// least as many equal ones as would spread it as thinly.
pub(super) fn carried(variances: &[f64]) -> usize {
    let sum: f64 = variances.iter().sum();
    if sum <= 0.0 {
        return 0;
    }
    let top = variances.iter().copied().fold(0.0, f64::max) / sum;
    let many = if top < DOMINANT { sum * sum / variances.iter().map(|p| p * p).sum::<f64>() } else { 1.0 };
    shares(variances).len().max(many.round() as usize)
}

/// Those that bring at least 10 %, largest first, with their shares.
fn shares(variances: &[f64]) -> Vec<(usize, f64)> {
    let sum: f64 = variances.iter().sum();
    let all = variances.iter().enumerate().map(|(i, p)| (i, p / sum));
    let mut shares: Vec<(usize, f64)> = all.filter(|(_, share)| *share >= CARRIED).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares
}

/// Adds what labels say: `told` has for each live neuron the share of its variance that they explain, and how much each concept, of which the
/// `columns` are, adds to it.
pub(super) fn with_concepts(neurons: &mut [Neuron], live: &[usize], columns: &[usize], told: &[(f64, Vec<f64>)]) {
    for (&j, (explained, variances)) in live.iter().zip(told) {
        if *explained < EXPLAINED {
            continue;
        }
        let neuron = &mut neurons[j];
        neuron.concepts = shares(variances).into_iter().map(|(c, share)| (columns[c], share)).collect();
        neuron.n_features = neuron.n_features.max(neuron.concepts.len());
        neuron.polysemantic = neuron.n_features >= 2;
    }
}

/// Share of the live neurons that carry at least two features; `None` where there was none to begin with, and no label says otherwise.
pub(super) fn polysemantic_fraction(neurons: &[Neuron], before: Option<f64>) -> Option<f64> {
    let live = neurons.iter().filter(|n| n.live).count();
    let many = neurons.iter().filter(|n| n.polysemantic).count();
    if live == 0 || before.is_none() && many == 0 { before } else { Some(many as f64 / live as f64) }
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
