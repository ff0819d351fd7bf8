//! `toy residual_mlp`: a small residual network that simulates a larger one, with and without a mixing embedding.

use super::hidden_layer::{self, object};
use super::tied::{self, many, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::ToyModel;
use crate::toy::residual_mlp::{ResidualMlp, Simulation, embedding};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "residual_mlp",
    about: "a small residual network that noisily simulates a larger sparse one: x + ReLU(x) through a stream that mixes, or doesn't",
    source: "Braun et al. 2025, Interpretability in Parameter Space (arXiv 2501.14926); the control without mixing after arXiv 2606.14673",
    settings: SETTINGS,
    keys: &[
        "Each instance trains twice: through random unit rows (mixed) and through the identity. It has loss (mixed, mean over rows and \
           features), naive ((1 − d/n)/6, with d all neurons), and with mixed_ or identity_ in front: per_p (loss over density), advantage (1 − \
           per_p / naive), signal (what x = 1 adds to its own output beyond x, of 1), computed (share of the inputs with a signal of at \
           least one half), noise (root mean square of what x = ±1 adds to other outputs), truth and polysemantic_neurons.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "40", "inputs, and neurons of the larger network, 2 to 1000"),
    setting("d_resid", "200", "dimensions of the stream where it mixes"),
    setting("layers", "2", "layers of the small network, 1 to 8"),
    setting("d_mlp", "10", "neurons a layer"),
    setting("density", "0.02", "probability that an input is on, uniform in (−1, 1) then"),
    setting("steps", "2500", tied::STEPS.says),
    setting("batch", "1024", tied::BATCH.says),
    tied::OPTIMISER,
    setting("lr", "3e-3", tied::LR.says),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
];

/// Rows that a loss is averaged over.
const FRESH: usize = 400_000;
/// Names of the two embeddings.
const KINDS: [&str; 2] = ["mixed", "identity"];

fn of(s: &Settings, kind: usize, rng: &Rng) -> Result<ResidualMlp, SettingError> {
    let n = s.whole("n_features", 2..=1000)?;
    let d_resid = s.whole("d_resid", 1..=20_000)?;
    Ok(ResidualMlp {
        layers: s.whole("layers", 1..=8)?,
        d_mlp: s.whole("d_mlp", 1..=2000)?,
        density: s.real("density", 1e-5..=1.0)?,
        batch: s.whole("batch", 1..=1 << 20)?,
        training: hidden_layer::training(s)?,
        embedding: embedding(n, d_resid, kind == 0, &mut rng.fork("embedding")),
    })
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(of(s, 0, &Rng::new(0))?))
}

struct Learned {
    loss: f64,
    per_p: f64,
    /// `None` where the naive way costs nothing.
    advantage: Option<f64>,
    naive: f64,
    simulation: Simulation,
    truth: String,
    polysemantic: usize,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let neurons = s.whole("layers", 1..=8)? * s.whole("d_mlp", 1..=2000)?;
    let width = s.whole("d_resid", 1..=20_000)? + s.whole("n_features", 2..=1000)?;
    tied::fits(s, &["n_features", "d_resid", "layers", "d_mlp"], 2 * lab.instances, 2 * neurons * width)?;
    let steps = of(s, 1, &lab.rng)?.training.steps * 2 * lab.instances as u64;
    let start = Instant::now();
    let learned = lab.side_by_side(2 * lab.instances, "training", |k, rng, tell| {
        // Settings have been read once without an error.
        let model = of(s, k % 2, rng).ok()?;
        let params = made(&model, rng, tell)?.params;
        let loss = model.fresh_loss(&params, FRESH, rng);
        let truth = model.truth(&params);
        Some(Learned {
            loss,
            per_p: loss / model.density,
            advantage: (model.naive() > 0.0).then(|| 1.0 - loss / model.density / model.naive()),
            naive: model.naive(),
            simulation: model.simulation(&params),
            truth: truth.label(),
            polysemantic: truth.polysemantic(),
        })
    })?;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&learned, s, &mut outcome);
    Ok(outcome)
}

/// What the advantages amount to, on average over the instances.
fn verdict(learned: &[Learned]) -> String {
    let mean = |kind: usize| {
        let all: Option<Vec<f64>> = learned.iter().skip(kind).step_by(2).map(|l| l.advantage).collect();
        all.map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64)
    };
    let (Some(mixed), Some(identity)) = (mean(0), mean(1)) else {
        return "There is a neuron for each ReLU, so that the naive way costs nothing and nothing can beat it.".into();
    };
    let beats = |advantage: f64| if advantage > 0.0 { "beat that" } else { "don't beat that" };
    format!(
        "Through random directions the networks {} (advantage {} on average), through the identity they {} ({}).",
        beats(mixed),
        short(mixed),
        beats(identity),
        short(identity)
    )
}

fn describe(learned: &[Learned], s: &Settings, outcome: &mut Outcome) {
    let head = ["instance", "embedding", "loss / p", "naive", "advantage", "signal", "computed", "noise", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (seed, pair) in learned.chunks_exact(2).enumerate() {
        let mut instance = object(json!({ "seed": seed, "loss": pair[0].loss, "naive": pair[0].naive }));
        for (kind, l) in KINDS.iter().zip(pair) {
            let Simulation { signal, computed, noise } = l.simulation;
            let advantage = l.advantage.map_or("–".into(), short);
            let numbers = [short(l.per_p), short(l.naive), advantage, short(signal), short(computed), short(noise)];
            let row = [seed.to_string(), kind.to_string()].into_iter().chain(numbers).chain([l.truth.clone()]);
            outcome.table.push(row.collect());
            for (key, value) in [
                ("per_p", json!(l.per_p)),
                ("advantage", json!(l.advantage)),
                ("signal", json!(signal)),
                ("computed", json!(computed)),
                ("noise", json!(noise)),
                ("truth", json!(l.truth)),
                ("polysemantic_neurons", json!(l.polysemantic)),
            ] {
                instance.insert(format!("{kind}_{key}"), value);
            }
        }
        outcome.instances.push(instance);
    }
    outcome.says.push(format!(
        "{} ReLUs simulated by {} of {}. Naive is what it costs to do as many ReLUs exactly as there are neurons. {}",
        s.text("n_features"),
        many(s.whole("layers", 1..=8).unwrap_or(1), "layer"),
        many(s.whole("d_mlp", 1..=2000).unwrap_or(1), "neuron"),
        verdict(learned)
    ));
    let points = |kind: usize| {
        let of = |(i, l): (usize, &Learned)| (i as f64, l.per_p);
        learned.iter().skip(kind).step_by(2).enumerate().map(of).collect()
    };
    let series = |kind: usize| Series { name: KINDS[kind].into(), points: points(kind), line: false };
    outcome.pictures.push(Picture::Sweep {
        name: "advantage",
        title: "Has a stream that mixes an advantage?".into(),
        caption: "A point a network: its loss over the density. The level is the loss of as many exact ReLUs as there are neurons.".into(),
        x: Axis::linear("instance"),
        y: Axis::linear("loss / p"),
        series: vec![series(0), series(1)],
        levels: vec![(learned[0].naive, "naive".into())],
    });
}
