//! Sparse probes on layers whose answer is known: `superlens::probes::sparse::planted`.

use rayon::prelude::*;
use superlens::probes::sparse::exact::RIDGE;
use superlens::probes::sparse::planted::{Layer, Size, layer};
use superlens::probes::sparse::{Options, SELECTORS, Study, find, study};
use superlens_tensor::{Mat, Rng};

const SIZE: Size = Size { rows: 8000, neurons: 64, active: 3 };

fn ask(x: &Mat, labels: &Mat, options: &Options) -> Study {
    let names: Vec<String> = (0..labels.cols()).map(|c| format!("feature {c}")).collect();
    study(x, labels, &names, options, &mut |_, _| {})
}

/// A layer and the labels of its first features.
fn made(kind: Layer, size: Size, features: usize, seed: u64) -> (Mat, Mat) {
    let (x, labels) = layer(kind, size, &Rng::new(seed));
    (x, labels.select_cols(&(0..features).collect::<Vec<_>>()))
}

fn at(study: &Study, concept: usize, k: usize) -> f64 {
    let concept = &study.concepts[concept];
    concept.f1[concept.k.iter().position(|other| *other == k).unwrap()].unwrap()
}

/// Least, middle and greatest F1 at `k` over the concepts, printed for docs/probing.md.
fn tell(what: &str, study: &Study, k: usize) -> (f64, f64) {
    let mut all: Vec<f64> = (0..study.concepts.len()).map(|c| at(study, c, k)).collect();
    all.sort_by(f64::total_cmp);
    let (low, high) = (all[0], all[all.len() - 1]);
    println!("{what}: F1 at k = {k} from {low:.3} over {:.3} to {high:.3}", all[all.len() / 2]);
    (low, high)
}

#[test]
fn one_neuron_reads_what_one_neuron_carries() {
    let (x, labels) = made(Layer::Aligned, SIZE, 24, 1);
    let told = ask(&x, &labels, &Options { ks: vec![1, 2, 4, 8], ..Options::default() });
    assert!(tell("aligned", &told, 1).0 > 0.95);
    for (c, concept) in told.concepts.iter().enumerate() {
        assert_eq!((concept.support.as_slice(), concept.note.as_ref()), ([c].as_slice(), None));
        assert!(concept.dense_auc.unwrap() > 0.99 && concept.rotation_p.unwrap() <= 0.05, "{concept:?}");
        assert!(concept.permutation_p.unwrap() <= 0.05 && concept.rotation_effect.unwrap() > 0.2, "{concept:?}");
        assert!(concept.says("neuron", 1).contains("the basis matters"), "{}", concept.says("neuron", 1));
    }
}

#[test]
fn it_takes_several_neurons_where_a_feature_is_spread() {
    let (x, labels) = made(Layer::Superposed, Size { rows: 12_000, neurons: 128, active: 2 }, 8, 2);
    for selector in &SELECTORS {
        let told = ask(&x, &labels, &Options { ks: vec![1, 8], selector, draws: 0, ..Options::default() });
        let (_, one) = tell(selector.id, &told, 1);
        let (eight, _) = tell(selector.id, &told, 8);
        assert!(one < 0.7 && eight > 0.95, "{}: {one} and {eight}", selector.id);
    }
}

#[test]
fn no_few_neurons_read_what_is_turned_and_a_direction_does() {
    let (x, labels) = made(Layer::Rotated, SIZE, 24, 3);
    let told = ask(&x, &labels, &Options { ks: vec![1, 2], ..Options::default() });
    assert!(tell("turned", &told, 1).1 < 0.6);
    for concept in &told.concepts {
        assert!(concept.dense_auc.unwrap() > 0.99, "{concept:?}");
    }
    let small = told.concepts.iter().filter(|c| c.rotation_p.unwrap() <= 0.05).count();
    assert!(small <= 5, "{small} of 24 turned features seem to lie along neurons");
}

