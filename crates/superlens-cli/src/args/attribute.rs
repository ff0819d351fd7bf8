//! What can be typed after `superlens attribute`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::{ModelFiles, Prediction, Prompt};

/// Say which activations, neurons or latents a prediction counts on
///
/// Goes back from the logit of one token to the activations at a hook. An attribution is gradient times activation, what the logit would lose to
/// first order if the activation were zero; or its integral along the way from zero (integrated gradients), whose sum is what it does lose.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("needs_model").arg("model").required(true)))]
#[command(after_help = "\
Examples:
  superlens attribute --model gpt2 --text prompt.txt --hook 'blocks.*.mlp.hook_post'
  superlens attribute --model gpt2 --text prompt.txt --token \" Paris\" --hook blocks.3.mlp.hook_post --method integrated
  superlens attribute --model gpt2 --text prompt.txt --hook blocks.6.hook_resid_pre --sae runs/sae --json

--json prints {tokens, position, token, logit, hooks: [{hook, sum, top: [{position, token, index, activation, attribution}]}]}.")]
pub struct Attribute {
    #[command(flatten)]
    pub model: ModelFiles,
    #[command(flatten)]
    pub prompt: Prompt,
    #[command(flatten)]
    pub prediction: Prediction,
    /// The hooks, by the names of TransformerLens; * stands for anything
    #[arg(long, value_name = "NAME", num_args = 1.., required = true)]
    pub hook: Vec<String>,
    /// A dictionary of the activations at the hook: attributions of its latents in place of columns
    #[arg(long, value_name = "DIR")]
    pub sae: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t = Method::Gradient, value_name = "METHOD", help = "How")]
    pub method: Method,
    /// Points on the way from zero, of integrated gradients [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: Option<u32>,
    /// How many to show of each hook
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = super::one_at_least)]
    pub top: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Gradient times activation
    Gradient,
    /// Integrated gradients, from zero
    Integrated,
}
