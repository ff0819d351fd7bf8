//! A diagnosis on a terminal: the verdict first, then what it stands on.

use std::io::{self, Write};
use std::path::Path;

use superlens::diagnose::{Count, Diagnosis, Head, Hypothesis, Part};
use superlens::report::{Grounds, no_features, words};
use superlens_tensor::io::Loaded;

use super::{label, table};

pub fn write(out: &mut impl Write, input: &Path, loaded: &Loaded, diagnosis: &Diagnosis) -> io::Result<()> {
    let layer = &diagnosis.layer;
    writeln!(out, "{}, confidence {:.2}", label(layer.verdict, layer.mechanism), layer.confidence)?;
    writeln!(out, "  {}", layer.says)?;
    writeln!(out, "  {}\n", layer.because)?;
    for line in table::lines(&facts(input, loaded, diagnosis)) {
        writeln!(out, "{line}")?;
    }
    if !diagnosis.hypotheses.is_empty() {
        writeln!(out)?;
        let heading = ["hypothesis", "statistic", "null mean", "limit", "p", "holds"].map(str::to_string);
        let rows: Vec<_> = std::iter::once(heading).chain(diagnosis.hypotheses.iter().map(hypothesis)).collect();
        for line in table::lines(&rows) {
            writeln!(out, "{line}")?;
        }
    }
    let parts: Vec<String> = diagnosis.parts.iter().map(part).collect();
    list(out, "Parts of the layer that nothing links to the rest", &parts)?;
    if let Some(heads) = &diagnosis.heads {
        writeln!(out, "\n{}", heads.says)?;
        let heading = ["head", "carries", "its own", "alone", "features"].map(str::to_string);
        let rows: Vec<_> = std::iter::once(heading).chain(heads.heads.iter().map(head)).collect();
        table::lines(&rows).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    list(out, "What these inputs can't tell", &diagnosis.cannot_tell)?;
    list(out, "What would settle it", &layer.would_settle)
}

fn facts(input: &Path, loaded: &Loaded, diagnosis: &Diagnosis) -> Vec<[String; 2]> {
    let (seen, layer) = (&diagnosis.input, &diagnosis.layer);
    let key = loaded.key.as_ref().map(|key| format!(", {key}")).unwrap_or_default();
    let mut facts = vec![
        ["input".to_string(), format!("{}{key}", input.display())],
        ["shape".to_string(), format!("{} rows × {} columns", words::count(seen.rows), words::count(seen.dims))],
        [
            "features".to_string(),
            layer.n_features.as_ref().map_or(format!("none counted: {}", no_features(diagnosis)), features),
        ],
        ["dimensions in use".to_string(), words::number(layer.effective_rank)],
    ];
    if let Some(share) = layer.polysemantic_fraction {
        facts.push(["polysemantic neurons".to_string(), words::percent(share)]);
    }
    if !seen.constant_columns.is_empty() {
        let count = words::count(seen.constant_columns.len());
        facts.push(["constant columns".to_string(), format!("{count}, left out of every test")]);
    }
    facts
}

fn features(count: &Count) -> String {
    let bound = if count.lower_bound { "at least " } else { "" };
    let [estimate, low, high] = [count.estimate, count.low, count.high].map(words::count);
    format!("{bound}{estimate} (90 % interval {low} to {high})")
}

/// One row. A hypothesis that the earlier ones left nothing to test for has no numbers.
fn hypothesis(h: &Hypothesis) -> [String; 6] {
    let none = || "–".to_string();
    let holds = if h.supports { "yes" } else { "no" }.to_string();
    let [statistic, null_mean, null_high] = [h.statistic, h.null_mean, h.null_high].map(words::number);
    match Grounds::of(h) {
        Grounds::Draws => {
            [h.id.clone(), statistic, null_mean, null_high, words::p_value(h.p_value, h.null_draws), holds]
        }
        Grounds::Rule => [h.id.clone(), statistic, none(), null_high, none(), holds],
        Grounds::Nothing if h.supports => [h.id.clone(), none(), none(), none(), none(), holds],
        Grounds::Nothing => [h.id.clone(), none(), none(), none(), none(), "not tested".to_string()],
    }
}

fn head(head: &Head) -> [String; 5] {
    let alone = head.alone.as_ref();
    let verdict =
        alone.map_or("does not vary".into(), |a| format!("{}, {:.2}", label(a.verdict, a.mechanism), a.confidence));
    let n = alone.and_then(|a| a.n_features).map_or("–".into(), words::count);
    [head.index.to_string(), head.carries.to_string(), head.own.to_string(), verdict, n]
}

fn part(part: &Part) -> String {
    let first: Vec<String> = part.neurons.iter().take(6).map(usize::to_string).collect();
    let more = if part.neurons.len() > first.len() { ", …" } else { "" };
    let (n, verdict) = (part.neurons.len(), label(part.verdict, part.mechanism));
    format!("{n} neurons ({}{more}): {verdict}, confidence {:.2}", first.join(", "), part.confidence)
}

fn list(out: &mut impl Write, heading: &str, items: &[String]) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{heading}:")?;
    items.iter().try_for_each(|item| writeln!(out, "  - {item}"))
}
