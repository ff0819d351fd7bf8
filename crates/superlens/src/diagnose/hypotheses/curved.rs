//! Do the rows lie on a curved sheet, on circles, or on corners of a box?

use super::{Side, against, untested};
use crate::diagnose::completion::{Completion, DETERMINED};
use crate::diagnose::finding::Hypothesis;
use crate::diagnose::light::Light;

/// Share of what linear prediction leaves that bends must explain.
const BENT: f64 = 0.3;
/// Share of the dimensions that circles, or two-valued coordinates, must span.
const SPANNED: f64 = 0.5;
const MEASURES: &str = "share of the neurons' variance that a few principal components give through bends beyond what they give linearly, held out";

/// Whether a few numbers a row determine all neurons, though not linearly: neurons that read few latent variables.
pub(in crate::diagnose) fn computed(completion: Option<&Completion>) -> Hypothesis {
    let id = "computational";
    let Some(c) = completion else {
        return untested(id, MEASURES, "Too few rows or dimensions to see whether the rows lie on a curved sheet.");
    };
    let statistic = c.smooth - c.linear;
    let null = against(statistic, c.null.clone(), Side::Large);
    let supports = c.smooth >= DETERMINED && c.gain() >= BENT && null.p <= 0.05;
    let [smooth, linear] = [c.smooth, c.linear].map(|v| 100.0 * v.max(0.0));
    Hypothesis {
        id: id.into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports,
        says: if supports {
            format!(
                "{} numbers a row determine the neurons through bends: {smooth:.0} % of their variance, linearly {linear:.0} %. Neurons read a few latent variables.",
                c.k
            )
        } else {
            format!(
                "A few numbers a row do not determine the neurons: {} principal components give {smooth:.0} % of their variance through bends, {linear:.0} % linearly.",
                c.k
            )
        },
        null: "what the components leave linearly, dealt out to other rows".into(),
        draws: null.draws,
    }
}

/// Whether coordinates of the rows are two-valued and on as often as off: a dense code of bits.
pub(in crate::diagnose) fn bits(light: Light, looked: bool) -> Hypothesis {
    let says = |yes: bool| {
        let share = 100.0 * light.bits;
        if yes {
            format!(
                "Directions that take two values only, each about as often, span {share:.0} % of the dimensions: a dense code of bits."
            )
        } else {
            format!("Directions that take two values only span {share:.0} % of the dimensions.")
        }
    };
    rule(
        "bits",
        "share of the dimensions spanned by directions with E[s⁴] below 1.3, which two values have",
        light.bits,
        looked,
        &says,
    )
}

/// Whether pairs of directions hold a circle.
pub(in crate::diagnose) fn circles(light: Light, looked: bool) -> Hypothesis {
    let says = |yes: bool| {
        let share = 100.0 * light.circles;
        if yes {
            format!(
                "Planes in which the rows lie on a circle span {share:.0} % of the dimensions: what is represented is an angle, and no direction."
            )
        } else {
            format!("Planes in which the rows lie on a circle span {share:.0} % of the dimensions.")
        }
    };
    rule(
        "circles",
        "share of the dimensions spanned by pairs of directions whose squares make up for one another",
        light.circles,
        looked,
        &says,
    )
}

fn rule(id: &str, measures: &str, share: f64, looked: bool, says: &dyn Fn(bool) -> String) -> Hypothesis {
    if !looked {
        return untested(id, measures, "Too few rows to look for it.");
    }
    let supports = share >= SPANNED;
    Hypothesis {
        statistic: share,
        null_mean: SPANNED,
        null_high: SPANNED,
        supports,
        null: "none: a rule".into(),
        ..untested(id, measures, &says(supports))
    }
}
