use superlens::{
    diagnose::{Count, Diagnosis, FvuPoint, Hypothesis, Neuron},
    report::{Figure, Figures, demo_figure},
};

use crate::samples;

/// Panics unless the file is XML without a number that is none, with a title and a description, inside its own frame.
fn assert_sound(figure: &Figure) {
    let text = figure.standalone();
    let document = roxmltree::Document::parse(&text).unwrap_or_else(|e| panic!("{}: {e}\n{text}", figure.name));
    let root = document.root_element();
    let says = |tag: &str| {
        let node = root.children().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", tag)));
        node.and_then(|n| n.text()).unwrap_or_default().to_owned()
    };
    assert!(!says("title").is_empty() && !says("desc").is_empty(), "{}", figure.name);
    let limit = |name| root.attribute(name).unwrap().parse::<f64>().unwrap();
    let (width, height) = (limit("width"), limit("height"));
    for node in root.descendants().filter(|n| n.is_element()) {
        for (names, limit) in [(["x", "x1", "x2", "cx"], width), (["y", "y1", "y2", "cy"], height)] {
            for name in names {
                let Some(value) = node.attribute(name) else { continue };
                let value: f64 = value.parse().unwrap();
                assert!((0.0..=limit).contains(&value), "{}: {name} = {value} in {:?}", figure.name, node.tag_name());
            }
        }
        for name in ["width", "height", "r"] {
            if let Some(value) = node.attribute(name) {
                assert!(value.parse::<f64>().unwrap() >= 0.0, "{}: {name} = {value}", figure.name);
            }
        }
        for point in node.attribute("points").unwrap_or_default().split([' ', ',']).filter(|p| !p.is_empty()) {
            assert!(point.parse::<f64>().unwrap().is_finite());
        }
    }
    for none in ["NaN", "inf"] {
        let body = text.replace("informative", "");
        assert!(!body.contains(none), "{} holds {none}", figure.name);
    }
}

fn assert_all_sound(d: &Diagnosis) -> usize {
    let figures = Figures::of(d);
    figures.all().for_each(assert_sound);
    figures.all().count()
}

#[test]
fn every_sample_draws() {
    assert_eq!(assert_all_sound(&samples::superposition()), 9);
    assert_eq!(assert_all_sound(&samples::rotated()), 8);
    assert_eq!(assert_all_sound(&samples::inconclusive()), 3);
    assert_eq!(assert_all_sound(&samples::without_basis()), 6);
}

#[test]
fn nothing_to_draw_draws_a_headline_only() {
    for (rows, dims) in [(0, 0), (1, 1), (usize::MAX, usize::MAX)] {
        assert_eq!(assert_all_sound(&samples::empty(rows, dims)), 1);
    }
}

#[test]
fn what_was_not_tested_is_not_drawn_and_a_rule_has_no_percentile() {
    let mut d = samples::inconclusive();
    let tested = d.hypotheses[0].clone();
    let rule =
        Hypothesis { statistic: 61.0, null_mean: 510.0, null_high: 510.0, null_draws: 0, draws: vec![], ..tested };
    let untested = Hypothesis { statistic: 0.0, null_mean: 0.0, null_high: 0.0, ..rule.clone() };
    d.hypotheses.extend([rule, untested]);
    let figures = Figures::of(&d);
    assert!(figures.nulls[0].as_ref().unwrap().standalone().contains("percentile"));
    let rule = figures.nulls[1].as_ref().unwrap().standalone();
    assert!(rule.contains("held to 510") && !rule.contains("percentile"), "{rule}");
    assert!(figures.nulls[2].is_none());
}

#[test]
fn the_count_stands_where_its_growth_ends() {
    // Of the rows read a part is held out, so the search ends before them.
    let mut d = samples::superposition();
    let growth = vec![(4000, 120), (8000, 130), (16_000, 131)];
    d.layer.n_features = Some(Count { estimate: 131, low: 124, high: 140, lower_bound: false, growth });
    d.input.rows_used = 20_000;
    let text = Figures::of(&d).features.standalone();
    assert!(text.contains(">16,000<") && !text.contains(">20,000<"));
}

#[test]
fn a_missing_count_is_said_and_never_drawn_as_zero() {
    let text = Figures::of(&samples::inconclusive()).features.standalone();
    assert!(text.contains("No sparse features stand out"));
    assert!(!text.contains("<circle"));
}

