//! What of a model's predictions a dictionary keeps.

use serde_json::{Map, Value};
use superlens::sae::{Recovered, Sae, Splice, Transcode};
use superlens_lm::intervene::{Columns, Intervention, Text, gather};
use superlens_lm::model::{Config, Site};
use superlens_tensor::Mat;

use super::changes::{check_dictionary, is_transcoder, transcoder_sites, warn_of_other_hook};
use super::model_files::Model;
use super::texts;
use crate::args::{Eval, ModelFiles};
use crate::failure::Failure;
use crate::progress::Progress;

/// A model, the site that a dictionary is of, and texts to run.
pub struct Spliced {
    model: Model,
    /// Where it reads.
    from: Site,
    /// Where its reconstruction is put, if that is elsewhere: it is a transcoder.
    to: Option<Site>,
    texts: Vec<Text>,
}

impl Spliced {
    /// # Errors
    /// What is wrong with the model and the texts; a hook that nobody names or that the model has not; a dictionary of other activations.
    pub fn open(files: &ModelFiles, args: &Eval, sae: &Sae, metadata: &Map<String, Value>) -> Result<Spliced, Failure> {
        if args.sample.texts.text.is_empty() {
            return Err(Failure::Input("--text: expected texts for --model to run, found none".into()));
        }
        let (model, tokenizer) = Model::with_tokenizer(files)?;
        let (from, to) = sites(args, sae, metadata, &model.transformer.config)?;
        let texts = texts::sample(&args.sample, &model, &tokenizer)?;
        Ok(Spliced { model, from, to, texts })
    }

    /// The activations over the texts, those of spared tokens left out, and what a transcoder is to make of them.
    pub fn activations(&self) -> (Mat, Option<Mat>) {
        let of = |site: Site| {
            let all = Columns((0..site.width(&self.model.transformer.config).unwrap_or_default()).collect());
            gather(&self.model.transformer, &self.texts, site, &all, usize::MAX).rows
        };
        (of(self.from), self.to.map(of))
    }

    pub fn recovered(&self, sae: &Sae, progress: &Progress) -> Recovered {
        let splice: Box<dyn Intervention + '_> = match self.to {
            Some(_) => Box::new(Transcode { sae, from: self.from, keep_error: false }),
            None => Box::new(Splice { sae, keep_error: false }),
        };
        let watch = |share: f64| progress.at(0.8 + 0.2 * share, "running the model");
        Recovered::measure(&self.model.transformer, &self.texts, self.to.unwrap_or(self.from), &*splice, &watch)
    }
}

/// Where the dictionary reads, and where a transcoder writes.
fn sites(
    args: &Eval,
    sae: &Sae,
    metadata: &Map<String, Value>,
    config: &Config,
) -> Result<(Site, Option<Site>), Failure> {
    let (hook, targets) = (args.part.hook.as_deref(), args.targets_hook.as_deref());
    if targets.is_some() || is_transcoder(sae, metadata) {
        let flags = ("--hook", "--targets-hook");
        let (from, to) = transcoder_sites(&args.sae, (sae, metadata), (hook, targets), config, flags)?;
        warn_of_other_hook(&args.sae, metadata, &[from]);
        return Ok((from, Some(to)));
    }
    let Some(hook) = hook.or_else(|| metadata.get("hook_name").and_then(Value::as_str)) else {
        let what = "the dictionary does not say which activations it is of; name their hook in the model";
        return Err(Failure::Input(format!("--hook: {what}")));
    };
    let site = Site::parse(hook, config).map_err(|what| Failure::Input(format!("--hook: {what}")))?;
    check_dictionary(&args.sae, (sae, metadata), &[site], config)?;
    warn_of_other_hook(&args.sae, metadata, &[site]);
    Ok((site, None))
}

/// Adds the numbers by the names that SAEBench gives them, and those against the mean.
pub fn tell(document: &mut Value, r: &Recovered) {
    let numbers = [
        ("ce_loss_score", r.ce_loss_score()),
        ("ce_loss_score_mean", r.ce_loss_score_mean()),
        ("ce_loss_without_sae", r.ce_clean),
        ("ce_loss_with_sae", r.ce_sae),
        ("ce_loss_with_ablation", r.ce_zero),
        ("ce_loss_with_mean_ablation", r.ce_mean),
        ("kl_div_score", r.kl_div_score()),
        ("kl_div_score_mean", r.kl_div_score_mean()),
        ("kl_div_with_sae", r.kl_sae),
        ("kl_div_with_ablation", r.kl_zero),
        ("kl_div_with_mean_ablation", r.kl_mean),
    ];
    numbers.into_iter().for_each(|(name, number)| document[name] = number.into());
    document["predictions"] = r.tokens.into();
}
