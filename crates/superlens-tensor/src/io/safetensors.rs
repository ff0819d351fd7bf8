//! `.safetensors`: 8 bytes of header length, a JSON header, then the tensors' bytes, little-endian, in C
//! order. The `safetensors` crate parses and judges the header (names, element types, offsets that neither
//! overlap nor leave holes and agree with the shapes); only the tensor that is wanted is read.

use std::io::{Read, Seek, SeekFrom};

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::element::{Element, Kind};
use super::fill::{Filled, Layout, Order, fill};
use super::source::{Hashing, Source};
use super::{Array, ArrayInfo, Problem, Wanted};

/// The reference implementation's limit.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const PREFIX: u64 = 8;

/// An open file whose header agrees with its size.
pub(super) struct Tensors {
    source: Source,
    header: Metadata,
    /// Where the tensors' bytes begin.
    data_start: u64,
}

impl Tensors {
    /// Reads and judges the header.
    pub fn open(mut source: Source) -> Result<Self, Problem> {
        let len = source.len;
        let mut stream = Hashing::new(&mut source.file);
        let mut prefix = [0; PREFIX as usize];
        stream.fill(&mut prefix, u128::from(PREFIX))?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > len - PREFIX {
            return Err(Problem::Truncated { expected: u128::from(PREFIX) + u128::from(header_len), found: len });
        }
        if header_len > MAX_HEADER {
            return Err(bad(&format!("{header_len} bytes of it, where at most {MAX_HEADER} are read")));
        }
        let mut text = vec![0; header_len as usize];
        stream.fill(&mut text, u128::from(PREFIX + header_len))?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|e| bad(&e.to_string()))?;
        let data_start = PREFIX + header_len;
        let expected = u128::from(data_start) + header.data_len() as u128;
        match u128::from(len) {
            found if found < expected => Err(Problem::Truncated { expected, found: len }),
            found if found > expected => Err(Problem::ExtraBytes { expected: expected as u64, found: len }),
            _ => Ok(Self { source, header, data_start }),
        }
    }

    /// The tensors' names, in the order of their bytes.
    pub fn keys(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// What the header says of each tensor.
    pub fn describe(&self) -> Vec<ArrayInfo> {
        let info = |key: String| {
            let tensor = self.tensor(&key);
            ArrayInfo { shape: shape(tensor), dtype: tensor.dtype.to_string(), key: Some(key) }
        };
        self.keys().into_iter().map(info).collect()
    }

    /// Reads the tensor `key`, one of [`Tensors::keys`], and nothing else.
    pub fn read(&mut self, key: &str, wanted: impl Into<Wanted>) -> Result<Array, Problem> {
        let tensor = self.tensor(key);
        let wanted = wanted.into();
        let element = element(tensor.dtype, wanted.whole)?;
        let layout = Layout { shape: shape(tensor), element, order: Order::C };
        let size = layout.rows_and_columns(wanted.shape)?;
        // The header was held against the file's size and the shape against the offsets, so what is
        // allocated now lies in the file.
        let start = self.data_start + tensor.data_offsets.0 as u64;
        let dtype = tensor.dtype.to_string();
        self.source.file.seek(SeekFrom::Start(start)).map_err(Problem::Io)?;
        let mut stream = Hashing::new((&mut self.source.file).take(layout.bytes()?));
        let Filled { mat, too_large, rows } = fill(&mut stream, &layout, size, wanted.sample)?;
        let bytes = stream.count();
        let (_, sha256) = stream.finish();
        Ok(Array { mat, shape: layout.shape, dtype, sha256, bytes, too_large, rows })
    }

    fn tensor(&self, key: &str) -> &TensorInfo {
        self.header.info(key).unwrap_or_else(|| panic!("`{key}` is one of the header's names"))
    }
}

fn shape(tensor: &TensorInfo) -> Vec<u64> {
    tensor.shape.iter().map(|&n| n as u64).collect()
}

fn bad(what: &str) -> Problem {
    Problem::BadHeader(super::error::printable(what, 200))
}

fn element(dtype: Dtype, whole: bool) -> Result<Element, Problem> {
    const CONVERT: &str = "save tensor.float()";
    let kind = match dtype {
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::BF16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        Dtype::BOOL if whole => Kind::Bool,
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 if whole => Kind::Signed((dtype.bitsize() / 8) as u8),
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 if whole => Kind::Unsigned((dtype.bitsize() / 8) as u8),
        other => {
            let what = match other {
                Dtype::BOOL => "booleans",
                Dtype::C64 => "complex numbers",
                Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 => "integers",
                Dtype::U32 | Dtype::I32 | Dtype::U64 | Dtype::I64 => "integers",
                _ => "floats of another width",
            };
            return Err(Problem::Dtype { dtype: other.to_string(), what, advice: CONVERT });
        }
    };
    Ok(Element { kind, big_endian: false })
}
