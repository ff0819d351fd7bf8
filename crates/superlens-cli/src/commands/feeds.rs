//! `superlens feeds --model DIR --to LAYER`: which neurons of one layer feed which of a later one.

use std::io::{self, Write};

use serde_json::{Value, json};
use superlens_lm::intervene::Text;
use superlens_lm::model::{self, Point, Site};
use superlens_tensor::Mat;

use super::model_files::Model;
use super::{model_texts, table, units};
use crate::args::{Feeds, Global};
use crate::failure::Failure;
use crate::progress::Progress;

/// What flows between two layers, over all texts.
struct Flow {
    into: Mat,
    linear: Option<Mat>,
    straight: Mat,
    tokens: usize,
}

/// What a later neuron gets by every way from each earlier one, a mean over tokens.
struct Asked {
    unit: usize,
    every_way: Vec<f64>,
}

pub fn run(args: &Feeds, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let (model, tokenizer) = Model::with_tokenizer(&args.model)?;
    let layers = model.transformer.config.layers.len();
    let from = match args.from.or(args.to.checked_sub(1)) {
        Some(from) if from < args.to && args.to < layers => from,
        _ => {
            let (from, to) = (args.from.map_or(String::new(), |f| format!("--from {f} ")), args.to);
            return Err(Failure::Input(format!(
                "{from}--to {to}: expected two of the {layers} layers, counted from 0, the earlier first"
            )));
        }
    };
    let d_mlp = model.transformer.config.d_mlp;
    let wanted =
        args.units.as_deref().map(|list| units::numbers(list, d_mlp, "neuron")).transpose()?.unwrap_or_default();
    let texts = model_texts::of(&args.text, &model, &tokenizer, args.tokens, global.seed)?;
    let flow = flow(&model, from, args.to, &texts, &progress)?;
    let asked = asked(&model, (from, args.to), &wanted, &texts, &progress)?;
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        serde_json::to_writer_pretty(&mut out, &document(args, from, &flow, &asked)).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    writeln!(
        out,
        "layer {from} to layer {}, over {} tokens; what is added to a neuron's activation, a mean over tokens\n",
        args.to, flow.tokens
    )?;
    let heading = ["neuron", "feeds", "weight", "adds"].map(String::from);
    let rows = strongest(&flow.straight, args.top).into_iter().map(|(i, j)| {
        [i.to_string(), j.to_string(), format!("{:.4}", flow.into[(i, j)]), format!("{:+.5}", flow.straight[(i, j)])]
    });
    table::lines(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
        .iter()
        .try_for_each(|l| writeln!(out, "  {l}"))?;
    writeln!(out, "\nneurons that add most in all, and over how many later ones that is spread\n")?;
    let heading = ["neuron", "size", "spread over", "most to"].map(String::from);
    let rows = sources(&flow.straight).into_iter().take(args.top).map(|s| {
        let most: Vec<String> = s.most.iter().map(|(j, v)| format!("{j} ({v:+.4})")).collect();
        [s.unit.to_string(), format!("{:.4}", s.size), format!("{:.1} of {d_mlp}", s.targets), most.join(", ")]
    });
    table::lines(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
        .iter()
        .try_for_each(|l| writeln!(out, "  {l}"))?;
    for unit in &asked {
        writeln!(out, "\nneuron {} of layer {} is fed by\n", unit.unit, args.to)?;
        let heading = ["neuron", "weight", "straight", "every way"].map(String::from);
        let rows = order(&unit.every_way).into_iter().take(args.top).map(|i| {
            let (w, s) = (flow.into[(i, unit.unit)], flow.straight[(i, unit.unit)]);
            [i.to_string(), format!("{w:.4}"), format!("{s:+.5}"), format!("{:+.5}", unit.every_way[i])]
        });
        table::lines(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())
            .iter()
            .try_for_each(|l| writeln!(out, "  {l}"))?;
    }
    Ok(out.flush()?)
}

/// The straight ways, over all texts.
fn flow(model: &Model, from: usize, to: usize, texts: &[Text], progress: &Progress) -> Result<Flow, Failure> {
    let mut flow: Option<Flow> = None;
    for (t, text) in texts.iter().enumerate() {
        progress.at(0.5 * t as f64 / texts.len() as f64, "following the straight way");
        let model::Feeds { into, linear, straight, tokens } = model
            .transformer
            .feeds(from, to, &text.batch)
            .map_err(|what| Failure::Input(format!("--model: {what}")))?;
        let sum = flow.get_or_insert_with(|| Flow {
            straight: Mat::zeros(into.rows(), into.cols()),
            into,
            linear,
            tokens: 0,
        });
        sum.straight.data_mut().iter_mut().zip(straight.data()).for_each(|(s, v)| *s += v * tokens as f32);
        sum.tokens += tokens;
    }
    let mut flow = flow.ok_or_else(|| Failure::Input("--text: holds no token".into()))?;
    let share = 1.0 / flow.tokens.max(1) as f32;
    flow.straight.data_mut().iter_mut().for_each(|v| *v *= share);
    if flow.straight.data().iter().any(|v| !v.is_finite()) {
        return Err(Failure::Input("--model: computes no numbers on these texts".into()));
    }
    Ok(flow)
}

/// Every way to the neurons that were asked for.
fn asked(
    model: &Model,
    (from, to): (usize, usize),
    wanted: &[usize],
    texts: &[Text],
    progress: &Progress,
) -> Result<Vec<Asked>, Failure> {
    let d_mlp = model.transformer.config.d_mlp;
    let mut asked: Vec<Asked> = wanted.iter().map(|&unit| Asked { unit, every_way: vec![0.0; d_mlp] }).collect();
    if asked.is_empty() {
        return Ok(asked);
    }
    let site = Site::Block(from, Point::Post);
    let one = |unit: usize, post: &Mat| Mat::from_fn(post.rows(), post.cols(), |_, j| f32::from(u8::from(j == unit)));
    let mut tokens = 0;
    for (t, text) in texts.iter().enumerate() {
        progress.at(0.5 + 0.5 * t as f64 / texts.len() as f64, "going back from neurons");
        let weights = |post: &Mat| wanted.iter().map(|&unit| one(unit, post)).collect::<Vec<_>>();
        let found = model.transformer.gradients_of_neurons(&text.batch, to, &weights, &[site]);
        let found = found.map_err(|what| Failure::Input(format!("--units: {what}")))?;
        for (asked, gradients) in asked.iter_mut().zip(&found) {
            let shares = gradients.times_activation(site);
            for i in 0..shares.rows() {
                asked.every_way.iter_mut().zip(shares.row(i)).for_each(|(sum, v)| *sum += f64::from(*v));
            }
        }
        tokens += text.batch.tokens();
    }
    asked.iter_mut().for_each(|a| a.every_way.iter_mut().for_each(|v| *v /= tokens.max(1) as f64));
    Ok(asked)
}

/// Pairs by the size of what one adds to the other.
fn strongest(straight: &Mat, top: usize) -> Vec<(usize, usize)> {
    let mut all: Vec<usize> = (0..straight.data().len()).collect();
    let size = |at: &usize| straight.data()[*at].abs();
    all.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.cmp(b)));
    all.into_iter().take(top).map(|at| (at / straight.cols(), at % straight.cols())).collect()
}

