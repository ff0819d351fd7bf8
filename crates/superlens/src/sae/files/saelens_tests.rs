use super::*;
use superlens_tensor::Rng;

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
    for act in [Activation::Relu, Activation::TopK { k: 2 }] {
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
        assert!(matches!(write_saelens(&target, &sae, &Map::new()), Err(FileError::NoForm(_))));
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
        ("architecture", json!("jumprelu")),
        ("architecture", json!(null)),
        ("d_in", json!(-3)),
        ("d_sae", json!("five")),
        ("k", json!(0)),
        ("k", json!(6)),
        ("k", json!(null)),
        ("apply_b_dec_to_input", json!(null)),
        ("normalize_activations", json!("layer_norm")),
        ("normalize_activations", json!("expected_average_only_in")),
        ("reshape_activations", json!("sideways")),
        ("rescale_acts_by_decoder_norm", json!(1)),
        ("metadata", json!({VERSION: "5.9.1"})),
        ("metadata", json!({VERSION: 6})),
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
