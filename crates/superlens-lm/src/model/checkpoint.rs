//! [`Checkpoint`]: the tensors of a model folder, in one file or in shards, read one at a time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata};
use serde_json::Value;
use superlens_tensor::Mat;

use super::error::ModelError;
use super::made::Made;
use super::weights::{Linear, NormWeights};

/// The reference implementation's limit for the header.
const MAX_HEADER: u64 = 100_000_000;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Which way a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// `[out, in]`, as PyTorch's `Linear` does.
    OutIn,
    /// `[in, out]`, as GPT-2 does.
    InOut,
}

/// An open file and what its header says.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: RefCell<File>,
    header: Metadata,
    start: u64,
}

/// All tensors of a model by name. What was read is remembered, so that what nobody asked for can be told.
#[derive(Debug)]
pub(super) struct Checkpoint {
    dir: PathBuf,
    shards: Vec<Shard>,
    place: BTreeMap<String, usize>,
    read: RefCell<BTreeSet<String>>,
    /// Before each name, where the files have it and the names asked for don't, or the other way round.
    prefix: Option<String>,
    /// Where the tensors come from if not from files.
    made: Option<Made>,
}

impl Checkpoint {
    /// Tensors that stand in no file.
    pub fn made(path: &Path, made: Made) -> Checkpoint {
        let (dir, read) = (path.to_owned(), RefCell::default());
        Checkpoint { dir, shards: vec![], place: BTreeMap::new(), read, prefix: None, made: Some(made) }
    }

    pub fn open(dir: &Path) -> Result<Checkpoint, ModelError> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let files: BTreeSet<String> = if single.exists() {
            [SINGLE.to_owned()].into()
        } else if index.exists() {
            files_of_index(&index)?
        } else {
            let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt"]
                .into_iter()
                .find(|f| dir.join(f).exists());
            return Err(ModelError::new(
                dir,
                match pickled {
                    Some(file) => format!(
                        "has {file} but no {SINGLE}; pickles of models are not read: save it by `model.save_pretrained(folder)`"
                    ),
                    None => format!("has neither {SINGLE} nor {INDEX}; name the folder of a Hugging Face model"),
                },
            ));
        };
        let shards = files.iter().map(|f| Shard::open(&dir.join(f))).collect::<Result<Vec<_>, _>>()?;
        let mut place = BTreeMap::new();
        for (i, shard) in shards.iter().enumerate() {
            for name in shard.header.offset_keys() {
                if let Some(before) = place.insert(name.clone(), i) {
                    let other = shards[before].path.display();
                    return Err(ModelError::of(
                        &shard.path,
                        &name,
                        format!("stands in {other} too; copy the model again"),
                    ));
                }
            }
        }
        Ok(Checkpoint { dir: dir.to_owned(), shards, place, read: RefCell::default(), prefix: None, made: None })
    }

    /// Names are looked up as they are and, if they aren't there, without or with this before them: files of the bare model lack it.
    pub fn with_prefix(mut self, prefix: &str) -> Checkpoint {
        self.prefix = Some(prefix.to_owned());
        self
    }

    fn find(&self, name: &str) -> Option<(String, &Shard)> {
        let prefix = self.prefix.as_deref().unwrap_or("");
        let bare = name.strip_prefix(prefix).unwrap_or(name).to_owned();
        [name.to_owned(), bare, format!("{prefix}{name}")].into_iter().find_map(|n| {
            let shard = *self.place.get(&n)?;
            Some((n, &self.shards[shard]))
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.made.as_ref().map_or_else(|| self.find(name).is_some(), |made| made.has(name))
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let (name, shard) = self.find(name)?;
        Some(shard.header.info(&name)?.shape.clone())
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        if let Some(made) = &self.made {
            return made.tensor(name, shape).map_err(|what| ModelError::of(&self.dir, name, what));
        }
        let Some((name, shard)) = self.find(name) else {
            let place = if let [one] = &self.shards[..] { &one.path } else { &self.dir };
            return Err(ModelError::of(place, name, "no such tensor; is config.json that of these weights?"));
        };
        let numbers = shard.read(&name, shape)?;
        self.read.borrow_mut().insert(name);
        Ok(numbers)
    }

    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, ModelError> {
        self.tensor(name, &[len])
    }

    /// A matrix as it is stored.
    pub fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Mat, ModelError> {
        Ok(Mat::from_vec(rows, cols, self.tensor(name, &[rows, cols])?))
    }

    /// `name.weight`, and `name.bias` where `bias` says so.
    pub fn linear(
        &self,
        name: &str,
        (d_in, d_out): (usize, usize),
        stored: Stored,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = format!("{name}.weight");
        let w = match stored {
            Stored::OutIn => self.matrix(&weight, d_out, d_in)?.transposed(),
            Stored::InOut => self.matrix(&weight, d_in, d_out)?,
        };
        let b = if bias { Some(self.vector(&format!("{name}.bias"), d_out)?) } else { None };
        Ok(Linear { w, b })
    }

    /// `name.weight` and `name.bias` of a norm, as far as they are there; `gamma` and `beta` in old files.
    pub fn norm(&self, name: &str, len: usize) -> Result<NormWeights, ModelError> {
        let part = |new: &str, old: &str| {
            let (new, old) = (format!("{name}.{new}"), format!("{name}.{old}"));
            let there = [new, old].into_iter().find(|n| self.has(n));
            there.map(|n| self.vector(&n, len)).transpose()
        };
        Ok(NormWeights { gain: part("weight", "gamma")?, bias: part("bias", "beta")? })
    }

    /// As [`norm`](Self::norm), where the gain must be there.
    pub fn gain(&self, name: &str, len: usize) -> Result<NormWeights, ModelError> {
        Ok(NormWeights { gain: Some(self.vector(&format!("{name}.weight"), len)?), bias: None })
    }

    /// Refuses tensors that nobody asked for, but for buffers that old versions saved and `known` names: a model of which parts are left out
    /// would compute something else.
    pub fn finish(&self, known: &[&str]) -> Result<(), ModelError> {
        const BUFFERS: &[&str] =
            &["rotary_emb.inv_freq", "position_ids", "attn.bias", "attention.bias", "masked_bias", "attn.masked_bias"];
        let read = self.read.borrow();
        let buffer = |name: &str| {
            let square = self.shape(name).is_some_and(|s| s.len() != 1);
            let causal = name.ends_with("attn.bias") || name.ends_with("attention.bias");
            BUFFERS.iter().any(|b| name.ends_with(b)) && (square || !causal)
        };
        let odd = self
            .place
            .iter()
            .find(|(name, _)| !read.contains(*name) && !buffer(name) && !known.iter().any(|k| name.contains(k)));
        match odd {
            None => Ok(()),
            Some((name, &shard)) => Err(ModelError::of(
                &self.shards[shard].path,
                name,
                "a tensor that config.json leaves no place for; the model would not compute what it does elsewhere",
            )),
        }
    }
}

/// The files that an index names.
pub(crate) fn files_of_index(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let value = read_json(index)?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| ModelError::of(index, "weight_map", "expected an object of tensors and files"))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| ModelError::of(index, tensor, "expected the name of a file"))?;
        // Whoever wrote the index doesn't choose which files of the machine are read.
        if file.contains(['/', '\\']) || file == ".." {
            return Err(ModelError::of(index, tensor, format!("expected a file of the same folder, found {file:?}")));
        }
        files.insert(file.to_owned());
    }
    Ok(files)
}

