//! `superlens attention`: where the heads of a model look in one text, as a page of pictures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Value, json};
use superlens::report::{Habits, attention_figure, attention_page};
use superlens_lm::model::{Batch, Point, Site, Sites};
use superlens_tensor::Mat;

use super::model_files::{Model, check_new};
use super::prompt::{Spelling, tokens};
use crate::args::{Attention, Global};
use crate::failure::Failure;
use crate::progress::Progress;

/// More tokens than these are no longer told apart in a picture.
const MOST: usize = 200;

pub fn run(args: &Attention, global: Global) -> Result<(), Failure> {
    check_new(&args.out)?;
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let model = Model::open(&args.model.model)?;
    let spelling = Spelling::open(&model, &args.model, args.prompt.text.is_some())?;
    let tokenize = |text: &str| Ok(spelling.tokenizer().ids(text, !args.prompt.bare)?);
    let ids = tokens(&args.prompt, &model, tokenize)?;
    if ids.len() > MOST {
        let what = format!("{} tokens, where {MOST} can be told apart in a picture; give a shorter text", ids.len());
        return Err(Failure::Input(format!("--text: {what}, or let run-model write the patterns")));
    }
    let config = &model.transformer.config;
    let layers = layers(&args.layers, config.layers.len())?;
    progress.stage("running the model");
    let mut patterns: BTreeMap<usize, Vec<Mat>> = BTreeMap::new();
    let sites = Sites::new(layers.iter().map(|&layer| Site::Block(layer, Point::Pattern)), config);
    model.transformer.forward(&Batch::one(&ids), &sites, None, &mut |site, x| {
        if let Site::Block(layer, Point::Pattern) = site {
            let head = |h: usize| x.select_rows(&(h * ids.len()..(h + 1) * ids.len()).collect::<Vec<_>>());
            patterns.insert(layer, (0..config.heads).map(head).collect());
        }
    });
    progress.stage("drawing");
    // Spaces before words are part of tokens, and would not be seen.
    let shown: Vec<String> = ids
        .iter()
        .map(|&id| spelling.text(id).map_or_else(|| format!("#{id}"), |text| text.replace(' ', "·")))
        .collect();
    let figures: Vec<_> = patterns.iter().map(|(&layer, heads)| attention_figure(layer, heads, &shown)).collect();
    let page = attention_page(&model.name(), &shown, &figures);
    superlens_tensor::io::write_atomic(&args.out, page.as_bytes())
        .map_err(|e| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", args.out.display()))))?;
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        let one = |layer: usize, head: usize, pattern: &Mat| {
            let Habits { first, previous, own } = Habits::of(pattern);
            json!({"layer": layer, "head": head, "first": first, "previous": previous, "itself": own})
        };
        let all = patterns.iter().flat_map(|(&layer, heads)| {
            heads.iter().enumerate().map(move |(head, pattern)| one(layer, head, pattern)).collect::<Vec<Value>>()
        });
        let document = json!({"tokens": ids.len(), "heads": all.collect::<Vec<Value>>(), "out": args.out});
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} heads of {} layers over {} tokens", config.heads * layers.len(), layers.len(), ids.len())?;
        writeln!(out, "{}: the page; it needs no network", args.out.display())?;
    }
    Ok(out.flush()?)
}

fn layers(named: &[usize], all: usize) -> Result<Vec<usize>, Failure> {
    match named.iter().find(|&&layer| layer >= all) {
        Some(layer) => Err(Failure::Input(format!("--layers: the model has 0 to {}, found {layer}", all - 1))),
        None if named.is_empty() => Ok((0..all).collect()),
        None => Ok(named.to_vec()),
    }
}
