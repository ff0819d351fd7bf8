//! The texts that were named: how they become documents, windows, and what a model is measured on.

use superlens_lm::corpus::{self, Documents, Split, Windows};
use superlens_lm::intervene::{Text, read_texts};
use superlens_lm::tokenizer::Tokenizer;

use super::model_files::Model;
use crate::args::{Reading, Sample, SplitArg, Texts};
use crate::failure::Failure;

/// How documents are told apart.
pub fn reading(args: &Reading) -> corpus::Options {
    let split = match (&args.separator, args.split) {
        (Some(separator), _) => Split::Separator(separator.clone()),
        (None, SplitArg::File) => Split::File,
        (None, SplitArg::Lines) => Split::Lines,
        (None, SplitArg::BlankLines) => Split::BlankLines,
    };
    corpus::Options { split, text_key: args.text_key.clone(), ..corpus::Options::default() }
}

/// How they are cut to windows.
pub fn windows(args: &Texts, model: &Model, tokenizer: &Tokenizer) -> Result<corpus::Plan, Failure> {
    let mut windows = corpus::Plan::new(model.context("--context", args.context)?, tokenizer);
    if args.bare {
        (windows.prefix, windows.suffix) = (vec![], vec![]);
    }
    if args.pack {
        let separator = tokenizer.eos().or(tokenizer.suffix().last().copied()).or(tokenizer.bos());
        windows.pack = Some(separator.ok_or_else(|| {
            let path = tokenizer.path().display();
            Failure::Input(format!("--pack: {path} names no token that ends a text; leave out --pack"))
        })?);
        // The separator stands between documents; nothing goes around windows.
        (windows.prefix, windows.suffix) = (vec![], vec![]);
    }
    windows.truncate = args.truncate;
    Ok(windows)
}

/// The texts of a sample; of a model that predicts next tokens, one of which at least can be counted.
pub fn sample(args: &Sample, model: &Model, tokenizer: &Tokenizer) -> Result<Vec<Text>, Failure> {
    let transformer = &model.transformer;
    if !transformer.config.causal || transformer.weights.head.is_none() {
        let what =
            format!("{}: a model of family {} predicts no next tokens", model.dir.display(), transformer.config.family);
        return Err(Failure::Input(format!("{what}; name one that does")));
    }
    let documents = Documents::open(&args.texts.text, &reading(&args.texts.reading))?;
    let windows = Windows::new(documents, tokenizer, windows(&args.texts, model, tokenizer)?)?;
    let texts = read_texts(windows, transformer, tokenizer, args.max_tokens, args.skip_special_tokens)?;
    if texts.iter().all(|text| text.predicting().is_empty()) {
        let names: Vec<String> = args.texts.text.iter().map(|path| path.display().to_string()).collect();
        return Err(Failure::Input(format!(
            "{}: holds no token that is predicted from one before it",
            names.join(", ")
        )));
    }
    Ok(texts)
}
