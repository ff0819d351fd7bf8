//! `superlens generate`: texts sampled from a model.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use superlens_lm::generate::{Choice, Plan, Refused, generate};
use superlens_lm::intervene::{Changes, Intervention};
use superlens_lm::tokenizer::Tokenizer;
use superlens_tensor::Rng;

use super::changes::Held;
use super::model_files::{Model, check_new};
use crate::args::{ChangeArg, Generate, Global};
use crate::failure::Failure;
use crate::progress::Progress;

/// Stands between texts where they are not `.jsonl`.
const BETWEEN: &str = "<|endoftext|>";

pub fn run(args: &Generate, global: Global) -> Result<(), Failure> {
    if args.out.is_none() && global.json {
        return Err(Failure::Input("--json: the texts go to standard output; give them a file with --out".into()));
    }
    // Told before the hours that sampling may take, not after them.
    args.out.as_deref().map(check_new).transpose()?;
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let (model, tokenizer) = Model::with_tokenizer(&args.model)?;
    let plan = plan(args, &model, &tokenizer)?;
    let config = &model.transformer.config;
    let held = args.change.as_ref().map(|change| Held::new(change, config)).transpose()?;
    let mut changes = Changes::default();
    let handles;
    let whats: Vec<Box<dyn Intervention + '_>>;
    if let (Some(change), Some(held)) = (&args.change, &held) {
        if matches!(change.change, ChangeArg::Mean | ChangeArg::Resample) {
            let what = "--do: mean and resample are taken from texts, of which there are none here; `superlens intervene` has them";
            return Err(Failure::Input(what.into()));
        }
        handles = held.handles(change, config)?;
        whats = held.interventions(change, &handles, &model, &tokenizer, &[], &Rng::new(global.seed))?;
        changes = held.all(&whats).at(change.positions.clone());
    }
    let mut texts = Texts::new(args.out.as_deref(), &plan.prompt, &tokenizer);
    let (start, mut made) = (Instant::now(), 0);
    let rng = Rng::new(global.seed).fork("generate");
    generate(&model.transformer, &changes, &plan, &rng, |ids| -> Result<(), Failure> {
        made += ids.len() as u64;
        let rate = made as f64 / start.elapsed().as_secs_f64();
        progress.at(made as f64 / plan.tokens as f64, &format!("{made} tokens, {rate:.0} a second"));
        progress.aside(|| texts.add(ids))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let count = texts.count;
    texts.finish()?;
    let Some(path) = &args.out else { return Ok(()) };
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({
            "tokens": made, "texts": count, "seconds": seconds, "tokens_per_s": made as f64 / seconds, "out": path,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{made} tokens in {count} texts, {:.0} a second", made as f64 / seconds)?;
        writeln!(out, "{}: the texts", path.display())?;
    }
    Ok(out.flush()?)
}

fn plan(args: &Generate, model: &Model, tokenizer: &Tokenizer) -> Result<Plan, Failure> {
    let text = args.prompt.as_deref().unwrap_or("");
    let mut prompt = tokenizer.ids(text, false)?;
    if text.is_empty() {
        // What some tokenizers make of no text, a space for instance, is none.
        prompt.clear();
    }
    let begin = if tokenizer.prefix().is_empty() && prompt.is_empty() {
        tokenizer.bos().or(tokenizer.eos()).into_iter().collect()
    } else {
        tokenizer.prefix().to_vec()
    };
    prompt.splice(0..0, begin);
    Ok(Plan {
        tokens: args.tokens,
        length: model.context("--length", args.length)?,
        prompt,
        ends: tokenizer.eos().into_iter().chain(tokenizer.bos()).collect(),
        choice: Choice { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p },
    })
}

/// Where the texts go: to standard output as they come, or into a file that is in its place whole or not at all.
struct Texts<'a> {
    tokenizer: &'a Tokenizer,
    prompt: &'a [u32],
    path: Option<&'a Path>,
    /// What the file will hold; a handful of bytes a token, far fewer than the model takes.
    held: Vec<u8>,
    count: u64,
}

impl<'a> Texts<'a> {
    fn new(path: Option<&'a Path>, prompt: &'a [u32], tokenizer: &'a Tokenizer) -> Texts<'a> {
        Texts { tokenizer, prompt, path, held: Vec::new(), count: 0 }
    }

    fn add(&mut self, ids: &[u32]) -> Result<(), Failure> {
        let text = self.tokenizer.decode(&[self.prompt, ids].concat(), true)?;
        let json = self.path.and_then(Path::extension).is_some_and(|e| e == "jsonl");
        let line = match (json, self.count) {
            (true, _) => serde_json::json!({"text": text}).to_string(),
            (false, 0) => text,
            (false, _) => format!("{BETWEEN}\n{text}"),
        };
        self.count += 1;
        match self.path {
            Some(_) => Ok(writeln!(self.held, "{line}")?),
            None => Ok(writeln!(io::stdout(), "{line}")?),
        }
    }

    fn finish(self) -> Result<(), Failure> {
        let Some(path) = self.path else { return Ok(()) };
        superlens_tensor::io::write_atomic(path, &self.held)
            .map_err(|e| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", path.display()))))
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Failure::input(error)
    }
}
