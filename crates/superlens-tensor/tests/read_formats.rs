//! What is read: every version, element type, order and byte order, by hand-made bytes, by files that NumPy
//! wrote, and by real activations.

mod common;

use std::io::Write;
use std::path::Path;

use common::*;
use half::{bf16, f16};
use sha2::{Digest, Sha256};
use superlens_tensor::io::{Loaded, ReadOptions, describe, read_matrix};

fn read(path: &Path) -> Loaded {
    read_matrix(path, &ReadOptions::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn read_key(path: &Path, key: &str) -> Loaded {
    read_matrix(path, &ReadOptions { key: Some(key.into()), flatten: false }).unwrap_or_else(|e| panic!("{e}"))
}

fn flatten() -> ReadOptions {
    ReadOptions { key: None, flatten: true }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn stored(numbers: &[f32], kind: &str, big_endian: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &x in numbers {
        let mut element = match kind {
            "f2" => f16::from_f32(x).to_le_bytes().to_vec(),
            "bf16" => bf16::from_f32(x).to_le_bytes().to_vec(),
            "f4" => x.to_le_bytes().to_vec(),
            _ => f64::from(x).to_le_bytes().to_vec(),
        };
        if big_endian {
            element.reverse();
        }
        bytes.extend(element);
    }
    bytes
}

#[test]
fn npy_in_every_version_type_order_and_byte_order() {
    let scratch = Scratch::new();
    // Larger than a tile of the transposition both ways, and no multiple of it.
    let (rows, columns) = (131, 70);
    let numbers = entries(rows, columns);
    let by_columns: Vec<f32> = (0..rows * columns).map(|at| entry(at % rows, at / rows)).collect();
    for version in 1..=3 {
        for kind in ["f2", "f4", "f8"] {
            for (mark, big_endian) in [('<', false), ('>', true)] {
                for (fortran, order) in [(false, &numbers), (true, &by_columns)] {
                    let descr = format!("{mark}{kind}");
                    let header = npy_header(&descr, fortran, "(131, 70)");
                    let bytes = npy(version, &header, &stored(order, kind, big_endian));
                    let loaded = read(&scratch.file("x.npy", &bytes));
                    assert_eq!(loaded.mat.shape(), (rows, columns));
                    assert_eq!(loaded.mat.data(), numbers, "version {version} {descr} fortran {fortran}");
                    assert_eq!((loaded.shape, loaded.dtype, loaded.key), (vec![131, 70], descr, None));
                    assert_eq!((loaded.sha256, loaded.bytes), (hex(&bytes), bytes.len() as u64));
                    assert!(loaded.constant_columns.is_empty());
                }
            }
        }
    }
}

#[test]
fn safetensors_in_every_type() {
    let scratch = Scratch::new();
    let numbers = entries(9, 4);
    for (dtype, kind, size) in [("F16", "f2", 72), ("BF16", "bf16", 72), ("F32", "f4", 144), ("F64", "f8", 288)] {
        let wanted = stored(&numbers, kind, false);
        // Between two others: only its own bytes may be used.
        let header = format!(
            "{{{},{},{}}}",
            tensor("before", "U8", "[3]", 0, 3),
            tensor("wanted", dtype, "[9, 4]", 3, 3 + size),
            tensor("after", "F32", "[2]", 3 + size, 11 + size)
        );
        let data = [&[1, 2, 3][..], &wanted, &[255; 8]].concat();
        let path = scratch.file("x.safetensors", &safetensors(&header, &data));
        let loaded = read_key(&path, "wanted");
        assert_eq!(loaded.mat.data(), numbers, "{dtype}");
        assert_eq!(loaded.dtype, dtype);
        assert_eq!(loaded.key.as_deref(), Some("wanted"));
        assert_eq!((loaded.sha256, loaded.bytes), (hex(&wanted), wanted.len() as u64));
    }
}

#[test]
fn npz_stored_and_deflated() {
    let scratch = Scratch::new();
    let numbers = entries(40, 3);
    let inner = npy_f32("(40, 3)", &numbers);
    for deflated in [false, true] {
        let one = scratch.file("one.npz", &npz(&[("resid.npy", &inner), ("notes.txt", b"no array")], deflated));
        let loaded = read(&one);
        assert_eq!(loaded.mat.data(), numbers);
        assert_eq!(loaded.key.as_deref(), Some("resid"));
        assert_eq!((loaded.sha256, loaded.bytes), (hex(&inner), inner.len() as u64), "of the .npy inside");
        assert_eq!(read_key(&one, "resid.npy").key.as_deref(), Some("resid"));
    }
}

#[test]
fn special_values_survive() {
    let scratch = Scratch::new();
    let tiny = f64::from(f32::MIN_POSITIVE) / 8.0;
    let numbers = [f64::from(f32::MAX), -0.0, 1e-300, tiny, 0.1, -1.0];
    let data: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let path = scratch.file("x.npy", &npy(1, &npy_header("<f8", false, "(3, 2)"), &data));
    let expected = numbers.map(|x| x as f32);
    assert_eq!(read(&path).mat.data().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected.map(f32::to_bits));
}

#[test]
fn constant_columns_are_named_and_kept() {
    let scratch = Scratch::new();
    let numbers = [1.0, 0.0, 5.0, 2.0, 1.0, -0.0, 6.0, 2.0, 1.0, 0.0, 5.0, 2.5];
    let loaded = read(&scratch.file("x.npy", &npy_f32("(3, 4)", &numbers)));
    assert_eq!(loaded.constant_columns, [0, 1], "zero and minus zero are one number");
    assert_eq!(loaded.mat.shape(), (3, 4));
}

#[test]
fn more_axes_become_rows_when_asked() {
    let scratch = Scratch::new();
    let numbers = entries(6, 4);
    let options = flatten();
    let c = read_matrix(&scratch.file("c.npy", &npy_f32("(2, 3, 4)", &numbers)), &options).unwrap();
    assert_eq!((c.mat.shape(), c.shape), ((6, 4), vec![2, 3, 4]));
    assert_eq!(c.mat.data(), numbers);
}

#[test]
fn a_matrix_of_many_pieces() {
    let scratch = Scratch::new();
    // 9.6 MB in C order: more than one 8 MiB piece. 40 MB by columns: more than one 32 MiB piece.
    for (fortran, rows, columns) in [(false, 80_000, 30), (true, 100_000, 100)] {
        let value = |i: usize, j: usize| ((i * 31 + j * 7) % 1000) as f32;
        let mut data = Vec::with_capacity(rows * columns * 4);
        for at in 0..rows * columns {
            let (i, j) = if fortran { (at % rows, at / rows) } else { (at / columns, at % columns) };
            data.extend(value(i, j).to_le_bytes());
        }
        let header = npy_header("<f4", fortran, &format!("({rows}, {columns})"));
        let loaded = read(&scratch.file("x.npy", &npy(1, &header, &data)));
        let wrong = (0..rows * columns).find(|&at| loaded.mat.data()[at] != value(at / columns, at % columns));
        assert_eq!(wrong, None, "fortran {fortran}");
    }
}

#[test]
fn describe_lists_what_is_there() {
    let scratch = Scratch::new();
    let header = format!("{{{},{}}}", tensor("ids", "I64", "[2]", 0, 16), tensor("x", "F32", "[1, 2]", 16, 24));
    let listed = describe(&scratch.file("x.safetensors", &safetensors(&header, &[0; 24]))).unwrap();
    let as_text = |infos: Vec<superlens_tensor::io::ArrayInfo>| -> Vec<String> {
        infos.into_iter().map(|i| format!("{} {:?} {}", i.key.unwrap_or_default(), i.shape, i.dtype)).collect()
    };
    assert_eq!(as_text(listed), ["ids [2] I64", "x [1, 2] F32"]);
    let several = describe(&fixtures().join("several_deflated.npz")).unwrap();
    assert_eq!(as_text(several), ["resid [12, 5] <f4", "mlp/hidden [12, 5] <f8", "labels [12] <i8"]);
    assert_eq!(as_text(describe(&fixtures().join("refused_object.npy")).unwrap()), [" [2, 2] |O"]);
}

#[test]
fn files_written_by_numpy() {
    let numbers = entries(12, 5);
    for version in 1..=3 {
        for kind in ["f2_le", "f2_be", "f4_le", "f4_be", "f8_le", "f8_be"] {
            for order in ["c", "f"] {
                let name = format!("v{version}_{kind}_{order}.npy");
                let loaded = read(&fixtures().join(&name));
                assert_eq!((loaded.mat.shape(), loaded.mat.data()), ((12, 5), &numbers[..]), "{name}");
            }
        }
    }
    assert_eq!(read(&fixtures().join("every_second_row.npy")).mat.data(), numbers);
    for name in ["three_axes_c", "three_axes_f", "four_axes_f"] {
        let loaded = read_matrix(&fixtures().join(format!("{name}.npy")), &flatten()).unwrap();
        assert_eq!((loaded.mat.shape(), loaded.mat.data()), ((12, 5), &numbers[..]), "{name}");
    }
    for name in ["one_stored", "one_deflated"] {
        let loaded = read(&fixtures().join(format!("{name}.npz")));
        assert_eq!(loaded.mat.data(), numbers, "{name}");
        assert_eq!(loaded.key.as_deref(), Some("arr_0"));
    }
    for name in ["several_stored", "several_deflated"] {
        for key in ["resid", "mlp/hidden"] {
            assert_eq!(read_key(&fixtures().join(format!("{name}.npz")), key).mat.data(), numbers, "{name} {key}");
        }
    }
}

#[test]
fn what_numpy_writes_and_is_refused() {
    for (name, says) in [
        ("object", "holds |O (Python objects)"),
        ("int", "holds <i8 (integers)"),
        ("bool", "holds |b1 (booleans)"),
        ("complex", "holds <c8 (complex numbers)"),
        ("text", "holds <U1 (text)"),
        ("record", "holds [('größe', '<f4'), ('id', '<i4', (2,))] (records with fields)"),
        ("void", "holds |V2 (raw bytes; NumPy stores bfloat16 like this)"),
        ("vector", "has shape [12]: a matrix"),
        ("scalar", "has shape []: a matrix"),
    ] {
        let path = fixtures().join(format!("refused_{name}.npy"));
        let error = read_matrix(&path, &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&format!("refused_{name}.npy")), "{error}");
    }
}

/// Real activations, where the machine has them: `SUPERLENS_TEST_DATA` names the folder.
#[test]
fn real_activations() {
    let Some(folder) = std::env::var_os("SUPERLENS_TEST_DATA") else {
        // Straight to stderr: the harness keeps what passing tests print with `eprintln!` to itself.
        let _ = writeln!(std::io::stderr(), "skipped: SUPERLENS_TEST_DATA doesn't name the folder of real activations");
        return;
    };
    let folder = Path::new(&folder);
    let stories = read_key(&folder.join("stories260K/reference.safetensors"), "greedy64.layers.0.mlp_hidden");
    assert_eq!((stories.mat.shape(), stories.dtype.as_str()), ((64, 172), "F32"));
    let options = ReadOptions { key: Some("resid.0".into()), flatten: true };
    let router = read_matrix(&folder.join("toy_router_sae/reference.safetensors"), &options).unwrap();
    assert_eq!((router.mat.shape(), router.shape), ((160, 32), vec![32, 5, 32]));

    // The same tensor through the safetensors crate's own path over the whole file.
    let bytes = std::fs::read(folder.join("toy_router_sae/reference.safetensors")).unwrap();
    let whole = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let data = whole.tensor("resid.0").unwrap().data();
    assert_eq!(le_bytes(router.mat.data()), data);
    assert_eq!(router.sha256, hex(data));
}
