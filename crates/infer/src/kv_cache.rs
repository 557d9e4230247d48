//! The paged key/value cache (Kwon et al. 2023, "PagedAttention"): a *page* holds 64 positions of one
//! sequence, in every layer and key head; a sequence is a table of pages, and sequences that begin alike share them.
//!
//! A page is written by one sequence only; [`KvCache::fork`] shares whole pages and copies the last, unfinished one.
//! Memory is allocated when it is first needed, some pages at a time, and never for more than `pages_max`.
//!
//! **Invariant:** no token and no text is known here.

use std::ops::Range;

use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{BlockLayout, Isa, KEY_BLOCK, KeyValueBlocks, KeyValueType};

/// A sequence of the cache. Handed out again after [`KvCache::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceId(pub(crate) usize);

/// No page is free and no more may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache is full: {pages_max} pages of {KEY_BLOCK} positions are in use")]
pub struct CacheFull {
    /// How many there are.
    pub pages_max: usize,
}

/// Pages are made several at a time: the system gives huge pages to buffers of some size only, and without those attention
/// over 16 bits took 1.25 times as long.
const BUFFER_BYTES: usize = 8 << 20;

/// What the cache keeps of one position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSizes {
    /// What keys and values are kept as.
    pub kind: KeyValueType,
    /// Layers that attend.
    pub layers: usize,
    /// Key heads of each.
    pub key_heads: usize,
    /// Width of a head.
    pub head_width: usize,
}

impl CacheSizes {
    /// Units of 32 bits of a block.
    fn block(self, isa: Isa) -> usize {
        BlockLayout::new(isa, self.head_width, self.kind).len()
    }

    /// Bytes of one position of one sequence.
    pub fn position_bytes(self, isa: Isa) -> usize {
        self.block(isa) * self.key_heads * self.layers * size_of::<f32>() / KEY_BLOCK
    }
}

/// Pages and the tables of the sequences.
#[derive(Debug)]
pub struct KvCache {
    kind: KeyValueType,
    block: usize,
    heads: usize,
    page: usize,
    pages_max: usize,
    /// Pages in a buffer.
    in_a_buffer: usize,
    /// Each `[pages, layers, key heads, BlockLayout::len()]`, in units of 32 bits.
    buffers: Vec<Buffer>,
    /// Of each page, sequences that have it in their table.
    users: Vec<usize>,
    free: Vec<usize>,
    /// A closed sequence has no table.
    tables: Vec<Option<Vec<usize>>>,
}

/// Positions to pages.
pub fn pages_for(positions: usize) -> usize {
    positions.div_ceil(KEY_BLOCK)
}

