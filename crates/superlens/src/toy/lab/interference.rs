//! `toy interference`: what superposition costs when several features are on at once, and what can't be told then.
//!
//! Features are found, one by one, in hidden vectors that they share. With one on, the bias filters the others' noise. With
//! several on, their interference adds up: errors grow, and some sums are read as other features.

use super::tied::{self, Best, setting, short};
use super::{Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, Settings, Toy, ToyError};
use crate::toy::Truth;
use crate::toy::geometry::{REPRESENTED, norms};
use superlens_tensor::Mat;
use superlens_tensor::Rng;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "interference",
    about: "several features on at once in superposition: how errors grow, and which sums are read as other features",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652); the errors of pairs in closed form",
    settings: SETTINGS,
    keys: &[
        tied::KEYS,
        "The keys of relu_output, and, over the number of features on at once (1 to `most`, among those represented): active, error \
           (squared error a row, summed over features), error_each (the same over the features on), misread (share of rows whose \
           largest outputs, as many as are on, are other features), phantom (strength of the strongest output of a feature that is off, \
           on average). pair_misread (two on, both at ½: share of pairs that are misread) and pairs (largest output of a third \
           feature for each pair, a matrix over represented features).",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "5", "features"),
    setting("d_hidden", "2", "hidden dimensions"),
    setting("importance", "1", tied::IMPORTANCE.says),
    setting("density", "0.05", tied::DENSITY.says),
    tied::FEATURE_DENSITY,
    setting("most", "4", "features on at once, at most"),
    setting("rows", "20000", "rows for each number of features on"),
    setting("bias", "true", "whether there is one"),
    tied::STEPS,
    tied::BATCH,
    tied::OPTIMISER,
    tied::LR,
    tied::WEIGHT_DECAY,
    tied::SCHEDULE,
    tied::INIT,
    setting("restarts", "4", tied::RESTARTS.says),
    tied::L1,
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let (plan, density) = tied::plan(s, lab.instances, Response::Linear, Response::Relu, false)?;
    let (most, rows) = (s.whole("most", 1..=1000)?, s.whole("rows", 10..=1_000_000)?);
    if most > plan.importance.len() {
        return Err(s.wrong("most", &format!("at most the {} features", plan.importance.len())).into());
    }
    let mut outcome = Outcome::default();
    let best = tied::train(s, &plan, &density, lab, &mut outcome)?;
    let head = ["density", "features on", "error a feature on", "misread", "strongest phantom"];
    outcome.table.push(head.map(String::from).to_vec());
    let mut curves = Vec::new();
    for (seed, b) in best.iter().enumerate() {
        let variance: Vec<f64> = b.density.iter().map(|p| p / 3.0 - p * p / 4.0).collect();
        let mut instance = tied::instance(seed, b, &Truth::of_directions(&b.model.w, &variance));
        let reader = Reader::of(b);
        let most = most.min(reader.alive.len());
        let rng = lab.rng.fork("active").fork_index(seed as u64);
        let seen: Vec<Seen> = (1..=most).map(|k| reader.read(k, rows, &mut rng.fork_index(k as u64))).collect();
        for (k, seen) in seen.iter().enumerate() {
            let numbers = [seen.error / (k + 1) as f64, seen.misread, seen.phantom].map(short);
            let top = b.density.iter().copied().fold(0.0, f64::max);
            outcome.table.push([&[short(top), (k + 1).to_string()], &numbers[..]].concat());
        }
        let (pairs, misread) = reader.pairs();
        let all = |of: &dyn Fn(usize, &Seen) -> f64| -> Vec<f64> {
            seen.iter().enumerate().map(|(k, s)| of(k + 1, s)).collect()
        };
        instance.insert("active".into(), all(&|k, _| k as f64).into());
        instance.insert("error".into(), all(&|_, s| s.error).into());
        instance.insert("error_each".into(), all(&|k, s| s.error / k as f64).into());
        instance.insert("misread".into(), all(&|_, s| s.misread).into());
        instance.insert("phantom".into(), all(&|_, s| s.phantom).into());
        instance.insert("pair_misread".into(), misread.into());
        instance.insert("pairs".into(), pairs.clone().into());
        outcome.instances.push(instance);
        curves.push(Curve {
            density: b.density.iter().copied().fold(0.0, f64::max),
            error: all(&|k, s| s.error / k as f64),
            misread: all(&|_, s| s.misread),
        });
        if seed == 0 {
            outcome.pictures.push(pair_picture(pairs));
        }
    }
    outcome.says.push(
        "Features are drawn among those that are represented, uniform in [0, 1) each. A row is misread if its largest outputs are \
         not the features that are on: the hidden vector would do as well for others."
            .into(),
    );
    outcome.pictures.extend(tied::directions(&best, "Feature directions"));
    outcome.pictures.splice(0..0, sweeps(&curves));
    Ok(outcome)
}

/// A trained model, and which of its features are represented.
struct Reader<'a> {
    b: &'a [f32],
    gram: Mat,
    alive: Vec<usize>,
}

/// Means over rows with some number of features on.
struct Seen {
    error: f64,
    misread: f64,
    phantom: f64,
}