#[test]
fn turned_bases_tell_aligned_from_turned_layers() {
    let size = Size { rows: 800, neurons: 16, active: 2 };
    let options = Options { ks: vec![1], draws: 99, ..Options::default() };
    let drawn = |draw: u64| {
        let p = |kind| {
            let (x, labels) = made(kind, size, 1, 100 + draw);
            ask(&x, &labels, &Options { seed: draw, ..options.clone() }).concepts[0].rotation_p.unwrap()
        };
        (p(Layer::Aligned), p(Layer::Rotated))
    };
    let ps: Vec<(f64, f64)> = (0..100).into_par_iter().map(drawn).collect();
    let apart = ps.iter().filter(|(aligned, turned)| *aligned <= 0.01 && *turned > 0.01).count();
    let alarms = ps.iter().filter(|(_, turned)| *turned <= 0.05).count();
    println!("{apart} of 100 apart, {alarms} turned layers with p ≤ 0.05");
    assert!(apart >= 95, "{apart} of 100");
    // A null that holds is rejected as often as its level says.
    assert!(alarms <= 12, "{alarms} of 100");
}

#[test]
fn turning_whole_rows_says_the_same_as_making_the_axes() {
    let size = Size { rows: 1500, neurons: 16, active: 2 };
    for (kind, aligned) in [(Layer::Aligned, true), (Layer::Rotated, false)] {
        let (x, labels) = made(kind, size, 4, 7);
        let p = |id: &str, null_k| {
            let options = Options { ks: vec![1], selector: find(id).unwrap(), null_k, ..Options::default() };
            ask(&x, &labels, &options).concepts
        };
        for null_k in [1, 3] {
            let (axes, whole) = (p("mean-difference", null_k), p("f-statistic", null_k));
            for (a, w) in axes.iter().zip(&whole) {
                let (one, other) = (a.rotation_f1.unwrap(), w.rotation_f1.unwrap());
                assert!((one - other).abs() < 0.08, "{one} and {other} at k = {null_k}");
                if aligned && null_k == 1 {
                    assert_eq!((a.rotation_p, w.rotation_p), (Some(0.025), Some(0.025)));
                }
            }
        }
    }
}

/// The objective as its words say it, without any matrix of the search: ridge regression on standardised columns by descent along coordinates.
fn objective(columns: &[&[f64]], target: &[f64]) -> f64 {
    let n = target.len() as f64;
    let mut w = vec![0.0; columns.len()];
    let mut left = target.to_vec();
    for _ in 0..1500 {
        for (w, z) in w.iter_mut().zip(columns) {
            let slope = z.iter().zip(&left).map(|(z, l)| z * l).sum::<f64>() / n - RIDGE * *w;
            let step = slope / (1.0 + RIDGE);
            *w += step;
            left.iter_mut().zip(*z).for_each(|(l, z)| *l -= step * z);
        }
    }
    left.iter().map(|l| l * l).sum::<f64>() / n + RIDGE * w.iter().map(|w| w * w).sum::<f64>()
}

