//! `toy dynamics`: how features find their places. Dimensionalities jump between a few levels, like electrons, and the loss
//! falls in steps.

use super::tied::{self, Best, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, Settings, Toy, ToyError};
use crate::toy::Truth;
use crate::toy::geometry::{REPRESENTED, dimensionality, norms};
use serde_json::{Map, Value};
use superlens_tensor::Mat;
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "dynamics",
    about: "the ReLU-output model on its way: each feature's dimensionality over the steps, and the loss",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), superposition and learning dynamics",
    settings: SETTINGS,
    keys: &[
        tied::KEYS,
        "The keys of relu_output, and: looks (steps), dimensionality_path (looks rows of n_features), loss_path (step, loss, on \
           training rows), near_level (share of features and looks after the warm-up within 0.03 of 0, 1/3, 3/8, 2/5, 1/2, 2/3 or 1; \
           features shorter than a half count as 0), jumps (moves of a feature by more than 0.05 between two looks after the \
           warm-up), jump_slope (how much faster the loss falls where features jump than where they rest; 0 without jumps), \
           antipodes_across with groups, and represented_path.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "80", "features"),
    setting("d_hidden", "20", "hidden dimensions"),
    setting("importance", "1", tied::IMPORTANCE.says),
    setting("density", "0.3", tied::DENSITY.says),
    tied::FEATURE_DENSITY,
    tied::GROUPS,
    setting("looks", "100", "times that the weights are looked at on the way"),
    setting("warmup", "0.1", "share of the steps that is left out of near_level and jumps"),
    setting("bias", "true", "whether there is one"),
    setting("steps", "8000", tied::STEPS.says),
    tied::BATCH,
    tied::OPTIMISER,
    tied::LR,
    tied::WEIGHT_DECAY,
    tied::SCHEDULE,
    tied::INIT,
    tied::RESTARTS,
    tied::L1,
];

const LEVELS: [(f64, &str); 7] =
    [(0.0, "0"), (1.0 / 3.0, "1/3"), (0.375, "3/8"), (0.4, "2/5"), (0.5, "1/2"), (2.0 / 3.0, "2/3"), (1.0, "1")];
const NEAR: f64 = 0.03;
const JUMP: f64 = 0.05;

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let (plan, density) = tied::plan(s, lab.instances, Response::Linear, Response::Relu, false)?;
    let laws = tied::laws(s, &density)?;
    let looks = s.whole("looks", 2..=100_000)? as u64;
    let warmup = s.real("warmup", 0.0..=0.99)?;
    let mut outcome = Outcome::default();
    let best = tied::train_on(s, &plan, &laws, looks, lab, &mut outcome)?;
    outcome
        .table
        .push(["density", "loss", "near a level", "jumps", "faster fall at jumps", "truth"].map(String::from).to_vec());
    for (seed, (b, law)) in best.iter().zip(&laws).enumerate() {
        let truth = Truth::of_directions(&b.model.w, &law.variances());
        let path = Path::of(b);
        let after = (warmup * path.d.len() as f64) as usize;
        let (near, (jumps, faster)) = (path.near_level(after), path.jumps(after));
        let mut instance = tied::instance(seed, b, &truth);
        instance.remove("history");
        instance.extend(path.json());
        instance.insert("near_level".into(), near.into());
        instance.insert("jumps".into(), jumps.into());
        instance.insert("jump_slope".into(), faster.into());
        instance.insert("antipodes_across".into(), antipodes_across(&b.model.w, law.groups().size()).into());
        outcome.table.push(vec![
            short(b.density.iter().copied().fold(0.0, f64::max)),
            short(b.model.loss),
            format!("{:.1} %", 100.0 * near),
            jumps.to_string(),
            short(faster),
            truth.label(),
        ]);
        outcome.instances.push(instance);
    }
    outcome.says.push(format!(
        "Between {looks} looks most features rest on a level: 1 alone, 1/2 in an antipodal pair, 2/3 in a triangle, 0 not \
         represented. They move in jumps, and the loss falls faster where they do."
    ));
    if let Some(first) = best.first() {
        outcome.pictures.extend(pictures(&Path::of(first)));
    }
    outcome.pictures.extend(tied::directions(&best, "Feature directions at the end"));
    Ok(outcome)
}

/// What was seen on the way of one model.
struct Path {
    steps: Vec<u64>,
    /// `[looks][n_features]`: dimensionality, 0 where the feature is not represented.
    d: Vec<Vec<f64>>,
    /// `(step, loss)` since the last look; one entry less than there are looks, since the first one comes before all steps.
    loss: Vec<(u64, f64)>,
}

impl Path {
    fn of(b: &Best) -> Path {
        let levels = |w: &Mat| {
            dimensionality(w)
                .into_iter()
                .zip(norms(w))
                .map(|(d, norm)| if norm > REPRESENTED { d } else { 0.0 })
                .collect()
        };
        Path {
            steps: b.model.path.iter().map(|(step, _)| *step).collect(),
            d: b.model.path.iter().map(|(_, w)| levels(w)).collect(),
            loss: b.model.history.clone(),
        }
    }

