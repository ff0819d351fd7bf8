//! The repository's chores. `cargo xtask help` lists them.

mod ci;
mod gallery;
mod tidy;

use gallery::Which;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <chore>

  ci      Everything a change must pass: format, tidy, lints, tests, documentation, dependencies.
  tidy    The rules of ARCHITECTURE.md that a program can check. Quick; changes nothing.
  gallery Runs the quick experiments and writes docs/gallery.md. --all runs those of minutes too, --long all there are;
          --resume leaves alone what this binary has run before. --check only says which claims are missed.
  help    This page, and the rules that tidy knows.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["ci"] => ci::run(&workspace_root()),
        ["gallery", "--check"] => gallery::check(&workspace_root()),
        ["gallery", ref flags @ ..] if flags.iter().all(|f| ["--all", "--long", "--resume"].contains(f)) => {
            let which = match (flags.contains(&"--long"), flags.contains(&"--all")) {
                (true, _) => Which::Long,
                (_, true) => Which::Minutes,
                _ => Which::Seconds,
            };
            gallery::run(&workspace_root(), which, flags.contains(&"--resume"))
        }
        ["tidy"] => tidy::run(&workspace_root()),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}\n{}", tidy::help());
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: no such chore: {}; try `cargo xtask help`", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace's manifest: the parent of this crate's.
fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace").to_path_buf()
}
