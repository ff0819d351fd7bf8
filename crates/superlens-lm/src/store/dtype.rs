//! [`DType`]: how one number of a store lies on disk, and the ways from and to `f32`.

use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

/// The element types of a store, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F16,
    BF16,
    F32,
}

impl DType {
    pub const ALL: [DType; 3] = [DType::F16, DType::BF16, DType::F32];

    pub fn bytes(self) -> usize {
        match self {
            DType::F16 | DType::BF16 => 2,
            DType::F32 => 4,
        }
    }

    pub fn id(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
        }
    }

    pub(super) fn of(dtype: Dtype) -> Option<DType> {
        DType::ALL.into_iter().find(|own| own.safetensors() == dtype)
    }

    pub(super) fn safetensors(self) -> Dtype {
        match self {
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            DType::F32 => Dtype::F32,
        }
    }

    /// The numbers in `bytes`. Panics unless there are as many as `out` takes.
    ///
    /// Stores are little-endian, and so must the machine be for the fast way, which is taken where the bytes are aligned: the conversions of
    /// `half` use F16C and the like.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), out.len() * self.bytes(), "bytes for {} numbers", out.len());
        let fast = cfg!(target_endian = "little");
        match self {
            DType::F16 => match bytemuck::try_cast_slice::<u8, f16>(bytes) {
                Ok(numbers) if fast => numbers.convert_to_f32_slice(out),
                _ => each(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            },
            // A shift: the compiler makes vectors of it, aligned or not.
            DType::BF16 => each(bytes, out, |b: [u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
            DType::F32 => each(bytes, out, f32::from_le_bytes),
        }
    }

    /// Appends `numbers`, rounded to nearest. The position of the first that is not finite, or would not be in this type, is the error.
    pub(super) fn encode(self, numbers: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        let finite = |encoded: &dyn Fn(f32) -> bool| numbers.iter().position(|&v| !encoded(v)).map_or(Ok(()), Err);
        match self {
            DType::F32 => {
                finite(&|v| v.is_finite())?;
                out.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
            }
            DType::F16 => {
                let mut small = vec![f16::ZERO; numbers.len()];
                small.convert_from_f32_slice(numbers);
                small.iter().position(|v| !v.is_finite()).map_or(Ok(()), Err)?;
                out.extend(small.iter().flat_map(|v| v.to_le_bytes()));
            }
            DType::BF16 => {
                finite(&|v| bf16::from_f32(v).is_finite())?;
                out.extend(numbers.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

fn each<const N: usize>(bytes: &[u8], out: &mut [f32], number: impl Fn([u8; N]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks::<N>().0).for_each(|(v, b)| *v = number(*b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_aligned_or_not() {
        let numbers: Vec<f32> = (-40..41).map(|i| i as f32 * 0.25).collect();
        for dtype in DType::ALL {
            let mut bytes = vec![0];
            dtype.encode(&numbers, &mut bytes).unwrap();
            let mut odd = vec![0.0; numbers.len()];
            dtype.decode(&bytes[1..], &mut odd);
            let mut even = vec![0.0; numbers.len()];
            let aligned: Vec<u8> = bytes[1..].to_vec();
            dtype.decode(&aligned, &mut even);
            assert_eq!((&odd, &even), (&numbers, &numbers), "{dtype}");
        }
    }

    #[test]
    fn every_half_is_read_as_the_reference_reads_it() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let mut out = vec![0.0; 1 << 16];
        DType::F16.decode(&bytes, &mut out);
        for (bits, v) in (0..=u16::MAX).zip(&out) {
            let want = f16::from_bits(bits).to_f32_const();
            assert!(v.to_bits() == want.to_bits() || v.is_nan() && want.is_nan(), "{bits:04x}");
        }
        DType::BF16.decode(&bytes, &mut out);
        for (bits, v) in (0..=u16::MAX).zip(&out) {
            let want = bf16::from_bits(bits).to_f32();
            assert!(v.to_bits() == want.to_bits() || v.is_nan() && want.is_nan(), "{bits:04x}");
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused() {
        for (dtype, bad) in [(DType::F16, 70_000.0), (DType::BF16, f32::MAX), (DType::F32, f32::NAN)] {
            assert_eq!(dtype.encode(&[1.0, bad, 2.0], &mut Vec::new()), Err(1), "{dtype}");
        }
    }
}
