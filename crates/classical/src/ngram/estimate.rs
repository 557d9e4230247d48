//! From adjusted counts to probabilities and back-off weights.
//!
//! With `a` the adjusted count, `D` the discount of the order, `c` the context of an n-gram and `c'` the context without its
//! first word (Chen and Goodman 1998, §3.2; with pruned n-grams as in Heafield et al. 2013, §3.3):
//!
//! ```text
//! p(w | c) = (a(c w) - D(a(c w))) / Σ a(c x)  +  γ(c) p(w | c')
//! γ(c)     = (Σ D(a(c x)) over kept x  +  Σ a(c x) over pruned x) / Σ a(c x)
//! ```
//!
//! The sums go over the n-grams of one context, which do not lie together in suffix order, and sorting them into another
//! order and back is most of the work of `lmplz`. Here nothing is sorted: where the context of an n-gram lies on the level
//! below follows from where the context of its ending lies two levels below. For `w1 … wn` the ending is the parent
//! `w2 … wn`; with the parent's context `q = w2 … w(n-1)` known, the context `w1 … w(n-1)` is the child of `q` with the word
//! `w1`. Siblings ask for the children of the same `q` in order of `w1`, so that a walk finds them.
//!
//! The contexts of one order are cut into slices that fit the memory; each thread walks the level for a slice of its own.
//! A sum is of whole numbers or, for `D`, in the order of the level: the bits do not depend on the slices.

use std::ops::Range;

use tsumugi_base::FileError;

use super::column::{Column, ColumnReader, ColumnWriter, Scratch};
use super::discount::Discounts;
use super::levels::{Level, Node};
use super::{BEGIN, WordId};

/// What is known of the n-grams of one order, beside their words and counts. Linear, not logarithms.
pub(super) struct Weights {
    /// A float32 for each node.
    pub(super) probabilities: Column,
    /// A float32 for each node; none on the highest order.
    pub(super) backoffs: Option<Column>,
}

/// What the estimation may use.
pub(super) struct Resources<'a> {
    pub(super) scratch: &'a Scratch,
    pub(super) threads: usize,
    /// For the slices of all threads together.
    pub(super) memory_bytes: u64,
}

/// Bytes of a slice per context: its word, at most one begin of children, its sums, and what is made of them.
const CONTEXT_BYTES: u64 = 4 + 4 + (size_of::<Sums>() + size_of::<Smoothing>()) as u64;

/// A level with fewer contexts is done before threads would have begun.
const PARALLEL_CONTEXTS: u64 = 1 << 16;

/// The weights of every level, lowest first. `done` is told after each level how many nodes have their weights.
pub(super) fn estimate(
    levels: &[Level],
    discounts: &[Discounts],
    resources: &Resources,
    mut done: impl FnMut(u64) -> Result<(), super::NgramError>,
) -> Result<Vec<Weights>, super::NgramError> {
    let mut probabilities = unigrams(&levels[0], discounts[0], resources.scratch)?;
    let mut contexts: Option<Column> = None;
    let mut weights = Vec::with_capacity(levels.len());
    let mut nodes = levels[0].len;
    done(nodes)?;
    for n in 1..levels.len() {
        let below = n.checked_sub(2).map(|below| &levels[below]);
        let order = Order {
            below,
            parents: &levels[n - 1],
            parent_contexts: contexts.as_ref(),
            parent_probabilities: &probabilities,
            nodes: &levels[n],
            discounts: discounts[n],
        };
        let joined = order.join(resources)?;
        weights.push(Weights { probabilities, backoffs: Some(joined.backoffs) });
        probabilities = joined.probabilities;
        contexts = Some(joined.contexts);
        nodes += levels[n].len;
        done(nodes)?;
    }
    weights.push(Weights { probabilities, backoffs: None });
    Ok(weights)
}

