//! [`Tokens`]: the table of tokens of a store, read back: which token, where, in which document, each row is.

use std::ops::Range;
use std::path::Path;

use super::StoreError;
use super::manifest::Manifest;

/// The tokens of all rows, in memory: sixteen bytes a row, and each text once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    documents: Vec<u32>,
    positions: Vec<u32>,
    ids: Vec<u32>,
    /// Of each row, into `texts`.
    which: Vec<u32>,
    texts: Vec<String>,
}

impl Tokens {
    /// Those of the store in `dir`; `None` where it has none.
    ///
    /// # Errors
    /// No store there, a table that can't be read, lacks a column, or has another number of rows than the store; and a build without the feature
    /// `tables` where there is a table.
    pub fn open(dir: &Path) -> Result<Option<Tokens>, StoreError> {
        let (manifest, _) = Manifest::read(dir)?;
        if manifest.tokens.is_none() { Ok(None) } else { read::table(dir, manifest.rows).map(Some) }
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn document(&self, row: u64) -> u32 {
        self.documents[row as usize]
    }

    /// In its document, from 0.
    pub fn position(&self, row: u64) -> u32 {
        self.positions[row as usize]
    }

    pub fn id(&self, row: u64) -> u32 {
        self.ids[row as usize]
    }

    /// The token's text; its number in brackets where the store has none.
    pub fn text(&self, row: u64) -> &str {
        &self.texts[self.which[row as usize] as usize]
    }

    /// A number for the text of a row, below [`distinct`](Self::distinct): equal texts have equal ones.
    pub fn word(&self, row: u64) -> u32 {
        self.which[row as usize]
    }

    /// How many different texts there are.
    pub fn distinct(&self) -> usize {
        self.texts.len()
    }

    /// The text behind a number that [`word`](Self::word) gives.
    pub fn text_of(&self, word: u32) -> &str {
        &self.texts[word as usize]
    }

    /// The rows around `row` that follow one another in its document: so many before it and after it, at most.
    pub fn around(&self, row: u64, before: u64, after: u64) -> Range<u64> {
        let follows = |at: u64| {
            self.document(at) == self.document(at - 1) && self.position(at) == self.position(at - 1).wrapping_add(1)
        };
        let (mut from, mut to) = (row, row + 1);
        while from > 0 && row - from < before && follows(from) {
            from -= 1;
        }
        while to < self.len() as u64 && to - row <= after && follows(to) {
            to += 1;
        }
        from..to
    }
}

#[cfg(feature = "tables")]
mod read {
    use std::collections::HashMap;
    use std::fs::File;

    use arrow_array::cast::AsArray;
    use arrow_array::types::UInt32Type;
    use arrow_array::{Array, RecordBatch};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::super::error::Problem;
    use super::super::manifest::TOKENS;
    use super::*;

    /// Rows that are decoded at once.
    const ROWS: usize = 1 << 16;

    pub fn table(dir: &Path, rows: u64) -> Result<Tokens, StoreError> {
        let path = dir.join(TOKENS);
        let bad = |what: String| StoreError::new(&path, Problem::Source(what));
        let file = File::open(&path).map_err(StoreError::reading(&path))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.with_batch_size(ROWS).build());
        let reader = reader.map_err(|e| bad(format!("is no table of tokens: {e}; copy the store again")))?;
        let mut tokens = Tokens::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        for batch in reader {
            let batch = batch.map_err(|e| bad(format!("can't be read to its end: {e}; copy the store again")))?;
            if tokens.len() as u64 + batch.num_rows() as u64 > rows {
                return Err(bad(format!("expected {rows} rows as the store has, found more")));
            }
            add(&mut tokens, &mut known, &batch).map_err(bad)?;
        }
        if tokens.len() as u64 != rows {
            return Err(bad(format!("expected {rows} rows as the store has, found {}", tokens.len())));
        }
        Ok(tokens)
    }

    fn add(tokens: &mut Tokens, known: &mut HashMap<String, u32>, batch: &RecordBatch) -> Result<(), String> {
        let numbers = |name: &str| -> Result<Vec<u32>, String> {
            let column = batch.column_by_name(name).ok_or_else(|| format!("has no column `{name}`"))?;
            let column = column.as_primitive_opt::<UInt32Type>().filter(|c| c.null_count() == 0);
            let column =
                column.ok_or_else(|| format!("column `{name}`: expected whole numbers of 32 bits, none missing"))?;
            Ok(column.values().to_vec())
        };
        tokens.documents.extend(numbers("document")?);
        tokens.positions.extend(numbers("position")?);
        let ids = numbers("token_id")?;
        let texts = match batch.column_by_name("text") {
            Some(column) => Some(column.as_string_opt::<i32>().ok_or("column `text`: expected texts")?),
            None => None,
        };
        for (i, id) in ids.iter().enumerate() {
            let text = texts.filter(|t| t.is_valid(i)).map_or_else(|| format!("[{id}]"), |t| t.value(i).to_string());
            let next = tokens.texts.len() as u32;
            let word = *known.entry(text).or_insert_with_key(|text| {
                tokens.texts.push(text.clone());
                next
            });
            tokens.which.push(word);
        }
        tokens.ids.extend(ids);
        Ok(())
    }
}

#[cfg(not(feature = "tables"))]
mod read {
    use super::super::error::Problem;
    use super::super::manifest::TOKENS;
    use super::*;

    pub fn table(dir: &Path, _: u64) -> Result<Tokens, StoreError> {
        let what = "tokens need the feature `tables`, which this build is without";
        Err(StoreError::new(&dir.join(TOKENS), Problem::Source(what.into())))
    }
}
