//! [`Arch`]: a way to find a dictionary in activations. One file per architecture, one line in [`ARCHES`].

use super::train::Setting;
use super::{Sae, baselines, ica, kmeans, nmf, pca, trained};
use std::ops::ControlFlow;
use superlens_tensor::{Mat, Rng};

/// Called now and then during a fit with the share that is done, 0 to 1. `Break` ends the fit with
/// [`FitError::Stopped`].
pub type Watch<'a> = dyn FnMut(f64) -> ControlFlow<()> + 'a;

/// A way to decompose activations.
pub trait Arch: Send + Sync {
    /// The name on the command line and in files.
    fn id(&self) -> &'static str;

    /// Decomposes `x` `[rows, d_in]`. The same `x` and `rng` give the same bytes for any number of threads.
    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError>;
}

/// Why there is no decomposition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    #[error("stopped before the fit was done")]
    Stopped,
    #[error("no activations to decompose: {rows} rows of {dims} columns; at least two rows and one column are needed")]
    Empty { rows: usize, dims: usize },
    #[error("not finite: {what}. Look for NaN, infinite or huge values (beyond 1e18) in the activations")]
    NotFinite { what: &'static str },
    #[error(
        "row {row}, column {column} is {value}: a non-negative factorisation needs activations from 0 on, like those behind a ReLU; \
         for others take `ica`, `kmeans` or a sparse autoencoder"
    )]
    Negative { row: usize, column: usize, value: String },
    #[error("no direction was found that both halves of the rows hold")]
    NothingFound,
    #[error("{name} = {value} makes no sense here; it must lie between {low} and {high}")]
    Setting { name: &'static str, value: usize, low: usize, high: usize },
    #[error("{name} = {value} makes no sense here; it must lie between {low} and {high}")]
    Real { name: &'static str, value: String, low: String, high: String },
    #[error("{name} = {value} makes no sense here; it must divide {whole} = {of}")]
    Divisor { name: &'static str, value: usize, whole: &'static str, of: usize },
    #[error("{arch} rebuilds other activations than it reads: it needs targets, a row for each row of the activations")]
    NoTargets { arch: &'static str },
    #[error("{arch} rebuilds what it reads, and has no use for targets; take `transcoder` or `skip_transcoder`")]
    Targets { arch: &'static str },
    #[error("{arch} can be trained on scaled activations or raw ones, not on whitened or layer-normed ones")]
    OnlyScaled { arch: &'static str },
    #[error("{0}")]
    Source(#[from] super::train::SourceError),
    #[error("{arch} can't be trained on whitened activations: it goes by the angles of the raw ones")]
    Whitened { arch: &'static str },
    #[error("the state belongs to a run with another architecture or other sizes")]
    OtherRun,
}

/// What the command line says of a dictionary's size. An architecture uses what concerns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Latents. Decompositions that can have no more than `d_in` stop there.
    pub d_sae: usize,
    /// Active latents a row, where the architecture fixes them.
    pub k: usize,
}

/// One architecture: its name, what it does, and how to make it with the usual settings.
#[derive(Clone, Copy)]
pub struct Entry {
    pub id: &'static str,
    pub about: &'static str,
    /// What of its [`Size`] it goes by, where it is found in one go; for what is trained step by step,
    /// [`Objective::takes`](super::train::Objective::takes) says it.
    pub takes: &'static [Setting],
    pub build: fn(Size) -> Box<dyn Arch>,
}

/// Every architecture.
pub const ARCHES: [Entry; 22] = [
    pca::ENTRY,
    ica::ENTRY,
    nmf::ENTRY,
    kmeans::ENTRY,
    trained::ENTRIES[0],
    trained::ENTRIES[1],
    trained::ENTRIES[2],
    trained::ENTRIES[3],
    trained::ENTRIES[4],
    trained::ENTRIES[5],
    trained::ENTRIES[6],
    trained::ENTRIES[7],
    trained::ENTRIES[8],
    trained::ENTRIES[9],
    trained::ENTRIES[10],
    trained::ENTRIES[11],
    trained::ENTRIES[12],
    trained::ENTRIES[13],
    trained::ENTRIES[14],
    trained::ENTRIES[15],
    baselines::NEURONS,
    baselines::RANDOM,
];

/// The architecture called `id`, if there is one.
pub fn find(id: &str) -> Option<&'static Entry> {
    ARCHES.iter().find(|entry| entry.id == id)
}

/// The widest dictionary that is made here.
pub(super) const MAX_LATENTS: usize = 1 << 24;

/// Refuses activations that nothing can be said about.
pub(super) fn check_input(x: &Mat) -> Result<(), FitError> {
    match x.shape() {
        (rows, dims) if rows < 2 || dims < 1 => Err(FitError::Empty { rows, dims }),
        _ => Ok(()),
    }
}

/// Refuses a setting outside `low..=high`.
pub(super) fn check_setting(name: &'static str, value: usize, low: usize, high: usize) -> Result<(), FitError> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(FitError::Setting { name, value, low, high }) }
}

/// Refuses a setting outside `low..=high`, NaN too.
pub(super) fn check_real(name: &'static str, value: f64, low: f64, high: f64) -> Result<(), FitError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let [value, low, high] = [value, low, high].map(|v| v.to_string());
    Err(FitError::Real { name, value, low, high })
}

/// Reports progress; `Err` where the watcher breaks.
pub(super) fn report(watch: &mut Watch, done: f64) -> Result<(), FitError> {
    if watch(done).is_break() { Err(FitError::Stopped) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_builds_what_it_says_and_fits() {
        let mut rng = Rng::new(0).fork("arches");
        let signed = Mat::from_fn(300, 6, |_, _| rng.normal());
        let positive = Mat::from_fn(300, 6, |i, j| signed[(i, j)].abs());
        for entry in &ARCHES {
            let arch = (entry.build)(Size { d_sae: 6, k: 2 });
            assert_eq!(arch.id(), entry.id);
            assert!(find(entry.id).is_some_and(|found| found.about == entry.about));
            let x = if entry.id == "nmf" { &positive } else { &signed };
            if entry.id.ends_with("transcoder") {
                let alone = arch.fit(x, &rng, &mut |_| ControlFlow::Continue(()));
                assert_eq!(alone, Err(FitError::NoTargets { arch: entry.id }));
                continue;
            }
            let sae = arch.fit(x, &rng, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(sae.w_dec.shape(), (6, 6), "{}", entry.id);
            assert!(sae.w_dec.data().iter().all(|w| w.is_finite()), "{}", entry.id);
        }
        let ids: std::collections::BTreeSet<_> = ARCHES.iter().map(|entry| entry.id).collect();
        assert_eq!(ids.len(), ARCHES.len());
        assert!(find("nonesuch").is_none());
    }

    #[test]
    fn impossible_input_is_an_error_and_a_stop_is_obeyed() {
        let rng = Rng::new(0);
        let mut nan = Mat::zeros(40, 3);
        nan[(7, 1)] = f32::NAN;
        let noise = Mat::from_fn(40, 3, |i, j| ((i * 7 + j * 3) % 11) as f32);
        for entry in ARCHES.iter().filter(|entry| !entry.id.ends_with("transcoder")) {
            let arch = (entry.build)(Size { d_sae: 4, k: 2 });
            let fit = |x: &Mat, go: bool| {
                let flow = if go { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
                arch.fit(x, &rng, &mut |_| flow)
            };
            for x in [Mat::zeros(0, 3), Mat::zeros(1, 3), Mat::zeros(5, 0)] {
                assert!(matches!(fit(&x, true), Err(FitError::Empty { .. })), "{} on {:?}", entry.id, x.shape());
            }
            fit(&Mat::zeros(40, 3), true).unwrap_or_else(|e| panic!("{} on constant columns: {e}", entry.id));
            if entry.id != "neurons" {
                assert!(matches!(fit(&nan, true), Err(FitError::NotFinite { .. })), "{}", entry.id);
                assert_eq!(fit(&noise, false), Err(FitError::Stopped), "{}", entry.id);
            }
        }
    }
}
