//! Explanations of units whose truth is planted.

use superlens::neurons::compositional::{Concepts, Kind, Mask, Options, beam, exhaustive, explain_units};
use superlens_tensor::{Mat, Rng};

/// `n` concepts on `rows` rows: independent ones, of which each holds in a fifth to a half of the rows.
fn concepts(rows: usize, n: usize, rng: &Rng) -> Concepts {
    let mut rng = rng.fork("concepts");
    let rates: Vec<f64> = (0..n).map(|_| 0.2 + 0.3 * rng.uniform_f64()).collect();
    let labels = Mat::from_fn(rows, n, |_, c| f32::from(rng.chance(rates[c])));
    Concepts::new(&labels, (0..n).map(|c| format!("c{c}")).collect()).unwrap()
}

/// The rows of a random formula of up to three literals of different concepts, some of them flipped.
fn planted(concepts: &Concepts, flipped: f64, rng: &mut Rng) -> Mask {
    let order = rng.permutation(concepts.len());
    let length = 1 + rng.below(3);
    let literal = |k: usize, rng: &mut Rng| concepts.literal(order[k], rng.chance(0.3)).clone();
    let mut mask = literal(0, rng);
    for k in 1..length {
        let other = literal(k, rng);
        mask = if rng.chance(0.5) { mask.and(&other) } else { mask.or(&other) };
    }
    let flips: Vec<bool> = (0..mask.rows()).map(|_| rng.chance(flipped)).collect();
    Mask::from_fn(mask.rows(), |row| mask.holds(row) != flips[row])
}

/// Of 200 planted formulas, the share for which the beam's is as good as any of that length.
fn share_of_optima(rows: usize, n: usize, flipped: f64) -> f64 {
    let rng = Rng::new(2020);
    let equal = |i: u64| {
        let concepts = concepts(rows, n, &rng.fork_index(i));
        let unit = planted(&concepts, flipped, &mut rng.fork_index(i).fork("formula"));
        let options = Options::default();
        let found = beam(&unit, &concepts, 3, options.beam, options.penalty);
        let optimum = exhaustive(&unit, &concepts, 3, options.penalty).unwrap();
        assert!(found.score <= optimum.score, "{found:?} above the optimum {optimum:?}");
        found.score == optimum.score
    };
    (0..200).filter(|&i| equal(i)).count() as f64 / 200.0
}

#[test]
fn the_beam_finds_the_optimum_of_planted_formulas() {
    // The last is mostly noise, whose optimum is not what was planted: there the beam may miss some.
    for (rows, n, flipped, least) in
        [(600, 12, 0.0, 0.95), (600, 12, 0.1, 0.95), (300, 20, 0.1, 0.95), (600, 12, 0.3, 0.7)]
    {
        let share = share_of_optima(rows, n, flipped);
        println!("{rows} rows, {n} concepts, {flipped} of the rows flipped: {share}");
        assert!(share >= least, "{share} with {rows} rows, {n} concepts, {flipped} flipped");
    }
}

#[test]
fn exhaustive_search_finds_shapes_that_no_chain_has() {
    let concepts = concepts(500, 5, &Rng::new(3));
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| concepts.literal(i, false).clone());
    let unit = a.and(&b).or(&c.and(&d));
    let found = exhaustive(&unit, &concepts, 4, 0.99).unwrap();
    assert_eq!((found.iou, found.length, &found.formula.mask(&concepts)), (1.0, 4, &unit));
    // Too many to try is told, not begun.
    assert!(exhaustive(&unit, &concepts, 30, 0.99).is_none());
}

#[test]
fn units_of_known_kind_are_told_apart() {
    let (rng, rows) = (Rng::new(11), 4000);
    let mut draw = rng.fork("labels");
    // 0 and 1 come together, 2 keeps out of their way, 3 is independent.
    let labels = Mat::from_vec(
        rows,
        4,
        (0..rows)
            .flat_map(|_| match draw.below(5) {
                0 => [1.0, f32::from(draw.chance(0.6)), 0.0, f32::from(draw.chance(0.5))],
                1 => [0.0, 0.0, 1.0, f32::from(draw.chance(0.5))],
                _ => [0.0, f32::from(draw.chance(0.1)), 0.0, f32::from(draw.chance(0.5))],
            })
            .collect(),
    );
    let names = ["bed", "pillow", "river", "night"].map(str::to_owned);
    let concepts = Concepts::new(&labels, names.into()).unwrap();
    let mut noise = rng.fork("noise");
    let mut unit = |fires: &dyn Fn(&[f32]) -> bool| -> Vec<f32> {
        (0..rows).map(|i| 4.0 * f32::from(fires(labels.row(i))) + noise.uniform()).collect()
    };
    let units = vec![
        (0, unit(&|l| l[0] == 1.0 || l[1] == 1.0)),
        (1, unit(&|l| l[0] == 1.0 || l[2] == 1.0)),
        (2, unit(&|l| l[2] == 1.0 && l[3] == 0.0)),
        (3, unit(&|_| false)),
        (4, vec![0.5; rows]),
    ];
    let options = Options { quantile: 0.08, exhaustive: true, ..Options::default() };
    let explained = on_threads(4, || explain_units(&units, &concepts, &options, &rng, &|| ()));
    let kinds: Vec<Kind> = explained.iter().map(|e| e.kind).collect();
    let text = |i: usize| explained[i].best.as_ref().unwrap().formula.text(concepts.names());
    assert_eq!(kinds[2..], [Kind::Coherent, Kind::Chance, Kind::Silent], "{}", text(2));
    assert_eq!(text(2), "river AND NOT night");
    assert!(explained[0].best.as_ref().unwrap().score == explained[0].optimum.as_ref().unwrap().score);
    // A share that covers all that the units answer to: the top alone would show some of it.
    let options = Options { quantile: 0.3, ..options };
    let wide = explain_units(&units[..2], &concepts, &options, &rng, &|| ());
    assert_eq!((wide[0].kind, wide[1].kind), (Kind::Coherent, Kind::Polysemantic));
    // The same on one thread, and without its neighbours.
    let options = Options { quantile: 0.08, exhaustive: true, ..Options::default() };
    let alone = on_threads(1, || explain_units(&units[2..4], &concepts, &options, &rng, &|| ()));
    assert_eq!(alone, explained[2..4]);
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}
