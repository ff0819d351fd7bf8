//! `memoriser`: a network that knows random labels by heart.

use super::{Cause, Origin, Sample, ToyModel, Truth, concepts, taped};
use superlens_tensor::train::{Objective, Params, TrainConfig};
use superlens_tensor::{Mat, Real, Rng, Tape, Tensor, Var};

/// Items are random addresses of signs, their labels coins: nothing can be learned but the list.
/// `y = ReLU(ReLU(x W1 + b1) W2 + b2) W3 + b3` is trained on the squared error to the labels, as signs, until each is right.
///
/// After Vardi et al. 2021, *On the Optimal Memorization Power of ReLU Neural Networks* (arXiv 2110.03187), for what is
/// possible; what training finds is not their construction. Its layer is the first hidden one.
#[derive(Clone, Debug)]
pub struct Memoriser {
    /// Which list.
    pub seed: u64,
    pub items: usize,
    /// Signs of an address.
    pub address: usize,
    /// Neurons of each of the two hidden layers.
    pub hidden: usize,
    /// Labels an item.
    pub labels: usize,
    pub training: TrainConfig,
}

impl Memoriser {
    /// `[items, address]`, signs; no two alike where there are enough addresses.
    pub fn addresses(&self) -> Mat {
        let mut rng = Rng::new(self.seed).fork("addresses");
        let mut seen = std::collections::BTreeSet::new();
        let mut x = Mat::zeros(self.items, self.address);
        for i in 0..self.items {
            for _ in 0..1000 {
                x.row_mut(i).iter_mut().for_each(|v| *v = if rng.chance(0.5) { 1.0 } else { -1.0 });
                if seen.insert(x.row(i).iter().map(|v| *v > 0.0).collect::<Vec<_>>()) {
                    break;
                }
            }
        }
        x
    }

    /// `[items, labels]`, signs.
    pub fn coins(&self) -> Mat {
        let mut rng = Rng::new(self.seed).fork("labels");
        Mat::from_fn(self.items, self.labels, |_, _| if rng.chance(0.5) { 1.0 } else { -1.0 })
    }

    /// `[rows, labels]`: what the network says.
    pub fn answers(&self, params: &Params, x: &Mat) -> Mat {
        taped::value(params, |tape, p| {
            let x = tape.constant(x.into());
            forward(tape, p, x)[2]
        })
    }

    /// `[rows, hidden]`: the layer.
    pub fn layer(&self, params: &Params, x: &Mat) -> Mat {
        taped::value(params, |tape, p| {
            let x = tape.constant(x.into());
            forward(tape, p, x)[0]
        })
    }

    /// Share of the labels whose sign is right.
    pub fn recall(&self, params: &Params) -> f64 {
        let (got, want) = (self.answers(params, &self.addresses()), self.coins());
        let right = got.data().iter().zip(want.data()).filter(|(g, w)| *g * *w > 0.0).count();
        right as f64 / want.data().len() as f64
    }

    fn init(&self, rng: &mut Rng) -> Params {
        let (d, h, k) = (self.address, self.hidden, self.labels);
        let blocks = vec![
            taped::block("w1", d, h, 2.0, rng),
            taped::row("b1", h, 0.0),
            taped::block("w2", h, h, 2.0, rng),
            taped::row("b2", h, 0.0),
            taped::block("w3", h, k, 1.0, rng),
            taped::row("b3", k, 0.0),
        ];
        Params { blocks }
    }
}

/// Both hidden layers and the answers.
fn forward<R: Real>(tape: &mut Tape<R>, p: &[Var], x: Var) -> [Var; 3] {
    let first = tape.linear(x, p[0], p[1]);
    let first = tape.relu(first);
    let second = tape.linear(first, p[2], p[3]);
    let second = tape.relu(second);
    let answers = tape.linear(second, p[4], p[5]);
    [first, second, answers]
}

/// The mean squared error.
fn error<R: Real>(tape: &mut Tape<R>, p: &[Var], x: &Tensor<R>, y: &Tensor<R>) -> Var {
    let (x, y) = (tape.constant(x.clone()), tape.constant(y.clone()));
    let [.., answers] = forward(tape, p, x);
    let off = tape.sub(answers, y);
    let off = tape.square(off);
    tape.mean(off)
}

struct ByHeart {
    model: Memoriser,
    x: Tensor<f32>,
    y: Tensor<f32>,
}

impl Objective for ByHeart {
    fn init(&self, rng: &mut Rng) -> Params {
        self.model.init(rng)
    }

    /// On the whole list: the step changes nothing.
    fn loss(&mut self, params: &Params, _step: u64, grad: &mut Params) -> f64 {
        taped::loss(params, grad, |tape, p| error(tape, p, &self.x, &self.y))
    }
}

impl ToyModel for Memoriser {
    fn name(&self) -> &'static str {
        "memoriser"
    }

    fn source(&self) -> &'static str {
        "random labels by heart; Vardi et al. 2021, On the Optimal Memorization Power of ReLU Neural Networks (arXiv 2110.03187)"
    }

    fn origin(&self, _stream: &Rng) -> Origin {
        let objective = ByHeart { model: self.clone(), x: (&self.addresses()).into(), y: (&self.coins()).into() };
        Origin::Trained(Box::new(objective), self.training.clone())
    }

    /// Rows are items, drawn at random; the features are their labels.
    fn sample(&self, params: &Params, rows: usize, stream: &Rng) -> Sample {
        let mut rng = stream.clone();
        let items: Vec<usize> = (0..rows).map(|_| rng.below(self.items)).collect();
        let x = self.addresses().select_rows(&items);
        Sample { features: self.coins().select_rows(&items), activations: self.layer(params, &x) }
    }

    /// Concepts are the labels and the digits of the address: nothing else is in the data.
    fn truth(&self, params: &Params) -> Truth {
        let (x, y) = (self.addresses(), self.coins());
        let known = Mat::from_fn(self.items, self.address + self.labels, |r, c| {
            if c < self.address { x[(r, c)] } else { y[(r, c - self.address)] }
        });
        concepts::truth(&known, &self.layer(params, &x), |_| Cause::Compositional)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::make;
    use crate::toy::tied::recipe;
    use crate::verdict::Verdict;
    use std::ops::ControlFlow;

    fn small() -> Memoriser {
        Memoriser { seed: 4, items: 40, address: 8, hidden: 24, labels: 1, training: recipe(400, 0.01) }
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let toy = Memoriser { hidden: 6, ..small() };
        let (x, y) = (Tensor::from(&toy.addresses()).cast::<f64>(), Tensor::from(&toy.coins()).cast::<f64>());
        taped::check_gradient(toy.init(&mut Rng::new(1)), |tape, p| error(tape, p, &x, &y));
    }

    #[test]
    fn a_list_is_learned_by_heart() {
        let toy = small();
        let made = make(&toy, &Rng::new(2), &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(toy.recall(&made.params), 1.0);
        assert_eq!(toy.truth(&made.params).verdict, Verdict::Compositional);
        // Another list can't be told from this one.
        let other = Memoriser { seed: 5, ..toy };
        assert!(other.recall(&made.params) < 0.8);
    }
}
