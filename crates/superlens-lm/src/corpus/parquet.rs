//! Texts in a column of a Parquet file.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::TextError;

/// Rows that are decoded at once.
const ROWS: usize = 64;

/// The texts of a file, row by row.
pub(super) struct Texts {
    reader: ParquetRecordBatchReader,
    batch: Option<ArrayRef>,
    next: usize,
    row: u64,
    column: String,
    limit: usize,
}

impl Texts {
    /// From a row on.
    pub(super) fn open(path: &Path, column: &str, limit: usize, row: u64) -> Result<Self, TextError> {
        let told =
            |e: parquet::errors::ParquetError| TextError::wrong(path, format!("is no Parquet that is read: {e}"));
        let file = File::open(path).map_err(TextError::reading(path))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(told)?;
        let fields = builder.schema().fields();
        let Some(at) = fields.iter().position(|field| field.name() == column) else {
            let names: Vec<String> = fields.iter().take(8).map(|field| format!("`{}`", field.name())).collect();
            let what = format!("holds no column `{column}`, which should be the text; it holds: {}", names.join(", "));
            return Err(TextError::wrong(path, what));
        };
        let of = fields[at].data_type();
        if !matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
            return Err(TextError::wrong(path, format!("column `{column}`: expected strings, found {of}")));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), [at]);
        let from = usize::try_from(row).unwrap_or(usize::MAX);
        let reader = builder.with_projection(mask).with_batch_size(ROWS).with_offset(from).build().map_err(told)?;
        Ok(Self { reader, batch: None, next: 0, row, column: column.into(), limit })
    }

    pub(super) fn next(&mut self, path: &Path) -> Result<Option<String>, TextError> {
        let wrong = |row: u64, column: &str, what: String| {
            TextError::wrong(path, format!("column `{column}`, row {row} (counted from 0): {what}"))
        };
        let batch = loop {
            match &self.batch {
                Some(batch) if self.next < batch.len() => break batch,
                _ => match self.reader.next() {
                    None => return Ok(None),
                    Some(Err(e)) => return Err(wrong(self.row, &self.column, format!("can't be read: {e}"))),
                    Some(Ok(batch)) => (self.batch, self.next) = (Some(batch.column(0).clone()), 0),
                },
            }
        };
        if batch.is_null(self.next) {
            return Err(wrong(
                self.row,
                &self.column,
                "expected a text, found none (null); leave such rows out".into(),
            ));
        }
        let text = match batch.data_type() {
            DataType::LargeUtf8 => batch.as_string::<i64>().value(self.next),
            DataType::Utf8View => batch.as_string_view().value(self.next),
            _ => batch.as_string::<i32>().value(self.next),
        };
        if text.len() > self.limit {
            let what = format!("is longer than a document may be ({} bytes); break it up", self.limit);
            return Err(wrong(self.row, &self.column, what));
        }
        let text = text.to_owned();
        self.next += 1;
        self.row += 1;
        Ok(Some(text))
    }
}
