//! The command as whoever types it meets it: the real binary, its two streams, its exit code, its files.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn superlens<S: AsRef<OsStr>>(folder: &TempDir, arguments: &[S]) -> Output {
    command(folder, arguments).output().expect("superlens starts")
}

fn command<S: AsRef<OsStr>>(folder: &TempDir, arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(arguments).current_dir(folder.path()).env_remove("RUST_BACKTRACE");
    command
}

/// 600 samples of 6 neurons that each answer to one sparse feature, as `a.npy`.
fn folder_with_activations() -> TempDir {
    let folder = tempdir().unwrap();
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values = (0..600 * 6).map(|_| if uniform() < 0.2 { uniform() } else { 0.0 }).collect::<Vec<f32>>();
    fs::write(folder.path().join("a.npy"), npy([600, 6], &values)).unwrap();
    folder
}

fn npy(shape: [usize; 2], values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What lies in a folder, hidden names too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn help_shows_examples() {
    let folder = tempdir().unwrap();
    for arguments in [&["--help"][..], &["demo", "--help"], &["diagnose", "--help"]] {
        let output = superlens(&folder, arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stdout).contains("Examples:\n  superlens "), "{arguments:?}");
    }
}

#[test]
fn bad_usage_and_bad_input_are_one_line_and_exit_code_2() {
    let folder = folder_with_activations();
    fs::write(folder.path().join("empty.npy"), b"").unwrap();
    fs::write(folder.path().join("one-row.npy"), npy([1, 3], &[1.0, 2.0, 3.0])).unwrap();
    fs::write(folder.path().join("nan.npy"), npy([2, 2], &[1.0, 2.0, f32::NAN, 3.0])).unwrap();
    let before = names(folder.path());
    for arguments in [
        &["--bogus"][..],
        &["demo", "--threads", "0"],
        &["demo", "--seed", "-1"],
        &["demo", "--out", "a.npy"],
        &["diagnose"],
        &["diagnose", "missing.npy", "--out", "run"],
        &["diagnose", "empty.npy", "--out", "run"],
        &["diagnose", "one-row.npy", "--out", "run"],
        &["diagnose", "nan.npy", "--out", "run"],
        &["diagnose", "a.npy", "--basis", "some"],
        &["diagnose", "a.npy", "--key", "x", "--out", "run"],
        &["diagnose", "a.npy", "--out", "."],
        &["diagnose", "a.npy", "--out", "a.npy"],
    ] {
        let output = command(&folder, arguments).arg("--quiet").output().expect("superlens starts");
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.starts_with("error: ") && told.lines().count() == 1, "{arguments:?}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(names(folder.path()), before, "{arguments:?}");
    }
}

