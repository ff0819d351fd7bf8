//! A model as a Hugging Face folder, which `transformers` and [`load`](super::load) read.
//!
//! No family says twice how its files map to the canonical model. Its loader is run on tensors that hold 1, 2, 3, …: the weights that come of it say
//! where in a file each of them belongs. What was written is read back and compared.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use super::error::ModelError;
use super::families::load_made;
use super::made::{Asked, Made};
use super::settings::Settings;
use super::transformer::Transformer;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

impl Transformer {
    /// The files of a folder, `config.json` (which is `settings`) and `model.safetensors` (F32): names and bytes.
    ///
    /// # Errors
    /// Settings of another model than this, and models that such files can't hold to the last bit but one.
    pub fn files(&self, settings: &Value) -> Result<Vec<(&'static str, Vec<u8>)>, ModelError> {
        let read = Settings::of(settings);
        let tensors = self.tensors(&read)?;
        let wrong = |what: String| ModelError::new(&read.path, what);
        let bytes = |data: &[f32]| data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let bytes: Vec<Vec<u8>> = tensors.values().map(|(_, data)| bytes(data)).collect();
        let parts = tensors.iter().zip(&bytes);
        let views =
            parts.map(|((name, (shape, _)), bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
        let views: Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
        let format = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = views.and_then(|views| safetensors::serialize(views, Some(format)));
        let file = file.map_err(|e| wrong(format!("its tensors make no file: {e}")))?;
        let text = serde_json::to_vec_pretty(settings).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        Ok(vec![("config.json", text), ("model.safetensors", file)])
    }

    /// Writes [`files`](Self::files) into a folder, which is made if need be. Each stands in its place whole or not at all.
    ///
    /// # Errors
    /// As those, files that are there already, and what the system refuses.
    pub fn save(&self, dir: &Path, settings: &Value) -> Result<(), ModelError> {
        let files = self.files(settings)?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |e: std::io::Error| ModelError {
                system: true,
                ..ModelError::new(&path, format!("can't be written: {e}"))
            }
        };
        if let Some((name, _)) = files.iter().find(|(name, _)| dir.join(name).exists()) {
            return Err(ModelError::new(&dir.join(name), "is there already; name another folder"));
        }
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        for (name, bytes) in files {
            let path = dir.join(name);
            let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed(&path))?;
            file.write_all(&bytes).and_then(|()| file.as_file().sync_all()).map_err(failed(&path))?;
            file.persist(&path).map_err(|e| failed(&path)(e.error))?;
        }
        Ok(())
    }

    /// The tensors by their names in the family's files.
    fn tensors(&self, settings: &Settings) -> Result<Tensors, ModelError> {
        let wrong = |what: &str| ModelError::new(&settings.path, what);
        let asked = Asked::default();
        let mut counted = load_made(settings, Made::Counted(asked.clone()))?;
        let mut zeros = load_made(settings, Made::Zeros)?;
        let mut own = self.clone();
        if counted.config != own.config {
            return Err(wrong("says another model than the one that is to be saved"));
        }
        let mut flat: Vec<Option<f32>> = vec![None; asked.borrow().iter().map(|a| a.1.iter().product::<usize>()).sum()];
        let (places, nothing) = (counted.weights.tensors_mut(&self.config), zeros.weights.tensors_mut(&self.config));
        let tensors = own.weights.tensors_mut(&self.config);
        let shapes = |all: &[super::Tensor]| all.iter().map(|t| (t.name.clone(), t.shape)).collect::<Vec<_>>();
        if shapes(&places) != shapes(&tensors) {
            return Err(wrong("says other tensors than those that are to be saved"));
        }
        for ((tensor, place), zero) in tensors.iter().zip(&places).zip(&nothing) {
            for ((x, place), zero) in tensor.data.iter().zip(&*place.data).zip(&*zero.data) {
                // Gemma's files hold gains less one.
                let at = (place - zero) as usize;
                let to = at.checked_sub(1).and_then(|at| flat.get_mut(at));
                let to = to.ok_or_else(|| wrong("is of a family whose weights are no numbers of its files"))?;
                *to = Some(x - zero);
            }
        }
        let mut rest = &flat[..];
        let mut found = Tensors::new();
        for (name, shape) in asked.borrow().iter() {
            let (here, after) = rest.split_at(shape.iter().product());
            rest = after;
            // Of what the model doesn't use nothing is written (an output that is tied), but for parts of a tensor that it does (OPT's first positions).
            if here.iter().any(Option::is_some) {
                found.insert(name.clone(), (shape.clone(), here.iter().map(|x| x.unwrap_or(0.0)).collect()));
            }
        }
        self.hold(settings, &found)?;
        Ok(found)
    }

