//! [`Tied`] with few hidden dimensions: some rows at a time stay in registers from inputs to gradients.
//!
//! What `tied` does as four products with passes between them, each over all rows, is done here in three walks over the
//! variables for one strip of rows. Hidden layer and its gradient never leave the registers, errors are never stored.

use super::lanes::{Group, Lanes, STRIP};
use super::tied::{Response, Tied};
use pulp::{Simd, WithSimd};

/// Hidden dimensions at most.
pub const MOST: usize = 8;

/// Sums over rows, one in each SIMD lane: of every weight's gradient and every bias's.
#[derive(Clone, Debug, Default)]
pub struct Sums(Vec<Group>);

impl Sums {
    pub fn new(vars: usize, hidden: usize) -> Self {
        Sums(if hidden <= MOST { vec![Group::ZERO; vars * (hidden + 1)] } else { Vec::new() })
    }
}

/// [`Tied::gradient`] for 1 to [`MOST`] hidden dimensions.
pub fn gradient(tied: &Tied, x: &Lanes, groups: usize, sums: &mut Sums, dw: &mut [f32], db: &mut [f32]) -> f64 {
    let (vars, hidden) = (x.vars(), tied.w.len() / x.vars());
    assert!((1..=MOST).contains(&hidden), "{hidden} hidden dimensions, at most {MOST}");
    assert!(
        tied.w.len() == vars * hidden && tied.b.len() == vars && tied.cost.len() == vars,
        "{} weights, {} biases and {} costs of {vars} variables",
        tied.w.len(),
        tied.b.len(),
        tied.cost.len()
    );
    assert!(dw.len() == tied.w.len() && db.len() == vars && sums.0.len() == vars * (hidden + 1), "room for gradients");
    assert!(groups <= x.groups(), "{groups} groups of {}", x.groups());
    let strips = groups.div_ceil(STRIP);
    let loss = pulp::Arch::new().dispatch(Narrow { tied, x, hidden, strips, sums: &mut sums.0, dw, db });
    // What the last strip has beyond the groups is rows of zeros.
    let beyond = (strips * STRIP - groups) * super::lanes::GROUP;
    loss + tied.of_empty_rows(-(beyond as f64), db)
}

struct Narrow<'a> {
    tied: &'a Tied<'a>,
    x: &'a Lanes,
    hidden: usize,
    strips: usize,
    sums: &'a mut [Group],
    dw: &'a mut [f32],
    db: &'a mut [f32],
}

impl WithSimd for Narrow<'_> {
    type Output = f64;

    /// As many vectors of rows at a time as leave hidden layer and gradient in the registers.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let many = S::F32_LANES >= 16;
        match (self.hidden, many) {
            (1, true) => self.run::<S, 1, 4>(simd),
            (2, true) => self.run::<S, 2, 4>(simd),
            (3, true) => self.run::<S, 3, 2>(simd),
            (4, true) => self.run::<S, 4, 2>(simd),
            (5, true) => self.run::<S, 5, 2>(simd),
            (6, true) => self.run::<S, 6, 2>(simd),
            (7, true) => self.run::<S, 7, 1>(simd),
            (_, true) => self.run::<S, 8, 1>(simd),
            (1, false) => self.run::<S, 1, 2>(simd),
            (2, false) => self.run::<S, 2, 2>(simd),
            (3, false) => self.run::<S, 3, 1>(simd),
            (4, false) => self.run::<S, 4, 1>(simd),
            (5, false) => self.run::<S, 5, 1>(simd),
            (6, false) => self.run::<S, 6, 1>(simd),
            (7, false) => self.run::<S, 7, 1>(simd),
            (_, false) => self.run::<S, 8, 1>(simd),
        }
    }
}

impl Narrow<'_> {
    #[inline(always)]
    fn run<S: Simd, const M: usize, const P: usize>(self, simd: S) -> f64 {
        match self.tied.readout {
            Response::Relu => self.all::<S, M, P, true>(simd),
            Response::Linear => self.all::<S, M, P, false>(simd),
        }
    }

    #[inline(always)]
    fn all<S: Simd, const M: usize, const P: usize, const RELU: bool>(self, simd: S) -> f64 {
        let Narrow { tied, x, strips, sums, dw, db, .. } = self;
        let sums = &mut S::as_mut_simd_f32s(Group::flat_mut(sums)).0[..x.vars() * (M + 1)];
        sums.fill(simd.splat_f32s(0.0));
        let mut loss = Loss { squares: [simd.splat_f32s(0.0); P], l1: simd.splat_f32s(0.0) };
        for strip in 0..strips {
            let parts = STRIP * super::lanes::GROUP / (P * S::F32_LANES);
            for part in 0..parts {
                let at = (strip * parts + part) * P;
                let strip = Strip::<M, P, RELU> { tied, x, on: ((1 << STRIP) - 1) << (strip * STRIP), at };
                strip.run(simd, sums, &mut loss);
            }
        }
        for ((sums, dw), db) in sums.chunks_exact(M + 1).zip(dw.chunks_exact_mut(M)).zip(db) {
            *db += simd.reduce_sum_f32s(sums[M]);
            for (dw, sum) in dw.iter_mut().zip(sums) {
                *dw += simd.reduce_sum_f32s(*sum);
            }
        }
        let squares: f64 = loss.squares.iter().map(|s| f64::from(simd.reduce_sum_f32s(*s))).sum();
        // Each square was weighed with twice its cost.
        0.5 * squares + f64::from(tied.l1) * f64::from(simd.reduce_sum_f32s(loss.l1))
    }
}

