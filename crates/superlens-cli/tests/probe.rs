//! Sparse probes on the command line.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use superlens::probes::sparse::planted::{Layer, Size, layer};
use superlens_tensor::io::npy_header;
use superlens_tensor::{Mat, Rng};

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
    assert!(output.stdout.is_empty());
    told
}

fn write(path: &Path, mat: &Mat) {
    let mut bytes = npy_header("<f4", &[mat.rows(), mat.cols()]);
    mat.data().iter().for_each(|v| bytes.extend_from_slice(&v.to_le_bytes()));
    fs::write(path, bytes).unwrap();
}

/// x.npy with 16 neurons, y.npy with the labels of four of its features.
fn made(folder: &Path, kind: Layer) {
    let (x, labels) = layer(kind, Size { rows: 2000, neurons: 16, active: 2 }, &Rng::new(1));
    write(&folder.join("x.npy"), &x);
    write(&folder.join("y.npy"), &labels.select_cols(&[0, 1, 2, 3]));
}

#[test]
fn the_json_keeps_its_contract() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    made(at, Layer::Aligned);
    fs::write(at.join("names.txt"), "one\ntwo\nthree\nfour\n").unwrap();
    let told = json(at, "probe x.npy --labels y.npy --names names.txt --json --exact 2 --selector all");
    let concepts = told["concepts"].as_array().unwrap();
    assert_eq!(concepts.len(), 4);
    for (c, concept) in concepts.iter().enumerate() {
        assert_eq!(concept["name"], ["one", "two", "three", "four"][c]);
        assert_eq!(concept["k"], serde_json::json!([1, 2, 4, 8, 16]));
        let f1: Vec<f64> = concept["f1"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(f1.len() == 5 && f1[0] > 0.95, "{concept}");
        assert_eq!((&concept["selector"], &concept["support"]), (&"mean-difference".into(), &serde_json::json!([c])));
        assert!(concept["dense_auc"].as_f64().unwrap() > 0.99 && concept["rotation_p"].as_f64().unwrap() <= 0.05);
        assert_eq!(concept["exact"][0]["support"], serde_json::json!([c]));
        assert_eq!(concept["exact"][1]["proven"], true);
        assert_eq!(concept["compared"].as_array().unwrap().len(), 5);
    }
    assert_eq!((&told["unit"], &told["rows"], &told["units"]), (&"neuron".into(), &2000.into(), &16.into()));
}

#[test]
fn a_person_reads_a_table_and_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    made(at, Layer::Aligned);
    let output = superlens(at, "probe x.npy --labels y.npy --k 1,4 --exact 4");
    let told = String::from_utf8(output.stdout).unwrap();
    for part in ["dense AUC", "F1 k=4", "concept 3", "alone reads it", "the basis matters", "lower bound", "39 draws"] {
        assert!(told.contains(part), "no {part:?} in\n{told}");
    }
    let again = superlens(at, "probe x.npy --labels y.npy --k 1,4 --exact 4 --threads 1");
    let body = |text: &str| text.lines().filter(|l| !l.ends_with(" s")).map(String::from).collect::<Vec<_>>();
    assert_eq!(body(&told), body(&String::from_utf8(again.stdout).unwrap()));
}

#[test]
fn directions_and_latents_are_units_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    made(at, Layer::Rotated);
    // The axes of the layer are of no use; its features' directions are.
    let (_, labels) = layer(Layer::Rotated, Size { rows: 2000, neurons: 16, active: 2 }, &Rng::new(1));
    let (x, _) = layer(Layer::Rotated, Size { rows: 2000, neurons: 16, active: 2 }, &Rng::new(1));
    let directions = superlens::probes::Ridge::fit(&x, &labels.select_cols(&[0, 1, 2, 3]), 1e-3).weights;
    write(&at.join("d.npy"), &directions);
    let told = json(at, "probe x.npy --labels y.npy --directions d.npy --k 1 --json");
    assert_eq!((&told["unit"], &told["units"]), (&"direction".into(), &4.into()));
    for (c, concept) in told["concepts"].as_array().unwrap().iter().enumerate() {
        assert_eq!(concept["support"], serde_json::json!([c]));
        assert!(concept["f1"][0].as_f64().unwrap() > 0.95 && concept["rotation_p"].is_null(), "{concept}");
    }
    assert!(told["rotation_note"].as_str().unwrap().contains("neurons only"));
    let trained = "train --activations x.npy --arch topk --d-sae 24 --k 2 --steps 30 --batch 256 --out sae";
    let output = superlens(at, trained);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = json(at, "probe x.npy --labels y.npy --sae sae --json --draws 0");
    assert_eq!((&told["unit"], &told["units"]), (&"latent".into(), &24.into()));
    assert!(told["concepts"][0]["permutation_p"].is_null() && told["concepts"][0]["dense_auc"].is_number());
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    made(at, Layer::Aligned);
    let made = |name: &str, rows: usize, of: &dyn Fn(usize) -> f32| {
        write(&at.join(name), &Mat::from_fn(rows, 1, |i, _| of(i)));
    };
    made("short.npy", 1999, &|i| (i % 2) as f32);
    made("classes.npy", 2000, &|i| (i % 3) as f32);
    made("nan.npy", 2000, &|i| if i == 7 { f32::NAN } else { 0.0 });
    fs::write(at.join("names.txt"), "one\ntwo\n").unwrap();
    write(&at.join("narrow.npy"), &Mat::from_fn(2, 5, |i, j| (i + j) as f32));
    for (words, says) in [
        ("--labels short.npy", "labels for 1999 rows, but x.npy has 2000"),
        ("--labels classes.npy", "classes.npy: row 2, column 0: expected 0 or 1, found 2"),
        ("--labels nan.npy", "nan.npy"),
        ("--labels none.npy", "none.npy"),
        ("--labels y.npy --k 1,17", "--k: expected sizes from 1 to 16, since there are 16 neurons, found 17"),
        ("--labels y.npy --k 0", "'0'"),
        ("--labels y.npy --k 999", "256 at most"),
        ("--labels y.npy --null-k 20", "--null-k"),
        ("--labels y.npy --names names.txt", "--names names.txt: expected 4 lines"),
        ("--labels y.npy --names none.txt", "--names none.txt"),
        ("--labels y.npy --selector best", "mean-difference"),
        ("--labels y.npy --exact 99", "0 to 12"),
        ("--labels y.npy --directions narrow.npy", "--directions narrow.npy: is of activations of width 5"),
        ("--labels y.npy --directions d.npy --sae sae", "cannot be used with"),
        ("", "--labels"),
    ] {
        let told = refused(at, &format!("probe x.npy {words}"));
        assert!(told.contains(says), "{words}: {told}");
    }
    // One class alone is no error: it is told.
    made("ones.npy", 2000, &|_| 1.0);
    let told = json(at, "probe x.npy --labels ones.npy --json");
    assert_eq!(told["concepts"][0]["note"], "every row is positive");
    assert!(told["concepts"][0]["dense_auc"].is_null() && told["concepts"][0]["rotation_p"].is_null());
    let said = superlens(at, "probe x.npy --labels ones.npy");
    assert!(String::from_utf8_lossy(&said.stdout).contains("concept 0: every row is positive"));
}
