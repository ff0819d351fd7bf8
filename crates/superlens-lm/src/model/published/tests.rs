//! Trained models against activations, texts and losses that a program of ours had no part in.

use std::io::Write;
use std::path::PathBuf;

use serde_json::Value;

use crate::generate::{Choice, Plan, Refused, generate};
use crate::intervene::Changes;
use crate::model::family_tests::{run, tensors};
use crate::model::loss::surprise;
use crate::model::{Batch, Sites, load, load_llama2c};
use crate::tokenizer::Tokenizer;

/// A folder below the one that a variable names. Without the variable the test is passed over, and says so.
fn named(variable: &str, folder: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(|d| PathBuf::from(d).join(folder));
    if found.is_none() {
        // Straight to stderr: the harness keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: {variable} names no folder");
    }
    found
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Holds what was computed against what was published, number for number.
fn hold(name: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{name}");
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{name} is {worst:.1e} off");
}

/// stories260K, a trained Llama, against activations that a program of ours had no part in.
#[test]
fn stories260k_computes_what_was_published() {
    let Some(data) = named("SUPERLENS_TEST_DATA", "stories260K") else { return };
    let model = load(&data.join("hf")).unwrap_or_else(|e| panic!("{e}"));
    let same = load_llama2c(&data.join("stories260K.bin")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model.weights.count(&model.config), 260_032);
    assert!(model.check(&[511]).is_ok() && model.check(&[512]).unwrap_err().contains("tokens 0 to 511"));
    let reference = tensors(&data.join("reference.safetensors"));
    let names = [
        ("resid_pre", "hook_resid_pre"),
        ("attn_pattern", "attn.hook_pattern"),
        ("attn_z", "attn.hook_z"),
        ("attn_out", "hook_attn_out"),
        ("resid_mid", "hook_resid_mid"),
        ("mlp_in", "ln2.hook_normalized"),
        ("mlp_gate_pre", "mlp.hook_pre"),
        ("mlp_up", "mlp.hook_pre_linear"),
        ("mlp_hidden", "mlp.hook_post"),
        ("mlp_out", "hook_mlp_out"),
        ("resid_post", "hook_resid_post"),
    ];
    for text in ["greedy64", "text64"] {
        let ids: Vec<u32> = reference[&format!("{text}.input_ids")].1.iter().map(|&x| x as u32).collect();
        let found = run(&model, &Batch::one(&ids));
        assert_eq!(run(&same, &Batch::one(&ids)), found, "the file of llama2.c and the folder");
        let held = |theirs: &str, ours: &str| {
            let theirs = format!("{text}.{theirs}");
            hold(&theirs, found[ours].data(), &reference[&theirs].1);
        };
        held("logits", "logits");
        held("final_norm", "ln_final.hook_normalized");
        for layer in 0..5 {
            names.iter().for_each(|(theirs, ours)| {
                held(&format!("layers.{layer}.{theirs}"), &format!("blocks.{layer}.{ours}"))
            });
        }
    }
}

/// The text that llama2.c's own documentation prints, token for token, and its words.
#[test]
fn stories260k_says_what_was_published() {
    let Some(data) = named("SUPERLENS_TEST_DATA", "stories260K") else { return };
    let reference = json(data.join("reference.json"));
    let ids: Vec<u32> =
        reference["greedy_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let likeliest = Choice { temperature: 0.0, ..Choice::default() };
    for (model, tokenizer) in [
        (load(&data.join("hf")).unwrap(), Tokenizer::open(&data.join("hf")).unwrap()),
        (load_llama2c(&data.join("stories260K.bin")).unwrap(), Tokenizer::open(&data.join("tok512.bin")).unwrap()),
    ] {
        let more = ids.len() - 1;
        let plan = Plan { tokens: more as u64, length: 512, prompt: vec![1], ends: vec![], choice: likeliest };
        let mut said = vec![1];
        generate(&model, &Changes::default(), &plan, &superlens_tensor::Rng::new(0), |more| {
            said.extend(more);
            Ok::<(), Refused>(())
        })
        .unwrap();
        assert_eq!(said, ids);
        assert_eq!(tokenizer.decode(&said, true).unwrap(), reference["greedy_text"].as_str().unwrap());
    }
}

/// Its loss on stories, and on the two texts of the reference.
#[test]
fn stories260k_has_the_published_loss() {
    let (Some(data), Some(texts)) =
        (named("SUPERLENS_TEST_DATA", "stories260K"), named("SUPERLENS_TEST_DATA", "texts"))
    else {
        return;
    };
    let reference = json(data.join("reference.json"));
    let (model, tokenizer) = (load(&data.join("hf")).unwrap(), Tokenizer::open(&data.join("hf")).unwrap());
    let losses = |ids: &[u32]| {
        let batch = Batch::one(ids);
        let sites = Sites::and_logits([], &model.config);
        let logits = model.forward(&batch, &sites, None, &mut |_, _| {}).unwrap();
        surprise(&logits, &batch)[1..].to_vec()
    };
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let text = std::fs::read_to_string(texts.join("tinystories_sample.txt")).unwrap();
    let mut all = Vec::new();
    for story in text.split("<|endoftext|>").map(str::trim).filter(|story| !story.is_empty()) {
        let mut ids = tokenizer.ids(story, true).unwrap();
        ids.truncate(512);
        all.extend(losses(&ids));
    }
    let published = &reference["tinystories_sample_nll"];
    assert_eq!(all.len() as u64, published["total_tokens"].as_u64().unwrap());
    assert!((mean(&all) - published["mean_nll"].as_f64().unwrap()).abs() < 1e-5, "{}", mean(&all));
    for text in ["greedy64", "text64"] {
        let ids: Vec<u32> =
            reference[text]["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let loss = mean(&losses(&ids));
        assert!((loss - reference[text]["mean_nll_nats"].as_f64().unwrap()).abs() < 1e-5, "{text}: {loss}");
    }
}

/// all-MiniLM-L6-v2, an encoder: every listed activation of four sentences.
#[test]
fn minilm_computes_what_was_published() {
    let (Some(data), Some(folder)) =
        (named("SUPERLENS_TEST_DATA", "all-MiniLM-L6-v2-ref"), named("SUPERLENS_TEST_MINILM", ""))
    else {
        return;
    };
    let model = load(&folder).unwrap_or_else(|e| panic!("{e}"));
    let reference = tensors(&data.join("reference.safetensors"));
    let names = [
        ("attn_pattern", "attn.hook_pattern"),
        ("attn_out", "hook_attn_out"),
        ("post_attn_norm", "hook_resid_mid"),
        ("mlp_pre", "mlp.hook_pre"),
        ("mlp_hidden", "mlp.hook_post"),
        ("out", "hook_resid_post"),
    ];
    let mut held = 0;
    for s in 0..4 {
        let ids: Vec<u32> = reference[&format!("s{s}.input_ids")].1.iter().map(|&x| x as u32).collect();
        let found = run(&model, &Batch::one(&ids));
        let mut one = |theirs: String, got: &[f32]| {
            hold(&theirs, got, &reference[&theirs].1);
            held += 1;
        };
        one(format!("s{s}.embeddings"), found["blocks.0.hook_resid_pre"].data());
        for layer in 0..6 {
            for (theirs, ours) in names {
                one(format!("s{s}.layers.{layer}.{theirs}"), found[&format!("blocks.{layer}.{ours}")].data());
            }
        }
        let last = &found["blocks.5.hook_resid_post"];
        let pooled: Vec<f32> = (0..last.cols())
            .map(|j| (0..last.rows()).map(|i| last.row(i)[j]).sum::<f32>() / last.rows() as f32)
            .collect();
        let length = pooled.iter().map(|x| x * x).sum::<f32>().sqrt();
        one(format!("s{s}.mean_pool"), &pooled);
        one(format!("s{s}.embedding"), &pooled.iter().map(|x| x / length).collect::<Vec<f32>>());
    }
    assert_eq!(held, reference.len() - 4, "all but the ids");
}
