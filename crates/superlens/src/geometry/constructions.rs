//! Packings that mathematics knows exactly.
//!
//! Most have whole-number coordinates of one common squared length, so that every inner product is exact in `f32` and the
//! largest cosine is a fraction of two whole numbers.

use super::bounds::Kind;
use super::golay::{golay, octads};
use super::packing::Packing;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::{Mat, Rng};

/// A named set of directions.
#[derive(Clone, Debug)]
pub struct Construction {
    pub name: String,
    pub kind: Kind,
    pub packing: Packing,
    /// The largest cosine that it is known to have.
    pub cosine: f64,
}

/// The construction of `n` directions of this kind in `d` dimensions, if one is known here.
pub fn construction(kind: Kind, d: usize, n: usize) -> Option<Construction> {
    match kind {
        Kind::Lines => lines(d, n),
        // Both signs of some lines are points whose largest cosine is that of the lines.
        Kind::Signed => {
            points(d, n).or_else(|| (n.is_multiple_of(2)).then(|| lines(d, n / 2)).flatten().map(both_signs))
        }
    }
}

fn lines(d: usize, n: usize) -> Option<Construction> {
    let made =
        |name: &str, cosine, packing| Some(Construction { name: name.into(), kind: Kind::Lines, packing, cosine });
    if (1..=d).contains(&n) {
        return made("orthonormal basis", 0.0, orthonormal(d, n));
    }
    if n == d + 1 && d > 1 {
        return made("simplex", 1.0 / d as f64, simplex(d));
    }
    if d == 1 {
        return made("the only line, repeated", 1.0, Packing::real(1, vec![1.0; n]));
    }
    if d == 2 {
        let packing = polygon(2 * n, n);
        return made("even fan", (std::f64::consts::PI / n as f64).cos(), packing);
    }
    match (d, n) {
        (3, 6) => made("icosahedron", 0.2f64.sqrt(), icosahedron_axes()),
        (5, 10) => made("equiangular, Petersen graph", 1.0 / 3.0, equiangular(&petersen(), 3.0)),
        (6, 16) => made("equiangular, Steiner system (2, 2, 4)", 1.0 / 3.0, steiner(&pairs(4), 4)),
        (7, 28) => made("equiangular, Fano plane", 1.0 / 3.0, steiner(&fano(), 7)),
        (15, 36) => made("equiangular, Latin square of order 6", 0.2, equiangular(&latin_square(6), 5.0)),
        (22, 176) => made("equiangular, octads with one point and without another", 0.2, octad_lines(false)),
        (23, 276) => made("equiangular, octads through a point", 0.2, octad_lines(true)),
        (28, 64) => made("equiangular, Steiner system (2, 2, 8)", 1.0 / 7.0, steiner(&pairs(8), 8)),
        (8, 120) => made("E8", 0.5, half(&e8())),
        (24, 98_280) => made("Leech lattice", 0.5, half(&leech())),
        _ => kerdock_order(d, n)
            .and_then(|m| made("Kerdock set of mutually unbiased bases", 1.0 / (d as f64).sqrt(), kerdock(m))),
    }
}

fn points(d: usize, n: usize) -> Option<Construction> {
    let made =
        |name: &str, cosine, packing| Some(Construction { name: name.into(), kind: Kind::Signed, packing, cosine });
    if (2..=d + 1).contains(&n) {
        return made("simplex", -1.0 / (n - 1) as f64, within(&simplex(n - 1), d));
    }
    if d == 1 {
        let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        return made("the only two points, repeated", 1.0, Packing::real(1, (0..n).map(sign).collect()));
    }
    if d == 2 && n > 2 {
        return made("regular polygon", (std::f64::consts::TAU / n as f64).cos(), polygon(n, n));
    }
    if n == 2 * d {
        return both_signs(lines(d, d)?).named("orthoplex");
    }
    if n < 2 * d {
        let corner = |i: usize, j: usize| f32::from(i == j) - f32::from(i == j + d);
        return made("part of an orthoplex", 0.0, Packing::whole(Mat::from_fn(n, d, corner)));
    }
    match (d, n) {
        (3, 8) => {
            let (packing, cosine) = square_antiprism();
            made("square antiprism", cosine, packing)
        }
        (4, 24) => both_signs(lines(4, 12)?).named("24-cell"),
        (5, 16) => made("demipenteract", 0.2, demicube(5)),
        (8, 240) => made("E8", 0.5, e8()),
        (24, 196_560) => made("Leech lattice", 0.5, leech()),
        _ => None,
    }
}

