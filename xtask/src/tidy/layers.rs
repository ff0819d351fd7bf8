//! Layers only look down: crates in a chain, and the modules of `superlens` in layers.

use std::collections::BTreeSet;

use super::Breach;
use super::source::{Token, Tree};

/// The crates, lowest first. `xtask` stands outside.
const CHAIN: &[&str] = &["superlens-tensor", "superlens-lm", "superlens", "superlens-cli"];

/// The modules of `superlens`, lowest layer first. Modules of one layer do not use one another.
const LAYERS: &[&[&str]] =
    &[&["verdict", "geometry", "probes"], &["sae"], &["neurons", "toy"], &["diagnose"], &["report"]];

const SCIENCE: &str = "crates/superlens/src/";

pub fn check_crates(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in &tree.files {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|rest| rest.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let Some(rank) = CHAIN.iter().position(|link| *link == name) else {
            breaches.push(Breach::new(
                &file.path,
                0,
                format!("{name} has no place in CHAIN (xtask/src/tidy/layers.rs)"),
            ));
            continue;
        };
        for upper in dependencies(&file.text) {
            if CHAIN[rank..].contains(&upper.as_str()) {
                breaches.push(Breach::new(
                    &file.path,
                    0,
                    format!("{name} must not depend on {upper}, which is above it"),
                ));
            }
        }
    }
    breaches
}

/// The names in every dependency table of a manifest, those of targets too.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let Ok(table) = manifest.parse::<toml::Table>() else { return BTreeSet::new() };
    let targets = table.get("target").and_then(|value| value.as_table());
    let tables = targets.into_iter().flat_map(|all| all.values()).filter_map(|value| value.as_table());
    let mut names = BTreeSet::new();
    for table in tables.chain([&table]) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let listed = table.get(kind).and_then(|value| value.as_table());
            names.extend(listed.into_iter().flat_map(|listed| listed.keys().cloned()));
        }
    }
    names
}

pub fn check_modules(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.rust() {
        let Some(inside) = file.path.strip_prefix(SCIENCE) else { continue };
        if inside == "lib.rs" {
            continue;
        }
        let module = inside.split(['/', '.']).next().unwrap_or_default();
        let Some(layer) = layer_of(module) else {
            breaches.push(Breach::new(
                &file.path,
                0,
                format!("{module} has no layer in LAYERS (xtask/src/tidy/layers.rs)"),
            ));
            continue;
        };
        for (used, line) in uses(&file.tokens(), depth(inside)) {
            if used != module && layer_of(&used).is_some_and(|other| other >= layer) {
                breaches.push(Breach::new(
                    &file.path,
                    line,
                    format!("{module} must not use {used}, which is not below it"),
                ));
            }
        }
    }
    breaches
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// How many modules stand between a file and the crate's root: 1 for `a.rs` and `a/mod.rs`, 2 for `a/b.rs`.
fn depth(inside: &str) -> usize {
    inside.trim_end_matches("/mod.rs").split('/').count()
}

/// The modules named right under the crate's root by `crate::…` or by as many `super::` as reach it, with their lines.
fn uses(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let path_separator = |i: usize| text(i) == ":" && text(i + 1) == ":";
    let mut i = 0;
    while i < tokens.len() {
        let start = i;
        let mut after = match text(i) {
            "crate" if path_separator(i + 1) => i + 3,
            "super" => {
                let mut steps = 0;
                while text(i) == "super" && path_separator(i + 1) {
                    steps += 1;
                    i += 3;
                }
                if steps == depth + tokens[start].inline_modules { i } else { usize::MAX }
            }
            _ => usize::MAX,
        };
        if text(after) == "{" {
            // `crate::{a, b::{c, d}}`: the names at the first level of the braces.
            let mut level = 0;
            loop {
                match text(after) {
                    "{" => level += 1,
                    "}" => level -= 1,
                    name if level == 1 && matches!(text(after - 1), "{" | ",") => {
                        found.push((name.to_string(), tokens[after].line));
                    }
                    _ => {}
                }
                after += 1;
                if level == 0 || after >= tokens.len() {
                    break;
                }
            }
        } else if after < tokens.len() {
            found.push((text(after).to_string(), tokens[after].line));
        }
        i = i.max(start + 1);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaches(path: &str, text: &str) -> usize {
        check_modules(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn looking_up_is_found_however_it_is_written() {
        let diagnose = "crates/superlens/src/diagnose/verdict.rs";
        for text in [
            "use crate::report::Html;",
            "use crate::{sae::Sae, report};",
            "fn f() { crate::report::write() }",
            "use super::super::report;",
            "mod inner { use super::super::super::report; }",
        ] {
            assert_eq!(breaches(diagnose, text), 1, "{text}");
        }
    }

    #[test]
    fn looking_down_and_inside_is_allowed() {
        let diagnose = "crates/superlens/src/diagnose/verdict.rs";
        for text in [
            "use crate::sae::Sae;",
            "use crate::diagnose::{Verdict, report};",
            "use super::report;",
            "use crate::{toy::{self, report}, sae};",
            "// use crate::report;",
        ] {
            assert_eq!(breaches(diagnose, text), 0, "{text}");
        }
        assert_eq!(breaches("crates/superlens/src/lib.rs", "pub use crate::report::Html;"), 0);
    }

    #[test]
    fn neighbours_and_strangers_are_found() {
        assert_eq!(breaches("crates/superlens/src/probes/mod.rs", "use crate::geometry::Frame;"), 1);
        assert_eq!(breaches("crates/superlens/src/misc.rs", ""), 1);
    }

    #[test]
    fn a_crate_that_depends_upwards_is_found() {
        let upwards = [
            "[dependencies]\nsuperlens = \"1\"",
            "[dev-dependencies]\nsuperlens.workspace = true",
            "[target.'cfg(unix)'.dependencies]\nsuperlens-cli = { path = \"../superlens-cli\" }",
        ];
        for text in upwards {
            assert_eq!(check_crates(&Tree::of(&[("crates/superlens-tensor/Cargo.toml", text)])).len(), 1, "{text}");
        }
        let downwards =
            ("crates/superlens-cli/Cargo.toml", "[dependencies]\nsuperlens = \"1\"\nsuperlens-tensor = \"1\"");
        assert_eq!(check_crates(&Tree::of(&[downwards])), []);
        assert_eq!(check_crates(&Tree::of(&[("crates/new/Cargo.toml", "")])).len(), 1);
    }
}
