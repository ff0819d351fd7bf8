//! Which architecture has a use for which flag of `superlens train`. A flag that none of those asked for has a use for is refused.

use superlens::sae::train::{self, Setting, Sparsity};
use superlens::sae::{ARCHES, find};

use super::train_plan::Plan;
use crate::failure::Failure;

/// A flag that not every architecture has a use for.
struct Knob {
    flag: &'static str,
    needs: Needs,
    given: fn(&Plan) -> bool,
    forget: fn(&mut Plan),
}

enum Needs {
    /// A training step by step.
    Steps,
    /// An architecture that goes by it.
    Setting(Setting),
}

const fn knob(flag: &'static str, needs: Needs, given: fn(&Plan) -> bool, forget: fn(&mut Plan)) -> Knob {
    Knob { flag, needs, given, forget }
}

const KNOBS: [Knob; 28] = [
    knob("--batch", Needs::Steps, |p| p.batch.is_some(), |p| p.batch = None),
    knob("--lr", Needs::Steps, |p| p.lr.is_some(), |p| p.lr = None),
    knob("--steps", Needs::Steps, |p| p.steps.is_some(), |p| p.steps = None),
    knob("--tokens", Needs::Steps, |p| p.tokens.is_some(), |p| p.tokens = None),
    knob("--warmup", Needs::Steps, |p| p.warmup.is_some(), |p| p.warmup = None),
    knob("--dead-after", Needs::Steps, |p| p.dead_after.is_some(), |p| p.dead_after = None),
    knob("--checkpoint-every", Needs::Steps, |p| p.checkpoint_every.is_some(), |p| p.checkpoint_every = None),
    knob("--buffer-mb", Needs::Steps, |p| p.buffer_mb.is_some(), |p| p.buffer_mb = None),
    knob("--normalise", Needs::Steps, |p| p.tuning.normalise.is_some(), |p| p.tuning.normalise = None),
    knob("--decay", Needs::Steps, |p| p.tuning.decay.is_some(), |p| p.tuning.decay = None),
    knob("--clip", Needs::Steps, |p| p.tuning.clip.is_some(), |p| p.tuning.clip = None),
    knob("--resample-every", Needs::Steps, |p| p.tuning.resample_every.is_some(), |p| p.tuning.resample_every = None),
    knob("--average", Needs::Steps, |p| p.tuning.average.is_some(), |p| p.tuning.average = None),
    knob("--patience", Needs::Steps, |p| p.tuning.patience.is_some(), |p| p.tuning.patience = None),
    knob("--d-sae", Needs::Setting(Setting::DSae), |p| p.d_sae.is_some(), |p| p.d_sae = None),
    knob("--k", Needs::Setting(Setting::K), |p| p.k.is_some(), |p| p.k = None),
    knob("--target-l0", Needs::Setting(Setting::TargetL0), |p| p.target_l0.is_some(), |p| p.target_l0 = None),
    knob("--l1", Needs::Setting(Setting::L1), |p| p.l1.is_some(), |p| p.l1 = None),
    knob("--widths", Needs::Setting(Setting::Widths), |p| p.widths.is_some(), |p| p.widths = None),
    knob("--layers", Needs::Setting(Setting::Layers), |p| p.layers.is_some(), |p| p.layers = None),
    knob("--aux", Needs::Setting(Setting::Aux), |p| p.tuning.aux.is_some(), |p| p.tuning.aux = None),
    knob(
        "--sparsity-warmup",
        Needs::Setting(Setting::SparsityWarmup),
        |p| p.tuning.sparsity_warmup.is_some(),
        |p| p.tuning.sparsity_warmup = None,
    ),
    knob(
        "--sparsity-loss",
        Needs::Setting(Setting::Sparsity),
        |p| p.tuning.sparsity_loss.is_some(),
        |p| p.tuning.sparsity_loss = None,
    ),
    knob(
        "--bandwidth",
        Needs::Setting(Setting::Bandwidth),
        |p| p.tuning.bandwidth.is_some(),
        |p| p.tuning.bandwidth = None,
    ),
    knob("--k-start", Needs::Setting(Setting::KStart), |p| p.tuning.k_start.is_some(), |p| p.tuning.k_start = None),
    knob("--anneal", Needs::Setting(Setting::Anneal), |p| p.tuning.anneal.is_some(), |p| p.tuning.anneal = None),
    knob("--p-end", Needs::Setting(Setting::PEnd), |p| p.tuning.p_end.is_some(), |p| p.tuning.p_end = None),
    knob(
        "--ste-to-input",
        Needs::Setting(Setting::SteToInput),
        |p| p.tuning.ste_to_input,
        |p| p.tuning.ste_to_input = false,
    ),
];

impl Knob {
    /// Whether `arch` has a use for it under the settings of `plan`; of an architecture that there is not, something else is told.
    fn serves(&self, arch: &str, plan: &Plan) -> bool {
        match (train::find(arch), find(arch), &self.needs) {
            (Some(_), _, Needs::Steps | Needs::Setting(Setting::DSae)) | (None, None, _) => true,
            (Some(entry), _, Needs::Setting(setting)) => (entry.build)(&plan.options()).takes().contains(setting),
            (None, Some(_), Needs::Steps) => false,
            (None, Some(entry), Needs::Setting(setting)) => entry.takes.contains(setting),
        }
    }

