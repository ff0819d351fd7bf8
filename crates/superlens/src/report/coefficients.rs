//! Sparse coefficients as a file: the rows one after the other, as `scipy.sparse.csr_array((values, atoms, offsets))` takes them.

use super::ReportError;
use crate::geometry::recover::Sparse;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

pub(super) const FILE: &str = "coefficients.safetensors";

/// `offsets` `[rows + 1]` i64, `atoms` i32 and `values` f32, as safetensors.
pub(super) fn coefficients(rows: &[Sparse]) -> Result<Vec<u8>, ReportError> {
    let (mut offsets, mut atoms, mut values) = (0i64.to_le_bytes().to_vec(), Vec::new(), Vec::new());
    let mut count = 0i64;
    for row in rows {
        count += row.len() as i64;
        offsets.extend(count.to_le_bytes());
        row.iter().for_each(|a| atoms.extend((a.0 as i32).to_le_bytes()));
        row.iter().for_each(|a| values.extend(a.1.to_le_bytes()));
    }
    let unwritable = |e: SafeTensorError| ReportError::Unwritable { file: FILE, message: e.to_string() };
    let view = |dtype, length, data| TensorView::new(dtype, vec![length], data).map_err(unwritable);
    let tensors = [
        ("offsets", view(Dtype::I64, rows.len() + 1, &offsets)?),
        ("atoms", view(Dtype::I32, count as usize, &atoms)?),
        ("values", view(Dtype::F32, count as usize, &values)?),
    ];
    safetensors::serialize(tensors, None).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_one_after_the_other() {
        let bytes = coefficients(&[vec![(3, 1.0), (7, -2.0)], vec![], vec![(0, 0.5)]]).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| file.tensor(name).unwrap().data().to_vec();
        assert_eq!(words("offsets"), [0i64, 2, 2, 3].map(i64::to_le_bytes).concat());
        assert_eq!(words("atoms"), [3i32, 7, 0].map(i32::to_le_bytes).concat());
        assert_eq!(words("values"), [1.0f32, -2.0, 0.5].map(f32::to_le_bytes).concat());
    }
}
