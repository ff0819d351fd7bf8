//! Codes without features: items have whole patterns, and no direction of them means anything by itself.

use super::layers::{Step, random, rotation, through};
use super::{Answer, COMPOSITIONAL, Case, Family, Split, pick};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

const STEPS: &[&[Step]] = &[&[Step::Noise(0.05)], &[Step::Noise(0.1)], &[Step::Noise(0.05), Step::Mean(1.0)]];

/// Rows that are items' codes and noise, with random attributes of the items as labels: nothing but the item tells them.
fn lookup(codes: &Mat, concepts: usize, rows: usize, about: String, stream: &Rng) -> Case {
    let mut rng = stream.fork("lookup");
    let attributes = Mat::from_fn(codes.rows(), concepts, |_, _| f32::from(rng.chance(0.5)));
    let items: Vec<usize> = (0..rows).map(|_| rng.below(codes.rows())).collect();
    let steps = pick(STEPS, &mut rng);
    let x = through(codes.select_rows(&items), steps, &stream.fork("layer"));
    Case {
        x,
        basis: pick(&[Basis::Privileged, Basis::Unknown, Basis::None], &mut rng),
        labels: Some(attributes.select_rows(&items)),
        defended: vec![COMPOSITIONAL],
        n_features: None,
        about: format!("{rows} rows, {about}, {concepts} attributes, {steps:?}"),
    }
}

fn sizes(stream: &Rng) -> (Rng, usize, usize, usize) {
    let mut rng = stream.fork("settings");
    let d = 10 + rng.below(40);
    let items = 4 * d + rng.below(6 * d);
    let rows = (25 * items).clamp(5000, 10_000);
    (rng, d, items, rows)
}

fn gaussian_codes(stream: &Rng) -> Case {
    let (mut rng, d, items, rows) = sizes(stream);
    let codes = Mat::from_fn(items, d, |_, _| rng.normal());
    lookup(&codes, 4 + rng.below(12), rows, format!("{items} items with Gaussian codes in {d} dimensions"), stream)
}

fn sign_codes(stream: &Rng) -> Case {
    let (mut rng, d, items, rows) = sizes(stream);
    let codes = Mat::from_fn(items, d, |_, _| pick(&[-1.0, 1.0], &mut rng));
    lookup(&codes, 4 + rng.below(12), rows, format!("{items} items with random signs in {d} neurons"), stream)
}

/// Items are pairs: the code is the product of those of the two, element by element (a bound pair).
fn bound_codes(stream: &Rng) -> Case {
    let (mut rng, d, items, rows) = sizes(stream);
    let half = (items as f64).sqrt().ceil() as usize;
    let parts = Mat::from_fn(2 * half, d, |_, _| pick(&[-1.0, 1.0], &mut rng) * (0.7 + 0.6 * rng.uniform()));
    let codes = Mat::from_fn(half * half, d, |i, j| parts[(i / half, j)] * parts[(half + i % half, j)]);
    lookup(&codes, 4 + rng.below(8), rows, format!("{} bound pairs in {d} neurons", half * half), stream)
}

/// Codes through a hash: the bits of the item's number, mixed by a random ReLU network.
fn hashed_codes(stream: &Rng) -> Case {
    let (mut rng, d, items, rows) = sizes(stream);
    let bits = usize::BITS as usize - items.leading_zeros() as usize;
    let numbers = Mat::from_fn(items, bits, |i, b| if i >> b & 1 == 1 { 1.0 } else { -1.0 });
    let mut mixed = matmul(&numbers, &random(bits, 4 * d, &mut rng));
    mixed.data_mut().iter_mut().for_each(|v| *v = (3.0 * *v).sin());
    let codes = matmul(&mixed, &random(4 * d, d, &mut rng));
    lookup(&codes, 4 + rng.below(8), rows, format!("{items} hashed items in {d} dimensions"), stream)
}

/// Dense bits without labels.
fn bits(rotated: bool, stream: &Rng) -> Case {
    let mut rng = stream.fork("settings");
    let (d, rows) = (8 + rng.below(40), 5000 + rng.below(4000));
    let z = Mat::from_fn(rows, d, |_, _| pick(&[-1.0, 1.0], &mut rng));
    dense(z, rotated, format!("{rows} rows, {d} bits"), &mut rng, stream)
}

