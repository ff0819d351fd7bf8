//! `superlens geometry`, through the real binary: contracts of the JSON, text, run folders.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn superlens(folder: &TempDir, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.arg("geometry").args(line.split(' ')).current_dir(folder.path()).env_remove("RUST_BACKTRACE");
    let output = command.output().expect("superlens starts");
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(folder: &TempDir, line: &str) -> Value {
    serde_json::from_slice(&superlens(folder, &format!("{line} --json --quiet")).stdout).expect("one document")
}

fn write_npy(path: &Path, shape: [usize; 2], values: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", shape[0], shape[1]);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    fs::write(path, [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), &bytes].concat()).unwrap();
}

/// `w.npy`: a pentagon and, at right angles, a digon, `[7, 3]`; `wt.npy` its transpose; `x.npy` sums of few of them, `[4000, 3]`, and
/// `s.npy` how much of each.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    let angle = |i: usize| std::f32::consts::TAU * i as f32 / 5.0;
    let mut w: Vec<[f32; 3]> = (0..5).map(|i| [angle(i).cos(), angle(i).sin(), 0.0]).collect();
    w.extend([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]);
    write_npy(&folder.path().join("w.npy"), [7, 3], &w.concat());
    let transposed: Vec<f32> = (0..3).flat_map(|j| w.iter().map(move |row| row[j])).collect();
    write_npy(&folder.path().join("wt.npy"), [3, 7], &transposed);
    let mut state = 5u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..4000 * 7).map(|_| if uniform() < 0.03 { uniform() } else { 0.0 }).collect();
    let row = |r: usize, j: usize| (0..7).map(|i| values[r * 7 + i] * w[i][j]).sum::<f32>();
    let x: Vec<f32> = (0..4000).flat_map(|r| (0..3).map(move |j| (r, j))).map(|(r, j)| row(r, j)).collect();
    write_npy(&folder.path().join("x.npy"), [4000, 3], &x);
    write_npy(&folder.path().join("s.npy"), [4000, 7], &values);
    folder
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[test]
fn pack_keeps_its_contract() {
    let folder = tempdir().unwrap();
    let icosahedron = json(&folder, "pack --dims 3 --points 6");
    assert_eq!((&icosahedron["kind"], &icosahedron["exact"]), (&"lines".into(), &true.into()));
    assert!((number(&icosahedron["coherence"]) - 0.2f64.sqrt()).abs() < 1e-12);
    assert!(number(&icosahedron["bounds"]["welch"]) > 0.44 && number(&icosahedron["gap"]).abs() < 1e-9);
    assert!(number(&icosahedron["seconds"]) > 0.0 && icosahedron["method"].is_string());
    assert_eq!(icosahedron["directions"].as_array().unwrap().len(), 6);
    let searched = json(&folder, "pack --dims 3 --points 7 --signed --starts 6");
    assert_eq!((&searched["kind"], &searched["exact"]), (&"signed".into(), &false.into()));
    let directions: Vec<Vec<f64>> = serde_json::from_value(searched["directions"].clone()).unwrap();
    let dot = |i: usize, j: usize| directions[i].iter().zip(&directions[j]).map(|(a, b)| a * b).sum::<f64>();
    let largest = (0..7).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).fold(-1.0, f64::max);
    assert!((largest - number(&searched["coherence"])).abs() < 1e-12);
    assert!(number(&searched["bounds"]["rankin"]) == 0.0 && number(&searched["gap"]) > -1e-9);
    assert!(searched["bounds"]["welch"].is_null(), "Welch's bound is not about signed cosines");
    let again = json(&folder, "pack --dims 3 --points 6 --search --starts 6");
    assert!(again["exact"] == false && (number(&again["coherence"]) - 0.2f64.sqrt()).abs() < 1e-3);
    let text = String::from_utf8(superlens(&folder, "pack --dims 3 --points 6").stdout).unwrap();
    assert!(text.contains("largest |cosine|") && text.contains("a bound is met"), "{text}");
}

