//! Bad input, one kind after the other, through the real binary: exit code 2, one line on stderr, nothing on
//! stdout, nothing written. The lines are kept in docs/bad-inputs.md; after a change of wording run
//!
//! ```text
//! BLESS=1 cargo test --release -p superlens-cli --test bad_inputs
//! ```

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use zip::write::SimpleFileOptions;

mod bad_models;
mod bad_saes;

/// One kind of bad input.
struct Case {
    /// What it is, for the table.
    input: &'static str,
    file: &'static str,
    content: Content,
    /// What stands before the file, if there is one.
    command: &'static [&'static str],
    /// What follows it; a converted folder or a report comes after that.
    flags: &'static [&'static str],
    /// What the line must say besides the file's name.
    says: &'static str,
}

enum Content {
    Nothing,
    Folder,
    Bytes(Vec<u8>),
    /// Of a folder; names may have folders above them.
    Files(Vec<(&'static str, Vec<u8>)>),
}

fn case(input: &'static str, file: &'static str, content: Vec<u8>, says: &'static str) -> Case {
    Case { input, file, content: Content::Bytes(content), command: &["diagnose"], flags: &[], says }
}

fn keyed(
    input: &'static str,
    file: &'static str,
    content: Vec<u8>,
    key: &'static [&'static str],
    says: &'static str,
) -> Case {
    Case { flags: key, ..case(input, file, content, says) }
}

fn cases() -> Vec<Case> {
    let whole = npy("<f4", "(40, 8)", &numbers(40 * 8));
    let all = [files(), arrays(&whole), values(), tensors(), archives(&whole)];
    all.into_iter().flatten().collect()
}

/// What isn't a readable file at all.
fn files() -> Vec<Case> {
    let (missing, folder) = (Content::Nothing, Content::Folder);
    vec![
        Case { content: missing, ..case("missing file", "missing.npy", vec![], "no such file") },
        Case { content: folder, ..case("folder", "folder.npy", vec![], "is a folder") },
        case("empty file", "empty.npy", vec![], "is empty"),
        case("unknown extension", "table.csv", b"1,2\n3,4\n".to_vec(), "extension `.csv`"),
        case("another format than its name", "misnamed.npy", archive(&[("x.npy", &[])]), "rename it"),
        case("not what its name says", "text.npy", b"hello, world".to_vec(), "first bytes"),
    ]
}

/// `.npy` files whose header or length is wrong.
fn arrays(whole: &[u8]) -> Vec<Case> {
    vec![
        case("truncated header", "header.npy", whole[..50].to_vec(), "cut off"),
        case("truncated data", "data.npy", whole[..whole.len() - 100].to_vec(), "cut off"),
        case("more data than the header says", "long.npy", [whole, &[0; 12]].concat(), "holds 1420 bytes"),
        case("a header that claims 4 PB", "huge.npy", npy("<f4", "(1000000000000, 1000)", &numbers(8)), "cut off"),
        case("wrong element type: integers", "int.npy", npy("<i8", "(40, 2)", &[0; 640]), "integers"),
        case("wrong element type: complex", "complex.npy", npy("<c8", "(40, 2)", &[0; 640]), "complex"),
        case("object array", "object.npy", npy("|O", "(2, 2)", b"\x80\x04."), "Python objects"),
        case("3-D without --flatten", "cube.npy", npy("<f4", "(4, 10, 8)", &numbers(320)), "--flatten"),
        case("1-D", "vector.npy", npy("<f4", "(320,)", &numbers(320)), "[320]"),
        keyed("--key for a file without names", "plain.npy", whole.to_vec(), &["--key", "resid"], "--key"),
    ]
}

/// `.npy` files that are sound, but whose numbers tell nothing.
fn values() -> Vec<Case> {
    let with = |at: usize, x: f32| {
        let mut data = numbers(320);
        data[4 * at..4 * at + 4].copy_from_slice(&x.to_le_bytes());
        npy("<f4", "(40, 8)", &data)
    };
    let wide: Vec<u8> = (0..80).flat_map(|i| (1e30 * f64::from(i * i * i * i * i)).to_le_bytes()).collect();
    let one_varies: Vec<u8> = (0..320).flat_map(|i| if i % 8 == 3 { i as f32 } else { 1.0 }.to_le_bytes()).collect();
    vec![
        case("NaN", "nan.npy", with(42, f32::NAN), "1 NaN, the first at row 5, column 2"),
        case("infinity", "infinity.npy", with(9, f32::NEG_INFINITY), "1 infinity, the first at row 1, column 1"),
        case("float64 beyond float32", "wide.npy", npy("<f8", "(40, 2)", &wide), "beyond the range of float32"),
        case("1 row", "row.npy", npy("<f4", "(1, 320)", &numbers(320)), "1 row"),
        case("0 rows", "none.npy", npy("<f4", "(0, 8)", &[]), "0 rows"),
        case("fewer than two varying columns", "constant.npy", npy("<f4", "(40, 8)", &one_varies), "1 column"),
    ]
}

fn tensors() -> Vec<Case> {
    let file = |header: &str, data: usize| {
        let length = (header.len() as u64).to_le_bytes();
        [&length, header.as_bytes(), &numbers(data / 4)].concat()
    };
    let tensor = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[20,4],"data_offsets":[{from},{to}]}}"#)
    };
    let several: Vec<String> =
        (0..12).map(|i| tensor(&format!("layers.{i}.mlp_hidden"), 320 * i, 320 * (i + 1))).collect();
    let several = file(&format!("{{{}}}", several.join(",")), 320 * 12);
    let overlap = file(&format!("{{{},{}}}", tensor("a", 0, 320), tensor("b", 160, 480)), 480);
    let beyond = file(&format!("{{{}}}", tensor("a", 0, 320)), 160);
    let wrong_shape = file(&format!("{{{}}}", tensor("a", 0, 160)), 160);
    let long_header = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let int = file(r#"{"ids":{"dtype":"I64","shape":[20,2],"data_offsets":[0,320]}}"#, 320);
    let typo: &[&str] = &["--key", "layers.3.mlp_hiden"];
    vec![
        case("missing key among several", "several.safetensors", several.clone(), "choose one with --key"),
        keyed("unknown key", "typo.safetensors", several, typo, "did you mean `layers.3.mlp_hidden`"),
        case("lying offsets: overlap", "overlap.safetensors", overlap, "invalid offset"),
        case("lying offsets: beyond the end", "beyond.safetensors", beyond, "cut off"),
        case("lying offsets: another size than the shape", "shape.safetensors", wrong_shape, "header can't be read"),
        case("lying header length", "length.safetensors", long_header, "cut off"),
        case("integer tensor", "ids.safetensors", int, "integers"),
    ]
}

