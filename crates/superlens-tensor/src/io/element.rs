//! [`Element`]: how one number lies in a file, and its way to f32.

use half::{bf16, f16};

/// An element as stored.
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
    /// A truth value; one that is neither 0 nor 1 is read as the number it is.
    Bool,
    /// A whole number, of so many bytes.
    Signed(u8),
    Unsigned(u8),
}

impl Element {
    pub fn bytes(self) -> usize {
        match self.kind {
            Kind::F16 | Kind::BF16 => 2,
            Kind::F32 => 4,
            Kind::F64 => 8,
            Kind::Bool => 1,
            Kind::Signed(bytes) | Kind::Unsigned(bytes) => bytes.into(),
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
            (Kind::Bool, _) => append(bytes, out, |[b]| f32::from(b)),
            (Kind::Signed(width), big) => append_whole(bytes, out, width.into(), big, |n| {
                // The sign bit of the width moves to that of 64 bits, and back with copies of itself.
                let unused = 64 - 8 * u32::from(width);
                ((n << unused) as i64 >> unused) as f32
            }),
            (Kind::Unsigned(width), big) => append_whole(bytes, out, width.into(), big, |n| n as f32),
        }
        0
    }
}

fn append<const N: usize>(bytes: &[u8], out: &mut Vec<f32>, mut number: impl FnMut([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty(), "{} bytes are no whole number of {N}-byte elements", bytes.len());
    out.extend(elements.iter().map(|b| number(*b)));
}

/// Whole numbers of `width` bytes, as the low bits of 64.
fn append_whole(bytes: &[u8], out: &mut Vec<f32>, width: usize, big_endian: bool, number: impl Fn(u64) -> f32) {
    assert!(bytes.len().is_multiple_of(width), "{} bytes are no whole number of {width}-byte elements", bytes.len());
    out.extend(bytes.chunks_exact(width).map(|element| {
        let add = |n: u64, byte: &u8| n << 8 | u64::from(*byte);
        number(if big_endian { element.iter().fold(0, add) } else { element.iter().rev().fold(0, add) })
    }));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_any_width_and_order() {
        for width in [1u8, 2, 4, 8] {
            for number in [0i64, 1, -1, 100, -128] {
                let bytes = &number.to_le_bytes()[..width.into()];
                let reversed: Vec<u8> = bytes.iter().rev().copied().collect();
                for (bytes, big_endian) in [(bytes, false), (&reversed, true)] {
                    let mut out = Vec::new();
                    Element { kind: Kind::Signed(width), big_endian }.decode(bytes, &mut out);
                    assert_eq!(out, [number as f32], "{width} bytes");
                    let mut out = Vec::new();
                    Element { kind: Kind::Unsigned(width), big_endian }.decode(bytes, &mut out);
                    let mask = u64::MAX >> (64 - 8 * u32::from(width));
                    assert_eq!(out, [(number as u64 & mask) as f32], "{width} bytes");
                }
            }
        }
        let mut out = Vec::new();
        Element { kind: Kind::Bool, big_endian: false }.decode(&[0, 1, 1], &mut out);
        assert_eq!(out, [0.0, 1.0, 1.0]);
    }
}
