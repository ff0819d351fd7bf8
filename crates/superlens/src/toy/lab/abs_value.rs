//! `toy abs_value`: absolute values from as many neurons as halves of inputs, and from fewer.

use super::hidden_layer::{self, best, normalised, object, restarts, rows};
use super::tied::{self, setting, short};
use super::{Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::abs_value::{AbsValue, motifs};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Mat;
use superlens_tensor::train::Params;

pub const TOY: Toy = Toy {
    name: "abs_value",
    about: "absolute values computed in superposition: h = ReLU(W1x), y = ReLU(W2h + b), untied, x sparse of either sign",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), computation in superposition",
    settings: SETTINGS,
    keys: &[
        "Each instance has density, monosemantic_neurons, polysemantic_neurons, dead_neurons, polysemantic_share (of the live ones), paired \
           (share of the inputs with exactly one positive and one negative neuron of their own), motifs (asymmetric superposition: \
           shared neuron, strong and weak input, inhibitor), n_motifs, truth, W1 and W2 (d_hidden rows; every neuron scaled so that its \
           largest weight in W1 is ±1), b and restart_losses. The loss is the mean over rows and outputs of importance · error²; \
           losses at different densities are not comparable.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "3", "inputs and outputs"),
    setting("d_hidden", "6", "neurons"),
    setting("importance", "1", tied::IMPORTANCE.says),
    setting("density", "1..0.05", tied::DENSITY.says),
    setting("steps", "6000", tied::STEPS.says),
    setting("batch", "512", tied::BATCH.says),
    tied::OPTIMISER,
    setting("lr", "5e-3", tied::LR.says),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
    setting("restarts", "4", tied::RESTARTS.says),
];

/// Instances that are drawn at most.
const DRAWN: usize = 5;

fn models(s: &Settings, instances: usize) -> Result<Vec<AbsValue>, SettingError> {
    let n = s.whole("n_features", 1..=2000)?;
    let importance = s.series("importance", n, 0.0..=1e6)?;
    if importance.iter().all(|&i| i == 0.0) {
        return Err(s.wrong("importance", "a weight above 0 for at least one input"));
    }
    let d_hidden = s.whole("d_hidden", 1..=5000)?;
    let batch = s.whole("batch", 1..=1 << 22)?;
    let training = hidden_layer::training(s)?;
    let density = s.over_instances("density", instances, 1e-6..=1.0)?;
    let starts = restarts(s, "restarts", instances)?;
    tied::fits(s, &["n_features", "d_hidden", "restarts"], starts * instances, d_hidden * (2 * n + 1))?;
    let of = |p: f64| AbsValue {
        density: vec![p; n],
        d_hidden,
        importance: importance.clone(),
        batch,
        training: training.clone(),
    };
    Ok(density.into_iter().map(of).collect())
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(models(s, 1)?.remove(0)))
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab.instances)?;
    let starts = restarts(s, "restarts", lab.instances)?;
    let start = Instant::now();
    let made = hidden_layer::train(lab, models.len(), starts, |i| models[i].clone())?;
    let training = start.elapsed();
    let steps = models[0].training.steps * (models.len() * starts) as u64;
    let judged = lab.side_by_side(models.len(), "looking", |i, rng, _| {
        let fresh = |params: &Params| {
            let rows = hidden_layer::fresh_rows(models[i].density.iter().sum());
            models[i].layer().fresh_loss(params, rows, rng)
        };
        let losses: Vec<f64> = made[i].iter().map(|m| m.loss.unwrap_or(f64::NAN)).collect();
        let params = &made[i][best(&losses)].params;
        Some(Learned { losses, loss: fresh(params), truth: models[i].truth(params), params: params.clone() })
    })?;
    let mut outcome = Outcome { training, steps, ..Outcome::default() };
    describe(&models, &judged, &mut outcome);
    Ok(outcome)
}

/// The best start of an instance.
struct Learned {
    params: Params,
    losses: Vec<f64>,
    loss: f64,
    truth: Truth,
}

impl Learned {
    /// Monosemantic, polysemantic and dead neurons.
    fn counts(&self) -> [usize; 3] {
        let live = self.truth.live.iter().filter(|l| **l).count();
        let poly = self.truth.polysemantic();
        [live - poly, poly, self.truth.live.len() - live]
    }

    fn share(&self) -> f64 {
        let [mono, poly, _] = self.counts();
        poly as f64 / (mono + poly).max(1) as f64
    }

