//! The five layers of `superlens demo`: trained on the spot, with their truth measured from the weights.

use super::data::SparseFeatures;
use super::noise::Gaussian;
use super::relu_hidden::ReluHidden;
use super::relu_output::ReluOutput;
use super::tied::recipe;
use super::{Made, ToyModel, Truth, make};
use crate::verdict::{Basis, Verdict};
use std::ops::ControlFlow;
use superlens_tensor::{Mat, Rng};

/// One layer to diagnose as if nothing were known of it.
#[derive(Clone, Debug)]
pub struct DemoCase {
    pub name: &'static str,
    pub truth: Truth,
    /// `[rows, neurons]`.
    pub activations: Mat,
    /// What a blind diagnosis may know of the columns: nothing.
    pub basis: Basis,
    /// What was trained, and what its weights show, in one sentence.
    pub facts: String,
}

/// The activations of this case lend their covariance to the noise.
const NOISE_IS_LIKE: &str = "superposition, sparse";
const NOISE: &str = "Gaussian noise";

/// A layer of the demo.
struct Recipe {
    name: &'static str,
    model: Box<dyn ToyModel>,
    /// Rows of activations: enough for every feature to be on in 150 of them.
    rows: usize,
}

fn recipes() -> Vec<Recipe> {
    // With spare neurons every feature finds one of its own, and the spare ones end dead: in 250 of 250 seeds. With
    // 32 neurons and 1500 steps, 3 of 100 seeds end with two features tangled on shared neurons.
    let monosemantic = ReluHidden {
        features: SparseFeatures::uniform(24, 0.05),
        d_hidden: 36,
        l1: 0.1,
        batch: 1024,
        training: recipe(2000, 0.01),
    };
    let bottleneck = |n, density, d_hidden, batch, steps| ReluOutput {
        features: SparseFeatures::uniform(n, density).into(),
        d_hidden,
        batch,
        training: recipe(steps, 0.01),
    };
    let rotated = bottleneck(24, 0.05, 24, 512, 1000);
    // Sparse enough for directions of their own: at higher densities the features would settle in antipodal pairs,
    // which nobody can tell from half as many features of both signs.
    let superposed = |density, batch| bottleneck(60, density, 20, batch, 1500);
    vec![
        Recipe { name: "monosemantic layer", model: Box::new(monosemantic), rows: 20_000 },
        Recipe { name: "rotated layer", model: Box::new(rotated), rows: 20_000 },
        Recipe { name: NOISE_IS_LIKE, model: Box::new(superposed(0.02, 512)), rows: 20_000 },
        Recipe { name: "superposition, sparser", model: Box::new(superposed(0.008, 1024)), rows: 40_000 },
    ]
}

/// Makes the five cases one after the other and hands each to `visit` as soon as it is there.
///
/// `watch` is told the name of the case and how much of it is done, 0 to 1. Either ends the demo by breaking.
pub fn each_demo_case(
    seed: u64,
    watch: &mut dyn FnMut(&str, f64) -> ControlFlow<()>,
    visit: &mut dyn FnMut(DemoCase) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let root = Rng::new(seed).fork("demo");
    let mut noise = None;
    for recipe in recipes() {
        let case = recipe.make(&root.fork(recipe.name), watch)?;
        if recipe.name == NOISE_IS_LIKE {
            noise = Some((Gaussian::like(&case.activations), case.activations.rows()));
        }
        visit(case)?;
    }
    if let Some((gaussian, rows)) = noise {
        let activations = gaussian.sample(rows, &root.fork(NOISE));
        watch(NOISE, 1.0)?;
        visit(DemoCase {
            name: NOISE,
            truth: Truth::nothing(activations.cols()),
            activations,
            basis: Basis::Unknown,
            facts: format!("No features: a Gaussian with the mean and covariance of \"{NOISE_IS_LIKE}\"."),
        })?;
    }
    ControlFlow::Continue(())
}

/// All five cases; `None` if `watch` broke.
pub fn demo_cases(seed: u64, watch: &mut dyn FnMut(&str, f64) -> ControlFlow<()>) -> Option<Vec<DemoCase>> {
    let mut cases = Vec::new();
    let end = each_demo_case(seed, watch, &mut |case| {
        cases.push(case);
        ControlFlow::Continue(())
    });
    end.is_continue().then_some(cases)
}

