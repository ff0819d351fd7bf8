//! Numbers and verdicts as a reader wants them: few digits, thousands apart, certainty in words.

pub use crate::diagnose::thousands as count;
use crate::diagnose::{Basis, Mechanism, Verdict};

/// Replaces control characters, which neither XML nor a terminal can carry, by U+FFFD.
///
/// Names of files and columns come from outside; escaping of `<`, `&` and quotes is left to `maud`.
pub fn clean(text: &str) -> String {
    let printable = |c: char| if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') { '\u{fffd}' } else { c };
    text.chars().map(printable).collect()
}

/// [`clean`] text for a page, where a number and its per cent sign stay on one line.
pub fn prose(text: &str) -> String {
    clean(text).replace(" %", "\u{a0}%")
}

/// A name that is safe in a file name and in an `id`: lower-case letters, digits and single dashes, never empty.
pub fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().take(48) {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => out.push(c),
            _ if !out.is_empty() && !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    let out = out.trim_end_matches('-');
    if out.is_empty() { "unnamed".to_owned() } else { out.to_owned() }
}

/// `1 feature`, `2 features`.
pub fn counted(n: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A number with three significant digits, or an en dash where it is not finite.
pub fn number(v: f64) -> String {
    if !v.is_finite() {
        return "–".to_owned();
    }
    let size = v.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e9).contains(&size) {
        format!("{v:.1e}")
    } else if size >= 999.5 {
        format!("{}{}", if v < 0.0 { "−" } else { "" }, count(size.round() as usize))
    } else {
        let decimals = (2 - size.log10().floor() as i32).max(0) as usize;
        let text = format!("{v:.decimals$}");
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        text.replace('-', "−")
    }
}

/// A share as a percentage: `92 %`; `–` where it is not finite.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        p if !p.is_finite() => "–".to_owned(),
        p if p > 0.0 && p < 0.95 => format!("{p:.1}\u{a0}%"),
        p if (0.0..999.5).contains(&p) => format!("{p:.0}\u{a0}%"),
        p => format!("{}\u{a0}%", number(p)),
    }
}

/// A probability as a percentage that never claims certainty: `> 99 %` and `< 1 %` at the ends.
pub fn probability(p: f64) -> String {
    if !p.is_finite() {
        "–".to_owned()
    } else if p >= 0.995 {
        ">\u{a0}99\u{a0}%".to_owned()
    } else if p < 0.005 {
        "<\u{a0}1\u{a0}%".to_owned()
    } else {
        percent(p)
    }
}

/// A p-value; at the least that its draws could have given it reads `≤`.
pub fn p_value(p: f64, draws: usize) -> String {
    let floor = 1.0 / (draws as f64 + 1.0);
    if p <= floor * (1.0 + 1e-9) { format!("≤\u{a0}{}", number(floor)) } else { number(p) }
}

/// How sure, in words. The steps are ours; the number always stands beside them.
pub fn certainty(probability: f64) -> &'static str {
    match probability {
        p if p >= 0.95 => "very sure",
        p if p >= 0.8 => "fairly sure",
        p if p >= 0.6 => "leaning",
        p if p.is_finite() => "unsure",
        _ => "not saying how sure",
    }
}

/// The verdict as a reader sees it: `orthogonal, rotated`.
pub fn verdict(verdict: Verdict, mechanism: Option<Mechanism>) -> String {
    match mechanism {
        Some(mechanism) => format!("{}, {}", verdict.id(), mechanism.id()),
        None => verdict.id().to_owned(),
    }
}

/// What a verdict means, in one plain sentence.
pub fn meaning(verdict: Verdict, mechanism: Option<Mechanism>, basis: Basis) -> &'static str {
    match verdict {
        Verdict::Monosemantic => {
            "Features have neurons to themselves: there is little or no polysemanticity to explain."
        }
        Verdict::Superposition => {
            "There are more sparse features than dimensions, so they cannot all stand at right angles: superposition."
        }
        Verdict::Orthogonal if basis == Basis::None => {
            "There is room for every feature at right angles. The columns are not neurons, so nothing is said of those."
        }
        Verdict::Orthogonal if mechanism == Some(Mechanism::Correlated) => {
            "There is room for every concept, but those that go together (or exclude one another) were given a neuron together."
        }
        Verdict::Orthogonal if mechanism == Some(Mechanism::Incidental) => {
            "There is room for every concept, but some that have nothing to do with one another ended up on the same neuron."
        }
        Verdict::Orthogonal if mechanism == Some(Mechanism::Computational) => {
            "Neurons are mixed because of what they compute: each reads several of a few variables."
        }
        Verdict::Orthogonal => {
            "There is room for every feature at right angles, but the features do not lie along the neurons."
        }
        Verdict::Nonlinear => {
            "What the layer tells apart is not told by directions: features are positions, regions or magnitudes."
        }
        Verdict::Compositional => "There are no features: only whole patterns of activation mean something.",
        Verdict::Inconclusive => "These inputs do not hold enough to tell the explanations apart.",
    }
}

