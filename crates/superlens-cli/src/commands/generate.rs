//! `superlens generate`: texts sampled from a model.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use superlens_lm::generate::{Choice, Plan, Refused, generate};
use superlens_lm::tokenizer::Tokenizer;
use superlens_tensor::Rng;

use super::model_files::Model;
use crate::args::{Generate, Global};
use crate::failure::Failure;
use crate::progress::Progress;

/// Stands between texts where they are not `.jsonl`.
const BETWEEN: &str = "<|endoftext|>";

pub fn run(args: &Generate, global: Global) -> Result<(), Failure> {
    if args.out.is_none() && global.json {
        return Err(Failure::Input("--json: the texts go to standard output; give them a file with --out".into()));
    }
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "loading the model");
    let (model, tokenizer) = Model::with_tokenizer(&args.model)?;
    let plan = plan(args, &model, &tokenizer)?;
    let mut texts = Texts::create(args.out.as_deref(), &plan.prompt, &tokenizer)?;
    let (start, mut made) = (Instant::now(), 0);
    generate(&model.transformer, &plan, &Rng::new(global.seed).fork("generate"), |ids| -> Result<(), Failure> {
        made += ids.len() as u64;
        let rate = made as f64 / start.elapsed().as_secs_f64();
        progress.at(made as f64 / plan.tokens as f64, &format!("{made} tokens, {rate:.0} a second"));
        progress.aside(|| texts.add(ids))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let count = texts.finish()?;
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

/// Where the texts go. A file is in its place whole or not at all.
struct Texts<'a> {
    tokenizer: &'a Tokenizer,
    prompt: &'a [u32],
    out: Box<dyn Write + 'a>,
    /// The file beside its place, and the place.
    file: Option<(tempfile::TempPath, PathBuf)>,
    json: bool,
    count: u64,
}

impl<'a> Texts<'a> {
    fn create(path: Option<&Path>, prompt: &'a [u32], tokenizer: &'a Tokenizer) -> Result<Texts<'a>, Failure> {
        let Some(path) = path else {
            let out = Box::new(io::stdout());
            return Ok(Texts { tokenizer, prompt, out, file: None, json: false, count: 0 });
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let told = |e: io::Error| Failure::Input(format!("{}: can't be written: {e}", path.display()));
        let (file, part): (File, _) = tempfile::NamedTempFile::new_in(folder).map_err(told)?.into_parts();
        let json = path.extension().is_some_and(|e| e == "jsonl");
        Ok(Texts {
            tokenizer,
            prompt,
            out: Box::new(BufWriter::new(file)),
            file: Some((part, path.to_owned())),
            json,
            count: 0,
        })
    }

    fn add(&mut self, ids: &[u32]) -> Result<(), Failure> {
        let text = self.tokenizer.decode(&[self.prompt, ids].concat(), true)?;
        let between = if self.count == 0 { String::new() } else { format!("{BETWEEN}\n") };
        self.count += 1;
        match self.json {
            true => writeln!(self.out, "{}", serde_json::json!({"text": text})).map_err(|e| self.failed(e)),
            false => writeln!(self.out, "{between}{text}").map_err(|e| self.failed(e)),
        }
    }

    fn failed(&self, e: io::Error) -> Failure {
        match &self.file {
            Some((_, path)) => Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}", path.display()))),
            None => e.into(),
        }
    }

    /// How many texts there are.
    fn finish(mut self) -> Result<u64, Failure> {
        self.out.flush().map_err(|e| self.failed(e))?;
        let Some((part, path)) = self.file.take() else { return Ok(self.count) };
        self.out = Box::new(io::sink());
        part.persist(&path)
            .map_err(|e| Failure::Other(anyhow::Error::msg(format!("{}: {}", path.display(), e.error))))?;
        Ok(self.count)
    }
}

impl From<Refused> for Failure {
    fn from(error: Refused) -> Self {
        Failure::input(error)
    }
}
