//! What is refused: every variant of `Problem` with the line it prints, and files damaged at random.

mod common;

use std::path::Path;

use common::*;
use proptest::prelude::*;
use superlens_tensor::io::{Problem, ReadError, ReadOptions, describe, read_matrix};

fn options(key: Option<&str>, flatten: bool) -> ReadOptions {
    ReadOptions { key: key.map(str::to_owned), flatten }
}

/// The error of reading `path`: one line that starts with the file's name and holds each of `says`.
fn refusal_with(path: &Path, options: &ReadOptions, says: &[&str]) -> ReadError {
    let error = read_matrix(path, options).map(|_| ()).expect_err(&format!("{says:?}"));
    let line = error.to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    for part in says.iter().chain([&name]) {
        assert!(line.contains(part), "`{part}` isn't in: {line}");
    }
    assert!(!line.chars().any(char::is_control), "more than a line: {line:?}");
    assert!(line.len() < 1000 + path.as_os_str().len(), "{} characters", line.len());
    error
}

fn refusal(path: &Path, says: &[&str]) -> Problem {
    *refusal_with(path, &ReadOptions::default(), says).problem
}

#[test]
fn files_that_cannot_be_opened() {
    let scratch = Scratch::new();
    let missing = refusal(&scratch.path("missing.npy"), &["there is no such file; check the path"]);
    assert!(matches!(missing, Problem::Io(_)));
    std::fs::create_dir(scratch.path("folder.npy")).unwrap();
    let folder = refusal(&scratch.path("folder.npy"), &["is a folder, not a file; give a .npy"]);
    assert!(matches!(folder, Problem::NotAFile { .. }));
    let empty = refusal(&scratch.file("empty.npz", b""), &["is empty (0 bytes)"]);
    assert!(matches!(empty, Problem::Empty));
    #[cfg(unix)]
    refusal(Path::new("/dev/null"), &["is a pipe or a device, not a file"]);
}

#[test]
fn files_that_are_something_else() {
    let scratch = Scratch::new();
    let npy = npy_f32("(2, 2)", &[1.0, 2.0, 3.0, 5.0]);
    let csv = refusal(&scratch.file("x.csv", b"1,2\n"), &["has the extension `.csv`, but only .npy, .npz and .safe"]);
    assert!(matches!(csv, Problem::UnknownExtension { content: None, .. }));
    refusal(&scratch.file("x.bin", &npy), &["extension `.bin`", "its content looks like .npy: rename it"]);
    refusal(&scratch.file("x", &npy), &["has the extension none"]);
    let zip = npz(&[("a.npy", &npy)], false);
    let misnamed =
        refusal(&scratch.file("x.npy", &zip), &["is named like .npy, but its content looks like .npz (a zip"]);
    assert!(matches!(misnamed, Problem::WrongMagic { .. }));
    refusal(&scratch.file("x.safetensors", &npy), &["looks like .npy"]);
    let tensors = safetensors(&format!("{{{}}}", tensor("x", "F32", "[2, 2]", 0, 16)), &npy[64..80]);
    refusal(
        &scratch.file("x.npz", &tensors),
        &["is named like .npz (a zip archive), but its content looks like .safetensors"],
    );
    refusal(&scratch.file("y.npy", b"hello"), &["its first bytes say it is none"]);
    assert!(read_matrix(&scratch.file("UPPER.NPY", &npy), &ReadOptions::default()).is_ok());
}

#[test]
fn files_that_are_cut_off_or_too_long() {
    let scratch = Scratch::new();
    let whole = npy_f32("(4, 2)", &entries(4, 2));
    let cut = refusal(&scratch.file("cut.npy", &whole[..140]), &["promises 160 bytes, 140 are there"]);
    assert!(matches!(cut, Problem::Truncated { expected: 160, found: 140 }));
    refusal(&scratch.file("cut.npy", &whole[..9]), &["promises 10 bytes, 9 are there"]);
    refusal(&scratch.file("cut.npy", &whole[..40]), &["promises 128 bytes, 40 are there"]);
    let long =
        refusal(&scratch.file("long.npy", &[&whole[..], b"more"].concat()), &["holds 164 bytes", "160; save one"]);
    assert!(matches!(long, Problem::ExtraBytes { expected: 160, found: 164 }));

    let header = format!("{{{}}}", tensor("x", "F32", "[4, 2]", 0, 32));
    let whole = safetensors(&header, &whole[128..]);
    let all = whole.len();
    let cut = scratch.file("cut.safetensors", &whole[..all - 1]);
    refusal(&cut, &[&format!("promises {all} bytes, {} are there", all - 1)]);
    refusal(&scratch.file("cut.safetensors", &whole[..30]), &["bytes, 30 are there"]);
    refusal(&scratch.file("cut.safetensors", &whole[..5]), &["promises 8 bytes, 5 are there"]);
    refusal(&scratch.file("long.safetensors", &[&whole[..], b"!"].concat()), &["where its header accounts for"]);
}

