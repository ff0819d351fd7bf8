//! Any other model, as a graph of ONNX: the activations at any node, computed by the crate `tract` (feature `onnx`).
//!
//! A graph takes one array of floats whose first axis is that of the samples. What a node gives becomes rows: of `[n, d]` a row for each sample, of
//! `[n, t, d]` one for each token, of `[n, c, h, w]`, what convolutions give, one for each place of each sample, with the channels as columns.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use superlens_tensor::Mat;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::InferenceNode;
use tract_onnx::tract_hir::ops::konst::Const;

/// Samples that are computed at once.
pub const BATCH: usize = 64;

/// What is wrong with a graph or with what it is given, in one line that names the file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct OnnxError {
    pub path: PathBuf,
    pub what: String,
}

/// A graph as its file says.
pub struct Graph {
    path: PathBuf,
    model: InferenceModel,
}

/// A node of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What its output is called, or itself where that has no name.
    pub name: String,
    /// What it computes.
    pub operation: String,
}

/// Samples: an array whose first axis counts them.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// All axes.
    pub shape: &'a [usize],
    /// In C order.
    pub data: &'a [f32],
}

/// What is done with an array that a node gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// A row for each place or token, see the module.
    #[default]
    Places,
    /// A row for each sample, everything else as columns.
    Whole,
}

