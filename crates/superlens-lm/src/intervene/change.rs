//! [`Change`]: what becomes of coefficients.

use superlens_tensor::{Mat, Rng};

use super::{Handle, Intervention, Token};

/// What becomes of the coefficients of a row.
#[derive(Clone, Debug)]
pub enum Change {
    /// Zero.
    Zero,
    /// These, one for each coefficient: with means over a text, mean ablation.
    Fill(Vec<f32>),
    /// Those of a row of these, drawn for each token by itself (resample ablation: Chan et al. 2022, causal scrubbing).
    Draw { from: Mat, rng: Box<Rng> },
    /// So many times themselves.
    Scale(f32),
    /// So much more each: steering.
    Add(f32),
    /// Those at the same position of another sequence; positions that it lacks stay as they are (activation patching: Vig et al. 2020, arXiv
    /// 2004.12265; Meng et al. 2022, arXiv 2202.05262).
    Patch(Mat),
}

impl Change {
    fn row(&self, token: Token, row: &mut [f32]) {
        match self {
            Change::Zero => row.fill(0.0),
            Change::Fill(with) => row.copy_from_slice(with),
            Change::Draw { from, rng } => {
                let drawn = rng.fork_index(token.number).below(from.rows());
                row.copy_from_slice(from.row(drawn));
            }
            Change::Scale(by) => row.iter_mut().for_each(|c| *c *= by),
            Change::Add(more) => row.iter_mut().for_each(|c| *c += more),
            Change::Patch(from) if token.position < from.rows() => row.copy_from_slice(from.row(token.position)),
            Change::Patch(_) => {}
        }
    }
}

/// A change of what a handle holds.
pub struct Turned<'a> {
    pub handle: &'a dyn Handle,
    pub change: Change,
}

impl Intervention for Turned<'_> {
    fn apply(&self, tokens: &[Token], x: &mut Mat) {
        let before = self.handle.read(x);
        let mut after = before.clone();
        tokens.iter().enumerate().for_each(|(i, &token)| self.change.row(token, after.row_mut(i)));
        self.handle.write(&before, &after, x);
    }
}