/// If these sizes were allocated, the problem would be `TooLarge` or the process would die.
#[test]
fn claims_without_bytes_behind_them() {
    let scratch = Scratch::new();
    for shape in ["(1000000000000000, 3)", "(1000000, 1000000)", "(3, 1000000000000000)"] {
        for fortran in [false, true] {
            let bytes = npy(1, &npy_header("<f4", fortran, shape), &[0; 60]);
            let problem = refusal(&scratch.file("x.npy", &bytes), &["188 are there"]);
            assert!(matches!(problem, Problem::Truncated { .. }), "{problem:?}");
        }
    }
    let overflow = npy(1, &npy_header("<f4", false, "(18446744073709551615, 18446744073709551615)"), &[]);
    assert!(matches!(refusal(&scratch.file("x.npy", &overflow), &["larger than any file"]), Problem::BadHeader(_)));
    let header_length = [b"\x93NUMPY\x02\x00\xff\xff\xff\xff".as_slice(), b"{'descr'"].concat();
    refusal(&scratch.file("x.npy", &header_length), &["promises 4294967307 bytes, 20 are there"]);
    let mut lying = 0x7fff_ffff_ffff_ffff_u64.to_le_bytes().to_vec();
    lying.extend(b"{}");
    refusal(&scratch.file("x.safetensors", &lying), &["promises 9223372036854775815 bytes, 10 are there"]);
}

#[test]
fn headers_that_lie_about_offsets() {
    let scratch = Scratch::new();
    for (what, header) in [
        ("overlap", format!("{{{},{}}}", tensor("a", "F32", "[2, 2]", 0, 16), tensor("b", "F32", "[2, 2]", 8, 24))),
        ("hole", format!("{{{},{}}}", tensor("a", "F32", "[2, 2]", 0, 16), tensor("b", "F32", "[2]", 24, 32))),
        ("backwards", format!("{{{}}}", tensor("a", "F32", "[2, 2]", 32, 16))),
        ("shape", format!("{{{}}}", tensor("a", "F32", "[2, 3]", 0, 32))),
        ("overflow", format!("{{{}}}", tensor("a", "F32", "[9223372036854775807, 8]", 0, 32))),
        ("no type", r#"{"a":{"shape":[2,2],"data_offsets":[0,16]}}"#.to_owned()),
        ("no JSON", r#"{"a":"#.to_owned()),
    ] {
        let path = scratch.file("lies.safetensors", &safetensors(&header, &[0; 32]));
        let problem = refusal(&path, &["its header can't be read"]);
        assert!(matches!(problem, Problem::BadHeader(_)), "{what}: {problem:?}");
    }
    let beyond = format!("{{{}}}", tensor("a", "F32", "[100, 2]", 0, 800));
    refusal(&scratch.file("lies.safetensors", &safetensors(&beyond, &[0; 32])), &["is cut off"]);
}

#[test]
fn keys() {
    let scratch = Scratch::new();
    let array = npy_f32("(2, 2)", &[1.0, 2.0, 3.0, 5.0]);
    let names: Vec<String> = (0..14).map(|i| format!("layers.{i}.mlp_hidden.npy")).collect();
    let entries: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), array.as_slice())).collect();
    let path = scratch.file("many.npz", &npz(&entries, true));
    let needed = refusal(&path, &["holds 14 arrays; choose one with --key: layers.0.mlp_hidden, ", "… and 4 more"]);
    assert!(matches!(needed, Problem::KeyNeeded { keys } if keys.len() == 14));
    let typo = options(Some("layer.11.mlp_hiden"), false);
    let says = ["no array named `layer.11.mlp_hiden` (did you mean `layers.11.mlp_hidden`?); it holds 14: layers.0"];
    let unknown = refusal_with(&path, &typo, &says);
    assert!(matches!(*unknown.problem, Problem::UnknownKey { .. }));
    refusal_with(&path, &options(Some("zzz"), false), &["no array named `zzz`; it holds 14"]);
    let npy = scratch.file("x.npy", &array);
    let useless = refusal_with(&npy, &options(Some("resid"), false), &["leave out --key `resid`"]);
    assert!(matches!(*useless.problem, Problem::KeyWithoutUse(_)));
    for (name, bytes) in [("none.npz", npz(&[("a.txt", b"")], false)), ("none.safetensors", safetensors("{}", b""))] {
        assert!(matches!(refusal(&scratch.file(name, &bytes), &["holds no arrays"]), Problem::NoArrays));
    }
    // What a key says to the terminal: nothing.
    let header = format!("{{{}}}", tensor("\\u001b[2J\\nx\\u202e", "I8", "[2, 2]", 0, 4));
    let path = scratch.file("x.safetensors", &safetensors(&header, &[0; 4]));
    refusal(&path, &["key `\\u{1b}[2J\\u{a}x\\u{202e}`: holds I8 (integers)", "save tensor.float()"]);
}