/// Sums of `2 cost error²` and of `|h|`.
struct Loss<V, const P: usize> {
    squares: [V; P],
    l1: V,
}

/// `P` vectors of rows from vector `at` on, which lie in the groups `on`.
struct Strip<'a, const M: usize, const P: usize, const RELU: bool> {
    tied: &'a Tied<'a>,
    x: &'a Lanes,
    on: u64,
    at: usize,
}

// Loops by index over arrays of fixed size, so that the compiler keeps them in registers.
impl<const M: usize, const P: usize, const RELU: bool> Strip<'_, M, P, RELU> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, sums: &mut [S::f32s], loss: &mut Loss<S::f32s, P>) {
        let mut h = self.hidden(simd);
        if self.tied.hidden == Response::Relu {
            let zero = simd.splat_f32s(0.0);
            for k in 0..M {
                for p in 0..P {
                    h[k][p] = simd.max_f32s(h[k][p], zero);
                }
            }
        }
        let mut dh = self.errors(simd, h, sums, loss);
        if self.tied.hidden == Response::Relu || self.tied.l1 != 0.0 {
            for k in 0..M {
                for p in 0..P {
                    loss.l1 = simd.add_f32s(loss.l1, simd.abs_f32s(h[k][p]));
                    dh[k][p] = self.through_hidden(simd, h[k][p], dh[k][p]);
                }
            }
        }
        let rows = self.x.rows().zip(sums.chunks_exact_mut(M + 1));
        for ((x, on), sums) in rows {
            if on & self.on != 0 {
                let x = self.inputs::<S>(x);
                for k in 0..M {
                    let mut sum = sums[k];
                    for p in 0..P {
                        sum = simd.mul_add_e_f32s(x[p], dh[k][p], sum);
                    }
                    sums[k] = sum;
                }
            }
        }
    }

    #[inline(always)]
    fn inputs<S: Simd>(&self, row: &[Group]) -> [S::f32s; P] {
        let vectors = &S::as_simd_f32s(Group::flat(row)).0[self.at..][..P];
        std::array::from_fn(|p| vectors[p])
    }

    /// `x W`.
    #[inline(always)]
    fn hidden<S: Simd>(&self, simd: S) -> [[S::f32s; P]; M] {
        let mut h = [[simd.splat_f32s(0.0); P]; M];
        for ((x, on), w) in self.x.rows().zip(self.tied.w.chunks_exact(M)) {
            if on & self.on != 0 {
                let x = self.inputs::<S>(x);
                for k in 0..M {
                    let w = simd.splat_f32s(w[k]);
                    for p in 0..P {
                        h[k][p] = simd.mul_add_e_f32s(w, x[p], h[k][p]);
                    }
                }
            }
        }
        h
    }

    /// Read-out and errors, variable after variable: adds them to the loss and to the sums, and returns the gradient
    /// with respect to the hidden layer's response.
    #[inline(always)]
    fn errors<S: Simd>(
        &self,
        simd: S,
        h: [[S::f32s; P]; M],
        sums: &mut [S::f32s],
        loss: &mut Loss<S::f32s, P>,
    ) -> [[S::f32s; P]; M] {
        let zero = simd.splat_f32s(0.0);
        let mut dh = [[zero; P]; M];
        let mut squares = loss.squares;
        let tied = self.tied;
        let each = tied.w.chunks_exact(M).zip(tied.b).zip(tied.cost);
        for ((((w, &b), &cost), (x, _)), sums) in each.zip(self.x.rows()).zip(sums.chunks_exact_mut(M + 1)) {
            let x = self.inputs::<S>(x);
            let twice = simd.splat_f32s(2.0 * cost);
            let mut d = [simd.splat_f32s(b); P];
            for k in 0..M {
                for p in 0..P {
                    d[p] = simd.mul_add_e_f32s(simd.splat_f32s(w[k]), h[k][p], d[p]);
                }
            }
            let mut sum = sums[M];
            for p in 0..P {
                let recon = if RELU { simd.max_f32s(d[p], zero) } else { d[p] };
                let error = simd.sub_f32s(recon, x[p]);
                let weighed = simd.mul_f32s(twice, error);
                squares[p] = simd.mul_add_e_f32s(weighed, error, squares[p]);
                let open = simd.greater_than_f32s(d[p], zero);
                d[p] = if RELU { simd.select_f32s(open, weighed, zero) } else { weighed };
                sum = simd.add_f32s(sum, d[p]);
            }
            sums[M] = sum;
            for k in 0..M {
                let mut sum = sums[k];
                for p in 0..P {
                    sum = simd.mul_add_e_f32s(d[p], h[k][p], sum);
                    dh[k][p] = simd.mul_add_e_f32s(simd.splat_f32s(w[k]), d[p], dh[k][p]);
                }
                sums[k] = sum;
            }
        }
        loss.squares = squares;
        dh
    }

    /// `(dh + l1 sign h) f'(h)`.
    #[inline(always)]
    fn through_hidden<S: Simd>(&self, simd: S, h: S::f32s, dh: S::f32s) -> S::f32s {
        let (zero, l1) = (simd.splat_f32s(0.0), simd.splat_f32s(self.tied.l1));
        let positive = simd.greater_than_f32s(h, zero);
        let up = simd.select_f32s(positive, l1, zero);
        let down = simd.select_f32s(simd.less_than_f32s(h, zero), l1, zero);
        let d = simd.add_f32s(dh, simd.sub_f32s(up, down));
        if self.tied.hidden == Response::Relu { simd.select_f32s(positive, d, zero) } else { d }
    }
}
