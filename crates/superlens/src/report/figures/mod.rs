//! The pictures of a diagnosis, one file each. Every one stands empty data, one value and huge counts.

mod alignment;
mod attention;
mod bars;
mod coherence;
mod cosines;
mod demo;
mod directions;
mod features;
mod fvu;
mod glyph;
mod grid;
mod heat;
mod neurons;
mod null;
mod overlay;
mod packing;
pub(super) mod recovery;
mod shares;
mod sweep;
pub(super) mod transition;

use std::collections::HashSet;

use super::svg::Figure;
use crate::diagnose::{Basis, Diagnosis};
use crate::toy::lab::Picture;

pub use attention::{Habits, attention};
pub(super) use cosines::{Cosines, cosines};
pub use demo::demo;
pub(super) use glyph::glyph;
pub(super) use packing::{gram, packing};
pub(super) use shares::{group_names, least_polysemantic, most_polysemantic, ranked};
pub(super) use sweep::{Sweep, sweep};

/// The pictures that one diagnosis has data for.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The headline: features found against dimensions in use.
    pub features: Figure,
    pub fvu: Option<Figure>,
    pub coherence: Option<Figure>,
    pub alignment: Option<Figure>,
    pub neurons: Option<Figure>,
    pub shares: Option<Figure>,
    /// One for each hypothesis, in order; `None` for those that were not tested.
    pub nulls: Vec<Option<Figure>>,
}

impl Figures {
    pub fn of(diagnosis: &Diagnosis) -> Self {
        // Without a privileged basis the columns are not neurons: nothing about neurons is drawn.
        let neurons = diagnosis.layer.basis != Basis::None;
        Self {
            features: features::features(diagnosis),
            fvu: fvu::fvu(&diagnosis.evidence),
            coherence: coherence::coherence(&diagnosis.evidence),
            alignment: if neurons { alignment::alignment(&diagnosis.evidence) } else { None },
            neurons: if neurons { neurons::neurons(&diagnosis.neurons) } else { None },
            shares: if neurons { shares::shares(&diagnosis.neurons) } else { None },
            nulls: nulls(diagnosis),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Figure> {
        let one = [&self.fvu, &self.coherence, &self.alignment, &self.neurons, &self.shares].map(Option::as_ref);
        std::iter::once(&self.features).chain(one.into_iter().chain(self.nulls.iter().map(Option::as_ref)).flatten())
    }
}

/// One picture a hypothesis that was tested; two hypotheses whose ids read alike still get two files.
fn nulls(diagnosis: &Diagnosis) -> Vec<Option<Figure>> {
    let mut taken = HashSet::new();
    let mut figures: Vec<_> = diagnosis.hypotheses.iter().map(null::null).collect();
    for (i, figure) in figures.iter_mut().enumerate().filter_map(|(i, f)| Some((i, f.as_mut()?))) {
        if !taken.insert(figure.name.clone()) {
            figure.name = format!("{}-{i}", figure.name);
            taken.insert(figure.name.clone());
        }
    }
    figures
}

/// The picture of a toy.
pub fn toy(picture: &Picture) -> Figure {
    match picture {
        Picture::Directions { name, title, caption, panels } => directions::directions(name, title, caption, panels),
        Picture::Sweep { name, title, caption, x, y, series, levels } => {
            sweep::sweep(&sweep::Sweep { name, title, caption, x, y, series, levels })
        }
        Picture::Grid(g) => grid::grid(g),
        Picture::Heat(h) => heat::heat(h),
        Picture::Bars(b) => bars::bars(b),
    }
}
