//! Pictures of what a method of sparse recovery found: along a λ path, or coefficient by coefficient.

use super::sweep::{Sweep, sweep};
use crate::{
    geometry::recover::{Sparse, measure::Measure},
    report::{svg::Figure, words},
    toy::lab::{Axis, Series},
};

/// Coefficients drawn at most: the first of the rows.
const DRAWN: usize = 1500;

/// Precision, recall and error over λ where the truth is known; else what is left of the rows.
pub fn path(lines: &[(f32, Measure)]) -> Figure {
    let over = |name: &str, value: &dyn Fn(&Measure) -> Option<f64>| Series {
        name: name.into(),
        points: lines.iter().filter_map(|(l, m)| Some((f64::from(*l), value(m)?))).collect(),
        line: true,
    };
    let series = [
        over("found atoms that are true", &|m| m.score.map(|s| s.precision)),
        over("true atoms that are found", &|m| m.score.map(|s| s.recall)),
        over("relative error", &|m| m.score.map(|s| s.error)),
        over("share of the row left", &|m| Some(m.residual)),
    ];
    let series: Vec<Series> = series.into_iter().filter(|s| !s.points.is_empty()).collect();
    sweep(&Sweep {
        name: "path",
        title: "What is found along the path of λ",
        caption: "From the right to the left λ falls: true atoms come in first, then others. The error is that of the \
                  coefficients, shrunk by λ unless they were fitted again.",
        x: &Axis { name: "λ".into(), log: true },
        y: &Axis::linear("share"),
        series: &series,
        levels: &[],
    })
}

/// Each coefficient found against the one that was planted; what lies on the diagonal came back.
pub fn coefficients(found: &[Sparse], truth: &[Sparse], lambda: Option<f32>) -> Figure {
    let mut points = Vec::new();
    for (f, t) in found.iter().zip(truth) {
        let value = |row: &Sparse, j: u32| row.iter().find(|a| a.0 == j).map_or(0.0, |a| f64::from(a.1));
        points.extend(t.iter().map(|&(j, c)| (f64::from(c), value(f, j))));
        points.extend(f.iter().filter(|a| t.iter().all(|b| b.0 != a.0)).map(|a| (0.0, f64::from(a.1))));
        if points.len() >= DRAWN {
            break;
        }
    }
    points.truncate(DRAWN);
    let (low, high) = points.iter().fold((0.0f64, 0.0f64), |(l, h), p| (l.min(p.0), h.max(p.0)));
    let series = [
        Series { name: "exact".into(), points: vec![(low, low), (high, high)], line: true },
        Series { name: "coefficients".into(), points, line: false },
    ];
    let at = lambda.map_or(String::new(), |l| format!(", λ = {}", words::number(l.into())));
    sweep(&Sweep {
        name: "coefficients",
        title: &format!("Coefficients found against those planted{at}"),
        caption: "On the line: came back as planted. On the horizontal axis: missed. Above and below zero: atoms that were \
                  found and not planted.",
        x: &Axis::linear("planted"),
        y: &Axis::linear("found"),
        series: &series,
        levels: &[],
    })
}

/// How much of each row is left, from the least to the most: where nobody knows the truth.
pub fn rest(shares: &[f64]) -> Figure {
    let mut sorted = shares.to_vec();
    sorted.sort_by(f64::total_cmp);
    let step = sorted.len().div_ceil(DRAWN).max(1);
    let place = |i: usize| (i as f64 + 0.5) / sorted.len() as f64;
    let points = (0..sorted.len()).step_by(step).map(|i| (place(i), sorted[i])).collect();
    sweep(&Sweep {
        name: "rest",
        title: "What the atoms leave of each row",
        caption: "Rows from the best explained to the worst; the height is the share of the row that no atom found explains.",
        x: &Axis::linear("share of the rows"),
        y: &Axis::linear("share of the row left"),
        series: &[Series { name: "rows".into(), points, line: true }],
        levels: &[],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_nothing_and_extremes() {
        let m = Measure { active: 0.0, residual: f64::NAN, score: None, optimality: None };
        let rows = vec![vec![(0, 1.0), (3, f32::MAX)]];
        let figures = [
            path(&[]),
            path(&[(0.1, m), (1e-30, m)]),
            coefficients(&[], &[], None),
            coefficients(&rows, &[vec![(1, -2.0)]], Some(0.01)),
            rest(&[]),
            rest(&[0.5]),
        ];
        for figure in figures {
            let svg = figure.standalone();
            assert!(!svg.contains("NaN") && svg.contains("</svg>"));
        }
    }
}
