//! Layers that mix causes: blocks of neurons from several families of the zoo side by side, in random order. What is true is known of each neuron.

use super::{Answer, Case, Family, Split, between, families, pick};
use crate::diagnose::{Options, diagnose};
use crate::verdict::{Basis, Verdict};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use superlens_tensor::{Mat, Rng};

/// Families whose neurons can be told one by one: no copies, no outliers. Of activations alone, and with labels of all blocks.
const PLAIN: &[&str] = &[
    "aligned-children",
    "aligned-gelu",
    "aligned-gated",
    "rotation-children",
    "rotation-stream",
    "spread",
    "random-children",
    "packed-gelu",
    "torus",
    "bits-rotated",
    "words",
];
const LABELLED: &[&str] = &[
    "aligned-children",
    "aligned-gelu",
    "spread",
    "threes-together",
    "pairs-gelu",
    "threes-by-chance",
    "pairs-by-chance-relu",
    "readings-tanh",
    "comparisons",
    "bands",
    "hashed-codes",
];
/// Neurons of a block, at least and at most.
const LEAST: usize = 8;
const MOST: usize = 64;
/// A layer has as many rows as its smallest block; no block may lose more than this leaves, or it could no longer be told for what it is.
const KEPT: f64 = 0.7;

/// What is true of one neuron.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeuronTruth {
    pub family: String,
    /// Every answer that the inputs can defend.
    pub defended: Vec<Answer>,
    /// Features that it carries, where they can be counted.
    pub carried: Option<usize>,
}

/// A layer of several blocks.
#[derive(Clone, Debug)]
pub struct Mixed {
    /// `[rows, neurons]`.
    pub x: Mat,
    pub labels: Option<Mat>,
    pub neurons: Vec<NeuronTruth>,
}

/// What was found of one neuron.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NeuronOutcome {
    pub case: u64,
    pub truth: NeuronTruth,
    pub polysemantic: bool,
    pub cause: Option<String>,
    pub n_features: usize,
}

impl NeuronTruth {
    /// Whether more than one thing moves it, so that there is a cause to tell.
    pub fn polysemantic(&self) -> bool {
        self.carried.map_or(self.defended[0].0 != Verdict::Monosemantic, |n| n >= 2)
    }
}

impl NeuronOutcome {
    /// Of a polysemantic neuron, whether its cause can be defended.
    pub fn is_right(&self) -> bool {
        let id = |a: &Answer| match a {
            (Verdict::Orthogonal, Some(mechanism)) => mechanism.id(),
            (verdict, _) => verdict.id(),
        };
        self.cause.as_ref().is_some_and(|cause| self.truth.defended.iter().any(|a| id(a) == cause))
    }

    /// Whether its features were counted to within one; `None` where there is no telling.
    pub fn is_counted(&self) -> Option<bool> {
        self.truth.carried.map(|n| n.abs_diff(self.n_features) <= 1)
    }
}

/// Layer `number` under `seed`: two to four blocks of different causes; every third with labels.
pub fn mixed(seed: u64, number: u64) -> Mixed {
    let stream = Rng::new(seed).fork("mixed").fork_index(number);
    let rng = &mut stream.fork("blocks");
    let labelled = number % 3 == 2;
    let all = families();
    let from = if labelled { LABELLED } else { PLAIN };
    let family = |id: &str| all.iter().find(|f| f.id == id && f.split == Split::Test).expect("a family that tests");
    let wanted = 2 + rng.below(3);
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < wanted {
        let family = family(pick(from, rng));
        // A cause twice is no mixture.
        if blocks.iter().any(|other| other.family.truth == family.truth) {
            continue;
        }
        let (mut case, carried) = family.counted_case(seed, rng.next_u64() >> 1);
        let rows = || blocks.iter().map(|other| other.case.x.rows()).chain([case.x.rows()]);
        let alike = rows().min().unwrap_or(0) as f64 >= KEPT * rows().max().unwrap_or(0) as f64;
        let fits = (LEAST..=MOST).contains(&case.x.cols()) && alike && case.basis != Basis::None;
        // What labels must show is known of cases with labels only; a layer of activations alone has none.
        let with = case.labels.is_some() || ["spread", "aligned-children", "aligned-gelu"].contains(&family.id);
        if labelled && !with || !labelled && case.labels.is_some() && case.defended.len() > 1 {
            continue;
        }
        if !labelled {
            case.labels = None;
        }
        if fits {
            blocks.push(Block { family, case, carried });
        }
    }
    join(&blocks, rng)
}