#[test]
fn json_is_one_document_and_nothing_else() {
    let folder = folder_with_activations();
    let output = superlens(&folder, &["diagnose", "a.npy", "--json", "--basis", "privileged", "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["schema"], &document["input"]["rows"], &document["input"]["dims"]),
        (&1.into(), &600.into(), &6.into())
    );
    assert_eq!(document["layer"]["basis"], "privileged");
    assert!(document["layer"]["verdict"].is_string() && document["hypotheses"].is_array());
    assert!(document["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(output.stderr.is_empty(), "no progress where none is wanted: {}", text(&output.stderr));
    assert_eq!(names(folder.path()), ["a.npy"], "nothing is written without --out");
}

#[test]
fn the_demo_recognises_its_five_layers() {
    let folder = tempdir().unwrap();
    let output = superlens(&folder, &["demo", "--json", "--out", "run"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&document), ["cases", "seconds"]);
    assert!(document["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let mut told = Vec::new();
    for case in document["cases"].as_array().unwrap() {
        assert_eq!(keys(case), ["confidence", "mechanism", "name", "truth", "verdict"]);
        assert!(case["confidence"].as_f64().is_some_and(|confidence| (0.0..=1.0).contains(&confidence)), "{case}");
        let verdict = case["verdict"].as_str().unwrap();
        let said = case["mechanism"].as_str().map_or(verdict.to_string(), |mechanism| format!("{verdict}/{mechanism}"));
        assert_eq!(case["truth"], said, "{case}");
        told.push(said);
    }
    assert_eq!(told, ["monosemantic", "orthogonal/rotated", "superposition", "superposition", "inconclusive"]);
    let run = names(&folder.path().join("run"));
    assert_eq!(run, ["config.toml", "figures", "manifest.json", "report.html", "report.json"]);
}

#[test]
fn a_person_gets_the_verdict_first_and_the_report_last() {
    let folder = folder_with_activations();
    let json: Value = serde_json::from_slice(&superlens(&folder, &["diagnose", "a.npy", "--json"]).stdout).unwrap();
    let output = superlens(&folder, &["diagnose", "a.npy", "--out", "runs/first"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    assert!(told.starts_with(json["layer"]["verdict"].as_str().unwrap()), "{told}");
    assert!(told.ends_with("report: runs/first/report.html\n"), "{told}");
    assert_eq!(names(folder.path()), ["a.npy", "runs"]);
    let run = names(&folder.path().join("runs/first"));
    assert_eq!(run, ["config.toml", "figures", "manifest.json", "report.html", "report.json"]);
    let told = superlens(&folder, &["diagnose", "a.npy"]).stdout;
    assert!(text(&told).trim_end().ends_with("--out DIR"), "without --out the last line says how to get the report");
}

#[test]
fn threads_do_not_change_the_report() {
    let folder = folder_with_activations();
    let report = |threads: &str| {
        let output = superlens(&folder, &["diagnose", "a.npy", "--threads", threads, "--out", threads]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        fs::read(folder.path().join(threads).join("report.json")).unwrap()
    };
    assert_eq!(report("1"), report("2"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = folder_with_activations();
    for arguments in [&["diagnose", "a.npy"][..], &["diagnose", "a.npy", "--json"], &["--help"]] {
        let mut child = command(&folder, arguments)
            .arg("--quiet")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("superlens starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_nothing_behind() {
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    let folder = tempdir().unwrap();
    let child = command(&folder, &["demo", "--out", "run", "--quiet"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("superlens starts");
    // Once the staging folder is there, the work has begun.
    let start = Instant::now();
    while names(folder.path()).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(30), "superlens demo makes no staging folder");
        sleep(Duration::from_millis(5));
    }
    assert_ne!(names(folder.path()), ["run"], "the report must not be there before the work is done");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill starts");
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.starts_with("interrupted") && told.lines().count() == 1, "{told}");
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn an_autoencoder_is_converted_and_what_is_there_is_left_alone() {
    let folder = tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sae_files");
    let source = fixtures.join("dictionary_learning-topk-random/sae");
    let convert = |dst: &str, to: &str| {
        superlens(
            &folder,
            &["convert", source.to_str().unwrap(), dst, "--to", to, "--hook", "blocks.3.hook_resid_post", "--json"],
        )
    };
    let output = convert("sae", "saelens");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&said["from"], &said["to"], &said["d_sae"]),
        (&"dictionary_learning".into(), &"saelens".into(), &32.into())
    );
    assert!(said["recon_differs"].as_f64().unwrap() <= 1e-5);
    assert_eq!(names(&folder.path().join("sae")), ["cfg.json", "sae_weights.safetensors"]);
    let config: Value = serde_json::from_slice(&fs::read(folder.path().join("sae/cfg.json")).unwrap()).unwrap();
    assert_eq!(config["metadata"]["hook_name"], "blocks.3.hook_resid_post");
    // Not over what is there, not even over its own.
    let again = convert("sae", "sparsify");
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("already there"), "{}", text(&again.stderr));
    assert_eq!(names(folder.path()), ["sae"]);
    let list = superlens(&folder, &["convert", "--list"]);
    assert!(text(&list.stdout).contains("gemma_scope") && list.status.success());
}
