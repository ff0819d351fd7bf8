//! Sparse matrices as `scipy.sparse.save_npz` writes them: an `.npz` of `data`, `indices`, `indptr`, `shape` and `format`.

use std::io::{Cursor, Write};
use std::path::Path;

use super::{Problem, ReadError, Shape, npz, write_atomic};
use crate::kernels::sparse::SparseRows;

/// Whether the file is an `.npz` of a sparse matrix, of whatever format; `false` where it can't be read at all.
pub fn is_sparse(path: &Path) -> bool {
    let tells = |key: Option<&str>| matches!(key, Some("indptr" | "format"));
    super::describe(path).is_ok_and(|arrays| arrays.iter().any(|a| tells(a.key.as_deref())))
}

/// Reads a matrix of compressed sparse rows. Memory is that of its entries. Explicit zeros are left out, entries of a row sorted.
///
/// # Errors
/// [`ReadError`] if the file can't be read, isn't such an archive, or its parts don't fit each other.
pub fn read_csr(path: &Path) -> Result<SparseRows, ReadError> {
    let in_file = |problem| ReadError::new(path, None, problem);
    let mut archive = npz::Archive::of_file(path).map_err(in_file)?;
    let keys = archive.keys();
    let place = |key: &str| {
        let place = keys.iter().position(|k| k == key);
        place
            .ok_or_else(|| in_file(broken(&format!("there is no `{key}`; a matrix of scipy's csr format is expected"))))
    };
    if let Some(at) = keys.iter().position(|key| key == "format") {
        // A text of one element: three letters at the end of the entry, of one byte each or of four.
        let bytes = archive.short(at).map_err(in_file)?;
        let text: String = bytes.iter().filter(|b| **b != 0).map(|&b| char::from(b)).collect();
        if !text.ends_with("csr") {
            let found: String = text.chars().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect();
            return Err(in_file(broken(&format!(
                "a matrix of scipy's csr format is expected, this is one of `{}`; save `matrix.tocsr()`",
                found.trim()
            ))));
        }
    }
    let (data, indices, indptr, shape) = (place("data")?, place("indices")?, place("indptr")?, place("shape")?);
    let mut integers = |at: usize, key: &str| archive.integers(at).map_err(|p| ReadError::new(path, Some(key), p));
    let (shape, indptr, indices) =
        (integers(shape, "shape")?, integers(indptr, "indptr")?, integers(indices, "indices")?);
    let data = match archive.read(data, Shape::Any) {
        Ok(array) => array.mat.into_vec(),
        // A matrix without entries.
        Err(_) if indices.is_empty() => Vec::new(),
        Err(p) => return Err(ReadError::new(path, Some("data"), p)),
    };
    assemble(&shape, &indptr, &indices, &data).map_err(|what| in_file(broken(&what)))
}

fn broken(what: &str) -> Problem {
    Problem::BadHeader(what.to_string())
}

fn assemble(shape: &[u64], indptr: &[u64], indices: &[u64], data: &[f32]) -> Result<SparseRows, String> {
    let &[rows, cols] = shape else { return Err(format!("`shape` has {} axes, 2 are expected", shape.len())) };
    if indptr.len() as u64 != rows.saturating_add(1) || indptr[0] != 0 || !indptr.is_sorted() {
        return Err(format!("`indptr` must rise from 0 over {rows} rows; is the format csr?"));
    }
    let (n, last) = (indices.len(), indptr[indptr.len() - 1]);
    if data.len() != n || last != n as u64 {
        return Err(format!("`data` holds {}, `indices` {n}, `indptr` ends at {last}", data.len()));
    }
    if cols > u64::from(u32::MAX) || indices.iter().any(|&j| j >= cols) {
        return Err(format!("`indices` reach beyond {cols} columns"));
    }
    if data.iter().any(|v| !v.is_finite()) {
        return Err("`data` holds NaN or infinite values".into());
    }
    let (mut offsets, mut columns, mut values) = (vec![0], Vec::with_capacity(n), Vec::with_capacity(n));
    for ends in indptr.windows(2) {
        let at = ends[0] as usize..ends[1] as usize;
        let pairs = indices[at.clone()].iter().zip(&data[at]).filter(|(_, v)| **v != 0.0);
        let mut row: Vec<(u32, f32)> = pairs.map(|(&j, &v)| (j as u32, v)).collect();
        row.sort_by_key(|entry| entry.0);
        columns.extend(row.iter().map(|entry| entry.0));
        values.extend(row.iter().map(|entry| entry.1));
        offsets.push(columns.len());
    }
    Ok(SparseRows::new(cols as usize, offsets, columns, values))
}

