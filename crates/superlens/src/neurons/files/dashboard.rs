//! SAEDashboard's `batch-N.json`: features with their examples, as Neuronpedia takes them.
//!
//! Examples of the top have `bin_min` and `bin_contains` −1; those of other groups say which range of activations they are from, and what share of
//! all activations lies there.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{Examples, Record};
use super::{FileError, text};

/// Marks the group of the largest activations.
const TOP: f64 = -1.0;

/// Where it isn't said for which token an example was chosen.
const UNKNOWN: i64 = -1;

/// A file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub model_id: String,
    pub layer: Value,
    pub sae_set: String,
    pub features: Vec<Feature>,
    /// What else the file says, kept as it is.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A feature, in this tool's word: a latent, or any unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    pub feature_index: u64,
    pub frac_nonzero: f64,
    #[serde(default)]
    pub freq_hist_data_bar_values: Vec<f64>,
    #[serde(default)]
    pub freq_hist_data_bar_heights: Vec<f64>,
    pub activations: Vec<Activation>,
    /// Alignments, correlations, logits and what else there is, kept as it is.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    pub bin_min: f64,
    pub bin_max: f64,
    pub bin_contains: f64,
    pub tokens: Vec<String>,
    /// As many as tokens.
    pub values: Vec<f64>,
    /// The token that the example was chosen for; −1 where that isn't said.
    pub qualifying_token_index: i64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Reads a file and checks what can be checked.
///
/// # Errors
/// What can't be read, is no such file, or has examples with other numbers of values than tokens.
pub fn read(path: &Path) -> Result<Batch, FileError> {
    let batch: Batch = serde_json::from_str(&text(path)?).map_err(|e| {
        FileError::new(
            path,
            format!("is no batch of SAEDashboard: {e}; expected keys model_id, layer, sae_set and features"),
        )
    })?;
    for feature in &batch.features {
        for (i, a) in feature.activations.iter().enumerate() {
            let at = |what: String| {
                Err(FileError::new(path, format!("feature {}, activation {i}: {what}", feature.feature_index)))
            };
            if a.tokens.len() != a.values.len() {
                return at(format!("{} tokens but {} values", a.tokens.len(), a.values.len()));
            }
            if a.values.iter().any(|v| !v.is_finite()) {
                return at("key `values`: holds a number that is not finite".into());
            }
            let known = usize::try_from(a.qualifying_token_index).is_ok_and(|q| q < a.tokens.len());
            if !known && a.qualifying_token_index != UNKNOWN {
                let (q, n) = (a.qualifying_token_index, a.tokens.len());
                return at(format!("key `qualifying_token_index`: expected one of {n} tokens, or -1, found {q}"));
            }
        }
    }
    Ok(batch)
}

/// The text of a file. Numbers that aren't finite can't be in it.
pub fn to_json(batch: &Batch) -> String {
    serde_json::to_string(batch).unwrap_or_default()
}

impl Feature {
    /// Its examples: the top, and groups by range, the lowest first.
    pub fn examples(&self) -> Examples {
        let record = |a: &Activation| Record {
            tokens: a.tokens.clone(),
            activations: a.values.iter().map(|v| *v as f32).collect(),
        };
        let is_top = |a: &&Activation| a.bin_min == TOP && a.bin_contains == TOP;
        let mut groups: Vec<(f64, f64, Vec<Record>)> = Vec::new();
        for a in self.activations.iter().filter(|a| !is_top(a)) {
            match groups.iter_mut().find(|(low, high, _)| (*low, *high) == (a.bin_min, a.bin_max)) {
                Some(group) => group.2.push(record(a)),
                None => groups.push((a.bin_min, a.bin_max, vec![record(a)])),
            }
        }
        groups.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut boundaries: Vec<f32> = groups.iter().map(|g| g.0 as f32).collect();
        boundaries.extend(groups.last().map(|g| g.1 as f32));
        Examples {
            unit: self.feature_index as usize,
            top: self.activations.iter().filter(is_top).map(record).collect(),
            random: Vec::new(),
            by_quantile: groups.into_iter().map(|g| g.2).collect(),
            boundaries,
        }
    }
}

impl Activation {
    /// An example of the top, `max` the largest activation of all, chosen for token `at`.
    pub fn top(record: &Record, at: usize, max: f32) -> Activation {
        Activation::within(record, at, [TOP, f64::from(max)], TOP)
    }

    /// An example from a range that holds a share of all activations.
    pub fn within(record: &Record, at: usize, [low, high]: [f64; 2], share: f64) -> Activation {
        let unused =
            [("dfa_values", Value::Array(Vec::new())), ("dfa_maxValue", 0.into()), ("dfa_targetIndex", (-1).into())];
        Activation {
            bin_min: low,
            bin_max: high,
            bin_contains: share,
            tokens: record.tokens.clone(),
            values: record.activations.iter().map(|v| f64::from(*v)).collect(),
            qualifying_token_index: at as i64,
            rest: unused.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("batch-0.json");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    const ONE: &str = r#"{"model_id":"m","layer":0,"sae_set":"s","extra":[1],"features":[{"feature_index":7,"frac_nonzero":0.5,"pos_str":["a"],
        "activations":[{"bin_min":-1,"bin_max":2.0,"bin_contains":-1,"tokens":["a","b"],"values":[0.0,2.0],"qualifying_token_index":1},
        {"bin_min":0.5,"bin_max":1.0,"bin_contains":0.25,"tokens":["c"],"values":[0.75],"qualifying_token_index":0}]}]}"#;

    #[test]
    fn what_is_read_is_written_again() {
        let (_dir, path) = written(ONE);
        let batch = read(&path).unwrap();
        let before: Value = serde_json::from_str(ONE).unwrap();
        let after: Value = serde_json::from_str(&to_json(&batch)).unwrap();
        assert_eq!(after["extra"], before["extra"]);
        assert_eq!(after["features"][0]["pos_str"], before["features"][0]["pos_str"]);
        assert_eq!(after["features"][0]["activations"][1]["values"], before["features"][0]["activations"][1]["values"]);
        let examples = batch.features[0].examples();
        assert_eq!((examples.unit, examples.top.len(), examples.by_quantile.len()), (7, 1, 1));
        assert_eq!((examples.top[0].max(), &examples.boundaries[..]), (2.0, &[0.5, 1.0][..]));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (from, to, wanted) in [
            ("[0.0,2.0]", "[0.0]", "2 tokens but 1 values"),
            ("\"qualifying_token_index\":1", "\"qualifying_token_index\":9", "qualifying_token_index"),
            ("\"features\"", "\"feature\"", "no batch"),
        ] {
            let (_dir, path) = written(&ONE.replacen(from, to, 1));
            let told = read(&path).unwrap_err().to_string();
            assert!(told.contains(wanted) && told.contains("batch-0.json"), "{told}");
        }
    }
}
