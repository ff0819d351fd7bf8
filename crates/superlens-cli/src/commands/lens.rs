//! `superlens lens`: what the residual stream says by the output, and where a logit comes from.

use std::io::{self, Write};

use serde_json::{Value, json};
use superlens_lm::model::{Attribution, Batch};

use super::likeliest::{likeliest, probabilities};
use super::model_files::Model;
use super::prompt::{Spelling, prediction, tokens};
use super::table;
use crate::args::{Global, Lens};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Lens, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let model = Model::open(&args.model.model)?;
    let spelling = Spelling::open(&model, &args.model, args.prompt.text.is_some() || args.prediction.token.is_some())?;
    let tokenize = |text: &str| Ok(spelling.tokenizer().ids(text, !args.prompt.bare)?);
    let ids = tokens(&args.prompt, &model, tokenize)?;
    let batch = Batch::one(&ids);
    progress.stage("reading the streams");
    let (position, token) = prediction(&model, &spelling, &batch, &args.prediction)?;
    let transformer = &model.transformer;
    let told = |what: String| Failure::Input(format!("{}: {what}", model.dir.display()));
    let streams = transformer.logit_lens(&batch, &[position]).map_err(told)?;
    let lens: Vec<Vec<f64>> = streams.iter().map(|logits| probabilities(logits.row(0))).collect();
    progress.stage("taking the logit apart");
    let attribution = transformer.attribution(&batch, position, token).map_err(told)?;
    drop(progress);
    // The model turns in what it computes; parts of a sum can't be told of a hyperbolic tangent of it.
    let cap = transformer.config.logit_cap.map(f64::from);
    let capped = cap.map(|cap| cap * (attribution.logit() / cap).tanh());
    let mut out = io::stdout().lock();
    if global.json {
        let document = document(args, &ids, position, token, &lens, &attribution, capped, &spelling);
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let spelled = |id: u32| spelling.quoted(id);
    writeln!(out, "after token {position} of {}, {}:", ids.len(), spelled(ids[position]))?;
    let mut rows = vec![vec!["stream".to_string(), "likeliest next, by the output".to_string()]];
    for (i, p) in lens.iter().enumerate() {
        let next = likeliest(p, args.top).into_iter().map(|id| format!("{} {:.3}", spelled(id as u32), p[id]));
        rows.push(std::iter::once(stream(i, lens.len())).chain(next).collect());
    }
    for line in table::wide(&rows) {
        writeln!(out, "  {line}")?;
    }
    let after = match (capped, cap) {
        (Some(capped), Some(cap)) => {
            format!(" (the model caps it softly at {cap}, to {capped:.3}; the parts are of what it caps)")
        }
        _ => String::new(),
    };
    writeln!(out, "\nthe logit of {}, {:.3}{after}, comes from", spelled(token), attribution.logit())?;
    let mut parts: Vec<(String, f64)> = attribution.parts.iter().map(|(part, x)| (part.to_string(), *x)).collect();
    parts.push(("biases".into(), attribution.bias));
    parts.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    let head = ["part", "logit"].map(String::from);
    let rows: Vec<[String; 2]> =
        std::iter::once(head).chain(parts.iter().map(|(part, x)| [part.clone(), format!("{x:+.3}")])).collect();
    for line in table::lines(&rows) {
        writeln!(out, "  {line}")?;
    }
    Ok(out.flush()?)
}

fn stream(i: usize, streams: usize) -> String {
    if i + 1 == streams { "after the last block".into() } else { format!("into block {i}") }
}

fn document(
    args: &Lens,
    ids: &[u32],
    position: usize,
    token: u32,
    lens: &[Vec<f64>],
    attribution: &Attribution,
    capped: Option<f64>,
    spelling: &Spelling,
) -> Value {
    let spelled = |id: u32| spelling.text(id);
    let next = |p: &Vec<f64>| -> Vec<Value> {
        let one = |id: usize| json!({"token": spelled(id as u32), "id": id, "probability": p[id]});
        likeliest(p, args.top).into_iter().map(one).collect()
    };
    let streams: Vec<Value> =
        lens.iter().enumerate().map(|(i, p)| json!({"stream": stream(i, lens.len()), "next": next(p)})).collect();
    let parts: Vec<Value> =
        attribution.parts.iter().map(|(part, x)| json!({"part": part.to_string(), "logit": x})).collect();
    json!({
        "tokens": ids.len(), "position": position, "token": {"token": spelled(token), "id": token}, "lens": streams,
        "logit": attribution.logit(), "capped": capped, "parts": parts, "bias": attribution.bias,
    })
}
