//! A probe on few columns.

use superlens_tensor::Mat;

use super::f1::{Confusion, best_threshold};
use super::ground::{Ground, Target};
use crate::probes::Logistic;

/// Half the penalty on squared weights, as in [`Logistic::fit`].
pub(super) const RIDGE: f64 = 1e-3;

/// What a probe says of the rows of both parts.
pub(super) struct Scores {
    pub train: Vec<f32>,
    pub held_out: Vec<f32>,
}

impl Scores {
    /// Of a probe fitted to `train` `[training rows, k]`.
    ///
    /// With one column the odds are a rising or falling function of it. Thresholds and ranks don't see which, so that the sign
    /// alone is fitted: that of the difference of means, as the slope of the loss at zero has it and its convexity keeps.
    pub fn new(train: &Mat, held_out: &Mat, target: &Target) -> Scores {
        if train.cols() != 1 {
            let fitted = Logistic::fit(train, &target.column(), RIDGE);
            return Scores { train: fitted.scores(train).into_vec(), held_out: fitted.scores(held_out).into_vec() };
        }
        let (mut there, mut not) = (0.0f64, 0.0f64);
        for (v, label) in train.data().iter().zip(&target.train) {
            *(if *label { &mut there } else { &mut not }) += f64::from(*v);
        }
        let others = target.train.len() - target.positives;
        let rises = there / target.positives.max(1) as f64 >= not / others.max(1) as f64;
        let signed = |m: &Mat| m.data().iter().map(|v| if rises { *v } else { -*v }).collect();
        Scores { train: signed(train), held_out: signed(held_out) }
    }

    /// Of a probe on the units of `support`.
    pub fn of_units(ground: &Ground, target: &Target, support: &[usize]) -> Scores {
        let gather = |rows: &[usize]| Mat::from_fn(rows.len(), support.len(), |i, j| ground.x[(rows[i], support[j])]);
        Scores::new(&gather(&ground.train), &gather(&ground.held_out), target)
    }

    pub fn threshold(&self, target: &Target) -> f32 {
        best_threshold(&self.train, &target.train)
    }

    /// On held-out rows, with the threshold that is best on the training rows.
    pub fn f1(&self, target: &Target) -> f64 {
        Confusion::new(&self.held_out, &target.held_out, self.threshold(target)).f1()
    }
}
