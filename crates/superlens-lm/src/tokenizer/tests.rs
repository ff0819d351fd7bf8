//! Tokenizers of others, held against what those who made them say. `SUPERLENS_TEST_DATA` names the folder of their files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;

/// A folder of the test data; says that the test is skipped where there is none.
fn data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SUPERLENS_TEST_DATA").map(|data| PathBuf::from(data).join(name));
    if folder.is_none() {
        // Straight to stderr: the harness keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: SUPERLENS_TEST_DATA names no folder of test data");
    }
    folder
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn ids(of: &Value) -> Vec<u32> {
    of.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

#[cfg(feature = "tokenizers")]
fn texts() -> Vec<String> {
    let folder = data("texts").unwrap();
    let names =
        ["tinyshakespeare.txt", "tinystories_sample.txt", "corpus.en", "names.txt", "wikitext-2/wiki.test.tokens"];
    names.iter().map(|name| fs::read_to_string(folder.join(name)).unwrap()).collect()
}

#[test]
fn llama2_pieces_are_the_published_ids() {
    let Some(folder) = data("stories260K") else { return };
    let reference = json(&folder.join("reference.json"));
    let made = Tokenizer::open(&folder.join("tok512.bin")).unwrap();
    assert_eq!((made.vocab_size(), made.bos(), made.eos(), made.prefix()), (512, Some(1), Some(2), &[1][..]));
    for case in reference["tokenizer_cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(made.ids(text, true).unwrap(), ids(&case["ids"]), "{text}");
        assert_eq!(made.decode(&ids(&case["ids"]), true).unwrap(), text);
    }
    let greedy = ids(&reference["greedy_ids"]);
    assert_eq!(made.decode(&greedy, true).unwrap(), reference["greedy_text"].as_str().unwrap());
    for text in ["greedy64", "text64"] {
        let (text, want) = (reference[text]["text"].as_str().unwrap(), ids(&reference[text]["ids"]));
        assert_eq!(made.ids(text, true).unwrap()[..64], want[..]);
    }
    assert!(Tokenizer::open(&folder).is_ok(), "the only tok*.bin of the folder");
}

#[cfg(feature = "tokenizers")]
#[test]
fn both_files_of_stories260k_say_the_same() {
    let Some(folder) = data("stories260K") else { return };
    let (ours, hf) =
        (Tokenizer::open(&folder.join("tok512.bin")).unwrap(), Tokenizer::open(&folder.join("hf")).unwrap());
    assert_eq!((hf.vocab_size(), hf.bos(), hf.eos(), hf.prefix()), (512, Some(1), Some(2), &[1][..]));
    let reference = json(&folder.join("reference.json"));
    let cases =
        reference["tokenizer_cases"].as_array().unwrap().iter().map(|case| case["text"].as_str().unwrap().to_owned());
    // The files as they are and line by line; `<unk>` of WikiText is a special token to the one and text to the other.
    let files = texts().into_iter().filter(|text| !text.contains("<unk>"));
    let all: Vec<String> =
        cases.chain(files).chain(texts()[0].lines().take(3000).map(String::from)).chain(["".into()]).collect();
    assert!(all.len() > 3000);
    for (text, (a, b)) in
        all.iter().zip(ours.ids_of_all(&all, true).unwrap().iter().zip(hf.ids_of_all(&all, true).unwrap()))
    {
        assert!(*a == b, "{:?}", &text[..text.len().min(60)]);
        assert_eq!(ours.decode(a, true).unwrap(), hf.decode(a, true).unwrap());
        if text.len() < 200 {
            let (ours, hf) = (ours.encode(text, true).unwrap(), hf.encode(text, true).unwrap());
            assert_eq!(ours.ids, *a);
            // A space that is put before the text belongs to no part of it, or to the first character: the crate says the latter.
            assert_eq!(ours.spans.last(), hf.spans.last(), "{text:?}");
        }
    }
    let words = |t: &Tokenizer| (0..512).map(|id| t.text(id).unwrap()).collect::<Vec<_>>();
    assert_eq!(words(&ours), words(&hf));
}

#[cfg(feature = "tokenizers")]
fn agrees(made: &Tokenizer, expected: &Value) {
    let folder = data("texts").unwrap();
    for case in expected["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let (encoding, want) = (made.encode(text, false).unwrap(), ids(&case["ids"]));
        assert_eq!(encoding.ids, want, "{text:?}");
        assert_eq!(made.ids(text, false).unwrap(), want);
        if let Some(spans) = case["spans"].as_array() {
            let pair = |span: &Value| (span[0].as_u64().unwrap() as usize, span[1].as_u64().unwrap() as usize);
            assert_eq!(encoding.spans, spans.iter().map(pair).collect::<Vec<_>>(), "{text:?}");
        }
        // Every span is made of whole characters.
        assert!(encoding.spans.iter().all(|&(from, to)| text.get(from..to).is_some()));
    }
    for (name, want) in expected["files"].as_object().unwrap() {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let made = made.ids(&text, false).unwrap();
        let bytes: Vec<u8> = made.iter().flat_map(|id| id.to_le_bytes()).collect();
        assert_eq!(
            (made.len() as u64, crate::store::hash::hex(&bytes)),
            (want["tokens"].as_u64().unwrap(), want["sha256"].as_str().unwrap().into()),
            "{name}"
        );
    }
}

#[cfg(feature = "tokenizers")]
fn expected() -> Value {
    json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokenizers/expected.json"))
}

/// GPT-2's two files, under the names that a model's folder has.
#[cfg(feature = "tokenizers")]
fn gpt2(dir: &Path) -> Option<()> {
    let folder = data("gpt2_tokenizer")?;
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(folder.join(format!("gpt2_{name}")), dir.join(name)).unwrap();
    }
    Some(())
}

