//! `superlens train` and `eval` through the real binary.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Sparse sums of a few directions, `[rows, 12]`, as .npy.
fn activations(file: &Path, rows: usize) {
    let mut state = 7u64;
    let mut uniform = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let directions: Vec<f32> = (0..20 * 12).map(|_| uniform() - 0.5).collect();
    let mut data = Vec::new();
    for _ in 0..rows {
        let on: Vec<f32> = (0..20).map(|_| if uniform() < 0.15 { 0.5 + uniform() } else { 0.0 }).collect();
        for c in 0..12 {
            let v: f32 = on.iter().enumerate().map(|(j, s)| s * directions[j * 12 + c]).sum();
            data.extend_from_slice(&v.to_le_bytes());
        }
    }
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 12), }}");
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&data);
    fs::write(file, bytes).unwrap();
}

fn superlens(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(words.split_whitespace()).arg("--quiet").current_dir(folder);
    command
}

fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const TRAIN: &str = "train --activations x.npy --arch batch_topk --d-sae 600 --k 4 --batch 128 --lr 1e-3";

#[test]
fn every_architecture_trains_and_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    activations(&folder.path().join("x.npy"), 600);
    for arch in [
        "topk",
        "abs_topk",
        "batch_topk",
        "matryoshka",
        "relu",
        "p_anneal",
        "jumprelu",
        "gated",
        "groupmax",
        "matching_pursuit",
        "crosscoder",
        "pca",
        "ica",
        "kmeans",
        "random",
    ] {
        let settings = match arch {
            "crosscoder" => "--layers 3 --batch 128 --steps 40",
            "jumprelu" => "--target-l0 4 --batch 128 --steps 40",
            "relu" | "p_anneal" | "gated" => "--batch 128 --steps 40",
            "pca" | "ica" | "kmeans" => "",
            "random" => "--k 4",
            _ => "--k 4 --batch 128 --steps 40",
        };
        let words = format!("train --activations x.npy --arch {arch} --d-sae 24 {settings} --out {arch} --json");
        let told = json(&superlens(folder.path(), &words).output().unwrap());
        for key in ["arch", "steps", "tokens", "seconds", "tokens_per_s", "peak_anon_mb", "fvu", "l0", "dead_fraction"]
        {
            assert!(!told[key].is_null() || (key == "peak_anon_mb" && !cfg!(target_os = "linux")), "{arch}: {key}");
        }
        let words = format!("eval --sae {arch} --activations x.npy --truth x.npy --json");
        let measured = json(&superlens(folder.path(), &words).output().unwrap());
        for key in [
            "fvu",
            "l0",
            "mse",
            "explained_variance_legacy",
            "cossim",
            "gamma",
            "dead_fraction",
            "mmcs",
            "mcc",
            "uniqueness",
        ] {
            assert!(measured[key].is_number(), "{arch}: {key}: {measured}");
        }
        assert_eq!(measured["fvu_of_layers"].as_array().map(Vec::len), (arch == "crosscoder").then_some(3));
        let (a, b) = (told["fvu"].as_f64().unwrap(), measured["fvu"].as_f64().unwrap());
        assert!((a / b - 1.0).abs() < 1e-4, "{arch}: {a} while training, {b} read back");
    }
}

