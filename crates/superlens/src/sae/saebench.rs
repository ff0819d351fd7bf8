//! A result as SAEBench writes it: the JSON of its `core` evaluation (`eval_output_schema_core.json` of the package `sae-bench` 0.6.0).
//!
//! The schema requires every metric and allows no null, also for those of the language model that these activations came from. Where that is not
//! here, they are −1, which is what SAEBench itself writes for NaN; `eval_result_unstructured.not_measured` names them.

use super::agreement::{Nearest, nearest_within};
use super::metrics::Metrics;
use super::{Activation, Encoder, Recovered, Sae};
use serde_json::{Map, Value, json};
use superlens_tensor::Rng;

/// In the place of a number that is not known.
const UNKNOWN: f64 = -1.0;

/// The metrics that need the model, as `category.metric`; the rest may be unknown for lack of an encoder.
const OF_THE_MODEL: [&str; 7] = [
    "model_behavior_preservation.kl_div_score",
    "model_behavior_preservation.kl_div_with_ablation",
    "model_behavior_preservation.kl_div_with_sae",
    "model_performance_preservation.ce_loss_score",
    "model_performance_preservation.ce_loss_with_ablation",
    "model_performance_preservation.ce_loss_with_sae",
    "model_performance_preservation.ce_loss_without_sae",
];

/// What is said of where the numbers come from.
pub struct About<'a> {
    /// What the autoencoder's files say beside the weights: goes into `sae_cfg_dict`.
    pub metadata: &'a Map<String, Value>,
    /// Name of the activations, in the place of the dataset's.
    pub dataset: &'a str,
    /// What the model's predictions lose, where it was there.
    pub recovered: Option<&'a Recovered>,
    /// Now, in milliseconds since 1970.
    pub millis: u64,
}

/// The document. Panics on metrics of another number of latents, and for a dictionary that rebuilds another width than it reads.
pub fn core(sae: &Sae, m: &Metrics, about: &About) -> Value {
    assert_eq!((sae.d_sae(), sae.d_in()), (m.density.len(), sae.d_out()), "metrics of another dictionary");
    let latents = of_latents(sae);
    let metrics = metrics(m, &latents, about.recovered);
    let with_model = about.recovered.is_some();
    let seed = Rng::new(about.millis).fork(&metrics.to_string());
    let said = |key: &str| about.metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut config = about.metadata.clone();
    config.entry("d_in").or_insert(sae.d_in().into());
    config.entry("d_sae").or_insert(sae.d_sae().into());
    let of_the_model = OF_THE_MODEL.iter().filter(|_| !with_model);
    let mut unknown: Vec<String> = of_the_model.map(|name| format!("eval_result_metrics.{name}")).collect();
    unknown.push("eval_result_details.consistent_activation_heuristic".into());
    if latents.encoder.is_none() {
        unknown.push("eval_result_metrics.misc_metrics.average_max_encoder_cosine_sim".into());
        let of_encoder = ["encoder_bias", "encoder_norm", "encoder_decoder_cosine_sim", "max_encoder_cosine_sim"];
        unknown.extend(of_encoder.map(|name| format!("eval_result_details.{name}")));
    }
    json!({
        "eval_type_id": "core",
        "eval_config": {
            "model_name": said("model_name"), "llm_dtype": "float32", "dataset": about.dataset,
            "batch_size_prompts": 0, "context_size": 0,
            "n_eval_reconstruction_batches": 0, "n_eval_sparsity_variance_batches": 1,
            "compute_kl": with_model, "compute_ce_loss": with_model, "compute_l2_norms": true, "compute_sparsity_metrics": true,
            "compute_variance_metrics": true, "compute_featurewise_density_statistics": true,
            "compute_featurewise_weight_based_metrics": true, "exclude_special_tokens_from_reconstruction": false,
            "verbose": false,
        },
        "eval_id": uuid(seed),
        "datetime_epoch_millis": about.millis.min(9_999_999_999_999),
        "eval_result_metrics": metrics,
        "eval_result_details": details(m, &latents),
        "sae_bench_commit_hash": format!("none: superlens {}", env!("CARGO_PKG_VERSION")),
        "sae_lens_id": null, "sae_lens_release_id": null, "sae_lens_version": null,
        "sae_cfg_dict": config,
        "eval_result_unstructured": { "not_measured": unknown },
    })
}

