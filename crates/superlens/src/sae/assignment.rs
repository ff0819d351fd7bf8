//! The assignment problem: which row goes with which column so that the total is largest.

/// Maximises `Σ score(i, columnᵢ)` over one-to-one matches of every one of `rows` with one of `cols ≥ rows`; returns
/// the column of each row.
///
/// Shortest augmenting paths with potentials (Kuhn 1955; Jonker and Volgenant 1987), `O(rows² · cols)`. The scores
/// must be finite. Panics where there are more rows than columns.
pub fn assign(rows: usize, cols: usize, score: impl Fn(usize, usize) -> f64) -> Vec<usize> {
    assert!(rows <= cols, "{rows} rows for {cols} columns");
    // Column `cols` is a place outside the problem, where each path starts.
    let mut row_of: Vec<Option<usize>> = vec![None; cols + 1];
    let mut row_price = vec![0.0; rows];
    let mut col_price = vec![0.0; cols + 1];
    for i in 0..rows {
        let mut slack = vec![f64::INFINITY; cols];
        let mut from = vec![cols; cols];
        let mut seen = vec![false; cols + 1];
        let mut at = cols;
        row_of[cols] = Some(i);
        while let Some(row) = row_of[at] {
            seen[at] = true;
            let (mut step, mut next) = (f64::INFINITY, cols);
            for j in (0..cols).filter(|&j| !seen[j]) {
                let reduced = -score(row, j) - row_price[row] - col_price[j];
                if reduced < slack[j] {
                    (slack[j], from[j]) = (reduced, at);
                }
                if slack[j] < step {
                    (step, next) = (slack[j], j);
                }
            }
            for j in 0..=cols {
                match row_of[j] {
                    Some(owner) if seen[j] => {
                        row_price[owner] += step;
                        col_price[j] -= step;
                    }
                    _ if j < cols => slack[j] -= step,
                    _ => {}
                }
            }
            at = next;
        }
        // Walk back along the path, moving every row one column on.
        while at != cols {
            row_of[at] = row_of[from[at]];
            at = from[at];
        }
    }
    let mut column = vec![0; rows];
    row_of[..cols].iter().enumerate().for_each(|(j, row)| {
        if let Some(i) = *row {
            column[i] = j;
        }
    });
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best total by trying every match.
    fn exhaustive(scores: &[Vec<f64>], row: usize, used: u32) -> f64 {
        if row == scores.len() {
            return 0.0;
        }
        (0..scores[row].len())
            .filter(|j| used >> j & 1 == 0)
            .map(|j| scores[row][j] + exhaustive(scores, row + 1, used | 1 << j))
            .fold(f64::NEG_INFINITY, f64::max)
    }

    proptest! {
        #[test]
        fn no_other_match_is_better(
            scores in (1usize..6, 0usize..3).prop_flat_map(|(rows, more)| {
                prop::collection::vec(prop::collection::vec(-1.0f64..1.0, rows + more), rows)
            }),
        ) {
            let (rows, cols) = (scores.len(), scores[0].len());
            let columns = assign(rows, cols, |i, j| scores[i][j]);
            let distinct: std::collections::BTreeSet<_> = columns.iter().collect();
            prop_assert_eq!(distinct.len(), rows);
            let total: f64 = columns.iter().enumerate().map(|(i, &j)| scores[i][j]).sum();
            prop_assert!((total - exhaustive(&scores, 0, 0)).abs() < 1e-9);
        }
    }

    #[test]
    fn the_greedy_choice_is_not_always_right() {
        let scores = [[0.9, 0.8], [0.85, 0.1]];
        assert_eq!(assign(2, 2, |i, j| scores[i][j]), [1, 0]);
        assert!(assign(0, 3, |_, _| 0.0).is_empty());
    }
}