impl Graph {
    /// Reads a `.onnx` file. `constants` are inputs of the graph that are known beforehand, by name: weights that are kept elsewhere.
    ///
    /// # Errors
    /// Files that can't be read, and graphs that `tract` doesn't know.
    pub fn open(path: &Path, constants: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Graph, OnnxError> {
        let told = |what: String| OnnxError { path: path.to_owned(), what };
        if !path.is_file() {
            return Err(told("there is no such file".into()));
        }
        let mut model = guarded(|| tract_onnx::onnx().model_for_path(path))
            .map_err(|what| told(format!("can't be read as a graph of ONNX: {what}")))?;
        // What is known is no input, but a constant like those in the file.
        let mut open = Vec::new();
        for outlet in model.input_outlets().map_err(|e| told(line(&e)))?.to_vec() {
            match constants.get(&model.node(outlet.node).name) {
                None => open.push(outlet),
                Some((shape, data)) => {
                    let tensor = Tensor::from_shape(shape, data).map_err(|e| told(line(&e)))?;
                    let fact = InferenceFact::from(tensor.clone());
                    let constant = Const::new(Arc::new(tensor)).map_err(|e| told(line(&e)))?;
                    model.node_mut(outlet.node).op = Box::new(constant);
                    model.set_outlet_fact(outlet, fact).map_err(|e| told(line(&e)))?;
                }
            }
        }
        model.set_input_outlets(&open).map_err(|e| told(line(&e)))?;
        Ok(Graph { path: path.to_owned(), model })
    }

    /// The nodes that give something, in their order in the file.
    pub fn nodes(&self) -> Vec<Node> {
        let name = |node: usize| {
            let own = &self.model.node(node).name;
            self.model.outlet_label(OutletId::new(node, 0)).map_or_else(|| own.clone(), str::to_owned)
        };
        let node = |n: &InferenceNode| Node { name: name(n.id), operation: n.op.name().into_owned() };
        self.model.nodes().iter().filter(|n| n.op.name() != "Const").map(node).collect()
    }

    fn outlet(&self, name: &str) -> Result<OutletId, OnnxError> {
        let by_node = || self.model.nodes().iter().find(|n| n.name == name).map(|n| OutletId::new(n.id, 0));
        let found = self.model.find_outlet_label(name).or_else(by_node);
        found.ok_or_else(|| {
            self.told(format!("has no node `{name}`; `superlens model {}` lists them", self.path.display()))
        })
    }

    fn told(&self, what: String) -> OnnxError {
        OnnxError { path: self.path.clone(), what }
    }

    /// Computes the nodes `names` over the samples, some at a time, and gives their rows to `each`, a matrix for each name, in the order of the samples.
    ///
    /// # Errors
    /// Nodes that are not there or give no floats, samples that the graph doesn't take, and whatever `each` says.
    pub fn run<E: From<OnnxError>>(
        &self,
        names: &[String],
        samples: Samples,
        layout: Layout,
        mut each: impl FnMut(&[Mat]) -> Result<(), E>,
    ) -> Result<(), E> {
        let outlets = names.iter().map(|name| self.outlet(name)).collect::<Result<Vec<_>, _>>()?;
        let Some((&all, within)) = samples.shape.split_first() else {
            return Err(self.told("expected samples along a first axis, found a single number".into()).into());
        };
        let size: usize = within.iter().product();
        let mut plan: Option<(usize, Arc<TypedRunnableModel>)> = None;
        for first in (0..all).step_by(BATCH) {
            let count = BATCH.min(all - first);
            let shape: Vec<usize> = std::iter::once(count).chain(within.iter().copied()).collect();
            let plan = match &plan {
                Some((n, plan)) if *n == count => plan.clone(),
                _ => plan.insert((count, self.plan(&outlets, &shape)?)).1.clone(),
            };
            let input = Tensor::from_shape(&shape, &samples.data[first * size..(first + count) * size]);
            let found = guarded(|| plan.run(tvec!(input?.into()))).map_err(|what| self.told(what))?;
            let rows = found.iter().zip(names).map(|(found, name)| self.rows(name, found, layout));
            each(&rows.collect::<Result<Vec<Mat>, OnnxError>>()?)?;
        }
        Ok(())
    }

    /// The graph as far as these outlets, for samples of this shape.
    fn plan(&self, outlets: &[OutletId], shape: &[usize]) -> Result<Arc<TypedRunnableModel>, OnnxError> {
        let mut model = self.model.clone();
        let inputs = model.input_outlets().map_err(|e| self.told(line(&e)))?.to_vec();
        if inputs.len() != 1 {
            let names: Vec<&str> = inputs.iter().map(|input| model.node(input.node).name.as_str()).collect();
            return Err(self.told(format!(
                "expected a graph with one input, found {}: {}",
                names.len(),
                names.join(", ")
            )));
        }
        guarded(|| {
            model.set_input_fact(0, f32::fact(shape).into())?;
            model.select_output_outlets(outlets)?;
            model.into_typed()?.into_optimized()?.into_runnable()
        })
        .map_err(|what| self.told(format!("can't be computed for samples of shape {:?}: {what}", &shape[1..])))
    }

    fn rows(&self, name: &str, found: &TValue, layout: Layout) -> Result<Mat, OnnxError> {
        let odd = |what: String| self.told(format!("node `{name}` {what}"));
        let cast = found.cast_to::<f32>().map_err(|e| odd(format!("gives no floats: {}", line(&e))))?;
        let data = cast
            .try_as_plain_ram()
            .and_then(|plain| plain.as_slice::<f32>().map(<[f32]>::to_vec))
            .map_err(|e| odd(line(&e)))?;
        if let Some(at) = data.iter().position(|x| !x.is_finite()) {
            return Err(odd(format!("gives {} at position {at}", data[at])));
        }
        match (layout, cast.shape()) {
            (_, []) => Err(odd("gives a single number".into())),
            (_, &[n]) => Ok(Mat::from_vec(n, 1, data)),
            (_, &[n, d]) => Ok(Mat::from_vec(n, d, data)),
            (Layout::Whole, shape) => Ok(Mat::from_vec(shape[0], shape[1..].iter().product(), data)),
            (Layout::Places, &[n, t, d]) => Ok(Mat::from_vec(n * t, d, data)),
            (Layout::Places, shape) => {
                // Channels first: a row for each place.
                let (n, c, places) = (shape[0], shape[1], shape[2..].iter().product::<usize>());
                Ok(Mat::from_fn(n * places, c, |row, j| data[(row / places * c + j) * places + row % places]))
            }
        }
    }
}

/// What a runtime of others does is kept from ending the program.
fn guarded<T>(f: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(done) => done.map_err(|e| line(&e)),
        Err(_) => Err("the runtime gave up on it".into()),
    }
}

/// An error and what caused it, in one line.
fn line(error: &TractError) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
