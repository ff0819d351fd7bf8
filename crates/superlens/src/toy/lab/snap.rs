//! `toy snap`: five features in the plane, one of them rarer or more frequent than the others. The pentagon stretches, and
//! then it is no longer the best: two antipodal pairs are, with the rarer feature dropped.
//!
//! Both arrangements are followed by exact loss from one density to the next, so that each is seen beyond the point where
//! the other becomes better.

use super::tied::{setting, short};
use super::{Axis, Lab, Outcome, Panel, Picture, Series, Setting, Settings, Toy, ToyError};
use crate::toy::exact::ExactLoss;
use crate::toy::groups::FeatureLaw;
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;
use superlens_tensor::Rng;

pub const TOY: Toy = Toy {
    name: "snap",
    about: "a pentagon with one feature of another density stretches, then snaps into two digons",
    source: "Elhage et al. 2022, Toy Models of Superposition (arXiv 2209.10652), non-uniform superposition",
    settings: SETTINGS,
    keys: &[
        "An instance is a density of the odd feature: ratio (to the others' density), loss (the lower), pentagon and digons (the \
           loss of each branch), pentagon_alive and digons_alive (features represented), stretch (largest gap of the pentagon in \
           degrees), odd_norm (of the pentagon), W and b of the better one. For the document: crossing (ratio at which the better \
           one changes; 0 if none), crossings (how often), slope_jump (of the better loss at the crossing, by ratio, relative to the \
           slope), both_exist (whether both are minima there). --instances is not used.",
    ],
    model: None,
    run,
};

const SETTINGS: &[Setting] = &[
    setting("density", "0.05", "probability that one of the other four features is on"),
    setting("ratios", "25", "densities of the odd feature"),
    setting("low", "0.2", "least ratio of its density to the others'"),
    setting("high", "1.5", "largest ratio"),
];

/// Shorter features are not represented.
const ALIVE: f64 = 0.5;
const N: usize = 5;

/// A minimum at one ratio.
#[derive(Clone, Debug)]
struct State {
    loss: f64,
    params: Vec<f64>,
}

impl State {
    fn w(&self, i: usize) -> [f64; 2] {
        [self.params[2 * i], self.params[2 * i + 1]]
    }

    fn norm(&self, i: usize) -> f64 {
        self.w(i)[0].hypot(self.w(i)[1])
    }

    fn alive(&self) -> usize {
        (0..N).filter(|&i| self.norm(i) > ALIVE).count()
    }

    /// Degrees between neighbours around the plane.
    fn largest_gap(&self) -> f64 {
        let alive = (0..N).filter(|&i| self.norm(i) > ALIVE);
        let mut angles: Vec<f64> = alive.map(|i| self.w(i)[1].atan2(self.w(i)[0]).to_degrees()).collect();
        angles.sort_by(f64::total_cmp);
        let Some(first) = angles.first().copied() else { return 360.0 };
        angles.push(first + 360.0);
        angles.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max)
    }
}

fn run(s: &Settings, lab: &Lab) -> Result<Outcome, ToyError> {
    let p = s.real("density", 1e-4..=0.25)?;
    let count = s.whole("ratios", 3..=1000)?;
    let (low, high) = (s.real("low", 1e-3..=1.0)?, s.real("high", 1.0..=4.0)?);
    if low == high {
        return Err(s.wrong("low", "a ratio below the one of high").into());
    }
    let ratio = |k: usize| low * (high / low).powf(k as f64 / (count - 1) as f64);
    let ratios: Vec<f64> = (0..count).map(ratio).collect();
    let exact = |r: f64| {
        let mut density = vec![p; N];
        density[0] = p * r;
        ExactLoss::of_law(&[1.0; N], 2, &FeatureLaw::independent(density), true)
    };
    // The pentagon is followed from the frequent end down, the digons from the rare end up.
    let branches = lab.side_by_side(2, "following both arrangements", |branch, rng, tell| {
        let mut path = Vec::new();
        let mut params = if branch == 0 { pentagon(rng) } else { digons(rng) };
        for k in 0..count {
            let r = if branch == 0 { ratios[count - 1 - k] } else { ratios[k] };
            let (loss, found) = exact(r).minimum_from(params);
            path.push(State { loss: loss / N as f64, params: found.clone() });
            params = found;
            tell((k + 1) as f64 / count as f64).is_continue().then_some(())?;
        }
        if branch == 0 {
            path.reverse();
        }
        Some(path)
    })?;
    Ok(outcome(&ratios, p, &branches[0], &branches[1]))
}

/// A regular pentagon, and no bias; slightly out of true, so that no symmetry holds it.
fn pentagon(rng: &Rng) -> Vec<f64> {
    let angle = |i: usize| TAU * i as f64 / N as f64;
    start((0..N).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect(), rng)
}

/// Feature 0 dropped, the others in two antipodal pairs.
fn digons(rng: &Rng) -> Vec<f64> {
    start(vec![0.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], rng)
}

fn start(mut params: Vec<f64>, rng: &Rng) -> Vec<f64> {
    let mut rng = rng.fork("start");
    params.iter_mut().for_each(|w| *w += 0.01 * rng.normal_f64());
    params.resize(3 * N, 0.0);
    params
}

