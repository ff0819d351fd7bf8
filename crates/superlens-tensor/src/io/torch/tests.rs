use super::*;
use proptest::prelude::*;
use std::io::Write;
use zip::write::SimpleFileOptions;

/// A real file's bytes: a matrix, a scalar and whole numbers.
fn sample() -> Vec<u8> {
    let matrix: Vec<f32> = (0..6).map(|i| i as f32 / 2.0).collect();
    state_dict(
        "ae",
        &[
            ("W", Numbers::F32(&matrix), vec![2, 3]),
            ("k", Numbers::I32(&[7]), vec![]),
            ("sizes", Numbers::I64(&[3, -4]), vec![2]),
        ],
    )
}

fn open(bytes: &[u8]) -> Result<TorchFile, ReadError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ae.pt");
    std::fs::write(&path, bytes).unwrap();
    TorchFile::open(&path)
}

/// An archive around any pickle and storages.
fn archive_of(pickle: &[u8], storages: &[&[u8]]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let entries = storages.iter().enumerate().map(|(i, bytes)| (format!("x/data/{i}"), *bytes));
    for (name, bytes) in [("x/data.pkl".to_owned(), pickle)].into_iter().chain(entries) {
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn said(pickle: &[u8]) -> String {
    open(&archive_of(pickle, &[&[0; 24]])).map_or_else(|e| e.to_string(), |file| format!("read: {:?}", file.root()))
}

fn tensor(file: &mut TorchFile, key: &str) -> Result<(Vec<u64>, Vec<f32>), String> {
    match file.root().get(key).cloned() {
        Some(Value::Tensor(info)) => {
            file.tensor(key, &info).map(|numbers| (info.shape().to_vec(), numbers)).map_err(|e| e.to_string())
        }
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn what_is_written_is_read() {
    let mut file = open(&sample()).unwrap();
    assert_eq!(tensor(&mut file, "W").unwrap(), (vec![2, 3], vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5]));
    assert_eq!(tensor(&mut file, "k").unwrap(), (vec![], vec![7.0]));
    assert_eq!(tensor(&mut file, "sizes").unwrap(), (vec![2], vec![3.0, -4.0]));
    assert_eq!(sample(), sample(), "the same bytes for the same tensors");
}

/// Six floats, `size` and `stride` as the pickle's source, from `offset`.
fn window(offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let start = b"\x80\x02}X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ";
    [start.as_slice(), &[b'K', offset], size, stride, b"\x89NtRs."].concat()
}

#[test]
fn windows_on_a_storage_are_read_by_their_strides() {
    let storage: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let read = |pickle: Vec<u8>| {
        let mut file = open(&archive_of(&pickle, &[&storage]))?;
        Ok::<_, ReadError>(tensor(&mut file, "t").unwrap())
    };
    assert_eq!(read(window(0, b"K\x03K\x02\x86", b"K\x01K\x03\x86")).unwrap().1, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(read(window(4, b"K\x02\x85", b"K\x01\x85")).unwrap().1, [4.0, 5.0]);
    assert_eq!(read(window(0, b"K\x00K\x09\x86", b"K\x09K\x01\x86")).unwrap(), (vec![0, 9], vec![]));
    for (offset, size, stride) in [
        (5, b"K\x02\x85".as_slice(), b"K\x01\x85".as_slice()),
        (0, b"K\x02\x85", b"K\x06\x85"),
        (0, b"K\xff\x85", b"K\x00\x85"),
        (0, b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x08\x86", b"K\x08K\x01\x86"),
        (0, b"J\xff\xff\xff\xff\x85", b"K\x01\x85"),
        (0, b"K\x02\x85", b")"),
    ] {
        let error = read(window(offset, size, stride)).unwrap_err().to_string();
        assert!(error.contains("tensor"), "{error}");
    }
}

#[test]
fn nothing_is_run() {
    for (name, pickle) in [
        ("posix.system", b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.".as_slice()),
        ("builtins.eval", b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R."),
        ("torch.load", b"\x80\x02ctorch\nload\n."),
        ("torch.CharStorage", b"\x80\x02ctorch\nCharStorage\n."),
    ] {
        let said = said(pickle);
        assert!(said.contains(&format!("`{name}`")) && said.contains("state_dict"), "{said}");
    }
    // Other ways to a call: instances, objects, extensions, text that is evaluated.
    for code in [b'i', b'o', 0x81, 0x92, 0x82, b'P', b'S', b'I'] {
        let said = said(&[b"\x80\x02(".as_slice(), &[code], b"os\nsystem\n."].concat());
        assert!(said.contains("instruction"), "{code:#x}: {said}");
    }
}

#[test]
fn damaged_and_hostile_pickles_are_errors() {
    let nested = [b"\x80\x02".as_slice(), &b"(".repeat(200_000), &b"t".repeat(200_000), b"."].concat();
    assert!(said(&nested).contains("nested more than"), "{}", said(&nested));
    // Thirty tuples, each of the one before it twice: 2³⁰ values if unfolded.
    let doubling = [b"\x80\x02)".as_slice(), &b"q\x00h\x00\x86".repeat(30), b"."].concat();
    assert!(said(&doubling).contains("more than 1048576 values"), "{}", said(&doubling));
    let itself = b"\x80\x02]q\x00h\x00a.";
    assert!(said(itself).contains("nested more than"));
    for pickle in [
        b"".as_slice(),
        b"\x80",
        b"\x80\x02",
        b".",
        b"0.",
        b"(.",
        b"t.",
        b"a.",
        b"s.",
        b"u.",
        b"h\x07.",
        b"R.",
        b"Q.",
        b"b.",
        b"NN\x93.",
        b"X\xff\xff\xff\xffab.",
        b"\x8a\xff.",
        b"cos",
        b"}(Nu.",
        b"(}t1.",
        b"ccollections\nOrderedDict\nN\x85R.",
        b"ccollections\nOrderedDict\n.",
        b"NNb.",
        b"N)R.",
        b"X\x01\x00\x00\x00\xff.",
    ] {
        let said = said(pickle);
        assert!(said.contains("ae.pt") && !said.contains('\n'), "{pickle:?}: {said}");
    }
}

#[test]
fn storages_must_be_as_the_pickle_says() {
    let pickle = window(0, b"K\x06\x85", b"K\x01\x85");
    for storages in [&[&[0u8; 20][..]][..], &[&[0; 28]], &[]] {
        let error = tensor(&mut open(&archive_of(&pickle, storages)).unwrap(), "t").unwrap_err();
        assert!(error.contains("key `t`"), "{error}");
    }
    assert!(open(b"").unwrap_err().to_string().contains("empty"));
    assert!(open(b"\x80\x02]q\x00.").unwrap_err().to_string().contains("PyTorch 1.6"));
    let mut packed = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    packed
        .start_file("x/data.pkl", SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
        .unwrap();
    packed.write_all(&vec![b'N'; 3 << 20]).unwrap();
    assert!(open(&packed.finish().unwrap().into_inner()).unwrap_err().to_string().contains("packed"));
    let dir = tempfile::tempdir().unwrap();
    assert!(TorchFile::open(dir.path()).unwrap_err().to_string().contains("a folder"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever is done to a real file, reading it ends in numbers or in an error of one line.
    #[test]
    fn no_damage_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        in_pickle in any::<bool>(),
    ) {
        let mut bytes = sample();
        // Most of a file is padding and names: half of the time only the pickle is hit, and its checksum mended.
        let mut pickle = b"\x80\x02}(X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)Rq\x01tRX\x01\x00\x00\x00vh\x01u.".to_vec();
        let target = if in_pickle { &mut pickle } else { &mut bytes };
        for (at, byte) in changes {
            let at = at.index(target.len());
            target[at] = byte;
        }
        if let Some(cut) = cut {
            target.truncate(cut.index(target.len()));
        }
        let bytes = if in_pickle { archive_of(&pickle, &[&[0; 24]]) } else { bytes };
        match open(&bytes) {
            Err(error) => prop_assert!(!error.to_string().contains('\n')),
            Ok(mut file) => for key in ["W", "k", "sizes", "t"] {
                let _ = tensor(&mut file, key);
            },
        }
    }
}