fn archives(whole: &[u8]) -> Vec<Case> {
    let notes = archive(&[("notes.txt", b"no array")]);
    let mut flipped = archive(&[("resid.npy", whole)]);
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let cut = archive(&[("resid.npy", whole)])[..200].to_vec();
    let zeros = 320 << 20;
    let honest = zero_bomb(&npy("<f4", &format!("({}, 1024)", zeros / 4096), &[]), zeros);
    let hidden = zero_bomb(whole, zeros);
    vec![
        case("archive without arrays", "notes.npz", notes, "holds no arrays"),
        case("archive that is cut off", "cut.npz", cut, "zip archive can't be read"),
        case("archive with a flipped bit", "flipped.npz", flipped, "zip archive can't be read"),
        case("deflate bomb that declares its size", "bomb.npz", honest, "256-fold"),
        case("deflate bomb behind a small array", "hidden.npz", hidden, "256-fold"),
    ]
}

/// Directions that `superlens geometry` can't use, and settings that it refuses.
fn geometry() -> Vec<Case> {
    let of = |case: Case| Case { command: &["geometry", "coherence"], ..case };
    let set = |input, command: &'static [&'static str], says| Case {
        command,
        content: Content::Nothing,
        ..case(input, "", Vec::new(), says)
    };
    let whole = npy("<f4", "(40, 8)", &numbers(320));
    let single = npy("<f4", "(2, 2)", &[1.0f32, 2.0, 0.0, 0.0].map(f32::to_le_bytes).concat());
    let nan = npy("<f4", "(2, 2)", &[1.0f32, f32::NAN, 0.0, 0.5].map(f32::to_le_bytes).concat());
    let named = archive(&[("a.npy", &whole), ("b.npy", &whole)]);
    let unknown: &[&str] = &["--key", "w"];
    vec![
        of(case("coherence: empty file", "empty.npy", vec![], "is empty")),
        of(case("coherence: NaN", "nan.npy", nan, "1 NaN")),
        of(case("coherence: all rows zero but one", "single.npy", single, "fewer than 2 directions")),
        of(case("coherence: all zero", "zeros.npy", npy("<f4", "(40, 8)", &[0; 1280]), "fewer than 2 directions")),
        of(case("coherence: one row", "row.npy", npy("<f4", "(1, 8)", &numbers(8)), "fewer than 2 directions")),
        of(case("coherence: no dimensions", "none.npy", npy("<f4", "(8, 0)", &[]), "none.npy")),
        of(case("coherence: 3-D", "cube.npy", npy("<f4", "(4, 10, 8)", &numbers(320)), "--flatten")),
        of(keyed("coherence: unknown key", "two.npz", named, unknown, "no array named `w`")),
        set("pack: no dimensions", &["geometry", "pack", "--dims", "0", "--points", "4"], "--dims"),
        set("pack: 10⁹ dimensions", &["geometry", "pack", "--dims", "1000000000", "--points", "4"], "--dims"),
        set("pack: dimensions below 0", &["geometry", "pack", "--dims", "-3", "--points", "4"], "--dims"),
        set("pack: one point", &["geometry", "pack", "--dims", "3", "--points", "1"], "--points"),
        set("pack: too many to search", &["geometry", "pack", "--dims", "5", "--points", "3000"], "no construction"),
        set(
            "pack: both kinds",
            &["geometry", "pack", "--dims", "3", "--points", "6", "--lines", "--signed"],
            "--signed",
        ),
        set("room: 10⁹ dimensions", &["geometry", "room", "--dims", "1000000000", "--epsilon", "0.1"], "--dims"),
        set("room: ε of 0", &["geometry", "room", "--dims", "64", "--epsilon", "0"], "above 0 and below 1"),
        set("room: ε of 1", &["geometry", "room", "--dims", "64", "--epsilon", "1"], "above 0 and below 1"),
        set("room: ε below 0", &["geometry", "room", "--dims", "64", "--epsilon", "-0.1"], "above 0 and below 1"),
        set("room: ε not a number", &["geometry", "room", "--dims", "64", "--epsilon", "NaN"], "above 0 and below 1"),
        set("room: one point", &["geometry", "room", "--dims", "64", "--epsilon", "0.1", "--points", "1"], "--points"),
        set(
            "room: points below 0",
            &["geometry", "room", "--dims", "64", "--epsilon", "0.1", "--points", "-1"],
            "--points",
        ),
        set(
            "room: more corners than memory",
            &["geometry", "room", "--dims", "100000", "--epsilon", "0.1", "--points", "10000000"],
            "GiB",
        ),
        set("readout: directions alone", &["geometry", "readout", "--directions", "w.npy"], "--activations"),
        Case {
            command: &["geometry", "readout", "--directions", "w.npy", "--activations"],
            ..case("readout: a missing file", "x.npy", whole, "no such file")
        },
    ]
}

