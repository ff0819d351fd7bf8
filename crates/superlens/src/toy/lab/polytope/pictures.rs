//! The pictures of `toy polytope`.

use super::{BINS, Measured, name, scales};
use crate::toy::lab::{Axis, Heat, HeatPanel, Picture, Series};
use superlens_tensor::{Mat, Rng};

/// Cells along each side of a map.
const MAP: usize = 64;

/// Of networks that differ in their tails.
pub fn all(networks: &[Measured]) -> Vec<Picture> {
    vec![
        by_scale(
            networks,
            "labels",
            "Scale a layer, and the label flips",
            "Share of images whose label is another than at scale 1, the layer being multiplied by a factor. Behind biases, those \
             of a folded batch norm included, labels flip; without biases, or behind a norm, they can't.",
            "share of labels that differ",
            |m| &m.scaled.flips,
        ),
        by_scale(
            networks,
            "codes",
            "Scale a layer, and it leaves its polytope",
            "Mean share of neurons behind the layer whose sign is another than at scale 1. No sign changes where nothing but the \
             direction of the layer can be seen.",
            "share of signs that differ",
            |m| &m.scaled.codes,
        ),
        boundaries(networks),
        map(&networks[0]),
    ]
}

fn by_scale(
    networks: &[Measured],
    name_: &'static str,
    title: &str,
    caption: &str,
    y: &str,
    pick: fn(&Measured) -> &Vec<f64>,
) -> Picture {
    let series = |m: &Measured| Series {
        name: name(m.model.tail).replace('_', " "),
        points: scales().iter().zip(pick(m)).map(|(a, v)| (f64::from(*a), *v)).collect(),
        line: true,
    };
    Picture::Sweep {
        name: name_,
        title: title.into(),
        caption: caption.into(),
        x: Axis::log("factor on the layer"),
        y: Axis::linear(y),
        series: networks.iter().take(4).map(series).collect(),
        levels: Vec::new(),
    }
}

fn boundaries(networks: &[Measured]) -> Picture {
    let at = |k: usize| (k as f64 + 0.5) * 0.5 / BINS as f64;
    let series = |m: &Measured| Series {
        name: name(m.model.tail).replace('_', " "),
        points: m.segments.profile.iter().enumerate().map(|(k, v)| (at(k), *v)).collect(),
        line: true,
    };
    Picture::Sweep {
        name: "boundaries",
        title: "Polytopes are small where the label changes".into(),
        caption: "Along straight lines between images of two classes: signs that change, per whole line, over the distance from the \
                  place where the label changes, as a share of the line."
            .into(),
        x: Axis::linear("distance from the change of label, share of the line"),
        y: Axis::linear("boundaries per line"),
        series: networks.iter().take(4).map(series).collect(),
        levels: Vec::new(),
    }
}

/// The plane through three images of three classes, or as many as there are.
fn map(m: &Measured) -> Picture {
    let (x, y) = m.model.task.draw(200, &Rng::new(0).fork("map"));
    let mut corners = vec![0usize];
    (1..x.rows()).for_each(|r| {
        if corners.len() < 3 && corners.iter().all(|c| y[*c] != y[r]) {
            corners.push(r);
        }
    });
    (1..3).for_each(|r| {
        if corners.len() < 3 {
            corners.push(r);
        }
    });
    let at = |i: usize| 2.0 * (i as f32 + 0.5) / MAP as f32 - 0.5;
    let plane = Mat::from_fn(MAP * MAP, x.cols(), |k, j| {
        let (u, v) = (at(k % MAP), at(k / MAP));
        let origin = x[(corners[0], j)];
        origin + u * (x[(corners[1], j)] - origin) + v * (x[(corners[2], j)] - origin)
    });
    let read = m.model.net(&m.made.params).of_inputs(&plane);
    let last = (m.model.task.n_classes - 1).max(1) as f64;
    let differ = |a: usize, b: usize| read.codes[a].iter().zip(&read.codes[b]).filter(|(a, b)| a != b).count() as f64;
    let rows =
        |value: &dyn Fn(usize, usize) -> f64| (0..MAP).map(|v| (0..MAP).map(|u| value(u, v)).collect()).collect();
    let edges = |u: usize, v: usize| {
        let here = v * MAP + u;
        let (right, below) = (here + usize::from(u + 1 < MAP), here + if v + 1 < MAP { MAP } else { 0 });
        differ(here, right) + differ(here, below)
    };
    Picture::Heat(Heat {
        name: "polytopes",
        title: "A plane through three images".into(),
        caption: "Left: the label, each class a colour of its own. Right: how many neurons change their sign from one cell to the \
                  next; the lines cut the plane into polytopes, on each of which the network is linear."
            .into(),
        across: "towards image 2".into(),
        down: "towards image 3".into(),
        panels: vec![
            HeatPanel { label: "label".into(), rows: rows(&|u, v| 2.0 * read.labels[v * MAP + u] as f64 / last - 1.0) },
            HeatPanel { label: "boundaries".into(), rows: rows(&edges) },
        ],
    })
}
