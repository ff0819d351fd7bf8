//! Made diagnoses of every kind, with numbers as a real one would have them.

use std::collections::HashSet;

use superlens::{
    diagnose::{
        Alternative, Basis, Count, Diagnosis, Evidence, FvuPoint, Hypothesis, Input, Layer, Mechanism, Neuron, Verdict,
    },
    report::{Case, Source},
};
use superlens_tensor::Rng;

pub fn source() -> Source {
    Source {
        name: "layer0.npy".to_owned(),
        seed: 7,
        settings: vec![("Key".to_owned(), "greedy64.layers.0.mlp_hidden".to_owned())],
    }
}

/// 131 features in 64 dimensions.
pub fn superposition() -> Diagnosis {
    let mut rng = Rng::new(1).fork("superposition");
    let mut d = empty(50_000, 64);
    d.input.constant_columns = vec![17, 40];
    d.layer = Layer {
        verdict: Verdict::Superposition,
        mechanism: None,
        confidence: 0.97,
        alternatives: vec![
            other(Verdict::Inconclusive, None, 0.02),
            other(Verdict::Orthogonal, Some(Mechanism::Rotated), 0.01),
        ],
        would_settle: vec![
            "Concept labels (--labels) would rule out a lookup code.".to_owned(),
            "Four times the rows would narrow the number of features.".to_owned(),
        ],
        basis: Basis::Unknown,
        n_features: Some(Count {
            estimate: 131,
            low: 124,
            high: 140,
            lower_bound: false,
            growth: vec![(12_500, 118), (25_000, 129), (50_000, 131)],
        }),
        effective_rank: 61.4,
        polysemantic_fraction: Some(0.92),
        says: "The neurons are polysemantic because of superposition: 131 sparse features share 61 dimensions."
            .to_owned(),
        because:
            "Two searches on separate halves of the rows find the same 131 directions, and on held-out rows no set of \
                  61 directions rebuilds the activations nearly as well."
                .to_owned(),
    };
    d.hypotheses = vec![
        hypothesis(
            &mut rng,
            "superposition",
            "features found on both halves of the rows, per dimension in use",
            2.13,
            1.0,
            0.026,
        ),
        hypothesis(
            &mut rng,
            "overcomplete_gain",
            "held-out variance unexplained with all features, over that with the best 61",
            0.41,
            0.98,
            -0.02,
        ),
        hypothesis(&mut rng, "alignment", "mean share of a feature in its strongest neuron", 0.109, 0.104, 0.004),
    ];
    d.neurons = neurons(
        &mut rng,
        64,
        &d.input.constant_columns.clone(),
        Some("superposition"),
        &[0.03, 0.05, 0.2, 0.34, 0.26, 0.12],
    );
    d.evidence = Evidence {
        coherence: normals(&mut rng, 131, 0.31, 0.05),
        coherence_null: normals(&mut rng, 131, 0.36, 0.045),
        alignment: normals(&mut rng, 131, 0.109, 0.03),
        alignment_null: normals(&mut rng, 131, 0.104, 0.03),
        fvu: fvu(&[0.42, 0.29, 0.21, 0.16, 0.105, 0.082], &[0.31, 0.16, 0.085, 0.048, 0.021, 0.015]),
    };
    d.cannot_tell = vec![
        "A lookup code, where each token has a direction of its own, would look the same without labels.".to_owned(),
        "Features that were never active in these rows.".to_owned(),
        "Whether a feature and its opposite are one signed feature or two.".to_owned(),
    ];
    d
}

/// As many features as neurons, one each.
pub fn monosemantic() -> Diagnosis {
    let mut rng = Rng::new(2).fork("monosemantic");
    let mut d = empty(20_000, 32);
    d.layer = Layer {
        verdict: Verdict::Monosemantic,
        mechanism: None,
        confidence: 0.993,
        alternatives: vec![other(Verdict::Inconclusive, None, 0.007)],
        would_settle: vec![],
        basis: Basis::Privileged,
        n_features: Some(count(32, 31, 33, 20_000)),
        effective_rank: 32.0,
        polysemantic_fraction: Some(0.0),
        says: "The neurons are monosemantic: each of 32 features has a neuron to itself.".to_owned(),
        because: "All 32 features lie along single neurons, and no more were found.".to_owned(),
    };
    d.hypotheses = vec![
        hypothesis(
            &mut rng,
            "superposition",
            "features found on both halves of the rows, per dimension in use",
            1.0,
            1.0,
            0.03,
        ),
        hypothesis(&mut rng, "alignment", "mean share of a feature in its strongest neuron", 0.97, 0.18, 0.009),
    ];
    d.neurons = neurons(&mut rng, 32, &[], None, &[0.0, 1.0]);
    d.evidence = Evidence {
        coherence: normals(&mut rng, 32, 0.04, 0.02),
        coherence_null: normals(&mut rng, 32, 0.42, 0.06),
        alignment: normals(&mut rng, 32, 0.97, 0.012),
        alignment_null: normals(&mut rng, 32, 0.18, 0.04),
        fvu: fvu(&[0.31, 0.16, 0.09, 0.05, 0.02, 0.01], &[0.31, 0.16, 0.09, 0.05, 0.02, 0.01]),
    };
    d
}

