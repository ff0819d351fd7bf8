//! [`State`]: everything that a run needs to go on, and its file.

use super::patience::Waited;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use superlens_tensor::Mat;
use superlens_tensor::io::write_atomic;
use superlens_tensor::kernels::sparse::SparseRows;
use superlens_tensor::train::Params;

/// What the file says it is.
const KIND: &str = "superlens training state 3";

/// The sets of parameters in the file.
const SETS: [&str; 4] = ["params", "m", "v", AVERAGE];
const AVERAGE: &str = "average";

/// Parameters, the moments of Adam, and what is counted on the way. Which rows a step sees follows from the seed and the step alone.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Steps done.
    pub step: u64,
    pub params: Params,
    pub m: Params,
    pub v: Params,
    /// Samples since each latent fired last.
    pub silent: Vec<u64>,
    /// What an objective follows over the steps (the mean threshold of BatchTopK); negative until it has been seen.
    pub threshold: f64,
    /// The running mean of the parameters, where one is followed.
    pub average: Option<Params>,
    /// What early stopping has seen, where it is wanted.
    pub patience: Option<Waited>,
}

/// Why a state can't be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{}: {problem}", file.display())]
    Broken { file: PathBuf, problem: String },
}

impl State {
    pub(super) fn new(params: Params, averages: bool) -> Self {
        let (m, v) = (params.zeros_like(), params.zeros_like());
        let silent = vec![0; params.get("b_enc").cols()];
        let average = averages.then(|| params.clone());
        State { step: 0, params, m, v, silent, threshold: -1.0, average, patience: None }
    }

    /// Latents that have been silent for `after` samples and more, ascending.
    pub(super) fn dead(&self, after: u64) -> Vec<u32> {
        let dead = self.silent.iter().enumerate().filter(|(_, silent)| **silent >= after);
        dead.map(|(j, _)| j as u32).collect()
    }

    /// In how many of these rows each latent fired; those that did are no longer silent.
    pub(super) fn count_silence(&mut self, latents: &SparseRows) -> Vec<u32> {
        let mut fires = vec![0; self.silent.len()];
        let fired = latents.indices().iter().zip(latents.values()).filter(|(_, v)| **v != 0.0);
        fired.for_each(|(&j, _)| fires[j as usize] += 1);
        let rows = latents.rows() as u64;
        self.silent.iter_mut().zip(&fires).for_each(|(s, n)| *s = if *n > 0 { 0 } else { *s + rows });
        fires
    }

