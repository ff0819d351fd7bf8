//! Harvests of tiny models over digits, whose tokens a vocabulary of 61 holds.

use std::path::{Path, PathBuf};

use superlens_tensor::Mat;

use super::*;
use crate::corpus::tests::bytes_tokenizer;
use crate::model::family_tests::fixtures;
use crate::model::{Batch, load};
use crate::store::{Rows, verify};

/// BOS.
const BOS: u32 = 1;

struct Setting {
    dir: tempfile::TempDir,
    model: Transformer,
    tokenizer: Tokenizer,
    texts: Vec<PathBuf>,
}

impl Setting {
    /// Documents of digits, of lengths from 1 to 40.
    fn new(family: &str) -> Setting {
        let dir = tempfile::tempdir().unwrap();
        let line =
            |i: usize| (0..1 + i * 7 % 40).map(|j| char::from(b'0' + ((i * i + 3 * j) % 10) as u8)).collect::<String>();
        let lines = |range: std::ops::Range<usize>| range.map(line).collect::<Vec<_>>().join("\n");
        let mut texts = Vec::new();
        for (name, range) in [("a.txt", 0..150), ("b.txt", 150..300)] {
            let path = dir.path().join(name);
            fs::write(&path, lines(range)).unwrap();
            texts.push(path);
        }
        let tokenizer = bytes_tokenizer(dir.path());
        Setting { model: load(&fixtures().join(family)).unwrap(), tokenizer, texts, dir }
    }

    fn plan(&self, names: &[&str]) -> Plan {
        let sites = names.iter().map(|name| Site::parse(name, &self.model.config).unwrap()).collect();
        let windows = corpus::Plan { context: 16, prefix: vec![BOS], suffix: vec![], pack: None, truncate: false };
        let model = "tiny".to_string();
        Plan {
            sites,
            dtype: DType::F32,
            windows,
            max_rows: None,
            skip_special: false,
            shard_rows: None,
            model,
            fingerprint: String::new(),
        }
    }

    fn harvest(&self, out: &str, plan: &Plan) -> Result<Harvested, HarvestError> {
        let out = self.dir.path().join(out);
        harvest(&self.model, &self.tokenizer, &self.texts, &corpus::Options::default(), &out, plan, &mut |_| {})
    }

    fn rows(&self, store: &str, hook: &str) -> Mat {
        let rows = Rows::open(&self.dir.path().join(store), Some(hook)).unwrap();
        rows.range(0..rows.len())
    }

    /// All windows, as they are cut.
    fn windows(&self, plan: &Plan) -> Vec<Vec<u32>> {
        let documents = Documents::open(&self.texts, &corpus::Options::default()).unwrap();
        Windows::new(documents, &self.tokenizer, plan.windows.clone()).unwrap().map(|w| w.unwrap().ids).collect()
    }
}

const HOOKS: [&str; 2] = ["blocks.0.mlp.hook_post", "blocks.1.hook_resid_pre"];

/// Every file of a store, by name.
fn bytes(store: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            match entry.is_dir() {
                true => folders.push(entry),
                false => {
                    all.push((entry.strip_prefix(store).unwrap().display().to_string(), fs::read(&entry).unwrap()))
                }
            }
        }
    }
    all.sort();
    all
}

#[test]
fn rows_are_what_the_model_computes_of_each_window() {
    let setting = Setting::new("llama-gqa-published");
    let plan = setting.plan(&HOOKS);
    let done = setting.harvest("store", &plan).unwrap();
    let windows = setting.windows(&plan);
    assert_eq!(done.tokens as usize, windows.iter().map(Vec::len).sum::<usize>());
    assert_eq!((done.manifest.rows, done.stored), (done.tokens, done.tokens));
    assert!(windows.len() > 300, "long documents have several windows");
    for (hook, site) in HOOKS.iter().zip(&plan.sites) {
        let got = setting.rows("store", hook);
        let mut row = 0;
        for ids in &windows {
            let sites = Sites::new([*site], &setting.model.config);
            setting.model.forward(&Batch::one(ids), &sites, None, &mut |_, x| {
                for i in 0..x.rows() {
                    let difference =
                        x.row(i).iter().zip(got.row(row + i)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(difference < 1e-5, "{hook}, row {}: {difference}", row + i);
                }
            });
            row += ids.len();
        }
        assert_eq!(row, got.rows());
    }
    verify(&setting.dir.path().join("store"), &mut |_| {}).unwrap();
}

#[test]
fn threads_and_interruptions_change_no_byte() {
    let setting = Setting::new("gpt2-published");
    let plan = Plan { shard_rows: Some(700), ..setting.plan(&HOOKS) };
    let on = |threads: usize, out: &str| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| setting.harvest(out, &plan).unwrap())
    };
    on(1, "one");
    on(3, "three");
    let whole = bytes(&setting.dir.path().join("one"));
    assert_eq!(whole, bytes(&setting.dir.path().join("three")));
    // A harvest that dies is one whose shards so far are there, and nothing else: ended at every look in turn.
    let out = setting.dir.path().join("ended");
    let mut ends = 0;
    loop {
        let mut looks = 0;
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            harvest(
                &setting.model,
                &setting.tokenizer,
                &setting.texts,
                &corpus::Options::default(),
                &out,
                &plan,
                &mut |_| {
                    looks += 1;
                    assert!(looks <= ends, "dies here");
                },
            )
        }));
        ends += 1;
        if ended.is_ok() {
            break;
        }
    }
    assert!(ends > 1, "{ends}");
    assert_eq!(whole, bytes(&out));
}

