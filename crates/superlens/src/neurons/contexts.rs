//! Rows as pieces of text: what a person reads, and the records that other tools take.

use std::ops::Range;

use superlens_lm::store::Tokens;

use super::{Record, Source, Units};

/// Writes tokens as text.
#[derive(Clone, Copy, Debug)]
pub struct Contexts<'a> {
    tokens: &'a Tokens,
    /// Words are tokens without blanks, with a mark where one goes on (WordPiece).
    word_pieces: bool,
    /// Tokens before and after an example.
    before: u64,
    after: u64,
}

impl<'a> Contexts<'a> {
    pub fn new(tokens: &'a Tokens, before: u64, after: u64) -> Contexts<'a> {
        let texts = || (0..tokens.distinct() as u32).map(|w| tokens.text_of(w));
        let word_pieces = !texts().any(|t| t.starts_with(' ')) && texts().any(|t| t.starts_with("##"));
        Contexts { tokens, word_pieces, before, after }
    }

    /// The same with other lengths.
    pub fn with(self, before: u64, after: u64) -> Contexts<'a> {
        Contexts { before, after, ..self }
    }

    /// The rows of the context of one.
    pub fn rows(&self, row: u64) -> Range<u64> {
        self.tokens.around(row, self.before, self.after)
    }

    /// The token at a row as it stands in a text.
    pub fn token(&self, row: u64) -> String {
        let text = self.tokens.text(row);
        match (self.word_pieces, text.strip_prefix("##")) {
            (true, Some(rest)) => rest.to_string(),
            (true, None) => format!(" {text}"),
            (false, _) => text.to_string(),
        }
    }

    /// The text around a row.
    pub fn text(&self, row: u64) -> String {
        self.rows(row).map(|at| self.token(at)).collect::<String>().trim_start().to_string()
    }

    /// The text before a row, its token, and the text after.
    pub fn parts(&self, row: u64) -> [String; 3] {
        let rows = self.rows(row);
        let join = |rows: Range<u64>| rows.map(|at| self.token(at)).collect::<String>();
        [join(rows.start..row).trim_start().to_string(), self.token(row), join(row + 1..rows.end)]
    }

    /// The context of a row with what a unit gives on every token. Panics where there is no such unit.
    pub fn record(&self, source: Source<'_>, units: &Units, unit: usize, row: u64) -> Record {
        let rows = self.rows(row);
        let activations = match (units, source) {
            (Units::Neurons(_), Source::Store(store)) => store.column(rows.clone(), unit),
            _ => {
                let values = units.values(&source.range(rows.clone()));
                (0..values.rows()).map(|i| values[(i, unit)]).collect()
            }
        };
        Record { tokens: rows.map(|at| self.token(at)).collect(), activations }
    }
}
