//! [`Text`]: sequences that are run together, and which of their tokens count.

use crate::TextError;
use crate::corpus::Windows;
use crate::model::{Batch, Transformer};
use crate::tokenizer::Tokenizer;

/// Tokens of a text but for the sequence that passes it.
const TOKENS: usize = 512;

/// Sequences that are run together.
#[derive(Clone, Debug)]
pub struct Text {
    pub batch: Batch,
    /// How many tokens earlier texts hold.
    pub first: u64,
    /// Tokens at which nothing is changed and whose prediction is not counted: those that stand for no text. `None` if there are none.
    pub spared: Option<Vec<bool>>,
}

impl Text {
    /// One sequence.
    pub fn one(ids: &[u32]) -> Text {
        Text { batch: Batch::one(ids), first: 0, spared: None }
    }

    /// The rows whose prediction counts, which is that of the next token: those before a token of the same sequence that is not spared.
    pub fn predicting(&self) -> Vec<usize> {
        let counts = |row: usize| self.spared.as_ref().is_none_or(|spared| !spared[row]);
        let of = |s: usize| {
            let (from, to) = self.batch.rows(s);
            (from + 1..to).filter(|&row| counts(row)).map(|row| row - 1).collect::<Vec<_>>()
        };
        (0..self.batch.sequences()).flat_map(of).collect()
    }
}

/// The windows of a corpus as texts, until they hold `most` tokens. With `spare`, tokens that stand for no text (BOS, separators) are spared.
///
/// # Errors
/// What can't be read, and tokens that the model has not.
pub fn read_texts(
    mut windows: Windows,
    model: &Transformer,
    tokenizer: &Tokenizer,
    most: u64,
    spare: bool,
) -> Result<Vec<Text>, TextError> {
    let (mut texts, mut first, mut ended) = (Vec::new(), 0, false);
    while first < most && !ended {
        let mut batch = Batch::new();
        while batch.tokens() < TOKENS && first + (batch.tokens() as u64) < most {
            let Some(window) = windows.next().transpose()? else {
                ended = true;
                break;
            };
            let left = usize::try_from(most - first).unwrap_or(usize::MAX) - batch.tokens();
            let ids = &window.ids[..window.ids.len().min(left)];
            model.check(ids).map_err(|what| TextError::wrong(tokenizer.path(), what))?;
            batch.push(ids);
        }
        let tokens = batch.tokens() as u64;
        if tokens > 0 {
            let spared = spare.then(|| batch.ids().iter().map(|&id| tokenizer.is_special(id)).collect());
            texts.push(Text { batch, first, spared });
        }
        first += tokens;
    }
    Ok(texts)
}
