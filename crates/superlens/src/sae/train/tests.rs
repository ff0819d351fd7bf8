use super::*;
use crate::sae::metrics::{FvuOfParts, column_means, evaluate, evaluate_against, mmcs};
use crate::sae::{Activation, Encoder, PlainPursuit, Sae};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::dot;

mod pytorch;
mod reference;
mod settings;

use reference::Reference;

/// Rows of sparse non-negative combinations of unit `features`, density `p`.
fn planted(features: &Mat, rows: usize, p: f64, rng: &mut Rng) -> Mat {
    let s = Mat::from_fn(rows, features.rows(), |_, _| if rng.chance(p) { 0.5 + rng.uniform() } else { 0.0 });
    matmul(&s, features)
}

/// A trainer and the rows it is trained on.
struct Run<'a> {
    trainer: Trainer,
    source: InMemory<'a>,
}

/// A matrix, and what is to be rebuilt of it where that is something else.
#[derive(Clone, Copy)]
struct Rows<'a>(&'a Mat, Option<&'a Mat>);

impl<'a> Rows<'a> {
    /// With `y` for the objectives that rebuild it.
    fn of(entry: &ObjectiveEntry, options: &Options, x: &'a Mat, y: &'a Mat) -> Self {
        let targets = (entry.build)(options).target() != Target::Input;
        Rows(x, targets.then_some(y))
    }
}

impl<'a> From<&'a Mat> for Rows<'a> {
    fn from(x: &'a Mat) -> Self {
        Rows(x, None)
    }
}

/// Neither linear in `x` nor of its width.
fn other_activations(x: &Mat) -> Mat {
    let d = x.cols();
    Mat::from_fn(x.rows(), d + 1, |i, j| 2.0 * x[(i, j % d)].abs() + x[(i, (j + 1) % d)] + 0.5)
}

impl<'a> Run<'a> {
    fn new(
        id: &str,
        options: &Options,
        recipe: Recipe,
        rows: impl Into<Rows<'a>>,
        rng: &Rng,
    ) -> Result<Self, FitError> {
        let Rows(x, y) = rows.into();
        let source = InMemory::new(x, recipe.batch.max(1), rng);
        let mut source = if let Some(y) = y { source.with_targets(y) } else { source };
        let trainer = Trainer::new(recipe, (find(id).unwrap().build)(options), &mut source, rng)?;
        Ok(Run { trainer, source })
    }

    fn batch(&mut self) -> Batch {
        self.source.batch(self.trainer.state.step).unwrap()
    }

    fn step(&mut self) -> Result<Step, FitError> {
        let batch = self.batch();
        self.trainer.step(&batch)
    }

    fn finish(&mut self) -> Sae {
        self.trainer.finish(&mut self.source).unwrap()
    }

    fn into_dictionary(mut self) -> Sae {
        while !self.trainer.done() {
            self.step().unwrap();
        }
        self.finish()
    }
}

fn start<'a>(id: &str, options: &Options, recipe: Recipe, x: impl Into<Rows<'a>>, rng: &Rng) -> Run<'a> {
    Run::new(id, options, recipe, x, rng).unwrap()
}

/// Largest |Δ| / max(|g|, 1e-3 max|g|) in each block.
fn worst(got: &Params, want: &[Vec<f64>]) -> Vec<(String, f64)> {
    let blocks = got.blocks.iter().zip(want);
    blocks
        .map(|((name, got), want)| {
            let top = want.iter().fold(1e-9f64, |m, w| m.max(w.abs()));
            let errors = got.data().iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs() / w.abs().max(1e-3 * top));
            (name.clone(), errors.fold(0.0, f64::max))
        })
        .collect()
}

