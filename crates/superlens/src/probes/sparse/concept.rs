//! What a study says: of all, and of one concept.

use serde::Serialize;

use super::exact::Certificate;

/// Up to here a p-value is taken to say something.
const SMALL: f64 = 0.05;
/// Below this F1 nothing is called read.
const POOR: f64 = 0.5;
/// From this area on a dense probe is said to read a concept.
const GOOD_AREA: f64 = 0.9;

/// All concepts, and how they were asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    pub rows: usize,
    pub units: usize,
    pub train_rows: usize,
    pub held_out_rows: usize,
    pub held_out_blocks: usize,
    /// Draws of each null, and the size of the probes in them.
    pub draws: usize,
    pub null_k: usize,
    /// Why no rotation was made, where none was.
    pub rotation_note: Option<String>,
    pub seed: u64,
    pub concepts: Vec<Concept>,
}

/// One concept. Numbers are `None` where `note` says why there are none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Concept {
    pub name: String,
    pub positives: usize,
    /// Share of the rows that are positive.
    pub balance: f64,
    pub train_positives: usize,
    pub held_out_positives: usize,
    pub note: Option<String>,
    /// F1 of calling every held-out row positive: what has been learned begins above it.
    pub always_f1: Option<f64>,
    /// Of the logistic regression on all units, on held-out rows as all that follows.
    pub dense_auc: Option<f64>,
    pub dense_auc_interval: Option<[f64; 2]>,
    pub dense_f1: Option<f64>,
    pub dense_f1_interval: Option<[f64; 2]>,
    /// Sizes of the sparse probes; the lists below have an entry for each.
    pub k: Vec<usize>,
    pub f1: Vec<Option<f64>>,
    pub f1_interval: Vec<Option<[f64; 2]>>,
    pub auc: Vec<Option<f64>>,
    pub auc_interval: Vec<Option<[f64; 2]>>,
    /// What chose the units.
    pub selector: String,
    pub supports: Vec<Vec<usize>>,
    /// The fewest units whose F1 lies in the interval of the best one.
    pub support: Vec<usize>,
    /// Against turned bases, at the study's `null_k`: p-value, mean F1 of the draws, and what the units' own basis adds to it.
    pub rotation_p: Option<f64>,
    pub rotation_f1: Option<f64>,
    pub rotation_effect: Option<f64>,
    /// Against shifted labels.
    pub permutation_p: Option<f64>,
    pub permutation_f1: Option<f64>,
    /// Best supports, where they were searched for.
    pub exact: Vec<Exact>,
    /// All selectors, where they were compared.
    pub compared: Vec<Compared>,
}

/// The best support of a size, its certificate, and the F1 of the probe on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exact {
    #[serde(flatten)]
    pub certificate: Certificate,
    pub f1: f64,
}

/// What another selector's units read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    pub selector: String,
    pub f1: Vec<f64>,
}

impl Concept {
    /// The best F1 of the sparse probes, and the place of its `k`.
    pub fn best(&self) -> Option<(usize, f64)> {
        let told = self.f1.iter().enumerate().filter_map(|(at, f1)| f1.map(|f1| (at, f1)));
        told.fold(None, |best, (at, f1)| if best.is_some_and(|(_, b)| b >= f1) { best } else { Some((at, f1)) })
    }

    /// The place of the fewest units that read it as well as any number tried: their F1 lies in the interval of the best.
    pub(super) fn fewest(&self) -> Option<usize> {
        let (at, best) = self.best()?;
        let least = self.f1_interval[at].map_or(best, |[low, _]| low);
        self.f1.iter().position(|f1| f1.is_some_and(|f1| f1 >= least))
    }

    /// One sentence for the reader, `word` being that of the units and `null_k` the study's.
    pub fn says(&self, word: &str, null_k: usize) -> String {
        if let Some(note) = &self.note {
            return note.clone();
        }
        let Some((_, best)) = self.best() else { return "no sparse probe was made".into() };
        let by_chance = self.permutation_p.is_some_and(|p| p > SMALL);
        let dense = self.dense_auc.is_some_and(|a| a >= GOOD_AREA);
        if best < POOR {
            return match (dense, by_chance) {
                (true, _) => format!("all {word}s together read it, few do not"),
                (false, true) => "not read better than shifted labels are".into(),
                (false, false) => "read poorly".into(),
            };
        }
        let reads = match self.support.as_slice() {
            [one] => format!("{word} {one} alone reads it as well as more do"),
            some => format!("{} {word}s read it, fewer do so worse", some.len()),
        };
        let basis = match self.rotation_p {
            Some(p) if p <= SMALL => format!("; the basis matters: at k = {null_k} turned axes read it worse"),
            Some(_) => format!("; at k = {null_k} turned axes read it as well"),
            None => String::new(),
        };
        format!("{reads}{basis}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_units_lie_in_the_interval_of_the_best() {
        let mut concept = Concept {
            k: vec![1, 2, 4],
            f1: vec![Some(0.5), Some(0.9), Some(0.92)],
            f1_interval: vec![None, None, Some([0.88, 0.95])],
            support: vec![3, 5],
            ..Concept::default()
        };
        assert_eq!((concept.best(), concept.fewest()), (Some((2, 0.92)), Some(1)));
        assert_eq!(concept.says("neuron", 1), "2 neurons read it, fewer do so worse");
        concept.f1_interval[2] = None;
        assert_eq!(concept.fewest(), Some(2));
        concept.rotation_p = Some(0.01);
        assert!(concept.says("neuron", 1).ends_with("read it worse"));
        concept.note = Some("too rare".into());
        assert_eq!(concept.says("neuron", 1), "too rare");
        assert_eq!(Concept::default().best(), None);
    }
}
