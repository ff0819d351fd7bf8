//! What shape do directions that share a subspace make? Groups of the coherence graph held against known polytopes.
//!
//! Toy models in superposition settle into polytopes, and into tegum products of them: polytopes at right angles, which share
//! nothing (Elhage et al. 2022). So directions are first cut into groups between which no cosine counts; each group is then a
//! factor.

use super::bounds::Kind;
use super::constructions::construction;
use superlens_tensor::Mat;
use superlens_tensor::decomp::sym_eigen;
use superlens_tensor::kernels::gemm::matmul;

/// Cosines smaller than this are none: trained directions are never at right angles exactly.
pub const APART: f32 = 0.15;
/// The sorted cosines of a group may differ from those of the polytope by this much at the root of the mean square.
const NEAR: f64 = 0.1;
/// Eigenvalues of a group's Gram matrix below this share of the largest don't count as a dimension.
const DIMENSION: f64 = 0.02;
/// Larger groups are no polytope that has a name here.
const LARGEST: usize = 24;

/// Directions that share a subspace with each other and nobody else.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Which rows.
    pub members: Vec<usize>,
    /// Dimensions that they span; `None` for a group too large to be looked at.
    pub dims: Option<usize>,
    /// The nearest polytope that is known, and the root of the mean squared difference of the sorted cosines; `None` where none is
    /// near.
    pub polytope: Option<(&'static str, f64)>,
}

/// The groups of unit rows, largest first.
pub fn clusters(unit: &Mat) -> Vec<Cluster> {
    let gram = matmul(unit, unit.t());
    let n = unit.rows();
    let mut group = vec![usize::MAX; n];
    let mut found: Vec<Cluster> = Vec::new();
    for start in 0..n {
        if group[start] != usize::MAX {
            continue;
        }
        let mut members = vec![start];
        group[start] = found.len();
        let mut next = 0;
        while next < members.len() {
            let i = members[next];
            for j in (0..n).filter(|&j| gram[(i, j)].abs() > APART) {
                if group[j] == usize::MAX {
                    group[j] = found.len();
                    members.push(j);
                }
            }
            next += 1;
        }
        members.sort_unstable();
        found.push(describe(members, &gram));
    }
    found.sort_by(|a, b| b.members.len().cmp(&a.members.len()).then(a.members.cmp(&b.members)));
    found
}

fn describe(members: Vec<usize>, gram: &Mat) -> Cluster {
    let n = members.len();
    if n > 4 * LARGEST {
        return Cluster { members, dims: None, polytope: None };
    }
    let part: Vec<f64> = members.iter().flat_map(|&i| members.iter().map(move |&j| f64::from(gram[(i, j)]))).collect();
    let dims = sym_eigen(&part, n).map_or(n, |e| e.values.iter().filter(|v| **v > DIMENSION * e.values[0]).count());
    let cosines = sorted(n, |i, j| part[i * n + j]);
    // Noise looks like further dimensions, so that shapes of fewer are held against it as well.
    let polytope = (1..=dims)
        .flat_map(|dims| known(n, dims))
        .map(|(name, shape)| (name, distance(&cosines, &shape)))
        .filter(|(_, d)| *d < NEAR)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Cluster { members, dims: Some(dims), polytope }
}

/// Polytopes of `n` corners in `dims` dimensions, with the sorted cosines of their pairs.
fn known(n: usize, dims: usize) -> Vec<(&'static str, Vec<f64>)> {
    const NAMES: [(usize, usize, &str); 12] = [
        (1, 1, "single direction"),
        (1, 2, "digon"),
        (2, 3, "triangle"),
        (2, 4, "square"),
        (2, 5, "pentagon"),
        (2, 6, "hexagon"),
        (2, 7, "heptagon"),
        (2, 8, "octagon"),
        (3, 4, "tetrahedron"),
        (3, 6, "octahedron"),
        (3, 8, "square antiprism"),
        (3, 12, "icosahedron"),
    ];
    let name = NAMES.iter().find(|(d, k, _)| (*d, *k) == (dims, n)).map(|entry| entry.2);
    let mut out = Vec::new();
    match (name, dims, n) {
        (Some(name), 1, _) => out.push((name, vec![-1.0; n - 1])),
        (Some(name), ..) => out.extend(construction(Kind::Signed, dims, n).map(|c| (name, shape(&c.packing.to_mat())))),
        (None, d, k) if d > 3 && k == d + 1 => {
            out.push(("simplex", vec![-1.0 / d as f64; k * (k - 1) / 2]));
        }
        _ => {}
    }
    if (dims, n) == (3, 5) {
        // Two poles and three on the equator: a triangle and a digon that trained weights did not quite put at right angles.
        out.push(("triangular bipyramid", [vec![-1.0], vec![-0.5; 3], vec![0.0; 6]].concat()));
    }
    out
}

fn shape(unit: &Mat) -> Vec<f64> {
    let gram = matmul(unit, unit.t());
    sorted(unit.rows(), |i, j| f64::from(gram[(i, j)]))
}

fn sorted(n: usize, cosine: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut all: Vec<f64> = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| cosine(i, j)).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || a.len() != b.len() {
        return if a.len() == b.len() { 0.0 } else { f64::INFINITY };
    }
    (a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;
    use superlens_tensor::decomp::haar_rotation;

    /// A pentagon, a digon and a tetrahedron at right angles, turned, with a little noise.
    #[test]
    fn factors_of_a_tegum_product_are_named() {
        let d = 6;
        let q = haar_rotation(d, &mut Rng::new(1));
        let mut rng = Rng::new(2);
        let pentagon = |i: usize| [(1.2566 * i as f32).cos(), (1.2566 * i as f32).sin(), 0.0, 0.0, 0.0, 0.0];
        let digon = |i: usize| [0.0, 0.0, 1.0 - 2.0 * i as f32, 0.0, 0.0, 0.0];
        let t = 1.0 / 3f32.sqrt();
        let corner = [[t, t, t], [t, -t, -t], [-t, t, -t], [-t, -t, t]];
        let tetrahedron = |i: usize| [0.0, 0.0, 0.0, corner[i][0], corner[i][1], corner[i][2]];
        let rows: Vec<[f32; 6]> =
            (0..5).map(pentagon).chain((0..2).map(digon)).chain((0..4).map(tetrahedron)).collect();
        let turned = Mat::from_fn(rows.len(), d, |i, j| {
            (0..d).map(|k| rows[i][k] * q[k * d + j] as f32).sum::<f32>() + 0.01 * rng.normal()
        });
        let found = clusters(&turned);
        let names: Vec<_> = found.iter().map(|c| (c.members.len(), c.dims.unwrap(), c.polytope.unwrap().0)).collect();
        assert_eq!(names, [(5, 2, "pentagon"), (4, 3, "tetrahedron"), (2, 1, "digon")]);
    }

    #[test]
    fn random_directions_have_no_name() {
        let mut rng = Rng::new(3);
        let found = clusters(&super::super::recover::unit_rows(9, 3, &mut rng));
        assert!(found[0].members.len() > 6 && found[0].polytope.is_none());
    }
}
