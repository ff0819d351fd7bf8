//! Loss and gradient of one hidden layer of ReLUs, fused over rows in lanes.
//!
//! `h = ReLU(x W1 + b1)`, `y = r(h W2 + b2)`, `loss = Σ_rows Σ_o cost_o (y_o − t_o)²`, with `W1 [vars, hidden]` and
//! `W2 [hidden, outs]`. Products skip groups of rows in which an input is off, a neuron silent or an output closed.

use super::lanes::{GROUP, Lanes, mix, outer};
use super::tied::Response;
use pulp::{Simd, WithSimd};

/// The weights, and what an error costs.
#[derive(Clone, Copy, Debug)]
pub struct Mlp<'a> {
    /// `[vars, hidden]`, row-major.
    pub w1: &'a [f32],
    /// `[hidden]`.
    pub b1: &'a [f32],
    /// `[hidden, outs]`, row-major.
    pub w2: &'a [f32],
    /// The same transposed, `[outs, hidden]`.
    pub w2t: &'a [f32],
    /// `[outs]`.
    pub b2: &'a [f32],
    /// Weight of the squared error of each output, `[outs]`.
    pub cost: &'a [f32],
    pub readout: Response,
}

/// Where the gradient is added to, shaped like the weights.
#[derive(Debug)]
pub struct Slopes<'a> {
    pub w1: &'a mut [f32],
    pub b1: &'a mut [f32],
    pub w2: &'a mut [f32],
    pub b2: &'a mut [f32],
}

/// Room for the hidden layer, its gradient, and the errors.
#[derive(Clone, Debug)]
pub struct Room {
    hidden: Lanes,
    dh: Lanes,
    error: Lanes,
}

impl Room {
    pub fn new(hidden: usize, outs: usize, groups: usize) -> Self {
        Room {
            hidden: Lanes::zeros(hidden, groups),
            dh: Lanes::zeros(hidden, groups),
            error: Lanes::zeros(outs, groups),
        }
    }
}

impl Mlp<'_> {
    /// The loss of the first `groups` groups of inputs `x` with targets `t`; its gradient is added to `slopes`.
    ///
    /// Rows beyond the last written one count as rows of zeros; see [`of_empty_rows`](Self::of_empty_rows).
    pub fn gradient(&self, x: &Lanes, t: &Lanes, groups: usize, room: &mut Room, slopes: &mut Slopes) -> f64 {
        let arch = pulp::Arch::new();
        mix(x, self.w1, Some(self.b1), groups, &mut room.hidden);
        arch.dispatch(Rectify { hidden: &mut room.hidden, groups });
        mix(&room.hidden, self.w2, Some(self.b2), groups, &mut room.error);
        let loss = arch.dispatch(Errors { mlp: self, t, groups, error: &mut room.error, db: &mut *slopes.b2 });
        mix(&room.error, self.w2t, None, groups, &mut room.dh);
        arch.dispatch(Through { hidden: &room.hidden, groups, dh: &mut room.dh, db: &mut *slopes.b1 });
        outer(&room.hidden, &room.error, groups, slopes.w2);
        outer(x, &room.dh, groups, slopes.w1);
        loss
    }

    /// The loss of `rows` rows of zeros whose targets are zero too, which only the biases answer; its gradient is added to
    /// `slopes`. A negative number takes rows away that were counted too much.
    pub fn of_empty_rows(&self, rows: f64, slopes: &mut Slopes) -> f64 {
        let outs = self.b2.len();
        let mut y = self.b2.to_vec();
        for (&b, w) in self.b1.iter().zip(self.w2.chunks_exact(outs)).filter(|(b, _)| **b > 0.0) {
            y.iter_mut().zip(w).for_each(|(y, w)| *y += b * w);
        }
        let mut loss = 0.0;
        for ((y, &cost), db) in y.iter_mut().zip(self.cost).zip(&mut *slopes.b2) {
            let out = if self.readout == Response::Relu { y.max(0.0) } else { *y };
            loss += rows * f64::from(cost * out * out);
            *y = rows as f32 * 2.0 * cost * out;
            *db += *y;
        }
        let weights = self.w2.chunks_exact(outs).zip(slopes.w2.chunks_exact_mut(outs));
        for ((&b, db), (w, dw)) in self.b1.iter().zip(&mut *slopes.b1).zip(weights).filter(|((b, _), _)| **b > 0.0) {
            dw.iter_mut().zip(&y).for_each(|(dw, e)| *dw += b * e);
            *db += w.iter().zip(&y).map(|(w, e)| w * e).sum::<f32>();
        }
        loss
    }
}

/// `h ← ReLU(h)`; groups in which a neuron is silent are marked so.
struct Rectify<'a> {
    hidden: &'a mut Lanes,
    groups: usize,
}

impl WithSimd for Rectify<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for k in 0..self.hidden.vars() {
            let mut on = 0u64;
            for g in 0..self.groups {
                let h = self.hidden.group_mut(k, g);
                let mut most = [0.0f32; GROUP];
                for l in 0..GROUP {
                    h[l] = h[l].max(0.0);
                    most[l] = h[l];
                }
                on |= u64::from(most.iter().sum::<f32>() > 0.0) << g;
            }
            self.hidden.set_on(k, on);
        }
    }
}

/// Turns what the read-out sees into the gradient with respect to it.
struct Errors<'a> {
    mlp: &'a Mlp<'a>,
    t: &'a Lanes,
    groups: usize,
    error: &'a mut Lanes,
    db: &'a mut [f32],
}

