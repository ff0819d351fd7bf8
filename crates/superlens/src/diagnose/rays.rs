//! The dictionary estimator of the diagnosis: every direction along which the rows pile up, and does so in both halves.
//!
//! Starts are rows of the data. Each climbs to a local maximum (see [`super::maxima`]) on all search rows; from there it
//! climbs on each half alone, and is kept only if it stays where it was in both. The least agreement that counts is set
//! by the same search on a Gaussian stream of the same autocorrelation, where nothing is to be found. Later rounds start
//! from rows that the rays found so far leave unexplained.

use super::coding::residual;
use super::complete::is_complete_code;
use super::maxima::{Cloud, SAME, climb, distinct, heights, is_maximum};
use super::pruning::{largest, with_rows, without_mixtures};
use super::surrogate::gaussian_stream;
use rayon::prelude::*;
use std::ops::ControlFlow;
use superlens_tensor::kernels::gemm::{gemm, matmul};
use superlens_tensor::kernels::pointwise::dot;
use superlens_tensor::{Mat, Rng};

/// Exponents that are tried; see [`super::maxima`].
pub(super) const POWERS: [u32; 5] = [2, 3, 5, 9, 15];
/// How many of them are moments, blind to sums of independent features.
const MOMENTS: usize = 2;
/// Features of a sum at most (with the way from the mean to the resting point), and the share that may be left of it.
const SUMMANDS: usize = 5;
const SUM: f32 = 0.15;
/// Starts of the search among nothing.
const NULL_STARTS: usize = 100;
/// Hits of a ray that was not found by chance starts, and so says nothing of those that such starts missed.
const SEEN_OFTEN: usize = 3;
/// Rounds of starts spent on a complete code.
const COMPLETE_ROUNDS: u64 = 4;
/// A complete code has at least this many features a dimension.
const COVERS: f64 = 0.5;
/// Steps to a maximum on all search rows, and on each half from there.
const STEPS: usize = 30;
pub(super) const HALF_STEPS: usize = 8;
/// Dimensions up to which no effort is spared; in wider layers each row says more, and fewer of them do.
pub(super) const NARROW: usize = 256;
/// Agreement of the halves (cosine) that is always enough, and that never is.
pub(super) const SURE: f32 = 0.9;
const TOO_LITTLE: f32 = 0.6;
/// Rounds of new starts after the first; they end when a round adds less than this share.
const ROUNDS: usize = 8;
const WORTH_A_ROUND: f64 = 0.02;
/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Rays {
    /// Unit directions in white coordinates `[n, rank]`, strongest first.
    pub directions: Mat,
    /// Representatives of the lines among them: a ray and its opposite are one line.
    pub lines: Vec<usize>,
    /// `line_of[ray]` is a position in `lines`.
    pub line_of: Vec<usize>,
    /// The exponent that found most.
    pub power: u32,
    /// Agreement of the halves that was asked for at that exponent.
    pub agreement: f32,
    /// Exponents that were searched with and the agreement asked for at each.
    pub chosen: Vec<(u32, f32)>,
    /// Whether the lines are a complete sparse code of the rows (see [`super::complete`]).
    pub complete: bool,
    /// Maxima that no other start reached, and those that two reached: what capture–recapture needs.
    pub hit_once: usize,
    pub hit_twice: usize,
}

/// Search rows in the order half a, half b; `half` is where b begins.
pub(super) struct Search<'a> {
    pub cloud: &'a Cloud,
    pub half: usize,
    /// The same rows at their full length.
    pub white: &'a Mat,
    /// Lag-1 autocorrelation of each white coordinate.
    pub rho: &'a [f64],
}

struct Found {
    u: Mat,
    hits: Vec<usize>,
    agreement: Vec<f32>,
}

