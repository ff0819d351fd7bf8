//! Texts that are read, cut into windows, left off and gone on with, and those that can't be.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::tokenizer::Tokenizer;

fn file(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn split(split: Split) -> Options {
    Options { split, ..Options::default() }
}

fn read(paths: &[PathBuf], options: &Options) -> Vec<Document> {
    Documents::open(paths, options).unwrap().collect::<Result<_, _>>().unwrap()
}

fn texts(documents: &[Document]) -> Vec<&str> {
    documents.iter().map(|document| document.text.as_str()).collect()
}

/// What is said of files that can't be read to their end.
fn said(paths: &[PathBuf], options: &Options) -> String {
    let result = Documents::open(paths, options).and_then(|documents| documents.collect::<Result<Vec<_>, _>>());
    let error = result.unwrap_err();
    assert!(error.is_input(), "{error}");
    let line = error.to_string();
    assert!(!line.contains('\n'), "{line}");
    line
}

#[test]
fn a_text_is_split_as_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = [file(dir.path(), "a.txt", "\u{feff}one\r\ntwo \n\n  \nthree<|e|>\nfour<|e|>\n")];
    assert_eq!(texts(&read(&path, &split(Split::Lines))), ["one", "two ", "  ", "three<|e|>", "four<|e|>"]);
    assert_eq!(texts(&read(&path, &split(Split::BlankLines))), ["one\r\ntwo", "three<|e|>\nfour<|e|>"]);
    let separated = read(&path, &split(Split::Separator("<|e|>".into())));
    assert_eq!(texts(&separated), ["one\r\ntwo \n\n  \nthree", "four"]);
    assert_eq!(texts(&read(&path, &split(Split::File))), ["one\r\ntwo \n\n  \nthree<|e|>\nfour<|e|>\n"]);
    assert_eq!(separated[1].from, Place { file: 0, offset: 27, lines: 4, document: 1 });
}

#[test]
fn several_files_are_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"text\": \"zwei\", \"n\": 1}\n\n{\"text\": \"\"}\n{\"text\": \"drei\\n\u{1f642}\"}";
    let paths =
        [file(dir.path(), "b.txt", "eins\n"), file(dir.path(), "empty.txt", ""), file(dir.path(), "a.jsonl", lines)];
    let documents = read(&paths, &Options::default());
    assert_eq!(texts(&documents), ["eins", "zwei", "drei\n🙂"]);
    assert_eq!(documents.iter().map(|d| (d.number, d.from.file)).collect::<Vec<_>>(), [(0, 0), (1, 2), (2, 2)]);
    let options = Options { text_key: "story".into(), format: Some(Format::Jsonl), ..Options::default() };
    assert_eq!(texts(&read(&[file(dir.path(), "x", "{\"story\":\"a\"}\n")], &options)), ["a"]);
}

/// A column of texts, and another.
#[cfg(feature = "tables")]
fn table(dir: &Path, name: &str, texts: &[Option<&str>]) -> PathBuf {
    use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use std::sync::Arc;
    let path = dir.join(name);
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int32Array::from_iter_values(0..texts.len() as i32))),
        ("text", Arc::new(StringArray::from_iter(texts.iter().copied()))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ::parquet::arrow::ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    path
}

#[cfg(feature = "tables")]
#[test]
fn a_column_of_parquet_holds_texts() {
    let dir = tempfile::tempdir().unwrap();
    let many: Vec<String> = (0..200).map(|i| if i == 5 { String::new() } else { format!("text {i}") }).collect();
    let path = table(dir.path(), "a.parquet", &many.iter().map(|text| Some(text.as_str())).collect::<Vec<_>>());
    let documents = read(std::slice::from_ref(&path), &Options::default());
    assert_eq!(texts(&documents), many.iter().filter(|text| !text.is_empty()).collect::<Vec<_>>());
    for at in [0, 4, 5, 63, 64, 198] {
        let rest = Documents::open(std::slice::from_ref(&path), &Options::default()).unwrap().go_on(documents[at].to);
        assert_eq!(rest.collect::<Result<Vec<_>, _>>().unwrap(), documents[at + 1..]);
    }
    let wrong = |name: &str, options: &Options| said(&[dir.path().join(name)], options);
    let keyed = |key: &str| Options { text_key: key.into(), ..Options::default() };
    assert!(
        wrong("a.parquet", &keyed("story"))
            .contains("holds no column `story`, which should be the text; it holds: `n`, `text`")
    );
    assert!(wrong("a.parquet", &keyed("n")).contains("column `n`: expected strings, found Int32"));
    let short = Options { document_bytes: 7, ..Options::default() };
    assert!(
        wrong("a.parquet", &short).contains("row 100 (counted from 0): is longer than a document may be (7 bytes)")
    );
    table(dir.path(), "null.parquet", &[Some("a"), None]);
    assert!(wrong("null.parquet", &Options::default()).contains("row 1 (counted from 0): expected a text, found none"));
    file(dir.path(), "no.parquet", "PAR1");
    assert!(wrong("no.parquet", &Options::default()).contains("is no Parquet that is read"));
}