/// Neurons of one family.
struct Block<'a> {
    family: &'a Family,
    case: Case,
    carried: Option<Vec<usize>>,
}

/// Blocks side by side, each at a scale of its own, as many rows as all have.
fn join(blocks: &[Block], rng: &mut Rng) -> Mixed {
    let rows = blocks.iter().map(|block| block.case.x.rows()).min().unwrap_or(0);
    let (mut columns, mut labels, mut neurons) = (Vec::new(), Vec::new(), Vec::new());
    for Block { family, case, carried } in blocks {
        let size = case.x.data().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / case.x.data().len() as f64;
        let scale = (between(0.7, 1.4, rng) / size.sqrt().max(1e-12)) as f32;
        for j in 0..case.x.cols() {
            columns.push((0..rows).map(|i| scale * case.x[(i, j)]).collect::<Vec<f32>>());
            neurons.push(NeuronTruth {
                family: family.id.into(),
                defended: case.defended.clone(),
                carried: carried.as_ref().map(|n| n[j]),
            });
        }
        if let Some(of) = &case.labels {
            labels.extend((0..of.cols()).map(|c| (0..rows).map(|i| of[(i, c)]).collect::<Vec<f32>>()));
        }
    }
    let order = rng.permutation(columns.len());
    Mixed {
        x: Mat::from_fn(rows, columns.len(), |i, j| columns[order[j]][i]),
        labels: (!labels.is_empty()).then(|| Mat::from_fn(rows, labels.len(), |i, c| labels[c][i])),
        neurons: order.iter().map(|&k| neurons[k].clone()).collect(),
    }
}

/// The diagnosis of so many mixed layers, neuron by neuron; `done` is told how many layers are.
pub fn exam(seed: u64, cases: u64, done: &(dyn Fn(usize) + Sync)) -> Vec<NeuronOutcome> {
    let finished = AtomicUsize::new(0);
    let one = |number: u64| {
        let Mixed { x, labels, neurons } = mixed(seed, number);
        let options = Options { basis: Basis::Privileged, seed: number, labels, ..Options::default() };
        let found = diagnose(&x, &options, &mut |_| ControlFlow::Continue(())).map(|d| d.neurons).unwrap_or_default();
        done(finished.fetch_add(1, Ordering::Relaxed) + 1);
        let outcome = |(truth, found): (NeuronTruth, crate::diagnose::Neuron)| NeuronOutcome {
            case: number,
            truth,
            polysemantic: found.polysemantic,
            cause: found.cause,
            n_features: found.n_features,
        };
        neurons.into_iter().zip(found).map(outcome).collect::<Vec<_>>()
    };
    let layers: Vec<u64> = (0..cases).collect();
    layers.into_par_iter().with_max_len(1).flat_map_iter(one).collect()
}

/// Where the ranges of true numbers begin.
const FROM: [usize; 3] = [2, 5, 10];

/// How often the cause of a neuron was right.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NeuronScores {
    pub layers: u64,
    /// Polysemantic neurons, and those of them whose cause can be defended.
    pub polysemantic: usize,
    pub right: usize,
    /// Neurons that carry one feature, and those of them that were taken for polysemantic.
    pub monosemantic: usize,
    pub false_alarms: usize,
    /// Polysemantic neurons whose features can be counted, and those counted to within one: by the true number, from 2, 5 and 10 on.
    pub counts: [(usize, usize); 3],
    /// By family: polysemantic neurons, right ones, and what was said instead.
    pub families: Vec<FamilyScore>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct FamilyScore {
    pub family: String,
    pub polysemantic: usize,
    pub right: usize,
    pub instead: Vec<(String, usize)>,
}

