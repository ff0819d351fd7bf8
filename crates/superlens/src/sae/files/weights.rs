//! [`Weights`]: the named tensors of a file of any kind, taken one by one; and how they are written as safetensors.

use super::FileError;
use super::error::printable;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use superlens_tensor::Mat;
use superlens_tensor::io::torch::{TorchFile, Value};
use superlens_tensor::io::{read_arrays, torch::TensorInfo};

/// Shape and numbers, row-major.
type Tensor = (Vec<usize>, Vec<f32>);

pub(super) struct Weights {
    pub file: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    pub fn safetensors(file: PathBuf) -> Result<Self, FileError> {
        let bytes = fs::read(&file).map_err(|source| FileError::Io { file: file.clone(), source })?;
        let all = match safetensors::SafeTensors::deserialize(&bytes) {
            Ok(all) => all,
            Err(e) => return Err(FileError::Malformed { file, problem: format!("not a safetensors file: {e}") }),
        };
        let mut tensors = BTreeMap::new();
        for (name, view) in all.iter() {
            let numbers = to_f32(view.dtype(), view.data()).ok_or_else(|| FileError::Tensor {
                file: file.clone(),
                tensor: printable(name),
                expected: "F32, F64, F16 or BF16".into(),
                found: format!("{:?}", view.dtype()),
            })?;
            tensors.insert(name.to_owned(), (view.shape().to_vec(), numbers));
        }
        Ok(Self { file, tensors })
    }

    pub fn npz(file: PathBuf) -> Result<Self, FileError> {
        let tensors = read_arrays(&file)?.into_iter().map(|a| (a.key, (a.shape, a.data))).collect();
        Ok(Self { file, tensors })
    }

    /// The tensors of a dictionary in a PyTorch file; what else is in it comes back as it is.
    pub fn torch(file: &Path, torch: &mut TorchFile, dict: &Value) -> Result<(Self, Vec<(String, Value)>), FileError> {
        let Value::Dict(pairs) = dict else {
            let problem =
                format!("holds {} where a dictionary of tensors must be; save model.state_dict()", dict.kind());
            return Err(FileError::Malformed { file: file.to_owned(), problem });
        };
        let (mut tensors, mut others) = (BTreeMap::new(), Vec::new());
        for (key, value) in pairs {
            let Value::Str(key) = key else {
                let problem = format!("its dictionary has {} for a key, where names of tensors must be", key.kind());
                return Err(FileError::Malformed { file: file.to_owned(), problem });
            };
            match value {
                Value::Tensor(info) => drop(tensors.insert(key.clone(), numbers(torch, key, info)?)),
                other => others.push((key.clone(), other.clone())),
            }
        }
        Ok((Self { file: file.to_owned(), tensors }, others))
    }

    pub fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    pub fn rename(&mut self, from: &str, to: &str) {
        if let Some(tensor) = self.tensors.remove(from) {
            self.tensors.insert(to.to_owned(), tensor);
        }
    }

    pub fn wrong(&self, tensor: &str, expected: impl Into<String>, found: impl Into<String>) -> FileError {
        FileError::Tensor {
            file: self.file.clone(),
            tensor: printable(tensor),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The shape of a tensor with two axes.
    pub fn shape2(&self, tensor: &str) -> Result<(usize, usize), FileError> {
        match self.tensors.get(tensor).map(|t| t.0.as_slice()) {
            Some(&[rows, cols]) if rows > 0 && cols > 0 => Ok((rows, cols)),
            Some(shape) => Err(self.wrong(tensor, "a matrix", format!("shape {shape:?}"))),
            None => Err(self.wrong(tensor, "a matrix", self.missing())),
        }
    }

    /// The numbers of `tensor`, which must have this shape and be finite.
    pub fn take(&mut self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, FileError> {
        let Some((found, numbers)) = self.tensors.remove(tensor) else {
            return Err(self.wrong(tensor, format!("shape {shape:?}"), self.missing()));
        };
        if found != shape {
            return Err(self.wrong(
                tensor,
                format!("shape {shape:?}, as the widths d_in and d_sae have it"),
                format!("{found:?}"),
            ));
        }
        match numbers.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.wrong(tensor, "finite numbers", format!("{} at position {at}", numbers[at]))),
            None => Ok(numbers),
        }
    }

    pub fn matrix(&mut self, tensor: &str, rows: usize, cols: usize) -> Result<Mat, FileError> {
        Ok(Mat::from_vec(rows, cols, self.take(tensor, &[rows, cols])?))
    }

    /// One number.
    pub fn scalar(&mut self, tensor: &str) -> Result<f32, FileError> {
        if self.tensors.get(tensor).is_some_and(|t| t.0 == [1]) {
            return Ok(self.take(tensor, &[1])?[0]);
        }
        Ok(self.take(tensor, &[])?[0])
    }

    /// A whole number from 0.
    pub fn count(&mut self, tensor: &str) -> Result<usize, FileError> {
        let number = self.scalar(tensor)?;
        if number >= 0.0 && number.fract() == 0.0 && number < 16_777_216.0 {
            return Ok(number as usize);
        }
        Err(self.wrong(tensor, "a whole number from 0", number.to_string()))
    }

    /// Scales that some tools add. All ones mean nothing; the `d_sae` numbers come back if they mean something.
    pub fn scaling_factor(&mut self, d_sae: usize) -> Result<Option<Vec<f32>>, FileError> {
        if !self.has("scaling_factor") {
            return Ok(None);
        }
        let scale = self.take("scaling_factor", &[d_sae])?;
        Ok(Some(scale).filter(|scale| scale.iter().any(|s| (s - 1.0).abs() > 1e-5)))
    }

    pub fn drop(&mut self, tensor: &str) {
        self.tensors.remove(tensor);
    }

    /// A tensor that nobody asked for means that the architecture is not what the config says.
    pub fn nothing_left(&self, architecture: &str) -> Result<(), FileError> {
        match self.tensors.keys().next() {
            Some(extra) => Err(self.wrong(extra, format!("only the tensors of `{architecture}`"), "one more")),
            None => Ok(()),
        }
    }

    fn missing(&self) -> String {
        format!("no such tensor among {:?}", self.tensors.keys().take(12).collect::<Vec<_>>())
    }
}

fn numbers(torch: &mut TorchFile, key: &str, info: &TensorInfo) -> Result<Tensor, FileError> {
    Ok((info.shape().iter().map(|&n| n as usize).collect(), torch.tensor(key, info)?))
}

pub(super) fn to_f32(dtype: safetensors::Dtype, data: &[u8]) -> Option<Vec<f32>> {
    use safetensors::Dtype;
    fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        data.as_chunks().0.iter().map(|&bytes| read(bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(data, f32::from_le_bytes),
        Dtype::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(data, |bytes| half::f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(data, |bytes| half::bf16::from_le_bytes(bytes).to_f32()),
        _ => return None,
    })
}

/// A little-endian safetensors file of `(name, numbers, shape)`.
pub(super) fn serialize(tensors: &[(&str, &[f32], Vec<usize>)], file: &Path) -> Result<Vec<u8>, FileError> {
    let malformed =
        |e: safetensors::SafeTensorError| FileError::Malformed { file: file.to_owned(), problem: e.to_string() };
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, numbers, _)| numbers.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, _, shape), data)| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data).map(|view| (*name, view))
        })
        .collect();
    safetensors::serialize(views.map_err(malformed)?, None).map_err(malformed)
}