/// Two seeds and another size, compared; windows; and the result for SAEBench.
#[test]
fn dictionaries_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    activations(&folder.path().join("x.npy"), 600);
    let run = |words: &str| superlens(folder.path(), words).output().unwrap();
    for (out, d_sae, seed) in [("a", 24, 0), ("b", 24, 1), ("c", 48, 0)] {
        let train = "train --activations x.npy --arch topk --k 4 --batch 128 --lr 1e-2 --steps 200";
        assert!(run(&format!("{train} --d-sae {d_sae} --seed {seed} --out {out}")).status.success());
    }
    let eval = "eval --sae a --activations x.npy";
    let told = json(&run(&format!("{eval} --compare b --window 600 --saebench core.json --json")));
    let at = |told: &serde_json::Value, path: &str| told.pointer(path).and_then(serde_json::Value::as_f64).unwrap();
    assert!(at(&told, "/compare/all/mcc") > at(&told, "/compare/all/null/mcc"), "{told}");
    assert!((at(&told, "/mse") / at(&told, "/compare/stitching/mse_of_smaller") - 1.0).abs() < 1e-5, "{told}");
    // The window is all rows here: both conventions say the same.
    assert_eq!(told["dead"], told["dead_in_window"]);
    assert_eq!(told["dense"], told["dense_in_window"]);
    assert!(at(&told, "/capacity") <= at(&told, "/decoder_rank") && at(&told, "/decoder_coherence") <= 1.0);
    let itself = json(&run(&format!("{eval} --compare a --json")));
    assert!(at(&itself, "/compare/all/mcc") > 0.9999 && at(&itself, "/compare/live/over_90_percent") == 1.0);
    // The larger one is inserted into the smaller one, whichever is named first.
    let larger = json(&run(&format!("{eval} --compare c --json")));
    let turned = json(&run("eval --sae c --activations x.npy --compare a --json"));
    assert_eq!(larger["compare"]["stitching"], turned["compare"]["stitching"]);
    assert_eq!((&larger["compare"]["inserted"], &turned["compare"]["inserted"]), (&"other".into(), &"sae".into()));
    assert!(String::from_utf8_lossy(&run(&format!("{eval} --compare c")).stdout).contains("are novel"));

    let core: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("core.json")).unwrap()).unwrap();
    assert_eq!(core["eval_result_metrics"]["sparsity"]["l0"], told["l0"]);
    assert_eq!(core["eval_result_details"].as_array().map(Vec::len), Some(24));
    for (words, says) in [
        (format!("{eval} --saebench core.json"), "expected a new file"),
        (format!("{eval} --window 601"), "expected 1 to 600 rows, found 601"),
        (format!("{eval} --window 0"), "found 0"),
        (format!("{eval} --compare nothing"), "nothing"),
    ] {
        let output = run(&words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(says) && told.lines().count() == 1, "{words}: {told}");
    }
}

/// Trained, measured and read back from files of each kind that can hold them.
#[test]
fn transcoders_are_trained_measured_and_converted() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| superlens(folder.path(), words).output().unwrap();
    activations(&folder.path().join("x.npy"), 600);
    activations(&folder.path().join("y.npy"), 600);
    for (arch, format) in [("transcoder", "sparsify"), ("skip_transcoder", "sparsify"), ("transcoder", "superlens")] {
        let out = format!("{arch}-{format}");
        let words = "--activations x.npy --targets y.npy --d-sae 24 --k 4 --batch 128 --steps 40 --json";
        let told = json(&run(&format!("train {words} --arch {arch} --out {out}")));
        let measured = json(&run(&format!("eval --sae {out} --activations x.npy --targets y.npy --json")));
        let other = format!("{out}-converted");
        assert!(run(&format!("convert {out}/sae {other} --to {format}")).status.success());
        let converted = json(&run(&format!("eval --sae {other} --activations x.npy --targets y.npy --json")));
        let fvu = [&told, &measured, &converted].map(|d| d["fvu"].as_f64().unwrap());
        assert!(fvu.iter().all(|f| (f / fvu[0] - 1.0).abs() < 1e-4) && fvu[0] < 0.9, "{arch}: {fvu:?}");
        let alone = run(&format!("eval --sae {other} --activations x.npy"));
        let says = String::from_utf8_lossy(&alone.stderr).into_owned();
        assert!(alone.status.code() == Some(2) && says.contains("--targets"), "{says}");
    }
}

