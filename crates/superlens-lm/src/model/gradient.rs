//! The backward pass: how a number that is made of the logits changes with the activations at any site.
//!
//! Gradient × activation says how much each activation counts to first order; [`Transformer::integrated_gradients`] follows it along the way from a
//! baseline (Sundararajan, Taly and Yan 2017, arXiv 1703.01365).

use std::collections::BTreeMap;

use superlens_tensor::Mat;

use super::backward::{Found, Run};
use super::batch::Batch;
use super::hook::{Point, Site};
use super::transformer::{Hooks, Transformer, add};

/// Gradients of one number by activations.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// Of the run that they are of, `[tokens, vocab]`.
    pub logits: Mat,
    /// The activations of that run at the sites that were asked for.
    pub at: BTreeMap<Site, Mat>,
    /// The gradient by them, of the same shape.
    pub by: BTreeMap<Site, Mat>,
}

impl Gradients {
    /// Gradient × activation at a site. Panics on one that was not asked for.
    pub fn times_activation(&self, site: Site) -> Mat {
        let (by, at) = (&self.by[&site], &self.at[&site]);
        Mat::from_fn(by.rows(), by.cols(), |i, j| by[(i, j)] * at[(i, j)])
    }
}

impl Site {
    /// Whether gradients by its activations are computed.
    pub fn has_gradient(self) -> bool {
        !matches!(self, Site::Logits | Site::Block(_, Point::Scores | Point::Pattern | Point::Result))
    }
}

impl Transformer {
    /// Whether gradients go through its output.
    pub(super) fn has_gradients(&self) -> Result<(), String> {
        match &self.weights.head {
            Some(head) if head.transform.is_none() => Ok(()),
            _ => Err(format!("a model of family {} has no output that gradients go through here", self.config.family)),
        }
    }

    /// Runs the batch, `change` seeing and changing every site as in [`forward`](Self::forward), and goes back from the logits: `seed(logits)` is the
    /// gradient of the number by them. Sites are those of rows a token each, but for heads' results and the logits.
    ///
    /// # Errors
    /// Models without an output, or with a hidden layer in it, and sites that have no gradient here. Panics on a seed of another shape.
    pub fn gradients(
        &self,
        batch: &Batch,
        sites: &[Site],
        change: Hooks,
        seed: &dyn Fn(&Mat) -> Mat,
    ) -> Result<Gradients, String> {
        self.has_gradients()?;
        for site in sites {
            if !site.has_gradient() {
                return Err(format!("{site}: no gradient is computed by it"));
            }
        }
        let mut run = Run::new(self, batch, change);
        let d = seed(&run.logits);
        assert_eq!(d.shape(), run.logits.shape(), "a gradient for each logit");
        let mut found = Found::new(sites, None);
        run.backward(d, &mut found);
        let of = |all: &mut BTreeMap<Site, Mat>| -> Result<BTreeMap<Site, Mat>, String> {
            let one =
                |site: &Site| Ok((*site, all.get(site).ok_or_else(|| format!("{site}: the model has none"))?.clone()));
            sites.iter().map(one).collect()
        };
        Ok(Gradients { at: of(&mut run.kept)?, by: of(&mut found.sites)?, logits: run.logits })
    }

    /// How a sum over the neurons of one layer's MLP, weighed by `weights` `[tokens, d_mlp]`, changes with the activations at sites before it, by
    /// every way through the model: through attention and all layers between. `logits` are those of the run.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients). Panics on a layer that isn't there and on weights of another shape.
    pub fn gradients_of_neurons(
        &self,
        batch: &Batch,
        layer: usize,
        weights: &dyn Fn(&Mat) -> Vec<Mat>,
        sites: &[Site],
    ) -> Result<Vec<Gradients>, String> {
        self.has_gradients()?;
        if let Some(site) = sites.iter().find(|site| !site.has_gradient()) {
            return Err(format!("{site}: no gradient is computed by it"));
        }
        let run = Run::new(self, batch, &mut |_, _| {});
        let neurons = &run.kept[&Site::Block(layer, Point::Post)];
        let kept = |all: &BTreeMap<Site, Mat>| -> Result<BTreeMap<Site, Mat>, String> {
            let missing = |site: &Site| format!("{site}: isn't before the neurons of layer {layer}");
            sites.iter().map(|site| Ok((*site, all.get(site).ok_or_else(|| missing(site))?.clone()))).collect()
        };
        let each = weights(neurons).into_iter().map(|d| {
            assert_eq!(d.shape(), neurons.shape(), "a weight for each neuron at each token");
            let mut found = Found::new(sites, None);
            run.backward_from_neurons(layer, d, &mut found);
            Ok(Gradients { at: kept(&run.kept)?, by: kept(&found.sites)?, logits: run.logits.clone() })
        });
        each.collect()
    }