#[test]
fn shapes_and_types() {
    let scratch = Scratch::new();
    let f32s = |shape: &str, n: usize| npy_f32(shape, &entries(n, 1));
    let three = scratch.file("x.npy", &f32s("(2, 3, 4)", 24));
    let problem = refusal(&three, &["has shape [2, 3, 4]: a matrix [rows, columns] is needed; pass --flatten"]);
    assert!(matches!(problem, Problem::Dimensions { .. }));
    let vector = scratch.file("x.npy", &f32s("(24,)", 24));
    refusal_with(&vector, &options(None, true), &["has shape [24]", "stack one row per sample"]);
    let row = refusal(&scratch.file("x.npy", &f32s("(1, 8)", 8)), &["has 1 row of 8 columns: at least 2 rows"]);
    assert!(matches!(row, Problem::TooFewRows { rows: 1, columns: 8 }));
    refusal(&scratch.file("x.npy", &f32s("(0, 8)", 0)), &["has 0 rows of 8 columns"]);
    refusal(&scratch.file("x.npy", &f32s("(8, 0)", 0)), &["has 0 columns that vary among 0 columns of 8 rows"]);
    let one = refusal(&scratch.file("x.npy", &f32s("(8, 1)", 8)), &["among 1 column of 8 rows: at least 2 (neurons)"]);
    assert!(matches!(one, Problem::TooFewVarying { varying: 1, columns: 1, rows: 8 }));
    let flat = npy_f32("(3, 3)", &[1.0, 2.0, 3.0, 1.0, 2.0, 4.0, 1.0, 2.0, 5.0]);
    refusal(&scratch.file("x.npy", &flat), &["has 1 column that varies among 3 columns of 3 rows"]);
    let object = npy(1, &npy_header("|O", false, "(2, 2)"), b"\x80\x04.");
    let problem =
        refusal(&scratch.file("x.npy", &object), &["holds |O (Python objects), but only float16", "np.stack"]);
    assert!(matches!(problem, Problem::Dtype { .. }));
}

#[test]
fn numbers_that_are_none() {
    let scratch = Scratch::new();
    let mut numbers = entries(6, 4);
    numbers[9] = f32::NAN;
    numbers[14] = f32::INFINITY;
    numbers[15] = f32::NEG_INFINITY;
    let path = scratch.file("x.npy", &npy_f32("(6, 4)", &numbers));
    let problem = refusal(&path, &["holds 1 NaN and 2 infinities, the first at row 2, column 1 (counted from 0)"]);
    assert!(matches!(problem, Problem::NonFinite { nan: 1, infinite: 2, too_large: 0, row: 2, column: 1 }));
    // The same numbers by columns: the first is still the first by rows.
    let by_columns: Vec<f32> = (0..24).map(|at| numbers[at % 6 * 4 + at / 6]).collect();
    let bytes = npy(1, &npy_header("<f4", true, "(6, 4)"), &le_bytes(&by_columns));
    refusal(&scratch.file("x.npy", &bytes), &["the first at row 2, column 1"]);
    let wide: Vec<u8> = [1.0, 1e39, -1e300, f64::INFINITY].iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = npy(1, &npy_header("<f8", false, "(2, 2)"), &wide);
    let says = ["holds 1 infinity and 2 values beyond the range of float32, the first at row 0, column 1"];
    refusal(&scratch.file("x.npy", &bytes), &says);
}

#[test]
fn archives_that_are_damaged_or_bombs() {
    let scratch = Scratch::new();
    let array = npy_f32("(50, 4)", &entries(50, 4));
    let stored = npz(&[("a.npy", &array)], false);
    let cut = refusal(&scratch.file("x.npz", &stored[..stored.len() / 2]), &["the zip archive can't be read"]);
    assert!(matches!(cut, Problem::Archive(_)));
    // One bit of the data: only the checksum notices.
    let mut flipped = stored.clone();
    flipped[400] ^= 1;
    refusal(&scratch.file("x.npz", &flipped), &["key `a`", "the zip archive can't be read", "checksum"]);

    // The entry unpacks to more than its array: refused before anything is unpacked.
    let long = npz(&[("a.npy", &[&array[..], &[0; 1_000_000]].concat())], true);
    let problem = refusal(&scratch.file("x.npz", &long), &["holds 1000928 bytes where its header accounts for 928"]);
    assert!(matches!(problem, Problem::ExtraBytes { .. }));
    let short = npz(&[("a.npy", &array[..900])], true);
    refusal(&scratch.file("x.npz", &short), &["promises 928 bytes, 900 are there"]);
    // The archive's directory lies about the size so that both agree with the array's header: what is
    // unpacked beyond it is noticed, not kept.
    let mut lying = long.clone();
    let claimed = 1_000_928_u32.to_le_bytes();
    let at: Vec<usize> = (0..lying.len() - 4).filter(|&i| lying[i..i + 4] == claimed).collect();
    assert_eq!(at.len(), 2, "once in the local header, once in the directory");
    for i in at {
        lying[i..i + 4].copy_from_slice(&928_u32.to_le_bytes());
    }
    refusal(&scratch.file("x.npz", &lying), &["key `a`"]);
    let claims = scratch.file("x.npz", &claiming_gigabytes());
    let problem = refusal(&claims, &["more than 256-fold, as no activations do"]);
    assert!(matches!(problem, Problem::DeflateBomb { .. }));
}

