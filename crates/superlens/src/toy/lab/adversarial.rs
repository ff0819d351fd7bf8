//! `toy adversarial`: superposition makes a model easy to fool. The best small push is along what disturbs most features.

use super::tied::{self, Best, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, Settings, Toy, ToyError};
use crate::toy::Truth;
use crate::toy::geometry::dimensions_per_feature;
use crate::toy::groups::FeatureLaw;
use rayon::prelude::*;
use superlens_tensor::Rng;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "adversarial",
    about: "how much a small push of the input costs: models in superposition are easy to fool",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), relationship to adversarial robustness",
    settings: SETTINGS,
    keys: &[
        tied::KEYS,
        "The keys of relu_output, and: attack (the length of the push, `push` times the mean length of an input), damage (loss \
           that the best push adds, summed over features and averaged over rows), vulnerability (damage over the square of the push, \
           as a multiple of the densest instance's), features_per_dimension (1/D*). For the document: spearman (between vulnerability and \
           features per dimension) and rise (the largest vulnerability).",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "100", "features"),
    setting("d_hidden", "20", "hidden dimensions"),
    setting("importance", "1", tied::IMPORTANCE.says),
    tied::DENSITY,
    tied::FEATURE_DENSITY,
    setting("push", "0.1", "length of the push over the mean length of an input"),
    setting("rows", "400", "inputs that are attacked"),
    setting("bias", "true", "whether there is one"),
    setting("steps", "5000", tied::STEPS.says),
    tied::BATCH,
    tied::OPTIMISER,
    setting("lr", "3e-3", tied::LR.says),
    setting("weight_decay", "0", tied::WEIGHT_DECAY.says),
    setting("schedule", "cosine", tied::SCHEDULE.says),
    tied::INIT,
    tied::RESTARTS,
    tied::L1,
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let (plan, density) = tied::plan(s, lab.instances, Response::Linear, Response::Relu, false)?;
    let (push, rows) = (s.real("push", 1e-6..=10.0)?, s.whole("rows", 10..=100_000)?);
    let mut outcome = Outcome::default();
    let best = tied::train(s, &plan, &density, lab, &mut outcome)?;
    let attacks: Vec<Attack> = best
        .iter()
        .enumerate()
        .map(|(i, b)| Attack::on(b, &plan.importance, push, rows, &lab.rng.fork("attacked").fork_index(i as u64)))
        .collect();
    let densest = (0..best.len()).max_by(|&a, &b| top(&best[a]).total_cmp(&top(&best[b])));
    let Some(densest) = densest else { return Ok(outcome) };
    let relative: Vec<f64> = attacks.iter().map(|a| a.per_push / attacks[densest].per_push.max(1e-300)).collect();
    let crowding: Vec<f64> = best.iter().map(|b| 1.0 / dimensions_per_feature(&b.model.w)).collect();
    outcome.table.push(["density", "loss", "attacked", "vulnerability", "1/D*", "truth"].map(String::from).to_vec());
    for (i, b) in best.iter().enumerate() {
        let variance: Vec<f64> = b.density.iter().map(|p| p / 3.0 - p * p / 4.0).collect();
        let truth = Truth::of_directions(&b.model.w, &variance);
        let mut instance = tied::instance(i, b, &truth);
        instance.insert("attack".into(), attacks[i].length.into());
        instance.insert("damage".into(), attacks[i].damage.into());
        instance.insert("vulnerability".into(), relative[i].into());
        instance.insert("features_per_dimension".into(), crowding[i].into());
        outcome.instances.push(instance);
        let attacked = b.model.loss + attacks[i].damage / b.density.len() as f64;
        let numbers = [top(b), b.model.loss, attacked, relative[i], crowding[i]].map(short);
        outcome.table.push([&numbers[..], &[truth.label()]].concat());
    }
    let (rise, rank) = (relative.iter().copied().fold(0.0, f64::max), spearman(&relative, &crowding));
    outcome.keys.insert("rise".into(), rise.into());
    outcome.keys.insert("spearman".into(), rank.into());
    outcome.says.push(format!(
        "The best push of {push} mean input lengths costs up to {} times what it costs the densest model (per squared push). Its \
         rank correlation with features per dimension is {}.",
        short(rise),
        short(rank)
    ));
    outcome.pictures.push(picture(&best, &relative, &crowding));
    Ok(outcome)
}

fn top(b: &Best) -> f64 {
    b.density.iter().copied().fold(0.0, f64::max)
}

