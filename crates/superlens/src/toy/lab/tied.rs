//! What the toys with tied weights share: settings, restarts, and what is said of each instance.

use super::{
    Axis, Bars, BarsPanel, Heat, HeatPanel, Lab, Outcome, Panel, Picture, Series, Setting, SettingError, Settings,
    ToyError,
};
use crate::toy::Truth;
use crate::toy::exact::ExactLoss;
use crate::toy::fused::{Plan, Trained, xavier};
use crate::toy::geometry::{
    REPRESENTED, cosines, dimensionality, dimensions_per_feature, gaps, n_represented, norms, superposition,
};
use crate::toy::groups::{FeatureLaw, Groups};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Instant;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::tied::Response;
use superlens_tensor::optim::{AdamConfig, Optimiser, Schedule, SgdConfig};
use superlens_tensor::train::TrainConfig;

/// Largest sizes, one by one; that they fit together is looked at by [`fits`].
const MOST_FEATURES: usize = 20_000;
const MOST_HIDDEN: usize = 5_000;
/// Density below which 31 random bits would be too few.
const LEAST_DENSITY: f64 = 1e-6;
/// Restarts and instances together.
const MOST_MODELS: usize = 100_000;

pub const fn setting(key: &'static str, default: &'static str, says: &'static str) -> Setting {
    Setting { key, default, says }
}

pub const DENSITY: Setting = setting(
    "density",
    "1..0.01",
    "probability that a feature is on, over the instances: a number, a list whose length divides --instances, or HI..LO, log-spaced",
);
pub const FEATURE_DENSITY: Setting = setting(
    "feature_density",
    "uniform",
    "shape of the density over features, a factor each: uniform, zipf:S, power:A, exp:R or a list",
);
pub const IMPORTANCE: Setting =
    setting("importance", "0.9", "weight of each feature's error: the base of a geometric series, or a list");
pub const STEPS: Setting = setting("steps", "10000", "training steps");
pub const BATCH: Setting = setting("batch", "1024", "fresh rows a step");
pub const OPTIMISER: Setting =
    setting("optimiser", "adamw", "adamw, adam (which ignores weight_decay), sgd, or momentum (sgd with 0.9)");
pub const LR: Setting = setting("lr", "1e-3", "learning rate");
pub const WEIGHT_DECAY: Setting = setting("weight_decay", "0.01", "decoupled weight decay");
pub const SCHEDULE: Setting =
    setting("schedule", "constant", "learning rate over the steps: constant, or cosine down to a hundredth");
pub const RESTARTS: Setting = setting("restarts", "1", "models trained for each instance, of which the best is kept");
pub const INIT: Setting = setting(
    "init",
    "xavier",
    "first weights are normal with this standard deviation: xavier, stacked (what PyTorch's xavier_normal_ gives all instances in one tensor), or a number",
);
pub const L1: Setting = setting("l1", "0", "weight of the sum of |h| beside the squared errors of a row");

pub const GROUPS: Setting = setting(
    "groups",
    "independent",
    "how features depend on one another: independent; correlated:K, on together in sets of K; anticorrelated:K, at most one of \
     each K on; hierarchical:K:Q, the first of each K and, only where it is on, each other with probability Q",
);

/// The laws of the instances, for a toy that has [`GROUPS`].
pub fn laws(s: &Settings, density: &[Vec<f64>]) -> Result<Vec<FeatureLaw>, SettingError> {
    let parts: Vec<&str> = s.text("groups").split(':').collect();
    let size = |text: &str| text.parse::<usize>().ok();
    let groups = match parts[..] {
        ["independent"] => Some(Groups::Independent),
        ["correlated", k] => size(k).map(Groups::Correlated),
        ["anticorrelated", k] => size(k).map(Groups::Anticorrelated),
        ["hierarchical", k, q] => {
            size(k).zip(q.parse::<f64>().ok()).map(|(size, given)| Groups::Hierarchical { size, given })
        }
        _ => None,
    };
    let forms = "independent, correlated:K, anticorrelated:K or hierarchical:K:Q";
    let groups = groups.ok_or_else(|| s.wrong("groups", forms))?;
    density.iter().map(|p| FeatureLaw::new(p.clone(), groups).map_err(|e| s.wrong("groups", &e))).collect()
}

