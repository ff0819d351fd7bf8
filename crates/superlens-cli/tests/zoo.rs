//! Made cases on the command line, and labels beside a diagnosis.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn superlens(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(words.split_whitespace()).arg("--quiet").current_dir(folder).output().unwrap()
}

fn json(folder: &Path, words: &str) -> Value {
    let output = superlens(folder, words);
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of an error that is the caller's.
fn refused(folder: &Path, words: &str) -> String {
    let output = superlens(folder, words);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{words}: {told}");
    told
}

#[test]
fn a_made_case_is_diagnosed_with_its_labels() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(superlens(at, "zoo make second-corr-scenes --out cases").status.success());
    let truth: Value = serde_json::from_str(fs::read_to_string(at.join("cases/truth.jsonl")).unwrap().trim()).unwrap();
    assert_eq!(truth["truth"], "orthogonal/correlated");
    let [x, y] = ["file", "labels"].map(|key| format!("cases/{}", truth[key].as_str().unwrap()));
    let found = json(at, &format!("diagnose {x} --labels {y} --basis privileged --json --out run"));
    assert_eq!(
        (&found["layer"]["verdict"], &found["layer"]["mechanism"]),
        (&"orthogonal".into(), &"correlated".into())
    );
    assert!(found["input"]["labels"].as_u64().unwrap() > 0 && found["concepts"]["pairs"].is_array());
    let told = |a: &Value| a["probability"].as_f64().unwrap();
    let others: f64 = found["layer"]["alternatives"].as_array().unwrap().iter().map(told).sum();
    let all = others + found["layer"]["confidence"].as_f64().unwrap();
    assert!((all - 1.0).abs() < 1e-9, "probabilities add up to {all}");
    let manifest: Value = serde_json::from_slice(&fs::read(at.join("run/manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["inputs"].as_array().unwrap().len(), 2, "the labels are an input as well");
    assert!(superlens(at, "zoo make gaussian --out other").status.success());
    let wrong = refused(at, &format!("diagnose other/gaussian-0.npy --labels {y}"));
    assert!(wrong.contains("one row of labels is needed"), "{wrong}");
}

#[test]
fn an_exam_writes_what_the_verdict_is_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let scores = json(at, "zoo exam --split calibrate --only few-rows --cases 2 --out a.jsonl --markdown a.md --json");
    assert_eq!((&scores["cases"], &scores["right"]), (&2.into(), &2.into()));
    assert!(fs::read_to_string(at.join("a.md")).unwrap().contains("| few-rows | inconclusive | 2 of 2 |"));
    assert!(superlens(at, "zoo calibrate a.jsonl --out weights.json").status.success());
    let weights: Value = serde_json::from_slice(&fs::read(at.join("weights.json")).unwrap()).unwrap();
    assert_eq!((&weights["cases"], weights["weights"].as_array().unwrap().len()), (&2.into(), 9));
    fs::write(at.join("b.jsonl"), "{}").unwrap();
    assert!(refused(at, "zoo calibrate b.jsonl --out w.json").contains("b.jsonl: line 1"));
    assert!(refused(at, "zoo exam --only nothing").contains("zoo list"));
    assert!(refused(at, "zoo exam --out no/a.jsonl").contains("no such folder"));
    assert!(refused(at, "zoo make nothing --out x").contains("zoo list"));
}

#[test]
fn pages_of_the_zoo_say_which_command_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let output = superlens(at, "zoo alarms --cases 1 --seed 3 --out a.jsonl --markdown a.md");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(at.join("a.md")).unwrap();
    assert!(page.contains("superlens zoo alarms --cases 1 --seed 3 --markdown a.md") && page.contains("| gaussian |"));
    assert_eq!(page, String::from_utf8(output.stdout).unwrap());
    assert_eq!(fs::read_to_string(at.join("a.jsonl")).unwrap().lines().count(), 5);
    let neurons = json(at, "zoo neurons --cases 1 --markdown n.md --json");
    assert!(neurons["polysemantic"].as_u64().unwrap() > 0 && at.join("n.md").exists());
    assert!(refused(at, "zoo trained --markdown no/a.md").contains("no such folder"));
    assert!(refused(at, "zoo counts --out no/a.jsonl").contains("no such folder"));
}
