//! Runs the experiments and writes `docs/gallery.md`: every claim, its source, the value there and ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where the run folders lie, below the workspace.
const RUNS: &str = "target/gallery";
const PAGE: &str = "docs/gallery.md";
const BINARY: &str = "target/release/superlens";

/// Which experiments to run, by what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    Seconds,
    Minutes,
    Long,
}

/// An experiment of `experiments/`.
struct Entry {
    name: String,
    file: PathBuf,
    out: PathBuf,
    takes: Which,
}

/// Runs the quick experiments and says which claims that should be met are not. True if there are none.
pub fn check(root: &Path) -> Result<bool> {
    build(root)?;
    let mut passed = true;
    for entry in entries(root)?.iter().filter(|e| e.takes == Which::Seconds) {
        passed &= run_one(root, entry)?;
    }
    Ok(passed)
}

/// Runs the experiments up to `which`, and writes the page from all run folders there are. With `resume` those are left alone
/// that were run by this binary as they stand. True if no claim is missed that should be met.
pub fn run(root: &Path, which: Which, resume: bool) -> Result<bool> {
    build(root)?;
    let entries = entries(root)?;
    let mut passed = true;
    for entry in entries.iter().filter(|e| e.takes <= which) {
        if resume && is_fresh(root, entry)? {
            println!("{}: as it was run before", entry.name);
        } else {
            passed &= run_one(root, entry)?;
        }
    }
    write_page(root, &entries)?;
    Ok(passed)
}

fn build(root: &Path) -> Result<()> {
    let status = Command::new(env!("CARGO")).current_dir(root).args(["build", "--release"]).status()?;
    ensure!(status.success(), "the superlens binary doesn't build");
    Ok(())
}

/// True if every claim is met, but for those that the experiment says are not.
fn run_one(root: &Path, entry: &Entry) -> Result<bool> {
    let start = Instant::now();
    let output = Command::new(root.join(BINARY))
        .current_dir(root)
        .args(["run", "--quiet", "--out"])
        .args([&entry.out, &entry.file])
        .output()
        .with_context(|| format!("running {}", entry.file.display()))?;
    println!("{:<32} {:>5.1} s", entry.name, start.elapsed().as_secs_f64());
    if !output.status.success() {
        print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(output.status.success())
}

/// Whether the run folder is younger than the binary and the experiment.
fn is_fresh(root: &Path, entry: &Entry) -> Result<bool> {
    let time = |path: &Path| -> Result<SystemTime> { Ok(fs::metadata(path)?.modified()?) };
    let Ok(ran) = time(&entry.out.join("report.json")) else { return Ok(false) };
    Ok(ran > time(&root.join(BINARY))? && ran > time(&entry.file)?)
}

fn entries(root: &Path) -> Result<Vec<Entry>> {
    let folder = root.join("experiments");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files.into_iter().map(|file| entry(root, file)).collect()
}

fn entry(root: &Path, file: PathBuf) -> Result<Entry> {
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let table: toml::Table = toml::from_str(&text).with_context(|| file.display().to_string())?;
    let takes = match table.get("takes").and_then(toml::Value::as_str) {
        Some("long") => Which::Long,
        Some("minutes") => Which::Minutes,
        _ => Which::Seconds,
    };
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let out = root.join(RUNS).join(&name);
    Ok(Entry { name, file, out, takes })
}

fn write_page(root: &Path, entries: &[Entry]) -> Result<()> {
    let mut page = Page::default();
    for entry in entries {
        let Ok(text) = fs::read_to_string(entry.out.join("report.json")) else {
            page.missing.push(entry.name.clone());
            continue;
        };
        let report: Value =
            serde_json::from_str(&text).with_context(|| format!("{}: report.json", entry.out.display()))?;
        for claim in report["claims"].as_array().into_iter().flatten() {
            page.add(&entry.name, &report, claim);
        }
    }
    fs::write(root.join(PAGE), page.text()).context(PAGE)?;
    println!("{PAGE}: {} of {} claims met, {} experiments not run", page.met, page.judged, page.missing.len());
    Ok(())
}

/// The page in the making.
#[derive(Default)]
struct Page {
    rows: Vec<String>,
    misses: Vec<String>,
    met: usize,
    judged: usize,
    missing: Vec<String>,
}

impl Page {
    fn add(&mut self, name: &str, report: &Value, claim: &Value) {
        self.judged += usize::from(claim["met"].is_boolean());
        self.met += usize::from(claim["met"] == Value::Bool(true));
        let text = |v: &Value| v.as_str().unwrap_or("").replace('|', "\\|");
        let seeds: Vec<f64> = claim["seeds"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let (least, most) = seeds.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
        let met = match &claim["met"] {
            Value::Bool(true) => "yes",
            Value::Bool(false) => "**no**",
            _ => "reported",
        };
        if let Some(why) = claim["miss"].as_str() {
            self.misses.push(format!("- {}, [{name}](../experiments/{name}.toml): {why}", text(&claim["claim"])));
        }
        self.rows.push(format!(
            "| {} | {} | {} ({}) | {} [{}, {}] | {} | {met} | [{name}](../experiments/{name}.toml) |",
            text(&claim["claim"]),
            text(&report["source"]),
            text(&claim["value"]),
            text(&claim["provenance"]),
            number(claim["median"].as_f64().unwrap_or(f64::NAN)),
            number(least),
            number(most),
            seeds.len(),
        ));
    }

    fn text(&self) -> String {
        let mut page = format!(
            "# Gallery\n\nWhat the literature and mathematics say of toy models, and what ours show: {} of {} judged claims \
             met. Ours is the median over the seeds, with the least and the largest in brackets. \"Published\" is stated in \
             the cited work, \"derived\" is a closed form or an independent run; what is \"reported\" is not judged.\n\n\
             Written by `cargo xtask gallery --all`; one line again: `superlens run experiments/NAME.toml`.\n\n\
             | claim | source | value there | ours | seeds | met | experiment |\n|---|---|---|---|---|---|---|\n",
            self.met, self.judged
        );
        page.push_str(&self.rows.join("\n"));
        page.push('\n');
        if !self.missing.is_empty() {
            page.push_str(&format!("\nNot run: {}.\n", self.missing.join(", ")));
        }
        if !self.misses.is_empty() {
            page.push_str(&format!("\n## Known misses\n\n{}\n", self.misses.join("\n")));
        }
        let notes = include_str!("../../experiments/misses.md");
        page + &format!("\n{notes}")
    }
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