/// The plan of a toy that has these settings, and the densities of its instances `[instances][n_features]`.
pub fn plan(
    s: &Settings,
    instances: usize,
    hidden: Response,
    readout: Response,
    signed: bool,
) -> Result<(Plan, Vec<Vec<f64>>), SettingError> {
    let n = s.whole("n_features", 1..=MOST_FEATURES)?;
    let shape = s.shape("feature_density", n)?;
    let density: Vec<Vec<f64>> = s
        .over_instances("density", instances, LEAST_DENSITY..=1.0)?
        .iter()
        .map(|p| shape.iter().map(|f| p * f).collect())
        .collect();
    if let Some(p) = density.iter().flatten().find(|p| !(LEAST_DENSITY..=1.0).contains(*p)) {
        return Err(s.wrong(
            "feature_density",
            &format!("factors that keep every feature's density between {LEAST_DENSITY} and 1; one becomes {p}"),
        ));
    }
    let importance = s.series("importance", n, 0.0..=1e6)?;
    if importance.iter().all(|&i| i == 0.0) {
        return Err(s.wrong("importance", "a weight above 0 for at least one feature"));
    }
    let d_hidden = s.whole("d_hidden", 1..=MOST_HIDDEN)?;
    let plan = Plan {
        d_hidden,
        importance,
        hidden,
        readout,
        l1: s.real("l1", 0.0..=1e6)?,
        init: init(s, instances, n, d_hidden)?,
        bias: s.flag("bias")?,
        signed,
        batch: s.whole("batch", 1..=1 << 22)?,
        steps: s.whole("steps", 1..=1_000_000_000)? as u64,
        optimiser: optimiser(s)?,
        schedule: s
            .choice("schedule", &[("constant", Schedule::Constant), ("cosine", Schedule::Cosine { floor: 0.01 })])?,
    };
    let restarts = s.whole("restarts", 1..=MOST_MODELS)?;
    if restarts * instances > MOST_MODELS {
        return Err(
            s.wrong("restarts", &format!("at most {MOST_MODELS} models in all; {instances} instances were asked for"))
        );
    }
    fits(s, &["n_features", "d_hidden", "restarts"], restarts * instances, (d_hidden + 1) * n)?;
    Ok((plan, density))
}

/// Bytes that models may take together.
const MOST_BYTES: f64 = 8e9;

/// Refuses models whose parameters, with gradient and moments, don't fit into memory; `keys` are the settings that say how many
/// and how large they are.
pub fn fits(s: &Settings, keys: &[&str], models: usize, parameters: usize) -> Result<(), SettingError> {
    let bytes = 16.0 * models as f64 * parameters as f64;
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let sizes: Vec<String> = keys.iter().map(|k| format!("{k}={}", s.text(k))).collect();
    Err(SettingError::new(format!(
        "--set {}: {models} models of {parameters} parameters take {} GB with gradient and moments; expected at most {} GB: \
         fewer --instances, or smaller ones",
        sizes.join(", "),
        short(bytes / 1e9),
        MOST_BYTES / 1e9
    )))
}

/// Standard deviation of the first weights of a toy that has [`INIT`].
///
/// `[instances, n_features, d_hidden]` in one tensor, PyTorch's `xavier_normal_` counts `n_features · d_hidden` numbers
/// in and `instances · d_hidden` out, whatever the axes mean.
fn init(s: &Settings, instances: usize, n: usize, m: usize) -> Result<f64, SettingError> {
    match s.text("init") {
        "xavier" => Ok(xavier(n, m)),
        "stacked" => Ok(xavier(n * m, instances * m)),
        _ => s.real("init", 0.0..=1e3).map_err(|_| s.wrong("init", "xavier, stacked, or a number from 0 to 1000")),
    }
}