    /// Writes all of it to `file`, which is complete or as it was. `run` is whatever tells one run from another; [`read`](Self::read) wants
    /// the same.
    ///
    /// # Errors
    /// [`StateError::Io`], a full disk among them.
    pub fn write(&self, file: &Path, run: &str) -> Result<(), StateError> {
        let broken = |e: safetensors::SafeTensorError| StateError::Broken { file: file.into(), problem: e.to_string() };
        let silent: Vec<u8> = self.silent.iter().flat_map(|s| s.to_le_bytes()).collect();
        let average = self.average.iter().map(|a| (AVERAGE, a));
        let sets = [("params", &self.params), ("m", &self.m), ("v", &self.v)].into_iter().chain(average);
        let named = sets.flat_map(|(set, p)| p.blocks.iter().map(move |(n, m)| (format!("{set}.{n}"), m)));
        let mut tensors = Vec::new();
        for (name, m) in named {
            let bytes: &[u8] = bytemuck::cast_slice(m.data());
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![m.rows(), m.cols()], bytes);
            tensors.push((name, view.map_err(broken)?));
        }
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::U64, vec![self.silent.len()], &silent);
        tensors.push(("silent".to_string(), view.map_err(broken)?));
        let waited =
            self.patience.map(|p| json!([p.steps, p.sum.to_bits(), p.best.to_bits(), p.failed, u64::from(p.lost)]));
        let facts = json!({"step": self.step, "threshold": self.threshold.to_bits(), "patience": waited});
        let sum = checksum(tensors.iter().map(|(name, view)| (name.as_str(), view.data())), &facts.to_string());
        let metadata =
            [("kind", KIND.to_string()), ("state", facts.to_string()), ("run", run.to_string()), ("sha256", sum)];
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(broken)?;
        write_atomic(file, &bytes).map_err(|source| StateError::Io { file: file.into(), source })
    }

    /// Reads what [`write`](Self::write) wrote for the same `run`.
    ///
    /// # Errors
    /// A file that is not there, cut short, of another run or another kind.
    pub fn read(file: &Path, run: &str) -> Result<State, StateError> {
        let broken = |problem: String| StateError::Broken { file: file.into(), problem };
        let bytes = std::fs::read(file).map_err(|source| StateError::Io { file: file.into(), source })?;
        let not_whole = |e: safetensors::SafeTensorError| broken(format!("not a whole training state: {e}"));
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(not_whole)?;
        let tensors = safetensors::SafeTensors::deserialize(&bytes).map_err(not_whole)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let said = |key: &str| metadata.get(key).cloned().unwrap_or_default();
        if said("kind") != KIND {
            return Err(broken(format!("expected a `{KIND}`, found `{}`", said("kind"))));
        }
        if said("run") != run {
            return Err(broken("belongs to a run with other settings or other activations".into()));
        }
        let views = tensors.tensors();
        let sum = checksum(views.iter().map(|(name, view)| (name.as_str(), view.data())), &said("state"));
        if sum != said("sha256") {
            return Err(broken("is damaged: its bytes are not those of its checksum".into()));
        }
        let facts: serde_json::Value = serde_json::from_str(&said("state")).unwrap_or_default();
        let fact = |key: &str| facts[key].as_u64().ok_or_else(|| broken(format!("says no `{key}`")));
        let mut sets = [const { Params { blocks: Vec::new() } }; SETS.len()];
        // In the order of the file's own parameters, which is the order that they were made in.
        let mut names: Vec<&str> = tensors.names().into_iter().collect();
        names.sort_by_key(|name| place(name));
        let mut silent = None;
        for name in names {
            let view = tensors.tensor(name).map_err(not_whole)?;
            if name == "silent" {
                let words = view.data().as_chunks().0;
                silent = Some(words.iter().map(|&b| u64::from_le_bytes(b)).collect());
                continue;
            }
            let (Some((set, block)), &[rows, cols]) = (name.split_once('.'), view.shape()) else {
                return Err(broken(format!("holds `{name}` of shape {:?}", view.shape())));
            };
            let numbers = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let set = SETS.iter().position(|s| *s == set);
            let set = set.ok_or_else(|| broken(format!("holds `{name}`")))?;
            sets[set].blocks.push((block.to_string(), Mat::from_vec(rows, cols, numbers)));
        }
        let [params, m, v, average] = sets;
        let average = (!average.blocks.is_empty()).then_some(average);
        let silent: Vec<u64> = silent.ok_or_else(|| broken("holds no `silent`".into()))?;
        let alike = |p: &Params| {
            p.blocks.len() == params.blocks.len()
                && p.blocks.iter().zip(&params.blocks).all(|(a, b)| a.0 == b.0 && a.1.shape() == b.1.shape())
        };
        if !alike(&m)
            || !alike(&v)
            || !average.iter().all(alike)
            || params.blocks.iter().all(|(n, b)| n != "b_enc" || b.cols() != silent.len())
        {
            return Err(broken("parameters and moments don't fit each other".into()));
        }
        let threshold = f64::from_bits(fact("threshold")?);
        let waited: Option<[u64; 5]> =
            serde_json::from_value(facts["patience"].clone()).map_err(|e| broken(format!("`patience`: {e}")))?;
        let patience = waited.map(|[steps, sum, best, failed, lost]| Waited {
            steps,
            sum: f64::from_bits(sum),
            best: f64::from_bits(best),
            failed,
            lost: lost != 0,
        });
        Ok(State { step: fact("step")?, params, m, v, silent, threshold, average, patience })
    }
}

/// SHA-256 of the tensors, in the order of their names, and of the facts beside them.
fn checksum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>, facts: &str) -> String {
    let sorted: std::collections::BTreeMap<&str, &[u8]> = tensors.collect();
    let mut sha = Sha256::new();
    for (name, bytes) in sorted {
        sha.update(name);
        sha.update((bytes.len() as u64).to_le_bytes());
        sha.update(bytes);
    }
    sha.update(facts);
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Parameters in the order in which trainers make them.
fn place(name: &str) -> (usize, &str) {
    const FIRST: [&str; 4] = ["w_enc", "b_enc", "w_dec", "b_dec"];
    let block = name.split_once('.').map_or(name, |(_, block)| block);
    (FIRST.iter().position(|f| *f == block).unwrap_or(FIRST.len()), block)
}
