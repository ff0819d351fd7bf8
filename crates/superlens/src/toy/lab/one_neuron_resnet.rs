//! `toy one_neuron_resnet`: a disc, told by one neuron a block, and what a network of the input's width makes of it.

use super::tied::{BATCH, LR, RESTARTS, STEPS, setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::one_neuron_resnet::{OneNeuronResnet, REACH, inside};
use crate::toy::tied::recipe;
use crate::toy::{Made, ToyModel, make};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::Mat;

pub const TOY: Toy = Toy {
    name: "one_neuron_resnet",
    about: "a ResNet with one neuron a block tells a disc from its surroundings; a network of the input's width can't",
    source: "Lin and Jegelka 2018, ResNet with one-neuron hidden layers is a Universal Approximator (arXiv 1806.10909)",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (cross-entropy of the best ResNet on fresh batches), error and narrow_error (share of the \
           square that the best ResNet and the best network of width 2 get wrong), error_ratio, restart_errors and \
           narrow_restart_errors, unbounded and narrow_unbounded (share of a circle of radius 50 that is called inside), \
           polysemantic and truth.",
    ],
    model: Some(|s| Ok(Box::new(model(s, true)?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("depth", "12", "blocks of the ResNet, one neuron each, 1 to 200"),
    setting("narrow_depth", "3", "layers of the network of width 2, 1 to 200; more are harder to train"),
    Setting { default: "3", ..RESTARTS },
    setting("narrow_restarts", "8", "the same for the network of width 2, 1 to 1000"),
    Setting { default: "1200", ..STEPS },
    Setting { default: "256", ..BATCH },
    Setting { default: "2e-2", ..LR },
];

/// Cells along each side of the square on which networks are judged.
const CELLS: usize = 100;
/// Cells along each side of a map.
const MAP: usize = 60;

fn model(s: &Settings, residual: bool) -> Result<OneNeuronResnet, SettingError> {
    Ok(OneNeuronResnet {
        residual,
        depth: s.whole(if residual { "depth" } else { "narrow_depth" }, 1..=200)?,
        batch: s.whole("batch", 1..=1 << 20)?,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

/// Points in the middle of cells of the square.
fn square(cells: usize) -> Mat {
    let at = |i: usize| REACH * (2.0 * (i as f32 + 0.5) / cells as f32 - 1.0);
    Mat::from_fn(cells * cells, 2, |k, c| if c == 0 { at(k % cells) } else { -at(k / cells) })
}

struct Trained {
    made: Made,
    error: f64,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = [model(s, true)?, model(s, false)?];
    let restarts = [s.whole("restarts", 1..=1000)?, s.whole("narrow_restarts", 1..=1000)?];
    let (start, each) = (Instant::now(), restarts[0] + restarts[1]);
    let grid = square(CELLS);
    // All ResNets first: they take longest.
    let total = each * lab.instances;
    let which = |k: usize| usize::from(k >= restarts[0] * lab.instances);
    let mut trained = lab.side_by_side(total, "training", |k, rng, tell| {
        let model = &models[which(k)];
        let made = make(model, rng, tell)?;
        if made.diverged() {
            return Some(Trained { made, error: f64::INFINITY });
        }
        let margin = model.margin(&made.params, &grid);
        let wrong = margin.iter().enumerate().filter(|(r, m)| (**m > 0.0) != inside(grid.row(*r))).count();
        Some(Trained { made, error: wrong as f64 / margin.len() as f64 })
    })?;
    let mut narrow = trained.split_off(restarts[0] * lab.instances);
    let steps = models[0].training.steps * total as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let heading =
        ["instance", "ResNet, error", "worst restart", "width 2, error", "worst restart", "far inside", "truth"];
    outcome.table.push(heading.map(String::from).to_vec());
    for i in 0..lab.instances {
        let deep: Vec<Trained> = trained.drain(..restarts[0]).collect();
        let flat: Vec<Trained> = narrow.drain(..restarts[1]).collect();
        if [best(&deep), best(&flat)].iter().any(|t| t.made.diverged()) {
            return Err(ToyError::Diverged { instance: i });
        }
        instance(i, &models, &deep, &flat, &mut outcome);
    }
    outcome.says = vec![format!(
        "The disc of radius 1 in a square of side {}; calling nothing inside gets {} wrong. With one neuron a block a ResNet \
         can enclose it: universal, by the paper. Networks whose layers are as wide as the input are not: what they call inside \
         is unbounded, if it is anything at all; far inside is its share of a circle of radius 50. Best of {} and of {} restarts.",
        2.0 * REACH,
        short(std::f64::consts::PI / f64::from(4.0 * REACH * REACH)),
        restarts[0],
        restarts[1]
    )];
    Ok(outcome)
}

fn best(all: &[Trained]) -> &Trained {
    all.iter().min_by(|a, b| a.error.total_cmp(&b.error)).expect("at least one restart")
}

fn instance(i: usize, models: &[OneNeuronResnet; 2], deep: &[Trained], flat: &[Trained], outcome: &mut Outcome) {
    let (a, b) = (best(deep), best(flat));
    let worst = |all: &[Trained]| all.iter().map(|t| t.error).fold(0.0, f64::max);
    let errors = |all: &[Trained]| all.iter().map(|t| t.error).collect::<Vec<_>>();
    let far = [unbounded(&models[0], a), unbounded(&models[1], b)];
    let truth = models[0].truth(&a.made.params);
    let row = [i.to_string(), short(a.error), short(worst(deep)), short(b.error), short(worst(flat)), short(far[1])];
    outcome.table.push(row.into_iter().chain([truth.label()]).collect());
    let value = json!({
        "seed": i, "loss": a.made.loss, "error": a.error, "narrow_error": b.error,
        "error_ratio": a.error / b.error.max(1e-9), "restart_errors": errors(deep), "narrow_restart_errors": errors(flat),
        "unbounded": far[0], "narrow_unbounded": far[1], "polysemantic": truth.polysemantic(), "truth": truth.label(),
    });
    outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    if i == 0 {
        outcome.pictures.push(maps(models, [a, b]));
    }
}

/// Share of a far circle that is called inside.
fn unbounded(model: &OneNeuronResnet, t: &Trained) -> f64 {
    let n = 2000;
    let angle = |k: usize| std::f32::consts::TAU * k as f32 / n as f32;
    let circle = Mat::from_fn(n, 2, |k, c| 50.0 * if c == 0 { angle(k).cos() } else { angle(k).sin() });
    model.margin(&t.made.params, &circle).iter().filter(|m| **m > 0.0).count() as f64 / n as f64
}

fn maps(models: &[OneNeuronResnet; 2], nets: [&Trained; 2]) -> Picture {
    let grid = square(MAP);
    let rows =
        |value: &dyn Fn(usize) -> f64| (0..MAP).map(|y| (0..MAP).map(|x| value(y * MAP + x)).collect()).collect();
    let panel = |label: String, value: &dyn Fn(usize) -> f64| HeatPanel { label, rows: rows(value) };
    let mut panels = vec![panel("the disc".into(), &|k| if inside(grid.row(k)) { 1.0 } else { -1.0 })];
    for (name, model, net) in [("ResNet", &models[0], nets[0]), ("width 2", &models[1], nets[1])] {
        let margin = model.margin(&net.made.params, &grid);
        panels.push(panel(format!("{name}, {} layers", model.depth), &|k| f64::from((0.5 * margin[k]).tanh())));
    }
    Picture::Heat(Heat {
        name: "maps",
        title: "What each network calls inside".into(),
        caption: "Orange is inside, blue outside, paler where the network is less sure. One neuron at a time, the ResNet folds \
                  the plane until the disc lies on one side of a line. Layers of two neurons can't close the region."
            .into(),
        across: "x".into(),
        down: "y".into(),
        panels,
    })
}
