//! Why are the neurons of a layer polysemantic? The verdict, and the evidence behind it.
//!
//! The path of an activation matrix: rows are split by block into two halves and held-out rows ([`rows`]), whitened
//! ([`whitening`]), searched for directions that both halves agree on ([`rays`]), and every claim is then held against its
//! null on the held-out rows ([`hypotheses`]). [`verdict`] says what that amounts to.

mod arch;
mod clusters;
mod coding;
mod complete;
mod completion;
mod count;
mod finding;
mod heads;
mod hypotheses;
mod labelled;
mod light;
mod look;
mod maxima;
mod mixture;
mod neurons;
mod parts;
mod posterior;
mod pruning;
mod rays;
mod rows;
mod sharing;
mod signs;
mod surrogate;
mod verdict;
mod whitening;
pub mod zoo;

pub use crate::verdict::{Basis, Mechanism, Verdict};
pub use arch::Rays as RayDictionary;
pub use finding::*;
pub use heads::{Alone, Head, Heads};

use crate::sae::Sae;
use hypotheses as test;
use look::Look;
use std::ops::ControlFlow;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Numbers in the search at most, rows × dimensions: what keeps a large matrix within its time and memory.
const SEARCHED_NUMBERS: usize = 6_000_000;
/// Rows in the search at least, whatever their width, and at most.
const LEAST_ROWS: usize = 20_000;
const MOST_ROWS: usize = 60_000;
/// Held-out rows that are coded for pictures and neurons.
const CODED_ROWS: usize = 4000;

/// What the user says beside the matrix.
#[derive(Clone, Debug)]
pub struct Options {
    pub basis: Basis,
    pub seed: u64,
    /// Draws of each null.
    pub null_draws: usize,
    /// `[rows, concepts]`: zeros and ones, or real numbers, for the rows of the matrix.
    pub labels: Option<Mat>,
    /// Whether parts of the layer that nothing links are diagnosed by themselves, for the causes of their neurons. The layer's verdict does not
    /// depend on it.
    pub parts: bool,
    /// Rows that there are, where the matrix holds some of them only.
    pub of_rows: Option<usize>,
    /// Heads whose columns lie side by side, where the layer is one of attention.
    pub heads: Option<usize>,
    /// A dictionary for activations of this width: evidence beside the directions that are found without it. The verdict does not depend on it.
    pub sae: Option<Sae>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            basis: Basis::Unknown,
            seed: 0,
            null_draws: 199,
            labels: None,
            parts: true,
            of_rows: None,
            heads: None,
            sae: None,
        }
    }
}

/// Where a diagnosis stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub stage: &'static str,
    /// Of the whole diagnosis, 0 to 1.
    pub fraction: f64,
}

/// Why there is no diagnosis.
#[derive(Debug, thiserror::Error)]
pub enum DiagnoseError {
    /// There is nothing to compare.
    #[error(
        "{rows} rows of {varying} varying columns (of {columns}): a diagnosis needs at least 2 rows and 2 varying columns"
    )]
    TooSmall { rows: usize, columns: usize, varying: usize },
    /// NaN or infinity.
    #[error("entry ({row}, {column}) is {value}: a diagnosis needs finite numbers")]
    NotFinite { row: usize, column: usize, value: f32 },
    /// The covariance has fewer than two directions that can be told from rounding.
    #[error("the rows vary along fewer than two directions that can be told from rounding: nothing to compare")]
    OneDirection,
    /// The dictionary is for other activations.
    #[error("a dictionary for {expected} columns, activations of {columns}")]
    DictionaryWidth { expected: usize, columns: usize },
    /// Numbers that no dictionary was trained on.
    #[error(
        "the largest entry is {largest:e}: put to a dictionary, activations must be as it was trained on, of ordinary size"
    )]
    DictionaryRange { largest: f32 },
    /// Heads of equally many columns there can't be.
    #[error("{columns} columns can't be those of {heads} heads: they are no multiple of that")]
    HeadWidth { heads: usize, columns: usize },
    /// Labels are for other rows.
    #[error("labels for {labels} rows, activations of {rows}: one row of labels is needed for each row of activations")]
    LabelRows { labels: usize, rows: usize },
    /// The watcher broke.
    #[error("stopped before the diagnosis was done")]
    Stopped,
}

