//! SAELens' caches of activations: a folder of Hugging Face `datasets` with files `data-XXXXX-of-YYYYY.arrow`. A column is named after its
//! hook and holds `[context, width]` floats a row; `token_ids` holds the tokens of that row. Files of Arrow in the stream format and the file
//! format are read message by message, and no length in them is believed before the file is known to be as long.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_ipc::MessageHeader;
use arrow_ipc::reader::StreamDecoder;
use arrow_schema::{DataType, Schema};
use superlens_tensor::Mat;

use super::table::{floats, is_float, is_list, leaf, tokens};
use super::{DType, Opened, Options, Piece, StoreError, TokenRow, fingerprint, source};

const TOKENS: &str = "token_ids";
/// The file format begins so; a stream follows.
const MAGIC: &[u8; 8] = b"ARROW1\0\0";
const CONTINUES: [u8; 4] = [0xff; 4];

pub(super) fn open(src: &Path, files: Vec<PathBuf>, options: &Options) -> Result<Opened, StoreError> {
    let first = match Messages::open(&files[0])?.next() {
        Some(batch) => batch?,
        None => return Err(source(&files[0], "holds no rows".into())),
    };
    let schema = first.schema();
    let columns: Vec<&str> = schema
        .fields()
        .iter()
        .filter(|f| is_list(f.data_type()) && is_float(f.data_type()))
        .map(|f| f.name().as_str())
        .collect();
    let column = match (options.key.as_deref(), &columns[..]) {
        (Some(key), all) if all.contains(&key) => key,
        (None, [only]) => only,
        (None, []) => return Err(source(&files[0], "has no column with lists of floats".into())),
        (key, all) => {
            let found = key.map_or("none was given".into(), |k| format!("found `{k}`"));
            return Err(source(src, format!("--key: expected one of {}, {found}", all.join(", "))));
        }
    }
    .to_owned();
    let (mat, tokens) = rows(&first, &column, 0).map_err(|what| source(&files[0], what))?;
    let leaf = leaf(schema.field_with_name(&column).map_err(|e| source(src, e.to_string()))?.data_type()).clone();
    let opened = Opened {
        name: Some(column.clone()),
        width: mat.cols(),
        dtype: if leaf == DataType::Float16 { DType::F16 } else { DType::F32 },
        tokens: !tokens.is_empty(),
        origin: fingerprint(&files, options.key.as_deref())?,
        pieces: Box::new(pieces(files, column, mat.cols(), !tokens.is_empty())),
    };
    Ok(opened)
}

/// The rows of all files, a record batch at a time.
fn pieces(files: Vec<PathBuf>, column: String, width: usize, with_tokens: bool) -> impl Iterator<Item = Piece> {
    let mut sequences = 0;
    let batches = files.into_iter().flat_map(|path| {
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, StoreError>>> = match Messages::open(&path) {
            Ok(messages) => Box::new(messages),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        batches.map(move |batch| (path.clone(), batch))
    });
    batches.map(move |(path, batch)| {
        let batch = batch?;
        let (mat, tokens) = rows(&batch, &column, sequences).map_err(|what| source(&path, what))?;
        if mat.cols() != width || tokens.is_empty() == with_tokens {
            let found = mat.cols();
            return Err(source(
                &path,
                format!("other rows than in the first file: expected {width} columns, found {found}"),
            ));
        }
        sequences += batch.num_rows() as u32;
        Ok((mat, tokens))
    })
}

/// A batch of sequences as rows of tokens; `first` is the number of its first sequence.
fn rows(batch: &RecordBatch, column: &str, first: u32) -> Result<(Mat, Vec<TokenRow>), String> {
    let array = batch.column_by_name(column).ok_or_else(|| format!("has no column `{column}`"))?;
    let block = floats(array).map_err(|what| format!("column `{column}`: {what}"))?;
    let (context, width) = match block.shape[..] {
        [context, width] => (context, width),
        [width] => (1, width),
        _ => return Err(format!("column `{column}`: expected [context, width] a row, found {:?}", block.shape)),
    };
    let count = batch.num_rows() * context;
    if width == 0 || count == 0 || block.data.len() != count * width {
        return Err(format!("column `{column}`: expected [context, width] a row, found {:?}", block.shape));
    }
    let mat = Mat::from_vec(count, width, block.data);
    let Some(array) = batch.column_by_name(TOKENS) else { return Ok((mat, Vec::new())) };
    let ids = tokens(array).map_err(|what| format!("column `{TOKENS}`: {what}"))?.data;
    if ids.len() != count {
        return Err(format!("column `{TOKENS}`: expected {count} tokens, one a row, found {}", ids.len()));
    }
    let row = |(i, &token_id): (usize, &u32)| TokenRow {
        document: first + (i / context) as u32,
        position: (i % context) as u32,
        token_id,
        text: None,
    };
    Ok((mat, ids.iter().enumerate().map(row).collect()))
}

/// The record batches of a file.
struct Messages {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of the file behind what was read.
    left: u64,
    decoder: StreamDecoder,
}

impl Messages {
    fn open(path: &Path) -> Result<Messages, StoreError> {
        let told = StoreError::reading(path);
        let file = File::open(path).map_err(&told)?;
        let left = file.metadata().map_err(&told)?.len();
        let mut messages =
            Messages { path: path.to_owned(), file: BufReader::new(file), left, decoder: StreamDecoder::new() };
        let mut head = [0; 8];
        let is_file_format = left > 8 && {
            messages.file.read_exact(&mut head).map_err(&told)?;
            head == *MAGIC
        };
        if is_file_format {
            messages.left -= 8;
        } else {
            messages.file = BufReader::new(File::open(path).map_err(&told)?);
        }
        Ok(messages)
    }

    /// The next bytes, if the file has so many.
    fn take(&mut self, count: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        if count > self.left {
            let what = format!("is cut off: a message promises {count} bytes, {} are there", self.left);
            return Err(source(&self.path, what));
        }
        let from = into.len();
        into.resize(from + count as usize, 0);
        self.left -= count;
        self.file.read_exact(&mut into[from..]).map_err(StoreError::reading(&self.path))
    }

    /// One message and what the decoder makes of it: a batch, nothing (a schema), or the end.
    fn message(&mut self) -> Result<Option<Option<RecordBatch>>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut prefix = Vec::new();
        self.take(4, &mut prefix)?;
        if prefix[..] == CONTINUES {
            self.take(4, &mut prefix)?;
        }
        let size = prefix.last_chunk().map_or(0, |last| u32::from_le_bytes(*last));
        if size == 0 {
            return Ok(None);
        }
        let (mut head, mut data) = (Vec::new(), Vec::new());
        self.take(size.into(), &mut head)?;
        let path = self.path.clone();
        let bad = |what: String| source(&path, format!("is no Arrow that is read: {what}"));
        let message = arrow_ipc::root_as_message(&head).map_err(|e| bad(e.to_string()))?;
        let body = u64::try_from(message.bodyLength()).map_err(|e| bad(e.to_string()))?;
        self.take(body, &mut data)?;
        // The decoder takes in the message before this one, which may be the schema, with the first bytes of this one.
        self.decoder.decode(&mut prefix.into()).map_err(|e| bad(e.to_string()))?;
        check(&message, body, self.decoder.schema().as_deref()).map_err(bad)?;
        let head = self.decoder.decode(&mut head.into());
        let batch = head.and_then(|_| self.decoder.decode(&mut data.into()));
        batch.map(Some).map_err(|e| bad(e.to_string()))
    }
}