/// A version 1 `.npy` file.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    [b"\x93NUMPY\x01\x00\x76\x00", format!("{header:<117}\n").as_bytes(), data].concat()
}

/// `n` unremarkable little-endian float32.
fn numbers(n: usize) -> Vec<u8> {
    (0..n).flat_map(|i| ((i * i % 97) as f32 / 8.0).to_le_bytes()).collect()
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// `start` and then `zeros` zero bytes, deflated.
fn zero_bomb(start: &[u8], zeros: usize) -> Vec<u8> {
    zero_bomb_named("resid.npy", start, zeros)
}

fn zero_bomb_named(name: &str, start: &[u8], zeros: usize) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let deflated = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    writer.start_file(name, deflated).unwrap();
    writer.write_all(start).unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..zeros >> 20 {
        writer.write_all(&piece).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// What `superlens recover` is asked, and what its one line must say.
const RECOVER: &[(&str, &str)] = &[
    ("", "no directions"),
    ("missing.npy --k 2", "no such file"),
    ("empty.npy --k 2", "is empty"),
    ("nan.npy --k 2", "NaN"),
    ("large.npy --k 2", "scale the array"),
    ("zeros.npy --k 2", "nothing but zeros"),
    ("atoms.npy --key W_dec --k 2", "leave out --key"),
    ("several.npz --key W_dek --k 2", "did you mean `W_dec`"),
    ("atoms.npy --random 9,4 --k 2", "not both"),
    ("--random 9,4 --transpose --k 2", "--transpose"),
    ("--random 9 --k 2", "like 512,128"),
    ("--random 0,4 --k 1", "like 512,128"),
    ("--random 4000000,4000000000000 --k 2", "like 512,128"),
    ("atoms.npy", "--k"),
    ("atoms.npy --k 0", "from 1 to 4"),
    ("atoms.npy --k 5", "from 1 to 4"),
    ("atoms.npy --k two", "from 1 to 4"),
    ("atoms.npy --k -2", "from 1 to 4"),
    ("atoms.npy --k 2 --rows 0", "--rows"),
    ("atoms.npy --k 2 --rows -5", "--rows"),
    ("atoms.npy --k 2 --rows 99999999999", "--rows"),
    ("atoms.npy --k 2 --noise -1", "--noise"),
    ("atoms.npy --k 2 --noise NaN", "--noise"),
    ("atoms.npy --k 2 --amplitudes cauchy", "uniform, constant, gaussian"),
    ("atoms.npy --k 2 --method omq", "omp, cosamp, lasso, fista, basis_pursuit, amp"),
    ("atoms.npy --k 2 --lambda 0.1", "has no penalty"),
    ("atoms.npy --k 2 --debias", "--debias"),
    ("atoms.npy --k 2 --method lasso", "--lambda"),
    ("atoms.npy --k 2 --method lasso --lambda -1", "--lambda"),
    ("atoms.npy --k 2 --method lasso --lambda NaN", "--lambda"),
    ("atoms.npy --k 2 --method lasso --lambda universal", "--noise SIGMA"),
    ("atoms.npy --k 2 --method lasso --lambda 0.1..1", "a path falls"),
    ("atoms.npy --k 2 --method lasso --lambda 1..1", "a path falls"),
    ("atoms.npy --k 2 --method lasso --lambda 1..-1", "found `-1`"),
    ("atoms.npy --k 2 --method lasso --lambda 1..0.1 --steps 1", "--steps"),
    ("atoms.npy --k 2 --method lasso --lambda 1 --steps 9", "--steps"),
    ("atoms.npy --signals wide.npy --k 2", "5 columns, but the atoms have 4"),
    ("atoms.npy --signals atoms.npy --rows 3 --k 2", "--rows"),
    ("atoms.npy --signals atoms.npy --amplitudes gaussian --k 2", "nothing is planted"),
    ("atoms.npy --signals atoms.npy", "--k"),
    ("atoms.npy --signals-key x --k 2", "--signals-key"),
    ("phase --atoms 3", "from 10 to 5,000"),
    ("phase --deltas 0.5,1", "between 0 and 1"),
    ("phase --deltas -0.5", "between 0 and 1"),
    ("phase --atoms 50 --deltas 0.01", "less than one dimension"),
    ("phase --deltas 0.5,,0.6", "between 0 and 1"),
    ("phase --trials 0", "--trials"),
    ("phase --method omq", "no method"),
];

/// The files that [`RECOVER`] names.
fn recover_files(folder: &Path) {
    let large: Vec<u8> = (0..36).flat_map(|i| (1e20 * i as f32).to_le_bytes()).collect();
    let mut nan = numbers(36);
    nan[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let atoms = npy("<f4", "(9, 4)", &numbers(36));
    let files = [
        ("atoms.npy", atoms.clone()),
        ("wide.npy", npy("<f4", "(6, 5)", &numbers(30))),
        ("nan.npy", npy("<f4", "(9, 4)", &nan)),
        ("large.npy", npy("<f4", "(9, 4)", &large)),
        ("zeros.npy", npy("<f4", "(9, 4)", &[0; 144])),
        ("empty.npy", Vec::new()),
        ("several.npz", archive(&[("W_dec.npy", &atoms), ("b_dec.npy", &atoms)])),
    ];
    files.into_iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
}

/// As [`line_printed`], for `superlens recover` with these words.
fn recover_line(words: &str, says: &str) -> Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    recover_files(scratch.path());
    let before = names(scratch.path());
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.arg("recover").args(words.split_whitespace()).args(["--out", "run", "--quiet"]).current_dir(&scratch);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let one_line = stderr.matches('\n').count() == 1 && stderr.ends_with('\n') && stderr.contains(says);
    let silent = output.stdout.is_empty() && names(scratch.path()) == before;
    match output.status.code() == Some(2) && one_line && silent {
        true => Ok(stderr.trim_end().to_string()),
        false => Err(format!("recover {words}: {}, not one line that says `{says}`: {stderr:?}", output.status)),
    }
}

/// Runs `superlens` on `case` in a folder of its own. Returns the line on stderr with the folder taken
/// out of paths, or what is wrong.
fn line_printed(case: &Case) -> Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(scratch.path()).unwrap();
    let input = folder.join(case.file);
    match &case.content {
        Content::Nothing => {}
        Content::Folder => fs::create_dir(&input).unwrap(),
        Content::Bytes(bytes) => fs::write(&input, bytes).unwrap(),
        Content::Files(files) => {
            fs::create_dir(&input).unwrap();
            for (name, bytes) in files {
                let path = input.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
    }
    let before = names(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_superlens"));
    command.args(case.command);
    if !case.file.is_empty() {
        command.arg(&input);
    }
    command.args(case.flags).arg("--quiet");
    match case.command {
        ["convert"] => command.arg(folder.join("converted")),
        _ => command.arg("--out").arg(folder.join("report")),
    };
    let output = command.current_dir(&folder).output().unwrap();
    let stderr = String::from_utf8(output.stderr).map_err(|e| format!("stderr isn't UTF-8: {e}"))?;
    let complaint = |what: &str| Err(format!("{}: {what}; stderr: {stderr:?}", case.input));
    if output.status.code() != Some(2) {
        return complaint(&format!("{} instead of exit code 2", output.status));
    }
    if !output.stdout.is_empty() {
        return complaint(&format!("stdout: {:?}", String::from_utf8_lossy(&output.stdout)));
    }
    if stderr.matches('\n').count() != 1 || !stderr.ends_with('\n') || stderr.trim().is_empty() {
        return complaint("not exactly one line");
    }
    if stderr.contains("panicked") {
        return complaint("panicked");
    }
    if names(&folder) != before {
        return complaint(&format!("written: {:?}", names(&folder)));
    }
    let line = stderr.trim_end().replace(&format!("{}{}", folder.display(), std::path::MAIN_SEPARATOR), "");
    // Of two files the first that can't be read is named, and a flag's own error names the flag.
    let names_it = line.contains(case.file) || case.says == "no such file" || line.contains("--to");
    if !names_it || !line.contains(case.says) {
        return complaint(&format!("doesn't name {} and say `{}`", case.file, case.says));
    }
    Ok(line)
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

fn page(
    rows: &[(&str, String)],
    geometry: &[(&str, String)],
    recover: &[(&str, String)],
    saes: &[(&str, String)],
    models: &[(&str, String)],
) -> String {
    let mut page = String::from(
        "# What superlens says to bad input\n\n\
         `superlens diagnose FILE` prints one line on stderr, nothing on stdout, writes nothing and exits with 2.\n\
         This page is written by `BLESS=1 cargo test --release -p superlens-cli --test bad_inputs`, and the same\n\
         test without `BLESS` holds the page against the binary.\n\n\
         | input | the line printed |\n|---|---|\n",
    );
    let table = |rows: &[(&str, String)]| -> String {
        // Two backticks, because the lines quote names with one.
        rows.iter().map(|(input, line)| format!("| {input} | `` {} `` |\n", line.replace('|', "\\|"))).collect()
    };
    page.push_str(&table(rows));
    page.push_str("\n`superlens geometry` does the same, with files and with settings:\n\n| input | the line printed |\n|---|---|\n");
    page.push_str(&table(geometry));
    page.push_str(
        "\n`superlens recover` does the same:\n\n| after `superlens recover` | the line printed |\n|---|---|\n",
    );
    for (words, line) in recover {
        let words = if words.is_empty() { "nothing".to_string() } else { format!("`{words}`") };
        page.push_str(&format!("| {words} | `` {} `` |\n", line.replace('|', "\\|")));
    }
    page.push_str(
        "\n## Autoencoders\n\n`superlens convert FOLDER DST --to FORMAT` does the same; DST is not made.\n\n\
         | input | the line printed |\n|---|---|\n",
    );
    page.push_str(&table(saes));
    page.push_str(
        "\n## Models by name\n\nNothing is fetched.\n\n| after `superlens` | the line printed |\n|---|---|\n",
    );
    for (words, line) in models {
        page.push_str(&format!("| `{words}` | `` {line} `` |\n"));
    }
    page
}

#[test]
fn each_gets_one_line_and_exit_code_2() {
    let mut complaints = Vec::new();
    let mut printed = |cases: Vec<Case>| {
        let mut rows = Vec::new();
        for case in cases {
            match line_printed(&case) {
                Ok(line) => rows.push((case.input, line)),
                Err(complaint) => complaints.push(complaint),
            }
        }
        rows
    };
    let (rows, of_geometry, saes) = (printed(cases()), printed(geometry()), printed(bad_saes::cases()));
    let mut recover = Vec::new();
    for (words, says) in RECOVER {
        match recover_line(words, says) {
            Ok(line) => recover.push((*words, line)),
            Err(complaint) => complaints.push(complaint),
        }
    }
    let mut models = Vec::new();
    for (words, says) in bad_models::NAMES {
        match bad_models::line(words, says) {
            Ok(line) => models.push((*words, line)),
            Err(complaint) => complaints.push(complaint),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));

    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bad-inputs.md");
    let page = page(&rows, &of_geometry, &recover, &saes, &models);
    if std::env::var_os("BLESS").is_some_and(|v| v == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, page).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(kept == page, "docs/bad-inputs.md differs from what is printed; run with BLESS=1 and look at the change");
}