fn standardised(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let v: Vec<f64> = values.collect();
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let scale = (v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    v.iter().map(|v| (v - mean) / scale).collect()
}

#[test]
fn the_exact_support_is_that_of_brute_force() {
    let size = Size { rows: 300, neurons: 9, active: 3 };
    let (x, labels) = made(Layer::Superposed, size, 2, 11);
    let options = Options { ks: vec![1, 2, 3], exact: 3, nodes: u64::MAX, draws: 0, ..Options::default() };
    let told = ask(&x, &labels, &options);
    let split = superlens::probes::sparse::Split::new(300, &Rng::new(0).fork("probe"));
    let train: Vec<usize> = split.train.iter().flat_map(Clone::clone).collect();
    let column = |j: usize| standardised(train.iter().map(|&i| f64::from(x[(i, j)])));
    let columns: Vec<Vec<f64>> = (0..9).map(column).collect();
    for (c, concept) in told.concepts.iter().enumerate() {
        let target = standardised(train.iter().map(|&i| f64::from(labels[(i, c)])));
        for found in &concept.exact {
            let k = found.certificate.k;
            let value = |set: u32| {
                let of: Vec<&[f64]> = (0..9).filter(|j| set >> j & 1 == 1).map(|j| columns[j].as_slice()).collect();
                objective(&of, &target)
            };
            let sets = (0u32..1 << 9).filter(|set| set.count_ones() as usize == k);
            let best = sets.map(value).fold(f64::INFINITY, f64::min);
            assert!(found.certificate.proven && (found.certificate.objective - best).abs() < 1e-4, "{best}: {found:?}");
            let set = found.certificate.support.iter().fold(0, |set, j| set | 1 << j);
            assert!((value(set) - best).abs() < 1e-6, "{found:?}");
        }
    }
}

#[test]
fn the_exact_support_is_never_worse_than_a_greedy_one() {
    for seed in 0..4 {
        let size = Size { rows: 1200, neurons: 40, active: 3 };
        let (x, labels) = made(Layer::Superposed, size, 3, 20 + seed);
        // Stopped early as well as proven.
        for nodes in [1, 50, 20_000] {
            let options = Options { ks: vec![2, 4], exact: 4, nodes, draws: 0, ..Options::default() };
            for concept in &ask(&x, &labels, &options).concepts {
                assert_eq!(concept.exact.len(), 4);
                for found in &concept.exact {
                    let c = &found.certificate;
                    assert!(c.objective <= c.start && c.lower_bound <= c.objective && c.nodes <= nodes, "{c:?}");
                    assert_eq!(c.gap == 0.0, c.lower_bound == c.objective);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_told_says_why() {
    let (x, mut labels) = made(Layer::Aligned, Size { rows: 900, neurons: 8, active: 2 }, 4, 5);
    for i in 0..900 {
        labels[(i, 0)] = 0.0;
        labels[(i, 1)] = 1.0;
        labels[(i, 2)] = f32::from(i % 180 == 0);
    }
    let told = ask(&x, &labels, &Options { ks: vec![1, 2], ..Options::default() });
    let notes: Vec<&str> = told.concepts.iter().map(|c| c.note.as_deref().unwrap_or("")).collect();
    assert_eq!(notes[..2], ["every row is negative", "every row is positive"]);
    assert!(notes[2].starts_with("too few positive rows") && notes[3].is_empty(), "{notes:?}");
    assert!(told.concepts[..3].iter().all(|c| c.dense_auc.is_none() && c.rotation_p.is_none() && c.f1.is_empty()));
    assert!(at(&told, 3, 1) > 0.95);
    let directions = Options { ks: vec![1], rotate: Err("no axes".into()), ..Options::default() };
    let told = ask(&x, &labels, &directions);
    assert_eq!((told.concepts[3].rotation_p, told.rotation_note.as_deref()), (None, Some("no axes")));
    assert!(told.concepts[3].permutation_p.is_some());
}

#[test]
fn labels_that_belong_to_other_rows_are_not_read() {
    // Labels in runs of 25 rows, and neurons that drift as slowly: single rows would be as good as copies of one another.
    let mut rng = Rng::new(6);
    let mut level = [0.0f32; 6];
    let x = Mat::from_fn(4000, 6, |_, j| {
        level[j] = 0.95 * level[j] + 0.3 * rng.normal();
        level[j]
    });
    let mut on = [false; 160];
    on.iter_mut().for_each(|on| *on = rng.chance(0.3));
    let labels = Mat::from_fn(4000, 1, |i, _| f32::from(on[i / 25]));
    let told = ask(&x, &labels, &Options { ks: vec![1], draws: 99, ..Options::default() });
    assert!(told.concepts[0].permutation_p.unwrap() > 0.05, "{:?}", told.concepts[0]);
}

#[test]
fn a_study_has_the_same_bytes_on_any_number_of_threads() {
    let (x, labels) = made(Layer::Superposed, Size { rows: 1300, neurons: 20, active: 2 }, 5, 8);
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let options =
                Options { ks: vec![1, 3], compare: true, exact: 3, draws: 5, null_k: 2, ..Options::default() };
            let whole = Options { selector: find("f-statistic").unwrap(), ..options.clone() };
            [options, whole].map(|options| serde_json::to_string(&ask(&x, &labels, &options)).unwrap())
        })
    };
    assert_eq!(on(1), on(3));
}