    /// Those that have a use for it, as they are typed.
    fn known(&self, plan: &Plan) -> String {
        let mut known: Vec<String> = Vec::new();
        for arch in ARCHES.iter().map(|entry| entry.id) {
            let with = |(loss, _): &(&str, Sparsity)| {
                let mut plan = plan.clone();
                plan.tuning.sparsity_loss = Some((*loss).to_string());
                self.serves(arch, &plan)
            };
            let losses: Vec<&str> = Sparsity::ALL.iter().filter(|loss| with(loss)).map(|loss| loss.0).collect();
            match losses.len() {
                0 => {}
                n if n == Sparsity::ALL.len() => known.push(arch.into()),
                _ => known.push(format!("{arch} with --sparsity-loss {}", losses.join(" or "))),
            }
        }
        known.join(", ")
    }
}

/// Refuses what is given and serves none of the architectures.
pub fn refuse_unused(plan: &Plan, arches: &[String]) -> Result<(), Failure> {
    let unused = |knob: &&Knob| (knob.given)(plan) && !arches.iter().any(|arch| knob.serves(arch, plan));
    match KNOBS.iter().find(unused) {
        Some(knob) => {
            let (flag, known, found) = (knob.flag, knob.known(plan), arches.join(", "));
            Err(Failure::Input(format!(
                "{flag}: expected an architecture that has a use for it ({known}), found {found}"
            )))
        }
        None => Ok(()),
    }
}

/// Whether the architecture of `plan` has a use for `flag`.
pub fn serves(flag: &str, plan: &Plan) -> bool {
    KNOBS.iter().filter(|knob| knob.flag == flag).all(|knob| knob.serves(&plan.arch, plan))
}

/// The plan without what its architecture has no use for.
pub fn without_unused(mut plan: Plan) -> Plan {
    for knob in KNOBS.iter().filter(|knob| !knob.serves(&plan.arch, &plan)).map(|knob| knob.forget).collect::<Vec<_>>()
    {
        knob(&mut plan);
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// With every flag given.
    fn full() -> Plan {
        let text = "command = 'train'\narch = 'topk'\nactivations = 'x'\nkey = 'a'\nhook = 'h'\ntargets = 'y'\ntargets_hook = 't'\nd_sae = 8\nk = 2\n\
            target_l0 = 2.0\nl1 = 1.0\nwidths = [2]\nlayers = 2\nbatch = 4\nlr = 0.1\nsteps = 5\ntokens = 20\nwarmup = 1\n\
            dead_after = 9\ncheckpoint_every = 3\nbuffer_mb = 1\n[tuning]\nnormalise = 'none'\ndecay = 0.1\nclip = 2.0\naux = 0.1\n\
            sparsity_warmup = 2\nsparsity_loss = 'target'\nbandwidth = 0.1\nste_to_input = true\nk_start = 4\nanneal = 0.5\n\
            p_end = 0.5\nresample_every = 2\naverage = 0.9\npatience = 3\n";
        toml::from_str(text).unwrap()
    }

    /// Every key of a plan is a knob, or says what is read and for whom.
    #[test]
    fn no_setting_is_forgotten() {
        let told: toml::Table = toml::from_str(&toml::to_string(&full()).unwrap()).unwrap();
        let keys = |table: &toml::Table| {
            table.keys().map(|key| format!("--{}", key.replace('_', "-"))).collect::<BTreeSet<_>>()
        };
        let mut found = keys(&told);
        found.extend(keys(told["tuning"].as_table().unwrap()));
        let about_rows =
            ["activations", "arch", "command", "flatten", "hook", "key", "seed", "targets", "targets-hook", "tuning"];
        let mut expected: BTreeSet<String> = about_rows.iter().map(|key| format!("--{key}")).collect();
        assert!(KNOBS.iter().all(|knob| expected.insert(knob.flag.into())), "a flag twice");
        assert_eq!(found, expected);
        let empty = without_unused(Plan { arch: "neurons".into(), ..full() });
        assert!(KNOBS.iter().all(|knob| (knob.given)(&full()) && !(knob.given)(&empty)));
    }

    /// Every flag by itself, with every architecture: it serves, or it is refused by name.
    #[test]
    fn a_flag_serves_or_is_refused() {
        let mut refused = 0;
        for arch in ARCHES.iter().map(|entry| entry.id.to_string()) {
            for knob in &KNOBS {
                let mut plan = Plan { arch: arch.clone(), ..full() };
                KNOBS.iter().filter(|other| other.flag != knob.flag).for_each(|other| (other.forget)(&mut plan));
                let kept = (knob.given)(&without_unused(plan.clone()));
                match refuse_unused(&plan, std::slice::from_ref(&arch)) {
                    Ok(()) => assert!(kept, "{arch} {}", knob.flag),
                    Err(Failure::Input(told)) => {
                        assert!(
                            !kept && told.starts_with(&format!("{}: ", knob.flag)) && told.contains(&arch),
                            "{arch}: {told}"
                        );
                        refused += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
                // Beside one that has a use for it, it is left out.
                let with_all: Vec<String> = ARCHES.iter().map(|entry| entry.id.into()).collect();
                assert!(refuse_unused(&plan, &with_all).is_ok(), "{}", knob.flag);
            }
        }
        assert!(refused > ARCHES.len());
    }
}