impl Construction {
    fn named(self, name: &str) -> Option<Construction> {
        Some(Construction { name: name.into(), ..self })
    }
}

fn both_signs(c: Construction) -> Construction {
    let packing = c.packing.with_antipodes();
    // An antipode's cosine is −1; with a single line there is no other.
    let cosine = if packing.n() > 2 { c.cosine } else { -1.0 };
    Construction { kind: Kind::Signed, packing, cosine, ..c }
}

/// Of a set with all antipodes, one of each pair: the one whose first coordinate that is not zero is positive.
fn half(p: &Packing) -> Packing {
    p.filtered(|row| row.iter().find(|v| **v != 0.0).is_some_and(|v| *v > 0.0))
}

fn orthonormal(d: usize, n: usize) -> Packing {
    Packing::whole(Mat::from_fn(n, d, |i, j| f32::from(i == j)))
}

/// `n` of the corners of a regular polygon of `of` corners, one after the other.
fn polygon(of: usize, n: usize) -> Packing {
    let angle = |i: usize| std::f64::consts::TAU * i as f64 / of as f64;
    Packing::real(2, (0..n).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect())
}

/// `d + 1` points, each pair at −1/d: coordinates by Cholesky's method, point after point.
fn simplex(d: usize) -> Packing {
    let n = d + 1;
    let mut rows = vec![0.0; n * d];
    for k in 0..d {
        let left: f64 = 1.0 - rows[k * d..k * d + k].iter().map(|v| v * v).sum::<f64>();
        rows[k * d + k] = left.sqrt();
        for i in k + 1..n {
            let dot: f64 = (0..k).map(|j| rows[i * d + j] * rows[k * d + j]).sum();
            rows[i * d + k] = (-1.0 / d as f64 - dot) / rows[k * d + k];
        }
    }
    Packing::real(d, rows)
}

/// The same directions in a space of `d` dimensions.
fn within(p: &Packing, d: usize) -> Packing {
    let padded = |i: usize| p.row(i).into_iter().chain(std::iter::repeat_n(0.0, d - p.d()));
    Packing::real(d, (0..p.n()).flat_map(padded).collect())
}

fn icosahedron_axes() -> Packing {
    let g = 0.5 * (1.0 + 5f64.sqrt());
    let norm = (1.0 + g * g).sqrt();
    let rows = [[0.0, 1.0, g], [0.0, 1.0, -g], [1.0, g, 0.0], [1.0, -g, 0.0], [g, 0.0, 1.0], [-g, 0.0, 1.0]];
    Packing::real(3, rows.iter().flatten().map(|v| v / norm).collect())
}

/// The best eight points on the sphere: two squares, turned by 45°, at the height where the two kinds of neighbours are equally
/// far. Returns their largest cosine too.
fn square_antiprism() -> (Packing, f64) {
    // On a square of radius r at height z neighbours have cosine z², across r²/√2 − z²; r² = 1 − z².
    let z2 = 1.0 / (1.0 + 2.0 * 2f64.sqrt());
    let (z, r) = (z2.sqrt(), (1.0 - z2).sqrt());
    let turn = |i: usize, off: f64| (std::f64::consts::FRAC_PI_2 * i as f64 + off).sin_cos();
    let corner = |i: usize| {
        let (s, c) = turn(i % 4, if i < 4 { 0.0 } else { std::f64::consts::FRAC_PI_4 });
        [r * c, r * s, if i < 4 { z } else { -z }]
    };
    (Packing::real(3, (0..8).flat_map(corner).collect()), z2)
}

/// Corners of the cube with an even number of minus signs.
fn demicube(d: usize) -> Packing {
    let even: Vec<usize> = (0..1usize << d).filter(|c| c.count_ones() % 2 == 0).collect();
    Packing::whole(Mat::from_fn(even.len(), d, |i, j| 1.0 - 2.0 * ((even[i] >> j) & 1) as f32))
}

