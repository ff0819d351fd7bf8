//! What holds for every method or every signal, tried on many.

use super::methods::{Choice, METHODS, Method};
use super::planted::{Score, noisy, planted, recovered};
use super::{Dictionary, Recovery, Sparse, guaranteed, unit_rows};
use crate::geometry::bounds::Kind;
use crate::geometry::constructions::construction;
use proptest::prelude::*;
use superlens_tensor::{Mat, Rng};

/// Dictionaries whose coherence promises something: bases together, equiangular lines, a simplex, and random rows of many dimensions.
fn dictionary(which: usize, rng: &mut Rng) -> Dictionary {
    let known = |d, n| construction(Kind::Lines, d, n).expect("a construction that is known").packing.to_mat();
    Dictionary::new(&match which {
        0 => known(16, 144),
        1 => known(28, 64),
        2 => known(15, 16),
        3 => known(22, 176),
        4 => unit_rows(60, 700, rng),
        _ => spikes_and_waves(64),
    })
}

/// The identity beside a Hadamard matrix: μ = 1/√d.
fn spikes_and_waves(d: usize) -> Mat {
    Mat::from_fn(2 * d, d, |i, j| match i < d {
        true => f32::from(i == j),
        false => (1.0 - 2.0 * (((i - d) & j).count_ones() % 2) as f32) / (d as f32).sqrt(),
    })
}

/// Rows of up to `most` atoms with coefficients of sizes over two decades.
fn any_signals(dictionary: &Dictionary, rows: usize, most: usize, non_negative: bool, rng: &mut Rng) -> Vec<Sparse> {
    let size = |rng: &mut Rng| 10f32.powf(2.0 * rng.uniform() - 1.0);
    (0..rows)
        .map(|_| {
            let k = 1 + rng.below(most);
            let sign = |rng: &mut Rng| if !non_negative && rng.chance(0.5) { -1.0 } else { 1.0 };
            let atoms = rng.permutation(dictionary.n());
            let mut row: Sparse = atoms[..k].iter().map(|&j| (j as u32, sign(rng) * size(rng))).collect();
            row.sort_unstable_by_key(|a| a.0);
            row
        })
        .collect()
}

fn build(name: &str, k: usize, non_negative: bool, dictionary: &Dictionary) -> Box<dyn Recovery> {
    Method::find(name).unwrap().build(&Choice { k, lambda: 0.1, non_negative }, dictionary)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// k < (1 + 1/μ)/2 active atoms are found whatever they are (Tropp 2004).
    #[test]
    fn a_low_coherence_guarantees_recovery(which in 0usize..6, non_negative: bool, seed: u64) {
        let mut rng = Rng::new(seed);
        let dictionary = dictionary(which, &mut rng);
        let most = guaranteed(dictionary.coherence(), dictionary.n());
        prop_assert!(most >= 2, "dictionary {which} promises {most}");
        let truth = any_signals(&dictionary, 25, most, non_negative, &mut rng);
        let x = dictionary.rebuild(&truth);
        for name in ["omp", "basis_pursuit"] {
            let found = build(name, most, non_negative, &dictionary).recover(&dictionary, &x);
            for (f, t) in found.iter().zip(&truth) {
                prop_assert!(recovered(f, t), "{name} on dictionary {which}: {f:?} for {t:?}");
            }
        }
    }

    /// Other names for the atoms and other lengths of them change what is found accordingly, and so do other lengths of the rows.
    #[test]
    fn permutations_and_scales_go_through(non_negative: bool, seed: u64, by in 0.1f32..10.0) {
        let mut rng = Rng::new(seed);
        let plain = unit_rows(90, 50, &mut rng);
        let order = rng.permutation(90);
        let lengths: Vec<f32> = (0..90).map(|_| 0.2 + 3.0 * rng.uniform()).collect();
        let moved = Mat::from_fn(90, 50, |i, c| lengths[i] * plain[(order[i], c)]);
        let (plain, moved) = (Dictionary::new(&plain), Dictionary::new(&moved));
        let (x, _) = planted(&plain, 12, 4, non_negative, &mut rng);
        let x = noisy(&x, 0.01, &mut rng);
        let mut scaled = x.clone();
        scaled.data_mut().iter_mut().for_each(|v| *v *= by);
        for name in ["omp", "cosamp", "lasso"] {
            let solver = |dictionary: &Dictionary, lambda: f32| {
                let choice = Choice { k: 4, lambda, non_negative };
                Method::find(name).unwrap().build(&choice, dictionary)
            };
            let want = plain.rebuild(&solver(&plain, 0.1).recover(&plain, &x));
            let found = solver(&moved, 0.1 * by).recover(&moved, &scaled);
            let got = moved.rebuild(&found);
            for (g, w) in got.data().iter().zip(want.data()) {
                prop_assert!((g / by - w).abs() < 2e-3, "{name}: {g} / {by} for {w}");
            }
            prop_assert!(!non_negative || found.iter().flatten().all(|a| a.1 >= 0.0));
        }
    }
}

#[test]
fn the_promise_of_a_coherence() {
    // μ = 1/7 gives exactly 4, which is not below 4.
    assert_eq!(
        (guaranteed(1.0 / 7.0, 64), guaranteed(0.125, 64), guaranteed(1.0, 9), guaranteed(0.0, 9)),
        (3, 4, 0, 9)
    );
    let mut twice = unit_rows(5, 30, &mut Rng::new(0));
    let copy = twice.row(1).to_vec();
    twice.row_mut(4).copy_from_slice(&copy);
    assert!((Dictionary::new(&twice).coherence() - 1.0).abs() < 1e-6);
    // With the Gram matrix and without.
    let many = unit_rows(4100, 12, &mut Rng::new(1));
    let few = Mat::from_vec(300, 12, many.data()[..300 * 12].to_vec());
    assert!(Dictionary::new(&many).gram().is_none());
    assert!(Dictionary::new(&many).coherence() >= Dictionary::new(&few).coherence());
    assert!((Dictionary::without_gram(few.clone()).coherence() - Dictionary::new(&few).coherence()).abs() < 1e-6);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let mut rng = Rng::new(3);
    let dictionary = Dictionary::new(&unit_rows(150, 60, &mut rng));
    let (x, truth) = planted(&dictionary, 40, 5, false, &mut rng);
    for method in METHODS {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| build(method.name, 5, false, &dictionary).recover(&dictionary, &x))
        };
        let one = run(1);
        assert!(Score::of(&one, &truth).recall > 0.95, "{}", method.name);
        assert_eq!(one, run(3), "{}", method.name);
    }
}
