use super::*;
use crate::sae::metrics::{evaluate, mmcs};

fn go(_: f64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Rows of sparse non-negative combinations of unit `features`, density `p`.
fn planted(features: &Mat, rows: usize, p: f64, rng: &mut Rng) -> Mat {
    let s = Mat::from_fn(rows, features.rows(), |_, _| if rng.chance(p) { 0.5 + rng.uniform() } else { 0.0 });
    superlens_tensor::kernels::gemm::matmul(&s, features)
}

/// Parameters in `f64`, in the order of [`Params`], and the loss and gradient by plain dense formulas.
struct Dense<'a> {
    x: &'a Mat,
    variance: f64,
    /// Active latents of each row in the main and in the auxiliary term, and the error that is held constant there.
    main: Vec<Vec<usize>>,
    aux: Vec<Vec<usize>>,
    target: Vec<Vec<f64>>,
    aux_weight: f64,
}

impl Dense<'_> {
    fn z(&self, p: &[Vec<f64>], i: usize, j: usize) -> f64 {
        let d = self.x.cols();
        (0..d).map(|c| (f64::from(self.x[(i, c)]) - p[3][c]) * p[0][j * d + c]).sum::<f64>() + p[1][j]
    }

    fn rebuild(&self, p: &[Vec<f64>], i: usize, active: &[usize]) -> Vec<f64> {
        let d = self.x.cols();
        (0..d).map(|c| active.iter().map(|&j| self.z(p, i, j) * p[2][j * d + c]).sum()).collect()
    }

    fn error(&self, p: &[Vec<f64>], i: usize) -> Vec<f64> {
        let recon = self.rebuild(p, i, &self.main[i]);
        (0..self.x.cols()).map(|c| f64::from(self.x[(i, c)]) - recon[c] - p[3][c]).collect()
    }

    fn rest(&self, p: &[Vec<f64>], i: usize) -> Vec<f64> {
        let recon = self.rebuild(p, i, &self.aux[i]);
        self.target[i].iter().zip(&recon).map(|(t, r)| t - r).collect()
    }

    fn loss(&self, p: &[Vec<f64>]) -> f64 {
        let square = |v: Vec<f64>| v.iter().map(|v| v * v).sum::<f64>();
        let rows = self.x.rows();
        (0..rows).map(|i| square(self.error(p, i))).sum::<f64>() / (rows as f64 * self.variance)
            + (0..rows).map(|i| square(self.rest(p, i))).sum::<f64>() * self.aux_weight
    }

    fn gradient(&self, p: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let d = self.x.cols();
        let mut g: Vec<Vec<f64>> = p.iter().map(|block| vec![0.0; block.len()]).collect();
        for i in 0..self.x.rows() {
            let main_weight = 1.0 / (self.x.rows() as f64 * self.variance);
            let terms = [
                (&self.main[i], self.error(p, i), main_weight, true),
                (&self.aux[i], self.rest(p, i), self.aux_weight, false),
            ];
            for (active, error, weight, with_bias) in terms {
                let slope: Vec<f64> = error.iter().map(|e| -2.0 * weight * e).collect();
                (0..d).filter(|_| with_bias).for_each(|c| g[3][c] += slope[c]);
                for &j in active {
                    let z = self.z(p, i, j);
                    let dz: f64 = (0..d).map(|c| slope[c] * p[2][j * d + c]).sum();
                    g[1][j] += dz;
                    for c in 0..d {
                        g[2][j * d + c] += slope[c] * z;
                        g[0][j * d + c] += dz * (f64::from(self.x[(i, c)]) - p[3][c]);
                        g[3][c] -= dz * p[0][j * d + c];
                    }
                }
            }
        }
        g
    }
}

fn in_f64(params: &Params) -> Vec<Vec<f64>> {
    params.blocks.iter().map(|(_, m)| m.data().iter().map(|&v| f64::from(v)).collect()).collect()
}

