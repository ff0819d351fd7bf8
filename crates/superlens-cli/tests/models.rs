//! `superlens model`, `run-model`, `harvest` and `generate` on a tiny model of 61 tokens whose text is digits.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use safetensors::SafeTensors;
use serde_json::{Value, json};

mod tiny_model;
use tiny_model::{Setting, superlens};

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_model_is_told_with_its_hooks() {
    let setting = Setting::new();
    let told = setting.document("model @model");
    assert_eq!((&told["family"], &told["layers"], &told["vocab"]), (&json!("llama"), &json!(2), &json!(61)));
    let hooks: Vec<&str> = told["hooks"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert!(hooks.contains(&"blocks.1.mlp.hook_pre_linear") && hooks.contains(&"logits"), "{hooks:?}");
    assert_eq!(told["tokenizer"]["tokens"], 259);
    assert_eq!(told["weights"].as_array().unwrap().len(), 2);
    let told = setting.document("model @model --text @text.txt --skip-special-tokens");
    let layers = told["activations"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    let neurons = &layers[1]["neurons"];
    assert!(neurons["columns"].as_f64().unwrap() > neurons["rotated"].as_f64().unwrap(), "{neurons}");
    let out = superlens(&["model", &setting.path("model"), "--text", &setting.path("text.txt")]);
    assert!(String::from_utf8(out.stdout).unwrap().contains("excess kurtosis of activations"));
    // One that can't be read is told as what it is, and no reason to say nothing of the model.
    fs::write(setting.path("model/tok.bin"), [1]).unwrap();
    let out = superlens(&["model", &setting.path("model")]);
    let shown = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success() && shown.contains("tokenizer: ") && shown.contains("tok.bin"), "{shown}");
    assert!(setting.refused("model @model --tokenizer @model/tok.bin").contains("tok.bin"));
}

#[test]
fn activations_of_one_text_are_named_as_their_hooks() {
    let setting = Setting::new();
    let told = setting.document(
        "run-model --model @model --token-ids 1,35,51,52 --hook blocks.*.attn.hook_pattern blocks.1.hook_resid_post --out @out",
    );
    assert_eq!((&told["tokens"], &told["token_ids"]), (&json!(4), &json!([1, 35, 51, 52])));
    let bytes = fs::read(setting.path("out")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("blocks.0.attn.hook_pattern"), [4, 4, 4]);
    assert_eq!(shape("blocks.1.hook_resid_post"), [4, 24]);
    assert_eq!((shape("logits"), shape("input_ids")), (vec![4, 61], vec![4]));
    assert_eq!(file.len(), 5);
    // Nothing is written over: it may be the text or the model itself.
    assert!(
        setting
            .refused_with("run-model --model @model --token-ids 1 --out @model/config.json")
            .contains("is there already")
    );
    assert!(setting.refused_with("generate --model @model --tokens 3 --out @text.txt").contains("is there already"));
    // The text 01 is these tokens, a space before it as Llama wants it.
    fs::write(setting.path("short.txt"), "\u{feff}01\r\n").unwrap();
    let again = setting.document("run-model --model @model --text @short.txt --out @again");
    assert_eq!(again["token_ids"], told["token_ids"]);
    let bytes = fs::read(setting.path("again")).unwrap();
    let again = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(again.tensor("logits").unwrap().data(), file.tensor("logits").unwrap().data());
}

#[test]
fn a_harvest_is_a_store() {
    let setting = Setting::new();
    let line = "harvest --model @model --text @text.txt --context 16 --dtype f32 --hook";
    let told = setting.document(&format!("{line} blocks.*.mlp.hook_post --out @store"));
    let all = ["hooks", "out", "peak_anon_mb", "rows", "seconds", "tokens", "tokens_per_s"];
    assert_eq!(keys(&told), BTreeSet::from(all));
    assert_eq!(told["hooks"], json!({"blocks.0.mlp.hook_post": 37, "blocks.1.mlp.hook_post": 37}));
    assert_eq!(told["tokens"], told["rows"]);
    assert!(superlens(&["store", "verify", &setting.path("store")]).status.success());
    // What is whole is not written over.
    let again = setting.refused(&format!("{line} blocks.1.hook_resid_post --out @store"));
    assert!(again.contains("name a new folder"), "{again}");
    let fewer = setting.document(&format!("{line} blocks.1.hook_mlp_out --max-tokens 100 --out @fewer"));
    assert_eq!((&fewer["rows"], &fewer["tokens"]), (&json!(100), &json!(100)), "what is stored");
    let all = setting.document("harvest --model @model --text @text.txt --hook blocks.1.* --out @all");
    assert_eq!(all["hooks"].as_object().unwrap().len(), 17, "scores and patterns are passed over");
    let plain = setting.document(&format!("{line} blocks.1.hook_mlp_out --skip-special-tokens --out @plain"));
    assert!(plain["rows"].as_u64() < told["rows"].as_u64());
    let trained = setting.document("train --activations @fewer --d-sae 32 --k 4 --steps 5 --batch 64 --out @run");
    assert_eq!(trained["steps"], 5);
}

/// What a model makes of sequences longer than those that it was trained on is computed, and told to be that.
#[test]
fn sequences_longer_than_the_model_was_made_for_are_warned_of() {
    let setting = Setting::new();
    let path = setting.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["max_position_embeddings"] = json!(4);
    fs::write(path, config.to_string()).unwrap();
    for (line, warns) in [
        ("run-model --model @model --token-ids 1,2,3,4 --out @four", false),
        ("run-model --model @model --token-ids 1,2,3,4,5 --out @five", true),
        ("lens --model @model --token-ids 1,2,3,4,5", true),
        ("harvest --model @model --text @text.txt --context 4 --hook hook_embed --out @short", false),
        ("harvest --model @model --text @text.txt --context 5 --hook hook_embed --out @long", true),
        ("intervene --model @model --text @text.txt --context 5 --hook hook_embed --do zero", true),
    ] {
        let words = setting.words(line);
        let out = superlens(&words.iter().map(String::as_str).chain(["--quiet"]).collect::<Vec<_>>());
        let told = String::from_utf8(out.stderr).unwrap();
        let said =
            told.contains("warning: ") && told.contains("5 tokens") && told.contains("4 (max_position_embeddings)");
        assert!(out.status.success() && said == warns, "{line}: {told}");
    }
}

/// A harvest that was killed, wherever it was, goes on to the bytes of one that was not.
#[cfg(unix)]
#[test]
fn a_killed_harvest_goes_on() {
    let setting = Setting::new();
    let text: String = (0..60_000).map(|i| format!("{}\n", i * 7919)).collect();
    fs::write(setting.path("long.txt"), text).unwrap();
    let line = |out: &str| {
        setting.words(&format!(
            "harvest --model @model --text @long.txt --context 16 --hook blocks.1.mlp.hook_post --shard-rows 3000 --quiet --out @{out}"
        ))
    };
    let run = |out: &str| Command::new(env!("CARGO_BIN_EXE_superlens")).args(line(out)).stdout(Stdio::null()).spawn();
    assert!(run("whole").unwrap().wait().unwrap().success());
    let mut kills = 0;
    for wait in [40, 80, 120, 160, 200] {
        let mut child = run("killed").unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        kills += 1;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 0, "done before it was killed");
    run("killed").unwrap().wait().unwrap();
    let (whole, killed) = (files(&setting.dir.path().join("whole")), files(&setting.dir.path().join("killed")));
    assert!(whole.len() > 20, "{}", whole.len());
    let (names, want): (Vec<_>, Vec<_>) = whole.into_iter().unzip();
    let (found, got): (Vec<_>, Vec<_>) = killed.into_iter().unzip();
    let more: Vec<&String> = found.iter().filter(|name| !names.contains(name)).collect();
    assert!(names == found, "{} files and {}, among them {more:?}", names.len(), found.len());
    let other: Vec<&String> =
        names.iter().zip(want.iter().zip(&got)).filter(|(_, (a, b))| a != b).map(|(n, _)| n).collect();
    assert!(other.is_empty(), "{other:?} differ");
}

/// Every file below a folder, by name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() {
            all.extend(files(&entry).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            all.push((name, fs::read(&entry).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn texts_are_sampled_alike_whatever_the_threads() {
    let setting = Setting::new();
    let told = setting.document("generate --model @model --tokens 300 --length 40 --out @a.jsonl --seed 3 --threads 1");
    assert_eq!(keys(&told), BTreeSet::from(["out", "seconds", "texts", "tokens", "tokens_per_s"]));
    assert_eq!(told["tokens"], 300);
    setting.document("generate --model @model --tokens 300 --length 40 --out @b.jsonl --seed 3 --threads 3");
    let texts = fs::read_to_string(setting.path("a.jsonl")).unwrap();
    assert_eq!(texts, fs::read_to_string(setting.path("b.jsonl")).unwrap());
    assert_eq!(texts.lines().count() as u64, told["texts"].as_u64().unwrap());
    assert!(texts.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["text"].is_string()));
    let printed = superlens(&["generate", "--model", &setting.path("model"), "--tokens", "5", "--prompt", "12"]);
    assert!(printed.status.success() && String::from_utf8_lossy(&printed.stdout).starts_with("12"), "{printed:?}");
}

#[test]
fn a_graph_of_onnx_is_harvested() {
    let setting = Setting::new();
    let fixture = |name: &str| format!("{}/../../fixtures/onnx/{name}", env!("CARGO_MANIFEST_DIR"));
    let (graph, samples) = (fixture("tiny_cnn.onnx"), fixture("tiny_cnn.safetensors"));
    let about = setting.document(&format!("model {graph}"));
    assert!(about["nodes"].as_array().unwrap().iter().any(|node| node["name"] == "/c2/relu"));
    assert!(setting.refused(&format!("model {graph} --tokenizer @model")).contains("--tokenizer"));
    let line = format!("harvest-onnx {graph} --inputs {samples} --key image --dtype f32");
    let told = setting.document(&format!("{line} --hook /c2/relu --out @store"));
    assert_eq!(
        (&told["rows"], &told["samples"], &told["hooks"]),
        (&json!(70 * 16), &json!(70), &json!({"c2.relu": 5}))
    );
    assert!(superlens(&["store", "verify", &setting.path("store")]).status.success());
    let whole = setting.document(&format!("{line} --hook /c2/relu classes --whole --out @whole"));
    assert_eq!((&whole["rows"], &whole["hooks"]), (&json!(70), &json!({"c2.relu": 80, "classes": 4})));
    for (rest, says) in [
        ("--hook /c3/relu", "/c3/relu"),
        ("--hook /c2/relu /c1/relu", "--whole"),
        ("--hook /c2/relu c2.relu", "called `c2.relu`"),
    ] {
        let told = setting.refused(&format!("{line} {rest} --out @out"));
        assert!(told.contains(says), "{rest}: {told}");
    }
    let told = setting.refused(&format!("harvest-onnx @text.txt --inputs {samples} --key image --hook x --out @out"));
    assert!(told.contains("can't be read as a graph"), "{told}");
}

#[test]
fn what_cannot_be_is_told_in_a_line() {
    let setting = Setting::new();
    fs::write(setting.path("invalid.txt"), b"12\n3\xff4\n").unwrap();
    fs::write(setting.path("words.txt"), "words\n").unwrap();
    fs::write(setting.path("empty.txt"), "").unwrap();
    fs::create_dir(setting.path("nothing")).unwrap();
    let harvest = "harvest --model @model --hook blocks.0.hook_mlp_out --out @out --text";
    let run = "run-model --model @model --out @out";
    let generate = "generate --model @model --tokens 5";
    for (line, says) in [
        (format!("{harvest} @missing.txt"), "no such file"),
        (format!("{harvest} @empty.txt"), "empty.txt"),
        (format!("{harvest} @invalid.txt"), "UTF-8"),
        (format!("{harvest} @words.txt"), "tokens 0 to 60"),
        (format!("{harvest} @text.txt --context 0"), "--context"),
        (format!("{harvest} @text.txt --context 1"), "1"),
        ("harvest --model @missing --text @text.txt --hook logits --out @out".into(), "missing"),
        ("harvest --model @nothing --text @text.txt --hook logits --out @out".into(), "config.json"),
        ("harvest --model @model --text @text.txt --hook blocks.0.hook_mlpout --out @out".into(), "hook_mlpout"),
        ("harvest --model @model --text @text.txt --hook blocks.2.hook_mlp_out --out @out".into(), "blocks.2"),
        ("harvest --model @model --text @text.txt --hook blocks.0.attn.hook_pattern --out @out".into(), "run-model"),
        (format!("{run} --token-ids 1,61"), "tokens 0 to 60"),
        (format!("{run} --token-ids 1,,2"), "numbers with commas"),
        (format!("{run} --token-ids=-1"), "--token-ids"),
        (format!("{run} --text @empty.txt --bare"), "one token at least"),
        (format!("{run} --text @invalid.txt"), "UTF-8"),
        (format!("{run} --token-ids 1 --hook blocks.*.nothing"), "blocks.*.nothing"),
        ("run-model --model @model --token-ids 1 --out @none/out".into(), "no such folder"),
        (format!("{generate} --out @none/out"), "no such folder"),
        (format!("{generate} --prompt words"), "tokens 0 to 60"),
        (format!("{generate} --prompt 1234567 --length 4"), "leaves none"),
        (format!("{generate} --temperature=-1"), "temperature"),
        (format!("{generate} --top-p 2"), "top"),
        (format!("{generate} --json"), "--out"),
    ] {
        let told = setting.refused(&line);
        assert!(told.contains(says), "{line}: {told}");
    }
}
