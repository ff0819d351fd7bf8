//! [`Concepts`]: what formulas are made of.

use super::formula::Formula;
use super::mask::Mask;
use superlens_tensor::Mat;

/// Concepts with the rows in which each holds, out of columns of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Concepts {
    names: Vec<String>,
    /// Of each concept the rows in which it holds, then those in which it doesn't.
    literals: Vec<Mask>,
    rows: usize,
}

impl Concepts {
    /// Of labels `[rows, concepts]`, zeros and ones, with a name for each column.
    ///
    /// # Errors
    /// Another number of names than of columns, a label that is neither zero nor one, and labels without a column.
    pub fn new(labels: &Mat, names: Vec<String>) -> Result<Concepts, ConceptsError> {
        if names.len() != labels.cols() || names.is_empty() {
            return Err(ConceptsError::Names { names: names.len(), columns: labels.cols() });
        }
        if let Some(at) = labels.data().iter().position(|v| *v != 0.0 && *v != 1.0) {
            let (row, column) = (at / labels.cols(), at % labels.cols());
            return Err(ConceptsError::Label { row, column, found: labels.data()[at] });
        }
        let holds = |c: usize| Mask::from_fn(labels.rows(), |row| labels[(row, c)] == 1.0);
        let literals = (0..labels.cols()).map(holds).flat_map(|mask| [mask.clone(), mask.not()]).collect();
        Ok(Concepts { names, literals, rows: labels.rows() })
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there is one at least.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The rows in which a concept holds, or those in which it doesn't. Panics on a concept that isn't there.
    pub fn literal(&self, concept: usize, negated: bool) -> &Mask {
        &self.literals[2 * concept + usize::from(negated)]
    }

    /// Every concept, and NOT it after it.
    pub(super) fn literals(&self) -> impl ExactSizeIterator<Item = (Formula, &Mask)> {
        let formula = |i: usize| Formula::Literal { concept: i / 2, negated: i % 2 == 1 };
        self.literals.iter().enumerate().map(move |(i, mask)| (formula(i), mask))
    }
}

/// Labels that are no concepts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConceptsError {
    #[error("{names} names for {columns} columns of labels; a name is needed for each of at least one column")]
    Names { names: usize, columns: usize },
    #[error("row {row}, column {column}: expected 0 or 1, found {found}; a concept holds in a row or it doesn't")]
    Label { row: usize, column: usize, found: f32 },
}