/// Every objective's loss and gradient against its formulas in `f64` and finite differences of them, straight-through rules by their
/// formula; with every third latent dead.
#[test]
fn gradients_agree_with_the_formulas() {
    let losses = Sparsity::ALL.iter().flat_map(|(_, sparsity)| [(*sparsity, false), (*sparsity, true)]);
    let jumps = losses.map(|(sparsity, ste_to_input)| (find("jumprelu").unwrap(), sparsity, ste_to_input));
    let others = OBJECTIVES.iter().filter(|entry| entry.id != "jumprelu");
    for (entry, sparsity, ste_to_input) in others.map(|entry| (entry, Sparsity::Target, false)).chain(jumps) {
        let mut rng = Rng::new(1).fork("gradient");
        let (d, d_sae, rows) = (6, 12, 9);
        let x = Mat::from_fn(rows, d, |_, _| rng.normal() + 0.3);
        let options = Options {
            k: 3,
            target_l0: 3.0,
            l1: 0.3,
            layers: 3,
            sparsity,
            bandwidth: Some(0.03),
            ste_to_input,
            ..Options::default()
        };
        // A weight of 1 on the auxiliary term, so that an error in it is as visible as one in the main term.
        let recipe = Recipe { aux: 1.0, dead_after: 10, warmup: 2, ..Recipe::new(d_sae, 10, rows) };
        let y = other_activations(&x);
        let mut run = start(entry.id, &options, recipe, Rows::of(entry, &options, &x, &y), &rng);
        let batch = run.batch();
        let trainer = &mut run.trainer;
        let batch = seen(&trainer.input, trainer.targets.as_ref(), &batch);
        trainer.state.silent.iter_mut().step_by(3).for_each(|s| *s = 10);
        // Away from the start, where encoder and decoder are equal and some errors would hide.
        for (_, block) in &mut trainer.state.params.blocks {
            block.data_mut().iter_mut().for_each(|v| *v += 0.2 * rng.normal());
        }
        if entry.id == "jumprelu" {
            // Each threshold a little above or below a pre-activation, so that the straight-through rule has something to pass.
            let params = &mut trainer.state.params;
            let centred = Forward::new(params, batch.clone()).centred;
            let z = matmul(&centred, params.get("w_enc").t());
            let b_enc = params.get("b_enc").data().to_vec();
            for (j, t) in params.get_mut("threshold").data_mut().iter_mut().enumerate() {
                *t = z[(j % rows, j)] + b_enc[j] + if j % 2 == 0 { 0.005 } else { -0.005 };
            }
        }
        let reference = Reference::of(entry.id, &options, trainer, &batch, 7);
        let (told, _) = trainer.gradient(batch, 7);
        let p: Vec<Vec<f64>> = reference.start();
        let loss = reference.loss(&p);
        assert!((told.loss / loss - 1.0).abs() < 1e-5, "{}: loss {} against {loss}", entry.id, told.loss);
        let mut want = reference.differences(&p);
        reference.straight_through(&p, &mut want);
        let last = want.last().unwrap();
        assert!(entry.id != "jumprelu" || last.iter().all(|g| *g != 0.0), "{}: a threshold without a slope", entry.id);
        for (name, error) in worst(&trainer.grad, &want) {
            assert!(error < 1e-3, "{}: {name}: relative error {error}", entry.id);
        }
    }
}

#[test]
fn latents_that_are_negative_everywhere_come_back_to_life() {
    let mut rng = Rng::new(2).fork("revive");
    let x = planted(&unit_rows(24, 12, &mut rng), 2000, 0.08, &mut rng);
    let dead_at_the_end = |aux: f64| {
        let recipe = Recipe { lr: 2e-2, aux, dead_after: 1000, ..Recipe::new(24, 1500, 128) };
        let mut run = start("topk", &Options { k: 3, ..Options::default() }, recipe, &x, &rng);
        let b_enc = run.trainer.state.params.get_mut("b_enc").data_mut();
        b_enc.iter_mut().step_by(2).for_each(|b| *b = -10.0);
        let density = evaluate(&run.into_dictionary(), &x).density;
        density.iter().step_by(2).filter(|&&p| p == 0.0).count()
    };
    assert_eq!(dead_at_the_end(0.0), 12, "nothing else revives them");
    assert_eq!(dead_at_the_end(1.0 / 32.0), 0);
}

/// Finds most planted features, with about as many latents active as there are features.
fn recovers(cases: &[(&str, f64)]) {
    let mut rng = Rng::new(3).fork("recovery");
    let features = unit_rows(64, 32, &mut rng);
    let x = planted(&features, 8000, 3.0 / 64.0, &mut rng);
    for &(id, least) in cases {
        // Gates, which shrink nothing, stand more.
        let l1 = if id == "gated" { 4.0 } else { 1.0 };
        // Groups are of equal length.
        let k = if id == "groupmax" { 4 } else { 3 };
        let options = Options { k, target_l0: 3.0, l1, ..Options::default() };
        let recipe = Recipe { lr: 4e-3, dead_after: 1 << 14, ..Recipe::new(64, 1200, 256) };
        let sae = start(id, &options, recipe, &x, &rng).into_dictionary();
        let (found, m) = (mmcs(&features, &sae.w_dec), evaluate(&sae, &x));
        assert!(found >= least && m.fvu < 0.4, "{id}: MMCS {found}, L0 {}, FVU {}", m.l0, m.fvu);
    }
}

