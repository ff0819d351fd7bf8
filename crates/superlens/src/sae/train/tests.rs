use super::*;
use crate::sae::metrics::{evaluate, mmcs};
use crate::sae::{Activation, Encoder, Sae};
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::dot;

mod reference;

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

impl<'a> Run<'a> {
    fn new(id: &str, options: &Options, recipe: Recipe, x: &'a Mat, rng: &Rng) -> Result<Self, FitError> {
        let mut source = InMemory::new(x, recipe.batch.max(1), rng);
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

    fn to_the_end(mut self) -> Sae {
        while !self.trainer.done() {
            self.step().unwrap();
        }
        self.finish()
    }
}

fn start<'a>(id: &str, options: &Options, recipe: Recipe, x: &'a Mat, rng: &Rng) -> Run<'a> {
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
    for entry in &OBJECTIVES {
        let mut rng = Rng::new(1).fork("gradient");
        let (d, d_sae, rows) = (6, 12, 9);
        let x = Mat::from_fn(rows, d, |_, _| rng.normal() + 0.3);
        let options = Options { k: 3, target_l0: 3.0, l1: 0.3, ..Options::default() };
        // A weight of 1 on the auxiliary term, so that an error in it is as visible as one in the main term.
        let recipe = Recipe { aux: 1.0, dead_after: 10, warmup: 2, ..Recipe::new(d_sae, 10, rows) };
        let mut run = start(entry.id, &options, recipe, &x, &rng);
        let mut batch = run.batch().x;
        let trainer = &mut run.trainer;
        trainer.input.apply(&mut batch);
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
    let never_back = |aux: f64| {
        let recipe = Recipe { lr: 2e-2, aux, dead_after: 1000, ..Recipe::new(24, 1500, 128) };
        let mut run = start("topk", &Options { k: 3, ..Options::default() }, recipe, &x, &rng);
        let b_enc = run.trainer.state.params.get_mut("b_enc").data_mut();
        b_enc.iter_mut().step_by(2).for_each(|b| *b = -10.0);
        while !run.trainer.done() {
            run.step().unwrap();
        }
        // Silent over the second half of the training.
        run.trainer.state.silent.iter().step_by(2).filter(|s| **s >= 750 * 128).count()
    };
    assert_eq!(never_back(0.0), 12, "nothing else revives them");
    assert_eq!(never_back(1.0 / 32.0), 0);
}

/// Every objective finds most planted features, with about as many latents active as there are features.
#[test]
fn planted_features_are_recovered() {
    let mut rng = Rng::new(3).fork("recovery");
    let features = unit_rows(64, 32, &mut rng);
    let x = planted(&features, 8000, 3.0 / 64.0, &mut rng);
    for (id, least) in [
        ("topk", 0.9),
        ("abs_topk", 0.85),
        ("batch_topk", 0.9),
        ("matryoshka", 0.8),
        ("relu", 0.85),
        ("p_anneal", 0.85),
        ("jumprelu", 0.85),
        ("gated", 0.85),
    ] {
        // Gates, which shrink nothing, stand more.
        let l1 = if id == "gated" { 4.0 } else { 1.0 };
        let options = Options { k: 3, target_l0: 3.0, l1, ..Options::default() };
        let recipe = Recipe { lr: 4e-3, dead_after: 1 << 14, ..Recipe::new(64, 1200, 256) };
        let sae = start(id, &options, recipe, &x, &rng).to_the_end();
        let (found, m) = (mmcs(&features, &sae.w_dec), evaluate(&sae, &x));
        assert!(found >= least && m.fvu < 0.4, "{id}: MMCS {found}, L0 {}, FVU {}", m.l0, m.fvu);
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
        let mut run = start(entry.id, &options, recipe, &x, &rng);
        (0..29).for_each(|_| _ = run.step().unwrap());
        let sae = run.finish();
        let metrics = evaluate(&sae, &x);
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

#[test]
fn the_same_bytes_on_any_number_of_threads_and_after_a_pause() {
    let mut rng = Rng::new(4).fork("threads");
    let x = planted(&unit_rows(64, 32, &mut rng), 900, 0.05, &mut rng);
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
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| start(entry.id, &options, recipe.clone(), &x, &rng).to_the_end())
        };
        let one = fit(1);
        assert_eq!(one, fit(3), "{}", entry.id);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state");
        let mut first = start(entry.id, &options, recipe.clone(), &x, &rng);
        (0..5).for_each(|_| _ = first.step().unwrap());
        first.trainer.state().write(&file, "a run").unwrap();
        let state = State::read(&file, "a run").unwrap();
        assert_eq!(&state, first.trainer.state());
        let build = (entry.build)(&options);
        let mut source = InMemory::new(&x, recipe.batch, &rng);
        let trainer = Trainer::resume(recipe.clone(), build, &mut source, &rng, state).unwrap();
        assert_eq!(one, Run { trainer, source }.to_the_end(), "{}", entry.id);
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
    let act = |id: &str| {
        let options = Options { k: 2, target_l0: 2.0, ..Options::default() };
        match start(id, &options, Recipe::new(8, 3, 20), &x, &Rng::new(0)).finish().encoder {
            Encoder::Linear { act, .. } => act,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(act("topk"), Activation::TopK { k: 2 });
    assert_eq!(act("abs_topk"), Activation::AbsTopK { k: 2 });
    assert_eq!(act("relu"), Activation::Relu);
    for id in ["batch_topk", "matryoshka", "jumprelu"] {
        assert!(matches!(act(id), Activation::JumpRelu { .. }), "{id}");
    }
    assert!(matches!(act("gated"), Activation::Gated { .. }));
}
