//! Monosemantic: each live neuron has one feature.

use super::tools::{
    Size, apply, at_home, between, bf16, densities, enough, features, gelu, noisy, on_off, one_of, pick, poisson,
    shift, spells, told,
};
use super::{Case, Family, MONOSEMANTIC, case, family};
use crate::verdict::Basis;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-mono-counts", MONOSEMANTIC, "spike counts: each cell fires for one thing", counts),
        family("second-mono-documents", MONOSEMANTIC, "GELU neurons, each with one topic that lasts", documents),
        family(
            "second-mono-few-doubled",
            MONOSEMANTIC,
            "one or two neurons of many have a second feature",
            few_doubled,
        ),
    ]
}

/// Spikes of cells with a spontaneous rate; each cell is driven by its own stimulus.
fn counts(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (rows, d) = (pick(&mut s, 5_000, 11_000), pick(&mut s, 16, 80));
    let idle = between(&mut s, 0.1, 0.4);
    let mut x = Mat::zeros(rows, d);
    for j in 0..d {
        let mut own = rng.fork("cells").fork_index(j as u64);
        let (p, drive) = (between(&mut own, 0.03, 0.15), between(&mut own, 5.0, 15.0));
        for (i, on) in spells(rows, p, 1.0, &mut own).into_iter().enumerate() {
            let mean = if on { idle + drive * between(&mut own, 0.6, 1.4) } else { idle };
            x[(i, j)] = poisson(mean, &mut own);
        }
    }
    told(case(x, Basis::Privileged, None, MONOSEMANTIC, d, format!("spontaneous rate {idle:.2}")))
}

/// Topics last for a few tokens; a GELU with a negative bias gives each its neuron. Half of the cases have labels.
fn documents(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (d, run) = (pick(&mut s, 24, 96), between(&mut s, 4.0, 10.0));
    let p = densities(d, 0.05, 0.12, &mut s);
    let rows = enough(pick(&mut s, 9_000, 12_000), &p);
    let f = features(rows, &p, run, one_of(&mut s, &Size::ALL), &rng.fork("topics"));
    let gain: Vec<f32> = (0..d).map(|_| between(&mut s, 2.5, 5.0) as f32).collect();
    let bias: Vec<f32> = (0..d).map(|_| -between(&mut s, 0.4, 1.0) as f32).collect();
    let home = s.permutation(d);
    let mut x = at_home(&f, &home, &gain, d);
    shift(&mut x, &bias);
    noisy(&mut x, between(&mut s, 0.05, 0.2), &mut rng.fork("noise"));
    apply(&mut x, gelu);
    let labels = s.chance(0.5).then(|| on_off(&f));
    told(case(x, Basis::Privileged, labels, MONOSEMANTIC, d, format!("topics last {run:.0} tokens")))
}

/// Too few neurons are polysemantic to speak of the layer: at most two of eighty or more, each with its neighbour's feature.
fn few_doubled(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (live, dead) = (pick(&mut s, 80, 180), pick(&mut s, 0, 16));
    let d = live + dead;
    let p = densities(live, 0.03, 0.1, &mut s);
    let rows = enough(pick(&mut s, 5_000, 9_000), &p);
    let f = features(rows, &p, 1.0, Size::LogNormal, &rng.fork("features"));
    let order = s.permutation(d);
    let gain: Vec<f32> = (0..live).map(|_| between(&mut s, -1.0, 1.0).exp() as f32).collect();
    let mut x = at_home(&f, &order[..live], &gain, d);
    let doubled = pick(&mut s, 1, 2);
    for k in 0..doubled {
        for i in 0..rows {
            x[(i, order[k])] += gain[k] * f[(i, k + 10)];
        }
    }
    noisy(&mut x, between(&mut s, 0.02, 0.08), &mut rng.fork("noise"));
    apply(&mut x, bf16);
    let about = format!("{live} live neurons, {dead} dead, {doubled} with a second feature");
    told(case(x, Basis::Privileged, Some(on_off(&f)), MONOSEMANTIC, live, about))
}
