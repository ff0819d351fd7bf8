use super::saelens::{CONFIG, VERSION, WEIGHTS};
use super::weights::{serialize, to_f32};
use super::*;
use crate::sae::{Activation, Encoder, InputNorm};
use serde_json::json;
use superlens_tensor::{Mat, Rng};

/// A decomposition with 3 neurons and 5 latents whose input bias is `b_in`, or `b_dec` where that is `None`.
fn example(act: Activation, b_in: Option<f32>) -> Sae {
    let mut rng = Rng::new(0).fork("files");
    let mut mat = |r, c| Mat::from_fn(r, c, |_, _| rng.normal());
    let (w_enc, w_dec, b_enc, b_dec) = (mat(3, 5), mat(5, 3), mat(1, 5).into_vec(), mat(1, 3).into_vec());
    let b_in = b_in.map_or(b_dec.clone(), |b| vec![b; 3]);
    Sae::new(b_in, Encoder::Linear { w_enc, b_enc, act }, w_dec, b_dec)
}

fn folder(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    (fs::read(dir.join(CONFIG)).unwrap(), fs::read(dir.join(WEIGHTS)).unwrap())
}

#[test]
fn what_is_written_is_read_and_written_again_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let metadata = json!({"model_name": "toy", "hook_name": "blocks.0.mlp.hook_post", "note": [1, null]});
    let metadata = metadata.as_object().unwrap();
    let jump = Activation::JumpRelu { threshold: vec![0.0, 0.1, 0.2, 0.3, 0.4] };
    for act in [Activation::Relu, Activation::TopK { k: 2 }, Activation::AbsTopK { k: 2 }, jump] {
        for b_in in [None, Some(0.0)] {
            let (first, second) = (dir.path().join("first"), dir.path().join("second"));
            let sae = example(act.clone(), b_in);
            write_saelens(&first, &sae, metadata).unwrap();
            let loaded = read_saelens(&first).unwrap();
            assert_eq!((&loaded.sae, &loaded.metadata), (&sae, metadata));
            write_saelens(&second, &loaded.sae, &loaded.metadata).unwrap();
            assert_eq!(folder(&first), folder(&second));
            assert_eq!(fs::read_dir(&first).unwrap().count(), 2, "nothing temporary is left");
        }
    }
}

#[test]
fn an_input_bias_of_its_own_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let sae = example(Activation::Relu, Some(0.7));
    write_saelens(dir.path(), &sae, &Map::new()).unwrap();
    let loaded = read_saelens(dir.path()).unwrap().sae;
    assert_eq!(loaded.b_in, [0.0; 3]);
    assert_alike(&sae, &loaded);
}

