//! The area under the ROC curve.

use super::POSITIVE;
use rayon::prelude::*;
use superlens_tensor::Mat;

/// Area under the ROC curve of `scores` for `labels`: the probability that a positive row scores above a negative one, ties counted half
/// (Hanley and McNeil 1982, *The meaning and use of the area under a receiver operating characteristic curve*).
///
/// `None` where one class is missing. Panics where the numbers of scores and labels differ.
pub fn auc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    assert_eq!(scores.len(), labels.len(), "scores and labels");
    let positive = labels.iter().filter(|l| **l).count();
    let negative = labels.len() - positive;
    if positive == 0 || negative == 0 {
        return None;
    }
    // −0 and 0 are one score.
    let score = |i: usize| scores[i] + 0.0;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_unstable_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
    // Twice the sum of the positives' midranks: whole numbers, so that the answer is exact.
    let (mut twice, mut from) = (0u64, 0);
    while from < order.len() {
        let to = from + order[from..].iter().take_while(|&&i| score(i) == score(order[from])).count().max(1);
        let here = order[from..to].iter().filter(|&&i| labels[i]).count();
        twice += (here * (from + 1 + to)) as u64;
        from = to;
    }
    let least = (positive * (positive + 1)) as u64;
    Some((twice - least) as f64 / (2.0 * positive as f64 * negative as f64))
}

/// [`auc()`] of every column of `scores` `[rows, concepts]` for that column of `labels` `[rows, concepts]`, zeros and ones.
pub fn column_aucs(scores: &Mat, labels: &Mat) -> Vec<Option<f64>> {
    assert_eq!(scores.shape(), labels.shape(), "scores and labels");
    (0..scores.cols())
        .into_par_iter()
        .map(|c| {
            let column: Vec<f32> = (0..scores.rows()).map(|i| scores[(i, c)]).collect();
            let positive: Vec<bool> = (0..labels.rows()).map(|i| labels[(i, c)] > POSITIVE).collect();
            auc(&column, &positive)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cases_are_exact() {
        let (t, f) = (true, false);
        assert_eq!(auc(&[0.1, 0.4, 0.35, 0.8], &[f, f, t, t]), Some(0.75));
        assert_eq!(auc(&[1.0, 2.0, 3.0], &[f, f, t]), Some(1.0));
        assert_eq!(auc(&[1.0, 2.0, 3.0], &[t, f, f]), Some(0.0));
        assert_eq!(auc(&[0.0, -0.0, 0.0], &[t, f, f]), Some(0.5));
        // The pairs: 1 against 0 and 1, 2 against 0 and 1, of which one is a tie.
        assert_eq!(auc(&[1.0, 1.0, 0.0, 2.0], &[t, f, f, t]), Some(3.5 / 4.0));
        assert_eq!(auc(&[1.0, 2.0], &[t, t]), None);
        assert_eq!(auc(&[], &[]), None);
    }
}
