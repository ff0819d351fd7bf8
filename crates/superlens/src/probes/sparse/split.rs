//! Which rows a probe is fitted to, and which judge it.

use std::ops::Range;

use superlens_tensor::Rng;

/// Blocks of consecutive rows, at most, and rows of a block at least.
const BLOCKS: usize = 100;
const LEAST: usize = 8;
/// Of so many blocks that follow one another three are held out, by lot.
const TURN: usize = 10;
const HELD_OF_TURN: usize = 3;

/// Whole blocks of rows, since rows that follow one another resemble one another: seven of ten to fit to, three to judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub train: Vec<Range<usize>>,
    pub held_out: Vec<Range<usize>>,
}

impl Split {
    /// Of `0..rows`: up to 100 blocks of about equal length, of eight rows at least.
    pub fn new(rows: usize, rng: &Rng) -> Split {
        let blocks = (rows / LEAST).clamp(2, BLOCKS);
        let mut rng = rng.fork("split");
        let mut held = vec![false; blocks];
        for turn in (0..blocks).step_by(TURN) {
            let of = TURN.min(blocks - turn);
            let some = (of * HELD_OF_TURN + TURN / 2) / TURN;
            rng.permutation(of)[..some].iter().for_each(|b| held[turn + b] = true);
        }
        let block = |b: usize| b * rows / blocks..(b + 1) * rows / blocks;
        let part = |out: bool| (0..blocks).filter(|&b| held[b] == out).map(block).collect();
        Split { train: part(false), held_out: part(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_rows_and_three_of_ten_are_held_out() {
        for rows in [2, 3, 20, 1000, 12_345] {
            let split = Split::new(rows, &Rng::new(1));
            let mut all: Vec<usize> = split.train.iter().chain(&split.held_out).flat_map(Clone::clone).collect();
            all.sort_unstable();
            assert_eq!(all, (0..rows).collect::<Vec<_>>());
            assert!(!split.train.is_empty() && !split.held_out.is_empty(), "{split:?}");
        }
        let split = Split::new(12_345, &Rng::new(1));
        assert_eq!((split.train.len(), split.held_out.len()), (70, 30));
        assert_ne!(split, Split::new(12_345, &Rng::new(2)));
    }
}
