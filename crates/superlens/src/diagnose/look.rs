//! One pass of every test over a layer: what the verdict, the neurons and the pictures are drawn from.

use super::clusters::{Clustered, clustered};
use super::completion::{Completion, completion};
use super::finding::{Concepts, Count, Dictionary, Hypothesis, Layer, Neuron, Shared};
use super::hypotheses as test;
use super::labelled::{self, LabelEvidence, Labelled};
use super::light::{Light, light};
use super::maxima::Cloud;
use super::neurons::with_concepts;
use super::rays::{Rays, Search};
use super::rows::{self, Split};
use super::sharing::{comes_together, sharing};
use super::signs::{Facts, Sharing, Tails};
use super::surrogate::random_directions;
use super::verdict::cause;
use super::whitening::Whitening;
use super::{CODED_ROWS, DiagnoseError, LEAST_ROWS, Options, count, neurons, rows_read};
use crate::verdict::{Basis, Mechanism, Verdict};
use std::ops::ControlFlow;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

/// Rows that the tests with labels read at most.
const LABELLED_ROWS: usize = 8000;
/// Random directions whose tails are compared with those of the neurons.
const RANDOM: usize = 64;

/// Everything that was found.
pub(super) struct Look {
    pub basis: Basis,
    pub live: Vec<usize>,
    pub effective: f64,
    pub whitening: Whitening,
    /// Search rows and held-out rows in white coordinates.
    pub searched: Mat,
    pub held_out: Mat,
    pub rays: Rays,
    /// Directions of the lines in neuron coordinates `[lines, d]`.
    pub in_neurons: Mat,
    pub count: Option<Count>,
    pub neurons: Vec<Neuron>,
    pub adequacy: Hypothesis,
    pub directions: Hypothesis,
    pub code: Hypothesis,
    pub code_by: test::By,
    pub mixture: Hypothesis,
    pub overcomplete: Hypothesis,
    pub aligned: Hypothesis,
    pub completion: Option<Completion>,
    pub light: Light,
    pub clustered: Clustered,
    pub tails: Tails,
    pub labels: Option<LabelEvidence>,
    pub sharing: Sharing,
    pub dictionary: Option<(Dictionary, Hypothesis)>,
}

