//! Where a training's rows come from: a file, or a synthetic model.

use std::path::Path;

use superlens::sae::synthetic::{Fresh, Stream, Synthetic};
use superlens::sae::train::{InMemory, Source};
use superlens_tensor::io::{Loaded, ReadOptions, read_matrix};
use superlens_tensor::{Mat, Rng};

use super::synth::named;
use super::train_plan::Plan;
use crate::failure::Failure;
use crate::progress::Progress;

pub enum Rows {
    /// What is read, and what is to be rebuilt where that is something else.
    Matrix {
        x: Box<Loaded>,
        y: Option<Box<Loaded>>,
    },
    Model(Box<Synthetic>),
}

/// What counts as one pass over a model, which has no end.
const PASS: usize = 20_000_000;

impl Rows {
    pub fn open(plan: &Plan, progress: &Progress) -> Result<Rows, Failure> {
        if let Some(id) = &plan.synthetic {
            let preset = named("--synthetic", id)?;
            let mut watch = |share| progress.at(share, "pushing directions apart");
            return Ok(Rows::Model(Box::new(Synthetic::new(preset, &mut watch))));
        }
        let options = ReadOptions { key: plan.key.clone(), flatten: plan.flatten };
        let x = Box::new(read_matrix(Path::new(&plan.activations), &options).map_err(Failure::input)?);
        check_hash(&plan.activations, &plan.sha256, &x.sha256)?;
        let Some(file) = &plan.targets else { return Ok(Rows::Matrix { x, y: None }) };
        let options = ReadOptions { key: None, flatten: plan.flatten };
        let y = Box::new(read_matrix(Path::new(file), &options).map_err(Failure::input)?);
        check_hash(file, &plan.targets_sha256, &y.sha256)?;
        let (expected, found) = (x.mat.rows(), y.mat.rows());
        if expected == found {
            return Ok(Rows::Matrix { x, y: Some(y) });
        }
        Err(Failure::Input(format!(
            "--targets {file}: expected {expected} rows, as the activations have, found {found}"
        )))
    }

    /// Rows of one pass, and their width.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Rows::Matrix { x, .. } => x.mat.shape(),
            Rows::Model(model) => (PASS, model.preset.dims),
        }
    }

    /// Batches of `batch` rows.
    pub fn source(&self, seed: u64, batch: usize, rng: &Rng) -> Box<dyn Source + '_> {
        match self {
            Rows::Matrix { x, y } => {
                let source = InMemory::new(&x.mat, batch, rng);
                Box::new(match y {
                    Some(y) => source.with_targets(&y.mat),
                    None => source,
                })
            }
            Rows::Model(model) => Box::new(Fresh { model, seed, batch }),
        }
    }

    /// Of what is read, and of what is to be rebuilt.
    pub fn sha256(&self) -> (Option<String>, Option<String>) {
        match self {
            Rows::Matrix { x, y } => (Some(x.sha256.clone()), y.as_ref().map(|y| y.sha256.clone())),
            Rows::Model(_) => (None, None),
        }
    }

    pub fn name<'a>(&'a self, plan: &'a Plan) -> &'a str {
        match self {
            Rows::Matrix { .. } => &plan.activations,
            Rows::Model(model) => model.preset.id,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Rows::Matrix { x, .. } => format!("{} rows of {}", x.mat.rows(), x.mat.cols()),
            Rows::Model(model) => format!("fresh rows of {} from {}", model.preset.dims, model.preset.id),
        }
    }

    /// About so many rows to measure on, and what they are to become: spread over all of a matrix, held out of a model.
    pub fn spread(&self, seed: u64, rows: usize) -> (Mat, Option<Mat>) {
        match self {
            Rows::Matrix { x, y } => (spread(&x.mat, rows), y.as_ref().map(|y| spread(&y.mat, rows))),
            Rows::Model(model) => (model.rows(&model.activations(seed, Stream::HeldOut, 0..rows as u64)), None),
        }
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