/// Runs `check(dense, params, gradient, loss)` on a batch where every third latent is dead.
fn with_dead_latents(d: usize, d_sae: usize, rows: usize, check: impl Fn(&Dense, &Params, &Params, f64)) {
    let mut rng = Rng::new(1).fork("gradient");
    let x = Mat::from_fn(rows, d, |_, _| rng.normal() + 0.3);
    // A weight of 1 on the auxiliary term, so that an error in it is as visible as one in the main term.
    let settings = TopK { batch: rows, aux: 1.0, dead_after: 10, ..TopK::new(d_sae, 3) };
    let mut objective = TopKObjective::new(&settings, &x, &rng).unwrap();
    objective.silent.iter_mut().step_by(3).for_each(|s| *s = 10);
    let mut params = objective.init(&mut rng);
    // Away from the start, where encoder and decoder are equal and some errors would hide.
    for (_, block) in &mut params.blocks {
        block.data_mut().iter_mut().for_each(|v| *v += 0.2 * rng.normal());
    }
    let batch = scaled_rows(&x, &objective.batches.rows_of(0), objective.scale);
    let pass = Forward::new(&params, batch.clone(), 3);
    let aux = Aux::choose(&pass, &objective.dead(), 1.0).unwrap();
    assert_eq!(aux.latents.row(0).0.len(), (d / 2).min(d_sae.div_ceil(3)));
    assert!(aux.latents.values().iter().any(|&z| z < 0.0), "unrectified values are part of the test");
    let rows_of = |s: &SparseRows| (0..rows).map(|i| s.row(i).0.iter().map(|&j| j as usize).collect()).collect();
    let dense = Dense {
        variance: objective.variance,
        main: rows_of(&pass.latents),
        aux: rows_of(&aux.latents),
        target: (0..rows).map(|i| pass.error.row(i).iter().map(|&e| f64::from(e)).collect()).collect(),
        aux_weight: aux.weight,
        x: &batch,
    };
    let mut grad = params.zeros_like();
    let loss = objective.loss(&params, 0, &mut grad);
    check(&dense, &params, &grad, loss);
}

/// Largest |Δ| / max(|g|, 1e-3 max|g|) in each block.
fn worst(got: &Params, want: &[Vec<f64>]) -> Vec<(String, f64)> {
    let blocks = got.blocks.iter().zip(want);
    blocks
        .map(|((name, got), want)| {
            let top = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
            let errors = got.data().iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs() / w.abs().max(1e-3 * top));
            (name.clone(), errors.fold(0.0, f64::max))
        })
        .collect()
}

#[test]
fn gradient_agrees_with_finite_differences() {
    with_dead_latents(6, 11, 9, |dense, params, grad, loss| {
        let p = in_f64(params);
        assert!((loss / dense.loss(&p) - 1.0).abs() < 1e-5, "loss {loss} against {}", dense.loss(&p));
        let differences: Vec<Vec<f64>> = (0..p.len())
            .map(|block| {
                (0..p[block].len())
                    .map(|i| {
                        let at = |h: f64| {
                            let mut moved = p.clone();
                            moved[block][i] += h;
                            dense.loss(&moved)
                        };
                        (at(1e-5) - at(-1e-5)) / 2e-5
                    })
                    .collect()
            })
            .collect();
        for (name, error) in worst(grad, &differences) {
            assert!(error < 1e-3, "{name}: relative error {error}");
        }
    });
}

#[test]
fn sparse_gradient_equals_the_dense_one() {
    with_dead_latents(16, 50, 70, |dense, params, grad, _| {
        for (name, error) in worst(grad, &dense.gradient(&in_f64(params))) {
            assert!(error < 1e-3, "{name}: relative error {error}");
        }
    });
}

/// An objective whose even latents start far below zero on every row.
struct Silenced<'a>(TopKObjective<'a>);

impl Objective for Silenced<'_> {
    fn init(&self, rng: &mut Rng) -> Params {
        let mut params = self.0.init(rng);
        params.get_mut("b_enc").data_mut().iter_mut().step_by(2).for_each(|b| *b = -20.0);
        params
    }
    fn loss(&mut self, params: &Params, step: u64, grad: &mut Params) -> f64 {
        self.0.loss(params, step, grad)
    }
    fn project(&self, params: &Params, grad: &mut Params) {
        self.0.project(params, grad);
    }
    fn constrain(&self, params: &mut Params) {
        self.0.constrain(params);
    }
}

#[test]
fn latents_that_are_negative_everywhere_come_back_to_life() {
    let mut rng = Rng::new(2).fork("revive");
    let x = planted(&unit_rows(24, 12, &mut rng), 2000, 0.08, &mut rng);
    let dead_at_the_end = |aux: f64| {
        let settings = TopK { batch: 128, steps: 1500, lr: 2e-2, aux, dead_after: 1000, ..TopK::new(24, 3) };
        let mut objective = Silenced(TopKObjective::new(&settings, &x, &rng).unwrap());
        let params = train(&mut objective, &settings.training(), &mut rng.clone(), &mut |_| ControlFlow::Continue(()));
        let density = evaluate(&objective.0.finish(&params), &x).density;
        density.iter().step_by(2).filter(|&&p| p == 0.0).count()
    };
    assert_eq!(dead_at_the_end(0.0), 12, "nothing else revives them");
    assert_eq!(dead_at_the_end(1.0 / 32.0), 0);
}

