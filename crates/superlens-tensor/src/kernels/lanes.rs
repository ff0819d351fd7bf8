//! Small products over many rows that lie in SIMD lanes.
//!
//! A [`Lanes`] matrix is stored one variable after the other, each with all its rows side by side, so that a kernel
//! works on 16 rows at a time whatever the number of variables: products too small for a general matrix kernel run at
//! the speed of the machine. Groups of 16 rows in which a variable is zero throughout are known and skipped.

use pulp::{Simd, WithSimd};

/// Rows in a group: the unit of work and of what is skipped.
pub const GROUP: usize = 16;
/// Groups at most, so that a variable's groups fit into one mask.
pub const MAX_GROUPS: usize = 64;

/// Groups that a kernel may read together; those that nobody asked for are zeros.
pub const STRIP: usize = 4;

/// Sixteen rows of a variable, on a cache line of their own.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Group(pub [f32; GROUP]);

impl Group {
    pub const ZERO: Group = Group([0.0; GROUP]);

    /// The numbers of neighbouring groups.
    #[inline(always)]
    pub fn flat(groups: &[Group]) -> &[f32] {
        // SAFETY: a group is 16 floats and nothing else, since 64 bytes are a multiple of its alignment.
        unsafe { std::slice::from_raw_parts(groups.as_ptr().cast(), groups.len() * GROUP) }
    }

    /// The same, to write.
    #[inline(always)]
    pub fn flat_mut(groups: &mut [Group]) -> &mut [f32] {
        // SAFETY: as above, and any floats make a group.
        unsafe { std::slice::from_raw_parts_mut(groups.as_mut_ptr().cast(), groups.len() * GROUP) }
    }
}

/// `[vars, rows]` with the rows of one variable side by side.
#[derive(Clone, Debug)]
pub struct Lanes {
    vars: usize,
    groups: usize,
    /// Groups from one variable to the next: odd, since variables at equal distances of a power of two would all fall
    /// on the same few lines of the cache.
    stride: usize,
    data: Vec<Group>,
    /// Bit `g` of `on[v]`: variable `v` is not zero throughout group `g`. What is not on holds zeros.
    on: Vec<u64>,
}

impl Lanes {
    /// Zeros. Panics if there are more than [`MAX_GROUPS`] groups.
    pub fn zeros(vars: usize, groups: usize) -> Self {
        assert!(groups <= MAX_GROUPS, "{groups} groups of rows, at most {MAX_GROUPS}");
        let stride = groups.next_multiple_of(STRIP) | 1;
        Lanes { vars, groups, stride, data: vec![Group::ZERO; vars * stride], on: vec![0; vars] }
    }

    pub fn vars(&self) -> usize {
        self.vars
    }

    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The 16 rows of group `g` of variable `v`.
    #[inline(always)]
    pub fn group(&self, v: usize, g: usize) -> &[f32; GROUP] {
        &self.data[v * self.stride + g].0
    }

    /// The same to write; call [`mark`](Self::mark) for groups that are no longer zero throughout.
    #[inline(always)]
    pub fn group_mut(&mut self, v: usize, g: usize) -> &mut [f32; GROUP] {
        &mut self.data[v * self.stride + g].0
    }

    /// All groups of variable `v`, filled up with zeros to whole strips.
    #[inline(always)]
    pub fn row(&self, v: usize) -> &[Group] {
        &self.data[v * self.stride..][..self.stride]
    }

    /// All variables one after the other: their groups as [`row`](Self::row) gives them, and which are on.
    #[inline(always)]
    pub fn rows(&self) -> impl Iterator<Item = (&[Group], u64)> {
        self.data.chunks_exact(self.stride).zip(self.on.iter().copied())
    }

    pub fn value(&self, v: usize, row: usize) -> f32 {
        self.group(v, row / GROUP)[row % GROUP]
    }

    /// Writes one value.
    #[inline(always)]
    pub fn set(&mut self, v: usize, row: usize, value: f32) {
        self.group_mut(v, row / GROUP)[row % GROUP] = value;
        self.on[v] |= 1 << (row / GROUP);
    }

    #[inline(always)]
    pub fn mark(&mut self, v: usize, g: usize) {
        self.on[v] |= 1 << g;
    }

    /// Says which groups of variable `v` are not zero throughout; those left out must hold zeros.
    pub fn set_on(&mut self, v: usize, on: u64) {
        self.on[v] = on;
    }

