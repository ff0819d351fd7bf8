//! `toy induction`: small transformers on sequences that repeat, and the heads that go on with them.

use super::hidden_layer::{self, object};
use super::tied::{self, setting, short};
use super::{Axis, Heat, HeatPanel, Lab, Outcome, Picture, Series, Setting, SettingError, Settings, Toy, ToyError};
use crate::toy::are_bounded;
use crate::toy::induction::{Induction, Measured, Repeated, best, patterns};
use serde_json::json;
use std::time::Instant;
use superlens_lm::model::{Transformer, fresh};

pub const TOY: Toy = Toy {
    name: "induction",
    about: "a small transformer on sequences that repeat: two layers of attention find what came next, one does not",
    source: "Olsson et al. 2022, In-context Learning and Induction Heads (arXiv 2209.11895); Elhage et al. 2021, A Mathematical Framework for \
             Transformer Circuits",
    settings: SETTINGS,
    keys: &[
        "Each instance has layers, loss (mean cross-entropy in nats of the fresh tokens that can be known), unknown_loss (of those that can't), \
           chance (ln of the vocabulary), induction and previous (of each layer's heads: mean attention to the token behind the last one of the same \
           kind, and to the token before), best_induction and best_previous (the largest of each), induction_layer and previous_layer (of those \
           heads, from 0), without (loss with each head taken to zero), without_induction and without_previous (those two) and parameters. With \
           --out each model is written as a folder that other commands take, model-N, with a tokenizer of numbers, and beside it fresh sequences, \
           sequences.jsonl.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("layers", "2..1", "layers, over the instances"),
    setting("vocab", "32", "tokens that there are, from half of length to 4096"),
    setting("length", "32", "tokens of a sequence, 8 to 512"),
    setting("heads", "2", "heads of a layer, 1 to 16"),
    setting("d_head", "16", "numbers of a head, even, 2 to 64; heads · d_head is the model's width"),
    setting("d_mlp", "0", "neurons of each MLP, 0 to 4096; 0 for attention alone"),
    setting("steps", "800", "training steps"),
    setting("batch", "32", "fresh sequences a step, 1 to 4096"),
    tied::OPTIMISER,
    setting("lr", "5e-3", tied::LR.says),
    hidden_layer::NO_DECAY,
    hidden_layer::SCHEDULE,
];

/// Fresh sequences that models are measured on, and those that are written beside them.
const MEASURED: usize = 200;
const WRITTEN: usize = 500;

fn models(s: &Settings, instances: usize) -> Result<Vec<Induction>, SettingError> {
    let length = s.whole("length", 8..=512)?;
    let d_head = s.whole("d_head", 2..=64)?;
    if !d_head.is_multiple_of(2) {
        return Err(s.wrong("d_head", "an even number, since rotations turn pairs"));
    }
    let of = Induction {
        layers: 1,
        vocab: s.whole("vocab", length / 2..=4096)?,
        length,
        heads: s.whole("heads", 1..=16)?,
        d_head,
        d_mlp: s.whole("d_mlp", 0..=4096)?,
        batch: s.whole("batch", 1..=4096)?,
        training: hidden_layer::training(s)?,
    };
    let layers = s.over_instances("layers", instances, 1.0..=8.0)?;
    Ok(layers.into_iter().map(|layers| Induction { layers: layers.round() as usize, ..of.clone() }).collect())
}

struct Grown {
    model: Transformer,
    measured: Measured,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let models = models(s, lab.instances)?;
    // A size that the lists above allow and no model can have is told before the work begins.
    let largest = models.iter().max_by_key(|m| m.layers).expect("at least one instance");
    let first = fresh(&largest.settings(), &lab.rng).map_err(|e| SettingError::new(e.to_string()))?;
    let sizes = ["layers", "vocab", "heads", "d_head", "d_mlp"];
    tied::fits(s, &sizes, lab.instances, first.weights.count(&first.config))?;
    let start = Instant::now();
    let grown = lab.side_by_side(lab.instances, "training", |i, rng, tell| {
        let of = &models[i];
        let mut model = of.train(rng, tell).ok()??;
        let config = model.config.clone();
        model.weights.tensors_mut(&config).iter().all(|t| are_bounded(t.data)).then_some(())?;
        let measured = of.measure(&model, MEASURED, rng);
        Some(Grown { model, measured })
    })?;
    let steps = models[0].training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    let head =
        ["layers", "loss", "chance", "induction", "in layer", "without it", "previous", "in layer", "without it"];
    outcome.table.push(head.map(String::from).to_vec());
    for (i, (of, g)) in models.iter().zip(&grown).enumerate() {
        describe(i, of, g, &mut outcome);
        for (name, bytes) in files(of, &g.model) {
            outcome.files.push((format!("model-{i}/{name}"), bytes));
        }
    }
    let sequences = models[0].sequences(WRITTEN, &lab.rng.fork("written"));
    let words = |s: &Repeated| s.ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let text: String = sequences.iter().map(|s| json!({ "text": words(s) }).to_string() + "\n").collect();
    outcome.files.push(("sequences.jsonl".to_owned(), text.into_bytes()));
    outcome.says.push(format!(
        "Loss is the cross-entropy, in nats, of tokens that come again behind one that was seen before; by chance it is ln {} = {}. Beside it the head \
         that looks most at what came behind the last token of the same kind, and the one that looks most at the token before: how much of its attention \
         goes there, in which layer (from 0), and the loss with that head taken to zero.",
        models[0].vocab,
        short((models[0].vocab as f64).ln())
    ));
    outcome.says.push(
        "An induction head looks for the token whose predecessor is the one that it stands on. Keys hold only what earlier layers wrote, so it needs a \
         layer before it whose head copies each token's predecessor; one layer alone can't do it."
            .into(),
    );
    outcome.pictures.push(scores(&models, &grown));
    outcome.pictures.extend(grown.first().map(|g| attention(&g.model, &sequences[0])));
    Ok(outcome)
}

/// The model's folder.
fn files(of: &Induction, model: &Transformer) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = model.files(&of.settings()).expect("the settings are those that it was made with");
    files.push(("tokenizer.json", of.tokenizer().to_string().into_bytes()));
    files
}

