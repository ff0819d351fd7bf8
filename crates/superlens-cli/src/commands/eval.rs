//! `superlens eval`: what a dictionary is worth on activations.

use std::io::{self, Write};
use std::path::Path;

use superlens::sae::files;
use superlens::sae::{Sae, metrics};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, read_directions, read_matrix};

use crate::args::{Eval, Global};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Eval, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let inside = args.sae.join("sae");
    let dir = if inside.is_dir() { &inside } else { &args.sae };
    let files::Loaded { sae, metadata } = files::read(dir, None).map_err(Failure::input)?;
    let options = ReadOptions { key: args.key.clone(), flatten: args.flatten };
    let x = read_matrix(&args.activations, &options).map_err(Failure::input)?.mat;
    check_width("--activations", &args.activations, x.cols(), sae.d_in())?;
    let targets = targets(args, &sae, &metadata, x.rows())?;
    progress.at(0.1, "measuring");
    let m = metrics::evaluate_against(&sae, &x, targets.as_ref().unwrap_or(&x));
    let (dense, half) = (m.density.iter(), m.density.len().max(1) as f64);
    let mut document = serde_json::json!({
        "rows": m.rows, "d_in": sae.d_in(), "d_sae": sae.d_sae(),
        "fvu": m.fvu, "explained_variance": 1.0 - m.fvu, "explained_variance_legacy": m.explained_variance_legacy,
        "mse": m.mse, "mse_per_dim": m.mse / sae.d_out() as f64, "l0": m.l0, "l1": m.l1, "cossim": m.cossim,
        "gamma": m.shrinkage, "l2_ratio": m.l2_ratio, "dead": m.dead, "dead_fraction": m.dead as f64 / half,
        "freq_over_1_percent": dense.clone().filter(|d| **d > 0.01).count() as f64 / half,
        "freq_over_10_percent": dense.filter(|d| **d > 0.1).count() as f64 / half,
        "max_decoder_cosine": metrics::mean_max_cosine(&sae.w_dec), "psi": metrics::effective_features(&sae, &x),
    });
    // A crosscoder's files say how many layers lie side by side.
    let layers = metadata.get("layers").and_then(serde_json::Value::as_u64).unwrap_or(1) as usize;
    if layers > 1 && sae.d_out().is_multiple_of(layers) {
        document["fvu_of_layers"] = metrics::fvu_of_parts(&sae, &x, layers).into();
    }
    if let Some(file) = &args.truth {
        progress.at(0.7, "comparing");
        let truth = read(file)?;
        check_width("--truth", file, truth.cols(), sae.d_out())?;
        document["mmcs"] = metrics::mmcs(&truth, &sae.w_dec).into();
        document["mcc"] = metrics::mcc(&truth, &sae.w_dec).into();
        document["uniqueness"] = metrics::uniqueness(&truth, &sae.w_dec, &m.density).into();
        if let Some(file) = &args.truth_acts {
            let acts = read(file)?;
            if acts.shape() != (x.rows(), truth.rows()) {
                return Err(Failure::Input(format!(
                    "--truth-acts {}: expected {} rows of {}, found {} of {}",
                    file.display(),
                    x.rows(),
                    truth.rows(),
                    acts.rows(),
                    acts.cols()
                )));
            }
            let told = metrics::detection(&sae, &x, &truth, &acts);
            document["f1"] = told.f1.into();
            document["precision"] = told.precision.into();
            document["recall"] = told.recall.into();
        }
    }
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else if let Some(entries) = document.as_object() {
        let widest = entries.keys().map(String::len).max().unwrap_or(0);
        for (key, value) in entries {
            let value = value.as_f64().map_or_else(|| "–".to_string(), superlens::report::words::number);
            writeln!(out, "{key:widest$}  {value}")?;
        }
        writeln!(out, "\nThe best reconstruction is often not the best dictionary.")?;
    }
    Ok(out.flush()?)
}

/// What a transcoder is to rebuild. Files say of a dictionary that it is one, or its widths or a linear path show it.
fn targets(
    args: &Eval,
    sae: &Sae,
    metadata: &serde_json::Map<String, serde_json::Value>,
    rows: usize,
) -> Result<Option<Mat>, Failure> {
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
