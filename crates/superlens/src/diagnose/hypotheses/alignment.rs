//! Do the features lie along the neurons?

use super::{Evidence, Side, against, untested};
use crate::diagnose::finding::Hypothesis;
use superlens_tensor::decomp::haar_rotation;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Mean share of a feature in its strongest neuron from which features count as aligned.
pub(in crate::diagnose) const ALIGNED: f64 = 0.75;
/// Rotations of the null; each costs a QR of the neurons.
const ROTATIONS: usize = 99;
const MEASURES: &str = "mean share of a feature's squared length in its strongest neuron";

/// Largest squared coordinate over the sum of squared coordinates, per row.
pub(in crate::diagnose) fn shares(directions: &Mat) -> Vec<f64> {
    (0..directions.rows())
        .map(|i| {
            let squares = directions.row(i).iter().map(|v| f64::from(*v).powi(2));
            let (largest, sum) = squares.fold((0.0, 0.0), |(m, s): (f64, f64), v| (m.max(v), s + v));
            if sum > 0.0 { largest / sum } else { 0.0 }
        })
        .collect()
}

/// The same features after a random rotation of the neurons.
pub(in crate::diagnose) fn alignment_null(directions: &Mat, rng: &mut Rng) -> Vec<f64> {
    let d = directions.cols();
    let rotation = Mat::from_vec(d, d, haar_rotation(d, rng).iter().map(|v| *v as f32).collect());
    shares(&matmul(directions, &rotation))
}

/// Alignment against Haar rotations of the same features.
pub(in crate::diagnose) fn alignment(e: &Evidence) -> Hypothesis {
    if e.rays.lines.is_empty() {
        return untested("aligned", MEASURES, "No features were found whose alignment could be measured.");
    }
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let live = e.in_neurons.select_cols(e.live);
    let statistic = mean(shares(&live));
    let stream = e.rng.fork("alignment");
    let rotations = ROTATIONS.min(e.draws).min((2_000_000 / live.cols().pow(2)).max(19));
    let draws = (0..rotations).map(|k| mean(alignment_null(&live, &mut stream.fork_index(k as u64)))).collect();
    let null = against(statistic, draws, Side::Large);
    let supports = statistic >= ALIGNED && null.p <= 0.05;
    let against_random = format!("{:.0} % in randomly rotated neurons", 100.0 * null.mean);
    Hypothesis {
        id: "aligned".into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports,
        says: if supports {
            format!(
                "Features lie along neurons: on average {:.0} % of a feature is in one neuron ({against_random}).",
                100.0 * statistic
            )
        } else {
            format!(
                "Features do not lie along neurons: on average {:.0} % of a feature is in its strongest neuron ({against_random}).",
                100.0 * statistic
            )
        },
        null: "Haar rotations of the neurons, features as they are".into(),
        draws: null.draws,
    }
}
