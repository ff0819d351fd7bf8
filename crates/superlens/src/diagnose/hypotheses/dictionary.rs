//! What a dictionary that the user brought shows beside the directions that were found.
//!
//! A sparse autoencoder has as many latents as it was given, whatever the rows hold, so their number says nothing. What counts is along how many
//! of its directions the rows pile up, in both halves, as along those that the search finds by itself.

use super::{Side, against, untested};
use crate::diagnose::finding::{Dictionary, Hypothesis, thousands};
use crate::diagnose::maxima::{SAME, climb, distinct, is_maximum};
use crate::diagnose::pruning::largest;
use crate::diagnose::rays::{HALF_STEPS, POWERS, Rays, SURE, Search};
use crate::diagnose::surrogate::random_directions;
use crate::sae::Sae;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::kernels::pointwise::{axpy, dot};
use superlens_tensor::{Mat, Rng};

/// Latents that are put to the rows at most, the most active ones: each costs a climb.
const MOST: usize = 4096;
/// Rows in which a latent must be active to be put to them.
const ACTIVE: usize = 10;
/// Multiplications that encoding may cost, and rows that are read whatever it costs.
const COST: usize = 400_000_000_000;
const LEAST_ROWS: usize = 2000;
/// Draws of the null, and directions in each.
const DRAWS: usize = 99;
const A_DRAW: usize = 20;
const ID: &str = "dictionary";
const MEASURES: &str = "share of the dictionary's active latents along which both halves of the rows pile up";

/// What there is to compare.
pub(in crate::diagnose) struct Given<'a> {
    pub sae: &'a Sae,
    /// Rows of all columns, as they came: those of the search, and those held out.
    pub rows: &'a Mat,
    pub held_out: &'a Mat,
    /// The search that found the `rays`, with the cloud that they were found in.
    pub search: &'a Search<'a>,
    pub rays: &'a Rays,
    pub rng: &'a Rng,
}

/// The dictionary's latents put to the rows, and what that shows.
pub(in crate::diagnose) fn dictionary(given: &Given) -> (Dictionary, Hypothesis) {
    let sae = given.sae;
    let (fvu, l0) = reconstruction(sae, given.held_out);
    let (active, directions) = active(sae, given.rows, given.search.white);
    let mut asked = active.clone();
    asked.sort_by_key(|&(latent, rows)| (std::cmp::Reverse(rows), latent));
    asked.truncate(MOST);
    let directions = unit(directions.select_rows(&asked.iter().map(|a| a.0).collect::<Vec<_>>()));
    let ends = held(given, &directions);
    let (own, _) = distinct(&lines(&ends));
    let found = given.rays.line_directions();
    let near = matmul(&ends.select_rows(&own), found.t());
    let new = (0..near.rows()).filter(|&i| !near.row(i).iter().any(|c| c.abs() > SAME)).count();
    let shared = (0..near.cols()).filter(|&j| (0..near.rows()).any(|i| near[(i, j)].abs() > SAME)).count();
    let told = Dictionary {
        latents: sae.d_sae(),
        active: active.len(),
        asked: directions.rows(),
        held: ends.rows(),
        features: own.len(),
        found: found.rows(),
        shared,
        new,
        unexplained: fvu,
        active_a_row: l0,
    };
    if directions.rows() == 0 {
        let says = "No latent of the dictionary is active in these rows often enough to be put to them.";
        return (told, untested(ID, MEASURES, says));
    }
    let mut stream = given.rng.fork("dictionary");
    let share = |u: &Mat| held(given, u).rows() as f64 / u.rows().max(1) as f64;
    let draw = |_| share(&random_directions(A_DRAW, given.search.cloud.rank(), &mut stream));
    let statistic = told.held as f64 / told.asked as f64;
    let null = against(statistic, (0..DRAWS).map(draw).collect(), Side::Large);
    let hypothesis = Hypothesis {
        id: ID.into(),
        measures: MEASURES.into(),
        statistic,
        null_mean: null.mean,
        null_high: null.edge,
        null_draws: null.draws.len(),
        p_value: null.p,
        supports: null.p <= 0.05 && told.held > 0,
        says: says(&told),
        null: "random directions, twenty a draw, put to the same rows".into(),
        draws: null.draws,
    };
    (told, hypothesis)
}

fn says(d: &Dictionary) -> String {
    let [latents, active, held, features, found, shared, new] =
        [d.latents, d.active, d.held, d.features, d.found, d.shared, d.new].map(thousands);
    let of = if d.asked < d.active { format!("the {} most active", thousands(d.asked)) } else { "these".into() };
    let beside = match (d.features, d.found) {
        (0, _) | (_, 0) => String::new(),
        _ => format!(" {shared} of the {found} found without it are among them, and {new} are new."),
    };
    format!(
        "Of the dictionary's {latents} latents {active} are active here; along {held} of {of} the rows pile up, which makes {features} different directions.{beside} It leaves {:.0} % of the variance unexplained with {:.1} latents a row.",
        100.0 * d.unexplained,
        d.active_a_row
    )
}

