use std::{
    fs,
    path::{Path, PathBuf},
};

use superlens::report::{InputFile, Manifest, ReportError, RunFolder, Settings, Source, write_demo, write_diagnosis};
use tempfile::TempDir;

use crate::samples;

fn settings(threads: usize) -> Settings {
    let input = InputFile { path: "layer0.npy".to_owned(), bytes: 3, sha256: "00".repeat(32) };
    let config = toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(7))]);
    Settings { seed: 7, threads, revision: None, inputs: vec![input], config }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Makes a run at `out` that says `text` in its report.
fn run(out: &Path, text: &str) -> Result<PathBuf, ReportError> {
    let run = RunFolder::create(out, settings(1))?;
    run.write("report.json", text.as_bytes())?;
    run.finish()
}

#[test]
fn a_run_has_the_files_of_the_contract() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("runs/first");
    let run = RunFolder::create(&out, settings(2)).unwrap();
    assert!(!out.exists() && !dir.path().join("runs").exists(), "nothing is visible before the end");
    write_diagnosis(&run, &samples::superposition(), &samples::source()).unwrap();
    let place = run.finish().unwrap();
    assert_eq!(place.canonicalize().unwrap(), out.canonicalize().unwrap());
    assert_eq!(names(&out), ["config.toml", "figures", "manifest.json", "report.html", "report.json"]);
    let figures = names(&out.join("figures"));
    assert_eq!(figures.len(), 9);
    assert!(figures.contains(&"features.svg".to_owned()) && figures.contains(&"null-superposition.svg".to_owned()));
    let manifest: Manifest = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!((manifest.seed, manifest.threads, manifest.status.as_str()), (7, 2, "done"));
    assert_eq!(manifest.inputs[0].path, "layer0.npy");
    assert!(manifest.start.ends_with('Z') && manifest.start <= manifest.end);
    assert_eq!(names(dir.path()), ["runs"], "no hidden folder stays");
}

#[test]
fn a_demo_writes_the_overview_and_every_case() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("demo");
    let run = RunFolder::create(&out, settings(1)).unwrap();
    write_demo(&run, &samples::cases(), &Source::default()).unwrap();
    run.finish().unwrap();
    let figures = names(&out.join("figures"));
    assert!(figures.contains(&"demo.svg".to_owned()) && figures.contains(&"rotated-alignment.svg".to_owned()));
    let svg = fs::read_to_string(out.join("figures/demo.svg")).unwrap();
    roxmltree::Document::parse(&svg).unwrap();
    assert!(svg.contains("none found") && svg.contains("orthogonal, rotated") && !svg.contains("NaN"));
}

#[test]
fn threads_change_the_manifest_alone() {
    let dir = TempDir::new().unwrap();
    for threads in [1, 2] {
        let run = RunFolder::create(&dir.path().join(threads.to_string()), settings(threads)).unwrap();
        write_diagnosis(&run, &samples::rotated(), &samples::source()).unwrap();
        run.finish().unwrap();
    }
    for name in ["report.json", "report.html", "config.toml", "figures/features.svg"] {
        let bytes = |run: &str| fs::read(dir.path().join(run).join(name)).unwrap();
        assert!(bytes("1") == bytes("2"), "{name}");
    }
}

#[test]
fn an_empty_folder_is_used_and_a_run_replaced() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    run(&out, "first").unwrap();
    run(&out, "second").unwrap();
    assert_eq!(fs::read_to_string(out.join("report.json")).unwrap(), "second");
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn foreign_destinations_are_refused_before_any_work_and_left_alone() {
    let dir = TempDir::new().unwrap();
    let foreign = dir.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("chapter.tex"), "mine").unwrap();
    let not_ours = dir.path().join("store");
    fs::create_dir(&not_ours).unwrap();
    fs::write(not_ours.join("manifest.json"), r#"{"model": "gpt2"}"#).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    for (out, found) in [(&foreign, "chapter.tex"), (&not_ours, "manifest.json"), (&file, "it is a file")] {
        let error = run(out, "report").unwrap_err();
        assert!(matches!(error, ReportError::NotARun { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(found) && message.contains("name another folder"), "{message}");
    }
    assert_eq!(names(dir.path()), ["file", "store", "thesis"]);
    assert_eq!(fs::read_to_string(foreign.join("chapter.tex")).unwrap(), "mine");
}

#[test]
fn a_run_with_something_else_in_it_is_refused() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    run(&out, "first").unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let message = run(&out, "second").unwrap_err().to_string();
    assert!(message.contains("notes.txt"), "{message}");
    assert_eq!(fs::read_to_string(out.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_destination_that_turns_foreign_meanwhile_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let run = RunFolder::create(&out, settings(1)).unwrap();
    fs::create_dir(&out).unwrap();
    fs::write(out.join("chapter.tex"), "mine").unwrap();
    assert!(matches!(run.finish(), Err(ReportError::NotARun { .. })));
    assert_eq!(names(&out), ["chapter.tex"]);
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn an_error_or_a_drop_leaves_nothing_and_keeps_the_earlier_run() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    run(&out, "first").unwrap();
    let failing = RunFolder::create(&out, settings(1)).unwrap();
    let mut broken = samples::superposition();
    broken.layer.confidence = f64::NAN;
    assert!(matches!(write_diagnosis(&failing, &broken, &samples::source()), Err(ReportError::NotFinite { .. })));
    drop(failing);
    assert_eq!(names(dir.path()), ["out"]);
    assert_eq!(fs::read_to_string(out.join("report.json")).unwrap(), "first");
}

#[test]
fn an_interrupt_removes_the_staging_folder_and_stops_the_run() {
    let dir = TempDir::new().unwrap();
    let run = RunFolder::create(&dir.path().join("deep/out"), settings(1)).unwrap();
    assert!(run.path().join("config.toml").exists());
    let staging = run.staging();
    staging.remove();
    assert_eq!(names(dir.path()), [""; 0]);
    assert!(matches!(run.write("report.json", b"late"), Err(ReportError::Stopped)));
    assert!(matches!(run.finish(), Err(ReportError::Stopped)));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn an_interrupt_after_the_end_removes_nothing() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let run = RunFolder::create(&out, settings(1)).unwrap();
    let staging = run.staging();
    run.finish().unwrap();
    staging.remove();
    assert_eq!(names(&out), ["config.toml", "manifest.json"]);
}

#[test]
fn the_working_directory_and_nameless_paths_are_refused() {
    let here = std::env::current_dir().unwrap();
    let error = RunFolder::create(Path::new("."), settings(1)).unwrap_err();
    assert!(matches!(error, ReportError::NotARun { .. } | ReportError::Fixed { .. }), "{error}");
    assert!(here.exists());
    let error = RunFolder::create(Path::new("no-such-folder/.."), settings(1)).unwrap_err();
    assert!(matches!(error, ReportError::NoName { .. }), "{error}");
}