/// The optimiser of a toy that has [`OPTIMISER`], [`LR`] and [`WEIGHT_DECAY`].
pub fn optimiser(s: &Settings) -> Result<Optimiser, SettingError> {
    let (lr, weight_decay) = (s.real("lr", 1e-12..=1e3)?, s.real("weight_decay", 0.0..=1e3)?);
    let adamw = Optimiser::Adam(AdamConfig { lr, weight_decay, ..AdamConfig::default() });
    let sgd = |momentum| Optimiser::Sgd(SgdConfig { lr, momentum, weight_decay });
    s.choice("optimiser", &[("adamw", adamw), ("adam", Optimiser::adam(lr)), ("sgd", sgd(0.0)), ("momentum", sgd(0.9))])
}

/// A plan's training, for the general loop.
pub fn general(plan: &Plan) -> TrainConfig {
    TrainConfig { steps: plan.steps, optimiser: plan.optimiser, schedule: plan.schedule, clip_norm: None }
}

/// The paper's training of a ReLU-output model whose features are all equally important.
pub fn plain_plan(n: usize, m: usize, steps: u64) -> Plan {
    Plan {
        d_hidden: m,
        importance: vec![1.0; n],
        hidden: Response::Linear,
        readout: Response::Relu,
        l1: 0.0,
        init: xavier(n, m),
        bias: true,
        signed: false,
        batch: 1024,
        steps,
        optimiser: Optimiser::adam(5e-3),
        schedule: Schedule::Cosine { floor: 0.01 },
    }
}

/// The best of the restarts of an instance, and the losses of all.
pub struct Best {
    pub model: Trained,
    pub losses: Vec<f64>,
    pub density: Vec<f64>,
}

/// Trains all restarts of all instances side by side.
pub fn train(
    s: &Settings,
    plan: &Plan,
    density: &[Vec<f64>],
    lab: &Lab,
    outcome: &mut Outcome,
) -> Result<Vec<Best>, ToyError> {
    let laws: Vec<FeatureLaw> = density.iter().map(|p| FeatureLaw::independent(p.clone())).collect();
    train_on(s, plan, &laws, 0, lab, outcome)
}

/// The same on any laws; with `looks`, the weights on the way are kept.
pub fn train_on(
    s: &Settings,
    plan: &Plan,
    laws: &[FeatureLaw],
    looks: u64,
    lab: &Lab,
    outcome: &mut Outcome,
) -> Result<Vec<Best>, ToyError> {
    let restarts = s.whole("restarts", 1..=MOST_MODELS)?;
    let all: Vec<FeatureLaw> = laws.iter().flat_map(|law| vec![law.clone(); restarts]).collect();
    let start = Instant::now();
    let trained = plan
        .train_on(&all, looks, &lab.rng.fork("instances"), &|share| {
            let rate = share * (plan.steps * all.len() as u64) as f64 / start.elapsed().as_secs_f64().max(1e-9);
            (lab.watch)(share, &format!("training, {} steps a second", short(rate)))
        })
        .ok_or(ToyError::Stopped)?;
    outcome.training += start.elapsed();
    outcome.steps += plan.steps * all.len() as u64;
    let mut best = best_of(trained, laws, restarts)?;
    if restarts > 1 {
        let rng = lab.rng.fork("measured");
        let pairs: Vec<_> = best.iter_mut().zip(laws).enumerate().collect();
        pairs.into_par_iter().with_max_len(1).for_each(|(i, (b, law))| {
            b.model.loss = plan.measure(&b.model, law, &rng.fork_index(i as u64));
        });
    }
    Ok(best)
}

