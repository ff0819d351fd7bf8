//! [`Pieces`]: windows of a text put together until they are worth a product of matrices.

use crate::corpus::{Position, Windows};
use crate::model::{Batch, Transformer};
use crate::store::TokenRow;
use crate::tokenizer::Tokenizer;

use super::HarvestError;
use crate::TextError;

/// Tokens of a piece, but for the window that passes it. Large enough that reading the weights costs little beside the products, small
/// enough that activations stay in the cache.
pub(super) const PIECE_TOKENS: usize = 1024;

/// Sequences that are computed together, and which of their tokens are stored.
pub(super) struct Piece {
    /// Where its first window begins.
    pub at: Position,
    pub batch: Batch,
    /// Rows of the batch that are stored; all where `None`.
    pub kept: Option<Vec<usize>>,
    /// A token for each stored row.
    pub rows: Vec<TokenRow>,
}

/// The pieces of a text, in its order.
pub(super) struct Pieces<'a> {
    windows: Windows<'a>,
    model: &'a Transformer,
    tokenizer: &'a Tokenizer,
    skip_special: bool,
    /// Text of each token that has occurred; outer `None` for those that have not.
    texts: Vec<Option<Option<String>>>,
}

impl<'a> Pieces<'a> {
    pub fn new(windows: Windows<'a>, model: &'a Transformer, tokenizer: &'a Tokenizer, skip_special: bool) -> Self {
        let texts = vec![None; tokenizer.vocab_size()];
        Self { windows, model, tokenizer, skip_special, texts }
    }

    /// Where the next piece begins.
    pub fn position(&self) -> Position {
        self.windows.position()
    }

    /// Up to `count` pieces, and what kept it from giving all of them.
    pub fn take(&mut self, count: usize) -> (Vec<Piece>, Option<HarvestError>) {
        let mut pieces = Vec::new();
        while pieces.len() < count {
            match self.next() {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(error) => return (pieces, Some(error)),
            }
        }
        (pieces, None)
    }

    fn next(&mut self) -> Result<Option<Piece>, HarvestError> {
        let at = self.windows.position();
        let (mut batch, mut rows) = (Batch::new(), Vec::new());
        while batch.tokens() < PIECE_TOKENS {
            let Some(window) = self.windows.next().transpose()? else { break };
            self.model.check(&window.ids).map_err(|what| TextError::wrong(self.tokenizer.path(), what))?;
            batch.push(&window.ids);
            for mut row in window.rows() {
                row.text = self.text(row.token_id);
                rows.push(row);
            }
        }
        if batch.tokens() == 0 {
            return Ok(None);
        }
        let kept = self.skip_special.then(|| {
            let stored = |i: &usize| !self.tokenizer.is_special(rows[*i].token_id);
            (0..rows.len()).filter(stored).collect::<Vec<usize>>()
        });
        let rows = match &kept {
            Some(kept) => kept.iter().map(|&i| rows[i].clone()).collect(),
            None => rows,
        };
        Ok(Some(Piece { at, batch, kept, rows }))
    }

    fn text(&mut self, id: u32) -> Option<String> {
        let spelled = || self.tokenizer.text(id);
        match self.texts.get_mut(id as usize) {
            Some(known) => known.get_or_insert_with(spelled).clone(),
            None => spelled(),
        }
    }
}