impl Recipe {
    fn make(&self, stream: &Rng, watch: &mut dyn FnMut(&str, f64) -> ControlFlow<()>) -> ControlFlow<(), DemoCase> {
        let mut end = watch(self.name, 0.0);
        let made = make(self.model.as_ref(), stream, &mut |share| {
            if end.is_continue() {
                end = watch(self.name, share);
            }
            end
        });
        end?;
        let Made { params, loss } = made.expect("weights, since nobody broke");
        let truth = self.model.truth(&params);
        let sample = self.model.sample(&params, self.rows, &stream.fork("rows"));
        ControlFlow::Continue(DemoCase {
            name: self.name,
            facts: facts(self.model.as_ref(), &truth, loss, &sample.features),
            truth,
            activations: sample.activations,
            basis: Basis::Unknown,
        })
    }
}

/// What the weights show, and how often the rows show it, in one sentence.
fn facts(model: &dyn ToyModel, truth: &Truth, loss: Option<f64>, inputs: &Mat) -> String {
    let on = |i: usize| (0..inputs.rows()).filter(|&r| inputs[(r, i)] != 0.0).count();
    let rarest = truth.features.iter().map(|&i| on(i)).min().unwrap_or(0);
    let count = |flags: &[bool]| flags.iter().filter(|&&f| f).count();
    let (features, live) = (truth.features.len(), count(&truth.live));
    let how = match truth.verdict {
        Verdict::Monosemantic => {
            format!("{features} features on {live} live neurons of {}, one each", truth.live.len())
        }
        Verdict::Superposition => format!(
            "{features} features represented in {} dimensions along {} lines ({:.0} % in antipodal pairs)",
            truth.rank,
            truth.lines,
            100.0 * truth.antipodal_fraction()
        ),
        Verdict::Orthogonal => format!(
            "{features} features in {} dimensions, cosines up to {:.3}, {} of {live} neurons polysemantic",
            truth.rank,
            truth.coherence(),
            truth.polysemantic()
        ),
        Verdict::Nonlinear | Verdict::Compositional | Verdict::Inconclusive => "no feature represented".to_string(),
    };
    let trained = loss.map_or("written down".to_string(), |loss| format!("trained to a loss of {loss:.1e}"));
    format!("{}, {trained}: {how}; each is on in at least {rarest} rows.", model.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_what_it_is_called() {
        let cases = demo_cases(1, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let labels: Vec<(&str, String)> = cases.iter().map(|c| (c.name, c.truth.label())).collect();
        let want = [
            ("monosemantic layer", "monosemantic"),
            ("rotated layer", "orthogonal/rotated"),
            ("superposition, sparse", "superposition"),
            ("superposition, sparser", "superposition"),
            ("Gaussian noise", "inconclusive"),
        ];
        assert_eq!(labels, want.map(|(name, label)| (name, label.to_string())));
        for case in &cases {
            let t = &case.truth;
            assert!(case.activations.data().iter().all(|v| v.is_finite()));
            match t.verdict {
                // As lines too, or a layer of signed orthogonal features would do as well.
                Verdict::Superposition => assert!(2 * t.lines >= 3 * t.rank && t.antipodal_fraction() < 0.1),
                Verdict::Orthogonal => assert!(t.coherence() < 0.1 && t.features.len() == t.rank),
                Verdict::Monosemantic => assert_eq!(t.features.len(), t.live.iter().filter(|&&l| l).count()),
                _ => assert_eq!(t.features.len(), 0),
            }
        }
    }

    #[test]
    fn breaking_ends_the_demo_and_progress_only_grows() {
        let mut last = ("".to_string(), 0.0);
        let mut calls = 0;
        let end = demo_cases(2, &mut |name, done| {
            assert!((0.0..=1.0).contains(&done) && (name != last.0 || done >= last.1));
            last = (name.to_string(), done);
            calls += 1;
            if calls == 20 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(end.is_none() && calls == 20);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        let features = SparseFeatures::uniform(60, 0.02);
        let model = ReluOutput { features: features.into(), d_hidden: 20, batch: 512, training: recipe(20, 0.01) };
        let recipe = Recipe { name: NOISE_IS_LIKE, model: Box::new(model), rows: 1000 };
        let make = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let ControlFlow::Continue(case) = recipe.make(&Rng::new(3), &mut |_, _| ControlFlow::Continue(()))
                else {
                    unreachable!("nobody breaks")
                };
                (case.activations, case.facts)
            })
        };
        assert!(make(1) == make(3));
    }
}
