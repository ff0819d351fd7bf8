//! Paths that exist on one machine only: they break for everybody else, and tell about that machine.

use super::Breach;
use super::source::Tree;

/// First folders of paths that belong to a machine or to a person.
const FIRST: &[&str] = &["home", "Users", "root", "work", "farm", "mnt"];

pub fn check(tree: &Tree) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in tree.files.iter().filter(|file| !file.path.ends_with(".lock")) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(first) = FIRST.iter().find(|first| names(line, first)) {
                let message = format!("names a path of one machine, /{first} …: make it relative or an argument");
                breaches.push(Breach::new(&file.path, number + 1, message));
            }
        }
    }
    breaches
}

/// Whether an absolute path that starts with `first` stands in `line`; `a/first/b` and `x.org/first/` are none.
fn names(line: &str, first: &str) -> bool {
    let start = format!("/{first}/");
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    line.match_indices(&start).any(|(at, _)| !line[..at].chars().next_back().is_some_and(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_of_a_machine_are_found() {
        let path = |first: &str| format!("let data = \"/{first}/me/data.npy\";");
        for first in FIRST {
            assert_eq!(check(&Tree::of(&[("a.md", &path(first))])).len(), 1, "{first}");
        }
        for fine in ["../shared/home/x", "https://example.org/home/x", "/usr/bin/env", "a/work/b"] {
            assert_eq!(check(&Tree::of(&[("a.md", fine)])), [], "{fine}");
        }
    }
}
