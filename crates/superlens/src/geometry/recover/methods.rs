//! The list of methods, and recovery of many rows in blocks.

use super::{Amp, BasisPursuit, CoSaMp, Dictionary, Fista, Lasso, Omp, Recovery, Sparse};
use std::ops::ControlFlow;
use superlens_tensor::Mat;

/// Numbers in the `[rows, n]` matrix of a block (16 MiB); at least [`FEWEST`] rows.
const BLOCK: usize = 1 << 22;
const FEWEST: usize = 64;

/// What a method is told.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choice {
    /// Atoms a row, of methods that count.
    pub k: usize,
    /// Weight of the absolute coefficients, of methods with a penalty.
    pub lambda: f32,
    pub non_negative: bool,
}

/// What a method must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Count,
    Penalty,
    Nothing,
}

/// One entry of [`METHODS`].
#[derive(Clone, Copy, Debug)]
pub struct Method {
    pub name: &'static str,
    pub about: &'static str,
    pub needs: Needs,
    /// Whether it looks at the Gram matrix. Those that move whole vectors do not, and for one row it takes longer to make than they run.
    pub gram: bool,
    build: fn(&Choice, &Dictionary) -> Box<dyn Recovery>,
}

/// Every method that can be asked for by name.
#[rustfmt::skip]
pub const METHODS: &[Method] = &[
    Method { name: "omp", about: "orthogonal matching pursuit, k atoms a row", needs: Needs::Count, gram: true, build: |c, _| Box::new(Omp { k: c.k, non_negative: c.non_negative }) },
    Method { name: "cosamp", about: "compressive sampling matching pursuit, k atoms a row", needs: Needs::Count, gram: true, build: |c, _| Box::new(CoSaMp { k: c.k, non_negative: c.non_negative }) },
    Method { name: "lasso", about: "the LASSO by coordinate descent on the atoms that matter", needs: Needs::Penalty, gram: true, build: |c, _| Box::new(Lasso { non_negative: c.non_negative, ..Lasso::new(c.lambda) }) },
    Method { name: "fista", about: "the LASSO by accelerated steps on whole vectors", needs: Needs::Penalty, gram: false, build: |c, _| Box::new(Fista { non_negative: c.non_negative, ..Fista::new(c.lambda) }) },
    Method { name: "basis_pursuit", about: "least absolute sum that explains the row exactly", needs: Needs::Nothing, gram: true, build: |c, _| Box::new(BasisPursuit { non_negative: c.non_negative }) },
    Method { name: "amp", about: "approximate message passing, for random dictionaries", needs: Needs::Nothing, gram: false, build: |c, d| Box::new(Amp::tuned(d, c.non_negative)) },
];

impl Method {
    /// The method of this name, or one line with those that there are.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn find(name: &str) -> Result<&'static Method, String> {
        let names = || METHODS.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
        METHODS.iter().find(|m| m.name == name).ok_or_else(|| format!("no method `{name}`; there are {}", names()))
    }

    pub fn build(&self, choice: &Choice, dictionary: &Dictionary) -> Box<dyn Recovery> {
        (self.build)(choice, dictionary)
    }
}

/// [`Recovery::recover`] in blocks of rows, so that no `[rows, n]` matrix is ever whole. `watch` is told the share done and may break;
/// then there is no answer.
pub fn recover_in_blocks(
    method: &dyn Recovery,
    dictionary: &Dictionary,
    x: &Mat,
    watch: &mut dyn FnMut(f64) -> ControlFlow<()>,
) -> Option<Vec<Sparse>> {
    let height = (BLOCK / dictionary.n().max(1)).max(FEWEST);
    let mut found = Vec::with_capacity(x.rows());
    for from in (0..x.rows()).step_by(height) {
        let to = (from + height).min(x.rows());
        if to - from == x.rows() {
            found = method.recover(dictionary, x);
        } else {
            let block = Mat::from_vec(to - from, x.cols(), x.data()[from * x.cols()..to * x.cols()].to_vec());
            found.extend(method.recover(dictionary, &block));
        }
        if watch(to as f64 / x.rows() as f64).is_break() {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::planted::planted;
    use super::super::{recovered, refit, unit_rows};
    use super::*;
    use superlens_tensor::Rng;

    /// Every method of the list finds easy rows, in blocks as at once, and is called what it calls itself.
    #[test]
    fn every_method_finds_planted_rows() {
        let mut rng = Rng::new(7);
        let dictionary = Dictionary::new(&unit_rows(BLOCK / FEWEST / 256, 100, &mut rng));
        for non_negative in [false, true] {
            let (x, truth) = planted(&dictionary, 90, 6, non_negative, &mut rng);
            let choice = Choice { k: 6, lambda: 0.05, non_negative };
            for entry in METHODS {
                let method = Method::find(entry.name).unwrap().build(&choice, &dictionary);
                assert_eq!(method.name(), entry.name);
                let found = recover_in_blocks(&*method, &dictionary, &x, &mut |_| ControlFlow::Continue(())).unwrap();
                let refitted = refit(&dictionary, &x, &found, non_negative);
                let found = if entry.needs == Needs::Penalty { refitted } else { found };
                let won = found.iter().zip(&truth).filter(|(f, t)| recovered(f, t)).count();
                assert!(won >= 88, "{}: {won} of 90", entry.name);
            }
        }
        assert!(Method::find("omq").unwrap_err().contains("omp, cosamp"));
    }

    #[test]
    fn a_block_is_cut_and_can_be_stopped() {
        let mut rng = Rng::new(8);
        let dictionary = Dictionary::new(&unit_rows(3000, 16, &mut rng));
        let height = BLOCK / 3000;
        let (x, _) = planted(&dictionary, height + 3, 2, false, &mut rng);
        let omp = Omp { k: 2, non_negative: false };
        let mut told = Vec::new();
        let found = recover_in_blocks(&omp, &dictionary, &x, &mut |share| {
            told.push(share);
            ControlFlow::Continue(())
        });
        assert_eq!(found.unwrap(), omp.recover(&dictionary, &x));
        assert!(told.len() == 2 && told[1] == 1.0, "{told:?}");
        assert!(recover_in_blocks(&omp, &dictionary, &x, &mut |_| ControlFlow::Break(())).is_none());
    }
}
