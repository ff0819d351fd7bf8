//! `superlens run-model`: what a model computes for one text.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use superlens_lm::model::{Batch, Point, Site, Sites};
use superlens_tensor::Mat;

use super::model_files::{Model, check_new, sites};
use super::prompt::tokens;
use crate::args::{Global, RunModel};
use crate::failure::Failure;
use crate::progress::Progress;

/// Numbers of all activations that are asked for: they are in memory until they are written.
const LARGEST: usize = 1 << 31;

/// An array that will be written.
struct Named {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Named {
    fn new(shape: Vec<usize>, m: &Mat) -> Named {
        Named { shape, bytes: m.data().iter().flat_map(|x| x.to_le_bytes()).collect() }
    }
}

pub fn run(args: &RunModel, global: Global) -> Result<(), Failure> {
    check_new(&args.out)?;
    let progress = Progress::new(global.quiet);
    progress.stage("loading the model");
    let model = Model::open(&args.model.model)?;
    let tokenize = |text: &str| Ok(model.tokenizer(args.model.tokenizer.as_deref())?.ids(text, !args.prompt.bare)?);
    let ids = tokens(&args.prompt, &model, tokenize)?;
    let config = &model.transformer.config;
    let sites = sites(&args.hook, config, &|_| true)?;
    let a_token = sites.iter().map(|s| s.width(config).unwrap_or(config.heads * ids.len())).sum::<usize>();
    let numbers = a_token.saturating_mul(ids.len());
    if numbers > LARGEST {
        let what = format!("--hook: {numbers} numbers at once, where {LARGEST} are taken; name fewer");
        return Err(Failure::Input(what));
    }
    progress.stage("running the model");
    let mut arrays = BTreeMap::new();
    let mut keep = |site: Site, x: &mut Mat| {
        if site == Site::Logits || sites.contains(&site) {
            let shape = match site {
                Site::Block(_, Point::Scores | Point::Pattern) => vec![config.heads, x.rows() / config.heads, x.cols()],
                _ => vec![x.rows(), x.cols()],
            };
            arrays.insert(site.to_string(), Named::new(shape, x));
        }
    };
    let wanted = Sites::and_logits(sites.iter().copied(), config).alike();
    model.transformer.forward(&Batch::one(&ids), &wanted, None, &mut keep);
    progress.stage("writing");
    write(&args.out, &ids, &arrays)?;
    drop(progress);
    let mut out = io::stdout().lock();
    let shapes: BTreeMap<&str, &[usize]> = arrays.iter().map(|(name, a)| (name.as_str(), &a.shape[..])).collect();
    if global.json {
        let document = serde_json::json!({"tokens": ids.len(), "token_ids": ids, "arrays": shapes, "out": args.out});
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} tokens", ids.len())?;
        for (name, shape) in &shapes {
            writeln!(out, "  {name}  {shape:?}")?;
        }
        writeln!(out, "{}: the activations", args.out.display())?;
    }
    Ok(out.flush()?)
}

fn write(path: &Path, ids: &[u32], arrays: &BTreeMap<String, Named>) -> Result<(), Failure> {
    let told =
        |what: String| Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {what}", path.display())));
    let ids: Vec<u8> = ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let ids = ("input_ids", TensorView::new(Dtype::I64, vec![ids.len() / 8], &ids).map_err(|e| told(e.to_string()))?);
    let views =
        arrays.iter().map(|(name, a)| Ok((name.as_str(), TensorView::new(Dtype::F32, a.shape.clone(), &a.bytes)?)));
    let mut views: Vec<(&str, TensorView)> =
        views.collect::<Result<_, safetensors::SafeTensorError>>().map_err(|e| told(e.to_string()))?;
    views.push(ids);
    let bytes = safetensors::serialize(views, None).map_err(|e| told(e.to_string()))?;
    superlens_tensor::io::write_atomic(path, &bytes).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Failure::Input(format!("{}: there is no such folder to write to", path.display())),
        _ => told(e.to_string()),
    })
}
