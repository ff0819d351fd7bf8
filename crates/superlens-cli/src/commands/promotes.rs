//! `superlens promotes`: which tokens neurons, latents and directions speak for and against.

use std::io::{self, Write};

use serde_json::{Value, json};
use superlens::sae::files::Loaded;
use superlens_lm::model::{Config, Site};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::changes::warn_of_other_hook;
use super::eval::dictionary;
use super::likeliest::likeliest;
use super::model_files::Model;
use super::prompt::Spelling;
use super::table;
use crate::args::{Global, Promotes};
use crate::failure::Failure;
use crate::progress::Progress;

/// Tokens and what is added to their logits.
struct Effect {
    what: String,
    promoted: Vec<(usize, f64)>,
    suppressed: Vec<(usize, f64)>,
}

pub fn run(args: &Promotes, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let model = Model::open(&args.model.model)?;
    let spelling = Spelling::open(&model, &args.model, false)?;
    let config = &model.transformer.config;
    let site = Site::parse(&args.hook, config).map_err(|what| Failure::Input(format!("--hook: {what}")))?;
    let (names, rows) = directions(args, site, config)?;
    let told = |what: String| Failure::Input(format!("--hook: {what}"));
    let written = model.transformer.written(site, &rows).map_err(told)?;
    let logits = model.transformer.promoted(&written).map_err(told)?;
    drop(progress);
    let mut out = io::stdout().lock();
    let one = |(i, what): (usize, String)| {
        let up: Vec<f64> = logits.row(i).iter().map(|&x| f64::from(x)).collect();
        let down: Vec<f64> = up.iter().map(|x| -x).collect();
        let of = |order: Vec<usize>| order.into_iter().map(|id| (id, up[id])).collect();
        Effect { what, promoted: of(likeliest(&up, args.top)), suppressed: of(likeliest(&down, args.top)) }
    };
    let all: Vec<Effect> = names.into_iter().enumerate().map(one).collect();
    if global.json {
        let shown = |list: &[(usize, f64)]| -> Vec<Value> {
            list.iter().map(|&(id, x)| json!({"token": spelling.text(id as u32), "id": id, "logit": x})).collect()
        };
        let one =
            |e: &Effect| json!({"what": e.what, "promoted": shown(&e.promoted), "suppressed": shown(&e.suppressed)});
        serde_json::to_writer_pretty(&mut out, &all.iter().map(one).collect::<Vec<_>>()).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    for Effect { what, promoted, suppressed } in &all {
        writeln!(out, "{what}:")?;
        let head = ["promoted", "", "suppressed", ""].map(String::from);
        let cell = |&(id, x): &(usize, f64)| [spelling.quoted(id as u32), format!("{x:+.3}")];
        let row = |(up, down)| {
            let ([a, b], [c, d]) = (cell(up), cell(down));
            [a, b, c, d]
        };
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(promoted.iter().zip(suppressed).map(row)).collect();
        for line in table::lines(&rows) {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(out.flush()?)
}

/// What is asked about, by name, as directions of the site's activations.
fn directions(args: &Promotes, site: Site, config: &Config) -> Result<(Vec<String>, Mat), Failure> {
    let Some(width) = site.width(config) else {
        return Err(Failure::Input(format!("--hook: {site} has no row for each token")));
    };
    let below = |flag: &str, list: &[usize], most: usize| match list.iter().find(|&&j| j >= most) {
        Some(j) => Err(Failure::Input(format!("{flag}: expected 0 to {}, found {j}", most - 1))),
        None => Ok(()),
    };
    if let Some(path) = &args.direction {
        let options = ReadOptions { key: args.key.clone(), flatten: false };
        let mat = read_directions(path, &options).map_err(Failure::input)?.mat;
        if mat.cols() != width {
            let what = format!("has {} columns, but {site} has {width}", mat.cols());
            return Err(Failure::Input(format!("--direction {}: {what}", path.display())));
        }
        if let Some(i) = (0..mat.rows()).find(|&i| mat.row(i).iter().all(|&x| x == 0.0)) {
            let what = format!("row {i} has no direction: it is all zero; leave it out");
            return Err(Failure::Input(format!("--direction {}: {what}", path.display())));
        }
        return Ok(((0..mat.rows()).map(|i| format!("row {i}")).collect(), mat));
    }
    if let (Some(path), false) = (&args.sae, args.latents.is_empty()) {
        // Latents write where the dictionary rebuilds, which for a transcoder is not where it reads.
        let Loaded { sae, mut metadata } = dictionary(path)?;
        if sae.d_out() != width {
            let what = format!("rebuilds activations of width {}, but {site} has {width}", sae.d_out());
            return Err(Failure::Input(format!("--sae {}: {what}", path.display())));
        }
        if let Some(rebuilt) = metadata.get("hook_name_out").cloned() {
            metadata.insert("hook_name".into(), rebuilt);
        }
        warn_of_other_hook(path, &metadata, &[site]);
        below("--latents", &args.latents, sae.d_sae())?;
        let names = args.latents.iter().map(|j| format!("latent {j}")).collect();
        return Ok((names, sae.w_dec.select_rows(&args.latents)));
    }
    below("--columns", &args.columns, width)?;
    let names = args.columns.iter().map(|j| format!("column {j}")).collect();
    Ok((names, Mat::from_fn(args.columns.len(), width, |i, j| if args.columns[i] == j { 1.0 } else { 0.0 })))
}