fn describe(i: usize, of: &Induction, g: &Grown, outcome: &mut Outcome) {
    let (m, chance) = (&g.measured, (of.vocab as f64).ln());
    let ((il, ih, induction), (pl, ph, previous)) = (best(&m.induction), best(&m.previous));
    let (no_induction, no_previous) = (m.without[il][ih], m.without[pl][ph]);
    let layer = |l: usize| l.to_string();
    outcome.table.push(vec![
        of.layers.to_string(),
        short(m.loss),
        short(chance),
        short(induction),
        layer(il),
        short(no_induction),
        short(previous),
        layer(pl),
        short(no_previous),
    ]);
    outcome.instances.push(object(json!({
        "layers": of.layers, "seed": i, "loss": m.loss, "unknown_loss": m.unknown_loss, "chance": chance,
        "induction": m.induction, "previous": m.previous, "best_induction": induction, "best_previous": previous,
        "induction_layer": il, "previous_layer": pl, "without": m.without, "without_induction": no_induction,
        "without_previous": no_previous, "parameters": g.model.weights.count(&g.model.config),
    })));
}

/// Heads by both scores.
fn scores(models: &[Induction], grown: &[Grown]) -> Picture {
    let series = |layers: usize, layer: usize| {
        let those = models.iter().zip(grown).filter(|(of, _)| of.layers == layers);
        let heads = those.flat_map(|(_, g)| g.measured.previous[layer].iter().zip(&g.measured.induction[layer]));
        Series {
            name: format!("layer {layer} of {layers}"),
            points: heads.map(|(&p, &i)| (p, i)).collect(),
            line: false,
        }
    };
    let mut depths: Vec<usize> = models.iter().map(|m| m.layers).collect();
    depths.sort_unstable();
    depths.dedup();
    Picture::Sweep {
        name: "heads",
        title: "What do heads look at?".into(),
        caption: "A point a head: how much of its attention goes to the token before, and how much to the token behind the last one of the same kind. \
                  Heads of the second kind need one of the first kind in a layer before them."
            .into(),
        x: Axis::linear("attention to the token before"),
        y: Axis::linear("attention to the token behind the last of its kind"),
        series: depths.into_iter().flat_map(|n| (0..n).map(move |l| (n, l))).map(|(n, l)| series(n, l)).collect(),
        levels: vec![],
    }
}

/// Who looks where, on one sequence.
fn attention(model: &Transformer, shown: &Repeated) -> Picture {
    let heads = model.config.heads;
    let panel = |(i, pattern): (usize, superlens_tensor::Mat)| HeatPanel {
        label: format!("layer {}, head {}", i / heads, i % heads),
        rows: hidden_layer::rows(&pattern),
    };
    Picture::Heat(Heat {
        name: "attention",
        title: "Where each head looks".into(),
        caption: format!(
            "The first instance on one sequence, whose stretch is {} tokens long. A row a token, a column the token that it looks at. A line right below \
             the diagonal: the token before. Lines {} below it: the token behind the last of its kind.",
            shown.period,
            shown.period - 1
        ),
        across: "token looked at".into(),
        down: "token that looks".into(),
        panels: patterns(model, shown).into_iter().enumerate().map(panel).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    /// What `--out` writes is a folder that is read as the model that was measured.
    #[test]
    fn the_models_files_are_those_of_a_model_that_scores_alike() {
        let pairs = ["steps=20", "layers=2", "length=16"].map(str::to_owned);
        let s = Settings::parse(TOY.name, TOY.settings, &pairs).unwrap();
        let of = models(&s, 1).unwrap().remove(0);
        let watch = |_: f64, _: &str| std::ops::ControlFlow::Continue(());
        let lab = Lab { instances: 1, rng: Rng::new(0), watch: &watch };
        let outcome = TOY.work(&s, &lab).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("model-0")).unwrap();
        outcome.files.iter().for_each(|(name, bytes)| std::fs::write(dir.path().join(name), bytes).unwrap());
        let model = superlens_lm::model::load(&dir.path().join("model-0")).unwrap();
        let measured = of.measure(&model, MEASURED, &lab.rng.fork_index(0));
        assert_eq!(outcome.instances[0]["loss"].as_f64(), Some(measured.loss));
        let first = std::fs::read_to_string(dir.path().join("sequences.jsonl")).unwrap();
        assert!(first.lines().count() == WRITTEN && dir.path().join("model-0/tokenizer.json").exists());
    }
}
