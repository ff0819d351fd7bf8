//! The report of `superlens neurons`: the page, from what was found.

use superlens::neurons::profile::quantiles;
use superlens::neurons::rules::{Explained, explanation};
use superlens::neurons::{Peak, Study};
use superlens::report::{Card, Example, RunFolder, Shows, UnitsPage, write_units};

use super::neurons::ranked;
use super::neurons_json::{Shown, counted, one_line};
use crate::failure::Failure;

/// Units under each heading where none was asked for.
const SHOWN: usize = 20;
/// Examples of a group on the page.
const EXAMPLES: usize = 8;
const FROM_GROUPS: usize = 3;

/// Writes `report.json` and `report.html`. `rules` are those of the studies, where the store has tokens; `asked` if these units were.
pub fn write(
    run: &RunFolder,
    document: &serde_json::Value,
    studies: &[&Study],
    rules: Option<&[Explained]>,
    shown: &Shown,
    name: &str,
    asked: bool,
) -> Result<(), Failure> {
    let rule = |study: &Study| rules.and_then(|all| all.iter().find(|r| r.unit == study.profile.unit));
    let cards = |of: &[&Study]| of.iter().map(|s| card(s, rule(s), shown)).collect::<Vec<_>>();
    let word = shown.units.word();
    let mut sections = Vec::new();
    if asked {
        sections.push((format!("The {word}s asked for"), String::new(), cards(studies)));
    } else {
        let live: Vec<&Study> = studies.iter().copied().filter(|s| !s.profile.dead()).collect();
        if rules.is_some() {
            let mut best = live.clone();
            let score = |s: &Study| rule(s).and_then(|r| r.correlation).unwrap_or(-1.0);
            best.sort_by(|a, b| score(b).total_cmp(&score(a)).then(a.profile.unit.cmp(&b.profile.unit)));
            best.truncate(SHOWN);
            let about = "By the correlation, on texts that were held out, of what the rules say and what it does.";
            sections.push(("Best explained".into(), about.into(), cards(&best)));
        }
        let mut most = ranked(&live);
        most.truncate(SHOWN);
        let about = "By the number of triggers, then of facets.";
        sections.push(("Most polysemantic".into(), about.into(), cards(&most)));
    }
    let page = UnitsPage { name: name.into(), word: word.into(), about: about(studies, rules, shown), sections };
    Ok(write_units(run, document, &page)?)
}

/// What is true of all of them.
fn about(studies: &[&Study], rules: Option<&[Explained]>, shown: &Shown) -> Vec<String> {
    let word = shown.units.word();
    let count = |of: &dyn Fn(&Study) -> bool| studies.iter().filter(|s| of(s)).count();
    let mut about = vec![format!(
        "{} over {} rows. {} never above zero, {} above it in more than a tenth of the rows, {} on more than one kind of row.",
        counted(studies.len(), word),
        shown.source.len(),
        count(&|s| s.profile.dead()),
        count(&|s| s.profile.dense()),
        count(&|s| s.polysemantic())
    )];
    if let Some(rules) = rules {
        let mut scores: Vec<f64> = rules.iter().filter_map(|r| r.correlation).collect();
        scores.sort_by(f64::total_cmp);
        if let (Some(median), Some(best)) = (scores.get(scores.len() / 2), scores.last()) {
            about.push(format!(
                "Rules on tokens, grown on two thirds of the texts read for them, reach a correlation of {median:.2} (median) and {best:.2} (best) on the others."
            ));
        }
    }
    about
}

fn card(study: &Study, rule: Option<&Explained>, shown: &Shown) -> Card {
    let p = &study.profile;
    let number = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.2}"));
    let mut facts = vec![
        ("above zero".to_string(), format!("{:.2} %", 100.0 * p.density)),
        ("mean".into(), format!("{:.3}", p.mean)),
        ("kurtosis".into(), number(p.kurtosis)),
        ("facets".into(), study.facets.map_or("–".into(), |n| n.to_string())),
    ];
    if let Some(patterns) = &study.patterns {
        facts.push(("triggers".into(), patterns.found.len().to_string()));
    }
    if let Some(rule) = rule {
        facts.push(("rules: correlation".into(), number(rule.correlation)));
        facts.push(("variance explained".into(), number(rule.variance_explained)));
        facts.push(("AUC".into(), number(rule.auc)));
    }
    let mut groups = vec![(
        "Largest".to_string(),
        study.top.iter().take(EXAMPLES).map(|(peak, f)| example(peak, *f, study, shown)).collect(),
    )];
    for (g, group) in study.groups.iter().enumerate().rev() {
        let title = format!(
            "From {:.3} to {:.3}: {}",
            study.boundaries[g],
            study.boundaries[g + 1],
            between(g, study.groups.len())
        );
        groups.push((title, group.iter().take(FROM_GROUPS).map(|peak| example(peak, None, study, shown)).collect()));
    }
    let patterns = study.patterns.iter().flat_map(|p| &p.found);
    Card {
        unit: p.unit,
        facts,
        explanation: rule.and_then(|r| explain(r, shown)),
        triggers: patterns.map(|f| shown.trigger(&f.trigger)).collect(),
        histogram: p.bins.filled(),
        max: p.max,
        groups,
    }
}

/// Which part of the rows above zero a group is.
pub fn between(group: usize, groups: usize) -> String {
    let percent = |q: f64| format!("{} %", (1e5 * q).round() / 1e3);
    let ends = quantiles(groups);
    if group + 1 == groups {
        return format!("above {} of the rows that are above zero", percent(ends[group]));
    }
    format!("between {} and {} of the rows that are above zero", percent(ends[group]), percent(ends[group + 1]))
}

/// Rules in words.
pub fn explain(rule: &Explained, shown: &Shown) -> Option<String> {
    let tokens = shown.tokens?;
    explanation(&rule.tree, &|word| one_line(tokens.text_of(word)))
}

fn example(peak: &Peak, facet: Option<usize>, study: &Study, shown: &Shown) -> Example {
    let shows = match (&shown.contexts, shown.pictures) {
        (Some(contexts), _) => Shows::Text {
            record: contexts.record(shown.source, shown.units, study.profile.unit, peak.row),
            at: (peak.row - contexts.rows(peak.row).start) as usize,
        },
        (None, Some(pictures)) => {
            Shows::Image { bitmap: pictures.bitmap(pictures.place(peak.row).0), name: pictures.text(peak.row) }
        }
        (None, None) => Shows::Row(peak.row),
    };
    Example { value: peak.value, facet: facet.filter(|_| study.polysemantic()), shows }
}
