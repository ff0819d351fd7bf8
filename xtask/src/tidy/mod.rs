//! The rules of ARCHITECTURE.md that a program can check. One rule, one file, with tests that it can fail.

mod forbidden;
mod layers;
mod length;
mod modules;
mod paths;
mod source;

use std::path::Path;

use anyhow::{Result, ensure};

use source::Tree;

/// Where a rule is broken, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Breach {
    path: String,
    /// 1-based; 0 where the whole file is meant.
    line: usize,
    message: String,
}

impl Breach {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_string(), line, message: message.into() }
    }
}

struct Rule {
    name: &'static str,
    says: &'static str,
    check: fn(&Tree) -> Vec<Breach>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "modules",
        says: "every .rs file is reached by a `mod` line from a crate root",
        check: modules::check,
    },
    Rule { name: "crates", says: "crates depend only on crates below them in the chain", check: layers::check_crates },
    Rule {
        name: "layers",
        says: "inside superlens, modules use only layers below: verdict -> sae -> toy -> diagnose -> report",
        check: layers::check_modules,
    },
    Rule {
        name: "length",
        says: "source files end within 500 lines, or stand in xtask/long-files.txt with a reason",
        check: length::check,
    },
    Rule {
        name: "finished",
        says: "nothing is left open: no todo!, unimplemented!, dbg!, #[ignore]",
        check: forbidden::check_finished,
    },
    Rule {
        name: "quiet",
        says: "libraries do not print, read no environment variables, build no global thread pool",
        check: forbidden::check_quiet,
    },
    Rule {
        name: "unsafe",
        says: "in libraries, `unsafe` stands only under superlens-tensor/src/kernels",
        check: forbidden::check_unsafe,
    },
    Rule { name: "macros", says: "no macros of our own outside tests", check: forbidden::check_macros },
    Rule { name: "paths", says: "no file names a path of somebody's machine", check: paths::check },
];

/// Checks every rule and prints what is broken. True if nothing is.
pub fn run(root: &Path) -> Result<bool> {
    let tree = Tree::read(root)?;
    ensure!(!tree.files.is_empty(), "no files under version control in {}", root.display());
    let mut broken = 0;
    for rule in RULES {
        let mut breaches = (rule.check)(&tree);
        breaches.sort();
        broken += breaches.len();
        for Breach { path, line, message } in breaches {
            let place = if line == 0 { path } else { format!("{path}:{line}") };
            println!("{place}: {message} [{}]", rule.name);
        }
    }
    let (files, rules) = (tree.files.len(), RULES.len());
    match broken {
        0 => println!("tidy: {files} files, {rules} rules, nothing to mend"),
        1 => println!("tidy: 1 breach; `cargo xtask help` says what the rules are"),
        n => println!("tidy: {n} breaches; `cargo xtask help` says what the rules are"),
    }
    Ok(broken == 0)
}

/// One line for each rule.
pub fn help() -> String {
    let mut text = String::from("Rules of tidy:\n");
    for rule in RULES {
        text.push_str(&format!("  {:<9} {}\n", rule.name, rule.says));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let tree = Tree::read(&crate::workspace_root()).unwrap();
        for rule in RULES {
            assert_eq!((rule.check)(&tree), [], "rule {}", rule.name);
        }
    }
}