/// Writes what [`read_csr`] and `scipy.sparse.load_npz` read.
///
/// # Errors
/// Any of the system's; the file is whole or as it was.
pub fn write_csr(path: &Path, m: &SparseRows) -> std::io::Result<()> {
    let mut offsets = vec![0i64];
    (0..m.rows()).for_each(|i| offsets.push(offsets[i] + m.row(i).0.len() as i64));
    let bytes = |numbers: &[i64]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let columns: Vec<u8> = m.indices().iter().flat_map(|&j| i64::from(j).to_le_bytes()).collect();
    let values: Vec<u8> = m.values().iter().flat_map(|v| v.to_le_bytes()).collect();
    let arrays: [(&str, &str, &[usize], Vec<u8>); 5] = [
        ("indices", "<i8", &[m.nnz()], columns),
        ("indptr", "<i8", &[offsets.len()], bytes(&offsets)),
        ("format", "|S3", &[], b"csr".to_vec()),
        ("shape", "<i8", &[2], bytes(&[m.rows() as i64, m.cols() as i64])),
        ("data", "<f4", &[m.nnz()], values),
    ];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (key, descr, shape, bytes) in arrays {
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .large_file(bytes.len() > 1 << 31);
        zip.start_file(format!("{key}.npy"), options)?;
        zip.write_all(&npy_header(descr, shape))?;
        zip.write_all(&bytes)?;
    }
    write_atomic(path, &zip.finish()?.into_inner())
}

/// What stands before the elements of an `.npy` file, C order.
pub fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", axes.join(", "));
    let padded = (10 + text.len() + 1).next_multiple_of(64) - 11;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((padded + 1) as u16).to_le_bytes());
    header.extend(format!("{text:<padded$}\n").bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparse_matrix_is_read_as_it_was_written_and_a_broken_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npz");
        for m in [
            SparseRows::new(7, vec![0, 2, 2, 3], vec![1, 6, 0], vec![0.5, 2.0, -1.0]),
            SparseRows::new(3, vec![0, 0, 0], vec![], vec![]),
        ] {
            write_csr(&path, &m).unwrap();
            assert!(is_sparse(&path));
            assert_eq!(read_csr(&path).unwrap(), m);
        }
        // A square matrix of columns would pass for its transpose.
        for (format, says) in [("csc", "`csc`"), ("coo", "`coo`")] {
            let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
            archive.start_file("format.npy", zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&npy_header("|S3", &[])).unwrap();
            archive.write_all(format.as_bytes()).unwrap();
            std::fs::write(&path, archive.finish().unwrap().into_inner()).unwrap();
            let told = read_csr(&path).unwrap_err().to_string();
            assert!(is_sparse(&path) && told.contains(says) && told.contains("tocsr"), "{told}");
        }
        let bad = |shape: &[u64], indptr: &[u64], indices: &[u64], data: &[f32]| {
            assemble(shape, indptr, indices, data).unwrap_err()
        };
        assert!(bad(&[1, 2], &[0, 1], &[2], &[1.0]).contains("beyond 2"));
        assert!(bad(&[1, 2], &[0, 2], &[1], &[1.0]).contains("ends at 2"));
        assert!(bad(&[2, 2], &[0, 1], &[1], &[1.0]).contains("rise"));
        assert!(bad(&[2], &[0], &[], &[]).contains("axes"));
        assert!(bad(&[1, 2], &[0, 1], &[1], &[f32::NAN]).contains("NaN"));
        // Unsorted entries and explicit zeros, which scipy allows.
        let m = assemble(&[1, 5], &[0, 3], &[4, 2, 0], &[1.0, 0.0, 3.0]).unwrap();
        assert_eq!((m.indices(), m.values()), (&[0, 4][..], &[3.0, 1.0][..]));
    }
}