/// Same reconstruction of random rows.
fn assert_alike(a: &Sae, b: &Sae) {
    let mut rng = Rng::new(9).fork("alike");
    let x = Mat::from_fn(50, a.d_in(), |_, _| rng.normal());
    let (a, b) = (a.decode(&a.encode(&x)), b.decode(&b.encode(&x)));
    assert!(a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn forms_that_saelens_does_not_have_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("sae");
    let pursuit = Sae::from_dictionary(Mat::zeros(2, 2), vec![0.0; 2], 1, true);
    for sae in [example(Activation::Identity, None), pursuit] {
        assert!(matches!(write_saelens(&target, &sae, &Map::new()), Err(FileError::NoForm { .. })));
    }
    assert!(!target.exists());
}

/// Writes a good TopK folder, changes its config or tensors, and returns what reading it says.
fn spoiled(config: impl Fn(&mut Value), tensors: impl Fn(&mut Vec<(&'static str, Vec<f32>, Vec<usize>)>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_saelens(dir.path(), &example(Activation::TopK { k: 2 }, None), &Map::new()).unwrap();
    let mut cfg: Value = serde_json::from_slice(&folder(dir.path()).0).unwrap();
    config(&mut cfg);
    fs::write(dir.path().join(CONFIG), cfg.to_string()).unwrap();
    let mut parts = vec![
        ("W_enc", vec![1.0; 15], vec![3, 5]),
        ("b_enc", vec![1.0; 5], vec![5]),
        ("W_dec", vec![2.0; 15], vec![5, 3]),
        ("b_dec", vec![1.0; 3], vec![3]),
    ];
    tensors(&mut parts);
    let parts: Vec<(&str, &[f32], Vec<usize>)> = parts.iter().map(|(n, v, s)| (*n, v.as_slice(), s.clone())).collect();
    fs::write(dir.path().join(WEIGHTS), serialize(&parts, dir.path()).unwrap()).unwrap();
    read_saelens(dir.path()).map_or_else(|e| e.to_string(), |_| "read".into())
}

#[test]
fn every_wrong_config_is_an_error_that_names_the_key() {
    let set = |key: &'static str, value: Value| move |cfg: &mut Value| cfg[key] = value.clone();
    for (key, value) in [
        ("architecture", json!("temporal")),
        ("architecture", json!(null)),
        ("d_in", json!(-3)),
        ("d_sae", json!("five")),
        ("k", json!(0)),
        ("k", json!(6)),
        ("k", json!(null)),
        ("apply_b_dec_to_input", json!(null)),
        ("normalize_activations", json!("covariance_whitening")),
        ("normalize_activations", json!("expected_average_only_in")),
        ("reshape_activations", json!("sideways")),
        ("rescale_acts_by_decoder_norm", json!(1)),
        ("metadata", json!({VERSION: "5.9.1"})),
        ("metadata", json!({VERSION: 6})),
        ("metadata", json!({})),
        ("metadata", json!("none")),
    ] {
        let said = spoiled(set(key, value.clone()), |_| {});
        let named = if key == "metadata" { VERSION } else { key };
        assert!(said.contains(CONFIG) && said.contains(&format!("`{named}`")), "{key} = {value}: {said}");
    }
    assert_eq!(spoiled(|cfg| cfg["seqpos"] = json!([1]), |_| {}), "read", "unknown keys are kept, not refused");
}

#[test]
fn every_wrong_tensor_is_an_error_that_names_it() {
    for (at, name) in ["W_enc", "b_enc", "W_dec", "b_dec"].into_iter().enumerate() {
        let cases = [
            spoiled(|_| {}, |t| drop(t.remove(at))),
            spoiled(|_| {}, |t| t[at].2.insert(0, 1)),
            spoiled(|_| {}, |t| t[at].1[2] = f32::NAN),
            spoiled(|_| {}, |t| t[at].1[1] = f32::INFINITY),
        ];
        for said in cases {
            assert!(said.contains(WEIGHTS) && said.contains(&format!("tensor `{name}`")), "{name}: {said}");
        }
    }
    let turned = spoiled(|_| {}, |t| t[0].2 = vec![5, 3]);
    assert!(turned.contains("`W_enc`") && turned.contains("[3, 5]") && turned.contains("[5, 3]"), "{turned}");
    let extra = spoiled(|_| {}, |t| t.push(("threshold", vec![0.0; 5], vec![5])));
    assert!(extra.contains("`threshold`"), "{extra}");
    let zero_row = spoiled(|cfg| cfg["rescale_acts_by_decoder_norm"] = json!(true), |t| t[2].1[3..6].fill(0.0));
    assert!(zero_row.contains("`W_dec`") && zero_row.contains("row 1"), "{zero_row}");
}

#[test]
fn missing_and_damaged_files_are_errors_that_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let said = || read_saelens(dir.path()).unwrap_err().to_string();
    assert!(said().contains(CONFIG), "{}", said());
    write_saelens(dir.path(), &example(Activation::Relu, None), &Map::new()).unwrap();
    let (cfg, weights) = folder(dir.path());
    for cut in [0, 7, 8, 40, weights.len() - 1] {
        fs::write(dir.path().join(WEIGHTS), &weights[..cut]).unwrap();
        assert!(said().contains(WEIGHTS), "{}", said());
    }
    fs::write(dir.path().join(CONFIG), &cfg[..cfg.len() / 2]).unwrap();
    assert!(said().contains("not JSON"), "{}", said());
    fs::write(dir.path().join(CONFIG), "[]").unwrap();
    assert!(said().contains("not a JSON object"), "{}", said());
}

#[test]
fn half_and_double_precision_are_read() {
    use safetensors::Dtype;
    let halves: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let brains: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for (dtype, bytes) in [(Dtype::F16, halves), (Dtype::BF16, brains), (Dtype::F64, doubles)] {
        assert_eq!(to_f32(dtype, &bytes).unwrap(), [1.5, -2.0], "{dtype:?}");
    }
    assert!(to_f32(Dtype::I32, &[0; 8]).is_none());
}

#[test]
fn rescaling_by_decoder_norm_is_folded() {
    let mut sae = example(Activation::TopK { k: 2 }, None);
    let dir = tempfile::tempdir().unwrap();
    write_saelens(dir.path(), &sae, &Map::new()).unwrap();
    let mut cfg: Value = serde_json::from_slice(&folder(dir.path()).0).unwrap();
    cfg["rescale_acts_by_decoder_norm"] = json!(true);
    fs::write(dir.path().join(CONFIG), cfg.to_string()).unwrap();
    let loaded = read_saelens(dir.path()).unwrap().sae;
    // By the definition: the product is multiplied by the row's length before the choice, and divided again after it.
    let Encoder::Linear { w_enc, b_enc, .. } = &mut sae.encoder else { panic!("a linear encoder") };
    for j in 0..5 {
        let norm = sae.w_dec.row(j).iter().map(|w| w * w).sum::<f32>().sqrt();
        (0..3).for_each(|i| w_enc[(i, j)] *= norm);
        b_enc[j] *= norm;
        sae.w_dec.row_mut(j).iter_mut().for_each(|w| *w /= norm);
    }
    assert_alike(&sae, &loaded);
}

/// Every activation, and what else an autoencoder may have.
fn forms() -> Vec<(&'static str, Sae)> {
    let spread = |from: f32| (0..5).map(|j| from + 0.1 * j as f32).collect::<Vec<_>>();
    let gated = Activation::Gated { scale: spread(0.5), shift: spread(-0.2) };
    let shut = Activation::Gated { scale: vec![0.0; 5], shift: spread(0.0) };
    let skip = Mat::from_fn(3, 3, |i, j| (i + 2 * j) as f32 / 5.0);
    let centred = |act| example(act, None);
    vec![
        ("relu", centred(Activation::Relu)),
        ("relu with a bias of its own", example(Activation::Relu, Some(0.3))),
        ("topk", centred(Activation::TopK { k: 2 })),
        ("abstopk", centred(Activation::AbsTopK { k: 2 })),
        ("groupmax", centred(Activation::GroupMax { groups: 5 })),
        ("jumprelu", centred(Activation::JumpRelu { threshold: spread(0.0) })),
        ("negative threshold", centred(Activation::JumpRelu { threshold: spread(-0.3) })),
        ("gated", centred(gated)),
        ("gated, scale 0", centred(shut)),
        ("identity", centred(Activation::Identity)),
        ("layer norm", centred(Activation::TopK { k: 2 }).with_norm(InputNorm::LayerNorm { eps: 1e-5 })),
        ("layer norm, another eps", centred(Activation::Relu).with_norm(InputNorm::LayerNorm { eps: 1e-3 })),
        ("unit rms", centred(Activation::Relu).with_norm(InputNorm::UnitRms)),
        ("relu with skip", example(Activation::Relu, Some(0.0)).with_skip(skip.clone())),
        ("topk with skip", example(Activation::TopK { k: 2 }, Some(0.0)).with_skip(skip)),
        ("orthogonal pursuit", Sae::from_dictionary(Mat::from_fn(5, 3, |i, j| (i + j) as f32), vec![0.0; 3], 2, true)),
    ]
}

/// Each format either computes the same when it is read again, or refuses before it writes. No third thing.
#[test]
fn what_can_be_written_computes_the_same_and_the_rest_is_refused() {
    let refuses: &[(&str, &[&str])] = &[
        (
            "saelens",
            &[
                "groupmax",
                "negative threshold",
                "gated, scale 0",
                "identity",
                "layer norm, another eps",
                "topk with skip",
                "orthogonal pursuit",
            ],
        ),
        (
            "sparsify",
            &[
                "relu",
                "relu with a bias of its own",
                "abstopk",
                "jumprelu",
                "negative threshold",
                "gated",
                "gated, scale 0",
                "identity",
                "layer norm",
                "layer norm, another eps",
                "unit rms",
                "relu with skip",
                "orthogonal pursuit",
            ],
        ),
        (
            "dictionary_learning",
            &[
                "abstopk",
                "groupmax",
                "negative threshold",
                "gated, scale 0",
                "identity",
                "layer norm",
                "layer norm, another eps",
                "unit rms",
                "relu with skip",
                "topk with skip",
                "orthogonal pursuit",
            ],
        ),
    ];
    for (id, refused) in refuses {
        let format = Format::named(id).unwrap();
        for (name, sae) in forms() {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("sae");
            match write(&target, format, &sae, &Map::new()) {
                Ok(()) => {
                    assert!(!refused.contains(&name), "{id} wrote {name}");
                    assert_eq!(Format::of(&target).unwrap().id, *id, "{name} is told by its files");
                    let back = read(&target, None).unwrap().sae;
                    let difference = compare(&sae, &back, &Rng::new(1));
                    assert!(difference.within(TOLERANCE), "{id}: {name}: {difference:?}");
                }
                Err(FileError::NoForm { .. }) => {
                    assert!(refused.contains(&name), "{id} refused {name}");
                    assert!(!target.exists(), "{id}: {name}: something was written");
                }
                Err(other) => panic!("{id}: {name}: {other}"),
            }
        }
    }
}

#[test]
fn the_comparison_sees_a_dropped_threshold_and_another_width() {
    let kept = example(Activation::JumpRelu { threshold: vec![0.4; 5] }, None);
    assert!(!compare(&kept, &example(Activation::Relu, None), &Rng::new(1)).within(1e-2));
    assert!(compare(&kept, &kept.clone(), &Rng::new(1)).within(0.0));
    let other = Sae::from_dictionary(Mat::zeros(2, 2), vec![0.0; 2], 1, true);
    assert!(!compare(&kept, &other, &Rng::new(1)).within(f64::MAX));
}

/// By the rule of SAELens: hidden = (s·x − b_dec)·W_enc + b_enc, and the reconstruction is divided by s.
#[test]
fn a_scale_on_all_inputs_is_folded_or_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let sae = example(Activation::Relu, None);
    write_saelens(dir.path(), &sae, &Map::new()).unwrap();
    let mut cfg: Value = serde_json::from_slice(&folder(dir.path()).0).unwrap();
    cfg["normalize_activations"] = json!("expected_average_only_in");
    fs::write(dir.path().join(CONFIG), cfg.to_string()).unwrap();
    let said = read(dir.path(), None).unwrap_err().to_string();
    assert!(said.contains("`normalize_activations`") && said.contains("--input-scale"), "{said}");
    let by_hand = ReadOptions { input_scale: Some(2.5), ..ReadOptions::default() };
    let given = read_with(dir.path(), None, &by_hand).unwrap().sae;
    fs::write(dir.path().join("activation_scaler.json"), r#"{"scaling_factor": 2.5}"#).unwrap();
    assert_eq!(read(dir.path(), None).unwrap().sae, given, "a checkpoint has the factor beside it");
    let mut rng = Rng::new(3).fork("x");
    let x = Mat::from_fn(20, 3, |_, _| rng.normal());
    let scaled = Mat::from_fn(20, 3, |i, j| 2.5 * x[(i, j)]);
    let (want, got) = (sae.encode(&scaled), given.encode(&x));
    let (want, got) = (sae.decode(&want), given.decode(&got));
    assert!(want.data().iter().zip(got.data()).all(|(w, g)| (w / 2.5 - g).abs() < 1e-5));
}