impl Look {
    /// `x` holds the `live` columns among others; it was checked, and is in the range of floats.
    pub fn new(
        x: &Mat,
        live: Vec<usize>,
        options: &Options,
        rng: &Rng,
        say: &mut dyn FnMut(&'static str, f64) -> Result<(), DiagnoseError>,
    ) -> Result<Look, DiagnoseError> {
        say("whitening", 0.0)?;
        let cap = rows_read(live.len());
        let split = Split::new(x.rows(), cap);
        let read = |rows: &[usize]| x.select_rows(rows).select_cols(&live);
        let search_rows = read(&split.search());
        let whitening = Whitening::fit(&search_rows).ok_or(DiagnoseError::OneDirection)?;
        let searched = whitening.apply(&search_rows);
        let held_out_rows = read(&split.held_out[..split.held_out.len().min(CODED_ROWS)]);
        let held_out = whitening.apply(&held_out_rows);
        let rho = autocorrelation(x, &live, &whitening);
        let effective = rows::effective_rows(x.rows(), &rho);
        let adequacy = test::adequacy(effective, x.rows(), whitening.rank);
        let enough = adequacy.supports;

        say("searching for directions", 0.02)?;
        let cloud = Cloud::new(&searched);
        // Rows that were skipped between two that are read take the memory of the stream with them.
        let stride = x.rows().div_ceil(cap).max(1) as i32;
        let rho: Vec<f64> = rho.iter().map(|r| if *r > 0.0 { r.powi(stride) } else { 0.0 }).collect();
        let search = Search { cloud: &cloud, half: split.a.len(), white: &searched, rho: &rho };
        let rays = if enough {
            let mut stopped = Ok(());
            let found = search.run(&rng.fork("rays"), &mut |share| {
                stopped = say("searching for directions", 0.02 + 0.4 * share);
                if stopped.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            stopped?;
            match found {
                ControlFlow::Continue(rays) => rays,
                ControlFlow::Break(()) => return Err(DiagnoseError::Stopped),
            }
        } else {
            Rays::none(whitening.rank)
        };
        say("counting features", 0.42)?;
        let looked_at = rays.cloud(&searched);
        let mut count = count::count(&Search { cloud: &looked_at, ..search }, &rays);

        let in_neurons = super::scatter(&whitening.directions(&rays.line_directions()), &live, x.cols());
        let draws = options.null_draws.max(1);
        let evidence = evidence(&held_out, &searched, &rays, &in_neurons, &live, draws, rng);
        say("directions against the radial null", 0.47)?;
        let directions = test::directions(&evidence);
        say("codes against dense clouds", 0.52)?;
        let (code, code_by) = test::codes(&evidence);
        say("directions against a mixture of Gaussians", 0.56)?;
        let mixture = test::mixture(&search, &rays, count.as_ref(), rng);
        say("complete against overcomplete dictionaries", 0.8)?;
        let overcomplete = test::overcomplete(&evidence, &mixture);
        say("alignment against rotations", 0.86)?;
        let aligned = test::alignment(&evidence);
        let dictionary = options.sae.as_ref().filter(|_| enough).map(|sae| {
            let held_out: Vec<usize> = split.held_out.iter().copied().take(CODED_ROWS).collect();
            test::dictionary(&test::Given {
                sae,
                rows: &x.select_rows(&split.search()),
                held_out: &x.select_rows(&held_out),
                search: &Search { cloud: &looked_at, ..search },
                rays: &rays,
                rng,
            })
        });
        if let (Some(count), Some((told, _))) = (&mut count, &dictionary) {
            count.with_more(told.new);
        }
        say("curved sheets and light tails", 0.9)?;
        let completion = if enough {
            completion(&search_rows, &held_out_rows, whitening.rank, &rng.fork("completion"))
        } else {
            None
        };
        // What else was found may be corners of what is light.
        let known = if rays.complete { rays.line_directions() } else { Mat::zeros(0, whitening.rank) };
        let light = if enough { light(&searched, split.a.len(), &known, &rng.fork("light")) } else { Light::default() };
        let clustered = clustered(&searched, split.a.len(), &rng.fork("clusters"));
        let tails = tails(&search_rows, &searched, &mut rng.fork("tails"));
        drop(search_rows);
        say("labels", 0.93)?;
        let (labels, sharing) = match &options.labels {
            Some(labels) if enough => with_labels(x, labels, &live, &whitening, rng),
            _ => (None, Sharing::default()),
        };
        say("neurons", 0.97)?;
        let neurons = if options.basis == Basis::None {
            Vec::new()
        } else {
            neurons::neurons(&held_out_rows, &held_out, &rays, &whitening, &live, x.cols())
        };
        Ok(Look {
            basis: options.basis,
            effective,
            rays,
            in_neurons,
            count,
            neurons,
            adequacy,
            directions,
            code,
            code_by,
            mixture,
            overcomplete,
            aligned,
            completion,
            light,
            clustered,
            tails,
            labels,
            sharing,
            dictionary,
            live,
            whitening,
            searched,
            held_out,
        })
    }

    /// Each neuron with the cause that `layer` gives to those that are polysemantic, and with what labels say of it.
    pub fn described(&self, layer: &Layer) -> Vec<Neuron> {
        let mut neurons = self.neurons.clone();
        if let (Some(labels), false) = (&self.labels, neurons.is_empty()) {
            with_concepts(&mut neurons, &self.live, &labels.columns, &labels.carried);
        }
        // Neurons that no feature accounts for are polysemantic where the layer holds no features; elsewhere they are noise.
        let featureless = matches!(layer.verdict, Verdict::Nonlinear | Verdict::Compositional)
            || layer.mechanism == Some(Mechanism::Computational);
        if featureless {
            neurons.iter_mut().filter(|n| n.live && n.n_features == 0).for_each(|n| n.polysemantic = true);
        }
        neurons.iter_mut().filter(|n| n.polysemantic).for_each(|n| n.cause = cause(layer).map(String::from));
        neurons
    }

    /// What the hypotheses look at.
    pub fn evidence<'a>(&'a self, draws: usize, rng: &'a Rng) -> test::Evidence<'a> {
        evidence(&self.held_out, &self.searched, &self.rays, &self.in_neurons, &self.live, draws, rng)
    }

    /// Every test's outcome, in the order of the report.
    pub fn hypotheses(&self) -> Vec<Hypothesis> {
        let mut out = vec![&self.adequacy, &self.directions, &self.code, &self.mixture, &self.overcomplete];
        if self.basis != Basis::None {
            out.push(&self.aligned);
        }
        let looked = self.adequacy.supports;
        let curved = [
            test::computed(self.completion.as_ref()),
            test::circles(self.light, looked),
            test::bits(self.light, looked),
        ];
        let given = self.dictionary.iter().map(|(_, h)| h.clone());
        let labelled = self.labels.as_ref().map(|l| test::labelled(l, self.sharing)).unwrap_or_default();
        out.into_iter().cloned().chain(curved).chain(labelled).chain(given).collect()
    }

    /// What `labels` say, in the words of the JSON.
    pub fn concepts(&self, labels: Option<&Mat>) -> Option<Concepts> {
        let (l, labels) = (self.labels.as_ref()?, labels?);
        let shared = l.pairs.iter().map(|p| Shared {
            a: p.a,
            b: p.b,
            cos: p.cos,
            phi: p.phi,
            related: comes_together(labels, p),
        });
        Some(Concepts {
            used: l.columns.clone(),
            linear_auc: l.linear_auc,
            quadratic_auc: l.quadratic_auc,
            nearest_auc: l.nearest_auc,
            decodable: l.decodable,
            decodable_rank: l.decodable_rank,
            directed: l.directed,
            alignment: l.alignment,
            alignment_null: l.alignment_null,
            shared_fraction: l.shared_fraction,
            same_sided_fraction: l.same_sided_fraction,
            shared_phi: l.shared_phi,
            coactive: l.coactive,
            pairs: shared.collect(),
        })
    }

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            basis: self.basis,
            rank: self.whitening.rank,
            live: self.live.len(),
            count: self.count.clone(),
            complete_code: self.rays.complete,
            neurons: &self.neurons,
            adequacy: &self.adequacy,
            directions: &self.directions,
            code: &self.code,
            code_by: self.code_by,
            mixture: &self.mixture,
            overcomplete: &self.overcomplete,
            aligned: &self.aligned,
            completion: self.completion.as_ref(),
            light: self.light,
            clustered: self.clustered,
            tails: self.tails,
            labels: self.labels.as_ref(),
            sharing: self.sharing,
        }
    }
}

fn evidence<'a>(
    held_out: &'a Mat,
    searched: &'a Mat,
    rays: &'a Rays,
    in_neurons: &'a Mat,
    live: &'a [usize],
    draws: usize,
    rng: &'a Rng,
) -> test::Evidence<'a> {
    test::Evidence { held_out, searched, rays, in_neurons, live, draws, rng }
}

