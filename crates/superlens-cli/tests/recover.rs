//! `superlens recover` as whoever types it meets it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn superlens(folder: &TempDir, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(line.split(' ')).current_dir(folder.path()).output().expect("superlens starts")
}

fn json(folder: &TempDir, line: &str) -> Value {
    let output = superlens(folder, &format!("{line} --json"));
    assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn npy(shape: [usize; 2], values: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), &data].concat()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

#[test]
fn planted_rows_come_back_by_every_method() {
    let folder = tempdir().unwrap();
    for method in ["omp", "cosamp", "lasso --lambda 0.02 --debias", "fista --lambda 0.02", "basis_pursuit", "amp"] {
        let found = json(&folder, &format!("recover --random 200,80 --rows 50 --k 4 --method {method}"));
        let line = &found["path"][0];
        assert!(line["recall"].as_f64().unwrap() > 0.98, "{method}: {line}");
        assert!(line["residual"].as_f64().unwrap() < 0.1, "{method}: {line}");
        assert!(line["seconds"].is_f64() && line["rows_per_s"].is_f64());
        let keys = [&found["atoms"], &found["dims"], &found["rows"], &found["planted_k"]];
        assert_eq!(keys.map(|v| v.as_u64().unwrap()), [200, 80, 50, 4]);
        assert!(found["coherence"].as_f64().unwrap() < 1.0 && found["guaranteed_k"].is_u64());
    }
}

#[test]
fn a_path_of_lambda_is_a_table_with_the_noise_bound_below() {
    let folder = tempdir().unwrap();
    let line = "recover --random 200,80 --rows 40 --k 4 --noise 0.05 --method lasso --lambda 1..0.1 --steps 3";
    let found = json(&folder, line);
    let lambdas: Vec<f64> = found["path"].as_array().unwrap().iter().map(|l| l["lambda"].as_f64().unwrap()).collect();
    assert!(lambdas.len() == 3 && lambdas[0] == 1.0 && (lambdas[1] - 0.31623).abs() < 1e-4, "{lambdas:?}");
    assert!(found["path"][2]["largest_gap"].as_f64().unwrap() < 1e-3);
    assert!((found["noise_bound"].as_f64().unwrap() - 4.0 * 0.0025 * 200f64.ln()).abs() < 1e-6);
    let told = superlens(&folder, line);
    let told = text(&told.stdout);
    for word in ["λ", "precision", "0.316", "times k σ² ln n", "duality gap"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    // σ √(2 ln n) unless told otherwise.
    let universal = json(&folder, "recover --random 200,80 --rows 9 --k 4 --noise 0.05 --method lasso");
    let lambda = universal["path"][0]["lambda"].as_f64().unwrap();
    assert!((lambda - 0.05 * (2.0 * 200f64.ln()).sqrt()).abs() < 1e-6);
}

/// A dictionary file, its transpose, and signals from a file whose sums are known.
#[test]
fn files_are_read_either_way_round() {
    let folder = tempdir().unwrap();
    let atoms = |i: usize, j: usize| ((i * 37 + j * 101 + i * i * j * 13) % 29) as f32 - 14.0;
    let rows: Vec<f32> = (0..96).map(|v| atoms(v / 8, v % 8)).collect();
    let columns: Vec<f32> = (0..96).map(|v| atoms(v % 12, v / 12)).collect();
    let signals: Vec<f32> = (0..40).map(|v| 2.0 * atoms(v / 8, v % 8)).collect();
    fs::write(folder.path().join("rows.npy"), npy([12, 8], &rows)).unwrap();
    fs::write(folder.path().join("columns.npy"), npy([8, 12], &columns)).unwrap();
    fs::write(folder.path().join("x.npy"), npy([5, 8], &signals)).unwrap();
    let one = json(&folder, "recover rows.npy --signals x.npy --k 1 --out one");
    let other = json(&folder, "recover columns.npy --transpose --signals x.npy --k 1");
    assert!(one["path"][0]["residual"].as_f64().unwrap() < 1e-5, "{one}");
    assert_eq!(one["path"][0]["residual"], other["path"][0]["residual"]);
    assert!(one["path"][0]["success"].is_null() && one["planted_k"].is_null());
    let run = names(&folder.path().join("one"));
    assert_eq!(run, ["coefficients.safetensors", "config.toml", "figures", "manifest.json", "report.json"]);
    assert_eq!(names(&folder.path().join("one/figures")), ["rest.svg"]);
}

#[test]
fn threads_change_no_byte_and_the_folder_can_be_written_again() {
    let folder = tempdir().unwrap();
    let files = |threads: usize| {
        let line = format!(
            "recover --random 150,60 --rows 300 --k 5 --noise 0.02 --method lasso --threads {threads} --out run"
        );
        let output = superlens(&folder, &line);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("coefficients: run\n"));
        ["report.json", "coefficients.safetensors", "figures/coefficients.svg"]
            .map(|name| fs::read(folder.path().join("run").join(name)).unwrap())
    };
    assert_eq!(files(1), files(3));
}

#[test]
fn the_phase_has_its_contract_and_its_picture() {
    let folder = tempdir().unwrap();
    let line = "recover phase --atoms 120 --trials 8 --deltas 0.3,0.6 --non-negative --out run";
    let found = json(&folder, line);
    let list = |key: &str| found[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<f64>>();
    assert_eq!(list("delta"), [0.3, 0.6]);
    for (half, theory) in list("rho_half").iter().zip(list("rho_theory")) {
        assert!((half - theory).abs() < 0.15, "{half} {theory}");
    }
    assert!(found["tried"][0].as_array().unwrap().len() >= 4 && found["seconds"].is_f64());
    assert_eq!(names(&folder.path().join("run/figures")), ["phase.svg"]);
    let told =
        superlens(&folder, "recover phase --atoms 40 --trials 2 --deltas 0.5 --method omp --amplitudes gaussian");
    assert!(text(&told.stdout).contains("shares recovered:"), "{}", text(&told.stderr));
}

#[test]
fn the_examples_of_the_help_work() {
    let folder = tempdir().unwrap();
    for help in ["recover --help", "recover phase --help"] {
        let output = superlens(&folder, help);
        let lines = text(&output.stdout).lines().map(str::trim).filter(|l| l.starts_with("superlens recover --random"));
        for line in lines.map(|l| l.trim_start_matches("superlens ").to_string()).collect::<Vec<_>>() {
            let output = superlens(&folder, &format!("{line} --rows 20 --quiet"));
            assert_eq!(output.status.code(), Some(0), "{line}: {}", text(&output.stderr));
        }
        assert!(text(&output.stdout).contains("Examples:\n  superlens recover"), "{help}");
    }
}
