//! Bits in which words differ, many words at a time: inner products of signs.
//!
//! The loop is plain; what makes it fast is the instruction that the compiler may use for `count_ones`. So it is compiled three
//! times and the machine is asked which one it has.

/// `out[i · right + j]` = bits in which corner `i` of `left` differs from corner `j` of `right`, each corner `words` words.
///
/// Panics where `left`, `right` and `out` don't fit together.
pub fn differing(left: &[u64], right: &[u64], words: usize, out: &mut [u32]) {
    assert!(
        words > 0 && left.len().is_multiple_of(words) && right.len().is_multiple_of(words),
        "{} and {} words in corners of {words}",
        left.len(),
        right.len()
    );
    assert_eq!(out.len(), left.len() / words * (right.len() / words), "a count for each pair");
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vpopcntdq") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the machine has just said that it has these instructions.
            return unsafe { with_vector_popcount(left, right, words, out) };
        }
        if is_x86_feature_detected!("popcnt") {
            // SAFETY: as above.
            return unsafe { with_popcount(left, right, words, out) };
        }
    }
    plain(left, right, words, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn with_vector_popcount(left: &[u64], right: &[u64], words: usize, out: &mut [u32]) {
    plain(left, right, words, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
fn with_popcount(left: &[u64], right: &[u64], words: usize, out: &mut [u32]) {
    plain(left, right, words, out);
}

#[inline(always)]
fn plain(left: &[u64], right: &[u64], words: usize, out: &mut [u32]) {
    let across = right.len() / words;
    for (a, out) in left.chunks_exact(words).zip(out.chunks_exact_mut(across.max(1))) {
        for (b, out) in right.chunks_exact(words).zip(out) {
            *out = a.iter().zip(b).map(|(a, b)| u64::from((a ^ b).count_ones())).sum::<u64>() as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn every_build_counts_the_same_bits() {
        let mut rng = Rng::new(5);
        for words in [1, 3, 8, 64, 65] {
            let mut draw = |n: usize| (0..n * words).map(|_| rng.next_u64()).collect::<Vec<u64>>();
            let (left, right) = (draw(7), draw(5));
            let want: Vec<u32> = (0..35)
                .map(|k| {
                    let (i, j) = (k / 5, k % 5);
                    let bit = |w: &[u64], i: usize, b: usize| w[i * words + b / 64] >> (b % 64) & 1;
                    (0..64 * words).filter(|&b| bit(&left, i, b) != bit(&right, j, b)).count() as u32
                })
                .collect();
            let mut got = vec![0; 35];
            differing(&left, &right, words, &mut got);
            assert_eq!(got, want);
            plain(&left, &right, words, &mut got);
            assert_eq!(got, want);
        }
        differing(&[], &[1], 1, &mut []);
    }
}
