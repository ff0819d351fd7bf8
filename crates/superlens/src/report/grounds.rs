//! What a hypothesis was judged on, which decides what a report may show of it.

use crate::diagnose::{Diagnosis, Hypothesis};

/// Fewer draws than this cannot give a p-value of 0.05.
const DRAWS_OF_A_TEST: usize = 19;

/// How the answer to a hypothesis came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The statistic lies somewhere in its null's distribution.
    Draws,
    /// The statistic is held against one number: a rule, or a null that was too dear to draw often. There is no p-value.
    Rule,
    /// There is no statistic: what came before left nothing to test.
    Nothing,
}

impl Grounds {
    pub fn of(h: &Hypothesis) -> Self {
        match h.null_draws {
            DRAWS_OF_A_TEST.. => Grounds::Draws,
            0 if h.statistic == 0.0 && h.null_high == 0.0 => Grounds::Nothing,
            _ => Grounds::Rule,
        }
    }
}

/// Why there is no count of features, in a few words: not looked for is not the same as not there.
pub fn no_features(diagnosis: &Diagnosis) -> &'static str {
    let too_few_rows = diagnosis.hypotheses.iter().any(|h| h.id == "adequacy" && !h.supports);
    if too_few_rows { "too few rows to look for features" } else { "no sparse features stand out" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypothesis(statistic: f64, null_high: f64, null_draws: usize) -> Hypothesis {
        Hypothesis {
            id: String::new(),
            measures: String::new(),
            statistic,
            null_mean: null_high,
            null_high,
            null_draws,
            p_value: 1.0,
            supports: false,
            says: String::new(),
            null: String::new(),
            draws: Vec::new(),
        }
    }

    #[test]
    fn a_p_value_needs_draws_and_a_picture_needs_numbers() {
        assert_eq!(Grounds::of(&hypothesis(2.0, 1.0, 199)), Grounds::Draws);
        assert_eq!(Grounds::of(&hypothesis(0.0, 0.0, 19)), Grounds::Draws, "a null that is zero throughout");
        assert_eq!(Grounds::of(&hypothesis(60.0, 250.0, 0)), Grounds::Rule);
        assert_eq!(Grounds::of(&hypothesis(60.0, 0.0, 1)), Grounds::Rule);
        assert_eq!(Grounds::of(&hypothesis(0.0, 0.0, 0)), Grounds::Nothing);
    }
}
