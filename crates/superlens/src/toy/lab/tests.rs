//! What holds of every toy.

use super::*;

/// What a model says of itself fits what it gives.
#[test]
fn every_model_has_a_layer_and_its_truth() {
    for toy in TOYS {
        let Some(model) = toy.model else { continue };
        let settings = Settings::parse(toy.name, toy.settings, &toy.small()).unwrap();
        let model = model(&settings).unwrap();
        let stream = Rng::new(3);
        let made = make(model.as_ref(), &stream, &mut |_| ControlFlow::Continue(())).unwrap();
        let truth = model.truth(&made.params);
        let sample = model.sample(&made.params, 40, &stream.fork("rows"));
        assert_eq!((sample.activations.rows(), sample.features.rows()), (40, 40), "{}", toy.name);
        assert_eq!(sample.activations.cols(), truth.causes.len(), "{}", toy.name);
        assert_eq!((truth.live.len(), truth.directions.cols()), (truth.causes.len(), truth.causes.len()));
        assert!(sample.activations.data().iter().chain(sample.features.data()).all(|v| v.is_finite()));
        let again = model.sample(&made.params, 40, &stream.fork("rows"));
        assert_eq!(again.activations, sample.activations, "{}: the same stream, other rows", toy.name);
        let other = model.sample(&made.params, 40, &stream.fork("others"));
        assert_ne!(other.activations, sample.activations, "{}: another stream, the same rows", toy.name);
    }
}

#[test]
fn things_made_side_by_side_keep_their_order_and_stop() {
    let watch = |_: f64, _: &str| ControlFlow::Continue(());
    let lab = Lab { instances: 1, rng: Rng::new(0), watch: &watch };
    let got =
        lab.side_by_side(5, "counting", |i, rng, tell| tell(0.5).is_continue().then(|| (i, rng.clone().next_u64())));
    let want: Vec<_> = (0..5).map(|i| (i, Rng::new(0).fork_index(i as u64).next_u64())).collect();
    assert_eq!(got.unwrap(), want);
    let stop = |share: f64, _: &str| if share > 0.4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let lab = Lab { instances: 1, rng: Rng::new(0), watch: &stop };
    assert!(matches!(lab.side_by_side(5, "counting", |i, _, _| Some(i)), Err(ToyError::Stopped)));
}

#[test]
fn every_toy_runs_with_its_defaults_made_small() {
    for toy in TOYS {
        let settings = Settings::parse(toy.name, toy.settings, &toy.small()).unwrap();
        let watch = |_: f64, _: &str| ControlFlow::Continue(());
        let lab = Lab { instances: 3, rng: Rng::new(0), watch: &watch };
        let outcome = toy.work(&settings, &lab).unwrap();
        assert!(!outcome.instances.is_empty(), "{}", toy.name);
        let columns = outcome.table[0].len();
        assert!(outcome.table.len() > 1 && outcome.table.iter().all(|row| row.len() == columns));
        assert!(!outcome.says.is_empty() && outcome.instances.iter().all(|i| i.contains_key("loss")));
    }
}

const GO: &(dyn Fn(f64, &str) -> ControlFlow<()> + Sync) = &|_, _| ControlFlow::Continue(());

fn work(name: &str, pairs: &[&str], instances: usize) -> Result<Outcome, ToyError> {
    let toy = Toy::find(name).unwrap();
    let pairs: Vec<String> = pairs.iter().map(|p| p.to_string()).collect();
    let settings = Settings::parse(toy.name, toy.settings, &pairs).unwrap();
    toy.work(&settings, &Lab { instances, rng: Rng::new(0), watch: GO })
}

/// Weights that are no numbers used to give a finite loss.
#[test]
fn trainings_that_diverge_are_errors_that_name_their_instance() {
    let error = |name: &str, pairs: &[&str]| work(name, pairs, 2).unwrap_err().to_string();
    let got = error("relu_output", &["lr=1000", "optimiser=sgd", "steps=300", "density=0.5,0.9"]);
    let want = "training diverged in instance 1 of 2 (density=0.5, lr=1000, optimiser=sgd, steps=300): its weights ran beyond \
                all numbers; lower lr";
    assert_eq!(got, want);
    let sgd = ["optimiser=sgd", "lr=1000", "steps=200"];
    for (name, more) in [
        ("incidental", &["n_features=8", "d_hidden=16"][..]),
        ("stuck", &["starts=2", "batch=64"]),
        ("compressed_computation", &["batch=64", "n_features=10", "d_resid=20", "d_hidden=5"]),
        ("head_superposition", &["restarts=2"]),
        ("relu_hidden", &["batch=64", "restarts=2"]),
    ] {
        let got = error(name, &[&sgd[..], more].concat());
        assert!(got.starts_with("training diverged in instance 1 of 2 ("), "{name}: {got}");
    }
}

