//! Several trainings on one pass over the rows: every architecture with every value of what sets how sparse it is.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use superlens::report::pareto::{Trained, pareto};
use superlens_tensor::io::write_atomic;

use super::train::Report;
use super::train_folder::Folder;
use super::train_knobs::{refuse_unused, serves, without_unused};
use super::train_plan::Plan;
use crate::args::{Global, Train};
use crate::failure::Failure;

/// The plans of a call, and the names of their folders; no name where there is one plan alone, whose folder is the whole.
pub struct Sweep {
    pub plans: Vec<Plan>,
    pub names: Vec<String>,
}

/// What the folder of a sweep holds beside its runs.
const LIST: &str = "sweep.toml";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    runs: Vec<String>,
}

/// One value of one setting, and how folders are called after it.
type Choice = (Plan, String);

impl Sweep {
    /// What the command line asks for.
    pub fn planned(args: &Train, global: Global) -> Result<Sweep, Failure> {
        let plan = Plan::new(args, global)?;
        let archs = if args.arch.is_empty() { vec![plan.arch.clone()] } else { args.arch.clone() };
        refuse_unused(&first(&plan, args), &archs)?;
        let mut all: Vec<Choice> = Vec::new();
        for arch in archs {
            let one = without_unused(Plan { arch: arch.clone(), ..plan.clone() });
            let with = vec![(one, arch)];
            let with = each(with, "--d-sae", "d", &args.d_sae, |plan, v| plan.d_sae = Some(v));
            let with = each(with, "--lr", "lr", &args.lr, |plan, v| plan.lr = Some(v));
            let with = each(with, "--l1", "l1_", &args.l1, |plan, v| plan.l1 = Some(v));
            let with = each(with, "--target-l0", "l0_", &args.target_l0, |plan, v| plan.target_l0 = Some(v));
            all.extend(each(with, "--k", "k", &args.k, |plan, v| plan.k = Some(v)));
        }
        let (plans, names): (Vec<Plan>, Vec<String>) = all.into_iter().unzip();
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(Failure::Input(format!("--arch and its settings: `{name}` is asked for twice")));
            }
        }
        let names = if plans.len() == 1 { Vec::new() } else { names };
        Ok(Sweep { plans, names })
    }

    /// What lies in a folder.
    pub fn open(dir: &Path) -> Result<Sweep, Failure> {
        let file = dir.join(LIST);
        if !file.exists() {
            return Ok(Sweep { plans: vec![Folder::open(dir)?.1], names: Vec::new() });
        }
        let wrong = |e: &dyn std::fmt::Display| Failure::Input(format!("{}: {}", file.display(), one_line(e)));
        let text = std::fs::read_to_string(&file).map_err(|e| wrong(&e))?;
        let List { runs: names } = toml::from_str(&text).map_err(|e| wrong(&e))?;
        if names.is_empty() {
            return Err(wrong(&"key `runs`: expected the folders of runs, found none"));
        }
        let plans = names.iter().map(|name| Ok(Folder::open(&dir.join(name))?.1)).collect::<Result<_, Failure>>()?;
        Ok(Sweep { plans, names })
    }

    /// The folder of every run: made, or opened to go on with.
    pub fn folders(&self, out: &Path, plans: &[Plan], resumes: bool) -> Result<Vec<Folder>, Failure> {
        if self.names.is_empty() {
            return Ok(vec![if resumes { Folder::open(out)?.0 } else { Folder::create(out, &plans[0])? }]);
        }
        let within = |mut folder: Folder| {
            folder.resumes = out.into();
            folder
        };
        if resumes {
            return self.names.iter().map(|name| Ok(within(Folder::open(&out.join(name))?.0))).collect();
        }
        if std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
            let out = out.display();
            return Err(Failure::Input(format!("{out}: is not empty; name a new folder, or go on with it: --resume")));
        }
        let made = self.names.iter().zip(plans).map(|(name, plan)| Folder::create(&out.join(name), plan).map(within));
        let made = made.collect::<Result<Vec<Folder>, Failure>>()?;
        // Last: a folder with this file is whole.
        let list = toml::to_string(&List { runs: self.names.clone() }).map_err(|e| Failure::Other(e.into()))?;
        put(out, LIST, list.as_bytes())?;
        Ok(made)
    }

    /// Removes the list of runs that are all gone.
    pub fn remove_if_unused(&self, out: &Path) {
        if !self.names.is_empty() && self.names.iter().all(|name| !out.join(name).exists()) {
            let _ = std::fs::remove_file(out.join(LIST));
            let _ = std::fs::remove_dir(out);
        }
    }

    /// Writes what they amount to together, and says it.
    pub fn tell(&self, out: &Path, reports: &[Report], global: Global) -> Result<(), Failure> {
        let trained = |r: &Report| Trained { arch: r.arch.clone(), l0: r.l0, fvu: r.fvu };
        let figure = pareto(&reports.iter().map(trained).collect::<Vec<_>>());
        let runs: Vec<serde_json::Value> = self.names.iter().zip(reports).map(|(name, r)| named(name, r)).collect();
        let document = serde_json::json!({ "runs": runs });
        let text = serde_json::to_string_pretty(&document).map_err(io::Error::from)?;
        put(out, "sweep.json", text.as_bytes())?;
        put(out, "pareto.svg", figure.standalone().as_bytes())?;
        let mut stdout = io::stdout().lock();
        if global.json {
            writeln!(stdout, "{text}")?;
        } else {
            let widest = self.names.iter().map(String::len).max().unwrap_or(0).max(3);
            writeln!(stdout, "{:widest$}  {:>7}  {:>7}  {:>6}", "run", "FVU", "L0", "dead")?;
            for (name, r) in self.names.iter().zip(reports) {
                let dead = 100.0 * r.dead_fraction;
                writeln!(stdout, "{name:widest$}  {:>7.4}  {:>7.1}  {dead:>4.1} %", r.fvu, r.l0)?;
            }
            writeln!(stdout, "picture: {}", out.join("pareto.svg").display())?;
        }
        Ok(stdout.flush()?)
    }
}

/// With the first value of each list.
fn first(plan: &Plan, args: &Train) -> Plan {
    Plan {
        d_sae: args.d_sae.first().copied().or(plan.d_sae),
        lr: args.lr.first().copied().or(plan.lr),
        k: args.k.first().copied().or(plan.k),
        l1: args.l1.first().copied().or(plan.l1),
        target_l0: args.target_l0.first().copied().or(plan.target_l0),
        ..plan.clone()
    }
}

/// Every choice with every value, where there are values and a use for them; the name tells of it where there are several.
fn each<T: Copy + std::fmt::Display>(
    choices: Vec<Choice>,
    flag: &str,
    prefix: &str,
    values: &[T],
    set: impl Fn(&mut Plan, T),
) -> Vec<Choice> {
    if values.is_empty() || !choices.iter().all(|(plan, _)| serves(flag, plan)) {
        return choices;
    }
    let with = |(plan, name): &Choice, &value: &T| {
        let mut plan = plan.clone();
        set(&mut plan, value);
        (plan, if values.len() > 1 { format!("{name}-{prefix}{value}") } else { name.clone() })
    };
    choices.iter().flat_map(|choice| values.iter().map(|value| with(choice, value)).collect::<Vec<_>>()).collect()
}

fn named(name: &str, report: &Report) -> serde_json::Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["name"] = name.into();
    value
}

fn put(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let file = out.join(name);
    write_atomic(&file, bytes)
        .map_err(|e| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", file.display()))))
}

fn one_line(e: &dyn std::fmt::Display) -> String {
    e.to_string().replace('\n', " ")
}