#[test]
fn reading_goes_on_from_any_document() {
    let dir = tempfile::tempdir().unwrap();
    let text = "eins\nzwei\n\n\ndrei|vier|\n\nfünf|";
    let paths = [
        file(dir.path(), "a.txt", text),
        file(dir.path(), "b.jsonl", "\n{\"text\":\"x\"}\n\n{\"text\":\"y\"}"),
        file(dir.path(), "c.txt", text),
    ];
    for how in [Split::Lines, Split::BlankLines, Split::File, Split::Separator("|".into())] {
        let all = read(&paths, &split(how.clone()));
        assert!(all.len() >= 4);
        for (i, document) in all.iter().enumerate() {
            let kept = serde_json::to_string(&document.to).unwrap();
            let place: Place = serde_json::from_str(&kept).unwrap();
            let rest = Documents::open(&paths, &split(how.clone())).unwrap().go_on(place);
            assert_eq!(rest.collect::<Result<Vec<_>, _>>().unwrap(), all[i + 1..], "{how:?}");
        }
    }
}

#[test]
fn what_is_no_text_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let bad = |name: &str, bytes: &[u8]| [file(dir.path(), name, bytes)];
    let plain = Options::default();
    let latin = bad("latin.txt", b"one\ntwo\ncaf\xe9\n");
    for how in [Split::Lines, Split::BlankLines, Split::File, Split::Separator("|".into())] {
        let line = said(&latin, &split(how));
        assert!(
            line.contains(
                "latin.txt: line 3, byte 11 of the file (counted from 0): 0xE9 is no UTF-8; convert the file"
            ),
            "{line}"
        );
    }
    let line = said(&bad("cut.txt", b"ok\n\xf0\x9f\x99"), &plain);
    assert!(line.contains("line 2, byte 3 of the file"), "{line}");
    assert!(said(&bad("a.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}"), &plain).contains("line 2, byte 22"));
    assert!(said(&bad("b.jsonl", b"{\"text\":\"a\"}\nno"), &plain).contains("b.jsonl: line 2: is no JSON"));
    assert!(said(&bad("c.jsonl", b"[1]"), &plain).contains("line 1: expected an object with the text under `text`"));
    assert!(said(&bad("d.jsonl", b"{\"text\":1}"), &plain).contains("expected a string under `text`"));
    assert!(
        said(&bad("e.jsonl", b"{\"a\":1,\"b\":2}"), &plain)
            .contains("holds no `text`, which should be the text; it holds: `a`, `b`")
    );
    assert!(
        said(&bad("f.txt", b"\n \n"), &split(Split::BlankLines))
            .contains("f.txt: holds no text; nothing can be made of it")
    );
    assert!(
        said(&[bad("g.txt", b"").as_slice(), &bad("h.txt", b"")].concat(), &plain).contains("nor do the 1 other files")
    );
    assert!(said(&[dir.path().join("none.txt")], &plain).ends_with("none.txt: there is no such file"));
    assert!(said(&[dir.path().to_owned()], &plain).contains("is a folder; name the files in it"));
    assert!(said(&[], &plain).contains("expected one file at least"));
    assert!(said(&latin, &split(Split::Separator(String::new()))).contains("separator: expected some characters"));
    assert!(said(&[STDIN.into(), STDIN.into()], &plain).contains("name it once"));
}

#[test]
fn a_line_of_100_megabytes_is_refused_without_reading_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "long.txt", "first\n");
    let long = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // Zeros, which are UTF-8, and take no room on the disk.
    long.set_len(100 << 20).unwrap();
    let mut documents = Documents::open(&[path], &Options::default()).unwrap();
    assert_eq!(documents.next().unwrap().unwrap().text, "first");
    let line = documents.next().unwrap().unwrap_err().to_string();
    assert!(line.contains("long.txt: line 2 is longer than a document may be (2097152 bytes); break it up"), "{line}");
    assert!(documents.next().is_none());
    let Some(Open::Records(records, _)) = &documents.open else { panic!() };
    assert!(records.offset <= DOCUMENT_BYTES as u64 + 6, "the rest was not read");
}

