//! `superlens convert`: an autoencoder from one format of the field to another.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use superlens::sae::files::{self, Difference, FORMATS, FileError, Format, Loaded, ReadOptions, TOLERANCE};
use superlens_tensor::Rng;

use super::table;
use crate::args::{Convert, Global};
use crate::failure::Failure;
use crate::interrupt;

pub fn run(args: &Convert, global: Global) -> Result<(), Failure> {
    let (Some(src), Some(dst), Some(to)) = (&args.src, &args.dst, &args.to) else { return list(global) };
    if args.list {
        return list(global);
    }
    let to = Format::named(to).map_err(|e| Failure::Input(format!("--to: {e}")))?;
    if !to.writes() {
        return Err(Failure::Input(format!("--to {}: this format is only read; write saelens instead", to.id)));
    }
    let from = match &args.from {
        Some(id) => Format::named(id).map_err(|e| Failure::Input(format!("--from: {e}")))?,
        None => Format::of(src).map_err(Failure::input)?,
    };
    let loaded = read(args, src, from)?;
    let folder = interrupt::create_folder(dst).map_err(Failure::input)?;
    files::write(folder.path(), to, &loaded.sae, &loaded.metadata).map_err(|e| match e {
        FileError::Io { .. } => Failure::Other(anyhow::Error::msg(e)),
        refused => Failure::Input(format!("{}: {refused}; {}", src.display(), others(&loaded, to, global))),
    })?;
    let difference = read_back(folder.path(), to, &loaded, global)?;
    folder.finish()?;
    print(src, dst, from, to, &loaded, difference, global)
}

fn read(args: &Convert, src: &Path, from: &Format) -> Result<Loaded, Failure> {
    if let Some(scale) = args.input_scale.filter(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(Failure::Input(format!("--input-scale: expected a positive number, found {scale}")));
    }
    let options = ReadOptions { key: args.key.clone(), input_scale: args.input_scale, embedding: args.embedding };
    let mut loaded = files::read_with(src, Some(from), &options).map_err(Failure::input)?;
    // A flag without which the same is read is one that the user expects something else of.
    let without = [
        ("--key", options.key.is_some(), ReadOptions { key: None, ..options.clone() }),
        ("--input-scale", options.input_scale.is_some(), ReadOptions { input_scale: None, ..options.clone() }),
        ("--embedding", options.embedding.is_some(), ReadOptions { embedding: None, ..options.clone() }),
    ];
    for (flag, _, options) in without.iter().filter(|(_, given, _)| *given) {
        if files::read_with(src, Some(from), options).is_ok_and(|other| other.sae == loaded.sae) {
            let src = src.display();
            return Err(Failure::Input(format!("{flag}: is of no use for {src} ({}); leave it out", from.id)));
        }
    }
    for (key, value) in [("model_name", &args.model), ("hook_name", &args.hook)] {
        if let Some(value) = value {
            loaded.metadata.insert(key.into(), value.clone().into());
        }
    }
    Ok(loaded)
}

/// Which formats hold what `to` can't: found by writing them.
fn others(loaded: &Loaded, to: &Format, global: Global) -> String {
    let holds = |format: &&Format| {
        let Ok(folder) = tempfile::tempdir() else { return false };
        files::write(folder.path(), format, &loaded.sae, &loaded.metadata).is_ok()
            && read_back(folder.path(), format, loaded, global).is_ok()
    };
    let able: Vec<&str> =
        FORMATS.iter().filter(|f| f.id != to.id && f.writes()).filter(holds).map(|format| format.id).collect();
    match &able[..] {
        [] => "keep the source: no other format that is written here can either".into(),
        able => format!("written as {} it stays what it is", able.join(", ")),
    }
}

/// Reads what was written, and holds it against the source on random inputs.
fn read_back(written: &Path, to: &Format, loaded: &Loaded, global: Global) -> Result<Difference, Failure> {
    let back = files::read(written, Some(to)).map_err(|e| Failure::Other(anyhow::Error::msg(e)))?;
    let difference = files::compare(&loaded.sae, &back.sae, &Rng::new(global.seed));
    if difference.within(TOLERANCE) {
        return Ok(difference);
    }
    Err(Failure::Input(format!(
        "as `{}` it would compute something else: latents differ by {:.1e} and reconstructions by {:.1e}, where at most {TOLERANCE:e} is \
         allowed; nothing is written, keep the source",
        to.id, difference.latents, difference.recon
    )))
}

fn print(
    src: &Path,
    dst: &Path,
    from: &Format,
    to: &Format,
    loaded: &Loaded,
    difference: Difference,
    global: Global,
) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let (d_in, d_sae, d_out) = (loaded.sae.d_in(), loaded.sae.d_sae(), loaded.sae.d_out());
    if global.json {
        let document = json!({
            "schema": 1, "from": from.id, "to": to.id, "d_in": d_in, "d_sae": d_sae, "d_out": d_out,
            "latents_differ": difference.latents, "recon_differs": difference.recon,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&document).map_err(io::Error::from)?)?;
    } else {
        writeln!(out, "{} ({}) → {} ({})", src.display(), from.id, dst.display(), to.id)?;
        writeln!(out, "d_in {d_in}, d_sae {d_sae}, d_out {d_out}")?;
        writeln!(
            out,
            "read back: latents differ by {:.1e}, reconstructions by {:.1e}",
            difference.latents, difference.recon
        )?;
    }
    Ok(out.flush()?)
}

fn list(global: Global) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if global.json {
        let formats: Vec<_> = FORMATS
            .iter()
            .map(|f| json!({"id": f.id, "reads": true, "writes": f.writes(), "about": f.about}))
            .collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&formats).map_err(io::Error::from)?)?;
    } else {
        let heading = ["format", "read", "written", "what it is"].map(str::to_owned);
        let row = |f: &Format| [f.id, "yes", if f.writes() { "yes" } else { "no" }, f.about].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(heading).chain(FORMATS.iter().map(row)).collect();
        for line in table::lines(&rows) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}