#[cfg(feature = "tokenizers")]
#[test]
fn vocab_and_merges_are_gpt2s() {
    let dir = tempfile::tempdir().unwrap();
    let Some(()) = gpt2(dir.path()) else { return };
    let made = Tokenizer::open(dir.path()).unwrap();
    assert_eq!((made.vocab_size(), made.bos(), made.eos(), made.prefix().len()), (50257, Some(50256), Some(50256), 0));
    agrees(&made, &expected()["gpt2"]);
    let ids = made.ids(" the cat", false).unwrap();
    assert_eq!(ids.iter().map(|&id| made.text(id).unwrap()).collect::<String>(), " the cat");
    assert_eq!(made.decode(&[50256, 262], true).unwrap(), " the");
    assert_eq!(made.decode(&[50256, 262], false).unwrap(), "<|endoftext|> the");
    assert!(made.is_special(50256) && !made.is_special(262) && made.text(50257).is_none());

    // OPT's form: the same files, and a token that goes before every text.
    let config = r#"{"tokenizer_class": "GPT2Tokenizer", "add_bos_token": true, "bos_token": {"content": "!"}}"#;
    fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    let made = Tokenizer::open(dir.path()).unwrap();
    assert_eq!((made.prefix(), made.bos()), (&[0][..], Some(0)));
    assert_eq!(made.ids(" the", true).unwrap(), [0, 262]);
    // Those whose words are cut in another way are not taken for GPT-2.
    fs::write(dir.path().join("tokenizer_config.json"), r#"{"tokenizer_class": "Qwen2Tokenizer"}"#).unwrap();
    assert!(
        Tokenizer::open(dir.path()).unwrap_err().to_string().contains("`Qwen2Tokenizer`; that needs a tokenizer.json")
    );
}

#[cfg(feature = "tokenizers")]
#[test]
fn pythias_tokenizer_is_the_crates() {
    let Some(folder) = data("pythia_tokenizer") else { return };
    let made = Tokenizer::open(&folder.join("20B_tokenizer.json")).unwrap();
    assert_eq!((made.vocab_size(), made.bos()), (50277, None), "nothing beside it says how a text begins");
    assert_eq!(made.sha256(), "56ac4821e129d2c520fdaba60abd920fa852ada51b45c0dd52bbb6bd8c985ade");
    agrees(&made, &expected()["pythia"]);
}

/// all-MiniLM-L6-v2, whose weights and tokenizer come as a package: `SUPERLENS_TEST_MINILM` names the folder of the model.
#[cfg(feature = "tokenizers")]
#[test]
fn minilm_ids_are_the_reference() {
    let (Some(data), Some(model)) = (data("all-MiniLM-L6-v2-ref"), std::env::var_os("SUPERLENS_TEST_MINILM")) else {
        let _ = writeln!(std::io::stderr(), "skipped: SUPERLENS_TEST_MINILM names no folder with all-MiniLM-L6-v2");
        return;
    };
    let made = Tokenizer::open(Path::new(&model)).unwrap();
    assert_eq!((made.prefix(), made.suffix(), made.vocab_size()), (&[101][..], &[102][..], 30522));
    for sentence in json(&data.join("reference.json"))["sentences"].as_array().unwrap() {
        let text = sentence["text"].as_str().unwrap();
        let got = made.ids(text, true).unwrap();
        assert_eq!(got, ids(&sentence["ids"]), "neither cut nor filled up");
        let words: Vec<String> = got.iter().map(|&id| made.text(id).unwrap()).collect();
        let want: Vec<&str> = sentence["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        assert_eq!(words, want);
        assert_eq!(
            made.decode(&got, true).unwrap().to_lowercase().replace(' ', ""),
            text.to_lowercase().replace(' ', "")
        );
    }
}

#[cfg(feature = "tokenizers")]
#[test]
fn many_texts_keep_their_order_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let Some(()) = gpt2(dir.path()) else { return };
    let made = Tokenizer::open(dir.path()).unwrap();
    let text = &texts()[0];
    let lines: Vec<&str> = text.lines().take(2000).collect();
    let one: Vec<Vec<u32>> = lines.iter().map(|line| made.ids(line, true).unwrap()).collect();
    for threads in [1, 4] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| made.ids_of_all(&lines, true).unwrap()) == one);
    }
}

