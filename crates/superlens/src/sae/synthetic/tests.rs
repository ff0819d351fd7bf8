use super::*;
use superlens_tensor::kernels::pointwise::dot;

/// Without pushing directions apart, which takes long and is tested by itself.
fn sample(id: &str, rows: u64) -> (Law, Latents) {
    let preset = find(id).unwrap();
    let law = Law::new(preset, &Rng::new(MODEL_SEED).fork("synthetic").fork(preset.id));
    let drawn = Sampler::new(&law).draw(&law, &Rng::new(0).fork("rows"), 0..rows);
    (law, drawn)
}

/// How often each feature is on.
fn counts(on: &Latents) -> Vec<f64> {
    let mut counts = vec![0.0; on.cols()];
    on.indices().iter().for_each(|&i| counts[i as usize] += 1.0);
    counts
}

#[test]
fn features_in_no_tree_are_on_as_often_as_the_law_says() {
    let rows = 40_000.0;
    let (law, on) = sample("16k", rows as u64);
    let counts = counts(&on);
    // Pearson's χ² over features in no tree, each a Poisson count almost: mean n, deviation √(2n) (a little more for shared factors).
    let free = law.in_trees..law.base.len();
    let n = free.len() as f64;
    let off = |i: usize| {
        // A strength below zero is off: so rare that the mean of them tells.
        let z = f64::from(law.mean[i] / law.std[i].max(1e-6));
        law.base[i] * (1.0 - 0.5 * statrs::function::erf::erfc(z / 2f64.sqrt()))
    };
    let chi: f64 = free.clone().map(|i| (counts[i] - off(i) * rows).powi(2) / (off(i) * rows)).sum();
    assert!((chi - n).abs() < 6.0 * (2.0 * n).sqrt(), "χ² {chi} of {n}");
    let (sum, want): (f64, f64) = (free.clone().map(|i| counts[i]).sum(), free.map(|i| off(i) * rows).sum());
    assert!((sum / want - 1.0).abs() < 0.01, "{sum} {want}");
    // And roots, one by one.
    for i in 0..law.roots {
        let sd = (law.base[i] * rows).sqrt();
        assert!((counts[i] - off(i) * rows).abs() < 5.0 * sd, "root {i}: {} of {}", counts[i], law.base[i] * rows);
    }
}

#[test]
fn mean_l0_is_that_of_the_published_model() {
    let (_, on) = sample("16k", 20_000);
    let l0 = on.nnz() as f64 / 20_000.0;
    let frequent = on.indices().iter().filter(|&&i| i < 4096).count() as f64 / 20_000.0;
    // Published as ≈ 34 and ≈ 25.
    assert!((l0 - 34.0).abs() < 1.0 && (frequent - 25.0).abs() < 1.0, "{l0} {frequent}");
}

#[test]
fn children_need_their_parent_and_exclude_each_other() {
    let (law, on) = sample("4k", 5_000);
    let mut seen = 0;
    for r in 0..on.rows() {
        let (indices, values) = on.row(r);
        assert!(values.iter().all(|v| *v > 0.0 && v.is_finite()) && indices.is_sorted_by(|a, b| a < b));
        let mut parents: Vec<u32> = indices.iter().filter_map(|&i| law.parent[i as usize]).collect();
        assert!(parents.iter().all(|p| indices.binary_search(p).is_ok()), "row {r}");
        seen += parents.len();
        let many = parents.len();
        parents.sort_unstable();
        parents.dedup();
        assert_eq!(parents.len(), many, "row {r}: two children of one parent");
    }
    assert!(seen > 5_000, "{seen}");
}

/// Two features in no tree are on together as a bivariate normal distribution with their factors' product says, by its integral.
#[test]
fn correlations_are_those_of_the_copula() {
    let preset =
        Preset { trees: None, frequencies: Frequencies::Geometric { ratio: 0.99, active: 20.0 }, ..PRESETS[2] };
    let law = Law::new(&preset, &Rng::new(1));
    let rows = 30_000u64;
    let on = Sampler::new(&law).draw(&law, &Rng::new(0).fork("rows"), 0..rows);
    let (mut together, mut expected, mut independent) = (0.0, 0.0, 0.0);
    let n = 24;
    let tail = |a: f64| 0.5 * statrs::function::erf::erfc(a / 2f64.sqrt());
    for i in 0..n {
        for j in 0..i {
            let rho = f64::from(dot(law.factors.row(i), law.factors.row(j)));
            if rho < 0.1 {
                continue;
            }
            let both = |r: usize| [i, j].iter().all(|&f| on.row(r).0.binary_search(&(f as u32)).is_ok());
            together += (0..on.rows()).filter(|&r| both(r)).count() as f64;
            let (a, b) = (f64::from(law.threshold[i]), f64::from(law.threshold[j]));
            // ∫_a^∞ φ(x) Q((b − ρx)/√(1 − ρ²)) dx
            let step = 0.005;
            let at = |k: usize| {
                let x = a + (k as f64 + 0.5) * step;
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                density * tail((b - rho * x) / (1.0 - rho * rho).sqrt()) * step
            };
            expected += (0..1600).map(at).sum::<f64>() * rows as f64;
            independent += law.base[i] * law.base[j] * rows as f64;
        }
    }
    assert!(together > 500.0 && (together / expected - 1.0).abs() < 5.0 / together.sqrt(), "{together} {expected}");
    assert!(independent < 0.8 * expected, "{independent} {expected}");
}

