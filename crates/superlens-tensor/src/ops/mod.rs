//! The operations of a [`Tape`](crate::Tape), one file per family.
//!
//! **To add one**, write a method of `impl<R: Real> Tape<R>` in the file of its family: it computes its value
//! and calls `push` with a closure that adds to the gradient of each parent. Then add a line with a small
//! example to that file's `cases()`. The tests here differentiate every case numerically, and fail if an
//! operation has none.

// Declared before the modules that use it. Twice the same closure, once for each scalar.
#[cfg(test)]
macro_rules! case {
    ($name:ident, [$($input:expr),*], |$tape:ident, $x:ident| $body:expr) => {
        $crate::ops::tests::Case {
            name: stringify!($name),
            inputs: vec![$($input),*],
            in_f64: |$tape, $x| $body,
            in_f32: |$tape, $x| $body,
        }
    };
}

mod arithmetic;
mod embedding;
mod mask;
mod matmul;
mod norm;
mod pointwise;
mod reduce;
mod shape;
mod softmax;

#[cfg(test)]
pub(crate) mod tests {
    use crate::gradcheck::{check_tape, relative_error};
    use crate::{Real, Rng, Tape, Tensor, Var};
    use std::collections::BTreeSet;

    /// An operation on small inputs, as a function that can be differentiated in both precisions.
    pub struct Case {
        pub name: &'static str,
        pub inputs: Vec<Input>,
        pub in_f64: fn(&mut Tape<f64>, &[Var]) -> Var,
        pub in_f32: fn(&mut Tape<f32>, &[Var]) -> Var,
    }

    pub struct Input {
        shape: Vec<usize>,
        positive: bool,
    }

    /// Normal numbers, moved 0.1 away from zero, where some functions have a kink.
    pub fn real(shape: &[usize]) -> Input {
        Input { shape: shape.to_vec(), positive: false }
    }

    /// Numbers above 0.1.
    pub fn positive(shape: &[usize]) -> Input {
        Input { shape: shape.to_vec(), positive: true }
    }

    impl Case {
        /// Inputs that are the same in both precisions.
        fn sample(&self) -> Vec<Tensor<f64>> {
            let mut rng = Rng::new(0).fork(self.name);
            let mut entry = |positive| {
                let z = rng.normal();
                f64::from(if positive { z.abs() + 0.1 } else { z + 0.1f32.copysign(z) })
            };
            self.inputs.iter().map(|i| Tensor::from_fn(&i.shape, |_| entry(i.positive))).collect()
        }
    }

    fn all() -> Vec<Case> {
        let families = [
            super::arithmetic::cases(),
            super::embedding::cases(),
            super::mask::cases(),
            super::matmul::cases(),
            super::norm::cases(),
            super::pointwise::cases(),
            super::reduce::cases(),
            super::shape::cases(),
            super::softmax::cases(),
        ];
        families.into_iter().flatten().collect()
    }

    /// The gradients of `Σ cᵢ yᵢ` for fixed random `c`, where `y` is what `f` computes.
    fn gradients<R: Real>(inputs: &[Tensor<f64>], f: fn(&mut Tape<R>, &[Var]) -> Var) -> Vec<Tensor<R>> {
        let mut tape = Tape::new();
        let vars: Vec<Var> = inputs.iter().map(|x| tape.input(x.cast())).collect();
        let y = f(&mut tape, &vars);
        let loss = weighted_sum(&mut tape, y);
        let grads = tape.backward(loss);
        vars.iter().map(|&v| grads[v].clone()).collect()
    }

    fn weighted_sum<R: Real>(tape: &mut Tape<R>, y: Var) -> Var {
        let mut rng = Rng::new(1).fork("weights");
        let weights = Tensor::from_fn(tape.shape(y), |_| R::of(f64::from(rng.normal())));
        let weights = tape.constant(weights);
        let y = tape.mul(y, weights);
        tape.sum(y)
    }

    #[test]
    fn every_gradient_agrees_with_finite_differences() {
        for case in all() {
            let inputs = case.sample();
            let worst = check_tape(&inputs, &mut |tape, x| {
                let y = (case.in_f64)(tape, x);
                weighted_sum(tape, y)
            });
            assert!(worst < 1e-6, "{}: {worst:.1e}", case.name);
        }
    }

    /// Differences of values in `f32` resolve no gradient to 1e-3, so its gradients are held against those in
    /// `f64`.
    #[test]
    fn every_gradient_in_f32_agrees_with_f64() {
        for case in all() {
            let inputs = case.sample();
            let (single, double) = (gradients(&inputs, case.in_f32), gradients(&inputs, case.in_f64));
            for (s, d) in single.iter().zip(&double) {
                let worst = relative_error(s.cast().data(), d.data());
                assert!(worst < 1e-3, "{}: {worst:.1e}", case.name);
            }
        }
    }

    /// The names of the public methods in the files beside this one, found in their text.
    #[test]
    fn every_operation_has_a_case() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops");
        let mut written = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() != "mod.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                written.extend(text.lines().filter_map(|l| {
                    let rest = l.trim_start().strip_prefix("pub fn ")?;
                    Some(rest.split(['(', '<']).next()?.to_string())
                }));
            }
        }
        let checked: BTreeSet<String> = all().iter().map(|c| c.name.to_string()).collect();
        assert!(written.len() > 30, "{written:?}");
        assert_eq!(written, checked);
    }

    #[test]
    fn the_number_of_threads_changes_no_byte() {
        // Large enough that every kind of work is cut: gemm panels, long inner products, batches, rows, chunks.
        fn block(tape: &mut Tape<f32>, x: &[Var]) -> Var {
            let rows = tape.embedding(x[0], &(0..600).map(|i| i * 7 % 50).collect::<Vec<_>>());
            let hidden = tape.linear(rows, x[1], x[2]);
            let hidden = tape.gelu(hidden);
            let normed = tape.layer_norm(hidden, x[3], x[4], 1e-5);
            let heads = tape.reshape(normed, &[4, 150, 40]);
            let scores = tape.batch_matmul_nt(heads, heads);
            let scores = tape.causal_mask(scores);
            let pattern = tape.softmax(scores);
            let mixed = tape.batch_matmul(pattern, heads);
            let flat = tape.reshape(mixed, &[600, 40]);
            let logits = tape.matmul_nt(flat, x[0]);
            tape.cross_entropy(logits, &(0..600).map(|i| i % 50).collect::<Vec<_>>())
        }
        let mut rng = Rng::new(2).fork("threads");
        let inputs: Vec<Tensor<f64>> = [&[50, 40][..], &[40, 40], &[40], &[40], &[40]]
            .map(|shape| Tensor::from_fn(shape, |_| f64::from(rng.normal())))
            .to_vec();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| gradients(&inputs, block))
        };
        assert_eq!(run(1), run(3));
    }
}
