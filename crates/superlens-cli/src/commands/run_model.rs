//! `superlens run-model`: what a model computes for one text.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use superlens_lm::corpus::STDIN;
use superlens_lm::model::{Batch, Point, Site, Sites};
use superlens_tensor::Mat;

use super::model_files::{Model, check_new, sites};
use crate::args::{Global, RunModel};
use crate::failure::Failure;
use crate::progress::Progress;

/// More bytes than any context holds.
const LARGEST_TEXT: u64 = 64 << 20;
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
    progress.at(0.0, "loading the model");
    let model = Model::open(&args.model.model)?;
    let tokenize = |text: &str| Ok(model.tokenizer(args.model.tokenizer.as_deref())?.ids(text, !args.bare)?);
    let ids = tokens(args.text.as_deref(), args.token_ids.as_deref(), &model, tokenize)?;
    let config = &model.transformer.config;
    let sites = sites(&args.hook, config)?;
    let a_token = sites.iter().map(|s| s.width(config).unwrap_or(config.heads * ids.len())).sum::<usize>();
    let numbers = a_token.saturating_mul(ids.len());
    if numbers > LARGEST {
        let what = format!("--hook: {numbers} numbers at once, where {LARGEST} are taken; name fewer");
        return Err(Failure::Input(what));
    }
    progress.at(0.5, "running the model");
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
    let wanted = Sites::and_logits(sites.iter().copied(), config);
    model.transformer.forward(&Batch::one(&ids), &wanted, None, &mut keep);
    progress.at(0.9, "writing");
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

/// The tokens that flags name, all of which the model has.
pub fn tokens(
    text_file: Option<&Path>,
    list: Option<&str>,
    model: &Model,
    tokenize: impl FnOnce(&str) -> Result<Vec<u32>, Failure>,
) -> Result<Vec<u32>, Failure> {
    let (ids, from) = match (list, text_file) {
        (Some(list), _) => (listed(list)?, "--token-ids".to_string()),
        (None, Some(path)) => (tokenize(&text(path)?)?, path.display().to_string()),
        (None, None) => return Err(Failure::Input("--text or --token-ids: expected one of them".into())),
    };
    if ids.is_empty() {
        return Err(Failure::Input(format!("{from}: expected one token at least, found none")));
    }
    model.transformer.check(&ids).map_err(|what| Failure::Input(format!("{from}: {what}")))?;
    Ok(ids)
}

fn listed(list: &str) -> Result<Vec<u32>, Failure> {
    let id = |word: &str| {
        let told = || Failure::Input(format!("--token-ids: expected numbers with commas between them, found `{word}`"));
        word.trim().parse().map_err(|_| told())
    };
    list.split(',').map(id).collect()
}

/// A whole text, but for a line break at its end.
pub fn text(path: &Path) -> Result<String, Failure> {
    let wrong = |what: String| Failure::Input(format!("{}: {what}", path.display()));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == STDIN {
        io::stdin().take(LARGEST_TEXT + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST_TEXT + 1).read_to_end(&mut bytes))
    };
    read.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => wrong("there is no such file".into()),
        io::ErrorKind::IsADirectory => wrong("is a folder; name a text".into()),
        _ => wrong(format!("can't be read: {e}")),
    })?;
    if bytes.len() as u64 > LARGEST_TEXT {
        return Err(wrong(format!("is longer than {LARGEST_TEXT} bytes; superlens harvest takes long texts")));
    }
    // As elsewhere, a mark of the byte order is no text; nor is the line break that editors put at the end of a file.
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        wrong(format!("byte {at} (counted from 0) is no UTF-8; convert the file"))
    })
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
