//! What the toys share that train a small network: settings, starts side by side, and fresh rows.

use super::tied::{self, setting};
use super::{Lab, Setting, SettingError, Settings, ToyError};
use crate::toy::{Made, ToyModel, make};
use serde_json::{Map, Value};
use superlens_tensor::Mat;
use superlens_tensor::optim::Schedule;
use superlens_tensor::train::{Params, TrainConfig};

/// Active inputs that the loss on fresh rows is averaged over, and rows at least and at most.
const FRESH_ACTIVE: f64 = 2e6;
const FRESH_ROWS: (f64, f64) = (1e5, 4e6);
/// Restarts and instances together.
const MOST_MODELS: usize = 100_000;

pub const SCHEDULE: Setting =
    setting("schedule", "cosine", "learning rate over the steps: constant, or cosine down to a twentieth");
pub const NO_DECAY: Setting = setting("weight_decay", "0", tied::WEIGHT_DECAY.says);

/// The training of a toy that has steps, optimiser, lr, weight_decay and schedule.
pub fn training(s: &Settings) -> Result<TrainConfig, SettingError> {
    let schedules = [("constant", Schedule::Constant), ("cosine", Schedule::Cosine { floor: 0.05 })];
    Ok(TrainConfig {
        steps: s.whole("steps", 1..=1_000_000_000)? as u64,
        optimiser: tied::optimiser(s)?,
        schedule: s.choice("schedule", &schedules)?,
        clip_norm: None,
    })
}

/// How many models a setting asks for, for each instance.
pub fn restarts(s: &Settings, key: &'static str, instances: usize) -> Result<usize, SettingError> {
    let most = (MOST_MODELS / instances.max(1)).max(1);
    s.whole(key, 1..=most)
}

/// Trains every model `of(instance)` from `starts` starts, all side by side: `[instances][starts]`, of which some may have
/// diverged.
///
/// # Errors
/// The training was stopped, or diverged from all starts of an instance.
pub fn train<M: ToyModel>(
    lab: &Lab,
    instances: usize,
    starts: usize,
    of: impl Fn(usize) -> M + Sync,
) -> Result<Vec<Vec<Made>>, ToyError> {
    let models: Vec<M> = (0..instances).map(of).collect();
    let all = lab.side_by_side(instances * starts, "training", |k, rng, tell| make(&models[k / starts], rng, tell))?;
    let mut all = all.into_iter();
    let of = |instance| {
        let made: Vec<Made> = all.by_ref().take(starts).collect();
        if made.iter().all(Made::diverged) { Err(ToyError::Diverged { instance }) } else { Ok(made) }
    };
    (0..instances).map(of).collect()
}

/// Rows that a loss is averaged over where `active` inputs are on in each.
pub fn fresh_rows(active: f64) -> usize {
    (FRESH_ACTIVE / active.max(1e-12)).clamp(FRESH_ROWS.0, FRESH_ROWS.1) as usize
}

/// The start with the lowest loss of some, given beside them.
pub fn best(losses: &[f64]) -> usize {
    (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap_or(0)
}

/// The weights with every neuron's largest weight from an input scaled to ±1, as in the paper's pictures, and the weights out of it
/// turned the other way: `w1 [n, m]`, `w2 [m, o]`. A neuron without weights stays.
pub fn normalised(params: &Params) -> (Mat, Mat) {
    let (mut w1, mut w2) = (params.get("w1").clone(), params.get("w2").clone());
    for k in 0..w1.cols() {
        let largest = (0..w1.rows()).map(|i| w1[(i, k)].abs()).fold(0.0, f32::max);
        if largest > 0.0 {
            (0..w1.rows()).for_each(|i| w1[(i, k)] /= largest);
            w2.row_mut(k).iter_mut().for_each(|w| *w *= largest);
        }
    }
    (w1, w2)
}

/// Rows of a matrix, for JSON and pictures.
pub fn rows(m: &Mat) -> Vec<Vec<f64>> {
    (0..m.rows()).map(|i| m.row(i).iter().map(|v| f64::from(*v)).collect()).collect()
}

/// An object that was written down with `json!`.
pub fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { unreachable!("an object was written down") };
    map
}
