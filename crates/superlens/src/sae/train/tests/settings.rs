//! Which settings an objective takes is what it says, not what is hoped.

use super::*;
use crate::sae::{ARCHES, Size};
use std::ops::ControlFlow;

/// One setting moved.
fn moved(setting: Setting, mut options: Options, mut recipe: Recipe) -> (Options, Recipe) {
    match setting {
        Setting::DSae => recipe.d_sae = 100,
        Setting::K => options.k = 5,
        Setting::KStart => options.k_start = Some(16),
        Setting::Anneal => options.anneal = 0.9,
        Setting::L1 => options.l1 = 0.5,
        Setting::TargetL0 => options.target_l0 = 7.0,
        Setting::Sparsity => {
            options.sparsity = if options.sparsity == Sparsity::Tanh { Sparsity::Step } else { Sparsity::Tanh };
        }
        Setting::Bandwidth => options.bandwidth = Some(0.7),
        Setting::SteToInput => options.ste_to_input = true,
        Setting::Widths => options.widths = vec![5],
        Setting::Layers => options.layers = 3,
        Setting::PEnd => options.p_end = 0.6,
        Setting::SparsityWarmup => recipe.sparsity_warmup = Some(9),
        Setting::Aux => recipe.aux = 1.0,
    }
    (options, recipe)
}

/// What an objective takes changes what comes out of a short training, and what it does not take changes nothing.
#[test]
fn a_setting_is_taken_or_changes_nothing() {
    let mut rng = Rng::new(8).fork("settings");
    let x = planted(&unit_rows(24, 6, &mut rng), 300, 0.1, &mut rng);
    let y = other_activations(&x);
    for entry in &OBJECTIVES {
        let losses = if entry.id == "jumprelu" { &Sparsity::ALL[..] } else { &Sparsity::ALL[..1] };
        for &(_, sparsity) in losses {
            let options = Options { k: 4, k_start: Some(6), target_l0: 4.0, layers: 2, sparsity, ..Options::default() };
            // Dead from the second step on.
            let recipe = Recipe { lr: 1e-2, dead_after: 1, warmup: 3, ..Recipe::new(60, 12, 20) };
            let trained = |(options, recipe): (Options, Recipe)| {
                start(entry.id, &options, recipe, Rows::of(entry, &options, &x, &y), &rng).into_dictionary()
            };
            let usual = trained((options.clone(), recipe.clone()));
            let takes = (entry.build)(&options).takes();
            for setting in Setting::ALL {
                let changes = trained(moved(setting, options.clone(), recipe.clone())) != usual;
                let taken = takes.contains(&setting) || setting == Setting::DSae;
                assert_eq!(changes, taken, "{} under {sparsity:?}: {setting:?}", entry.id);
            }
        }
    }
}

/// The same for what is found in one go, which goes by its size at most.
#[test]
fn a_size_is_taken_or_changes_nothing() {
    let mut rng = Rng::new(9).fork("sizes");
    let x = Mat::from_fn(300, 6, |_, _| rng.uniform());
    for entry in ARCHES.iter().filter(|entry| find(entry.id).is_none()) {
        // More latents than columns, where a number of active ones matters, and fewer, where all have room.
        let fit =
            |d_sae, k| (entry.build)(Size { d_sae, k }).fit(&x, &rng, &mut |_| ControlFlow::Continue(())).unwrap();
        let by_k = fit(10, 2) != fit(10, 3);
        assert_eq!(by_k, entry.takes.contains(&Setting::K), "{}: k", entry.id);
        let by_size = fit(3, 2) != fit(4, 2);
        assert_eq!(by_size, entry.takes.contains(&Setting::DSae), "{}: d_sae", entry.id);
    }
}
