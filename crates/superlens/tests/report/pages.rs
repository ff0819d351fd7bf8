use superlens::{
    diagnose::{Diagnosis, Hypothesis, Mechanism, Part, Verdict},
    report::{Figures, ReportError, Source, demo_figure, demo_json, demo_page, diagnosis_json, diagnosis_page},
};

use crate::samples::{self, source};

const HOSTILE: &str = "<script>alert('x')</script> & \"quoted\" \u{0}\u{1b}[31m ]]> <!-- ${7*7} </svg></style>";

fn page(d: &Diagnosis) -> String {
    diagnosis_page(d, &Figures::of(d), &source())
}

fn every_sample() -> [Diagnosis; 6] {
    [
        samples::superposition(),
        samples::monosemantic(),
        samples::rotated(),
        samples::inconclusive(),
        samples::without_basis(),
        samples::empty(0, 0),
    ]
}

/// Panics unless every tag is closed in order. Enough of HTML for what `maud` writes.
fn assert_balanced(html: &str) {
    const VOID: [&str; 2] = ["meta", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("starts with a doctype");
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = rest.find('>').expect("tag ends");
        let tag = &rest[..end];
        let name = tag.trim_start_matches('/').split_whitespace().next().expect("tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "near {}", &rest[..end.min(80)]);
        } else if !VOID.contains(&name) {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

#[test]
fn a_page_says_the_verdict_and_stands_alone() {
    for d in every_sample() {
        let page = page(&d);
        assert_balanced(&page);
        assert!(page.contains(&d.layer.says.replace('\'', "&#39;")) || page.contains(&d.layer.says));
        assert!(page.contains(d.layer.verdict.id()));
        for outside in ["<script", "<link", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "the page must not load {outside}");
        }
        let addresses = page.matches("http").count() - page.matches("http-equiv").count();
        assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count(), "only the name of SVG is an address");
    }
}

#[test]
fn a_page_says_how_sure_and_what_is_missing() {
    let page = page(&samples::superposition());
    for text in ["very sure", "97\u{a0}%", "124–140", "What these inputs can’t tell", "signed feature", "layer0.npy"]
    {
        assert!(page.contains(text), "{text}");
    }
    let nothing = diagnosis_page(&samples::inconclusive(), &Figures::of(&samples::inconclusive()), &source());
    assert!(nothing.contains("No sparse features stand out"));
}

#[test]
fn what_was_not_tested_shows_no_numbers() {
    let mut d = samples::inconclusive();
    let untested = |id: &str| Hypothesis {
        id: id.to_owned(),
        statistic: 0.0,
        null_mean: 0.0,
        null_high: 0.0,
        null_draws: 0,
        p_value: 1.0,
        supports: false,
        says: "Too few rows.".to_owned(),
        draws: vec![],
        ..d.hypotheses[0].clone()
    };
    d.hypotheses = vec![untested("adequacy"), untested("directions")];
    let page = page(&d);
    assert_eq!(page.matches("not tested</span>").count(), 2, "once a row of the table");
    assert!(!page.contains("from 0 null draws") && !page.contains("≤\u{a0}1<"));
    assert!(page.contains("oo few rows to look for features"), "not looked for is not the same as not there");
}

#[test]
fn parts_of_a_layer_have_verdicts_of_their_own() {
    let mut d = samples::superposition();
    assert!(!page(&d).contains("falls into parts"));
    d.parts = vec![Part {
        neurons: (3..40).collect(),
        verdict: Verdict::Orthogonal,
        mechanism: Some(Mechanism::Rotated),
        confidence: 0.9,
        says: "What <it> is.".into(),
        because: String::new(),
    }];
    let html = page(&d);
    assert_balanced(&html);
    assert!(html.contains("falls into parts") && html.contains("3, 4, 5") && html.contains("18, …"));
    assert!(html.contains("What &lt;it&gt; is."));
}

#[test]
fn without_a_basis_nothing_is_said_of_neurons() {
    let d = samples::without_basis();
    let figures = Figures::of(&d);
    assert!(figures.alignment.is_none() && figures.neurons.is_none() && figures.shares.is_none());
    let page = page(&d);
    assert!(page.contains("The columns of this input are not neurons"));
    assert!(page.contains("≥ 131"), "the count is a lower bound");
}

#[test]
fn hostile_strings_stay_text() {
    let mut d = samples::superposition();
    let hostile = || HOSTILE.to_owned();
    d.layer.says = hostile();
    d.layer.because = hostile();
    d.layer.would_settle = vec![hostile()];
    d.cannot_tell = vec![hostile()];
    for neuron in &mut d.neurons {
        neuron.cause = Some(hostile());
    }
    for h in &mut d.hypotheses {
        *h = Hypothesis { id: hostile(), measures: hostile(), says: hostile(), null: hostile(), ..h.clone() };
    }
    let figures = Figures::of(&d);
    let source = Source { name: hostile(), seed: 0, settings: vec![(hostile(), hostile())] };
    let mut cases = samples::cases();
    cases[0].name = hostile();
    cases[1].name = hostile();
    cases[0].about = hostile();
    cases[0].diagnosis = d.clone();
    let each: Vec<_> = cases.iter().map(|c| Figures::of(&c.diagnosis)).collect();
    for page in [diagnosis_page(&d, &figures, &source), demo_page(&cases, &each, &demo_figure(&cases), &source)] {
        assert_balanced(&page);
        assert!(
            !page.contains("<script") && !page.contains("<!--") && !page.contains('\u{1b}') && !page.contains('\0')
        );
        assert!(page.contains("&lt;script&gt;"));
    }
    let names: Vec<_> = figures.all().map(|f| f.name.clone()).collect();
    let safe = |n: &String| n.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    assert!(names.iter().all(safe), "{names:?}");
    let distinct: std::collections::HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "hypotheses with the same id get their own files");
}