/// What is read off the weights.
struct OfLatents {
    decoder: Vec<Nearest>,
    encoder: Option<OfEncoder>,
}

struct OfEncoder {
    nearest: Vec<Nearest>,
    bias: Vec<f64>,
    norm: Vec<f64>,
    /// Cosine of each latent's encoder column with its decoder row.
    with_decoder: Vec<f64>,
}

fn of_latents(sae: &Sae) -> OfLatents {
    let decoder = nearest_within(&sae.w_dec);
    let Encoder::Linear { w_enc, b_enc, act } = &sae.encoder else { return OfLatents { decoder, encoder: None } };
    let columns = w_enc.transposed();
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = |row: &[f32]| product(row, row).sqrt();
    let with_decoder = |j: usize| {
        let (e, d) = (columns.row(j), sae.w_dec.row(j));
        product(e, d) / (norm(e) * norm(d))
    };
    // Of the two biases of a gated autoencoder SAEBench shows that of the magnitude.
    let bias = |j: usize| match act {
        Activation::Gated { scale, shift } => f64::from(shift[j]) + f64::from(scale[j]) * f64::from(b_enc[j]),
        _ => f64::from(b_enc[j]),
    };
    let all = 0..sae.d_sae();
    let encoder = OfEncoder {
        nearest: nearest_within(&columns),
        bias: all.clone().map(bias).collect(),
        norm: all.clone().map(|j| norm(columns.row(j))).collect(),
        with_decoder: all.map(with_decoder).collect(),
    };
    OfLatents { decoder, encoder: Some(encoder) }
}

/// In the order of [`OF_THE_MODEL`]; ablation is SAEBench's, by zero.
fn of_the_model(r: &Recovered) -> [f64; 7] {
    [r.kl_div_score(), r.kl_zero, r.kl_sae, r.ce_loss_score(), r.ce_zero, r.ce_sae, r.ce_clean]
}

/// Two levels, categories and their metrics: a third is refused by readers.
fn metrics(m: &Metrics, latents: &OfLatents, recovered: Option<&Recovered>) -> Value {
    let mean = |nearest: &[Nearest]| nearest.iter().map(|n| n.signed).sum::<f64>() / nearest.len() as f64;
    let mut metrics = json!({
        "reconstruction_quality": {
            "explained_variance": number(1.0 - m.fvu), "explained_variance_legacy": number(m.explained_variance_legacy),
            "mse": number(m.mse), "cossim": number(m.cossim),
        },
        "shrinkage": {
            "l2_norm_in": number(m.l2_norm_in), "l2_norm_out": number(m.l2_norm_out), "l2_ratio": number(m.l2_ratio),
            "relative_reconstruction_bias": number(m.shrinkage),
        },
        "sparsity": { "l0": number(m.l0), "l1": number(m.l1) },
        "token_stats": {
            "total_tokens_eval_reconstruction": recovered.map_or(0, |r| r.tokens), "total_tokens_eval_sparsity_variance": m.rows,
        },
        "misc_metrics": {
            "freq_over_1_percent": number(m.denser(0.01)), "freq_over_10_percent": number(m.denser(0.1)),
            "normalized_freq_over_1_percent": number(m.of_denser(0.01)),
            "normalized_freq_over_10_percent": number(m.of_denser(0.1)),
            "average_max_encoder_cosine_sim": number(latents.encoder.as_ref().map_or(f64::NAN, |e| mean(&e.nearest))),
            "average_max_decoder_cosine_sim": number(mean(&latents.decoder)),
            "frac_alive": number(m.denser(0.0)),
        },
    });
    for (i, name) in OF_THE_MODEL.iter().enumerate() {
        if let Some((category, metric)) = name.split_once('.') {
            metrics[category][metric] = recovered.map_or(UNKNOWN, |r| number(of_the_model(r)[i])).into();
        }
    }
    metrics
}

