//! `superlens synth`: activations whose features are known.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use superlens::sae::synthetic::{PRESETS, Preset, Stream, Synthetic, find};
use superlens_tensor::Mat;
use superlens_tensor::io::{is_part, npy_header, remove_parts, too_little_room, write_csr};
use superlens_tensor::kernels::sparse::SparseRows;

use crate::args::{Global, Synth};
use crate::failure::Failure;
use crate::progress::Progress;

/// Rows that are made at once.
pub const AT_ONCE: u64 = 4096;

pub fn run(args: &Synth, global: Global) -> Result<(), Failure> {
    if args.name == "list" {
        return list(global);
    }
    let preset = named("NAME", &args.name)?;
    let Some(dir) = &args.out else {
        return Err(Failure::Input("--out: expected the folder to write, found nothing".into()));
    };
    let wrong = |what: String| Failure::Input(format!("{}: {what}", dir.display()));
    if fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(|e| !is_part(&e.file_name()))) {
        return Err(wrong("is not empty; name a new folder".into()));
    }
    fs::create_dir_all(dir).map_err(|e| wrong(format!("can't be made: {e}")))?;
    // Of a run that was killed.
    remove_parts(dir);
    let bytes = args.rows.saturating_mul(4 * preset.dims as u64);
    if let Some(room) = too_little_room(dir, bytes) {
        let _ = fs::remove_dir(dir);
        let gb = |bytes: u64| bytes as f64 / 1e9;
        return Err(wrong(format!(
            "--rows {}: are {:.1} GB, and there is room for {:.1}; ask for fewer",
            args.rows,
            gb(bytes),
            gb(room)
        )));
    }
    let progress = Progress::new(global.quiet);
    let model = Synthetic::new(preset, &mut |share| progress.at(0.3 * share, "pushing directions apart"));
    let stream = if args.held_out { Stream::HeldOut } else { Stream::Train };
    let written = write_rows(&model, global.seed, stream, args.rows, dir, &progress).and_then(|truth| {
        write_csr(&dir.join("truth.npz"), &truth)?;
        write_matrix(&dir.join("features.npy"), &model.directions)?;
        Ok(truth)
    });
    let truth = written.map_err(|e| {
        remove_parts(dir);
        ["activations.npy", "truth.npz", "features.npy"].iter().for_each(|name| _ = fs::remove_file(dir.join(name)));
        let _ = fs::remove_dir(dir);
        Failure::Other(anyhow::Error::msg(format!("{}: can't be written: {e}; nothing is kept", dir.display())))
    })?;
    drop(progress);
    let l0 = truth.nnz() as f64 / args.rows as f64;
    let mut out = io::stdout().lock();
    if global.json {
        let document = serde_json::json!({
            "model": preset.id, "seed": global.seed, "held_out": args.held_out, "rows": args.rows, "dims": preset.dims,
            "features": preset.features, "true_l0": l0,
        });
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{} rows of {}, {l0:.2} of {} features on", args.rows, preset.dims, preset.features)?;
        writeln!(out, "{}: activations.npy, features.npy, truth.npz", dir.display())?;
    }
    Ok(out.flush()?)
}

/// The model that `flag` names.
pub fn named(flag: &str, id: &str) -> Result<&'static Preset, Failure> {
    find(id).ok_or_else(|| {
        let known: Vec<&str> = PRESETS.iter().map(|preset| preset.id).collect();
        Failure::Input(format!("{flag}: expected one of {}, found `{id}`", known.join(", ")))
    })
}

fn list(global: Global) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if global.json {
        let entry =
            |p: &Preset| serde_json::json!({"id": p.id, "features": p.features, "dims": p.dims, "about": p.about});
        let all: Vec<_> = PRESETS.iter().map(entry).collect();
        serde_json::to_writer_pretty(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let widest = PRESETS.iter().map(|preset| preset.id.len()).max().unwrap_or(0);
        for preset in &PRESETS {
            writeln!(out, "{:widest$}  {}", preset.id, preset.about)?;
        }
    }
    Ok(out.flush()?)
}

/// Writes `activations.npy`, a few rows at a time, and gives the true activations of all.
fn write_rows(
    model: &Synthetic,
    seed: u64,
    stream: Stream,
    rows: u64,
    dir: &Path,
    progress: &Progress,
) -> io::Result<SparseRows> {
    let (part, whole) = (dir.join(".activations.npy.part"), dir.join("activations.npy"));
    let mut file = BufWriter::new(fs::File::create(&part)?);
    file.write_all(&npy_header("<f4", &[rows as usize, model.preset.dims]))?;
    let (mut offsets, mut indices, mut values) = (vec![0], Vec::new(), Vec::new());
    for first in (0..rows).step_by(AT_ONCE as usize) {
        let on = model.activations(seed, stream, first..rows.min(first + AT_ONCE));
        write_numbers(&mut file, &model.rows(&on))?;
        for r in 0..on.rows() {
            let (columns, strengths) = on.row(r);
            indices.extend_from_slice(columns);
            values.extend_from_slice(strengths);
            offsets.push(indices.len());
        }
        progress.at(0.3 + 0.7 * first as f64 / rows as f64, "drawing rows");
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(part, whole)?;
    Ok(SparseRows::new(model.preset.features, offsets, indices, values))
}

pub(super) fn write_matrix(path: &Path, m: &Mat) -> io::Result<()> {
    let mut bytes = npy_header("<f4", &[m.rows(), m.cols()]);
    write_numbers(&mut bytes, m)?;
    superlens_tensor::io::write_atomic(path, &bytes)
}

fn write_numbers(out: &mut impl Write, m: &Mat) -> io::Result<()> {
    m.data().iter().try_for_each(|v| out.write_all(&v.to_le_bytes()))
}