/// Padding is nothing to speak of; half of the embeddings without a token is another model's.
#[test]
fn a_tokenizer_of_another_model_is_told_by_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tok.bin");
    let mut pieces = 1i32.to_le_bytes().to_vec();
    (0..1000).for_each(|_| pieces.extend([&0f32.to_le_bytes()[..], &1i32.to_le_bytes(), b"a"].concat()));
    std::fs::write(&path, pieces).unwrap();
    let made = Tokenizer::open(&path).unwrap();
    for fits in [61, 1000, 1024, 1111] {
        assert_eq!(made.check_vocab(fits).unwrap(), None, "{fits}");
    }
    assert!(made.check_vocab(1200).unwrap().unwrap().contains("has 1000 tokens"));
    let told = made.check_vocab(50_257).unwrap_err().to_string();
    assert!(told.contains("tok.bin") && told.contains("50257") && told.contains("--tokenizer"), "{told}");
}

#[test]
fn what_is_no_tokenizer_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let said = |name: &str| Tokenizer::open(&dir.path().join(name)).unwrap_err();
    assert!(matches!(said("tokenizer.json").problem, crate::TextProblem::Missing) || cfg!(not(feature = "tokenizers")));
    assert!(said("none").to_string().ends_with("none: there is no such file"));
    assert!(
        said("")
            .to_string()
            .contains("holds no tokenizer: expected tokenizer.json, vocab.json with merges.txt, or one tok*.bin")
    );
    fs::write(dir.path().join("tokenizer.model"), "").unwrap();
    assert!(said("").to_string().contains("found tokenizer.model, which is not read"));
    fs::write(dir.path().join("tokens.txt"), "").unwrap();
    assert!(said("tokens.txt").to_string().contains("is no tokenizer that is read"));
    fs::write(dir.path().join("tok1.bin"), [0; 100]).unwrap();
    assert!(said("").to_string().contains("is no tokenizer of llama2.c"));
    fs::write(dir.path().join("tok2.bin"), "").unwrap();
    assert!(said("").to_string().contains("several tokenizers (tok1.bin, tok2.bin); name one"));
}

/// Whatever is changed in a `tokenizer.json`, the answer is a tokenizer or one line.
#[cfg(feature = "tokenizers")]
#[test]
fn damaged_files_give_an_error_and_no_panic() {
    let Some(folder) = data("stories260K") else { return };
    let whole = fs::read(folder.join("hf/tokenizer.json")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let rng = superlens_tensor::Rng::new(0);
    for (i, cut) in (0..60).map(|i| (i, whole.len() * i / 60)) {
        let mut rng = rng.fork_index(i as u64);
        let mut bytes = whole.clone();
        if i % 2 == 0 {
            bytes.truncate(cut);
        } else {
            for _ in 0..3 {
                let at = rng.below(bytes.len());
                bytes[at] = b"0{}[],\":x\\"[rng.below(10)];
            }
        }
        fs::write(&path, &bytes).unwrap();
        match Tokenizer::open(&path) {
            Ok(made) => drop(made.ids("Once upon a time", true)),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
}
