//! A verdict as a little drawing in two dimensions: grey axes are neurons, arrows are features.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_6, TAU};

use crate::{
    diagnose::Verdict,
    report::svg::{Dot, Sheet},
};

/// Draws the glyph in a square of side `size` around `middle`.
pub fn glyph(sheet: &mut Sheet, verdict: Verdict, (cx, cy): (f64, f64), size: f64) {
    let r = size / 2.0;
    sheet.line("null-line", (cx - r, cy), (cx + r, cy));
    sheet.line("null-line", (cx, cy - r), (cx, cy + r));
    let angles: Vec<f64> = match verdict {
        Verdict::Monosemantic => vec![0.0, FRAC_PI_2],
        Verdict::Orthogonal => vec![FRAC_PI_6, FRAC_PI_6 + FRAC_PI_2],
        // The pentagon that a toy model settles in when five sparse features share two dimensions.
        Verdict::Superposition => (0..5).map(|i| FRAC_PI_2 + TAU * i as f64 / 5.0).collect(),
        // A circle: which place on it, and not which direction, says what is meant.
        Verdict::Nonlinear => {
            let at = |i: usize| (TAU * i as f64 / 48.0).sin_cos();
            let ring: Vec<_> = (0..=48).map(at).map(|(s, c)| (cx + 0.7 * r * c, cy + 0.7 * r * s)).collect();
            sheet.polyline("found-line", &ring);
            return;
        }
        // A table of whole patterns.
        Verdict::Compositional => {
            for (x, y) in [(-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)] {
                sheet.dot("found", Dot::Square, (cx + x * r, cy + y * r), (size * 0.06).max(1.6));
            }
            return;
        }
        Verdict::Inconclusive => {
            for (x, y) in CLOUD {
                sheet.dot("found", Dot::Round, (cx + x * r, cy + y * r), (size * 0.035).max(1.2));
            }
            return;
        }
    };
    for angle in angles {
        arrow(sheet, (cx, cy), angle, r * 0.96);
    }
}

/// A round cloud without directions.
const CLOUD: [(f64, f64); 16] = [
    (0.10, -0.18),
    (-0.22, 0.08),
    (0.30, 0.22),
    (-0.12, 0.42),
    (0.48, -0.20),
    (-0.45, -0.28),
    (0.16, 0.55),
    (-0.58, 0.20),
    (0.06, -0.55),
    (0.66, 0.16),
    (-0.30, -0.60),
    (0.42, -0.58),
    (-0.40, 0.62),
    (0.52, 0.52),
    (-0.16, -0.14),
    (0.24, 0.04),
];

fn arrow(sheet: &mut Sheet, (cx, cy): (f64, f64), angle: f64, length: f64) {
    // Upwards is negative on paper.
    let (dx, dy) = (angle.cos(), -angle.sin());
    let tip = (cx + dx * length, cy + dy * length);
    let head = length * 0.34;
    let base = (tip.0 - dx * head, tip.1 - dy * head);
    let half = head * 0.5;
    sheet.line("found-line", (cx, cy), base);
    sheet.polygon("found", &[tip, (base.0 - dy * half, base.1 + dx * half), (base.0 + dy * half, base.1 - dx * half)]);
}