/// Minimises the exact loss from all restarts of all instances. Panics with more features than `exact::MOST`.
pub fn minimise(s: &Settings, plan: &Plan, laws: &[FeatureLaw], lab: &Lab) -> Result<Vec<Best>, ToyError> {
    let restarts = s.whole("restarts", 1..=MOST_MODELS)?;
    let (n, m) = (plan.importance.len(), plan.d_hidden);
    let losses: Vec<ExactLoss> =
        laws.iter().map(|law| ExactLoss::of_law(&plan.importance, m, law, plan.bias)).collect();
    let found = lab.side_by_side(laws.len() * restarts, "minimising the exact loss", |k, rng, _| {
        let exact = &losses[k / restarts];
        let (loss, params) = exact.minimum_from(exact.start(&mut rng.clone()));
        let numbers: Vec<f32> = params.iter().map(|p| *p as f32).collect();
        let mut b = numbers[n * m..].to_vec();
        b.resize(n, 0.0);
        let w = Mat::from_vec(n, m, numbers[..n * m].to_vec());
        Some(Trained { w, b, loss: loss / n as f64, history: Vec::new(), path: Vec::new() })
    })?;
    best_of(found, laws, restarts)
}

/// The best restart of each instance. Those that diverged have an infinite loss and are never it.
fn best_of(models: Vec<Trained>, laws: &[FeatureLaw], restarts: usize) -> Result<Vec<Best>, ToyError> {
    let mut models = models.into_iter();
    let best = |(instance, law): (usize, &FeatureLaw)| {
        let models: Vec<Trained> = models.by_ref().take(restarts).collect();
        let losses: Vec<f64> = models.iter().map(|m| m.loss).collect();
        let model = models.into_iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).expect("at least one restart");
        if !model.loss.is_finite() {
            return Err(ToyError::Diverged { instance });
        }
        Ok(Best { model, losses, density: law.densities() })
    };
    laws.iter().enumerate().map(best).collect()
}

/// Represented features beyond which pairs are not compared.
const MOST_PAIRED: usize = 2000;

/// What the JSON of every instance holds, for `--help`.
pub const KEYS: &str = "Each instance has density, seed, loss, n_represented (‖W_i‖ above 1/2), feature_dimensionality, W (the \
    paper's, d_hidden rows of n_features numbers), b, dimensions_per_feature (D* = m/‖W‖²), norms, superposition (Σ (Ŵ_i·W_j)² \
    over the others), first_dimensionality (of feature 1), sum_dimensionality, share_in_pairs (features within 0.05 of D = 1/2), \
    loss_sum (over features), cosines (of represented pairs), antipodal_pairs (cosine below −0.98) and cross_cosine (largest of \
    the other |cosines|), these three null beyond 2000 represented features, gaps (degrees, in the plane), truth, restart_losses \
    (null for one that diverged) and history (step, loss).";

/// The keys that the contract names, and a few more.
pub fn instance(seed: usize, best: &Best, truth: &Truth) -> Map<String, Value> {
    let w = &best.model.w;
    let rows: Vec<Vec<f32>> = (0..w.cols()).map(|k| (0..w.rows()).map(|i| w[(i, k)]).collect()).collect();
    let dimensions = dimensionality(w);
    let cosines = (n_represented(w) <= MOST_PAIRED).then(|| cosines(w));
    let antipodal = cosines.as_ref().map(|all| all.iter().filter(|c| **c < -0.98).count());
    let cross = cosines.as_ref().map(|all| all.iter().filter(|c| **c >= -0.98).fold(0.0f64, |a, c| a.max(c.abs())));
    let value = json!({
        "density": best.density.iter().copied().fold(0.0, f64::max),
        "seed": seed,
        "loss": best.model.loss,
        "n_represented": n_represented(w),
        "feature_dimensionality": dimensions,
        "dimensions_per_feature": dimensions_per_feature(w),
        "norms": norms(w),
        "superposition": superposition(w),
        "first_dimensionality": dimensions[0],
        "loss_sum": best.model.loss * w.rows() as f64,
        "sum_dimensionality": dimensions.iter().sum::<f64>(),
        "share_in_pairs": share_in_pairs(w),
        "cosines": cosines,
        "antipodal_pairs": antipodal,
        "cross_cosine": cross,
        "gaps": gaps(w),
        "truth": truth.label(),
        "W": rows,
        "b": best.model.b,
        "restart_losses": best.losses,
        "history": best.model.history,
    });
    let Value::Object(map) = value else { unreachable!("an object was written down") };
    map
}

