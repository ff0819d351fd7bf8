//! Activations of a model over texts, written to a store: many hooks in one pass, in bounded memory.
//!
//! Windows are put together into pieces of work of a fixed size, each computed by itself, so that what is stored is a function of the texts,
//! the model and the plan: the same bytes whatever the number of threads, and whatever ended an earlier run that this one goes on with.

mod origin;
mod piece;
mod progress;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use superlens_tensor::Mat;
use superlens_tensor::kernels::gemm::alone;

use crate::TextError;
use crate::corpus::{self, Documents, Position, Windows};
use crate::model::{Site, Sites, Transformer};
use crate::store::{self, DType, Manifest, StoreError, TokenRow, Writer};
use crate::tokenizer::Tokenizer;

pub use origin::fingerprint;
use piece::{PIECE_TOKENS, Piece, Pieces};
use progress::{Resume, Sizes};

/// Bytes of activations that are computed before they are written.
const ROUND_BYTES: usize = 128 << 20;
/// Pieces of a round: enough that threads which are done first don't wait long for the others.
const ROUND_PIECES: usize = 32;

/// What is to be stored.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order of the store's hooks; sites whose width is the same for every text.
    pub sites: Vec<Site>,
    pub dtype: DType,
    /// How tokens become what the model sees at once.
    pub windows: corpus::Plan,
    /// No more rows than these.
    pub max_rows: Option<u64>,
    /// Tokens that stand for no text (BOS, `[CLS]`, separators) are computed and not stored.
    pub skip_special: bool,
    pub shard_rows: Option<u64>,
    /// The model as a reader knows it, and what tells its files from others ([`fingerprint`]).
    pub model: String,
    pub fingerprint: String,
}

/// How far a harvest is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Tokens that went through the model since this run began.
    pub tokens: u64,
    /// Rows that are stored, those of earlier runs too.
    pub rows: u64,
    /// Share of the whole, 0 to 1, as far as that can be told.
    pub share: f64,
}

/// What a harvest came to.
#[derive(Clone, Debug)]
pub struct Harvested {
    pub manifest: Manifest,
    /// Tokens that went through the model in this run.
    pub tokens: u64,
    /// Rows that this run stored: fewer where special tokens are left out, or the last windows hold more than was asked for.
    pub stored: u64,
}

/// Why a harvest ended early.
#[derive(Debug, thiserror::Error)]
pub enum HarvestError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Model(String),
}

impl HarvestError {
    /// Whether what was given is wrong; otherwise it is the machine that failed.
    pub fn is_input(&self) -> bool {
        match self {
            HarvestError::Text(e) => e.is_input(),
            HarvestError::Store(e) => e.is_input(),
            HarvestError::Model(_) => true,
        }
    }
}

/// A piece of work that was computed: a matrix for each site, and the token of each row.
struct Computed {
    at: Position,
    tokens: usize,
    activations: Vec<Mat>,
    rows: Vec<TokenRow>,
}

/// Stores the activations of texts in `dir`, or goes on with a store that was not finished.
///
/// `texts` are the documents' files, in their order. An error in a text ends the harvest; if no shard was complete by then, nothing stays.
///
/// # Errors
/// Sites without a fixed width, texts and tokens that can't be used, activations that the element type can't hold, and what [`Writer`] says.
pub fn harvest(
    model: &Transformer,
    tokenizer: &Tokenizer,
    texts: &[std::path::PathBuf],
    reading: &corpus::Options,
    dir: &Path,
    plan: &Plan,
    watch: &mut (dyn FnMut(Watch) + Send),
) -> Result<Harvested, HarvestError> {
    let widths = widths(model, plan)?;
    let documents = Documents::open(texts, reading)?;
    let windows = Windows::new(documents, tokenizer, plan.windows.clone())?;
    let store = store::Plan {
        model: Some(plan.model.clone()),
        tokenizer_sha256: Some(tokenizer.sha256().into()),
        origin: Some(origin::of(plan, texts, reading)?),
        hooks: plan.sites.iter().zip(&widths).map(|(site, w)| (site.to_string(), *w, plan.dtype)).collect(),
        shard_rows: plan.shard_rows,
        tokens: cfg!(feature = "tables"),
    };
    let mut writer = Writer::create(dir, &store)?;
    let before = writer.rows();
    let resume = Resume::read(dir, before);
    let windows = windows.go_on(resume.position);
    let round = (ROUND_BYTES / (PIECE_TOKENS * 4 * widths.iter().sum::<usize>()).max(1)).clamp(1, ROUND_PIECES);
    let pieces = Pieces::new(windows, model, tokenizer, plan.skip_special);
    let mut run =
        Run { model, plan, writer: &mut writer, dir, resume, marks: VecDeque::new(), seen: resume.rows, tokens: 0 };
    let done = run.all(pieces, round, &Sizes::of(texts, reading), watch);
    let tokens = run.tokens;
    match done {
        Ok(()) => {
            let manifest = writer.finish()?;
            Resume::remove(dir);
            let stored = manifest.rows - before;
            Ok(Harvested { manifest, tokens, stored })
        }
        Err(error) => {
            let nothing_yet = writer.closed_rows() == 0;
            drop(writer);
            if nothing_yet && error.is_input() {
                let _ = fs::remove_dir_all(dir);
            }
            Err(error)
        }
    }
}

