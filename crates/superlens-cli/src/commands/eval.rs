//! `superlens eval`: what a dictionary is worth on activations.

use std::io::{self, Write};
use std::path::Path;

use superlens::sae::Sae;
use superlens::sae::files;
use superlens::sae::metrics;
use superlens_lm::store::Rows;
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::activations::{Activations, not_finite};
use crate::args::{Eval, Global};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Eval, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let inside = args.sae.join("sae");
    let dir = if inside.is_dir() { &inside } else { &args.sae };
    let sae = files::read(dir, None).map_err(Failure::input)?.sae;
    let options = ReadOptions { key: args.key.clone(), flatten: args.flatten };
    let x = Activations::open(&args.activations, &options, args.hook.as_deref())?;
    check_width("--activations", &args.activations, x.shape().1, sae.d_in())?;
    progress.at(0.1, "measuring");
    let m = match &x {
        Activations::Matrix(loaded) => metrics::evaluate(&sae, &loaded.mat),
        Activations::Store(rows) => piece_by_piece(&sae, rows, &progress)?,
    };
    let (dense, half) = (m.density.iter(), m.density.len().max(1) as f64);
    let mut document = serde_json::json!({
        "rows": m.rows, "d_in": sae.d_in(), "d_sae": sae.d_sae(),
        "fvu": m.fvu, "explained_variance": 1.0 - m.fvu, "explained_variance_legacy": m.explained_variance_legacy,
        "mse": m.mse, "mse_per_dim": m.mse / sae.d_out() as f64, "l0": m.l0, "l1": m.l1, "cossim": m.cossim,
        "gamma": m.shrinkage, "l2_ratio": m.l2_ratio, "dead": m.dead, "dead_fraction": m.dead as f64 / half,
        "freq_over_1_percent": dense.clone().filter(|d| **d > 0.01).count() as f64 / half,
        "freq_over_10_percent": dense.filter(|d| **d > 0.1).count() as f64 / half,
        "max_decoder_cosine": metrics::mean_max_cosine(&sae.w_dec), "psi": m.psi,
    });
    if let Some(file) = &args.truth {
        progress.at(0.7, "comparing");
        let truth = read(file)?;
        check_width("--truth", file, truth.cols(), sae.d_out())?;
        document["mmcs"] = metrics::mmcs(&truth, &sae.w_dec).into();
        document["mcc"] = metrics::mcc(&truth, &sae.w_dec).into();
        document["uniqueness"] = metrics::uniqueness(&truth, &sae.w_dec, &m.density).into();
        if let Some(file) = &args.truth_acts {
            let Activations::Matrix(x) = &x else {
                return Err(Failure::Input(
                    "--truth-acts: goes with a matrix; the rows of a store are not in memory".into(),
                ));
            };
            let (x, acts) = (&x.mat, read(file)?);
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
            let told = metrics::detection(&sae, x, &truth, &acts);
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

/// All rows of a store, a block at a time: once for their mean, once for the rest.
fn piece_by_piece(sae: &Sae, rows: &Rows, progress: &Progress) -> Result<metrics::Metrics, Failure> {
    const BLOCK: u64 = 8192;
    let blocks = || (0..rows.len()).step_by(BLOCK as usize).map(|first| first..rows.len().min(first + BLOCK));
    let mut mean = vec![0.0; rows.width()];
    for block in blocks() {
        let x = rows.range(block);
        (0..x.rows()).for_each(|i| mean.iter_mut().zip(x.row(i)).for_each(|(m, &v)| *m += f64::from(v)));
    }
    mean.iter_mut().for_each(|m| *m /= rows.len() as f64);
    if !mean.iter().all(|m| m.is_finite()) {
        return Err(not_finite(rows));
    }
    let mut evaluation = metrics::Evaluation::new(sae, mean);
    for block in blocks() {
        progress.at(0.1 + 0.6 * block.start as f64 / rows.len() as f64, "measuring");
        evaluation.add(&rows.range(block), &mut |_, _| {});
    }
    Ok(evaluation.finish())
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
