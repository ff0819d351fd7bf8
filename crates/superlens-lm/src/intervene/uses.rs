//! [`uses`]: what a model makes of a layer's activations. Does its output follow their direction or their size, and does it read them along given
//! directions or along neurons?

use rayon::prelude::*;
use superlens_tensor::{Mat, Rng};

use super::{Change, Changes, Columns, Direction, Intervention, Text, Token, Turned, gather, run, tokens};
use crate::model::loss::divergence;
use crate::model::{Point, Site, Sites, Transformer};

/// How far activations are moved, as a share of their length.
const FAR: f64 = 0.5;
/// Directions that are taken away at most, and random ones beside them.
const DIRECTIONS: usize = 12;
const RANDOM: usize = 19;
/// Ways to turn.
const TURNS: usize = 19;
/// Activations that are kept, for their means, their variances and to turn towards.
const KEPT: usize = 4000;

/// What changes do to the output, on average over tokens: `KL(clean ‖ changed)` of the next token, nats; of a model that predicts none the squared
/// change of its last residual stream, over its square.
#[derive(Clone, Debug, PartialEq)]
pub struct Uses {
    pub tokens: u64,
    /// Activations halved.
    pub halved: f64,
    /// Activations turned as far, each towards that of a random other token, their length kept: several times over.
    pub turned: Vec<f64>,
    /// Directions as given, the first that vary.
    pub ablated: Vec<Ablated>,
    /// Random directions.
    pub random: Vec<Ablated>,
}

/// A direction and its strongest neuron, each held at its mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ablated {
    /// Which of the directions.
    pub index: usize,
    pub neuron: usize,
    /// Effect over the mean squared change of the activations.
    pub by_direction: f64,
    pub by_neuron: f64,
}

/// Turns each row towards a row of others, as far as halving it would move it.
struct Turn<'a> {
    towards: &'a Mat,
    rng: Rng,
}

impl Intervention for Turn<'_> {
    fn apply(&self, tokens: &[Token], x: &mut Mat) {
        let square = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let angle = 2.0 * (FAR / 2.0).asin();
        for (i, token) in tokens.iter().enumerate() {
            let other = self.towards.row(self.rng.fork_index(token.number).below(self.towards.rows()));
            let row = x.row_mut(i);
            let own = square(row);
            let along = row.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / own.max(1e-30);
            let rest: Vec<f32> = row.iter().zip(other).map(|(a, b)| b - (along * f64::from(*a)) as f32).collect();
            let scale = (own / square(&rest).max(1e-30)).sqrt() * angle.sin();
            // A token that points the same way leaves nowhere to turn.
            if scale.is_finite() && square(&rest) > 1e-12 * own {
                let keep = angle.cos();
                row.iter_mut().zip(&rest).for_each(|(v, r)| *v = (keep * f64::from(*v) + scale * f64::from(*r)) as f32);
            }
        }
    }
}

/// Puts the changes to the texts. `directions` are those of features, `[features, width of the site]`, strongest first. `watch` is told the share done.
///
/// The same bytes on any number of threads. Panics where the site has another width, where all tokens are spared, and on scores and patterns.
pub fn uses(
    model: &Transformer,
    texts: &[Text],
    site: Site,
    directions: &Mat,
    rng: &Rng,
    watch: &(dyn Fn(f64) + Sync),
) -> Uses {
    let width = site.width(&model.config).expect("a row for each token");
    assert_eq!(directions.cols(), width, "directions of the site's width");
    let all = Columns((0..width).collect());
    let seen = gather(model, texts, site, &all, KEPT).rows;
    let rng = rng.fork("uses");

    let halved = Turned { handle: &all, change: Change::Scale(1.0 - FAR as f32) };
    let turns: Vec<Turn> =
        (0..TURNS).map(|k| Turn { towards: &seen, rng: rng.fork("turn").fork_index(k as u64) }).collect();
    let mut stream = rng.fork("directions");
    let random = Mat::from_fn(RANDOM, width, |_, _| stream.normal());
    let given = Held::of(directions, &seen, DIRECTIONS);
    let random = Held::of(&random, &seen, RANDOM);

    let mut changes: Vec<&dyn Intervention> = vec![&halved];
    changes.extend(turns.iter().map(|turn| turn as &dyn Intervention));
    let pairs: Vec<[Turned; 2]> = given.iter().chain(&random).map(Held::changes).collect();
    changes.extend(pairs.iter().flatten().map(|change| change as &dyn Intervention));
    let changes: Vec<Changes> = changes.into_iter().map(|change| Changes::new([site], change)).collect();

    let (tokens, effects) = effects(model, texts, &changes, watch);
    let (turned, ablated) = effects[1..].split_at(TURNS);
    let mut ablated = given.iter().chain(&random).zip(ablated.as_chunks().0).map(|(held, effects)| held.told(*effects));
    Uses {
        tokens,
        halved: effects[0],
        turned: turned.to_vec(),
        ablated: ablated.by_ref().take(given.len()).collect(),
        random: ablated.collect(),
    }
}

