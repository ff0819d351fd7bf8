//! Fidelity against sparsity over several trainings.

use super::figures::{Sweep, sweep};
use super::svg::Figure;
use crate::toy::lab::{Axis, Series};

/// One dictionary: how it was trained, and what it came to.
#[derive(Clone, Debug)]
pub struct Trained {
    pub arch: String,
    /// Mean active latents a row.
    pub l0: f64,
    /// Fraction of the variance that it leaves.
    pub fvu: f64,
}

/// Every dictionary as a point, those of one architecture joined. Lower and further left is better, of dictionaries of one size.
pub fn pareto(all: &[Trained]) -> Figure {
    let mut archs: Vec<&str> = Vec::new();
    for t in all {
        if !archs.contains(&t.arch.as_str()) {
            archs.push(&t.arch);
        }
    }
    let series = archs.iter().map(|arch| {
        let points: Vec<(f64, f64)> = all.iter().filter(|t| t.arch == *arch).map(|t| (t.l0, t.fvu)).collect();
        Series { name: arch.to_string(), line: points.len() > 1, points }
    });
    sweep(&Sweep {
        name: "pareto",
        title: "Fidelity against sparsity",
        caption: "Each point is a dictionary. Fidelity alone does not say which one finds the right directions.",
        x: &Axis::log("mean active latents a row (L0)"),
        y: &Axis::log("fraction of variance unexplained"),
        series: &series.collect::<Vec<_>>(),
        levels: &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_none_one_and_many() {
        let one = |arch: &str, l0: f64, fvu: f64| Trained { arch: arch.into(), l0, fvu };
        for all in [
            vec![],
            vec![one("topk", 0.0, f64::NAN)],
            (1..40).map(|i| one(["a", "b", "c"][i % 3], i as f64, 1.0 / i as f64)).collect(),
        ] {
            let svg = pareto(&all).standalone();
            assert!(!svg.contains("NaN") && svg.contains("</svg>"));
        }
    }
}