/// Unigrams are interpolated with the uniform distribution over all words that can follow, `<unk>` too.
fn unigrams(level: &Level, discounts: Discounts, scratch: &Scratch) -> Result<Column, FileError> {
    let mut sums = Sums::default();
    let mut reader = level.reader();
    for _ in 0..level.len {
        sums.add(reader.next()?, discounts);
    }
    let smoothing = sums.smoothing();
    let uniform = (1.0 / (level.kept - 1) as f64) as f32; // `<s>` never follows
    let mut reader = level.reader();
    let mut probabilities = scratch.writer();
    for _ in 0..level.len {
        let node = reader.next()?;
        let probability = match node.word {
            BEGIN => 1.0, // so that a sentence may be scored with it
            _ => smoothing.probability(node, discounts, uniform),
        };
        probabilities.f32(probability)?;
    }
    probabilities.finish()
}

/// The sums over the n-grams of one context.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    counts: u64,
    /// What goes to the lower order: discounts, and the counts of what is pruned.
    left: f64,
}

impl Sums {
    #[inline]
    fn add(&mut self, node: Node, discounts: Discounts) {
        let count = node.count();
        self.counts += count;
        self.left += if node.is_pruned() { count as f64 } else { f64::from(discounts.of(count)) };
    }

    fn smoothing(&self) -> Smoothing {
        match self.counts {
            0 => Smoothing { per_count: 0.0, gamma: 1.0 }, // nothing follows
            counts => {
                Smoothing { per_count: (counts as f64).recip() as f32, gamma: (self.left / counts as f64) as f32 }
            }
        }
    }
}

/// What a context makes of counts and of the probabilities of the lower order.
#[derive(Debug, Clone, Copy)]
struct Smoothing {
    /// One by the sum of the counts.
    per_count: f32,
    /// γ.
    gamma: f32,
}

impl Smoothing {
    #[inline]
    fn probability(self, node: Node, discounts: Discounts, lower: f32) -> f32 {
        let count = node.count();
        let kept = (count as f64 - f64::from(discounts.of(count))) * f64::from(self.per_count);
        (kept + f64::from(self.gamma) * f64::from(lower)) as f32
    }
}

/// N-grams that are worked on together.
const BATCH: usize = 128;

/// An n-gram whose context is in the slice.
#[derive(Debug, Clone, Copy)]
struct Item {
    node: Node,
    /// The node on the level below that its parent's context is, counted from the slice's first.
    below: u32,
    /// Of its siblings.
    is_first: bool,
    /// Its context, counted from the slice's first.
    place: u32,
    /// The probability of its ending, then its own.
    lower: f32,
}

/// One order and what it is joined with.
struct Order<'a> {
    /// Two orders lower; none for bigrams, whose contexts are single words.
    below: Option<&'a Level>,
    parents: &'a Level,
    /// Of each parent: where its context lies on the level `below`. None for bigrams.
    parent_contexts: Option<&'a Column>,
    parent_probabilities: &'a Column,
    nodes: &'a Level,
    discounts: Discounts,
}

struct Joined {
    contexts: Column,
    probabilities: Column,
    /// Of the parents.
    backoffs: Column,
}

/// Contexts that one thread works on: nodes of the parents' level, all children of some nodes of the level below.
#[derive(Debug, Clone)]
struct Slice {
    below: Range<u64>,
    contexts: Range<u64>,
}

/// A slice in memory.
struct Contexts {
    slice: Slice,
    /// Where the children of each node of `slice.below` begin among `words`, and the end. Empty for bigrams.
    begins: Vec<u32>,
    words: Vec<WordId>,
    sums: Vec<Sums>,
}

