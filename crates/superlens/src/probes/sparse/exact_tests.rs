//! The exact search against brute force.

use super::*;
use superlens_tensor::Rng;

/// Correlations of `d` units that share a few causes, the last of them without variance, and those with a label.
fn made(d: usize, seed: u64) -> (Gram, Vec<f64>) {
    let mut rng = Rng::new(seed);
    let (rows, causes) = (200, 4);
    let mix: Vec<f64> = (0..d * causes).map(|_| rng.normal_f64()).collect();
    let mut columns = vec![vec![0.0; rows]; d + 1];
    for i in 0..rows {
        let cause: Vec<f64> = (0..causes).map(|_| rng.normal_f64()).collect();
        for j in 0..d - 1 {
            let shared: f64 = (0..causes).map(|c| mix[j * causes + c] * cause[c]).sum();
            columns[j][i] = shared + rng.normal_f64();
        }
        columns[d][i] = f64::from(columns[0][i] - columns[1][i] + cause[0] + rng.normal_f64() > 0.5);
    }
    for column in &mut columns {
        let mean = column.iter().sum::<f64>() / rows as f64;
        let size = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt().max(1e-300);
        column.iter_mut().for_each(|v| *v = (*v - mean) / size);
    }
    let dot = |a: usize, b: usize| columns[a].iter().zip(&columns[b]).map(|(x, y)| x * y).sum::<f64>();
    let gram = (0..d * d).map(|ij| dot(ij / d, ij % d)).collect();
    (Gram::new(gram, d), (0..d).map(|j| dot(j, d)).collect())
}

/// The most gain of all supports of `k` of `d` units.
fn brute(gram: &Gram, cross: &[f64], k: usize) -> f64 {
    let d = cross.len();
    (0u32..1 << d)
        .filter(|set| set.count_ones() as usize == k)
        .map(|set| gram.gain(cross, &(0..d).filter(|j| set >> j & 1 == 1).collect::<Vec<_>>()))
        .fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn the_search_finds_what_brute_force_finds() {
    for (d, seed) in [(4, 1), (8, 2), (11, 3), (13, 4), (15, 5)] {
        let (gram, cross) = made(d, seed);
        for k in 1..=(d - 1).min(6) {
            let found = search(&gram, &cross, k, &[], u64::MAX).unwrap();
            let best = 1.0 - brute(&gram, &cross, k);
            assert!(found.proven && found.gap == 0.0, "{found:?}");
            assert!((found.objective - best).abs() < 1e-10, "{d} {k}: {} is not {best}", found.objective);
            assert!((1.0 - gram.gain(&cross, &found.support) - found.objective).abs() < 1e-10);
            assert!(found.objective <= found.start + 1e-12);
        }
        assert!(search(&gram, &cross, d, &[], 100).is_none(), "one of them does not vary");
    }
}

#[test]
fn a_search_that_is_stopped_says_how_far_it_may_be_off() {
    for seed in 0..6 {
        let (gram, cross) = made(14, seed);
        let best = 1.0 - brute(&gram, &cross, 5);
        for limit in [1, 3, 10, 40] {
            let found = search(&gram, &cross, 5, &[], limit).unwrap();
            assert!(found.lower_bound <= best + 1e-10 && best <= found.objective + 1e-10, "{found:?}, {best}");
            assert!((found.objective - found.lower_bound - found.gap).abs() < 1e-12 && found.nodes <= limit);
        }
    }
}

#[test]
fn a_start_that_is_better_is_kept() {
    let (gram, cross) = made(12, 9);
    let best = search(&gram, &cross, 4, &[], u64::MAX).unwrap();
    let kept = search(&gram, &cross, 4, std::slice::from_ref(&best.support), 1).unwrap();
    assert_eq!((kept.support, kept.objective), (best.support, best.objective));
    let bad = vec![vec![7, 8, 9, 10], vec![1]];
    assert!(search(&gram, &cross, 4, &bad, u64::MAX).unwrap().proven);
}

#[test]
fn bounds_prune_where_units_hardly_correlate() {
    let d = 300;
    let mut rng = Rng::new(4);
    let mut values = vec![0.0; d * d];
    for i in 0..d {
        values[i * d + i] = 1.0;
        for j in 0..i {
            values[i * d + j] = 0.02 * rng.normal_f64();
            values[j * d + i] = values[i * d + j];
        }
    }
    let cross: Vec<f64> = (0..d).map(|j| if j < 4 { 0.4 } else { 0.03 * rng.normal_f64() }).collect();
    let found = search(&Gram::new(values, d), &cross, 4, &[], 10_000).unwrap();
    assert!(found.proven && found.support == [0, 1, 2, 3] && found.nodes < 100, "{found:?}");
}
