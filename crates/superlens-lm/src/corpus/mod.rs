//! Texts, document by document, and the windows of tokens that a model sees of them.
//!
//! [`Documents`] reads `.txt`, `.jsonl`, `.parquet` (feature `tables`) and standard input, several files one after another, never more of
//! them in memory than a document. [`Windows`] cuts their tokens to a model's context. Both go on from any [`Place`] or [`Position`], which
//! can be kept on disk.

#[cfg(feature = "tables")]
mod parquet;
mod records;
#[cfg(test)]
pub(crate) mod tests;
mod windows;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TextError;
use records::{End, Record, Records, Trouble};
pub use windows::{Part, Plan, Position, Window, Windows};

/// Bytes of a document, where no limit is given. While a document becomes tokens, the crate `tokenizers` holds some 130 bytes for each of its
/// bytes (measured with Pythia's), so this bounds the memory.
pub const DOCUMENT_BYTES: usize = 2 << 20;

/// The name that stands for standard input.
pub const STDIN: &str = "-";

/// What a document is in a text file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// The file as it is.
    File,
    /// Each line, without its line break.
    #[default]
    Lines,
    /// What stands between lines without a word, trimmed.
    BlankLines,
    /// What stands between these, `<|endoftext|>` for instance, trimmed.
    Separator(String),
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    /// An object a line, with the text under a key.
    Jsonl,
    /// A column of strings.
    Parquet,
}

/// How texts are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// By the end of the name, where not given: `.jsonl`, `.ndjson`, `.parquet`, else text; so is standard input.
    pub format: Option<Format>,
    /// For text.
    pub split: Split,
    /// The key or column with the text, where there is one.
    pub text_key: String,
    /// No document may have more bytes.
    pub document_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { format: None, split: Split::default(), text_key: "text".into(), document_bytes: DOCUMENT_BYTES }
    }
}

/// Where a document begins: enough to go on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Which of the files, from 0.
    pub file: usize,
    /// Bytes before it in the file; rows, in Parquet.
    pub offset: u64,
    /// Line breaks before it in the file.
    pub lines: u64,
    /// Documents before it in all files.
    pub document: u32,
}

/// A text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Of all documents that hold text, from 0.
    pub number: u32,
    pub text: String,
    pub from: Place,
    /// Where the next one begins.
    pub to: Place,
}

/// The documents of several files, in their order. Those without text are left out. Ends after the first error.
pub struct Documents {
    paths: Vec<PathBuf>,
    options: Options,
    place: Place,
    open: Option<Open>,
    found: bool,
    ended: bool,
}

/// A file that is being read.
enum Open {
    Records(Records, Format),
    #[cfg(feature = "tables")]
    Rows(parquet::Texts),
}

impl Documents {
    /// Of these files; [`STDIN`] is standard input.
    ///
    /// # Errors
    /// No files, files that are not there, and options that make no sense.
    pub fn open(paths: &[PathBuf], options: &Options) -> Result<Self, TextError> {
        let first = paths
            .first()
            .ok_or_else(|| TextError::wrong(Path::new("text"), "expected one file at least, found none"))?;
        if options.split == Split::Separator(String::new()) {
            return Err(TextError::wrong(first, "separator: expected some characters, found none"));
        }
        if options.document_bytes == 0 {
            return Err(TextError::wrong(first, "bytes of a document: expected 1 at least, found 0"));
        }
        for path in paths.iter().filter(|path| path.as_os_str() != STDIN) {
            let about = path.metadata().map_err(TextError::reading(path))?;
            if about.is_dir() {
                return Err(TextError::wrong(path, "is a folder; name the files in it"));
            }
        }
        if paths.iter().filter(|path| path.as_os_str() == STDIN).count() > 1 {
            return Err(TextError::wrong(Path::new(STDIN), "standard input can be read once; name it once"));
        }
        let (paths, options, place) = (paths.to_vec(), options.clone(), Place::default());
        Ok(Self { paths, options, place, open: None, found: false, ended: false })
    }

    /// Goes on from a place of the same files; of standard input, what was there before is read again and passed over.
    pub fn go_on(mut self, from: Place) -> Self {
        self.found = from.document > 0;
        self.place = from;
        self
    }

    fn next_document(&mut self) -> Result<Option<Document>, TextError> {
        while let Some(path) = self.paths.get(self.place.file) {
            let open = match &mut self.open {
                Some(open) => open,
                none => none.insert(open_at(path, &self.options, &self.place)?),
            };
            let from = self.place;
            match next_text(open, path, &self.options, &mut self.place)? {
                None => {
                    self.open = None;
                    self.place = Place { file: from.file + 1, document: from.document, ..Place::default() };
                }
                Some(text) if text.is_empty() => {}
                Some(text) => {
                    let next = from.document.checked_add(1);
                    self.place.document =
                        next.ok_or_else(|| TextError::wrong(path, "has more documents than can be counted (2^32)"))?;
                    self.found = true;
                    return Ok(Some(Document { number: from.document, text, from, to: self.place }));
                }
            }
        }
        if self.found {
            return Ok(None);
        }
        let others = if self.paths.len() > 1 {
            format!(", nor do the {} other files", self.paths.len() - 1)
        } else {
            String::new()
        };
        Err(TextError::wrong(&self.paths[0], format!("holds no text{others}; nothing can be made of it")))
    }
}