impl WithSimd for Errors<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f64 {
        let closes = self.mlp.readout == Response::Relu;
        let mut loss = 0.0;
        for (o, (&cost, db)) in self.mlp.cost.iter().zip(self.db).enumerate() {
            let (mut squares, mut sums, mut on) = ([0.0f32; GROUP], [0.0f32; GROUP], 0u64);
            for g in 0..self.groups {
                let t = self.t.group(o, g);
                let e = self.error.group_mut(o, g);
                let mut open = [0.0f32; GROUP];
                for l in 0..GROUP {
                    let y = if closes { e[l].max(0.0) } else { e[l] };
                    let error = y - t[l];
                    squares[l] += error * error;
                    let error = if closes && y == 0.0 { 0.0 } else { error };
                    sums[l] += error;
                    e[l] = 2.0 * cost * error;
                    open[l] = y.abs();
                }
                on |= u64::from(open.iter().sum::<f32>() > 0.0) << g;
            }
            self.error.set_on(o, if closes { on } else { u64::MAX });
            loss += f64::from(cost) * squares.iter().map(|s| f64::from(*s)).sum::<f64>();
            *db += 2.0 * cost * sums.iter().sum::<f32>();
        }
        loss
    }
}

/// `dh ← dh [h > 0]`, and its sums over rows.
struct Through<'a> {
    hidden: &'a Lanes,
    groups: usize,
    dh: &'a mut Lanes,
    db: &'a mut [f32],
}

impl WithSimd for Through<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (k, db) in self.db.iter_mut().enumerate() {
            let mut sums = [0.0f32; GROUP];
            for g in 0..self.groups {
                let h = self.hidden.group(k, g);
                let dh = self.dh.group_mut(k, g);
                for l in 0..GROUP {
                    dh[l] = if h[l] > 0.0 { dh[l] } else { 0.0 };
                    sums[l] += dh[l];
                }
            }
            *db += sums.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use crate::kernels::tied::transpose;

    const ROWS: usize = 40;

    /// Loss by the definition, in `f64`; `p` holds w1, b1, w2, b2 one after the other.
    fn definition(
        [n, m, outs]: [usize; 3],
        rows: &[(Vec<f64>, Vec<f64>)],
        p: &[f64],
        cost: &[f32],
        r: Response,
    ) -> f64 {
        let (w1, p) = p.split_at(n * m);
        let (b1, p) = p.split_at(m);
        let (w2, b2) = p.split_at(m * outs);
        let mut loss = 0.0;
        for (x, t) in rows {
            let h: Vec<f64> =
                (0..m).map(|k| (b1[k] + (0..n).map(|i| x[i] * w1[i * m + k]).sum::<f64>()).max(0.0)).collect();
            for o in 0..outs {
                let y = b2[o] + (0..m).map(|k| h[k] * w2[k * outs + o]).sum::<f64>();
                let y = if r == Response::Relu { y.max(0.0) } else { y };
                loss += f64::from(cost[o]) * (y - t[o]).powi(2);
            }
        }
        loss
    }

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        let mut rng = Rng::new(5).fork("mlp");
        for (n, m, outs, readout) in
            [(4, 8, 4, Response::Relu), (4, 6, 6, Response::Linear), (9, 3, 11, Response::Relu)]
        {
            let (mut x, mut t) = (Lanes::zeros(n, 4), Lanes::zeros(outs, 4));
            let mut rows = vec![(vec![0.0; n], vec![0.0; outs]); ROWS];
            for (r, (xs, ts)) in rows.iter_mut().enumerate() {
                for (lanes, values) in [(&mut x, xs), (&mut t, ts)] {
                    for (i, v) in values.iter_mut().enumerate() {
                        let value = if rng.chance(0.4) { 2.0 * rng.uniform() - 1.0 } else { 0.0 };
                        lanes.set(i, r, value);
                        *v = f64::from(value);
                    }
                }
            }
            let p: Vec<f32> = (0..n * m + m + m * outs + outs).map(|_| 0.5 * rng.normal()).collect();
            let cost: Vec<f32> = (0..outs).map(|o| 0.8f32.powi(o as i32)).collect();
            let (w1, rest) = p.split_at(n * m);
            let (b1, rest) = rest.split_at(m);
            let (w2, b2) = rest.split_at(m * outs);
            let mut w2t = vec![0.0; m * outs];
            transpose(w2, outs, &mut w2t);
            let mut grad = vec![0.0; p.len()];
            let (dw1, rest) = grad.split_at_mut(n * m);
            let (db1, rest) = rest.split_at_mut(m);
            let (dw2, db2) = rest.split_at_mut(m * outs);
            let mut slopes = Slopes { w1: dw1, b1: db1, w2: dw2, b2: db2 };
            let mlp = Mlp { w1, b1, w2, w2t: &w2t, b2, cost: &cost, readout };
            // 40 rows lie in three groups, which hold eight rows too many; 30 empty rows more are to be counted.
            let mut loss = mlp.gradient(&x, &t, 3, &mut Room::new(m, outs, 4), &mut slopes);
            loss += mlp.of_empty_rows(30.0 - 8.0, &mut slopes);
            rows.extend(vec![(vec![0.0; n], vec![0.0; outs]); 30]);

            let p: Vec<f64> = p.iter().map(|&v| f64::from(v)).collect();
            let at = |p: &[f64]| definition([n, m, outs], &rows, p, &cost, readout);
            assert!((loss - at(&p)).abs() < 1e-5 * at(&p), "{loss} for {}", at(&p));
            let largest = grad.iter().fold(0.0f32, |a, g| a.max(g.abs()));
            for (k, &g) in grad.iter().enumerate() {
                let moved = |step: f64| {
                    let mut p = p.clone();
                    p[k] += step;
                    at(&p)
                };
                let numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
                assert!(error < 1e-3, "derivative {k} is {g}, by differences {numeric}");
            }
        }
    }
}
