//! A second set of made cases, written from what the verdicts mean and without sight of the diagnosis: three families a
//! verdict or mechanism. Nothing is calibrated on it.
//!
//! `docs/zoo-second.md` holds its hash.

mod codes;
mod computational;
mod correlated;
mod incidental;
mod mono;
mod nonlinear;
mod nulls;
mod rotated;
mod superposition;
mod tools;

use super::{Answer, Case, Family, Split};
use crate::verdict::{Basis, Mechanism, Verdict};
use superlens_tensor::{Mat, Rng};

/// The families, three after three: monosemantic, superposition, the four mechanisms of orthogonal, nonlinear,
/// compositional, inconclusive.
pub fn families() -> Vec<Family> {
    [
        mono::families(),
        superposition::families(),
        rotated::families(),
        correlated::families(),
        incidental::families(),
        computational::families(),
        nonlinear::families(),
        codes::families(),
        nulls::families(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const MONOSEMANTIC: Answer = (Verdict::Monosemantic, None);
const SUPERPOSITION: Answer = (Verdict::Superposition, None);
const ROTATED: Answer = (Verdict::Orthogonal, Some(Mechanism::Rotated));
const CORRELATED: Answer = (Verdict::Orthogonal, Some(Mechanism::Correlated));
const INCIDENTAL: Answer = (Verdict::Orthogonal, Some(Mechanism::Incidental));
const COMPUTATIONAL: Answer = (Verdict::Orthogonal, Some(Mechanism::Computational));
const NONLINEAR: Answer = (Verdict::Nonlinear, None);
const COMPOSITIONAL: Answer = (Verdict::Compositional, None);
const INCONCLUSIVE: Answer = (Verdict::Inconclusive, None);

/// A family of this set: all of it only tests.
fn family(id: &'static str, truth: Answer, about: &'static str, make: fn(&Rng) -> Case) -> Family {
    Family { id, truth, split: Split::Test, about, make }
}

/// A case that defends one answer.
fn case(
    x: Mat,
    basis: Basis,
    labels: Option<Mat>,
    truth: Answer,
    n_features: impl Into<Option<usize>>,
    about: String,
) -> Case {
    Case { x, basis, labels, defended: vec![truth], n_features: n_features.into(), about }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn three_families_of_each_with_ids_of_their_own() {
        let all = families();
        let ids: HashSet<_> = all.iter().map(|f| f.id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(ids.iter().all(|id| id.starts_with("second-")));
        let mut count: HashMap<Answer, usize> = HashMap::new();
        for f in &all {
            *count.entry(f.truth).or_default() += 1;
        }
        assert_eq!(count.len(), 9);
        assert!(count.values().all(|&n| n == 3), "{count:?}");
    }

    #[test]
    fn cases_are_finite_and_of_sound_shape() {
        for f in families() {
            let c = (f.make)(&Rng::new(11).fork(f.id));
            let (rows, d) = c.x.shape();
            assert!(c.x.data().iter().all(|v| v.is_finite()), "{}", f.id);
            assert!((12..=256).contains(&d) && rows <= 12_000, "{}: {rows} x {d}", f.id);
            assert!(rows >= 4_000 || f.id == "second-null-few-rows", "{}: {rows} rows", f.id);
            assert_eq!(c.defended[0], f.truth, "{}", f.id);
            let Some(labels) = c.labels else { continue };
            assert_eq!(labels.rows(), rows, "{}", f.id);
            assert!(labels.cols() > 0 && labels.data().iter().all(|v| v.is_finite()), "{}", f.id);
            if labels.data().iter().any(|&v| v != 0.0 && v != 1.0) {
                continue;
            }
            for j in 0..labels.cols() {
                let on = (0..rows).filter(|&i| labels[(i, j)] == 1.0).count();
                assert!((100..=rows - 100).contains(&on), "{} {j}: {on} of {rows} rows", f.id);
            }
        }
    }

    #[test]
    fn a_case_is_fixed_by_its_seed() {
        for f in families() {
            let make = |seed| (f.make)(&Rng::new(seed).fork(f.id));
            let (a, b) = (make(5), make(5));
            assert_eq!((&a.x, &a.labels, &a.about), (&b.x, &b.labels, &b.about), "{}", f.id);
            assert_ne!(a.x.row(0), make(6).x.row(0), "{}", f.id);
        }
    }
}
