//! Interventions as flags name them.

use std::path::Path;

use serde_json::{Map, Value};
use superlens::sae::files::Loaded;
use superlens::sae::{LatentHandle, Sae, Splice, Transcode};
use superlens_lm::intervene::{Change, Changes, Columns, Direction, Handle, Intervention, Text, Turned, gather};
use superlens_lm::model::{Config, Point, Site};
use superlens_lm::tokenizer::Tokenizer;
use superlens_tensor::Rng;
use superlens_tensor::io::{ReadOptions, read_directions};

use super::eval::dictionary;
use super::model_files::{Model, sites};
use crate::args::{ChangeArg, ChangeArgs};
use crate::failure::{Failure, say};

/// Tokens that "resample" draws from, and positions of a patch.
const DONORS: usize = 1 << 16;

/// What is changed at each hook: what the changes themselves borrow from.
pub struct Held {
    sae: Option<Sae>,
    sites: Vec<Site>,
    /// Where the dictionary reads, if it is a transcoder.
    from: Option<Site>,
}

impl Held {
    /// # Errors
    /// Flags that don't go together, hooks that the model has not, and dictionaries of another width.
    pub fn new(args: &ChangeArgs, config: &Config) -> Result<Held, Failure> {
        check(args)?;
        if let (ChangeArg::Splice, Some(path)) = (args.change, &args.sae) {
            let Loaded { sae, metadata } = dictionary(path)?;
            if args.reads.is_some() || is_transcoder(&sae, &metadata) {
                let [hook] = &args.hook[..] else {
                    return Err(wrong(format!(
                        "--hook: expected the one hook that a transcoder rebuilds, found {}",
                        args.hook.len()
                    )));
                };
                let named = (args.reads.as_deref(), Some(hook.as_str()));
                let (from, to) = transcoder_sites(path, (&sae, &metadata), named, config, ("--reads", "--hook"))?;
                return Ok(Held { sae: Some(sae), sites: vec![to], from: Some(from) });
            }
        }
        let usable = |site: Site| match args.heads.is_empty() {
            true => site.width(config).is_some(),
            false => heads(site, config).is_some(),
        };
        let (sites, sae) = dictionary_at(args.sae.as_deref(), &args.hook, config, &usable)?;
        for site in &sites {
            if site.width(config).is_none() {
                return Err(wrong(format!("--hook: {site} has no row for each token; nothing is changed there")));
            }
        }
        Ok(Held { sae, sites, from: None })
    }

    /// All that is done, at once.
    pub fn all<'a>(&self, whats: &'a [Box<dyn Intervention + 'a>]) -> Changes<'a> {
        Changes::of(self.sites.iter().copied().zip(whats.iter().map(|what| &**what as &dyn Intervention)))
    }

    /// What is done at each hook, by itself.
    pub fn each<'a>(&self, whats: &'a [Box<dyn Intervention + 'a>]) -> Vec<Changes<'a>> {
        self.sites.iter().zip(whats).map(|(&site, what)| Changes::new([site], &**what)).collect()
    }

    /// What is taken hold of at each hook.
    pub fn handles(&self, args: &ChangeArgs, config: &Config) -> Result<Vec<Box<dyn Handle + '_>>, Failure> {
        self.sites.iter().map(|&site| self.handle(args, site, config)).collect()
    }

    fn handle(&self, args: &ChangeArgs, site: Site, config: &Config) -> Result<Box<dyn Handle + '_>, Failure> {
        let width = site.width(config).unwrap_or_default();
        let below = |flag: &str, list: &[usize], most: usize| match list.iter().find(|&&j| j >= most) {
            Some(j) => Err(wrong(format!("{flag}: {site} has 0 to {}, found {j}", most - 1))),
            None => Ok(()),
        };
        if let (Some(sae), false) = (&self.sae, args.latents.is_empty()) {
            below("--latents", &args.latents, sae.d_sae())?;
            return Ok(Box::new(LatentHandle { sae, latents: once(&args.latents) }));
        }
        if let Some(file) = &args.direction {
            return Ok(Box::new(direction(file, args, site, width)?));
        }
        if !args.heads.is_empty() {
            let Some(heads) = heads(site, config) else {
                let what = format!("{site} is not split into heads; name hook_z, hook_q, hook_k or hook_v");
                return Err(wrong(format!("--heads: {what}")));
            };
            below("--heads", &args.heads, heads)?;
            let d = config.d_head;
            return Ok(Box::new(Columns(once(&args.heads).iter().flat_map(|h| h * d..(h + 1) * d).collect())));
        }
        if args.columns.is_empty() {
            return Ok(Box::new(Columns((0..width).collect())));
        }
        below("--columns", &args.columns, width)?;
        Ok(Box::new(Columns(once(&args.columns))))
    }

