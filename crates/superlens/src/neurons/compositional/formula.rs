//! [`Formula`]: concepts put together by AND, OR and NOT.

use super::Concepts;
use super::mask::Mask;

/// NOT stands before concepts only; by De Morgan's laws that leaves nothing out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formula {
    /// A column of the concepts, or where it does not hold.
    Literal {
        concept: usize,
        negated: bool,
    },
    And(Box<Formula>, Box<Formula>),
    Or(Box<Formula>, Box<Formula>),
}

impl Formula {
    pub(super) fn join(a: Formula, b: Formula, and: bool) -> Formula {
        let (a, b) = (Box::new(a), Box::new(b));
        if and { Formula::And(a, b) } else { Formula::Or(a, b) }
    }

    /// How often a concept stands in it.
    pub fn length(&self) -> usize {
        match self {
            Formula::Literal { .. } => 1,
            Formula::And(a, b) | Formula::Or(a, b) => a.length() + b.length(),
        }
    }

    /// The rows in which it holds. Panics on a concept that isn't there.
    pub fn mask(&self, concepts: &Concepts) -> Mask {
        match self {
            Formula::Literal { concept, negated } => concepts.literal(*concept, *negated).clone(),
            Formula::And(a, b) => a.mask(concepts).and(&b.mask(concepts)),
            Formula::Or(a, b) => a.mask(concepts).or(&b.mask(concepts)),
        }
    }

    /// With the names of the concepts: `(river OR lake) AND NOT night`.
    pub fn text(&self, names: &[String]) -> String {
        match self {
            Formula::Literal { concept, negated } => {
                format!("{}{}", if *negated { "NOT " } else { "" }, names[*concept])
            }
            Formula::And(a, b) => format!("{} AND {}", a.within(names, true), b.within(names, true)),
            Formula::Or(a, b) => format!("{} OR {}", a.within(names, false), b.within(names, false)),
        }
    }

    /// Its text inside an AND or an OR.
    fn within(&self, names: &[String], and: bool) -> String {
        match (self, and) {
            (Formula::Or(..), true) | (Formula::And(..), false) => format!("({})", self.text(names)),
            _ => self.text(names),
        }
    }

    /// What an OR joins, ORs within it taken apart.
    fn alternatives<'a>(&'a self, into: &mut Vec<&'a Formula>) {
        match self {
            Formula::Or(a, b) => {
                a.alternatives(into);
                b.alternatives(into);
            }
            other => into.push(other),
        }
    }

    /// Whether some OR in it joins what comes together no more than by chance.
    ///
    /// Alternatives are looked at in the rows in which everything holds that the OR is joined to by AND. Two are linked where the rows in which both
    /// hold are more than two standard deviations above what independent sets of their sizes share (the hypergeometric law). An OR is
    /// of unrelated things if its alternatives fall into several groups without a link.
    pub fn joins_unrelated(&self, concepts: &Concepts) -> bool {
        self.unrelated_within(&Mask::from_fn(concepts.rows(), |_| true), concepts)
    }

    fn unrelated_within(&self, context: &Mask, concepts: &Concepts) -> bool {
        match self {
            Formula::Literal { .. } => false,
            Formula::And(a, b) => {
                a.unrelated_within(&context.and(&b.mask(concepts)), concepts)
                    || b.unrelated_within(&context.and(&a.mask(concepts)), concepts)
            }
            Formula::Or(..) => {
                let mut alternatives = Vec::new();
                self.alternatives(&mut alternatives);
                let masks: Vec<Mask> = alternatives.iter().map(|f| f.mask(concepts).and(context)).collect();
                !all_linked(&masks, context) || alternatives.iter().any(|f| f.unrelated_within(context, concepts))
            }
        }
    }
}

/// Whether every mask is reached from the first by links.
fn all_linked(masks: &[Mask], context: &Mask) -> bool {
    let mut reached = vec![false; masks.len()];
    let mut open = vec![0];
    while let Some(i) = open.pop() {
        if !std::mem::replace(&mut reached[i], true) {
            open.extend((0..masks.len()).filter(|&j| !reached[j] && together(&masks[i], &masks[j], context)));
        }
    }
    reached.into_iter().all(|r| r)
}

/// Standard deviations above chance from which two concepts come together.
const LINK: f64 = 2.0;

/// Whether two sets within `context` share more rows than independent ones do.
fn together(a: &Mask, b: &Mask, context: &Mask) -> bool {
    let [n, in_a, in_b] = [context, a, b].map(|mask| mask.count() as f64);
    let both = a.overlap(b).both as f64;
    let expected = in_a * in_b / n.max(1.0);
    let variance = expected * (1.0 - in_a / n.max(1.0)) * (n - in_b) / (n - 1.0).max(1.0);
    both > expected + LINK * variance.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::{Mat, Rng};

    fn literal(concept: usize) -> Formula {
        Formula::Literal { concept, negated: false }
    }

    /// 0 and 1 come together, 2 comes alone, 3 is a coin.
    fn concepts() -> Concepts {
        let mut rng = Rng::new(5).fork("formula");
        let mut labels = Mat::zeros(2000, 4);
        for i in 0..2000 {
            let scene = rng.below(4);
            let coin = f32::from(rng.chance(0.5));
            let row = match scene {
                0 => [1.0, f32::from(rng.chance(0.7)), 0.0, coin],
                1 => [0.0, 0.0, 1.0, coin],
                _ => [0.0, f32::from(rng.chance(0.05)), 0.0, coin],
            };
            labels.data_mut()[4 * i..4 * i + 4].copy_from_slice(&row);
        }
        Concepts::new(&labels, ["bed", "pillow", "river", "night"].map(str::to_owned).into()).unwrap()
    }

    #[test]
    fn a_formula_is_written_with_the_brackets_that_it_needs() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).into();
        let or = Formula::join(literal(0), literal(1), false);
        let not_c = Formula::Literal { concept: 2, negated: true };
        let both = Formula::join(or.clone(), not_c, true);
        assert_eq!((both.text(&names).as_str(), both.length()), ("(a OR b) AND NOT c", 3));
        assert_eq!(Formula::join(or, literal(2), false).text(&names), "a OR b OR c");
    }

    #[test]
    fn an_or_of_what_comes_together_is_coherent_and_of_strangers_is_not() {
        let concepts = concepts();
        let or = |a, b| Formula::join(literal(a), literal(b), false);
        assert!(!or(0, 1).joins_unrelated(&concepts));
        assert!(or(0, 2).joins_unrelated(&concepts));
        // In a context that says nothing of either, and as alternatives of which one stands apart.
        assert!(!Formula::join(or(0, 1), literal(3), true).joins_unrelated(&concepts));
        assert!(Formula::join(literal(3), or(0, 2), true).joins_unrelated(&concepts));
        assert!(Formula::join(or(0, 1), literal(2), false).joins_unrelated(&concepts));
        // ANDs and NOTs refine.
        let refined = Formula::join(literal(1), Formula::Literal { concept: 3, negated: true }, true);
        assert!(!refined.joins_unrelated(&concepts));
    }
}
