//! `superlens explain simulate RECORDS…`: explain, simulate, score by a model behind an address.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use superlens::neurons::Examples;
use superlens::neurons::files::openai;
use superlens::neurons::simulate::{Estimate, Options, Scored, Scores, estimate, simulate};
use superlens_tensor::Rng;

use super::endpoint::Endpoint;
use super::table;
use crate::args::{Global, ScoreArg, Simulate};
use crate::failure::{Failure, say};
use crate::interrupt;
use crate::progress::Progress;

/// No file of explanations is larger.
const LARGEST: u64 = 64 << 20;
/// Characters of an explanation where a person reads.
const WIDEST: usize = 60;

pub fn run(args: &Simulate, global: Global) -> Result<(), Failure> {
    let records = args.records.iter().map(|path| openai::read(path).map_err(Failure::input));
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let (layers, examples): (Vec<usize>, Vec<Examples>) = records.into_iter().map(|r| (r.layer, r.examples)).unzip();
    let given = args.explanations.as_deref().map(explanations).transpose()?.unwrap_or_default();
    let given: Vec<Option<String>> =
        layers.iter().zip(&examples).map(|(layer, e)| given.get(&(*layer, e.unit)).cloned()).collect();
    let options = options(args);
    let rng = Rng::new(global.seed).fork("simulate");
    let told = estimate(&examples, &given, &options, &rng);
    let money =
        args.price_in.zip(args.price_out).map(|(a, b)| (told.tokens_in as f64 * a + told.tokens_out as f64 * b) / 1e6);
    if args.dry_run {
        return tell_estimate(&told, money, global);
    }
    if let (Some(money), Some(budget), false) = (money, args.budget, args.yes)
        && money > budget
    {
        return Err(Failure::Input(format!(
            "--budget {budget}: the estimate is {money:.2} ({}); raise it, ask less (--scores, --examples, fewer records), or say --yes",
            words(&told)
        )));
    }
    // A library reads no environment; here it is.
    let variable = |name: &str| std::env::var(name).ok();
    let key = variable(&args.server.key_env);
    let endpoint = Endpoint::open(&args.server, variable("OPENAI_BASE_URL"), key, global.seed)?;
    if !global.quiet {
        say(&format!("about {}{}", words(&told), money.map(|m| format!(", {m:.2} in money")).unwrap_or_default()));
    }
    interrupt::tell_how_to_go_on(format!("the same again; what was answered is in {}", args.server.cache.display()));
    let scored = ask(&endpoint, args, &examples, &given, &options, &rng, told.requests, global)?;
    write(args, global, &layers, &scored, &endpoint, &told)
}

fn options(args: &Simulate) -> Options {
    let wants = |score| args.scores.contains(&score);
    Options {
        examples: args.examples,
        attempts: args.attempts,
        simulation: wants(ScoreArg::Simulation),
        detection: wants(ScoreArg::Detection),
        fuzzing: wants(ScoreArg::Fuzzing),
        intruder: wants(ScoreArg::Intruder),
        shuffled: args.shuffled,
    }
}

/// On a pool of as many threads as requests may be under way: they wait, they don't compute.
fn ask(
    endpoint: &Endpoint,
    args: &Simulate,
    examples: &[Examples],
    given: &[Option<String>],
    options: &Options,
    rng: &Rng,
    requests: u64,
    global: Global,
) -> Result<Vec<Scored>, Failure> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.server.parallel.into()).build();
    let pool = pool.context("the threads can't be started; fewer may work: --parallel 1")?;
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "asking");
    let (done, begun) = (AtomicU64::new(0), std::time::Instant::now());
    let step = || {
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        let rate = 60.0 * n as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        progress
            .at(n as f64 / requests.max(1) as f64, &format!("asking, {n} of {requests} answered, {rate:.0} a minute"));
    };
    let scored = pool.install(|| simulate(examples, given, endpoint, options, rng, &step));
    drop(progress);
    scored.map_err(|why| Failure::Other(anyhow::Error::msg(why)))
}

#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    layer: usize,
    unit: usize,
    explanation: Option<String>,
}