    /// Share of the inputs with exactly one positive and one negative neuron of their own.
    fn paired(&self, w1: &Mat) -> f64 {
        let own = |k: usize| self.truth.live[k] && self.truth.causes[k].is_none();
        let first = |k: usize| (0..w1.rows()).max_by(|&a, &b| w1[(a, k)].abs().total_cmp(&w1[(b, k)].abs()));
        let owned: Vec<(usize, bool)> =
            (0..w1.cols()).filter(|&k| own(k)).filter_map(|k| first(k).map(|i| (i, w1[(i, k)] > 0.0))).collect();
        let once = |i: usize, sign: bool| owned.iter().filter(|o| **o == (i, sign)).count() == 1;
        (0..w1.rows()).filter(|&i| once(i, true) && once(i, false)).count() as f64 / w1.rows() as f64
    }
}

fn describe(models: &[AbsValue], learned: &[Learned], outcome: &mut Outcome) {
    let head =
        ["density", "loss", "worst restart", "monosemantic", "polysemantic", "dead", "paired", "motifs", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (seed, (model, l)) in models.iter().zip(learned).enumerate() {
        let (w1, w2) = normalised(&l.params);
        let (density, [mono, poly, dead], found) = (model.density[0], l.counts(), motifs(&w1, &w2));
        let worst = l.losses.iter().copied().fold(0.0, f64::max);
        outcome.table.push(vec![
            short(density),
            short(l.loss),
            short(worst),
            mono.to_string(),
            poly.to_string(),
            dead.to_string(),
            short(l.paired(&w1)),
            found.len().to_string(),
            l.truth.label(),
        ]);
        let each = |m: &crate::toy::abs_value::Motif| json!([m.shared, m.strong, m.weak, m.inhibitor]);
        outcome.instances.push(object(json!({
            "density": density, "seed": seed, "loss": l.loss, "monosemantic_neurons": mono, "polysemantic_neurons": poly,
            "dead_neurons": dead, "polysemantic_share": l.share(), "paired": l.paired(&w1), "n_motifs": found.len(),
            "motifs": found.iter().map(each).collect::<Vec<_>>(), "truth": l.truth.label(), "W1": rows(&w1.transposed()),
            "W2": rows(&w2), "b": l.params.get("b2").data(), "restart_losses": l.losses,
        })));
    }
    let (n, m) = (models[0].density.len(), models[0].d_hidden);
    outcome.says.push(format!(
        "{}, {}. |x| = ReLU(x) + ReLU(−x): with {} neurons there is a network without loss in which each has half an \
         input to itself. With fewer, neurons are monosemantic while inputs are dense and are shared when they are sparse. A motif is a \
         neuron that reads one input strongly and writes it weakly, another the other way round, with an inhibitor for the damage.",
        tied::many(n, "input"),
        tied::many(m, "neuron"),
        2 * n
    ));
    outcome.pictures.extend(neurons(models, learned));
    outcome.pictures.extend(sweep(models, learned));
}

/// The weights into the neurons and out of them, neurons in the order of the input they read most.
fn neurons(models: &[AbsValue], learned: &[Learned]) -> Option<Picture> {
    let step = models.len().div_ceil(DRAWN).max(1);
    let panels = (0..models.len()).step_by(step).map(|i| {
        let (w1, _) = normalised(&learned[i].params);
        let first = |k: usize| (0..w1.rows()).find(|&r| w1[(r, k)].abs() > 0.999).unwrap_or(w1.rows());
        let mut order: Vec<usize> = (0..w1.cols()).filter(|&k| learned[i].truth.live[k]).collect();
        order.sort_by_key(|&k| (first(k), w1[(first(k).min(w1.rows() - 1), k)] < 0.0));
        let row = |r: usize| order.iter().map(|&k| f64::from(w1[(r, k)])).collect();
        HeatPanel { label: format!("p = {}", short(models[i].density[0])), rows: (0..w1.rows()).map(row).collect() }
    });
    Some(Picture::Heat(Heat {
        name: "neurons",
        title: "What does each neuron read?".into(),
        caption: "A column a live neuron, scaled so that its largest weight is one, in the order of the input that it reads most; a row an \
                  input, the most important on top. One square in a column: a monosemantic neuron, orange for the positive half of \
                  the input and blue for the negative one. Several squares: the neuron is shared. Left to right, inputs are on ever \
                  more rarely."
            .into(),
        across: "neurons".into(),
        down: "inputs".into(),
        panels: panels.collect(),
    }))
}

fn sweep(models: &[AbsValue], learned: &[Learned]) -> Option<Picture> {
    let differ = models.windows(2).any(|w| w[0].density != w[1].density);
    let shares = models.iter().zip(learned).map(|(m, l)| (1.0 / m.density[0], l.share()));
    differ.then(|| Picture::Sweep {
        name: "shared",
        title: "How many neurons do inputs share?".into(),
        caption: "The share of the live neurons that answer to more than half an input.".into(),
        x: Axis::log("1 / density"),
        y: Axis::linear("share of polysemantic neurons"),
        series: vec![Series { name: "polysemantic".into(), points: shares.collect(), line: true }],
        levels: vec![(1.0, "all".into())],
    })
}