/// Bits in most of the dimensions, at times leaning to one side; the others are dense.
fn bits_and_noise(stream: &Rng) -> Case {
    let mut rng = stream.fork("settings");
    let (bits, rows) = (8 + rng.below(32), 5000 + rng.below(4000));
    let noise = rng.below(bits / 4 + 1);
    let lean: Vec<f64> = (0..bits).map(|_| 0.5 + 0.12 * (rng.uniform_f64() - 0.5)).collect();
    let z = Mat::from_fn(rows, bits + noise, |_, j| match lean.get(j) {
        Some(p) => {
            if rng.chance(*p) {
                1.0
            } else {
                -1.0
            }
        }
        None => rng.normal(),
    });
    let rotated = rng.chance(0.5);
    dense(z, rotated, format!("{rows} rows, {bits} bits and {noise} dense dimensions"), &mut rng, stream)
}

/// An item's code is a wave of the sum of its three parts' codes, its attributes are of the whole.
fn slot_codes(stream: &Rng) -> Case {
    let (mut rng, d, _, rows) = sizes(stream);
    let each = 6 + rng.below(3);
    let parts = Mat::from_fn(3 * each, d, |_, _| rng.normal());
    let items = each * each * each;
    let codes = Mat::from_fn(items, d, |i, j| {
        let sum = parts[(i % each, j)] + parts[(each + i / each % each, j)] + parts[(2 * each + i / each / each, j)];
        (3.0 * sum).sin()
    });
    lookup(&codes, 4 + rng.below(8), rows, format!("{items} items of three parts in {d} dimensions"), stream)
}

fn dense(z: Mat, rotated: bool, about: String, rng: &mut Rng, stream: &Rng) -> Case {
    let d = z.cols();
    let z = if rotated { matmul(&z, &rotation(d, &mut stream.fork("rotation"))) } else { z };
    let steps = pick(STEPS, rng);
    let defended: Vec<Answer> = vec![COMPOSITIONAL];
    let x = through(z, steps, &stream.fork("layer"));
    Case { x, basis: Basis::Privileged, labels: None, defended, n_features: None, about: format!("{about}, {steps:?}") }
}

/// Words of a random linear code over two letters: bits, and checks of them.
fn words(stream: &Rng) -> Case {
    let mut rng = stream.fork("settings");
    let (free, rows) = (7 + rng.below(14), 5000 + rng.below(4000));
    let checks = free / 2 + rng.below(free);
    let over: Vec<[usize; 3]> = (0..checks).map(|_| [rng.below(free), rng.below(free), rng.below(free)]).collect();
    let mut z = Mat::zeros(rows, free + checks);
    for i in 0..rows {
        for j in 0..free {
            z[(i, j)] = pick(&[-1.0, 1.0], &mut rng);
        }
        for (c, over) in over.iter().enumerate() {
            z[(i, free + c)] = over.iter().map(|&j| z[(i, j)]).product();
        }
    }
    let rotated = rng.chance(0.5);
    dense(z, rotated, format!("{rows} rows, {free} bits with {checks} checks"), &mut rng, stream)
}

pub(super) fn families() -> Vec<Family> {
    let of = |id, split, about, make| Family { id, truth: COMPOSITIONAL, split, about, make };
    use Split::{Calibrate, Test};
    vec![
        of("gaussian-codes", Calibrate, "items with Gaussian codes, random attributes", gaussian_codes),
        of("sign-codes", Calibrate, "items with random signs, random attributes", sign_codes),
        of("bits", Calibrate, "independent bits on the neurons, without labels", |r| bits(false, r)),
        of(
            "bits-and-noise",
            Calibrate,
            "bits, some of them leaning to one side, beside dense dimensions",
            bits_and_noise,
        ),
        of("slot-codes", Calibrate, "items whose code is a wave of three parts' codes, random attributes", slot_codes),
        of("bits-rotated", Test, "independent bits on a rotation, without labels", |r| bits(true, r)),
        of("bound-codes", Test, "items that are bound pairs, random attributes", bound_codes),
        of("hashed-codes", Test, "hashed items, random attributes", hashed_codes),
        of("words", Test, "words of a linear code, without labels", words),
    ]
}
