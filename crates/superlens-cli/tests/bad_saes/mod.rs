//! Bad autoencoders for `superlens convert`: good ones of `fixtures/sae_files`, spoiled.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use superlens_tensor::io::torch::{Numbers, state_dict};

use super::{Case, Content, archive};

const TO_SAELENS: &[&str] = &["--to", "saelens"];

fn case(input: &'static str, file: &'static str, files: Vec<(&'static str, Vec<u8>)>, says: &'static str) -> Case {
    Case { input, file, content: Content::Files(files), command: &["convert"], flags: TO_SAELENS, says }
}

/// A file of a fixture.
fn good(fixture: &str, file: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sae_files").join(fixture).join(file);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A TopK autoencoder of SAELens whose config has been changed.
fn saelens(change: impl Fn(&mut Value)) -> Vec<(&'static str, Vec<u8>)> {
    let mut config: Value = serde_json::from_slice(&good("saelens-topk-random", "sae/cfg.json")).unwrap();
    change(&mut config);
    vec![("cfg.json", config.to_string().into_bytes()), ("sae_weights.safetensors", topk_weights())]
}

fn topk_weights() -> Vec<u8> {
    good("saelens-topk-random", "sae/sae_weights.safetensors")
}

/// The same autoencoder, its weights changed.
fn weights(change: impl Fn(&mut Vec<u8>)) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = saelens(|_| {});
    change(&mut files[1].1);
    files
}

/// With the first number of the data replaced.
fn with_nan(bytes: &mut [u8]) {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..12 + header].copy_from_slice(&f32::NAN.to_le_bytes());
}