/// Each setting of each toy, given by itself as its default: read before the work begins, or refused by name.
#[test]
fn settings_are_read_before_the_work_begins_or_refused() {
    let mut refused = Vec::new();
    for toy in TOYS {
        for setting in toy.settings {
            let pair = [format!("{}={}", setting.key, setting.default)];
            let settings = Settings::parse(toy.name, toy.settings, &pair).unwrap();
            let stop = |_: f64, _: &str| ControlFlow::Break(());
            match toy.work(&settings, &Lab { instances: 1, rng: Rng::new(0), watch: &stop }) {
                Err(ToyError::Stopped) => {}
                Err(e) => refused.push(format!("{}: {e}", toy.name)),
                Ok(_) => {}
            }
        }
    }
    let random =
        |key: &str, value: &str| format!("boolean_and: --set {key}={value}: {key} is not used with circuit=random");
    let mut want = vec![
        random("steps", "6000"),
        random("batch", "1024"),
        random("optimiser", "adamw"),
        random("lr", "3e-3"),
        random("weight_decay", "0"),
        random("schedule", "cosine"),
        random("restarts", "1"),
    ];
    want.push("correlated: --set kinds=7: kinds is not used with relation=together".into());
    assert_eq!(refused, want);
}

/// What `--help` says of the JSON, held against the JSON.
#[test]
fn every_key_is_told() {
    let variants = [
        ("boolean_and", &["circuit=trained", "inputs=5", "neurons=8", "steps=20", "batch=64"][..]),
        ("correlated", &["relation=kinds"]),
        ("correlated", &["relation=apart", "steps=20"]),
        ("relu_output", &["n_features=4", "groups=correlated:2", "steps=20"]),
        ("phase", &["cells=3", "starts=2", "check=2", "steps=20"]),
    ];
    let runs = TOYS
        .iter()
        .map(|toy| (toy.name, toy.small()))
        .chain(variants.iter().map(|(name, pairs)| (*name, pairs.iter().map(|p| p.to_string()).collect::<Vec<_>>())));
    for (name, pairs) in runs {
        let outcome = work(name, &pairs.iter().map(String::as_str).collect::<Vec<_>>(), 2).unwrap();
        let text = Toy::find(name).unwrap().keys.join(" ");
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        // `mixed_ in front` tells a key in two words.
        let told = |key: &str| {
            let after =
                |front: &&str| front.ends_with('_') && key.strip_prefix(*front).is_some_and(|k| words.contains(&k));
            ["seed", "loss"].contains(&key) || words.contains(&key) || words.iter().any(after)
        };
        let keys = outcome.instances.iter().chain([&outcome.keys]).flat_map(|map| map.keys());
        let mut untold: Vec<&String> = keys.filter(|key| !told(key)).collect();
        untold.dedup();
        assert!(untold.is_empty(), "{name} {pairs:?}: {untold:?}");
    }
}

#[test]
fn sizes_that_do_not_fit_together_are_refused() {
    let error = |name: &str, pairs: &[&str], n| work(name, pairs, n).unwrap_err().to_string();
    let got = error("relu_output", &["n_features=20000", "d_hidden=5000", "importance=1"], 10);
    assert!(
        got.starts_with(
            "--set n_features=20000, d_hidden=5000, restarts=1: 10 models of 100020000 parameters take 16 GB"
        ),
        "{got}"
    );
    assert!(error("incidental", &["n_features=2048", "d_hidden=16384"], 100).contains("at most 8 GB"));
    assert!(error("stuck", &["n_inputs=64", "d_hidden=5000", "starts=1000"], 1).contains("at most 8 GB"));
}

#[test]
fn names_are_told_apart_and_unknown_ones_listed() {
    assert_eq!(Toy::find("relu_output").unwrap().name, "relu_output");
    let error = Toy::find("relu").unwrap_err().to_string();
    assert!(error.starts_with("there is no toy called \"relu\"; there are relu_output, "), "{error}");
}
