//! `superlens harvest-onnx`: activations of a graph of ONNX; and what `superlens model` says of one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use superlens_lm::harvest::fingerprint;
use superlens_lm::onnx::{BATCH, Graph, Layout, Node, OnnxError, Samples};
use superlens_lm::store::{DType, Plan, Writer};
use superlens_tensor::Mat;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::table;
use crate::args::{Global, HarvestOnnx};
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::Progress;

pub fn run(args: &HarvestOnnx, global: Global) -> Result<(), Failure> {
    let progress = Progress::new(global.quiet);
    progress.at(0.0, "reading");
    let graph = open(&args.model)?;
    let options = ReadOptions { key: args.key.clone(), flatten: true };
    let inputs = read_directions(&args.inputs, &options).map_err(Failure::input)?;
    let shape = &inputs.shape;
    let hooks = names(&args.hook)?;
    let samples = Samples { shape, data: inputs.mat.data() };
    let layout = if args.whole { Layout::Whole } else { Layout::Places };
    interrupt::tell_how_to_go_on("the same command".into());
    let start = Instant::now();
    // What tells an unfinished store from one of another graph, of other samples or rows.
    let graph_hash = fingerprint(&args.model).map_err(|e| Failure::Input(format!("{}: {e}", args.model.display())))?;
    let origin = format!("{graph_hash} {} {layout:?} {}", inputs.sha256, args.hook.join(" "));
    let mut store = Store { dir: &args.out, hooks, dtype: args.dtype.dtype(), origin, writer: None, skip: 0 };
    let mut done = 0;
    let mut each = |found: &[Mat]| -> Result<(), Failure> {
        store.add(found)?;
        done += 1;
        progress.at((BATCH * done) as f64 / shape[0].max(1) as f64, "running the graph");
        Ok(())
    };
    quietly(|| graph.run(&args.hook, samples, layout, &mut each))?;
    let Some(writer) = store.writer else {
        return Err(Failure::Input(format!("{}: holds no samples", args.inputs.display())));
    };
    let manifest = writer.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    drop(progress);
    let widths: BTreeMap<&str, usize> = manifest.hooks.iter().map(|h| (h.name.as_str(), h.width)).collect();
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({
            "samples": shape[0], "rows": manifest.rows, "seconds": seconds, "samples_per_s": shape[0] as f64 / seconds, "hooks": widths,
            "out": args.out,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} samples in {seconds:.1} s", shape[0])?;
        for (name, width) in &widths {
            writeln!(out, "  {name}  {} × {width}", manifest.rows)?;
        }
        writeln!(out, "{}: the store; superlens store show tells what is in it", args.out.display())?;
    }
    Ok(out.flush()?)
}

/// What `superlens model` says of a graph.
pub fn about(path: &Path, global: Global) -> Result<(), Failure> {
    let nodes = open(path)?.nodes();
    let mut out = io::stdout().lock();
    if global.json {
        let all: Vec<_> = nodes.iter().map(|n| serde_json::json!({"name": n.name, "operation": n.operation})).collect();
        serde_json::to_writer_pretty(&mut out, &serde_json::json!({"family": "onnx", "nodes": all}))
            .map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    writeln!(out, "{}: a graph of ONNX; its nodes are hooks of superlens harvest-onnx", path.display())?;
    let head = ["node", "computes"].map(String::from);
    let row = |n: &Node| [n.name.clone(), n.operation.clone()];
    for line in table::lines(&std::iter::once(head).chain(nodes.iter().map(row)).collect::<Vec<_>>()) {
        writeln!(out, "  {line}")?;
    }
    Ok(out.flush()?)
}

fn open(path: &Path) -> Result<Graph, Failure> {
    Ok(quietly(|| Graph::open(path, &BTreeMap::new()))?)
}

/// What a runtime of others prints where it gives up is kept to itself: the error says it in a line.
fn quietly<T>(f: impl FnOnce() -> T) -> T {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = f();
    std::panic::set_hook(before);
    done
}

/// The names of nodes as those of a store's folders.
fn names(nodes: &[String]) -> Result<Vec<String>, Failure> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '.' };
    let name = |node: &String| node.chars().map(plain).collect::<String>().trim_matches('.').to_string();
    let all: Vec<String> = nodes.iter().map(name).collect();
    match all.iter().enumerate().find(|(i, name)| name.is_empty() || all[..*i].contains(name)) {
        Some((i, name)) => Err(Failure::Input(format!(
            "--hook {}: in a store it would be called `{name}`, as another is; leave one out",
            nodes[i]
        ))),
        None => Ok(all),
    }
}

/// A store whose widths are known once there is something to write.
struct Store<'a> {
    dir: &'a Path,
    hooks: Vec<String>,
    dtype: DType,
    origin: String,
    writer: Option<Writer>,
    /// Rows that an earlier run wrote.
    skip: usize,
}

impl Store<'_> {
    fn add(&mut self, found: &[Mat]) -> Result<(), Failure> {
        let rows = found[0].rows();
        if let Some(other) = found.iter().position(|m| m.rows() != rows) {
            let (one, two) = (&self.hooks[0], &self.hooks[other]);
            let what = format!(
                "{one} gives {rows} rows and {two} {}; harvest them one by one, or with --whole",
                found[other].rows()
            );
            return Err(Failure::Input(format!("--hook: {what}")));
        }
        if self.writer.is_none() {
            let hooks = self.hooks.iter().zip(found).map(|(name, m)| (name.clone(), m.cols(), self.dtype)).collect();
            let plan = Plan { origin: Some(self.origin.clone()), hooks, ..Plan::default() };
            let writer = Writer::create(self.dir, &plan)?;
            self.skip = writer.rows() as usize;
            self.writer = Some(writer);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let before = self.skip.min(rows);
        self.skip -= before;
        let rest: Vec<Mat> = found.iter().map(|m| m.select_rows(&(before..rows).collect::<Vec<_>>())).collect();
        if before < rows {
            writer.append(&rest.iter().collect::<Vec<_>>(), &[])?;
        }
        Ok(())
    }
}

impl From<OnnxError> for Failure {
    fn from(error: OnnxError) -> Self {
        Failure::input(error)
    }
}
