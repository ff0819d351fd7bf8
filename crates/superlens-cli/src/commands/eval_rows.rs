//! The rows that `superlens eval` measures on: a matrix, a store, or fresh rows of a synthetic model.

use std::path::{Path, PathBuf};

use superlens::sae::synthetic::{Stream, Synthetic};
use superlens::sae::{Latents, Sae};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, is_sparse, read_csr, read_directions};

use super::side_by_side::{SideBySide, Stores};
use super::synth::{AT_ONCE, named};
use super::train_rows::targets;
use crate::args::Eval;
use crate::failure::Failure;
use crate::progress::Progress;

/// Some rows, what they are to become, and what is truly on in them if that is known.
pub struct Piece<'a> {
    pub x: &'a Mat,
    pub y: &'a Mat,
    pub on: Option<&'a Latents>,
}

/// Rows of a synthetic model, where it is not said how many.
const ROWS: u64 = 500_000;

pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// What is measured on.
pub enum Measured {
    Files { x: Mat, y: Option<Mat>, truth: Option<Mat>, on: Option<Latents> },
    Store { rows: Stores, y: Option<Stores>, truth: Option<Mat> },
    Model { model: Box<Synthetic>, seed: u64, rows: u64 },
}

impl Measured {
    pub fn model(id: &str, args: &Eval, seed: u64, sae: &Sae, progress: &Progress) -> Result<Measured, Failure> {
        let preset = named("--synthetic", id)?;
        check_width("--synthetic", Path::new(id), preset.dims, sae.d_in())?;
        check_width("--synthetic", Path::new(id), preset.dims, sae.d_out())?;
        let model = Synthetic::new(preset, &mut |share| progress.at(0.2 * share, "pushing directions apart"));
        Ok(Measured::Model { model: Box::new(model), seed, rows: args.rows.unwrap_or(ROWS) })
    }

    /// Rows that are here already, and what is to be made of them where that is something else.
    pub fn matrix((x, y): (Mat, Option<Mat>), args: &Eval, sae: &Sae) -> Result<Measured, Failure> {
        Ok(Measured::Files { x, y, truth: true_directions(args, sae)?, on: None })
    }

    pub fn files(args: &Eval, sae: &Sae, metadata: &Metadata) -> Result<Measured, Failure> {
        let Some(file) = &args.activations else {
            return Err(Failure::Input("--activations: expected a file, found nothing".into()));
        };
        let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
        let x = SideBySide::open("--activations", &file.to_string_lossy(), &options, args.part.hook.as_deref())?;
        check_width("--activations", file, x.shape().1, sae.d_in())?;
        let y = to_rebuild(args, sae, metadata, &x)?;
        let truth = true_directions(args, sae)?;
        let x = match x {
            SideBySide::Matrix { mat, .. } => mat,
            SideBySide::Stores(rows) => {
                if let Some(file) = &args.truth_acts {
                    let file = file.display();
                    return Err(Failure::Input(format!(
                        "--truth-acts {file}: goes with a matrix, but --activations is a store"
                    )));
                }
                let y = y.and_then(|y| if let SideBySide::Stores(y) = y { Some(y) } else { None });
                return Ok(Measured::Store { rows, y, truth });
            }
        };
        let y = y.and_then(|y| if let SideBySide::Matrix { mat, .. } = y { Some(mat) } else { None });
        let on = args.truth_acts.as_deref().map(read_sparse).transpose()?;
        if let (Some(on), Some(file), Some(truth)) = (&on, &args.truth_acts, &truth)
            && (on.rows(), on.cols()) != (x.rows(), truth.rows())
        {
            return Err(Failure::Input(format!(
                "--truth-acts {}: expected {} rows of {}, found {} of {}",
                file.display(),
                x.rows(),
                truth.rows(),
                on.rows(),
                on.cols()
            )));
        }
        Ok(Measured::Files { x, y, truth, on })
    }

    /// Rows in all.
    pub fn len(&self) -> usize {
        match self {
            Measured::Files { x, .. } => x.rows(),
            Measured::Store { rows, .. } => rows.len(),
            Measured::Model { rows, .. } => *rows as usize,
        }
    }

