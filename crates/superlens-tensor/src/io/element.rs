//! [`Element`]: how one number lies in a file, and its way to f32.

use half::{bf16, f16};

/// A floating-point element as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub kind: Kind,
    pub big_endian: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    BF16,
    F32,
    F64,
}

impl Element {
    pub fn bytes(self) -> usize {
        match self.kind {
            Kind::F16 | Kind::BF16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }

    /// Appends the numbers in `bytes` (a whole number of elements) to `out`. Returns how many finite 64-bit
    /// values became infinite.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) -> u64 {
        match (self.kind, self.big_endian) {
            (Kind::F16, false) => append(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            (Kind::F16, true) => append(bytes, out, |b| f16::from_be_bytes(b).to_f32()),
            (Kind::BF16, false) => append(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            (Kind::BF16, true) => append(bytes, out, |b| bf16::from_be_bytes(b).to_f32()),
            (Kind::F32, false) => append(bytes, out, f32::from_le_bytes),
            (Kind::F32, true) => append(bytes, out, f32::from_be_bytes),
            (Kind::F64, false) => return append_narrowed(bytes, out, f64::from_le_bytes),
            (Kind::F64, true) => return append_narrowed(bytes, out, f64::from_be_bytes),
        }
        0
    }
}

fn append<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, mut number: impl FnMut([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "{} bytes are no whole number of {N}-byte elements", bytes.len());
    out.extend(elements.iter().map(|b| number(*b)));
}

fn append_narrowed(bytes: &[u8], out: &mut Vec<f32>, number: impl Fn([u8; 8]) -> f64) -> u64 {
    let mut too_large = 0;
    append(bytes, out, |b| {
        let wide = number(b);
        let narrow = wide as f32;
        too_large += u64::from(wide.is_finite() && narrow.is_infinite());
        narrow
    });
    too_large
}