impl Search<'_> {
    fn rows(&self) -> usize {
        self.cloud.y.rows()
    }

    /// Starts per power and round.
    fn starts(&self) -> usize {
        2 * self.cloud.rank() + 40
    }

    /// Looks for rays; `progress` is told the share done and may break.
    pub fn run(&self, rng: &Rng, progress: &mut dyn FnMut(f64) -> ControlFlow<()>) -> ControlFlow<(), Rays> {
        let rank = self.cloud.rank();
        let null = Cloud::new(&gaussian_stream(self.rows(), self.rho, &rng.fork("gaussian stream")));
        let null = Search { cloud: &null, half: self.half, white: self.white, rho: self.rho };
        let mut pilots = Vec::new();
        for (turn, power) in POWERS.into_iter().enumerate() {
            let stream = rng.fork("pilot").fork_index(u64::from(power));
            let nothing = null.climb_from(&mut stream.fork("null"), power, NULL_STARTS.min(self.starts()));
            let least = least_agreement(power, &nothing.agreement);
            let found = self.climb_from(&mut stream.fork("data"), power, self.starts());
            pilots.push((power, least, self.keep(found, least)));
            progress(0.5 * (turn + 1) as f64 / POWERS.len() as f64)?;
        }
        if let Some(rays) = self.complete(&rng.fork("complete")) {
            return ControlFlow::Continue(rays);
        }
        let sums = self.are_sums(&pilots);
        if sums {
            pilots.truncate(MOMENTS);
        }
        // The exponent that finds most comes first: what others add must not be a mixture of its rays.
        pilots.sort_by_key(|(power, _, kept)| (std::cmp::Reverse(kept.u.rows()), *power));
        let most = pilots[0].2.u.rows();
        pilots.retain(|(_, _, kept)| 3 * kept.u.rows() >= 2 * most && most > 0);
        pilots.truncate(2);
        let Some((power, agreement, _)) = pilots.first() else { return ControlFlow::Continue(Rays::none(rank)) };
        let (power, agreement) = (*power, *agreement);
        let chosen: Vec<(u32, f32)> = pilots.iter().map(|(power, least, _)| (*power, *least)).collect();
        let mut first = (Mat::zeros(0, rank), Vec::new());
        for (_, _, kept) in &pilots {
            add(&mut first.0, &mut first.1, kept);
        }
        let (rays, hits) = self.gather(&chosen, first, rng, &mut |share| progress(0.5 + 0.5 * share))?;
        let mut rays = Rays::new(rays, &hits, power, agreement);
        rays.chosen = chosen;
        ControlFlow::Continue(rays)
    }

    /// Whether most of what the sharp exponents find are sums of what a moment finds: features that are on often, each at
    /// about one strength, pile up along their sums as well, and moments are blind to those.
    fn are_sums(&self, pilots: &[(u32, f32, Found)]) -> bool {
        let most = |pilots: &[(u32, f32, Found)]| pilots.iter().map(|p| p.2.u.clone()).max_by_key(Mat::rows);
        let (Some(moment), Some(sharp)) = (most(&pilots[..MOMENTS]), most(&pilots[MOMENTS..])) else { return false };
        if moment.rows() < 3 || sharp.rows() <= moment.rows() {
            return false;
        }
        // Sums are counted from where rows rest, directions from the mean: the way between the two is a term of its own.
        let rank = moment.cols();
        let middle = matmul(&Mat::from_fn(1, moment.rows(), |_, _| 1.0), &moment);
        let mut terms = moment.data().to_vec();
        terms.extend(middle.data().iter());
        terms.extend(middle.data().iter().map(|v| -v));
        let terms = Mat::from_vec(moment.rows() + 2, rank, terms);
        let left = residual(&terms, &sharp, SUMMANDS);
        let near = matmul(&sharp, moment.t());
        let new: Vec<usize> = (0..sharp.rows()).filter(|&i| largest(near.row(i)).1 < SAME).collect();
        let sums = new.iter().filter(|&&i| dot(left.row(i), left.row(i)) < SUM).count();
        2 * sums > new.len()
    }

    /// What the search that found `rays` finds here, with the same exponents and agreement.
    pub fn again(&self, rays: &Rays, rng: &Rng) -> Rays {
        let few = NULL_STARTS.min(self.starts());
        let glimpse = |&(power, least): &(u32, f32)| {
            let found = self.climb_from(&mut rng.fork("glimpse").fork_index(u64::from(power)), power, few);
            self.keep(found, least).u.rows()
        };
        // Rows that show nothing to a hundred starts have less than would matter.
        if rays.chosen.iter().map(glimpse).sum::<usize>() == 0 {
            return Rays::none(self.cloud.rank());
        }
        let mut first = (Mat::zeros(0, self.cloud.rank()), Vec::new());
        for &(power, least) in &rays.chosen {
            let found = self.climb_from(&mut rng.fork_index(u64::from(power)), power, self.starts());
            add(&mut first.0, &mut first.1, &self.keep(found, least));
        }
        match self.gather(&rays.chosen, first, rng, &mut |_| ControlFlow::Continue(())) {
            ControlFlow::Continue((found, hits)) => Rays::new(found, &hits, rays.power, rays.agreement),
            ControlFlow::Break(()) => Rays::none(self.cloud.rank()),
        }
    }

    /// Adds to what the `first` starts found by rounds of starts from unexplained rows, until a round adds little.
    fn gather(
        &self,
        chosen: &[(u32, f32)],
        first: (Mat, Vec<usize>),
        rng: &Rng,
        progress: &mut dyn FnMut(f64) -> ControlFlow<()>,
    ) -> ControlFlow<(), (Mat, Vec<usize>)> {
        let (mut rays, mut hits) = first;
        for round in 0..ROUNDS {
            let before = rays.rows();
            let weights = self.unexplained(&rays);
            for &(power, least) in chosen {
                let mut stream = rng.fork("round").fork_index(round as u64).fork_index(u64::from(power));
                let found = self.climb_past(&rays, &mut hits, &mut stream, power, &weights);
                add(&mut rays, &mut hits, &self.keep(found, least));
            }
            let keep = without_mixtures(self, &rays);
            rays = rays.select_rows(&keep);
            hits = keep.iter().map(|&i| hits[i]).collect();
            progress((round + 1) as f64 / ROUNDS as f64)?;
            if (rays.rows() as f64) < (1.0 + WORTH_A_ROUND) * before as f64 + 0.5 {
                break;
            }
        }
        let (power, least) = chosen[0];
        self.add_opposites(&mut rays, &mut hits, power, least);
        let keep = with_rows(self, &rays);
        let hits = keep.iter().map(|&i| hits[i]).collect();
        ControlFlow::Continue((rays.select_rows(&keep), hits))
    }

    /// A feature of both signs is a ray each way: starts find one of them, its opposite is tried here.
    fn add_opposites(&self, rays: &mut Mat, hits: &mut Vec<usize>, power: u32, least: f32) {
        let mut u = rays.clone();
        u.data_mut().iter_mut().for_each(|v| *v = -*v);
        let mut of: Vec<usize> = (0..rays.rows()).collect();
        // Most leave at once: they have no opposite.
        for steps in [STEPS / 6, STEPS - STEPS / 6] {
            climb(self.cloud, (0, self.rows()), &mut u, power, steps);
            let stayed: Vec<usize> = (0..u.rows()).filter(|&i| dot(u.row(i), rays.row(of[i])) < -SAME).collect();
            u = u.select_rows(&stayed);
            of = stayed.into_iter().map(|i| of[i]).collect();
        }
        let maximum = is_maximum(self.cloud, &u, power);
        let u = u.select_rows(&(0..u.rows()).filter(|&i| maximum[i]).collect::<Vec<_>>());
        let agreement = self.agreement(&u, power, &[(0, self.half), (self.half, self.rows())]);
        let found = Found { hits: vec![SEEN_OFTEN; u.rows()], u, agreement };
        add(rays, hits, &self.keep(found, least));
    }

    /// The maxima of a low moment as a complete code of the rows, where they are one.
    fn complete(&self, rng: &Rng) -> Option<Rays> {
        let rank = self.cloud.rank();
        let cloud = Cloud::unnormalised(self.white);
        let plain = Search { cloud: &cloud, half: self.half, white: self.white, rho: self.rho };
        let sample: Vec<usize> = (0..self.rows()).step_by((self.rows() / 4000).max(1)).collect();
        let sample = self.white.select_rows(&sample);
        POWERS[..MOMENTS].iter().find_map(|&power| {
            let (mut rays, mut hits) = (Mat::zeros(0, rank), Vec::new());
            for round in 0..COMPLETE_ROUNDS {
                let before = rays.rows();
                let mut stream = rng.fork_index(u64::from(power)).fork_index(round);
                let found = plain.climb_from(&mut stream, power, self.starts());
                add(&mut rays, &mut hits, &self.keep(found, SURE));
                // More lines than dimensions are no complete code, and neither are a few.
                let few = (rays.rows() as f64) < 0.5 * COVERS * rank as f64;
                if few || lines(&rays).0.len() > rank {
                    return None;
                }
                if rays.rows() == before {
                    break;
                }
            }
            plain.add_opposites(&mut rays, &mut hits, power, SURE);
            let mut rays = Rays::new(rays, &hits, power, SURE);
            let n = rays.lines.len();
            let covers = n as f64 >= COVERS * rank as f64 && n <= rank;
            rays.complete = covers && is_complete_code(&sample, &rays.line_directions());
            rays.complete.then_some(rays)
        })
    }

    /// Climbs from `starts` rows drawn by length, outliers clipped.
    fn climb_from(&self, rng: &mut Rng, power: u32, starts: usize) -> Found {
        let (u, sizes) = self.begin(rng, power, starts, &clipped(&self.cloud.energy));
        self.finish(u, &sizes, power)
    }

    /// Climbs from rows drawn with `weights`, past the rays that are `known`: a start that nears one of them is a hit of it and goes no further.
    fn climb_past(&self, known: &Mat, hits: &mut [usize], rng: &mut Rng, power: u32, weights: &[f64]) -> Found {
        let (u, sizes) = self.begin(rng, power, self.starts(), weights);
        let near = matmul(&u, known.t());
        let mut new = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            match largest(near.row(i)) {
                (ray, cos) if cos > SAME => hits[ray] += size,
                _ => new.push(i),
            }
        }
        let sizes: Vec<usize> = new.iter().map(|&i| sizes[i]).collect();
        self.finish(u.select_rows(&new), &sizes, power)
    }

    /// The first steps from `starts` rows drawn with `weights`. Most starts share a maximum: one of each group is given, with the size of its group.
    fn begin(&self, rng: &mut Rng, power: u32, starts: usize, weights: &[f64]) -> (Mat, Vec<usize>) {
        let mut u = self.cloud.y.select_rows(&draw(weights, starts, rng));
        for i in 0..u.rows() {
            let norm = dot(u.row(i), u.row(i)).sqrt().max(1e-20);
            u.row_mut(i).iter_mut().for_each(|v| *v /= norm);
        }
        // Where steps are dear, half of the rows lead to the same hills.
        let rows = if self.cloud.rank() > NARROW { self.half } else { self.rows() };
        climb(self.cloud, (0, rows), &mut u, power, STEPS / 3);
        let (keep, sizes) = distinct(&u);
        (u.select_rows(&keep), sizes)
    }

    /// The other steps, to maxima.
    fn finish(&self, mut u: Mat, sizes: &[usize], power: u32) -> Found {
        let n = self.rows();
        climb(self.cloud, (0, n), &mut u, power, STEPS - STEPS / 3);
        let height = heights(self.cloud, &u, power);
        let maximum = is_maximum(self.cloud, &u, power);
        let mut order: Vec<usize> = (0..u.rows()).filter(|&i| maximum[i]).collect();
        order.sort_by(|&i, &j| height[j].total_cmp(&height[i]));
        let sorted = u.select_rows(&order);
        let sizes: Vec<usize> = order.iter().map(|&i| sizes[i]).collect();
        let (keep, _) = distinct(&sorted);
        let u = sorted.select_rows(&keep);
        let mut hits = vec![0; keep.len()];
        let gram = matmul(&sorted, u.t());
        for (i, &size) in sizes.iter().enumerate() {
            if let Some(k) = (0..keep.len()).find(|&k| keep[k] == i || gram[(i, k)] > SAME) {
                hits[k] += size;
            }
        }
        let agreement = self.agreement(&u, power, &[(0, self.half), (self.half, n)]);
        Found { u, hits, agreement }
    }

    /// Least cosine among a direction and where it goes on each of the `parts` of the rows.
    pub fn agreement(&self, u: &Mat, power: u32, parts: &[(usize, usize)]) -> Vec<f32> {
        let moved: Vec<Mat> = parts
            .iter()
            .map(|&part| {
                let mut v = u.clone();
                climb(self.cloud, part, &mut v, power, HALF_STEPS);
                v
            })
            .collect();
        (0..u.rows())
            .map(|i| {
                let mut least = f32::INFINITY;
                for (k, a) in moved.iter().enumerate() {
                    least = least.min(dot(u.row(i), a.row(i)));
                    for b in &moved[..k] {
                        least = least.min(dot(a.row(i), b.row(i)));
                    }
                }
                least
            })
            .collect()
    }

    fn keep(&self, found: Found, least: f32) -> Found {
        let keep: Vec<usize> = (0..found.u.rows()).filter(|&i| found.agreement[i] > least).collect();
        Found {
            u: found.u.select_rows(&keep),
            hits: keep.iter().map(|&i| found.hits[i]).collect(),
            agreement: keep.iter().map(|&i| found.agreement[i]).collect(),
        }
    }

    /// Weight of each row as a start: the square of what three steps of matching pursuit over `rays` leave of it.
    fn unexplained(&self, rays: &Mat) -> Vec<f64> {
        let y = &self.cloud.y;
        let rows: Vec<usize> = (0..y.rows()).collect();
        let chunks: Vec<Vec<f64>> = rows
            .par_chunks(1024)
            .map(|chunk| {
                let mut left = y.select_rows(chunk);
                let mut s = Mat::zeros(chunk.len(), rays.rows());
                for _ in 0..3 {
                    gemm(1.0, left.view(), rays.t(), 0.0, &mut s);
                    for i in 0..chunk.len() {
                        let Some((best, &height)) = s.row(i).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))
                        else {
                            continue;
                        };
                        if height > 0.0 {
                            left.row_mut(i).iter_mut().zip(rays.row(best)).for_each(|(l, r)| *l -= height * r);
                        }
                    }
                }
                (0..chunk.len()).map(|i| f64::from(dot(left.row(i), left.row(i))).powi(2)).collect()
            })
            .collect();
        chunks.concat()
    }
}

