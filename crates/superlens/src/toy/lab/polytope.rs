//! `toy polytope`: scaling a layer, spline codes, and where the boundaries of polytopes lie.

mod pictures;

use super::tied::{BATCH, LR, STEPS, setting, short};
use super::{Lab, Outcome, Setting, SettingError, Settings, Toy, ToyError, made};
use crate::toy::polytope::{Corners, Net, Polytope, Tail};
use crate::toy::probe::agreement;
use crate::toy::tied::recipe;
use crate::toy::{Made, ToyModel};
use serde_json::json;
use std::time::Instant;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "polytope",
    about: "a classifier of ReLUs: scale a layer and the label flips, unless no bias or norm lets it; spline codes of classes",
    source: "Black et al. 2022, Interpreting Neural Networks through the Polytope Lens (arXiv 2211.12312); invariance derived",
    settings: SETTINGS,
    keys: &[
        "There is an instance for each tail of each --instances. Each has tail, loss (cross-entropy), accuracy, flips (share \
           of images whose label changes for some scale), code_changes (share whose spline code does), code_distance (largest \
           mean share of signs that change), flips_by_scale, codes_by_scale, within and between (mean share of signs that \
           differ between images of a class and of two), distance_ratio, near and far (signs that change per segment between \
           images of two classes: within a twentieth of the place where the label changes, and farther than a quarter), \
           boundary_ratio, across and along (the same per whole segment, between classes and within one), profile, \
           polysemantic and truth. The document also has scales.",
    ],
    model: Some(|s| {
        let tail = tails(s)?[0];
        let task = task(s, &Rng::new(0).fork("task"))?;
        Ok(Box::new(model(s, task, tail)?))
    }),
    run,
};

const SETTINGS: &[Setting] = &[
    setting(
        "tails",
        "batch_norm,bias,bias_free,rms_norm,layer_norm",
        "what follows the layer: some of these, with commas",
    ),
    setting("pixels", "64", "pixels of an image, 2 to 1024"),
    setting(
        "patterns",
        "5",
        "patterns that an image is made of, each with its sign, 1 to 10; at most as many as pixels",
    ),
    setting("classes", "4", "classes, drawn at random for the combinations of signs, 2 to 64"),
    setting("noise", "0.3", "deviation of a pixel; a pattern has length 1"),
    setting("hidden", "32", "neurons of each layer, 2 to 1024"),
    setting("depth", "2", "layers between the one that is scaled and the logits, 1 to 20"),
    Setting { default: "600", ..STEPS },
    Setting { default: "256", ..BATCH },
    Setting { default: "1e-2", ..LR },
];

const TAILS: &[(&str, Tail)] = &[
    ("batch_norm", Tail::BatchNorm),
    ("bias", Tail::Bias),
    ("bias_free", Tail::BiasFree),
    ("rms_norm", Tail::RmsNorm),
    ("layer_norm", Tail::LayerNorm),
];

/// Images that are scaled, and compared in pairs.
const IMAGES: usize = 300;
/// Half powers of two that the layer is scaled by, on either side of 1.
const HALF_POWERS: i32 = 8;
/// Segments between images, and steps along each.
const SEGMENTS: usize = 400;
const STEPS_ALONG: usize = 200;
/// Bins of the distance from the place where the label changes, as shares of a segment: 0 to a half.
const BINS: usize = 10;

fn tails(s: &Settings) -> Result<Vec<Tail>, SettingError> {
    let find = |word: &str| TAILS.iter().find(|t| t.0 == word.trim()).map(|t| t.1);
    s.text("tails").split(',').map(find).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let words: Vec<&str> = TAILS.iter().map(|t| t.0).collect();
        s.wrong("tails", &format!("one or more of {}, with commas", words.join(", ")))
    })
}

fn name(tail: Tail) -> &'static str {
    TAILS.iter().find(|t| t.1 == tail).map_or("", |t| t.0)
}

fn task(s: &Settings, stream: &Rng) -> Result<Corners, SettingError> {
    let (pixels, patterns) = (s.whole("pixels", 2..=1024)?, s.whole("patterns", 1..=10)?);
    if patterns > pixels {
        return Err(s.wrong("patterns", &format!("at most as many patterns as the {pixels} pixels")));
    }
    let classes = s.whole("classes", 2..=64)?;
    if classes > 1 << patterns {
        return Err(s.wrong("classes", &format!("at most the {} combinations of {patterns} signs", 1 << patterns)));
    }
    Ok(Corners::new(pixels, patterns, classes, s.real("noise", 0.0..=100.0)? as f32, stream))
}

