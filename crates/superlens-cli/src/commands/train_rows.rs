//! Where a training's rows come from: a file, a store, or a synthetic model.

use superlens::sae::synthetic::{Fresh, Stream, Synthetic};
use superlens::sae::train::{Beside, InMemory, Source, Stored};
use superlens_lm::store::BUFFER_BYTES;
use superlens_tensor::io::ReadOptions;
use superlens_tensor::{Mat, Rng};

use super::side_by_side::SideBySide;
use super::synth::named;
use super::train_plan::Plan;
use crate::failure::Failure;
use crate::progress::Progress;

pub enum Rows {
    /// What is read, and what is to be rebuilt where that is something else.
    Read {
        x: SideBySide,
        y: Option<SideBySide>,
    },
    Model(Box<Synthetic>),
}

/// Rows of a store that are looked at before training.
const SEEN: usize = 1024;
/// What counts as one pass over a model, which has no end.
const PASS: usize = 20_000_000;

impl Rows {
    pub fn open(plan: &Plan, progress: &Progress) -> Result<Rows, Failure> {
        if let Some(id) = &plan.synthetic {
            let preset = named("--synthetic", id)?;
            // The command line refuses these itself; a config file may say them.
            let of_files = [
                ("--key", plan.key.is_some()),
                ("--flatten", plan.flatten),
                ("--hook", plan.hook.is_some()),
                ("--buffer-mb", plan.buffer_mb.is_some()),
                ("--targets", plan.targets.is_some()),
                ("--targets-hook", plan.targets_hook.is_some()),
            ];
            if let Some((flag, _)) = of_files.iter().find(|flag| flag.1) {
                return Err(Failure::Input(format!(
                    "{flag}: goes with activations that are read, but --synthetic {id} makes them"
                )));
            }
            let mut watch = |share| progress.at(share, "pushing directions apart");
            return Ok(Rows::Model(Box::new(Synthetic::new(preset, &mut watch))));
        }
        let options = ReadOptions { key: plan.key.clone(), flatten: plan.flatten };
        let x = SideBySide::open("--activations", &plan.activations, &options, plan.hook.as_deref())?;
        check_hash(&plan.activations, &plan.sha256, &x.sha256())?;
        if let (SideBySide::Matrix { .. }, Some(mb)) = (&x, plan.buffer_mb) {
            return Err(Failure::Input(format!(
                "--buffer-mb {mb}: expected a store with it, found a file, which is read whole"
            )));
        }
        let y = targets(&plan.activations, &plan.targets, &plan.targets_hook, plan.flatten, &x)?;
        if let Some(y) = &y {
            check_hash(plan.targets.as_ref().unwrap_or(&plan.activations), &plan.targets_sha256, &y.sha256())?;
        }
        Ok(Rows::Read { x, y })
    }

    /// Layers that were named, side by side in a row.
    pub fn layers(&self) -> usize {
        match self {
            Rows::Read { x, .. } => x.layers(),
            Rows::Model(_) => 1,
        }
    }