fn details(m: &Metrics, latents: &OfLatents) -> Value {
    let of = |j: usize| {
        let encoder = |of: &dyn Fn(&OfEncoder) -> f64| number(latents.encoder.as_ref().map_or(f64::NAN, of));
        json!({
            "index": j,
            "feature_density": number(m.density[j]),
            "consistent_activation_heuristic": UNKNOWN,
            "encoder_bias": encoder(&|e| e.bias[j]),
            "encoder_norm": encoder(&|e| e.norm[j]),
            "encoder_decoder_cosine_sim": encoder(&|e| e.with_decoder[j]),
            "max_decoder_cosine_sim": number(latents.decoder[j].signed),
            "max_encoder_cosine_sim": encoder(&|e| e.nearest[j].signed),
        })
    };
    (0..m.density.len()).map(of).collect()
}

fn number(v: f64) -> f64 {
    if v.is_finite() { v } else { UNKNOWN }
}

/// Version 8 of RFC 9562: bits of one's own, here a function of the numbers and the time.
fn uuid(mut rng: Rng) -> String {
    let mut bits = || u128::from(rng.next_u64());
    let v = (bits() << 64 | bits()) & !(0xf << 76 | 0b11 << 62) | 0x8 << 76 | 0b10 << 62;
    let part = |from: u32, digits: usize| format!("{:0digits$x}", (v >> from) & ((1 << (4 * digits)) - 1));
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::metrics::evaluate;
    use superlens_tensor::Mat;

    /// Two latents in two dimensions, at a cosine of 0.6 in the decoder and at right angles in the encoder; gated.
    fn gated() -> Sae {
        let act = Activation::Gated { scale: vec![2.0; 2], shift: vec![0.5; 2] };
        let encoder =
            Encoder::Linear { w_enc: Mat::from_vec(2, 2, vec![3.0, 0.0, 0.0, 1.0]), b_enc: vec![0.25, -9.0], act };
        Sae::new(vec![0.0; 2], encoder, Mat::from_vec(2, 2, vec![2.0, 0.0, 0.6, 0.8]), vec![0.0; 2])
    }

    fn document(sae: &Sae) -> Value {
        let x = Mat::from_vec(2, 2, vec![1.0, 0.0, -1.0, 2.0]);
        let metadata = json!({"model_name": "m"}).as_object().unwrap().clone();
        core(sae, &evaluate(sae, &x), &About { metadata: &metadata, dataset: "x.npy", recovered: None, millis: 17 })
    }

    #[test]
    fn details_by_hand() {
        let told = document(&gated());
        let near = |path: &str, wanted: f64| {
            let found = told.pointer(path).unwrap().as_f64().unwrap();
            assert!((found - wanted).abs() < 1e-6, "{path}: {found} for {wanted}");
        };
        // The first latent fires in row 0 alone, the second never.
        near("/eval_result_details/0/feature_density", 0.5);
        near("/eval_result_details/0/encoder_bias", 1.0);
        near("/eval_result_details/0/encoder_norm", 3.0);
        near("/eval_result_details/0/encoder_decoder_cosine_sim", 1.0);
        near("/eval_result_details/1/encoder_decoder_cosine_sim", 0.8);
        near("/eval_result_details/1/max_decoder_cosine_sim", 0.6);
        near("/eval_result_details/1/max_encoder_cosine_sim", 0.0);
        near("/eval_result_metrics/misc_metrics/frac_alive", 0.5);
        near("/eval_result_metrics/misc_metrics/average_max_decoder_cosine_sim", 0.6);
        near("/eval_result_metrics/misc_metrics/normalized_freq_over_10_percent", 1.0);
        near("/eval_result_metrics/sparsity/l0", 0.5);
        near("/eval_result_metrics/model_performance_preservation/ce_loss_score", -1.0);
        assert_eq!(told["eval_config"]["model_name"], "m");
    }

    /// What readers refuse: more than two levels, null, an identifier of another form.
    #[test]
    fn two_levels_of_numbers_and_an_identifier() {
        let pursuit = Sae::from_dictionary(Mat::from_vec(1, 2, vec![1.0, 0.0]), vec![0.0; 2], 1, true);
        for sae in [gated(), pursuit] {
            let told = document(&sae);
            for (category, metrics) in told["eval_result_metrics"].as_object().unwrap() {
                assert!(metrics.as_object().unwrap().values().all(Value::is_number), "{category}: {metrics}");
            }
            let id = told["eval_id"].as_str().unwrap();
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert!(parts == [8, 4, 4, 4, 12] && &id[14..15] == "8" && "89ab".contains(&id[19..20]), "{id}");
            assert_eq!(id, document(&sae)["eval_id"]);
        }
    }
}
