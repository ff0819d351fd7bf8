//! `toy relu_output`: features through a linear bottleneck, read out by a ReLU; and its linear twin.

use super::tied::{self, setting, short};
use super::{Lab, Outcome, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::exact;
use crate::toy::fused::Plan;
use crate::toy::geometry::{dimensions_per_feature, n_represented, norms, set_cosines};
use crate::toy::groups::{FeatureLaw, Groups};
use crate::toy::relu_output::ReluOutput;
use crate::toy::{ToyModel, Truth};
use serde_json::{Map, Value};
use superlens_tensor::Mat;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::tied::Response;

pub const TOY: Toy = Toy {
    name: "relu_output",
    about: "features squeezed through a linear bottleneck: x' = ReLU(WᵀWx + b), or without the ReLU",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652)",
    settings: SETTINGS,
    keys: &[
        tied::KEYS,
        "Also linear_optimum (the best loss of a linear model, where it is known) and its ratio loss_over_linear. With groups: within \
         (cosines inside the sets), within_cosine and across_cosine (means of |cosine|), locally_orthogonal (whether the first is \
         smaller), and antipodes_across (features whose opposite belongs to another set).",
    ],
    model: Some(model),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("n_features", "5", "features"),
    setting("d_hidden", "2", "hidden dimensions"),
    tied::IMPORTANCE,
    tied::DENSITY,
    tied::FEATURE_DENSITY,
    tied::GROUPS,
    setting("engine", "samples", "samples, or exact: L-BFGS on the integrated loss, up to 6 features with a relu"),
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
    let laws = tied::laws(s, &density)?;
    let mut outcome = Outcome::default();
    let best = if s.choice("engine", &[("samples", false), ("exact", true)])? {
        if plan.importance.len() > exact::MOST || readout == Response::Linear || plan.l1 > 0.0 {
            let fits = format!("samples, since exact takes up to {} features, a relu and no l1", exact::MOST);
            return Err(s.wrong("engine", &fits).into());
        }
        tied::minimise(s, &plan, &laws, lab)?
    } else {
        tied::train_on(s, &plan, &laws, 0, lab, &mut outcome)?
    };
    outcome.table.push(["density", "loss", "linear optimum", "represented", "D*", "truth"].map(String::from).to_vec());
    for (seed, (b, law)) in best.iter().zip(&laws).enumerate() {
        let truth = Truth::of_directions(&b.model.w, &law.variances());
        let optimum = linear_optimum(law, &plan);
        let mut instance = tied::instance(seed, b, &truth);
        instance.insert("linear_optimum".into(), optimum.into());
        instance.insert("loss_over_linear".into(), optimum.map(|o| b.model.loss / o.max(1e-300)).into());
        if law.groups() != Groups::Independent {
            instance.extend(of_sets(&b.model.w, law.groups().size()));
        }
        outcome.table.push(vec![
            short(b.density.iter().copied().fold(0.0, f64::max)),
            short(b.model.loss),
            optimum.map_or("not known".into(), short),
            n_represented(&b.model.w).to_string(),
            short(dimensions_per_feature(&b.model.w)),
            truth.label(),
        ]);
        outcome.instances.push(instance);
    }
    let (n, m) = (plan.importance.len(), plan.d_hidden);
    outcome.says.push(format!(
        "{} in {}. The linear optimum keeps the {} most important features and loses the variance of \
         the others, p/3 − p²/4 each; what lies below it is the gain of superposition.",
        tied::many(n, "feature"),
        tied::many(m, "dimension"),
        m.min(n)
    ));
    outcome.says.push(
        "D* is the number of hidden dimensions per feature: 1 without superposition, 1/2 for antipodal pairs.".into(),
    );
    outcome.says.extend(tied::unpaired(&best));
    outcome.pictures.extend(tied::directions(&best, "Feature directions, dense to sparse"));
    outcome.pictures.push(tied::norm_bars(&best));
    outcome.pictures.push(tied::grams(&best));
    outcome.pictures.extend(tied::dimensionality_sweep(&best));
    Ok(outcome)
}

/// How features share directions with those of their own set and with others.
fn of_sets(w: &Mat, size: usize) -> Map<String, Value> {
    let (within, across) = set_cosines(w, size);
    let mean = |c: &[f64]| c.iter().map(|c| c.abs()).sum::<f64>() / c.len().max(1) as f64;
    let opposite = |i: usize, j: usize| {
        let dot: f64 = w.row(i).iter().zip(w.row(j)).map(|(a, b)| f64::from(a * b)).sum();
        let norms = norms(w);
        i / size != j / size && dot < -0.9 * norms[i] * norms[j] && norms[i].min(norms[j]) > 0.5
    };
    let paired = (0..w.rows()).filter(|&i| (0..w.rows()).any(|j| opposite(i, j))).count();
    [
        ("within_cosine", mean(&within).into()),
        ("across_cosine", mean(&across).into()),
        ("locally_orthogonal", (mean(&within) < mean(&across)).into()),
        ("within", within.into()),
        ("antipodes_across", paired.into()),
    ]
    .map(|(key, value): (&str, Value)| (key.to_string(), value))
    .into_iter()
    .collect()
}

