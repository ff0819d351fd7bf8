//! Changing what a model computes, and measuring what that does to its predictions: ablation, steering, scaling, patching, and whatever else
//! implements [`Intervention`].
//!
//! What is changed is not the activations as such but coefficients that a [`Handle`] reads from them: columns (neurons, heads), the component
//! along a direction, or the latents of a dictionary. The rest of the activations stays as it is.

mod change;
mod effects;
mod handle;
#[cfg(test)]
mod tests;
mod texts;
mod uses;

use std::collections::BTreeMap;

use superlens_tensor::Mat;

use crate::model::{Batch, Config, Point, Site, Sites, Transformer};

pub use change::{Change, Turned};
pub use effects::{Effect, Effects, Gathered, effects, gather};
pub use handle::{Columns, Direction, Handle};
pub use texts::{Text, read_texts};
pub use uses::{Ablated, Uses, uses};

/// Which token a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its place in its sequence.
    pub position: usize,
    /// Its place in all that is run: what random choices follow from.
    pub number: u64,
}

/// Something that is done to the activations at a site.
pub trait Intervention: Sync {
    /// Changes `x` `[rows, width]`, a row for each of `tokens`.
    fn apply(&self, tokens: &[Token], x: &mut Mat);

    /// The site that it reads besides the one that it changes, where there is one: an earlier one of the same forward pass.
    fn reads(&self) -> Option<Site> {
        None
    }

    /// As [`apply`](Self::apply), told the activations of the same tokens at the site that it [`reads`](Self::reads).
    fn apply_with(&self, tokens: &[Token], _read: &Mat, x: &mut Mat) {
        self.apply(tokens, x);
    }
}

/// Interventions that are made together.
#[derive(Default)]
pub struct Changes<'a> {
    list: Vec<(Site, &'a dyn Intervention)>,
    /// Where in each sequence; everywhere if `None`.
    pub positions: Option<Vec<usize>>,
}

impl<'a> Changes<'a> {
    /// One intervention at several sites. Panics as [`of`](Self::of).
    pub fn new(sites: impl IntoIterator<Item = Site>, what: &'a dyn Intervention) -> Changes<'a> {
        Changes::of(sites.into_iter().map(|site| (site, what)))
    }

    /// Interventions, each at its site. Panics on scores and patterns, whose rows are no tokens: a closure of the forward pass changes those.
    pub fn of(list: impl IntoIterator<Item = (Site, &'a dyn Intervention)>) -> Changes<'a> {
        let list: Vec<(Site, &dyn Intervention)> = list.into_iter().collect();
        for (site, _) in &list {
            assert!(
                !matches!(site, Site::Block(_, Point::Scores | Point::Pattern)),
                "{site} has no row for each token"
            );
        }
        Changes { list, positions: None }
    }

    /// The same at some places of each sequence only.
    pub fn at(self, positions: Option<Vec<usize>>) -> Changes<'a> {
        Changes { positions, ..self }
    }

    pub fn sites(&self) -> impl Iterator<Item = Site> {
        self.list.iter().map(|(site, _)| *site)
    }

    /// What is asked of a forward pass for these changes and its logits.
    pub fn and_logits(&self, config: &Config) -> Sites {
        Sites::and_logits(self.sites().chain(self.reads()), config).alike()
    }

    fn reads(&self) -> impl Iterator<Item = Site> {
        self.list.iter().filter_map(|(_, what)| what.reads())
    }

    /// The changes as a forward pass makes them.
    pub fn pass(&self) -> Pass<'_> {
        Pass { changes: self, seen: BTreeMap::new() }
    }
}

/// The changes of one forward pass, and what they have read of it.
pub struct Pass<'a> {
    changes: &'a Changes<'a>,
    /// Activations at sites that changes further on read, as earlier changes left them.
    seen: BTreeMap<Site, Mat>,
}

impl Pass<'_> {
    /// Makes the changes at `site`. `tokens` are those of the rows of `x`; those of which `spared` is true stay as they are. Panics on a change that
    /// reads a site which does not [precede](Site::precedes) its own.
    pub fn apply(&mut self, site: Site, tokens: &[Token], spared: Option<&[bool]>, x: &mut Mat) {
        for (_, what) in self.changes.list.iter().filter(|(at, _)| *at == site) {
            let touched = |i: &usize| {
                let here = self.changes.positions.as_ref().is_none_or(|list| list.contains(&tokens[*i].position));
                here && spared.is_none_or(|spared| !spared[*i])
            };
            let read = what.reads().map(|of| self.seen.get(&of).unwrap_or_else(|| panic!("{of} comes before {site}")));
            let change = |tokens: &[Token], read: Option<&Mat>, x: &mut Mat| match read {
                Some(read) => what.apply_with(tokens, read, x),
                None => what.apply(tokens, x),
            };
            let rows: Vec<usize> = (0..x.rows()).filter(touched).collect();
            if rows.len() == x.rows() {
                change(tokens, read, x);
            } else if !rows.is_empty() {
                let (mut some, read) = (x.select_rows(&rows), read.map(|read| read.select_rows(&rows)));
                change(&rows.iter().map(|&i| tokens[i]).collect::<Vec<_>>(), read.as_ref(), &mut some);
                rows.iter().enumerate().for_each(|(i, &row)| x.row_mut(row).copy_from_slice(some.row(i)));
            }
        }
        if self.changes.reads().any(|of| of == site) {
            self.seen.insert(site, x.clone());
        }
    }
}

/// The tokens of a batch, `first` the number of the first of them.
pub fn tokens(batch: &Batch, first: u64) -> Vec<Token> {
    let of = |s: usize| {
        let (from, to) = batch.rows(s);
        (from..to).map(move |row| Token { position: batch.past(s) + row - from, number: first + row as u64 })
    };
    (0..batch.sequences()).flat_map(of).collect()
}

/// The logits of a text, changed. Panics on a model without an output.
pub fn run(model: &Transformer, text: &Text, changes: &Changes) -> Mat {
    let tokens = tokens(&text.batch, text.first);
    let mut pass = changes.pass();
    let mut hook = |site: Site, x: &mut Mat| pass.apply(site, &tokens, text.spared.as_deref(), x);
    let logits = model.forward(&text.batch, &changes.and_logits(&model.config), None, &mut hook);
    logits.expect("a model with an output")
}
