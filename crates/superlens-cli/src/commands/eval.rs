//! `superlens eval`: what a dictionary is worth on activations.

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use superlens::geometry::coherence::Capacity;
use superlens::sae::{Encoder, Latents, Recovered, Sae, files, metrics, saebench};
use superlens_tensor::io::write_atomic;

use super::activations::not_finite;
use super::eval_compare::{self, Other};
use super::eval_model::{self, Spliced};
use super::eval_rows::{Measured, Metadata, Piece};
use crate::args::{Eval, Global};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Eval, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let files::Loaded { sae, metadata } = dictionary(&args.sae)?;
    let other = args.compare.as_deref().map(|path| Other::read(path, &sae)).transpose()?;
    if let Some(file) = args.saebench.as_deref().filter(|file| file.exists()) {
        return Err(Failure::Input(format!("--saebench {}: expected a new file, found one", file.display())));
    }
    if let (Some(rows), None) = (args.rows, &args.synthetic) {
        return Err(Failure::Input(format!(
            "--rows {rows}: goes with --synthetic; of other activations all rows are measured on"
        )));
    }
    if args.model.is_none() && !args.sample.texts.text.is_empty() {
        return Err(Failure::Input("--text: goes with --model, which runs it; name the model".into()));
    }
    let spliced = args.model.as_ref().map(|files| Spliced::open(files, args, &sae, &metadata)).transpose()?;
    let rows = match (&args.synthetic, &spliced) {
        (Some(id), _) => Measured::model(id, args, global.seed, &sae, &progress)?,
        (None, Some(spliced)) if args.activations.is_none() => Measured::matrix(spliced.activations(), args, &sae)?,
        _ => Measured::files(args, &sae, &metadata)?,
    };
    let window_from = window(args, rows.len())?;
    let truth = rows.truth();
    let mut detector =
        truth.filter(|_| rows.knows_activations()).map(|truth| metrics::Detector::new(truth, &sae.w_dec));
    let mean = rows.mean();
    if let Measured::Store { rows, .. } = &rows
        && !mean.iter().all(|m| m.is_finite())
    {
        return Err(not_finite(&rows.hooks[0]));
    }
    let mut evaluation = metrics::Evaluation::new(&sae, mean.clone()).with_window(window_from);
    // A crosscoder's files say how many layers lie side by side.
    let layers = layers(&args.sae, &sae, &metadata)?;
    let crosses = layers > 1;
    let mut parts = crosses.then(|| metrics::FvuOfParts::new(&sae, mean.clone(), layers));
    let mut true_active = 0;
    rows.each(|share, Piece { x, y, on }| {
        progress.at(0.2 + 0.5 * share, "measuring");
        true_active += on.map_or(0, Latents::nnz);
        if let Some(parts) = &mut parts {
            parts.add(x);
        }
        evaluation.add(x, y, &mut |first, latents| {
            if let (Some(detector), Some(on)) = (&mut detector, on) {
                detector.add(latents, on, first);
            }
        });
    });
    let late = evaluation.window();
    let m = evaluation.finish();
    let mut document = numbers(&sae, &m);
    if let (Some(window), Some(late)) = (args.window, late) {
        document["window"] = window.into();
        document["dead_in_window"] = late.dead.into();
        document["dense_in_window"] = late.dense.into();
    }
    if let Some(parts) = parts {
        document["fvu_of_layers"] = parts.finish().into();
    }
    if let Some(truth) = truth {
        progress.at(0.7, "comparing");
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
    if let Some(other) = &other {
        document["compare"] = eval_compare::document(&sae, other, &rows, mean, global.seed, &progress)?;
    }
    let recovered = spliced.map(|spliced| spliced.recovered(&sae, &progress));
    if let Some(recovered) = &recovered {
        eval_model::tell(&mut document, recovered);
    }
    if let Some(file) = &args.saebench {
        write_saebench(file, args, &sae, &m, &metadata, recovered.as_ref())?;
    }
    drop(progress);
    print(&document, global)
}

/// From a folder or a file of any format, or a run folder.
pub fn dictionary(path: &Path) -> Result<files::Loaded, Failure> {
    let inside = path.join("sae");
    if !inside.is_dir() && path.join("config.toml").exists() && path.join("checkpoints").is_dir() {
        let path = path.display();
        return Err(Failure::Input(format!(
            "{path}: is a run that has not ended; superlens train --resume {path} ends it"
        )));
    }
    files::read(if inside.is_dir() { &inside } else { path }, None).map_err(Failure::input)
}