fn widths(model: &Transformer, plan: &Plan) -> Result<Vec<usize>, HarvestError> {
    let width = |site: &Site| {
        let told = || {
            HarvestError::Model(format!(
                "hook `{site}` has rows as long as its sequence; `superlens run-model` shows it"
            ))
        };
        site.width(&model.config).ok_or_else(told)
    };
    plan.sites.iter().map(width).collect()
}

/// A harvest under way.
struct Run<'a> {
    model: &'a Transformer,
    plan: &'a Plan,
    writer: &'a mut Writer,
    dir: &'a Path,
    /// Where this run would be gone on with.
    resume: Resume,
    /// Rows before a piece, and where it begins, of pieces that may not be in a complete shard yet.
    marks: VecDeque<Resume>,
    /// Rows of all pieces so far.
    seen: u64,
    tokens: u64,
}

impl Run<'_> {
    fn all(
        &mut self,
        mut pieces: Pieces,
        round: usize,
        sizes: &Sizes,
        watch: &mut (dyn FnMut(Watch) + Send),
    ) -> Result<(), HarvestError> {
        let sites = Sites::new(self.plan.sites.iter().copied(), &self.model.config);
        let (model, order) = (self.model, &self.plan.sites);
        let mut computed: Vec<Computed> = Vec::new();
        loop {
            // What was computed is written before an error in a later text is told.
            let (next, trouble) = pieces.take(round.min(self.wanted(&computed)));
            if next.is_empty() && computed.is_empty() {
                return trouble.map_or(Ok(()), Err);
            }
            // As long as every thread has a piece of its own, none helps another with one.
            let left = AtomicUsize::new(next.len());
            let one = |piece| compute(model, &sites, order, piece);
            let each = |piece| match left.fetch_sub(1, Ordering::Relaxed) {
                left if left > rayon::current_num_threads() => alone(|| one(piece)),
                _ => one(piece),
            };
            let (written, made) = rayon::join(
                || computed.drain(..).try_for_each(|piece| self.write(piece)),
                || next.into_par_iter().map(each).collect::<Vec<_>>(),
            );
            written?;
            computed = made;
            watch(self.watch(sizes, pieces.position()));
            if let Some(trouble) = trouble {
                computed.drain(..).try_for_each(|piece| self.write(piece))?;
                return Err(trouble);
            }
        }
    }

    /// Pieces that are still needed for the rows that were asked for, as far as can be told.
    fn wanted(&self, computed: &[Computed]) -> usize {
        let have = self.seen + computed.iter().map(|piece| piece.rows.len() as u64).sum::<u64>();
        let left = self.plan.max_rows.map_or(u64::MAX, |max| max.saturating_sub(have));
        usize::try_from(left.div_ceil(PIECE_TOKENS as u64)).unwrap_or(usize::MAX)
    }

    fn write(&mut self, mut piece: Computed) -> Result<(), HarvestError> {
        self.marks.push_back(Resume { rows: self.seen, position: piece.at });
        let all = piece.rows.len();
        let wanted = self.plan.max_rows.map_or(all, |max| (max - self.seen).min(all as u64) as usize);
        // Rows that an earlier run has stored.
        let have = (self.writer.rows().saturating_sub(self.seen) as usize).min(wanted);
        if (have, wanted) != (0, all) {
            let rest: Vec<usize> = (have..wanted).collect();
            piece.activations.iter_mut().for_each(|m| *m = m.select_rows(&rest));
            piece.rows = piece.rows[have..wanted].to_vec();
        }
        self.seen += wanted as u64;
        self.tokens += piece.tokens as u64;
        if !piece.rows.is_empty() {
            let all: Vec<&Mat> = piece.activations.iter().collect();
            self.writer.append(&all, &piece.rows)?;
        }
        let closed = self.writer.closed_rows();
        while self.marks.get(1).is_some_and(|next| next.rows <= closed) {
            self.marks.pop_front();
        }
        match self.marks.front() {
            Some(mark) if mark.rows <= closed && mark.rows > self.resume.rows => {
                self.resume = *mark;
                Ok(self.resume.write(self.dir)?)
            }
            _ => Ok(()),
        }
    }

    fn watch(&self, sizes: &Sizes, at: Position) -> Watch {
        let rows = self.writer.rows();
        let of_rows = self.plan.max_rows.map_or(0.0, |max| rows as f64 / max as f64);
        Watch { tokens: self.tokens, rows, share: of_rows.max(sizes.share(at)).min(1.0) }
    }
}

/// Runs a piece, and keeps of each site the rows that are stored.
fn compute(model: &Transformer, sites: &Sites, order: &[Site], piece: Piece) -> Computed {
    let mut activations = vec![Mat::zeros(0, 0); order.len()];
    model.forward(&piece.batch, sites, None, &mut |site, x| {
        for (wanted, kept) in order.iter().zip(&mut activations) {
            if *wanted == site {
                *kept = match &piece.kept {
                    Some(rows) => x.select_rows(rows),
                    None if sites.end_with(site, &model.config) => std::mem::replace(x, Mat::zeros(0, 0)),
                    None => x.clone(),
                };
            }
        }
    });
    Computed { at: piece.at, tokens: piece.batch.tokens(), activations, rows: piece.rows }
}
