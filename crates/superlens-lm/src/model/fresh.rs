//! Models that nobody has trained yet.

use serde_json::Value;
use superlens_tensor::Rng;

use super::error::ModelError;
use super::families::load_made;
use super::made::Made;
use super::parameters::Role;
use super::settings::Settings;
use super::transformer::Transformer;

/// What GPT-2 was begun with.
const USUAL: f64 = 0.02;

/// A model with random weights, whose settings are those of a `config.json`, of any family that is read:
/// `{"model_type": "llama", "vocab_size": 64, "hidden_size": 32, …}`.
///
/// Weights are begun as those of GPT-2 were (Radford et al. 2019, section 2.3): normal with the standard deviation `initializer_range`, 0.02 where that
/// is not set; divided by `√(2 · layers)` in layers that add to the residual stream, of which there are two a block. Biases are 0, gains 1. Each tensor
/// draws from a stream of its own below `rng`.
///
/// # Errors
/// Settings that are missing or wrong, families that are not known, models of more than 2^24 numbers.
pub fn fresh(settings: &Value, rng: &Rng) -> Result<Transformer, ModelError> {
    let settings = Settings::of(settings);
    let scale = settings.number(&["initializer_range"], USUAL)?;
    if scale < 0.0 {
        return Err(settings.wrong("initializer_range", format!("expected a number from 0 on, found {scale}")));
    }
    // Counting notices a model that is too large before all of it is made.
    load_made(&settings, Made::Counted(Default::default()))?;
    let Transformer { config, mut weights } = load_made(&settings, Made::Zeros)?;
    let blocks = (2.0 * config.layers.len() as f64).sqrt();
    for tensor in weights.tensors_mut(&config) {
        let mut rng = rng.fork(&tensor.name);
        let mut normal = |scale: f64| tensor.data.iter_mut().for_each(|w| *w = (scale * rng.normal_f64()) as f32);
        match tensor.role {
            Role::Matrix => normal(scale),
            Role::Output => normal(scale / blocks),
            Role::Gain => tensor.data.fill(1.0),
            Role::Bias => tensor.data.fill(0.0),
        }
    }
    Ok(Transformer { config, weights })
}
