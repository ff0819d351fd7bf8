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
    Matrix(Loaded),
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
        let loaded = read_matrix(Path::new(&plan.activations), &options).map_err(Failure::input)?;
        match &plan.sha256 {
            Some(expected) if *expected != loaded.sha256 => Err(Failure::Input(format!(
                "{}: sha256: expected {expected}, found {}; these are not the activations that the run began with",
                plan.activations, loaded.sha256
            ))),
            _ => Ok(Rows::Matrix(loaded)),
        }
    }

    /// Rows of one pass, and their width.
    pub fn shape(&self) -> (usize, usize) {
        match self {
            Rows::Matrix(loaded) => loaded.mat.shape(),
            Rows::Model(model) => (PASS, model.preset.dims),
        }
    }

    /// Batches of `batch` rows.
    pub fn source(&self, seed: u64, batch: usize, rng: &Rng) -> Box<dyn Source + '_> {
        match self {
            Rows::Matrix(loaded) => Box::new(InMemory::new(&loaded.mat, batch, rng)),
            Rows::Model(model) => Box::new(Fresh { model, seed, batch }),
        }
    }

    pub fn sha256(&self) -> Option<String> {
        match self {
            Rows::Matrix(loaded) => Some(loaded.sha256.clone()),
            Rows::Model(_) => None,
        }
    }

    pub fn name<'a>(&'a self, plan: &'a Plan) -> &'a str {
        match self {
            Rows::Matrix(_) => &plan.activations,
            Rows::Model(model) => model.preset.id,
        }
    }

    pub fn describe(&self) -> String {
        match self {
            Rows::Matrix(loaded) => format!("{} rows of {}", loaded.mat.rows(), loaded.mat.cols()),
            Rows::Model(model) => format!("fresh rows of {} from {}", model.preset.dims, model.preset.id),
        }
    }

    /// About so many rows to measure on: spread over all of a matrix, held out of a model.
    pub fn spread(&self, seed: u64, rows: usize) -> Mat {
        match self {
            Rows::Matrix(loaded) => spread(&loaded.mat, rows),
            Rows::Model(model) => model.rows(&model.activations(seed, Stream::HeldOut, 0..rows as u64)),
        }
    }
}

pub fn spread(x: &Mat, rows: usize) -> Mat {
    let step = x.rows().div_ceil(rows).max(1);
    let rows: Vec<usize> = (0..x.rows()).step_by(step).collect();
    x.select_rows(&rows)
}