    /// Which groups of variable `v` are not zero throughout.
    pub fn on(&self, v: usize) -> u64 {
        self.on[v]
    }

    /// Says that variable `v` was written in all of the first `rows` rows, and makes the rest zeros.
    #[inline(always)]
    pub fn end_at(&mut self, v: usize, rows: usize) {
        let groups = rows.div_ceil(GROUP);
        if !rows.is_multiple_of(GROUP) {
            self.group_mut(v, groups - 1)[rows % GROUP..].fill(0.0);
        }
        self.zero(v, self.on[v] & !first(groups));
        self.on[v] = first(groups);
    }

    /// Makes variable `v` zero but for these rows and their values.
    #[inline(always)]
    pub fn scatter(&mut self, v: usize, values: impl Iterator<Item = (u32, f32)>) {
        self.zero(v, self.on[v]);
        let groups = &mut self.data[v * self.stride..][..self.groups];
        let mut on = 0;
        for (row, value) in values {
            groups[row as usize / GROUP].0[row as usize % GROUP] = value;
            on |= 1 << (row as usize / GROUP);
        }
        self.on[v] = on;
    }

    /// Back to zeros, at the cost of what is not zero.
    pub fn clear(&mut self) {
        (0..self.vars).for_each(|v| self.zero(v, self.on[v]));
        self.on.fill(0);
    }

    #[inline(always)]
    fn zero(&mut self, v: usize, mut groups: u64) {
        while groups != 0 {
            self.data[v * self.stride + groups.trailing_zeros() as usize] = Group::ZERO;
            groups &= groups - 1;
        }
    }
}

/// The mask of the first groups.
#[inline(always)]
fn first(groups: usize) -> u64 {
    if groups >= 64 { u64::MAX } else { (1 << groups) - 1 }
}

/// `out[o] = bias[o] + Σ_v w[v][o] · x[v]` on the first `groups` groups, `w` being `[x.vars, out.vars]` row-major.
///
/// Variables that are zero throughout a group are skipped there; every group of `out` is marked as on.
pub fn mix(x: &Lanes, w: &[f32], bias: Option<&[f32]>, groups: usize, out: &mut Lanes) {
    assert!(
        w.len() == x.vars * out.vars && bias.is_none_or(|b| b.len() == out.vars),
        "{} weights for {} variables into {}",
        w.len(),
        x.vars,
        out.vars
    );
    assert!(groups <= x.groups && groups <= out.groups, "{groups} groups of {} and {}", x.groups, out.groups);
    pulp::Arch::new().dispatch(Mix { x, w, bias, groups, out: &mut *out });
    out.on.fill(first(groups));
}

/// `dw[i][o] += Σ_rows a[i] · b[o]` over the first `groups` groups, `dw` being `[a.vars, b.vars]` row-major. Groups in
/// which a variable of `a` is zero throughout are skipped.
pub fn outer(a: &Lanes, b: &Lanes, groups: usize, dw: &mut [f32]) {
    assert_eq!(dw.len(), a.vars * b.vars, "an outer product of {} and {} variables", a.vars, b.vars);
    assert!(groups <= a.groups && groups <= b.groups, "{groups} groups of {} and {}", a.groups, b.groups);
    pulp::Arch::new().dispatch(Outer { a, b, groups, dw });
}

struct Mix<'a> {
    x: &'a Lanes,
    w: &'a [f32],
    bias: Option<&'a [f32]>,
    groups: usize,
    out: &'a mut Lanes,
}

impl WithSimd for Mix<'_> {
    type Output = ();

    /// The number of accumulators fits the registers: 16 rows are `T` vectors, `J` outputs are summed at once, for `Q`
    /// groups of rows.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match GROUP / S::F32_LANES {
            1 => self.run::<S, 1, 8, 3>(simd),
            2 => self.run::<S, 2, 4, 1>(simd),
            4 => self.run::<S, 4, 4, 1>(simd),
            _ => self.run::<S, 16, 1, 1>(simd),
        }
    }
}

