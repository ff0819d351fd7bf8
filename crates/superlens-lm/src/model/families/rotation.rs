//! Frequencies of rotations, as `config.json` describes them: in `rope_parameters` today, in `rope_theta` and `rope_scaling` before.

use serde_json::Value;

use crate::model::config::Rope;
use crate::model::error::ModelError;
use crate::model::settings::Settings;

/// Where a kind of layer keeps its settings.
pub(super) struct Place<'a> {
    /// Before each key in `rope_parameters`: empty, or `full_attention.`.
    pub within: &'a str,
    /// The base where none is given today, and its older key.
    pub base: (&'a str, f64),
    /// Whether the old `rope_scaling` applies.
    pub scaled: bool,
}

pub(super) const USUAL: Place = Place { within: "", base: ("rope_theta", 10_000.0), scaled: true };

/// The rotation of heads of `d_head` numbers.
pub(super) fn rope(c: &Settings, d_head: usize, place: &Place) -> Result<Rope, ModelError> {
    let today = |key: &str| format!("rope_parameters.{}{key}", place.within);
    let old = |key: &str| if place.scaled { format!("rope_scaling.{key}") } else { "no_such_key".to_owned() };
    let base = c.number(&[&today("rope_theta"), place.base.0], place.base.1)?;
    let share = c.number(&[&today("partial_rotary_factor"), "partial_rotary_factor", "rotary_pct"], 1.0)?;
    if !(0.0..=1.0).contains(&share) || base <= 0.0 {
        return Err(c.wrong(
            "rope_parameters",
            format!("expected a share from 0 to 1 and a base above 0, found {share} and {base}"),
        ));
    }
    let dims = (d_head as f64 * share) as usize;
    if dims == 0 || !dims.is_multiple_of(2) {
        return Err(c.wrong("rope_parameters", format!("{dims} of {d_head} numbers can't be rotated in pairs")));
    }
    // In single precision, as the reference has them.
    let base = base as f32;
    let mut frequencies: Vec<f32> = (0..dims / 2).map(|i| 1.0 / base.powf((2 * i) as f32 / dims as f32)).collect();
    let keys = [today("rope_type"), old("rope_type"), old("type")];
    let kind = c.text(&keys.each_ref().map(String::as_str)).unwrap_or("default");
    let number = |key: &str, default: Option<f64>| {
        let keys = [today(key), old(key)];
        let keys = keys.each_ref().map(String::as_str);
        match default {
            None if c.get(&keys).is_none() => {
                Err(c.wrong(keys[0], format!("is missing, and rotations of type {kind} need it")))
            }
            _ => Ok(c.number(&keys, default.unwrap_or(0.0))? as f32),
        }
    };
    let (mut scale, mut long) = (1.0, None);
    match kind {
        "default" => {}
        "linear" => {
            let factor = number("factor", None)?;
            frequencies.iter_mut().for_each(|f| *f /= factor);
        }
        "llama3" => {
            let factor = number("factor", None)?;
            let (low, high) = (number("low_freq_factor", None)?, number("high_freq_factor", None)?);
            let trained = number("original_max_position_embeddings", None)?;
            frequencies.iter_mut().for_each(|f| *f = llama3(*f, factor, low, high, trained));
        }
        "longrope" | "su" => {
            let trained = c.size(&[&today("original_max_position_embeddings"), "original_max_position_embeddings"])?;
            let longest = c.size(&["max_position_embeddings"])?;
            let list = |key| c.numbers(&[&today(key), &old(key)], dims / 2);
            let (short, far) = (list("short_factor")?, list("long_factor")?);
            let divided = |by: &[f64]| frequencies.iter().zip(by).map(|(f, &by)| f / by as f32).collect::<Vec<f32>>();
            long = Some((trained, divided(&far)));
            let factor = longest as f64 / trained as f64;
            let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (trained as f64).ln()).sqrt() };
            scale = number("attention_factor", Some(usual))?;
            frequencies = divided(&short);
        }
        other => {
            let what =
                format!("rotations of type {other:?} are not known; known are default, linear, llama3 and longrope");
            return Err(c.wrong(&keys[0], what));
        }
    }
    if frequencies.iter().chain(long.iter().flat_map(|l| &l.1)).any(|f| !f.is_finite()) {
        return Err(c.wrong("rope_parameters", "expected factors other than zero"));
    }
    Ok(Rope { dims, frequencies, scale, long })
}

/// Llama 3.1: slow rotations are slowed down by the factor, fast ones kept, those between in part.
fn llama3(f: f32, factor: f32, low: f32, high: f32, trained: f32) -> f32 {
    let wavelength = 2.0 * std::f32::consts::PI / f;
    if wavelength < trained / high {
        f
    } else if wavelength > trained / low {
        f / factor
    } else {
        let kept = (trained / wavelength - low) / (high - low);
        (1.0 - kept) * f / factor + kept * f
    }
}

/// Which layers see a window and which all, from `layer_types`; `otherwise` says it where that is not given.
pub(super) fn windowed(
    c: &Settings,
    layers: usize,
    otherwise: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, ModelError> {
    let Some(types) = c.get(&["layer_types"]) else {
        return Ok((0..layers).map(otherwise).collect());
    };
    let word = |v: &Value| match v.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(c.wrong("layer_types", format!("expected sliding_attention or full_attention, found {v}"))),
    };
    let types = types.as_array().map_or(&[][..], Vec::as_slice);
    if types.len() != layers {
        return Err(c.wrong("layer_types", format!("expected one for each of {layers} layers, found {}", types.len())));
    }
    types.iter().map(word).collect()
}
