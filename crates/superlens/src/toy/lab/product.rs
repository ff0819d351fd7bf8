//! `toy product`: x·y from four ReLUs of x ± y, a computation that misses the neuron basis without superposition.

use super::tied::{many, setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Panel, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::product::{Grid, Net, Product, best_factor, best_symmetric, symmetric_error};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "product",
    about: "x·y from ReLUs of x ± y: each neuron answers to both inputs because the computation mixes them",
    source: "x·y = ((x + y)² − (x − y)²) / 4, with a·ReLU(|x ± y| − t) for the squares; x, y standard normal",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (mean squared error on a million fresh samples; the variance of x·y is 1), restart_losses (on the \
           grid), median_restart, missed (share of the restarts more than a tenth worse than the best), angle (largest angle in degrees \
           between a neuron and its nearest diagonal), signs_right (+ along x + y, − along x − y), thresholds (of |x ± y|), \
           threshold_off (largest share by which one differs from their mean), contrast_mixes (smaller over larger of each neuron's \
           slopes along x and y: 1 where varying one input can't tell which), purity_when_turned (share of each neuron's squared weights on one \
           axis after a turn by 45°), input_rank, neurons (input weights, bias, output weight; canonical) and truth. The document also has \
           the closed forms of a·ReLU(|x ± y| − t): seed_formula (t = a = 1), seed_factor and seed_best (t = 1), best_threshold, \
           best_factor and symmetric_best; and of the seed formula on [−2, 2]²: corner_error (the largest error), uniform_error (mean squared) and \
           uniform_r2.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("neurons", "4", "ReLU neurons, 1 to 64"),
    setting("restarts", "20", "models trained for each instance, of which the best is kept"),
    setting("iterations", "1500", "iterations of L-BFGS"),
];

/// Fresh samples that the kept model is judged on.
const FRESH: usize = 1_000_000;
/// Variance of x·y for x and y uniform on [−2, 2].
const UNIFORM_VARIANCE: f64 = 16.0 / 9.0;

/// The restarts of one instance.
struct Found {
    best: Net,
    fresh: f64,
    losses: Vec<f64>,
    truth: Truth,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let product = product(s)?;
    let start = Instant::now();
    let grid = Grid::new();
    let restarts = product.restarts;
    // A task a restart, so that few instances use all threads.
    let nets = lab.side_by_side(lab.instances * restarts, "training", |k, _, _| {
        let rng = lab.rng.fork_index((k / restarts) as u64).fork_index((k % restarts) as u64);
        Some(product.search(&grid, &rng))
    })?;
    let found: Vec<Found> = nets
        .chunks(restarts)
        .enumerate()
        .map(|(i, nets)| Found::of(&product, nets, &lab.rng.fork_index(i as u64)))
        .collect();
    let mut outcome = Outcome { training: start.elapsed(), ..Outcome::default() };
    let head = ["instance", "loss", "median restart", "worst", "angle", "thresholds", "signs", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    found.iter().enumerate().for_each(|(i, f)| f.describe(i, &mut outcome));
    closed_forms(&mut outcome);
    outcome.says = says(product.neurons);
    outcome.pictures = pictures(&found);
    Ok(outcome)
}

impl Found {
    fn of(product: &Product, nets: &[Net], rng: &Rng) -> Found {
        let best = nets.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).expect("at least one restart").canonical();
        let fresh = best.fresh_loss(FRESH, &mut rng.fork("fresh"));
        let truth = product.truth(&best.params());
        Found { fresh, losses: nets.iter().map(|n| n.loss).collect(), best, truth }
    }

    fn describe(&self, i: usize, outcome: &mut Outcome) {
        let (best, thresholds) = (&self.best, self.best.thresholds());
        let mean = thresholds.iter().sum::<f64>() / thresholds.len() as f64;
        let off = thresholds.iter().map(|t| (t / mean - 1.0).abs()).fold(0.0, f64::max);
        let least = self.losses.iter().copied().fold(f64::INFINITY, f64::min);
        let missed = self.losses.iter().filter(|l| **l > 1.1 * least).count() as f64 / self.losses.len() as f64;
        let (median, signs) = (super::experiment::median(&self.losses), best.signs_right());
        outcome.table.push(vec![
            i.to_string(),
            short(self.fresh),
            short(median),
            short(self.losses.iter().copied().fold(0.0, f64::max)),
            format!("{:.1}°", best.angle()),
            thresholds.iter().map(|t| short(*t)).collect::<Vec<_>>().join(" "),
            if signs { "right" } else { "wrong" }.into(),
            self.truth.label(),
        ]);
        let value = json!({
            "seed": i, "loss": self.fresh, "restart_losses": self.losses, "median_restart": median, "missed": missed,
            "angle": best.angle(), "signs_right": signs, "thresholds": thresholds, "threshold_off": off,
            "contrast_mixes": best.contrast(), "purity_when_turned": best.purity_when_turned(),
            "input_rank": self.truth.rank, "neurons": best.neurons, "truth": self.truth.label(),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
}

fn closed_forms(outcome: &mut Outcome) {
    let (t, a, error) = best_symmetric();
    let (corner, uniform) = Net::symmetric(1.0, 1.0).error_on_the_square(400);
    for (key, value) in [
        ("seed_formula", symmetric_error(1.0, 1.0)),
        ("seed_factor", best_factor(1.0)),
        ("seed_best", symmetric_error(1.0, best_factor(1.0))),
        ("best_threshold", t),
        ("best_factor", a),
        ("symmetric_best", error),
        ("corner_error", corner),
        ("uniform_error", uniform),
        ("uniform_r2", 1.0 - uniform / UNIFORM_VARIANCE),
    ] {
        outcome.keys.insert(key.into(), value.into());
    }
}

fn says(neurons: usize) -> Vec<String> {
    let (t, a, error) = best_symmetric();
    vec![
        format!(
            "{}. Theory, for four: ReLU(|x ± y| − 1) leaves {} of the variance, with the best factor {}; the best \
             threshold {} and factor {} leave {}. Neurons then lie along the diagonals, + along x + y and − along x − y.",
            many(neurons, "neuron"),
            short(symmetric_error(1.0, 1.0)),
            short(symmetric_error(1.0, best_factor(1.0))),
            short(t),
            short(a),
            short(error)
        ),
        "Every neuron is polysemantic in x and y, yet two dimensions hold two features, x + y and x − y: turned by 45° the \
         neurons are monosemantic. Varying x alone or y alone makes each look like a detector of |x| or |y|: the contrast-pair \
         trap. Most restarts miss the best solution."
            .into(),
    ]
}

/// Cells a side of the picture of a function.
const SIDE: usize = 41;

fn pictures(found: &[Found]) -> Vec<Picture> {
    let Some(first) = found.first() else { return vec![] };
    let at = |i: usize| -2.0 + 4.0 * i as f64 / (SIDE - 1) as f64;
    let panel = |label: &str, f: &dyn Fn(f64, f64) -> f64| HeatPanel {
        label: label.into(),
        rows: (0..SIDE).map(|i| (0..SIDE).map(|j| f(at(j), at(SIDE - 1 - i))).collect()).collect(),
    };
    let directions = |f: &Found| f.best.neurons.iter().map(|[x, y, _, v]| [x * v.abs(), y * v.abs()]).collect();
    let label = |i: usize, f: &Found| format!("instance {i}: {}", short(f.fresh));
    vec![
        Picture::Heat(Heat {
            name: "function",
            title: "x·y from a few ReLUs".into(),
            caption: "What the best network of the first instance computes on [−2, 2]², the product, and the difference, each on its own \
                      scale of colour: a roof of four planes, with its largest errors in the corners."
                .into(),
            across: "x from −2 to 2".into(),
            down: "y from 2 to −2".into(),
            panels: vec![
                panel("learned", &|x, y| first.best.at(x, y)),
                panel("x·y", &|x, y| x * y),
                panel("error", &|x, y| first.best.at(x, y) - x * y),
            ],
        }),
        Picture::Directions {
            name: "neurons",
            title: "Along the diagonals".into(),
            caption: "One arrow a neuron: its input weights, across for x and up for y, times the size of its output weight. Below each \
                      panel the mean squared error. After a turn by 45° each would lie on an axis."
                .into(),
            panels: (found.iter().enumerate().take(10))
                .map(|(i, f)| Panel { label: label(i, f), points: directions(f) })
                .collect(),
        },
    ]
}

fn product(s: &Settings) -> Result<Product, SettingError> {
    Ok(Product {
        neurons: s.whole("neurons", 1..=64)?,
        restarts: s.whole("restarts", 1..=100_000)?,
        iterations: s.whole("iterations", 1..=1_000_000)?,
    })
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(product(s)?))
}
