//! What can be typed after `superlens geometry`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Directions in a space: how small their cosines can be, how many fit, how they share it, what can be read
///
/// Signed cosines (points on a sphere) and absolute ones (lines) are told apart everywhere.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry coherence decoder.safetensors --key W_dec
  superlens geometry pack --dims 3 --points 8 --signed --out runs/antiprism
  superlens geometry room --dims 1024 --epsilon 0.2
  superlens geometry readout --dims 6
  superlens geometry table --dims 4 --points 12")]
pub struct Geometry {
    #[command(subcommand)]
    pub command: GeometryCommand,
    /// Folder for report.html, report.json and the figures; without it nothing is written
    #[arg(long, global = true, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum GeometryCommand {
    Coherence(Coherence),
    Pack(Pack),
    Room(Room),
    Readout(Readout),
    Table(Table),
}

/// How a set of directions shares its space: cosines, capacities, frame bounds, polytopes
///
/// FILE holds one direction a row: a toy's features, the decoder of an autoencoder, an unembedding. Of the same as
/// columns, [dimensions, directions], say --transpose.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry coherence decoder.safetensors --key W_dec
  superlens geometry coherence unembedding.npy --transpose --out runs/unembedding

--json prints {n, dims, zero_rows, zero_rows_at, orientation, sampled, pairs, max_abs_cos, max_abs_cos_is: \"exact\" or \"of drawn
pairs\", max_cos, min_cos, rms_cos, sum_capacity, rank, frame_bounds: [lower, upper], participation_ratio, stable_rank, bounds: {lines, signed}, signed_histogram,
absolute_histogram: {from, to, shares}, random, polytopes: {threshold, clusters, counts, product}, capacity, seconds}.
n counts the directions that are not zero: capacity has n entries (D_i, a direction's share of a dimension), and members of
polytopes are places among these. pairs are those compared: all, or drawn ones beyond 65,536 directions (sampled). frame_bounds
are those on the span of the directions, so the lower is not zero. polytopes is null beyond 4,096 directions.")]
pub struct Coherence {
    /// The directions
    pub file: PathBuf,
    /// Which array of an .npz or .safetensors file to read
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// Read an array of more than two dimensions: all axes but the last become rows
    #[arg(long)]
    pub flatten: bool,
    /// The directions are columns: [dimensions, directions]
    #[arg(long)]
    pub transpose: bool,
}

/// The best packing known here: an exact construction, or a search from many starts
///
/// Says how far the largest cosine is from the bounds below which no packing comes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry pack --dims 3 --points 6
  superlens geometry pack --dims 3 --points 8 --signed --out runs/antiprism
  superlens geometry pack --dims 5 --points 12 --starts 64 --json

--json prints {coherence, kind: \"lines\" or \"signed\", dims, points, bounds: {welch, rankin, …}, best_bound, gap, method,
exact, directions: [[…]], seconds}; directions is null beyond a million coordinates.")]
pub struct Pack {
    /// Dimensions
    #[arg(long, value_name = "D", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub dims: u32,
    /// Directions
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(2..=200_000))]
    pub points: u32,
    /// Lines through the origin: cosines count by their size [default]
    #[arg(long, conflicts_with = "signed")]
    pub lines: bool,
    /// Points on the sphere: cosines count with their sign
    #[arg(long)]
    pub signed: bool,
    /// Search, even where an exact construction is known
    #[arg(long)]
    pub search: bool,
    /// Random starts of the search
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub starts: u32,
}

/// How many almost-orthogonal directions fit: formulas, and random corners of the hypercube measured beside them
///
/// All pairs are looked at up to 100,000 corners; beyond, all pairs of the first 20,000 and pairs drawn from all.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry room --dims 1024 --epsilon 0.2
  superlens geometry room --dims 256 --epsilon 0.3 --points 256,1024,4096 --out runs/room
  superlens geometry room --dims 4096 --epsilon 0.1 --points 1000000 --json

