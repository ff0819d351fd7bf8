//! Every family against what `transformers` computes: each model of `fixtures/families`, all hooks and logits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use superlens_tensor::Mat;

use super::{Batch, Point, Site, Sites, Transformer, load};

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families")
}

/// Tensors of any shape as flat numbers.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |t: &safetensors::tensor::TensorView| match t.dtype() {
        safetensors::Dtype::I64 => {
            t.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
        }
        safetensors::Dtype::F32 => {
            t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        }
        other => panic!("a reference of type {other}"),
    };
    all.tensors().iter().map(|(name, t)| (name.clone(), (t.shape().to_vec(), numbers(t)))).collect()
}

/// Every activation of a batch, and its logits.
pub(crate) fn run(model: &Transformer, batch: &Batch) -> BTreeMap<String, Mat> {
    // All but the heads' own results, which TransformerLens does not compute unasked either.
    let sites =
        Site::all(&model.config).into_iter().filter(|s| !matches!(s, Site::Block(_, Point::Result | Point::Scores)));
    let mut found = BTreeMap::new();
    model.forward(batch, &Sites::new(sites, &model.config), None, &mut |site, x| {
        found.insert(site.to_string(), x.clone());
    });
    found
}

/// A site that is asked for by itself, with nothing computed after it, holds what it does among all; heads' results add up to what is added.
fn each_site_alone(name: &str, model: &Transformer, batch: &Batch, all: &BTreeMap<String, Mat>) {
    let config = &model.config;
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    for site in Site::all(config) {
        let mut found = Vec::new();
        model.forward(batch, &Sites::new([site], config), None, &mut |s, x| found.push((s, x.clone())));
        if site == Site::Logits && model.weights.head.is_none() {
            continue;
        }
        let [(seen, got)] = &found[..] else { panic!("{name}: {site} was seen {} times", found.len()) };
        assert_eq!((*seen, got.cols()), (site, site.width(config).unwrap_or(got.cols())), "{name}: {site}");
        match (all.get(&site.to_string()), site) {
            (Some(among), _) => assert!(close(got.data(), among.data()), "{name}: {site} alone"),
            (None, Site::Block(layer, Point::Result)) if model.weights.blocks[layer].post_attn.is_none() => {
                let want = &all[&Site::Block(layer, Point::AttnOut).to_string()];
                let bias = model.weights.blocks[layer].attn.out.b.clone().unwrap_or_else(|| vec![0.0; config.d_model]);
                let sum = Mat::from_fn(got.rows(), config.d_model, |i, j| {
                    bias[j] + got.row(i).iter().skip(j).step_by(config.d_model).sum::<f32>()
                });
                assert!(close(sum.data(), want.data()), "{name}: {site} does not add up");
            }
            _ => {}
        }
    }
}

