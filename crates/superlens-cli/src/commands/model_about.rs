//! `superlens model`: what a model's folder holds.

use std::io::{self, Write};

use superlens_lm::model::alignment::{Alignment, of_weights};
use superlens_lm::model::{Config, Site};

use super::model_files::Model;
use super::{harvest_onnx, table};
use crate::args::{Global, ModelAbout};
use crate::failure::Failure;

pub fn run(args: &ModelAbout, global: Global) -> Result<(), Failure> {
    if args.dir.extension().is_some_and(|e| e == "onnx") {
        if let Some(file) = &args.tokenizer {
            let what = "a graph of ONNX has no tokens; leave it out";
            return Err(Failure::Input(format!("--tokenizer {}: {what}", file.display())));
        }
        return harvest_onnx::about(&args.dir, global);
    }
    let model = Model::open(&args.dir)?;
    let config = &model.transformer.config;
    let parameters = model.transformer.weights.count(config);
    // A model without a tokenizer, or with one that can't be read, is still a model; but one that was named must be there.
    let tokenizer = match model.tokenizer(args.tokenizer.as_deref()) {
        Err(error) if args.tokenizer.is_some() => return Err(error.into()),
        found => found,
    };
    let layers = of_weights(&model.transformer, global.seed);
    let mut out = io::stdout().lock();
    if global.json {
        let hooks: Vec<_> = Site::all(config)
            .into_iter()
            .map(|site| serde_json::json!({"name": site.to_string(), "width": site.width(config)}))
            .collect();
        let document = serde_json::json!({
            "family": config.family, "parameters": parameters, "layers": config.layers.len(), "d_model": config.d_model,
            "heads": config.heads, "kv_heads": config.kv_heads, "d_head": config.d_head, "d_mlp": config.d_mlp,
            "vocab": config.vocab, "context": config.n_ctx, "hooks": hooks,
            "tokenizer": tokenizer.as_ref().ok().map(|t| serde_json::json!({
                "path": t.path(), "tokens": t.vocab_size(), "sha256": t.sha256(), "bos": t.bos(), "eos": t.eos(),
            })),
            "weights": layers,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let c = config;
    writeln!(out, "{}: {}, {} parameters", args.dir.display(), c.family, superlens::report::words::count(parameters))?;
    let heads = if c.heads == c.kv_heads { String::new() } else { format!(" ({} of keys)", c.kv_heads) };
    writeln!(
        out,
        "{} layers, width {}, {} heads{heads} of {}, {} neurons a layer, {} tokens, context {}",
        c.layers.len(),
        c.d_model,
        c.heads,
        c.d_head,
        c.d_mlp,
        c.vocab,
        c.n_ctx
    )?;
    match &tokenizer {
        Ok(t) => writeln!(out, "tokenizer: {}, {} tokens", t.path().display(), t.vocab_size())?,
        Err(why) => writeln!(out, "tokenizer: {why}")?,
    }
    writeln!(
        out,
        "\nhooks{}:",
        if c.layers.len() > 1 { format!("; N is 0 to {}", c.layers.len() - 1) } else { String::new() }
    )?;
    for line in table::lines(&hooks(config)) {
        writeln!(out, "  {line}")?;
    }
    let (d, chance) = (c.d_model, Alignment::of_random(c.d_model));
    writeln!(
        out,
        "\nweights of neurons over the {d} columns of the residual stream; by chance the kurtosis is {chance:.2}, 1 % lie beyond:"
    )?;
    for line in table::lines(&kurtosis(&layers)) {
        writeln!(out, "  {line}")?;
    }
    Ok(out.flush()?)
}

/// Each hook once, N in place of the layer.
fn hooks(config: &Config) -> Vec<[String; 2]> {
    let mut rows = vec![["name".to_string(), "width".to_string()]];
    for site in Site::all(config) {
        let name = match site {
            Site::Block(layer, _) => site.to_string().replace(&format!("blocks.{layer}."), "blocks.N."),
            _ => site.to_string(),
        };
        if rows.iter().all(|row| row[0] != name) {
            rows.push([name, site.width(config).map_or("as long as the sequence".into(), |w| w.to_string())]);
        }
    }
    rows
}

fn kurtosis(layers: &[Alignment]) -> Vec<[String; 5]> {
    let head = ["layer", "kurtosis in", "beyond chance", "kurtosis out", "beyond chance"].map(String::from);
    let share = |x: f64| format!("{:.1} %", 100.0 * x);
    let row = |(i, a): (usize, &Alignment)| {
        [
            i.to_string(),
            format!("{:.2}", a.kurtosis_in),
            share(a.beyond_in),
            format!("{:.2}", a.kurtosis_out),
            share(a.beyond_out),
        ]
    };
    std::iter::once(head).chain(layers.iter().enumerate().map(row)).collect()
}
