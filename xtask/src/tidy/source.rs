//! What the rules look at: the files of the repository, and Rust files as tokens.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// The text files of the repository.
pub struct Tree {
    pub files: Vec<File>,
}

pub struct File {
    /// From the workspace's root, with `/`.
    pub path: String,
    pub text: String,
}

/// One token of a Rust file. Comments are gone, and what stands in a string is one token.
#[derive(Debug)]
pub struct Token {
    pub text: String,
    /// 1-based.
    pub line: usize,
    /// Inside an item marked `#[test]` or `#[cfg(test)]`.
    pub in_test: bool,
    /// How many inline `mod name { … }` surround it.
    pub inline_modules: usize,
}

impl Tree {
    /// Reads what git tracks and what it would track: generated and ignored files are left out, binary files too.
    pub fn read(root: &Path) -> Result<Tree> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("tidy asks git for the list of files, and git could not be started")?;
        ensure!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr).trim());
        let mut files = Vec::new();
        for path in String::from_utf8(listing.stdout)?.split('\0').filter(|path| !path.is_empty()) {
            // A file that was deleted but not yet committed is still listed; one that is not UTF-8 is no source.
            if let Ok(text) = std::fs::read_to_string(root.join(path)) {
                files.push(File { path: path.to_string(), text });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Tree { files })
    }

    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The Rust files of the library crates, without their integration tests, benches and examples.
    pub fn libraries(&self) -> impl Iterator<Item = &File> {
        self.rust().filter(|file| {
            let library = file.path.strip_prefix("crates/").and_then(|rest| rest.split_once('/'));
            library.is_some_and(|(name, rest)| name != "superlens-cli" && rest.starts_with("src/"))
        })
    }

    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        Tree {
            files: files.iter().map(|(path, text)| File { path: path.to_string(), text: text.to_string() }).collect(),
        }
    }
}

impl File {
    /// The file's tokens. A file that does not lex gives none: the compiler says so better.
    pub fn tokens(&self) -> Vec<Token> {
        let mut out = Vec::new();
        if let Ok(stream) = self.text.parse::<TokenStream>() {
            flatten(stream, self.is_test(), 0, &mut out);
        }
        out
    }

    /// A file that only tests compile: `tests.rs`, or anything under `tests/` or `benches/`.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.split('/').any(|part| part == "tests" || part == "benches")
    }
}

fn flatten(stream: TokenStream, in_test: bool, inline_modules: usize, out: &mut Vec<Token>) {
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    // Set by `#[test]` and `#[cfg(test)]`, taken off at the end of the item that follows.
    let mut item_is_test = false;
    for (i, tree) in trees.iter().enumerate() {
        let test = in_test || item_is_test;
        match tree {
            TokenTree::Group(group) => {
                let attribute = group.delimiter() == Delimiter::Bracket && i > 0 && is_punct(&trees[i - 1], '#');
                let module = i > 1 && is_ident(&trees[i - 2], "mod") && matches!(trees[i - 1], TokenTree::Ident(_));
                item_is_test |= attribute && marks_test(group);
                let (open, close) = brackets(group.delimiter());
                push(out, open, group.span_open().start().line, test, inline_modules);
                flatten(group.stream(), test, inline_modules + usize::from(module), out);
                push(out, close, group.span_close().start().line, test, inline_modules);
                if group.delimiter() == Delimiter::Brace {
                    item_is_test = false;
                }
            }
            leaf => {
                push(out, &leaf.to_string(), leaf.span().start().line, test, inline_modules);
                if is_punct(leaf, ';') {
                    item_is_test = false;
                }
            }
        }
    }
}

fn push(out: &mut Vec<Token>, text: &str, line: usize, in_test: bool, inline_modules: usize) {
    if !text.is_empty() {
        out.push(Token { text: text.to_string(), line, in_test, inline_modules });
    }
}

fn marks_test(attribute: &Group) -> bool {
    let words: String = attribute.stream().into_iter().map(|tree| tree.to_string()).collect();
    words == "test" || words == "cfg(test)"
}

fn brackets(delimiter: Delimiter) -> (&'static str, &'static str) {
    match delimiter {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    }
}

fn is_punct(tree: &TokenTree, sign: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_ident(tree: &TokenTree, word: &str) -> bool {
    matches!(tree, TokenTree::Ident(ident) if ident == word)
}

/// The lines on which the tokens of `pattern` (separated by blanks) stand one after the other.
pub fn find<'a>(tokens: &'a [Token], pattern: &str) -> Vec<&'a Token> {
    let pattern: Vec<&str> = pattern.split(' ').collect();
    tokens
        .windows(pattern.len())
        .filter(|window| window.iter().zip(&pattern).all(|(token, want)| token.text == *want))
        .map(|window| &window[0])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        File { path: "a.rs".into(), text: text.into() }.tokens()
    }

    #[test]
    fn comments_and_strings_hide_what_they_hold() {
        let tokens = tokens("// secret\nfn f() { g(\"secret\") /* secret */ }");
        assert!(find(&tokens, "secret").is_empty());
        assert_eq!(find(&tokens, "g (")[0].line, 2);
    }

    #[test]
    fn test_items_end_where_they_end() {
        let tokens = tokens("#[cfg(test)]\nmod t { fn a() {} }\nfn b() {}\n#[cfg(test)] use c;\nfn d() {}");
        let marked = |name: &str| find(&tokens, name)[0].in_test;
        assert_eq!(["a", "b", "c", "d"].map(marked), [true, false, true, false]);
    }

    #[test]
    fn inline_modules_are_counted() {
        let tokens = tokens("fn a() {} mod m { fn b() {} }");
        assert_eq!(["a", "b"].map(|name| find(&tokens, name)[0].inline_modules), [0, 1]);
    }
}
