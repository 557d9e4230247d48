//! Attention of new rows over the engine's cache.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::gemm::with_scratch;
use super::super::micro::View;
use super::super::narrow;
use super::forward::{ChunkResult, HeadTask, RowBlock};
use super::layout::{BlockLayout, KEY_BLOCK, KeyValueType, Side};
use super::{Heads, SCRATCH};
use crate::cpu::Cpu;
use crate::half::to_bf16;
use crate::memory::Buffer;
use crate::operation::{CachedRows, KeyValueBlocks};

thread_local! {
    static WRITES: RefCell<Vec<Write>> = const { RefCell::new(Vec::new()) };
    static TASKS: RefCell<Tasks> = const { RefCell::new(Tasks { tasks: Vec::new(), waiting: Vec::new(), results: 0 }) };
    static RESULTS: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// Puts the keys and values of new rows into a cache, then attends to all that are there: `qkv [rows, Heads::row()]` to
/// `output [rows, query heads * width]`. Rows that `cached` does not cover come out 0.
///
/// # Panics
/// When it is not causal, sizes do not fit, rows overlap or are out of order, or a sequence comes twice: mistakes of the
/// caller.
pub fn forward_cached(
    cpu: &Cpu,
    heads: &Heads,
    layer: usize,
    qkv: &[f32],
    cached: &[CachedRows],
    cache: &mut dyn KeyValueBlocks,
    output: &mut [f32],
) {
    let rows = qkv.len() / heads.row();
    assert_eq!(output.len(), rows * heads.query * heads.width);
    assert!(heads.causal, "a cache holds what comes before; nothing later can be seen");
    let mut covered = 0;
    for new in cached {
        let (end, last) = (new.start.checked_add(new.len), new.position.checked_add(new.len));
        // Two tasks must not write one row. A sum that wraps ends nowhere.
        let end = end.filter(|&end| new.start >= covered && end <= rows && last.is_some());
        covered = end.unwrap_or_else(|| panic!("{new:?} of {rows} rows, {covered} taken"));
    }
    if cached.iter().map(|new| new.len).sum::<usize>() < rows {
        output.fill(0.0);
    }
    let layout = BlockLayout::new(cpu.isa(), heads.width, cache.kind());
    let call = Call { layout, heads, layer, cached, qkv: qkv.as_ptr(), output: output.as_mut_ptr() };
    call.write(cpu, cache);
    call.attend(cpu, &*cache);
}

/// What the tasks of one call share.
struct Call<'a> {
    layout: BlockLayout,
    heads: &'a Heads,
    layer: usize,
    cached: &'a [CachedRows],
    /// `[rows, Heads::row()]`
    qkv: *const f32,
    /// `[rows, query heads * width]`
    output: *mut f32,
}

// SAFETY: tasks write disjoint heads and rows.
unsafe impl Sync for Call<'_> {}

/// Some positions of one block to be written.
#[derive(Clone, Copy)]
struct Write {
    block: *mut f32,
    /// First row of the batch.
    row: usize,
    head: usize,
    /// Of the first position.
    slot: usize,
    count: usize,
}

/// The blocks to be written, shared between threads.
struct Writes<'a>(&'a [Write]);

// SAFETY: the blocks are disjoint, each has one task, and asking for one has not touched another (`KeyValueBlocks::block_mut`).
unsafe impl Sync for Writes<'_> {}

/// Positions that are not worth waking a thread for.
const FEW_POSITIONS: usize = 32;

