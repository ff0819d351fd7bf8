//! `toy memoriser`: labels in the bits of weights, and a network that learned random labels by heart.

use super::tied::{LR, STEPS, setting, short};
use super::{Axis, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::bit_extraction::BitExtraction;
use crate::toy::lookup::Lookup;
use crate::toy::memoriser::Memoriser;
use crate::toy::noise::Gaussian;
use crate::toy::probe::{Probe, participation_ratio};
use crate::toy::tied::recipe;
use crate::toy::{Made, ToyModel, dictionary};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "memoriser",
    about: "random labels: written into the bits of weights (address → weight → bit), and learned by heart",
    source: "after Bartlett et al. 2019 (arXiv 1703.02930) and Vardi et al. 2021 (arXiv 2110.03187); table and checks derived",
    settings: SETTINGS,
    keys: &[
        "Each instance has, of the table: table_labels, word_recall and label_recall (share of words and of labels read \
           right), noisy_word_recall and noisy_label_recall (after one unit in the last place on every weight), \
           word_participation (participation ratio of the number that a weight hands on) and word_probe (accuracy of linear \
           probes for its labels, on other addresses). Of the trained network: loss, recall, participation (of the first \
           hidden layer, as a share of its live neurons), probe (accuracy of a linear probe for the labels, on items it was \
           not fitted on), dictionary_fvu and twin_fvu (what a sparse dictionary leaves of held-out items, and of Gaussian rows \
           of the same covariance), dictionary_ratio (the first over the second), polysemantic and truth.",
    ],
    model: Some(|s| Ok(Box::new(model(s, 0)?))),
    run,
};

const SETTINGS: &[Setting] = &[
    setting("items", "600", "items of the trained network, 20 to 20000"),
    setting("address", "24", "signs of an item's address, 1 to 1000; 2^address must hold all items twice"),
    setting("hidden", "64", "neurons of each of its two hidden layers, 2 to 512"),
    setting("labels", "1", "labels an item, 1 to 100"),
    Setting { default: "800", ..STEPS },
    Setting { default: "1e-2", ..LR },
    setting("table_address", "8", "address bits of the table, 1 to 12: 2^this many weights"),
    setting("table_bits", "16", "labels in the bits of each weight, 2 to 22"),
    setting("active", "4", "atoms a row of the sparse dictionary, 1 to 64"),
];