/// ReLU transcoders are SAELens' transcoders.
#[test]
fn relu_transcoders_go_to_saelens_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| superlens(folder.path(), words).output().unwrap();
    activations(&folder.path().join("x.npy"), 600);
    activations(&folder.path().join("y.npy"), 600);
    for arch in ["relu_transcoder", "relu_skip_transcoder"] {
        let told = json(&run(&format!(
            "train --activations x.npy --targets y.npy --d-sae 24 --l1 0.01 --batch 128 --steps 40 --json --arch {arch} --out {arch}"
        )));
        let config = fs::read_to_string(folder.path().join(arch).join("sae/cfg.json")).unwrap();
        assert!(config.contains(&format!("\"{}\"", arch.replace("relu_", ""))), "{config}");
        let measured = json(&run(&format!("eval --sae {arch} --activations x.npy --targets y.npy --json")));
        let fvu = [&told, &measured].map(|d| d["fvu"].as_f64().unwrap());
        assert!((fvu[0] / fvu[1] - 1.0).abs() < 1e-4 && fvu[0] < 0.9, "{arch}: {fvu:?}");
    }
}

/// Layers of two files, of one file with both, of two stores: the same dictionary or the same numbers; and no format that loses the layers.
#[test]
fn crosscoders_read_layers_from_files_and_stores() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| superlens(folder.path(), words).output().unwrap();
    for name in ["a", "b"] {
        activations(&folder.path().join(format!("{name}.npy")), 600);
        assert!(run(&format!("store import {name}.npy --out {name} --hook h --shard-rows 250")).status.success());
    }
    let train = "--d-sae 24 --batch 128 --steps 60 --lr 4e-3 --json";
    for (arch, setting) in [("crosscoder", "--l1 0.1"), ("batch_topk_crosscoder", "--k 4")] {
        for layers in ["a.npy,b.npy", "a,b"] {
            let out = format!("{arch}-{}", if layers == "a,b" { "stores" } else { "files" });
            let told = json(&run(&format!("train --activations {layers} --arch {arch} {setting} {train} --out {out}")));
            let of = |layers: &str| json(&run(&format!("eval --sae {out} --activations {layers} --json")));
            let (files, stores) = (of("a.npy,b.npy"), of("a,b"));
            for key in ["fvu", "l0"] {
                let [a, b, c] = [&told, &files, &stores].map(|d| d[key].as_f64().unwrap());
                assert!((a / b - 1.0).abs() < 0.02 && (b / c - 1.0).abs() < 1e-4, "{out}: {key} {a} {b} {c}");
            }
            for measured in [&files, &stores] {
                let by_layer: Vec<f64> =
                    measured["fvu_of_layers"].as_array().unwrap().iter().map(|f| f.as_f64().unwrap()).collect();
                // The same rows twice.
                assert!(by_layer.len() == 2 && (by_layer[0] / by_layer[1] - 1.0).abs() < 0.2, "{out}: {by_layer:?}");
            }
            for format in ["saelens", "sparsify", "dictionary_learning"] {
                let refused = run(&format!("convert {out}/sae other --to {format}"));
                let told = String::from_utf8_lossy(&refused.stderr).into_owned();
                let clear = told.contains("2 layers side by side") && told.lines().count() == 1;
                assert!(refused.status.code() == Some(2) && clear && !folder.path().join("other").exists(), "{told}");
            }
            assert!(run(&format!("convert {out}/sae {out}-again --to superlens")).status.success());
        }
    }
    // A run on stores goes on with the same bytes.
    let long = "train --activations a,b --arch batch_topk_crosscoder --k 4 --d-sae 24 --batch 128 --steps 60 --lr 4e-3";
    let weights = |dir: &str| fs::read(folder.path().join(dir).join("sae/dictionary.safetensors")).unwrap();
    assert!(run(&format!("{long} --checkpoint-every 25 --out whole")).status.success());
    let whole = weights("whole");
    fs::remove_file(folder.path().join("whole/checkpoints/step-0000000060.safetensors")).unwrap();
    fs::remove_dir_all(folder.path().join("whole/sae")).unwrap();
    assert!(run("train --resume whole").status.success());
    assert_eq!(whole, weights("whole"));
    activations(&folder.path().join("short.npy"), 500);
    for (words, says) in [
        ("train --activations a.npy,b.npy --out p", "found topk"),
        ("train --activations a.npy,b --arch crosscoder --out p", "found both"),
        ("train --activations a.npy,short.npy --arch crosscoder --out p", "expected 600 rows of 12"),
        ("train --activations a.npy,b.npy --layers 3 --arch crosscoder --out p", "expected 2, as were named"),
        ("train --activations a,b --hook h,h,h --arch crosscoder --out p", "each of 2 paths, found 3"),
        ("train --activations a.npy --buffer-mb 3 --out p", "--buffer-mb 3"),
    ] {
        let output = run(words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(says) && told.lines().count() == 1, "{words}: {told}");
    }
}