/// An archive of 300 bytes whose directory claims that its entry unpacks to 4 GB.
fn claiming_gigabytes() -> Vec<u8> {
    let header = npy(1, &npy_header("<f4", false, "(1006632, 1000)"), &[]);
    let mut archive = npz(&[("a.npy", &header)], true);
    let size = (header.len() as u32).to_le_bytes();
    let places: Vec<usize> = (0..archive.len() - 4).filter(|&i| archive[i..i + 4] == size).collect();
    for i in places {
        archive[i..i + 4].copy_from_slice(&(128 + 4_026_528_000_u32).to_le_bytes());
    }
    archive
}

/// By the variant, not by a file: root, as which tests often run in a container, may read them all.
#[test]
fn a_file_that_may_not_be_read() {
    let denied = Problem::Io(std::io::ErrorKind::PermissionDenied.into());
    assert_eq!(denied.to_string(), "may not be read: permission denied; check the file's mode");
    let broken = Problem::Io(std::io::Error::other("disk\non fire"));
    assert_eq!(broken.to_string(), "can't be read: disk\\u{a}on fire");
}

/// Valid files of each kind, as (extension, bytes).
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let numbers = entries(12, 5);
    let plain = npy_f32("(12, 5)", &numbers);
    let fortran = npy(2, &npy_header(">f8", true, "(3, 2, 5)"), &[63; 240]);
    let header = format!("{{{},{}}}", tensor("a", "BF16", "[3, 2]", 0, 12), tensor("b", "F32", "[4, 3, 5]", 12, 252));
    let tensors = safetensors(&header, &[&[0; 12][..], &le_bytes(&numbers)].concat());
    let both = [("a.npy", plain.as_slice()), ("b.npy", fortran.as_slice())];
    let (stored, deflated) = (npz(&both, false), npz(&both, true));
    vec![("npy", plain), ("npy", fortran), ("safetensors", tensors), ("npz", stored), ("npz", deflated)]
}

/// The largest resident size that this process has had, in kB.
#[cfg(target_os = "linux")]
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn read_in_every_way(path: &Path) {
    for key in [None, Some("a"), Some("b")] {
        if let Err(error) = read_matrix(path, &options(key, true)) {
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
        }
    }
    let _ = describe(path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_never_panics_and_never_takes_memory(
        seed in 0..5_usize,
        cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        digits in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 0..3),
    ) {
        let (extension, mut bytes) = seeds().swap_remove(seed);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // Digits of shapes, sizes and offsets: damage that the grammar lets through.
        let places: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i].is_ascii_digit()).collect();
        for (at, digit) in digits {
            if !places.is_empty() {
                bytes[places[at.index(places.len())]] = digit;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let scratch = Scratch::new();
        read_in_every_way(&scratch.file(&format!("x.{extension}"), &bytes));
        #[cfg(target_os = "linux")]
        prop_assert!(peak_memory() < 512 * 1024, "{} kB", peak_memory());
    }
}

#[test]
fn every_cut_of_a_valid_file_is_refused() {
    let scratch = Scratch::new();
    for (extension, bytes) in seeds() {
        let whole = scratch.file(&format!("whole.{extension}"), &bytes);
        let key = if extension == "npy" { None } else { Some("b") };
        let reading = options(key, true);
        // Of the made-up f8 numbers only the first is of interest: they are all one.
        assert!(
            !matches!(read_matrix(&whole, &reading), Err(e) if !matches!(*e.problem, Problem::TooFewVarying { .. }))
        );
        for end in 0..bytes.len() {
            let path = scratch.file(&format!("cut.{extension}"), &bytes[..end]);
            assert!(read_matrix(&path, &reading).is_err(), "{extension} cut at {end}");
            describe(&path).ok();
        }
    }
}