/// Lines from a strongly regular graph whose Seidel matrix `J − I − 2A` has the two eigenvalues of a regular two-graph: the Gram
/// matrix `I − S / largest` has rank d (Seidel 1976, *A survey of two-graphs*).
fn equiangular(adjacent: &[Vec<bool>], largest: f64) -> Packing {
    let n = adjacent.len();
    let entry = |i: usize, j: usize| match (i == j, adjacent[i][j]) {
        (true, _) => 1.0,
        (_, true) => 1.0 / largest,
        _ => -1.0 / largest,
    };
    let gram: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
    let eigen = sym_eigen(&gram, n).expect("finite entries");
    let d = eigen.values.iter().filter(|v| **v > 1e-6).count();
    let coordinate = |i: usize, k: usize| eigen.values[k].sqrt() * eigen.vectors[k][i];
    Packing::real(d, (0..n).flat_map(|i| (0..d).map(move |k| (i, k))).map(|(i, k)| coordinate(i, k)).collect())
}

/// Pairs of five things, adjacent where they share nothing.
fn petersen() -> Vec<Vec<bool>> {
    let pairs = pairs(5);
    let apart = |a: &[usize], b: &[usize]| !a.iter().any(|i| b.contains(i));
    pairs.iter().map(|a| pairs.iter().map(|b| apart(a, b)).collect()).collect()
}

/// Cells of the cyclic Latin square, adjacent in the same row, column or letter.
fn latin_square(order: usize) -> Vec<Vec<bool>> {
    let cell = |c: usize| (c / order, c % order, (c / order + c % order) % order);
    let near = |a: usize, b: usize| {
        let (a, b) = (cell(a), cell(b));
        a != b && (a.0 == b.0 || a.1 == b.1 || a.2 == b.2)
    };
    (0..order * order).map(|a| (0..order * order).map(|b| near(a, b)).collect()).collect()
}

/// Blocks of two among `points`.
fn pairs(points: usize) -> Vec<Vec<usize>> {
    (0..points).flat_map(|b| (0..b).map(move |a| vec![a, b])).collect()
}

fn fano() -> Vec<Vec<usize>> {
    (0..7).map(|i| vec![i, (i + 1) % 7, (i + 3) % 7]).collect()
}

/// The equiangular tight frame of a Steiner system (Fickus, Mixon and Tremain 2012): for each point as many lines as a Hadamard
/// matrix has columns, each with one row of it on every block through the point.
fn steiner(blocks: &[Vec<usize>], points: usize) -> Packing {
    let through: Vec<Vec<usize>> =
        (0..points).map(|p| (0..blocks.len()).filter(|&b| blocks[b].contains(&p)).collect()).collect();
    let order = through[0].len() + 1;
    // Sylvester's Hadamard matrix; its first row is left out.
    let sign = |r: usize, c: usize| 1.0 - 2.0 * ((r & c).count_ones() % 2) as f32;
    let mut rows = Mat::zeros(points * order, blocks.len());
    for (p, through) in through.iter().enumerate() {
        for c in 0..order {
            for (r, &b) in through.iter().enumerate() {
                rows[(p * order + c, b)] = sign(r + 1, c);
            }
        }
    }
    Packing::whole(rows)
}

/// Octads of the Golay code through a first point: without a second 176 lines in 22 dimensions, else 253 and 23 more in 23
/// dimensions (Lemmens and Seidel 1973). Two such octads meet in one or three further points, and a shift along the diagonal makes
/// those inner products −1 and 1.
fn octad_lines(all: bool) -> Packing {
    let d = if all { 23 } else { 22 };
    let first = 24 - d;
    let kept = |o: &&u32| **o & 1 == 1 && (all || **o & 2 == 0);
    let blocks: Vec<u32> = octads().into_iter().filter(|o| kept(&o)).collect();
    let df = d as f64;
    let shift = (14.0 - (196.0 - 8.0 * df).sqrt()) / (2.0 * df);
    let norm = 5f64.sqrt();
    let of_block = |o: &u32| {
        let o = *o;
        (0..d).map(move |j| (f64::from(o >> (j + first) & 1) - shift) / norm).collect::<Vec<_>>()
    };
    let mut rows: Vec<f64> = blocks.iter().flat_map(of_block).collect();
    if all {
        let along = (2.0 * shift - 1.0) / (7.0 - 23.0 * shift);
        for i in 0..d {
            rows.extend((0..d).map(|j| (2.0 * f64::from(i == j) + along) / norm));
        }
    }
    Packing::real(d, rows)
}

