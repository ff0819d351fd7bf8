//! Which files make up a tokenizer, and what those beside it say of its special tokens.

use std::fs;
use std::path::{Path, PathBuf};

use super::llama2::{self, Llama2};
use super::{Kind, Tokenizer};
use crate::TextError;
use crate::store::hash;

/// No tokenizer is so large.
const LARGEST: u64 = 1 << 30;

pub(super) fn open(path: &Path) -> Result<Tokenizer, TextError> {
    if !path.is_dir() {
        return match path.extension().and_then(|e| e.to_str()) {
            Some("json") => open_json(path),
            Some("bin") => open_llama2(path),
            _ if !path.exists() => Err(TextError::reading(path)(std::io::ErrorKind::NotFound.into())),
            _ => Err(TextError::wrong(
                path,
                "is no tokenizer that is read; name a tokenizer.json, a tokenizer.bin or a folder",
            )),
        };
    }
    if path.join("tokenizer.json").is_file() {
        return open_json(&path.join("tokenizer.json"));
    }
    if path.join("vocab.json").is_file() && path.join("merges.txt").is_file() {
        return open_merges(path);
    }
    match &binaries(path)[..] {
        [one] => open_llama2(one),
        [] => Err(TextError::wrong(path, nothing(path))),
        [first, second, ..] => {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let what = format!("holds several tokenizers ({}, {}); name one of them", name(first), name(second));
            Err(TextError::wrong(path, what))
        }
    }
}

/// Files that are named as llama2.c names its tokenizers.
fn binaries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("tok") && name.ends_with(".bin") && path.is_file()
    };
    let mut found: Vec<PathBuf> = entries.map(|e| e.path()).filter(named).collect();
    found.sort();
    found
}