fn model(s: &Settings, task: Corners, tail: Tail) -> Result<Polytope, SettingError> {
    Ok(Polytope {
        task,
        hidden: s.whole("hidden", 2..=1024)?,
        depth: s.whole("depth", 1..=20)?,
        tail,
        batch: s.whole("batch", 2..=1 << 20)?,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

fn scales() -> Vec<f32> {
    (-HALF_POWERS..=HALF_POWERS).map(|k| 2f32.powf(0.5 * k as f32)).collect()
}

/// What was measured of one network.
struct Measured {
    model: Polytope,
    made: Made,
    accuracy: f64,
    scaled: Scaled,
    within: f64,
    between: f64,
    segments: Segments,
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let tails = tails(s)?;
    let models = (0..lab.instances)
        .flat_map(|i| tails.iter().map(move |t| (i, *t)))
        .map(|(i, tail)| model(s, task(s, &lab.rng.fork("task").fork_index(i as u64))?, tail))
        .collect::<Result<Vec<_>, SettingError>>()?;
    let start = Instant::now();
    let measured = lab.side_by_side(models.len(), "training", |k, rng, tell| {
        let made = made(&models[k], rng, tell)?;
        Some(measure(&models[k], made, &rng.fork("measured")))
    })?;
    let steps = models.iter().map(|m| m.training.steps).sum();
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&measured, tails.len(), &mut outcome);
    Ok(outcome)
}

fn measure(model: &Polytope, made: Made, rng: &Rng) -> Measured {
    let net = model.net(&made.params);
    let (x, y) = model.task.draw(IMAGES, &rng.fork("images"));
    let read = net.of_inputs(&x);
    let (within, between) = distances(&read.codes, &y);
    Measured {
        accuracy: agreement(&read.labels, &y),
        scaled: Scaled::of(&net, &net.layer(&x)),
        within,
        between,
        segments: Segments::of(&net, &x, &y, &mut rng.fork("segments")),
        model: model.clone(),
        made,
    }
}

/// What scaling the layer changes.
struct Scaled {
    /// By scale: the share of labels, and the mean share of signs, that differ from those at 1.
    flips: Vec<f64>,
    codes: Vec<f64>,
    /// Shares of images whose label, and whose code, differs at some scale.
    any_flip: f64,
    any_code: f64,
}

impl Scaled {
    fn of(net: &Net, h: &Mat) -> Self {
        let plain = net.read(h);
        let n = h.rows();
        let (mut flipped, mut recoded) = (vec![false; n], vec![false; n]);
        let mut out = Scaled { flips: Vec::new(), codes: Vec::new(), any_flip: 0.0, any_code: 0.0 };
        for alpha in scales() {
            let read = net.read(&Mat::from_fn(n, h.cols(), |r, j| alpha * h[(r, j)]));
            out.flips.push(1.0 - agreement(&read.labels, &plain.labels));
            out.codes.push((0..n).map(|r| hamming(&read.codes[r], &plain.codes[r])).sum::<f64>() / n as f64);
            for r in 0..n {
                flipped[r] |= read.labels[r] != plain.labels[r];
                recoded[r] |= read.codes[r] != plain.codes[r];
            }
        }
        let share = |flags: &[bool]| flags.iter().filter(|f| **f).count() as f64 / n as f64;
        (out.any_flip, out.any_code) = (share(&flipped), share(&recoded));
        out
    }
}

/// The share of signs that differ.
fn hamming(a: &[bool], b: &[bool]) -> f64 {
    1.0 - agreement(a, b)
}

/// Mean distance of codes within a class and between two.
fn distances(codes: &[Vec<bool>], y: &[usize]) -> (f64, f64) {
    let mut sums = [(0.0, 0usize); 2];
    for i in 0..codes.len() {
        for j in 0..i {
            let sum = &mut sums[usize::from(y[i] != y[j])];
            sum.0 += hamming(&codes[i], &codes[j]);
            sum.1 += 1;
        }
    }
    let mean = |(sum, n): (f64, usize)| sum / n.max(1) as f64;
    (mean(sums[0]), mean(sums[1]))
}

/// Signs that change along straight lines between images, per segment.
struct Segments {
    /// Rate by distance from the place where the label changes, over segments with a single such place.
    profile: Vec<f64>,
    near: f64,
    far: f64,
    /// Over whole segments between two classes, and within one.
    across: f64,
    along: f64,
}

impl Segments {
    fn of(net: &Net, x: &Mat, y: &[usize], rng: &mut Rng) -> Self {
        let (mut changes, mut length) = (vec![0.0; BINS], vec![0.0; BINS]);
        let mut whole = [(0.0, 0usize); 2];
        for _ in 0..SEGMENTS {
            let (a, b) = (rng.below(x.rows()), rng.below(x.rows()));
            if a == b {
                continue;
            }
            let share = |r: usize| r as f32 / STEPS_ALONG as f32;
            let line = Mat::from_fn(STEPS_ALONG + 1, x.cols(), |r, j| x[(a, j)] + share(r) * (x[(b, j)] - x[(a, j)]));
            let read = net.of_inputs(&line);
            let steps = |r: usize| hamming(&read.codes[r], &read.codes[r + 1]) * read.codes[r].len() as f64;
            let sum = &mut whole[usize::from(y[a] != y[b])];
            (sum.0, sum.1) = (sum.0 + (0..STEPS_ALONG).map(steps).sum::<f64>(), sum.1 + 1);
            let places: Vec<usize> = (0..STEPS_ALONG).filter(|r| read.labels[*r] != read.labels[r + 1]).collect();
            let [place] = places[..] else { continue };
            for r in 0..STEPS_ALONG {
                let bin = r.abs_diff(place) * 2 * BINS / STEPS_ALONG;
                if bin < BINS {
                    changes[bin] += steps(r);
                    length[bin] += 1.0 / STEPS_ALONG as f64;
                }
            }
        }
        let rate = |bins: std::ops::Range<usize>| {
            changes[bins.clone()].iter().sum::<f64>() / length[bins].iter().sum::<f64>().max(1e-9)
        };
        let mean = |(sum, n): (f64, usize)| sum / n.max(1) as f64;
        Segments {
            near: rate(0..1),
            far: rate(BINS / 2..BINS),
            across: mean(whole[1]),
            along: mean(whole[0]),
            profile: (0..BINS).map(|k| rate(k..k + 1)).collect(),
        }
    }
}

fn describe(measured: &[Measured], tails: usize, outcome: &mut Outcome) {
    let heading = [
        "tail",
        "accuracy",
        "labels that flip",
        "codes that change",
        "between / within",
        "boundaries, near / far",
        "truth",
    ];
    outcome.table.push(heading.map(String::from).to_vec());
    for (k, m) in measured.iter().enumerate() {
        let (truth, g) = (m.model.truth(&m.made.params), &m.segments);
        let ratio = m.between / m.within.max(1e-9);
        let boundary = g.near / g.far.max(1e-9);
        let numbers = [m.accuracy, m.scaled.any_flip, m.scaled.any_code, ratio, boundary].map(short);
        outcome
            .table
            .push([name(m.model.tail).to_string()].into_iter().chain(numbers).chain([truth.label()]).collect());
        let value = json!({
            "tail": name(m.model.tail), "seed": k / tails, "loss": m.made.loss, "accuracy": m.accuracy,
            "flips": m.scaled.any_flip, "code_changes": m.scaled.any_code,
            "code_distance": m.scaled.codes.iter().copied().fold(0.0, f64::max), "flips_by_scale": m.scaled.flips,
            "codes_by_scale": m.scaled.codes, "within": m.within, "between": m.between, "distance_ratio": ratio,
            "near": g.near, "far": g.far, "boundary_ratio": boundary, "across": g.across, "along": g.along,
            "profile": g.profile, "polysemantic": truth.polysemantic(), "truth": truth.label(),
        });
        outcome.instances.push(value.as_object().cloned().unwrap_or_default());
    }
    outcome.keys.insert("scales".into(), json!(scales()));
    outcome.says = vec![
        format!(
            "The layer of {IMAGES} images is scaled by {} factors from 1/16 to 16. Without biases behind it, and behind a norm, \
             neither spline code nor label can change; with biases, batch norm folded into them included, both may: what the \
             layer says lies in the polytope, not in the direction alone.",
            2 * HALF_POWERS + 1
        ),
        "A spline code is the sign of every pre-activation. By the paper, codes of two classes differ more than those of one; along lines \
         between images, signs change most where the label does."
            .into(),
    ];
    outcome.pictures = pictures::all(&measured[..tails]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_shares_of_signs() {
        let codes = [vec![true, true], vec![true, false], vec![false, false]];
        assert_eq!(distances(&codes, &[0, 0, 1]), (0.5, 0.75));
        assert_eq!(hamming(&codes[0], &codes[2]), 1.0);
    }

    #[test]
    fn what_can_not_be_made_is_refused() {
        let error = |set: &str| {
            let settings = Settings::parse("polytope", SETTINGS, &[set.to_string()]).unwrap();
            let watch = |_: f64, _: &str| std::ops::ControlFlow::Continue(());
            run(&settings, &Lab { instances: 1, rng: Rng::new(0), watch: &watch }).unwrap_err().to_string()
        };
        assert!(error("tails=bias,none").contains("--set tails=bias,none: expected one or more of batch_norm"));
        assert!(error("classes=33").contains("at most the 32 combinations"));
        assert!(error("pixels=3").contains("at most as many patterns"));
    }
}