impl Mix<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize, const J: usize, const Q: usize>(&mut self, simd: S) {
        let mut active: Vec<usize> = Vec::with_capacity(self.x.vars);
        let mut g = 0;
        while g < self.groups {
            let together = if g + Q <= self.groups { Q } else { 1 };
            let mask = ((1 << together) - 1) << g;
            active.clear();
            active.extend((0..self.x.vars).filter(|&v| self.x.on[v] & mask != 0));
            if together == Q {
                self.groups_at::<S, T, J, Q>(simd, g, &active);
            } else {
                self.groups_at::<S, T, J, 1>(simd, g, &active);
            }
            g += together;
        }
    }

    /// All outputs of `Q` groups.
    #[inline(always)]
    fn groups_at<S: Simd, const T: usize, const J: usize, const Q: usize>(
        &mut self,
        simd: S,
        g: usize,
        active: &[usize],
    ) {
        let outs = self.out.vars;
        let mut o = 0;
        while o + J <= outs {
            self.tile::<S, T, J, Q>(simd, g, o, active);
            o += J;
        }
        match outs - o {
            0 => {}
            1 => self.tile::<S, T, 1, Q>(simd, g, o, active),
            2 => self.tile::<S, T, 2, Q>(simd, g, o, active),
            3 => self.tile::<S, T, 3, Q>(simd, g, o, active),
            4 => self.tile::<S, T, 4, Q>(simd, g, o, active),
            5 => self.tile::<S, T, 5, Q>(simd, g, o, active),
            6 => self.tile::<S, T, 6, Q>(simd, g, o, active),
            _ => self.tile::<S, T, 7, Q>(simd, g, o, active),
        }
    }

    /// `J` outputs of `Q` groups.
    #[inline(always)]
    fn tile<S: Simd, const T: usize, const J: usize, const Q: usize>(
        &mut self,
        simd: S,
        g: usize,
        o: usize,
        active: &[usize],
    ) {
        let outs = self.out.vars;
        let mut sums = [[[simd.splat_f32s(0.0); T]; J]; Q];
        if let Some(bias) = self.bias {
            for q in 0..Q {
                for (sum, &b) in sums[q].iter_mut().zip(&bias[o..o + J]) {
                    *sum = [simd.splat_f32s(b); T];
                }
            }
        }
        for &v in active {
            let w = &self.w[v * outs + o..][..J];
            let x: [[S::f32s; T]; Q] = std::array::from_fn(|q| vectors::<S, T>(self.x.group(v, g + q)));
            for j in 0..J {
                let w = simd.splat_f32s(w[j]);
                for q in 0..Q {
                    for t in 0..T {
                        sums[q][j][t] = simd.mul_add_e_f32s(w, x[q][t], sums[q][j][t]);
                    }
                }
            }
        }
        for (q, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                S::as_mut_simd_f32s(self.out.group_mut(o + j, g + q)).0[..T].copy_from_slice(sum);
            }
        }
    }
}

struct Outer<'a> {
    a: &'a Lanes,
    b: &'a Lanes,
    groups: usize,
    dw: &'a mut [f32],
}

impl WithSimd for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match GROUP / S::F32_LANES {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, 16>(simd),
        }
    }
}

impl Outer<'_> {
    #[inline(always)]
    fn run<S: Simd, const T: usize>(&mut self, simd: S) {
        let wanted = first(self.groups);
        let mut i = 0;
        while i < self.a.vars {
            let on = self.a.on[i] & wanted;
            // Two variables that are on nearly everywhere share the loads of `b`.
            let next = if i + 1 < self.a.vars { self.a.on[i + 1] & wanted } else { 0 };
            let both = on | next;
            if 4 * (on.count_ones() + next.count_ones()) >= 7 * both.count_ones() && next != 0 {
                self.pass::<S, T, 2>(simd, i, both);
                i += 2;
            } else {
                self.pass::<S, T, 1>(simd, i, on);
                i += 1;
            }
        }
    }

    /// `I` variables of `a` from `i` on against all of `b`.
    #[inline(always)]
    fn pass<S: Simd, const T: usize, const I: usize>(&mut self, simd: S, i: usize, on: u64) {
        if on == 0 {
            return;
        }
        let outs = self.b.vars;
        let mut o = 0;
        while o + 8 <= outs {
            self.tile::<S, T, I, 8, 1>(simd, i, o, on);
            o += 8;
        }
        match outs - o {
            0 => {}
            1 => self.tile::<S, T, I, 1, 4>(simd, i, o, on),
            2 => self.tile::<S, T, I, 2, 2>(simd, i, o, on),
            3 => self.tile::<S, T, I, 3, 2>(simd, i, o, on),
            4 => self.tile::<S, T, I, 4, 1>(simd, i, o, on),
            5 => self.tile::<S, T, I, 5, 1>(simd, i, o, on),
            6 => self.tile::<S, T, I, 6, 1>(simd, i, o, on),
            _ => self.tile::<S, T, I, 7, 1>(simd, i, o, on),
        }
    }

    /// `I` by `J` products, the groups dealt out to `Q` sums of each.
    #[inline(always)]
    fn tile<S: Simd, const T: usize, const I: usize, const J: usize, const Q: usize>(
        &mut self,
        simd: S,
        i: usize,
        o: usize,
        on: u64,
    ) {
        let mut sums = [[[simd.splat_f32s(0.0); J]; I]; Q];
        let a: [&[Group]; I] = std::array::from_fn(|k| self.a.row(i + k));
        let b: [&[Group]; J] = std::array::from_fn(|j| self.b.row(o + j));
        let mut left = on;
        while left != 0 {
            for sums in &mut sums {
                if left == 0 {
                    break;
                }
                let g = left.trailing_zeros() as usize;
                left &= left - 1;
                let a: [[S::f32s; T]; I] = std::array::from_fn(|k| vectors::<S, T>(&a[k][g].0));
                for j in 0..J {
                    let b = vectors::<S, T>(&b[j][g].0);
                    for k in 0..I {
                        for t in 0..T {
                            sums[k][j] = simd.mul_add_e_f32s(a[k][t], b[t], sums[k][j]);
                        }
                    }
                }
            }
        }
        for k in 0..I {
            let dw = &mut self.dw[(i + k) * self.b.vars + o..][..J];
            for (j, dw) in dw.iter_mut().enumerate() {
                for sums in &sums {
                    *dw += simd.reduce_sum_f32s(sums[k][j]);
                }
            }
        }
    }
}