fn nothing(dir: &Path) -> String {
    let what = "holds no tokenizer: expected tokenizer.json, vocab.json with merges.txt, or one tok*.bin";
    let other = ["tokenizer.model", "vocab.txt", "spiece.model"].into_iter().find(|name| dir.join(name).is_file());
    match other {
        Some(name) => format!(
            "{what}; found {name}, which is not read: save it as tokenizer.json with AutoTokenizer of transformers"
        ),
        None => what.into(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TextError> {
    let len = fs::metadata(path).map_err(TextError::reading(path))?.len();
    if len > LARGEST {
        return Err(TextError::wrong(path, format!("expected a tokenizer of at most {LARGEST} bytes, found {len}")));
    }
    fs::read(path).map_err(TextError::reading(path))
}

fn open_llama2(path: &Path) -> Result<Tokenizer, TextError> {
    let bytes = read(path)?;
    let inner = Llama2::parse(&bytes).map_err(|what| TextError::wrong(path, what))?;
    Ok(Tokenizer {
        path: path.to_owned(),
        kind: Kind::Llama2(inner),
        special: [0, llama2::BOS, llama2::EOS].into(),
        bos: Some(llama2::BOS),
        eos: Some(llama2::EOS),
        prefix: vec![llama2::BOS],
        suffix: Vec::new(),
        sha256: hash::hex(&bytes),
    })
}

#[cfg(not(feature = "tokenizers"))]
fn open_json(path: &Path) -> Result<Tokenizer, TextError> {
    Err(TextError::wrong(path, "needs the feature `tokenizers`, which this build is without"))
}

#[cfg(not(feature = "tokenizers"))]
fn open_merges(path: &Path) -> Result<Tokenizer, TextError> {
    open_json(path)
}

#[cfg(feature = "tokenizers")]
use with_crate::{open_json, open_merges};

#[cfg(feature = "tokenizers")]
mod with_crate {
    use serde_json::Value;

    use super::super::hugging_face::HuggingFace;
    use super::*;

    pub fn open_json(path: &Path) -> Result<Tokenizer, TextError> {
        let bytes = read(path)?;
        let inner = HuggingFace::from_json(&bytes).map_err(|what| TextError::wrong(path, what))?;
        // Files beside a file of another name belong to something else.
        let named = path.file_name().is_some_and(|name| name == "tokenizer.json");
        let beside = Beside::read(path.parent().filter(|_| named))?;
        finish(path, inner, &beside, hash::hex(&bytes))
    }

    pub fn open_merges(dir: &Path) -> Result<Tokenizer, TextError> {
        let beside = Beside::read(Some(dir))?;
        // Others keep their merges so as well, but cut words in another way.
        if let Some(class) = beside.class.as_deref().filter(|class| !class.starts_with("GPT2Tokenizer")) {
            let what = format!(
                "expected tokenizer_class GPT2Tokenizer beside vocab.json and merges.txt, found `{class}`; that needs a tokenizer.json"
            );
            return Err(TextError::wrong(dir, what));
        }
        let (vocab, merges) = (read(&dir.join("vocab.json"))?, read(&dir.join("merges.txt"))?);
        let mut special: Vec<String> = beside.special.clone();
        special.push("<|endoftext|>".into());
        let bos = beside.bos.as_deref().filter(|_| beside.add_bos);
        let inner =
            HuggingFace::from_merges(&vocab, &merges, &special, bos).map_err(|what| TextError::wrong(dir, what))?;
        let end = inner.id("<|endoftext|>");
        let mut made = finish(dir, inner, &beside, hash::hex(&[vocab, merges].concat()))?;
        made.bos = made.bos.or(end);
        made.eos = made.eos.or(end);
        Ok(made)
    }

    fn finish(path: &Path, inner: HuggingFace, beside: &Beside, sha256: String) -> Result<Tokenizer, TextError> {
        let (prefix, suffix) = inner.ends().map_err(|what| TextError::wrong(path, what))?;
        let id = |token: &Option<String>, id: Option<u32>| token.as_deref().and_then(|t| inner.id(t)).or(id);
        let (bos, eos) = (id(&beside.bos, beside.bos_id), id(&beside.eos, beside.eos_id));
        let mut special = inner.special().clone();
        special.extend(prefix.iter().chain(&suffix).chain(&bos).chain(&eos));
        let path = path.to_owned();
        Ok(Tokenizer { path, kind: Kind::HuggingFace(Box::new(inner)), special, bos, eos, prefix, suffix, sha256 })
    }

    /// What the files beside a tokenizer say.
    #[derive(Default)]
    struct Beside {
        class: Option<String>,
        bos: Option<String>,
        eos: Option<String>,
        bos_id: Option<u32>,
        eos_id: Option<u32>,
        add_bos: bool,
        /// Every special token that is named.
        special: Vec<String>,
    }

    impl Beside {
        fn read(dir: Option<&Path>) -> Result<Self, TextError> {
            let Some(dir) = dir else { return Ok(Self::default()) };
            let config = object(&dir.join("tokenizer_config.json"))?;
            let map = object(&dir.join("special_tokens_map.json"))?;
            let model = object(&dir.join("config.json"))?;
            let token = |key: &str| spelled(&config[key]).or_else(|| spelled(&map[key]));
            let id = |key: &str| match &model[key] {
                // Several ends: the first is the text's, the others those of a conversation.
                Value::Array(several) => several.first().and_then(Value::as_u64),
                one => one.as_u64(),
            };
            let keys = ["bos_token", "eos_token", "unk_token", "pad_token"];
            Ok(Self {
                class: config["tokenizer_class"].as_str().map(String::from),
                bos: token("bos_token"),
                eos: token("eos_token"),
                bos_id: id("bos_token_id").and_then(|id| u32::try_from(id).ok()),
                eos_id: id("eos_token_id").and_then(|id| u32::try_from(id).ok()),
                add_bos: config["add_bos_token"].as_bool().unwrap_or(false),
                special: keys.iter().filter_map(|key| token(key)).collect(),
            })
        }
    }

    /// A token, alone or with how it is matched.
    fn spelled(of: &Value) -> Option<String> {
        of.as_str().or_else(|| of["content"].as_str()).map(String::from)
    }

    /// A JSON file; null if there is none.
    fn object(path: &Path) -> Result<Value, TextError> {
        if !path.is_file() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&super::read(path)?).map_err(|e| TextError::wrong(path, format!("is no JSON: {e}")))
    }
}