    /// Whether these tensors are read as this model.
    fn hold(&self, settings: &Settings, tensors: &Tensors) -> Result<(), ModelError> {
        let (mut back, mut own) = (load_made(settings, Made::Given(tensors.clone()))?, self.clone());
        let same = |a: f32, b: f32| a == b || (a - b).abs() <= f32::EPSILON * a.abs().max(1.0);
        let (back, own) = (back.weights.tensors_mut(&self.config), own.weights.tensors_mut(&self.config));
        let differs = own.iter().zip(&back).find(|(a, b)| {
            a.name != b.name || a.shape != b.shape || a.data.iter().zip(&*b.data).any(|(a, b)| !same(*a, *b))
        });
        match differs {
            None if own.len() == back.len() => Ok(()),
            _ => {
                let name = differs.map_or(String::new(), |(a, _)| format!(" ({})", a.name));
                Err(ModelError::new(&settings.path, format!("files of this family can't hold the model{name}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use superlens_tensor::Rng;

    use super::super::family_tests::fixtures;
    use super::super::{Batch, Sites, fresh, load};
    use super::*;

    fn logits(model: &Transformer) -> Vec<f32> {
        let batch = Batch::one(&[3, 41, 7, 7, 20]);
        let sites = Sites::and_logits([], &model.config);
        model.forward(&batch, &sites, None, &mut |_, _| {}).unwrap().into_vec()
    }

    fn settings(family: &str) -> Value {
        serde_json::from_slice(&std::fs::read(fixtures().join(family).join("config.json")).unwrap()).unwrap()
    }

    #[test]
    fn models_of_every_layout_are_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        for family in [
            "gpt2-published",
            "neox-parallel-published",
            "llama-gqa-published",
            "gemma3-published",
            "phi3",
            "opt",
            "bloom",
            "xglm",
        ] {
            let (model, to) = (load(&fixtures().join(family)).unwrap(), dir.path().join(family));
            model.save(&to, &settings(family)).unwrap_or_else(|e| panic!("{family}: {e}"));
            let back = load(&to).unwrap();
            let off = logits(&model).iter().zip(logits(&back)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            // Gemma's gains lose their last bit.
            assert!(off <= if family.starts_with("gemma") { 1e-5 } else { 0.0 }, "{family}: {off}");
            assert!(model.save(&to, &settings(family)).unwrap_err().to_string().contains("there already"));
        }
    }

    #[test]
    fn settings_of_another_model_are_refused() {
        let model = load(&fixtures().join("gpt2-published")).unwrap();
        let mut other = settings("gpt2-published");
        other["n_head"] = 2.into();
        assert!(model.files(&other).unwrap_err().to_string().contains("another model"));
        let mut other = settings("gpt2-published");
        other["tie_word_embeddings"] = false.into();
        assert!(model.files(&other).unwrap_err().to_string().contains("other tensors"));
    }

    #[test]
    fn fresh_models_are_those_of_their_seed_and_of_the_scale_they_name() {
        let settings = settings("gpt2-published");
        let mut model = fresh(&settings, &Rng::new(1)).unwrap();
        let again = fresh(&settings, &Rng::new(1)).unwrap();
        assert_eq!((logits(&model), &model.config), (logits(&again), &again.config));
        assert_ne!(logits(&model), logits(&fresh(&settings, &Rng::new(2)).unwrap()));
        let config = model.config.clone();
        for tensor in model.weights.tensors_mut(&config) {
            let square = tensor.data.iter().map(|x| x * x).sum::<f32>() / tensor.data.len() as f32;
            let want = match tensor.name.rsplit('.').next().unwrap() {
                "gain" => 1.0,
                "bias" | "b" => 0.0,
                _ if tensor.name.contains(".out.") => 0.02 / (2.0 * config.layers.len() as f32).sqrt(),
                _ => 0.02,
            };
            assert!((square.sqrt() - want).abs() <= 0.1 * want, "{}: {} for {want}", tensor.name, square.sqrt());
        }
    }

    #[test]
    fn models_that_are_too_large_are_refused_before_they_are_made() {
        let large = serde_json::json!({"model_type": "gpt2", "vocab_size": 1 << 20, "n_embd": 1 << 20, "n_head": 1,
            "n_layer": 1, "n_positions": 8});
        assert!(fresh(&large, &Rng::new(0)).unwrap_err().to_string().contains("larger than"));
        assert!(fresh(&serde_json::json!({}), &Rng::new(0)).unwrap_err().to_string().contains("model_type"));
    }
}