/// The first instance, with equally important features and a ReLU, trained by the general loop.
fn model(s: &Settings) -> Result<Box<dyn ToyModel>, SettingError> {
    let (plan, density) = tied::plan(s, 1, Response::Linear, Response::Relu, false)?;
    let features = tied::laws(s, &density)?.swap_remove(0);
    let training = tied::general(&plan);
    Ok(Box::new(ReluOutput { features, d_hidden: plan.d_hidden, batch: plan.batch, training }))
}

/// Features beyond which no covariance is taken apart.
const MOST_EIGEN: usize = 1000;

/// Least loss of a linear model, where it is known. Independent features (Elhage et al. 2022): it keeps the `m` with the
/// largest `I_i Var x_i`. Equally important ones: principal components, of the covariance or, without a bias, of the mean
/// squares.
fn linear_optimum(law: &FeatureLaw, plan: &Plan) -> Option<f64> {
    let (n, m) = (law.n_features(), plan.d_hidden);
    let mut costs: Vec<f64> = if law.groups() == Groups::Independent && plan.bias {
        law.variances().iter().zip(&plan.importance).map(|(v, i)| i * v).collect()
    } else {
        if n > MOST_EIGEN || plan.importance.windows(2).any(|w| w[0] != w[1]) {
            return None;
        }
        let (mut moments, p) = (law.covariance(), law.densities());
        if !plan.bias {
            moments.iter_mut().enumerate().for_each(|(k, c)| *c += 0.25 * p[k / n] * p[k % n]);
        }
        sym_eigen(&moments, n)?.values.iter().map(|v| plan.importance[0] * v).collect()
    };
    costs.sort_by(|a, b| b.total_cmp(a));
    Some(costs.iter().skip(m).sum::<f64>() / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[&str]) -> Settings {
        Settings::parse("relu_output", SETTINGS, &pairs.iter().map(|p| p.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn outcome(pairs: &[&str]) -> Outcome {
        let watch = |_: f64, _: &str| std::ops::ControlFlow::Continue(());
        let lab = Lab { instances: 1, rng: superlens_tensor::Rng::new(1), watch: &watch };
        run(&settings(pairs), &lab).unwrap()
    }

    /// Both engines find the pair that excludes itself: antipodal, without any loss.
    #[test]
    fn anticorrelated_pairs_become_antipodal_and_cost_nothing() {
        let law = ["n_features=4", "importance=1", "density=0.05", "groups=anticorrelated:2", "restarts=8"];
        for engine in ["engine=exact", "engine=samples"] {
            let more = [engine, "steps=3000", "lr=5e-3", "weight_decay=0"];
            let found = outcome(&[&law[..], &more].concat()).instances.swap_remove(0);
            assert!(found["loss"].as_f64().unwrap() < 1e-6, "{engine}: {}", found["loss"]);
            let within: Vec<f64> = serde_json::from_value(found["within"].clone()).unwrap();
            assert!(within.iter().all(|c| *c < -0.99), "{engine}: {within:?}");
        }
    }

    /// Without a bias a linear model of two dense features keeps their sum, the first principal component.
    #[test]
    fn linear_optima_are_principal_components() {
        let optimum = |pairs: &[&str]| outcome(pairs).instances[0]["linear_optimum"].as_f64();
        let two = ["n_features=2", "d_hidden=1", "importance=1", "density=1", "steps=1"];
        assert!((optimum(&[&two[..], &["bias=false"]].concat()).unwrap() - 1.0 / 24.0).abs() < 1e-12);
        assert!((optimum(&two).unwrap() - 1.0 / 24.0).abs() < 1e-12);
        let unequal = ["steps=1", "density=0.1", "n_features=4", "groups=correlated:2"];
        assert_eq!(optimum(&unequal), None);
    }

    #[test]
    fn groups_that_make_no_sense_get_one_line() {
        for text in
            ["correlated", "correlated:1", "correlated:2", "anticorrelated:x", "hierarchical:5", "hierarchical:5:2"]
        {
            let s = settings(&[&format!("groups={text}"), "density=0.5"]);
            let density = vec![vec![0.5; 5]];
            let error = tied::laws(&s, &density).unwrap_err().to_string();
            assert!(error.starts_with("--set groups=") && !error.contains('\n'), "{error}");
        }
    }
}
