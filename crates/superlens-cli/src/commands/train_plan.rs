//! What a training run is told: flags over a config file over what is usual. The resolved plan is the run's `config.toml`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use superlens::sae::train::{Options, Recipe};

use super::side_by_side::whole;
use super::train_knobs::without_unused;
use crate::args::{Global, Train, Tuning};
use crate::failure::Failure;

/// A run, whole: with the activations it names, the same plan gives the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    pub command: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub activations: String,
    /// A synthetic model in place of activations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default)]
    pub flatten: bool,
    /// Of a store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// What a store is shuffled in; another size is another order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_mb: Option<usize>,
    /// Of the activations; read from them where a config file does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// What a transcoder is to rebuild, and its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets_hook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets_sha256: Option<String>,
    pub arch: String,
    #[serde(default)]
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub d_sae: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_l0: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l1: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    #[serde(default)]
    pub tuning: Tuning,
}

/// Latents a column, where no number of latents is given.
const EXPANSION: usize = 8;
const BATCH: usize = 2048;
/// At least so many steps, where neither steps nor tokens are given.
const STEPS: u64 = 1000;
const CHECKPOINT_EVERY: u64 = 500;
/// Active latents a row, where nothing says how many.
const ACTIVE: f64 = 32.0;
/// A latent is dead once it was silent for so many rows that it would have fired this often in them, if all latents fired alike. On `16k` that
/// is 20,971 rows; after 24 times as many, a fifth of the latents were all but dead in the end (docs/sae-quality.md).
const TURNS: u64 = 128;
/// Or, in a short training, for one in so many of its rows: later there would be too little of it left to revive many.
const SILENT: u64 = 40;

impl Plan {
    /// From the command line, but for the settings that may be lists.
    pub fn new(args: &Train, global: Global) -> Result<Plan, Failure> {
        let mut plan = match &args.config {
            Some(file) => Plan::read(file)?,
            None => Plan {
                command: "train".into(),
                activations: String::new(),
                synthetic: None,
                key: None,
                flatten: false,
                hook: None,
                buffer_mb: None,
                sha256: None,
                targets: None,
                targets_hook: None,
                targets_sha256: None,
                arch: "topk".into(),
                seed: global.seed,
                d_sae: None,
                k: None,
                target_l0: None,
                l1: None,
                widths: None,
                layers: None,
                batch: None,
                lr: None,
                steps: None,
                tokens: None,
                warmup: None,
                dead_after: None,
                checkpoint_every: None,
                tuning: Tuning::default(),
            },
        };
        if let Some(file) = &args.activations {
            (plan.activations, plan.sha256, plan.synthetic) = (whole(file), None, None);
        }
        if let Some(name) = &args.synthetic {
            (plan.activations, plan.sha256, plan.synthetic) = (String::new(), None, Some(name.clone()));
        }
        if let Some(file) = &args.targets {
            (plan.targets, plan.targets_sha256) = (Some(whole(file)), None);
        }
        fn over<T: Clone>(plan: &mut Option<T>, flag: &Option<T>) {
            if flag.is_some() {
                plan.clone_from(flag);
            }
        }
        over(&mut plan.key, &args.part.key);
        plan.flatten |= args.part.flatten;
        over(&mut plan.hook, &args.part.hook);
        over(&mut plan.targets_hook, &args.targets_hook);
        over(&mut plan.buffer_mb, &args.buffer_mb);
        over(&mut plan.widths, &args.widths);
        over(&mut plan.layers, &args.layers);
        over(&mut plan.batch, &args.batch);
        over(&mut plan.steps, &args.steps);
        over(&mut plan.tokens, &args.tokens);
        if args.steps.is_some() {
            plan.tokens = None;
        }
        if args.tokens.is_some() {
            plan.steps = None;
        }
        over(&mut plan.warmup, &args.warmup);
        over(&mut plan.dead_after, &args.dead_after);
        over(&mut plan.checkpoint_every, &args.checkpoint_every);
        plan.tuning.over(&args.tuning);
        plan.tuning.check()?;
        Ok(plan)
    }

