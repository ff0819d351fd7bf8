//! `toy relu_output`: features through a linear bottleneck, read out by a ReLU; and its linear twin.

use super::tied::{self, Best, setting, short};
use super::{Lab, Outcome, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::data::SparseFeatures;
use crate::toy::geometry::{dimensions_per_feature, n_represented};
use crate::toy::relu_output::ReluOutput;
use crate::toy::{ToyModel, Truth};
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "relu_output",
    about: "features squeezed through a linear bottleneck: x' = ReLU(WᵀWx + b), or without the ReLU",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652)",
    settings: SETTINGS,
    keys: "W is the paper's, d_hidden rows of n_features numbers. Each instance also has dimensions_per_feature (D* = m/‖W‖²), \
           norms, sum_dimensionality, share_in_pairs (features within 0.05 of D = 1/2), cosines (of represented pairs), gaps \
           (degrees, in the plane), linear_optimum (the best loss of a linear model) and its ratio loss_over_linear, truth, \
           restart_losses and history (step, loss).",
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "5", "features"),
    setting("d_hidden", "2", "hidden dimensions"),
    tied::IMPORTANCE,
    tied::DENSITY,
    tied::FEATURE_DENSITY,
    setting("readout", "relu", "relu, or linear"),
    setting("bias", "true", "whether there is one"),
    tied::INIT,
    tied::STEPS,
    tied::BATCH,
    tied::OPTIMISER,
    tied::LR,
    tied::WEIGHT_DECAY,
    tied::SCHEDULE,
    tied::RESTARTS,
    tied::L1,
];

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let readout = s.choice("readout", &[("relu", Response::Relu), ("linear", Response::Linear)])?;
    let (plan, density) = tied::plan(s, lab.instances, Response::Linear, readout, false)?;
    let mut outcome = Outcome::default();
    let best = tied::train(s, &plan, &density, lab, &mut outcome)?;
    outcome.table.push(["density", "loss", "linear optimum", "represented", "D*", "truth"].map(String::from).to_vec());
    for (seed, b) in best.iter().enumerate() {
        let truth = Truth::of_directions(&b.model.w, &variances(&b.density));
        let optimum = linear_optimum(b, &plan.importance, plan.d_hidden, plan.bias);
        let mut instance = tied::instance(seed, b, &truth);
        instance.insert("linear_optimum".into(), optimum.into());
        instance.insert("loss_over_linear".into(), (b.model.loss / optimum.max(1e-300)).into());
        outcome.table.push(vec![
            short(b.density.iter().copied().fold(0.0, f64::max)),
            short(b.model.loss),
            short(optimum),
            n_represented(&b.model.w).to_string(),
            short(dimensions_per_feature(&b.model.w)),
            truth.label(),
        ]);
        outcome.instances.push(instance);
    }
    let (n, m) = (plan.importance.len(), plan.d_hidden);
    outcome.says.push(format!(
        "{n} features in {m} dimensions. The linear optimum keeps the {} most important features and loses the variance of \
         the others, p/3 − p²/4 each; what lies below it is the gain of superposition.",
        m.min(n)
    ));
    outcome.says.push(
        "D* is the number of hidden dimensions per feature: 1 without superposition, 1/2 for antipodal pairs.".into(),
    );
    outcome.pictures.extend(tied::directions(&best, "Feature directions, dense to sparse"));
    outcome.pictures.extend(tied::dimensionality_sweep(&best));
    Ok(outcome)
}

/// The first instance, with equally important features and a ReLU, trained by the general loop.
fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let (plan, density) = tied::plan(s, 1, Response::Linear, Response::Relu, false)?;
    let features = SparseFeatures { density: density[0].clone() };
    let training = tied::general(&plan);
    Ok(Box::new(ReluOutput { features, d_hidden: plan.d_hidden, batch: plan.batch, training }))
}

/// Variance of each feature, `p/3 − p²/4`.
fn variances(density: &[f64]) -> Vec<f64> {
    density.iter().map(|p| p / 3.0 - p * p / 4.0).collect()
}

/// Least loss of a linear model (Elhage et al. 2022): it keeps the `m` features with the largest `I_i Var x_i`. Without a
/// bias what is lost is the mean square, `p/3`.
fn linear_optimum(best: &Best, importance: &[f64], m: usize, bias: bool) -> f64 {
    let lost = |p: &f64| if bias { p / 3.0 - p * p / 4.0 } else { p / 3.0 };
    let mut costs: Vec<f64> = best.density.iter().zip(importance).map(|(p, i)| i * lost(p)).collect();
    costs.sort_by(|a, b| b.total_cmp(a));
    costs.iter().skip(m).sum::<f64>() / costs.len() as f64
}