/// Diagnoses `x` `[rows, neurons]`. `watch` hears of progress and may stop it.
///
/// The same matrix, options and binary give the same answer on any number of threads.
pub fn diagnose(
    x: &Mat,
    options: &Options,
    watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Diagnosis, DiagnoseError> {
    check_finite(x)?;
    let scaled = rows::in_range(x);
    if scaled.is_some() && options.sae.is_some() {
        let largest = x.data().iter().fold(0.0f32, |m, v| m.max(v.abs()));
        return Err(DiagnoseError::DictionaryRange { largest });
    }
    let x = scaled.as_ref().unwrap_or(x);
    let constant = rows::constant_columns(x);
    let live: Vec<usize> = (0..x.cols()).filter(|j| constant.binary_search(j).is_err()).collect();
    if x.rows() < 2 || live.len() < 2 {
        return Err(DiagnoseError::TooSmall { rows: x.rows(), columns: x.cols(), varying: live.len() });
    }
    if let Some(labels) = options.labels.as_ref().filter(|l| l.rows() != x.rows()) {
        return Err(DiagnoseError::LabelRows { labels: labels.rows(), rows: x.rows() });
    }
    if let Some(sae) = options.sae.as_ref().filter(|sae| sae.d_in() != x.cols() || sae.d_out() != x.cols()) {
        return Err(DiagnoseError::DictionaryWidth { expected: sae.d_in(), columns: x.cols() });
    }
    if let Some(heads) = options.heads.filter(|h| *h == 0 || !x.cols().is_multiple_of(*h)) {
        return Err(DiagnoseError::HeadWidth { heads, columns: x.cols() });
    }
    let rng = Rng::new(options.seed).fork("diagnose");
    let mut say = |stage, fraction| match watch(Progress { stage, fraction }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DiagnoseError::Stopped),
    };
    let look = Look::new(x, live, options, &rng, &mut say)?;
    let facts = look.facts();
    let hypotheses = look.hypotheses();
    let mut layer = verdict::layer(&facts, &hypotheses);
    let cannot_tell = verdict::cannot_tell(&facts);
    let mut neurons = look.described(&layer);
    let parts = if options.parts && look.basis != Basis::None && look.adequacy.supports {
        parts_of(x, &look, options, &rng, &mut neurons, &mut say)?
    } else {
        Vec::new()
    };
    let heads = match options.heads.filter(|_| look.adequacy.supports) {
        Some(count) => {
            let alone = each_head(x, count, options, &rng, &mut say)?;
            Some(heads::heads(&look.in_neurons, count, alone, &rng))
        }
        None => None,
    };
    layer.polysemantic_fraction = neurons::polysemantic_fraction(&neurons, layer.polysemantic_fraction);
    let pictures = pictures(&look, &rng);
    let signs = signs::NAMES.iter().zip(facts.signs()).map(|(name, value)| (name.to_string(), value)).collect();
    say("done", 1.0)?;
    Ok(Diagnosis {
        schema: 1,
        input: Input {
            rows: options.of_rows.unwrap_or(x.rows()),
            dims: x.cols(),
            labels: options.labels.as_ref().map_or(0, Mat::cols),
            constant_columns: constant,
            effective_rows: look.effective,
            rows_used: x.rows().min(rows_read(look.live.len())),
        },
        layer,
        hypotheses,
        signs,
        concepts: look.concepts(options.labels.as_ref()),
        heads,
        dictionary: look.dictionary.as_ref().map(|(told, _)| told.clone()),
        directions: look.in_neurons.clone(),
        neurons,
        parts,
        evidence: pictures,
        cannot_tell,
    })
}

