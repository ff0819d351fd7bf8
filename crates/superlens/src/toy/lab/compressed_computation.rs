//! `toy compressed_computation`: a hundred ReLUs on fifty neurons, and where the gain comes from.

use super::hidden_layer::{self, object};
use super::tied::{self, setting, short};
use super::{
    Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError, made,
};
use crate::toy::compressed_computation::{CompressedComputation, mixing};
use crate::toy::{ToyModel, Truth};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "compressed_computation",
    about: "a hundred ReLUs that fifty neurons seem to compute: y = x + ReLU(x) through W_E W_Eᵀ ≠ I, which mixes the labels",
    source: "Bhagat et al. 2026, Compressed Computation is (probably) not Computation in Superposition (arXiv 2606.14673); naive loss derived",
    settings: SETTINGS,
    keys: &[
        "Each instance has scale (of M), loss (mean over rows and features), per_p (loss over density), naive ((1 − d/n)/6), over_naive \
           (per_p / naive), gain (1 − over_naive), in_share and out_share (of the squared weights into and out of the neurons in the \
           d_hidden eigenvectors of −M with the largest eigenvalues; d/n by chance), factored_per_p and factored_gain (weights from M \
           alone by semi-non-negative factors), truth, polysemantic_neurons and represented (halves of inputs).",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "100", "inputs, 2 to 1000"),
    setting("d_hidden", "50", "neurons"),
    setting("d_resid", "1000", "dimensions in which the rows of W_E are random; at least n_features"),
    setting("scale", "1..0.05", "what M = W_E W_Eᵀ − I is multiplied by, over the instances; 0 for the identity"),
    setting("density", "0.01", "probability that an input is on, uniform in (−1, 1) then"),
    setting("steps", "4000", tied::STEPS.says),
    setting("batch", "1024", tied::BATCH.says),
    tied::OPTIMISER,
    setting("lr", "3e-3", tied::LR.says),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
    setting("iterations", "1000", "of the semi-non-negative factorisation of the labels"),
];

fn models(s: &Settings, lab: &Lab) -> Result<Vec<CompressedComputation>, SettingError> {
    let n = s.whole("n_features", 2..=1000)?;
    let d_resid = s.whole("d_resid", n..=100_000)?;
    let d_hidden = s.whole("d_hidden", 1..=5000)?;
    let density = s.real("density", 1e-5..=1.0)?;
    let batch = s.whole("batch", 1..=1 << 22)?;
    let training = hidden_layer::training(s)?;
    let scales = s.over_instances("scale", lab.instances, 0.0..=100.0)?;
    // The embedding of each instance is drawn, too.
    let (keys, numbers) = (["n_features", "d_resid", "d_hidden"], n * (2 * d_hidden + n + d_resid / 4));
    tied::fits(s, &keys, lab.instances, numbers)?;
    let of = |(i, scale): (usize, f64)| CompressedComputation {
        mixing: mixing(n, d_resid, scale as f32, &mut lab.rng.fork_index(i as u64).fork("embedding")),
        d_hidden,
        density,
        batch,
        training: training.clone(),
    };
    Ok(scales.into_iter().enumerate().map(of).collect())
}

fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let lab = Lab { instances: 1, rng: Rng::new(0), watch: &|_, _| std::ops::ControlFlow::Continue(()) };
    Ok(Box::new(models(s, &lab)?.remove(0)))
}

/// One network, beside what its labels alone would give.
struct Learned {
    loss: f64,
    factored: f64,
    shares: (f64, f64),
    truth: Truth,
    /// `W1 W2`: what a small positive input would give if no neuron were closed, `[n, n]`.
    product: Mat,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab)?;
    let scales = s.over_instances("scale", lab.instances, 0.0..=100.0)?;
    let iterations = s.whole("iterations", 1..=1_000_000)?;
    let start = Instant::now();
    let learned = lab.side_by_side(models.len(), "training", |i, rng, tell| {
        let model = &models[i];
        let params = made(model, rng, tell)?.params;
        let rows = hidden_layer::fresh_rows(model.density * model.mixing.rows() as f64);
        let factored = model.factored(iterations, &mut rng.fork("factors"));
        Some(Learned {
            loss: model.layer().fresh_loss(&params, rows, rng),
            factored: model.layer().fresh_loss(&factored, rows, rng) / model.density,
            shares: model.eigenspace_shares(&params),
            truth: model.truth(&params),
            product: matmul(params.get("w1"), params.get("w2")),
        })
    })?;
    let steps = models[0].training.steps * models.len() as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&models, &scales, &learned, &mut outcome);
    Ok(outcome)
}

