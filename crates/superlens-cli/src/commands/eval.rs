//! `superlens eval`: what a dictionary is worth on activations.

use std::io::{self, Write};
use std::path::Path;

use superlens::sae::synthetic::{Stream, Synthetic};
use superlens::sae::{Encoder, Latents, Sae, files, metrics};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, is_csr, read_csr, read_directions, read_matrix};

use super::synth::{AT_ONCE, named};
use crate::args::{Eval, Global};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Eval, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let inside = args.sae.join("sae");
    let dir = if inside.is_dir() { &inside } else { &args.sae };
    let files::Loaded { sae, metadata } = files::read(dir, None).map_err(Failure::input)?;
    let rows = match &args.synthetic {
        Some(id) => Measured::model(id, args, global.seed, &sae, &progress)?,
        None => Measured::files(args, &sae, &metadata)?,
    };
    let truth = rows.truth();
    let mut detector =
        truth.filter(|_| rows.knows_activations()).map(|truth| metrics::Detector::new(truth, &sae.w_dec));
    let mut evaluation = metrics::Evaluation::new(&sae, rows.mean());
    let mut true_active = 0;
    rows.each(|share, Piece { x, y, on }| {
        progress.at(0.2 + 0.6 * share, "measuring");
        true_active += on.map_or(0, Latents::nnz);
        evaluation.add(x, y, &mut |first, latents| {
            if let (Some(detector), Some(on)) = (&mut detector, on) {
                detector.add(latents, on, first);
            }
        });
    });
    let m = evaluation.finish();
    let mut document = numbers(&sae, &m);
    // A crosscoder's files say how many layers lie side by side.
    let layers = metadata.get("layers").and_then(serde_json::Value::as_u64).unwrap_or(1) as usize;
    if let Measured::Files { x, .. } = &rows
        && layers > 1
        && sae.d_out().is_multiple_of(layers)
    {
        document["fvu_of_layers"] = metrics::fvu_of_parts(&sae, x, layers).into();
    }
    if let Some(truth) = truth {
        progress.at(0.8, "comparing");
        document["mmcs"] = metrics::mmcs(truth, &sae.w_dec).into();
        document["mcc"] = metrics::mcc(truth, &sae.w_dec).into();
        document["uniqueness"] = metrics::uniqueness(truth, &sae.w_dec, &m.density).into();
        document["uniqueness_of_all"] = metrics::uniqueness_of_all(truth, &sae.w_dec).into();
    }
    if let Some(detector) = &detector {
        let told = detector.finish();
        document["true_l0"] = (true_active as f64 / m.rows as f64).into();
        document["f1"] = told.f1.into();
        document["precision"] = told.precision.into();
        document["recall"] = told.recall.into();
    }
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if let Some(entries) = document.as_object() {
        let widest = entries.keys().map(String::len).max().unwrap_or(0);
        for (key, value) in entries {
            if value.is_array() {
                continue;
            }
            let value = value.as_f64().map_or_else(|| "–".to_string(), superlens::report::words::number);
            writeln!(out, "{key:widest$}  {value}")?;
        }
        writeln!(out, "\nThe best reconstruction is often not the best dictionary.")?;
    }
    Ok(out.flush()?)
}

fn numbers(sae: &Sae, m: &metrics::Metrics) -> serde_json::Value {
    let latents = m.density.len().max(1) as f64;
    let over = |least: f64| m.density.iter().filter(|d| **d > least).count() as f64 / latents;
    let all: f64 = m.density.iter().sum();
    let normalised = |least: f64| m.density.iter().filter(|d| **d > least).sum::<f64>() / all;
    let mut document = serde_json::json!({
        "rows": m.rows, "d_in": sae.d_in(), "d_sae": sae.d_sae(),
        "fvu": m.fvu, "explained_variance": 1.0 - m.fvu, "explained_variance_legacy": m.explained_variance_legacy,
        "mse": m.mse, "mse_per_dim": m.mse / sae.d_out() as f64, "l0": m.l0, "l1": m.l1, "cossim": m.cossim,
        "gamma": m.shrinkage, "l2_ratio": m.l2_ratio, "dead": m.dead, "dead_fraction": m.dead as f64 / latents,
        "freq_over_1_percent": over(0.01), "freq_over_10_percent": over(0.1),
        "normalized_freq_over_1_percent": normalised(0.01), "normalized_freq_over_10_percent": normalised(0.1),
        "max_decoder_cosine": metrics::mean_max_cosine(&sae.w_dec), "psi": m.psi,
        "density_histogram": histogram(m),
    });
    if let Encoder::Linear { w_enc, .. } = &sae.encoder {
        document["max_encoder_cosine"] = metrics::mean_max_cosine(&w_enc.transposed()).into();
    }
    document
}

