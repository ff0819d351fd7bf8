//! Best packings found, over dimensions and numbers of directions.

use super::{Answer, five, pack::excess, row};
use crate::geometry::bounds::{Kind, best_bound, bounds};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One entry: kind, dimensions, directions, the largest cosine, how it was found, and whether that is exact.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub d: usize,
    pub n: usize,
    pub cosine: f64,
    pub method: String,
    pub exact: bool,
}

impl Entry {
    fn gap(&self) -> f64 {
        self.cosine - best_bound(self.kind, self.d, self.n)
    }
}

/// A table a kind: dimensions across, directions down; each cell the largest cosine and how far that is above the best bound.
pub fn table(entries: &[Entry]) -> Answer {
    let one = |e: &Entry| {
        let bound = bounds(e.kind, e.d, e.n).into_iter().max_by(|a, b| a.cosine.total_cmp(&b.cosine));
        json!({
            "kind": e.kind.id(),
            "dims": e.d,
            "points": e.n,
            "coherence": e.cosine,
            "best_bound": bound.map(|b| b.name),
            "gap": e.gap(),
            "method": e.method,
            "exact": e.exact,
        })
    };
    let mut keys = Map::new();
    keys.insert("packings".into(), Value::Array(entries.iter().map(one).collect()));
    let kinds = [Kind::Lines, Kind::Signed];
    let met = entries.iter().filter(|e| e.gap() < 1e-9).count();
    let exact = entries.iter().filter(|e| e.exact).count();
    Answer {
        title: "Best packings found".into(),
        keys,
        tables: kinds.iter().map(|kind| grid(entries, *kind)).collect(),
        says: vec![
            "First table: lines, whose |cosines| count. Second: directions, whose cosines count with their sign. A cell is the largest \
             cosine and, in brackets, how far it lies above the best bound: 0 is optimal. Exact constructions carry a star."
                .into(),
            format!("{met} of {} meet a bound; {exact} are exact constructions.", entries.len()),
        ],
        figures: Vec::new(),
    }
}

fn grid(entries: &[Entry], kind: Kind) -> Vec<Vec<String>> {
    let of_kind = || entries.iter().filter(|e| e.kind == kind);
    let dims: BTreeSet<usize> = of_kind().map(|e| e.d).collect();
    let points: BTreeSet<usize> = of_kind().map(|e| e.n).collect();
    let mut table = vec![row([&format!("{}: N", kind.id())])];
    table[0].extend(dims.iter().map(|d| format!("d = {d}")));
    for n in points {
        let cell = |d: &usize| {
            let entry = of_kind().find(|e| (e.d, e.n) == (*d, n));
            entry.map_or("–".into(), |e| {
                format!("{}{} ({})", five(e.cosine), if e.exact { "*" } else { "" }, excess(e.gap()))
            })
        };
        let mut line = vec![n.to_string()];
        line.extend(dims.iter().map(cell));
        table.push(line);
    }
    table
}