/// Whatever the bytes, they are texts or one line that says why not, and no text is longer than it may be.
#[test]
fn any_bytes_are_read_or_refused_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let splits = [Split::File, Split::Lines, Split::BlankLines, Split::Separator("\n|".into())];
    let mut read = [0, 0];
    for i in 0..400 {
        let mut rng = superlens_tensor::Rng::new(1).fork_index(i);
        let mut pieces = vec!["a", "b ", "\n", "\n", "\r\n", "|", "{\"text\":\"", "\"}", "é", "\0"]
            .into_iter()
            .map(str::as_bytes)
            .collect::<Vec<_>>();
        if i % 3 == 0 {
            pieces.push(b"\xc3");
        }
        let bytes: Vec<u8> = (0..rng.below(30)).flat_map(|_| pieces[rng.below(pieces.len())]).copied().collect();
        let path = file(dir.path(), if i % 5 == 0 { "x.jsonl" } else { "x.txt" }, &bytes);
        let options = Options { document_bytes: 30, split: splits[i as usize % 4].clone(), ..Options::default() };
        for document in Documents::open(&[path], &options).unwrap() {
            read[usize::from(document.is_err())] += 1;
            match document {
                Ok(document) => assert!((1..=30).contains(&document.text.len())),
                Err(error) => assert!(!error.to_string().contains('\n')),
            }
        }
    }
    assert!(read[0] > 100 && read[1] > 100, "{read:?}: both happen");
}

/// A tokenizer whose tokens are a space and single bytes: `"ab"` is `[35, 100, 101]`.
pub(crate) fn bytes_tokenizer(dir: &Path) -> Tokenizer {
    let mut bytes = 1i32.to_le_bytes().to_vec();
    for _ in 0..259 {
        bytes.extend(0f32.to_le_bytes());
        bytes.extend(1i32.to_le_bytes());
        // No text consists of it.
        bytes.push(0xff);
    }
    Tokenizer::open(&file(dir, "tok.bin", bytes)).unwrap()
}

fn plan(context: usize) -> Plan {
    Plan { context, prefix: vec![1], suffix: vec![], pack: None, truncate: false }
}

struct Setting {
    dir: tempfile::TempDir,
    paths: [PathBuf; 1],
    tokenizer: Tokenizer,
}

impl Setting {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = [file(dir.path(), "a.txt", text)];
        let tokenizer = bytes_tokenizer(dir.path());
        Self { dir, paths, tokenizer }
    }

    fn windows(&self, plan: &Plan) -> Windows<'_> {
        let documents = Documents::open(&self.paths, &Options::default()).unwrap();
        Windows::new(documents, &self.tokenizer, plan.clone()).unwrap()
    }

    fn all(&self, plan: &Plan) -> Vec<Window> {
        self.windows(plan).collect::<Result<_, _>>().unwrap()
    }
}

fn part(document: u32, position: u32, len: usize) -> Part {
    Part { document, position, len }
}

#[test]
fn windows_stay_within_a_document() {
    let setting = Setting::new("abc\nd\n\nefghi");
    let got = setting.all(&plan(4));
    let want = [
        (vec![1, 35, 100, 101], part(0, 0, 4)),
        (vec![1, 102], part(0, 4, 2)),
        (vec![1, 35, 103], part(1, 0, 3)),
        (vec![1, 35, 104, 105], part(2, 0, 4)),
        (vec![1, 106, 107, 108], part(2, 4, 4)),
    ];
    assert_eq!(got, want.map(|(ids, part)| Window { ids, parts: vec![part] }));
    let rows: Vec<_> = got[1].rows().map(|row| (row.document, row.position, row.token_id)).collect();
    assert_eq!(rows, [(0, 4, 1), (0, 5, 102)]);

    let cut = Plan { truncate: true, suffix: vec![2], ..plan(4) };
    let want = [
        (vec![1, 35, 100, 2], part(0, 0, 4)),
        (vec![1, 35, 103, 2], part(1, 0, 4)),
        (vec![1, 35, 104, 2], part(2, 0, 4)),
    ];
    assert_eq!(setting.all(&cut), want.map(|(ids, part)| Window { ids, parts: vec![part] }));
    let own = Plan::new(4, &setting.tokenizer);
    assert_eq!(own, plan(4), "what the tokenizer says");
}

