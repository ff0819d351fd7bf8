//! `toy disentangle`: why PCA, ICA and a β-VAE take a rotated layer apart, and not a superposed one.

use super::tied::{BATCH, LR, STEPS, setting, short};
use super::{Heat, HeatPanel, Lab, Outcome, Picture, Setting, SettingError, Settings, Toy, ToyError};
use crate::geometry::recover::unit_rows;
use crate::sae::assign;
use crate::sae::metrics::mmcs;
use crate::toy::disentangle::{Disentangle, Layer, Method};
use crate::toy::tied::recipe;
use serde_json::{Map, json};
use std::time::Instant;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub const TOY: Toy = Toy {
    name: "disentangle",
    about: "PCA, ICA and a β-VAE on a rotated layer, which they take apart, and on a superposed one, which they can't",
    source: "Hyvärinen 1999 (FastICA); Higgins et al. 2017, β-VAE; that there are no more factors than dimensions is what all three assume",
    settings: SETTINGS,
    keys: &[
        "Each instance has rotated and superposed: of each method (pca, ica, vae, sae) mmcs (mean over the true features of the largest |cos| with what \
           it found), recovered (share of the true features with |cos| above 0.9) and directions (how many it found); and chance, the mmcs of as many \
           random directions as dimensions.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("d", "8", "neurons, and features of the rotated layer, 2 to 128"),
    setting("n", "24", "features of the superposed layer, more than d, at most 1024"),
    setting("density", "0.06", "probability that a feature is on"),
    setting("rows", "30000", "rows, 100 to 1000000"),
    setting("beta", "4", "weight of the β-VAE's divergence from its prior"),
    setting("hidden", "64", "hidden neurons of its encoder, 1 to 4096"),
    Setting { default: "12000", ..STEPS },
    Setting { default: "256", ..BATCH },
    Setting { default: "3e-3", ..LR },
];

/// A cosine from which a direction is the feature.
const RECOVERED: f32 = 0.9;

fn toy(s: &Settings) -> Result<Disentangle, SettingError> {
    let d = s.whole("d", 2..=128)?;
    let n = s.whole("n", 3..=1024)?;
    if n <= d {
        return Err(s.wrong("n", "more features than d"));
    }
    Ok(Disentangle {
        d,
        n,
        density: s.real("density", 1e-4..=0.5)?,
        rows: s.whole("rows", 100..=1_000_000)?,
        beta: s.real("beta", 0.0..=1e3)?,
        hidden: s.whole("hidden", 1..=4096)?,
        batch: s.whole("batch", 1..=1 << 16)?,
        training: recipe(s.whole("steps", 1..=10_000_000)? as u64, s.real("lr", 1e-12..=1e3)?),
    })
}

/// What one method found of one layer.
struct Found {
    method: Method,
    /// |cos| `[features, directions]`, each direction under the feature that it is given to.
    cosines: Mat,
    mmcs: f64,
    recovered: f64,
    directions: usize,
}

/// What all methods found of one layer, and what chance would.
struct Looked {
    found: Vec<Found>,
    chance: f64,
}

fn look(
    toy: &Disentangle,
    layer: &Layer,
    rng: &Rng,
    tell: &mut dyn FnMut(f64) -> std::ops::ControlFlow<()>,
) -> Option<Looked> {
    let n = Method::ALL.len() as f64;
    let mut found = Vec::new();
    for (k, method) in Method::ALL.into_iter().enumerate() {
        let got = toy.look(method, layer, &rng.fork(method.name()), &mut |share| tell((k as f64 + share) / n))?;
        found.push(Found::of(method, &layer.directions, &got));
    }
    let random = unit_rows(toy.d, toy.d, &mut rng.fork("chance"));
    Some(Looked { found, chance: mmcs(&layer.directions, &random) })
}

impl Found {
    fn of(method: Method, truth: &Mat, found: &Mat) -> Found {
        let cosines = cosines(truth, found);
        let best = |i: usize| cosines.row(i).iter().copied().fold(0.0, f32::max);
        let recovered = (0..truth.rows()).filter(|&i| best(i) > RECOVERED).count() as f64 / truth.rows() as f64;
        let mmcs = (0..truth.rows()).map(|i| f64::from(best(i))).sum::<f64>() / truth.rows() as f64;
        Found { method, mmcs, recovered, directions: found.rows(), cosines: matched(&cosines) }
    }
}

/// |cos| of every true direction with every one found.
fn cosines(truth: &Mat, found: &Mat) -> Mat {
    let unit = |m: &Mat| {
        let length = |i: usize| m.row(i).iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-20);
        let lengths: Vec<f32> = (0..m.rows()).map(length).collect();
        Mat::from_fn(m.rows(), m.cols(), |i, j| m[(i, j)] / lengths[i])
    };
    let mut out = matmul(&unit(truth), unit(found).t());
    out.data_mut().iter_mut().for_each(|c| *c = c.abs());
    out
}