#[test]
fn ids_of_one_page_are_distinct() {
    let mut cases = samples::cases();
    cases[1].name = cases[0].name.clone();
    let each: Vec<_> = cases.iter().map(|c| Figures::of(&c.diagnosis)).collect();
    let page = demo_page(&cases, &each, &demo_figure(&cases), &source());
    assert_balanced(&page);
    let ids: Vec<_> = page.split(" id=\"").skip(1).map(|s| s.split('"').next()).collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert!(ids.len() > 60);
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn the_same_diagnosis_gives_the_same_bytes() {
    assert_eq!(page(&samples::superposition()), page(&samples::superposition()));
    let json = diagnosis_json(&samples::superposition()).unwrap();
    assert_eq!(json, diagnosis_json(&samples::superposition()).unwrap());
    let back: Diagnosis = serde_json::from_str(&json).unwrap();
    assert!(json == diagnosis_json(&back).unwrap(), "floats survive the round trip");
}

#[test]
fn json_refuses_what_is_not_finite_and_names_it() {
    let mut d = samples::superposition();
    d.hypotheses[1].statistic = f64::NAN;
    let error = diagnosis_json(&d).unwrap_err();
    assert!(matches!(&error, ReportError::NotFinite { key } if key == "hypotheses[1].statistic"), "{error}");
    let mut d = samples::superposition();
    d.evidence.alignment[3] = f64::INFINITY;
    assert!(diagnosis_json(&d).unwrap_err().to_string().contains("evidence.alignment[3]"));
    let mut d = samples::superposition();
    d.layer.polysemantic_fraction = Some(f64::NAN);
    let error = diagnosis_json(&d).unwrap_err();
    assert!(error.to_string().contains("layer.polysemantic_fraction"), "{error}");
}

#[test]
fn demo_json_has_the_rows_of_the_contract() {
    let json: serde_json::Value = serde_json::from_str(&demo_json(&samples::cases()).unwrap()).unwrap();
    let rotated = &json["cases"][1];
    assert_eq!(rotated["name"], "rotated");
    assert_eq!(rotated["truth"], "orthogonal/rotated");
    assert_eq!(rotated["verdict"], "orthogonal");
    assert_eq!(rotated["mechanism"], "rotated");
    assert_eq!(rotated["confidence"], 0.96);
    assert_eq!(rotated["diagnosis"]["layer"]["verdict"], "orthogonal");
    assert!(json["cases"][4]["mechanism"].is_null());
}