#[test]
fn planted_features_are_recovered_by_the_largest_of_a_row() {
    recovers(&[("topk", 0.9), ("abs_topk", 0.85), ("groupmax", 0.8)]);
}

#[test]
fn planted_features_are_recovered_by_the_largest_of_a_batch() {
    recovers(&[("batch_topk", 0.9), ("matryoshka", 0.8), ("batch_topk_crosscoder", 0.85)]);
}

#[test]
fn planted_features_are_recovered_with_penalties() {
    recovers(&[("relu", 0.85), ("p_anneal", 0.85), ("crosscoder", 0.85)]);
}

#[test]
fn planted_features_are_recovered_with_thresholds_and_gates() {
    recovers(&[("jumprelu", 0.85), ("gated", 0.85)]);
}

#[test]
fn planted_features_are_recovered_by_pursuit() {
    recovers(&[("matching_pursuit", 0.85)]);
}

/// Latents that are read along some directions and written along others, with a linear function of the input beside them.
#[test]
fn planted_transcoders_are_recovered() {
    let mut rng = Rng::new(6).fork("transcoders");
    let (read, written) = (unit_rows(40, 24, &mut rng), unit_rows(40, 16, &mut rng));
    let s = Mat::from_fn(4000, 40, |_, _| if rng.chance(0.06) { 0.5 + rng.uniform() } else { 0.0 });
    let (x, mut y) = (matmul(&s, &read), matmul(&s, &written));
    for (id, linear) in [("transcoder", 0.0), ("skip_transcoder", 1.0)] {
        let past = Mat::from_fn(24, 16, |_, _| linear * 0.3 * rng.normal());
        y.data_mut().iter_mut().zip(matmul(&x, &past).data()).for_each(|(y, p)| *y += p);
        let options = Options { k: 4, ..Options::default() };
        let recipe = Recipe { lr: 4e-3, dead_after: 1 << 13, ..Recipe::new(40, 800, 256) };
        let sae = start(id, &options, recipe, Rows(&x, Some(&y)), &rng).into_dictionary();
        // What each planted latent does when it is on alone. Decoder rows say it only without a skip, which may take a part of it.
        let (done, mut want) = (sae.reconstruct(&sae.encode(&read), read.view()), written.clone());
        want.data_mut().iter_mut().zip(matmul(&read, &past).data()).for_each(|(w, p)| *w += p);
        let cosine = |i: usize| {
            let (a, b) = (done.row(i), want.row(i));
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let effect = (0..40).map(cosine).sum::<f32>() / 40.0;
        let (found, fvu) = (mmcs(&written, &sae.w_dec), evaluate_against(&sae, &x, &y).fvu);
        assert!(effect > 0.85 && fvu < 0.2, "{id}: effects {effect}, FVU {fvu}");
        assert!(found > 0.85 || sae.skip.is_some(), "{id}: MMCS {found}");
        assert_eq!(sae.skip.is_some(), id == "skip_transcoder");
    }
}

/// What was folded and calibrated gives, on raw activations, what training saw.
#[test]
fn the_inference_form_is_what_was_trained() {
    let mut rng = Rng::new(5).fork("fold");
    let x = Mat::from_fn(400, 6, |_, _| 40.0 * rng.normal() + 10.0);
    for entry in &OBJECTIVES {
        let options = Options { k: 2, target_l0: 2.0, ..Options::default() };
        let recipe = Recipe { lr: 1e-3, warmup: 1, ..Recipe::new(12, 30, 400) };
        let y = other_activations(&x);
        let rows = Rows::of(entry, &options, &x, &y);
        let mut run = start(entry.id, &options, recipe, rows, &rng);
        (0..29).for_each(|_| _ = run.step().unwrap());
        let sae = run.finish();
        let metrics = evaluate_against(&sae, &x, rows.1.unwrap_or(&x));
        let told = run.step().unwrap();
        if let Some(wanted) = run.trainer.objective.calibrated() {
            assert!((metrics.l0 / wanted - 1.0).abs() < 0.06, "{}: L0 {}", entry.id, metrics.l0);
        } else {
            assert!((told.fvu / metrics.fvu - 1.0).abs() < 1e-3, "{}: {} and {}", entry.id, told.fvu, metrics.fvu);
            assert!((told.l0 - metrics.l0).abs() < 0.02, "{}: {} and {}", entry.id, told.l0, metrics.l0);
        }
        (0..12).for_each(|j| assert!((dot(sae.w_dec.row(j), sae.w_dec.row(j)) - 1.0).abs() < 1e-5));
    }
}

/// A layer that is fifty times as loud as the other counts no more than that, and the dictionary takes both as they are.
#[test]
fn each_layer_of_a_crosscoder_has_a_factor_of_its_own() {
    let mut rng = Rng::new(7).fork("layers");
    let s = Mat::from_fn(3000, 24, |_, _| if rng.chance(0.1) { 0.5 + rng.uniform() } else { 0.0 });
    let layers = [unit_rows(24, 12, &mut rng), unit_rows(24, 12, &mut rng)];
    let loud = |factor: f32| Mat::from_fn(24, 24, |j, c| [1.0, factor][c / 12] * layers[c / 12][(j, c % 12)]);
    let fvu_of_layers = |id: &str, factor: f32| {
        let x = matmul(&s, &loud(factor));
        let options = Options { k: 3, l1: 0.5, layers: 2, ..Options::default() };
        let recipe = Recipe { lr: 4e-3, dead_after: 1 << 13, ..Recipe::new(24, 500, 256) };
        let mut run = start(id, &options, recipe, &x, &rng);
        while !run.trainer.done() {
            run.step().unwrap();
        }
        let sae = run.finish();
        if let Some(wanted) = run.trainer.objective.calibrated() {
            let l0 = evaluate(&sae, &x).l0;
            assert!((l0 / wanted - 1.0).abs() < 0.06, "{id}: L0 {l0}");
        }
        let mut parts = FvuOfParts::new(&sae, column_means(&x), 2);
        parts.add(&x);
        parts.finish()
    };
    for id in ["crosscoder", "batch_topk_crosscoder"] {
        let (even, uneven) = (fvu_of_layers(id, 1.0), fvu_of_layers(id, 50.0));
        assert!(even.iter().all(|fvu| *fvu < 0.25), "{id}: {even:?}");
        assert!(even.iter().zip(&uneven).all(|(a, b)| (a / b - 1.0).abs() < 0.05), "{id}: {even:?}, {uneven:?}");
    }
}

#[test]
fn the_same_bytes_on_any_number_of_threads_and_after_a_pause() {
    let mut rng = Rng::new(4).fork("threads");
    let x = planted(&unit_rows(64, 32, &mut rng), 900, 0.05, &mut rng);
    let y = other_activations(&x);
    for entry in &OBJECTIVES {
        let options = Options { k: 4, target_l0: 4.0, ..Options::default() };
        // Latents count as dead from the second step on, so that the auxiliary term takes part; wide enough to be screened.
        let recipe = Recipe {
            dead_after: 1,
            warmup: 3,
            average: 0.9,
            resample_every: 2,
            patience: Some(Patience { window: 3, gain: 0.0, windows: 9 }),
            ..Recipe::new(600, 12, 300)
        };
        let rows = Rows::of(entry, &options, &x, &y);
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| start(entry.id, &options, recipe.clone(), rows, &rng).into_dictionary())
        };
        let one = fit(1);
        assert_eq!(one, fit(3), "{}", entry.id);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let mut first = start(entry.id, &options, recipe.clone(), rows, &rng);
        (0..5).for_each(|_| _ = first.step().unwrap());
        first.trainer.state().write(&file, "a run").unwrap();
        let state = State::read(&file, "a run").unwrap();
        assert_eq!(&state, first.trainer.state());
        let build = (entry.build)(&options);
        let mut source = InMemory::new(&x, recipe.batch, &rng);
        if let Some(y) = rows.1 {
            source = source.with_targets(y);
        }
        let trainer = Trainer::resume(recipe.clone(), build, &mut source, &rng, state).unwrap();
        assert_eq!(one, Run { trainer, source }.into_dictionary(), "{}", entry.id);
    }
}

