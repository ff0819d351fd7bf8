//! Made layers whose cause is known.

use super::*;
use crate::diagnose::whitening::Whitening;
use superlens_tensor::kernels::gemm::matmul;

fn told(x: &Mat, labels: &Mat) -> LabelEvidence {
    let whitening = Whitening::fit(x).unwrap();
    let white = whitening.apply(x);
    evidence(&Labelled { x, white: &white, labels, rng: &Rng::new(9) })
}

fn noisy(mut x: Mat, size: f32, rng: &mut Rng) -> Mat {
    x.data_mut().iter_mut().for_each(|v| *v += size * rng.normal());
    x
}

/// On with probability `p`, each for itself.
fn on_off(rows: usize, concepts: usize, p: f64, rng: &mut Rng) -> Mat {
    Mat::from_fn(rows, concepts, |_, _| f32::from(rng.chance(p)))
}

/// Each label with a size between 0.5 and 1.5.
fn sized(labels: &Mat, rng: &mut Rng) -> Mat {
    Mat::from_fn(labels.rows(), labels.cols(), |i, c| labels[(i, c)] * (0.5 + rng.uniform()))
}

fn random_rows(rows: usize, cols: usize, rng: &mut Rng) -> Mat {
    let mut w = Mat::from_fn(rows, cols, |_, _| rng.normal());
    for i in 0..rows {
        let length = w.row(i).iter().map(|v| v * v).sum::<f32>().sqrt();
        w.row_mut(i).iter_mut().for_each(|v| *v /= length);
    }
    w
}

#[test]
fn superposition_is_linear_and_shares_nothing() {
    let mut rng = Rng::new(1);
    let labels = on_off(3000, 24, 0.05, &mut rng);
    let x = matmul(&sized(&labels, &mut rng), &random_rows(24, 16, &mut rng));
    let e = told(&noisy(x, 0.02, &mut rng), &labels);
    assert!(e.binary && e.concepts == 24 && e.linear_auc > 0.9 && e.gap < 0.05 && e.gap_share < 0.1);
    assert!(e.shared_fraction == 0.0 && e.interactions < 0.05 && e.latents_r2 == 0.0);
    assert!(e.decodable > e.decodable_rank && (15..=16).contains(&e.decodable_rank), "{}", e.decodable_rank);
    assert!(e.alignment < 0.6 && (e.coactive - 1.2).abs() < 0.1);
}

/// Twelve concepts, two on each of six neurons; those of a neuron are copies of one another with probability `tied`.
fn two_a_neuron(tied: f64, rng: &mut Rng) -> (Mat, Mat) {
    let mut labels = on_off(3000, 12, 0.1, rng);
    for i in 0..3000 {
        for j in 0..6 {
            if rng.chance(tied) {
                labels[(i, 2 * j + 1)] = labels[(i, 2 * j)];
            }
        }
    }
    let on = sized(&labels, rng);
    let x = Mat::from_fn(3000, 6, |i, j| on[(i, 2 * j)] + 0.8 * on[(i, 2 * j + 1)]);
    (noisy(x, 0.05, rng), labels)
}

#[test]
fn what_shares_a_neuron_is_found_and_its_correlation_told() {
    let mut rng = Rng::new(2);
    let (x, labels) = two_a_neuron(0.7, &mut rng);
    let correlated = told(&x, &labels);
    let (x, labels) = two_a_neuron(0.0, &mut rng);
    let incidental = told(&x, &labels);
    for e in [&correlated, &incidental] {
        let mut found: Vec<(usize, usize)> = e.pairs.iter().map(|p| (p.a, p.b)).collect();
        found.sort_unstable();
        assert_eq!(found, (0..6).map(|j| (2 * j, 2 * j + 1)).collect::<Vec<_>>());
        assert!(e.shared_fraction == 1.0 && e.same_sided_fraction == 1.0 && e.alignment > 0.9);
        assert!(e.pairs.iter().all(|p| p.separable && p.cos > 0.95));
    }
    assert!(correlated.shared_phi > 0.6 && incidental.shared_phi < 0.1);
    assert!(correlated.pairs.iter().all(|p| p.phi > 0.5));
}

#[test]
fn concepts_that_always_come_together_are_said_to_be_inseparable() {
    let mut rng = Rng::new(3);
    let mut labels = on_off(2000, 4, 0.2, &mut rng);
    (0..2000).for_each(|i| labels[(i, 3)] = labels[(i, 0)]);
    let x = noisy(labels.select_cols(&[0, 1, 2]), 0.05, &mut rng);
    let e = told(&x, &labels);
    let pair = &e.pairs[0];
    assert!(e.pairs.len() == 1 && (pair.a, pair.b) == (0, 3) && !pair.separable && pair.phi > 0.999, "{:?}", e.pairs);
    assert_eq!((e.decodable, e.decodable_rank), (4, 3));
}