/// The scores of outcomes in any order.
pub fn scores(outcomes: &[NeuronOutcome]) -> NeuronScores {
    let mut s = NeuronScores { layers: outcomes.iter().map(|o| o.case + 1).max().unwrap_or(0), ..Default::default() };
    let mut by: std::collections::BTreeMap<&str, FamilyScore> = Default::default();
    for o in outcomes {
        let family = by.entry(&o.truth.family).or_default();
        if !o.truth.polysemantic() {
            s.monosemantic += 1;
            s.false_alarms += usize::from(o.polysemantic);
            continue;
        }
        s.polysemantic += 1;
        family.polysemantic += 1;
        if o.is_right() {
            s.right += 1;
            family.right += 1;
        } else {
            let said = o.cause.clone().unwrap_or_else(|| "none".into());
            match family.instead.iter_mut().find(|(other, _)| *other == said) {
                Some((_, n)) => *n += 1,
                None => family.instead.push((said, 1)),
            }
        }
        if let (Some(counted), Some(n)) = (o.is_counted(), o.truth.carried) {
            let of = &mut s.counts[FROM.partition_point(|from| *from <= n) - 1];
            of.0 += 1;
            of.1 += usize::from(counted);
        }
    }
    s.families = by.into_iter().map(|(family, score)| FamilyScore { family: family.into(), ..score }).collect();
    s
}

/// A page that says so; `command` made it.
pub fn markdown(s: &NeuronScores, command: &str) -> String {
    let share = |a: usize, b: usize| format!("{a} of {b}, {:.0} %", 100.0 * a as f64 / b.max(1) as f64);
    let mut out = format!(
        "# Causes of single neurons\n\n    {command}\n\n{} layers, each of two to four blocks of neurons from different test families of the zoo side by side in random \
         order; every third comes with labels. A cause is right where the block's inputs can defend it. A neuron with several features in a block that is monosemantic as a whole has no \
         cause that could be right, and counts as wrong.\n\n| | |\n|---|---|\n| polysemantic neurons \
         whose cause was right | {} |\n| counted to within one, of polysemantic neurons with 2 to 4 features | {} |\n| with 5 to 9 | {} |\n| with 10 and more | {} |\n| neurons \
         with one feature that were taken for polysemantic | {} |\n\n| family | polysemantic neurons | cause right | instead |\n|---|---|---|---|\n",
        s.layers,
        share(s.right, s.polysemantic),
        share(s.counts[0].1, s.counts[0].0),
        share(s.counts[1].1, s.counts[1].0),
        share(s.counts[2].1, s.counts[2].0),
        share(s.false_alarms, s.monosemantic),
    );
    for f in s.families.iter().filter(|f| f.polysemantic > 0) {
        let instead: Vec<String> = f.instead.iter().map(|(said, n)| format!("{said} {n}")).collect();
        out += &format!("| {} | {} | {} | {} |\n", f.family, f.polysemantic, f.right, instead.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Mechanism;

    #[test]
    fn blocks_are_of_families_that_test() {
        let all = families();
        let tests = |id: &str| all.iter().any(|f| f.id == id && f.split == Split::Test);
        assert!(PLAIN.iter().chain(LABELLED).all(|id| tests(id)));
    }

    #[test]
    fn every_third_layer_has_labels_and_every_neuron_a_truth() {
        for number in 0..6 {
            let layer = mixed(3, number);
            assert_eq!(layer.neurons.len(), layer.x.cols());
            assert_eq!(layer.labels.is_some(), number % 3 == 2, "{number}");
            let mut families: Vec<&str> = layer.neurons.iter().map(|n| n.family.as_str()).collect();
            families.sort_unstable();
            families.dedup();
            assert!((2..=4).contains(&families.len()), "{families:?}");
            assert!(mixed(3, number).x == layer.x);
        }
    }

    #[test]
    fn a_neuron_is_right_with_any_answer_that_can_be_defended() {
        let truth = NeuronTruth {
            family: "f".into(),
            defended: vec![(Verdict::Orthogonal, Some(Mechanism::Incidental)), (Verdict::Superposition, None)],
            carried: Some(3),
        };
        let outcome = |cause: Option<&str>, n_features| NeuronOutcome {
            case: 4,
            truth: truth.clone(),
            polysemantic: true,
            cause: cause.map(String::from),
            n_features,
        };
        let all = [
            outcome(Some("incidental"), 2),
            outcome(Some("superposition"), 5),
            outcome(None, 4),
            outcome(Some("rotated"), 3),
        ];
        let s = scores(&all);
        assert_eq!((s.layers, s.polysemantic, s.right, s.counts), (5, 4, 2, [(4, 3), (0, 0), (0, 0)]));
        assert_eq!(s.families[0].instead, [("none".to_string(), 1), ("rotated".to_string(), 1)]);
        assert!(markdown(&s, "command").contains("2 of 4, 50 %"));
    }
}