impl Rays {
    pub fn none(rank: usize) -> Rays {
        Rays::new(Mat::zeros(0, rank), &[], POWERS[0], SURE)
    }

    fn new(directions: Mat, hits: &[usize], power: u32, agreement: f32) -> Rays {
        let (lines, line_of) = lines(&directions);
        let count = |n| hits.iter().filter(|&&h| h == n).count();
        Rays {
            directions,
            lines,
            line_of,
            power,
            agreement,
            chosen: vec![(power, agreement)],
            complete: false,
            hit_once: count(1),
            hit_twice: count(2),
        }
    }

    /// White rows `z` as the search that found these rays looked at them.
    pub fn cloud(&self, z: &Mat) -> Cloud {
        if self.complete { Cloud::unnormalised(z) } else { Cloud::new(z) }
    }

    /// One direction a line, `[lines, rank]`.
    pub fn line_directions(&self) -> Mat {
        self.directions.select_rows(&self.lines)
    }
}

/// Representatives of the lines among unit directions, and which line each direction is of.
fn lines(directions: &Mat) -> (Vec<usize>, Vec<usize>) {
    let gram = matmul(directions, directions.t());
    let n = directions.rows();
    let mut line_of = vec![usize::MAX; n];
    let mut lines = Vec::new();
    for i in 0..n {
        if line_of[i] == usize::MAX {
            line_of[i] = lines.len();
            for j in i + 1..n {
                if line_of[j] == usize::MAX && gram[(i, j)] < -SAME {
                    line_of[j] = lines.len();
                }
            }
            lines.push(i);
        }
    }
    (lines, line_of)
}