/// As many features as dimensions, turned away from the neurons.
pub fn rotated() -> Diagnosis {
    let mut rng = Rng::new(3).fork("rotated");
    let mut d = monosemantic();
    d.layer.verdict = Verdict::Orthogonal;
    d.layer.mechanism = Some(Mechanism::Rotated);
    d.layer.confidence = 0.96;
    d.layer.alternatives = vec![other(Verdict::Superposition, None, 0.03), other(Verdict::Inconclusive, None, 0.01)];
    d.layer.polysemantic_fraction = Some(1.0);
    d.layer.says =
        "The neurons are polysemantic without superposition: 32 orthogonal features are rotated away from them."
            .to_owned();
    d.layer.because =
        "32 features fit 32 dimensions, and lie along the neurons no more than after a random rotation.".to_owned();
    d.hypotheses[1] =
        hypothesis(&mut rng, "alignment", "mean share of a feature in its strongest neuron", 0.19, 0.18, 0.009);
    d.evidence.alignment = normals(&mut rng, 32, 0.19, 0.04);
    d.neurons = neurons(&mut rng, 32, &[], Some("rotated"), &[0.0, 0.0, 0.3, 0.4, 0.2, 0.1]);
    d
}

/// Gaussian noise: nothing found.
pub fn inconclusive() -> Diagnosis {
    let mut rng = Rng::new(4).fork("inconclusive");
    let mut d = empty(4000, 48);
    d.layer.says = "These inputs can't tell: no sparse direction beats its null.".to_owned();
    d.layer.because = "The activations look like a Gaussian with the same covariance.".to_owned();
    d.layer.would_settle = vec!["Rows in which the features are less often active together.".to_owned()];
    d.layer.confidence = 0.94;
    d.layer.alternatives = vec![other(Verdict::Superposition, None, 0.04)];
    d.layer.effective_rank = 48.0;
    d.input.effective_rows = 3120.6;
    d.hypotheses = vec![hypothesis(
        &mut rng,
        "superposition",
        "features found on both halves of the rows, per dimension in use",
        0.0,
        0.01,
        0.012,
    )];
    d.neurons = (0..48)
        .map(|index| Neuron {
            index,
            live: true,
            polysemantic: false,
            n_features: 0,
            cause: None,
            explained: 0.0,
            features: vec![],
            concepts: vec![],
        })
        .collect();
    d.cannot_tell = vec!["Dense features, active in most rows, look like a Gaussian.".to_owned()];
    d
}

/// A residual stream: superposition, counted from below, in columns that are not neurons.
pub fn without_basis() -> Diagnosis {
    let mut d = superposition();
    d.layer.basis = Basis::None;
    d.layer.polysemantic_fraction = None;
    d.layer.n_features = Some(Count {
        estimate: 131,
        low: 118,
        high: 260,
        lower_bound: true,
        growth: vec![(12_500, 60), (25_000, 92), (50_000, 131)],
    });
    d.neurons.clear();
    d
}

/// Every list empty and every number zero.
pub fn empty(rows: usize, dims: usize) -> Diagnosis {
    Diagnosis {
        signs: Vec::new(),
        concepts: None,
        dictionary: None,
        heads: None,
        directions: superlens_tensor::Mat::default(),
        schema: 1,
        input: Input { rows, dims, labels: 0, constant_columns: vec![], effective_rows: rows as f64, rows_used: rows },
        layer: Layer {
            verdict: Verdict::Inconclusive,
            mechanism: None,
            confidence: 0.0,
            alternatives: vec![],
            would_settle: vec![],
            basis: Basis::Unknown,
            n_features: None,
            effective_rank: 0.0,
            polysemantic_fraction: None,
            says: String::new(),
            because: String::new(),
        },
        hypotheses: vec![],
        parts: Vec::new(),
        neurons: vec![],
        evidence: Evidence::default(),
        cannot_tell: vec![],
    }
}