    /// What becomes of it at each hook; `texts` are those that means and other tokens are taken from.
    pub fn interventions<'a>(
        &'a self,
        args: &ChangeArgs,
        handles: &'a [Box<dyn Handle + '_>],
        model: &Model,
        tokenizer: &Tokenizer,
        texts: &[Text],
        rng: &Rng,
    ) -> Result<Vec<Box<dyn Intervention + 'a>>, Failure> {
        let donor = args.from.as_deref().map(|path| donor(path, model, tokenizer)).transpose()?;
        if let (Some(donor), Some(positions)) = (&donor, &args.positions)
            && let Some(position) = positions.iter().find(|position| **position >= donor.batch.tokens())
        {
            let what = format!("--from has tokens 0 to {}, found {position}", donor.batch.tokens() - 1);
            return Err(wrong(format!("--positions: {what}")));
        }
        let (transformer, by) = (&model.transformer, args.by.unwrap_or(0.0));
        let gathered =
            |site: Site, handle: &dyn Handle, texts: &[Text]| gather(transformer, texts, site, handle, DONORS);
        let one = |(&site, handle): (&Site, &'a (dyn Handle + '_))| -> Box<dyn Intervention + 'a> {
            let change = match args.change {
                ChangeArg::Zero => Change::Zero,
                ChangeArg::Mean => Change::Fill(gathered(site, handle, texts).mean),
                ChangeArg::Resample => Change::Draw {
                    from: gathered(site, handle, texts).rows,
                    rng: Box::new(rng.fork(&site.to_string())),
                },
                ChangeArg::Scale => Change::Scale(by),
                ChangeArg::Steer => Change::Add(by),
                ChangeArg::Patch => Change::Patch(gathered(site, handle, donor.as_slice()).rows),
                ChangeArg::Splice => {
                    let sae = self.sae.as_ref().expect("checked: a splice has a dictionary");
                    let keep_error = args.keep_error;
                    return match self.from {
                        Some(from) => Box::new(Transcode { sae, from, keep_error }),
                        None => Box::new(Splice { sae, keep_error }),
                    };
                }
            };
            Box::new(Turned { handle, change })
        };
        Ok(self.sites.iter().zip(handles.iter().map(|handle| &**handle)).map(one).collect())
    }
}

fn wrong(what: String) -> Failure {
    Failure::Input(what)
}

/// Flags that go with what is done.
fn check(args: &ChangeArgs) -> Result<(), Failure> {
    use ChangeArg::{Patch, Scale, Splice, Steer};
    if args.hook.is_empty() {
        return Err(wrong("--hook: expected the hooks at which something is changed, found none".into()));
    }
    let takes_by = matches!(args.change, Scale | Steer);
    match args.by {
        None if takes_by => return Err(wrong("--by: expected a number, found none".into())),
        Some(_) if !takes_by => return Err(wrong("--by: goes with --do scale and --do steer".into())),
        Some(by) if !by.is_finite() => return Err(wrong(format!("--by: expected a finite number, found {by}"))),
        _ => {}
    }
    if args.from.is_some() != (args.change == Patch) {
        return Err(wrong("--from: goes with --do patch, which needs it".into()));
    }
    let named = !args.columns.is_empty() || !args.heads.is_empty() || args.direction.is_some();
    if args.change == Splice {
        if args.sae.is_none() || named || !args.latents.is_empty() {
            return Err(wrong(
                "--do splice: takes --sae and all of the activations; leave out what names parts of them".into(),
            ));
        }
    } else if args.reads.is_some() {
        return Err(wrong(
            "--reads: goes with --do splice and a transcoder; other changes read what they change".into(),
        ));
    } else if args.keep_error {
        return Err(wrong("--keep-error: goes with --do splice; other changes keep it".into()));
    } else if args.sae.is_some() && args.latents.is_empty() {
        return Err(wrong("--latents: expected latents of --sae, or --do splice".into()));
    }
    Ok(())
}

/// How many heads share a row there.
fn heads(site: Site, config: &Config) -> Option<usize> {
    match site {
        Site::Block(_, Point::Z | Point::Q | Point::RotQ) => Some(config.heads),
        Site::Block(_, Point::K | Point::RotK | Point::V) => Some(config.kv_heads),
        _ => None,
    }
}

/// The hooks, and the dictionary of their activations where there is one: names that stand for several then mean those of its width.
pub fn dictionary_at(
    sae: Option<&Path>,
    hooks: &[String],
    config: &Config,
    usable: &dyn Fn(Site) -> bool,
) -> Result<(Vec<Site>, Option<Sae>), Failure> {
    let Some(path) = sae else { return Ok((sites(hooks, config, usable)?, None)) };
    let Loaded { sae, metadata } = dictionary(path)?;
    let fits = |site: Site| usable(site) && site.width(config) == Some(sae.d_in());
    let sites = sites(hooks, config, &fits)?;
    check_dictionary(path, (&sae, &metadata), &sites, config)?;
    warn_of_other_hook(path, &metadata, &sites);
    Ok((sites, Some(sae)))
}

/// Whether a dictionary rebuilds other activations than it reads: its files say so, or its widths or a linear path show it.
pub fn is_transcoder(sae: &Sae, metadata: &Map<String, Value>) -> bool {
    let said =
        metadata.get("transcode").and_then(Value::as_bool).unwrap_or(false) || metadata.contains_key("hook_name_out");
    said || sae.d_in() != sae.d_out() || sae.skip.is_some()
}