/// Share of the variance that is left, and active latents a row.
fn reconstruction(sae: &Sae, rows: &Mat) -> (f64, f64) {
    let latents = sae.encode(rows);
    let recon = sae.reconstruct(&latents, rows.view());
    let (mut left, mut total) = (0.0f64, 0.0f64);
    for j in 0..rows.cols() {
        let mean = (0..rows.rows()).map(|i| f64::from(rows[(i, j)])).sum::<f64>() / rows.rows().max(1) as f64;
        for i in 0..rows.rows() {
            left += f64::from(rows[(i, j)] - recon[(i, j)]).powi(2);
            total += (f64::from(rows[(i, j)]) - mean).powi(2);
        }
    }
    let fvu = if total > 0.0 { left / total } else { 1.0 };
    (fvu, latents.indices().len() as f64 / rows.rows().max(1) as f64)
}

/// Latents that are active in enough rows, with the number of those, and the mean white row where each is active, as much as it is. The decoder's own
/// direction would do less well: it is learned where variance is large, and white coordinates make the rest of it as large.
fn active(sae: &Sae, rows: &Mat, white: &Mat) -> (Vec<(usize, usize)>, Mat) {
    let most = (COST / (sae.d_sae() * sae.d_in()).max(1)).max(LEAST_ROWS);
    let step = rows.rows().div_ceil(most).max(1);
    let some: Vec<usize> = (0..rows.rows()).step_by(step).collect();
    let mut seen = vec![0usize; sae.d_sae()];
    let mut sums = Mat::zeros(sae.d_sae(), white.cols());
    sae.encode_blocks(&rows.select_rows(&some), |first, latents| {
        for i in 0..latents.rows() {
            let (indices, values) = latents.row(i);
            for (&j, &value) in indices.iter().zip(values) {
                seen[j as usize] += 1;
                axpy(value, white.row(some[first + i]), sums.row_mut(j as usize));
            }
        }
    });
    let active: Vec<(usize, usize)> = seen.into_iter().enumerate().filter(|(_, rows)| *rows >= ACTIVE).collect();
    (active, sums)
}

/// Rows at unit length; those of next to no length are left out.
fn unit(mut m: Mat) -> Mat {
    let mut kept = Vec::new();
    for i in 0..m.rows() {
        let length = dot(m.row(i), m.row(i)).sqrt();
        if length > 1e-12 && length.is_finite() {
            m.row_mut(i).iter_mut().for_each(|v| *v /= length);
            kept.push(i);
        }
    }
    m.select_rows(&kept)
}

/// Where those directions end that stay what they were as they climb, on all rows and on each half: with the exponent of the search or, since a
/// dictionary may see broader directions than the search settled on, with any other.
fn held(given: &Given, from: &Mat) -> Mat {
    let Search { cloud, half, .. } = *given.search;
    let rows = cloud.y.rows();
    let powers = std::iter::once((given.rays.power, given.rays.agreement)).chain(POWERS.map(|power| (power, SURE)));
    let mut left: Vec<usize> = (0..from.rows()).collect();
    let mut ends = Vec::new();
    for (power, least) in powers {
        let begun = from.select_rows(&left);
        let mut u = begun.clone();
        climb(cloud, (0, rows), &mut u, power, HALF_STEPS);
        let stayed: Vec<usize> = (0..u.rows()).filter(|&i| dot(u.row(i), begun.row(i)) > SAME).collect();
        let u = u.select_rows(&stayed);
        let maximum = is_maximum(cloud, &u, power);
        let agreement = given.search.agreement(&u, power, &[(0, half), (half, rows)]);
        let held: Vec<usize> = (0..u.rows()).filter(|&i| maximum[i] && agreement[i] > least).collect();
        held.iter().for_each(|&i| ends.extend_from_slice(u.row(i)));
        let held: Vec<usize> = held.into_iter().map(|i| left[stayed[i]]).collect();
        left.retain(|i| !held.contains(i));
    }
    Mat::from_vec(ends.len() / from.cols().max(1), from.cols(), ends)
}

/// Each direction turned to the side of its largest coordinate, so that opposite ones are one.
fn lines(u: &Mat) -> Mat {
    let mut out = u.clone();
    for i in 0..u.rows() {
        let (at, _) = largest(&u.row(i).iter().map(|v| v.abs()).collect::<Vec<_>>());
        if u[(i, at)] < 0.0 {
            out.row_mut(i).iter_mut().for_each(|v| *v = -*v);
        }
    }
    out
}