/// Each part of the layer that nothing links to the rest, diagnosed by itself: what it is, and its neurons as it shows them.
fn parts_of(
    x: &Mat,
    look: &Look,
    options: &Options,
    rng: &Rng,
    neurons: &mut [Neuron],
    say: &mut dyn FnMut(&'static str, f64) -> Result<(), DiagnoseError>,
) -> Result<Vec<Part>, DiagnoseError> {
    let found = parts::parts(x, look, neurons);
    let asked = options.labels.as_ref().map(|labels| parts::labels_of(&found, x, labels, &look.live));
    let mut out = Vec::with_capacity(found.len());
    for (k, columns) in found.into_iter().enumerate() {
        let narrow = x.select_cols(&columns);
        let stream = rng.fork("parts").fork_index(k as u64);
        let labels = options.labels.as_ref().zip(asked.as_ref()).map(|(labels, asked)| labels.select_cols(&asked[k]));
        let labels = labels.filter(|l| l.cols() > 0);
        let Options { basis, seed, null_draws, .. } = *options;
        let options = Options { basis, seed, null_draws, labels, ..Options::default() };
        let mut here = |_, _| say("parts of the layer", 0.97);
        let look = match Look::new(&narrow, (0..columns.len()).collect(), &options, &stream, &mut here) {
            Err(DiagnoseError::OneDirection) => continue,
            other => other?,
        };
        let layer = verdict::layer(&look.facts(), &look.hypotheses());
        for mut own in look.described(&layer) {
            let whole = &mut neurons[columns[own.index]];
            own.index = whole.index;
            // Features keep the numbers that they have in the layer's dictionary, and concepts are columns of all labels.
            own.features = std::mem::take(&mut whole.features);
            own.concepts = std::mem::take(&mut whole.concepts);
            *whole = own;
        }
        out.push(Part {
            neurons: columns,
            verdict: layer.verdict,
            mechanism: layer.mechanism,
            confidence: layer.confidence,
            says: layer.says,
            because: layer.because,
        });
    }
    Ok(out)
}

/// What each head's columns show by themselves.
fn each_head(
    x: &Mat,
    count: usize,
    options: &Options,
    rng: &Rng,
    say: &mut dyn FnMut(&'static str, f64) -> Result<(), DiagnoseError>,
) -> Result<Vec<Option<heads::Alone>>, DiagnoseError> {
    let wide = x.cols() / count;
    let one = |h: usize| {
        let narrow = x.select_cols(&(h * wide..(h + 1) * wide).collect::<Vec<_>>());
        let constant = rows::constant_columns(&narrow);
        let live: Vec<usize> = (0..wide).filter(|j| constant.binary_search(j).is_err()).collect();
        if live.len() < 2 {
            return Ok(None);
        }
        let stream = rng.fork("heads").fork_index(h as u64);
        let Options { basis, seed, null_draws, .. } = *options;
        let options = Options { basis, seed, null_draws, ..Options::default() };
        let look = match Look::new(&narrow, live, &options, &stream, &mut |_, _| say("heads", 0.98)) {
            Err(DiagnoseError::OneDirection) => return Ok(None),
            other => other?,
        };
        let layer = verdict::layer(&look.facts(), &look.hypotheses());
        Ok(Some(heads::Alone {
            verdict: layer.verdict,
            mechanism: layer.mechanism,
            confidence: layer.confidence,
            n_features: layer.n_features.map(|c| c.estimate),
        }))
    };
    (0..count).map(one).collect()
}

/// Rows that the search reads of a matrix with `dims` columns, at most.
fn rows_read(dims: usize) -> usize {
    (SEARCHED_NUMBERS / dims).clamp(LEAST_ROWS, MOST_ROWS)
}

fn check_finite(x: &Mat) -> Result<(), DiagnoseError> {
    match x.data().iter().position(|v| !v.is_finite()) {
        Some(at) => Err(DiagnoseError::NotFinite { row: at / x.cols(), column: at % x.cols(), value: x.data()[at] }),
        None => Ok(()),
    }
}

/// Columns of `narrow` put back where they came from among `dims`.
fn scatter(narrow: &Mat, live: &[usize], dims: usize) -> Mat {
    let mut out = Mat::zeros(narrow.rows(), dims);
    for i in 0..narrow.rows() {
        for (k, &j) in live.iter().enumerate() {
            out[(i, j)] = narrow[(i, k)];
        }
    }
    out
}

/// Numbers for the pictures.
fn pictures(look: &Look, rng: &Rng) -> Evidence {
    let lines = look.rays.line_directions();
    let live = look.in_neurons.select_cols(&look.live);
    let mut stream = rng.fork("pictures");
    let (alignment, alignment_null) = if look.basis != Basis::None && lines.rows() > 0 {
        (test::shares(&live), test::alignment_null(&live, &mut stream))
    } else {
        (Vec::new(), Vec::new())
    };
    Evidence {
        coherence: nearest(&lines),
        coherence_null: nearest(&surrogate::random_directions(lines.rows(), lines.cols(), &mut stream)),
        alignment,
        alignment_null,
        fvu: test::curve(&look.evidence(1, rng)),
    }
}

/// |cos| between each unit direction and its nearest other one.
fn nearest(lines: &Mat) -> Vec<f64> {
    if lines.rows() < 2 {
        return Vec::new();
    }
    let gram = matmul(lines, lines.t());
    (0..lines.rows())
        .map(|i| (0..lines.rows()).filter(|&j| j != i).map(|j| f64::from(gram[(i, j)].abs())).fold(0.0, f64::max))
        .collect()
}