#[test]
fn every_family_computes_what_the_reference_does() {
    let mut seen = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for folder in std::fs::read_dir(fixtures()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()) {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.join("config.json").exists() {
            continue;
        }
        let model = load(&folder).unwrap_or_else(|e| panic!("{e}"));
        let reference = tensors(&folder.join("reference.safetensors"));
        let ints = |key: &str| reference.get(key).map(|(_, x)| x.iter().map(|&x| x as u32).collect::<Vec<u32>>());
        let mut batch = Batch::one(&ints("input_ids").unwrap());
        if let Some(types) = ints("token_type_ids") {
            batch = batch.with_types(&types);
        }
        let found = run(&model, &batch);
        // The norm of the embeddings is the first block's input; segments have no hook.
        let elsewhere = |key: &str| ["embed.ln.hook_normalized", "hook_token_type_embed"].contains(&key);
        let skipped = |key: &str| key.ends_with("_ids") || elsewhere(key);
        let mut checked = 0;
        for (key, (_, want)) in reference.iter().filter(|(key, _)| !skipped(key)) {
            let got = found.get(key).unwrap_or_else(|| panic!("{name}: {key} was not computed"));
            assert_eq!(got.data().len(), want.len(), "{name}: {key}");
            let worst = got.data().iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
            if worst.is_nan() || worst >= 1e-4 {
                wrong.push(format!("{name}: {key} is {worst:.1e} off"));
            }
            checked += 1;
        }
        // Without anybody looking, scores are never held whole: the other way to the same numbers.
        let unseen = model.forward(&batch, &Sites::and_logits([], &model.config), None, &mut |_, _| {});
        if let (Some(got), Some((_, want))) = (unseen, reference.get("logits")) {
            let worst = got.data().iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{name}: logits that nobody looked into are {worst:.1e} off");
        }
        each_site_alone(&name, &model, &batch, &found);
        assert!(checked > 20, "{name}: {checked} hooks");
        seen.insert(model.config.family);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: std::collections::BTreeSet<String> =
        super::FAMILIES.iter().flat_map(|f| f.model_types).map(|t| (*t).to_owned()).collect();
    assert_eq!(seen, known, "families with a fixture");
}

/// Sequences side by side, and token after token with a memory, give what each gives alone.
#[test]
fn batches_and_memory_change_nothing() {
    for name in ["llama-gqa-published", "gpt_neo", "bloom", "gemma3-published", "neox-parallel-published"] {
        let model = load(&fixtures().join(name)).unwrap_or_else(|e| panic!("{e}"));
        let texts: [&[u32]; 3] = [&[5, 6, 7, 8, 9, 10, 11], &[20], &[33, 3, 40, 41]];
        let logits = Sites::and_logits([], &model.config);
        let of = |batch: &Batch, memory: Option<&mut super::Memory>| {
            model.forward(batch, &logits, memory, &mut |_, _| {}).expect("a model with an output")
        };
        let mut all = Batch::new();
        texts.iter().for_each(|t| all.push(t));
        let together = of(&all, None);
        let mut row = 0;
        for text in texts {
            let alone = of(&Batch::one(text), None);
            let mut memory = super::Memory::new(&model.config, 1, text.len());
            for (i, id) in text.iter().enumerate() {
                let mut step = Batch::new();
                step.push_after(i, &[*id]);
                let next = of(&step, Some(&mut memory));
                for ((a, b), c) in alone.row(i).iter().zip(together.row(row)).zip(next.row(0)) {
                    assert!((a - b).abs() < 1e-4 && (a - c).abs() < 1e-4, "{name}: token {i}: {a} {b} {c}");
                }
                row += 1;
            }
        }
    }
}

/// A file of llama2.c that is cut, or whose header is nonsense, is refused.
#[test]
fn damaged_llama2c_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    let header = |sizes: [i32; 7]| sizes.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    for bytes in [
        vec![],
        vec![1; 20],
        header([8, 8, 1, 2, 1, 9, 4]),
        header([-8, 8, 1, 2, 1, 9, 4]),
        header([i32::MIN; 7]),
        header([1 << 20; 7]),
    ] {
        std::fs::write(&path, bytes).unwrap();
        assert!(super::load_llama2c(&path).is_err());
    }
}

/// Without weights for the output `transformers` fills it with random numbers where it isn't tied; a bare model has none.
#[test]
fn an_output_that_is_missing_is_not_made_up() {
    let folder = tempfile::tempdir().unwrap();
    let (source, dir) = (fixtures().join("llama3-published"), folder.path());
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(source.join("config.json")).unwrap()).unwrap();
    let bytes = std::fs::read(source.join("model.safetensors")).unwrap();
    let all = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<_> = all.tensors().into_iter().filter(|(name, _)| name != "lm_head.weight").collect();
    safetensors::serialize_to_file(kept, None, &dir.join("model.safetensors")).unwrap();
    let mut with = |tied: serde_json::Value, class: &str| {
        config["tie_word_embeddings"] = tied;
        config["architectures"] = serde_json::json!([class]);
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        load(dir)
    };
    for tied in [false.into(), serde_json::Value::Null] {
        let told = with(tied, "LlamaForCausalLM").unwrap_err().to_string();
        assert!(told.contains("tie_word_embeddings") && told.contains("lm_head.weight"), "{told}");
    }
    assert!(with(true.into(), "LlamaForCausalLM").unwrap().weights.head.is_some());
    assert!(with(false.into(), "LlamaModel").unwrap().weights.head.is_none());
}
