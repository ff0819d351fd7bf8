//! What can be typed after `superlens store`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use superlens_lm::store::DType;

/// Make, show and check stores of activations
///
/// A store is a folder with the activations of one or more hooks in files of bounded size. It may be larger than memory:
/// "superlens train --activations STORE --hook NAME" reads it in a seeded order with a buffer of bounded size.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens store import mlp3.npy --out mlp3-store --hook blocks.3.mlp.hook_post --dtype f16
  superlens store import saelens-cache --out resid-store
  superlens store show resid-store
  superlens store verify resid-store")]
pub struct Store {
    #[command(subcommand)]
    pub command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    Import(StoreImport),
    Show(StoreShow),
    Verify(StoreShow),
}

/// Make a store of activations in other files
///
/// SRC is a .npy, .npz or .safetensors file, a folder in which SAELens cached activations (Hugging Face Arrow), or Parquet: a column with lists
/// of floats, or several columns of floats. An import that was ended goes on if the same is typed again.
#[derive(Args, Debug)]
pub struct StoreImport {
    /// The activations
    pub src: PathBuf,
    /// The store to make: a new folder
    #[arg(long, value_name = "STORE")]
    pub out: PathBuf,
    /// The hook they were read at [default: that of the source, or "activations"]
    #[arg(long, value_name = "NAME")]
    pub hook: Option<String>,
    /// Which array or column of SRC to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// How numbers are stored [default: as in SRC, f32 for 64 bits]
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<DTypeArg>,
    /// Rows of a file [default: a gigabyte]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub shard_rows: Option<u64>,
}

/// Say what a store holds (show), or hold every byte against its hash (verify)
#[derive(Args, Debug)]
pub struct StoreShow {
    /// The store
    pub store: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DTypeArg {
    /// 16 bits, up to 65504
    F16,
    /// 16 bits with the range of 32
    Bf16,
    /// 32 bits
    F32,
}

impl DTypeArg {
    pub fn dtype(self) -> DType {
        match self {
            DTypeArg::F16 => DType::F16,
            DTypeArg::Bf16 => DType::BF16,
            DTypeArg::F32 => DType::F32,
        }
    }
}