/// The five cases of the demo.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, about: &str, truth, truth_mechanism, diagnosis| Case {
        name: name.to_owned(),
        about: about.to_owned(),
        truth,
        truth_mechanism,
        diagnosis,
    };
    let mut sparser = superposition();
    sparser.layer.n_features = Some(count(201, 188, 219, 50_000));
    sparser.layer.confidence = 0.999;
    vec![
        case(
            "monosemantic",
            "32 sparse features, one for each of 32 neurons.",
            Verdict::Monosemantic,
            None,
            monosemantic(),
        ),
        case(
            "rotated",
            "The same features behind a random rotation.",
            Verdict::Orthogonal,
            Some(Mechanism::Rotated),
            rotated(),
        ),
        case(
            "superposition_0.9",
            "A trained toy model, 90 % of the features silent in a row.",
            Verdict::Superposition,
            None,
            superposition(),
        ),
        case(
            "superposition_0.99",
            "A trained toy model, 99 % of the features silent in a row.",
            Verdict::Superposition,
            None,
            sparser,
        ),
        case("noise", "Gaussian noise without features.", Verdict::Inconclusive, None, inconclusive()),
    ]
}

fn other(verdict: Verdict, mechanism: Option<Mechanism>, probability: f64) -> Alternative {
    Alternative { verdict, mechanism, probability, against: Vec::new() }
}

fn count(estimate: usize, low: usize, high: usize, rows: usize) -> Count {
    let growth = vec![(rows / 4, estimate - 2), (rows / 2, estimate), (rows, estimate)];
    Count { estimate, low, high, lower_bound: false, growth }
}

/// A hypothesis whose null is normal; a negative `spread` means that small values support it.
fn hypothesis(rng: &mut Rng, id: &str, measures: &str, statistic: f64, mean: f64, spread: f64) -> Hypothesis {
    let mut draws: Vec<f64> = (0..499).map(|_| mean + spread.abs() * rng.normal_f64()).collect();
    draws.sort_by(f64::total_cmp);
    let null_high = if spread < 0.0 { draws[24] } else { draws[474] };
    let beyond = draws.iter().filter(|&&v| if spread < 0.0 { v <= statistic } else { v >= statistic }).count();
    let p_value = (beyond + 1) as f64 / 500.0;
    Hypothesis {
        id: id.to_owned(),
        measures: measures.to_owned(),
        statistic,
        null_mean: mean,
        null_high,
        null_draws: 499,
        p_value,
        supports: p_value < 0.05,
        says: format!("Observed {statistic} where chance gives {mean}."),
        null: "rows of the same length in random directions, covariance kept".to_owned(),
        draws,
    }
}

/// Neurons with 0, 1, 2, … features, in about the given proportions.
fn neurons(rng: &mut Rng, dims: usize, constant: &[usize], cause: Option<&str>, proportions: &[f64]) -> Vec<Neuron> {
    let constant: HashSet<_> = constant.iter().collect();
    (0..dims)
        .map(|index| {
            let live = !constant.contains(&index);
            let mut u = rng.uniform_f64();
            let n = proportions
                .iter()
                .position(|p| {
                    u -= p;
                    u < 0.0
                })
                .unwrap_or(proportions.len() - 1);
            let n = if live { n } else { 0 };
            let explained = if n == 0 { 0.02 } else { 0.7 + 0.25 * rng.uniform_f64() };
            let mut shares: Vec<f64> = (0..n).map(|_| 0.4 + rng.uniform_f64()).collect();
            let total = shares.iter().sum::<f64>() / (0.8 + 0.15 * rng.uniform_f64());
            shares.iter_mut().for_each(|s| *s /= total);
            shares.sort_by(|a, b| b.total_cmp(a));
            let polysemantic = n >= 2;
            Neuron {
                index,
                live,
                polysemantic,
                n_features: n,
                cause: cause.filter(|_| polysemantic).map(str::to_owned),
                explained,
                features: shares.into_iter().map(|s| (rng.below(131), s)).collect(),
                concepts: vec![],
            }
        })
        .collect()
}

fn normals(rng: &mut Rng, n: usize, mean: f64, spread: f64) -> Vec<f64> {
    (0..n).map(|_| (mean + spread * rng.normal_f64()).clamp(0.0, 1.0)).collect()
}

fn fvu(complete: &[f64], overcomplete: &[f64]) -> Vec<FvuPoint> {
    let ks = [1, 2, 3, 4, 6, 8];
    let gaussian = [0.93, 0.87, 0.82, 0.77, 0.69, 0.61];
    (0..ks.len())
        .map(|i| FvuPoint { k: ks[i], complete: complete[i], overcomplete: overcomplete[i], gaussian: gaussian[i] })
        .collect()
}