/// Agreement above which a maximum counts, given what a search among nothing reached.
fn least_agreement(power: u32, nothing: &[f32]) -> f32 {
    let reached = nothing.iter().copied().fold(0.0, f32::max);
    let least = (reached + 0.3 * (1.0 - reached)).max(TOO_LITTLE);
    // Sharp maxima move little when they are real; only the broad ones of low powers need the benefit of the doubt.
    if power > 3 { least.max(SURE) } else { least.min(0.97) }
}

fn add(rays: &mut Mat, hits: &mut Vec<usize>, found: &Found) {
    for i in 0..found.u.rows() {
        let candidate = found.u.row(i);
        match (0..rays.rows()).find(|&k| dot(rays.row(k), candidate) > SAME) {
            Some(k) => hits[k] += found.hits[i],
            None => {
                let mut data = std::mem::take(rays).into_vec();
                data.extend_from_slice(candidate);
                *rays = Mat::from_vec(data.len() / candidate.len(), candidate.len(), data);
                hits.push(found.hits[i]);
            }
        }
    }
}

/// Energies with the top percent clipped, so that outliers don't take all the starts.
fn clipped(energy: &[f32]) -> Vec<f64> {
    let mut sorted = energy.to_vec();
    sorted.sort_by(f32::total_cmp);
    let top = sorted[(sorted.len() - 1) * 99 / 100];
    energy.iter().map(|e| f64::from(e.min(top))).collect()
}

/// `n` positions drawn with replacement in proportion to `weights`.
fn draw(weights: &[f64], n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut sums = Vec::with_capacity(weights.len());
    let mut total = 0.0;
    for w in weights {
        total += w;
        sums.push(total);
    }
    (0..n).map(|_| sums.partition_point(|&s| s < total * rng.uniform_f64()).min(weights.len() - 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search that keeps nothing must end with nothing, also where it is repeated with an agreement nobody reaches.
    #[test]
    fn finding_nothing_is_no_rays() {
        let mut rng = Rng::new(7);
        let white = Mat::from_fn(2000, 6, |_, _| rng.normal());
        let cloud = Cloud::new(&white);
        let search = Search { cloud: &cloud, half: 1000, white: &white, rho: &[0.0; 6] };
        let mut wanted = Rays::none(6);
        wanted.chosen = vec![(15, 2.0), (3, 2.0)];
        let found = search.again(&wanted, &rng);
        assert_eq!((found.directions.shape(), found.lines.len()), ((0, 6), 0));
        assert!(with_rows(&search, &found.directions).is_empty());
        assert!(without_mixtures(&search, &found.directions).is_empty());
    }
}
