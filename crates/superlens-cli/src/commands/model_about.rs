//! `superlens model`: what a model's folder holds.

use std::io::{self, Write};

use superlens_lm::corpus::{self, Documents, Windows};
use superlens_lm::intervene::{Text, read_texts};
use superlens_lm::model::alignment::{Alignment, of_weights};
use superlens_lm::model::kurtosis::{LayerTails, of_activations};
use superlens_lm::model::{Config, Site};
use superlens_lm::tokenizer::Tokenizer;

use super::model_files::Model;
use super::{harvest_onnx, table};
use crate::args::{Global, ModelAbout};
use crate::failure::Failure;
use crate::progress::Progress;

/// Enough for a kurtosis that stays.
const TOKENS: u64 = 20_000;

pub fn run(args: &ModelAbout, global: Global) -> Result<(), Failure> {
    if args.dir.extension().is_some_and(|e| e == "onnx") {
        if let Some(file) = &args.tokenizer {
            let what = "a graph of ONNX has no tokens; leave it out";
            return Err(Failure::Input(format!("--tokenizer {}: {what}", file.display())));
        }
        if !args.text.is_empty() {
            return Err(Failure::Input("--text: a graph of ONNX has no tokens; leave it out".into()));
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
    let (tokenizer, tails) = match (args.text.is_empty(), tokenizer) {
        (false, tokenizer) => {
            let tokenizer = tokenizer?;
            let tails = tails(args, &model, &tokenizer, global)?;
            (Ok(tokenizer), tails)
        }
        (true, tokenizer) => (tokenizer, Vec::new()),
    };
    let mut out = io::stdout().lock();
    if global.json {
        let hooks: Vec<_> = Site::all(config)
            .into_iter()
            .map(|site| serde_json::json!({"name": site.to_string(), "width": site.width(config)}))
            .collect();
        let mut document = serde_json::json!({
            "family": config.family, "parameters": parameters, "layers": config.layers.len(), "d_model": config.d_model,
            "heads": config.heads, "kv_heads": config.kv_heads, "d_head": config.d_head, "d_mlp": config.d_mlp,
            "vocab": config.vocab, "context": config.n_ctx, "hooks": hooks,
            "tokenizer": tokenizer.as_ref().ok().map(|t| serde_json::json!({
                "path": t.path(), "tokens": t.vocab_size(), "sha256": t.sha256(), "bos": t.bos(), "eos": t.eos(),
            })),
            "weights": layers,
        });
        if !args.text.is_empty() {
            document["activations"] = serde_json::to_value(&tails).map_err(io::Error::from)?;
        }
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
    if !tails.is_empty() {
        writeln!(
            out,
            "\nexcess kurtosis of activations, over columns and over random directions; aligned: the share that is gone in the latter:"
        )?;
        for line in table::lines(&tails_table(&tails)) {
            writeln!(out, "  {line}")?;
        }
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

/// How heavy the tails of activations are over the texts that were named.
fn tails(args: &ModelAbout, model: &Model, tokenizer: &Tokenizer, global: Global) -> Result<Vec<LayerTails>, Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("running the texts");
    let documents = Documents::open(&args.text, &corpus::Options::default())?;
    let windows = Windows::new(documents, tokenizer, corpus::Plan::new(model.context("--text", None)?, tokenizer))?;
    let texts = read_texts(windows, &model.transformer, tokenizer, TOKENS, args.skip_special_tokens)?;
    let open = |text: &Text| text.spared.as_ref().is_none_or(|spared| spared.contains(&false));
    if !texts.iter().any(open) {
        return Err(Failure::Input("--text: holds no token; name a text".into()));
    }
    Ok(of_activations(&model.transformer, &texts, global.seed))
}

fn tails_table(layers: &[LayerTails]) -> Vec<[String; 7]> {
    let head = ["layer", "neurons", "rotated", "aligned", "stream", "rotated", "aligned"].map(String::from);
    let row = |(i, layer): (usize, &LayerTails)| {
        let [a, b] = [layer.neurons, layer.stream].map(|t| {
            let aligned = t.alignment.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share));
            [format!("{:.2}", t.columns), format!("{:.2}", t.rotated), aligned]
        });
        let ([a, b, c], [d, e, f]) = (a, b);
        [i.to_string(), a, b, c, d, e, f]
    };
    std::iter::once(head).chain(layers.iter().enumerate().map(row)).collect()
}
