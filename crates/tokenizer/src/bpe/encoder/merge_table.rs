//! Which pairs merge.

use super::word_table::KeyedHash;
use super::{Merge, NONE};
use crate::TokenId;

/// The rank of each pair of neighbours that merges: a table with open addressing, at most half full.
pub(super) struct MergeTable {
    /// Bits that merges' keys fall on: most pairs do not merge, and these stay in the cache.
    seen: Box<[u64]>,
    /// Left and right token, rank.
    slots: Box<[[u32; 3]]>,
    /// What the merge of each rank makes.
    pub wholes: Vec<TokenId>,
    /// Odd and by chance, so that no file can be made to be slow (Dietzfelbinger et al. 1997, multiply-shift).
    multiplier: u64,
    shift: u32,
}

/// The rank of two tokens that do not merge.
pub(super) const NO_MERGE: u32 = u32::MAX;

impl MergeTable {
    /// Of the merges that `is_made` lets; of equal pairs the last counts, as in Hugging Face's.
    pub fn new(merges: &[Merge], is_made: impl Fn(&Merge) -> bool) -> Self {
        let size = (2 * merges.len()).next_power_of_two().max(16);
        let mut table = Self {
            seen: vec![0; size.div_ceil(16)].into_boxed_slice(),
            slots: vec![[NONE, NONE, NO_MERGE]; size].into_boxed_slice(),
            wholes: merges.iter().map(|merge| merge.whole).collect(),
            multiplier: KeyedHash::default().0 | 1,
            shift: 64 - size.trailing_zeros(),
        };
        for (merge, rank) in merges.iter().zip(0..).filter(|(merge, _)| is_made(merge)) {
            let hash = table.hash(merge.left, merge.right);
            let slot = table.find(hash, merge.left, merge.right);
            table.slots[slot] = [merge.left, merge.right, rank];
            let (word, bit) = table.bit(hash);
            table.seen[word] |= bit;
        }
        table
    }

    /// Its highest bits say where a pair is.
    fn hash(&self, left: TokenId, right: TokenId) -> u64 {
        (u64::from(left) << 32 | u64::from(right)).wrapping_mul(self.multiplier)
    }

    /// Where a pair's bit is.
    fn bit(&self, hash: u64) -> (usize, u64) {
        let place = hash >> (self.shift - SEEN_LOG2);
        ((place >> 6) as usize, 1 << (place & 63))
    }

    /// Where a pair stands, or where it would.
    fn find(&self, hash: u64, left: TokenId, right: TokenId) -> usize {
        let mut slot = (hash >> self.shift) as usize;
        loop {
            let [found_left, found_right, rank] = self.slots[slot];
            if (found_left, found_right) == (left, right) || rank == NO_MERGE {
                return slot;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    pub fn rank(&self, left: TokenId, right: TokenId) -> u32 {
        let hash = self.hash(left, right);
        let (word, bit) = self.bit(hash);
        match self.seen[word] & bit {
            0 => NO_MERGE,
            _ => self.slots[self.find(hash, left, right)][2],
        }
    }
}

/// Bits of [`MergeTable::seen`] for each slot.
const SEEN_LOG2: u32 = 2;