#[test]
fn a_broken_state_is_one_error() {
    let x = Mat::from_fn(20, 3, |i, j| ((i * (j + 2)) % 7) as f32);
    let options = Options { k: 2, ..Options::default() };
    let trainer = start("topk", &options, Recipe::new(4, 3, 8), &x, &Rng::new(0)).trainer;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state");
    trainer.state().write(&file, "a").unwrap();
    assert!(State::read(&file, "b").unwrap_err().to_string().contains("other settings"));
    let whole = std::fs::read(&file).unwrap();
    for cut in [0, 7, 100, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(State::read(&file, "a"), Err(StateError::Broken { .. })), "{cut} bytes");
    }
    assert!(matches!(State::read(&folder.path().join("none"), "a"), Err(StateError::Io { .. })));
}

#[test]
fn impossible_settings_are_errors() {
    let x = Mat::from_fn(10, 3, |i, j| (i * j) as f32);
    let new = |id: &str, options: Options, recipe: Recipe| Run::new(id, &options, recipe, &x, &Rng::new(0)).err();
    let usual = || (Options { k: 2, target_l0: 2.0, ..Options::default() }, Recipe::new(4, 5, 8));
    let (options, recipe) = usual();
    assert!(new("topk", options.clone(), recipe.clone()).is_none());
    for k in [0, 5] {
        assert!(matches!(new("topk", Options { k, ..usual().0 }, usual().1), Some(FitError::Setting { .. })));
    }
    assert_eq!(new("transcoder", options.clone(), recipe.clone()), Some(FitError::NoTargets { arch: "transcoder" }));
    let targets = |id: &str, normalise| {
        let recipe = Recipe { normalise, ..usual().1 };
        Run::new(id, &usual().0, recipe, Rows(&x, Some(&x)), &Rng::new(0)).err()
    };
    assert_eq!(targets("topk", Normalise::Scale), Some(FitError::Targets { arch: "topk" }));
    assert_eq!(targets("transcoder", Normalise::Whiten), Some(FitError::OnlyScaled { arch: "transcoder" }));
    assert_eq!(targets("transcoder", Normalise::None), None);
    let by_row =
        new("crosscoder", Options { layers: 3, ..usual().0 }, Recipe { normalise: Normalise::LayerNorm, ..usual().1 });
    assert_eq!(by_row, Some(FitError::OnlyScaled { arch: "crosscoder" }));
    let odd = new("groupmax", Options { k: 3, ..usual().0 }, usual().1);
    let halves = new("crosscoder", Options { layers: 2, ..usual().0 }, usual().1);
    assert!(matches!(halves, Some(FitError::Divisor { name: "layers", of: 3, .. })));
    assert_eq!(odd, Some(FitError::Divisor { name: "k", value: 3, whole: "d_sae", of: 4 }));
    for bad in [Recipe { d_sae: 0, ..usual().1 }, Recipe { batch: 0, ..usual().1 }] {
        assert!(matches!(new("relu", options.clone(), bad), Some(FitError::Setting { .. })));
    }
    for l1 in [f64::NAN, -1.0] {
        assert!(matches!(new("relu", Options { l1, ..usual().0 }, usual().1), Some(FitError::Real { .. })));
    }
    let widths = vec![3, 2];
    assert!(matches!(new("matryoshka", Options { widths, ..usual().0 }, usual().1), Some(FitError::Setting { .. })));
    let mut diverging = start("topk", &options, Recipe { lr: f64::MAX, steps: 50, ..recipe }, &x, &Rng::new(0));
    let error = (0..50).find_map(|_| diverging.step().err());
    assert_eq!(error, Some(DIVERGED));
}

