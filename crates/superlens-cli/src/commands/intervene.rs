//! `superlens intervene`: what changes of activations do to a model's predictions.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value, json};
use superlens_lm::corpus::STDIN;
use superlens_lm::intervene::{Changes, Effect, Effects, Text, effects, run as logits, tokens};
use superlens_lm::tokenizer::Tokenizer;
use superlens_tensor::Rng;

use super::changes::Held;
use super::likeliest::{likeliest, probabilities};
use super::model_files::Model;
use super::{table, texts};
use crate::args::{Global, Intervene};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &Intervene, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let (model, tokenizer) = Model::with_tokenizer(&args.model)?;
    let config = &model.transformer.config;
    let held = Held::new(&args.change, config)?;
    let handles = held.handles(&args.change, config)?;
    let texts = texts::sample(&args.sample, &model, &tokenizer)?;
    check_positions(args, &texts)?;
    progress.stage("reading what is changed");
    let rng = Rng::new(global.seed).fork("intervene");
    let whats = held.interventions(&args.change, &handles, &model, &tokenizer, &texts, &rng)?;
    let changes = if args.each { held.each(&whats) } else { vec![held.all(&whats)] };
    let changes: Vec<Changes> = changes.into_iter().map(|c| c.at(args.change.positions.clone())).collect();
    let watch = |share: f64| progress.at(share, "running the texts");
    let found = effects(&model.transformer, &texts, &changes, &watch);
    if !found.loss.is_finite() || found.changed.iter().any(|effect| !effect.loss.is_finite()) {
        return Err(Failure::Input("--by: with this the model computes no numbers any more; change it by less".into()));
    }
    let next = match (args.show, texts.last()) {
        (0, _) | (_, None) => Vec::new(),
        (n, Some(text)) => changes.iter().map(|change| next(n, &model, &tokenizer, text, change)).collect(),
    };
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document(&found, &changes, &next)).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "{} predictions; unchanged, the loss is {:.4} nats a token", found.tokens, found.loss)?;
    for line in table::lines(&rows(&found, &changes)) {
        writeln!(out, "  {line}")?;
    }
    for (change, next) in changes.iter().zip(&next) {
        writeln!(out, "\nnext after the last text, {}:", name(change))?;
        let head = ["token", "before", "after"].map(String::from);
        let row = |n: &Next| [format!("{:?}", n.text), format!("{:.4}", n.before), format!("{:.4}", n.after)];
        for line in table::lines(&std::iter::once(head).chain(next.iter().map(row)).collect::<Vec<_>>()) {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(out.flush()?)
}

/// A position that no sequence has, or at which nothing may be changed, would pass for one that does not matter.
fn check_positions(args: &Intervene, texts: &[Text]) -> Result<(), Failure> {
    if args.change.from.as_deref().is_some_and(|from| from.as_os_str() == STDIN)
        && args.sample.texts.text.iter().any(|text| text.as_os_str() == STDIN)
    {
        return Err(Failure::Input("--from: standard input is the text already; name a file".into()));
    }
    let Some(positions) = &args.change.positions else { return Ok(()) };
    let tokens = |text: &Text| {
        let spared = text.spared.clone();
        let open = move |i: &usize| spared.as_ref().is_none_or(|spared| !spared[*i]);
        tokens(&text.batch, 0).into_iter().enumerate().filter(move |(i, _)| open(i)).map(|(_, token)| token.position)
    };
    let there: BTreeSet<usize> = texts.iter().flat_map(tokens).collect();
    match positions.iter().find(|position| !there.contains(position)) {
        None => Ok(()),
        Some(position) => {
            let (first, last) = (there.first().copied().unwrap_or(0), there.last().copied().unwrap_or(0));
            Err(Failure::Input(format!("--positions: the texts have {first} to {last} to change, found {position}")))
        }
    }
}

/// Where a change is made.
fn name(change: &Changes) -> String {
    change.sites().map(|site| site.to_string()).collect::<Vec<_>>().join(", ")
}

fn rows(found: &Effects, changes: &[Changes]) -> Vec<[String; 4]> {
    let head = ["changed", "loss", "more", "KL"].map(String::from);
    let row = |(change, effect): (&Changes, &Effect)| {
        let more = effect.loss - found.loss;
        [name(change), format!("{:.4}", effect.loss), format!("{more:+.4}"), format!("{:.4}", effect.kl)]
    };
    std::iter::once(head).chain(changes.iter().zip(&found.changed).map(row)).collect()
}

/// A token that may come next, and its probabilities.
struct Next {
    id: u32,
    text: String,
    before: f64,
    after: f64,
}

/// The likeliest tokens after a text's last sequence, before the change and after it.
fn next(n: usize, model: &Model, tokenizer: &Tokenizer, text: &Text, change: &Changes) -> Vec<Next> {
    let last = text.batch.tokens() - 1;
    let of = |changes: &Changes| probabilities(logits(&model.transformer, text, changes).row(last));
    let (before, after) = (of(&Changes::default()), of(change));
    let mut ids = likeliest(&after, n);
    ids.extend(likeliest(&before, n).into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
    let one = |id: usize| Next {
        id: id as u32,
        text: tokenizer.text(id as u32).unwrap_or_default(),
        before: before[id],
        after: after[id],
    };
    ids.into_iter().map(one).collect()
}

fn document(found: &Effects, changes: &[Changes], next: &[Vec<Next>]) -> Value {
    let shown = |next: &Next| json!({"id": next.id, "token": next.text, "before": next.before, "after": next.after});
    let one = |(i, (change, effect)): (usize, (&Changes, &Effect))| {
        let hooks: Vec<String> = change.sites().map(|site| site.to_string()).collect();
        let mut value = json!({"hooks": hooks, "loss": effect.loss, "kl": effect.kl});
        if let Some(next) = next.get(i) {
            value["next"] = next.iter().map(shown).collect();
        }
        value
    };
    let all: Vec<Value> = changes.iter().zip(&found.changed).enumerate().map(one).collect();
    json!({"tokens": found.tokens, "loss": found.loss, "changes": all})
}
