//! Loss and gradient of an autoencoder with tied weights, fused over rows in lanes.
//!
//! `h = f(x W)`, `x' = r(h Wᵀ + b)`, `loss = Σ_rows Σ_i cost_i (x'_i − x_i)² + l1 Σ |h|`, with `W [vars, hidden]`. Of its
//! four products per step, three skip what is zero: inputs that are off and errors behind a closed ReLU.

use super::lanes::{GROUP, Lanes, mix, outer};
use super::narrow::{self, Sums};
use pulp::{Simd, WithSimd};

/// What stands behind a linear map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Linear,
    Relu,
}

/// The model and its loss.
#[derive(Clone, Copy, Debug)]
pub struct Tied<'a> {
    /// `[vars, hidden]`, row-major.
    pub w: &'a [f32],
    /// The same transposed, `[hidden, vars]`.
    pub wt: &'a [f32],
    /// `[vars]`.
    pub b: &'a [f32],
    /// Weight of the squared error of each variable, `[vars]`.
    pub cost: &'a [f32],
    /// Weight of `Σ |h|`.
    pub l1: f32,
    pub hidden: Response,
    pub readout: Response,
}

/// Room for the hidden layer, its gradient, and the errors.
#[derive(Clone, Debug)]
pub struct Room {
    hidden: Lanes,
    dh: Lanes,
    error: Lanes,
    sums: Sums,
}

impl Room {
    pub fn new(vars: usize, hidden: usize, groups: usize) -> Self {
        Room {
            hidden: Lanes::zeros(hidden, groups),
            dh: Lanes::zeros(hidden, groups),
            error: Lanes::zeros(vars, groups),
            sums: Sums::new(vars, hidden),
        }
    }
}

impl Tied<'_> {
    /// The loss of the first `groups` groups of `x`; its gradient is added to `dw` and `db`.
    ///
    /// Rows beyond the last written one must be zeros, and count as such; see [`of_empty_rows`](Self::of_empty_rows).
    pub fn gradient(&self, x: &Lanes, groups: usize, room: &mut Room, dw: &mut [f32], db: &mut [f32]) -> f64 {
        if room.hidden.vars() <= narrow::MOST {
            return narrow::gradient(self, x, groups, &mut room.sums, dw, db);
        }
        self.gradient_by_products(x, groups, room, dw, db)
    }

    /// The same as products of matrices, whatever the number of hidden dimensions.
    fn gradient_by_products(&self, x: &Lanes, groups: usize, room: &mut Room, dw: &mut [f32], db: &mut [f32]) -> f64 {
        mix(x, self.w, None, groups, &mut room.hidden);
        let mut loss = 0.0;
        loss += pulp::Arch::new().dispatch(Pass { tied: self, stage: Stage::Respond, x, groups, room, db });
        mix(&room.hidden, self.wt, Some(self.b), groups, &mut room.error);
        loss += pulp::Arch::new().dispatch(Pass { tied: self, stage: Stage::Errors, x, groups, room, db });
        mix(&room.error, self.w, None, groups, &mut room.dh);
        pulp::Arch::new().dispatch(Pass { tied: self, stage: Stage::ThroughHidden, x, groups, room, db });
        outer(&room.error, &room.hidden, groups, dw);
        outer(x, &room.dh, groups, dw);
        loss
    }

    /// The loss of `rows` rows of zeros, which only the bias answers; its gradient is added to `db`. A negative number
    /// takes rows away that were counted too much.
    pub fn of_empty_rows(&self, rows: f64, db: &mut [f32]) -> f64 {
        let mut loss = 0.0;
        for ((&b, &cost), db) in self.b.iter().zip(self.cost).zip(db) {
            let recon = if self.readout == Response::Relu { b.max(0.0) } else { b };
            loss += rows * f64::from(cost * recon * recon);
            *db += rows as f32 * 2.0 * cost * recon;
        }
        loss
    }

    /// `h ← f(h)`; returns the penalty on it.
    #[inline(always)]
    fn respond(&self, groups: usize, room: &mut Room) -> f64 {
        if self.hidden == Response::Linear && self.l1 == 0.0 {
            return 0.0;
        }
        let mut penalty = 0.0;
        for k in 0..room.hidden.vars() {
            let mut sums = [0.0f32; GROUP];
            for g in 0..groups {
                let h = room.hidden.group_mut(k, g);
                for l in 0..GROUP {
                    h[l] = if self.hidden == Response::Relu { h[l].max(0.0) } else { h[l] };
                    sums[l] += h[l].abs();
                }
            }
            penalty += f64::from(self.l1) * sums.iter().map(|s| f64::from(*s)).sum::<f64>();
        }
        penalty
    }

    /// Turns what the read-out sees into the gradient with respect to it.
    #[inline(always)]
    fn errors<S: Simd>(&self, simd: S, x: &Lanes, groups: usize, room: &mut Room, db: &mut [f32]) -> f64 {
        match self.readout {
            Response::Relu => self.errors_of::<S, true>(simd, x, groups, room, db),
            Response::Linear => self.errors_of::<S, false>(simd, x, groups, room, db),
        }
    }

    #[inline(always)]
    fn errors_of<S: Simd, const RELU: bool>(
        &self,
        simd: S,
        x: &Lanes,
        groups: usize,
        room: &mut Room,
        db: &mut [f32],
    ) -> f64 {
        let zero = simd.splat_f32s(0.0);
        let mut loss = 0.0;
        for i in 0..x.vars() {
            let (mut squares, mut sums) = (zero, zero);
            let twice = simd.splat_f32s(2.0 * self.cost[i]);
            let mut on = 0u64;
            for g in 0..groups {
                let xs = S::as_simd_f32s(x.group(i, g)).0;
                let es = S::as_mut_simd_f32s(room.error.group_mut(i, g)).0;
                for (e, &x) in es.iter_mut().zip(xs) {
                    let recon = if RELU { simd.max_f32s(*e, zero) } else { *e };
                    let error = simd.sub_f32s(recon, x);
                    squares = simd.mul_add_e_f32s(error, error, squares);
                    let mut d = error;
                    if RELU {
                        let open = simd.greater_than_f32s(recon, zero);
                        d = simd.select_f32s(open, error, zero);
                        on |= u64::from(simd.first_true_m32s(open) < S::F32_LANES) << g;
                    }
                    sums = simd.add_f32s(sums, d);
                    *e = simd.mul_f32s(twice, d);
                }
            }
            room.error.set_on(i, if RELU { on } else { u64::MAX });
            loss += f64::from(self.cost[i]) * f64::from(simd.reduce_sum_f32s(squares));
            db[i] += 2.0 * self.cost[i] * simd.reduce_sum_f32s(sums);
        }
        loss
    }

    /// `dh ← (dh + l1 sign h) f'(h)`.
    #[inline(always)]
    fn through_hidden(&self, groups: usize, room: &mut Room) {
        if self.hidden == Response::Linear && self.l1 == 0.0 {
            return;
        }
        for k in 0..room.hidden.vars() {
            for g in 0..groups {
                let h = room.hidden.group(k, g);
                let dh = room.dh.group_mut(k, g);
                for l in 0..GROUP {
                    let sign = f32::from(h[l] > 0.0) - f32::from(h[l] < 0.0);
                    let d = dh[l] + self.l1 * sign;
                    dh[l] = if self.hidden == Response::Linear || h[l] > 0.0 { d } else { 0.0 };
                }
            }
        }
    }
}

