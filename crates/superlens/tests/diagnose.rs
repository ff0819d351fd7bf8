//! The diagnosis as a whole, on layers made here: right where the cause is known, silent where there is none.

use std::ops::ControlFlow;
use superlens::diagnose::{Basis, DiagnoseError, Diagnosis, Mechanism, Options, RayDictionary, Verdict, diagnose};
use superlens::sae::{Arch, Sae, metrics::mmcs};
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

const ROWS: usize = 6000;

fn unit_rows(n: usize, d: usize, rng: &mut Rng) -> Mat {
    let mut w = Mat::from_fn(n, d, |_, _| rng.normal());
    for i in 0..n {
        let norm = w.row(i).iter().map(|v| v * v).sum::<f32>().sqrt();
        w.row_mut(i).iter_mut().for_each(|v| *v /= norm);
    }
    w
}

/// Rows of features with density `p`, strengths uniform in [0, 1], and a little noise.
fn layer(directions: &Mat, p: f64, rng: &mut Rng) -> Mat {
    let features = Mat::from_fn(ROWS, directions.rows(), |_, _| if rng.chance(p) { rng.uniform() } else { 0.0 });
    let mut x = matmul(&features, directions);
    x.data_mut().iter_mut().for_each(|v| *v += 0.003 * rng.normal());
    x
}

fn haar(d: usize, rng: &mut Rng) -> Mat {
    Mat::from_vec(d, d, haar_rotation(d, rng).iter().map(|v| *v as f32).collect())
}

