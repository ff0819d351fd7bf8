//! `toy boolean_and`: all pairwise ANDs of sparse inputs from far fewer neurons, by a random construction.

use super::tied::{setting, short};
use super::{Lab, Outcome, Setting, SettingError, Settings, Toy, ToyError};
use rayon::prelude::*;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "boolean_and",
    about: "U-AND: every AND of two sparse inputs, read from random neurons z = ReLU(Wx − 1) that several of them share",
    source: "Hänni, Mendel, Vaintrob and Chan 2024, Mathematical Models of Computation in Superposition (arXiv 2408.05451); \
             moments derived",
    settings: SETTINGS,
    keys: "Each instance has loss (share of read-outs on the wrong side of one half), ands (how many there are), mean_none, \
           mean_one, mean_both and std_none, std_one, std_both of the read-out by how many of its two inputs are on, the same \
           with theory_ in front (std only for one), and empty_pairs (pairs without a common neuron, left out).",
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("inputs", "100", "Boolean inputs, 3 to 1000"),
    setting("neurons", "1000", "neurons, 1 to 20000"),
    setting("connect", "0.1", "probability that a neuron sees an input"),
    setting("active", "3", "inputs that are on at once"),
    setting("law", "fixed", "which: fixed (that many, at random), or zipf:S (each on its own, that many on average)"),
    setting("trials", "100", "inputs drawn"),
];

/// How inputs are drawn.
enum Law {
    Fixed,
    /// Probability of each input.
    Each(Vec<f64>),
}

struct Construction {
    inputs: usize,
    neurons: usize,
    connect: f64,
    active: usize,
    trials: usize,
    law: Law,
}

/// Sum, sum of squares and count of read-outs.
#[derive(Clone, Copy, Default)]
struct Moments {
    sum: f64,
    squares: f64,
    n: f64,
}

impl Moments {
    fn add(&mut self, v: f64) {
        self.sum += v;
        self.squares += v * v;
        self.n += 1.0;
    }

    fn mean(&self) -> f64 {
        self.sum / self.n.max(1.0)
    }

    fn std(&self) -> f64 {
        (self.squares / self.n.max(1.0) - self.mean().powi(2)).max(0.0).sqrt()
    }
}

