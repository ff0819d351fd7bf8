//! Parquet: a column with a list of floats a row, or several columns of floats, which are the neurons in the order of the file.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{DataType, Schema};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use superlens_tensor::Mat;

use super::table::{floats, is_float, is_list, leaf};
use super::{DType, Opened, Options, Piece, StoreError, fingerprint, source};

/// Rows that are decoded at once.
const ROWS: usize = 4096;

pub(super) fn open(src: &Path, files: Vec<PathBuf>, options: &Options) -> Result<Opened, StoreError> {
    let mut reader = read(&files[0])?;
    let columns = columns(reader.schema().as_ref(), options.key.as_deref()).map_err(|what| source(src, what))?;
    let half = |name: &String| {
        reader.schema().field_with_name(name).is_ok_and(|field| *leaf(field.data_type()) == DataType::Float16)
    };
    let dtype = if columns.iter().all(half) { DType::F16 } else { DType::F32 };
    let first = match reader.next() {
        Some(batch) => batch.map_err(|e| source(&files[0], e.to_string()))?,
        None => return Err(source(&files[0], "holds no rows".into())),
    };
    let width = rows(&first, &columns).map_err(|what| source(&files[0], what))?.cols();
    let origin = fingerprint(&files, options.key.as_deref())?;
    Ok(Opened { name: None, width, dtype, tokens: false, origin, pieces: Box::new(pieces(files, columns, width)) })
}

fn pieces(files: Vec<PathBuf>, columns: Vec<String>, width: usize) -> impl Iterator<Item = Piece> {
    let batches = files.into_iter().flat_map(|path| {
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, StoreError>>> = match read(&path) {
            Ok(reader) => {
                let path = path.clone();
                Box::new(reader.map(move |batch| batch.map_err(|e| source(&path, e.to_string()))))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        batches.map(move |batch| (path.clone(), batch))
    });
    batches.map(move |(path, batch)| {
        let mat = rows(&batch?, &columns).map_err(|what| source(&path, what))?;
        if mat.cols() != width {
            return Err(source(&path, format!("expected {width} columns as in the first rows, found {}", mat.cols())));
        }
        Ok((mat, Vec::new()))
    })
}

fn read(path: &Path) -> Result<ParquetRecordBatchReader, StoreError> {
    let file = File::open(path).map_err(StoreError::reading(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.with_batch_size(ROWS).build());
    reader.map_err(|e| source(path, format!("is no Parquet that is read: {e}")))
}

/// The columns that make up a row.
fn columns(schema: &Schema, key: Option<&str>) -> Result<Vec<String>, String> {
    let of = |wanted: &dyn Fn(&DataType) -> bool| -> Vec<String> {
        let fields = schema.fields().iter().filter(|f| is_float(f.data_type()) && wanted(f.data_type()));
        fields.map(|f| f.name().clone()).collect()
    };
    let (lists, plain) = (of(&is_list), of(&|of| !is_list(of)));
    match key {
        Some(key) if lists.iter().chain(&plain).any(|name| name == key) => Ok(vec![key.into()]),
        Some(key) => Err(format!("--key: expected one of {}, found `{key}`", [lists, plain].concat().join(", "))),
        None if lists.len() == 1 => Ok(lists),
        None if lists.is_empty() && !plain.is_empty() => Ok(plain),
        None if lists.is_empty() => Err("has no columns of floats, nor one with lists of them".into()),
        None => Err(format!("holds {} columns with lists; choose one with --key: {}", lists.len(), lists.join(", "))),
    }
}

fn rows(batch: &RecordBatch, columns: &[String]) -> Result<Mat, String> {
    let count = batch.num_rows();
    let mut mats = Vec::new();
    for name in columns {
        let array = batch.column_by_name(name).ok_or_else(|| format!("has no column `{name}`"))?;
        let block = floats(array).map_err(|what| format!("column `{name}`: {what}"))?;
        let width: usize = block.shape.iter().product();
        if block.shape.len() > 1 || width == 0 || count == 0 || block.data.len() != count * width {
            return Err(format!(
                "column `{name}`: expected a number or a list of them a row, found shape {:?}",
                block.shape
            ));
        }
        mats.push(Mat::from_vec(count, width, block.data));
    }
    if mats.len() == 1 {
        return Ok(mats.remove(0));
    }
    Ok(Mat::from_fn(count, mats.len(), |i, j| mats[j].data()[i]))
}
