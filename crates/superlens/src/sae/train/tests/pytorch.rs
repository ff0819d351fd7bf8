//! Two steps of every objective against PyTorch: `fixtures/sae_step`, whose script writes the losses from their formulas and shares no
//! code with this crate.

use super::super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Of every number, and of the largest of its block where the number itself is a hundredth of that or less.
const TOLERANCE: f64 = 1e-4;

/// One file.
struct Case {
    name: String,
    tensors: Vec<(String, Mat)>,
    silent: Vec<u64>,
    facts: serde_json::Value,
}

impl Case {
    fn read(file: &Path) -> Case {
        let bytes = std::fs::read(file).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let facts = serde_json::from_str(&header.metadata().as_ref().unwrap()["case"]).unwrap();
        let (mut tensors, mut silent) = (Vec::new(), Vec::new());
        for (name, view) in safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors() {
            if view.dtype() == safetensors::Dtype::I64 {
                silent = view.data().as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect();
                continue;
            }
            let (cols, leading) = view.shape().split_last().unwrap();
            let numbers = view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            tensors.push((name, Mat::from_vec(leading.iter().product(), *cols, numbers)));
        }
        Case { name: file.file_stem().unwrap().to_string_lossy().into_owned(), tensors, silent, facts }
    }

    fn all() -> Vec<Case> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sae_step");
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|f| f.extension().is_some_and(|e| e == "safetensors"));
        files.sort();
        files.iter().map(|f| Case::read(f)).collect()
    }

    fn tensor(&self, name: &str) -> &Mat {
        &self.tensors.iter().find(|t| t.0 == name).unwrap_or_else(|| panic!("{}: no `{name}`", self.name)).1
    }

    fn real(&self, key: &str) -> f64 {
        self.facts[key].as_f64().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    fn whole(&self, key: &str) -> u64 {
        self.facts[key].as_u64().unwrap_or_else(|| panic!("{}: no `{key}`", self.name))
    }

    fn objective(&self) -> &str {
        self.facts["objective"].as_str().unwrap()
    }

    fn options(&self) -> Options {
        let o = &self.facts["options"];
        let widths = o["widths"].as_array().unwrap().iter().map(|w| w.as_u64().unwrap() as usize).collect();
        let real = |key: &str| o[key].as_f64().unwrap();
        Options {
            k: o["k"].as_u64().unwrap() as usize,
            l1: real("l1"),
            target_l0: real("target_l0"),
            widths,
            layers: o["layers"].as_u64().unwrap() as usize,
            p_end: real("p_end"),
            sparsity: Sparsity::ALL.iter().find(|s| o["sparsity"] == s.0).map_or(Sparsity::Target, |s| s.1),
            bandwidth: o["bandwidth"].as_f64(),
            ste_to_input: o["ste_to_input"].as_bool().unwrap_or(false),
            ..Options::default()
        }
    }

    fn recipe(&self) -> Recipe {
        let rows = self.tensor("x").rows();
        Recipe {
            lr: self.real("lr"),
            warmup: self.whole("warmup"),
            decay: self.real("decay"),
            aux: self.real("aux"),
            dead_after: self.whole("dead_after"),
            clip_norm: self.real("clip_norm") as f32,
            ..Recipe::new(self.silent.len(), self.whole("steps"), rows)
        }
    }

    /// The parameters of `what`, in the order of `like`; each is there, and none is left over.
    fn params(&self, what: &str, like: &Params) -> Params {
        let prefix = format!("{what}.");
        let names: BTreeSet<&str> = self.tensors.iter().filter_map(|t| t.0.strip_prefix(&prefix)).collect();
        assert_eq!(names, like.blocks.iter().map(|b| b.0.as_str()).collect(), "{}: parameters", self.name);
        let block = |(name, m): &(String, Mat)| {
            let found = self.tensor(&format!("{prefix}{name}"));
            assert_eq!(found.shape(), m.shape(), "{}: {name}", self.name);
            (name.clone(), found.clone())
        };
        Params { blocks: like.blocks.iter().map(block).collect() }
    }

    fn agrees(&self, what: &str, got: &Params) {
        for ((name, got), (_, want)) in got.blocks.iter().zip(&self.params(what, got).blocks) {
            let top = want.data().iter().fold(0.0f64, |m, w| m.max(f64::from(w.abs())));
            for (i, (&g, &w)) in got.data().iter().zip(want.data()).enumerate() {
                let (g, w) = (f64::from(g), f64::from(w));
                let allowed = TOLERANCE * w.abs().max(1e-2 * top);
                assert!((g - w).abs() <= allowed, "{}: {what}: {name}, number {i}: {g}, in PyTorch {w}", self.name);
            }
        }
    }
}

#[test]
fn steps_are_those_of_pytorch() {
    let cases = Case::all();
    for case in &cases {
        let entry = find(case.objective()).unwrap_or_else(|| panic!("{}: no such objective", case.name));
        let mut source = InMemory::new(case.tensor("x"), usize::MAX >> 8, &Rng::new(0));
        if case.tensors.iter().any(|t| t.0 == "y") {
            source = source.with_targets(case.tensor("y"));
        }
        let objective = (entry.build)(&case.options());
        let mut trainer = Trainer::new(case.recipe(), objective, &mut source, &Rng::new(0)).unwrap();
        let like = trainer.state.params.clone();
        let first = case.whole("first");
        trainer.state = State {
            step: first,
            params: case.params("start", &like),
            m: case.params("m", &like),
            v: case.params("v", &like),
            silent: case.silent.clone(),
            ..trainer.state.clone()
        };
        for (step, want) in (first..).zip(case.facts["losses"].as_array().unwrap()) {
            let batch = seen(&trainer.input, trainer.targets.as_ref(), &source.batch(step).unwrap());
            let ((told, _), want) = (trainer.gradient(batch, step), want.as_f64().unwrap());
            assert!(
                (told.loss / want - 1.0).abs() <= TOLERANCE,
                "{}: loss {}, in PyTorch {want}",
                case.name,
                told.loss
            );
            case.agrees(&format!("grad{step}"), &trainer.grad);
            trainer.descend(step);
            case.agrees(&format!("after{step}"), &trainer.state.params);
        }
    }
    let covered: BTreeSet<&str> = cases.iter().map(Case::objective).collect();
    assert_eq!(covered, OBJECTIVES.iter().map(|entry| entry.id).collect(), "an objective without a fixture");
}