    /// From a config file.
    pub fn read(file: &Path) -> Result<Plan, Failure> {
        let text = std::fs::read_to_string(file).map_err(|e| Failure::Input(format!("{}: {e}", file.display())))?;
        let plan: Plan = toml::from_str(&text).map_err(|e| {
            let what = e.to_string().trim().replace('\n', " ");
            Failure::Input(format!("{}: {what}; run folders of superlens train have examples", file.display()))
        })?;
        if plan.command != "train" {
            return Err(Failure::Input(format!(
                "{}: key `command`: expected `train`, found `{}`; this is the config of another command",
                file.display(),
                plan.command
            )));
        }
        Ok(plan)
    }

    /// Fills in what follows from the activations, `[rows, dims]`.
    pub fn resolve(mut self, rows: usize, dims: usize) -> Result<Plan, Failure> {
        let d_sae = *self.d_sae.get_or_insert(dims.saturating_mul(EXPANSION));
        if let Some(batch) = self.batch.filter(|batch| *batch > rows) {
            return Err(Failure::Input(format!("--batch {batch}: expected {rows} at most, which is all rows")));
        }
        let batch = *self.batch.get_or_insert(BATCH.min(rows.max(1)));
        if self.arch == "random" && self.k.is_some() && d_sae <= dims {
            let what = format!(
                "--k: random with {d_sae} latents for {dims} columns is a rotation, all of which is used; leave out --k"
            );
            return Err(Failure::Input(what));
        }
        if batch == 0 || d_sae == 0 {
            return Err(Failure::Input("--batch and --d-sae: expected 1 at least, found 0".into()));
        }
        let at_once = batch.min(rows).max(1) as u64;
        let steps = match (self.steps, self.tokens) {
            (Some(steps), _) => steps,
            (None, Some(tokens)) => tokens.div_ceil(at_once),
            (None, None) => (rows as u64).div_ceil(at_once).max(STEPS),
        };
        if self.buffer_mb == Some(0) {
            return Err(Failure::Input("--buffer-mb: expected 1 at least, found 0".into()));
        }
        if steps == 0 {
            return Err(Failure::Input("--steps: expected 1 at least, found 0".into()));
        }
        let recipe = Recipe::new(d_sae, steps, batch);
        (self.steps, self.tokens) = (Some(steps), None);
        let lr = *self.lr.get_or_insert(recipe.lr);
        if !(lr > 0.0 && lr.is_finite()) {
            return Err(Failure::Input(format!("--lr: expected a number above 0, found {lr}")));
        }
        self.warmup.get_or_insert(recipe.warmup);
        let active = self.k.map_or_else(|| self.target_l0.unwrap_or(ACTIVE), |k| k as f64).max(1.0);
        let turns = (TURNS as f64 * d_sae as f64 / active) as u64;
        let share = steps.saturating_mul(at_once) / SILENT;
        self.dead_after.get_or_insert(share.min(turns).clamp(1, recipe.dead_after));
        if *self.checkpoint_every.get_or_insert(CHECKPOINT_EVERY) == 0 {
            return Err(Failure::Input("--checkpoint-every: expected 1 at least, found 0".into()));
        }
        Ok(without_unused(self))
    }

    /// Of a [resolved](Self::resolve) plan.
    pub fn recipe(&self) -> Recipe {
        let usual = Recipe::new(self.d_sae.unwrap_or(1), self.steps.unwrap_or(1), self.batch.unwrap_or(1));
        let usual = self.tuning.recipe(usual);
        Recipe {
            lr: self.lr.unwrap_or(usual.lr),
            warmup: self.warmup.unwrap_or(usual.warmup),
            dead_after: self.dead_after.unwrap_or(usual.dead_after),
            ..usual
        }
    }

    pub fn options(&self) -> Options {
        let usual = self.tuning.options(Options::default());
        Options {
            k: self.k.unwrap_or(usual.k),
            l1: self.l1.unwrap_or(usual.l1),
            target_l0: self.target_l0.unwrap_or(usual.target_l0),
            widths: self.widths.clone().unwrap_or_default(),
            layers: self.layers.unwrap_or(usual.layers),
            ..usual
        }
    }
}