/// How many latents are on in what share of the rows, in decades: `[low, high, latents]` with low and high the powers of ten; those
/// never on are `dead`.
fn histogram(m: &metrics::Metrics) -> serde_json::Value {
    let decades = (m.rows.max(1) as f64).log10().ceil() as i32;
    let within = |d: i32| {
        let (low, high) = (10f64.powi(d), if d == -1 { f64::INFINITY } else { 10f64.powi(d + 1) });
        m.density.iter().filter(|f| (low..high).contains(*f)).count()
    };
    (-decades.max(1)..0).map(|d| serde_json::json!([d, d + 1, within(d)])).collect()
}

/// Some rows, what they are to become, and what is truly on in them if that is known.
struct Piece<'a> {
    x: &'a Mat,
    y: &'a Mat,
    on: Option<&'a Latents>,
}

type Metadata = serde_json::Map<String, serde_json::Value>;

/// What is measured on.
enum Measured {
    Files { x: Mat, y: Option<Mat>, truth: Option<Mat>, on: Option<Latents> },
    Model { model: Box<Synthetic>, seed: u64, rows: u64 },
}

impl Measured {
    fn model(id: &str, args: &Eval, seed: u64, sae: &Sae, progress: &Progress) -> Result<Measured, Failure> {
        let preset = named("--synthetic", id)?;
        check_width("--synthetic", Path::new(id), preset.dims, sae.d_in())?;
        check_width("--synthetic", Path::new(id), preset.dims, sae.d_out())?;
        let model = Synthetic::new(preset, &mut |share| progress.at(0.2 * share, "pushing directions apart"));
        Ok(Measured::Model { model: Box::new(model), seed, rows: args.rows })
    }

    fn files(args: &Eval, sae: &Sae, metadata: &Metadata) -> Result<Measured, Failure> {
        let Some(file) = &args.activations else {
            return Err(Failure::Input("--activations: expected a file, found nothing".into()));
        };
        let options = ReadOptions { key: args.key.clone(), flatten: args.flatten };
        let x = read_matrix(file, &options).map_err(Failure::input)?.mat;
        check_width("--activations", file, x.cols(), sae.d_in())?;
        let y = targets(args, sae, metadata, x.rows())?;
        let Some(file) = &args.truth else { return Ok(Measured::Files { x, y, truth: None, on: None }) };
        let truth = read(file)?;
        check_width("--truth", file, truth.cols(), sae.d_out())?;
        let on = args.truth_acts.as_deref().map(read_sparse).transpose()?;
        if let (Some(on), Some(file)) = (&on, &args.truth_acts)
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
        Ok(Measured::Files { x, y, truth: Some(truth), on })
    }

    fn truth(&self) -> Option<&Mat> {
        match self {
            Measured::Files { truth, .. } => truth.as_ref(),
            Measured::Model { model, .. } => Some(&model.directions),
        }
    }

    fn knows_activations(&self) -> bool {
        !matches!(self, Measured::Files { on: None, .. })
    }

    /// The mean of all rows that are to be rebuilt, for which a model draws them once more.
    fn mean(&self) -> Vec<f64> {
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
    fn each(&self, mut visit: impl FnMut(f64, Piece)) {
        match self {
            Measured::Files { x, y, on, .. } => visit(0.0, Piece { x, y: y.as_ref().unwrap_or(x), on: on.as_ref() }),
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
    if is_csr(file) {
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
fn targets(args: &Eval, sae: &Sae, metadata: &Metadata, rows: usize) -> Result<Option<Mat>, Failure> {
    let said = metadata.get("transcode").and_then(serde_json::Value::as_bool).unwrap_or(false);
    let transcodes = said || sae.d_in() != sae.d_out();
    let Some(file) = &args.targets else {
        return match transcodes {
            true => Err(Failure::Input(format!(
                "{}: a transcoder; give --targets with what it is to rebuild, rows of {}",
                args.sae.display(),
                sae.d_out()
            ))),
            false => Ok(None),
        };
    };
    let y = read_matrix(file, &ReadOptions { key: None, flatten: args.flatten }).map_err(Failure::input)?.mat;
    check_width("--targets", file, y.cols(), sae.d_out())?;
    if y.rows() == rows {
        return Ok(Some(y));
    }
    let found = y.rows();
    Err(Failure::Input(format!(
        "--targets {}: expected {rows} rows, as the activations have, found {found}",
        file.display()
    )))
}

fn read(file: &Path) -> Result<Mat, Failure> {
    Ok(read_directions(file, &ReadOptions::default()).map_err(Failure::input)?.mat)
}

fn check_width(flag: &str, file: &Path, found: usize, expected: usize) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{flag} {}: expected rows of {expected}, as the dictionary has, found rows of {found}",
        file.display()
    )))
}