#[test]
fn inference_of_each_objective_is_its_own() {
    let x = Mat::from_fn(40, 4, |i, j| ((i * (j + 3)) % 11) as f32);
    let encoder = |id: &str| {
        let options = Options { k: 2, target_l0: 2.0, ..Options::default() };
        start(id, &options, Recipe::new(8, 3, 20), &x, &Rng::new(0)).finish().encoder
    };
    let act = |id: &str| match encoder(id) {
        Encoder::Linear { act, .. } => act,
        other => panic!("{other:?}"),
    };
    assert_eq!(act("topk"), Activation::TopK { k: 2 });
    assert_eq!(act("abs_topk"), Activation::AbsTopK { k: 2 });
    assert_eq!(act("relu"), Activation::Relu);
    for id in ["batch_topk", "matryoshka", "jumprelu"] {
        assert!(matches!(act(id), Activation::JumpRelu { .. }), "{id}");
    }
    assert!(matches!(act("gated"), Activation::Gated { .. }));
    assert_eq!(act("groupmax"), Activation::GroupMax { groups: 2 });
    let pursuit = PlainPursuit { max_steps: 2, residual_below: 0.0, stop_on_repeat: false };
    assert_eq!(encoder("matching_pursuit"), Encoder::PlainPursuit(pursuit));
}