/// What the best push does to a model.
struct Attack {
    length: f64,
    damage: f64,
    per_push: f64,
}

impl Attack {
    /// For each row the best of the pushes along `±(WᵀW)_i`, which tell output `i` what is not there. Gradients would miss them
    /// behind closed ReLUs.
    fn on(b: &Best, importance: &[f64], push: f64, rows: usize, rng: &Rng) -> Attack {
        let w = &b.model.w;
        let x = FeatureLaw::independent(b.density.clone()).sample(rows, rng);
        let norm = |r: &[f32]| r.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let length = push * (0..rows).map(|r| norm(x.row(r))).sum::<f64>() / rows as f64;
        let gram = matmul(w, w.t());
        // What a push adds before the bias: `Wᵀ W δ`, with `δ` a row of `WᵀW` of the given length.
        let mut pushes = matmul(&gram, &gram);
        for i in 0..gram.rows() {
            let scale = length / norm(gram.row(i)).max(1e-12);
            pushes.row_mut(i).iter_mut().for_each(|v| *v *= scale as f32);
        }
        let before = matmul(&x, &gram);
        let damage = |r: usize| {
            let cost = |added: &[f32], sign: f32| {
                let each = added.iter().enumerate().map(|(j, a)| {
                    let out = (before[(r, j)] + sign * a + b.model.b[j]).max(0.0);
                    importance[j] * f64::from(out - x[(r, j)]).powi(2)
                });
                each.sum::<f64>()
            };
            let still = cost(&vec![0.0; gram.cols()], 0.0);
            let worst =
                (0..pushes.rows()).flat_map(|i| [1.0, -1.0].map(|s| cost(pushes.row(i), s))).fold(still, f64::max);
            worst - still
        };
        let each: Vec<f64> = (0..rows).into_par_iter().map(damage).collect();
        let damage = each.iter().sum::<f64>() / rows as f64;
        Attack { length, damage, per_push: damage / (length * length).max(1e-300) }
    }
}

/// Spearman's rank correlation; ties share their rank. 0 where one of the lists doesn't vary.
pub(super) fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |v: &[f64]| -> Vec<f64> {
        let below = |x: f64| v.iter().filter(|y| **y < x).count() as f64;
        let same = |x: f64| v.iter().filter(|y| **y == x).count() as f64;
        v.iter().map(|&x| below(x) + (same(x) - 1.0) / 2.0).collect()
    };
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - mean) * (y - mean)).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt().max(1e-300)
}

fn picture(best: &[Best], relative: &[f64], crowding: &[f64]) -> Picture {
    let over = |v: &[f64]| best.iter().zip(v).map(|(b, v)| (1.0 / top(b), *v)).collect();
    Picture::Sweep {
        name: "vulnerability",
        title: "How easy are models in superposition to fool?".into(),
        caption: "What the best small push of the input costs, as a multiple of the densest model, and how many features share a \
                  dimension (1/D*). Both rise where superposition sets in."
            .into(),
        x: Axis::log("1 / density"),
        y: Axis::linear("as a multiple, and features per dimension"),
        series: vec![
            Series { name: "vulnerability".into(), points: over(relative), line: true },
            Series { name: "features per dimension, 1/D*".into(), points: over(crowding), line: true },
        ],
        levels: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::fused::Trained;
    use superlens_tensor::Mat;

    fn best(w: Mat, p: f64) -> Best {
        let n = w.rows();
        let model = Trained { w, b: vec![0.0; n], loss: 0.0, history: Vec::new(), path: Vec::new() };
        Best { model, losses: Vec::new(), density: vec![p; n] }
    }

    /// A push of length ε along a feature with a dimension of its own adds at most ε²; along an antipodal pair it reaches both
    /// with √2 the gain, and one of the two is off.
    #[test]
    fn damage_is_that_of_the_closed_form() {
        let of = |w: Mat| Attack::on(&best(w, 0.01), &[1.0; 2], 0.1, 2000, &Rng::new(1));
        let own = of(Mat::from_vec(2, 2, vec![1.0, 0.0, 0.0, 1.0]));
        assert!((own.per_push - 1.0).abs() < 0.01, "{}", own.per_push);
        let pair = of(Mat::from_vec(2, 1, vec![1.0, -1.0]));
        assert!((pair.per_push - 2.0).abs() < 0.03, "{}", pair.per_push);
    }

    #[test]
    fn ranks_correlate() {
        assert!((spearman(&[1.0, 2.0, 3.0, 9.0], &[0.1, 0.5, 0.6, 0.7]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), 0.0);
    }
}