/// Every kind of number in every place that is drawn.
#[test]
fn odd_numbers_are_survived() {
    let odd =
        [0.0, -0.0, 1.0, -3.0, 1e-300, 1e12, 1e300, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
    for v in odd {
        let mut d = samples::superposition();
        d.layer.effective_rank = v;
        d.layer.confidence = v;
        d.evidence.coherence = vec![v];
        d.evidence.coherence_null = vec![v, 0.5];
        d.evidence.alignment = vec![0.5, v];
        d.evidence.fvu = vec![
            FvuPoint { k: 1, complete: v, overcomplete: 0.1, gaussian: v },
            FvuPoint { k: usize::MAX, complete: 0.2, overcomplete: v, gaussian: v },
        ];
        let h = d.hypotheses[0].clone();
        d.hypotheses = vec![
            Hypothesis { statistic: v, ..h.clone() },
            Hypothesis { null_high: v, null_mean: v, p_value: v, draws: vec![], ..h.clone() },
            Hypothesis { statistic: v, null_mean: v, null_high: v, draws: vec![v, v], ..h.clone() },
            Hypothesis { draws: vec![v, 1.0, 2.0], measures: String::new(), id: String::new(), ..h },
        ];
        d.neurons[0].features = vec![(usize::MAX, v), (0, 0.3)];
        assert_all_sound(&d);
    }
}

#[test]
fn huge_and_lopsided_counts_are_survived() {
    let mut d = samples::superposition();
    let huge = usize::MAX;
    let counts = [
        Count {
            estimate: huge,
            low: 0,
            high: huge,
            lower_bound: true,
            growth: vec![(1, huge), (0, 3), (2, 0), (2, 7)],
        },
        Count { estimate: 0, low: 0, high: 0, lower_bound: false, growth: vec![] },
        Count { estimate: 5, low: 9, high: 2, lower_bound: false, growth: (1..40).map(|i| (i, i)).collect() },
    ];
    for count in counts {
        d.layer.n_features = Some(count);
        assert_all_sound(&d);
    }
    let neuron = |index, n_features| Neuron {
        index,
        live: true,
        polysemantic: n_features > 1,
        n_features,
        cause: None,
        explained: 1.0,
        features: (0..n_features.min(40)).map(|f| (f, 0.1)).collect(),
        concepts: vec![],
    };
    for neurons in [vec![neuron(0, 1)], vec![neuron(0, 0)], vec![neuron(huge, huge), neuron(3, 40), neuron(1, 1)]] {
        d.neurons = neurons;
        assert_all_sound(&d);
    }
    d.neurons = (0..50_000).map(|i| neuron(i, i % 5)).collect();
    assert_all_sound(&d);
}

#[test]
fn the_overview_survives_odd_cases() {
    assert_sound(&demo_figure(&[]));
    let mut cases = samples::cases();
    for (i, rank) in [0.0, f64::NAN, 1e-9, f64::INFINITY].into_iter().enumerate() {
        cases[i].diagnosis.layer.effective_rank = rank;
        cases[i].diagnosis.layer.confidence = rank;
        cases[i].diagnosis.evidence.alignment_null = vec![rank];
        cases[i].name = "W".repeat(300);
    }
    assert_sound(&demo_figure(&cases));
    cases[2].diagnosis.layer.n_features = None;
    cases[3].diagnosis.evidence.alignment.clear();
    assert_sound(&demo_figure(&cases));
}

#[test]
fn the_bars_of_features_per_neuron_count_live_neurons() {
    let d = samples::superposition();
    let text = Figures::of(&d).neurons.unwrap().standalone();
    let document = roxmltree::Document::parse(&text).unwrap();
    let tips = document.descendants().filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "title")));
    let counted: usize =
        tips.filter_map(|n| n.text()?.split_once(" neuron").and_then(|(n, _)| n.parse::<usize>().ok())).sum();
    assert_eq!(counted, 62, "64 columns less two constant ones");
}

#[test]
fn a_file_carries_its_colours_and_an_inlined_picture_its_own_ids() {
    let figure = Figures::of(&samples::superposition()).features;
    assert!(figure.standalone().contains("prefers-color-scheme:dark"));
    let (a, b) = (figure.inline("a").into_string(), figure.inline("b").into_string());
    assert!(!a.contains("<style") && a.contains("id=\"a-features-title\"") && b.contains("id=\"b-features-title\""));
}
