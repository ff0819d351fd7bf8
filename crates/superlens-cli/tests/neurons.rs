//! `superlens neurons`, `export`, `basis` and `feeds` on a tiny model and on made matrices.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

mod tiny_model;
use tiny_model::Setting;

const HOOK: &str = "blocks.1.mlp.hook_post";

fn with_store() -> Setting {
    let setting = Setting::new();
    setting.document(&format!(
        "harvest --model @model --text @text.txt --context 16 --dtype f32 --hook {HOOK} --out @store"
    ));
    setting
}

fn npy(shape: &str, numbers: &[f32]) -> Vec<u8> {
    let header = format!("{:<117}\n", format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"));
    let numbers: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00\x76\x00".as_slice(), header.as_bytes(), &numbers].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn units_of_a_store_have_texts() {
    let setting = with_store();
    let all = setting.document("neurons @store --out @run");
    let units = all["units"].as_array().unwrap();
    assert!(units.len() > 8);
    for (i, unit) in units.iter().enumerate() {
        for key in ["mean", "variance", "density", "facets"] {
            number(&unit[key]);
        }
        assert_eq!(unit["index"], i);
        let top = unit["top"].as_array().unwrap();
        assert!(top.windows(2).all(|t| number(&t[0]["value"]) >= number(&t[1]["value"])));
        for example in top {
            let (context, token) = (example["context"].as_str().unwrap(), example["token"].as_str().unwrap());
            assert!(context.contains(token.trim()), "{token:?} in {context:?}");
        }
        let rows: u64 = unit["histogram"].as_array().unwrap().iter().map(|bin| bin[2].as_u64().unwrap()).sum();
        assert_eq!(
            rows,
            units[0]["histogram"].as_array().unwrap().iter().map(|bin| bin[2].as_u64().unwrap()).sum::<u64>()
        );
    }
    let page = fs::read_to_string(setting.dir.path().join("run/report.html")).unwrap();
    assert!(page.contains("Best explained") && page.contains("Most polysemantic") && !page.contains("http://"));
    // The same bytes on one thread; a unit that is asked for is as it is among all.
    setting.document("neurons @store --out @one --threads 1");
    let read = |run: &str| fs::read(setting.dir.path().join(run).join("report.json")).unwrap();
    assert_eq!(read("run"), read("one"));
    let some = setting.document("neurons @store --units 3");
    assert_eq!((some["units"].as_array().unwrap().len(), &some["units"][0]["top"]), (1, &units[3]["top"]));
    let quick = setting.document("neurons @store --quick --units 3");
    assert_eq!((&quick["units"][0]["facets"], &quick["units"][0]["kurtosis"]), (&Value::Null, &units[3]["kurtosis"]));
}

#[test]
fn latents_and_directions_are_units_like_neurons() {
    let setting = with_store();
    setting.document("train --activations @store --arch topk --d-sae 24 --k 4 --steps 100 --batch 128 --out @sae");
    let latents = setting.document("neurons @store --sae @sae");
    assert_eq!(latents["units"].as_array().unwrap().len(), 24);
    let width = setting.document("neurons @store --quick")["units"].as_array().unwrap().len();
    let mut one = vec![0.0; width];
    one[2] = 1.0;
    fs::write(setting.dir.path().join("direction.npy"), npy(&format!("(1, {width})"), &one)).unwrap();
    let along = setting.document("neurons @store --directions @direction.npy --quick");
    let own = setting.document("neurons @store --units 2 --quick");
    assert_eq!(along["units"][0]["top"], own["units"][0]["top"]);
    let random = setting.document("neurons @store --random 3 --quick");
    assert_eq!(random["units"].as_array().unwrap().len(), 3);
}

#[test]
fn rows_of_images_are_shown_as_images() {
    let setting = Setting::new();
    let at = |name: &str| setting.dir.path().join(name);
    let pixels: Vec<f32> = (0..40 * 9).map(|i| (i % 7) as f32).collect();
    fs::write(at("images.npy"), npy("(40, 3, 3)", &pixels)).unwrap();
    let rows: Vec<f32> = (0..40 * 4).map(|i| ((i * 37) % 41) as f32 - 20.0).collect();
    fs::write(at("x.npy"), npy("(40, 4)", &rows)).unwrap();
    let found = setting.document("neurons @x.npy --images @images.npy --out @run");
    let context = found["units"][0]["top"][0]["context"].as_str().unwrap();
    assert!(context.starts_with("image "), "{context}");
    let page = fs::read_to_string(at("run/report.html")).unwrap();
    assert!(page.contains("data:image/bmp;base64,Qk"));
}

#[test]
fn every_form_is_written() {
    let setting = with_store();
    let at = |name: &str| setting.dir.path().join(name);
    let dashboards =
        setting.document("export @store --to saedashboard --units 0,1,2 --batch 2 --model-id tiny --out @boards");
    assert_eq!((&dashboards["units"], &dashboards["files"]), (&json!(3), &json!(2)));
    let batch: Value = serde_json::from_slice(&fs::read(at("boards/batch-0.json")).unwrap()).unwrap();
    let example = &batch["features"][0]["activations"][0];
    let (values, chosen) = (example["values"].as_array().unwrap(), example["qualifying_token_index"].as_u64().unwrap());
    assert_eq!(number(&values[chosen as usize]), number(&example["bin_max"]), "the first is the largest");
    // One form into another.
    setting.document("export @boards/batch-0.json --to openai --out @records");
    let record: Value = serde_json::from_slice(&fs::read(at("records/0.json")).unwrap()).unwrap();
    assert_eq!(record["most_positive_activation_records"][0]["tokens"], example["tokens"]);
    let args = "export @store --to neuronpedia --units 0,1 --model-id tiny --created 2020-01-01T00:00:00Z";
    setting.document(&format!("{args} --out @pedia"));
    setting.document(&format!("{args} --out @again"));
    let file = "tiny/1-own/activations/batch-0.jsonl.gz";
    assert_eq!(fs::read(at("pedia").join(file)).unwrap(), fs::read(at("again").join(file)).unwrap());
    setting.document("export @store --to delphi --splits 3 --out @cache");
    let folder = at("cache").join(HOOK);
    let mut entries = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        let end = header["activations"]["data_offsets"][1].as_u64().unwrap() as usize;
        assert_eq!(8 + length + end, bytes.len());
        entries += header["activations"]["shape"][0].as_u64().unwrap();
    }
    let units = setting.document("neurons @store --quick");
    let nonzero =
        |unit: &Value| unit["histogram"].as_array().unwrap().iter().map(|b| b[2].as_u64().unwrap()).sum::<u64>();
    let all: u64 = units["units"].as_array().unwrap().iter().map(nonzero).sum();
    assert!(entries > all / 2 && entries <= all, "{entries} of {all}");
}

