//! Made concepts whose kind is known, and the same bytes on any number of threads.

use super::*;
use superlens_tensor::Rng;

/// Normal rows `[rows, d]` and, of each, whether a direction, the product of two coordinates and a radius are large.
fn made(rows: usize, d: usize, seed: u64) -> (Mat, Mat) {
    let mut rng = Rng::new(seed);
    let x = Mat::from_fn(rows, d, |_, _| rng.normal());
    let labels = Mat::from_fn(rows, 4, |i, c| {
        let r = x.row(i);
        f32::from(match c {
            0 => r[0] - 2.0 * r[1] + 0.5 * r[2] > 1.0,
            1 => (r[0] > 0.0) != (r[1] > 0.0),
            2 => r[0] * r[0] + r[1] * r[1] < 1.2,
            _ => r[d - 1] > 1.5,
        })
    });
    (x, labels)
}

fn cut(x: &Mat, from: usize, to: usize) -> Mat {
    x.select_rows(&(from..to).collect::<Vec<_>>())
}

#[test]
fn each_probe_reads_what_it_can() {
    let (x, labels) = made(4000, 6, 1);
    let (train, known, new, wanted) =
        (cut(&x, 0, 3000), cut(&labels, 0, 3000), cut(&x, 3000, 4000), cut(&labels, 3000, 4000));
    let read = |scores: Mat| -> Vec<f64> { column_aucs(&scores, &wanted).into_iter().map(Option::unwrap).collect() };
    let linear = read(Logistic::fit(&train, &known, 1e-3).scores(&new));
    let quadratic = read(Quadratic::fit(&train, &known, 1e-3, &mut Rng::new(2)).scores(&new));
    assert!(linear[0] > 0.99 && linear[3] > 0.99, "{linear:?}");
    assert!((linear[1] - 0.5).abs() < 0.08 && (linear[2] - 0.5).abs() < 0.08, "{linear:?}");
    assert!(quadratic.iter().all(|a| *a > 0.95), "{quadratic:?}");
    // Neighbours suffer from coordinates that say nothing.
    let plane = |x: &Mat| x.select_cols(&[0, 1]);
    let nearest = read(Nearest::fit(&plane(&train), &known, 25).scores(&plane(&new)));
    assert!(nearest[1] > 0.95 && nearest[2] > 0.95, "{nearest:?}");
}

#[test]
fn units_and_rare_classes_change_nothing() {
    let (mut x, _) = made(3000, 3, 3);
    let labels = Mat::from_fn(3000, 2, |i, c| f32::from(if c == 0 { x[(i, 0)] > 2.2 } else { false }));
    (0..3000).for_each(|i| x[(i, 0)] = 1e-4 * x[(i, 0)] + 5.0);
    let fit = Logistic::fit(&x, &labels, 1e-4);
    let scores = fit.scores(&x);
    assert!(column_aucs(&scores, &labels)[0].unwrap() > 0.98);
    assert!(fit.weights.row(1).iter().all(|w| *w == 0.0) && column_aucs(&scores, &labels)[1].is_none());
}

#[test]
fn the_loss_is_at_its_lowest() {
    // One balanced coin, read rightly three times of four: log odds ±ln 3.
    let x = Mat::from_fn(400, 1, |i, _| if i % 2 == 0 { 1.0 } else { -1.0 });
    let labels = Mat::from_fn(400, 1, |i, _| f32::from((i % 2 == 0) == (i / 2 % 4 != 3)));
    let fit = Logistic::fit(&x, &labels, 0.0);
    assert!((f64::from(fit.weights[(0, 0)]) - 3f64.ln()).abs() < 1e-2 && fit.bias[0].abs() < 1e-2, "{fit:?}");
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let (x, labels) = made(2100, 30, 4);
    let on = |threads: usize| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            let fit = Logistic::fit(&x, &labels, 1e-3);
            let second = Quadratic::fit(&x, &labels, 1e-2, &mut Rng::new(5)).scores(&x);
            let near = Nearest::fit(&x, &labels, 9).scores(&x);
            let ridge = Ridge::fit(&x, &labels, 1e-3);
            (fit, second, near, ridge)
        })
    };
    assert_eq!(on(1), on(3));
}