    /// The hook of a store that is read, and that which a transcoder rebuilds, as far as either is one.
    pub fn hooks(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Rows::Read { x, y } => (x.hook(), y.as_ref().and_then(SideBySide::hook)),
            Rows::Model(_) => (None, None),
        }
    }

    /// Rows of one pass, and their width.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Rows::Read { x, .. } => x.shape(),
            Rows::Model(model) => (PASS, model.preset.dims),
        }
    }

    /// Batches as the plan wants them.
    pub fn source(&self, plan: &Plan, rng: &Rng) -> Result<Box<dyn Source + '_>, Failure> {
        let (seed, batch) = (plan.seed, plan.batch.unwrap_or(1));
        let buffer = plan.buffer_mb.map_or(BUFFER_BYTES, |mb| mb.saturating_mul(1 << 20));
        Ok(match self {
            Rows::Read { x: SideBySide::Matrix { mat, .. }, y } => {
                let source = InMemory::new(mat, batch, rng);
                Box::new(match y {
                    Some(SideBySide::Matrix { mat, .. }) => source.with_targets(mat),
                    _ => source,
                })
            }
            Rows::Read { x: SideBySide::Stores(stores), y } => {
                let mut hooks = stores.reopen()?;
                let targets = match y {
                    Some(SideBySide::Stores(targets)) => targets.reopen()?.pop(),
                    _ => None,
                };
                match (hooks.len(), targets) {
                    (1, None) => Box::new(Stored::new(hooks.remove(0), batch, buffer, rng)),
                    (_, targets) => Box::new(Beside::new(hooks, targets, batch, buffer, rng)),
                }
            }
            Rows::Model(model) => Box::new(Fresh { model, seed, batch }),
        })
    }

    /// Of a store, whose rows are not looked at when it is opened: whether those that are seen here vary.
    ///
    /// # Errors
    /// Rows that are all alike, of which there is nothing to learn, and numbers that are none.
    pub fn check(&self) -> Result<(), Failure> {
        let Rows::Read { x: x @ SideBySide::Stores(stores), .. } = self else { return Ok(()) };
        let seen = spread_over(x, SEEN);
        let wrong = |what: &str| Err(Failure::Input(format!("{}: {what}", stores.names())));
        if seen.data().iter().any(|v| !v.is_finite()) {
            return wrong("holds NaN or infinite numbers; harvest it again, or leave those rows out");
        }
        let first = seen.row(0);
        if (0..seen.rows()).all(|i| seen.row(i) == first) {
            return wrong("all rows are alike, so there is nothing to learn; is it the right hook?");
        }
        Ok(())
    }

    /// Of what is read, and of what is to be rebuilt.
    pub fn sha256(&self) -> (Option<String>, Option<String>) {
        match self {
            Rows::Read { x, y } => (Some(x.sha256()), y.as_ref().map(SideBySide::sha256)),
            Rows::Model(_) => (None, None),
        }
    }

    pub fn name<'a>(&'a self, plan: &'a Plan) -> &'a str {
        match self {
            Rows::Read { .. } => &plan.activations,
            Rows::Model(model) => model.preset.id,
        }
    }

    pub fn describe(&self) -> String {
        let (rows, width) = self.shape();
        match self {
            Rows::Read { x: SideBySide::Matrix { .. }, .. } => format!("{rows} rows of {width}"),
            Rows::Read { x: SideBySide::Stores(stores), .. } => format!("{rows} rows of {width} at {}", stores.names()),
            Rows::Model(model) => format!("fresh rows of {width} from {}", model.preset.id),
        }
    }

    /// About so many rows to measure on, and what they are to become: spread over all of a matrix or a store, held out of a model.
    pub fn spread(&self, seed: u64, rows: usize) -> (Mat, Option<Mat>) {
        match self {
            Rows::Read { x, y } => (spread_over(x, rows), y.as_ref().map(|y| spread_over(y, rows))),
            Rows::Model(model) => (model.rows(&model.activations(seed, Stream::HeldOut, 0..rows as u64)), None),
        }
    }
}

fn spread_over(x: &SideBySide, rows: usize) -> Mat {
    match x {
        SideBySide::Matrix { mat, .. } => spread(mat, rows),
        SideBySide::Stores(stores) => {
            let chosen = stores.hooks[0].sample(rows as u64, 1, &Rng::new(0)).into_iter().flatten();
            stores.select(&chosen.collect::<Vec<u64>>())
        }
    }
}

/// What is to be rebuilt of `x`, if anything is named: of the kind of `x`, and as long.
pub fn targets(
    activations: &str,
    path: &Option<String>,
    hook: &Option<String>,
    flatten: bool,
    x: &SideBySide,
) -> Result<Option<SideBySide>, Failure> {
    let (file, flatten) = match (path, hook) {
        (None, None) => return Ok(None),
        (Some(path), _) => (path.as_str(), flatten && matches!(x, SideBySide::Matrix { .. })),
        (None, Some(_)) => (activations, false),
    };
    let y = SideBySide::open("--targets", file, &ReadOptions { key: None, flatten }, hook.as_deref())?;
    let wrong = |what: String| Err(Failure::Input(format!("--targets {file}: {what}")));
    match (x, &y) {
        _ if y.layers() > 1 => wrong(format!("expected one file or hook, found {}", y.layers())),
        (SideBySide::Stores(_), SideBySide::Matrix { .. }) => {
            wrong(format!("goes with a matrix, but {activations} is a store; import it into one"))
        }
        (SideBySide::Matrix { .. }, SideBySide::Stores(_)) => {
            wrong(format!("is a store, but {activations} is a matrix; import that into a store"))
        }
        _ if x.shape().0 != y.shape().0 => {
            wrong(format!("expected {} rows, as the activations have, found {}", x.shape().0, y.shape().0))
        }
        _ => Ok(Some(y)),
    }
}

pub fn spread(x: &Mat, rows: usize) -> Mat {
    let step = x.rows().div_ceil(rows).max(1);
    let rows: Vec<usize> = (0..x.rows()).step_by(step).collect();
    x.select_rows(&rows)
}

fn check_hash(file: &str, expected: &Option<String>, found: &str) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != found => Err(Failure::Input(format!(
            "{file}: sha256: expected {expected}, found {found}; these are not the activations that the run began with"
        ))),
        _ => Ok(()),
    }
}
