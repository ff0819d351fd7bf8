//! `superlens explain compositional INPUT --labels FILE`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use serde_json::{Value, json};
use superlens::neurons::Units;
use superlens::neurons::compositional::{Concepts, Explained, Found, Kind, Options, explain_units};
use superlens_tensor::io::ReadOptions;
use superlens_tensor::{Mat, Rng};

use super::activations::Held;
use super::{labels, table, units};
use crate::args::{Compositional, Global};
use crate::failure::Failure;
use crate::progress::Progress;

/// Activations of units that are in memory at once.
const MOST: usize = 1 << 26;
/// Rows that pass through a dictionary at once.
const BLOCK: usize = 4096;
/// Names longer than that are cut where a person reads.
const WIDEST: usize = 70;

/// Of all units; shares are of those whose formula fits better than chance.
#[derive(Serialize)]
struct Summary {
    units: usize,
    silent: usize,
    chance: usize,
    coherent: usize,
    polysemantic: usize,
    coherent_share: Option<f64>,
    polysemantic_share: Option<f64>,
    mean_iou: Option<f64>,
    /// Units whose best formula of all is known, and those for which the beam found one as good.
    checked: usize,
    optimal: usize,
}

pub fn run(args: &Compositional, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("reading");
    let options = ReadOptions { key: args.part.key.clone(), flatten: args.part.flatten };
    let held = Held::read(&args.input, &options, args.part.hook.as_deref(), "explain", global.seed)?;
    let (labels, names) = labels::concepts(&args.about, &args.input, &held, "c")?;
    let concepts =
        Concepts::new(&labels, names).map_err(|e| Failure::Input(format!("{}: {e}", args.about.labels.display())))?;
    let x = &held.loaded.mat;
    let units = units::of(units::named(&args.of)?, &args.of, x.cols(), global.seed)?;
    let chosen = units::chosen(args.units.as_deref(), &units)?;
    let options = Options {
        quantile: args.quantile,
        length: args.length.into(),
        beam: args.beam.into(),
        penalty: args.penalty,
        draws: args.draws.into(),
        exhaustive: args.exhaustive,
    };
    let (rng, done) = (Rng::new(global.seed), AtomicUsize::new(0));
    let stage = format!("explaining {}s", units.word());
    let step = || progress.at((done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / chosen.len() as f64, &stage);
    let mut explained = Vec::new();
    for block in chosen.chunks((MOST / x.rows().max(1)).max(1)) {
        let columns = columns(&units, x, block);
        explained.extend(explain_units(&columns, &concepts, &options, &rng, &step));
    }
    drop(progress);
    let summary = summary(&explained);
    let mut out = io::stdout().lock();
    if global.json {
        let all: Vec<Value> = chosen.iter().zip(&explained).map(|(u, e)| as_json(*u, e, concepts.names())).collect();
        let document = json!({
            "unit": units.word(), "rows": x.rows(), "of_rows": held.of, "concepts": concepts.names(), "quantile": args.quantile,
            "length": args.length, "beam": args.beam, "penalty": args.penalty, "draws": args.draws, "summary": summary, "units": all,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&mut out, units.word(), &chosen, &explained, concepts.names(), &summary)?;
    }
    Ok(out.flush()?)
}

/// What some units give on every row.
fn columns(units: &Units, x: &Mat, chosen: &[usize]) -> Vec<(usize, Vec<f32>)> {
    let mut columns: Vec<(usize, Vec<f32>)> = chosen.iter().map(|u| (*u, Vec::with_capacity(x.rows()))).collect();
    for from in (0..x.rows()).step_by(BLOCK) {
        let to = (from + BLOCK).min(x.rows());
        let block = Mat::from_vec(to - from, x.cols(), x.data()[from * x.cols()..to * x.cols()].to_vec());
        let values = units.values(&block);
        for (unit, column) in &mut columns {
            column.extend((0..values.rows()).map(|i| values[(i, *unit)]));
        }
    }
    columns
}

fn summary(explained: &[Explained]) -> Summary {
    let count = |kind| explained.iter().filter(|e| e.kind == kind).count();
    let [silent, chance, coherent, polysemantic] =
        [Kind::Silent, Kind::Chance, Kind::Coherent, Kind::Polysemantic].map(count);
    let share = |part: usize| (coherent + polysemantic > 0).then(|| part as f64 / (coherent + polysemantic) as f64);
    let iou: Vec<f64> = explained.iter().filter_map(|e| Some(e.best.as_ref()?.iou)).collect();
    let checked: Vec<bool> = explained.iter().filter_map(optimal).collect();
    Summary {
        units: explained.len(),
        silent,
        chance,
        coherent,
        polysemantic,
        coherent_share: share(coherent),
        polysemantic_share: share(polysemantic),
        mean_iou: (!iou.is_empty()).then(|| iou.iter().sum::<f64>() / iou.len() as f64),
        checked: checked.len(),
        optimal: checked.iter().filter(|o| **o).count(),
    }
}

/// Whether the beam found a formula as good as any; `None` where that is not known.
fn optimal(explained: &Explained) -> Option<bool> {
    Some(explained.best.as_ref()?.score >= explained.optimum.as_ref()?.score)
}

fn as_json(unit: usize, explained: &Explained, names: &[String]) -> Value {
    let found = |found: &Found| json!({"formula": found.formula.text(names), "iou": found.iou, "score": found.score, "length": found.length});
    let by_chance = explained
        .null
        .map(|n| json!({"draws": n.draws, "mean_iou": n.mean_iou, "largest_iou": n.largest_iou, "p": n.p}));
    let mut value = json!({
        "unit": unit, "kind": explained.kind.id(), "rows_on": explained.rows_on, "threshold": explained.threshold, "null": by_chance,
        "formula": null, "iou": null, "score": null, "length": null,
        "optimum": explained.optimum.as_ref().map(found), "optimal": optimal(explained),
    });
    if let (Some(best), Some(object)) = (explained.best.as_ref().map(found), value.as_object_mut()) {
        object.extend(best.as_object().cloned().unwrap_or_default());
    }
    value
}

fn print(
    out: &mut impl Write,
    word: &str,
    chosen: &[usize],
    explained: &[Explained],
    names: &[String],
    summary: &Summary,
) -> io::Result<()> {
    let mut rows = vec![[word, "kind", "IoU", "by chance", "rows on", "formula"].map(str::to_owned)];
    for (unit, e) in chosen.iter().zip(explained) {
        let best = e.best.as_ref();
        let text = best.map(|b| b.formula.text(names)).unwrap_or_default();
        let cut = if text.chars().count() > WIDEST {
            format!("{}…", text.chars().take(WIDEST).collect::<String>())
        } else {
            text
        };
        rows.push([
            unit.to_string(),
            e.kind.id().into(),
            best.map_or("–".into(), |b| format!("{:.3}", b.iou)),
            e.null.map_or("–".into(), |n| format!("{:.3}", n.mean_iou)),
            e.rows_on.to_string(),
            cut,
        ]);
    }
    for line in table::lines(&rows) {
        writeln!(out, "{line}")?;
    }
    let Summary { units, silent, chance, coherent, polysemantic, .. } = summary;
    writeln!(
        out,
        "\nof {units} {word}s {coherent} coherent, {polysemantic} polysemantic, {chance} fit no better than by chance, {silent} silent"
    )?;
    if summary.checked > 0 {
        writeln!(
            out,
            "the beam found a formula as good as any for {} of {} {word}s",
            summary.optimal, summary.checked
        )?;
    }
    Ok(())
}
