//! The extended binary Golay code: 4,096 words of 24 bits, any two of which differ in at least 8.

/// All words, by the quadratic residues modulo 23 and a parity bit (Conway and Sloane 1999, chapter 3).
pub fn golay() -> Vec<u32> {
    const RESIDUES: [u32; 11] = [1, 2, 3, 4, 6, 8, 9, 12, 13, 16, 18];
    // The shifts of the residues span a code of twelve dimensions; the parity bit makes every weight even.
    let generator: u32 = RESIDUES.iter().map(|i| 1 << i).sum();
    let shifted = |k: u32| ((generator << k) | (generator >> (23 - k))) & 0x7f_ffff;
    let with_parity = |w: u32| w | (w.count_ones() & 1) << 23;
    let mut words = vec![0u32];
    for k in 0..23 {
        let word = with_parity(shifted(k));
        if !words.contains(&word) {
            let more: Vec<u32> = words.iter().map(|w| w ^ word).collect();
            words.extend(more);
        }
    }
    words
}

/// The words of weight eight, each the set of its ones.
pub fn octads() -> Vec<u32> {
    golay().into_iter().filter(|w| w.count_ones() == 8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_golay_code() {
        let words = golay();
        assert_eq!(words.len(), 4096);
        let count = |w: u32| words.iter().filter(|v| v.count_ones() == w).count();
        assert_eq!([0, 8, 12, 16, 24].map(count), [1, 759, 2576, 759, 1]);
    }
}