impl Order<'_> {
    fn join(&self, resources: &Resources) -> Result<Joined, FileError> {
        let contexts_max = (resources.memory_bytes / CONTEXT_BYTES / resources.threads as u64).clamp(1, 1 << 31);
        let enough = self.parents.len.div_ceil(contexts_max);
        let shared = if self.parents.len < PARALLEL_CONTEXTS { 1 } else { resources.threads as u64 };
        let slices = self.slices(enough.max(shared))?;
        let mut parts = Vec::with_capacity(slices.len());
        for round in slices.chunks(resources.threads) {
            let joined: Vec<Result<Joined, FileError>> = std::thread::scope(|scope| {
                let run = |slice: &Slice| self.join_slice(slice.clone(), resources.scratch);
                let threads: Vec<_> = round.iter().map(|slice| scope.spawn(move || run(slice))).collect();
                threads.into_iter().map(|thread| thread.join().expect("joining does not panic")).collect()
            });
            for part in joined {
                parts.push(part?);
            }
        }
        match parts.len() {
            1 => Ok(parts.remove(0)),
            _ => self.collect(&slices, &parts, resources.scratch),
        }
    }

    /// About `count` slices with equally many contexts.
    fn slices(&self, count: u64) -> Result<Vec<Slice>, FileError> {
        let Some(below) = self.below else {
            return Ok(vec![Slice { below: 0..1, contexts: 0..self.parents.len }]);
        };
        let wanted = self.parents.len.div_ceil(count).max(1);
        let mut slices = Vec::new();
        let (mut first, mut begin, mut end) = (0, 0, 0);
        let mut reader = below.reader();
        for node in 0..below.len {
            end += reader.next()?.children();
            if end - begin >= wanted {
                slices.push(Slice { below: first..node + 1, contexts: begin..end });
                (first, begin) = (node + 1, end);
            }
        }
        if begin < end || slices.is_empty() {
            slices.push(Slice { below: first..below.len, contexts: begin..end });
        }
        Ok(slices)
    }

    fn load(&self, slice: Slice) -> Result<Contexts, FileError> {
        let len = (slice.contexts.end - slice.contexts.start) as usize;
        let mut begins = Vec::new();
        let mut words = Vec::new();
        if let Some(below) = self.below {
            begins.reserve_exact((slice.below.end - slice.below.start) as usize + 1);
            begins.push(0);
            let (mut reader, mut end) = (below.reader(), 0);
            for node in 0..slice.below.end {
                let children = reader.next()?.children();
                if node >= slice.below.start {
                    end += children as u32;
                    begins.push(end);
                }
            }
            let mut reader = self.parents.words_from(slice.contexts.start);
            words.reserve_exact(len);
            for _ in 0..len {
                words.push(reader.u32()?);
            }
        }
        Ok(Contexts { slice, begins, words, sums: vec![Sums::default(); len] })
    }

    /// The part of the order whose contexts are in the slice.
    fn join_slice(&self, slice: Slice, scratch: &Scratch) -> Result<Joined, FileError> {
        let mut contexts = self.load(slice)?;
        let mut places = scratch.writer();
        self.walk(&contexts.slice.clone(), |batch| {
            contexts.find(batch);
            for item in batch.iter() {
                contexts.sums[item.place as usize].add(item.node, self.discounts);
            }
            batch.iter().try_for_each(|item| places.u32(item.place))
        })?;
        let (begin, sums) = (contexts.slice.contexts.start, contexts.sums);
        let slice = contexts.slice;
        let smoothing: Vec<Smoothing> = sums.iter().map(Sums::smoothing).collect();
        drop(sums);

        let mut places = places.finish()?.reader();
        let (mut absolute, mut probabilities) = (scratch.writer(), scratch.writer());
        self.walk(&slice, |batch| {
            for item in batch.iter_mut() {
                item.place = places.u32()?;
            }
            for item in batch.iter_mut() {
                item.lower = smoothing[item.place as usize].probability(item.node, self.discounts, item.lower);
            }
            batch.iter().try_for_each(|item| {
                absolute.place(begin + u64::from(item.place))?;
                probabilities.f32(item.lower)
            })
        })?;
        let mut backoffs = scratch.writer();
        smoothing.iter().try_for_each(|smoothing| backoffs.f32(smoothing.gamma))?;
        Ok(Joined {
            contexts: absolute.finish()?,
            probabilities: probabilities.finish()?,
            backoffs: backoffs.finish()?,
        })
    }

    /// Calls `visit` with every n-gram whose context is in the slice, in order and in batches: what an n-gram needs lies
    /// anywhere in memory, and in a loop over a batch the waits overlap.
    fn walk(
        &self,
        slice: &Slice,
        mut visit: impl FnMut(&mut [Item]) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        let (mut parents, mut nodes) = (self.parents.reader(), self.nodes.reader());
        let mut contexts = self.parent_contexts.map(Column::reader);
        let mut probabilities = self.parent_probabilities.reader();
        let mut batch = Vec::with_capacity(BATCH);
        for _ in 0..self.parents.len {
            let children = parents.next()?.children();
            let below = context(&mut contexts)?;
            let lower = probabilities.f32()?;
            let is_here = slice.below.contains(&below);
            for child in 0..children {
                let node = nodes.next()?;
                if !is_here {
                    continue;
                }
                if batch.len() == BATCH {
                    visit(&mut batch)?;
                    batch.clear();
                }
                let below = (below - slice.below.start) as u32;
                batch.push(Item { node, below, is_first: child == 0, place: 0, lower });
            }
        }
        visit(&mut batch)
    }

    /// Puts the parts of the slices into the order of the level.
    fn collect(&self, slices: &[Slice], parts: &[Joined], scratch: &Scratch) -> Result<Joined, FileError> {
        let mut readers: Vec<_> =
            parts.iter().map(|part| (part.contexts.reader(), part.probabilities.reader())).collect();
        let (mut places, mut probabilities) = (scratch.writer(), scratch.writer());
        let mut parents = self.parents.reader();
        let mut contexts = self.parent_contexts.map(Column::reader);
        for _ in 0..self.parents.len {
            let children = parents.next()?.children();
            let below = context(&mut contexts)?;
            let slice = slices.partition_point(|slice| slice.below.end <= below);
            let (from_places, from_probabilities) = &mut readers[slice.min(parts.len() - 1)];
            for _ in 0..children {
                places.place(from_places.place()?)?;
                probabilities.f32(from_probabilities.f32()?)?;
            }
        }
        let mut backoffs = scratch.writer();
        for part in parts {
            copy(&part.backoffs, &mut backoffs)?;
        }
        Ok(Joined { contexts: places.finish()?, probabilities: probabilities.finish()?, backoffs: backoffs.finish()? })
    }
}

