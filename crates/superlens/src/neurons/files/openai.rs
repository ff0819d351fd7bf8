//! OpenAI's neuron records (Bills et al. 2023, *Language models can explain neurons in language models*): a JSON file for each neuron, with the texts
//! around its largest activations and random ones.

use crate::neurons::{Examples, Record};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use superlens_tensor::io::write_atomic;

/// A unit with where it is, its examples and the moments of all its activations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NeuronRecord {
    pub layer: usize,
    pub examples: Examples,
    pub moments: Moments,
}

/// Moments of the activations; `None` where they are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub mean: Option<f64>,
    pub variance: Option<f64>,
    pub skewness: Option<f64>,
    pub kurtosis: Option<f64>,
}

/// A file that is no neuron record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{}: {what}; expected OpenAI's NeuronRecord: neuron_id, random_sample and most_positive_activation_records", file.display())]
    Form { file: PathBuf, what: String },
}

/// No file of one neuron is larger.
const LARGEST: u64 = 256 << 20;

#[derive(Serialize, Deserialize)]
struct Neuron {
    #[serde(default, rename = "dataclass_name")]
    class: Option<String>,
    neuron_id: Id,
    random_sample: Vec<Texts>,
    #[serde(default)]
    random_sample_by_quantile: Option<Vec<Vec<Texts>>>,
    #[serde(default)]
    quantile_boundaries: Option<Vec<f32>>,
    #[serde(default)]
    mean: Option<f64>,
    #[serde(default)]
    variance: Option<f64>,
    #[serde(default)]
    skewness: Option<f64>,
    #[serde(default)]
    kurtosis: Option<f64>,
    most_positive_activation_records: Vec<Texts>,
}

#[derive(Serialize, Deserialize)]
struct Id {
    #[serde(default, rename = "dataclass_name")]
    class: Option<String>,
    layer_index: usize,
    neuron_index: usize,
}

#[derive(Serialize, Deserialize)]
struct Texts {
    #[serde(default, rename = "dataclass_name")]
    class: Option<String>,
    tokens: Vec<String>,
    activations: Vec<f32>,
}

/// Reads one neuron. Python's bare `NaN` and `Infinity` count as `null`: moments may be that, activations may not. Unknown keys are passed over.
///
/// # Errors
/// [`RecordError`], in one line: no such file, more than 256 MB, no JSON of this form, and records whose tokens and activations differ in number.
pub fn read(path: &Path) -> Result<NeuronRecord, RecordError> {
    let io = |source| RecordError::Io { file: path.to_owned(), source };
    let form = |what: String| RecordError::Form { file: path.to_owned(), what };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > LARGEST {
        return Err(form(format!("is larger than {} MB", LARGEST >> 20)));
    }
    let neuron: Neuron = serde_json::from_slice(&without_bare(&bytes)).map_err(|e| form(e.to_string()))?;
    let records = |key: &str, texts: Vec<Texts>| {
        texts.into_iter().enumerate().map(|(i, t)| record(key, i, t)).collect::<Result<Vec<_>, _>>().map_err(form)
    };
    let groups = neuron.random_sample_by_quantile.unwrap_or_default();
    let by_quantile = groups.into_iter().map(|group| records("random_sample_by_quantile", group));
    let examples = Examples {
        unit: neuron.neuron_id.neuron_index,
        top: records("most_positive_activation_records", neuron.most_positive_activation_records)?,
        random: records("random_sample", neuron.random_sample)?,
        by_quantile: by_quantile.collect::<Result<_, _>>()?,
        boundaries: neuron.quantile_boundaries.unwrap_or_default(),
    };
    let moments =
        Moments { mean: neuron.mean, variance: neuron.variance, skewness: neuron.skewness, kurtosis: neuron.kurtosis };
    Ok(NeuronRecord { layer: neuron.neuron_id.layer_index, examples, moments })
}

fn record(key: &str, i: usize, texts: Texts) -> Result<Record, String> {
    let (tokens, activations) = (texts.tokens.len(), texts.activations.len());
    if tokens != activations {
        return Err(format!("{key}[{i}]: {tokens} tokens, but {activations} activations"));
    }
    if texts.activations.iter().any(|a| !a.is_finite()) {
        return Err(format!("{key}[{i}]: an activation is too large for 32 bits"));
    }
    Ok(Record { tokens: texts.tokens, activations: texts.activations })
}

/// The JSON with `null` for each `NaN`, `Infinity` and `-Infinity` outside of strings.
fn without_bare(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        let bare = [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|word| bytes[at..].starts_with(word));
        match (bytes[at], bare) {
            (_, Some(word)) if !quoted => {
                out.extend_from_slice(b"null");
                at += word.len();
                continue;
            }
            (b'\\', _) if quoted && at + 1 < bytes.len() => {
                out.push(bytes[at]);
                at += 1;
            }
            (b'"', _) => quoted = !quoted,
            _ => {}
        }
        out.push(bytes[at]);
        at += 1;
    }
    out
}

