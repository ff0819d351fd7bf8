//! Sparse autoencoders as an [`Arch`] like the others: the usual recipe on a matrix in memory.

use super::Sae;
use super::arch::{Arch, Entry, FitError, Size, Watch, check_input, report};
use super::train::{InMemory, OBJECTIVES, ObjectiveEntry, Options, Recipe, Source, Trainer};
use superlens_tensor::{Mat, Rng};

/// Every objective with its usual settings.
pub(super) const ENTRIES: [Entry; OBJECTIVES.len()] = {
    const fn entry<const I: usize>() -> Entry {
        Entry {
            id: OBJECTIVES[I].id,
            about: OBJECTIVES[I].about,
            takes: &[],
            build: |size| Box::new(Trained::new(&OBJECTIVES[I], size)),
        }
    }
    [
        entry::<0>(),
        entry::<1>(),
        entry::<2>(),
        entry::<3>(),
        entry::<4>(),
        entry::<5>(),
        entry::<6>(),
        entry::<7>(),
        entry::<8>(),
        entry::<9>(),
        entry::<10>(),
        entry::<11>(),
        entry::<12>(),
        entry::<13>(),
        entry::<14>(),
        entry::<15>(),
    ]
};

/// A sparse autoencoder that is trained for a while: 4000 steps of 512 rows, dead after 131,072 samples. Long runs on large models want
/// more of all three.
pub struct Trained {
    pub objective: &'static ObjectiveEntry,
    pub options: Options,
    pub recipe: Recipe,
}

impl Trained {
    /// With the usual settings for a dictionary of that size.
    pub fn new(objective: &'static ObjectiveEntry, size: Size) -> Self {
        let recipe = Recipe { dead_after: 1 << 17, ..Recipe::new(size.d_sae, 4000, 512) };
        let options = Options { k: size.k, target_l0: size.k as f64, ..Options::default() };
        Trained { objective, options, recipe }
    }
}

impl Arch for Trained {
    fn id(&self) -> &'static str {
        self.objective.id
    }

    fn fit(&self, x: &Mat, rng: &Rng, watch: &mut Watch) -> Result<Sae, FitError> {
        check_input(x)?;
        let rng = rng.fork(self.id());
        let mut source = InMemory::new(x, self.recipe.batch, &rng);
        let mut trainer = Trainer::new(self.recipe.clone(), (self.objective.build)(&self.options), &mut source, &rng)?;
        report(watch, 0.0)?;
        while !trainer.done() {
            let told = trainer.step(&source.batch(trainer.state().step)?)?;
            report(watch, (told.step + 1) as f64 / self.recipe.steps as f64)?;
        }
        trainer.finish(&mut source)
    }
}
