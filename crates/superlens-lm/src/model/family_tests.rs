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
fn run(model: &Transformer, batch: &Batch) -> BTreeMap<String, Mat> {
    // All but the heads' own results, which TransformerLens does not compute unasked either.
    let sites =
        Site::all(&model.config).into_iter().filter(|s| !matches!(s, Site::Block(_, Point::Result | Point::Scores)));
    let mut found = BTreeMap::new();
    model.forward(batch, &Sites::new(sites, &model.config), None, &mut |site, x| {
        found.insert(site.to_string(), x.clone());
    });
    found
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
            let scale = want.iter().fold(1.0f32, |m, x| m.max(x.abs()));
            let worst = got.data().iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
            if worst.is_nan() || worst >= 1e-4 * scale {
                wrong.push(format!("{name}: {key} is {worst:.1e} off, of {scale:.1}"));
            }
            checked += 1;
        }
        assert!(checked > 20, "{name}: {checked} hooks");
        seen.insert(model.config.family);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: std::collections::BTreeSet<String> =
        super::FAMILIES.iter().flat_map(|f| f.model_types).map(|t| (*t).to_owned()).collect();
    assert_eq!(seen, known, "families with a fixture");
}