impl Iterator for Documents {
    type Item = Result<Document, TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_document().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

pub(crate) fn format_of(path: &Path, options: &Options) -> Format {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    options.format.unwrap_or(match extension.as_str() {
        "jsonl" | "ndjson" => Format::Jsonl,
        "parquet" => Format::Parquet,
        _ => Format::Text,
    })
}

fn open_at(path: &Path, options: &Options, place: &Place) -> Result<Open, TextError> {
    let format = format_of(path, options);
    let end = match (&options.split, format) {
        (_, Format::Parquet) => return open_rows(path, options, place),
        (_, Format::Jsonl) | (Split::Lines, _) => End::Line,
        (Split::File, _) => End::File,
        (Split::BlankLines, _) => End::BlankLine,
        (Split::Separator(separator), _) => End::Separator(separator.clone().into_bytes()),
    };
    let told = TextError::reading(path);
    let stream: Box<dyn Read + Send> = if path.as_os_str() == STDIN {
        let mut stdin = io::stdin();
        io::copy(&mut (&mut stdin).take(place.offset), &mut io::sink()).map_err(told)?;
        Box::new(stdin)
    } else {
        let mut file = File::open(path).map_err(&told)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(told)?;
        Box::new(file)
    };
    let stream = Box::new(BufReader::with_capacity(1 << 16, stream));
    Ok(Open::Records(Records::new(stream, end, options.document_bytes, place.offset, place.lines + 1), format))
}

#[cfg(feature = "tables")]
fn open_rows(path: &Path, options: &Options, place: &Place) -> Result<Open, TextError> {
    parquet::Texts::open(path, &options.text_key, options.document_bytes, place.offset).map(Open::Rows)
}

#[cfg(not(feature = "tables"))]
fn open_rows(path: &Path, _: &Options, _: &Place) -> Result<Open, TextError> {
    Err(TextError::wrong(path, "Parquet needs the feature `tables`, which this build is without"))
}

/// The next text of a file, which may be empty, and in `place` where the one after it begins.
fn next_text(open: &mut Open, path: &Path, options: &Options, place: &mut Place) -> Result<Option<String>, TextError> {
    match open {
        #[cfg(feature = "tables")]
        Open::Rows(rows) => {
            let text = rows.next(path)?;
            place.offset += u64::from(text.is_some());
            Ok(text)
        }
        Open::Records(records, format) => {
            let record = records.next().map_err(|trouble| match trouble {
                Trouble::Io(e) => TextError::reading(path)(e),
                Trouble::Long { line } => TextError::wrong(path, too_long(line, *format, options)),
            })?;
            (place.offset, place.lines) = (records.offset, records.line - 1);
            record.map(|record| text_of(record, path, *format, options)).transpose()
        }
    }
}

fn too_long(line: u64, format: Format, options: &Options) -> String {
    let what = match (&options.split, format) {
        (_, Format::Jsonl) | (Split::Lines, _) => format!("line {line}"),
        (Split::File, _) => "the file".into(),
        _ => format!("the document that begins in line {line}"),
    };
    let limit = options.document_bytes;
    format!("{what} is longer than a document may be ({limit} bytes); break it up, or split the text in another way")
}

/// The text of a record.
fn text_of(record: Record, path: &Path, format: Format, options: &Options) -> Result<String, TextError> {
    let (start, line) = (record.start, record.line);
    let mut text = String::from_utf8(record.bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = line + e.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() as u64;
        let byte = e.as_bytes()[at];
        let what = format!(
            "line {line}, byte {} of the file (counted from 0): 0x{byte:02X} is no UTF-8; convert the file",
            start + at as u64
        );
        TextError::wrong(path, what)
    })?;
    // The mark that some editors put before a text.
    if start == 0 && text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if format == Format::Jsonl {
        return text_in(&text, &options.text_key)
            .map_err(|what| TextError::wrong(path, format!("line {line}: {what}")));
    }
    match options.split {
        Split::File => {}
        Split::Lines => text.truncate(text.trim_end_matches(['\n', '\r']).len()),
        Split::BlankLines | Split::Separator(_) => text = text.trim().to_owned(),
    }
    Ok(text)
}

/// The text under a key of an object; of a line without a word, none.
fn text_in(line: &str, key: &str) -> Result<String, String> {
    if line.trim().is_empty() {
        return Ok(String::new());
    }
    let value: Value = serde_json::from_str(line).map_err(|e| format!("is no JSON: {e}"))?;
    match value {
        Value::Object(mut object) => match object.remove(key) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("expected a string under `{key}`, found something else")),
            None => {
                let keys: Vec<String> = object.keys().take(8).map(|key| format!("`{key}`")).collect();
                Err(format!("holds no `{key}`, which should be the text; it holds: {}", keys.join(", ")))
            }
        },
        _ => Err(format!("expected an object with the text under `{key}`, found something else")),
    }
}
