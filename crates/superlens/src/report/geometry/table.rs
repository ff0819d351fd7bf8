//! Best packings found, over dimensions and numbers of directions.

use super::{Answer, cosine, five, pack::excess, row};
use crate::geometry::bounds::{Kind, best_bound, bounds};
use crate::report::{Figure, figures};
use crate::toy::lab::{Axis, Series};
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
        figures: kinds.iter().filter_map(|kind| curves(entries, *kind)).collect(),
    }
}

/// The largest cosine over the number of directions, a curve for each of some dimensions.
fn curves(entries: &[Entry], kind: Kind) -> Option<Figure> {
    /// Curves that can be told apart.
    const CURVES: usize = 4;
    let of_kind = || entries.iter().filter(|e| e.kind == kind);
    let dims: Vec<usize> = of_kind().map(|e| e.d).collect::<BTreeSet<_>>().into_iter().collect();
    let shown = dims.len().min(CURVES);
    let picked = (0..shown).map(|k| dims[k * (dims.len() - 1) / (shown - 1).max(1)]);
    let curve = |d: usize| Series {
        name: format!("d = {d}"),
        points: of_kind().filter(|e| e.d == d).map(|e| (e.n as f64, e.cosine)).collect(),
        line: true,
    };
    let series: Vec<Series> = picked.map(curve).collect();
    let (name, title) = match kind {
        Kind::Lines => ("packings-lines", "Best packings of lines found"),
        Kind::Signed => ("packings-signed", "Best packings of directions found"),
    };
    (!series.is_empty()).then(|| {
        figures::sweep(&figures::Sweep {
            name,
            title,
            caption: "The least largest cosine found for N directions: each dimension more leaves room for many. Steps are packings of \
                      more directions of which some can be left out, and nothing is gained.",
            x: &Axis::linear("directions N"),
            y: &Axis::linear(format!("largest {}", cosine(kind))),
            series: &series,
            levels: &[],
        })
    })
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
