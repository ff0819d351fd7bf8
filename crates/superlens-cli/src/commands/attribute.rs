//! `superlens attribute`: what a prediction counts on, by the backward pass.

use std::io::{self, Write};

use serde_json::{Value, json};
use superlens::sae::Sae;
use superlens_lm::model::{Batch, Gradients, Site, Transformer};
use superlens_tensor::Mat;

use super::changes::dictionary_at;
use super::model_files::Model;
use super::prompt::{Spelling, prediction, tokens};
use super::table;
use crate::args::{Attribute, Global, Method};
use crate::failure::Failure;
use crate::progress::Progress;

/// Points on the way from zero, where nobody names another number.
const STEPS: u32 = 32;

/// One activation, neuron or latent at one token.
struct Share {
    position: usize,
    index: usize,
    activation: f64,
    attribution: f64,
}

/// What is found at one hook.
struct AtHook {
    site: Site,
    /// Of everything there.
    sum: f64,
    /// The largest in size.
    top: Vec<Share>,
}

pub fn run(args: &Attribute, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    if args.steps.is_some() && args.method != Method::Integrated {
        return Err(Failure::Input("--steps: goes with --method integrated; leave it out, or ask for that".into()));
    }
    let model = Model::open(&args.model.model)?;
    let spelling = Spelling::open(&model, &args.model, args.prompt.text.is_some() || args.prediction.token.is_some())?;
    let config = &model.transformer.config;
    let (sites, sae) = dictionary_at(args.sae.as_deref(), &args.hook, config, &Site::has_gradient)?;
    if sae.is_some() && args.method == Method::Integrated {
        return Err(Failure::Input(
            "--method integrated: goes with columns; latents are attributed by gradient".into(),
        ));
    }
    let tokenize = |text: &str| Ok(spelling.tokenizer().ids(text, !args.prompt.bare)?);
    let ids = tokens(&args.prompt, &model, tokenize)?;
    let batch = Batch::one(&ids);
    let (position, token) = prediction(&model, &spelling, &batch, &args.prediction)?;
    progress.stage("going back from the logit");
    let seed = |logits: &Mat| {
        let mut d = Mat::zeros(logits.rows(), logits.cols());
        d[(position, token as usize)] = 1.0;
        d
    };
    let told = |what: String| Failure::Input(format!("--hook: {what}"));
    let gradients = model.transformer.gradients(&batch, &sites, &mut |_, _| {}, &seed).map_err(told)?;
    let mut found = Vec::new();
    for (i, &site) in sites.iter().enumerate() {
        progress.at(i as f64 / sites.len() as f64, "going back from the logit");
        let shares = match (&sae, args.method) {
            (Some(sae), _) => of_latents(sae, &gradients, site),
            (None, Method::Gradient) => of_columns(&gradients, site, &gradients.times_activation(site)),
            (None, Method::Integrated) => {
                let steps = args.steps.unwrap_or(STEPS);
                let shares = integrated(&model.transformer, &batch, &gradients, site, steps, &seed).map_err(told)?;
                of_columns(&gradients, site, &shares)
            }
        };
        found.push(largest(site, shares, args.top));
    }
    drop(progress);
    let logit = f64::from(gradients.logits[(position, token as usize)]);
    let spelled = |id: u32| spelling.text(id);
    let what = if sae.is_some() { "latent" } else { "column" };
    let mut out = io::stdout().lock();
    if global.json {
        let share = |s: &Share| {
            json!({"position": s.position, "token": spelled(ids[s.position]), "index": s.index, "activation": s.activation,
                "attribution": s.attribution})
        };
        let hook = |h: &AtHook| json!({"hook": h.site.to_string(), "sum": h.sum, "top": h.top.iter().map(share).collect::<Vec<Value>>()});
        let document = json!({
            "tokens": ids.len(), "position": position, "token": {"token": spelled(token), "id": token}, "logit": logit,
            "hooks": found.iter().map(hook).collect::<Vec<Value>>(),
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    writeln!(
        out,
        "the logit of {} after token {position}, {}: {logit:.3}",
        spelling.quoted(token),
        spelling.quoted(ids[position])
    )?;
    for hook in &found {
        writeln!(out, "\n{}: {:+.3} in all", hook.site, hook.sum)?;
        let head = ["token", "", what, "activation", "attribution"].map(String::from);
        let row = |s: &Share| {
            let token = spelling.quoted(ids[s.position]);
            [
                s.position.to_string(),
                token,
                s.index.to_string(),
                format!("{:.3}", s.activation),
                format!("{:+.3}", s.attribution),
            ]
        };
        for line in table::lines(&std::iter::once(head).chain(hook.top.iter().map(row)).collect::<Vec<_>>()) {
            writeln!(out, "  {line}")?;
        }
    }
    Ok(out.flush()?)
}

fn integrated(
    model: &Transformer,
    batch: &Batch,
    gradients: &Gradients,
    site: Site,
    steps: u32,
    seed: &dyn Fn(&Mat) -> Mat,
) -> Result<Mat, String> {
    let (rows, cols) = gradients.at[&site].shape();
    model.integrated_gradients(batch, site, &Mat::zeros(rows, cols), steps as usize, seed)
}

fn of_columns(gradients: &Gradients, site: Site, shares: &Mat) -> Vec<Share> {
    let at = &gradients.at[&site];
    let one = |position: usize, index: usize| Share {
        position,
        index,
        activation: at[(position, index)].into(),
        attribution: shares[(position, index)].into(),
    };
    (0..at.rows()).flat_map(|i| (0..at.cols()).map(move |j| one(i, j))).collect()
}

/// Of each latent that is on: what it adds to the reconstruction, along the gradient.
fn of_latents(sae: &Sae, gradients: &Gradients, site: Site) -> Vec<Share> {
    let (at, by) = (&gradients.at[&site], &gradients.by[&site]);
    let latents = sae.encode(at);
    let mut shares = Vec::new();
    for position in 0..at.rows() {
        let (indices, values) = latents.row(position);
        // Norms multiply what a row's latents add by a factor of the row.
        let factor = sae.row_factor(at.row(position));
        for (&j, &value) in indices.iter().zip(values) {
            let direction = sae.w_dec.row(j as usize);
            let along: f64 = direction.iter().zip(by.row(position)).map(|(&w, &g)| f64::from(w) * f64::from(g)).sum();
            let activation = f64::from(value);
            shares.push(Share {
                position,
                index: j as usize,
                activation,
                attribution: f64::from(factor) * activation * along,
            });
        }
    }
    shares
}

fn largest(site: Site, mut shares: Vec<Share>, top: usize) -> AtHook {
    let sum = shares.iter().map(|s| s.attribution).sum();
    shares.sort_by(|a, b| b.attribution.abs().total_cmp(&a.attribution.abs()));
    shares.truncate(top);
    AtHook { site, sum, top: shares }
}