#[test]
fn strengths_have_the_mean_and_spread_of_their_feature() {
    let (law, on) = sample("1k", 20_000);
    let mut checked = 0;
    for i in 0..8u32 {
        let of = |r: usize| on.row(r).0.binary_search(&i).ok().map(|at| f64::from(on.row(r).1[at]));
        let values: Vec<f64> = (0..on.rows()).filter_map(of).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (want, spread) = (f64::from(law.mean[i as usize]), f64::from(law.std[i as usize]));
        if spread < 0.3 * want {
            assert!((mean - want).abs() < 5.0 * spread / n.sqrt() + 1e-5, "{i}: {mean} {want}");
            assert!((std - spread).abs() < 5.0 * spread / n.sqrt() + 1e-5, "{i}: {std} {spread}");
            checked += 1;
        }
    }
    assert!(checked > 4);
}

#[test]
fn any_range_of_rows_is_drawn_by_itself_for_any_number_of_threads() {
    let preset = find("1k").unwrap();
    let model = Synthetic::new(preset, &mut |_| {});
    let all = model.activations(7, Stream::Train, 0..300);
    let part = model.activations(7, Stream::Train, 101..250);
    assert!((101..250).all(|r| all.row(r) == part.row(r - 101)));
    assert_eq!(model.rows(&part).row(3), model.rows(&all).row(104));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| model.activations(7, Stream::Train, 0..300)), all);
    assert_ne!(model.activations(7, Stream::HeldOut, 0..300), all);
    assert_ne!(model.activations(8, Stream::Train, 0..300), all);
    assert_eq!(model.activations(7, Stream::Train, 5..5).rows(), 0);
}

#[test]
fn the_toy_set_has_five_features_on_and_uniform_strengths() {
    let (law, on) = sample("toy512", 20_000);
    let l0 = on.nnz() as f64 / 20_000.0;
    assert!((l0 - 5.0).abs() < 0.08, "{l0}");
    let mean = on.values().iter().map(|v| f64::from(*v)).sum::<f64>() / on.nnz() as f64;
    assert!((mean - 0.5).abs() < 0.005 && on.values().iter().all(|v| (0.0..1.0).contains(v)), "{mean}");
    let first = counts(&on)[0] / 20_000.0;
    assert!((first - law.base[0]).abs() < 0.008 && (law.base[0] / law.base[1] - 1.0 / 0.99).abs() < 1e-9);
}

#[test]
fn training_from_a_model_goes_on_from_any_step_with_the_same_bytes() {
    use crate::sae::train::{Options, Recipe, Source, Trainer, find as objective};
    let model = Synthetic::new(find("1k").unwrap(), &mut |_| {});
    let (rng, recipe) = (Rng::new(3), Recipe { lr: 1e-3, ..Recipe::new(256, 40, 256) });
    let built = || (objective("batch_topk").unwrap().build)(&Options { k: 6, ..Options::default() });
    let mut source = Fresh { model: &model, seed: 3, batch: 256 };
    let mut whole = Trainer::new(recipe.clone(), built(), &mut source, &rng).unwrap();
    let mut half = None;
    let mut first = None;
    while !whole.done() {
        if whole.state().step == 17 {
            half = Some(whole.state().clone());
        }
        let told = whole.step(&source.batch(whole.state().step).unwrap()).unwrap();
        first.get_or_insert(told.fvu);
    }
    let mut again = Trainer::resume(recipe, built(), &mut source, &rng, half.unwrap()).unwrap();
    let mut last = f64::NAN;
    while !again.done() {
        last = again.step(&source.batch(again.state().step).unwrap()).unwrap().fvu;
    }
    assert_eq!(again.state(), whole.state());
    assert!(last < first.unwrap(), "{last} {first:?}");
    let mut seen = 0;
    source.scan(5000, &mut |batch| seen += batch.x.rows()).unwrap();
    assert_eq!(seen, 5000);
}