impl Call<'_> {
    fn write(&self, cpu: &Cpu, cache: &mut dyn KeyValueBlocks) {
        WRITES.with_borrow_mut(|writes| {
            writes.clear();
            for new in self.cached {
                for head in 0..self.heads.key {
                    let mut done = 0;
                    while done < new.len {
                        let (block, slot) = ((new.position + done) / KEY_BLOCK, (new.position + done) % KEY_BLOCK);
                        let count = (KEY_BLOCK - slot).min(new.len - done);
                        let block = cache.block_mut(self.layer, new.sequence, head, block);
                        assert_eq!(block.len(), self.layout.len(), "a block of another layout");
                        writes.push(Write { block: block.as_mut_ptr(), row: new.start + done, head, slot, count });
                        done += count;
                    }
                }
            }
            writes.sort_unstable_by_key(|write| write.block);
            // Two tasks must not write one block.
            let bytes = self.layout.len() * size_of::<f32>();
            let apart = |pair: &[Write]| pair[0].block.addr() + bytes <= pair[1].block.addr();
            assert!(writes.windows(2).all(apart), "blocks of the cache overlap, or a sequence comes twice");
            let few = writes.iter().map(|write| write.count).sum::<usize>() <= FEW_POSITIONS;
            let writes = &Writes(writes);
            let task = |index: usize| {
                let writes: &Writes = writes;
                // SAFETY: rows and columns were checked; the block is this task's alone.
                unsafe { self.write_block(writes.0[index]) }
            };
            if few { (0..writes.0.len()).for_each(task) } else { cpu.pool().run(writes.0.len(), &task) }
        });
    }

    /// # Safety
    /// The rows are inside of the batch, the block is writable and nobody else's.
    unsafe fn write_block(&self, write: Write) {
        let (heads, width) = (self.heads, self.layout.width);
        // SAFETY: the head's columns are inside of each row.
        unsafe {
            let rows = View::rows(self.qkv.add(write.row * heads.row()), heads.row());
            let key = rows.at(0, (heads.query + write.head) * width);
            let value = rows.at(0, (heads.query + heads.key + write.head) * width);
            self.layout.write(write.block, (write.slot, write.count), [key, value]);
        }
    }

    fn attend(&self, cpu: &Cpu, cache: &dyn KeyValueBlocks) {
        TASKS.with_borrow_mut(|tasks| {
            tasks.make(self);
            let tasks = &*tasks;
            with_scratch(&RESULTS, tasks.results, |results| {
                let results = &Results(results.as_mut_ptr());
                cpu.pool().run(tasks.tasks.len(), &|index| {
                    // Probably this thread's next task.
                    let next = tasks.tasks.get(index + cpu.pool().threads());
                    let then = next.map_or(std::ptr::null(), |next| {
                        let (head_task, new) = (self.head_task(next), self.cached[next.new]);
                        let chunk = next.split.map_or_else(|| head_task.chunks(next.rows).start, |split| split.chunk);
                        let block = head_task.blocks(next.rows, chunk).start;
                        cache.block(self.layer, new.sequence, next.head, block).as_ptr()
                    });
                    // SAFETY: sizes were checked; each task has its own head of its own rows, or its own result.
                    unsafe { self.run(&tasks.tasks[index], tasks, results, cache, then) }
                });
            });
        });
    }

    fn head_task(&self, task: &Task) -> HeadTask<'_> {
        let (heads, new) = (self.heads, self.cached[task.new]);
        let group = heads.query / heads.key;
        let output_stride = heads.query * heads.width;
        HeadTask {
            layout: self.layout,
            heads,
            query: View::rows(
                self.qkv.wrapping_add(new.start * heads.row() + task.head * group * heads.width),
                heads.row(),
            ),
            output: self.output.wrapping_add(new.start * output_stride + task.head * group * heads.width),
            output_stride,
            log_sum: std::ptr::null_mut(),
            log_sum_stride: 0,
            head: task.head * group,
            count: new.len,
            start: new.position,
        }
    }

    /// # Safety
    /// The rows are inside of the batch, and nobody else's; the results are as long as the tasks say.
    unsafe fn run(&self, task: &Task, tasks: &Tasks, results: &Results, cache: &dyn KeyValueBlocks, then: *const f32) {
        let (head_task, new, rows) = (self.head_task(task), self.cached[task.new], task.rows);
        let block = |index: usize| {
            let block = cache.block(self.layer, new.sequence, task.head, index);
            assert_eq!(block.len(), self.layout.len(), "a block of another layout");
            block.as_ptr()
        };
        // SAFETY: the caller's promise.
        unsafe {
            let Some(split) = task.split else { return head_task.attend(rows, block, then) };
            let width = self.layout.width;
            let len = ChunkResult::len(rows, width);
            let result = |at: usize| {
                let memory = std::slice::from_raw_parts_mut(results.0.add(split.results + at * len), len);
                ChunkResult::in_memory(rows, width, memory)
            };
            let chunks = head_task.chunks(rows);
            head_task.attend_to_chunk(rows, split.chunk, &mut result(split.chunk - chunks.start), block, then);
            // Who comes last merges; the others' results are there then.
            if tasks.waiting[split.waiting].fetch_sub(1, Ordering::AcqRel) == 1 {
                head_task.merge(rows, (0..chunks.len()).map(result));
            }
        }
    }
}

/// Memory for results of chunks.
struct Results(*mut f32);

// SAFETY: each task has a part of its own, and the last one has all parts.
unsafe impl Sync for Results {}

/// Rows of one key head against all keys, or against one chunk of them.
#[derive(Clone, Copy)]
struct Task {
    /// Which of the new rows.
    new: usize,
    /// Key head.
    head: usize,
    rows: RowBlock,
    split: Option<Split>,
}

/// One of several chunks that are computed each for itself.
#[derive(Clone, Copy)]
struct Split {
    chunk: usize,
    /// Where the result of the rows' first chunk is.
    results: usize,
    /// Which counter has the chunks that are not done.
    waiting: usize,
}

/// The tasks of one call.
struct Tasks {
    tasks: Vec<Task>,
    waiting: Vec<AtomicUsize>,
    /// Numbers of all results.
    results: usize,
}