/// Writes one neuron, whole or not at all; what is not known is `null`.
///
/// # Errors
/// The system's, and activations that are not finite or not as many as tokens, which the format can't hold.
pub fn write(path: &Path, neuron: &NeuronRecord) -> Result<(), RecordError> {
    let form = |what: String| RecordError::Form { file: path.to_owned(), what };
    let examples = &neuron.examples;
    let class = |name: &str| Some(name.to_owned());
    let texts = |key: &str, records: &[Record]| -> Result<Vec<Texts>, RecordError> {
        let one = |(i, r): (usize, &Record)| {
            let texts = Texts {
                class: class("ActivationRecord"),
                tokens: r.tokens.clone(),
                activations: r.activations.clone(),
            };
            record(key, i, texts).map_err(form)?;
            Ok(Texts { class: class("ActivationRecord"), tokens: r.tokens.clone(), activations: r.activations.clone() })
        };
        records.iter().enumerate().map(one).collect()
    };
    let groups = examples.by_quantile.iter().map(|group| texts("random_sample_by_quantile", group));
    let groups: Vec<Vec<Texts>> = groups.collect::<Result<_, _>>()?;
    let finite = |moment: Option<f64>| moment.filter(|m| m.is_finite());
    let written = Neuron {
        class: class("NeuronRecord"),
        neuron_id: Id { class: class("NeuronId"), layer_index: neuron.layer, neuron_index: examples.unit },
        random_sample: texts("random_sample", &examples.random)?,
        random_sample_by_quantile: (!groups.is_empty()).then_some(groups),
        quantile_boundaries: (!examples.boundaries.is_empty()).then(|| examples.boundaries.clone()),
        mean: finite(neuron.moments.mean),
        variance: finite(neuron.moments.variance),
        skewness: finite(neuron.moments.skewness),
        kurtosis: finite(neuron.moments.kurtosis),
        most_positive_activation_records: texts("most_positive_activation_records", &examples.top)?,
    };
    let bytes = serde_json::to_vec(&written).map_err(|e| form(e.to_string()))?;
    write_atomic(path, &bytes).map_err(|source| RecordError::Io { file: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NeuronRecord, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.json");
        std::fs::write(&path, text).unwrap();
        read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn bare_nan_is_null_and_strings_stay() {
        let text = r#"{"neuron_id": {"layer_index": 3, "neuron_index": 7}, "mean": NaN, "variance": -Infinity, "kurtosis": 2.5,
            "random_sample": [{"tokens": ["NaN", "\"NaN\\"], "activations": [0, 1.5]}], "most_positive_activation_records": []}"#;
        let read = parse(text).unwrap();
        assert_eq!((read.layer, read.examples.unit, read.moments.mean, read.moments.kurtosis), (3, 7, None, Some(2.5)));
        assert_eq!(read.examples.random[0].tokens, ["NaN", "\"NaN\\"]);
        assert!(parse(&text.replace("[0, 1.5]", "[0, NaN]")).unwrap_err().contains("null"));
    }

    #[test]
    fn hostile_files_are_one_line() {
        let id = r#""neuron_id": {"layer_index": 0, "neuron_index": 0}"#;
        for (text, says) in [
            (String::new(), "EOF"),
            ("[".repeat(100_000), "expected"),
            ("{}".into(), "neuron_id"),
            (
                format!("{{{id}, \"random_sample\": [], \"most_positive_activation_records\": {}}}", "[".repeat(9000)),
                "invalid",
            ),
            (
                format!(
                    r#"{{{id}, "random_sample": [{{"tokens": ["a"], "activations": []}}], "most_positive_activation_records": []}}"#
                ),
                "random_sample[0]: 1 tokens, but 0 activations",
            ),
            (
                format!(
                    r#"{{{id}, "random_sample": [{{"tokens": ["a"], "activations": [1e60]}}], "most_positive_activation_records": []}}"#
                ),
                "",
            ),
            (r#"{"neuron_id": {"layer_index": -1, "neuron_index": 0}}"#.into(), "layer_index"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains("NeuronRecord") && !error.contains('\n'), "{error}");
            assert!(says == "layer_index" || error.contains(says), "{error}");
        }
        assert!(read(Path::new("missing.json")).unwrap_err().to_string().starts_with("missing.json: "));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let record = |tokens: &[&str]| Record {
            tokens: tokens.iter().map(|t| t.to_string()).collect(),
            activations: (0..tokens.len()).map(|i| 0.1 * i as f32 - 0.3).collect(),
        };
        let examples = Examples {
            unit: 5,
            top: vec![record(&["a", "\n\u{0}"]), record(&[])],
            random: vec![record(&["é", "\u{fffd}"])],
            by_quantile: vec![vec![record(&["x"])], vec![]],
            boundaries: vec![0.0, 0.25, 1.0],
        };
        let moments = Moments { mean: Some(0.1), variance: None, ..Moments::default() };
        let neuron = NeuronRecord { layer: 2, examples, moments };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("5.json");
        write(&path, &neuron).unwrap();
        assert_eq!(read(&path).unwrap(), neuron);
        let mut bad = neuron.clone();
        bad.examples.random[0].activations[0] = f32::NAN;
        assert!(write(&path, &bad).unwrap_err().to_string().contains("random_sample[0]"));
        assert_eq!(read(&path).unwrap(), neuron, "what was there stays");
    }
}