/// What is read and what is to be rebuilt from stores, of other widths or of one.
#[test]
fn transcoders_read_targets_from_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| superlens(folder.path(), words).output().unwrap();
    activations(&folder.path().join("x.npy"), 600);
    assert!(run("store import x.npy --out x --hook h --shard-rows 250").status.success());
    assert!(run("store import x.npy --out y --hook g --shard-rows 400 --dtype f16").status.success());
    let train = "train --activations x --arch transcoder --k 4 --d-sae 24 --batch 128 --steps 60 --lr 4e-3 --json";
    for (name, targets) in
        [("other", "--targets y"), ("same", "--targets-hook h"), ("named", "--targets y --targets-hook g")]
    {
        let told = json(&run(&format!("{train} {targets} --out {name}")));
        let measured = json(&run(&format!("eval --sae {name} --activations x {targets} --json")));
        let by_files = json(&run(&format!("eval --sae {name} --activations x.npy --targets x.npy --json")));
        let fvu = [&told, &measured, &by_files].map(|d| d["fvu"].as_f64().unwrap());
        assert!(fvu.iter().all(|f| (f / fvu[0] - 1.0).abs() < 0.02) && fvu[0] < 0.5, "{name}: {fvu:?}");
        assert_eq!(run(&format!("eval --sae {name} --activations x")).status.code(), Some(2));
    }
    activations(&folder.path().join("short.npy"), 500);
    assert!(run("store import short.npy --out short --hook h").status.success());
    for (targets, says) in [
        ("--targets short", "expected 600 rows"),
        ("--targets x.npy", "is a store"),
        ("--targets x,y", "expected one file or hook, found 2"),
        ("--targets y --targets-hook h", "no hook"),
    ] {
        let output = run(&format!("{train} {targets} --out p"));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && told.contains(says) && told.lines().count() == 1,
            "{targets}: {told}"
        );
    }
}

/// Rows from 0 on only.
#[test]
fn a_non_negative_factorisation_is_kept_in_our_own_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.npy");
    activations(&file, 600);
    let mut bytes = fs::read(&file).unwrap();
    // The sign of each number is the top bit of its last byte.
    bytes[128..].as_chunks_mut::<4>().0.iter_mut().for_each(|number| number[3] &= 0x7f);
    fs::write(&file, bytes).unwrap();
    let told = json(
        &superlens(folder.path(), "train --activations x.npy --arch nmf --d-sae 10 --k 6 --out nmf --json")
            .output()
            .unwrap(),
    );
    let measured = json(&superlens(folder.path(), "eval --sae nmf --activations x.npy --json").output().unwrap());
    let (a, b) = (told["fvu"].as_f64().unwrap(), measured["fvu"].as_f64().unwrap());
    assert!((a / b - 1.0).abs() < 1e-4 && a < 0.3, "{a} and {b}");
    let refused = superlens(folder.path(), "convert nmf/sae other --to sparsify").output().unwrap();
    assert!(refused.status.code() == Some(2) && !folder.path().join("other").exists());
}

