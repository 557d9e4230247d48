//! Buffers in huge pages, and the arena that a plan lays its values in.
//!
//! Transparent huge pages are off on most machines unless a program asks; asking gave 1.8 times the
//! memory bandwidth (docs/decisions/0001).

#![allow(unsafe_code)] // mapping memory and handing out disjoint slices

use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4 << 10;
const CACHE_LINE: usize = 64;

/// `len` zeroed float32, aligned to a cache line; at 2 MiB or more in huge pages where the system gives them.
pub struct Buffer {
    start: NonNull<f32>,
    len: usize,
    layout: std::alloc::Layout,
}

// SAFETY: a buffer owns its memory; access follows the borrow of the buffer.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Bytes of memory that a buffer of `len` numbers takes: whole cache lines or pages. None if that is more than
    /// the address space.
    pub fn bytes(len: usize) -> Option<usize> {
        layout(len).map(|layout| layout.size())
    }

    /// Zeroed.
    ///
    /// # Panics
    /// When `len` numbers are more than the address space: a mistake of the caller.
    pub fn zeroed(len: usize) -> Self {
        let layout = layout(len).expect("a buffer is smaller than the address space");
        let huge = layout.align() == HUGE_PAGE;
        // SAFETY: the layout is not empty.
        let start = unsafe { std::alloc::alloc(layout) };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { std::alloc::handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if huge {
            // SAFETY: advice about memory that we own; a refusal changes nothing.
            unsafe { libc::madvise(start.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the memory is ours and this large.
        unsafe { start.as_ptr().cast::<u8>().write_bytes(0, layout.size()) };
        Self { start, len, layout }
    }
}

impl Buffer {
    /// A part of it, to write. Unlike `&mut buffer[range]` this borrows no other part on the way, so that a pointer into one
    /// part stays good while the next one is asked for.
    ///
    /// # Panics
    /// When the range is not inside of the buffer: a mistake of the caller.
    pub fn part_mut(&mut self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: initialized memory inside of the buffer, borrowed mutably with self.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Its memory as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        bytes_of(self)
    }
}

/// Numbers as the bytes that they are.
pub fn bytes_of(numbers: &[f32]) -> &[u8] {
    // SAFETY: the same memory for the same time; every bit pattern is a byte.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}

/// The same, to change.
pub fn bytes_of_mut(numbers: &mut [f32]) -> &mut [u8] {
    // SAFETY: the same memory for the same time; every bit pattern is a byte, and any four bytes are a number.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), size_of_val(numbers)) }
}

/// Whole cache lines for `len` numbers, or huge pages and a tail of small ones: whole huge pages would be a third more than a
/// matrix of 4.5 MiB. None if that is more than the address space.
fn layout(len: usize) -> Option<std::alloc::Layout> {
    let bytes = len.checked_mul(size_of::<f32>())?.max(CACHE_LINE);
    let (align, unit) = if bytes >= HUGE_PAGE { (HUGE_PAGE, PAGE) } else { (CACHE_LINE, CACHE_LINE) };
    std::alloc::Layout::from_size_align(bytes.checked_next_multiple_of(unit)?, align).ok()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr().cast(), self.layout) }
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: initialized memory of this length, borrowed with self.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed mutably with self.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} float32)", self.len)
    }
}

/// Lends parts of one slice, some to read and some to write, after checking that no part that is
/// written overlaps any other.
pub struct Lender<'a> {
    start: *mut f32,
    len: usize,
    lent: [(usize, usize, bool); 32],
    count: usize,
    _memory: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Lender<'a> {
    /// More parts than any operation has.
    pub const PARTS_MAX: usize = 32;

    /// Lends from `memory`.
    pub fn new(memory: &'a mut [f32]) -> Self {
        Self {
            start: memory.as_mut_ptr(),
            len: memory.len(),
            lent: [(0, 0, false); Self::PARTS_MAX],
            count: 0,
            _memory: std::marker::PhantomData,
        }
    }

    fn record(&mut self, range: &Range<usize>, write: bool) {
        assert!(range.start <= range.end && range.end <= self.len, "part {range:?} of {} floats", self.len);
        if range.is_empty() {
            return;
        }
        for &(start, end, other_write) in &self.lent[..self.count] {
            let overlap = range.start < end && start < range.end;
            assert!(!(overlap && (write || other_write)), "part {range:?} overlaps {start}..{end}, and one is written");
        }
        self.lent[self.count] = (range.start, range.end, write);
        self.count += 1;
    }

    /// A part to read.
    ///
    /// # Panics
    /// When it is out of bounds or overlaps a part that is written: a mistake of the planner.
    pub fn read(&mut self, range: Range<usize>) -> &'a [f32] {
        self.record(&range, false);
        // SAFETY: in bounds, and no part lent for writing overlaps it.
        unsafe { std::slice::from_raw_parts(self.start.add(range.start), range.len()) }
    }

    /// A part to write.
    ///
    /// # Panics
    /// As [`Self::read`], and when it overlaps any other part.
    pub fn write(&mut self, range: Range<usize>) -> &'a mut [f32] {
        self.record(&range, true);
        // SAFETY: in bounds, and no other part lent overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_as_long_as_asked() {
        for len in [0, 1, 17, 600_000] {
            let buffer = Buffer::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
            assert_eq!(buffer.as_ptr() as usize % CACHE_LINE, 0);
        }
    }

    #[test]
    fn a_length_whose_bytes_wrap_is_refused() {
        for len in [usize::MAX / 4 + 2, usize::MAX / 4, usize::MAX, 1 << 62] {
            assert_eq!(layout(len), None, "{len}");
        }
        assert_eq!(Buffer::bytes(0), Some(CACHE_LINE));
        assert_eq!(Buffer::bytes(600_000), Some(586 * PAGE), "2.3 MiB");
        assert_eq!(layout(600_000).map(|layout| layout.align()), Some(HUGE_PAGE));
    }

    #[test]
    fn reads_may_overlap_reads() {
        let mut memory = [1.0, 2.0, 3.0];
        let mut lender = Lender::new(&mut memory);
        assert_eq!(lender.read(0..2).len() + lender.read(1..3).len(), 4);
    }

    #[test]
    fn a_write_may_overlap_nothing() {
        let overlapping = std::panic::catch_unwind(|| {
            let mut memory = [1.0, 2.0, 3.0];
            let mut lender = Lender::new(&mut memory);
            let _read = lender.read(0..2);
            let _write = lender.write(1..3);
        });
        assert!(overlapping.is_err());
    }
}
