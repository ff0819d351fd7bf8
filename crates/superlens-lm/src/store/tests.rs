//! Stores that are written, ended, damaged and read.

use std::fs;
use std::path::{Path, PathBuf};

use superlens_tensor::{Mat, Rng};

use super::*;

const HOOKS: [&str; 2] = ["blocks.0.hook_resid_post", "blocks.0.mlp.hook_post"];

/// Row `i` is `[i, −i]` at the first hook and `[i / 2; 3]` at the second: exact in 16 bits up to 2048 (256 in bf16).
fn rows(first: usize, count: usize) -> [Mat; 2] {
    let a = Mat::from_fn(count, 2, |i, j| if j == 0 { (first + i) as f32 } else { -((first + i) as f32) });
    [a, Mat::from_fn(count, 3, |i, _| (first + i) as f32 / 2.0)]
}

fn plan(dtype: DType, shard_rows: u64) -> Plan {
    let hooks = HOOKS.iter().zip([2, 3]).map(|(name, width)| (name.to_string(), width, dtype)).collect();
    Plan { hooks, shard_rows: Some(shard_rows), origin: Some("test".into()), ..Plan::default() }
}

fn append(writer: &mut Writer, first: usize, count: usize) {
    let [a, b] = rows(first, count);
    writer.append(&[&a, &b], &[]).unwrap();
}

/// 100 rows in shards of 30.
fn store(dir: &Path, dtype: DType) -> PathBuf {
    let path = dir.join(dtype.id());
    let mut writer = Writer::create(&path, &plan(dtype, 30)).unwrap();
    for (first, count) in [(0, 7), (7, 60), (67, 33)] {
        append(&mut writer, first, count);
    }
    writer.finish().unwrap();
    path
}

fn message<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    let error = result.unwrap_err();
    assert!(error.is_input(), "{error}");
    error.to_string()
}

#[test]
fn what_is_written_is_read_at_every_type() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in DType::ALL {
        let path = store(dir.path(), dtype);
        verify(&path, &mut |_| {}).unwrap();
        for (hook, want) in HOOKS.iter().zip(rows(0, 100)) {
            let read = Rows::open(&path, Some(hook)).unwrap();
            assert_eq!((read.len(), read.width(), read.shard_rows()), (100, want.cols(), vec![30, 30, 30, 10]));
            assert_eq!(read.range(0..100), want, "{dtype}");
            assert_eq!(read.select(&[99, 0, 59, 60]), want.select_rows(&[99, 0, 59, 60]));
        }
    }
}

#[test]
fn pieces_do_not_change_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let pieces = store(dir.path(), DType::F16);
    let whole = dir.path().join("whole");
    let mut writer = Writer::create(&whole, &plan(DType::F16, 30)).unwrap();
    append(&mut writer, 0, 100);
    writer.finish().unwrap();
    assert_eq!(Manifest::read(&pieces).unwrap(), Manifest::read(&whole).unwrap());
}

#[test]
fn a_writing_that_was_ended_goes_on_after_its_last_whole_shard() {
    let dir = tempfile::tempdir().unwrap();
    let whole = store(dir.path(), DType::F32);
    let path = dir.path().join("ended");
    let mut writer = Writer::create(&path, &plan(DType::F32, 30)).unwrap();
    append(&mut writer, 0, 70);
    // As after kill −9: nothing is cleared away.
    std::mem::forget(writer);
    let parts = |path: &Path| {
        let names = fs::read_dir(path.join(HOOKS[0])).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|n| n.to_string_lossy().ends_with(".part")).count()
    };
    assert_eq!(parts(&path), 1);
    let left = path.join(".x1y2z3.part");
    fs::write(&left, "half a manifest").unwrap();
    let told = message(Rows::open(&path, None));
    assert!(told.contains("60 rows so far"), "{told}");
    let other = Plan { origin: Some("other".into()), ..plan(DType::F32, 30) };
    assert!(message(Writer::create(&path, &other).map(|_| ())).contains("unfinished store of something else"));
    let mut writer = Writer::create(&path, &plan(DType::F32, 30)).unwrap();
    assert_eq!((writer.rows(), parts(&path), left.exists()), (60, 0, false));
    append(&mut writer, 60, 40);
    writer.finish().unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), Manifest::read(&whole).unwrap());
    verify(&path, &mut |_| {}).unwrap();
    assert!(message(Writer::create(&path, &plan(DType::F32, 30)).map(|_| ())).contains("not empty"));
}