/// Places by size, the largest first.
fn order(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
    order
}

/// An earlier neuron, and what it feeds.
struct SourceUnit {
    unit: usize,
    size: f64,
    targets: f64,
    most: Vec<(usize, f64)>,
}

/// Those that add most in all, first.
fn sources(straight: &Mat) -> Vec<SourceUnit> {
    let mut all: Vec<SourceUnit> = (0..straight.rows())
        .map(|unit| {
            let row: Vec<f64> = straight.row(unit).iter().map(|v| f64::from(*v)).collect();
            let size: f64 = row.iter().map(|v| v.abs()).sum();
            let squares: f64 = row.iter().map(|v| v * v).sum();
            let targets = if squares > 0.0 { size * size / squares } else { 0.0 };
            SourceUnit { unit, size, targets, most: order(&row).into_iter().take(3).map(|j| (j, row[j])).collect() }
        })
        .collect();
    all.sort_by(|a, b| b.size.total_cmp(&a.size).then(a.unit.cmp(&b.unit)));
    all
}

fn document(args: &Feeds, from: usize, flow: &Flow, asked: &[Asked]) -> Value {
    let linear = |i: usize, j: usize| flow.linear.as_ref().map(|l| l[(i, j)]);
    let pair = |(i, j): (usize, usize)| json!({"from": i, "to": j, "weight": flow.into[(i, j)], "weight_linear": linear(i, j), "straight": flow.straight[(i, j)]});
    let source = |s: SourceUnit| json!({"unit": s.unit, "size": s.size, "targets": s.targets, "to": s.most.iter().map(|m| m.0).collect::<Vec<_>>()});
    let unit = |a: &Asked| {
        let from = order(&a.every_way).into_iter().take(args.top).map(|i| {
            json!({"unit": i, "weight": flow.into[(i, a.unit)], "straight": flow.straight[(i, a.unit)], "every_way": a.every_way[i]})
        });
        json!({"unit": a.unit, "total": a.every_way.iter().sum::<f64>(), "from": from.collect::<Vec<_>>()})
    };
    json!({
        "from": from, "to": args.to, "tokens": flow.tokens, "pairs": strongest(&flow.straight, args.top).into_iter().map(pair).collect::<Vec<_>>(),
        "sources": sources(&flow.straight).into_iter().take(args.top).map(source).collect::<Vec<_>>(),
        "units": asked.iter().map(unit).collect::<Vec<_>>(),
    })
}