#[test]
fn packed_windows_are_full() {
    let setting = Setting::new("abc\nd\n\nefghi");
    let got = setting.all(&Plan { pack: Some(2), ..plan(5) });
    let want = [
        (vec![1, 35, 100, 101, 102], vec![part(0, 0, 5)]),
        (vec![1, 2, 35, 103, 2], vec![part(0, 5, 2), part(1, 0, 3)]),
        (vec![1, 35, 104, 105, 106], vec![part(2, 0, 5)]),
        (vec![1, 107, 108, 2], vec![part(2, 5, 4)]),
    ];
    assert_eq!(got, want.map(|(ids, parts)| Window { ids, parts }));
}

/// Every token of every document is in one window, whatever the plan; and from every window one can go on.
#[test]
fn windows_hold_everything_once_and_can_be_left_and_gone_on_with() {
    let text: String = (0..2500).map(|i| format!("{}\n", "xyz".repeat((i * 7919) % 23))).collect();
    let setting = Setting::new(&text);
    let plain: usize = text.lines().filter(|line| !line.is_empty()).map(|line| line.len() + 1).sum();
    let documents = text.lines().filter(|line| !line.is_empty()).count();
    assert!(documents > BATCH, "more than are read at once");
    for plan in [plan(2), plan(16), Plan { suffix: vec![2], ..plan(9) }, Plan { pack: Some(2), ..plan(16) }] {
        let (mut windows, mut all, mut begins) = (setting.windows(&plan), Vec::new(), Vec::new());
        loop {
            let begin = serde_json::to_string(&windows.position()).unwrap();
            let Some(window) = windows.next() else { break };
            begins.push(begin);
            all.push(window.unwrap());
        }
        let ends = plan.prefix.len() + plan.suffix.len();
        let separators = if plan.pack.is_some() { documents } else { 0 };
        assert_eq!(all.iter().map(|window| window.ids.len() - ends).sum::<usize>(), plain + separators);
        assert!(all.iter().all(|window| window.parts.iter().map(|part| part.len).sum::<usize>() == window.ids.len()));
        assert!(all.iter().all(|window| window.ids.len() <= plan.context));
        if plan.pack.is_some() {
            assert!(all[..all.len() - 1].iter().all(|window| window.ids.len() == plan.context));
        }
        // Rows are numbered without a gap in each document.
        let mut next = std::collections::HashMap::new();
        for row in all.iter().flat_map(Window::rows) {
            let at: &mut u32 = next.entry(row.document).or_default();
            assert_eq!(row.position, *at);
            *at += 1;
        }
        assert_eq!(next.len(), documents);
        for at in (0..all.len()).step_by(all.len() / 7) {
            let rest = setting.windows(&plan).go_on(serde_json::from_str(&begins[at]).unwrap());
            assert!(rest.collect::<Result<Vec<_>, _>>().unwrap() == all[at..], "from window {at}");
        }
    }
}

const BATCH: usize = 1024;

#[test]
fn threads_do_not_change_the_windows() {
    let text: String = (0..3000).map(|i| format!("{}\n", "word ".repeat(i % 17))).collect();
    let setting = Setting::new(&text);
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| setting.all(&plan(12)))
    };
    assert!(of(1) == of(3));
}

#[test]
fn what_comes_before_an_error_is_given_out() {
    let setting = Setting::new("abc");
    let path = file(setting.dir.path(), "bad.txt", b"ok\n\xff\nnever");
    let documents = Documents::open(&[setting.paths[0].clone(), path], &Options::default()).unwrap();
    let got: Vec<_> = Windows::new(documents, &setting.tokenizer, plan(9)).unwrap().collect();
    assert_eq!(got.iter().map(|window| window.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    assert!(got[2].as_ref().unwrap_err().to_string().contains("bad.txt: line 2, byte 3"));
}

#[test]
fn plans_that_make_no_sense_are_refused() {
    let setting = Setting::new("abc");
    let said = |plan: Plan| {
        let documents = Documents::open(&setting.paths, &Options::default()).unwrap();
        Windows::new(documents, &setting.tokenizer, plan).map(|_| ()).unwrap_err().to_string()
    };
    assert!(said(plan(1)).contains("context: expected more than the 1 tokens at the ends of a window, found 1"));
    assert!(said(plan(0)).contains("found 0"));
    assert!(said(Plan { pack: Some(2), truncate: true, ..plan(8) }).contains("packed windows hold every token"));
    // A text that has become shorter is not gone on with.
    let mut windows = setting.windows(&plan(3)).go_on(Position { tokens: 9, ..Position::default() });
    assert!(windows.next().unwrap().unwrap_err().to_string().contains("a document has become shorter"));
}