fn model(s: &Settings, seed: u64) -> Result<Memoriser, SettingError> {
    let (items, address) = (s.whole("items", 20..=20_000)?, s.whole("address", 1..=1000)?);
    if address < 30 && 1usize << address < 2 * items {
        return Err(
            s.wrong("address", &format!("enough signs to tell {items} items apart: 2^address at least twice that"))
        );
    }
    Ok(Memoriser {
        seed,
        items,
        address,
        hidden: s.whole("hidden", 2..=512)?,
        labels: s.whole("labels", 1..=100)?,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

/// What was measured of a table.
struct Table {
    labels: usize,
    plain: (f64, f64),
    /// Units in the last place, and recall of words and labels.
    noisy: Vec<(u32, (f64, f64))>,
    participation: f64,
    probe: f64,
}

/// What was measured of a trained network.
struct ByHeart {
    made: Made,
    recall: f64,
    participation: f64,
    probe: f64,
    dictionary: f64,
    twin: f64,
    polysemantic: usize,
    truth: String,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    model(s, 0)?;
    let (address, bits) = (s.whole("table_address", 1..=12)? as u32, s.whole("table_bits", 2..=22)? as u32);
    let active = s.whole("active", 1..=64)?;
    let start = Instant::now();
    let measured = lab.side_by_side(lab.instances, "learning by heart", |_, rng, tell| {
        let toy = model(s, rng.fork("list").next_u64()).ok()?;
        let made = made(&toy, rng, tell)?;
        Some((table(address, bits, &rng.fork("table")), by_heart(&toy, made, active, &rng.fork("measured"))))
    })?;
    let steps = model(s, 0)?.training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&measured, bits, &mut outcome);
    Ok(outcome)
}

fn table(address: u32, bits: u32, rng: &Rng) -> Table {
    let reader = BitExtraction { bits, slack: 2 };
    let mut draws = rng.fork("labels");
    let words: Vec<u64> = (0..1 << address).map(|_| reader.draw(&mut draws)).collect();
    let plain = Lookup::write(bits, &words);
    let noisy = (0..bits)
        .map(|k| {
            let mut shaken = Lookup::write(bits, &words);
            shaken.shake(1 << k, &mut rng.fork("noise").fork_index(u64::from(k)));
            (1 << k, shaken.recall(&words))
        })
        .collect();
    // What the weight hands on is one number; its labels are asked for on addresses that the probe didn't see.
    let numbers = Mat::from_fn(words.len(), 1, |a, _| plain.word(a));
    let labels =
        Mat::from_fn(words.len(), bits as usize, |a, k| if reader.bit(words[a], k as u32) { 1.0 } else { -1.0 });
    Table {
        labels: words.len() * bits as usize,
        plain: plain.recall(&words),
        noisy,
        participation: participation_ratio(&numbers),
        probe: probe(&numbers, &labels),
    }
}

/// Accuracy of a linear probe for signs, fitted on the even rows and judged on the odd ones.
fn probe(x: &Mat, labels: &Mat) -> f64 {
    let half = |odd: usize| (0..x.rows()).filter(|r| r % 2 == odd).collect::<Vec<_>>();
    let (fit, judge) = (half(0), half(1));
    let read = Probe::fit(&x.select_rows(&fit), &labels.select_rows(&fit), 1e-3).read(&x.select_rows(&judge));
    let want = labels.select_rows(&judge);
    let right = read.data().iter().zip(want.data()).filter(|(r, w)| **r * **w > 0.0).count();
    right as f64 / want.data().len().max(1) as f64
}

fn by_heart(toy: &Memoriser, made: Made, active: usize, rng: &Rng) -> ByHeart {
    let (x, labels) = (toy.addresses(), toy.coins());
    let layer = toy.layer(&made.params, &x);
    let truth = toy.truth(&made.params);
    let live: Vec<usize> = (0..toy.hidden).filter(|j| truth.live[*j]).collect();
    let layer = layer.select_cols(&live);
    let half = |odd: usize| layer.select_rows(&(0..toy.items).filter(|r| r % 2 == odd).collect::<Vec<_>>());
    let (dictionary, twin) = sparse_and_twin(&half(0), &half(1), &layer, active, rng);
    ByHeart {
        recall: toy.recall(&made.params),
        participation: participation_ratio(&layer) / live.len().max(1) as f64,
        probe: probe(&layer, &labels),
        dictionary,
        twin,
        polysemantic: truth.polysemantic(),
        truth: truth.label(),
        made,
    }
}

/// What a sparse dictionary leaves of held-out rows, and of Gaussian rows in their place; nothing where no neuron lives.
fn sparse_and_twin(fit: &Mat, judge: &Mat, layer: &Mat, active: usize, rng: &Rng) -> (f64, f64) {
    if layer.cols() == 0 {
        return (0.0, 0.0);
    }
    let twin = Gaussian::like(layer);
    let fvu = |fit: &Mat, judge: &Mat| dictionary::fvu(fit, judge, 2 * layer.cols(), active, &rng.fork("dictionary"));
    let (fit_twin, judge_twin) =
        (twin.sample(fit.rows(), &rng.fork("twin")), twin.sample(judge.rows(), &rng.fork("fresh twin")));
    (fvu(fit, judge), fvu(&fit_twin, &judge_twin))
}

fn describe(measured: &[(Table, ByHeart)], bits: u32, outcome: &mut Outcome) {
    let heading = [
        "instance",
        "table: words",
        "after 1 ulp",
        "probe",
        "trained: recall",
        "dimensions",
        "probe",
        "dictionary / twin",
    ];
    outcome.table.push(heading.map(String::from).to_vec());
    for (i, (t, n)) in measured.iter().enumerate() {
        let (_, (word, label)) = t.noisy[0];
        let ratio = n.dictionary / n.twin.max(1e-12);
        let numbers = [t.plain.0, word, t.probe, n.recall, n.participation, n.probe, ratio];
        outcome.table.push([i.to_string()].into_iter().chain(numbers.map(short)).collect());
        let value = json!({
            "seed": i, "loss": n.made.loss, "table_labels": t.labels, "word_recall": t.plain.0, "label_recall": t.plain.1,
            "noisy_word_recall": word, "noisy_label_recall": label, "word_participation": t.participation,
            "word_probe": t.probe, "recall": n.recall, "participation": n.participation, "probe": n.probe,
            "dictionary_fvu": n.dictionary, "twin_fvu": n.twin, "dictionary_ratio": ratio, "polysemantic": n.polysemantic,
            "truth": n.truth,
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.says = says(&measured[0].0, &measured[0].1, bits);
    outcome.pictures.push(noise(&measured[0].0));
}

fn says(t: &Table, n: &ByHeart, bits: u32) -> Vec<String> {
    let (_, (words, labels)) = t.noisy[0];
    vec![
        format!(
            "The table holds {} labels in {} weights of {bits} bits each. A word is right if all its labels are. One unit in the \
             last place of a weight makes another word of it: {} of the words survive that, and {} of the labels, those above \
             the last bits. {bits} labels lie in one number, of which a linear probe reads hardly more than the first.",
            t.labels,
            t.labels / bits as usize,
            short(words),
            short(labels)
        ),
        format!(
            "The trained network recalls {} of its list. Dimensions are the participation ratio of its first hidden layer as a \
             share of its neurons; the probe is linear and judged on items that it was not fitted on; the last column is what a \
             sparse dictionary leaves of the layer, over what it leaves of Gaussian rows with the same covariance: near 1, there \
             is nothing sparse to find.",
            short(n.recall)
        ),
    ]
}

fn noise(t: &Table) -> Picture {
    let series = |name: &str, pick: fn(&(f64, f64)) -> f64| Series {
        name: name.into(),
        points: t.noisy.iter().map(|(ulps, recall)| (f64::from(*ulps), pick(recall))).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "noise",
        title: "How much noise do learned labels stand?".into(),
        caption: "Share of words, and of single labels, that are read right after every weight was moved by up to so many units \
                  in the last place, up or down by chance. Without noise all are right; one unit spoils every word. Labels go \
                  one bit after the other, down to a coin's half."
            .into(),
        x: Axis::log("units in the last place, at most"),
        y: Axis::linear("share read right"),
        series: vec![series("whole words", |r| r.0), series("single labels", |r| r.1)],
        levels: vec![(0.5, "a coin".into())],
    }
}
