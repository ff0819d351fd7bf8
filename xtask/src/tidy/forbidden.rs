//! Words that do not stand in certain places.

use super::Breach;
use super::source::{File, Token, Tree, find};

pub fn check_finished(tree: &Tree) -> Vec<Breach> {
    let open = ["todo !", "unimplemented !", "dbg !", "# [ ignore"];
    search(tree.rust(), &open, |_, _| true, "is left open: finish it or take it out")
}

pub fn check_quiet(tree: &Tree) -> Vec<Breach> {
    let loud = ["print !", "println !", "eprint !", "eprintln !"];
    // Words of `std::env` that read or change what only a front end should know. The working folder is not among them.
    let environment = ["var", "var_os", "vars", "vars_os", "args", "args_os", "set_var", "remove_var", "temp_dir", "{"];
    let environment = environment.map(|word| format!("env : : {word}"));
    let outside: Vec<&str> = environment.iter().map(String::as_str).chain(["build_global"]).collect();
    let mut breaches = search(tree.libraries(), &loud, not_in_test, "in a library: return it, or use tracing");
    let message = "in a library: take it as an argument from the caller";
    breaches.extend(search(tree.libraries(), &outside, not_in_test, message));
    breaches
}

pub fn check_unsafe(tree: &Tree) -> Vec<Breach> {
    // Kernels, and the one file that maps shards of a store.
    let may = ["crates/superlens-tensor/src/kernels/", "crates/superlens-lm/src/store/map.rs"];
    let outside_kernels = |file: &File, _: &Token| !may.iter().any(|place| file.path.starts_with(place));
    search(
        tree.libraries(),
        &["unsafe"],
        outside_kernels,
        "outside superlens-tensor/src/kernels: move it there, or do without",
    )
}

pub fn check_macros(tree: &Tree) -> Vec<Breach> {
    search(tree.rust(), &["macro_rules !"], not_in_test, "outside tests: write a function or a trait")
}

fn not_in_test(_: &File, token: &Token) -> bool {
    !token.in_test
}

fn search<'a>(
    files: impl Iterator<Item = &'a File>,
    patterns: &[&str],
    counts: impl Fn(&File, &Token) -> bool,
    message: &str,
) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for file in files {
        let tokens = file.tokens();
        for pattern in patterns {
            for token in find(&tokens, pattern).into_iter().filter(|token| counts(file, token)) {
                breaches.push(Breach::new(&file.path, token.line, format!("`{}` {message}", pattern.replace(' ', ""))));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: &str = "crates/superlens/src/toy/mod.rs";

    fn lines(check: fn(&Tree) -> Vec<Breach>, path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn what_is_left_open_is_found_in_tests_too() {
        let text =
            "fn a() { todo!() }\n#[test]\n#[ignore = \"slow\"]\nfn b() { dbg!(1); }\nfn c() { unimplemented!() }";
        assert_eq!(lines(check_finished, LIBRARY, text), [1, 5, 4, 3]);
        assert_eq!(lines(check_finished, LIBRARY, "// todo!()\nfn todo() { \"dbg!(1)\"; }"), [0usize; 0]);
    }

    #[test]
    fn libraries_print_nothing_and_read_no_environment() {
        for text in [
            "fn a() { println!(\"x\") }",
            "fn a() { eprintln!(\"x\") }",
            "use std::env::{self, var};",
            "fn a() { std::env::var(\"X\"); }",
            "use std as s; fn a() { env::var(\"X\"); }",
            "fn a() { rayon::ThreadPoolBuilder::new().build_global(); }",
        ] {
            assert!(!lines(check_quiet, LIBRARY, text).is_empty(), "{text}");
        }
        assert_eq!(lines(check_quiet, LIBRARY, "fn a() { std::env::current_dir() }"), [0usize; 0]);
        assert_eq!(lines(check_quiet, LIBRARY, "#[cfg(test)]\nmod tests { fn a() { println!(\"x\") } }"), [0usize; 0]);
        assert_eq!(
            lines(check_quiet, "crates/superlens-cli/src/main.rs", "fn main() { println!(\"x\") }"),
            [0usize; 0]
        );
    }

    #[test]
    fn unsafe_stands_in_kernels_only() {
        let text = "fn a() { unsafe { b() } }";
        assert_eq!(lines(check_unsafe, LIBRARY, text), [1]);
        assert_eq!(lines(check_unsafe, "crates/superlens-tensor/src/kernels/gemm.rs", text), [0usize; 0]);
        assert_eq!(lines(check_unsafe, "crates/superlens-lm/src/store/map.rs", text), [0usize; 0]);
        assert_eq!(lines(check_unsafe, "crates/superlens-lm/src/store/reader.rs", text), [1]);
    }

    #[test]
    fn macros_stand_in_tests_only() {
        let text = "macro_rules! a { () => {} }";
        assert_eq!(lines(check_macros, LIBRARY, text), [1]);
        assert_eq!(lines(check_macros, "crates/superlens/tests/all.rs", text), [0usize; 0]);
    }
}