fn describe(models: &[CompressedComputation], scales: &[f64], learned: &[Learned], outcome: &mut Outcome) {
    let head = ["scale of M", "loss / p", "naive", "gain", "from M alone", "in eigenspace", "polysemantic", "truth"];
    outcome.table.push(head.map(String::from).to_vec());
    for (seed, ((model, &scale), l)) in models.iter().zip(scales).zip(learned).enumerate() {
        let (per_p, naive) = (l.loss / model.density, model.naive());
        // With as many neurons as inputs the naive way costs nothing, and nothing can be gained.
        let over = |loss: f64| (naive > 0.0).then(|| loss / naive);
        let gain = |loss: f64| over(loss).map(|o| 1.0 - o);
        let dash = |v: Option<f64>| v.map_or("–".into(), short);
        let numbers =
            [short(scale), short(per_p), short(naive), dash(gain(per_p)), short(l.factored), short(l.shares.0)];
        let words = [l.truth.polysemantic().to_string(), l.truth.label()];
        outcome.table.push(numbers.into_iter().chain(words).collect());
        outcome.instances.push(object(json!({
            "scale": scale, "seed": seed, "loss": l.loss, "per_p": per_p, "naive": naive, "over_naive": over(per_p), "gain": gain(per_p),
            "in_share": l.shares.0, "out_share": l.shares.1, "factored_per_p": l.factored,
            "factored_gain": gain(l.factored), "truth": l.truth.label(),
            "polysemantic_neurons": l.truth.polysemantic(), "represented": l.truth.features.len(),
        })));
    }
    let (model, n) = (&models[0], models[0].mixing.rows());
    outcome.says.push(format!(
        "{n} ReLUs, {}, density {}. Doing {} of them exactly costs {} a feature and p.{}",
        tied::many(model.d_hidden, "neuron"),
        model.density,
        model.d_hidden.min(n),
        short(model.naive()),
        if model.naive() > 0.0 {
            " Only the mixing matrix lets training go below: the gain should vanish with it."
        } else {
            " There is a neuron for each ReLU, so that nothing can be gained."
        }
    ));
    outcome.pictures.push(gain(scales, learned, models));
    outcome.pictures.push(labels(models, learned));
}

fn gain(scales: &[f64], learned: &[Learned], models: &[CompressedComputation]) -> Picture {
    let over = |value: &dyn Fn(usize) -> f64| (0..scales.len()).map(|i| (scales[i], value(i))).collect::<Vec<_>>();
    let mut trained = over(&|i| learned[i].loss / models[i].density);
    let mut factored = over(&|i| learned[i].factored);
    trained.sort_by(|a, b| a.0.total_cmp(&b.0));
    factored.sort_by(|a, b| a.0.total_cmp(&b.0));
    Picture::Sweep {
        name: "gain",
        title: "Where does the gain come from?".into(),
        caption: "The loss of trained networks, and of weights made from M alone, over the size of M. The level is the loss of as many exact ReLUs \
                  as there are neurons. Without M nobody goes below."
            .into(),
        x: Axis::linear("scale of M"),
        y: Axis::linear("loss / p"),
        series: vec![
            Series { name: "trained".into(), points: trained, line: true },
            Series { name: "from M alone".into(), points: factored, line: true },
        ],
        levels: vec![(models[0].naive(), "naive".into())],
    }
}

/// Inputs and outputs that are drawn: enough to see single squares.
const CORNER: usize = 30;

/// The labels beside what the first network makes of single inputs.
fn labels(models: &[CompressedComputation], learned: &[Learned]) -> Picture {
    let n = models[0].mixing.rows().min(CORNER);
    let off = |of: &dyn Fn(usize, usize) -> f32| {
        (0..n).map(|i| (0..n).map(|j| if i == j { 0.0 } else { f64::from(of(i, j)) }).collect()).collect()
    };
    Picture::Heat(Heat {
        name: "labels",
        title: "Labels, and what neurons do".into(),
        caption: "The first inputs and outputs, off the diagonal: on the left what every input adds to the labels of the others, −M; on the right what the network adds, its \
                  weights multiplied. Where they look alike, the neurons serve the labels' mixing and no ReLU."
            .into(),
        across: "outputs".into(),
        down: "inputs".into(),
        panels: vec![
            HeatPanel { label: "labels, −M".into(), rows: off(&|i, j| -models[0].mixing[(i, j)]) },
            HeatPanel { label: "network, W1 W2".into(), rows: off(&|i, j| learned[0].product[(i, j)]) },
        ],
    })
}