/// Where a transcoder reads and where it writes: as named, else as its files say; what reads an MLP's input writes its output.
pub fn transcoder_sites(
    path: &Path,
    (sae, metadata): (&Sae, &Map<String, Value>),
    (read, write): (Option<&str>, Option<&str>),
    config: &Config,
    (read_flag, write_flag): (&str, &str),
) -> Result<(Site, Site), Failure> {
    let said = |keys: &[&str]| keys.iter().find_map(|key| metadata.get(*key).and_then(Value::as_str));
    let parse = |flag: &str, name: &str| Site::parse(name, config).map_err(|what| wrong(format!("{flag}: {what}")));
    let unsaid = |flag: &str, what: &str| {
        wrong(format!("{flag}: the transcoder {} does not say which hook it {what}; name it", path.display()))
    };
    let from = match read.or_else(|| said(&["hook_name"])) {
        Some(name) => parse(read_flag, name)?,
        None => return Err(unsaid(read_flag, "reads")),
    };
    let to = match (write.or_else(|| said(&["hook_name_out", "targets_hook"])), from) {
        (Some(name), _) => parse(write_flag, name)?,
        (None, Site::Block(layer, Point::Norm2)) => Site::Block(layer, Point::MlpOut),
        (None, _) => return Err(unsaid(write_flag, "rebuilds")),
    };
    for (flag, site, width) in [(read_flag, from, sae.d_in()), (write_flag, to, sae.d_out())] {
        if site.width(config) != Some(width) {
            let found = site.width(config).map_or("rows as long as its sequence".into(), |w| w.to_string());
            return Err(wrong(format!(
                "{flag}: expected a hook of width {width}, as {} has, but {site} has {found}",
                path.display()
            )));
        }
    }
    if !from.precedes(to, config) {
        return Err(wrong(format!(
            "{write_flag}: expected a hook after {from}, which the transcoder reads, found {to}"
        )));
    }
    Ok((from, to))
}

/// A dictionary of one layer put in the place of another is seldom what is meant, though nothing forbids it.
pub fn warn_of_other_hook(path: &Path, metadata: &Map<String, Value>, sites: &[Site]) {
    let Some(own) = metadata.get("hook_name").and_then(Value::as_str) else { return };
    if let Some(site) = sites.iter().find(|site| site.to_string() != own) {
        say(&format!("warning: {} is a dictionary of {own}, and is used at {site}", path.display()));
    }
}

/// # Errors
/// Transcoders, and dictionaries of another width than that of a site.
pub fn check_dictionary(
    path: &Path,
    (sae, metadata): (&Sae, &Map<String, Value>),
    sites: &[Site],
    config: &Config,
) -> Result<(), Failure> {
    let told = |what: String| Err(Failure::Input(format!("--sae {}: {what}", path.display())));
    if is_transcoder(sae, metadata) {
        return told(
            "rebuilds other activations than it reads (a transcoder), so it can't stand in their place; --do splice and eval --model put it in the place of what it rebuilds".into(),
        );
    }
    match sites.iter().find(|site| site.width(config) != Some(sae.d_in())) {
        Some(site) => {
            let width = site.width(config).unwrap_or_default();
            told(format!("is of activations of width {}, but {site} has {width}", sae.d_in()))
        }
        None => Ok(()),
    }
}

fn direction(file: &Path, args: &ChangeArgs, site: Site, width: usize) -> Result<Direction, Failure> {
    let told = |what: String| Failure::Input(format!("--direction {}: {what}", file.display()));
    let mat =
        read_directions(file, &ReadOptions { key: args.key.clone(), flatten: false }).map_err(Failure::input)?.mat;
    if mat.cols() != width {
        return Err(told(format!("has {} columns, but {site} has {width}", mat.cols())));
    }
    let row = match (args.row, mat.rows()) {
        (None, 1) => 0,
        (None, rows) => return Err(told(format!("has {rows} rows; choose one with --row"))),
        (Some(row), rows) if row >= rows => return Err(told(format!("--row: has 0 to {}, found {row}", rows - 1))),
        (Some(row), _) => row,
    };
    Direction::new(mat.row(row).to_vec()).ok_or_else(|| told(format!("row {row} has no direction: it is all zero")))
}

/// The text that a patch comes from, as one sequence.
fn donor(path: &Path, model: &Model, tokenizer: &Tokenizer) -> Result<Text, Failure> {
    let text = super::prompt::text(path)?;
    let ids = tokenizer.ids(&text, true)?;
    if ids.is_empty() || text.trim().is_empty() {
        return Err(Failure::Input(format!("--from {}: holds no token", path.display())));
    }
    model.transformer.check(&ids).map_err(|what| Failure::Input(format!("--from {}: {what}", path.display())))?;
    Ok(Text::one(&ids))
}

/// Each once, in their order.
fn once(list: &[usize]) -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    list.iter().copied().filter(|j| seen.insert(*j)).collect()
}
