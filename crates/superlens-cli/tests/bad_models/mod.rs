//! Names of models that can't be found or fetched. None of these opens a connection that leaves the machine.

use std::fs;
use std::process::Command;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is typed, and what the line must say.
pub const NAMES: &[(&str, &str)] = &[
    ("model missing", "`superlens fetch missing` gets it"),
    ("model owner/missing@v2", "`superlens fetch owner/missing@v2` gets it"),
    ("model a/b/c", "no such file or folder"),
    ("model ../../owner/model", "no such file or folder"),
    ("model owner/broken", "lacks model.safetensors"),
    ("model owner/torn", "lacks 2.safetensors"),
    ("fetch ../model", "expected the name of a model"),
    ("fetch a/b/c", "expected the name of a model"),
    ("fetch https://huggingface.co/gpt2", "expected the name of a model"),
    ("fetch owner--model", "no `--`"),
    ("fetch owner/model@../main", "after @ expected"),
    ("fetch owner/model@", "after @ expected"),
    ("fetch owner/model --endpoint huggingface.co", "expected the address of a hub"),
    ("fetch owner/model --endpoint ftp://huggingface.co", "expected the address of a hub"),
    ("fetch owner/offline", "HF_HUB_OFFLINE"),
];

/// Runs `superlens` with these words and a cache of its own. Returns the line on stderr, or what is wrong.
pub fn line(words: &str, says: &str) -> Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(scratch.path()).unwrap();
    let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    cached(&folder, "models--owner--broken", &[("config.json", "{}")]);
    cached(
        &folder,
        "models--owner--torn",
        &[("config.json", "{}"), ("model.safetensors.index.json", index), ("1.safetensors", "")],
    );
    let before = super::names(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(words.split_whitespace()).arg("--quiet").current_dir(&folder).env("HF_HUB_CACHE", &folder);
    for variable in ["HF_ENDPOINT", "HF_TOKEN", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(variable);
    }
    // With an endpoint, what is wrong is told before a connection is opened.
    command.env("HF_HUB_OFFLINE", if words.contains("--endpoint") { "0" } else { "1" });
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let one_line = stderr.matches('\n').count() == 1 && stderr.ends_with('\n') && stderr.contains(says);
    let silent = output.stdout.is_empty() && super::names(&folder) == before;
    match output.status.code() == Some(2) && one_line && silent {
        true => Ok(stderr.trim_end().replace(&folder.display().to_string(), "CACHE").replace('\\', "/")),
        false => Err(format!("{words}: {}, not one line that says `{says}`: {stderr:?}", output.status)),
    }
}

fn cached(root: &std::path::Path, model: &str, files: &[(&str, &str)]) {
    let snapshot = root.join(model).join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(root.join(model).join("refs")).unwrap();
    fs::write(root.join(model).join("refs/main"), COMMIT).unwrap();
    files.iter().for_each(|(name, text)| fs::write(snapshot.join(name), text).unwrap());
}