/// What a sign of the verdict is, in a few words. A product of two signs is told by both.
pub fn sign(name: &str) -> String {
    if let Some((a, b)) = name.split_once(" × ") {
        return format!("{} together with {}", sign(a), sign(b));
    }
    let told = match name {
        "rows" => "the number of rows",
        "found" => "that directions stand out",
        "crowding" => "features per room",
        "overcrowding" => "features beyond the room for them",
        "uncovered" => "dimensions without features",
        "covered" => "dimensions that have features",
        "height" => "how far directions stand out",
        "beyond_mixture_half" | "beyond_mixture" => "directions beyond those of a mixture of Gaussians",
        "gain" => "what excess features explain",
        "gain_beyond_random" => "what excess features explain beyond random ones",
        "one_hot" => "a one-hot code",
        "code" => "that rows are sums of a few directions",
        "together" => "directions that are high together",
        "complete_code" => "a complete sparse code",
        "steady" => "features that half of the rows show as well",
        "no_basis" => "that columns are no neurons",
        "share" | "high_share" => "how far features lie along neurons",
        "polysemantic" => "the share of polysemantic neurons",
        "bits" => "two-valued directions",
        "varied_bits" => "two-valued directions in all combinations",
        "circles" => "circles",
        "light" => "directions with light tails",
        "clustered" => "rows that gather in clusters",
        "completed" | "determined" => "a few numbers that determine the neurons",
        "bend" => "bends in how they do",
        "neuron_tails" => "heavy tails of the neurons",
        "direction_tails" => "heavy tails of random directions",
        "privileged_tails" => "neurons with heavier tails than other directions",
        "labels" | "binary" => "the kind of labels",
        "linear" => "concepts that a linear probe tells",
        "gap" | "gap_share" => "concepts that only non-linear probes tell",
        "unseen" => "concepts told in clusters never seen",
        "memorised" => "concepts told only in clusters that were seen",
        "interactions" => "concepts that do not add up",
        "latents" => "labels that determine the neurons",
        "latents_bend" => "labels that do so through bends",
        "label_crowding" => "more readable concepts than dimensions",
        "label_share" => "concepts that lie along neurons",
        "sharing" => "concepts that share a line",
        "sharing_correlated" => "concepts that share a line and come together",
        "sharing_independent" => "independent concepts that share a line",
        other => other,
    };
    told.to_string()
}

/// With a capital letter.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// An identifier as words: `features_per_dimension` → `Features per dimension`.
pub fn title(id: &str) -> String {
    let words = clean(id).replace(['_', '-'], " ");
    if words.is_empty() { "Unnamed".to_owned() } else { sentence(&words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits_and_never_say_nan() {
        let cases = [(2.0, "2"), (2.0437, "2.04"), (0.0020, "0.002"), (-0.5, "−0.5"), (131.4, "131"), (0.0, "0")];
        for (v, want) in cases {
            assert_eq!(number(v), want);
        }
        assert_eq!(number(999.7), "1,000");
        assert_eq!(number(-12_500.0), "−12,500");
        assert_eq!(number(100.0), "100");
        assert_eq!(number(3.2e-9), "3.2e-9");
        for v in [f64::NAN, f64::INFINITY] {
            assert_eq!(number(v), "–");
            assert_eq!(percent(v), "–");
        }
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(
            [0, 999, 1000, 12_500, 1_234_567].map(count),
            ["0", "999", "1,000", "12,500", "1,234,567"].map(str::to_owned)
        );
    }

    #[test]
    fn probabilities_never_claim_certainty() {
        assert_eq!(probability(1.0), ">\u{a0}99\u{a0}%");
        assert_eq!(probability(0.0), "<\u{a0}1\u{a0}%");
        assert_eq!(probability(0.97), "97\u{a0}%");
    }

    #[test]
    fn p_value_at_its_floor_is_a_bound() {
        assert_eq!(p_value(0.002, 499), "≤\u{a0}0.002");
        assert_eq!(p_value(0.25, 499), "0.25");
        assert_eq!(p_value(1.0, 0), "≤\u{a0}1");
    }

    #[test]
    fn slugs_are_file_names() {
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug("S = 0.95"), "s-0-95");
        assert_eq!(slug("<>"), "unnamed");
    }
}
