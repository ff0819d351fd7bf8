//! `superlens store`, and training from a store: what a disk, a kill and a damaged file do to them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn superlens(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_superlens")).args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let out = superlens(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The one line of an error that is the caller's.
fn refused(args: &[&str]) -> String {
    let out = superlens(args);
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), told.lines().count()), (Some(2), 1), "{args:?}: {told}");
    told
}

/// 3,000 rows of 8 in which few of 16 directions are on.
fn matrix(path: &Path) {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let directions: Vec<Vec<f32>> = (0..16).map(|_| (0..8).map(|_| draw() - 0.5).collect()).collect();
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (3000, 8), }").bytes());
    for _ in 0..3000 {
        let on: Vec<f32> = (0..16).map(|_| if draw() < 0.1 { draw() } else { 0.0 }).collect();
        for j in 0..8 {
            let x: f32 = on.iter().zip(&directions).map(|(a, d)| a * d[j]).sum();
            bytes.extend(x.to_le_bytes());
        }
    }
    fs::write(path, bytes).unwrap();
}

/// A matrix and its store in shards of 700 rows.
fn stored(dir: &Path, dtype: &str) -> (String, String) {
    let (file, store) = (dir.join("x.npy"), dir.join("store"));
    matrix(&file);
    let (file, store) = (file.display().to_string(), store.display().to_string());
    json(&[
        "store",
        "import",
        &file,
        "--out",
        &store,
        "--hook",
        "h",
        "--dtype",
        dtype,
        "--shard-rows",
        "700",
        "--json",
    ]);
    (file, store)
}

fn train<'a>(store: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut args =
        vec!["train", "--activations", store, "--d-sae", "32", "--k", "4", "--batch", "128", "--steps", "400"];
    args.extend(["--checkpoint-every", "20", "--out", out, "--json"]);
    if Path::new(store).is_dir() {
        args.extend(["--buffer-mb", "1"]);
    }
    args
}

#[test]
fn a_store_trains_and_is_measured_as_its_matrix_is() {
    let dir = tempfile::tempdir().unwrap();
    let (file, store) = stored(dir.path(), "f32");
    let shown = json(&["store", "show", &store, "--json"]);
    assert_eq!((shown["rows"].as_u64(), shown["hooks"][0]["shards"].as_array().unwrap().len()), (Some(3000), 5));
    assert_eq!(shown["sha256"], json(&["store", "verify", &store, "--json"])["sha256"]);
    let (a, b) = (dir.path().join("a").display().to_string(), dir.path().join("b").display().to_string());
    let (from_store, from_file) = (json(&train(&store, &a)), json(&train(&file, &b)));
    for run in [&from_store, &from_file] {
        assert!(run["fvu"].as_f64().unwrap() < 0.5, "{run}");
    }
    let eval = |acts: &str| json(&["eval", "--sae", &a, "--activations", acts, "--json"]);
    let (one, other) = (eval(&store), eval(&file));
    for key in ["fvu", "l0", "mse", "explained_variance_legacy", "cossim", "gamma", "psi"] {
        let (x, y) = (one[key].as_f64().unwrap(), other[key].as_f64().unwrap());
        assert!((x - y).abs() <= 1e-9 * y.abs(), "{key}: {x} from the store, {y} from the matrix");
    }
    assert!(
        refused(&["eval", "--sae", &a, "--activations", &store, "--hook", "nowhere"])
            .contains("holds no hook `nowhere`; it holds: h")
    );
    assert!(
        refused(&["eval", "--sae", &a, "--activations", &file, "--hook", "h"]).contains("--hook h: goes with a store")
    );
}

#[test]
fn a_killed_training_from_a_store_goes_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = stored(dir.path(), "f16");
    let whole = dir.path().join("whole").display().to_string();
    json(&train(&store, &whole));
    let weights = |run: &str| fs::read(Path::new(run).join("sae/sae_weights.safetensors")).unwrap();
    for (i, wait) in [60, 150, 400].into_iter().enumerate() {
        let run = dir.path().join(format!("killed{i}")).display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_superlens"))
            .args(train(&store, &run))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        if !Path::new(&run).join("config.toml").is_file() {
            continue;
        }
        json(&["train", "--resume", &run, "--json"]);
        assert!(weights(&run) == weights(&whole), "killed after {wait} ms");
    }
    // Another store in its place is not gone on with.
    let manifest = Path::new(&store).join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{text}\n")).unwrap();
    let told = refused(&["train", "--resume", &whole]);
    assert!(told.contains("these are not the activations that the run began with"), "{told}");
}

#[test]
fn damaged_stores_are_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let (file, store) = stored(dir.path(), "bf16");
    let out = dir.path().join("run").display().to_string();
    let shard = Path::new(&store).join("h/shard-00003.safetensors");
    let bytes = fs::read(&shard).unwrap();
    let mut changed = bytes.clone();
    changed[1000] ^= 1;
    fs::write(&shard, changed).unwrap();
    assert!(refused(&["store", "verify", &store]).contains("shard-00003.safetensors: sha256: expected"));
    fs::write(&shard, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(&train(&store, &out)).contains("shard-00003.safetensors: expected 11456 bytes"));
    fs::remove_file(&shard).unwrap();
    assert!(refused(&train(&store, &out)).contains("shard-00003.safetensors: there is no such file"));
    assert!(!Path::new(&out).exists());
    assert!(refused(&["store", "show", dir.path().to_str().unwrap()]).contains("is no store"));
    assert!(refused(&["store", "import", &file, "--out", &store]).contains("not empty"));
    assert!(
        refused(&["store", "import", dir.path().to_str().unwrap(), "--out", &out])
            .contains("folder without .arrow or .parquet")
    );
}
