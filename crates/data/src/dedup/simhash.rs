//! SimHash (Charikar 2002; Manku et al. 2007): fingerprints of 64 bits, of which alike texts differ in few, and tables that
//! find all pairs within a distance without comparing all.

/// A bit is set where most shingles have it set. No text without shingles has a fingerprint.
pub fn fingerprint(shingles: &[u64]) -> Option<u64> {
    let mut counts = [0u32; 64];
    for shingle in shingles {
        for (bit, count) in counts.iter_mut().enumerate() {
            *count += (shingle >> bit & 1) as u32;
        }
    }
    let is_set = |count: u32| 2 * u64::from(count) > shingles.len() as u64;
    let print = counts.iter().rev().fold(0, |print, &count| print << 1 | u64::from(is_set(count)));
    (!shingles.is_empty()).then_some(print)
}

/// The largest distance that tables are made for.
pub const DISTANCE_MAX: u32 = 8;

/// Masks such that two fingerprints that differ in at most `distance` bits agree in all bits of at least one mask.
///
/// The 64 bits are cut into blocks, of which `distance` may differ: a mask is any choice of the others. More blocks make longer masks, so that
/// fewer fingerprints agree by chance, and more tables; there are as few as keep chance down for `count` fingerprints.
///
/// # Panics
/// `distance` is above [`DISTANCE_MAX`].
pub fn masks(distance: u32, count: u64) -> Vec<u64> {
    assert!(distance <= DISTANCE_MAX, "a distance of {distance}");
    let wanted = u64::BITS - count.leading_zeros() + 2;
    let mut blocks = distance + 1;
    while 64 * (blocks - distance) / blocks < wanted && choices(blocks + 1, distance) <= 128 {
        blocks += 1;
    }
    let block = |index: u32| {
        let (from, to) = (64 * index / blocks, 64 * (index + 1) / blocks);
        (from..to).fold(0u64, |mask, bit| mask | 1 << bit)
    };
    let chosen = (0u32..1 << blocks).filter(|choice| choice.count_ones() == blocks - distance);
    let mask =
        |choice: u32| (0..blocks).filter(|index| choice >> index & 1 == 1).fold(0, |mask, index| mask | block(index));
    chosen.map(mask).collect()
}

fn choices(of: u32, take: u32) -> u64 {
    (0..u64::from(take)).fold(1, |count, index| count * (u64::from(of) - index) / (index + 1))
}

/// Calls `join` with pairs that connect all of `group` that lie within `distance`: fingerprint and document, in
/// ascending order.
pub fn pairs_within(group: &[(u64, u32)], distance: u32, mut join: impl FnMut(u32, u32)) {
    let mut distinct: Vec<(u64, u32)> = Vec::new();
    for &(print, document) in group {
        match distinct.last() {
            Some(&(last, first)) if last == print => join(first, document),
            _ => {
                for &(other, first) in &distinct {
                    if (other ^ print).count_ones() <= distance {
                        join(first, document);
                    }
                }
                distinct.push((print, document));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::rng::{Key, Stream};

    #[test]
    fn a_bit_is_that_of_most_shingles() {
        assert_eq!(fingerprint(&[]), None);
        assert_eq!(fingerprint(&[0b1011]), Some(0b1011));
        assert_eq!(fingerprint(&[0b1011, 0b0010, 1 << 63 | 0b0001]), Some(0b0011));
    }

    #[test]
    fn no_pair_within_the_distance_escapes_all_masks() {
        let mut stream = Stream::new(Key::from_seed(1));
        for distance in 0..=DISTANCE_MAX {
            for count in [1, 10_000, 1 << 30] {
                let masks = masks(distance, count);
                assert!(masks.len() <= 128);
                for _ in 0..500 {
                    let differs = (0..distance).fold(0u64, |bits, _| bits | 1 << stream.below(64));
                    assert!(masks.iter().any(|mask| mask & differs == 0), "{differs:b} at {distance}");
                }
            }
        }
        assert_eq!((masks(3, 1000).len(), masks(3, 1 << 30).len()), (4, 35));
    }

    #[test]
    fn pairs_connect_what_lies_within() {
        let mut pairs = Vec::new();
        let group = [(0b0000, 4), (0b0000, 9), (0b0001, 2), (0b0111, 3)];
        pairs_within(&group, 1, |one, other| pairs.push((one, other)));
        assert_eq!(pairs, [(4, 9), (4, 2)]);
    }
}