--json prints {dims, epsilon, kind: \"lines\", bounds: {union, cap, johnson_lindenstrauss, upper: {ln, n}}, measured: [{n,
max_abs_cos, rms_cos, drawn_pairs, drawn_max_abs_cos, largest, largest_is, expected_max_abs_cos, …}], seconds}; n is null
where it is beyond a double.")]
pub struct Room {
    /// Dimensions
    #[arg(long, value_name = "D", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub dims: u32,
    /// The largest |cosine| that is allowed, between 0 and 1
    #[arg(long, value_name = "E", allow_negative_numbers = true, value_parser = epsilon)]
    pub epsilon: f64,
    /// How many corners to measure; several with commas [default: 64 to 16,384]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub points: Vec<u32>,
    /// Pairs drawn where there are too many for all
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 1_000_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000_000))]
    pub pairs: u64,
}

/// Which features can be read linearly, behind a ReLU, or behind a threshold, and how many each notion allows
///
/// With files: tests directions against activations, on held-out rows. --features gives the features' true values,
/// [rows, features]; without them they are decoded from the activations, where the directions explain these.
/// Without files: the exact demonstrations.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry readout --dims 6
  superlens geometry readout --directions W.npy --activations hidden.npy --features x.npy
  superlens geometry readout --directions decoder.npy --activations resid.npy --out runs/readout

--json prints, with files, {n, rank, max_cos, allows, by_angles, readable: {linear, relu, threshold}, notion, judged, values,
r2, cannot_tell, …, seconds}: counts by notion, nulls where the data can't tell. Without files {pair_error, coactivity,
max_cos_2d_plus_1, linear_error, linear_floor, …, seconds}.")]
pub struct Readout {
    /// One direction a row
    #[arg(long, value_name = "FILE", requires = "activations")]
    pub directions: Option<PathBuf>,
    /// One sample a row, in the same dimensions
    #[arg(long, value_name = "FILE", requires = "directions")]
    pub activations: Option<PathBuf>,
    /// The features' true values, one sample a row, one feature a column in the order of the directions
    #[arg(long, value_name = "FILE", requires = "activations")]
    pub features: Option<PathBuf>,
    /// Which array of its file holds the directions
    #[arg(long, value_name = "NAME", requires = "directions")]
    pub directions_key: Option<String>,
    /// Which array of its file holds the activations
    #[arg(long, value_name = "NAME", requires = "activations")]
    pub activations_key: Option<String>,
    /// Which array of its file holds the features' values
    #[arg(long, value_name = "NAME", requires = "features")]
    pub features_key: Option<String>,
    /// Read arrays of more than two dimensions: all axes but the last become rows
    #[arg(long, requires = "directions")]
    pub flatten: bool,
    /// The directions are columns: [dimensions, directions]
    #[arg(long, requires = "directions")]
    pub transpose: bool,
    /// Dimensions of the demonstrations
    #[arg(long, value_name = "D", allow_negative_numbers = true, default_value_t = 6, value_parser = clap::value_parser!(u32).range(2..=32), conflicts_with = "directions")]
    pub dims: u32,
}

/// The best packings found for all dimensions and numbers of directions up to a limit, as two tables
///
/// Lines first, then directions with signed cosines. As Markdown, to be kept: docs/packings.md is what it prints.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  superlens geometry table --dims 4 --points 12
  superlens geometry table --dims 8 --points 40 --quiet > packings.md

--json prints {packings: [{kind, dims, points, coherence, best_bound, gap, method, exact}], seconds}.")]
pub struct Table {
    /// Dimensions, from 2 up to this
    #[arg(long, value_name = "D", allow_negative_numbers = true, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=64))]
    pub dims: u32,
    /// Directions, from 2 up to this
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 40, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub points: u32,
    /// Random starts of each search
    #[arg(long, value_name = "N", allow_negative_numbers = true, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub starts: u32,
}

/// A number between 0 and 1, both left out.
fn epsilon(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v < 1.0 => Ok(v),
        _ => Err("expected a number above 0 and below 1".into()),
    }
}
