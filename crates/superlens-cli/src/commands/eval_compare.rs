//! `superlens eval --compare`: one dictionary beside another, of another seed or another size.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use superlens::report::words::number;
use superlens::sae::{Sae, metrics};
use superlens_tensor::{Mat, Rng};

use super::eval::dictionary;
use super::eval_rows::{Measured, Piece, check_width};
use crate::failure::Failure;
use crate::progress::Progress;

/// The dictionary to compare with.
pub struct Other {
    path: PathBuf,
    sae: Sae,
}

impl Other {
    pub fn read(path: &Path, beside: &Sae) -> Result<Other, Failure> {
        let sae = dictionary(path)?.sae;
        check_width("--compare", path, sae.d_in(), beside.d_in())?;
        check_width("--compare", path, sae.d_out(), beside.d_out())?;
        Ok(Other { path: path.into(), sae })
    }
}

/// How stable the latents are, of all and of those that are on in some row, and what the larger dictionary adds to the smaller one. `mean`
/// is that of all rows that are to be rebuilt.
pub fn document(
    sae: &Sae,
    other: &Other,
    rows: &Measured,
    mean: Vec<f64>,
    seed: u64,
    progress: &Progress,
) -> Result<Value, Failure> {
    // Of two of one size, the latents of the other are inserted.
    let other_is_larger = other.sae.d_sae() >= sae.d_sae();
    let (smaller, larger) = if other_is_larger { (sae, &other.sae) } else { (&other.sae, sae) };
    let mut stitching = metrics::Stitching::new(smaller, larger);
    let mut evaluation = metrics::Evaluation::new(&other.sae, mean);
    rows.each(|share, Piece { x, y, .. }| {
        progress.at(0.75 + 0.15 * share, "stitching");
        stitching.add(x, y);
        evaluation.add(x, y, &mut |_, _| {});
    });
    let m = evaluation.finish();
    let (of_smaller, of_larger) = stitching.live();
    let (live, live_of_other) = if other_is_larger { (of_smaller, of_larger) } else { (of_larger, of_smaller) };
    progress.at(0.9, "looking for partners");
    let rng = Rng::new(seed).fork("stability");
    let compared = |a: &Mat, b: &Mat| metrics::stability(a, b, &rng);
    let all = compared(sae.dictionary(), other.sae.dictionary());
    let nobody_dead = (live.len(), live_of_other.len()) == (sae.d_sae(), other.sae.d_sae());
    let of_live = match nobody_dead {
        true => all,
        false => compared(&sae.w_dec.select_rows(&live), &other.sae.w_dec.select_rows(&live_of_other)),
    };
    Ok(json!({
        "other": other.path.display().to_string(),
        "d_sae": other.sae.d_sae(), "fvu": m.fvu, "l0": m.l0, "dead": m.dead,
        "all": to_json(&all)?, "live": to_json(&of_live)?,
        "inserted": if other_is_larger { "other" } else { "sae" },
        "stitching": to_json(&stitching.finish())?,
    }))
}

fn to_json(numbers: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(numbers).map_err(|e| Failure::Other(e.into()))
}

/// For a reader.
pub fn summary(document: &Value) -> String {
    let at = |path: &str| document.pointer(path).and_then(Value::as_f64).map_or_else(|| "–".into(), number);
    let whose = if document["inserted"] == "other" { "the other dictionary" } else { "this dictionary" };
    format!(
        "{} of {} live latents have a partner above 0.9 in the other dictionary (share {}; by chance {}); mean largest |cos| {} there, {} \
         back (by chance {}), one to one {} (by chance {}).\n\
         Of {} latents of {whose} inserted one by one into the smaller, {} are novel ({} beyond chance), {} \
         reconstruct what is there ({} beyond chance), {} are silent.\n\
         Of {} groups of latents that point the same way in both, swapped one by one, {} rebuild better so ({} beyond chance), {} worse ({}).",
        number(
            (document.pointer("/live/over_90_percent").and_then(Value::as_f64).unwrap_or(0.0)
                * document.pointer("/live/latents").and_then(Value::as_f64).unwrap_or(0.0))
            .round()
        ),
        at("/live/latents"),
        at("/live/over_90_percent"),
        at("/live/null/over_90_percent"),
        at("/live/mean_max_cosine"),
        at("/live/mean_max_cosine_of_other"),
        at("/live/null/mean_max_cosine"),
        at("/live/mcc"),
        at("/live/null/mcc"),
        at("/stitching/inserted"),
        at("/stitching/novel"),
        at("/stitching/novel_clear"),
        at("/stitching/reconstruction"),
        at("/stitching/reconstruction_clear"),
        at("/stitching/silent"),
        at("/stitching/swaps/groups"),
        at("/stitching/swaps/better"),
        at("/stitching/swaps/better_clear"),
        at("/stitching/swaps/worse"),
        at("/stitching/swaps/worse_clear"),
    )
}
