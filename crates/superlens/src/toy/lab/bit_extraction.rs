//! `toy bit_extraction`: how many bits two ReLUs a bit can read, in single and in double precision.

use super::tied::{setting, short};
use super::{Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::bit_extraction::{BitExtraction, ROUND};
use serde_json::json;
use superlens_tensor::{Real, Rng};

pub const TOY: Toy = Toy {
    name: "bit_extraction",
    about: "the bits of one number, read by two ReLUs and a carry each: a dense code without any feature",
    source: "Bartlett et al. 2019, Nearly-tight VC-dimension and pseudodimension bounds (arXiv 1703.02930); precision derived",
    settings: SETTINGS,
    keys: &[
        "Each instance has loss (share of random words with a wrong bit, at the bits asked for, in single precision), \
           exact_bits_f32 and exact_bits_f64 (the longest words of which all, and all shorter ones, come out right), \
           wrong_beyond_f32 and wrong_beyond_f64 (share of wrong words with one bit more), neurons_per_bit, depth (rounds), \
           polysemantic (neurons of the layer with several bits), truth, and block_units and block_wrong: the neurons of one \
           layer that reads all bits of words of block bits at once, and its share of wrong words.",
    ],
    model: Some(|s| Ok(Box::new(model(s)?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("bits", "16", "bits a word, 1 to 52; single precision holds 22"),
    setting("slack", "2", "the gain K is 2^(bits + slack), −1 to 8; −1 is the least that works"),
    setting("words", "200", "random words of each length"),
    setting("block", "6", "bits that are read at once by one layer, 1 to 12"),
];

/// Lengths that are tried at most.
const LONGEST_F32: u32 = 26;
const LONGEST_F64: u32 = 52;

fn model(s: &Settings) -> Result<BitExtraction, SettingError> {
    let slack = s.real("slack", -1.0..=8.0)?;
    if slack.fract() != 0.0 {
        return Err(s.wrong("slack", "a whole number from −1 to 8"));
    }
    Ok(BitExtraction { bits: s.whole("bits", 1..=52)? as u32, slack: slack as i32 })
}

/// Share of wrong words by length, from one bit on.
fn wrong<R: Real>(toy: &BitExtraction, longest: u32, words: usize, rng: &Rng) -> Vec<f64> {
    let of = |bits: u32| {
        let toy = BitExtraction { bits, ..*toy };
        let mut rng = rng.fork_index(u64::from(bits));
        (0..words).filter(|_| !toy.exact::<R>(toy.draw(&mut rng))).count() as f64 / words as f64
    };
    (1..=longest).map(of).collect()
}

fn exact_bits(wrong: &[f64]) -> usize {
    wrong.iter().take_while(|w| **w == 0.0).count()
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let toy = model(s)?;
    let words = s.whole("words", 1..=1_000_000)?;
    let block = s.whole("block", 1..=12)? as u32;
    let measured = lab.side_by_side(lab.instances, "reading words", |_, rng, _| {
        let single = wrong::<f32>(&toy, LONGEST_F32.max(toy.bits), words, &rng.fork("words"));
        let double = wrong::<f64>(&toy, LONGEST_F64, words, &rng.fork("words"));
        Some((single, double, block_wrong(block, words, &rng.fork("blocks"))))
    })?;
    let made =
        crate::toy::make(&toy, &lab.rng, &mut |_| std::ops::ControlFlow::Continue(())).ok_or(ToyError::Stopped)?;
    let truth = crate::toy::ToyModel::truth(&toy, &made.params);
    let mut outcome = Outcome::default();
    outcome
        .table
        .push(["instance", "precision", "exact bits", "theory", "wrong with one more"].map(String::from).to_vec());
    for (i, (single, double, block_wrong)) in measured.iter().enumerate() {
        let beyond = |wrong: &[f64]| wrong.get(exact_bits(wrong)).copied().unwrap_or(0.0);
        for (name, wrong, digits) in [("f32", single, 24), ("f64", double, 53)] {
            let theory = digits.min(digits - toy.slack).to_string();
            let row = [i.to_string(), name.into(), exact_bits(wrong).to_string(), theory, short(beyond(wrong))];
            outcome.table.push(row.to_vec());
        }
        let value = json!({
            "seed": i, "loss": single[toy.bits as usize - 1], "exact_bits_f32": exact_bits(single),
            "exact_bits_f64": exact_bits(double), "wrong_beyond_f32": beyond(single), "wrong_beyond_f64": beyond(double),
            "neurons_per_bit": ROUND, "depth": toy.bits, "polysemantic": truth.polysemantic(), "truth": truth.label(),
            "block_units": block_units(block), "block_wrong": block_wrong,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.says = says(&toy, block, &truth.label());
    outcome.pictures = vec![precision(&measured[0].0, &measured[0].1), rounds(&toy)];
    Ok(outcome)
}

fn says(toy: &BitExtraction, block: u32, truth: &str) -> Vec<String> {
    vec![
        format!(
            "A round reads one bit by two ReLUs and carries the rest on by a third: {} neurons for {} bits, in {} layers. The \
             gain is 2^(r + {}), and K (2x − 1) + 1 must be exact, so that a significand of s bits holds s − {} bits: 22 of \
             24 and 51 of 53 with the usual slack of 2.",
            ROUND as u32 * toy.bits,
            toy.bits,
            toy.bits,
            toy.slack,
            toy.slack
        ),
        format!(
            "All {block} bits at once take one layer of {} neurons, two for each multiple of 2^−{block}: exponentially many, \
             where rounds take three a bit.",
            block_units(block)
        ),
        format!(
            "The truth is {truth}: while several bits are still to come, a neuron answers to all of them, in no proportion that \
             would make one its feature."
        ),
    ]
}

/// Neurons of the layer that reads `bits` at once: a step, by two ReLUs, at each multiple of `2^−bits` between 0 and 1.
fn block_units(bits: u32) -> usize {
    2 * ((1 << bits) - 1)
}

/// Share of wrong words of a layer that reads all bits at once: bit `k` is the sum, with signs in turns, of the steps at the
/// multiples of `2^−(k + 1)`.
fn block_wrong(bits: u32, words: usize, rng: &Rng) -> f64 {
    let toy = BitExtraction { bits, slack: 2 };
    let gain = toy.gain() as f32;
    let steps = |x: f32| -> Vec<f32> {
        let step = |m: u32| {
            let z = gain * (x - toy.number(u64::from(m)) as f32);
            (z + 1.0).max(0.0) - z.max(0.0)
        };
        (1..1 << bits).map(step).collect()
    };
    let right = |word: u64| {
        let steps = steps(toy.number(word) as f32);
        (0..bits).all(|k| {
            let stride = 1usize << (bits - 1 - k);
            let bit: f32 = (1..1usize << (k + 1))
                .map(|m| if m % 2 == 1 { steps[m * stride - 1] } else { -steps[m * stride - 1] })
                .sum();
            bit == f32::from(toy.bit(word, k))
        })
    };
    let mut rng = rng.clone();
    (0..words).filter(|_| !right(toy.draw(&mut rng))).count() as f64 / words as f64
}

fn precision(single: &[f64], double: &[f64]) -> Picture {
    let series = |name: &str, wrong: &[f64]| Series {
        name: name.into(),
        points: wrong.iter().enumerate().map(|(k, w)| (k as f64 + 1.0, 1.0 - w)).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "precision",
        title: "How many bits fit into a number?".into(),
        caption: "Words of r random bits, read by r rounds of two ReLUs and a carry. All are right up to 22 bits in single \
                  precision and 51 in double, with a gain of 2^(r + 2); one bit more no longer fits into the significand."
            .into(),
        x: Axis::linear("bits a word"),
        y: Axis::linear("share of words read right"),
        series: vec![series("double precision", double), series("single precision", single)],
        levels: Vec::new(),
    }
}

/// What the rounds read, over all numbers.
fn rounds(toy: &BitExtraction) -> Picture {
    let (shown, across) = (toy.bits.min(6), 64u32);
    let coarse = BitExtraction { bits: 6, slack: 2 };
    let bits: Vec<Vec<f64>> = (0..across).map(|w| coarse.read(coarse.number(u64::from(w)))).collect();
    let row = |k: u32| bits.iter().map(|b| b[k as usize]).collect();
    Picture::Heat(Heat {
        name: "rounds",
        title: "One number, many bits".into(),
        caption: "Each line is a round, from left to right x goes from 0 to 1. Orange where the bit is 1. The deeper the round, \
                  the finer the stripes: no direction in a layer says what a late round will find."
            .into(),
        across: "the number x, 0 to 1".into(),
        down: "the round".into(),
        panels: vec![HeatPanel { label: "bit".into(), rows: (0..shown).map(row).collect() }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_reads_all_bits_of_short_words() {
        for bits in 1..=8 {
            assert_eq!(block_wrong(bits, 100, &Rng::new(1)), 0.0, "{bits} bits");
        }
        assert_eq!(block_units(3), 14);
    }

    #[test]
    fn precision_ends_where_the_significand_does() {
        let exact = |slack| {
            let toy = BitExtraction { bits: 8, slack };
            let rng = Rng::new(2);
            (
                exact_bits(&wrong::<f32>(&toy, LONGEST_F32, 200, &rng)),
                exact_bits(&wrong::<f64>(&toy, LONGEST_F64, 200, &rng)),
            )
        };
        assert_eq!(exact(2), (22, 51));
        assert_eq!(exact(4), (20, 49));
    }
}
