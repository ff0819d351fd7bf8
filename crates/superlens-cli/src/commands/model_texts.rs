//! Texts on which a model is asked something: those of a user, or some that it makes itself.

use std::path::PathBuf;

use superlens_lm::corpus::{Documents, Plan, Windows};
use superlens_lm::generate::{self, Choice};
use superlens_lm::intervene::{Changes, Text, read_texts};
use superlens_lm::tokenizer::Tokenizer;
use superlens_tensor::Rng;

use super::model_files::Model;
use super::texts::reading;
use crate::args::{Reading, SplitArg};
use crate::failure::Failure;

/// So many tokens of the files, a document a line; text of the model's own where there are none.
pub fn of(
    files: &[PathBuf],
    model: &Model,
    tokenizer: &Tokenizer,
    tokens: u64,
    seed: u64,
) -> Result<Vec<Text>, Failure> {
    if files.is_empty() { sampled(model, tokenizer, tokens, seed) } else { read(files, model, tokenizer, tokens) }
}

fn read(files: &[PathBuf], model: &Model, tokenizer: &Tokenizer, tokens: u64) -> Result<Vec<Text>, Failure> {
    let how = Reading { split: SplitArg::Lines, separator: None, text_key: "text".into() };
    let windows = Windows::new(
        Documents::open(files, &reading(&how))?,
        tokenizer,
        Plan::new(model.context("--text", None)?, tokenizer),
    )?;
    let texts = read_texts(windows, &model.transformer, tokenizer, tokens, true)?;
    let counted = |text: &Text| match model.transformer.weights.head {
        Some(_) => !text.predicting().is_empty(),
        None => text.spared.as_ref().is_none_or(|spared| spared.contains(&false)),
    };
    if texts.iter().any(counted) {
        return Ok(texts);
    }
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    Err(Failure::Input(format!("{}: holds no token that the model could be asked about", names.join(", "))))
}

/// Text that the model makes itself.
fn sampled(model: &Model, tokenizer: &Tokenizer, tokens: u64, seed: u64) -> Result<Vec<Text>, Failure> {
    let prompt = match tokenizer.prefix() {
        [] => tokenizer.bos().or(tokenizer.eos()).into_iter().collect(),
        prefix => prefix.to_vec(),
    };
    let plan = generate::Plan {
        tokens,
        length: model.context("--model", None)?,
        prompt: prompt.clone(),
        ends: tokenizer.eos().into_iter().chain(tokenizer.bos()).collect(),
        choice: Choice::default(),
    };
    let (mut texts, mut first) = (Vec::new(), 0);
    let rng = Rng::new(seed).fork("text of the model");
    let made = generate::generate(&model.transformer, &Changes::default(), &plan, &rng, |ids| -> Result<(), Refused> {
        let mut text = Text { first, ..Text::one(&[prompt.as_slice(), ids].concat()) };
        // What stands for no text is neither changed nor counted.
        text.spared = Some((0..text.batch.tokens()).map(|i| i < prompt.len()).collect());
        first += text.batch.tokens() as u64;
        texts.push(text);
        Ok(())
    });
    match made {
        Ok(_) => Ok(texts),
        Err(Refused(why)) => Err(Failure::Input(format!("--model: {why}; name a text with --text"))),
    }
}

/// Why nothing could be sampled.
struct Refused(String);

impl From<generate::Refused> for Refused {
    fn from(why: generate::Refused) -> Refused {
        Refused(why.to_string())
    }
}