    pub fn truth(&self) -> Option<&Mat> {
        match self {
            Measured::Files { truth, .. } | Measured::Store { truth, .. } => truth.as_ref(),
            Measured::Model { model, .. } => Some(&model.directions),
        }
    }

    pub fn knows_activations(&self) -> bool {
        !matches!(self, Measured::Files { on: None, .. } | Measured::Store { .. })
    }

    /// The mean of all rows that are to be rebuilt, for which a model draws them once more.
    pub fn mean(&self) -> Vec<f64> {
        let mut sums: Vec<f64> = Vec::new();
        let mut rows = 0;
        self.each(|_, Piece { y, .. }| {
            sums.resize(y.cols(), 0.0);
            rows += y.rows();
            (0..y.rows()).for_each(|i| sums.iter_mut().zip(y.row(i)).for_each(|(s, &v)| *s += f64::from(v)));
        });
        sums.iter().map(|s| s / rows.max(1) as f64).collect()
    }

    /// Piece by piece, with the share that is done.
    pub fn each(&self, mut visit: impl FnMut(f64, Piece)) {
        match self {
            Measured::Files { x, y, on, .. } => visit(0.0, Piece { x, y: y.as_ref().unwrap_or(x), on: on.as_ref() }),
            Measured::Store { rows, y, .. } => {
                let len = rows.len() as u64;
                for first in (0..len).step_by(AT_ONCE as usize) {
                    let range = first..len.min(first + AT_ONCE);
                    let (x, y) = (rows.range(range.clone()), y.as_ref().map(|y| y.range(range)));
                    visit(first as f64 / len as f64, Piece { x: &x, y: y.as_ref().unwrap_or(&x), on: None });
                }
            }
            Measured::Model { model, seed, rows } => {
                for first in (0..*rows).step_by(AT_ONCE as usize) {
                    let on = model.activations(*seed, Stream::HeldOut, first..(first + AT_ONCE).min(*rows));
                    let x = model.rows(&on);
                    visit(first as f64 / *rows as f64, Piece { x: &x, y: &x, on: Some(&on) });
                }
            }
        }
    }
}

/// A sparse matrix, or a dense one of which what is not zero is kept.
fn read_sparse(file: &Path) -> Result<Latents, Failure> {
    if is_sparse(file) {
        return read_csr(file).map_err(Failure::input);
    }
    let dense = read(file)?;
    let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for i in 0..dense.rows() {
        for (j, &v) in dense.row(i).iter().enumerate().filter(|(_, v)| **v != 0.0) {
            indices.push(j as u32);
            values.push(v);
        }
        offsets.push(indices.len());
    }
    Ok(Latents::new(dense.cols(), offsets, indices, values))
}

/// What a transcoder is to rebuild. Files say of a dictionary that it is one, or its widths or a linear path show it.
fn to_rebuild(args: &Eval, sae: &Sae, metadata: &Metadata, x: &SideBySide) -> Result<Option<SideBySide>, Failure> {
    let said = metadata.get("transcode").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
    let activations = path(&args.activations).unwrap_or_default();
    let named = path(&args.targets);
    match targets(&activations, &named, &args.targets_hook, args.part.flatten, x)? {
        None if said || sae.d_in() != sae.d_out() => Err(Failure::Input(format!(
            "{}: a transcoder; give --targets with what it is to rebuild, rows of {}",
            args.sae.display(),
            sae.d_out()
        ))),
        None => Ok(None),
        Some(y) => {
            let file = named.or(args.targets_hook.clone()).unwrap_or_default();
            check_width("--targets", Path::new(&file), y.shape().1, sae.d_out())?;
            Ok(Some(y))
        }
    }
}

fn read(file: &Path) -> Result<Mat, Failure> {
    Ok(read_directions(file, &ReadOptions::default()).map_err(Failure::input)?.mat)
}

pub fn check_width(flag: &str, file: &Path, found: usize, expected: usize) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{flag} {}: expected rows of {expected}, as the dictionary has, found rows of {found}",
        file.display()
    )))
}

fn true_directions(args: &Eval, sae: &Sae) -> Result<Option<Mat>, Failure> {
    let Some(file) = &args.truth else { return Ok(None) };
    let truth = read(file)?;
    check_width("--truth", file, truth.cols(), sae.d_out())?;
    Ok(Some(truth))
}