#[test]
fn what_is_wrong_with_a_store_is_told_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = |change: &dyn Fn(&Path, &Path)| {
        let at = dir.path().join("f16");
        let _ = fs::remove_dir_all(&at);
        let path = store(dir.path(), DType::F16);
        change(&path, &path.join(HOOKS[0]).join("shard-00001.safetensors"));
        let told = message(Rows::open(&path, Some(HOOKS[0])));
        assert!(!told.contains('\n'), "{told}");
        told
    };
    let manifest = |path: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(path.join("manifest.json")).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path.join("manifest.json"), text.replacen(from, to, 1)).unwrap();
    };
    for (expected, change) in [
        ("there is no such file", &(|_: &Path, shard: &Path| fs::remove_file(shard).unwrap()) as &dyn Fn(&Path, &Path)),
        ("expected 376 bytes as the manifest says, found 300", &|_, shard| {
            fs::File::options().write(true).open(shard).unwrap().set_len(300).unwrap();
        }),
        ("dtype: expected f16 as the manifest says, found BF16", &|_, shard| {
            let mut bytes = fs::read(shard).unwrap();
            let at = bytes.windows(5).position(|w| w == b"\"F16\"").unwrap();
            bytes.splice(at..at + 5, *b"\"BF16\"");
            bytes.remove(250);
            fs::write(shard, bytes).unwrap();
        }),
        ("header can't be right", &|_, shard| {
            let mut bytes = fs::read(shard).unwrap();
            bytes[..8].fill(0xff);
            fs::write(shard, bytes).unwrap();
        }),
        ("header can't be right", &|_, shard| {
            let mut bytes = fs::read(shard).unwrap();
            let at = bytes.windows(6).position(|w| w == b"[30,2]").unwrap();
            bytes[at..at + 6].copy_from_slice(b"[10,6]");
            fs::write(shard, bytes).unwrap();
        }),
        ("can't hold 99999999999999 rows", &|path, _| manifest(path, "\"rows\": 30", "\"rows\": 99999999999999")),
        ("found 99", &|path, _| manifest(path, "\"schema\": 1", "\"schema\": 99")),
        ("expected a name of letters", &|path, _| manifest(path, HOOKS[0], "../up")),
        ("width: expected 1 to", &|path, _| manifest(path, "\"width\": 2", "\"width\": 0")),
        ("holds no hook", &|path, _| manifest(path, HOOKS[0], "blocks.9.hook")),
        ("is no JSON", &|path, _| fs::write(path.join("manifest.json"), "{").unwrap()),
        ("is no store", &|path, _| fs::remove_file(path.join("manifest.json")).unwrap()),
    ] {
        let told = fresh(change);
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // A byte that was changed is found by its hash alone.
    let told = dir.path().join("f32");
    let path = store(dir.path(), DType::F32);
    let shard = path.join(HOOKS[1]).join("shard-00002.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&shard, bytes).unwrap();
    Rows::open(&told, Some(HOOKS[1])).unwrap();
    assert!(message(verify(&path, &mut |_| {})).contains("shard-00002.safetensors: sha256: expected"));
    assert!(
        message(Rows::open(&path, None)).contains("choose one with --hook: blocks.0.hook_resid_post, blocks.0.mlp")
    );
}

#[test]
fn numbers_that_a_type_cannot_hold_are_refused_by_place() {
    let dir = tempfile::tempdir().unwrap();
    for (dtype, bad, expected) in [
        (DType::F16, 1e5, "row 41, column 1 (counted from 0): 100000 does not fit in f16"),
        (DType::F32, f32::NAN, "row 41, column 1 (counted from 0): NaN is no number"),
    ] {
        let path = dir.path().join(dtype.id());
        let mut writer = Writer::create(&path, &plan(dtype, 30)).unwrap();
        let [mut a, b] = rows(0, 50);
        a.row_mut(41)[1] = bad;
        let told = message(writer.append(&[&a, &b], &[]));
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn batches_are_those_of_the_order_and_any_step_can_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = store(dir.path(), DType::F32);
    let open = |buffer| Shuffle::new(Rows::open(&path, Some(HOOKS[0])).unwrap(), 16, buffer, &Rng::new(5));
    // All rows in the buffer; a buffer of a few rows; of less than one block.
    for buffer in [1 << 20, 100, 1] {
        let mut shuffle = open(buffer);
        let batches: Vec<Mat> = (0..20).map(|step| shuffle.batch(step)).collect();
        let seen: Vec<f32> = batches.iter().flat_map(|b| (0..16).map(|i| b.row(i)[0])).collect();
        for epoch in seen.chunks_exact(100) {
            let mut sorted = epoch.to_vec();
            sorted.sort_by(f32::total_cmp);
            assert_eq!(sorted, (0..100).map(|i| i as f32).collect::<Vec<_>>(), "buffer of {buffer}");
        }
        assert_ne!(seen[..100], seen[100..200]);
        for step in [13, 2, 2, 19] {
            assert_eq!(open(buffer).batch(step), batches[step as usize], "a run that begins at step {step}");
            assert_eq!(shuffle.batch(step), batches[step as usize], "step {step} once more");
        }
    }
}

#[test]
fn the_buffer_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("wide");
    let hooks = vec![("wide".to_string(), 4096, DType::F32)];
    let mut writer = Writer::create(&path, &Plan { hooks, shard_rows: Some(200), ..Plan::default() }).unwrap();
    writer.append(&[&Mat::from_fn(1000, 4096, |i, _| i as f32)], &[]).unwrap();
    writer.finish().unwrap();
    let limit = 1 << 20;
    let mut shuffle = Shuffle::new(Rows::open(&path, None).unwrap(), 64, limit, &Rng::new(0));
    for step in 0..40 {
        shuffle.batch(step);
        assert!(shuffle.held() <= limit, "{} bytes are held", shuffle.held());
    }
}

#[test]
fn samples_are_spread_ascending_and_the_same_again() {
    let dir = tempfile::tempdir().unwrap();
    let read = Rows::open(&store(dir.path(), DType::F32), Some(HOOKS[0])).unwrap();
    assert_eq!(read.sample(100, 8, &Rng::new(0)), std::iter::once(0..100).collect::<Vec<_>>());
    for (count, run) in [(40, 8), (1, 8), (99, 1), (50, 30)] {
        let runs = read.sample(count, run, &Rng::new(0));
        assert!(runs.windows(2).all(|w| w[0].end <= w[1].start) && runs[runs.len() - 1].end <= 100, "{runs:?}");
        let total: u64 = runs.iter().map(|r| r.end - r.start).sum();
        assert!(total <= count && total * 2 >= count, "{total} of {count}");
        assert_eq!(runs, read.sample(count, run, &Rng::new(0)));
    }
}

#[cfg(feature = "tables")]
mod tables {
    use super::super::import::{Options, import};
    use super::*;
    use superlens_tensor::io::{ReadOptions, read_directions};

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/saelens_cache")
    }

    fn expected(name: &str) -> Mat {
        read_directions(&fixture().join(name), &ReadOptions::default()).unwrap().mat
    }

    /// `row`, `document`, `position` and `token_id` of a store, read back.
    fn tokens(store: &Path) -> Vec<[u64; 4]> {
        use arrow_array::cast::AsArray;
        use arrow_array::types::{UInt32Type, UInt64Type};
        let file = fs::File::open(store.join("tokens.parquet")).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 1000).unwrap();
        let mut rows = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            for i in 0..batch.num_rows() {
                let small = |j: usize| u64::from(batch.column(j).as_primitive::<UInt32Type>().value(i));
                rows.push([batch.column(0).as_primitive::<UInt64Type>().value(i), small(1), small(2), small(3)]);
            }
        }
        rows
    }

    #[test]
    fn a_cache_of_saelens_is_read_as_its_own_package_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("store");
        let options = Options { shard_rows: Some(20), ..Options::default() };
        let manifest = import(&fixture(), &out, &options, &mut |_| {}).unwrap();
        assert_eq!(manifest.hooks[0].name, "blocks.0.hook_mlp_out");
        let read = Rows::open(&out, None).unwrap();
        assert_eq!(read.range(0..read.len()), expected("expected.npy"));
        verify(&out, &mut |_| {}).unwrap();
        let want = expected("expected_tokens.npy");
        let want: Vec<[u64; 4]> = (0..96).map(|i| [i, i / 8, i % 8, want.data()[i as usize] as u64]).collect();
        assert_eq!(tokens(&out), want);
    }

    #[test]
    fn an_import_that_was_ended_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (whole, ended) = (dir.path().join("whole"), dir.path().join("ended"));
        let options = Options { shard_rows: Some(10), ..Options::default() };
        import(&fixture(), &whole, &options, &mut |_| {}).unwrap();
        // Ends in the middle, as a full disk would, but without clearing anything away.
        let panicked = std::panic::catch_unwind(|| import(&fixture(), &ended, &options, &mut |_| panic!("ended")));
        assert!(panicked.is_err() && Manifest::read(&ended).is_err());
        import(&fixture(), &ended, &options, &mut |_| {}).unwrap();
        assert_eq!(Manifest::read(&ended).unwrap().0.hooks, Manifest::read(&whole).unwrap().0.hooks);
        assert_eq!(tokens(&ended), tokens(&whole));
    }

    #[test]
    fn a_cache_that_is_cut_or_lies_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = fs::read(fixture().join("data-00000-of-00002.arrow")).unwrap();
        let file = dir.path().join("x.arrow");
        for len in (0..bytes.len() - 8).step_by(37) {
            fs::write(&file, &bytes[..len]).unwrap();
            let out = dir.path().join(format!("out{len}"));
            match import(&file, &out, &Options::default(), &mut |_| {}) {
                // What was cut off is the mark of the end.
                Ok(manifest) => assert!(manifest.rows == 48 && len > bytes.len() - 16, "{len}"),
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
        // The schema and the head of the record batch. The folder is taken, so that nothing is written.
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("x"), "").unwrap();
        for at in 0..bytes.len().min(1400) {
            let mut lying = bytes.clone();
            lying[at] ^= 0xff;
            fs::write(&file, lying).unwrap();
            // Whatever is said of it: no panic, no abort.
            assert!(import(&file, &taken, &Options::default(), &mut |_| {}).is_err());
        }
    }

    #[test]
    fn parquet_is_read_as_lists_and_as_columns() {
        use arrow_array::builder::{Float32Builder, ListBuilder};
        use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
        use std::sync::Arc;
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
            let path = dir.path().join(name);
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let file = fs::File::create(&path).unwrap();
            let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            path
        };
        let lists = |lengths: [usize; 3]| -> ArrayRef {
            let mut builder = ListBuilder::new(Float32Builder::new());
            for (i, len) in lengths.into_iter().enumerate() {
                (0..len).for_each(|j| builder.values().append_value((10 * i + j) as f32));
                builder.append(true);
            }
            Arc::new(builder.finish())
        };
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let column = |k: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![k, 10.0 + k, 20.0 + k])) };
        let want = Mat::from_fn(3, 2, |i, j| (10 * i + j) as f32);
        for (name, columns) in [
            ("lists.parquet", vec![("text", words.clone()), ("acts", lists([2, 2, 2]))]),
            ("columns.parquet", vec![("n0", column(0.0)), ("text", words.clone()), ("n1", column(1.0))]),
        ] {
            let out = dir.path().join(name.replace('.', "_"));
            import(&write(name, columns), &out, &Options::default(), &mut |_| {}).unwrap();
            assert_eq!(Rows::open(&out, None).unwrap().range(0..3), want, "{name}");
        }
        let ragged = write("ragged.parquet", vec![("acts", lists([2, 3, 2]))]);
        let told = message(import(&ragged, &dir.path().join("ragged"), &Options::default(), &mut |_| {}));
        assert!(told.contains("expected lists of one length, found 2 and 3"), "{told}");
        let none = write("none.parquet", vec![("text", words)]);
        assert!(
            message(import(&none, &dir.path().join("none"), &Options::default(), &mut |_| {}))
                .contains("no columns of floats")
        );
    }
}