/// A group as `T` vectors.
#[inline(always)]
fn vectors<S: Simd, const T: usize>(group: &[f32; GROUP]) -> [S::f32s; T] {
    let vectors = S::as_simd_f32s(group).0;
    std::array::from_fn(|t| vectors[t])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Values with whole groups of zeros.
    fn random(vars: usize, groups: usize, rng: &mut Rng) -> Lanes {
        let mut x = Lanes::zeros(vars, groups);
        for v in 0..vars {
            for g in (0..groups).filter(|g| (v + g) % 3 != 0) {
                (0..GROUP).for_each(|r| x.set(v, g * GROUP + r, rng.normal()));
            }
        }
        x
    }

    #[test]
    fn products_are_those_of_the_definition() {
        let mut rng = Rng::new(1).fork("lanes");
        for (vars, outs, groups, used) in [(5, 2, 3, 3), (7, 13, 4, 2), (1, 1, 1, 1), (20, 19, 64, 64), (3, 8, 5, 0)] {
            let x = random(vars, groups, &mut rng);
            let w: Vec<f32> = (0..vars * outs).map(|_| rng.normal()).collect();
            let bias: Vec<f32> = (0..outs).map(|_| rng.normal()).collect();
            let mut out = Lanes::zeros(outs, groups);
            mix(&x, &w, Some(&bias), used, &mut out);
            let mut dw: Vec<f32> = vec![1.0; vars * outs];
            outer(&x, &out, used, &mut dw);
            for o in 0..outs {
                for r in 0..used * GROUP {
                    let want: f32 = bias[o] + (0..vars).map(|v| w[v * outs + o] * x.value(v, r)).sum::<f32>();
                    assert!((out.value(o, r) - want).abs() < 1e-4, "{} for {want}", out.value(o, r));
                }
                for v in 0..vars {
                    let want: f32 = 1.0 + (0..used * GROUP).map(|r| x.value(v, r) * out.value(o, r)).sum::<f32>();
                    assert!((dw[v * outs + o] - want).abs() < 1e-3 * want.abs().max(10.0), "{want}");
                }
            }
        }
    }

    #[test]
    fn what_is_written_anew_leaves_nothing_of_the_old() {
        let mut x = random(2, 6, &mut Rng::new(2));
        x.scatter(0, [(3, 1.0), (90, 2.0)].into_iter());
        (0..2).for_each(|g| x.group_mut(1, g).fill(5.0));
        x.end_at(1, 20);
        let rows = |x: &Lanes, v: usize| (0..96).filter(|&r| x.value(v, r) != 0.0).collect::<Vec<_>>();
        assert_eq!((rows(&x, 0), x.on(0)), (vec![3, 90], 0b100001));
        assert_eq!((rows(&x, 1), x.on(1)), ((0..20).collect(), 0b11));
        x.clear();
        assert!(x.rows().all(|(row, on)| on == 0 && row.iter().all(|group| group.0 == [0.0; GROUP])));
    }
}
