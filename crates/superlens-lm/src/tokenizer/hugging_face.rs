//! `tokenizer.json`, and the `vocab.json` with `merges.txt` of GPT-2, through the crate `tokenizers`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokenizers::Tokenizer as Inner;
use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::Precompiled;

use super::Encoding;

/// How pieces are spelled in the vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// Bytes as characters that can be seen, `Ġ` for a space.
    Bytes,
    /// `▁` for a space, `<0xNN>` for a byte.
    Metaspace,
    /// As it is; `##` where no space goes before.
    Plain,
}

#[derive(Debug)]
pub(super) struct HuggingFace {
    inner: Inner,
    spelling: Spelling,
    special: BTreeSet<u32>,
    vocab_size: usize,
}

impl HuggingFace {
    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let told = |e: serde_json::Error| format!("is no tokenizer.json that is read: {e}");
        // In two steps: the crate panics where the text is no JSON, and where a table of SentencePiece is none.
        let whole: Value = serde_json::from_slice(bytes).map_err(told)?;
        check_tables(&whole["normalizer"]).map_err(told)?;
        Self::new(serde_json::from_value(whole).map_err(told)?)
    }

    /// GPT-2's own form, put as a `tokenizer.json`. `bos` goes before every text where it is given.
    pub(super) fn from_merges(
        vocab: &[u8],
        merges: &[u8],
        special: &[String],
        bos: Option<&str>,
    ) -> Result<Self, String> {
        let vocab: BTreeMap<String, u32> =
            serde_json::from_slice(vocab).map_err(|e| format!("vocab.json: expected tokens with their ids: {e}"))?;
        let merges = std::str::from_utf8(merges).map_err(|e| format!("merges.txt: is no UTF-8: {e}"))?;
        let lines = merges.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with("#version"));
        let pair = |(i, line): (usize, &str)| match line.split_once(' ') {
            Some((a, b)) if !b.contains(' ') => Ok([a.to_owned(), b.to_owned()]),
            _ => Err(format!("merges.txt: line {}: expected two tokens with a space between them", i + 1)),
        };
        let merges = lines.map(pair).collect::<Result<Vec<_>, _>>()?;
        let known = special.iter().filter_map(|token| Some((token, *vocab.get(token)?)));
        let added: BTreeMap<u32, Value> = known
            .map(|(token, id)| (id, json!({"id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})))
            .collect();
        let template = bos.and_then(|bos| {
            let id = vocab.get(bos)?;
            let (special, text) = (json!({"SpecialToken": {"id": bos, "type_id": 0}}), json!({"Sequence": {"id": "A", "type_id": 0}}));
            let tokens = json!({bos: {"id": bos, "ids": [id], "tokens": [bos]}});
            let pair = json!([special, text, {"Sequence": {"id": "B", "type_id": 0}}]);
            Some(json!({"type": "TemplateProcessing", "single": [special, text], "pair": pair, "special_tokens": tokens}))
        });
        let level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
        let whole = json!({
            "version": "1.0",
            "added_tokens": added.into_values().collect::<Vec<_>>(),
            "pre_tokenizer": level,
            "decoder": level,
            "post_processor": template,
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        });
        let inner = serde_json::from_value(whole).map_err(|e| format!("vocab.json and merges.txt don't fit: {e}"))?;
        Self::new(inner)
    }

    fn new(mut inner: Inner) -> Result<Self, String> {
        // A text is encoded whole: what is cut and filled up is not the tokenizer's to say.
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        // Merges left out at random are for training.
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special).map(|(&id, _)| id).collect();
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        if vocab_size == 0 {
            return Err("holds no tokens".into());
        }
        let decoder = serde_json::to_string(&inner.get_decoder()).map_err(|e| e.to_string())?;
        let spelling = match () {
            _ if decoder.contains("ByteLevel") => Spelling::Bytes,
            _ if decoder.contains("Metaspace") || decoder.contains('▁') => Spelling::Metaspace,
            _ => Spelling::Plain,
        };
        Ok(Self { inner, spelling, special, vocab_size })
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    pub(super) fn special(&self) -> &BTreeSet<u32> {
        &self.special
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    pub(super) fn encode(&self, text: &str, add_special: bool) -> Result<Encoding, String> {
        let made = self.inner.encode(text, add_special).map_err(|e| e.to_string())?;
        Ok(Encoding { ids: made.get_ids().to_vec(), spans: made.get_offsets().to_vec() })
    }

    /// The ids alone, which takes less.
    pub(super) fn ids(&self, text: &str, add_special: bool) -> Result<Vec<u32>, String> {
        let made = self.inner.encode_fast(text, add_special).map_err(|e| e.to_string())?;
        Ok(made.get_ids().to_vec())
    }

    /// What is put before and after a text.
    pub(super) fn ends(&self) -> Result<(Vec<u32>, Vec<u32>), String> {
        let made = self.inner.encode("a", true).map_err(|e| e.to_string())?;
        let (ids, mask) = (made.get_ids(), made.get_special_tokens_mask());
        let before = mask.iter().take_while(|&&m| m == 1).count();
        let after = mask[before..].iter().rev().take_while(|&&m| m == 1).count();
        Ok((ids[..before].to_vec(), ids[ids.len() - after..].to_vec()))
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, String> {
        self.inner.decode(ids, skip_special).map_err(|e| e.to_string())
    }

    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The bytes of a token as they stand in a text.
    pub(super) fn bytes(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.piece(id)?;
        if self.inner.get_added_tokens_decoder().contains_key(&id) {
            return Some(piece.into_bytes());
        }
        Some(match self.spelling {
            Spelling::Bytes => match piece.chars().map(byte_of).collect() {
                Some(bytes) => bytes,
                None => piece.into_bytes(),
            },
            Spelling::Metaspace => match piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
                Some(hex) if hex.len() == 2 => {
                    u8::from_str_radix(hex, 16).map_or(piece.clone().into_bytes(), |b| vec![b])
                }
                _ => piece.replace('▁', " ").into_bytes(),
            },
            Spelling::Plain => piece.into_bytes(),
        })
    }
}

/// Whether the tables of normalisation in there are ones that the crate can read.
fn check_tables(normalizer: &Value) -> Result<(), serde_json::Error> {
    if normalizer["type"] == "Precompiled" {
        serde_json::from_str::<Precompiled>(&normalizer.to_string())?;
    }
    normalizer["normalizers"].as_array().into_iter().flatten().try_for_each(check_tables)
}

/// The byte behind a character of GPT-2's alphabet: what can be printed stands for itself, the rest for 256 and up, in order.
fn byte_of(c: char) -> Option<u8> {
    let printed = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u32::from(c) {
        code @ 0..256 => u8::try_from(code).ok().filter(|&b| printed(b)),
        code => (0..=255u8).filter(|&b| !printed(b)).nth(code as usize - 256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    #[test]
    fn the_alphabet_of_bytes_is_that_of_the_crate() {
        let mut bytes: Vec<u8> = ByteLevel::alphabet().into_iter().filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((byte_of('Ġ'), byte_of('Ċ'), byte_of('日')), (Some(b' '), Some(b'\n'), None));
    }
}