/// The 240 shortest vectors of E8, doubled.
fn e8() -> Packing {
    let mut rows: Vec<f32> = Vec::new();
    for (i, j) in (0..8).flat_map(|j| (0..j).map(move |i| (i, j))) {
        for signs in 0..4 {
            let mut row = [0.0; 8];
            (row[i], row[j]) = (2.0 - 4.0 * (signs & 1) as f32, 2.0 - 4.0 * (signs >> 1) as f32);
            rows.extend(row);
        }
    }
    let even = (0..256u32).filter(|c| c.count_ones() % 2 == 0);
    rows.extend(even.flat_map(|c| (0..8).map(move |j| 1.0 - 2.0 * (c >> j & 1) as f32)));
    Packing::whole(Mat::from_vec(240, 8, rows))
}

/// The 196,560 shortest vectors of the Leech lattice, times √8 (Conway and Sloane 1999, chapter 4): `±2` on octads with evenly many
/// minus signs, `∓3, ±1` by codewords, and two `±4`.
fn leech() -> Packing {
    let mut rows: Vec<f32> = Vec::with_capacity(196_560 * 24);
    let mut push = |row: [f32; 24]| rows.extend(row);
    for octad in octads() {
        let places: Vec<usize> = (0..24).filter(|j| octad >> j & 1 == 1).collect();
        for signs in (0..256u32).filter(|s| s.count_ones() % 2 == 0) {
            let mut row = [0.0; 24];
            places.iter().enumerate().for_each(|(k, &j)| row[j] = 2.0 - 4.0 * (signs >> k & 1) as f32);
            push(row);
        }
    }
    for word in golay() {
        for three in 0..24 {
            push(std::array::from_fn(|j| {
                let sign = 1.0 - 2.0 * (word >> j & 1) as f32;
                if j == three { -3.0 * sign } else { sign }
            }));
        }
    }
    for (i, j) in (0..24).flat_map(|j| (0..j).map(move |i| (i, j))) {
        for signs in 0..4 {
            let mut row = [0.0; 24];
            (row[i], row[j]) = (4.0 - 8.0 * (signs & 1) as f32, 4.0 - 8.0 * (signs >> 1) as f32);
            push(row);
        }
    }
    Packing::whole(Mat::from_vec(196_560, 24, rows))
}

/// `m` with `d = 2^m`, `m` even, if `n = d (d/2 + 1)`.
fn kerdock_order(d: usize, n: usize) -> Option<usize> {
    let m = d.checked_ilog2()? as usize;
    (d.is_power_of_two() && m.is_multiple_of(2) && (2..=8).contains(&m) && n == d * (d / 2 + 1)).then_some(m)
}

/// `d/2 + 1` mutually unbiased bases of `d = 2^m` dimensions: the coordinates, and for each `a` in GF(2^(m−1)) the signs of
/// `Q_a + linear` with `Q_a(x, ε) = Σ_{i=1}^{(m−2)/2} Tr((a x)^(1 + 2^i)) + ε Tr(a x)` (Kerdock 1972; Calderbank, Cameron, Kantor and
/// Seidel 1997).
fn kerdock(m: usize) -> Packing {
    let d = 1usize << m;
    let field = Field::of(m - 1);
    let root = (d as f32).sqrt();
    let mut rows = Mat::zeros(d * (d / 2 + 1), d);
    for i in 0..d {
        rows[(i, i)] = root;
    }
    for a in 0..d / 2 {
        let form: Vec<u32> = (0..d).map(|v| field.form(a as u32, (v >> 1) as u32, (v & 1) as u32, m)).collect();
        for b in 0..d {
            let row = rows.row_mut(d * (a + 1) + b);
            for (v, r) in row.iter_mut().enumerate() {
                *r = 1.0 - 2.0 * ((form[v] + (v & b).count_ones()) % 2) as f32;
            }
        }
    }
    Packing::whole(rows)
}

/// GF(2^degree) as polynomials over GF(2).
struct Field {
    degree: usize,
    modulus: u32,
}

impl Field {
    /// By a polynomial that has no factor. Panics for degrees other than 1, 3, 5 and 7.
    fn of(degree: usize) -> Field {
        let modulus = match degree {
            1 => 0b11,
            3 => 0b1011,
            5 => 0b100101,
            7 => 0b10000011,
            _ => panic!("no field of degree {degree} here"),
        };
        Field { degree, modulus }
    }

