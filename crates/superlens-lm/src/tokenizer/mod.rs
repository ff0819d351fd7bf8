//! [`Tokenizer`]: text to token ids and back, as the model's own tokenizer does it.
//!
//! Three forms are read: `tokenizer.json` of Hugging Face, `vocab.json` with `merges.txt` of GPT-2 (both with the feature `tokenizers`), and
//! the `tokenizer.bin` of llama2.c.

mod files;
#[cfg(feature = "tokenizers")]
mod hugging_face;
mod llama2;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::TextError;
#[cfg(feature = "tokenizers")]
use hugging_face::HuggingFace;
use llama2::Llama2;

/// Token ids of a text, and where each of them stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    pub ids: Vec<u32>,
    /// First byte of the text that a token stands for, and the one after its last; `(0, 0)` for what is no part of the text. Tokens that
    /// share a character all have the whole of it.
    pub spans: Vec<(usize, usize)>,
}

impl Encoding {
    fn push(&mut self, id: u32, span: (usize, usize)) {
        self.ids.push(id);
        self.spans.push(span);
    }
}

/// The tokenizer of a model.
#[derive(Debug)]
pub struct Tokenizer {
    path: PathBuf,
    kind: Kind,
    special: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    sha256: String,
}

#[derive(Debug)]
enum Kind {
    #[cfg(feature = "tokenizers")]
    HuggingFace(Box<HuggingFace>),
    Llama2(Llama2),
}

impl Tokenizer {
    /// Opens a file, or what a model's folder holds: `tokenizer.json`, `vocab.json` with `merges.txt`, or one `tok*.bin`. Truncation,
    /// padding and dropout that a `tokenizer.json` asks for are left out.
    ///
    /// # Errors
    /// No tokenizer there, one that can't be read, or one that needs a feature which this build is without.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        files::open(path)
    }

    /// The file or folder that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ids of `text`, with where each stands in it. With `add_special` the tokens go around it that the tokenizer puts there: BOS,
    /// `[CLS]` and `[SEP]`, or none.
    ///
    /// # Errors
    /// What the tokenizer itself refuses.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Encoding, TextError> {
        match &self.kind {
            #[cfg(feature = "tokenizers")]
            Kind::HuggingFace(inner) => inner.encode(text, add_special).map_err(|what| self.refused(&what)),
            Kind::Llama2(inner) => Ok(inner.encode(text, add_special)),
        }
    }

    /// The ids alone, which takes less than [`encode`](Self::encode).
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn ids(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        match &self.kind {
            #[cfg(feature = "tokenizers")]
            Kind::HuggingFace(inner) => inner.ids(text, add_special).map_err(|what| self.refused(&what)),
            Kind::Llama2(inner) => Ok(inner.encode(text, add_special).ids),
        }
    }

    /// The ids of many texts, in their order, on the threads of the pool that it is called from.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), of the first text that has one.
    pub fn ids_of_all<T: AsRef<str> + Sync>(&self, texts: &[T], add_special: bool) -> Result<Vec<Vec<u32>>, TextError> {
        let made: Vec<_> = texts.par_iter().map(|text| self.ids(text.as_ref(), add_special)).collect();
        made.into_iter().collect()
    }

    /// The text of ids; bytes that are no UTF-8 become U+FFFD, ids that there are none of are left out.
    ///
    /// # Errors
    /// What the tokenizer itself refuses.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        match &self.kind {
            #[cfg(feature = "tokenizers")]
            Kind::HuggingFace(inner) => inner.decode(ids, skip_special).map_err(|what| self.refused(&what)),
            Kind::Llama2(inner) => {
                let spelled = |id: &u32| match self.is_special(*id) {
                    true if skip_special => None,
                    true => inner.piece(*id).map(String::into_bytes),
                    false => inner.bytes(*id),
                };
                let bytes: Vec<u8> = ids.iter().filter_map(spelled).flatten().collect();
                let text = String::from_utf8_lossy(&bytes);
                // The space that `encode` puts before every text.
                Ok(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
        }
    }

    /// A token as it stands in a text, with the space before it; part of a character becomes U+FFFD. None if there is no such id.
    pub fn text(&self, id: u32) -> Option<String> {
        let bytes = match &self.kind {
            #[cfg(feature = "tokenizers")]
            Kind::HuggingFace(inner) => inner.bytes(id),
            Kind::Llama2(inner) if self.is_special(id) => inner.piece(id).map(String::into_bytes),
            Kind::Llama2(inner) => inner.bytes(id),
        };
        bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// One more than the largest id. A model whose embedding has fewer rows is not this tokenizer's.
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            #[cfg(feature = "tokenizers")]
            Kind::HuggingFace(inner) => inner.vocab_size(),
            Kind::Llama2(inner) => inner.vocab_size(),
        }
    }

    /// Holds it against the embeddings of a model, of which many have more than tokens: rows up to the next multiple of 64 or 128, or some hundreds
    /// for tokens that never came. Gives what to warn of where there are more of those than in any model that is known. Ids that a model lacks are
    /// found where they occur ([`check`](crate::model::Transformer::check)).
    ///
    /// # Errors
    /// A tokenizer that leaves most of the embeddings without a token: it is that of another model.
    pub fn check_vocab(&self, embeddings: usize) -> Result<Option<String>, TextError> {
        /// What a multiple of 128 leaves over.
        const PADDING: usize = 128;
        let tokens = self.vocab_size();
        let told = |what: &str| format!("has {tokens} tokens, but the model has embeddings for {embeddings}{what}");
        match embeddings.saturating_sub(tokens) {
            0..PADDING => Ok(None),
            _ if 2 * tokens < embeddings => Err(TextError::wrong(
                &self.path,
                told("; expected the model's own tokenizer, name it with --tokenizer"),
            )),
            _ if 10 * tokens < 9 * embeddings => {
                Ok(Some(format!("{}: {}", self.path.display(), told("; is it its tokenizer?"))))
            }
            _ => Ok(None),
        }
    }

    /// Begins a text, where the tokenizer or the files beside it say so.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Ends a text, where the tokenizer or the files beside it say so.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// What `add_special` puts before a text.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// What `add_special` puts after a text.
    pub fn suffix(&self) -> &[u32] {
        &self.suffix
    }

    /// Whether a token stands for no text of its own.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// SHA-256 of the file, in hex; of `vocab.json` followed by `merges.txt` where there are two.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    #[cfg(feature = "tokenizers")]
    fn refused(&self, what: &str) -> TextError {
        TextError::wrong(&self.path, format!("the tokenizer refuses a text: {what}"))
    }
}