fn run(x: &Mat, basis: Basis) -> Diagnosis {
    let options = Options { basis, seed: 0, null_draws: 99, ..Options::default() };
    diagnose(x, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn superposition_is_found_and_counted() {
    let mut rng = Rng::new(1);
    let w = unit_rows(30, 12, &mut rng);
    let found = run(&layer(&w, 0.04, &mut rng), Basis::Unknown);
    assert_eq!(found.layer.verdict, Verdict::Superposition, "{}", found.layer.because);
    let count = found.layer.n_features.unwrap();
    assert!((27..=33).contains(&count.estimate), "{count:?}");
    assert!(count.low <= 30 && 30 <= count.high);
    assert!(found.neurons.iter().any(|n| n.cause.as_deref() == Some("superposition")));
}

/// A dictionary of the true directions, random ones beside them: only the true ones are held by the rows, whatever the dictionary says it has.
#[test]
fn a_dictionary_is_put_to_the_rows() {
    let mut rng = Rng::new(2);
    let w = unit_rows(40, 16, &mut rng);
    let x = layer(&w, 0.03, &mut rng);
    let other = unit_rows(60, 16, &mut rng);
    let both = Mat::from_vec(100, 16, [w.data(), other.data()].concat());
    let options =
        Options { null_draws: 99, sae: Some(Sae::from_dictionary(both, vec![0.0; 16], 8, true)), ..Options::default() };
    let found = diagnose(&x, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    let told = found.dictionary.unwrap();
    assert!((34..=46).contains(&told.held) && told.features <= told.held, "{told:?}");
    assert!(told.shared >= 32 && told.new <= 6, "{told:?}");
    let put = found.hypotheses.iter().find(|h| h.id == "dictionary").unwrap();
    assert!(put.supports && put.null_draws == 99, "{put:?}");
    // The verdict is that of the rows.
    assert_eq!(found.layer.confidence, run(&x, Basis::Unknown).layer.confidence);

    let narrow = Some(Sae::from_dictionary(unit_rows(9, 15, &mut rng), vec![0.0; 15], 4, true));
    let refused = diagnose(&x, &Options { sae: narrow, ..Options::default() }, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(refused, Err(DiagnoseError::DictionaryWidth { expected: 15, columns: 16 })));
}

/// Superposed, rotated and single features side by side: each neuron has the cause of its own part, whatever the layer's is.
#[test]
fn neurons_of_one_layer_have_causes_of_their_own() {
    let mut rng = Rng::new(12);
    let (superposed, rotated) = (unit_rows(24, 10, &mut rng), haar(12, &mut rng));
    let alone = Mat::from_fn(8, 8, |i, j| f32::from(i == j));
    let blocks = [superposed, rotated, alone].map(|w| layer(&w, 0.06, &mut rng));
    let x = Mat::from_fn(ROWS, 30, |i, j| match j {
        0..10 => blocks[0][(i, j)],
        10..22 => blocks[1][(i, j - 10)],
        _ => blocks[2][(i, j - 22)],
    });
    let found = run(&x, Basis::Privileged);
    let parts: Vec<_> = found.parts.iter().map(|p| (p.neurons.clone(), p.verdict, p.mechanism)).collect();
    let want = [
        ((0..10).collect::<Vec<_>>(), Verdict::Superposition, None),
        ((10..22).collect(), Verdict::Orthogonal, Some(Mechanism::Rotated)),
    ];
    assert_eq!(parts, want);
    for neuron in &found.neurons {
        let want = match neuron.index {
            0..10 => Some("superposition"),
            10..22 => Some("rotated"),
            _ => None,
        };
        assert_eq!(neuron.cause.as_deref(), want, "{neuron:?}");
    }
    let options = Options { basis: Basis::Privileged, null_draws: 99, parts: false, ..Options::default() };
    let whole = diagnose(&x, &options, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(whole.parts.is_empty() && whole.layer.verdict == found.layer.verdict && whole.signs == found.signs);
}

/// Two concepts that have nothing to do with each other met on each neuron: activations show one direction, labels two concepts.
#[test]
fn labels_say_what_a_neuron_carries() {
    let mut rng = Rng::new(13);
    let on = Mat::from_fn(ROWS, 12, |_, _| f32::from(rng.chance(0.08)));
    let x = Mat::from_fn(ROWS, 6, |i, j| on[(i, 2 * j)] + 0.9 * on[(i, 2 * j + 1)] + 0.01 * rng.normal());
    let found = with_labels(&x, on);
    for neuron in &found.neurons {
        let mut concepts: Vec<usize> = neuron.concepts.iter().map(|c| c.0).collect();
        concepts.sort_unstable();
        assert_eq!(concepts, [2 * neuron.index, 2 * neuron.index + 1], "{neuron:?}");
        assert!(neuron.polysemantic && neuron.n_features == 2, "{neuron:?}");
    }
    assert_eq!(found.layer.polysemantic_fraction, Some(1.0));
}

#[test]
fn rotation_is_not_superposition_and_needs_a_basis() {
    let mut rng = Rng::new(2);
    let w = haar(12, &mut rng);
    let x = layer(&w, 0.06, &mut rng);
    let found = run(&x, Basis::Privileged);
    assert_eq!((found.layer.verdict, found.layer.mechanism), (Verdict::Orthogonal, Some(Mechanism::Rotated)));
    assert_eq!(found.layer.n_features.as_ref().unwrap().estimate, 12);
    let found = run(&x, Basis::None);
    assert_eq!((found.layer.verdict, found.layer.mechanism), (Verdict::Orthogonal, None));
    assert!(found.neurons.is_empty() && found.layer.polysemantic_fraction.is_none());
}

#[test]
fn aligned_features_are_monosemantic_and_dead_columns_are_named() {
    let mut rng = Rng::new(3);
    let identity = Mat::from_fn(12, 12, |i, j| f32::from(i == j));
    let mut x = layer(&identity, 0.06, &mut rng);
    for i in 0..ROWS {
        x[(i, 5)] = 0.25;
    }
    let found = run(&x, Basis::Unknown);
    assert_eq!(found.layer.verdict, Verdict::Monosemantic, "{}", found.layer.because);
    assert_eq!(found.input.constant_columns, [5]);
    assert!(!found.neurons[5].live && found.neurons[4].live && !found.neurons[4].polysemantic);
}

/// Features that are on in a third of the rows, each at about one strength, pile up along their sums as well: these sixteen once
/// passed for more than two hundred in superposition.
#[test]
fn sums_of_features_that_are_on_often_are_not_taken_for_features() {
    let mut rng = Rng::new(9);
    let on_often = Mat::from_fn(2 * ROWS, 16, |_, _| if rng.chance(0.34) { 1.0 + 0.05 * rng.normal() } else { 0.0 });
    let aligned = run(&on_often, Basis::Privileged);
    let rotated = run(&matmul(&on_often, &haar(16, &mut rng)), Basis::Privileged);
    assert_eq!(aligned.layer.verdict, Verdict::Monosemantic, "{}", aligned.layer.because);
    assert_eq!(rotated.layer.mechanism, Some(Mechanism::Rotated), "{}", rotated.layer.because);
    for found in [aligned, rotated] {
        // The third moment of rows without direction is about zero, so that nothing is a number of times as high.
        let directions = &found.hypotheses[1];
        assert!(!directions.says.contains("times as high"), "{}", directions.says);
        // Of a coin that shows one in 34 % of the throws: 0.32 / √(0.34 · 0.66).
        assert!((directions.statistic - 0.68).abs() < 0.1, "{}", directions.statistic);
        let count = found.layer.n_features.unwrap();
        assert_eq!(count.estimate, 16, "{count:?}");
        // A complete code has no room for more.
        assert!(count.high < 20 && !count.lower_bound, "{count:?}");
    }
}

/// Twelve fair coins fill a cube of twelve dimensions. More than a hundred of its corners once passed for features.
#[test]
fn corners_of_a_cube_are_not_superposition() {
    let mut rng = Rng::new(10);
    let coins = Mat::from_fn(ROWS, 12, |_, _| f32::from(rng.chance(0.5)));
    let found = run(&coins, Basis::Unknown);
    assert_eq!(found.layer.verdict, Verdict::Compositional, "{}", found.layer.because);
    assert!(found.layer.because.contains("dense code of bits"), "{}", found.layer.because);
}

/// What is told with labels for the rows.
fn with_labels(x: &Mat, labels: Mat) -> Diagnosis {
    let options =
        Options { basis: Basis::Privileged, seed: 0, null_draws: 49, labels: Some(labels), ..Options::default() };
    diagnose(x, &options, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Two features on each of twelve neurons, which are monosemantic by activations alone: labels tell whether they come together.
#[test]
fn labels_tell_why_features_share_a_neuron() {
    for (together, mechanism) in [(true, Mechanism::Correlated), (false, Mechanism::Incidental)] {
        let mut rng = Rng::new(21);
        let mut labels = Mat::zeros(ROWS, 24);
        let mut x = Mat::zeros(ROWS, 12);
        for i in 0..ROWS {
            for j in 0..12 {
                let gate = rng.chance(0.12);
                for k in 0..2 {
                    let own = rng.chance(0.12);
                    let on = if together && rng.chance(0.8) { gate } else { own };
                    if on {
                        labels[(i, 2 * j + k)] = 1.0;
                        x[(i, j)] += 0.5 + rng.uniform();
                    }
                }
            }
        }
        let found = with_labels(&x, labels);
        assert_eq!(
            (found.layer.verdict, found.layer.mechanism),
            (Verdict::Orthogonal, Some(mechanism)),
            "{}",
            found.layer.because
        );
        assert_eq!(found.input.labels, 24);
        let blind = run(&x, Basis::Privileged);
        assert_eq!(blind.layer.verdict, Verdict::Monosemantic, "{}", blind.layer.because);
    }
}

#[test]
fn labels_tell_regions_from_codes_that_are_looked_up() {
    let mut rng = Rng::new(22);
    let cloud = Mat::from_fn(ROWS, 12, |_, _| rng.normal());
    let parity = Mat::from_fn(ROWS, 5, |i, c| f32::from((cloud[(i, 2 * c)] > 0.0) == (cloud[(i, 2 * c + 1)] > 0.0)));
    let found = with_labels(&cloud, parity);
    assert_eq!(found.layer.verdict, Verdict::Nonlinear, "{}", found.layer.because);
    let codes = Mat::from_fn(90, 12, |_, _| rng.normal());
    let attributes = Mat::from_fn(90, 12, |_, _| f32::from(rng.chance(0.5)));
    let items: Vec<usize> = (0..ROWS).map(|_| rng.below(90)).collect();
    let mut rows = codes.select_rows(&items);
    rows.data_mut().iter_mut().for_each(|v| *v += 0.05 * rng.normal());
    let found = with_labels(&rows, attributes.select_rows(&items));
    assert_eq!(found.layer.verdict, Verdict::Compositional, "{}", found.layer.because);
}

#[test]
fn labels_for_other_rows_are_refused() {
    let x = Mat::from_fn(50, 3, |i, j| (i * 7 % 11) as f32 + j as f32);
    let options = Options { labels: Some(Mat::zeros(49, 2)), ..Options::default() };
    let got = diagnose(&x, &options, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(got, Err(DiagnoseError::LabelRows { labels: 49, rows: 50 })));
}

#[test]
fn nothing_is_found_in_noise_or_in_few_rows() {
    let mut rng = Rng::new(4);
    let mix = unit_rows(12, 12, &mut rng);
    let gaussian = matmul(&Mat::from_fn(ROWS, 12, |_, _| rng.normal()), &mix);
    let mut heavy = gaussian.clone();
    for i in 0..ROWS {
        let scale = rng.normal().abs() + 0.1;
        heavy.row_mut(i).iter_mut().for_each(|v| *v *= scale * scale);
    }
    let few = gaussian.select_rows(&(0..40).collect::<Vec<_>>());
    for x in [gaussian, heavy, few] {
        let found = run(&x, Basis::Unknown);
        assert_eq!(found.layer.verdict, Verdict::Inconclusive, "{}", found.layer.because);
    }
}

#[test]
fn clusters_with_dense_variation_are_not_superposition() {
    let mut rng = Rng::new(5);
    for clusters in [8, 30] {
        let centres = unit_rows(clusters, 12, &mut rng);
        let x = Mat::from_fn(ROWS, 1, |_, _| rng.below(clusters) as f32);
        let x = Mat::from_fn(ROWS, 12, |i, j| centres[(x[(i, 0)] as usize, j)] + 0.2 * rng.normal());
        let found = run(&x, Basis::Unknown);
        assert_ne!(found.layer.verdict, Verdict::Superposition, "{clusters} clusters: {}", found.layer.because);
    }
}

#[test]
fn the_answer_does_not_depend_on_the_number_of_threads() {
    let mut rng = Rng::new(6);
    let w = unit_rows(20, 10, &mut rng);
    let x = layer(&w, 0.05, &mut rng);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| serde_json::to_string(&run(&x, Basis::Unknown)).unwrap())
    };
    assert_eq!(on(1), on(3));
}

#[test]
fn what_cannot_be_diagnosed_is_an_error() {
    let go = &mut |_| ControlFlow::Continue(());
    let options = Options::default();
    let mut x = Mat::from_fn(50, 3, |i, j| (i * j) as f32);
    assert!(matches!(diagnose(&Mat::zeros(50, 3), &options, go), Err(DiagnoseError::TooSmall { varying: 0, .. })));
    x[(7, 2)] = f32::NAN;
    assert!(matches!(diagnose(&x, &options, go), Err(DiagnoseError::NotFinite { row: 7, column: 2, .. })));
    let line = Mat::from_fn(50, 3, |i, _| i as f32);
    assert!(matches!(diagnose(&line, &options, go), Err(DiagnoseError::OneDirection)));
    let mut rng = Rng::new(7);
    let noise = Mat::from_fn(900, 4, |_, _| rng.normal());
    let stop = &mut |_| ControlFlow::Break(());
    assert!(matches!(diagnose(&noise, &options, stop), Err(DiagnoseError::Stopped)));
}

#[test]
fn the_dictionary_can_be_had_alone() {
    let mut rng = Rng::new(8);
    let w = unit_rows(24, 10, &mut rng);
    let x = layer(&w, 0.04, &mut rng);
    let sae = RayDictionary { k: 3 }.fit(&x, &Rng::new(0), &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(mmcs(&w, sae.dictionary()) > 0.95);
}