    fn times(&self, mut a: u32, mut b: u32) -> u32 {
        let mut product = 0;
        while b > 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a <<= 1;
            if a >> self.degree & 1 == 1 {
                a ^= self.modulus;
            }
            b >>= 1;
        }
        product
    }

    fn trace(&self, a: u32) -> u32 {
        let (mut sum, mut power) = (0, a);
        for _ in 0..self.degree {
            sum ^= power;
            power = self.times(power, power);
        }
        sum & 1
    }

    fn form(&self, a: u32, x: u32, epsilon: u32, m: usize) -> u32 {
        let ax = self.times(a, x);
        let mut power = ax;
        let mut sum = epsilon * self.trace(ax);
        for _ in 0..(m - 2) / 2 {
            power = self.times(power, power);
            sum += self.trace(self.times(ax, power));
        }
        sum & 1
    }
}

/// `n` directions at random, uniform on the sphere.
pub fn random(d: usize, n: usize, rng: &mut Rng) -> Packing {
    let mut rows: Vec<f64> = (0..n * d).map(|_| rng.normal_f64()).collect();
    for row in rows.chunks_exact_mut(d) {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        row.iter_mut().for_each(|v| *v /= norm);
    }
    Packing::real(d, rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::bounds::best_bound;

    const SMALL: [(Kind, usize, usize); 26] = [
        (Kind::Lines, 5, 3),
        (Kind::Lines, 4, 5),
        (Kind::Lines, 2, 7),
        (Kind::Lines, 3, 6),
        (Kind::Lines, 5, 10),
        (Kind::Lines, 6, 16),
        (Kind::Lines, 7, 28),
        (Kind::Lines, 15, 36),
        (Kind::Lines, 22, 176),
        (Kind::Lines, 23, 276),
        (Kind::Lines, 28, 64),
        (Kind::Lines, 8, 120),
        (Kind::Lines, 4, 12),
        (Kind::Lines, 16, 144),
        (Kind::Lines, 64, 2112),
        (Kind::Signed, 9, 10),
        (Kind::Signed, 7, 2),
        (Kind::Signed, 7, 5),
        (Kind::Signed, 7, 11),
        (Kind::Signed, 2, 5),
        (Kind::Signed, 6, 12),
        (Kind::Signed, 3, 8),
        (Kind::Signed, 3, 12),
        (Kind::Signed, 4, 24),
        (Kind::Signed, 5, 16),
        (Kind::Signed, 8, 240),
    ];

    #[test]
    fn constructions_have_the_cosine_that_they_are_known_for() {
        for (kind, d, n) in SMALL {
            let c = construction(kind, d, n).unwrap_or_else(|| panic!("{n} {} in {d}", kind.id()));
            assert_eq!((c.packing.n(), c.packing.d(), c.kind), (n, d, kind), "{}", c.name);
            let got = c.packing.largest_cosine(kind);
            assert!((got - c.cosine).abs() < 1e-12, "{}: {got} for {}", c.name, c.cosine);
            assert!(got >= best_bound(kind, d, n) - 1e-9, "{} is below a bound", c.name);
        }
        assert!(construction(Kind::Lines, 9, 20).is_none());
    }

    /// The Leech lattice's group takes any vector of a shape to any other, so one of each against all shows the rest.
    #[test]
    fn the_leech_lattice_has_its_shortest_vectors() {
        let c = construction(Kind::Signed, 24, 196_560).unwrap();
        let Packing::Whole { rows, square } = &c.packing else { unreachable!("whole numbers") };
        assert_eq!(*square, 32.0);
        for i in [0, 759 * 128, 759 * 128 + 24 * 4096] {
            let dots: Vec<f32> =
                (0..rows.rows()).map(|j| rows.row(i).iter().zip(rows.row(j)).map(|(a, b)| a * b).sum()).collect();
            let count = |v: f32| dots.iter().filter(|d| **d == v).count();
            // 4,600 neighbours at 60°, as many opposite them, and the rest at −1/4, 0, 1/4.
            assert_eq!((count(32.0), count(16.0), count(8.0), count(0.0)), (1, 4600, 47_104, 93_150));
        }
    }
}
