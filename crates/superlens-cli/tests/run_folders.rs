//! What becomes of the folder of a training whatever happens to it, and of that of `superlens synth`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn superlens(folder: &Path, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(words.split_whitespace()).arg("--quiet").current_dir(folder).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one line of an error that is the caller's.
fn refused(folder: &Path, words: &str) -> String {
    let output = superlens(folder, words);
    assert_eq!((output.status.code(), told(&output).lines().count()), (Some(2), 1), "{words}: {}", told(&output));
    told(&output)
}

fn done(folder: &Path, words: &str) -> Output {
    let output = superlens(folder, words);
    assert!(output.status.success(), "{words}: {}", told(&output));
    output
}

/// A folder with `x/activations.npy`, 400 rows of `toy512` (256 columns).
fn with_rows() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    done(folder.path(), "synth toy512 --rows 400 --out x");
    folder
}

const TRAIN: &str =
    "train --activations x/activations.npy --d-sae 64 --k 4 --batch 64 --steps 40 --checkpoint-every 10";

#[test]
fn a_damaged_checkpoint_is_not_gone_on_from() {
    let folder = with_rows();
    let path = folder.path();
    done(path, &format!("{TRAIN} --out whole"));
    done(path, &format!("{TRAIN} --out damaged"));
    let weights = |run: &str| fs::read(path.join(run).join("sae/sae_weights.safetensors")).unwrap();
    let last = path.join("damaged/checkpoints/step-0000000040.safetensors");
    let mut bytes = fs::read(&last).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&last, &bytes).unwrap();
    let output = done(path, "train --resume damaged");
    assert!(told(&output).contains("is damaged") && told(&output).contains("from step 30"), "{}", told(&output));
    assert_eq!(weights("damaged"), weights("whole"));
    // With none that is whole there is nothing to go on from.
    for entry in fs::read_dir(path.join("damaged/checkpoints")).unwrap() {
        fs::write(entry.unwrap().path(), &bytes).unwrap();
    }
    assert!(refused(path, "train --resume damaged").contains("begin it anew"));
}

#[test]
fn what_was_refused_can_be_mended_and_typed_again() {
    let folder = with_rows();
    let path = folder.path();
    for wrong in ["--arch crosscoder --layers 5", "--arch nmf", "--arch topk --lr 1e30 --warmup 0"] {
        refused(path, &format!("train --activations x/activations.npy --d-sae 64 --k 4 --steps 40 {wrong} --out run"));
        assert!(!path.join("run").exists(), "{wrong}");
    }
    refused(
        path,
        "train --activations x/activations.npy --d-sae 64 --k 3,4 --steps 40 --lr 1e30 --warmup 0 --out sweep",
    );
    assert!(!path.join("sweep").exists());
    let told = refused(path, &format!("{TRAIN} --batch 401 --out run").replace("--batch 64 ", ""));
    assert!(told.contains("400 at most"), "{told}");
    assert!(refused(path, &format!("{TRAIN} --lr -1 --out run")).contains("above 0"));
    done(path, &format!("{TRAIN} --out run"));
}

/// The command that holds the folder is this test itself.
#[test]
fn two_processes_do_not_train_in_one_folder() {
    let folder = with_rows();
    let path = folder.path();
    done(path, &format!("{TRAIN} --out run"));
    let held = fs::File::open(path.join("run/config.toml")).unwrap();
    held.lock().unwrap();
    assert!(refused(path, "train --resume run").contains("another process"));
    drop(held);
    done(path, "train --resume run");
}

#[test]
fn an_unfinished_run_says_how_it_ends() {
    let folder = with_rows();
    let path = folder.path();
    done(path, &format!("{TRAIN} --out run"));
    fs::remove_dir_all(path.join("run/sae")).unwrap();
    assert!(refused(path, "eval --sae run --activations x/activations.npy").contains("train --resume run"));
}

#[test]
fn a_store_of_one_row_over_and_over_is_refused() {
    let folder = with_rows();
    let path = folder.path();
    let x = fs::read(path.join("x/activations.npy")).unwrap();
    let (header, rows) = x.split_at(x.len() - 400 * 256 * 4);
    // A column that varies until the import has looked at it; the shard is then made constant.
    fs::write(path.join("y.npy"), [header, rows].concat()).unwrap();
    done(path, "store import y.npy --out store --hook h --dtype f32");
    let shard = path.join("store/h/shard-00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let from = bytes.len() - 400 * 256 * 4;
    bytes[from..].fill(0);
    fs::write(&shard, bytes).unwrap();
    assert!(refused(path, "train --activations store --d-sae 64 --k 4 --steps 5 --out run").contains("alike"));
    assert!(!path.join("run").exists());
}

#[test]
fn more_rows_than_the_disk_holds_are_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let told = refused(path, "synth 1k --rows 99999999999999 --out rows");
    assert!(told.contains("room for") && !path.join("rows").exists(), "{told}");
    // What a killed run left is no reason to refuse.
    fs::create_dir(path.join("rows")).unwrap();
    fs::write(path.join("rows/.activations.npy.part"), "half").unwrap();
    done(path, "synth 1k --rows 20 --out rows");
    assert!(!path.join("rows/.activations.npy.part").exists());
    assert!(refused(path, "synth 1k --rows 20 --out rows").contains("not empty"));
    assert!(refused(path, "eval --sae rows --activations rows/activations.npy --rows 5").contains("rows"));
}