/// Says so where there were too many features to compare pairs.
pub fn unpaired(best: &[Best]) -> Option<String> {
    let many = best.iter().any(|b| n_represented(&b.model.w) > MOST_PAIRED);
    many.then(|| format!("Cosines of pairs are left out beyond {MOST_PAIRED} represented features."))
}

/// Share of the represented features whose dimensionality lies within 0.05 of the half that an antipodal pair has.
fn share_in_pairs(w: &Mat) -> f64 {
    let kept: Vec<f64> =
        dimensionality(w).into_iter().zip(norms(w)).filter(|(_, norm)| *norm > REPRESENTED).map(|(d, _)| d).collect();
    kept.iter().filter(|d| (**d - 0.5).abs() < 0.05).count() as f64 / kept.len().max(1) as f64
}

/// Features in the plane, one panel an instance; nothing where there are more dimensions.
pub fn directions(best: &[Best], title: &str) -> Option<Picture> {
    let plane = best.first().is_some_and(|b| b.model.w.cols() == 2);
    let panel = |b: &Best| Panel {
        label: label(b),
        points: (0..b.model.w.rows()).map(|i| [f64::from(b.model.w[(i, 0)]), f64::from(b.model.w[(i, 1)])]).collect(),
    };
    plane.then(|| Picture::Directions {
        name: "directions",
        title: title.into(),
        caption: "One arrow a feature: its direction in the two hidden dimensions, darker the more important it is. \
                  Left to right, features are on ever more rarely. Arrows of full length at right angles share nothing; \
                  opposite arrows share a line; a polygon shares the plane."
            .into(),
        panels: best.iter().map(panel).collect(),
    })
}

/// Instances that a picture with a panel for each has room for.
const PANELS: usize = 10;

/// Features that a matrix of pairs is drawn for: the most important ones.
const MOST_DRAWN: usize = 400;

/// `WᵀW` of each instance, the most important feature first.
pub fn grams(best: &[Best]) -> Picture {
    let rows = |w: &Mat| {
        let w = w.select_rows(&(0..w.rows().min(MOST_DRAWN)).collect::<Vec<_>>());
        let gram = matmul(&w, w.t());
        (0..gram.rows()).map(|i| gram.row(i).iter().map(|&v| f64::from(v)).collect()).collect()
    };
    Picture::Heat(Heat {
        name: "gram",
        title: "Which features share directions? WᵀW".into(),
        caption: "A row and a column a feature. On the diagonal: how fully it is represented. Beside it: how much it \
                  disturbs others. A bright diagonal with nothing beside it means features at right angles."
            .into(),
        across: "features".into(),
        down: "features, the most important first".into(),
        panels: some(best).map(|b| HeatPanel { label: label(b), rows: rows(&b.model.w) }).collect(),
    })
}

