//! A tree in words.

use super::features::{Fact, Kind};
use super::grow::{Path, Tree};

/// Ways to leaves that are told.
const TOLD: usize = 6;

/// What raises the unit, in words; `text` gives that of a word. `None` where the tree has no question.
pub fn explanation(tree: &Tree, text: &dyn Fn(u32) -> String) -> Option<String> {
    let paths = tree.paths();
    if paths.len() < 2 {
        return None;
    }
    let all = tree.nodes[0].mean;
    let raised: Vec<&Path> = paths.iter().filter(|p| p.mean > all && p.facts.iter().any(|f| f.1)).collect();
    let raised: Vec<&Path> = if raised.is_empty() { paths[..1].iter().collect() } else { raised };
    let mut told: Vec<String> = Vec::new();
    for path in raised.iter().take(TOLD) {
        told.push(format!("{} ({:.2})", conjunction(&path.facts, text), path.mean));
    }
    let more = raised.len().saturating_sub(TOLD);
    if more > 0 {
        told.push(format!("and {more} weaker"));
    }
    Some(format!("{}; elsewhere about {:.2}", told.join("; "), paths[paths.len() - 1].mean))
}

/// The facts of one path. That a place holds another word goes without saying where it is told which it holds.
fn conjunction(facts: &[(Fact, bool)], text: &dyn Fn(u32) -> String) -> String {
    let known = |fact: &Fact| match fact {
        Fact::Word { back, .. } => {
            facts.iter().any(|(f, holds)| *holds && matches!(f, Fact::Word { back: b, .. } if b == back))
        }
        Fact::Kind(_) => facts.iter().any(|(f, holds)| *holds && matches!(f, Fact::Word { back: 0, .. })),
        _ => false,
    };
    let mut said: Vec<String> = facts.iter().filter(|(_, holds)| *holds).map(|(fact, _)| one(fact, text)).collect();
    let not: Vec<String> =
        facts.iter().filter(|(fact, holds)| !*holds && !known(fact)).map(|(fact, _)| one(fact, text)).collect();
    // Many exceptions explain little: the first are those that matter most.
    if said.is_empty() {
        said.push("anywhere".into());
    }
    if !not.is_empty() {
        let rest = if not.len() > 3 { " …" } else { "" };
        said.push(format!("but not {}{rest}", not[..not.len().min(3)].join(" nor ")));
    }
    said.join(" ")
}

fn one(fact: &Fact, text: &dyn Fn(u32) -> String) -> String {
    match fact {
        Fact::Word { back: 0, word } => format!("on “{}”", text(*word)),
        Fact::Word { back: 1, word } => format!("after “{}”", text(*word)),
        Fact::Word { back, word } => format!("{back} after “{}”", text(*word)),
        Fact::Near(word) => format!("soon after “{}”", text(*word)),
        Fact::Kind(kind) => match kind {
            Kind::BeginsWord => "where a word begins",
            Kind::Capital => "on a capital",
            Kind::Digits => "on digits",
            Kind::Punctuation => "on punctuation",
            Kind::LineBreak => "on a line break",
        }
        .to_string(),
        Fact::Early(1) => "on the first token".into(),
        Fact::Early(n) => format!("among the first {n} tokens"),
    }
}
