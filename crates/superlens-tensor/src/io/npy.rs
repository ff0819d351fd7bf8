//! `.npy`, versions 1 to 3, by the format's description in NEP 1 and `numpy/lib/format.py`:
//! `\x93NUMPY`, version (2 bytes), header length (2 or 4 bytes, little-endian), then a Python literal
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }` padded with blanks, then the elements.
//!
//! The header is parsed here because the crate that fits (npyz 0.9) doesn't stand hostile ones: 300 nested
//! brackets keep it busy without end, and it allocates the header's claimed length (up to 4 GiB) unread.

use std::io::Read;

use super::element::{Element, Kind};
use super::fill::{Filled, Layout, Order, fill};
use super::source::{Hashing, Source};
use super::{Array, ArrayInfo, Problem, Wanted};

/// Far beyond any header that NumPy writes for a plain array (it refuses to read more than 10,000 bytes
/// unless told to); only structured types with thousands of fields need more.
const MAX_HEADER: u64 = 1 << 20;
/// NumPy's own limit.
const MAX_AXES: usize = 64;

/// Reads the array of an `.npy` file.
pub(super) fn read(source: Source, wanted: impl Into<Wanted>) -> Result<Array, Problem> {
    let len = source.len;
    let (array, _) = read_stream(source.file, len, wanted)?;
    Ok(array)
}

/// What the header of an `.npy` file says.
pub(super) fn describe(source: Source) -> Result<ArrayInfo, Problem> {
    let len = source.len;
    let header = Header::read(&mut Hashing::new(source.file), len)?;
    Ok(ArrayInfo { key: None, shape: header.shape, dtype: header.descr })
}

/// Reads an array from a stream that claims to be `len` bytes long, and gives the stream back behind it.
///
/// The caller vouches that `len` bytes may be allocated: the matrix takes at most four times as many (u1 to f32).
pub(super) fn read_stream<R: Read>(stream: R, len: u64, wanted: impl Into<Wanted>) -> Result<(Array, R), Problem> {
    let mut stream = Hashing::new(stream);
    let header = Header::read(&mut stream, len)?;
    let wanted = wanted.into();
    let layout = Layout {
        element: element(&header.descr, wanted.whole)?,
        order: if header.fortran { Order::Fortran } else { Order::C },
        shape: header.shape,
    };
    let size = layout.rows_and_columns(wanted.shape)?;
    let expected = u128::from(stream.count()) + u128::from(layout.bytes()?);
    match u128::from(len) {
        found if found < expected => return Err(Problem::Truncated { expected, found: len }),
        found if found > expected => return Err(Problem::ExtraBytes { expected: expected as u64, found: len }),
        _ => {}
    }
    let Filled { mat, too_large, rows } = fill(&mut stream, &layout, size, wanted.sample)?;
    let bytes = stream.count();
    let (rest, sha256) = stream.finish();
    Ok((Array { mat, shape: layout.shape, dtype: header.descr, sha256, bytes, too_large, rows }, rest))
}

/// Reads an array of whole numbers of 32 or 64 bits, none below zero, of at most one axis.
pub(super) fn integers<R: Read>(stream: R, len: u64) -> Result<Vec<u64>, Problem> {
    let mut stream = Hashing::new(stream);
    let header = Header::read(&mut stream, len)?;
    let width = match header.descr.as_str() {
        "<i4" | "<u4" => 4,
        "<i8" | "<u8" => 8,
        other => return Err(bad(&format!("whole numbers like '<i4' or '<i8' are expected, '{other}' is found"))),
    };
    let numbers = header.shape.iter().try_fold(1u64, |n, &axis| n.checked_mul(axis));
    let expected = numbers.and_then(|n| n.checked_mul(width)).and_then(|n| n.checked_add(stream.count()));
    if header.shape.len() > 1 || expected != Some(len) {
        return Err(bad(&format!("one axis that fills {len} bytes is expected, the shape is {:?}", header.shape)));
    }
    let mut bytes = Vec::new();
    std::io::Read::take(&mut stream, len).read_to_end(&mut bytes).map_err(Problem::Io)?;
    let wide: Vec<i64> = match width {
        4 => bytes.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        _ => bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
    };
    if Some(wide.len() as u64) != numbers {
        return Err(Problem::Truncated { expected: u128::from(len), found: stream.count() });
    }
    wide.into_iter().map(|n| u64::try_from(n).map_err(|_| bad(&format!("{n} is below zero")))).collect()
}

/// The three entries of the header's dictionary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The element type: `<f4`; for structured types the source text of the list.
    pub descr: String,
    pub fortran: bool,
    pub shape: Vec<u64>,
}

impl Header {
    /// Reads magic bytes, version and header off a stream of `len` bytes.
    pub fn read<R: Read>(stream: &mut Hashing<R>, len: u64) -> Result<Self, Problem> {
        let mut start = [0; 8];
        stream.fill(&mut start, 10)?;
        if !start.starts_with(b"\x93NUMPY") {
            return Err(bad("it doesn't start with NumPy's magic bytes"));
        }
        let text_len = match (start[6], start[7]) {
            (1, 0) => u64::from(u16::from_le_bytes(read_array(stream)?)),
            (2 | 3, 0) => u64::from(u32::from_le_bytes(read_array(stream)?)),
            (major, minor) => return Err(bad(&format!("version {major}.{minor} isn't known, only 1.0 to 3.0"))),
        };
        let text_end = stream.count() + text_len;
        if text_end > len {
            return Err(Problem::Truncated { expected: u128::from(text_end), found: len });
        }
        if text_len > MAX_HEADER {
            return Err(bad(&format!("{text_len} bytes of it, where at most {MAX_HEADER} are read")));
        }
        let mut text = vec![0; text_len as usize];
        stream.fill(&mut text, u128::from(text_end))?;
        Literal { text: &text, at: 0 }.header()
    }
}

fn read_array<const N: usize, R: Read>(stream: &mut Hashing<R>) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    stream.fill(&mut bytes, 8 + N as u128)?;
    Ok(bytes)
}

fn bad(what: &str) -> Problem {
    Problem::BadHeader(super::error::printable(what, 200))
}

/// A cursor on the header's Python literal. Iterative throughout: nesting costs no stack.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Literal<'a> {
    /// The whole dictionary: exactly the three keys, in any order.
    fn header(mut self) -> Result<Header, Problem> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.take(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            let repeated = match key {
                b"descr" => descr.replace(self.descr()?).is_some(),
                b"fortran_order" => fortran.replace(self.boolean()?).is_some(),
                b"shape" => shape.replace(self.shape()?).is_some(),
                other => return Err(bad(&format!("unknown entry '{}'", String::from_utf8_lossy(other)))),
            };
            if repeated {
                return Err(bad(&format!("entry '{}' occurs twice", String::from_utf8_lossy(key))));
            }
            if !self.take(b',') && self.peek() != Some(b'}') {
                return Err(self.unexpected("',' or '}'"));
            }
        }
        if self.peek().is_some() {
            return Err(self.unexpected("its end"));
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Header { descr, fortran, shape }),
            (None, ..) => Err(bad("entry 'descr' is missing")),
            (_, None, _) => Err(bad("entry 'fortran_order' is missing")),
            (.., None) => Err(bad("entry 'shape' is missing")),
        }
    }

    /// A type string, or the source text of a structured type's list.
    fn descr(&mut self) -> Result<String, Problem> {
        if self.peek() == Some(b'[') {
            let from = self.at;
            self.skip_list()?;
            return Ok(String::from_utf8_lossy(&self.text[from..self.at]).into_owned());
        }
        Ok(String::from_utf8_lossy(self.string()?).into_owned())
    }

    /// To the bracket that closes the one ahead; brackets in strings don't count.
    fn skip_list(&mut self) -> Result<(), Problem> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'\'' | b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'[' | b'(') => depth += 1,
                Some(b']' | b')') => depth -= 1,
                Some(_) => {}
                None => return Err(self.unexpected("']'")),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// What stands between quotes, as it stands there.
    fn string(&mut self) -> Result<&'a [u8], Problem> {
        let quote = match self.peek() {
            Some(quote @ (b'\'' | b'"')) => quote,
            _ => return Err(self.unexpected("a string")),
        };
        let from = self.at + 1;
        let mut to = from;
        while let Some(&byte) = self.text.get(to) {
            if byte == quote {
                self.at = to + 1;
                return Ok(&self.text[from..to]);
            }
            to += if byte == b'\\' { 2 } else { 1 };
        }
        Err(bad("a string in it doesn't end"))
    }

    fn boolean(&mut self) -> Result<bool, Problem> {
        self.peek();
        for (word, value) in [(&b"True"[..], true), (b"False", false)] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    /// `()`, `(3,)`, `(3, 4)`; Python 2 wrote `(3L, 4L)`.
    fn shape(&mut self) -> Result<Vec<u64>, Problem> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.take(b')') {
            if shape.len() == MAX_AXES {
                return Err(bad(&format!("more than {MAX_AXES} axes")));
            }
            shape.push(self.integer()?);
            if !self.take(b',') && self.peek() != Some(b')') {
                return Err(self.unexpected("',' or ')'"));
            }
        }
        Ok(shape)
    }

    fn integer(&mut self) -> Result<u64, Problem> {
        self.peek();
        let digits = self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Err(self.unexpected("a whole number, 0 or more"));
        }
        let text = str::from_utf8(&self.text[self.at..self.at + digits]).expect("digits are ASCII");
        let number = text.parse().map_err(|_| bad(&format!("{text} rows or columns are larger than any file")))?;
        self.at += digits;
        if self.text.get(self.at) == Some(&b'L') {
            self.at += 1;
        }
        Ok(number)
    }

    /// The next byte that isn't blank; the cursor moves to it.
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, byte: u8) -> Result<(), Problem> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected(&format!("'{}'", byte as char))) }
    }

    fn unexpected(&mut self, wanted: &str) -> Problem {
        match self.peek() {
            Some(byte) => bad(&format!("expected {wanted}, found '{}' at byte {} of it", byte.escape_ascii(), self.at)),
            None => bad(&format!("expected {wanted}, found its end")),
        }
    }
}

/// The element that a type string names, or what to do about it; one of whole numbers or truth values only where those will do.
fn element(descr: &str, whole: bool) -> Result<Element, Problem> {
    let (order, code) = match descr.as_bytes().first() {
        Some(order @ (b'<' | b'>' | b'=' | b'|')) => (*order, &descr[1..]),
        _ => (b'=', descr),
    };
    let kind = match code {
        "f2" => Kind::F16,
        "f4" => Kind::F32,
        "f8" => Kind::F64,
        "b1" | "?" if whole => Kind::Bool,
        "i1" | "i2" | "i4" | "i8" if whole => Kind::Signed(code.as_bytes()[1] - b'0'),
        "u1" | "u2" | "u4" | "u8" if whole => Kind::Unsigned(code.as_bytes()[1] - b'0'),
        _ => return Err(refused(descr, code)),
    };
    let big_endian = order == b'>' || (order != b'<' && cfg!(target_endian = "big"));
    Ok(Element { kind, big_endian })
}

fn refused(descr: &str, code: &str) -> Problem {
    const CONVERT: &str = "save x.astype(np.float32)";
    let (what, advice) = match code.as_bytes().first() {
        Some(b'O') => ("Python objects", "save a plain float array: np.stack(list_of_rows).astype(np.float32)"),
        Some(b'i' | b'u') => ("integers", CONVERT),
        Some(b'b' | b'?') => ("booleans", CONVERT),
        Some(b'c') => ("complex numbers", "save their real parts or magnitudes as float32"),
        Some(b'U' | b'S' | b'a') => ("text", "save the activations, not their labels"),
        Some(b'V') => ("raw bytes; NumPy stores bfloat16 like this", CONVERT),
        Some(b'M' | b'm') => ("dates or times", "save the activations as float32"),
        Some(b'[') => ("records with fields", "save one plain float array: np.stack([x[f] for f in fields], 1)"),
        Some(b'f' | b'g') => ("floats of another width", CONVERT),
        _ => ("a type that isn't known", CONVERT),
    };
    Problem::Dtype { dtype: descr.to_owned(), what, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header, String> {
        Literal { text: text.as_bytes(), at: 0 }.header().map_err(|p| p.to_string())
    }

    #[test]
    fn headers_as_numpy_writes_them() {
        let header = parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n").unwrap();
        assert_eq!(header, Header { descr: "<f4".into(), fortran: false, shape: vec![3, 4] });
        let python2 = parse("{'shape': (3L, 4L), 'fortran_order': True, 'descr': \">f8\"}").unwrap();
        assert_eq!(python2, Header { descr: ">f8".into(), fortran: true, shape: vec![3, 4] });
        assert!(parse("{'descr': '|O', 'fortran_order': False, 'shape': (), }").unwrap().shape.is_empty());
        let records =
            parse("{'descr': [('a]', '<f4'), ('b', '<i4', (2, 2))], 'fortran_order': False, 'shape': (3,), }");
        assert_eq!(records.unwrap().descr, "[('a]', '<f4'), ('b', '<i4', (2, 2))]");
    }

    #[test]
    fn headers_that_are_refused() {
        let complaint = |text: &str| parse(text).unwrap_err();
        for (text, expected) in [
            ("", "expected '{', found its end"),
            ("{'descr': '<f4'", "expected ',' or '}', found its end"),
            ("{'descr': '<f4, 'fortran_order': False}", "expected ',' or '}', found 'f'"),
            ("{'descr': '<f4\\", "doesn't end"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4), }", "0 or more, found '-'"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "larger than any file"),
            ("{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4), }", "True or False, found '0'"),
            ("{'descr': '<f4', 'fortran_order': False, }", "'shape' is missing"),
            ("{'descr': '<f4', 'descr': '<f8', }", "occurs twice"),
            ("{'descr': '<f4', 'more': 1, }", "unknown entry 'more'"),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } x", "expected its end, found 'x'"),
            ("{'descr': [[[", "expected ']', found its end"),
            ("{'descr': '<f4'\u{1b}[2J", "found '\\x1b'"),
        ] {
            let complaint = complaint(text);
            assert!(complaint.contains(expected), "{text}: {complaint}");
        }
        let axes = format!("{{'shape': ({})}}", "1, ".repeat(65));
        assert!(complaint(&axes).contains("more than 64 axes"));
    }

    #[test]
    fn nesting_costs_neither_stack_nor_time() {
        let deep = format!(
            "{{'descr': {}{}, 'fortran_order': False, 'shape': (2, 2)}}",
            "[".repeat(500_000),
            "]".repeat(500_000)
        );
        assert!(parse(&deep).unwrap().descr.starts_with("[["));
    }
}