/// The norm of each feature, shaded by how much it shares its direction.
pub fn norm_bars(best: &[Best]) -> Picture {
    let bar = |(norm, shared): (&f64, &f64)| vec![(*norm, *shared)];
    let bars = |w: &Mat| norms(w).iter().zip(&superposition(w)).map(bar).collect();
    Picture::Bars(Bars {
        name: "norms",
        title: "Norm of each feature, and whether it shares its direction".into(),
        caption: "A bar a feature: ‖Wᵢ‖, near 1 where it is represented and near 0 where it is dropped. Its shade is \
                  Σ (Ŵᵢ·Wⱼ)² over the other features: dark has its direction to itself, pale shares it."
            .into(),
        across: "features, the most important first".into(),
        up: "‖Wᵢ‖".into(),
        dark: "a direction of its own".into(),
        pale: "in superposition".into(),
        panels: some(best).map(|b| BarsPanel { label: label(b), bars: bars(&b.model.w) }).collect(),
    })
}

/// All instances, or some that are spread over them.
fn some(best: &[Best]) -> impl Iterator<Item = &Best> {
    let n = best.len();
    let shown = n.min(PANELS);
    (0..shown).map(move |k| &best[if shown > 1 { k * (n - 1) / (shown - 1) } else { 0 }])
}

fn label(b: &Best) -> String {
    format!("p = {}", short(b.density.iter().copied().fold(0.0, f64::max)))
}

/// Feature dimensionality of all represented features and D*, over 1 / density.
pub fn dimensionality_sweep(best: &[Best]) -> Option<Picture> {
    let x = |b: &Best| 1.0 / b.density.iter().copied().fold(0.0, f64::max);
    let differ = best.windows(2).any(|w| w[0].density != w[1].density);
    let each = |b: &Best| {
        let long = norms(&b.model.w);
        let d = dimensionality(&b.model.w);
        d.into_iter().zip(long).filter(|(_, norm)| *norm > 0.1).map(|(d, _)| (x(b), d)).collect::<Vec<_>>()
    };
    let per_feature = |b: &Best| (x(b), dimensions_per_feature(&b.model.w));
    let finite = |points: Vec<(f64, f64)>| points.into_iter().filter(|p| p.1.is_finite() && p.1 < 2.0).collect();
    differ.then(|| Picture::Sweep {
        name: "dimensionality",
        title: "How many dimensions has a feature?".into(),
        caption: "A point a feature: the share of a dimension that it has to itself. The line is the hidden dimensions per \
                  feature, D*. Features that share evenly sit on fractions: 1/2 for antipodal pairs, 2/3 for triangles, 2/5 \
                  for pentagons."
            .into(),
        x: Axis::log("1 / density"),
        y: Axis::linear("dimensions per feature"),
        series: vec![
            Series { name: "a feature, D".into(), points: best.iter().flat_map(each).collect(), line: false },
            Series { name: "m / ‖W‖², D*".into(), points: finite(best.iter().map(per_feature).collect()), line: true },
        ],
        levels: [(1.0, "1"), (2.0 / 3.0, "2/3"), (0.5, "1/2"), (0.4, "2/5")].map(|(y, l)| (y, l.to_string())).to_vec(),
    })
}

/// A number of things: `1 neuron`, `2 neurons`.
pub fn many(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Three significant digits.
pub fn short(v: f64) -> String {
    if v == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&v.abs()) {
        return format!("{v:.2e}");
    }
    let decimals = (2 - v.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{v:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_weights_have_the_size_that_was_asked_for() {
        let init = |text: &str| {
            let settings = Settings::parse("toy", &[INIT], &[format!("init={text}")]).unwrap();
            init(&settings, 10, 5, 2)
        };
        // PyTorch's fans for a tensor [10, 5, 2]: 5 · 2 in, 10 · 2 out.
        assert!((init("stacked").unwrap() - (2.0f64 / 30.0).sqrt()).abs() < 1e-12);
        assert!((init("xavier").unwrap() - (2.0f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!(init("0.1").unwrap(), 0.1);
        for bad in ["-1", "NaN", "wide", "1e4"] {
            let error = init(bad).unwrap_err().to_string();
            assert_eq!(error, format!("--set init={bad}: expected xavier, stacked, or a number from 0 to 1000"));
        }
    }
}