impl KvCache {
    /// An empty one of such sizes, with at most `pages_max` pages.
    pub fn new(isa: Isa, sizes: CacheSizes, pages_max: usize) -> Self {
        let block = sizes.block(isa);
        let page = block * sizes.key_heads * sizes.layers;
        Self {
            kind: sizes.kind,
            block,
            heads: sizes.key_heads,
            page,
            pages_max,
            in_a_buffer: BUFFER_BYTES.div_ceil((page * size_of::<f32>()).max(1)).clamp(1, pages_max.max(1)),
            buffers: Vec::new(),
            users: Vec::new(),
            free: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> usize {
        self.page * size_of::<f32>()
    }

    /// Bytes that have been allocated; they stay until the cache is dropped.
    pub fn allocated_bytes(&self) -> usize {
        self.buffers.iter().map(|buffer| size_of_val(&**buffer)).sum()
    }

    /// Pages that no sequence uses, made or not.
    pub fn free_pages(&self) -> usize {
        self.free.len() + (self.pages_max - self.users.len())
    }

    /// An empty sequence.
    pub fn open(&mut self) -> SequenceId {
        let slot = self.tables.iter().position(Option::is_none).unwrap_or_else(|| {
            self.tables.push(None);
            self.tables.len() - 1
        });
        self.tables[slot] = Some(Vec::new());
        SequenceId(slot)
    }

    /// Forgets a sequence; pages that nobody else uses become free.
    pub fn close(&mut self, sequence: SequenceId) {
        for page in self.tables[sequence.0].take().unwrap_or_default() {
            self.users[page] -= 1;
            if self.users[page] == 0 {
                self.free.push(page);
            }
        }
    }

    /// Pages of a sequence.
    pub fn pages_of(&self, sequence: SequenceId) -> usize {
        self.tables[sequence.0].as_ref().map_or(0, Vec::len)
    }

    /// Makes room for `positions` positions of a sequence.
    pub fn reserve(&mut self, sequence: SequenceId, positions: usize) -> Result<(), CacheFull> {
        while self.pages_of(sequence) < pages_for(positions) {
            let page = self.take_page()?;
            self.table_mut(sequence).push(page);
        }
        Ok(())
    }

    /// A new sequence that begins with the first `positions` of another: whole pages are shared, the rest is copied.
    pub fn fork(&mut self, from: SequenceId, positions: usize) -> Result<SequenceId, CacheFull> {
        let whole = positions / KEY_BLOCK;
        let table: Vec<usize> = self.table_mut(from)[..pages_for(positions)].to_vec();
        let copy = if positions.is_multiple_of(KEY_BLOCK) { None } else { Some(self.take_page()?) };
        let sequence = self.open();
        for &page in &table[..whole] {
            self.users[page] += 1;
        }
        self.table_mut(sequence).extend_from_slice(&table[..whole]);
        if let Some(to) = copy {
            self.copy_page(table[whole], to);
            self.table_mut(sequence).push(to);
        }
        Ok(sequence)
    }

    fn table_mut(&mut self, sequence: SequenceId) -> &mut Vec<usize> {
        self.tables[sequence.0].as_mut().expect("only open sequences are used")
    }

    fn take_page(&mut self) -> Result<usize, CacheFull> {
        let page = match self.free.pop() {
            Some(page) => page,
            None if self.users.len() < self.pages_max => {
                let page = self.users.len();
                if page == self.buffers.len() * self.in_a_buffer {
                    let pages = self.in_a_buffer.min(self.pages_max - page);
                    self.buffers.push(Buffer::zeroed(pages * self.page));
                }
                self.users.push(0);
                page
            }
            None => return Err(CacheFull { pages_max: self.pages_max }),
        };
        self.users[page] = 1;
        Ok(page)
    }

    /// Where a page is: which buffer, and where in it.
    fn page(&self, page: usize) -> (usize, Range<usize>) {
        let start = page % self.in_a_buffer * self.page;
        (page / self.in_a_buffer, start..start + self.page)
    }

    fn copy_page(&mut self, from: usize, to: usize) {
        let ((from, from_range), (to, to_range)) = (self.page(from), self.page(to));
        if from == to {
            return self.buffers[to].copy_within(from_range, to_range.start);
        }
        let [from, to] = self.buffers.get_disjoint_mut([from, to]).expect("two buffers of the cache");
        to[to_range].copy_from_slice(&from[from_range]);
    }

    /// The page of a block, and where the block is in the page's buffer.
    fn place(&self, layer: usize, sequence: usize, head: usize, index: usize) -> (usize, Range<usize>) {
        let table = self.tables[sequence].as_ref().expect("only open sequences are used");
        let start = self.page(table[index]).1.start + (layer * self.heads + head) * self.block;
        (table[index], start..start + self.block)
    }
}

impl KeyValueBlocks for KvCache {
    fn kind(&self) -> KeyValueType {
        self.kind
    }

    fn block(&self, layer: usize, sequence: usize, head: usize, index: usize) -> &[f32] {
        let (page, range) = self.place(layer, sequence, head, index);
        &self.buffers[page / self.in_a_buffer][range]
    }

    fn block_mut(&mut self, layer: usize, sequence: usize, head: usize, index: usize) -> &mut [f32] {
        let (page, range) = self.place(layer, sequence, head, index);
        assert_eq!(self.users[page], 1, "a shared page is never written");
        self.buffers[page / self.in_a_buffer].part_mut(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: CacheSizes = CacheSizes { kind: KeyValueType::F32, layers: 2, key_heads: 3, head_width: 16 };

    fn cache(pages_max: usize) -> KvCache {
        KvCache::new(Isa::PORTABLE, SIZES, pages_max)
    }

    #[test]
    fn a_position_takes_the_bytes_of_its_keys_and_values() {
        let numbers = 2 * 2 * 3 * 16;
        let bytes = |kind| CacheSizes { kind, ..SIZES }.position_bytes(Isa::PORTABLE);
        assert_eq!(bytes(KeyValueType::F32), 4 * numbers);
        assert_eq!(bytes(KeyValueType::F16), 2 * numbers);
        assert_eq!(bytes(KeyValueType::Q8), numbers + 4 * 2 * 2 * 3, "codes, and a scale for each head and side");
    }

    #[test]
    fn pages_are_made_when_needed_and_used_again() {
        let mut cache = cache(3);
        assert_eq!((cache.allocated_bytes(), cache.free_pages()), (0, 3));
        let first = cache.open();
        cache.reserve(first, 65).unwrap();
        assert_eq!((cache.pages_of(first), cache.free_pages()), (2, 1));
        let second = cache.open();
        assert_eq!(cache.reserve(second, 129), Err(CacheFull { pages_max: 3 }));
        cache.close(first);
        assert_eq!(cache.reserve(second, 129), Ok(()));
        assert_eq!(cache.allocated_bytes(), 3 * cache.page_bytes());
    }

    #[test]
    fn a_fork_shares_whole_pages_and_copies_the_unfinished_one() {
        let mut cache = cache(4);
        let first = cache.open();
        cache.reserve(first, 100).unwrap();
        cache.block_mut(1, first.0, 2, 1)[5] = 7.0;
        let second = cache.fork(first, 70).unwrap();
        assert_eq!(cache.free_pages(), 1);
        assert_eq!(cache.block(1, second.0, 2, 1)[5], 7.0);
        cache.block_mut(1, second.0, 2, 1)[5] = 8.0;
        assert_eq!(cache.block(1, first.0, 2, 1)[5], 7.0);
        assert_eq!(cache.block(0, first.0, 0, 0).as_ptr(), cache.block(0, second.0, 0, 0).as_ptr());
        cache.close(first);
        assert_eq!(cache.free_pages(), 2, "the shared page is still used");
        cache.close(second);
        assert_eq!(cache.free_pages(), 4);
    }

    #[test]
    fn a_fork_copies_from_one_buffer_to_another() {
        let sizes = CacheSizes { head_width: 4096, ..SIZES };
        let mut cache = KvCache::new(Isa::PORTABLE, sizes, 3);
        assert!(cache.page_bytes() > BUFFER_BYTES);
        let first = cache.open();
        cache.reserve(first, 65).unwrap();
        assert_eq!(cache.allocated_bytes(), 2 * cache.page_bytes(), "no more than is needed");
        cache.block_mut(1, first.0, 2, 1)[5] = 7.0;
        let second = cache.fork(first, 65).unwrap();
        cache.block_mut(1, second.0, 2, 1)[6] = 8.0;
        assert_eq!(cache.block(1, second.0, 2, 1)[5..7], [7.0, 8.0]);
        assert_eq!(cache.block(1, first.0, 2, 1)[5..7], [7.0, 0.0]);
    }

    #[test]
    fn a_full_cache_forks_nothing_and_stays_as_it_was() {
        let mut cache = cache(1);
        let first = cache.open();
        cache.reserve(first, 10).unwrap();
        assert!(cache.fork(first, 5).is_err());
        assert_eq!((cache.pages_of(first), cache.free_pages()), (1, 0));
        let whole = cache.fork(first, 0).unwrap();
        assert_eq!(cache.pages_of(whole), 0);
    }
}
