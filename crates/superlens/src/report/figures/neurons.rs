//! How many features each neuron carries.

use crate::{
    diagnose::Neuron,
    report::{
        scale::{Scale, Tick},
        svg::{Anchor, Figure, Key, Sheet, WIDTH},
        words,
    },
};

const TITLE: &str = "How many features does a neuron carry?";
const X_NAME: &str = "features of the neuron";
/// Up to so many features each number has a bar of its own; beyond, bars stand for ranges that double.
const SINGLE: usize = 10;

/// `None` without live neurons.
pub fn neurons(neurons: &[Neuron]) -> Option<Figure> {
    let carried: Vec<usize> = neurons.iter().filter(|n| n.live).map(|n| n.n_features).collect();
    let live = carried.len();
    let ranges = ranges(*carried.iter().max()?);
    let counts: Vec<usize> =
        ranges.iter().map(|&(from, to)| carried.iter().filter(|c| (from..=to).contains(c)).count()).collect();
    let polysemantic = neurons.iter().filter(|n| n.live && n.polysemantic).count();

    let mut sheet = Sheet::new(WIDTH, 340.0, TITLE);
    let top = sheet.legend(&[
        (Key::Box("limit"), "two or more: polysemantic".to_owned()),
        (Key::Box("found"), "one".to_owned()),
        (Key::Box("null"), "none".to_owned()),
    ]);
    let y = Scale::covering_whole(counts.iter().map(|&c| 1.06 * c as f64).chain([0.0]), 4);
    let area = sheet.area(top, &y, X_NAME);
    let y = y.onto(area.bottom, area.top);
    let slot = (area.right - area.left) / ranges.len() as f64;
    let width = (slot * 0.72).min(64.0);

    sheet.y_axis(&area, &y.ticks(), "neurons");
    let mut ticks = Vec::new();
    for (place, (&(from, to), &n)) in ranges.iter().zip(&counts).enumerate() {
        let middle = area.left + slot * (place as f64 + 0.5);
        let class = ["null", "found", "limit"][from.min(2)];
        let label = match to {
            _ if from == to => from.to_string(),
            usize::MAX => format!("{from}+"),
            _ => format!("{from}–{to}"),
        };
        if n > 0 {
            let at = y.at(n as f64);
            let tip = format!("{} with {label}", words::counted(n, "neuron"));
            sheet.bar(class, middle - width / 2.0, at, width, area.bottom - at, &tip);
            sheet.text("", Anchor::Middle, middle, at - 5.0, &words::count(n));
        }
        ticks.push(Tick { at: middle, label });
    }
    sheet.x_axis(&area, &ticks, X_NAME);
    let caption =
        "Each bar counts neurons. A feature counts from 10 % of the neuron's explained variance; where none reaches half, \
                   small ones count too, as their effective number. A neuron with two or more is polysemantic: that it is \
                   active does not say which feature is present. Constant columns are left out."
            .to_owned();
    let description =
        format!("{} of {} carry two or more features.", polysemantic, words::counted(live, "live neuron"));
    Some(sheet.finish("neurons", TITLE, caption, description))
}

/// The numbers of features, from and to, that share a bar each: single numbers while they fit, then 1, 2, 3–4, 5–8, …
fn ranges(most: usize) -> Vec<(usize, usize)> {
    if most <= SINGLE {
        return (0..=most.max(3)).map(|n| (n, n)).collect();
    }
    let mut ranges = vec![(0, 0), (1, 1), (2, 2)];
    while let Some(&(_, to)) = ranges.last().filter(|r| r.1 < most) {
        let next = if ranges.len() < 10 { 2 * to } else { usize::MAX };
        ranges.push((to + 1, next));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn every_number_of_features_has_one_bar() {
        assert_eq!(ranges(0), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        assert_eq!(ranges(27), [(0, 0), (1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32)]);
        for most in [10, 11, 500, usize::MAX] {
            let ranges = ranges(most);
            assert!(ranges.len() <= 11 && ranges[0].0 == 0 && ranges.last().unwrap().1 >= most);
            assert!(ranges.windows(2).all(|w| w[0].1 + 1 == w[1].0));
        }
    }
}
