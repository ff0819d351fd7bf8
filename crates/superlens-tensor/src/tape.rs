//! [`Tape`]: reverse-mode differentiation of what was computed on it.

use crate::{Real, Tensor};
use std::ops::Index;

/// A value on a [`Tape`]. It means nothing on another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(u32);

/// Records operations as they are computed, and differentiates them in reverse.
///
/// Every operation is a method that takes and returns [`Var`]s; they live in one small file per family under
/// `ops/`. An operation panics with the shapes when they don't fit.
///
/// ```
/// use superlens_tensor::{Tape, Tensor};
///
/// let mut tape = Tape::<f64>::new();
/// let x = tape.input(Tensor::new(&[3], vec![-1.0, 2.0, 3.0]));
/// let y = tape.relu(x);
/// let y = tape.square(y);
/// let loss = tape.sum(y);
/// assert_eq!(tape.value(loss).item(), 13.0);
/// let grads = tape.backward(loss);
/// assert_eq!(grads[x].data(), [0.0, 4.0, 6.0]);
/// ```
pub struct Tape<R> {
    nodes: Vec<Node<R>>,
}

struct Node<R> {
    value: Tensor<R>,
    /// False for constants and what is made of constants alone.
    wants_grad: bool,
    backward: Option<Backward<R>>,
}

type Backward<R> = Box<dyn Fn(&mut Pass<R>) + Send + Sync>;

impl<R: Real> Default for Tape<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Real> Tape<R> {
    pub fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// A value whose gradient is wanted.
    pub fn input(&mut self, value: Tensor<R>) -> Var {
        self.node(value, true, None)
    }

    /// A value whose gradient is not wanted; nothing is spent on it.
    pub fn constant(&mut self, value: Tensor<R>) -> Var {
        self.node(value, false, None)
    }

    pub fn value(&self, v: Var) -> &Tensor<R> {
        &self.nodes[v.0 as usize].value
    }

    pub fn shape(&self, v: Var) -> &[usize] {
        self.value(v).shape()
    }

    /// Records `value`, computed from `parents`; `backward` adds to the gradient of each parent.
    pub(crate) fn push(
        &mut self,
        parents: &[Var],
        value: Tensor<R>,
        backward: impl Fn(&mut Pass<R>) + Send + Sync + 'static,
    ) -> Var {
        let wants_grad = parents.iter().any(|p| self.nodes[p.0 as usize].wants_grad);
        self.node(value, wants_grad, wants_grad.then(|| Box::new(backward) as Backward<R>))
    }

    fn node(&mut self, value: Tensor<R>, wants_grad: bool, backward: Option<Backward<R>>) -> Var {
        self.nodes.push(Node { value, wants_grad, backward });
        Var((self.nodes.len() - 1) as u32)
    }

    /// The gradient of `loss` with respect to every value it was computed from.
    ///
    /// Panics with the shape if `loss` is not a single number.
    pub fn backward(&self, loss: Var) -> Gradients<R> {
        let shape = self.shape(loss);
        assert_eq!(self.value(loss).data().len(), 1, "the gradient of a {shape:?} tensor, not of a single number");
        let mut grads: Vec<Option<Tensor<R>>> = self.nodes.iter().map(|_| None).collect();
        grads[loss.0 as usize] = Some(Tensor::new(shape, vec![R::ONE]));
        for i in (0..=loss.0 as usize).rev() {
            let node = &self.nodes[i];
            // The parents of a value come before it, so its own gradient is complete, and is not touched here.
            let (parents, own) = grads.split_at_mut(i);
            if let (Some(backward), Some(dy)) = (&node.backward, &own[0]) {
                backward(&mut Pass { tape: self, y: &node.value, dy, grads: parents });
            }
        }
        // What the loss does not depend on has a gradient as well: zero.
        for (grad, node) in grads.iter_mut().zip(&self.nodes) {
            if grad.is_none() && node.wants_grad {
                *grad = Some(Tensor::zeros(node.value.shape()));
            }
        }
        Gradients { grads }
    }
}

/// What the backward function of an operation sees.
pub(crate) struct Pass<'a, R> {
    tape: &'a Tape<R>,
    /// The operation's result.
    pub y: &'a Tensor<R>,
    /// The gradient of the loss with respect to it.
    pub dy: &'a Tensor<R>,
    grads: &'a mut [Option<Tensor<R>>],
}

impl<'a, R: Real> Pass<'a, R> {
    pub fn value(&self, v: Var) -> &'a Tensor<R> {
        self.tape.value(v)
    }

    /// Adds `grad()` to the gradient of `v`; it is not even computed if `v` is a constant.
    pub fn add(&mut self, v: Var, grad: impl FnOnce() -> Tensor<R>) {
        let i = v.0 as usize;
        if !self.tape.nodes[i].wants_grad {
            return;
        }
        let grad = grad();
        assert_eq!(grad.shape(), self.tape.shape(v), "a gradient of {:?} for {:?}", grad.shape(), self.tape.shape(v));
        match &mut self.grads[i] {
            Some(sum) => sum.zip_mut(&grad, |a, b| a + b),
            none => *none = Some(grad),
        }
    }
}

/// Gradients by [`Var`]: `grads[x]` has the shape of `x`. Panics for a constant.
pub struct Gradients<R> {
    grads: Vec<Option<Tensor<R>>>,
}

impl<R> Index<Var> for Gradients<R> {
    type Output = Tensor<R>;

    fn index(&self, v: Var) -> &Tensor<R> {
        self.grads[v.0 as usize].as_ref().expect("a constant has no gradient")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_used_twice_gets_both_gradients_and_an_unused_one_gets_zero() {
        let mut tape = Tape::<f64>::new();
        let x = tape.input(Tensor::scalar(3.0));
        let unused = tape.input(Tensor::zeros(&[2]));
        let y = tape.mul(x, x);
        let y = tape.add(y, x);
        let grads = tape.backward(y);
        assert_eq!(grads[x].item(), 7.0);
        assert_eq!(grads[unused].data(), [0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "a constant has no gradient")]
    fn constants_have_no_gradient() {
        let mut tape = Tape::<f32>::new();
        let (x, c) = (tape.input(Tensor::scalar(3.0)), tape.constant(Tensor::scalar(2.0)));
        let y = tape.mul(x, c);
        let _ = &tape.backward(y)[c];
    }

    #[test]
    #[should_panic(expected = "[2, 2]")]
    fn only_a_number_has_a_gradient() {
        let mut tape = Tape::<f32>::new();
        let x = tape.input(Tensor::zeros(&[2, 2]));
        tape.backward(x);
    }
}