impl Tasks {
    /// A prompt has rows enough for all threads; one row, or few, are split by the keys that they see.
    fn make(&mut self, call: &Call) {
        self.tasks.clear();
        self.waiting.clear();
        self.results = 0;
        let heads = call.heads;
        let group = heads.query / heads.key;
        for (index, new) in call.cached.iter().enumerate() {
            for head in 0..heads.key {
                let first = self.tasks.len();
                for rows in RowBlock::all(group, new.len) {
                    let task = Task { new: index, head, rows, split: None };
                    let chunks = call.head_task(&task).chunks(rows);
                    if new.len > RowBlock::queries_max(group) || chunks.len() == 1 {
                        self.tasks.push(task);
                        continue;
                    }
                    let (results, waiting) = (self.results, self.waiting.len());
                    self.waiting.push(AtomicUsize::new(chunks.len()));
                    self.results += chunks.len() * ChunkResult::len(rows, heads.width);
                    let splits = chunks.map(|chunk| Some(Split { chunk, results, waiting }));
                    self.tasks.extend(splits.map(|split| Task { split, ..task }));
                }
                if new.len > RowBlock::queries_max(group) {
                    // The last rows see the most keys: a thread that began with those at the end would keep the others waiting.
                    self.tasks[first..].reverse();
                }
            }
        }
    }
}

impl BlockLayout {
    /// Puts the keys and values of some positions, from `slot`, into a block.
    ///
    /// # Safety
    /// The views hold `count` rows of `width`; `block` is writable for `len()`, and has the positions.
    unsafe fn write(&self, block: *mut f32, slots: (usize, usize), [key, value]: [View; 2]) {
        let (width, (slot, count)) = (self.width, slots);
        if self.kind == KeyValueType::Bf16 {
            // SAFETY: the caller's promise.
            return unsafe { self.write_pairs(block, slots, [key, value]) };
        }
        for (side, from) in [Side::Keys, Side::Values].into_iter().zip([key, value]) {
            // SAFETY: the caller's promise; the scratch has room for numbers of 16 bits or less.
            unsafe {
                let row = |at: usize| std::slice::from_raw_parts(from.at(at, 0).start, width);
                match self.kind {
                    KeyValueType::Bf16 => unreachable!("written in pairs"),
                    KeyValueType::F32 => self.place(side, block, slots, (from.start, from.row_stride)),
                    KeyValueType::F16 => with_scratch(&SCRATCH, count * width, |scratch| {
                        let halves = scratch.as_mut_ptr().cast::<u16>();
                        for at in 0..count {
                            let to = std::slice::from_raw_parts_mut(halves.add(at * width), width);
                            narrow::to_halves(self.isa, row(at), to);
                        }
                        self.place(side, block, slots, (halves, width));
                    }),
                    KeyValueType::Q8 => with_scratch(&SCRATCH, count * width, |scratch| {
                        let codes = scratch.as_mut_ptr().cast::<i8>();
                        let scales = block.add(self.scales_at(side) + slot);
                        for at in 0..count {
                            let to = std::slice::from_raw_parts_mut(codes.add(at * width), width);
                            *scales.add(at) = narrow::to_codes(self.isa, row(at), to);
                        }
                        self.place(side, block, slots, (codes, width));
                    }),
                }
            }
        }
    }

    /// [`Self::write`] in bfloat16. The later half of a pair of values is 0 until it is written.
    ///
    /// # Safety
    /// As [`Self::write`].
    unsafe fn write_pairs(&self, block: *mut f32, (slot, count): (usize, usize), [key, value]: [View; 2]) {
        let (width, depth) = (self.width, self.depth());
        // SAFETY: the caller's promise, and the layout of a block.
        unsafe {
            if count == KEY_BLOCK {
                return self.pack(key, value, count, block);
            }
            with_scratch(&SCRATCH, count * depth, |scratch| {
                self.gather(key, (count, width), scratch.as_mut_ptr());
                for (at, row) in scratch.chunks_exact(depth).enumerate().take(count) {
                    for (unit, &pair) in row.iter().enumerate() {
                        *block.add(self.key_pair_at(slot + at, unit)) = pair;
                    }
                }
            });
            for at in 0..count {
                let row = std::slice::from_raw_parts(value.at(at, 0).start, width);
                for (column, &number) in row.iter().enumerate() {
                    let pair = block.add(self.value_pair_at((slot + at) / 2, column)).cast::<u16>();
                    if (slot + at).is_multiple_of(2) {
                        *pair = to_bf16(number);
                        *pair.add(1) = 0;
                    } else {
                        *pair.add(1) = to_bf16(number);
                    }
                }
            }
        }
    }

    /// Puts rows of numbers as they are stored, `stride` apart, into one side of a block.
    ///
    /// # Safety
    /// `from` holds `count` rows of `width`; `block` is writable for `len()`, has the positions, and stores T.
    unsafe fn place<T: Copy>(
        &self,
        side: Side,
        block: *mut f32,
        (slot, count): (usize, usize),
        (from, stride): (*const T, usize),
    ) {
        // SAFETY: the caller's promise, and the layout of a block.
        unsafe {
            match side {
                Side::Keys => {
                    let to = block.cast::<T>().add(slot);
                    for column in 0..self.width {
                        for at in 0..count {
                            *to.add(column * KEY_BLOCK + at) = *from.add(at * stride + column);
                        }
                    }
                }
                Side::Values => {
                    let to = block.add(self.keys_len()).cast::<T>().add(slot * self.columns);
                    for at in 0..count {
                        std::ptr::copy_nonoverlapping(from.add(at * stride), to.add(at * self.columns), self.width);
                    }
                }
            }
        }
    }
}