/// What was measured: read-outs with none, one and both of their inputs on.
struct Measured {
    by_on: [Moments; 3],
    errors: usize,
    read: usize,
    empty: usize,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let c = construction(s)?;
    let done = AtomicUsize::new(0);
    let measured: Vec<Option<Measured>> = (0..lab.instances)
        .into_par_iter()
        .with_max_len(1)
        .map(|i| {
            let m = c.measure(&lab.rng.fork_index(i as u64));
            let share = (done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / lab.instances as f64;
            (lab.watch)(share, "reading ANDs").is_continue().then_some(m)
        })
        .collect();
    let measured: Vec<Measured> = measured.into_iter().collect::<Option<_>>().ok_or(ToyError::Stopped)?;
    let mut outcome = Outcome::default();
    outcome.table.push(["instance", "error", "none on", "one on", "both on", "std, one on"].map(String::from).to_vec());
    let theory = c.theory();
    let [none, one, both, std] = theory.map(short);
    outcome.table.push(["theory".to_string(), "–".into(), none, one, both, std].to_vec());
    for (i, m) in measured.iter().enumerate() {
        let means = m.by_on.map(|b| b.mean());
        let error = m.errors as f64 / m.read.max(1) as f64;
        let row =
            [i.to_string(), short(error), short(means[0]), short(means[1]), short(means[2]), short(m.by_on[1].std())];
        outcome.table.push(row.to_vec());
        let value = json!({
            "seed": i, "loss": error, "ands": c.inputs * (c.inputs - 1) / 2, "empty_pairs": m.empty,
            "mean_none": means[0], "mean_one": means[1], "mean_both": means[2],
            "std_none": m.by_on[0].std(), "std_one": m.by_on[1].std(), "std_both": m.by_on[2].std(),
            "theory_mean_none": theory[0], "theory_mean_one": theory[1], "theory_mean_both": theory[2],
            "theory_std_one": theory[3], "truth": "superposition",
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.says.push(format!(
        "{} ANDs of {} inputs from {} neurons. The read-out of a pair is the mean of the neurons that see both; with {} inputs \
         on, theory expects the row above. Errors are read-outs on the wrong side of one half.{}",
        c.inputs * (c.inputs - 1) / 2,
        c.inputs,
        c.neurons,
        c.active,
        if matches!(c.law, Law::Fixed) { "" } else { " The theory holds for a fixed number of inputs; here it varies." }
    ));
    Ok(outcome)
}

fn construction(s: &Settings) -> Result<Construction, SettingError> {
    let inputs = s.whole("inputs", 3..=1000)?;
    let active = s.whole("active", 1..=inputs)?;
    let law = match s.text("law") {
        "fixed" => Law::Fixed,
        text => {
            let power =
                text.strip_prefix("zipf:").and_then(|p| p.parse::<f64>().ok()).filter(|p| (0.0..=10.0).contains(p));
            let power = power.ok_or_else(|| s.wrong("law", "fixed, or zipf:S with S from 0 to 10"))?;
            let shape: Vec<f64> = (1..=inputs).map(|i| (i as f64).powf(-power)).collect();
            let scale = active as f64 / shape.iter().sum::<f64>();
            Law::Each(shape.iter().map(|v| (v * scale).min(1.0)).collect())
        }
    };
    Ok(Construction {
        inputs,
        neurons: s.whole("neurons", 1..=20_000)?,
        connect: s.real("connect", 1e-4..=1.0)?,
        active,
        trials: s.whole("trials", 1..=1_000_000)?,
        law,
    })
}

impl Construction {
    /// E[R | none on], E[R | one on], E[R | both on] and the standard deviation with one on, for `s` inputs on at once.
    fn theory(&self) -> [f64; 4] {
        let (s, p, d) = (self.active as f64, self.connect, self.neurons as f64);
        let std = ((s - 1.0) * p * (1.0 - p) / (d * p * p)).sqrt();
        [s * p - 1.0 + (1.0 - p).powf(s), (s - 1.0) * p, 1.0 + (s - 2.0) * p, std]
    }

    fn measure(&self, rng: &Rng) -> Measured {
        let mut wires = rng.fork("wires");
        // The neurons that see each input, in order.
        let sees: Vec<Vec<u32>> = (0..self.inputs)
            .map(|_| (0..self.neurons as u32).filter(|_| wires.chance(self.connect)).collect())
            .collect();
        let pairs: Vec<(usize, usize)> = (0..self.inputs).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        let common: Vec<Vec<u32>> = pairs.iter().map(|&(a, b)| both(&sees[a], &sees[b])).collect();
        let mut m = Measured { by_on: [Moments::default(); 3], errors: 0, read: 0, empty: 0 };
        m.empty = common.iter().filter(|c| c.is_empty()).count();
        let mut draws = rng.fork("inputs");
        for _ in 0..self.trials {
            let on = self.draw(&mut draws);
            let mut z = vec![-1.0f64; self.neurons];
            (0..self.inputs).filter(|&i| on[i]).for_each(|i| sees[i].iter().for_each(|&k| z[k as usize] += 1.0));
            z.iter_mut().for_each(|z| *z = z.max(0.0));
            for (&(a, b), common) in pairs.iter().zip(&common).filter(|(_, c)| !c.is_empty()) {
                let read = common.iter().map(|&k| z[k as usize]).sum::<f64>() / common.len() as f64;
                let count = usize::from(on[a]) + usize::from(on[b]);
                m.by_on[count].add(read);
                m.errors += usize::from((read > 0.5) != (count == 2));
                m.read += 1;
            }
        }
        m
    }

    fn draw(&self, rng: &mut Rng) -> Vec<bool> {
        match &self.law {
            Law::Each(p) => p.iter().map(|&p| rng.chance(p)).collect(),
            Law::Fixed => {
                let mut on = vec![false; self.inputs];
                rng.permutation(self.inputs)[..self.active].iter().for_each(|&i| on[i] = true);
                on
            }
        }
    }
}

/// What two rising lists share.
fn both(a: &[u32], b: &[u32]) -> Vec<u32> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                out.push(a[i]);
                (i, j) = (i + 1, j + 1);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Means within 0.005 of the formulas and the deviation within 15 %, at the sizes of the claims' second line.
    #[test]
    fn moments_are_those_of_the_formulas() {
        let c = Construction { inputs: 100, neurons: 1000, connect: 0.1, active: 3, trials: 60, law: Law::Fixed };
        let m = c.measure(&Rng::new(1));
        let theory = c.theory();
        for (k, want) in theory[..3].iter().enumerate() {
            // Few pairs have both inputs on: three a trial.
            let error = 4.0 * m.by_on[k].std() / (m.by_on[k].n).sqrt();
            assert!((m.by_on[k].mean() - want).abs() < 0.005 + error, "{k}: {} for {want}", m.by_on[k].mean());
        }
        assert!((m.by_on[1].std() / theory[3] - 1.0).abs() < 0.15, "{} for {}", m.by_on[1].std(), theory[3]);
        assert!(m.errors < m.read / 300);
    }

    #[test]
    fn lists_are_intersected() {
        assert_eq!(both(&[1, 3, 5, 9], &[0, 3, 4, 9, 10]), [3, 9]);
    }
}
