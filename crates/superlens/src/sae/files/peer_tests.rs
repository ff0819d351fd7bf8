//! Files that other tools wrote (`fixtures/sae_files`, made by `benches/peers/check_files.py`), and what those tools compute with
//! them; and a published autoencoder.

use super::*;
use crate::sae::{Activation, Encoder};
use proptest::prelude::*;
use std::path::PathBuf;
use superlens_tensor::io::torch::{TorchFile, Value as Torch};
use superlens_tensor::{Mat, Rng};

/// A fixture: where the autoencoder is, which of several, and what it must give.
struct Case {
    name: String,
    sae: PathBuf,
    options: ReadOptions,
    x: Mat,
    latents: Mat,
    recon: Mat,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sae_files")
}

fn tensor(bytes: &[u8], name: &str) -> Mat {
    let all = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let view = all.tensor(name).unwrap();
    let (cols, leading) = view.shape().split_last().unwrap();
    Mat::from_vec(leading.iter().product(), *cols, weights::to_f32(view.dtype(), view.data()).unwrap())
}

fn cases() -> Vec<Case> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    let case = |path: PathBuf| {
        let file = ["sae", "sae.pt"].map(|name| path.join(name)).into_iter().find(|p| p.exists()).unwrap();
        let bytes = fs::read(path.join("expected.safetensors")).unwrap();
        let key = fs::read_to_string(path.join("key")).ok();
        // Gemma Scope's file lies below the folders that name it.
        let deep = file.join("gemma-scope-2b-pt-res");
        let below = |place: &str| deep.join(place).join("width_16k/average_l0_4");
        let sae = ["layer_3", "embedding"].map(below).into_iter().find(|p| p.exists()).unwrap_or(file);
        Case {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            sae,
            options: ReadOptions { key, ..ReadOptions::default() },
            x: tensor(&bytes, "x"),
            latents: tensor(&bytes, "latents"),
            recon: tensor(&bytes, "recon"),
        }
    };
    folders.into_iter().map(case).collect()
}

