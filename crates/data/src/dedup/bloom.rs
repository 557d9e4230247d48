//! A Bloom filter (Bloom 1970): a set in bounded memory that sometimes claims to hold what it does not.

/// A set of 128-bit hashes.
#[derive(Debug, Clone)]
pub struct Bloom {
    words: Vec<u64>,
    hashes: u32,
}

impl Bloom {
    /// What a filter for `items` takes, in bytes, if at most `rate` of what is not in it shall seem to be.
    pub fn bytes(items: u64, rate: f64) -> u64 {
        let bits = -(items.max(1) as f64) * rate.ln() / std::f64::consts::LN_2.powi(2);
        (bits / 64.0).ceil() as u64 * 8
    }

    /// An empty filter.
    ///
    /// # Panics
    /// `rate` is not between 0 and 1.
    pub fn new(items: u64, rate: f64) -> Self {
        assert!(rate > 0.0 && rate < 1.0, "a rate of {rate}");
        let words = usize::try_from(Self::bytes(items, rate) / 8).expect("it fits into the address space");
        let hashes = (-rate.log2()).round().max(1.0) as u32;
        Self { words: vec![0; words], hashes }
    }

    /// Puts a hash in. Whether it seemed to be there before.
    pub fn insert(&mut self, hash: [u8; 16]) -> bool {
        let mut was_there = true;
        for bit in self.bits_of(hash) {
            let (word, mask) = (&mut self.words[bit / 64], 1 << (bit % 64));
            was_there &= *word & mask != 0;
            *word |= mask;
        }
        was_there
    }

    /// All places from two hashes (Kirsch and Mitzenmacher 2006).
    fn bits_of(&self, hash: [u8; 16]) -> impl Iterator<Item = usize> + use<> {
        let hash = u128::from_le_bytes(hash);
        let (first, step) = (hash as u64, (hash >> 64) as u64 | 1);
        let bits = self.words.len() as u128 * 64;
        (0..u64::from(self.hashes)).map(move |index| {
            let place = first.wrapping_add(step.wrapping_mul(index));
            ((u128::from(place) * bits) >> 64) as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::pieces::hash;

    #[test]
    fn it_never_forgets_and_is_wrong_as_seldom_as_it_says() {
        for rate in [0.1, 0.01, 0.001] {
            let mut filter = Bloom::new(20_000, rate);
            let item = |index: u32| hash(&index.to_le_bytes());
            let seemed = (0..20_000).filter(|&index| filter.insert(item(index))).count();
            assert!((0..20_000).all(|index| filter.insert(item(index))), "what was put in is there");
            let seems = |index| filter.bits_of(item(index)).all(|bit| filter.words[bit / 64] >> (bit % 64) & 1 == 1);
            let wrong = (20_000..40_000).filter(|&index| seems(index)).count();
            assert!((wrong as f64) < 1.3 * rate * 20_000.0 + 5.0 && seemed <= wrong + 5, "{wrong} at {rate}");
        }
        assert_eq!(Bloom::bytes(1_000_000, 0.01), 1_198_136);
    }
}
