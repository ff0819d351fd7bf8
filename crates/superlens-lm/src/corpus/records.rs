//! Records of a stream of bytes: lines, or what stands between blank lines or separators. One record is in memory at a time, and none longer
//! than a limit.

use std::io::{self, BufRead};

/// What ends a record.
#[derive(Clone, Debug)]
pub(super) enum End {
    Line,
    BlankLine,
    Separator(Vec<u8>),
    File,
}

/// A record, and where in its file it stood.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Without what ended it.
    pub bytes: Vec<u8>,
    /// Offset of its first byte.
    pub start: u64,
    /// Line of its first byte, from 1.
    pub line: u64,
}

/// Why there is no record.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    /// Longer than the limit; it began in this line.
    Long {
        line: u64,
    },
}

/// A stream that is cut into records.
pub(super) struct Records {
    stream: Box<dyn BufRead + Send>,
    end: End,
    limit: usize,
    /// Bytes and line breaks read so far.
    pub offset: u64,
    pub line: u64,
}

impl Records {
    /// Of a stream that stands at `offset` in its file, in this line.
    pub(super) fn new(stream: Box<dyn BufRead + Send>, end: End, limit: usize, offset: u64, line: u64) -> Self {
        Self { stream, end, limit, offset, line }
    }

    /// The next record; none at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Record>, Trouble> {
        let mut record = Record { bytes: Vec::new(), start: self.offset, line: self.line };
        loop {
            let before = record.bytes.len();
            let byte = match &self.end {
                End::Line | End::BlankLine => Some(b'\n'),
                End::Separator(separator) => separator.last().copied(),
                End::File => None,
            };
            let ended = self.read_to(byte, &mut record)?;
            let piece = &record.bytes[before..];
            let complete = match &self.end {
                _ if piece.is_empty() => true,
                End::Line => true,
                // Blank lines before the first word are no end.
                End::BlankLine => piece.trim_ascii().is_empty() && !record.bytes[..before].trim_ascii().is_empty(),
                End::Separator(separator) => {
                    let found = record.bytes.ends_with(separator);
                    if found {
                        record.bytes.truncate(record.bytes.len() - separator.len());
                    }
                    found
                }
                End::File => false,
            };
            if complete || !ended {
                return Ok((self.offset > record.start).then_some(record));
            }
        }
    }

    /// Reads to the next such byte, which it takes in, or to the end; whether there may be more.
    fn read_to(&mut self, byte: Option<u8>, record: &mut Record) -> Result<bool, Trouble> {
        loop {
            let buffer = match self.stream.fill_buf() {
                Ok(buffer) => buffer,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Trouble::Io(e)),
            };
            if buffer.is_empty() {
                return Ok(false);
            }
            let found = byte.and_then(|byte| buffer.iter().position(|&b| b == byte));
            let take = found.map_or(buffer.len(), |at| at + 1);
            if record.bytes.len() + take > self.limit {
                return Err(Trouble::Long { line: record.line });
            }
            record.bytes.extend_from_slice(&buffer[..take]);
            self.line += buffer[..take].iter().filter(|&&b| b == b'\n').count() as u64;
            self.offset += take as u64;
            self.stream.consume(take);
            if found.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufReader, Cursor};

    fn records(text: &str, end: End, limit: usize) -> Result<Vec<(String, u64, u64)>, Trouble> {
        // A small buffer, so that records run over its end.
        let stream = BufReader::with_capacity(3, Cursor::new(text.to_owned()));
        let mut records = Records::new(Box::new(stream), end, limit, 0, 1);
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push((String::from_utf8(record.bytes).unwrap(), record.start, record.line));
        }
        assert_eq!(records.offset, text.len() as u64);
        Ok(all)
    }

    fn made(of: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        of.iter().map(|&(text, start, line)| (text.to_owned(), start, line)).collect()
    }

    #[test]
    fn records_end_where_they_should() {
        let lines = records("one\n\ntwo\r\nthree", End::Line, 10).unwrap();
        assert_eq!(lines, made(&[("one\n", 0, 1), ("\n", 4, 2), ("two\r\n", 5, 3), ("three", 10, 4)]));
        let blank = records("\n\na\nb\n \n\nc\n", End::BlankLine, 20).unwrap();
        assert_eq!(blank, made(&[("\n\na\nb\n \n", 0, 1), ("\nc\n", 8, 6)]));
        let separator = End::Separator(b"<|e|>".to_vec());
        let between = records("a|>b<|e|>\nc<|e|>", separator.clone(), 20).unwrap();
        assert_eq!(between, made(&[("a|>b", 0, 1), ("\nc", 9, 1)]));
        assert_eq!(records("a\nb", End::File, 20).unwrap(), made(&[("a\nb", 0, 1)]));
        for end in [End::Line, End::BlankLine, separator, End::File] {
            assert_eq!(records("", end, 20).unwrap(), []);
        }
    }

    #[test]
    fn a_record_beyond_the_limit_is_no_record() {
        for end in [End::Line, End::BlankLine, End::Separator(b"|".to_vec()), End::File] {
            assert!(matches!(records(&format!("ok\n{}", "x".repeat(50)), end, 20), Err(Trouble::Long { .. })));
        }
        assert!(matches!(records(&format!("ok\n{}", "x".repeat(50)), End::Line, 20), Err(Trouble::Long { line: 2 })));
        assert_eq!(records(&"x".repeat(20), End::Line, 20).unwrap().len(), 1, "the limit itself is allowed");
    }
}