fn dictionary(class: &str, tensors: &[(&str, Numbers<'_>, Vec<usize>)]) -> Vec<(&'static str, Vec<u8>)> {
    let config = json!({"trainer": {"dict_class": class, "k": 1}});
    vec![("config.json", config.to_string().into_bytes()), ("ae.pt", state_dict("ae", tensors))]
}

pub fn cases() -> Vec<Case> {
    [folders(), saelens_cases(), sparsify_cases(), dictionary_cases(), refusals()].into_iter().flatten().collect()
}

fn folders() -> Vec<Case> {
    vec![
        Case {
            input: "no such folder",
            file: "missing",
            content: Content::Nothing,
            command: &["convert"],
            flags: TO_SAELENS,
            says: "is missing",
        },
        case("folder without an autoencoder", "empty", vec![], "found an empty folder"),
        case("folder of something else", "notes", vec![("notes.txt", b"hello".to_vec())], "found notes.txt"),
        case("missing config", "config", vec![("sae_weights.safetensors", topk_weights())], "expected cfg.json"),
        case("missing weights", "weights", saelens(|_| {})[..1].to_vec(), "sae_weights.safetensors: is missing"),
    ]
}

fn saelens_cases() -> Vec<Case> {
    let set = |key: &'static str, value: Value| saelens(move |config| config[key] = value.clone());
    let norm = "normalize_activations";
    vec![
        case(
            "config that is no JSON",
            "json",
            vec![("cfg.json", b"{".to_vec()), ("sae_weights.safetensors", topk_weights())],
            "not JSON",
        ),
        case("unknown architecture", "architecture", set("architecture", json!("temporal")), "`architecture`"),
        case("no activation named", "unnamed", set("architecture", Value::Null), "found nothing"),
        case("unknown normalisation", "whitening", set(norm, json!("covariance_whitening")), "`covariance_whitening`"),
        case(
            "input scale that the folder lacks",
            "scale",
            set(norm, json!("expected_average_only_in")),
            "--input-scale",
        ),
        case("k beyond the latents", "k", set("k", json!(33)), "1 to d_sae = 32"),
        case("wrong shape", "shape", set("d_in", json!(13)), "shape [13, 32]"),
        case(
            "threshold that its architecture has not",
            "extra",
            saelens(|c| c["architecture"] = json!("standard"))
                .into_iter()
                .map(|(name, bytes)| match name {
                    "cfg.json" => (name, bytes),
                    _ => (name, good("saelens-jumprelu-random", "sae/sae_weights.safetensors")),
                })
                .collect(),
            "`threshold`",
        ),
        case("weights that are cut off", "cut", weights(|w| w.truncate(500)), "not a safetensors file"),
        case("NaN among the weights", "nan", weights(|w| with_nan(w)), "NaN at position 0"),
    ]
}

fn sparsify_cases() -> Vec<Case> {
    let file = |name| good("sparsify-topk-random", name);
    let pair = |a: &'static str, b: &'static str| vec![(a, file("sae/cfg.json")), (b, file("sae/sae.safetensors"))];
    let mut several = pair("layers.0/cfg.json", "layers.0/sae.safetensors");
    several.extend(pair("layers.1/cfg.json", "layers.1/sae.safetensors"));
    let mut signed = pair("cfg.json", "sae.safetensors");
    let mut config: Value = serde_json::from_slice(&signed[0].1).unwrap();
    config["signed"] = json!(true);
    signed[0].1 = config.to_string().into_bytes();
    vec![
        case("several autoencoders in a run", "run", several, "choose one with --key: layers.0, layers.1"),
        case("signed latents", "signed", signed, "`signed`"),
    ]
}

fn dictionary_cases() -> Vec<Case> {
    let topk = |threshold: &'static [f32]| {
        [
            ("encoder.weight", Numbers::F32(&[1.0, 2.0, 3.0, 4.0]), vec![2, 2]),
            ("encoder.bias", Numbers::F32(&[0.0, 0.0]), vec![2]),
            ("decoder.weight", Numbers::F32(&[1.0, 2.0, 3.0, 4.0]), vec![2, 2]),
            ("b_dec", Numbers::F32(&[0.0, 0.0]), vec![2]),
            ("k", Numbers::I32(&[1]), vec![]),
            ("threshold", Numbers::F32(threshold), vec![]),
        ]
    };
    let ae = || good("dictionary_learning-topk-random", "sae/ae.pt");
    let config = || b"{\"trainer\": {\"dict_class\": \"AutoEncoderTopK\"}}".to_vec();
    let around = |pickle: &[u8]| vec![("config.json", config()), ("ae.pt", archive(&[("ae/data.pkl", pickle)]))];
    let bomb = super::zero_bomb_named("ae/data.pkl", b"\x80\x02", 8 << 20);
    vec![
        case("ae.pt without its config", "alone", vec![("ae.pt", ae())], "config.json: is missing"),
        case("unknown class", "class", dictionary("MyAutoEncoder", &topk(&[0.1])), "`dict_class`"),
        case("BatchTopK without a threshold", "unset", dictionary("BatchTopKSAE", &topk(&[-1.0])), "stands for none"),
        case("state dict of another class", "other", dictionary("GatedAutoEncoder", &topk(&[0.1])), "`gate_bias`"),
        case(
            "PyTorch file that is cut off",
            "torch",
            vec![("config.json", config()), ("ae.pt", ae()[..900].to_vec())],
            "zip archive",
        ),
        case(
            "pickle that runs a command",
            "evil",
            around(b"\x80\x02cposix\nsystem\nX\x09\x00\x00\x00touch bad\x85R."),
            "`posix.system`",
        ),
        case("pickle of a whole model", "model", around(b"\x80\x02cmymodel\nSae\n)\x81."), "`mymodel.Sae`"),
        case("packed pickle", "bomb", vec![("config.json", config()), ("ae.pt", bomb)], "is packed"),
        case(
            "nested pickle",
            "nested",
            around(&[b"(".repeat(5000), b"t".repeat(5000), b".".to_vec()].concat()),
            "nested",
        ),
        case(
            "not a PyTorch file",
            "text",
            vec![("config.json", config()), ("ae.pt", b"hello, world".to_vec())],
            "no zip archive",
        ),
    ]
}

/// Sound autoencoders that the other format can't express.
fn refusals() -> Vec<Case> {
    let to = |input, file, fixture: &str, names: [&'static str; 2], flags, says| {
        let files = names.map(|name| (name, good(fixture, &format!("sae/{name}")))).to_vec();
        Case { flags, ..case(input, file, files, says) }
    };
    let saelens = ["cfg.json", "sae_weights.safetensors"];
    let (sparsify, dictionary): (&[&str], &[&str]) = (&["--to", "sparsify"], &["--to", "dictionary_learning"]);
    vec![
        to("threshold to where there is none", "jump", "saelens-jumprelu-random", saelens, sparsify, "thresholds"),
        to(
            "layer norm to where there is none",
            "norm",
            "saelens-standard-layer_norm-random",
            saelens,
            dictionary,
            "normalises",
        ),
        to(
            "groupmax to where there is none",
            "group",
            "sparsify-groupmax-random",
            ["cfg.json", "sae.safetensors"],
            TO_SAELENS,
            "superlens, sparsify",
        ),
        to("format that is only read", "only", "saelens-topk-random", saelens, &["--to", "openai"], "only read"),
        to(
            "unknown format",
            "unknown",
            "saelens-topk-random",
            saelens,
            &["--to", "onnx"],
            "known are superlens, saelens",
        ),
    ]
}
