//! Models, tokenizers and texts that lie, are cut short or are far too large: one line, exit code 2, nothing written, bounded memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

mod tiny_model;
use tiny_model::Setting;

/// The setting with a change to the model's config.
fn config(setting: &Setting, change: &dyn Fn(&mut Value)) {
    let path = setting.path("model/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

/// The setting with a change to the header of the model's weights, as text of the same length or another.
fn header(setting: &Setting, change: &dyn Fn(&mut Value)) {
    let path = setting.path("model/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let text = header.to_string();
    let all = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes[8 + length..]].concat();
    fs::write(path, all).unwrap();
}

fn weights(setting: &Setting, change: &dyn Fn(&mut Vec<u8>)) {
    let path = setting.path("model/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

const EMBED: &str = "model.embed_tokens.weight";

#[test]
fn a_model_that_lies_is_told_in_a_line() {
    type Spoil = Box<dyn Fn(&Setting)>;
    let set = |key: &'static str, value: Value| -> Spoil {
        Box::new(move |setting| config(setting, &|config| config[key] = value.clone()))
    };
    let in_header = |change: fn(&mut Value)| -> Spoil { Box::new(move |setting| header(setting, &change)) };
    let in_weights = |change: fn(&mut Vec<u8>)| -> Spoil { Box::new(move |setting| weights(setting, &change)) };
    let cases: Vec<(&str, Spoil, &str)> = vec![
        ("absurd width", set("hidden_size", json!(4_000_000_000u64)), "hidden_size"),
        ("absurd number of layers", set("num_hidden_layers", json!(1_000_000_000)), "layers"),
        ("absurd vocabulary", set("vocab_size", json!(u64::MAX)), "vocab_size"),
        ("a width that is no number", set("hidden_size", json!("24")), "hidden_size"),
        ("no heads", set("num_attention_heads", json!(0)), "num_attention_heads"),
        ("groups that don't divide the heads", set("num_key_value_heads", json!(3)), "num_key_value_heads"),
        ("another width than the weights", set("intermediate_size", json!(38)), "38"),
        ("an unknown family", set("model_type", json!("mamba")), "mamba"),
        ("an unknown activation", set("hidden_act", json!("swish2")), "swish2"),
        ("a negative epsilon", set("rms_norm_eps", json!(-1.0)), "rms_norm_eps"),
        ("config that is no JSON", Box::new(|s| fs::write(s.path("model/config.json"), "{").unwrap()), "config.json"),
        ("no config", Box::new(|s| fs::remove_file(s.path("model/config.json")).unwrap()), "config.json"),
        ("no weights", Box::new(|s| fs::remove_file(s.path("model/model.safetensors")).unwrap()), "model.safetensors"),
        ("weights cut short", in_weights(|bytes| bytes.truncate(bytes.len() / 2)), "model.safetensors"),
        ("an empty file of weights", in_weights(Vec::clear), "model.safetensors"),
        ("a header that claims 8 EB", in_weights(|b| b[..8].copy_from_slice(&[0xff; 8])), "model.safetensors"),
        (
            "NaN among the weights",
            in_weights(|b| {
                let n = b.len();
                b[n - 4..].copy_from_slice(&f32::NAN.to_le_bytes())
            }),
            "NaN",
        ),
        ("offsets beyond the end", in_header(|h| h[EMBED]["data_offsets"][1] = json!(1u64 << 60)), "model.safetensors"),
        ("a shape beyond its bytes", in_header(|h| h[EMBED]["shape"][0] = json!(1u64 << 40)), "model.safetensors"),
        ("a tensor of integers", in_header(|h| h[EMBED]["dtype"] = json!("I32")), "model.embed_tokens.weight"),
        (
            "a tensor too few",
            in_header(|h| {
                let t = h.as_object_mut().unwrap().remove(EMBED).unwrap();
                h["model.odd"] = t
            }),
            EMBED,
        ),
        (
            "a tokenizer cut short",
            Box::new(|s| {
                let p = s.path("model/tok.bin");
                let b = fs::read(&p).unwrap();
                fs::write(&p, &b[..99]).unwrap()
            }),
            "tok.bin",
        ),
    ];
    for (what, spoil, says) in cases {
        let setting = Setting::new();
        spoil(&setting);
        let told = setting.refused("harvest --model @model --text @text.txt --hook blocks.0.hook_mlp_out --out @out");
        assert!(told.contains(says) && told.len() < 600, "{what}: {told}");
    }
}

/// A line of 100 MB is a document; it is told before it fills the memory.
#[cfg(target_os = "linux")]
#[test]
fn a_line_of_100_mb_takes_no_memory() {
    let setting = Setting::new();
    fs::write(setting.path("long.txt"), vec![b'7'; 100 << 20]).unwrap();
    // Address space; an allocator reserves more of it than it uses.
    let line = "harvest --model @model --text @long.txt --hook blocks.0.hook_mlp_out --threads 1 --out @out";
    let words = setting.words(line);
    let script = format!("ulimit -v 1500000; exec \"$0\" {}", words.join(" "));
    let out = Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_superlens")]).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("long.txt") && !setting.dir.path().join("out").exists(), "{told}");
}

/// Files may grow to 8 KB and no further, as on a disk that fills up: what is written is told not to be, and goes on once there is room.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_gone_on_from() {
    let setting = Setting::new();
    let lines = [
        "harvest --model @model --text @text.txt --hook blocks.0.hook_mlp_out --out @store --quiet",
        "run-model --model @model --token-ids 1,2,3 --hook * --out @all --quiet",
        "generate --model @model --tokens 9000 --length 40 --out @own.txt --quiet",
    ];
    for line in lines {
        let words = setting.words(line);
        let quoted = words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let script = format!("trap '' XFSZ; ulimit -f 8; exec \"$0\" {quoted}");
        let out = Command::new("bash").args(["-c", &script, env!("CARGO_BIN_EXE_superlens")]).output().unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!((out.status.code(), told.lines().count()), (Some(1), 1), "{line}: {told}");
        assert!(told.contains("can't be written") && told.contains("too large"), "{line}: {told}");
        // Of a store its whole shards stay.
        assert!(line.contains("@store") || !Path::new(words[words.len() - 2].as_str()).exists(), "{line}");
        let again = Command::new(env!("CARGO_BIN_EXE_superlens")).args(&words).output().unwrap();
        assert!(again.status.success(), "{line}: {}", String::from_utf8_lossy(&again.stderr));
    }
}
