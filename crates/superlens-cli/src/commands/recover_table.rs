//! What `superlens recover` says: a table for a reader, a document for a program.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use superlens::geometry::recover::measure::Measure;
use superlens::geometry::recover::methods::Choice;
use superlens::geometry::recover::planted::SUCCESS;
use superlens::report::words::{count, counted, number, percent};

use super::table;

/// Coefficients at one λ, or of a method without one.
pub struct Line {
    pub lambda: Option<f32>,
    pub measure: Measure,
    pub seconds: f64,
}

/// One dictionary, one set of rows, one method.
pub struct Study {
    pub method: &'static str,
    pub atoms: usize,
    pub dims: usize,
    pub rows: usize,
    /// `None` where there are too many pairs of atoms.
    pub coherence: Option<f64>,
    pub guaranteed_k: Option<usize>,
    pub choice: Choice,
    /// Whether what was found was fitted again without the penalty.
    pub debias: bool,
    pub planted_k: Option<usize>,
    pub noise: f32,
    /// Taken by the Gram matrix, which `Line::seconds` do not hold.
    pub gram_seconds: f64,
    pub lines: Vec<Line>,
}

impl Study {
    /// `k σ² ln n`, up to a constant the least squared error that can be hoped for.
    fn noise_bound(&self) -> Option<f64> {
        let k = self.planted_k.filter(|_| self.noise > 0.0)?;
        Some(k as f64 * f64::from(self.noise).powi(2) * (self.atoms.max(2) as f64).ln())
    }
}

/// The contract of `--json`; `times` are left out of files, which have the same bytes for the same input.
pub fn document(study: &Study, times: bool) -> Value {
    let path = study.lines.iter().map(|line| {
        let m = &line.measure;
        let mut entry = Map::new();
        entry.insert("lambda".into(), json!(line.lambda.map(decimal)));
        entry.insert("active".into(), json!(m.active));
        entry.insert("residual".into(), json!(m.residual));
        entry.insert("success".into(), json!(m.score.map(|s| s.success)));
        entry.insert("precision".into(), json!(m.score.map(|s| s.precision)));
        entry.insert("recall".into(), json!(m.score.map(|s| s.recall)));
        entry.insert("error".into(), json!(m.score.map(|s| s.error)));
        entry.insert("squared_error".into(), json!(m.score.map(|s| s.squared_error)));
        entry.insert("objective".into(), json!(m.optimality.map(|o| o.objective)));
        entry.insert("gap".into(), json!(m.optimality.map(|o| o.gap)));
        entry.insert("largest_gap".into(), json!(m.optimality.map(|o| o.largest_gap)));
        entry.insert("largest_violation".into(), json!(m.optimality.map(|o| o.largest_violation)));
        entry.insert("unconverged".into(), json!(m.optimality.map(|o| o.unconverged)));
        if times {
            entry.insert("seconds".into(), line.seconds.into());
            entry.insert("rows_per_s".into(), (study.rows as f64 / line.seconds.max(1e-9)).into());
        }
        Value::Object(entry)
    });
    let mut document = json!({
        "method": study.method,
        "atoms": study.atoms,
        "dims": study.dims,
        "rows": study.rows,
        "coherence": study.coherence,
        "guaranteed_k": study.guaranteed_k,
        "k": study.choice.k,
        "planted_k": study.planted_k,
        "noise": decimal(study.noise),
        "noise_bound": study.noise_bound(),
        "non_negative": study.choice.non_negative,
        "debias": study.debias,
        "path": path.collect::<Vec<Value>>(),
    });
    if times {
        document["gram_seconds"] = study.gram_seconds.into();
    }
    document
}

pub fn write_table(out: &mut impl Write, study: &Study) -> io::Result<()> {
    let (n, d, rows) = (count(study.atoms), count(study.dims), count(study.rows));
    writeln!(out, "{n} atoms in {d} dimensions, {rows} rows, {}", study.method)?;
    if let (Some(mu), Some(k)) = (study.coherence, study.guaranteed_k) {
        let (mu, k) = (number(mu), counted(k, "active atom"));
        writeln!(out, "coherence μ = {mu}: omp and basis pursuit find any {k} without fail, fewer than (1 + 1/μ)/2")?;
    }
    writeln!(out)?;
    let known = study.lines.iter().any(|l| l.measure.score.is_some());
    let penalty = study.lines.iter().any(|l| l.lambda.is_some());
    let columns = |lambda: String, common: [String; 2], truth: [String; 4], last: String| {
        let lambda = penalty.then_some(lambda).into_iter();
        let truth = truth.into_iter().filter(|_| known);
        lambda.chain(common).chain(truth).chain([last]).collect::<Vec<String>>()
    };
    let words = |words: [&str; 2]| words.map(str::to_string);
    let heads = ["recovered", "error", "precision", "recall"].map(str::to_string);
    let mut cells = vec![columns("λ".into(), words(["active", "left of row"]), heads, "rows/s".into())];
    for line in &study.lines {
        let m = &line.measure;
        let score = m.score.unwrap_or_default();
        let truth = [percent(score.success), number(score.error), number(score.precision), number(score.recall)];
        let rate = study.rows as f64 / line.seconds.max(1e-9);
        let lambda = line.lambda.map_or_else(String::new, |l| number(l.into()));
        cells.push(columns(lambda, [number(m.active), number(m.residual)], truth, number(rate)));
    }
    for line in table::wide(&cells) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)?;
    if known {
        writeln!(out, "recovered: relative error of the coefficients below {SUCCESS}")?;
    }
    if let (Some(bound), Some(last)) = (study.noise_bound(), study.lines.last().and_then(|l| l.measure.score)) {
        let (error, ratio) = (number(last.squared_error), number(last.squared_error / bound));
        writeln!(out, "squared error {error}: {ratio} times k σ² ln n = {}", number(bound))?;
    }
    write_optimality(out, study)?;
    let seconds: f64 = study.lines.iter().map(|l| l.seconds).sum();
    writeln!(out, "{seconds:.2} s, and {:.2} s for the inner products of the atoms", study.gram_seconds)
}

/// How near the optimum the coefficients are, and which are not there.
fn write_optimality(out: &mut impl Write, study: &Study) -> io::Result<()> {
    let Some(last) = study.lines.last().and_then(|l| l.measure.optimality) else { return Ok(()) };
    writeln!(out, "λ ‖s‖₁ counts coefficients of unit atoms, before they are divided by the atoms' lengths")?;
    let at = if study.lines.len() > 1 { " at the last λ" } else { "" };
    let (mean, most) = (number(last.gap), number(last.largest_gap));
    writeln!(out, "duality gap{at}: {mean} of ‖x‖² on average, {most} at most")?;
    let left = study.lines.iter().filter_map(|l| Some((l.lambda?, l.measure.optimality?)));
    for (lambda, o) in left.filter(|(_, o)| o.unconverged > 0) {
        let (lambda, rows, off) = (number(lambda.into()), counted(o.unconverged, "row"), number(o.largest_violation));
        writeln!(out, "not converged at λ = {lambda}: {rows}, an optimality condition broken by up to {off} λ")?;
    }
    Ok(())
}

/// The shortest decimal that is this number.
pub fn decimal(v: f32) -> f64 {
    v.to_string().parse().unwrap_or(v.into())
}
