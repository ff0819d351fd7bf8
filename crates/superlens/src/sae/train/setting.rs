//! [`Setting`]: the settings that not every architecture has a use for.

/// One setting of [`Options`](super::Options), of [`Recipe`](super::Recipe) or of [`Size`](crate::sae::Size). Objectives say which they
/// [take](super::Objective::takes); what all of them take (the rate, the batch, …) has no entry here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    DSae,
    K,
    KStart,
    Anneal,
    L1,
    TargetL0,
    Sparsity,
    Bandwidth,
    SteToInput,
    Widths,
    Layers,
    PEnd,
    SparsityWarmup,
    Aux,
}

impl Setting {
    pub const ALL: [Setting; 14] = [
        Setting::DSae,
        Setting::K,
        Setting::KStart,
        Setting::Anneal,
        Setting::L1,
        Setting::TargetL0,
        Setting::Sparsity,
        Setting::Bandwidth,
        Setting::SteToInput,
        Setting::Widths,
        Setting::Layers,
        Setting::PEnd,
        Setting::SparsityWarmup,
        Setting::Aux,
    ];
}