impl Reader<'_> {
    fn of(best: &Best) -> Reader<'_> {
        let w = &best.model.w;
        let alive = norms(w).iter().enumerate().filter(|(_, norm)| **norm > REPRESENTED).map(|(i, _)| i).collect();
        Reader { b: &best.model.b, gram: matmul(w, w.t()), alive }
    }

    /// The outputs for features that are on with the given values.
    fn outputs(&self, on: &[(usize, f32)]) -> Vec<f32> {
        let out = |j: usize| (on.iter().map(|&(i, x)| self.gram[(i, j)] * x).sum::<f32>() + self.b[j]).max(0.0);
        (0..self.b.len()).map(out).collect()
    }

    /// Rows with `k` of the represented features on.
    fn read(&self, k: usize, rows: usize, rng: &mut Rng) -> Seen {
        let (mut error, mut misread, mut phantom) = (0.0, 0usize, 0.0);
        for _ in 0..rows {
            let order = rng.permutation(self.alive.len());
            let on: Vec<(usize, f32)> = order[..k].iter().map(|&i| (self.alive[i], rng.uniform())).collect();
            let out = self.outputs(&on);
            let value = |j: usize| on.iter().find(|(i, _)| *i == j).map_or(0.0, |(_, x)| *x);
            error += out.iter().enumerate().map(|(j, o)| f64::from(o - value(j)).powi(2)).sum::<f64>();
            let off = strongest_off(&out, &on);
            phantom += f64::from(off);
            // The weakest of those that are on must stand above all others.
            misread += usize::from(on.iter().any(|(i, _)| out[*i] <= off));
        }
        let rows = rows as f64;
        Seen { error: error / rows, misread: misread as f64 / rows, phantom: phantom / rows }
    }

    /// For each pair of represented features, both at ½: the strongest output of a third; and the share of pairs that are
    /// misread.
    fn pairs(&self) -> (Vec<Vec<f64>>, f64) {
        let n = self.alive.len();
        let (mut matrix, mut misread) = (vec![vec![0.0; n]; n], 0usize);
        for a in 0..n {
            for b in (0..n).filter(|&b| b != a) {
                let on = [(self.alive[a], 0.5), (self.alive[b], 0.5)];
                let out = self.outputs(&on);
                let off = strongest_off(&out, &on);
                matrix[a][b] = f64::from(off);
                misread += usize::from(on.iter().any(|(i, _)| out[*i] <= off));
            }
        }
        (matrix, misread as f64 / (n * n.saturating_sub(1)).max(1) as f64)
    }
}

fn strongest_off(out: &[f32], on: &[(usize, f32)]) -> f32 {
    let off = out.iter().enumerate().filter(|(j, _)| on.iter().all(|(i, _)| i != j));
    off.map(|(_, o)| *o).fold(0.0, f32::max)
}

/// What one instance costs, and how often it is misread, over the features that are on.
struct Curve {
    density: f64,
    error: Vec<f64>,
    misread: Vec<f64>,
}

fn sweeps(curves: &[Curve]) -> [Picture; 2] {
    let series = |of: &dyn Fn(&Curve) -> Vec<f64>| -> Vec<Series> {
        let points = |v: Vec<f64>| v.into_iter().enumerate().map(|(k, v)| ((k + 1) as f64, v)).collect();
        let one = |c: &Curve| Series { name: format!("p = {}", short(c.density)), points: points(of(c)), line: true };
        curves.iter().take(4).map(one).collect()
    };
    [
        Picture::Sweep {
            name: "error",
            title: "What it costs when several features are on".into(),
            caption: "Squared error of a row, for each feature that is on. With one feature on the model is at its best; each further \
                      one adds its interference."
                .into(),
            x: Axis::linear("features on at once"),
            y: Axis::linear("error a feature on"),
            series: series(&|c| c.error.clone()),
            levels: Vec::new(),
        },
        Picture::Sweep {
            name: "misread",
            title: "How often the sum is read as other features".into(),
            caption: "Share of rows whose largest outputs are not the features that are on.".into(),
            x: Axis::linear("features on at once"),
            y: Axis::linear("share misread"),
            series: series(&|c| c.misread.clone()),
            levels: Vec::new(),
        },
    ]
}

fn pair_picture(rows: Vec<Vec<f64>>) -> Picture {
    Picture::Heat(Heat {
        name: "pairs",
        title: "Two features on: what else is read".into(),
        caption: "Row and column are on, both at ½. The colour is the strongest output of a third feature, that is off: in a \
                  pentagon, two features with one between them are read as that one."
            .into(),
        across: "one feature that is on".into(),
        down: "the other".into(),
        panels: vec![HeatPanel { label: "strongest phantom".into(), rows }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::fused::Trained;

    fn best(w: Mat) -> Best {
        let n = w.rows();
        let model = Trained { w, b: vec![0.0; n], loss: 0.0, history: Vec::new(), path: Vec::new() };
        Best { model, losses: Vec::new(), density: vec![0.1; n] }
    }

    /// An antipodal pair, both on: the smaller is lost, and so much of the larger: E min² = 1/6 each. Alone it is exact.
    #[test]
    fn a_pair_costs_a_sixth() {
        let best = best(Mat::from_vec(2, 1, vec![1.0, -1.0]));
        let reader = Reader::of(&best);
        let mut rng = Rng::new(4);
        assert!(reader.read(1, 1000, &mut rng).error < 1e-9);
        let both = reader.read(2, 100_000, &mut rng);
        assert!((both.error / 2.0 - 1.0 / 6.0).abs() < 0.003, "{}", both.error);
        assert!(both.misread > 0.999, "the smaller one always reads as nothing");
    }

    /// In a pentagon two neighbours of a feature are read as the feature between them; neighbours are not.
    #[test]
    fn a_pentagon_confuses_what_lies_around_a_feature() {
        let angle = |i: usize| std::f32::consts::TAU * i as f32 / 5.0;
        let best = best(Mat::from_fn(5, 2, |i, j| if j == 0 { angle(i).cos() } else { angle(i).sin() }));
        let (pairs, misread) = Reader::of(&best).pairs();
        assert!(pairs[0][2] > 0.3 && pairs[0][1] < 0.01, "{pairs:?}");
        assert!((0.4..=0.6).contains(&misread), "the pairs with one between them: half, {misread}");
    }
}
