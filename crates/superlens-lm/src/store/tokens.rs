//! `tokens.parquet`: which token each row belongs to. Columns `row`, `document`, `position`, `token_id`, `text`.
//!
//! While a store is written, each set of shards has a table of its own under `.tokens`, so that a writing that was ended goes on; they are
//! put together at the end. Without the feature `tables` a store has no tokens.

use super::StoreError;
use super::manifest::Stored;
use std::path::Path;

/// The token of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRow {
    pub document: u32,
    /// In its document, from 0.
    pub position: u32,
    pub token_id: u32,
    pub text: Option<String>,
}

#[cfg(feature = "tables")]
mod table {
    use std::fs::{self, File};
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
    use arrow_schema::{DataType, Field, Schema, SchemaRef};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::basic::Compression;
    use parquet::errors::ParquetError;
    use parquet::file::properties::WriterProperties;
    use tempfile::NamedTempFile;

    use super::super::error::Problem;
    use super::super::hash;
    use super::super::manifest::TOKENS;
    use super::super::shard::{PART, sync_folder};
    use super::*;

    /// Rows that are held in memory before they are compressed.
    const GROUP: usize = 1 << 16;

    /// The table that is being written.
    pub struct TokenTable {
        dir: PathBuf,
        part: usize,
        open: Option<ArrowWriter<NamedTempFile>>,
    }

    impl TokenTable {
        /// With the tables of the first `parts` sets of shards there already.
        pub fn open(dir: &Path, parts: usize) -> Result<Self, StoreError> {
            let folder = dir.join(".tokens");
            fs::create_dir_all(&folder).map_err(StoreError::writing(&folder))?;
            let table = TokenTable { dir: dir.to_owned(), part: parts, open: None };
            for part in 0..parts {
                let path = table.part_path(part);
                fs::metadata(&path).map_err(StoreError::reading(&path))?;
            }
            Ok(table)
        }

        fn part_path(&self, part: usize) -> PathBuf {
            self.dir.join(".tokens").join(format!("part-{part:05}.parquet"))
        }

        pub fn append(&mut self, first_row: u64, tokens: &[TokenRow]) -> Result<(), StoreError> {
            let path = self.part_path(self.part);
            let told = failed(&path);
            let column = |of: fn(&TokenRow) -> u32| -> ArrayRef {
                Arc::new(UInt32Array::from_iter_values(tokens.iter().map(of)))
            };
            let columns: Vec<ArrayRef> = vec![
                Arc::new(UInt64Array::from_iter_values(first_row..first_row + tokens.len() as u64)),
                column(|t| t.document),
                column(|t| t.position),
                column(|t| t.token_id),
                Arc::new(StringArray::from_iter(tokens.iter().map(|t| t.text.as_deref()))),
            ];
            let batch = RecordBatch::try_new(schema(), columns).map_err(|e| told(e.into()))?;
            let writer = match &mut self.open {
                Some(writer) => writer,
                None => self.open.insert(begin(&path)?),
            };
            writer.write(&batch).map_err(told)
        }

        /// The set of shards is complete.
        pub fn close_part(&mut self) -> Result<(), StoreError> {
            if let Some(writer) = self.open.take() {
                end(writer, &self.part_path(self.part))?;
            }
            self.part += 1;
            Ok(())
        }

        /// Puts the parts together.
        pub fn finish(self) -> Result<Stored, StoreError> {
            let path = self.dir.join(TOKENS);
            let mut whole = begin(&path)?;
            for part in 0..self.part {
                let from = self.part_path(part);
                let file = File::open(&from).map_err(StoreError::reading(&from))?;
                let reader =
                    ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.with_batch_size(GROUP).build());
                for batch in reader.map_err(failed(&from))? {
                    whole.write(&batch.map_err(|e| failed(&from)(e.into()))?).map_err(failed(&path))?;
                }
            }
            end(whole, &path)?;
            let told = StoreError::writing(&path);
            let bytes = fs::metadata(&path).map_err(&told)?.len();
            let sha256 = hash::of_file(&path).map_err(&told)?;
            // What is left over does no harm.
            let _ = fs::remove_dir_all(self.dir.join(".tokens"));
            Ok(Stored { bytes, sha256 })
        }
    }

    fn schema() -> SchemaRef {
        let number = |name: &str, of: DataType| Field::new(name, of, false);
        Arc::new(Schema::new(vec![
            number("row", DataType::UInt64),
            number("document", DataType::UInt32),
            number("position", DataType::UInt32),
            number("token_id", DataType::UInt32),
            Field::new("text", DataType::Utf8, true),
        ]))
    }

    fn begin(path: &Path) -> Result<ArrowWriter<NamedTempFile>, StoreError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(PART);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let folder = path.parent().unwrap_or(Path::new("."));
        let file = builder.tempfile_in(folder).map_err(StoreError::writing(path))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(GROUP))
            .build();
        ArrowWriter::try_new(file, schema(), Some(properties)).map_err(failed(path))
    }

    fn end(writer: ArrowWriter<NamedTempFile>, path: &Path) -> Result<(), StoreError> {
        let file = writer.into_inner().map_err(failed(path))?;
        let told = StoreError::writing(path);
        file.as_file().sync_all().map_err(&told)?;
        file.persist(path).map_err(|e| told(e.error))?;
        sync_folder(path).map_err(told)
    }

    fn failed(path: &Path) -> impl Fn(ParquetError) -> StoreError {
        move |e| StoreError::new(path, Problem::Write(std::io::Error::other(e)))
    }
}

#[cfg(not(feature = "tables"))]
mod table {
    use super::super::error::Problem;
    use super::*;

    /// There is none in this build.
    pub struct TokenTable(std::convert::Infallible);

    impl TokenTable {
        pub fn open(dir: &Path, _: usize) -> Result<Self, StoreError> {
            let what = "tokens need the feature `tables`, which this build is without";
            Err(StoreError::new(dir, Problem::Source(what.into())))
        }

        pub fn append(&mut self, _: u64, _: &[TokenRow]) -> Result<(), StoreError> {
            match self.0 {}
        }

        pub fn close_part(&mut self) -> Result<(), StoreError> {
            match self.0 {}
        }

        pub fn finish(self) -> Result<Stored, StoreError> {
            match self.0 {}
        }
    }
}

pub(super) use table::TokenTable;
