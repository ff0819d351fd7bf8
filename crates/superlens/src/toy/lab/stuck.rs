//! `toy stuck`: how often training misses a solution with one feature a neuron, though there is room.

use super::hidden_layer::{self, object, restarts};
use super::tied::{self, many, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::hidden_layer::{Init, Task};
use crate::toy::lab::experiment::median;
use crate::toy::stuck::{Stuck, solution};
use crate::toy::{Made, ToyModel};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::optim::Optimiser;

pub const TOY: Toy = Toy {
    name: "stuck",
    about: "small networks on |x| and on pairwise AND that training leaves beside a solution of one feature a neuron",
    source: "setup chosen after a remark on stuck optimisation; frequencies by an independent training of eight starts",
    settings: SETTINGS,
    keys: &[
        "Each instance has density, loss (median over starts of the mean over rows and outputs), relative (loss / E[y²], start by start), solved \
           (share of starts below 1e-3), solved_starts (how many), stuck (share between 1e-3 and one half), monosemantic (share of the live neurons that have \
           no more inputs than a right one, two for an AND and one for |x|, and one output), monosemantic_solved (the same over solved \
           starts; null if there are none), dead_outputs (share behind a ReLU that never opens), rotated (share of starts whose truth is \
           orthogonal/rotated) and weight_decay.",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("task", "and", "abs (outputs |x_i|) or and (all pairwise ANDs)"),
    setting("n_inputs", "4", "inputs, 2 to 64"),
    setting("d_hidden", "24", "neurons; 2 n_inputs for |x| and one a pair for AND are just enough"),
    setting("readout", "auto", "relu, linear (no output can die), or auto: relu for abs, linear for and"),
    setting(
        "init",
        "xavier",
        "law of the first weights: xavier, he, or uniform (as PyTorch's linear layers, biases too)",
    ),
    setting("density", "0.5", tied::DENSITY.says),
    setting("steps", "6000", tied::STEPS.says),
    setting("batch", "256", tied::BATCH.says),
    setting("optimiser", "adamw", tied::OPTIMISER.says),
    setting("lr", "2e-3", tied::LR.says),
    setting("weight_decay", "0", "decoupled weight decay, over the instances like density"),
    hidden_layer::SCHEDULE,
    setting("starts", "8", "networks trained for each instance, all of which are reported"),
];

/// Below this a start has solved its task, relative to `E[y²]`; between the two it is stuck.
const SOLVED: f64 = 1e-3;
const LOW: f64 = 0.5;
/// Losses below are drawn there.
const LEAST: f64 = 1e-8;

fn models(s: &Settings, instances: usize) -> Result<Vec<(Stuck, f64)>, SettingError> {
    let task = s.choice("task", &[("abs", true), ("and", false)])?;
    let task = if task { Task::Abs } else { Task::And };
    let own = if task == Task::Abs { Response::Relu } else { Response::Linear };
    let readout = s.choice("readout", &[("auto", own), ("relu", Response::Relu), ("linear", Response::Linear)])?;
    let laws = [("xavier", Init::Xavier), ("he", Init::He), ("uniform", Init::Uniform)];
    let init = s.choice("init", &laws)?;
    let (n_inputs, d_hidden) = (s.whole("n_inputs", 2..=64)?, s.whole("d_hidden", 1..=5000)?);
    let batch = s.whole("batch", 1..=1 << 22)?;
    let densities = s.over_instances("density", instances, 1e-4..=1.0)?;
    let decays = s.over_instances("weight_decay", instances, 0.0..=1e3)?;
    // The shared getter reads one number; here there may be a list.
    let training = hidden_layer::training(&s.with("weight_decay", decays[0].to_string()))?;
    let starts = restarts(s, "starts", instances)?;
    let outputs = if task == Task::Abs { n_inputs } else { n_inputs * (n_inputs - 1) / 2 };
    tied::fits(s, &["n_inputs", "d_hidden", "starts"], starts * instances, d_hidden * (n_inputs + outputs + 1))?;
    let of = |(density, decay): (f64, f64)| {
        let mut training = training.clone();
        match &mut training.optimiser {
            Optimiser::Adam(c) if s.text("optimiser") == "adamw" => c.weight_decay = decay,
            Optimiser::Adam(_) => {}
            Optimiser::Sgd(c) => c.weight_decay = decay,
        }
        (Stuck { task: task.clone(), n_inputs, d_hidden, density, readout, init, batch, training }, decay)
    };
    Ok(densities.into_iter().zip(decays).map(of).collect())
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    Ok(Box::new(models(s, 1)?.remove(0).0))
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab.instances)?;
    let starts = restarts(s, "starts", lab.instances)?;
    let start = Instant::now();
    let made = hidden_layer::train(lab, models.len(), starts, |i| models[i].0.clone())?;
    let training = start.elapsed();
    let learned =
        lab.side_by_side(models.len(), "looking", |i, rng, _| Some(Learned::of(&models[i].0, &made[i], rng)))?;
    let steps = models[0].0.training.steps * (models.len() * starts) as u64;
    let mut outcome = Outcome { training, steps, ..Outcome::default() };
    describe(&models, &learned, &mut outcome);
    Ok(outcome)
}

/// What came of the starts of an instance, one number each.
struct Learned {
    relative: Vec<f64>,
    monosemantic: Vec<f64>,
    dead_outputs: Vec<f64>,
    rotated: Vec<bool>,
}

impl Learned {
    fn of(model: &Stuck, made: &[Made], rng: &superlens_tensor::Rng) -> Learned {
        let rows = hidden_layer::fresh_rows(model.density * model.n_inputs as f64).min(200_000);
        // A start that diverged is neither solved nor stuck.
        let loss = |m: &Made| match m.diverged() {
            true => f64::INFINITY,
            false => model.layer().fresh_loss(&m.params, rows, rng) / model.mean_square(),
        };
        let monosemantic = |m: &Made| {
            let live: Vec<bool> = model.neurons(&m.params).into_iter().filter(|n| n.0).map(|n| n.1).collect();
            live.iter().filter(|poly| !**poly).count() as f64 / live.len().max(1) as f64
        };
        Learned {
            relative: made.iter().map(loss).collect(),
            monosemantic: made.iter().map(monosemantic).collect(),
            dead_outputs: made.iter().map(|m| model.dead_outputs(&m.params)).collect(),
            rotated: made.iter().map(|m| model.truth(&m.params).label() == "orthogonal/rotated").collect(),
        }
    }

    /// Share of the starts whose relative loss is at least `from` and below `to`.
    fn share(&self, from: f64, to: f64) -> f64 {
        self.relative.iter().filter(|r| (from..to).contains(*r)).count() as f64 / self.relative.len() as f64
    }

    fn monosemantic_solved(&self) -> Option<f64> {
        let solved: Vec<f64> =
            self.relative.iter().zip(&self.monosemantic).filter(|(r, _)| **r < SOLVED).map(|(_, m)| *m).collect();
        (!solved.is_empty()).then(|| mean(&solved))
    }
}

fn mean(v: &[f64]) -> f64 {
    v.iter().sum::<f64>() / v.len().max(1) as f64
}

fn describe(models: &[(Stuck, f64)], learned: &[Learned], outcome: &mut Outcome) {
    let head = ["density", "weight decay", "median loss", "solved", "stuck", "monosemantic", "dead outputs", "rotated"];
    outcome.table.push(head.map(String::from).to_vec());
    let model = &models[0].0;
    let right = solution(&model.task, model.n_inputs);
    let written = Stuck { d_hidden: right.get("b1").cols(), ..model.clone() };
    let loss = written.layer().fresh_loss(&right, 4000, &superlens_tensor::Rng::new(0));
    let row = ["written down", "–", &short(loss), "1", "0", "1", "0", "0"];
    outcome.table.push(row.map(String::from).to_vec());
    for (seed, ((model, decay), l)) in models.iter().zip(learned).enumerate() {
        let rotated = l.rotated.iter().filter(|r| **r).count() as f64 / l.rotated.len() as f64;
        let (solved, stuck) = (l.share(0.0, SOLVED), l.share(SOLVED, LOW));
        let cells = [model.density, *decay, median(&l.relative), solved, stuck, mean(&l.monosemantic)];
        let more = [mean(&l.dead_outputs), rotated];
        outcome.table.push(cells.iter().chain(&more).map(|v| short(*v)).collect());
        outcome.instances.push(object(json!({
            "density": model.density, "weight_decay": decay, "seed": seed, "loss": median(&l.relative) * model.mean_square(),
            "relative": l.relative, "solved": solved, "solved_starts": (solved * l.relative.len() as f64).round(), "stuck": stuck,
            "monosemantic": mean(&l.monosemantic), "monosemantic_solved": l.monosemantic_solved(),
            "dead_outputs": mean(&l.dead_outputs), "rotated": rotated,
        })));
    }
    let needed = right.get("b1").cols();
    let room = if model.d_hidden >= needed {
        "so nothing forces features to share. That only training is to blame no single network shows; a second start that ends \
         elsewhere would."
    } else {
        "but these have fewer, so that features must share or be dropped, whatever the training."
    };
    outcome.says.push(format!(
        "{}, {}, {}; losses are relative to E[y²]. Stuck: between {SOLVED} and {LOW}. A network of {} without loss and with one \
         feature each can be written down, {room}",
        many(model.n_inputs, "input"),
        many(model.d_hidden, "neuron"),
        many(learned[0].relative.len(), "start"),
        many(needed, "neuron"),
    ));
    outcome.pictures.push(picture(models, learned));
}

/// Every start, over what differs between the instances.
fn picture(models: &[(Stuck, f64)], learned: &[Learned]) -> Picture {
    let by_decay = models.windows(2).any(|w| w[0].1 != w[1].1);
    let by_density = models.windows(2).any(|w| w[0].0.density != w[1].0.density);
    let (axis, x): (Axis, Box<dyn Fn(usize) -> f64>) = match (by_decay, by_density) {
        (true, _) => (Axis::linear("weight decay"), Box::new(|i| models[i].1)),
        (_, true) => (Axis::log("1 / density"), Box::new(|i| 1.0 / models[i].0.density)),
        _ => (Axis::linear("instance"), Box::new(|i| i as f64)),
    };
    let points = |of: &dyn Fn(&Learned) -> &Vec<f64>| {
        let each = |(i, l): (usize, &Learned)| of(l).iter().map(|v| (x(i), v.max(LEAST))).collect::<Vec<_>>();
        learned.iter().enumerate().flat_map(each).collect::<Vec<_>>()
    };
    Picture::Sweep {
        name: "losses",
        title: "Where training ends, start by start".into(),
        caption: "A point a start: its loss relative to the mean square of the targets. Between the lines it is stuck; below, solved. A network \
                  without loss exists for all."
            .into(),
        x: axis,
        y: Axis::log("loss / E[y²]"),
        series: vec![Series { name: "a start".into(), points: points(&|l| &l.relative), line: false }],
        levels: vec![(LOW, "one half".into()), (SOLVED, "solved below".into())],
    }
}
