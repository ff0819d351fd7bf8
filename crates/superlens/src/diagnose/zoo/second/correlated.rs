//! Orthogonal, correlated: features that occur together, or never, share a neuron. All with labels, without which features
//! of one direction are one feature.

use super::tools::{Size, apply, at_home, between, noisy, on_off, one_of, pick, relu, spells, told};
use super::{CORRELATED, Case, Family, case, family};
use crate::verdict::Basis;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-corr-scenes", CORRELATED, "objects of one scene share a neuron", scenes),
        family("second-corr-either-or", CORRELATED, "values that exclude each other share a neuron", either_or),
        family("second-corr-kinds", CORRELATED, "a kind shares a neuron with what it is a kind of", kinds),
    ]
}

/// Groups of features with a neuron each, lone features with a neuron each, and neurons with none. No more features than
/// neurons.
struct Plan {
    d: usize,
    group_sizes: Vec<usize>,
    lone: usize,
}

impl Plan {
    fn draw(low: usize, high: usize, s: &mut Rng) -> Plan {
        let d = pick(s, 18, 60);
        let mut group_sizes = Vec::new();
        while group_sizes.iter().sum::<usize>() + high <= 4 * d / 5 {
            group_sizes.push(pick(s, low, high));
        }
        let lone = pick(s, 0, d / 8);
        Plan { d, group_sizes, lone }
    }

    /// Fills the groups' columns with `of_group(members, stream)`, the lone ones at a tenth, and gives the case.
    fn make(&self, rows: usize, rng: &Rng, s: &mut Rng, of_group: impl Fn(usize, &mut Rng) -> Vec<Vec<bool>>) -> Case {
        let (mut on, mut home) = (Vec::new(), Vec::new());
        let neurons = s.permutation(self.d);
        for (g, &members) in self.group_sizes.iter().enumerate() {
            on.extend(of_group(members, &mut rng.fork("groups").fork_index(g as u64)));
            home.extend(vec![neurons[g]; members]);
        }
        for k in 0..self.lone {
            on.push(spells(rows, 0.1, 1.0, &mut rng.fork("lone").fork_index(k as u64)));
            home.push(neurons[self.group_sizes.len() + k]);
        }
        let (size, mut sizes) = (one_of(s, &Size::ALL), rng.fork("sizes"));
        let f = Mat::from_fn(rows, on.len(), |i, j| if on[j][i] { size.draw(&mut sizes) } else { 0.0 });
        let gain: Vec<f32> = (0..on.len()).map(|_| between(s, 0.85, 1.2) as f32).collect();
        let mut x = at_home(&f, &home, &gain, self.d);
        noisy(&mut x, between(s, 0.04, 0.15), &mut rng.fork("noise"));
        if s.chance(0.6) {
            apply(&mut x, relu);
        }
        let about = format!("{} shared neurons, {} with one feature", self.group_sizes.len(), self.lone);
        told(case(x, Basis::Privileged, Some(on_off(&f)), CORRELATED, on.len(), about))
    }
}

/// A scene shows each of its two or three objects with probability 0.6 to 0.85; elsewhere they are rare.
fn scenes(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (plan, rows) = (Plan::draw(2, 3, &mut s), pick(&mut s, 5_000, 11_000));
    plan.make(rows, rng, &mut s, |members, own| {
        let (p, shown, stray) = (between(own, 0.06, 0.15), between(own, 0.6, 0.85), 0.01);
        let scene = spells(rows, p, 1.0, own);
        (0..members).map(|_| scene.iter().map(|&on| own.chance(if on { shown } else { stray })).collect()).collect()
    })
}

/// At most one value of an attribute holds at a time: each in 12 to 25 % of rows.
fn either_or(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (plan, rows) = (Plan::draw(2, 3, &mut s), pick(&mut s, 6_000, 12_000));
    plan.make(rows, rng, &mut s, |members, own| {
        let each: Vec<f64> = (0..members).map(|_| between(own, 0.12, 0.25)).collect();
        let mut on = vec![vec![false; rows]; members];
        for i in 0..rows {
            let mut at = own.uniform_f64();
            for (m, p) in each.iter().enumerate() {
                if (0.0..*p).contains(&at) {
                    on[m][i] = true;
                }
                at -= p;
            }
        }
        on
    })
}

/// A kind and one of its sub-kinds, which never holds without it; kinds last for a few tokens.
fn kinds(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (plan, rows) = (Plan::draw(2, 2, &mut s), pick(&mut s, 7_000, 12_000));
    let run = between(&mut s, 1.0, 6.0);
    plan.make(rows, rng, &mut s, |_, own| {
        let (p, given) = (between(own, 0.12, 0.25), between(own, 0.4, 0.6));
        let kind = spells(rows, p, run, own);
        let sub = kind.iter().map(|&on| on && own.chance(given)).collect();
        vec![kind, sub]
    })
}
