//! The commands, one file each.

mod activations;
mod answers;
pub mod attention;
pub mod attribute;
pub mod basis;
mod changes;
pub mod convert;
pub mod demo;
pub mod diagnose;
mod diagnose_model;
mod endpoint;
pub mod eval;
mod eval_compare;
mod eval_model;
mod eval_rows;
pub mod explain;
mod explain_compositional;
mod explain_simulate;
pub mod export;
pub mod feeds;
pub mod fetch;
pub mod generate;
pub mod geometry;
mod geometry_files;
pub mod harvest;
pub mod harvest_onnx;
pub mod intervene;
mod labels;
pub mod lens;
mod likeliest;
mod memory;
pub mod model_about;
mod model_files;
mod model_texts;
pub mod neurons;
mod neurons_json;
mod neurons_page;
pub mod probe;
mod probe_table;
pub mod promotes;
mod prompt;
pub mod recover;
mod recover_phase;
mod recover_table;
pub mod run;
pub mod run_model;
mod side_by_side;
pub mod store;
mod summary;
pub mod synth;
mod table;
mod texts;
pub mod toy;
mod toy_help;
pub mod train;
mod train_descent;
mod train_folder;
mod train_knobs;
mod train_plan;
mod train_rows;
mod train_sweep;
mod units;
pub mod zoo;

use superlens::diagnose::{Mechanism, Verdict};
use superlens::report::{InputFile, Settings};

use crate::args::Global;

/// What the manifest of a run says of this program and this call.
fn settings(global: Global, inputs: Vec<InputFile>, mut config: toml::Table) -> Settings {
    config.insert("seed".into(), seed_for_toml(global.seed));
    Settings {
        seed: global.seed,
        threads: rayon::current_num_threads(),
        revision: option_env!("SUPERLENS_REVISION").map(str::to_string),
        inputs,
        config,
    }
}

/// TOML's integers end at 2⁶³ − 1; a larger seed is written as text.
fn seed_for_toml(seed: u64) -> toml::Value {
    i64::try_from(seed).map_or_else(|_| toml::Value::String(seed.to_string()), toml::Value::Integer)
}

/// `verdict` or `verdict/mechanism`, as in the JSON of `demo`.
fn label(verdict: Verdict, mechanism: Option<Mechanism>) -> String {
    mechanism.map_or_else(|| verdict.id().to_string(), |mechanism| format!("{}/{}", verdict.id(), mechanism.id()))
}
