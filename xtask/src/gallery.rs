//! Runs the experiments and writes `docs/gallery.md`: every claim, its source, the value there and ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the run folders lie, below the workspace.
const RUNS: &str = "target/gallery";
const PAGE: &str = "docs/gallery.md";

/// Runs the quick experiments, or with `all` the slow ones too, and writes the page from all run folders there are. True if
/// every judged claim in them is met.
pub fn run(root: &Path, all: bool) -> Result<bool> {
    let status = Command::new(env!("CARGO")).current_dir(root).args(["build", "--release"]).status()?;
    ensure!(status.success(), "the superlens binary doesn't build");
    let mut rows = Vec::new();
    let (mut met, mut judged, mut missing) = (0, 0, Vec::new());
    for file in experiments(root)? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let out = root.join(RUNS).join(&name);
        if all || !is_slow(&file)? {
            println!("{name}");
            // Its exit code says only whether all claims are met, which the page says better.
            Command::new(root.join("target/release/superlens"))
                .current_dir(root)
                .args(["run", "--json", "--out"])
                .args([&out, &file])
                .output()
                .with_context(|| format!("running {}", file.display()))?;
        }
        let Ok(text) = fs::read_to_string(out.join("report.json")) else {
            missing.push(name);
            continue;
        };
        let report: Value = serde_json::from_str(&text).with_context(|| format!("{}: report.json", out.display()))?;
        for claim in report["claims"].as_array().into_iter().flatten() {
            judged += usize::from(claim["met"].is_boolean());
            met += usize::from(claim["met"] == Value::Bool(true));
            rows.push(row(&name, &report, claim));
        }
    }
    fs::write(root.join(PAGE), page(&rows, met, judged, &missing)).context(PAGE)?;
    println!("{PAGE}: {met} of {judged} claims met, {} experiments not run", missing.len());
    Ok(met == judged)
}

fn experiments(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("experiments");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    Ok(files)
}

fn is_slow(file: &Path) -> Result<bool> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let table: toml::Table = toml::from_str(&text).with_context(|| file.display().to_string())?;
    Ok(table.get("slow").and_then(toml::Value::as_bool).unwrap_or(false))
}

fn row(name: &str, report: &Value, claim: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("").replace('|', "\\|");
    let seeds: Vec<f64> = claim["seeds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let (least, most) = seeds.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
    let met = match &claim["met"] {
        Value::Bool(true) => "yes",
        Value::Bool(false) => "**no**",
        _ => "reported",
    };
    format!(
        "| {} | {} | {} ({}) | {} [{}, {}] | {met} | [{name}](../experiments/{name}.toml) |",
        text(&claim["claim"]),
        text(&report["source"]),
        text(&claim["value"]),
        text(&claim["provenance"]),
        number(claim["median"].as_f64().unwrap_or(f64::NAN)),
        number(least),
        number(most),
    )
}

/// Three significant digits.
fn number(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 || v.fract() == 0.0 && size < 1e6 {
        format!("{v}")
    } else if (1e-3..1e6).contains(&size) {
        let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
        format!("{v:.decimals$}")
    } else {
        format!("{v:.2e}")
    }
}

fn page(rows: &[String], met: usize, judged: usize, missing: &[String]) -> String {
    let mut page = format!(
        "# Gallery\n\nWhat the literature and mathematics say of toy models, and what ours show: {met} of {judged} judged claims met. \
         Ours is the median over the seeds, with the least and the largest in brackets. \"Published\" is stated in the cited \
         work, \"derived\" is a closed form or an independent run; what is \"reported\" is not judged.\n\n\
         Written by `cargo xtask gallery --all`; one line again: `superlens run experiments/NAME.toml`.\n\n\
         | claim | source | value there | ours | met | experiment |\n|---|---|---|---|---|---|\n"
    );
    page.push_str(&rows.join("\n"));
    page.push('\n');
    if !missing.is_empty() {
        page.push_str(&format!("\nNot run: {}.\n", missing.join(", ")));
    }
    let notes = include_str!("../../experiments/misses.md");
    page.push_str(&format!("\n{notes}"));
    page
}
