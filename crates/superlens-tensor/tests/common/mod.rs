//! Files in the three formats, byte by byte, without the code under test.
#![allow(dead_code)] // each test binary uses its share

use std::io::Write;
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;

/// A folder of files that goes away with the test.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// The folder of arrays that NumPy wrote.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/npy")
}

/// The number that every made matrix holds at (i, j); exact in all float types.
pub fn entry(i: usize, j: usize) -> f32 {
    (7.0 * i as f32 - 3.0 * j as f32) / 8.0
}

/// `entry` for a whole `[rows, columns]` matrix, row after row.
pub fn entries(rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| entry(at / columns, at % columns)).collect()
}

pub fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let length_bytes = if version == 1 { 2 } else { 4 };
    let unpadded = bytes.len() + length_bytes + header.len() + 1;
    let text = format!("{header}{}\n", " ".repeat(unpadded.next_multiple_of(64) - unpadded));
    bytes.extend(&(text.len() as u32).to_le_bytes()[..length_bytes]);
    bytes.extend(text.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn npy_header(descr: &str, fortran: bool, shape: &str) -> String {
    let fortran = if fortran { "True" } else { "False" };
    format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}")
}

/// A version 1 file of little-endian f32 in C order.
pub fn npy_f32(shape: &str, numbers: &[f32]) -> Vec<u8> {
    npy(1, &npy_header("<f4", false, shape), &le_bytes(numbers))
}

pub fn le_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub fn npz(entries: &[(&str, &[u8])], deflated: bool) -> Vec<u8> {
    let method = if deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub fn tensor(name: &str, dtype: &str, shape: &str, from: usize, to: usize) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}