    /// Share of features and looks from look `after` on that are near a level.
    fn near_level(&self, after: usize) -> f64 {
        let all: Vec<f64> = self.d[after..].concat();
        let near = |d: &&f64| LEVELS.iter().any(|(level, _)| (*d - level).abs() <= NEAR);
        all.iter().filter(near).count() as f64 / all.len().max(1) as f64
    }

    /// How often a feature moves far between two looks, and how much faster the loss falls there than elsewhere: the ratio of
    /// the mean relative decrease.
    fn jumps(&self, after: usize) -> (usize, f64) {
        let moved = |k: usize| {
            let far = |(a, b): (&f64, &f64)| (a - b).abs() > JUMP;
            self.d[k].iter().zip(&self.d[k - 1]).filter(|&pair| far(pair)).count()
        };
        // Entry k − 1 of the losses covers the steps between looks k − 1 and k.
        let fall = |k: usize| (self.loss[k - 2].1 - self.loss[k - 1].1) / self.loss[k - 1].1.max(1e-300);
        let from = after.max(2);
        let (jumping, resting): (Vec<usize>, Vec<usize>) = (from..self.d.len()).partition(|&k| moved(k) > 0);
        let mean = |ks: &[usize]| ks.iter().map(|&k| fall(k)).sum::<f64>() / ks.len().max(1) as f64;
        let count = (from..self.d.len()).map(moved).sum();
        let faster = if jumping.is_empty() { 0.0 } else { mean(&jumping) / mean(&resting).abs().max(1e-12) };
        (count, faster)
    }

    fn json(&self) -> Map<String, Value> {
        let represented: Vec<usize> = self.d.iter().map(|d| d.iter().filter(|d| **d > 0.0).count()).collect();
        [
            ("looks", self.steps.clone().into()),
            ("dimensionality_path", self.d.clone().into()),
            ("loss_path", self.loss.iter().map(|(step, loss)| Value::from(vec![*step as f64, *loss])).collect()),
            ("represented_path", represented.into()),
        ]
        .map(|(key, value): (&str, Value)| (key.to_string(), value))
        .into_iter()
        .collect()
    }
}

/// Represented features whose opposite (cosine below −0.9) belongs to another set.
fn antipodes_across(w: &Mat, size: usize) -> usize {
    let norms = norms(w);
    let cosine = |i: usize, j: usize| {
        w.row(i).iter().zip(w.row(j)).map(|(a, b)| f64::from(a * b)).sum::<f64>() / (norms[i] * norms[j]).max(1e-12)
    };
    let opposite = |i: usize| {
        (0..w.rows()).any(|j| j / size != i / size && norms[i].min(norms[j]) > REPRESENTED && cosine(i, j) < -0.9)
    };
    (0..w.rows()).filter(|&i| opposite(i)).count()
}

fn pictures(path: &Path) -> [Picture; 2] {
    let points = |k: usize| path.d[k].iter().map(move |d| (path.steps[k] as f64, *d)).collect::<Vec<_>>();
    [
        Picture::Sweep {
            name: "levels",
            title: "Each feature's dimensionality on the way".into(),
            caption: "A dot a feature and look. Features gather on a few levels and move between them in jumps; on 0 lies what is \
                      not represented."
                .into(),
            x: Axis::linear("training steps"),
            y: Axis::linear("dimensions per feature"),
            series: vec![Series {
                name: "a feature, D".into(),
                points: (0..path.d.len()).flat_map(points).collect(),
                line: false,
            }],
            levels: LEVELS[1..].iter().filter(|(l, _)| *l != 0.375).map(|(l, name)| (*l, name.to_string())).collect(),
        },
        Picture::Sweep {
            name: "loss",
            title: "The loss on the way".into(),
            caption: "The loss on training rows. Steps down are features that find a better place.".into(),
            x: Axis::linear("training steps"),
            y: Axis::log("loss"),
            series: vec![Series {
                name: "loss".into(),
                points: path.loss.iter().map(|(step, loss)| (*step as f64, *loss)).collect(),
                line: true,
            }],
            levels: Vec::new(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One feature rests, the other moves from 1 to ½ where the loss falls.
    #[test]
    fn jumps_are_seen_and_so_is_the_fall_of_the_loss() {
        let d = |second: f64| vec![0.5, second];
        let path = Path {
            steps: vec![0, 10, 20, 30, 40],
            d: vec![d(0.83), d(0.83), d(0.83), d(0.5), d(0.5)],
            loss: vec![(10, 1.1), (20, 1.09), (30, 0.5), (40, 0.49)],
        };
        let (jumps, faster) = path.jumps(0);
        assert!(jumps == 1 && faster > 10.0, "{jumps} {faster}");
        assert_eq!(path.near_level(0), 0.7);
        assert_eq!(path.near_level(3), 1.0);
    }

    #[test]
    fn opposites_count_across_sets_only() {
        let w = Mat::from_vec(4, 2, vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.2]);
        assert_eq!((antipodes_across(&w, 2), antipodes_across(&w, 4)), (2, 0));
    }
}