/// A JSON file of reasonable size.
pub(super) fn read_json(path: &Path) -> Result<Value, ModelError> {
    const LARGEST: u64 = 64 << 20;
    let len = std::fs::metadata(path).map_err(ModelError::reading(path))?.len();
    if len > LARGEST {
        return Err(ModelError::new(path, format!("has {len} bytes; at most {LARGEST} are read")));
    }
    let text = std::fs::read(path).map_err(ModelError::reading(path))?;
    serde_json::from_slice(&text).map_err(|e| ModelError::new(path, format!("is no JSON: {e}")))
}

impl Shard {
    fn open(path: &Path) -> Result<Shard, ModelError> {
        let reading = ModelError::reading(path);
        let bad =
            |what: String| ModelError::new(path, format!("its header can't be right: {what}; copy the model again"));
        let mut file = File::open(path).map_err(&reading)?;
        let len = file.metadata().map_err(&reading)?.len();
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(&reading)?;
        let header = u64::from_le_bytes(prefix);
        if header > MAX_HEADER || header > len - 8 {
            return Err(bad(format!("{header} bytes of it in a file of {len}")));
        }
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).map_err(&reading)?;
        let header: Metadata = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let start = 8 + text.len() as u64;
        let expected = start + header.data_len() as u64;
        if expected != len {
            return Err(ModelError::new(
                path,
                format!("its header promises {expected} bytes, {len} are there; copy the model again"),
            ));
        }
        Ok(Shard { path: path.to_owned(), file: RefCell::new(file), header, start })
    }

    /// Reads a tensor of this shape as `f32`.
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let info = self.header.info(name).expect("looked up before");
        if info.shape != shape {
            return Err(ModelError::of(
                &self.path,
                name,
                format!("expected shape {shape:?} by config.json, found {:?}", info.shape),
            ));
        }
        let (from, to) = info.data_offsets;
        let mut file = self.file.borrow_mut();
        file.seek(SeekFrom::Start(self.start + from as u64)).map_err(ModelError::reading(&self.path))?;
        let mut bytes = vec![0; to - from];
        file.read_exact(&mut bytes).map_err(ModelError::reading(&self.path))?;
        let numbers: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => {
                let what = format!("numbers of type {other}; F32, F16 and BF16 are read");
                return Err(ModelError::of(&self.path, name, what));
            }
        };
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            return Err(ModelError::of(
                &self.path,
                name,
                format!("number {at} is {}; copy the model again", numbers[at]),
            ));
        }
        Ok(numbers)
    }
}
