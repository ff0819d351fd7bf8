//! One text as tokens, and which prediction in it is meant, as flags name them.

use std::io::{self, Read};
use std::path::Path;

use superlens_lm::corpus::STDIN;
use superlens_lm::model::{Batch, Sites};
use superlens_lm::tokenizer::Tokenizer;

use super::likeliest::{likeliest, probabilities};
use super::model_files::Model;
use crate::args::{ModelFiles, Prediction, Prompt};
use crate::failure::{Failure, say};

/// More bytes than any context holds.
const LARGEST_TEXT: u64 = 64 << 20;

/// The tokens that flags name, all of which the model has.
pub fn tokens(
    args: &Prompt,
    model: &Model,
    tokenize: impl FnOnce(&str) -> Result<Vec<u32>, Failure>,
) -> Result<Vec<u32>, Failure> {
    let (ids, from) = match (&args.token_ids, &args.text) {
        (Some(list), _) => (listed(list)?, "--token-ids".to_string()),
        (None, Some(path)) => (tokenize(&text(path)?)?, path.display().to_string()),
        (None, None) => return Err(Failure::Input("--text or --token-ids: expected one of them".into())),
    };
    if ids.is_empty() {
        return Err(Failure::Input(format!("{from}: expected one token at least, found none")));
    }
    model.transformer.check(&ids).map_err(|what| Failure::Input(format!("{from}: {what}")))?;
    model.warn_if_long(&from, ids.len());
    Ok(ids)
}

/// How tokens are told: by their text, or by their ids where there is no tokenizer.
pub struct Spelling(Option<Tokenizer>);

impl Spelling {
    /// Where nothing but the text of tokens is wanted of a tokenizer (not `needed`), and none is named, one that is missing is no reason to stop.
    pub fn open(model: &Model, files: &ModelFiles, needed: bool) -> Result<Spelling, Failure> {
        match model.tokenizer(files.tokenizer.as_deref()) {
            Ok(tokenizer) => Ok(Spelling(Some(tokenizer))),
            Err(error) if needed || files.tokenizer.is_some() => Err(error.into()),
            Err(error) => {
                say(&format!("warning: {error}; tokens are shown by their ids"));
                Ok(Spelling(None))
            }
        }
    }

    /// Panics where there is none: whoever asks has said that it is needed.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.0.as_ref().expect("a tokenizer that was needed")
    }

    pub fn text(&self, id: u32) -> Option<String> {
        self.0.as_ref().and_then(|tokenizer| tokenizer.text(id))
    }

    /// Between quotation marks, or the id.
    pub fn quoted(&self, id: u32) -> String {
        self.text(id).map_or_else(|| format!("#{id}"), |text| format!("{text:?}"))
    }
}

fn listed(list: &str) -> Result<Vec<u32>, Failure> {
    let id = |word: &str| {
        let told = || Failure::Input(format!("--token-ids: expected numbers with commas between them, found `{word}`"));
        word.trim().parse().map_err(|_| told())
    };
    list.split(',').map(id).collect()
}

/// A whole text, but for a line break at its end.
pub fn text(path: &Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::Input(format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == STDIN {
        io::stdin().take(LARGEST_TEXT + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => wrong("there is no such file".into()),
        io::ErrorKind::IsADirectory => wrong("is a folder; name a text".into()),
        _ => wrong(format!("can't be read: {e}")),
    })?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(wrong(format!("is longer than {LARGEST_TEXT} bytes; superlens harvest takes long texts")));
    }
    // As elsewhere, a mark of the byte order is no text; nor is the line break that editors put at the end of a file.
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        wrong(format!("byte {at} (counted from 0) is no UTF-8; convert the file"))
    })
}

/// Where the prediction is made, and of which token: the last and the likeliest, where none is named.
pub fn prediction(
    model: &Model,
    spelling: &Spelling,
    batch: &Batch,
    args: &Prediction,
) -> Result<(usize, u32), Failure> {
    let transformer = &model.transformer;
    let position = args.position.unwrap_or(batch.tokens() - 1);
    if position >= batch.tokens() {
        let what = format!("--position: the text has tokens 0 to {}, found {position}", batch.tokens() - 1);
        return Err(Failure::Input(what));
    }
    let token = match (&args.token, args.token_id) {
        (Some(text), _) => one_token(text, spelling.tokenizer())?,
        (None, Some(id)) => id,
        (None, None) => {
            let logits = transformer.forward(batch, &Sites::and_logits([], &transformer.config), None, &mut |_, _| {});
            let Some(logits) = logits else {
                let (dir, family) = (model.dir.display(), &transformer.config.family);
                return Err(Failure::Input(format!("{dir}: a model of family {family} has no output")));
            };
            likeliest(&probabilities(logits.row(position)), 1)[0] as u32
        }
    };
    let vocab = transformer.weights.embed.rows();
    if token as usize >= vocab {
        let flag = if args.token.is_some() { "--token" } else { "--token-id" };
        return Err(Failure::Input(format!("{flag}: the model has tokens 0 to {}, found {token}", vocab - 1)));
    }
    Ok((position, token))
}

/// The one token that a text is.
fn one_token(text: &str, tokenizer: &Tokenizer) -> Result<u32, Failure> {
    let piece = (0..tokenizer.vocab_size() as u32).find(|&id| tokenizer.text(id).is_some_and(|piece| piece == text));
    if let Some(id) = piece {
        return Ok(id);
    }
    // Some tokens are spelled otherwise than they read.
    let ids = tokenizer.ids(text, false)?;
    match ids[..] {
        [id] => Ok(id),
        _ => {
            let pieces: Vec<String> =
                ids.iter().map(|&id| format!("{:?}", tokenizer.text(id).unwrap_or_default())).collect();
            let what = format!("expected a text that is one token, found {}: {}", ids.len(), pieces.join(" "));
            Err(Failure::Input(format!("--token: {what}; mind the space before a word")))
        }
    }
}