#[test]
fn what_was_stored_is_not_computed_again() {
    let setting = Setting::new("gpt2-published");
    let plan = Plan { shard_rows: Some(700), ..setting.plan(&HOOKS) };
    let whole = setting.harvest("whole", &plan).unwrap();
    let out = setting.dir.path().join("rest");
    // As a kill after the last complete shard leaves it.
    fs::create_dir(&out).unwrap();
    let mut writer = Writer::create(&out, &stored_as(&setting, &plan)).unwrap();
    let (one, two) = (setting.rows("whole", HOOKS[0]), setting.rows("whole", HOOKS[1]));
    let first: Vec<usize> = (0..2100).collect();
    let tokens = vec![TokenRow::default(); first.len()];
    writer.append(&[&one.select_rows(&first), &two.select_rows(&first)], &tokens).unwrap();
    drop(writer);
    let windows = Windows::new(
        Documents::open(&setting.texts, &corpus::Options::default()).unwrap(),
        &setting.tokenizer,
        plan.windows.clone(),
    )
    .unwrap();
    let mut pieces = Pieces::new(windows, &setting.model, &setting.tokenizer, false);
    let behind: u64 = pieces.take(2).0.iter().map(|p| p.rows.len() as u64).sum();
    Resume { rows: behind, position: pieces.position() }.write(&out).unwrap();
    let rest = setting.harvest("rest", &plan).unwrap();
    assert_eq!(rest.tokens, whole.tokens - behind);
    assert!(rest.stored < whole.stored && whole.stored == whole.manifest.rows);
    assert_eq!((rest.manifest.rows, rest.manifest.hooks), (whole.manifest.rows, whole.manifest.hooks));
}

fn stored_as(setting: &Setting, plan: &Plan) -> store::Plan {
    let widths = widths(&setting.model, plan).unwrap();
    store::Plan {
        model: Some(plan.model.clone()),
        tokenizer_sha256: Some(setting.tokenizer.sha256().into()),
        origin: Some(origin::of(plan, &setting.texts, &corpus::Options::default()).unwrap()),
        hooks: plan.sites.iter().zip(&widths).map(|(site, w)| (site.to_string(), *w, plan.dtype)).collect(),
        shard_rows: plan.shard_rows,
        tokens: cfg!(feature = "tables"),
    }
}

#[test]
fn special_tokens_are_left_out_and_rows_end_where_asked() {
    let setting = Setting::new("gpt2-published");
    let plan = setting.plan(&HOOKS);
    setting.harvest("all", &plan).unwrap();
    let skipping = Plan { skip_special: true, ..plan.clone() };
    let done = setting.harvest("text", &skipping).unwrap();
    let ids = setting.windows(&plan).concat();
    let text: Vec<usize> = (0..ids.len()).filter(|&i| ids[i] != BOS).collect();
    assert_eq!((done.tokens, done.manifest.rows), (ids.len() as u64, text.len() as u64));
    let all = setting.rows("all", HOOKS[0]);
    assert_eq!(setting.rows("text", HOOKS[0]).data(), all.select_rows(&text).data());
    for rows in [1, 513, 1000] {
        let name = format!("first{rows}");
        let first = setting.harvest(&name, &Plan { max_rows: Some(rows), ..plan.clone() }).unwrap();
        assert_eq!((first.manifest.rows, first.stored), (rows, rows));
        assert!(first.tokens < rows + 2 * PIECE_TOKENS as u64, "no more is computed than is needed");
        assert_eq!(setting.rows(&name, HOOKS[0]).data(), &all.data()[..rows as usize * all.cols()]);
    }
}

#[test]
fn what_is_wrong_is_told_and_leaves_nothing() {
    let mut setting = Setting::new("gpt2-published");
    let plan = setting.plan(&HOOKS);
    let said = |setting: &Setting, plan: &Plan| {
        let said = setting.harvest("none", plan).unwrap_err();
        assert!(said.is_input() && !setting.dir.path().join("none").exists(), "{said}");
        said.to_string()
    };
    let letters = setting.dir.path().join("letters.txt");
    fs::write(&letters, "0123\nabc\n").unwrap();
    setting.texts = vec![letters.clone()];
    assert!(said(&setting, &plan).contains("is 100, but the model has tokens 0 to 60; is this its tokenizer?"));
    fs::write(&letters, b"0123\n01\xff2\n").unwrap();
    assert!(said(&setting, &plan).contains("0xFF is no UTF-8"));
    fs::write(&letters, "\n\n").unwrap();
    assert!(said(&setting, &plan).contains("holds no text"));
    let pattern = setting.plan(&["blocks.0.attn.hook_pattern"]);
    assert!(said(&setting, &pattern).contains("run-model"));
    let long = Plan { windows: corpus::Plan { context: 4000, ..plan.windows.clone() }, ..plan.clone() };
    fs::write(&letters, "0".repeat(3000)).unwrap();
    assert!(said(&setting, &long).contains("positions"));
}
