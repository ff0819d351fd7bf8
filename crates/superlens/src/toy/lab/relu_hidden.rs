//! `toy relu_hidden`: a ReLU behind the bottleneck gives the neurons a meaning of their own.

use super::tied::{self, Best, setting, short};
use super::{Bars, BarsPanel, Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::data::SparseFeatures;
use crate::toy::geometry::n_represented;
use crate::toy::relu_hidden::ReluHidden;
use crate::toy::{ToyModel, Truth};
use superlens_tensor::Mat;
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "relu_hidden",
    about: "neurons with a ReLU of their own: h = ReLU(Wx), x' = ReLU(Wᵀh + b), a privileged basis",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), the privileged basis",
    settings: SETTINGS,
    keys: &[tied::KEYS, "Also monosemantic_neurons and polysemantic_neurons."],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "10", "features"),
    setting("d_hidden", "5", "neurons"),
    setting("importance", "0.75", tied::IMPORTANCE.says),
    tied::DENSITY,
    tied::FEATURE_DENSITY,
    setting("bias", "true", "whether the read-out has one; the neurons have none"),
    tied::INIT,
    tied::STEPS,
    tied::BATCH,
    tied::OPTIMISER,
    tied::LR,
    tied::WEIGHT_DECAY,
    tied::SCHEDULE,
    setting("restarts", "10", tied::RESTARTS.says),
    tied::L1,
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let (plan, density) = tied::plan(s, lab.instances, Response::Relu, Response::Relu, false)?;
    let mut outcome = Outcome::default();
    let best = tied::train(s, &plan, &density, lab, &mut outcome)?;
    let head = ["density", "loss", "worst restart", "represented", "monosemantic", "polysemantic", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (seed, b) in best.iter().enumerate() {
        // A neuron behind a ReLU answers to the features that push it up.
        let mut directions = b.model.w.clone();
        directions.data_mut().iter_mut().for_each(|v| *v = v.max(0.0));
        let variance: Vec<f64> = b.density.iter().map(|p| p / 3.0 - p * p / 4.0).collect();
        let truth = Truth::of_directions(&directions, &variance);
        let live = truth.live.iter().filter(|l| **l).count();
        let poly = truth.polysemantic();
        let mut instance = tied::instance(seed, b, &truth);
        instance.insert("monosemantic_neurons".into(), (live - poly).into());
        instance.insert("polysemantic_neurons".into(), poly.into());
        outcome.table.push(vec![
            short(b.density.iter().copied().fold(0.0, f64::max)),
            short(b.model.loss),
            short(b.losses.iter().copied().fold(0.0, f64::max)),
            n_represented(&b.model.w).to_string(),
            (live - poly).to_string(),
            poly.to_string(),
            truth.label(),
        ]);
        outcome.instances.push(instance);
    }
    outcome.pictures.push(neurons(&best));
    outcome.pictures.push(weights(&best));
    outcome.says.push(format!(
        "{}, {}. Of {} the best is kept; a neuron is polysemantic if a second feature has a \
         tenth of its variance. Theory: neurons are monosemantic while features are dense and turn polysemantic as they \
         become sparse.",
        tied::many(plan.importance.len(), "feature"),
        tied::many(plan.d_hidden, "neuron"),
        tied::many(best.first().map_or(0, |b| b.losses.len()), "restart")
    ));
    Ok(outcome)
}

/// The features of each neuron, stacked: the paper's picture of a privileged basis.
fn neurons(best: &[Best]) -> Picture {
    let n = best.first().map_or(1, |b| b.model.w.rows().max(2));
    let bar = |w: &Mat, k: usize| {
        let parts = (0..w.rows()).map(|i| (f64::from(w[(i, k)]), i as f64 / (n - 1) as f64));
        parts.filter(|(v, _)| v.abs() > SMALL).collect()
    };
    let bars = |w: &Mat| (0..w.cols()).map(|k| bar(w, k)).collect();
    Picture::Bars(Bars {
        name: "neurons",
        title: "Which features does each neuron answer to?".into(),
        caption: "A bar a neuron; its parts are the weights of the features, dark for important ones. One part: a monosemantic \
                  neuron. Several: a polysemantic one. What hangs below zero keeps the neuron silent."
            .into(),
        across: "neurons".into(),
        up: "weights, stacked".into(),
        dark: "important feature".into(),
        pale: "less important".into(),
        panels: best.iter().map(|b| BarsPanel { label: label(b), bars: bars(&b.model.w) }).collect(),
    })
}

/// Weights that are too small to be seen.
const SMALL: f64 = 0.05;

fn weights(best: &[Best]) -> Picture {
    let rows = |w: &Mat| (0..w.rows()).map(|i| w.row(i).iter().map(|&v| f64::from(v)).collect()).collect();
    Picture::Heat(Heat {
        name: "weights",
        title: "The weights of each feature on each neuron".into(),
        caption:
            "A row a feature, a column a neuron. One bright square a row and column: a basis that the features share."
                .into(),
        across: "neurons".into(),
        down: "features, the most important first".into(),
        panels: best.iter().map(|b| HeatPanel { label: label(b), rows: rows(&b.model.w) }).collect(),
    })
}

fn label(b: &Best) -> String {
    format!("p = {}", short(b.density.iter().copied().fold(0.0, f64::max)))
}

/// The first instance, with equally important features, trained by the general loop.
fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let (plan, density) = tied::plan(s, 1, Response::Relu, Response::Relu, false)?;
    let features = SparseFeatures { density: density[0].clone() };
    let (training, l1) = (tied::general(&plan), plan.l1 as f32);
    Ok(Box::new(ReluHidden { features, d_hidden: plan.d_hidden, l1, batch: plan.batch, training }))
}
