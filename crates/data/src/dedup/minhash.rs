//! MinHash (Broder 1997) with buckets (locality-sensitive hashing, Indyk and Motwani 1998): texts that share many shingles
//! share the key of at least one bucket. The defaults are FineWeb's: 5-grams, 14 buckets of 8 hashes.
//!
//! Two texts of Jaccard similarity `s` share a bucket with probability `1 - (1 - s^rows)^buckets`.

use tsumugi_base::rng::{Key, Stream};

use crate::clean::hash::mix;

const FACTOR: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Hash functions, `rows` for each bucket.
#[derive(Debug, Clone)]
pub struct MinHash {
    rows: usize,
    factors: Vec<u64>,
    offsets: Vec<u64>,
}

impl MinHash {
    /// Functions that `seed` names.
    ///
    /// # Panics
    /// There are no buckets or no rows.
    pub fn new(buckets: usize, rows: usize, seed: u64) -> Self {
        assert!(buckets > 0 && rows > 0, "{buckets} buckets of {rows} hashes");
        let mut stream = Stream::new(Key::from_seed(seed));
        let hashes = buckets * rows;
        let factors = (0..hashes).map(|_| stream.next_u64() | 1).collect();
        Self { rows, factors, offsets: (0..hashes).map(|_| stream.next_u64()).collect() }
    }

    /// The least value of each function over all shingles. Shingles are random already, and a function turns them around as a
    /// multiplication by an odd number does, one to one: each is the least with the same probability.
    pub fn signature(&self, shingles: &[u64]) -> Vec<u64> {
        let mut least = vec![u64::MAX; self.factors.len()];
        for &shingle in shingles {
            for ((least, factor), offset) in least.iter_mut().zip(&self.factors).zip(&self.offsets) {
                *least = (*least).min(shingle.wrapping_mul(*factor).wrapping_add(*offset));
            }
        }
        least
    }

    /// The key of each bucket. No text without shingles has one.
    pub fn keys(&self, shingles: &[u64]) -> Vec<u64> {
        if shingles.is_empty() {
            return Vec::new();
        }
        let signature = self.signature(shingles);
        let key = |(bucket, rows): (usize, &[u64])| {
            rows.iter().fold(mix(bucket as u64 + 1, FACTOR), |state, &row| mix(state ^ row, FACTOR))
        };
        signature.chunks(self.rows).enumerate().map(key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::shingles::{jaccard, set};

    /// Two sets of random shingles that share `shared` of `size`.
    fn pair(key: Key, size: u64, shared: u64) -> (Vec<u64>, Vec<u64>) {
        let one = (0..size).map(|index| key.bits(index)).collect();
        let other = (0..size).map(|index| key.bits(if index < shared { index } else { index + size })).collect();
        (one, other)
    }

    #[test]
    fn equal_minima_are_as_frequent_as_the_sets_are_alike() {
        let hashes = 64;
        let functions = MinHash::new(1, hashes, 1);
        for shared in [20, 50, 80] {
            let mut equal = 0;
            let pairs = 400;
            let mut expected = 0.0;
            for index in 0..pairs {
                let (one, other) = pair(Key::from_seed(index).derive(&[shared]), 100, shared);
                let (a, b) = (functions.signature(&one), functions.signature(&other));
                equal += a.iter().zip(&b).filter(|(a, b)| a == b).count();
                expected = jaccard(&set(&one), &set(&other));
            }
            let found = equal as f64 / (pairs as usize * hashes) as f64;
            // Five standard deviations of that many independent trials.
            let deviation = (expected * (1.0 - expected) / (pairs as usize * hashes) as f64).sqrt();
            assert!((found - expected).abs() < 5.0 * deviation, "{found} for {expected}");
        }
    }

    #[test]
    fn a_bucket_is_shared_with_the_probability_of_the_formula() {
        let functions = MinHash::new(14, 8, 1);
        for (shared, expected) in [(60, 0.013), (84, 0.667), (95, 0.997)] {
            let similarity = shared as f64 / (200 - shared) as f64;
            let formula = 1.0 - (1.0 - similarity.powi(8)).powi(14);
            assert!((formula - expected).abs() < 0.02, "{formula}");
            let trials = 500;
            let found = (0..trials).filter(|&index| {
                let (one, other) = pair(Key::from_seed(index).derive(&[shared, 7]), 100, shared);
                functions.keys(&one).iter().zip(functions.keys(&other)).any(|(a, b)| *a == b)
            });
            let share = found.count() as f64 / trials as f64;
            let deviation = (formula * (1.0 - formula) / trials as f64).sqrt();
            assert!((share - formula).abs() < 5.0 * deviation + 0.005, "{share} for {formula}");
        }
        assert!(functions.keys(&[]).is_empty());
    }
}
