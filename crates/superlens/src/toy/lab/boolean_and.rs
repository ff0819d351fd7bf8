//! `toy boolean_and`: all pairwise ANDs of sparse inputs from far fewer neurons, by a random construction or by training.

use super::hidden_layer::{self, best, object, restarts, rows};
use super::tied::{self, setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::boolean_and::{Law, RandomAnd, TrainedAnd, dense_and_binary};
use crate::toy::hidden_layer::balanced;
use crate::toy::{Made, ToyModel};
use serde_json::json;
use std::time::Instant;

pub const TOY: Toy = Toy {
    name: "boolean_and",
    about: "U-AND: every AND of two sparse inputs, read from random neurons z = ReLU(Wx − 1) that several of them share, or trained",
    source: "Hänni, Mendel, Vaintrob and Chan 2024, Mathematical Models of Computation in Superposition (arXiv 2408.05451), moments \
             derived; trained: Newgas 2025 (arXiv 2507.09816)",
    settings: SETTINGS,
    keys: &[
        "With circuit=random each instance has loss (share of read-outs on the wrong side of one half), errors (how many), ands (how many \
           there are), mean_none, mean_one, mean_both and std_none, std_one, std_both of the read-out by how many of its two inputs are \
           on, the same with theory_ in front (std only for one), off_none, off_one and off_both (measured less theory), std_ratio \
           (measured over theory, one on) and empty_pairs (pairs without a common neuron, left out). With circuit=trained it has loss \
           (mean over rows and outputs), relative (loss over the mean variance of an AND: 1 for a network that always says the mean), \
           dense (share of a neuron's weights that are at least a quarter of its largest), binary (share of the variance of a neuron's \
           weights that two sizes explain; 0.64 for normal ones), ands, represented, truth, polysemantic_neurons and restart_losses, W1 (a row a neuron) and b.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("circuit", "random", "random (the construction) or trained"),
    setting("inputs", "40", "Boolean inputs, 3 to 1000; up to 60 for trained"),
    setting("neurons", "400", "neurons, 1 to 20000; up to 2000 for trained"),
    setting("connect", "0.2", "random: probability that a neuron sees an input"),
    setting("active", "3", "random: inputs that are on at once; trained: on average"),
    setting("law", "fixed", "random: fixed (that many, at random), or zipf:S (each on its own, that many on average)"),
    setting("trials", "100", "random: inputs drawn"),
    setting("steps", "6000", "trained: training steps"),
    setting("batch", "1024", "trained: fresh rows a step"),
    tied::OPTIMISER,
    setting("lr", "3e-3", "trained: learning rate"),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
    setting("restarts", "1", "trained: models for each instance, of which the best is kept"),
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    match is_trained(s)? {
        true => run_trained(s, lab),
        false => run_random(s, lab),
    }
}

fn is_trained(s: &Settings) -> Result<bool, SettingError> {
    s.choice("circuit", &[("random", false), ("trained", true)])
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(if is_trained(s)? { Box::new(trained(s)?) } else { Box::new(random(s)?) })
}

fn run_random(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let c = random(s)?;
    let trials = s.whole("trials", 1..=1_000_000)?;
    let measured = lab.side_by_side(lab.instances, "reading ANDs", |_, rng, tell| {
        c.measure(trials, rng, &mut |share| tell(share).is_continue())
    })?;
    let mut outcome = Outcome::default();
    outcome.table.push(["instance", "error", "none on", "one on", "both on", "std, one on"].map(String::from).to_vec());
    let theory = c.theory();
    let [none, one, both, std] = theory.map(short);
    outcome.table.push(["theory".to_string(), "–".into(), none, one, both, std].to_vec());
    let ands = c.inputs * (c.inputs - 1) / 2;
    for (i, m) in measured.iter().enumerate() {
        let (means, stds) = (m.by_on.map(|b| b.mean()), m.by_on.map(|b| b.std()));
        let error = m.errors as f64 / m.read.max(1) as f64;
        outcome.table.push(
            std::iter::once(i.to_string()).chain([error, means[0], means[1], means[2], stds[1]].map(short)).collect(),
        );
        outcome.instances.push(object(json!({
            "seed": i, "loss": error, "errors": m.errors, "ands": ands, "empty_pairs": m.empty,
            "mean_none": means[0], "mean_one": means[1], "mean_both": means[2],
            "std_none": stds[0], "std_one": stds[1], "std_both": stds[2],
            "theory_mean_none": theory[0], "theory_mean_one": theory[1], "theory_mean_both": theory[2],
            "off_none": means[0] - theory[0], "off_one": means[1] - theory[1], "off_both": means[2] - theory[2],
            "theory_std_one": theory[3], "std_ratio": stds[1] / theory[3].max(f64::MIN_POSITIVE), "truth": "superposition",
        })));
    }
    outcome.says.push(format!(
        "{ands} ANDs of {} inputs from {}. The read-out of a pair is the mean of the neurons that see both; with {} inputs \
         on, theory expects the row above. Errors are read-outs on the wrong side of one half.{}",
        c.inputs,
        tied::many(c.neurons, "neuron"),
        s.text("active"),
        if matches!(c.law, Law::Fixed(_)) { "" } else { " The theory holds for a fixed number of inputs; here it varies." }
    ));
    Ok(outcome)
}

fn random(s: &Settings) -> Result<RandomAnd, SettingError> {
    let inputs = s.whole("inputs", 3..=1000)?;
    let active = s.whole("active", 1..=inputs)?;
    let law = match s.text("law") {
        "fixed" => Law::Fixed(active),
        text => {
            let power =
                text.strip_prefix("zipf:").and_then(|p| p.parse::<f64>().ok()).filter(|p| (0.0..=10.0).contains(p));
            let power = power.ok_or_else(|| s.wrong("law", "fixed, or zipf:S with S from 0 to 10"))?;
            let shape: Vec<f64> = (1..=inputs).map(|i| (i as f64).powf(-power)).collect();
            let scale = active as f64 / shape.iter().sum::<f64>();
            Law::Each(shape.iter().map(|v| (v * scale).min(1.0)).collect())
        }
    };
    Ok(RandomAnd { inputs, neurons: s.whole("neurons", 1..=20_000)?, connect: s.real("connect", 1e-4..=1.0)?, law })
}

fn trained(s: &Settings) -> Result<TrainedAnd, SettingError> {
    let inputs = s.whole("inputs", 3..=60)?;
    let active = s.real("active", 0.01..=inputs as f64)?;
    Ok(TrainedAnd {
        inputs,
        neurons: s.whole("neurons", 1..=2000)?,
        density: active / inputs as f64,
        batch: s.whole("batch", 1..=1 << 22)?,
        training: hidden_layer::training(s)?,
    })
}

fn run_trained(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let model = trained(s)?;
    let starts = restarts(s, "restarts", lab.instances)?;
    let (inputs, outputs) = (model.inputs, model.layer().n_outputs());
    let parameters = model.neurons * (inputs + outputs + 1);
    tied::fits(s, &["inputs", "neurons", "restarts"], starts * lab.instances, parameters)?;
    let start = Instant::now();
    let made = hidden_layer::train(lab, lab.instances, starts, |_| model.clone())?;
    let steps = model.training.steps * (lab.instances * starts) as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let head = ["instance", "loss / variance", "worst restart", "dense", "binary", "ANDs represented", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    let p = model.density * model.density;
    let ands = model.layer().n_outputs();
    let mut panels = Vec::new();
    for (i, made) in made.iter().enumerate() {
        let losses: Vec<f64> = made.iter().map(|m: &Made| m.loss.unwrap_or(f64::NAN)).collect();
        let params = balanced(&made[best(&losses)].params);
        let loss = model.layer().fresh_loss(&params, 200_000, &lab.rng.fork_index(i as u64));
        let (relative, worst) = (loss / (p * (1.0 - p)), losses.iter().copied().fold(0.0, f64::max) / (p * (1.0 - p)));
        let (dense, binary) = dense_and_binary(params.get("w1"));
        let truth = model.truth(&params);
        let numbers = [relative, worst, dense, binary, truth.features.len() as f64].map(short);
        outcome.table.push([i.to_string()].into_iter().chain(numbers).chain([truth.label()]).collect());
        outcome.instances.push(object(json!({
            "seed": i, "loss": loss, "relative": relative, "dense": dense, "binary": binary, "ands": ands,
            "represented": truth.features.len(), "truth": truth.label(), "polysemantic_neurons": truth.polysemantic(),
            "restart_losses": losses, "W1": rows(&params.get("w1").transposed()), "b": params.get("b1").data(),
        })));
        if i < 3 {
            panels.push(HeatPanel { label: format!("instance {i}"), rows: rows(params.get("w1")) });
        }
    }
    outcome.says.push(format!(
        "{ands} ANDs of {} inputs trained into {}; 1 is the loss of a network that always says the mean. The construction has a \
         neuron see few inputs; what training finds is dense: each neuron reads nearly all inputs, with weights of two sizes.",
        model.inputs,
        tied::many(model.neurons, "neuron")
    ));
    outcome.pictures.push(Picture::Heat(Heat {
        name: "weights",
        title: "Trained U-AND: weights from inputs to neurons".into(),
        caption: "Weights of two sizes, one positive and one negative, nearly nowhere zero: a dense binary code. The construction would be \
                  one colour on pale ground."
            .into(),
        across: "neurons".into(),
        down: "inputs".into(),
        panels,
    }));
    Ok(outcome)
}