fn killed(mut child: Child, after: Duration) {
    sleep(after);
    let _ = child.kill();
    let _ = child.wait();
}

/// Whatever moment a run is killed at, the rest gives the same bytes.
#[test]
fn a_killed_run_goes_on_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    activations(&folder.path().join("x.npy"), 900);
    let words = |out: &str| format!("{TRAIN} --steps 300 --checkpoint-every 10 --out {out}");
    assert!(superlens(folder.path(), &words("whole")).status().unwrap().success());
    let weights = |out: &str| fs::read(folder.path().join(out).join("sae/sae_weights.safetensors")).unwrap();
    let whole = weights("whole");
    let quiet = |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    killed(quiet(&mut superlens(folder.path(), &words("cut"))), Duration::from_millis(400));
    for turn in 0..4u64 {
        let resume = quiet(&mut superlens(folder.path(), "train --resume cut"));
        killed(resume, Duration::from_millis(90 + 70 * turn));
    }
    let last = superlens(folder.path(), "train --resume cut").output().unwrap();
    assert!(last.status.success(), "{}", String::from_utf8_lossy(&last.stderr));
    assert_eq!(whole, weights("cut"));
    let lines = |out: &str| fs::read_to_string(folder.path().join(out).join("metrics.jsonl")).unwrap();
    assert_eq!(lines("whole"), lines("cut"));
    // A finished run has nothing left to do, and a broken checkpoint gives way to the one before it.
    let checkpoints = folder.path().join("cut/checkpoints");
    let mut files: Vec<_> = fs::read_dir(&checkpoints).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 2);
    let bytes = fs::read(&files[1]).unwrap();
    fs::write(&files[1], &bytes[..bytes.len() / 2]).unwrap();
    let again = superlens(folder.path(), "train --resume cut").output().unwrap();
    assert!(again.status.success() && String::from_utf8_lossy(&again.stderr).contains("warning"));
    assert_eq!(whole, weights("cut"));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    activations(&folder.path().join("x.npy"), 500);
    let weights = |threads: u32| {
        let words = format!("{TRAIN} --steps 30 --threads {threads} --out run{threads}");
        assert!(superlens(folder.path(), &words).status().unwrap().success());
        fs::read(folder.path().join(format!("run{threads}/sae/sae_weights.safetensors"))).unwrap()
    };
    assert_eq!(weights(1), weights(3));
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    activations(&folder.path().join("x.npy"), 200);
    activations(&folder.path().join("y.npy"), 210);
    let usual = "train --activations x.npy --d-sae 24 --k 4 --batch 64 --steps 6";
    assert!(superlens(folder.path(), &format!("{usual} --out run")).status().unwrap().success());
    for (words, says) in [
        (format!("{usual} --out run"), "not empty"),
        (format!("{usual} --arch topkk --out a"), "one of"),
        ("train --activations x.npy --d-sae 24 --k 25 --steps 5 --out b".into(), "k = 25"),
        ("train --activations x.npy --d-sae 24 --arch groupmax --k 5 --out g".into(), "must divide d_sae = 24"),
        ("train --activations x.npy --arch crosscoder --out h".into(), "--layers"),
        ("train --activations x.npy --arch crosscoder --layers 5 --out i".into(), "must divide the columns = 12"),
        ("train --activations x.npy --layers 3 --out j".into(), "(crosscoder, batch_topk_crosscoder), found topk"),
        ("train --activations x.npy --arch nmf --d-sae 24 --k 4 --out l".into(), "non-negative"),
        ("train --activations x.npy --arch relu --k-start 9 --out p".into(), "--k-start: expected an architecture"),
        ("train --activations x.npy --arch topk,relu --target-l0 9 --out p".into(), "found topk, relu"),
        (
            "train --activations x.npy --arch jumprelu --l1 9 --out p".into(),
            "jumprelu with --sparsity-loss step or tanh",
        ),
        ("train --activations x.npy --arch pca --steps 9 --out p".into(), "--steps: expected an architecture"),
        ("train --activations x.npy --anneal 0.5 --out p".into(), "--k-start with it"),
        ("train --activations x.npy --arch jumprelu --sparsity-loss l0 --out p".into(), "target, step, tanh"),
        ("train --activations x.npy --arch jumprelu --bandwidth 0 --out p".into(), "bandwidth = 0"),
        ("train --activations x.npy --arch transcoder --out m".into(), "--targets"),
        ("train --activations x.npy --targets x.npy --out n".into(), "skip_transcoder"),
        ("train --activations x.npy --targets y.npy --arch transcoder --out o".into(), "expected 200 rows"),
        ("eval --sae run --activations x.npy --targets y.npy".into(), "expected 200 rows"),
        ("train --activations x.npy --d-sae 0 --out c".into(), "found 0"),
        ("train --activations x.npy --steps 0 --out d".into(), "--steps"),
        ("train --activations x.npy --lr NaN --out e".into(), "--lr"),
        ("train --activations none.npy --out f".into(), "no such file"),
        ("train --resume nothing".into(), "config.toml"),
        ("eval --sae run --activations none.npy".into(), "no such file"),
        ("eval --sae nothing --activations x.npy".into(), "nothing"),
    ] {
        let output = superlens(folder.path(), &words).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && told.contains(says) && told.lines().count() == 1, "{words}: {told}");
    }
    // Other activations than the run began with.
    fs::copy(folder.path().join("y.npy"), folder.path().join("x.npy")).unwrap();
    let output = superlens(folder.path(), "train --resume run").output().unwrap();
    assert!(output.status.code() == Some(2) && String::from_utf8_lossy(&output.stderr).contains("sha256"));
}

