//! Why are the neurons of a layer polysemantic? The verdict, and the evidence behind it.
//!
//! The path of an activation matrix: rows are split by block into two halves and held-out rows ([`rows`]), whitened
//! ([`whitening`]), searched for directions that both halves agree on ([`rays`]), and every claim is then held against its
//! null on the held-out rows ([`hypotheses`]). [`verdict`] says what that amounts to.

mod arch;
mod coding;
mod complete;
mod count;
mod finding;
mod hypotheses;
#[allow(dead_code)]
mod labelled;
mod maxima;
mod mixture;
mod neurons;
mod pruning;
mod rays;
mod rows;
mod surrogate;
mod tails;
mod verdict;
mod whitening;

pub use crate::verdict::{Basis, Mechanism, Verdict};
pub use arch::Rays as RayDictionary;
pub use finding::*;

use hypotheses as test;
use maxima::Cloud;
use rays::{Rays, Search};
use rows::Split;
use std::ops::ControlFlow;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};
use whitening::Whitening;

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
}

impl Default for Options {
    fn default() -> Self {
        Self { basis: Basis::Unknown, seed: 0, null_draws: 199 }
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
    let x = scaled.as_ref().unwrap_or(x);
    let constant = rows::constant_columns(x);
    let live: Vec<usize> = (0..x.cols()).filter(|j| constant.binary_search(j).is_err()).collect();
    if x.rows() < 2 || live.len() < 2 {
        return Err(DiagnoseError::TooSmall { rows: x.rows(), columns: x.cols(), varying: live.len() });
    }
    let rng = Rng::new(options.seed).fork("diagnose");
    let mut say = |stage, fraction| match watch(Progress { stage, fraction }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(DiagnoseError::Stopped),
    };
    say("whitening", 0.0)?;

    let cap = rows_read(live.len());
    let split = Split::new(x.rows(), cap);
    let read = |rows: &[usize]| x.select_rows(rows).select_cols(&live);
    let search_rows = read(&split.search());
    let whitening = Whitening::fit(&search_rows).ok_or(DiagnoseError::OneDirection)?;
    let searched = whitening.apply(&search_rows);
    drop(search_rows);
    let held_out_rows = read(&split.held_out[..split.held_out.len().min(CODED_ROWS)]);
    let held_out = whitening.apply(&held_out_rows);
    let rho = autocorrelation(x, &live, &whitening);
    let effective = rows::effective_rows(x.rows(), &rho);
    let adequacy = test::adequacy(effective, x.rows(), whitening.rank);

    say("searching for directions", 0.02)?;
    let cloud = Cloud::new(&searched);
    // Rows that were skipped between two that are read take the memory of the stream with them.
    let stride = x.rows().div_ceil(cap).max(1) as i32;
    let rho: Vec<f64> = rho.iter().map(|r| if *r > 0.0 { r.powi(stride) } else { 0.0 }).collect();
    let search = Search { cloud: &cloud, half: split.a.len(), white: &searched, rho: &rho };
    let rays = if adequacy.supports {
        let mut stopped = Ok(());
        let found = search.run(&rng.fork("rays"), &mut |share| {
            stopped = say("searching for directions", 0.02 + 0.43 * share);
            if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        stopped?;
        match found {
            ControlFlow::Continue(rays) => rays,
            ControlFlow::Break(()) => return Err(DiagnoseError::Stopped),
        }
    } else {
        Rays::none(whitening.rank)
    };
    say("counting features", 0.45)?;
    let looked_at = rays.cloud(&searched);
    let count = count::count(&Search { cloud: &looked_at, ..search }, &rays);

    let in_neurons = scatter(&whitening.directions(&rays.line_directions()), &live, x.cols());
    let evidence = test::Evidence {
        held_out: &held_out,
        searched: &searched,
        rays: &rays,
        in_neurons: &in_neurons,
        live: &live,
        draws: options.null_draws.max(1),
        rng: &rng,
    };
    say("directions against the radial null", 0.5)?;
    let directions = test::directions(&evidence);
    say("codes against dense clouds", 0.55)?;
    let code = test::codes(&evidence);
    say("directions against a mixture of Gaussians", 0.6)?;
    let mixture = test::mixture(&search, &rays, count.as_ref(), &rng);
    say("complete against overcomplete dictionaries", 0.86)?;
    let overcomplete = test::overcomplete(&evidence, &mixture);
    say("alignment against rotations", 0.93)?;
    let aligned = test::alignment(&evidence);
    say("neurons", 0.97)?;
    let privileged = options.basis != Basis::None;
    let mut neurons = if privileged {
        neurons::neurons(&held_out_rows, &held_out, &rays, &whitening, &live, x.cols())
    } else {
        Vec::new()
    };
    let facts = verdict::Facts {
        basis: options.basis,
        rank: whitening.rank,
        live: live.len(),
        count,
        complete_code: rays.complete,
        light_tails: !rays.complete && !rays.lines.is_empty() && tails::are_light(&searched, split.a.len(), &rng),
        neurons: &neurons,
        adequacy: &adequacy,
        directions: &directions,
        code: &code,
        mixture: &mixture,
        overcomplete: &overcomplete,
        aligned: &aligned,
    };
    let layer = verdict::layer(&facts);
    let cannot_tell = verdict::cannot_tell(&facts);
    let cause = verdict::cause(&layer).map(String::from);
    neurons.iter_mut().filter(|n| n.polysemantic).for_each(|n| n.cause = cause.clone());
    let pictures = pictures(&evidence, privileged);
    let mut tested = vec![adequacy, directions, code, mixture, overcomplete];
    if privileged {
        tested.push(aligned);
    }
    say("done", 1.0)?;
    Ok(Diagnosis {
        schema: 1,
        input: Input {
            rows: x.rows(),
            dims: x.cols(),
            labels: 0,
            constant_columns: constant,
            effective_rows: effective,
            rows_used: x.rows().min(cap),
        },
        layer,
        hypotheses: tested,
        neurons,
        evidence: pictures,
        cannot_tell,
    })
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

/// Lag-1 autocorrelation of each white coordinate over consecutive rows of the input.
fn autocorrelation(x: &Mat, live: &[usize], whitening: &Whitening) -> Vec<f64> {
    let consecutive: Vec<usize> = (0..x.rows().min(LEAST_ROWS)).collect();
    rows::lag_one(&whitening.apply(&x.select_rows(&consecutive).select_cols(live)))
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
fn pictures(e: &test::Evidence, privileged: bool) -> Evidence {
    let lines = e.rays.line_directions();
    let live = e.in_neurons.select_cols(e.live);
    let mut rng = e.rng.fork("pictures");
    let (alignment, alignment_null) = if privileged && lines.rows() > 0 {
        (test::shares(&live), test::alignment_null(&live, &mut rng))
    } else {
        (Vec::new(), Vec::new())
    };
    Evidence {
        coherence: nearest(&lines),
        coherence_null: nearest(&surrogate::random_directions(lines.rows(), lines.cols(), &mut rng)),
        alignment,
        alignment_null,
        fvu: test::curve(e),
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
