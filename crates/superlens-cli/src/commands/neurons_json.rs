//! Units in JSON and in words.

use serde_json::{Value, json};
use superlens::neurons::patterns::Trigger;
use superlens::neurons::rules::Explained;
use superlens::neurons::{Contexts, Peak, Pictures, Source, Study, Units};
use superlens_lm::store::Tokens;

/// Tokens before and after an example in a line of a table.
const SHORT: [u64; 2] = [8, 3];

/// What rows are told as.
pub struct Shown<'a> {
    pub source: Source<'a>,
    pub units: &'a Units,
    pub tokens: Option<&'a Tokens>,
    pub contexts: Option<Contexts<'a>>,
    pub pictures: Option<&'a Pictures>,
}

impl Shown<'_> {
    /// The contract of `--json` for one unit.
    pub fn unit(&self, study: &Study, rule: Option<&Explained>) -> Value {
        let p = &study.profile;
        let top: Vec<Value> = study.top.iter().map(|(peak, facet)| self.example(peak, *facet)).collect();
        let groups = study.groups.iter().zip(study.boundaries.windows(2)).map(|(group, ends)| {
            let examples: Vec<Value> = group.iter().map(|peak| self.example(peak, None)).collect();
            json!({"low": ends[0], "high": ends[1], "examples": examples})
        });
        let patterns = study.patterns.as_ref().map(|patterns| {
            let found = patterns.found.iter().map(|f| {
                json!({"trigger": self.trigger(&f.trigger), "covers": f.covers, "background": f.background, "stability": f.stability})
            });
            json!({"count": patterns.found.len(), "covered": patterns.covered, "stability": patterns.stability, "found": found.collect::<Vec<_>>()})
        });
        let histogram: Vec<Value> =
            p.bins.filled().iter().map(|(low, high, n)| json!([end(*low), end(*high), n])).collect();
        json!({
            "index": p.unit, "mean": p.mean, "variance": p.variance, "skewness": p.skewness, "kurtosis": p.kurtosis, "density": p.density,
            "facets": study.facets, "top": top, "min": p.min, "max": p.max, "dead": p.dead(), "dense": p.dense(), "examples": study.examples,
            "groups": groups.collect::<Vec<_>>(), "histogram": histogram, "patterns": patterns, "rule": rule.map(|r| self.rule(r)),
        })
    }

    fn rule(&self, rule: &Explained) -> Value {
        json!({
            "text": super::neurons_page::explain(rule, self), "leaves": rule.tree.paths().len(), "rows": rule.rows, "firing": rule.firing,
            "correlation": rule.correlation, "variance_explained": rule.variance_explained, "auc": rule.auc,
        })
    }

    fn example(&self, peak: &Peak, facet: Option<usize>) -> Value {
        let mut value =
            json!({"row": peak.row, "value": peak.value, "context": self.context(peak.row), "facet": facet});
        if let (Some(tokens), Some(contexts)) = (self.tokens, &self.contexts) {
            value["token"] = json!(contexts.token(peak.row));
            value["document"] = json!(tokens.document(peak.row));
            value["position"] = json!(tokens.position(peak.row));
        }
        value
    }

    /// The text around a row, or its image; nothing where neither is known.
    fn context(&self, row: u64) -> String {
        match (&self.contexts, self.pictures) {
            (Some(contexts), _) => contexts.text(row),
            (None, Some(pictures)) => pictures.text(row),
            (None, None) => String::new(),
        }
    }

    /// A row in a line: its text with the token marked, its image, or its number.
    pub fn short(&self, row: u64) -> String {
        match (&self.contexts, self.pictures) {
            (Some(contexts), _) => {
                let [before, token, after] = contexts.with(SHORT[0], SHORT[1]).parts(row);
                one_line(&format!("{before}«{token}»{after}"))
            }
            (None, Some(pictures)) => pictures.text(row),
            (None, None) => format!("row {row}"),
        }
    }

    /// A trigger in words.
    pub fn trigger(&self, trigger: &Trigger) -> String {
        let text = |w: &u32| self.tokens.map_or(String::new(), |t| t.text_of(*w).to_string());
        match trigger {
            Trigger::Run { back: 0, words } => {
                format!("on “{}”", one_line(&words.iter().map(text).collect::<String>()))
            }
            Trigger::Run { back: 1, words } => {
                format!("after “{}”", one_line(&words.iter().map(text).collect::<String>()))
            }
            Trigger::Run { back, words } => {
                format!("{} after “{}”", counted(*back, "token"), one_line(&words.iter().map(text).collect::<String>()))
            }
            Trigger::Near(word) => format!("“{}” near before", one_line(&text(word))),
        }
    }
}

/// JSON has no infinity: an open end is null.
fn end(v: f32) -> Option<f32> {
    v.is_finite().then_some(v)
}

pub fn counted(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Without line breaks and terminal escapes.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                '⏎'
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect()
}