/// A direction and its neuron, with what holding each at its mean moves.
struct Held {
    index: usize,
    neuron: usize,
    along: Direction,
    column: Columns,
    means: [f32; 2],
    moved: [f64; 2],
}

impl Held {
    /// The first `most` directions that vary, as their neurons do.
    fn of(directions: &Mat, seen: &Mat, most: usize) -> Vec<Held> {
        (0..directions.rows()).filter_map(|i| Held::one(i, directions.row(i), seen)).take(most).collect()
    }

    fn one(index: usize, d: &[f32], seen: &Mat) -> Option<Held> {
        let square: f64 = d.iter().map(|v| f64::from(*v).powi(2)).sum();
        let along = Direction::new(d.to_vec())?;
        let neuron = (0..d.len()).max_by(|&a, &b| d[a].abs().total_cmp(&d[b].abs()).then(b.cmp(&a)))?;
        let of = |row: &[f32]| row.iter().zip(d).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / square;
        let coefficients: Vec<f64> = (0..seen.rows()).map(|i| of(seen.row(i))).collect();
        let values: Vec<f64> = (0..seen.rows()).map(|i| f64::from(seen[(i, neuron)])).collect();
        let [(mean, variance), (own_mean, own_variance)] = [moments(&coefficients), moments(&values)];
        let moved = [variance * square, own_variance];
        moved.iter().all(|m| *m > 0.0).then(|| Held {
            index,
            neuron,
            along,
            column: Columns(vec![neuron]),
            means: [mean as f32, own_mean as f32],
            moved,
        })
    }

    fn changes(&self) -> [Turned<'_>; 2] {
        let [mean, own] = self.means.map(|mean| Change::Fill(vec![mean]));
        [Turned { handle: &self.along, change: mean }, Turned { handle: &self.column, change: own }]
    }

    fn told(&self, effects: [f64; 2]) -> Ablated {
        let Held { index, neuron, moved, .. } = *self;
        Ablated { index, neuron, by_direction: effects[0] / moved[0], by_neuron: effects[1] / moved[1] }
    }
}

fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

/// Tokens that are counted, and the mean effect of each change over them.
fn effects(model: &Transformer, texts: &[Text], changes: &[Changes], watch: &(dyn Fn(f64) + Sync)) -> (u64, Vec<f64>) {
    let predicts = model.weights.head.is_some();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let of = |text: &Text| {
        let rows = if predicts {
            text.predicting()
        } else {
            (0..text.batch.tokens()).filter(|&i| text.spared.as_ref().is_none_or(|spared| !spared[i])).collect()
        };
        let clean = output(model, text, &Changes::default());
        let effect = |changes: &Changes| {
            let changed = output(model, text, changes);
            let apart = |row: &usize| match predicts {
                true => divergence(clean.row(*row), changed.row(*row)),
                false => squared_change(clean.row(*row), changed.row(*row)),
            };
            rows.iter().map(apart).sum::<f64>()
        };
        let sums: (u64, Vec<f64>) = (rows.len() as u64, changes.iter().map(effect).collect());
        watch((done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1) as f64 / texts.len() as f64);
        sums
    };
    let all: Vec<_> = texts.par_iter().map(of).collect();
    let (mut tokens, mut sums) = (0, vec![0.0; changes.len()]);
    for (n, effects) in all {
        tokens += n;
        sums.iter_mut().zip(effects).for_each(|(sum, effect)| *sum += effect);
    }
    sums.iter_mut().for_each(|sum| *sum /= tokens.max(1) as f64);
    (tokens, sums)
}

/// Logits, or the last residual stream of a model without them.
fn output(model: &Transformer, text: &Text, changes: &Changes) -> Mat {
    if model.weights.head.is_some() {
        return run(model, text, changes);
    }
    let last = Site::Block(model.config.layers.len() - 1, Point::ResidPost);
    let tokens = tokens(&text.batch, text.first);
    let mut pass = changes.pass();
    let mut out = Mat::default();
    let sites = Sites::new(changes.sites().chain([last]), &model.config).alike();
    model.forward(&text.batch, &sites, None, &mut |site, x| {
        pass.apply(site, &tokens, text.spared.as_deref(), x);
        if site == last {
            out = x.clone();
        }
    });
    out
}

fn squared_change(clean: &[f32], changed: &[f32]) -> f64 {
    let change: f64 = clean.iter().zip(changed).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    change / clean.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().max(1e-30)
}