/// Columns in an order in which the best match lies on the diagonal; those that match nothing come last.
fn matched(cosines: &Mat) -> Mat {
    let (rows, columns) = cosines.shape();
    let mut order: Vec<usize> = if rows <= columns {
        assign(rows, columns, |i, j| f64::from(cosines[(i, j)]))
    } else {
        let of = assign(columns, rows, |j, i| f64::from(cosines[(i, j)]));
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by_key(|&j| of[j]);
        order
    };
    order.extend((0..columns).filter(|j| !order.contains(j)).collect::<Vec<_>>());
    cosines.select_cols(&order)
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let toy = toy(s)?;
    let start = Instant::now();
    let found = lab.side_by_side(lab.instances, "taking layers apart", |_, rng, tell| {
        let [fits, does_not] = ["rotated", "superposed"].map(|name| rng.fork(name));
        let rotated = look(&toy, &toy.rotated(&fits), &fits, &mut |share| tell(0.5 * share))?;
        let superposed = look(&toy, &toy.superposed(&does_not), &does_not, &mut |share| tell(0.5 + 0.5 * share))?;
        Some([rotated, superposed])
    })?;
    let steps = 2 * toy.training.steps * lab.instances as u64;
    let mut outcome = Outcome { training: start.elapsed(), steps, ..Outcome::default() };
    describe(&toy, &found, &mut outcome);
    Ok(outcome)
}

const LAYERS: [&str; 2] = ["rotated", "superposed"];

fn describe(toy: &Disentangle, found: &[[Looked; 2]], outcome: &mut Outcome) {
    outcome.table.push(
        ["instance", "layer", "method", "directions", "features recovered", "mean largest |cos|", "chance"]
            .map(String::from)
            .to_vec(),
    );
    for (i, layers) in found.iter().enumerate() {
        let mut value = Map::new();
        value.insert("seed".into(), i.into());
        // There are several models, and no loss that they share.
        value.insert("loss".into(), serde_json::Value::Null);
        for (name, looked) in LAYERS.iter().zip(layers) {
            let mut methods = Map::new();
            for f in &looked.found {
                let key = match f.method {
                    Method::Pca => "pca",
                    Method::Ica => "ica",
                    Method::Vae => "vae",
                    Method::Sparse => "sae",
                };
                methods
                    .insert(key.into(), json!({"mmcs": f.mmcs, "recovered": f.recovered, "directions": f.directions}));
                outcome.table.push(vec![
                    i.to_string(),
                    name.to_string(),
                    f.method.name().into(),
                    f.directions.to_string(),
                    format!("{} %", short(100.0 * f.recovered)),
                    short(f.mmcs),
                    short(looked.chance),
                ]);
            }
            methods.insert("chance".into(), looked.chance.into());
            value.insert(name.to_string(), methods.into());
        }
        outcome.instances.push(value);
    }
    outcome.says = vec![
        format!(
            "The rotated layer holds {} features in {} neurons: there is one right set of axes, and every method that looks for as many independent factors as \
             dimensions can find it. PCA needs features of different variance, ICA features that are not Gaussian, the β-VAE a prior that prefers few active latents.",
            toy.d, toy.d
        ),
        format!(
            "The superposed layer holds {} features in the same {} neurons. PCA and ICA have {} directions at most: those of PCA are mixtures, those of ICA at \
             best the strongest features, and the others go unseen. More latents do not help the β-VAE, whose prior is no sparser than a Gaussian. A sparse \
             autoencoder (SAE) finds most of the features, because it asks for few latents a row and not for few dimensions.",
            toy.n, toy.d, toy.d
        ),
    ];
    outcome.pictures.push(picture(&found[0]));
}

fn picture(layers: &[Looked; 2]) -> Picture {
    let panel = |(name, f): (&str, &Found)| HeatPanel {
        label: format!("{name}: {}", f.method.name()),
        rows: (0..f.cosines.rows()).map(|i| f.cosines.row(i).iter().map(|c| f64::from(*c)).collect()).collect(),
    };
    let all = LAYERS.iter().zip(layers).flat_map(|(name, looked)| looked.found.iter().map(move |f| (*name, f)));
    Picture::Heat(Heat {
        name: "disentangle",
        title: "What each method finds of a rotated and of a superposed layer".into(),
        caption: "|cos| of every true feature (down) with every direction found (across), matched so that the best pairs lie on the diagonal. One clean diagonal is a \
                  layer taken apart. Of the superposed layer PCA and ICA have fewer directions than there are features."
            .into(),
        across: "directions found".into(),
        down: "true features".into(),
        panels: all.filter(|(_, f)| f.directions > 0).map(panel).collect(),
    })
}