/// What happens between two products.
#[derive(Clone, Copy)]
enum Stage {
    Respond,
    Errors,
    ThroughHidden,
}

/// One pass over the lanes, to be compiled for the CPU that it runs on.
struct Pass<'a> {
    tied: &'a Tied<'a>,
    stage: Stage,
    x: &'a Lanes,
    groups: usize,
    room: &'a mut Room,
    db: &'a mut [f32],
}

impl WithSimd for Pass<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Pass { tied, stage, x, groups, room, db } = self;
        match stage {
            Stage::Respond => tied.respond(groups, room),
            Stage::Errors => tied.errors(simd, x, groups, room, db),
            Stage::ThroughHidden => {
                tied.through_hidden(groups, room);
                0.0
            }
        }
    }
}

/// `[rows, cols]` row-major into `[cols, rows]`.
pub fn transpose(w: &[f32], cols: usize, wt: &mut [f32]) {
    let rows = w.len() / cols.max(1);
    assert!(w.len() == rows * cols && wt.len() == w.len(), "{} weights into {}", w.len(), wt.len());
    for (i, row) in w.chunks_exact(cols).enumerate() {
        for (j, &v) in row.iter().enumerate() {
            wt[j * rows + i] = v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    struct Case {
        n: usize,
        m: usize,
        rows: usize,
        hidden: Response,
        readout: Response,
        l1: f32,
    }

    /// The loss by its definition, in `f64`.
    fn definition(c: &Case, x: &[Vec<f64>], w: &[f64], b: &[f64], cost: &[f32]) -> f64 {
        let f = |r: Response, v: f64| if r == Response::Relu { v.max(0.0) } else { v };
        let mut loss = 0.0;
        for x in x {
            let h: Vec<f64> =
                (0..c.m).map(|k| f(c.hidden, (0..c.n).map(|i| x[i] * w[i * c.m + k]).sum::<f64>())).collect();
            loss += f64::from(c.l1) * h.iter().map(|h| h.abs()).sum::<f64>();
            for i in 0..c.n {
                let recon = f(c.readout, (0..c.m).map(|k| h[k] * w[i * c.m + k]).sum::<f64>() + b[i]);
                loss += f64::from(cost[i]) * (recon - x[i]).powi(2);
            }
        }
        loss
    }

    #[test]
    fn the_gradient_is_that_of_the_definition() {
        use Response::{Linear, Relu};
        let mut rng = Rng::new(3).fork("tied");
        for (n, m, hidden, readout, l1) in [
            (5, 2, Linear, Relu, 0.0),
            (9, 4, Linear, Linear, 0.0),
            (7, 11, Relu, Relu, 0.1),
            (6, 3, Linear, Relu, 0.2),
        ] {
            let c = Case { n, m, rows: 40, hidden, readout, l1 };
            let mut x = Lanes::zeros(n, 4);
            let mut rows = vec![vec![0.0; n]; c.rows];
            for (r, row) in rows.iter_mut().enumerate() {
                for (i, v) in row.iter_mut().enumerate() {
                    let value = if rng.chance(0.3) { rng.uniform() } else { 0.0 };
                    x.set(i, r, value);
                    *v = f64::from(value);
                }
            }
            let random = |len: usize, rng: &mut Rng| (0..len).map(|_| 0.5 * rng.normal()).collect::<Vec<f32>>();
            let (w, b) = (random(n * m, &mut rng), random(n, &mut rng));
            let cost: Vec<f32> = (0..n).map(|i| 0.8f32.powi(i as i32)).collect();
            let mut wt = vec![0.0; n * m];
            transpose(&w, m, &mut wt);
            let (mut dw, mut db) = (vec![0.0; n * m], vec![0.0; n]);
            let tied = Tied { w: &w, wt: &wt, b: &b, cost: &cost, l1, hidden, readout };
            // 40 rows lie in three groups, which hold eight rows too many; 30 empty rows more are to be counted.
            let mut loss = tied.gradient(&x, 3, &mut Room::new(n, m, 4), &mut dw, &mut db);
            loss += tied.of_empty_rows(30.0 - 8.0, &mut db);
            rows.extend(vec![vec![0.0; n]; 30]);

            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            let (w, b) = (wide(&w), wide(&b));
            let want = definition(&c, &rows, &w, &b, &cost);
            assert!((loss - want).abs() < 1e-5 * want, "{loss} for {want}");
            let largest = dw.iter().chain(&db).fold(0.0f32, |a, g| a.max(g.abs()));
            for (k, &g) in dw.iter().chain(&db).enumerate() {
                let at = |step: f64| {
                    let (mut w, mut b) = (w.clone(), b.clone());
                    if k < n * m {
                        w[k] += step
                    } else {
                        b[k - n * m] += step
                    }
                    definition(&c, &rows, &w, &b, &cost)
                };
                let numeric = (at(1e-6) - at(-1e-6)) / 2e-6;
                let error = (f64::from(g) - numeric).abs() / f64::from(g.abs().max(1e-3 * largest));
                assert!(error < 1e-3, "derivative {k} is {g}, by differences {numeric}");
            }
        }
    }

    /// The fast path for few hidden dimensions against the plain products.
    #[test]
    fn strips_agree_with_products() {
        use Response::{Linear, Relu};
        let mut rng = Rng::new(4).fork("strips");
        for m in 1..=narrow::MOST {
            for (hidden, readout, l1) in [(Linear, Relu, 0.0), (Linear, Linear, 0.3), (Relu, Relu, 0.2)] {
                let (n, groups) = (2 * m + 1, 2 + m);
                let mut x = Lanes::zeros(n, groups);
                for v in 0..n {
                    let on: Vec<u32> = (0..(groups * GROUP) as u32).filter(|_| rng.chance(0.05)).collect();
                    x.scatter(v, on.into_iter().map(|row| (row, 1.0 / (1 + row) as f32)));
                }
                let mut random = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<f32>>();
                let (w, b) = (random(n * m), random(n));
                let cost: Vec<f32> = (0..n).map(|i| 0.9f32.powi(i as i32)).collect();
                let mut wt = vec![0.0; n * m];
                transpose(&w, m, &mut wt);
                let tied = Tied { w: &w, wt: &wt, b: &b, cost: &cost, l1, hidden, readout };
                let mut room = Room::new(n, m, groups);
                let (mut dw, mut db) = (vec![1.0; n * m], vec![1.0; n]);
                let (mut dw2, mut db2) = (dw.clone(), db.clone());
                let loss = tied.gradient(&x, groups, &mut room, &mut dw, &mut db);
                let want = tied.gradient_by_products(&x, groups, &mut room, &mut dw2, &mut db2);
                assert!((loss / want - 1.0).abs() < 1e-5, "{loss} for {want}");
                let largest = dw2.iter().chain(&db2).fold(0.0f32, |a, g| a.max(g.abs()));
                for (got, want) in dw.iter().chain(&db).zip(dw2.iter().chain(&db2)) {
                    assert!((got - want).abs() < 1e-5 * largest, "{got} for {want}, {m} hidden dimensions");
                }
            }
        }
    }
}