/// How many layers lie side by side in a row: several for a crosscoder.
fn layers(path: &Path, sae: &Sae, metadata: &Metadata) -> Result<usize, Failure> {
    let Some(said) = metadata.get("layers") else { return Ok(1) };
    let layers = said.as_u64().and_then(|n| usize::try_from(n).ok());
    let fits = |n: usize| n >= 1 && sae.d_in() == sae.d_out() && sae.d_out().is_multiple_of(n) && n < sae.d_out();
    layers.filter(|n| fits(*n)).ok_or_else(|| {
        let (path, d) = (path.display(), sae.d_out());
        Failure::Input(format!(
            "{path}: key `layers`: expected a number of layers that share {d} columns, found {said}"
        ))
    })
}

/// The first row of the window.
fn window(args: &Eval, rows: usize) -> Result<usize, Failure> {
    match args.window {
        None => Ok(rows),
        Some(window) if (1..=rows).contains(&window) => Ok(rows - window),
        Some(window) => Err(Failure::Input(format!("--window: expected 1 to {rows} rows, found {window}"))),
    }
}

fn write_saebench(
    file: &Path,
    args: &Eval,
    sae: &Sae,
    m: &metrics::Metrics,
    metadata: &Metadata,
    recovered: Option<&Recovered>,
) -> Result<(), Failure> {
    let named = args.activations.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let dataset = named.or_else(|| args.synthetic.clone()).unwrap_or_default();
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let document = saebench::core(sae, m, &saebench::About { metadata, dataset: &dataset, recovered, millis });
    let text = serde_json::to_vec_pretty(&document).map_err(io::Error::from)?;
    let told = |e| Failure::Other(anyhow::Error::msg(format!("--saebench {}: can't be written: {e}", file.display())));
    write_atomic(file, &text).map_err(told)
}

fn print(document: &Value, global: Global) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if let Some(entries) = document.as_object() {
        let single = || entries.iter().filter(|(_, value)| !value.is_array() && !value.is_object());
        let widest = single().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in single() {
            let value = value.as_f64().map_or_else(|| "–".to_string(), superlens::report::words::number);
            writeln!(out, "{key:widest$}  {value}")?;
        }
        if let Some(compared) = entries.get("compare") {
            writeln!(out, "\n{}", eval_compare::summary(compared))?;
        }
        writeln!(out, "\nThe best reconstruction is often not the best dictionary.")?;
    }
    Ok(out.flush()?)
}

fn numbers(sae: &Sae, m: &metrics::Metrics) -> Value {
    let latents = m.density.len().max(1) as f64;
    let nearest = metrics::nearest_within(&sae.w_dec);
    let coherence = nearest.iter().map(|n| n.absolute).fold(f64::NAN, f64::max);
    let mean_max = nearest.iter().map(|n| n.absolute).sum::<f64>() / nearest.len() as f64;
    let (coherence, mean_max) = if nearest.len() < 2 { (f64::NAN, f64::NAN) } else { (coherence, mean_max) };
    let capacity = Capacity::of(&sae.w_dec);
    let mut document = json!({
        "rows": m.rows, "d_in": sae.d_in(), "d_sae": sae.d_sae(),
        "fvu": m.fvu, "explained_variance": 1.0 - m.fvu, "explained_variance_legacy": m.explained_variance_legacy,
        "mse": m.mse, "mse_per_dim": m.mse / sae.d_out() as f64, "l0": m.l0, "l1": m.l1, "cossim": m.cossim,
        "gamma": m.shrinkage, "l2_ratio": m.l2_ratio, "l2_norm_in": m.l2_norm_in, "l2_norm_out": m.l2_norm_out,
        "dead": m.dead, "dead_fraction": m.dead as f64 / latents,
        "dense": m.density.iter().filter(|d| **d > metrics::DENSE).count(),
        "freq_over_1_percent": m.denser(0.01), "freq_over_10_percent": m.denser(0.1),
        "normalized_freq_over_1_percent": m.of_denser(0.01), "normalized_freq_over_10_percent": m.of_denser(0.1),
        "max_decoder_cosine": mean_max, "decoder_coherence": coherence,
        "capacity": capacity.map(|c| c.sum), "decoder_rank": capacity.map(|c| c.rank),
        "capacity_share": capacity.map(|c| c.sum / c.rank as f64), "psi": m.psi,
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
