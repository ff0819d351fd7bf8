//! `superlens basis INPUT`: neurons against random directions.

use std::io::{self, Write};

use superlens::neurons::basis::{Compared, Known, compare};
use superlens_lm::store::Tokens;
use superlens_tensor::io::ReadOptions;

use super::activations::Held;
use super::{labels, table};
use crate::args::{BasisAgainstRandom, Global};
use crate::failure::Failure;
use crate::progress::Progress;

pub fn run(args: &BasisAgainstRandom, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let held = Held::read(&args.input, &options, args.part.hook.as_deref(), "basis", global.seed)?;
    let labels =
        args.labels.as_deref().map(|path| labels::binary(path, args.labels_key.as_deref(), &args.input, &held));
    let labels = labels.transpose()?;
    let tokens = if args.input.is_dir() { Tokens::open(&args.input)? } else { None };
    let words = tokens.as_ref().map(|tokens| {
        let row = |i: usize| held.rows.as_ref().map_or(i as u64, |rows| rows[i]);
        (0..held.loaded.mat.rows()).map(|i| tokens.word(row(i))).collect::<Vec<u32>>()
    });
    progress.at(0.2, "scoring");
    let known = Known {
        labels: labels.as_ref().map(|l| &l.mat),
        tokens: words.as_deref().zip(tokens.as_ref().map(Tokens::distinct)),
    };
    let x = &held.loaded.mat;
    let scores = compare(x, known, args.random.unwrap_or_else(|| x.cols().clamp(100, 1000)), global.seed);
    drop(progress);
    let mut out = io::stdout().lock();
    if global.json {
        let one = |s: &Compared| serde_json::json!({"id": s.id, "about": s.about, "effect": s.effect, "low": s.low, "high": s.high, "neurons": s.neurons, "random": s.random});
        let document = serde_json::json!({"rows": x.rows(), "scores": scores.iter().map(one).collect::<Vec<_>>()});
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let (n, random) = scores.first().map_or((0, 0), |s| (s.neurons.len(), s.random.len()));
    writeln!(out, "{n} neurons against {random} random directions, over {} rows\n", x.rows())?;
    let heading = ["score", "neurons", "random", "effect", "90 %", ""].map(String::from);
    let rows = scores.iter().map(|s| {
        let ends = format!("{:+.2} to {:+.2}", s.low, s.high);
        [
            s.id.to_string(),
            number(median(&s.neurons)),
            number(median(&s.random)),
            format!("{:+.2}", s.effect),
            ends,
            says(s).into(),
        ]
    });
    for line in table::lines(&std::iter::once(heading).chain(rows).collect::<Vec<_>>()) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out)?;
    scores.iter().try_for_each(|s| writeln!(out, "  {}: {}", s.id, s.about))?;
    writeln!(
        out,
        "  neurons and random are medians; effect is 0 where neurons and directions are alike, 1 where every neuron is above"
    )?;
    Ok(out.flush()?)
}

fn says(s: &Compared) -> &'static str {
    match (s.low > 0.0, s.high < 0.0, s.effect) {
        (true, _, effect) if effect > 0.5 => "neurons stand out",
        (true, _, _) => "neurons are somewhat easier",
        (_, true, _) => "random directions are easier",
        _ => "no difference that these rows show",
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn number(v: f64) -> String {
    if v.abs() >= 100.0 { format!("{v:.0}") } else { format!("{v:.3}") }
}
