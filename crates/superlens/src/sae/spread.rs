//! [`Sums`]: sums over rows of many quantities that are mostly 0, and how sure their signs are.

/// Rows that count as one observation: neighbouring tokens resemble one another.
const BLOCK: usize = 64;
/// Standard errors from 0 of a sum whose sign is clear: by chance one in twenty of those whose mean is 0.
const CLEAR: f64 = 1.96;

/// Totals, and the scatter of the sums over blocks of rows about their mean.
pub(super) struct Sums {
    totals: Vec<f64>,
    squares: Vec<f64>,
    /// Of the present block, and which are not 0 there.
    block: Vec<f64>,
    touched: Vec<usize>,
    rows: usize,
}

impl Sums {
    pub fn new(n: usize) -> Self {
        Sums { totals: vec![0.0; n], squares: vec![0.0; n], block: vec![0.0; n], touched: Vec::new(), rows: 0 }
    }

    /// Adds to the quantity `j` in the present row.
    pub fn add(&mut self, j: usize, value: f64) {
        if self.block[j] == 0.0 {
            self.touched.push(j);
        }
        self.block[j] += value;
    }

    /// Goes on to the next row.
    pub fn end_row(&mut self) {
        self.rows += 1;
        if self.rows.is_multiple_of(BLOCK) {
            for j in self.touched.drain(..) {
                let sum = std::mem::take(&mut self.block[j]);
                self.totals[j] += sum;
                self.squares[j] += sum * sum;
            }
        }
    }

    /// Quantities.
    pub fn len(&self) -> usize {
        self.totals.len()
    }

    pub fn total(&self, j: usize) -> f64 {
        self.totals[j] + self.block[j]
    }

    /// Whether so large a total is more than chance, by its standard error from the sums of blocks. With fewer than two blocks nothing is.
    pub fn is_clear(&self, j: usize) -> bool {
        let blocks = self.rows.div_ceil(BLOCK) as f64;
        let scatter = self.squares[j] + self.block[j].powi(2) - self.total(j).powi(2) / blocks;
        blocks > 1.0 && self.total(j).abs() > CLEAR * (scatter.max(0.0) * blocks / (blocks - 1.0)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use superlens_tensor::Rng;

    #[test]
    fn a_shift_is_clear_and_chance_is_not() {
        let mut rng = Rng::new(0).fork("sums");
        let (n, rows) = (600, 64 * 30 + 7);
        let mut sums = Sums::new(n);
        for _ in 0..rows {
            for j in 0..n {
                // The first two hundred have the mean 0.
                let noise = f64::from(rng.normal());
                sums.add(j, if j < 200 { noise } else { noise + 0.2 });
            }
            sums.end_row();
        }
        let clear = |from: usize, to: usize| (from..to).filter(|&j| sums.is_clear(j)).count();
        assert!(clear(0, 200) < 30, "{} of 200 by chance", clear(0, 200));
        assert_eq!(clear(200, 600), 400);
        assert!((sums.total(300) / rows as f64 - 0.2).abs() < 0.1);
    }

    #[test]
    fn rows_that_repeat_one_another_count_once() {
        let mut rng = Rng::new(1).fork("sums");
        let mut sums = Sums::new(300);
        for _ in 0..40 {
            let same: Vec<f64> = (0..300).map(|_| f64::from(rng.normal())).collect();
            for _ in 0..BLOCK {
                same.iter().enumerate().for_each(|(j, v)| sums.add(j, *v));
                sums.end_row();
            }
        }
        let clear = (0..300).filter(|&j| sums.is_clear(j)).count();
        assert!(clear < 40, "{clear} of 300");
        let mut few = Sums::new(1);
        (0..BLOCK).for_each(|_| (few.add(0, 1.0), few.end_row()).1);
        assert!(!few.is_clear(0) && few.total(0) == BLOCK as f64);
    }
}
