//! Neuronpedia's layout for bulk imports: a folder of JSON lines for a model, a source and its features with their activations.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};

use super::dashboard::{Activation, Feature};

/// What the rows say of where they are from.
#[derive(Clone, Debug)]
pub struct Place {
    /// As Neuronpedia names the model: `gpt2-small`.
    pub model_id: String,
    /// `{layer}-{set}`: what is imported.
    pub source_id: String,
    pub hook: String,
    pub creator: String,
    /// In the form of RFC 3339.
    pub created: String,
    pub dataset: String,
}

impl Place {
    /// The name of the set: what follows the layer.
    fn set(&self) -> &str {
        self.source_id.split_once('-').map_or(self.source_id.as_str(), |(_, set)| set)
    }

    /// Folder of the files, below that of all exports.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.model_id, self.source_id)
    }
}

/// Files of one export; what isn't known is null or empty: names below [`Place::folder`] and bytes. `batch` features go into one file.
pub fn files(
    place: &Place,
    features: &[Feature],
    vectors: &dyn Fn(usize) -> Vec<f32>,
    batch: usize,
) -> Vec<(String, Vec<u8>)> {
    let mut out = vec![
        ("release.jsonl".to_string(), line(&release(place))),
        ("model.jsonl".into(), line(&model(place))),
        ("sourceset.jsonl".into(), line(&source_set(place))),
        ("source.jsonl".into(), line(&source(place, features))),
    ];
    for (b, features) in features.chunks(batch.max(1)).enumerate() {
        let rows: Vec<u8> =
            features.iter().flat_map(|f| line(&feature(place, f, &vectors(f.feature_index as usize)))).collect();
        out.push((format!("features/batch-{b}.jsonl.gz"), zipped(&rows)));
        let of = |f: &Feature| -> Vec<u8> {
            f.activations.iter().enumerate().flat_map(|(n, a)| line(&activation(place, f, n, a))).collect()
        };
        let rows: Vec<u8> = features.iter().flat_map(of).collect();
        out.push((format!("activations/batch-{b}.jsonl.gz"), zipped(&rows)));
    }
    out
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Without a name and a time: the same rows give the same bytes.
fn zipped(bytes: &[u8]) -> Vec<u8> {
    let mut zip = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory doesn't fail.
    let _ = zip.write_all(bytes);
    zip.finish().unwrap_or_default()
}

fn release(p: &Place) -> Value {
    json!({
        "name": p.set(), "description": "", "descriptionShort": "", "creatorName": p.creator, "creatorNameShort": p.creator, "creatorId": p.creator,
        "creatorEmail": "", "visibility": "PRIVATE", "isNewUi": true, "featured": false, "urls": [], "defaultSourceSetName": p.set(),
        "defaultSourceId": p.source_id, "defaultUmapSourceIds": [], "createdAt": p.created,
    })
}

fn model(p: &Place) -> Value {
    json!({
        "id": p.model_id, "instruct": false, "creatorId": p.creator, "displayName": p.model_id, "displayNameShort": p.model_id,
        "tlensId": p.model_id, "visibility": "PRIVATE", "defaultSourceSetName": p.set(), "defaultSourceId": p.source_id,
        "inferenceEnabled": false, "createdAt": p.created, "updatedAt": p.created, "owner": p.creator, "dimension": null, "layers": null,
        "neuronsPerLayer": null, "website": null,
    })
}

fn source_set(p: &Place) -> Value {
    json!({
        "modelId": p.model_id, "name": p.set(), "creatorId": p.creator, "creatorName": p.creator, "creatorEmail": "", "hasDashboards": true,
        "visibility": "PRIVATE", "description": "", "type": "", "urls": [], "releaseName": p.set(), "defaultRange": 2, "defaultShowBreaks": true,
        "showDfa": false, "showCorrelated": false, "showHeadAttribution": false, "createdAt": p.created,
    })
}

fn source(p: &Place, features: &[Feature]) -> Value {
    let said = |key: &str| features.first().and_then(|f| f.rest.get(key)).cloned().unwrap_or(Value::Null);
    json!({
        "id": p.source_id, "modelId": p.model_id, "setName": p.set(), "creatorId": p.creator, "hasDashboards": true, "inferenceEnabled": false,
        "inferenceHosts": [], "saelensConfig": null, "saelensRelease": null, "saelensSaeId": null, "hfRepoId": null, "hfFolderId": null,
        "defaultOfModelId": null, "visibility": "PRIVATE", "hasUmap": false, "hasUmapLogSparsity": false, "hasUmapClusters": false,
        "num_prompts": said("n_prompts_total"), "num_tokens_in_prompt": said("n_tokens_in_prompt"), "dataset": p.dataset, "notes": "",
        "createdAt": p.created,
    })
}

fn feature(p: &Place, f: &Feature, vector: &[f32]) -> Value {
    let max = f.activations.iter().flat_map(|a| &a.values).copied().fold(0.0, f64::max);
    let mut row = Map::new();
    let own = json!({
        "modelId": p.model_id, "layer": p.source_id, "index": f.feature_index.to_string(), "creatorId": p.creator, "createdAt": p.created,
        "maxActApprox": max, "hasVector": !vector.is_empty(), "vector": vector, "vectorLabel": null, "vectorDefaultSteerStrength": 10,
        "hookName": p.hook, "topkCosSimIndices": [], "topkCosSimValues": [], "frac_nonzero": f.frac_nonzero,
        "freq_hist_data_bar_heights": f.freq_hist_data_bar_heights, "freq_hist_data_bar_values": f.freq_hist_data_bar_values,
        "sourceSetName": p.set(),
    });
    own.as_object().into_iter().flatten().for_each(|(k, v)| drop(row.insert(k.clone(), v.clone())));
    // What this export doesn't know is empty, as the importer expects.
    let lists = [
        "neuron_alignment_indices",
        "neuron_alignment_values",
        "neuron_alignment_l1",
        "correlated_neurons_indices",
        "correlated_neurons_pearson",
        "correlated_neurons_l1",
        "correlated_features_indices",
        "correlated_features_pearson",
        "correlated_features_l1",
        "neg_str",
        "neg_values",
        "pos_str",
        "pos_values",
        "logits_hist_data_bar_heights",
        "logits_hist_data_bar_values",
        "decoder_weights_dist",
    ];
    for key in lists {
        row.insert(key.into(), f.rest.get(key).cloned().unwrap_or_else(|| json!([])));
    }
    Value::Object(row)
}

fn activation(p: &Place, f: &Feature, number: usize, a: &Activation) -> Value {
    let largest = a.values.iter().enumerate().max_by(|x, y| x.1.total_cmp(y.1).then(y.0.cmp(&x.0)));
    let (at, max) = largest.map_or((0, 0.0), |(at, max)| (at, *max));
    let min = a.values.iter().copied().fold(f64::INFINITY, f64::min).min(max);
    json!({
        "id": format!("{}-{}-{}-{number}", p.model_id, p.source_id, f.feature_index), "tokens": a.tokens, "index": f.feature_index.to_string(),
        "layer": p.source_id, "modelId": p.model_id, "dataSource": p.dataset, "dataIndex": number.to_string(), "maxValue": max,
        "maxValueTokenIndex": at, "minValue": min, "values": a.values, "dfaValues": [], "dfaTargetIndex": null, "dfaMaxValue": null,
        "lossValues": [], "logitContributions": null, "binMin": a.bin_min, "binMax": a.bin_max, "binContains": a.bin_contains,
        "qualifyingTokenIndex": a.qualifying_token_index, "zIndices": [], "zValues": [], "creatorId": p.creator, "createdAt": p.created,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neurons::Record;
    use std::io::Read;

    #[test]
    fn every_row_is_a_line_with_its_keys() {
        let place = Place {
            model_id: "m".into(),
            source_id: "3-res-own".into(),
            hook: "blocks.3.hook_resid_post".into(),
            creator: "me".into(),
            created: "2020-01-01T00:00:00Z".into(),
            dataset: "texts".into(),
        };
        let record = Record { tokens: vec!["a".into(), " b".into()], activations: vec![0.25, 1.5] };
        let feature = |index| Feature {
            feature_index: index,
            frac_nonzero: 0.1,
            freq_hist_data_bar_values: vec![0.5],
            freq_hist_data_bar_heights: vec![3.0],
            activations: vec![Activation::top(&record, 1, 1.5), Activation::within(&record, 1, [1.0, 1.5], 0.2)],
            rest: Map::new(),
        };
        let all = files(&place, &[feature(0), feature(1), feature(2)], &|i| vec![i as f32], 2);
        let names: Vec<&str> = all.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(
            names[4..],
            [
                "features/batch-0.jsonl.gz",
                "activations/batch-0.jsonl.gz",
                "features/batch-1.jsonl.gz",
                "activations/batch-1.jsonl.gz"
            ]
        );
        let mut text = String::new();
        flate2::read::GzDecoder::new(&all[5].1[..]).read_to_string(&mut text).unwrap();
        let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(
            (rows[0]["maxValue"].as_f64(), rows[0]["maxValueTokenIndex"].as_u64(), rows[0]["binMin"].as_f64()),
            (Some(1.5), Some(1), Some(-1.0))
        );
        assert_eq!((rows[3]["index"].as_str(), rows[3]["layer"].as_str()), (Some("1"), Some("3-res-own")));
        assert_eq!(all, files(&place, &[feature(0), feature(1), feature(2)], &|i| vec![i as f32], 2));
    }
}
