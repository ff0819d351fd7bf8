//! What a study of concepts says to a person.

use std::io::{self, Write};

use superlens::probes::sparse::{Concept, Study};

use super::table;

/// Characters of a name, and units of a support, that are shown.
const NAME: usize = 24;
const UNITS: usize = 6;
/// Columns of F1 that are shown at most.
const SIZES: usize = 9;

pub fn write(out: &mut impl Write, study: &Study, word: &str, seconds: f64) -> io::Result<()> {
    let Study { rows, units, train_rows, held_out_rows, held_out_blocks, draws, null_k, .. } = study;
    writeln!(
        out,
        "{rows} rows × {units} {word}s; probes are fitted to {train_rows} rows and judged on {held_out_rows} others, {held_out_blocks} whole blocks"
    )?;
    let sizes: Vec<usize> = study.concepts.iter().find(|c| c.note.is_none()).map(|c| c.k.clone()).unwrap_or_default();
    let shown = &sizes[..sizes.len().min(SIZES)];
    let mut head = vec!["concept".to_string(), "positive".into(), "dense AUC".into()];
    head.extend(shown.iter().map(|k| format!("F1 k={k}")));
    head.extend(["best support", "rotation p", "shifted p"].map(str::to_string));
    let mut lines = vec![head];
    lines.extend(study.concepts.iter().map(|concept| cells(concept, shown.len())));
    writeln!(out)?;
    table::wide(&lines).iter().try_for_each(|line| writeln!(out, "{line}"))?;
    writeln!(out)?;
    for concept in &study.concepts {
        writeln!(out, "{}: {}", concept.name, concept.says(word, *null_k))?;
    }
    exact(out, study)?;
    compared(out, study, shown)?;
    if let Some(first) = study.concepts.iter().find(|c| c.note.is_none()) {
        writeln!(out, "\nselector: {}; nulls: {draws} draws of probes with k = {null_k}", first.selector)?;
    }
    if let Some(note) = &study.rotation_note {
        writeln!(out, "no rotation null: {note}")?;
    }
    writeln!(out, "{seconds:.1} s")
}

fn cells(concept: &Concept, sizes: usize) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(|| "–".to_string(), |v| format!("{v:.3}"));
    let name: String = concept.name.chars().take(NAME).collect();
    let mut cells = vec![name, format!("{:.1} %", 100.0 * concept.balance), number(concept.dense_auc)];
    cells.extend((0..sizes).map(|at| number(concept.f1.get(at).copied().flatten())));
    let mut support: Vec<String> = concept.support.iter().take(UNITS).map(ToString::to_string).collect();
    if concept.support.len() > UNITS {
        support.push(format!("… {} in all", concept.support.len()));
    }
    cells.push(if support.is_empty() { "–".into() } else { support.join(" ") });
    cells.extend([number(concept.rotation_p), number(concept.permutation_p)]);
    cells
}

/// The certificates.
fn exact(out: &mut impl Write, study: &Study) -> io::Result<()> {
    let mut lines = vec![
        ["concept", "k", "best support", "F1", "objective", "greedy", "lower bound", "gap", "nodes", ""]
            .map(str::to_string)
            .to_vec(),
    ];
    for (concept, found) in study.concepts.iter().flat_map(|c| c.exact.iter().map(move |e| (c, e))) {
        let c = &found.certificate;
        let support: Vec<String> = c.support.iter().map(ToString::to_string).collect();
        let ended = if c.proven { "proven" } else { "stopped at its limit" };
        lines.push(vec![
            concept.name.chars().take(NAME).collect(),
            c.k.to_string(),
            support.join(" "),
            format!("{:.3}", found.f1),
            format!("{:.5}", c.objective),
            format!("{:.5}", c.start),
            format!("{:.5}", c.lower_bound),
            format!("{:.5}", c.gap),
            c.nodes.to_string(),
            ended.into(),
        ]);
    }
    if lines.len() == 1 {
        return Ok(());
    }
    writeln!(out, "\nbest supports, by what is left of the label's variance in a ridge regression:")?;
    table::wide(&lines).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Mean F1 over concepts of each selector.
fn compared(out: &mut impl Write, study: &Study, sizes: &[usize]) -> io::Result<()> {
    let told: Vec<&Concept> = study.concepts.iter().filter(|c| !c.compared.is_empty()).collect();
    let Some(first) = told.first() else { return Ok(()) };
    let mut lines = vec![vec!["selector".to_string()]];
    lines[0].extend(sizes.iter().map(|k| format!("F1 k={k}")));
    for (s, selector) in first.compared.iter().enumerate() {
        let mean = |at: usize| told.iter().map(|c| c.compared[s].f1[at]).sum::<f64>() / told.len() as f64;
        let mut line = vec![selector.selector.clone()];
        line.extend((0..sizes.len()).map(|at| format!("{:.3}", mean(at))));
        lines.push(line);
    }
    writeln!(out, "\nmean over {} concepts:", told.len())?;
    table::wide(&lines).iter().try_for_each(|line| writeln!(out, "{line}"))
}
