//! The model that was named, its tokenizer and its hooks.

use std::path::{Path, PathBuf};

use superlens_lm::TextError;
use superlens_lm::model::{self, Config, ModelError, Positions, Site, Transformer};
use superlens_lm::tokenizer::Tokenizer;

use super::fetch;
use crate::args::ModelFiles;
use crate::failure::{Failure, say};

/// Windows and texts are not longer than this unless asked for.
const USUAL_CONTEXT: usize = 1024;

/// A model that was opened.
pub struct Model {
    pub dir: PathBuf,
    /// As it was named.
    named: PathBuf,
    pub transformer: Transformer,
}

impl Model {
    /// A folder, a file, or a model that is in the cache by this name.
    pub fn open(named: &Path) -> Result<Model, Failure> {
        let dir = match named.to_str() {
            Some(name) => fetch::cache().find(name)?,
            None => named.to_owned(),
        };
        Ok(Model { transformer: model::open(&dir)?, dir, named: named.to_owned() })
    }

    /// The tokenizer that was named, or the one beside the model.
    pub fn tokenizer(&self, named: Option<&Path>) -> Result<Tokenizer, TextError> {
        let beside = if self.dir.is_dir() {
            &self.dir
        } else {
            self.dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
        };
        let tokenizer = Tokenizer::open(named.unwrap_or(beside))?;
        if let Some(what) = tokenizer.check_vocab(self.transformer.weights.embed.rows())? {
            say(&format!("warning: {what}"));
        }
        Ok(tokenizer)
    }

    /// Model and tokenizer as flags name them.
    pub fn with_tokenizer(files: &ModelFiles) -> Result<(Model, Tokenizer), Failure> {
        let model = Model::open(&files.model)?;
        let tokenizer = model.tokenizer(files.tokenizer.as_deref())?;
        Ok((model, tokenizer))
    }

    /// Its name, as far as the folder tells.
    pub fn name(&self) -> String {
        if self.dir != self.named {
            return self.named.to_string_lossy().into_owned();
        }
        self.dir.file_name().unwrap_or(self.dir.as_os_str()).to_string_lossy().into_owned()
    }

    /// Rotations and slopes go on beyond the sequences that a model was trained on, but what it makes of them there nobody trained.
    pub fn warn_if_long(&self, what: &str, tokens: usize) {
        let config = &self.transformer.config;
        if tokens <= config.n_ctx {
            return;
        }
        let key = match (self.dir.is_dir(), config.positions) {
            (false, _) => "its seq_len",
            (true, Positions::Alibi) => "seq_length",
            (true, _) => "max_position_embeddings",
        };
        let n = config.n_ctx;
        say(&format!(
            "warning: {what}: {tokens} tokens, but the model was made for {n} ({key}); don't trust it beyond those"
        ));
    }

    /// The longest sequence that was asked for, held against what the model can; the usual one where nothing was.
    pub fn context(&self, flag: &str, asked: Option<usize>) -> Result<usize, Failure> {
        let config = &self.transformer.config;
        let most = self.transformer.weights.positions.as_ref().map(|table| table.rows());
        match (asked, most) {
            (Some(0), _) => Err(Failure::Input(format!("{flag}: expected 1 token at least, found 0"))),
            (Some(n), Some(most)) if n > most => {
                Err(Failure::Input(format!("{flag}: the model has {most} positions, found {n}")))
            }
            (Some(n), _) => {
                self.warn_if_long(flag, n);
                Ok(n)
            }
            (None, most) => Ok(most.unwrap_or(usize::MAX).min(config.n_ctx).clamp(1, USUAL_CONTEXT)),
        }
    }
}

/// A file that is to be written: not one that is there, which may be the text or the model itself.
pub fn check_new(path: &Path) -> Result<(), Failure> {
    let told = |what: String| Err(Failure::Input(format!("--out: {what}")));
    if path.exists() {
        return told(format!("{} is there already; name a new file", path.display()));
    }
    match path.parent().filter(|p| !p.as_os_str().is_empty() && !p.is_dir()) {
        Some(folder) => told(format!("{}: there is no such folder to write to", folder.display())),
        None => Ok(()),
    }
}

/// The sites that names mean, each once, in the order in which they are named. Where a name stands for several, those that are not `usable` are
/// left out, unless none is left: then whoever uses them says why.
pub fn sites(names: &[String], config: &Config, usable: &dyn Fn(Site) -> bool) -> Result<Vec<Site>, Failure> {
    let mut all: Vec<Site> = Vec::new();
    for name in names {
        let mut found = Site::matching(name, config).map_err(|what| Failure::Input(format!("--hook: {what}")))?;
        if found.len() > 1 && found.iter().any(|&site| usable(site)) {
            found.retain(|&site| usable(site));
        }
        found.into_iter().for_each(|site| {
            if !all.contains(&site) {
                all.push(site);
            }
        });
    }
    Ok(all)
}

/// What is wrong with a model is bad input; a disk that fails is not.
impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        if error.system { Failure::Other(anyhow::Error::msg(error)) } else { Failure::input(error) }
    }
}

impl From<TextError> for Failure {
    fn from(error: TextError) -> Self {
        if error.is_input() { Failure::input(error) } else { Failure::Other(anyhow::Error::msg(error)) }
    }
}