#[test]
fn neurons_stand_out_where_features_lie_along_them() {
    let setting = Setting::new();
    for (family, wanted) in [("aligned-twins", 0.6), ("rotation-stream", 0.0)] {
        setting.document(&format!("zoo make {family} --out @{family}"));
        let found = setting.document(&format!("basis @{family}/{family}-0.npy"));
        let score = &found["scores"][0];
        assert_eq!(score["id"], "kurtosis");
        let effect = number(&score["effect"]);
        assert!(if wanted > 0.0 { effect > wanted } else { effect.abs() < 0.35 }, "{family}: {effect}");
    }
}

#[test]
fn what_feeds_a_neuron_is_told_by_weights_and_by_every_way() {
    let setting = Setting::new();
    let found = setting.document("feeds --model @model --to 1 --units 2,3 --top 4 --text @text.txt --tokens 200");
    assert_eq!((&found["from"], found["pairs"].as_array().unwrap().len()), (&json!(0), 4));
    let pairs = found["pairs"].as_array().unwrap();
    assert!(pairs.windows(2).all(|p| number(&p[0]["straight"]).abs() >= number(&p[1]["straight"]).abs()));
    assert_eq!(found["units"].as_array().unwrap().len(), 2);
    assert!(found["sources"].as_array().unwrap().iter().all(|s| number(&s["targets"]) >= 1.0));
    for (line, says) in [
        ("feeds --model @model --to 0", "--to 0"),
        ("feeds --model @model --to 1 --from 1", "--from 1"),
        ("feeds --model @model --to 1 --units 100000", "--units 100000"),
    ] {
        let told = setting.refused_with(line);
        assert!(told.contains(says), "{line}: {told}");
    }
}

#[test]
fn what_does_not_go_together_is_told_in_a_line() {
    let setting = with_store();
    let at = |name: &str| setting.dir.path().join(name);
    fs::write(at("x.npy"), npy("(4, 2)", &[0.0, 1.0, 1.0, 0.0, 2.0, 1.0, 0.0, 3.0])).unwrap();
    fs::write(at("images.npy"), npy("(3, 2, 2)", &[0.0; 12])).unwrap();
    fs::write(at("bad.json"), "{\"model_id\": 1}").unwrap();
    fs::write(at("labels.npy"), npy("(4, 1)", &[0.0, 0.5, 1.0, 0.0])).unwrap();
    for (line, says) in [
        ("neurons @store --units 5000", "--units 5000"),
        ("neurons @x.npy --images @images.npy", "--images"),
        ("neurons @store --directions @x.npy", "width 2"),
        ("neurons @absent", "absent"),
        ("export @x.npy --to openai --out @out", "store"),
        ("export @bad.json --to openai --out @out", "bad.json"),
        ("export @store --to neuronpedia --model-id ../up --out @out", "--model-id"),
        ("basis @x.npy --labels @labels.npy", "zeros and ones"),
    ] {
        let told = setting.refused_with(line);
        assert!(told.contains(says), "{line}: {told}");
        assert!(!at("out").exists(), "{line} left something behind");
    }
}

/// Alike but for whole numbers that are written with a point.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, v)| b.get(key).is_some_and(|w| same(v, w)))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

/// Real examples, where the machine has them.
#[test]
fn published_batches_are_read_and_turned() {
    let Some(data) = std::env::var_os("SUPERLENS_TEST_DATA").map(PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "skipped: SUPERLENS_TEST_DATA names no folder");
        return;
    };
    let setting = Setting::new();
    for batch in ["batch-0.json", "batch-1.json"] {
        let path = data.join("sae_dashboard_export").join(batch);
        let before: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let line = format!("export {} --to saedashboard --out @{batch}", path.display());
        setting.document(&line);
        let after: Value =
            serde_json::from_slice(&fs::read(setting.dir.path().join(batch).join("batch-0.json")).unwrap()).unwrap();
        assert!(same(&after["features"], &before["features"]), "{batch}");
        assert_eq!((&after["layer"], &after["sae_set"]), (&before["layer"], &before["sae_set"]));
    }
}