fn outcome(ratios: &[f64], p: f64, pentagon: &[State], digons: &[State]) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.table.push(["ratio", "pentagon", "digons", "better", "largest gap"].map(String::from).to_vec());
    for ((r, five), four) in ratios.iter().zip(pentagon).zip(digons) {
        outcome.table.push(vec![
            short(*r),
            short(five.loss),
            short(four.loss),
            if five.loss < four.loss { format!("{} features", five.alive()) } else { "digons".into() },
            format!("{:.0}°", five.largest_gap()),
        ]);
        outcome.instances.push(instance(*r, p, five, four));
    }
    let gap = |k: usize| pentagon[k].loss - digons[k].loss;
    let is_pentagon = |k: usize| pentagon[k].alive() == N && digons[k].alive() == N - 1;
    let changes: Vec<usize> = (1..ratios.len()).filter(|&k| (gap(k) < 0.0) != (gap(k - 1) < 0.0)).collect();
    let crossing = changes.first().map(|&k| {
        let share = gap(k - 1) / (gap(k - 1) - gap(k));
        let slope = |s: &[State]| (s[k].loss - s[k - 1].loss) / (ratios[k] - ratios[k - 1]);
        let jump = (slope(digons) - slope(pentagon)).abs() / slope(digons).abs().max(1e-300);
        (ratios[k - 1] + share * (ratios[k] - ratios[k - 1]), jump, is_pentagon(k) && is_pentagon(k - 1))
    });
    let (at, jump, both) = crossing.unwrap_or((0.0, 0.0, false));
    outcome.keys.insert("crossing".into(), at.into());
    outcome.keys.insert("crossings".into(), changes.len().into());
    outcome.keys.insert("slope_jump".into(), jump.into());
    outcome.keys.insert("both_exist".into(), both.into());
    outcome.says.push(match crossing {
        Some((at, jump, _)) => format!(
            "At {} of the others' density the loss curves cross: below it the rare feature is dropped and the others pair up. \
             The slope of the better loss jumps there by {} %: a transition of first order.",
            short(at),
            short(100.0 * jump)
        ),
        None => "The loss curves don't cross in this range.".into(),
    });
    outcome.pictures = pictures(ratios, pentagon, digons);
    outcome
}

fn instance(ratio: f64, p: f64, five: &State, four: &State) -> Map<String, Value> {
    let better = if five.loss < four.loss { five } else { four };
    let w: Vec<Vec<f64>> = (0..2).map(|k| (0..N).map(|i| better.w(i)[k]).collect()).collect();
    let value = json!({
        "density": ratio * p,
        "ratio": ratio,
        "loss": better.loss,
        "pentagon": five.loss,
        "digons": four.loss,
        "pentagon_alive": five.alive(),
        "digons_alive": four.alive(),
        "odd_norm": five.norm(0),
        "stretch": five.largest_gap(),
        "W": w,
        "b": better.params[2 * N..],
    });
    let Value::Object(map) = value else { unreachable!("an object was written down") };
    map
}

fn pictures(ratios: &[f64], pentagon: &[State], digons: &[State]) -> Vec<Picture> {
    let line = |states: &[State]| ratios.iter().zip(states).map(|(r, s)| (*r, s.loss)).collect();
    let n = ratios.len();
    let shown = 5.min(n);
    let panel = |k: usize| {
        let at = k * (n - 1) / (shown - 1).max(1);
        let better = if pentagon[at].loss < digons[at].loss { &pentagon[at] } else { &digons[at] };
        Panel { label: format!("ratio {}", short(ratios[at])), points: (0..N).map(|i| better.w(i)).collect() }
    };
    vec![
        Picture::Sweep {
            name: "branches",
            title: "Two arrangements, and where their losses cross".into(),
            caption: "The loss of the pentagon and of two digons with the odd feature dropped, as that feature becomes more \
                      frequent. Each is followed from its own side. They cross at an angle, so that the best arrangement changes at once."
                .into(),
            x: Axis::log("density of the odd feature over that of the others"),
            y: Axis::linear("loss"),
            series: vec![
                Series { name: "five features".into(), points: line(pentagon), line: true },
                Series { name: "two digons".into(), points: line(digons), line: true },
            ],
            levels: Vec::new(),
        },
        Picture::Directions {
            name: "directions",
            title: "The better arrangement, rare odd feature to frequent".into(),
            caption: "The darkest arrow is the odd feature. While it is too rare it is dropped; then the pentagon stands, stretched \
                      towards or away from it."
                .into(),
            panels: (0..shown).map(panel).collect(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With equal densities the pentagon is regular and better than the digons when features are sparse.
    #[test]
    fn a_sparse_pentagon_is_regular() {
        let exact = ExactLoss::new(&[1.0; N], 2, 0.05, true);
        let (loss, params) = exact.minimum_from(pentagon(&Rng::new(1)));
        let five = State { loss, params };
        let (other, params) = exact.minimum_from(digons(&Rng::new(1)));
        let four = State { loss: other, params };
        assert_eq!((five.alive(), four.alive()), (5, 4));
        assert!((five.largest_gap() - 72.0).abs() < 1.0, "{}", five.largest_gap());
        assert!(loss < other, "{loss} {other}");
    }
}
