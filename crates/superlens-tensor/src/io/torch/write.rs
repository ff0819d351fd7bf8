//! Writes a dictionary of tensors as `torch.save` does, so that `torch.load(…, weights_only=True)` reads it.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::value::Element;

/// What a tensor holds.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    F32(&'a [f32]),
    /// `torch.int`.
    I32(&'a [i32]),
    /// `torch.long`.
    I64(&'a [i64]),
}

impl Numbers<'_> {
    fn element(self) -> Element {
        match self {
            Numbers::F32(_) => Element::F32,
            Numbers::I32(_) => Element::I32,
            Numbers::I64(_) => Element::I64,
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Numbers::F32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Numbers::I32(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Numbers::I64(v) => v.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn len(self) -> usize {
        match self {
            Numbers::F32(v) => v.len(),
            Numbers::I32(v) => v.len(),
            Numbers::I64(v) => v.len(),
        }
    }
}

/// The bytes of a file `NAME.pt` that holds a dictionary of `(key, numbers, shape)`. Panics where numbers and shape differ in length.
pub fn state_dict(name: &str, tensors: &[(&str, Numbers<'_>, Vec<usize>)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    // The time of the first DOS date, so that the same tensors give the same bytes; PyTorch aligns to 64 bytes.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default())
        .with_alignment(64);
    let mut add = |entry: &str, bytes: &[u8]| {
        zip.start_file(format!("{name}/{entry}"), options).expect("an archive in memory takes a file");
        zip.write_all(bytes).expect("an archive in memory takes bytes");
    };
    add("data.pkl", &pickle(tensors));
    add("byteorder", b"little");
    for (i, (_, numbers, _)) in tensors.iter().enumerate() {
        add(&format!("data/{i}"), &numbers.bytes());
    }
    add("version", b"3\n");
    zip.finish().expect("an archive in memory can be ended").into_inner()
}

/// Protocol 2, without a memo: `{key: _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), …}`.
fn pickle(tensors: &[(&str, Numbers<'_>, Vec<usize>)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (i, (key, numbers, shape)) in tensors.iter().enumerate() {
        let len: usize = shape.iter().product();
        assert_eq!(numbers.len(), len, "`{key}` of shape {shape:?}");
        text(&mut out, key);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{}\n", numbers.element().storage()).bytes());
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        int(&mut out, len);
        out.extend(b"tQ");
        int(&mut out, 0);
        tuple(&mut out, shape);
        let strides: Vec<usize> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        tuple(&mut out, &strides);
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
    out.extend(b"u.");
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

fn tuple(out: &mut Vec<u8>, items: &[usize]) {
    out.push(b'(');
    items.iter().for_each(|&n| int(out, n));
    out.push(b't');
}

/// Eight bytes and a ninth for the sign.
fn int(out: &mut Vec<u8>, n: usize) {
    match i32::try_from(n) {
        Ok(n) => {
            out.push(b'J');
            out.extend(n.to_le_bytes());
        }
        Err(_) => {
            out.extend([0x8a, 8]);
            out.extend((n as i64).to_le_bytes());
        }
    }
}
