//! `superlens intervene`, `generate` with changes, and `eval --model`, on a tiny model.

use std::fs;

use serde_json::{Value, json};

mod tiny_model;
use tiny_model::{Setting, superlens};

const HOOK: &str = "blocks.1.hook_resid_pre";

/// With a dictionary of the stream in `run`.
fn with_dictionary() -> Setting {
    let setting = Setting::new();
    setting.document(&format!(
        "harvest --model @model --text @text.txt --context 16 --dtype f32 --hook {HOOK} --out @store"
    ));
    setting.document(
        "train --activations @store --arch topk --d-sae 48 --k 6 --steps 300 --batch 256 --lr 0.003 --out @run",
    );
    setting
}

fn npy(shape: &str, numbers: &[f32]) -> Vec<u8> {
    let header = format!("{:<117}\n", format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"));
    let numbers: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    [b"\x93NUMPY\x01\x00\x76\x00".as_slice(), header.as_bytes(), &numbers].concat()
}

/// A dictionary and the model add their evidence to a diagnosis, and leave its verdict as it is; where they don't go with the rows they are refused.
#[test]
fn a_diagnosis_hears_a_dictionary_and_the_model() {
    let setting = with_dictionary();
    let alone = setting.document("diagnose @store");
    let asked = setting.document("diagnose @store --sae @run --model @model --text @text.txt --out @out");
    assert_eq!(alone["layer"], asked["layer"]);
    assert_eq!(alone["layer"]["basis"], "none", "a stream, by the name of its hook");
    let put = &asked["dictionary"];
    assert_eq!((number(&put["latents"]), alone.get("dictionary")), (48.0, None));
    assert!(number(&put["active"]) >= number(&put["held"]) && number(&put["unexplained"]) < 1.0, "{put}");
    let of = |id: &str| asked["hypotheses"].as_array().unwrap().iter().find(|h| h["id"] == id).cloned();
    assert!(of("dictionary").is_some());
    let size = of("direction_not_size").unwrap();
    assert!(number(&size["statistic"]) > 0.0 && number(&size["p_value"]) >= 0.05 && size["null_draws"] == 19, "{size}");
    // A model without a text writes its own, and says the same again.
    let own = "diagnose @store --model @model";
    assert_eq!(setting.document(own)["hypotheses"], setting.document(own)["hypotheses"]);
    fs::write(setting.dir.path().join("x.npy"), npy("(4, 2)", &[0.0, 1.0, 1.0, 0.0, 2.0, 1.0, 0.0, 3.0])).unwrap();
    for (line, says) in [
        ("diagnose @x.npy --model @model", "say it with --hook"),
        ("diagnose @x.npy --model @model --hook blocks.1.hook_resid_pre", "the activations have 2"),
        ("diagnose @x.npy --model @model --hook blocks.9.hook_resid_pre", "--hook blocks.9.hook_resid_pre"),
        ("diagnose @x.npy --sae @run", "these have 2 columns"),
        ("diagnose @x.npy --text @text.txt", "--model"),
    ] {
        let told = setting.refused_with(line);
        assert!(told.contains(says), "{line}: {told}");
    }
}

fn changed(setting: &Setting, line: &str) -> Vec<Value> {
    let told = setting.document(&format!("intervene --model @model --text @text.txt --context 16 {line}"));
    assert!(told["loss"].as_f64().unwrap() > 1.0 && told["tokens"].as_u64().unwrap() > 3000);
    told["changes"].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn what_a_change_does_is_told_for_each_hook() {
    let setting = Setting::new();
    let each = changed(&setting, "--hook blocks.*.attn.hook_z --do zero --each");
    assert_eq!(each.len(), 2);
    assert_eq!(each[0]["hooks"], json!(["blocks.0.attn.hook_z"]));
    let both = changed(&setting, "--hook blocks.*.attn.hook_z --do zero");
    assert_eq!((both.len(), &both[0]["hooks"]), (1, &json!(["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"])));
    assert!(number(&each[0]["kl"]) > 0.0 && number(&both[0]["kl"]) > number(&each[1]["kl"]));
    let kl = |line: &str| number(&changed(&setting, line)[0]["kl"]);
    assert_eq!(kl("--hook blocks.0.mlp.hook_post --do scale --by 1"), 0.0);
    // A head is its columns.
    assert_eq!(
        kl("--hook blocks.0.attn.hook_z --do mean --heads 1"),
        kl("--hook blocks.0.attn.hook_z --do mean --columns 6,7,8,9,10,11")
    );
    // Resampling draws by the seed alone.
    let drawn = |more: &str| kl(&format!("--hook {HOOK} --do resample {more}"));
    assert!(drawn("--threads 1") == drawn("--threads 3") && drawn("--seed 1") != drawn("--seed 2"));
    // Of a text from itself nothing changes; from another something does, and only where it is asked for.
    fs::write(setting.path("text.txt"), fs::read_to_string(setting.path("text.txt")).unwrap().repeat(8)).unwrap();
    fs::write(setting.path("one.txt"), "0123456789").unwrap();
    fs::write(setting.path("other.txt"), "9876543210").unwrap();
    let patch = |from: &str, more: &str| {
        let line =
            format!("intervene --model @model --text @one.txt --hook {HOOK} --do patch --from @{from} --show 3 {more}");
        setting.document(&line)["changes"][0].clone()
    };
    assert_eq!(number(&patch("one.txt", "")["kl"]), 0.0);
    let (all, last) = (patch("other.txt", ""), patch("other.txt", "--positions 11"));
    assert!(
        number(&all["kl"]) > 0.0 && number(&last["kl"]) == 0.0,
        "the prediction after the last token is not counted"
    );
    let next = last["next"].as_array().unwrap();
    assert!(next.len() >= 3 && next.iter().any(|n| n["before"] != n["after"]), "but shown");
}

#[test]
fn latents_are_taken_hold_of() {
    let setting = with_dictionary();
    let kl = |line: &str| number(&changed(&setting, &format!("--hook {HOOK} --sae @run {line}"))[0]["kl"]);
    assert!(kl("--do splice --keep-error") < 1e-9);
    let spliced = kl("--do splice");
    assert!(spliced > 1e-4);
    assert_eq!(kl("--do scale --by 1 --latents 3,5"), 0.0);
    let all = (0..48).map(|j| j.to_string()).collect::<Vec<_>>().join(",");
    assert!(kl(&format!("--do zero --latents {all}")) > kl("--do zero --latents 3"));
    assert!(kl("--do steer --by 20 --latents 3") > kl("--do steer --by 2 --latents 3"));
    // Steering by a row of the decoder is steering by the latent.
    let decoder = setting.path("run/sae/sae_weights.safetensors");
    let by_row =
        changed(&setting, &format!("--hook {HOOK} --direction {decoder} --key W_dec --row 3 --do steer --by 2"));
    assert!((number(&by_row[0]["kl"]) - kl("--do steer --by 2 --latents 3")).abs() < 1e-6);
}

#[test]
fn what_a_dictionary_keeps_is_told() {
    let setting = with_dictionary();
    let plain = setting.document(&format!(
        "eval --sae @run --model @model --text @text.txt --context 16 --hook {HOOK} --saebench @bench.json"
    ));
    let n = |name: &str| number(&plain[name]);
    assert!(n("ce_loss_score") > 0.5 && n("ce_loss_score") <= 1.0 && n("kl_div_score") > 0.5, "{plain}");
    let score =
        (n("ce_loss_with_ablation") - n("ce_loss_with_sae")) / (n("ce_loss_with_ablation") - n("ce_loss_without_sae"));
    assert!((score - n("ce_loss_score")).abs() < 1e-12);
    let of_mean = (n("kl_div_with_mean_ablation") - n("kl_div_with_sae")) / n("kl_div_with_mean_ablation");
    assert!((of_mean - n("kl_div_score_mean")).abs() < 1e-12);
    // The activations that it is measured on are those of the texts.
    let stored = setting.document("eval --sae @run --activations @store");
    assert!((n("fvu") - number(&stored["fvu"])).abs() < 1e-6);
    let bench: Value = serde_json::from_slice(&fs::read(setting.path("bench.json")).unwrap()).unwrap();
    assert_eq!(bench["eval_result_metrics"]["model_performance_preservation"]["ce_loss_score"], plain["ce_loss_score"]);
    assert_eq!(bench["eval_config"]["compute_kl"], true);
    // The dictionary knows which activations it is of.
    let by_itself = setting.document("eval --sae @run --model @model --text @text.txt --context 16");
    assert_eq!(by_itself["ce_loss_score"], plain["ce_loss_score"]);
    // The effect of the splice is the same as that of the intervention.
    let splice = changed(&setting, &format!("--hook {HOOK} --sae @run --do splice"));
    assert!((number(&splice[0]["loss"]) - n("ce_loss_with_sae")).abs() < 1e-9);
}

/// A transcoder is put where it writes, and made of what it reads in the same run.
#[test]
fn what_a_transcoder_keeps_is_told() {
    let setting = Setting::new();
    let (reads, writes) = ("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out");
    let text = "--model @model --text @text.txt --context 16";
    setting.document(&format!("harvest {text} --dtype f32 --hook {reads} {writes} --out @store"));
    setting.document(&format!(
        "train --activations @store --hook {reads} --targets-hook {writes} --arch transcoder --d-sae 48 --k 6 --steps 300 --batch 256 --lr 0.003 --out @run"
    ));
    let told = setting.document(&format!("eval --sae @run {text}"));
    let n = |name: &str| number(&told[name]);
    assert!(n("ce_loss_score") > 0.3 && n("kl_div_score") > 0.3 && n("kl_div_score") < 1.0, "{told}");
    let stored =
        setting.document(&format!("eval --sae @run --activations @store --hook {reads} --targets-hook {writes}"));
    assert!((n("fvu") - number(&stored["fvu"])).abs() < 1e-6);
    let splice = |more: &str| changed(&setting, &format!("--sae @run --do splice {more}"))[0].clone();
    let spliced = splice(&format!("--hook {writes}"));
    assert!((number(&spliced["loss"]) - n("ce_loss_with_sae")).abs() < 1e-9);
    assert!(number(&splice(&format!("--hook {writes} --keep-error"))["kl"]) < 1e-9);
    let other = splice(&format!("--hook {writes} --reads blocks.0.mlp.hook_in"));
    assert!(number(&other["kl"]) != number(&spliced["kl"]));
    setting.document(&format!(
        "generate --model @model --tokens 20 --hook {writes} --sae @run --do splice --out @own.txt"
    ));
    for (line, says) in [
        (format!("intervene {text} --hook blocks.*.hook_mlp_out --sae @run --do splice"), "blocks.*.hook_mlp_out"),
        (format!("intervene {text} --hook {writes} blocks.0.hook_mlp_out --sae @run --do splice"), "found 2"),
        (format!("intervene {text} --hook blocks.0.hook_mlp_out --sae @run --do splice"), "a hook after"),
        (format!("intervene {text} --hook {writes} --sae @run --latents 3 --do zero"), "transcoder"),
        (format!("intervene {text} --hook {writes} --sae @run --latents 3 --do zero --reads {reads}"), "--reads"),
        (format!("attribute --model @model --token-ids 1,2 --hook {reads} --sae @run"), "transcoder"),
        (format!("eval --sae @run {text} --targets-hook blocks.1.mlp.hook_post"), "width 24"),
        (format!("eval --sae @run {text} --hook blocks.1.hook_resid_post"), "a hook after"),
    ] {
        let told = setting.refused(&line);
        assert!(told.contains(says), "{line}: {told}");
    }
}

#[test]
fn sampling_can_be_steered() {
    let setting = Setting::new();
    let line = |more: &str| format!("generate --model @model --tokens 200 --length 40 --seed 3 {more} --out");
    setting.document(&format!("{} @plain.txt", line("")));
    setting.document(&format!("{} @same.txt", line("--hook blocks.0.mlp.hook_post --do scale --by 1")));
    setting.document(&format!(
        "{} @one.txt",
        line("--hook blocks.0.hook_resid_post --columns 3 --do steer --by 30 --threads 1")
    ));
    setting.document(&format!(
        "{} @two.txt",
        line("--hook blocks.0.hook_resid_post --columns 3 --do steer --by 30 --threads 3")
    ));
    let text = |name: &str| fs::read(setting.path(name)).unwrap();
    assert!(
        text("plain.txt") == text("same.txt")
            && text("one.txt") == text("two.txt")
            && text("one.txt") != text("plain.txt")
    );
}

#[test]
fn a_prediction_is_taken_apart() {
    let setting = Setting::new();
    let told = setting.document("lens --model @model --token-ids 1,35,51,52,60 --position 3 --top 4");
    let lens = told["lens"].as_array().unwrap();
    assert_eq!((lens.len(), &told["tokens"], &told["position"]), (3, &json!(5), &json!(3)));
    let next = lens[2]["next"].as_array().unwrap();
    assert!(next.len() == 4 && number(&next[0]["probability"]) >= number(&next[1]["probability"]));
    assert_eq!(told["token"]["id"], next[0]["id"], "the likeliest, unless another is named");
    let parts: f64 = told["parts"].as_array().unwrap().iter().map(|part| number(&part["logit"])).sum();
    assert!((parts + number(&told["bias"]) - number(&told["logit"])).abs() < 1e-9);
    assert_eq!(told["parts"].as_array().unwrap().len(), 1 + 2 * (4 + 1), "an embedding, four heads and an MLP a block");
    // The logit is that of the model.
    setting.document("run-model --model @model --token-ids 1,35,51,52,60 --out @out");
    let bytes = fs::read(setting.path("out")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let at = 4 * (3 * 61 + told["token"]["id"].as_u64().unwrap() as usize);
    let logit = f32::from_le_bytes(file.tensor("logits").unwrap().data()[at..at + 4].try_into().unwrap());
    assert!((f64::from(logit) - number(&told["logit"])).abs() < 1e-4);
}

#[test]
fn where_heads_look_is_a_page() {
    let setting = Setting::new();
    let line = "attention --model @model --token-ids 1,35,51,52,60 --out";
    let told = setting.document(&format!("{line} @all.html"));
    let heads = told["heads"].as_array().unwrap();
    assert_eq!((heads.len(), &told["tokens"]), (2 * 4, &json!(5)));
    assert!(heads.iter().all(|head| (0.0..=1.0).contains(&number(&head["previous"]))));
    let page = fs::read_to_string(setting.path("all.html")).unwrap();
    assert!(page.contains("Layer 1") && page.contains("head 3") && !page.contains("src="));
    let one = setting.document(&format!("{line} @one.html --layers 1"));
    assert_eq!(one["heads"].as_array().unwrap()[..], heads[4..]);
    let long = vec!["1"; 201].join(",");
    for (line, says) in [
        (format!("{line} @out --layers 2"), "0 to 1"),
        (format!("{line} @all.html"), "there already"),
        (format!("attention --model @model --token-ids {long} --out @out"), "run-model"),
    ] {
        let words = setting.words(&line);
        let out = superlens(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let told = String::from_utf8(out.stderr).unwrap();
        assert!(out.status.code() == Some(2) && told.contains(says), "{line}: {told}");
    }
}

#[test]
fn what_a_prediction_counts_on_is_told() {
    let setting = with_dictionary();
    let attribute =
        |more: &str| setting.document(&format!("attribute --model @model --token-ids 1,35,51,52,60 {more}"));
    let told = attribute("--hook blocks.*.mlp.hook_post --top 3");
    let hooks = told["hooks"].as_array().unwrap();
    assert_eq!((hooks.len(), hooks[0]["top"].as_array().unwrap().len(), &told["position"]), (2, 3, &json!(4)));
    let size = |i: usize| number(&hooks[1]["top"][i]["attribution"]).abs();
    assert!(size(0) >= size(1) && size(1) >= size(2) && size(0) > 0.0);
    // Along the way from zero other things come out, of the same logit.
    let whole = attribute("--hook blocks.1.mlp.hook_post --method integrated --steps 50 --top 3");
    assert_eq!(whole["logit"], told["logit"]);
    assert!(number(&whole["hooks"][0]["sum"]) != number(&hooks[1]["sum"]));
    let latents = attribute(&format!("--hook {HOOK} --sae @run --top 1000"));
    let top = latents["hooks"][0]["top"].as_array().unwrap();
    assert!(
        !top.is_empty()
            && top.iter().all(|share| share["index"].as_u64().unwrap() < 48 && number(&share["activation"]) != 0.0)
    );
    let sum: f64 = top.iter().map(|share| number(&share["attribution"])).sum();
    assert!((sum - number(&latents["hooks"][0]["sum"])).abs() < 1e-9);
    for (line, says) in [
        ("attribute --model @model --token-ids 1,2 --hook blocks.0.attn.hook_pattern", "no gradient"),
        ("attribute --model @model --token-ids 1,2 --hook blocks.0.mlp.hook_post --sae @run", "width"),
        ("attribute --model @model --token-ids 1,2 --position 9 --hook blocks.0.mlp.hook_post", "0 to 1"),
    ] {
        let told = setting.refused(line);
        assert!(told.contains(says), "{line}: {told}");
    }
    let both = format!("attribute --model @model --token-ids 1,2 --hook {HOOK} --sae @run --method integrated");
    assert!(setting.refused(&both).contains("--method integrated"));
}

/// Ids need no tokenizer; what can't be told without one is told to need it.
#[test]
fn tokens_are_told_by_their_ids_where_there_is_no_tokenizer() {
    let setting = Setting::new();
    let line = "--model @model --token-ids 1,35,51,52,60";
    let with = setting.document(&format!("lens {line}"));
    fs::remove_file(setting.path("model/tok.bin")).unwrap();
    let without = setting.document(&format!("lens {line}"));
    assert_eq!((&with["logit"], &with["capped"]), (&without["logit"], &json!(null)));
    assert!(with["token"]["token"].is_string() && without["token"]["token"].is_null());
    let other = setting.document(&format!("lens {line} --token-id 7"));
    assert_eq!(other["token"], json!({"token": null, "id": 7}));
    let words = setting.words(&format!("attribute {line} --hook hook_embed --top 3"));
    let out = superlens(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let (shown, told) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success() && shown.contains("#60") && told.starts_with("warning: "), "{shown}{told}");
    setting.document("promotes --model @model --hook blocks.1.mlp.hook_post --columns 3");
    for line in [format!("lens {line} --token 0"), "lens --model @model --text @text.txt".into()] {
        assert!(setting.refused(&line).contains("merges.txt"), "{line}");
    }
}

/// The parts are of the logit before the cap, and what the cap makes of it is what the model computes.
#[test]
fn a_cap_on_the_logits_is_told() {
    let setting = Setting::new();
    let model = format!("{}/../../fixtures/families/gemma2-published", env!("CARGO_MANIFEST_DIR"));
    let line = format!("--model {model} --token-ids 3,41,7,7");
    let told = setting.document(&format!("lens {line} --token-id 5"));
    let attributed = setting.document(&format!("attribute {line} --token-id 5 --hook hook_embed"));
    assert!((number(&told["capped"]) - number(&attributed["logit"])).abs() < 1e-4);
    let words = setting.words(&format!("lens {line} --token-id 5"));
    let out = superlens(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(String::from_utf8(out.stdout).unwrap().contains("caps it softly"));
}

/// Names of several hooks mean those that can be used.
#[test]
fn a_star_passes_over_hooks_that_cannot_be_used() {
    let setting = with_dictionary();
    let hooks = |value: &Value| value["hooks"].as_array().unwrap().len();
    let all = hooks(&setting.document("model @model"));
    let attributed = setting.document("attribute --model @model --token-ids 1,35 --hook * --top 1");
    assert_eq!(hooks(&attributed), all - 2 * 3 - 1, "all but scores, patterns, heads' results and the logits");
    let of_width = setting.document("attribute --model @model --token-ids 1,35 --hook blocks.1.* --sae @run --top 1");
    assert!(of_width["hooks"].as_array().unwrap().iter().any(|h| h["hook"] == HOOK) && hooks(&of_width) < 12);
    assert_eq!(changed(&setting, "--hook blocks.0.* --do zero --heads 0 --each").len(), 6);
    let line = "intervene --model @model --text @text.txt --hook blocks.*.attn.hook_pattern --do zero";
    assert!(setting.refused(line).contains("row for each token"));
}

/// A vector is one direction.
#[test]
fn a_direction_needs_no_second_axis() {
    let setting = Setting::new();
    let direction: Vec<f32> = (0..24).map(|i| (i as f32).sin()).collect();
    fs::write(setting.path("row.npy"), npy("(1, 24)", &direction)).unwrap();
    fs::write(setting.path("vector.npy"), npy("(24,)", &direction)).unwrap();
    let kl = |file: &str| number(&changed(&setting, &format!("--hook {HOOK} --do zero --direction @{file}"))[0]["kl"]);
    assert_eq!(kl("row.npy"), kl("vector.npy"));
    let promoted = |file: &str| setting.document(&format!("promotes --model @model --hook {HOOK} --direction @{file}"));
    assert_eq!(promoted("row.npy"), promoted("vector.npy"));
}

#[test]
fn what_is_promoted_is_told_of_neurons_latents_and_directions() {
    let setting = with_dictionary();
    let neurons = setting.document("promotes --model @model --hook blocks.1.mlp.hook_post --columns 3,5 --top 2");
    assert_eq!((neurons.as_array().unwrap().len(), &neurons[1]["what"]), (2, &json!("column 5")));
    let first = |value: &Value, way: &str| number(&value[way][0]["logit"]);
    assert!(first(&neurons[0], "promoted") > 0.0 && first(&neurons[0], "suppressed") < 0.0);
    let latent = setting.document(&format!("promotes --model @model --hook {HOOK} --sae @run --latents 7"));
    let row = setting.document(&format!(
        "promotes --model @model --hook {HOOK} --direction @run/sae/sae_weights.safetensors --key W_dec"
    ));
    assert_eq!(latent[0]["promoted"], row[7]["promoted"]);
}

#[test]
fn what_cannot_be_changed_is_told_in_a_line() {
    let setting = with_dictionary();
    fs::write(setting.path("zero.npy"), npy("(1, 24)", &[0.0; 24])).unwrap();
    fs::write(setting.path("short.txt"), "01").unwrap();
    fs::write(setting.path("empty.txt"), "\n").unwrap();
    let intervene = format!("intervene --model @model --text @text.txt --hook {HOOK}");
    for (line, says) in [
        (format!("{intervene} --do scale"), "--by"),
        (format!("{intervene} --do zero --by 3"), "--by"),
        (format!("{intervene} --do scale --by NaN"), "finite"),
        (format!("{intervene} --do patch"), "--from"),
        (format!("{intervene} --do zero --from @text.txt"), "--from"),
        (format!("{intervene} --do patch --from @missing.txt"), "missing.txt"),
        (format!("{intervene} --do zero --columns 24"), "0 to 23"),
        (format!("{intervene} --do zero --heads 0"), "not split into heads"),
        (format!("{intervene} --do splice"), "--sae"),
        (format!("{intervene} --do zero --positions 3,999"), "found 999"),
        (format!("{intervene} --do patch --from @short.txt --positions 9"), "0 to 3"),
        (format!("{intervene} --do patch --from @empty.txt"), "no token"),
        (format!("{intervene} --do scale --by 1e38"), "no numbers"),
        (format!("{intervene} --do zero --sae @run"), "--latents"),
        (format!("{intervene} --do zero --sae @run --latents 48"), "0 to 47"),
        (format!("{intervene} --do zero --sae @run --latents 1 --columns 2"), "--latents"),
        (format!("{intervene} --do zero --sae @run --latents 1 --keep-error"), "--keep-error"),
        (format!("{intervene} --do zero --direction @zero.npy"), "no direction"),
        (format!("{intervene} --do zero --direction @run/sae/sae_weights.safetensors --key W_dec"), "--row"),
        (format!("{intervene} --do zero --direction @run/sae/sae_weights.safetensors --key W_enc --row 1"), "columns"),
        (
            "intervene --model @model --text @text.txt --hook blocks.1.mlp.hook_post --do splice --sae @run".into(),
            "width",
        ),
        (
            "intervene --model @model --text @text.txt --hook blocks.1.attn.hook_pattern --do zero".into(),
            "row for each token",
        ),
        ("lens --model @model --token-ids 1,2 --position 2".into(), "0 to 1"),
        ("lens --model @model --token-ids 1,2 --token 012".into(), "one token"),
        ("lens --model @model --token-ids 1,2 --token-id 61".into(), "0 to 60, found 61"),
        ("lens --model @model --token-ids 1,2 --top 0".into(), "from 1 on"),
        ("attribute --model @model --token-ids 1,2 --hook hook_embed --steps 5".into(), "--method integrated"),
        (format!("promotes --model @model --hook {HOOK} --columns 3 --sae @run"), "--sae"),
        (format!("promotes --model @model --hook {HOOK} --direction @zero.npy"), "no direction"),
        ("lens --model @model".into(), "--text"),
        ("promotes --model @model --hook blocks.1.mlp.hook_post --columns 37".into(), "0 to 36"),
        ("promotes --model @model --hook blocks.1.mlp.hook_pre --columns 3".into(), "hook_post"),
        ("promotes --model @model --hook blocks.1.mlp.hook_post".into(), "--columns"),
        ("generate --model @model --tokens 5 --do zero".into(), "--hook"),
        (format!("generate --model @model --tokens 5 --hook {HOOK} --do mean"), "intervene"),
        (format!("eval --sae @run --model @model --hook {HOOK}"), "--text"),
        ("eval --sae @run --activations @store --text @text.txt".into(), "--model"),
        (format!("eval --sae @run --model @model --text @text.txt --hook {HOOK} --max-tokens 1"), "--max-tokens"),
    ] {
        let told = setting.refused(&line);
        assert!(told.contains(says), "{line}: {told}");
    }
    let help = superlens(&["intervene", "--help"]);
    assert!(String::from_utf8(help.stdout).unwrap().contains("resample"));
}