/// By layer and unit, of a list or of what `--json` printed.
fn explanations(path: &Path) -> Result<BTreeMap<(usize, usize), String>, Failure> {
    let bad = |what: String| {
        let form = "[{\"layer\": 0, \"unit\": 0, \"explanation\": \"…\"}, …]";
        Failure::Input(format!("--explanations {}: {what}; expected what --json printed, or {form}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    io::Read::read_to_end(&mut io::Read::take(file, LARGEST + 1), &mut bytes).map_err(|e| bad(e.to_string()))?;
    if bytes.len() as u64 > LARGEST {
        return Err(bad(format!("is larger than {} MB", LARGEST >> 20)));
    }
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    let list = if value.is_object() { value["units"].take() } else { value };
    let list: Vec<Told> = serde_json::from_value(list).map_err(|e| bad(e.to_string()))?;
    Ok(list.into_iter().filter_map(|t| Some(((t.layer, t.unit), t.explanation?))).collect())
}

fn words(told: &Estimate) -> String {
    let Estimate { requests, tokens_in, tokens_out } = told;
    format!(
        "{requests} requests, {tokens_in} tokens sent (characters by 4), {tokens_out} answered, if all can be read and none is kept from before"
    )
}

fn tell_estimate(told: &Estimate, money: Option<f64>, global: Global) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if global.json {
        let Estimate { requests, tokens_in, tokens_out } = told;
        let document = json!({"requests": requests, "tokens_in": tokens_in, "tokens_out": tokens_out, "money": money});
        writeln!(out, "{document:#}")?;
    } else {
        writeln!(out, "about {}", words(told))?;
        if let Some(money) = money {
            writeln!(out, "about {money:.4} in money")?;
        }
    }
    Ok(out.flush()?)
}

fn write(
    args: &Simulate,
    global: Global,
    layers: &[usize],
    scored: &[Scored],
    endpoint: &Endpoint,
    told: &Estimate,
) -> Result<(), Failure> {
    let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let spent = &endpoint.spent;
    let (sent, kept) = (count(&spent.sent), count(&spent.kept));
    let (tokens_in, tokens_out) = (count(&spent.prompt_tokens), count(&spent.completion_tokens));
    let mut out = io::stdout().lock();
    if global.json {
        let mut units = serde_json::to_value(scored).map_err(io::Error::from)?;
        units.as_array_mut().into_iter().flatten().zip(layers).for_each(|(unit, layer)| unit["layer"] = json!(layer));
        let money =
            args.price_in.zip(args.price_out).map(|(a, b)| (tokens_in as f64 * a + tokens_out as f64 * b) / 1e6);
        let document = json!({
            "model": args.server.model, "examples": args.examples, "estimate": told, "summary": summary(scored), "units": units,
            "spent": {"sent": sent, "kept": kept, "tokens_in": tokens_in, "tokens_out": tokens_out, "money": money},
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    let title = ["unit", "correlation", "variance explained", "detection", "fuzzing", "intruder", "explanation"];
    let mut rows = vec![title.map(str::to_owned)];
    let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.3}"));
    for (layer, s) in layers.iter().zip(scored) {
        let [correlation, variance, detection, fuzzing] = readings(&s.scores);
        let text = s.explanation.as_deref().unwrap_or("–");
        let cut = if text.chars().count() > WIDEST {
            format!("{}…", text.chars().take(WIDEST).collect::<String>())
        } else {
            text.into()
        };
        let intruder = s.intruder.and_then(|i| i.accuracy);
        rows.push([
            format!("{layer}/{}", s.unit),
            number(correlation),
            number(variance),
            number(detection),
            number(fuzzing),
            number(intruder),
            cut,
        ]);
    }
    for line in table::lines(&rows) {
        writeln!(out, "{line}")?;
    }
    for (layer, s) in layers.iter().zip(scored) {
        for missing in &s.scores.missing {
            writeln!(out, "{layer}/{}: no {}: {}", s.unit, missing.score, missing.reason)?;
        }
    }
    writeln!(
        out,
        "\nvariance explained is after the line fitted on calibration texts; detection and fuzzing are balanced accuracies (guessing: .5), intruder an \
         accuracy (guessing: .2)"
    )?;
    if args.shuffled {
        let of_another = mean(scored.iter().filter_map(|s| readings(s.shuffled.as_ref()?)[0]));
        writeln!(out, "mean correlation with the explanation of another unit: {}", number(of_another))?;
    }
    writeln!(
        out,
        "{sent} requests sent, {kept} answers kept from before, {tokens_in} tokens sent and {tokens_out} answered as the server counts"
    )?;
    Ok(out.flush()?)
}

/// Correlation, explained variance after calibration, and the two balanced accuracies.
fn readings(scores: &Scores) -> [Option<f64>; 4] {
    [
        scores.simulation.and_then(|s| s.correlation),
        scores.simulation.and_then(|s| s.explained_variance_calibrated),
        scores.detection.and_then(|d| d.balanced_accuracy),
        scores.fuzzing.and_then(|f| f.balanced_accuracy),
    ]
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Means over the units that have the score, and how many those are.
fn summary(scored: &[Scored]) -> Value {
    let of = |what: &dyn Fn(&Scored) -> Option<f64>| {
        let values: Vec<f64> = scored.iter().filter_map(what).collect();
        json!({"mean": mean(values.iter().copied()), "units": values.len()})
    };
    let simulation = |s: &Scored| s.scores.simulation;
    json!({
        "units": scored.len(),
        "correlation": of(&|s| simulation(s)?.correlation),
        "correlation_squared": of(&|s| simulation(s)?.correlation_squared),
        "explained_variance_raw": of(&|s| simulation(s)?.explained_variance_raw),
        "explained_variance_calibrated": of(&|s| simulation(s)?.explained_variance_calibrated),
        "detection_balanced_accuracy": of(&|s| s.scores.detection?.balanced_accuracy),
        "fuzzing_balanced_accuracy": of(&|s| s.scores.fuzzing?.balanced_accuracy),
        "intruder_accuracy": of(&|s| s.intruder?.accuracy),
        "shuffled_correlation": of(&|s| s.shuffled.as_ref()?.simulation?.correlation),
        "unreadable_answers": scored.iter().map(|s| s.unreadable).sum::<usize>(),
    })
}