/// A list of settings gives the dictionaries that each gives alone, and goes on after an end.
#[test]
fn a_sweep_gives_what_each_run_gives_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    activations(&path.join("x.npy"), 500);
    let usual = "train --activations x.npy --d-sae 48 --batch 100 --lr 1e-3 --steps 30 --checkpoint-every 10 --json";
    let lists = "--arch topk,relu,pca --k 2,4 --l1 0.5,2";
    let told = json(&superlens(path, &format!("{usual} {lists} --out all")).output().unwrap());
    let names: Vec<&str> = told["runs"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["topk-k2", "topk-k4", "relu-l1_0.5", "relu-l1_2", "pca"]);
    assert!(fs::read_to_string(path.join("all/pareto.svg")).unwrap().contains("relu"));
    let weights = |dir: &str| fs::read(path.join(dir).join("sae/sae_weights.safetensors")).unwrap();
    for (name, alone) in [("topk-k4", "--arch topk --k 4"), ("relu-l1_2", "--arch relu --l1 2")] {
        let told = superlens(path, &format!("{usual} {alone} --out {name}")).output().unwrap();
        assert!(json(&told)["fvu"].as_f64().unwrap() < 1.0);
        assert_eq!(weights(name), weights(&format!("all/{name}")), "{name}");
    }
    // One run is behind the others, as after a kill between two checkpoints.
    let before = weights("all/topk-k2");
    let checkpoints = path.join("all/topk-k2/checkpoints");
    fs::remove_file(checkpoints.join("step-0000000030.safetensors")).unwrap();
    fs::remove_dir_all(path.join("all/topk-k2/sae")).unwrap();
    let again = superlens(path, "train --resume all --json").output().unwrap();
    assert_eq!(json(&again)["runs"].as_array().unwrap().len(), 5);
    assert_eq!(before, weights("all/topk-k2"));
    let twice = superlens(path, &format!("{usual} --arch topk,topk --out twice")).output().unwrap();
    assert_eq!(twice.status.code(), Some(2));
    assert!(!path.join("twice").exists());
}