#[test]
fn coherence_keeps_its_contract_in_both_orientations() {
    let folder = folder();
    let (rows, columns) = (json(&folder, "coherence w.npy"), json(&folder, "coherence wt.npy --transpose"));
    for c in [&rows, &columns] {
        assert_eq!((&c["n"], &c["dims"], &c["rank"]), (&7.into(), &3.into(), &3.into()));
        assert!((number(&c["max_abs_cos"]) - 1.0).abs() < 1e-6 && (number(&c["sum_capacity"]) - 3.0).abs() < 1e-5);
        let capacity: Vec<f64> = serde_json::from_value(c["capacity"].clone()).unwrap();
        let want = [0.4, 0.4, 0.4, 0.4, 0.4, 0.5, 0.5];
        assert!(capacity.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{capacity:?}");
        assert_eq!(c["polytopes"]["product"], "pentagon × digon");
        let shares: Vec<f64> = serde_json::from_value(c["signed_histogram"]["shares"].clone()).unwrap();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(number(&c["rms_cos"]) > 0.0 && number(&c["participation_ratio"]) > 2.9);
    }
    assert!(number(&rows["random"]["closer_by_chance"]) < 1e-3, "no chance makes opposite pairs");
    assert!(columns["orientation"].as_str().unwrap().contains("--transpose"));
    let text = String::from_utf8(superlens(&folder, "coherence w.npy").stdout).unwrap();
    assert!(text.contains("largest signed cosine") && text.contains("7 directions in rows of 3"), "{text}");
}

#[test]
fn room_gives_formulas_and_measurements() {
    let folder = tempdir().unwrap();
    let r = json(&folder, "room --dims 512 --epsilon 0.2 --points 256,1024");
    assert!((number(&r["bounds"]["union"]["n"]) / 167.3 - 1.0).abs() < 0.01);
    assert!((number(&r["bounds"]["cap"]["n"]) / 2.0e5 - 1.0).abs() < 0.05);
    assert!(number(&r["bounds"]["upper"]["ln"]) > number(&r["bounds"]["cap"]["ln"]));
    let points = r["measured"].as_array().unwrap();
    assert_eq!(points.len(), 2);
    for p in points {
        assert_eq!(p["largest_is"], "exact");
        assert!((number(&p["rms_cos"]) * 512f64.sqrt() - 1.0).abs() < 0.02);
        assert!((number(&p["largest"]) / number(&p["expected_max_abs_cos"]) - 1.0).abs() < 0.2);
    }
    let sampled = json(&folder, "room --dims 64 --epsilon 0.5 --points 120000 --pairs 1000000");
    let p = &sampled["measured"][0];
    assert_eq!((&p["largest_is"], &p["exact_over"]), (&"estimated".into(), &20_000.into()));
    assert!(number(&p["drawn_pairs"]) >= 1e6 && number(&p["largest"]) >= number(&p["drawn_max_abs_cos"]));
}

/// In a high dimension and at a large ε, what is beyond a double is null and its logarithm stays.
#[test]
fn astronomical_room_has_a_logarithm() {
    let folder = tempdir().unwrap();
    let r = json(&folder, "room --dims 1000000 --epsilon 0.9 --points 4");
    assert!(r["bounds"]["cap"]["n"].is_null() && number(&r["bounds"]["cap"]["ln"]) > 1e5, "{}", r["bounds"]);
    assert!(number(&r["bounds"]["upper"]["ln"]) >= number(&r["bounds"]["cap"]["ln"]));
}

#[test]
fn readout_states_its_notion() {
    let folder = folder();
    let exact = json(&folder, "readout --dims 3");
    assert_eq!((&exact["allows"]["linear"], &exact["allows"]["relu"]), (&3.into(), &6.into()));
    assert!(number(&exact["pair_error"]) < 1e-24 && number(&exact["max_cos_2d_plus_1"]) > 1e-3);
    assert!((number(&exact["linear_error"]) - 3.0).abs() < 1e-5);
    let given = json(&folder, "readout --directions w.npy --activations x.npy --features s.npy");
    assert_eq!((&given["values"], &given["n"], &given["rank"]), (&"given".into(), &7.into(), &3.into()));
    assert_eq!((&given["allows"]["linear"], &given["allows"]["relu"]), (&3.into(), &6.into()));
    assert_eq!(given["readable"]["linear"], 0);
    assert!(number(&given["readable"]["relu"]) >= 2.0 && given["r2"].as_array().unwrap().len() == 7);
    let decoded = json(&folder, "readout --directions wt.npy --transpose --activations x.npy");
    assert_eq!(decoded["values"], "decoded");
    let text = String::from_utf8(superlens(&folder, "readout --directions w.npy --activations x.npy").stdout).unwrap();
    assert!(text.contains("ReLU-linear") && text.contains("decoded from the same activations"), "{text}");
}

#[test]
fn a_run_folder_holds_pictures_and_no_times() {
    let folder = folder();
    for (line, figures) in [
        ("pack --dims 3 --points 8 --signed", vec!["packing.svg", "sorted-cosines.svg"]),
        ("pack --dims 2 --points 3", vec!["packing.svg", "sorted-cosines.svg"]),
        ("pack --dims 5 --points 16 --signed", vec!["gram.svg", "sorted-cosines.svg"]),
        ("coherence w.npy", vec!["cosines-absolute.svg", "cosines-signed.svg"]),
        ("room --dims 64 --epsilon 0.3 --points 64,256", vec!["room.svg"]),
        ("readout --directions w.npy --activations x.npy --features s.npy", vec!["readable.svg"]),
    ] {
        superlens(&folder, &format!("{line} --quiet --out run"));
        let mut names: Vec<String> = fs::read_dir(folder.path().join("run/figures"))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, figures, "{line}");
        let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run/report.json")).unwrap()).unwrap();
        assert!(report.get("seconds").is_none(), "{line}");
        for figure in figures {
            let svg = fs::read_to_string(folder.path().join("run/figures").join(figure)).unwrap();
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{line}: {figure}");
        }
    }
}

#[test]
fn threads_do_not_change_the_answer() {
    let folder = folder();
    for line in ["pack --dims 4 --points 9 --starts 6", "coherence w.npy", "room --dims 96 --epsilon 0.3 --points 600"]
    {
        let of = |threads: &str| {
            superlens(&folder, &format!("{line} --quiet --threads {threads} --out run"));
            fs::read(folder.path().join("run/report.json")).unwrap()
        };
        assert_eq!(of("1"), of("3"), "{line}");
    }
}

#[test]
fn the_table_is_markdown() {
    let folder = tempdir().unwrap();
    let text = String::from_utf8(superlens(&folder, "table --dims 3 --points 6 --starts 4").stdout).unwrap();
    assert!(
        text.contains("| lines: N | d = 2 | d = 3 |") && text.contains("| 6 | 0.86603* (0) | 0.44721* (0) |"),
        "{text}"
    );
}