/// Of the next parent: where its context lies on the level below. The context of a unigram is empty.
fn context(contexts: &mut Option<ColumnReader>) -> Result<u64, FileError> {
    contexts.as_mut().map_or(Ok(0), ColumnReader::place)
}

fn copy(from: &Column, to: &mut ColumnWriter) -> Result<(), FileError> {
    let mut reader = from.reader();
    while !reader.is_at_end()? {
        to.f32(reader.f32()?)?;
    }
    Ok(())
}

impl Contexts {
    /// Sets the place in the slice of each item's context: the child of `below` with the item's word.
    fn find(&self, batch: &mut [Item]) {
        if self.begins.is_empty() {
            // The level of single words is in the order of the ids.
            batch.iter_mut().for_each(|item| item.place = item.node.word);
            return;
        }
        let mut ranges = [(0, 0); BATCH];
        for (range, item) in ranges.iter_mut().zip(batch.iter()) {
            let below = item.below as usize;
            *range = (self.begins[below], self.begins[below + 1]);
        }
        let mut last = 0;
        for (item, &(begin, end)) in batch.iter_mut().zip(&ranges) {
            let word = item.node.word;
            // Siblings are sorted: the search goes on behind the one before. And they are different, from 0 on, so that none
            // is further back than its id says.
            let from = if item.is_first { begin } else { last.max(begin) };
            let to = end.min(begin.saturating_add(word).saturating_add(1));
            let words = &self.words[from as usize..to as usize];
            item.place = from + words.partition_point(|&candidate| candidate < word) as u32;
            debug_assert_eq!(self.words[item.place as usize], word, "every context is an n-gram too");
            last = item.place + 1;
        }
    }
}
