//! Compositional: codes without features. Items have random attributes; only the whole code says which item it is.

use super::tools::{apply, between, noisy, normals, pick, relu, shift, told};
use super::{COMPOSITIONAL, Case, Family, INCONCLUSIVE, SUPERPOSITION, case, family};
use crate::verdict::Basis;
use superlens_tensor::kernels::gemm::matmul;
use superlens_tensor::{Mat, Rng};

pub(super) fn families() -> Vec<Family> {
    vec![
        family("second-code-names", COMPOSITIONAL, "each name a random point of the sphere, some more often", names),
        family("second-code-parity", COMPOSITIONAL, "bits of an error-correcting code, each a parity", parity),
        family(
            "second-code-memoriser",
            COMPOSITIONAL,
            "a random ReLU layer over memorised items, in documents",
            memoriser,
        ),
    ]
}

/// Each row's item: uneven frequencies within a factor of four, the item kept for `run` rows on average.
fn items(rows: usize, n: usize, run: f64, rng: &mut Rng) -> Vec<usize> {
    let mut bag = Vec::new();
    for item in 0..n {
        bag.extend(vec![item; 1 + rng.below(4)]);
    }
    let mut at = bag[rng.below(bag.len())];
    (0..rows)
        .map(|_| {
            if rng.chance(1.0 / run) {
                at = bag[rng.below(bag.len())];
            }
            at
        })
        .collect()
}

/// Random attributes of items, each held by 30 to 50 % of them, row by row.
fn attributes(n: usize, of_row: &[usize], rng: &mut Rng) -> Mat {
    let concepts = pick(rng, 12, 32);
    let share: Vec<f64> = (0..concepts).map(|_| between(rng, 0.3, 0.5)).collect();
    let table = Mat::from_fn(n, concepts, |_, c| f32::from(u8::from(rng.chance(share[c]))));
    table.select_rows(of_row)
}

/// Many more names than the attributes could be told apart linearly. A quarter come without labels: then names may as well
/// be features, or nothing may be said.
fn names(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 16, 40);
    let n = (d as f64 * between(&mut s, 5.0, 8.0)) as usize;
    let rows = pick(&mut s, 7_000, 12_000);
    let mut codes = normals(n, d, &mut rng.fork("codes"));
    for i in 0..n {
        let norm = codes.row(i).iter().map(|v| v * v).sum::<f32>().sqrt();
        codes.row_mut(i).iter_mut().for_each(|v| *v *= (d as f32).sqrt() / norm);
    }
    let of_row = items(rows, n, 1.0, &mut rng.fork("items"));
    let mut x = codes.select_rows(&of_row);
    noisy(&mut x, between(&mut s, 0.03, 0.15), &mut rng.fork("noise"));
    let labels = s.chance(0.75).then(|| attributes(n, &of_row, &mut rng.fork("attributes")));
    let alone = labels.is_none();
    let mut c = case(x, Basis::None, labels, COMPOSITIONAL, None, format!("{n} names"));
    if alone {
        c.defended.extend([SUPERPOSITION, INCONCLUSIVE]);
    }
    told(c)
}

/// A linear code over two elements: neurons are parities of two or more message bits, so that each is a fair coin. Labels
/// are random attributes of the messages.
fn parity(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let (bits, d) = (pick(&mut s, 7, 8), pick(&mut s, 14, 24));
    let n = 1 << bits;
    let rows = pick(&mut s, 8_000, 12_000);
    // Neighbouring bits and one triple tell all messages apart; the other checks are drawn.
    let mut checks: Vec<u32> = (0..bits).map(|k| (1 << k) | (1 << ((k + 1) % bits))).collect();
    checks[bits - 1] = 0b111;
    while checks.len() < d {
        let check = s.below(n) as u32;
        if check.count_ones() >= 2 && !checks.contains(&check) {
            checks.push(check);
        }
    }
    let order = s.permutation(d);
    let codes = Mat::from_fn(n, d, |m, j| ((m as u32 & checks[order[j]]).count_ones() % 2) as f32);
    let of_row = items(rows, n, 1.0, &mut rng.fork("messages"));
    let mut x = codes.select_rows(&of_row);
    noisy(&mut x, between(&mut s, 0.03, 0.15), &mut rng.fork("noise"));
    let labels = attributes(n, &of_row, &mut rng.fork("attributes"));
    told(case(x, Basis::Privileged, Some(labels), COMPOSITIONAL, None, format!("{n} messages in {d} parities")))
}

/// Items' random embeddings through random weights and a ReLU that leaves a third of the neurons on; items repeat for a
/// few tokens.
fn memoriser(rng: &Rng) -> Case {
    let mut s = rng.fork("settings");
    let d = pick(&mut s, 20, 44);
    let n = (d as f64 * between(&mut s, 5.0, 7.0)) as usize;
    let rows = pick(&mut s, 9_000, 12_000);
    let d_in = pick(&mut s, d, 2 * d);
    let embedding = normals(n, d_in, &mut rng.fork("embedding"));
    let w = normals(d_in, d, &mut rng.fork("weights"));
    let mut codes = matmul(&embedding, &w);
    apply(&mut codes, |v| v / (d_in as f32).sqrt());
    let bias: Vec<f32> = (0..d).map(|_| -0.4 + 0.2 * s.normal()).collect();
    shift(&mut codes, &bias);
    let of_row = items(rows, n, between(&mut s, 1.0, 3.0), &mut rng.fork("items"));
    let mut x = codes.select_rows(&of_row);
    noisy(&mut x, between(&mut s, 0.03, 0.12), &mut rng.fork("noise"));
    apply(&mut x, relu);
    let labels = attributes(n, &of_row, &mut rng.fork("attributes"));
    told(case(x, Basis::Privileged, Some(labels), COMPOSITIONAL, None, format!("{n} items")))
}