/// Lag-1 autocorrelation of each white coordinate over consecutive rows of the input.
fn autocorrelation(x: &Mat, live: &[usize], whitening: &Whitening) -> Vec<f64> {
    let consecutive: Vec<usize> = (0..x.rows().min(LEAST_ROWS)).collect();
    rows::lag_one(&whitening.apply(&x.select_rows(&consecutive).select_cols(live)))
}

fn with_labels(
    x: &Mat,
    labels: &Mat,
    live: &[usize],
    whitening: &Whitening,
    rng: &Rng,
) -> (Option<LabelEvidence>, Sharing) {
    let used = x.rows().min(LABELLED_ROWS);
    let rows: Vec<usize> = (0..used).map(|i| (i as u128 * x.rows() as u128 / used as u128) as usize).collect();
    let (x, labels) = (x.select_rows(&rows).select_cols(live), labels.select_rows(&rows));
    let given = Labelled { x: &x, white: &whitening.apply(&x), labels: &labels, rng: &rng.fork("labels") };
    let evidence = labelled::evidence(&given);
    let shares = sharing(&labels, &evidence);
    (Some(evidence), shares)
}

/// Median kurtosis of the columns of `x`, and of random directions of the white rows `z`.
fn tails(x: &Mat, z: &Mat, rng: &mut Rng) -> Tails {
    let step = z.rows().div_ceil(8000).max(1);
    let some: Vec<usize> = (0..z.rows()).step_by(step).collect();
    let random = random_directions(RANDOM, z.cols(), rng);
    Tails {
        neurons: median_kurtosis(&x.select_rows(&some)),
        directions: median_kurtosis(&matmul(&z.select_rows(&some), random.t())),
    }
}

fn median_kurtosis(x: &Mat) -> f64 {
    let n = x.rows().max(1) as f64;
    let mut all: Vec<f64> = (0..x.cols())
        .map(|j| {
            let mean = (0..x.rows()).map(|i| f64::from(x[(i, j)])).sum::<f64>() / n;
            let (mut m2, mut m4) = (0.0, 0.0);
            for i in 0..x.rows() {
                let q = (f64::from(x[(i, j)]) - mean).powi(2);
                m2 += q;
                m4 += q * q;
            }
            if m2 > 0.0 { m4 * n / (m2 * m2) } else { 3.0 }
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(3.0)
}
