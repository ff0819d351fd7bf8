//! Files that have grown past what one reads in a sitting.

use super::Breach;
use super::source::Tree;

const LIMIT: usize = 500;

/// `path: reason` a line; `#` starts a comment.
const ALLOWED: &str = "xtask/long-files.txt";

pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut allowed = Vec::new();
    for (number, line) in tree.get(ALLOWED).map_or("", |file| &file.text).lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((path, reason)) if !reason.trim().is_empty() => allowed.push((path.trim(), number + 1)),
            _ => breaches.push(Breach::new(
                ALLOWED,
                number + 1,
                "write `path: reason`; without a reason nothing is allowed",
            )),
        }
    }
    let is_source = |path: &str| [".rs", ".py"].iter().any(|ending| path.ends_with(ending));
    let long = |path: &str| tree.get(path).map_or(0, |file| file.text.lines().count()) > LIMIT;
    for file in tree.files.iter().filter(|file| is_source(&file.path) && long(&file.path)) {
        if !allowed.iter().any(|(path, _)| *path == file.path) {
            let lines = file.text.lines().count();
            let message = format!("{lines} lines; split it below {LIMIT}, or give the reason in {ALLOWED}");
            breaches.push(Breach::new(&file.path, 0, message));
        }
    }
    for (path, number) in allowed {
        if !long(path) {
            breaches.push(Breach::new(ALLOWED, number, format!("{path} is not over {LIMIT} lines: take the line out")));
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_needs_a_reason() {
        let long = "//\n".repeat(LIMIT + 1);
        let breaches = |list: &str| check(&Tree::of(&[("a.rs", &long), (ALLOWED, list)])).len();
        assert_eq!(breaches("# none\n"), 1);
        assert_eq!(breaches("a.rs: one table that reads best whole"), 0);
        assert_eq!(breaches("a.rs:"), 2, "the line, and the file");
        assert_eq!(check(&Tree::of(&[("a.rs", &"//\n".repeat(LIMIT))])), []);
    }

    #[test]
    fn a_stale_allowance_is_found() {
        assert_eq!(check(&Tree::of(&[("a.rs", ""), (ALLOWED, "a.rs: was long\ngone.rs: was long")])).len(), 2);
    }
}
