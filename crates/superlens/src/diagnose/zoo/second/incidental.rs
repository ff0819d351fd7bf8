//! Orthogonal, incidental: independent features met on a neuron by chance while others stayed empty. All with labels.

use super::tools::{
    Size, apply, at_home, between, densities, enough, features, gelu, noisy, on_off, one_of, pick, relu, shift, told,
};
use super::{Case, Family, INCIDENTAL, case, family};
use crate::verdict::Basis;
use superlens_tensor::Rng;

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-incid-birthdays", INCIDENTAL, "each feature took a neuron at random", birthdays),
        family("second-incid-documents", INCIDENTAL, "lasting independent topics met on GELU neurons", documents),
        family("second-incid-push-pull", INCIDENTAL, "one feature excites what another inhibits", push_pull),
    ]
}

/// A neuron at random for each of `n` features, drawn again until a fifth of the live neurons is shared.
fn landed(n: usize, d: usize, s: &mut Rng) -> Vec<usize> {
    loop {
        let home: Vec<usize> = (0..n).map(|_| s.below(d)).collect();
        let mut held = vec![0; d];
        home.iter().for_each(|&h| held[h] += 1);
        let (live, shared) = (held.iter().filter(|&&k| k > 0).count(), held.iter().filter(|&&k| k > 1).count());
        if 5 * shared >= live && held.iter().all(|&k| k <= 4) {
            return home;
        }
    }
}

/// Gains that give features of different densities like shares of a neuron.
fn fair_gains(p: &[f64], s: &mut Rng) -> Vec<f32> {
    p.iter().map(|p| (between(s, 0.85, 1.2) * (0.06 / (p * (1.0 - p))).sqrt()) as f32).collect()
}

fn birthdays(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 24, 128);
    let n = (d as f64 * between(&mut s, 0.5, 0.85)) as usize;
    let p = densities(n, 0.03, 0.15, &mut s);
    let rows = enough(pick(&mut s, 5_000, 10_000), &p);
    let f = features(rows, &p, 1.0, one_of(&mut s, &Size::ALL), &rng.fork("features"));
    let (home, gain) = (landed(n, d, &mut s), fair_gains(&p, &mut s));
    let mut x = at_home(&f, &home, &gain, d);
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    if s.chance(0.5) {
        apply(&mut x, relu);
    }
    told(case(x, Basis::Privileged, Some(on_off(&f)), INCIDENTAL, n, format!("{n} features")))
}

/// Topics last, so that chance overlaps are larger than independent rows would give; still independent.
fn documents(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 20, 72);
    let n = (d as f64 * between(&mut s, 0.5, 0.85)) as usize;
    let (p, run) = (densities(n, 0.06, 0.14, &mut s), between(&mut s, 4.0, 10.0));
    let rows = enough(pick(&mut s, 9_000, 12_000), &p);
    let f = features(rows, &p, run, one_of(&mut s, &Size::ALL), &rng.fork("topics"));
    let home = landed(n, d, &mut s);
    let gain: Vec<f32> = fair_gains(&p, &mut s).into_iter().map(|g| 3.0 * g).collect();
    let mut x = at_home(&f, &home, &gain, d);
    let bias: Vec<f32> = (0..d).map(|_| -between(&mut s, 0.2, 0.8) as f32).collect();
    shift(&mut x, &bias);
    noisy(&mut x, between(&mut s, 0.04, 0.15), &mut rng.fork("noise"));
    apply(&mut x, gelu);
    told(case(x, Basis::Privileged, Some(on_off(&f)), INCIDENTAL, n, format!("{n} topics that last {run:.0} tokens")))
}

/// Linear neurons about a resting level; features push up or down.
fn push_pull(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 20, 80);
    let n = (d as f64 * between(&mut s, 0.6, 0.95)) as usize;
    let p = densities(n, 0.04, 0.12, &mut s);
    let rows = enough(pick(&mut s, 5_000, 10_000), &p);
    let f = features(rows, &p, 1.0, Size::LogNormal, &rng.fork("features"));
    let home = landed(n, d, &mut s);
    let gain: Vec<f32> = fair_gains(&p, &mut s).into_iter().map(|g| if s.chance(0.5) { g } else { -g }).collect();
    let mut x = at_home(&f, &home, &gain, d);
    let rest: Vec<f32> = (0..d).map(|_| between(&mut s, 0.5, 2.0) as f32).collect();
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    shift(&mut x, &rest);
    told(case(x, Basis::Privileged, Some(on_off(&f)), INCIDENTAL, n, format!("{n} features that push or pull")))
}
