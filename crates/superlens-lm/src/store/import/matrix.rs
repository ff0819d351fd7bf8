//! Arrays of `.npy`, `.npz` and `.safetensors`, through the readers of `superlens-tensor`. The array is held in memory once, as `f32`.

use std::path::Path;

use superlens_tensor::io::{ReadOptions, read_directions};

use super::{DType, Opened, Options, StoreError};
use crate::store::error::Problem;

pub(super) fn open(src: &Path, options: &Options) -> Result<Opened, StoreError> {
    let read = ReadOptions { key: options.key.clone(), flatten: options.flatten };
    // The readers' line names the file already.
    let loaded =
        read_directions(src, &read).map_err(|e| StoreError::new(src, Problem::Source(e.problem.to_string())))?;
    let dtype = match loaded.dtype.trim_start_matches(['<', '>', '=']) {
        "f2" | "F16" => DType::F16,
        "BF16" => DType::BF16,
        _ => DType::F32,
    };
    let (width, origin) = (loaded.mat.cols(), loaded.sha256);
    let pieces = Box::new(std::iter::once(Ok((loaded.mat, Vec::new()))));
    Ok(Opened { name: None, width, dtype, tokens: false, origin, pieces })
}
