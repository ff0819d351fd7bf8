//! A tiny model of 61 tokens whose text is digits, and the binary run on it.

// Each test binary uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub fn superlens(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_superlens")).args(args).output().unwrap()
}

pub fn document(args: &[&str]) -> Value {
    let out = superlens(args);
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The one line of an error that is the caller's.
pub fn refused(args: &[&str]) -> String {
    let out = superlens(args);
    let told = String::from_utf8(out.stderr).unwrap();
    assert_eq!((out.status.code(), told.lines().count()), (Some(2), 1), "{args:?}: {told}");
    assert!(out.stdout.is_empty(), "{args:?}");
    told
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/families").join(family)
}

/// A folder with a model of two layers, a tokenizer of single bytes beside it, and a text.
pub struct Setting {
    pub dir: tempfile::TempDir,
}

impl Setting {
    pub fn new() -> Setting {
        let dir = tempfile::tempdir().unwrap();
        let model = dir.path().join("model");
        fs::create_dir(&model).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(fixture("llama-gqa-published").join(file), model.join(file)).unwrap();
        }
        // llama2.c's: the longest piece, then for each its score, length and bytes; those of bytes begin with the third.
        let mut pieces = 1i32.to_le_bytes().to_vec();
        for _ in 0..259 {
            pieces.extend([0f32.to_le_bytes(), 1i32.to_le_bytes()].concat());
            pieces.push(0xff);
        }
        fs::write(model.join("tok.bin"), pieces).unwrap();
        let line =
            |i: usize| (0..1 + i * 7 % 40).map(|j| char::from(b'0' + ((i * i + 3 * j) % 10) as u8)).collect::<String>();
        fs::write(dir.path().join("text.txt"), (0..200).map(line).collect::<Vec<_>>().join("\n")).unwrap();
        Setting { dir }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A command on the model; what begins with `@` is a file of the folder.
    pub fn words(&self, line: &str) -> Vec<String> {
        let word = |w: &str| w.strip_prefix('@').map_or(w.to_string(), |name| self.path(name));
        line.split_whitespace().map(word).collect()
    }

    pub fn document(&self, line: &str) -> Value {
        let words = self.words(line);
        document(&words.iter().map(String::as_str).chain(["--json"]).collect::<Vec<_>>())
    }

    /// The line that refuses a command.
    pub fn refused_with(&self, line: &str) -> String {
        let words = self.words(line);
        refused(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The same, of a command that was to write `out`.
    pub fn refused(&self, line: &str) -> String {
        let told = self.refused_with(line);
        assert!(!self.dir.path().join("out").exists(), "{line}: something was written");
        told
    }
}