/// The largest difference, relative to the largest value or 1.
fn apart(a: &Mat, b: &Mat) -> f32 {
    assert_eq!(a.shape(), b.shape());
    let largest = a.data().iter().chain(b.data()).fold(1.0_f32, |m, v| m.max(v.abs()));
    a.data().iter().zip(b.data()).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

fn dense(sae: &Sae, x: &Mat) -> (Mat, Mat) {
    let latents = sae.encode(x);
    let mut out = Mat::zeros(x.rows(), sae.d_sae());
    for i in 0..x.rows() {
        let (indices, values) = latents.row(i);
        indices.iter().zip(values).for_each(|(&j, &v)| out[(i, j as usize)] = v);
    }
    (out, sae.reconstruct(&latents, x.view()))
}

#[test]
fn files_of_other_tools_give_what_those_tools_compute() {
    let cases = cases();
    assert!(cases.len() >= 40, "{} fixtures", cases.len());
    for case in cases {
        let loaded = read_with(&case.sae, None, &case.options).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let format = Format::of(&case.sae).unwrap().id;
        assert!(case.name.starts_with(format), "{} is taken for {format}", case.name);
        let (latents, recon) = dense(&loaded.sae, &case.x);
        assert!(case.latents.data().iter().any(|&f| f != 0.0), "{} has no active latent", case.name);
        assert!(apart(&latents, &case.latents) < 1e-5, "{}: latents by {}", case.name, apart(&latents, &case.latents));
        assert!(apart(&recon, &case.recon) < 1e-5, "{}: reconstructions by {}", case.name, apart(&recon, &case.recon));
    }
}

/// Import, export, import: the same bits, but where a format keeps a logarithm (gates) or latents have to change hands.
#[test]
fn written_and_read_again_the_bits_are_the_same() {
    let mut compared = 0;
    for case in cases() {
        let first = read_with(&case.sae, None, &case.options).unwrap();
        for format in FORMATS.iter().filter(|f| f.writes()) {
            let dir = tempfile::tempdir().unwrap();
            match write(dir.path(), format, &first.sae, &first.metadata) {
                Err(FileError::NoForm { .. }) => continue,
                other => other.unwrap(),
            }
            let second = read(dir.path(), Some(format)).unwrap().sae;
            assert!(compare(&first.sae, &second, &Rng::new(0)).within(TOLERANCE), "{} as {}", case.name, format.id);
            let gated = matches!(&first.sae.encoder, Encoder::Linear { act: Activation::Gated { .. }, .. });
            if case.name.starts_with(&format!("{}-", format.id)) && !gated && first.sae.b_in == second.b_in {
                assert_eq!(first.sae, second, "{}", case.name);
                compared += 1;
            }
        }
    }
    assert!(compared >= 25, "only {compared} compared bit by bit");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Whatever is done to a file of another tool, it is read or refused in one line.
    #[test]
    fn no_damage_makes_a_reader_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        config in any::<bool>(),
    ) {
        let names = [
            ("dictionary_learning-batch_topk-backup", "ae.pt", "config.json"),
            ("dictionary_learning-gated-random", "ae.pt", "config.json"),
            ("saelens-topk-random", "sae_weights.safetensors", "cfg.json"),
            ("saelens-matching_pursuit-random", "sae_weights.safetensors", "cfg.json"),
            ("sparsify-skip-transcoder-random", "sae.safetensors", "cfg.json"),
            ("openai-topk-by-layout", "", ""),
        ];
        let (name, weights, json) = names[which.index(names.len())];
        let dir = tempfile::tempdir().unwrap();
        let source = folder().join(name);
        let (path, victim) = if weights.is_empty() {
            fs::copy(source.join("sae.pt"), dir.path().join("sae.pt")).unwrap();
            (dir.path().join("sae.pt"), dir.path().join("sae.pt"))
        } else {
            for file in [weights, json] {
                fs::copy(source.join("sae").join(file), dir.path().join(file)).unwrap();
            }
            (dir.path().to_owned(), dir.path().join(if config { json } else { weights }))
        };
        let mut bytes = fs::read(&victim).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        fs::write(&victim, &bytes).unwrap();
        match read(&path, None) {
            Ok(loaded) => prop_assert!(loaded.sae.d_sae() > 0),
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}

/// A ReLU autoencoder on the residual stream of a small trained transformer, as its authors published it: a state dict of a layout of
/// their own. Its tensors are read; what it is, no format says, and that is told.
#[test]
fn a_published_autoencoder_gives_its_published_activations() {
    let Some(data) = std::env::var_os("SUPERLENS_TEST_DATA") else {
        return eprintln!("skipped: SUPERLENS_TEST_DATA names no folder of test data");
    };
    let data = PathBuf::from(data).join("toy_router_sae");
    let path = data.join("original/sae.pt");
    let mut torch = TorchFile::open(&path).unwrap();
    let mut mat = |key: &str| {
        let Some(Torch::Tensor(info)) = torch.root().get(key).cloned() else { panic!("{key}") };
        let numbers = torch.tensor(key, &info).unwrap();
        let cols = info.shape().last().map_or(1, |&n| n as usize);
        Mat::from_vec(numbers.len() / cols, cols, numbers)
    };
    let (w_enc, w_dec) = (mat("W_enc").transposed(), mat("W_dec").transposed());
    let (b_enc, b_dec) = (mat("b_enc").into_vec(), mat("b_dec").into_vec());
    let bytes = fs::read(data.join("sae.safetensors")).unwrap();
    assert_eq!(w_enc.transposed(), tensor(&bytes, "W_enc"), "the same numbers as in the converted file");
    let sae = Sae::new(b_dec.clone(), Encoder::Linear { w_enc, b_enc, act: Activation::Relu }, w_dec, b_dec);
    let reference = fs::read(data.join("reference.safetensors")).unwrap();
    for site in ["resid.0", "resid.1", "resid.2"] {
        let (latents, recon) = dense(&sae, &tensor(&reference, site));
        assert!(apart(&latents, &tensor(&reference, &format!("sae_features.{site}"))) < 1e-5, "{site}");
        assert!(apart(&recon, &tensor(&reference, &format!("sae_recon.{site}"))) < 1e-5, "{site}");
        // And through every format that can hold it.
        for format in ["saelens", "dictionary_learning"] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), Format::named(format).unwrap(), &sae, &Map::new()).unwrap();
            let (again, _) = dense(&read(dir.path(), None).unwrap().sae, &tensor(&reference, site));
            assert!(apart(&latents, &again) < 1e-5, "{format} {site}");
        }
    }
    assert!(read(&path, None).unwrap_err().to_string().contains("config.json"), "what it is, is not guessed");
}
