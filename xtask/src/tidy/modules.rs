//! Files that no `mod` line reaches: the compiler never sees them, so nothing tells that they are broken.

use std::collections::BTreeSet;

use super::Breach;
use super::source::{File, Tree};

pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut reached = BTreeSet::new();
    for file in tree.rust().filter(|file| is_root(&file.path)) {
        reach(tree, file, &mut reached);
    }
    tree.rust()
        .filter(|file| !reached.contains(file.path.as_str()))
        .map(|file| Breach::new(&file.path, 0, "no `mod` line reaches this file; register it or delete it"))
        .collect()
}

/// Whether cargo compiles this file without being told: a crate's root, or a direct child of `tests` and the like.
fn is_root(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let folder = parts.pop().unwrap_or_default();
    let targets = ["bin", "tests", "benches", "examples"];
    match (folder, name) {
        ("src", "lib.rs" | "main.rs") | (_, "build.rs") => true,
        (folder, _) if targets.contains(&folder) => true,
        (_, "main.rs") => parts.last().is_some_and(|parent| targets.contains(parent)),
        _ => false,
    }
}

fn reach<'a>(tree: &'a Tree, file: &'a File, reached: &mut BTreeSet<&'a str>) {
    if !reached.insert(&file.path) {
        return;
    }
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    // `mod x;` in `a/b.rs` means `a/b/x.rs`; in a root or a `mod.rs` it means a sibling.
    let below = match name.strip_suffix(".rs") {
        Some(stem) if stem != "mod" && !is_root(&file.path) => format!("{folder}/{stem}"),
        _ => folder.to_string(),
    };
    let tokens = file.tokens();
    for three in tokens.windows(3) {
        if three[0].text == "mod" && three[2].text == ";" {
            let module = &three[1].text;
            for child in [format!("{below}/{module}.rs"), format!("{below}/{module}/mod.rs")] {
                if let Some(child) = tree.get(&child) {
                    reach(tree, child, reached);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreached(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|breach| breach.path).collect()
    }

    #[test]
    fn a_file_without_a_mod_line_is_found() {
        let files = [
            ("crates/a/src/lib.rs", "pub mod b; mod c;"),
            ("crates/a/src/b.rs", "mod d; // mod e;"),
            ("crates/a/src/b/d.rs", ""),
            ("crates/a/src/b/e.rs", ""),
            ("crates/a/src/c/mod.rs", "pub(crate) mod f;"),
            ("crates/a/src/c/f.rs", ""),
            ("crates/a/src/f.rs", ""),
            ("crates/a/tests/t.rs", "mod common;"),
            ("crates/a/tests/common/mod.rs", ""),
            ("crates/a/tests/other/mod.rs", ""),
            ("crates/a/benches/speed.rs", ""),
        ];
        assert_eq!(unreached(&files), ["crates/a/src/b/e.rs", "crates/a/src/f.rs", "crates/a/tests/other/mod.rs"]);
    }
}