#[test]
fn a_nonlinear_code_is_read_by_products_and_on_unseen_rows() {
    let mut rng = Rng::new(4);
    let z = Mat::from_fn(3000, 4, |_, _| rng.normal());
    let labels = Mat::from_fn(3000, 4, |i, c| {
        let r = z.row(i);
        f32::from(match c {
            0 => (r[0] > 0.0) != (r[1] > 0.0),
            1 => r[0] * r[0] + r[1] * r[1] < 1.4,
            2 => (r[2] > 0.0) != (r[3] > 0.0),
            _ => r[2] * r[2] + r[3] * r[3] > 2.0,
        })
    });
    let e = told(&matmul(&z, &random_rows(4, 6, &mut rng)), &labels);
    assert!(e.linear_auc < 0.6 && e.gap > 0.3 && e.gap_share == 1.0);
    assert!(e.gap > 3.0 * e.gap_null.iter().copied().fold(0.0, f64::max));
    assert!(e.unseen_auc > 0.8 && e.seen_auc > 0.9);
    // Nothing is added along any direction, so that none can be shared.
    assert!(e.directed == 0 && e.pairs.is_empty() && e.decodable == 0);
}

#[test]
fn a_code_that_is_looked_up_says_nothing_of_unseen_items() {
    let mut rng = Rng::new(5);
    let codes = Mat::from_fn(300, 16, |_, _| rng.normal());
    let properties = on_off(300, 12, 0.5, &mut rng);
    let item: Vec<usize> = (0..4000).map(|_| rng.below(300)).collect();
    let x = noisy(codes.select_rows(&item), 0.1, &mut rng);
    let e = told(&x, &properties.select_rows(&item));
    assert!(e.gap > 0.12 && e.seen_auc > 0.85 && (e.unseen_auc - 0.5).abs() < 0.1);
    // Products of properties remember items, which new items show.
    assert!(e.interactions > 0.1 && e.interactions_unseen < 0.05);
}

#[test]
fn few_latents_explain_many_neurons_smoothly() {
    let mut rng = Rng::new(6);
    let y = Mat::from_fn(3000, 2, |_, _| rng.normal());
    let w = Mat::from_fn(24, 2, |_, _| rng.normal());
    let mut x = matmul(&y, w.t());
    for j in 0..24 {
        let b = rng.normal();
        (0..3000).for_each(|i| x[(i, j)] = (x[(i, j)] + b).max(0.0));
    }
    let e = told(&x, &y);
    assert!(!e.binary && e.latents_r2 > 0.9 && e.latents_r2 > e.linear_r2 + 0.08);
}

#[test]
fn inhibition_shows_as_interactions() {
    let mut rng = Rng::new(7);
    let labels = on_off(3000, 6, 0.35, &mut rng);
    let x = Mat::from_fn(3000, 6, |i, j| {
        let all: f32 = labels.row(i).iter().map(|l| (3.0 * l).exp()).sum();
        (3.0 * labels[(i, j)]).exp() / (all + 1.0)
    });
    let e = told(&noisy(x, 0.01, &mut rng), &labels);
    assert!(e.interactions > 0.1 && e.interactions_unseen > 0.05, "{} {}", e.interactions, e.interactions_unseen);
    // A layer that adds has none.
    let e = told(&noisy(labels.clone(), 0.01, &mut rng), &labels);
    assert!(e.interactions.abs() < 0.01, "{}", e.interactions);
}

#[test]
fn labels_that_never_vary_are_no_concepts() {
    let mut rng = Rng::new(8);
    let x = Mat::from_fn(300, 3, |_, _| rng.normal());
    let e = told(&x, &Mat::from_fn(300, 2, |i, c| f32::from(c == 1 && i == 5)));
    assert!(e.binary && e.concepts == 0 && e.pairs.is_empty() && e.gap_null.is_empty());
    assert!((e.linear_auc, e.gap, e.unseen_auc, e.linear_r2, e.decodable_rank) == (0.5, 0.0, 0.5, 0.0, 0));
    // A few real rows are answered as well.
    for rows in [3, 12, 60] {
        let few = Mat::from_fn(rows, 3, |i, j| x[(i, j)]);
        assert!(!told(&few, &few.select_cols(&[1])).binary);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let mut rng = Rng::new(10);
    let (x, labels) = two_a_neuron(0.3, &mut rng);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| format!("{:?}", told(&x, &labels)))
    };
    assert_eq!(on(1), on(3));
}