    /// Integrated gradients at a site: (activations − baseline) × the mean gradient over `steps` midpoints between the two. They add up to the
    /// difference that the number makes, the better the more steps. `baseline` is of the shape of the activations.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients). Panics on a baseline of another shape.
    pub fn integrated_gradients(
        &self,
        batch: &Batch,
        site: Site,
        baseline: &Mat,
        steps: usize,
        seed: &dyn Fn(&Mat) -> Mat,
    ) -> Result<Mat, String> {
        let plain = self.gradients(batch, &[site], &mut |_, _| {}, seed)?;
        let end = &plain.at[&site];
        assert_eq!(end.shape(), baseline.shape(), "a baseline for the activations");
        let mut sum = Mat::zeros(end.rows(), end.cols());
        for step in 0..steps.max(1) {
            let share = (step as f32 + 0.5) / steps.max(1) as f32;
            let between = Mat::from_fn(end.rows(), end.cols(), |i, j| {
                baseline[(i, j)] + share * (end[(i, j)] - baseline[(i, j)])
            });
            let mut set = |at: Site, x: &mut Mat| {
                if at == site {
                    x.data_mut().copy_from_slice(between.data());
                }
            };
            add(&self.gradients(batch, &[site], &mut set, seed)?.by[&site], &mut sum);
        }
        let share = 1.0 / steps.max(1) as f32;
        Ok(Mat::from_fn(end.rows(), end.cols(), |i, j| share * sum[(i, j)] * (end[(i, j)] - baseline[(i, j)])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sites;
    use crate::model::family_tests::fixtures;
    use crate::model::load;

    fn batch() -> Batch {
        let mut batch = Batch::one(&[3, 41, 7, 7, 55, 20, 9]);
        batch.push(&[9, 1, 30]);
        batch
    }

    /// A number that all logits take part in.
    fn number(logits: &Mat) -> f64 {
        let term = |(i, &x): (usize, &f32)| f64::from(x) * ((7 * i + 3) as f64).sin();
        logits.data().iter().enumerate().map(term).sum::<f64>() / 20.0
    }

    fn seed(logits: &Mat) -> Mat {
        let cols = logits.cols();
        Mat::from_fn(logits.rows(), cols, |i, j| (((7 * (i * cols + j) + 3) as f64).sin() / 20.0) as f32)
    }

    /// The change of the number when all activations at `site` move by `h` along a direction.
    fn moved(model: &Transformer, site: Site, direction: &dyn Fn(usize, usize) -> f32, h: f32) -> f64 {
        let sites = Sites::and_logits([site], &model.config);
        let shift = |by: f32| {
            let logits = model.forward(&batch(), &sites, None, &mut |at, x| {
                if at == site {
                    for i in 0..x.rows() {
                        x.row_mut(i).iter_mut().enumerate().for_each(|(j, x)| *x += by * direction(i, j));
                    }
                }
            });
            number(&logits.unwrap())
        };
        (shift(h) - shift(-h)) / f64::from(2.0 * h)
    }

    #[test]
    fn gradients_are_those_of_finite_differences_at_every_site_of_every_family() {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let mut families = 0;
        for path in folders {
            let family = path.file_name().unwrap().to_string_lossy().into_owned();
            let model = load(&path).unwrap();
            let skipped =
                |s: &Site| matches!(s, Site::Logits | Site::Block(_, Point::Scores | Point::Pattern | Point::Result));
            let sites: Vec<Site> = Site::all(&model.config).into_iter().filter(|s| !skipped(s)).collect();
            let found = match model.gradients(&batch(), &sites, &mut |_, _| {}, &seed) {
                Ok(found) => found,
                Err(why) => {
                    assert!(family.starts_with("bert"), "{family}: {why}");
                    continue;
                }
            };
            families += 1;
            for site in sites {
                let by = &found.by[&site];
                let size = found.at[&site].data().iter().map(|x| x.abs()).sum::<f32>() / by.data().len() as f32;
                let direction = |i: usize, j: usize| ((11 * i + 5 * j + 1) as f32).sin() * size.max(1e-3);
                let want: f64 = (0..by.rows())
                    .flat_map(|i| (0..by.cols()).map(move |j| (i, j)))
                    .map(|(i, j)| f64::from(by[(i, j)] * direction(i, j)))
                    .sum();
                let found = moved(&model, site, &direction, 2e-3);
                let length = by.data().iter().map(|d| f64::from(d * size.max(1e-3)).powi(2)).sum::<f64>().sqrt();
                assert!(
                    (found - want).abs() < 5e-3 * (want.abs() + length) + 2e-4,
                    "{family}, {site}: {found} and {want} of {length}"
                );
            }
        }
        assert!(families > 35, "{families}");
    }

    #[test]
    fn gradients_of_neurons_are_those_of_finite_differences_on_every_wiring() {
        let folders = std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        let mut checked = 0;
        for path in folders {
            let family = path.file_name().unwrap().to_string_lossy().into_owned();
            let model = load(&path).unwrap();
            let layer = model.config.layers.len() - 1;
            // Many neurons: a single one may bend where it is moved.
            let weight = |j: usize| ((3 * j + 1) as f32).sin();
            let sites = [Site::Block(layer, Point::ResidPre), Site::Embed];
            let weights = |post: &Mat| vec![Mat::from_fn(post.rows(), post.cols(), |_, j| weight(j))];
            let Ok(found) = model.gradients_of_neurons(&batch(), layer, &weights, &sites) else { continue };
            checked += 1;
            for site in sites {
                let by = &found[0].by[&site];
                let size = found[0].at[&site].data().iter().map(|x| x.abs()).sum::<f32>() / by.data().len() as f32;
                let direction = |i: usize, j: usize| ((11 * i + 5 * j + 1) as f32).sin() * size.max(1e-3);
                let want: f64 = (0..by.rows())
                    .flat_map(|i| (0..by.cols()).map(move |j| (i, j)))
                    .map(|(i, j)| f64::from(by[(i, j)] * direction(i, j)))
                    .sum();
                let sum = |h: f32| {
                    let (mut sum, post) = (0.0, Site::Block(layer, Point::Post));
                    let both = Sites::new([site, post], &model.config);
                    model.forward(&batch(), &both, None, &mut |at, x| {
                        if at == site {
                            for i in 0..x.rows() {
                                x.row_mut(i).iter_mut().enumerate().for_each(|(j, x)| *x += h * direction(i, j));
                            }
                        } else if at == post {
                            sum = x.data().iter().enumerate().map(|(at, v)| f64::from(v * weight(at % x.cols()))).sum();
                        }
                    });
                    sum
                };
                // Small, for the sake of models with ReLUs: few of their neurons bend within it.
                let h = 2e-4;
                let moved = (sum(h) - sum(-h)) / f64::from(2.0 * h);
                let length = by.data().iter().map(|d| f64::from(d * size.max(1e-3)).powi(2)).sum::<f64>().sqrt();
                assert!(
                    (moved - want).abs() < 5e-3 * (want.abs() + length) + 2e-4,
                    "{family}, {site}: {moved} and {want}"
                );
            }
        }
        assert!(checked > 35, "{checked}");
    }

    #[test]
    fn integrated_gradients_add_up() {
        // Not of Gemma 2: the norm behind its MLP makes the step from nothing to a little the whole way.
        for family in ["gpt2-published", "llama-gqa-published", "neox-parallel-published", "opt"] {
            let model = load(&fixtures().join(family)).unwrap();
            let site = Site::Block(0, Point::Post);
            let value = |change: Hooks| {
                number(&model.forward(&batch(), &Sites::and_logits([site], &model.config), None, change).unwrap())
            };
            let zero = Mat::zeros(10, model.config.d_mlp);
            let shares = model.integrated_gradients(&batch(), site, &zero, 40, &seed).unwrap();
            let sum: f64 = shares.data().iter().map(|&x| f64::from(x)).sum();
            let want = value(&mut |_, _| {})
                - value(&mut |at, x| {
                    if at == site {
                        x.data_mut().fill(0.0);
                    }
                });
            assert!((sum - want).abs() < 1e-2 * want.abs().max(0.05), "{family}: {sum} for {want}");
        }
    }

    #[test]
    fn what_has_no_gradient_is_told() {
        let model = load(&fixtures().join("gpt2-published")).unwrap();
        let said = |site: Site| model.gradients(&batch(), &[site], &mut |_, _| {}, &seed).unwrap_err();
        assert!(said(Site::Logits).contains("logits") && said(Site::Block(0, Point::Pattern)).contains("hook_pattern"));
        let bert = load(&fixtures().join("bert-published")).unwrap();
        assert!(bert.gradients(&batch(), &[], &mut |_, _| {}, &seed).is_err());
    }
}