#[test]
fn planted_features_are_recovered() {
    let mut rng = Rng::new(3).fork("recovery");
    let features = unit_rows(64, 32, &mut rng);
    let x = planted(&features, 8000, 3.0 / 64.0, &mut rng);
    let settings = TopK { batch: 256, steps: 1500, ..TopK::new(64, 3) };
    let sae = settings.fit(&x, &rng, &mut go).unwrap();
    let found = mmcs(&features, &sae.w_dec);
    assert!(found >= 0.9, "MMCS {found}");
}

#[test]
fn twenty_steps_are_the_same_bytes_on_any_number_of_threads() {
    let mut rng = Rng::new(4).fork("threads");
    let x = planted(&unit_rows(64, 32, &mut rng), 900, 0.05, &mut rng);
    // Latents count as dead from the second step on, so that the auxiliary term takes part.
    let settings = TopK { batch: 300, steps: 20, dead_after: 1, ..TopK::new(200, 4) };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| settings.fit(&x, &rng, &mut go).unwrap())
    };
    let one = run(1);
    for threads in [2, 5] {
        assert_eq!(one, run(threads), "{threads} threads");
    }
}

#[test]
fn folding_the_scale_changes_nothing() {
    let mut rng = Rng::new(5).fork("fold");
    let x = Mat::from_fn(200, 6, |_, _| 40.0 * rng.normal() + 10.0);
    let settings = TopK { batch: 200, steps: 5, ..TopK::new(12, 2) };
    let mut objective = TopKObjective::new(&settings, &x, &rng).unwrap();
    let mut params = objective.init(&mut rng);
    params.get_mut("b_enc").data_mut().iter_mut().for_each(|b| *b = 0.1 * rng.normal());
    let loss = objective.loss(&params, 0, &mut params.zeros_like());
    let metrics = evaluate(&objective.finish(&params), &x);
    assert!((loss / metrics.fvu - 1.0).abs() < 1e-5, "training {loss}, evaluated {}", metrics.fvu);
    let scaled = scaled_rows(&x, &(0..200).collect::<Vec<_>>(), objective.scale);
    assert!((squares(scaled.data()) / (200.0 * 6.0) - 1.0).abs() < 1e-5);
}

#[test]
fn steps_keep_decoder_rows_at_unit_length() {
    let mut rng = Rng::new(6).fork("unit");
    let x = planted(&unit_rows(16, 8, &mut rng), 300, 0.2, &mut rng);
    let sae = TopK { batch: 64, steps: 50, ..TopK::new(20, 2) }.fit(&x, &rng, &mut go).unwrap();
    (0..20).for_each(|j| assert!((dot(sae.w_dec.row(j), sae.w_dec.row(j)) - 1.0).abs() < 1e-5));
    let objective_settings = TopK::new(20, 2);
    let objective = TopKObjective::new(&objective_settings, &x, &rng).unwrap();
    let params = objective.init(&mut rng);
    let mut grad = Params { blocks: vec![("w_dec".into(), Mat::from_fn(20, 8, |_, _| rng.normal()))] };
    objective.project(&params, &mut grad);
    (0..20).for_each(|j| assert!(dot(grad.get("w_dec").row(j), params.get("w_dec").row(j)).abs() < 1e-5));
}

#[test]
fn geometric_median_ignores_a_far_row() {
    let mut x = Mat::from_fn(21, 2, |i, j| ((i * (j + 2)) % 5) as f32 * 0.1);
    let quiet = geometric_median(&x);
    x.row_mut(0).fill(1e6);
    let loud = geometric_median(&x);
    assert!(quiet.iter().zip(&loud).all(|(a, b)| (a - b).abs() < 0.05), "{quiet:?} {loud:?}");
    assert_eq!(geometric_median(&Mat::from_fn(4, 2, |_, _| 3.0)), [3.0, 3.0]);
}

#[test]
fn impossible_settings_are_errors() {
    let x = Mat::from_fn(10, 3, |i, j| (i * j) as f32);
    let fit = |settings: TopK| settings.fit(&x, &Rng::new(0), &mut go);
    for bad in [TopK::new(4, 5), TopK::new(4, 0), TopK::new(0, 0), TopK { batch: 0, ..TopK::new(4, 2) }] {
        let error = fit(bad).unwrap_err();
        assert!(matches!(error, FitError::Setting { .. }), "{error}");
    }
    let diverging = TopK { lr: f64::MAX, steps: 50, ..TopK::new(4, 2) };
    assert_eq!(fit(diverging), Err(DIVERGED));
}
