//! [`Windows`]: the tokens of documents, in pieces that fit a model's context.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Document, Documents, Place};
use crate::TextError;
use crate::store::TokenRow;
use crate::tokenizer::Tokenizer;

/// Documents are turned into tokens together until they have so many bytes, or are so many.
const BATCH_BYTES: usize = 1 << 20;
const BATCH_DOCUMENTS: usize = 1024;

/// How tokens become windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tokens of a window, those at its ends too.
    pub context: usize,
    /// What every window begins and ends with: BOS, `[CLS]` and `[SEP]`, or nothing.
    pub prefix: Vec<u32>,
    pub suffix: Vec<u32>,
    /// Documents follow one another, this token after each, so that all windows but the last are full. Without it no window holds tokens of
    /// two documents.
    pub pack: Option<u32>,
    /// Only the first window of each document.
    pub truncate: bool,
}

impl Plan {
    /// Windows that begin and end as the tokenizer says, each within a document.
    pub fn new(context: usize, tokenizer: &Tokenizer) -> Self {
        let (prefix, suffix) = (tokenizer.prefix().to_vec(), tokenizer.suffix().to_vec());
        Self { context, prefix, suffix, pack: None, truncate: false }
    }

    /// Tokens of a document that fit in a window.
    fn room(&self) -> usize {
        self.context.saturating_sub(self.prefix.len() + self.suffix.len())
    }
}

/// What a model sees at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub ids: Vec<u32>,
    /// Which documents the tokens are of; one, if windows are not packed. Their lengths add up to that of `ids`.
    pub parts: Vec<Part>,
}

/// Tokens of one document in a window. Prefix, suffix and separator count as the document's that they stand at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub document: u32,
    /// How many tokens of the document earlier windows hold, their prefixes and suffixes with them.
    pub position: u32,
    pub len: usize,
}

impl Window {
    /// A row for each token, without its text.
    pub fn rows(&self) -> impl Iterator<Item = TokenRow> {
        let places =
            self.parts.iter().flat_map(|part| (0..part.len as u32).map(|i| (part.document, part.position + i)));
        let row = |(&token_id, (document, position))| TokenRow { document, position, token_id, text: None };
        self.ids.iter().zip(places).map(row)
    }
}

/// Where a window begins: enough to go on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Of the document.
    pub place: Place,
    /// Tokens of the document that were given out, and with prefixes and suffixes.
    pub tokens: u64,
    pub rows: u64,
}

/// A document's tokens, a separator at their end where windows are packed.
struct Tokens {
    number: u32,
    from: Place,
    to: Place,
    ids: Vec<u32>,
}

/// The windows of documents, in their order: a function of the text, the tokenizer and the plan alone. Ends after the first error.
pub struct Windows<'a> {
    documents: Documents,
    tokenizer: &'a Tokenizer,
    plan: Plan,
    queue: VecDeque<Tokens>,
    position: Position,
    /// What ended the documents, to be told after the windows before it.
    trouble: Option<TextError>,
    ended: bool,
}

impl<'a> Windows<'a> {
    /// # Errors
    /// A context without room for a token, and windows that are both packed and truncated.
    pub fn new(documents: Documents, tokenizer: &'a Tokenizer, plan: Plan) -> Result<Self, TextError> {
        let wrong = |what: String| Err(TextError::wrong(&documents.paths[0], what));
        if plan.room() == 0 {
            let ends = plan.prefix.len() + plan.suffix.len();
            return wrong(format!(
                "context: expected more than the {ends} tokens at the ends of a window, found {}",
                plan.context
            ));
        }
        if plan.pack.is_some() && plan.truncate {
            return wrong("packed windows hold every token; leave out either packing or truncation".into());
        }
        let (queue, position) = (VecDeque::new(), Position::default());
        Ok(Self { documents, tokenizer, plan, queue, position, trouble: None, ended: false })
    }

    /// Goes on from where a window of the same text begins.
    pub fn go_on(mut self, from: Position) -> Self {
        self.documents = self.documents.go_on(from.place);
        self.position = from;
        self
    }

    /// Where the next window begins.
    pub fn position(&self) -> Position {
        match self.queue.front() {
            Some(front) if self.position.tokens >= front.ids.len() as u64 => {
                Position { place: front.to, ..Position::default() }
            }
            _ => self.position,
        }
    }

    /// The document that the next token is of; none at the end.
    fn current(&mut self) -> Result<Option<&Tokens>, TextError> {
        loop {
            let tokens = self.position.tokens;
            match self.queue.front() {
                Some(front) if tokens < front.ids.len() as u64 => break,
                Some(front) if tokens > front.ids.len() as u64 => {
                    let path = self.documents.paths.get(front.from.file).map_or(Path::new("text"), |path| path);
                    let what = "is not the text that was begun with: a document has become shorter; begin anew";
                    return Err(TextError::wrong(path, what));
                }
                Some(front) => {
                    self.position = Position { place: front.to, ..Position::default() };
                    self.queue.pop_front();
                }
                None => {
                    if let Some(trouble) = self.trouble.take() {
                        return Err(trouble);
                    }
                    self.load()?;
                    if self.queue.is_empty() && self.trouble.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.queue.front())
    }

    /// Turns the next documents into tokens.
    fn load(&mut self) -> Result<(), TextError> {
        let (mut batch, mut bytes): (Vec<Document>, usize) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && batch.len() < BATCH_DOCUMENTS {
            match self.documents.next() {
                None => break,
                Some(Ok(document)) => {
                    bytes += document.text.len();
                    batch.push(document);
                }
                Some(Err(trouble)) => {
                    self.trouble = Some(trouble);
                    break;
                }
            }
        }
        let texts: Vec<&str> = batch.iter().map(|document| document.text.as_str()).collect();
        let ids = self.tokenizer.ids_of_all(&texts, false)?;
        for (document, mut ids) in batch.into_iter().zip(ids) {
            ids.extend(self.plan.pack);
            self.queue.push_back(Tokens { number: document.number, from: document.from, to: document.to, ids });
        }
        Ok(())
    }

    fn next_window(&mut self) -> Result<Option<Window>, TextError> {
        let Plan { prefix, suffix, pack, truncate, .. } = self.plan.clone();
        let (mut window, mut room) = (Window { ids: prefix, parts: Vec::new() }, self.plan.room());
        while room > 0 {
            let Some(current) = self.current()? else { break };
            let (number, from, all) = (current.number, current.from, current.ids.len() as u64);
            let Position { tokens, rows, .. } = self.position;
            let take = room.min((all - tokens) as usize);
            let piece = self.queue[0].ids[tokens as usize..tokens as usize + take].to_vec();
            let len = if window.parts.is_empty() { window.ids.len() + take } else { take };
            window.ids.extend(piece);
            window.parts.push(Part { document: number, position: self.row(rows)?, len });
            let tokens = if truncate { all } else { tokens + take as u64 };
            self.position = Position { place: from, tokens, rows: rows + len as u64 };
            room = if pack.is_some() { room - take } else { 0 };
        }
        let Some(last) = window.parts.last_mut() else { return Ok(None) };
        last.len += suffix.len();
        self.position.rows += suffix.len() as u64;
        window.ids.extend(suffix);
        Ok(Some(window))
    }

    fn row(&self, rows: u64) -> Result<u32, TextError> {
        let told =
            || TextError::wrong(&self.documents.paths[0], "a document has more tokens than can be counted (2^32)");
        u32::try_from(rows).map_err(|_| told())
    }
}

impl Iterator for Windows<'_> {
    type Item = Result<Window, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_window().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