/// Whether what a message says of its body, of `body` bytes, can be. The decoder believes it.
fn check(message: &arrow_ipc::Message, body: u64, schema: Option<&Schema>) -> Result<(), String> {
    if message.header_type() == MessageHeader::Schema {
        return Ok(());
    }
    let Some(batch) = message.header_as_record_batch() else {
        return Err("only schemas and record batches are read, no dictionaries or tensors".into());
    };
    let within =
        |from: i64, len: i64| from >= 0 && len >= 0 && from.checked_add(len).is_some_and(|end| end as u64 <= body);
    if !batch.buffers().iter().flatten().all(|buffer| within(buffer.offset(), buffer.length())) {
        return Err("a buffer lies outside its message".into());
    }
    let mut sizes = Vec::new();
    for field in schema.ok_or("a batch before its schema")?.fields() {
        element_sizes(field.data_type(), &mut sizes)?;
    }
    let buffers: Vec<_> = batch.buffers().iter().flatten().collect();
    let whole = buffers.iter().zip(&sizes).all(|(b, size)| b.offset() % 8 == 0 && b.length() % size == 0);
    if buffers.len() != sizes.len() || !whole {
        return Err("buffers that do not fit its columns".into());
    }
    // A bit an entry is the least that is stored.
    let entries = |n: i64, nulls: i64| n >= 0 && nulls >= 0 && nulls <= n && n as u64 <= body.saturating_mul(8);
    if !batch.nodes().iter().flatten().all(|node| entries(node.length(), node.null_count())) {
        return Err("an array of more entries than its message has bits".into());
    }
    if !entries(batch.length(), 0) {
        return Err("more rows than the message has bits".into());
    }
    Ok(())
}

/// Bytes of an element of each buffer that a column of this type has, those below it too.
fn element_sizes(of: &DataType, sizes: &mut Vec<i64>) -> Result<(), String> {
    // Every column begins with the bits that say which entries are there.
    sizes.push(1);
    match of {
        DataType::List(inner) | DataType::LargeList(inner) | DataType::FixedSizeList(inner, _) => {
            match of {
                DataType::List(_) => sizes.push(4),
                DataType::LargeList(_) => sizes.push(8),
                _ => {}
            }
            return element_sizes(inner.data_type(), sizes);
        }
        DataType::Utf8 | DataType::Binary => sizes.extend([4, 1]),
        DataType::LargeUtf8 | DataType::LargeBinary => sizes.extend([8, 1]),
        DataType::Boolean => sizes.push(1),
        other => match other.primitive_width() {
            Some(width) => sizes.push(width as i64),
            None => return Err(format!("a column of type {other}")),
        },
    }
    Ok(())
}

impl Iterator for Messages {
    type Item = Result<RecordBatch, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.message() {
                Ok(None) => return None,
                Ok(Some(None)) => {}
                Ok(Some(Some(batch))) if batch.num_rows() == 0 => {}
                Ok(Some(Some(batch))) => return Some(Ok(batch)),
                Err(error) => {
                    self.left = 0;
                    return Some(Err(error));
                }
            }
        }
    }
}
