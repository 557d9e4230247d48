//! Counts the distinct words of texts of any size, on several threads and in bounded memory: what does not fit is sorted
//! and goes to files without a name, and at the end all are merged in the order of their bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use tsumugi_base::FileError;

use super::split::{Split, SplitScratch, safe_pieces};
use crate::TokenizerError;

/// The distinct words of a text with how often each occurs, sorted by their bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WordCounts {
    /// `(word, count)`, the words sorted and unique.
    pub words: Vec<(Vec<u8>, u64)>,
    /// Words that were left out because memory holds no more of them: those that occur less often than a kept one.
    pub dropped: u64,
}

/// Cuts texts into words.
pub(crate) trait Words: Sync {
    /// What it reuses from text to text.
    type Scratch: Default;

    /// Calls `word` with each word of `text`.
    fn for_each_word(&self, text: &str, scratch: &mut Self::Scratch, word: &mut dyn FnMut(&str));

    /// Whether a text may be cut at a [`super::border`].
    fn has_borders(&self) -> bool;
}

impl Words for Split {
    type Scratch = SplitScratch;

    fn for_each_word(&self, text: &str, scratch: &mut SplitScratch, word: &mut dyn FnMut(&str)) {
        Split::for_each_word(*self, text, scratch, word);
    }

    fn has_borders(&self) -> bool {
        *self != Split::None
    }
}

/// How words are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountingOptions {
    /// Threads that count; the result does not depend on it.
    pub threads: usize,
    /// About the most that counting and learning hold in memory.
    pub memory_bytes: u64,
    /// A folder on a disk with room, for what memory does not hold.
    pub scratch_folder: PathBuf,
}

impl Default for CountingOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, memory_bytes: 4 << 30, scratch_folder: std::env::temp_dir() }
    }
}

/// Where texts are pushed, one after the other.
pub type TextSink<'a> = &'a mut dyn FnMut(&str) -> Result<(), TokenizerError>;

/// A thread takes so much text at a time, if memory has room; small enough to balance, large enough that handing over costs
/// nothing.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// The share of the memory that a thread's batch has. There are four for each thread, of twice the size if the text is
/// without borders for long.
const BATCH_SHARE: u64 = 64;

/// What a word costs in a map besides its bytes.
const ENTRY_BYTES: usize = 64;

/// Runs that a thread keeps before it merges them into one, so that files stay few.
const RUNS_MAX: usize = 32;

/// Counts the words of all `texts` under `split`, on `threads` threads. The result does not depend on `threads`.
pub fn count_words<T: AsRef<str>>(texts: &[T], split: Split, threads: usize) -> WordCounts {
    let options = CountingOptions { threads, memory_bytes: u64::MAX, ..CountingOptions::default() };
    let feed = |sink: TextSink<'_>| texts.iter().try_for_each(|text| sink(text.as_ref()));
    count(&split, &options, 1, feed).expect("nothing is written where memory is without limit")
}

/// Counts the words of the texts that `feed` pushes, and keeps as many as can be learned from with `learning_bytes` for each byte.
pub(crate) fn count<W: Words>(
    cut: &W,
    options: &CountingOptions,
    learning_bytes: u64,
    feed: impl FnOnce(TextSink<'_>) -> Result<(), TokenizerError>,
) -> Result<WordCounts, TokenizerError> {
    let threads = options.threads.max(1);
    let map_bytes_max = usize::try_from(options.memory_bytes / 2 / threads as u64).unwrap_or(usize::MAX);
    let batch_bytes = (options.memory_bytes / threads as u64 / BATCH_SHARE).clamp(1, BATCH_BYTES_MAX) as usize;
    let (send, receive) = sync_channel::<Batch>(2 * threads);
    let receive = Mutex::new(receive);
    let counted = std::thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| Counter::new(map_bytes_max, &options.scratch_folder).run(cut, &receive));
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        let mut batch = Batch::default();
        let fed = feed(&mut |text| {
            let piece_bytes = if cut.has_borders() { batch_bytes } else { text.len().max(1) };
            for piece in safe_pieces(text, piece_bytes) {
                batch.push(piece);
                if batch.text.len() >= batch_bytes {
                    // A worker that failed takes no more; its error is told below.
                    let _ = send.send(std::mem::take(&mut batch));
                }
            }
            Ok(())
        });
        let _ = send.send(batch);
        drop(send);
        let counted: Vec<io::Result<Counter<'_>>> =
            workers.into_iter().map(|worker| worker.join().expect("counting does not panic")).collect();
        fed.map(|()| counted)
    })?;
    let scratch = |error| TokenizerError::from(FileError::write(&options.scratch_folder, error));
    let counters = counted.into_iter().collect::<io::Result<Vec<_>>>().map_err(scratch)?;
    merged(counters, options.memory_bytes / learning_bytes, &options.scratch_folder).map_err(scratch)
}

/// Some texts behind each other.
#[derive(Default)]
struct Batch {
    text: String,
    ranges: Vec<Range<usize>>,
}

impl Batch {
    fn push(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.ranges.push(start..self.text.len());
    }
}

/// What a thread has counted.
struct Counter<'a> {
    counts: HashMap<Box<[u8]>, u64, FastHash>,
    /// Of the map, about.
    bytes: usize,
    bytes_max: usize,
    runs: Vec<File>,
    folder: &'a Path,
}

impl<'a> Counter<'a> {
    fn new(bytes_max: usize, folder: &'a Path) -> Self {
        Self { counts: HashMap::default(), bytes: 0, bytes_max, runs: Vec::new(), folder }
    }

    fn run<W: Words>(mut self, cut: &W, batches: &Mutex<Receiver<Batch>>) -> io::Result<Self> {
        let mut scratch = W::Scratch::default();
        let mut failed = None;
        loop {
            let batch = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Batch { text, ranges }) = batch else { break };
            // After an error batches are still taken, so that nobody waits for room.
            for range in ranges {
                if failed.is_some() {
                    break;
                }
                cut.for_each_word(&text[range], &mut scratch, &mut |word| self.add(word.as_bytes()));
                if self.bytes > self.bytes_max {
                    failed = self.spill().err();
                }
            }
        }
        failed.map_or(Ok(self), Err)
    }

    fn add(&mut self, word: &[u8]) {
        match self.counts.get_mut(word) {
            Some(count) => *count += 1,
            None => {
                self.bytes += word.len() + ENTRY_BYTES;
                self.counts.insert(word.into(), 1);
            }
        }
    }

    fn sorted(&mut self) -> Vec<(Box<[u8]>, u64)> {
        self.bytes = 0;
        let mut words: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        words.sort_unstable();
        words
    }

    /// Writes the map away as a sorted run.
    fn spill(&mut self) -> io::Result<()> {
        let mut run = BufWriter::new(tempfile::tempfile_in(self.folder)?);
        for (word, count) in self.sorted() {
            write_entry(&mut run, &word, count)?;
        }
        self.runs.push(run.into_inner()?);
        if self.runs.len() >= RUNS_MAX {
            let mut whole = BufWriter::new(tempfile::tempfile_in(self.folder)?);
            let sources = std::mem::take(&mut self.runs).into_iter().map(Run::file).collect::<io::Result<Vec<_>>>()?;
            merge(sources, |word, count| write_entry(&mut whole, word, count))?;
            self.runs.push(whole.into_inner()?);
        }
        Ok(())
    }
}

fn write_entry(run: &mut impl Write, word: &[u8], count: u64) -> io::Result<()> {
    run.write_all(&(word.len() as u64).to_le_bytes())?;
    run.write_all(&count.to_le_bytes())?;
    run.write_all(word)
}

/// Words with counts in order, from memory or from a file.
enum Run {
    Memory(std::vec::IntoIter<(Box<[u8]>, u64)>),
    File(BufReader<File>),
}

impl Run {
    fn file(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        Ok(Self::File(BufReader::new(file)))
    }

    fn next(&mut self) -> io::Result<Option<(Box<[u8]>, u64)>> {
        let reader = match self {
            Self::Memory(words) => return Ok(words.next()),
            Self::File(reader) => reader,
        };
        if reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut number = || {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        let (length, count) = (number()?, number()?);
        let mut word = vec![0; length as usize];
        reader.read_exact(&mut word)?;
        Ok(Some((word.into(), count)))
    }
}

/// Calls `entry` with every word of the runs once, in order, and its count in all of them.
fn merge(mut runs: Vec<Run>, mut entry: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
    let mut heads = BinaryHeap::with_capacity(runs.len());
    for (which, run) in runs.iter_mut().enumerate() {
        heads.extend(run.next()?.map(|(word, count)| Reverse((word, which, count))));
    }
    let mut current: Option<(Box<[u8]>, u64)> = None;
    while let Some(Reverse((word, which, count))) = heads.pop() {
        heads.extend(runs[which].next()?.map(|(word, count)| Reverse((word, which, count))));
        match &mut current {
            Some((last, total)) if *last == word => *total += count,
            _ => {
                if let Some((last, total)) = current.replace((word, count)) {
                    entry(&last, total)?;
                }
            }
        }
    }
    current.map_or(Ok(()), |(last, total)| entry(&last, total))
}

/// All words of all counters, but for the rarest if the words' bytes are more than `bytes_max`.
fn merged(counters: Vec<Counter<'_>>, bytes_max: u64, folder: &Path) -> io::Result<WordCounts> {
    let mut runs = Vec::new();
    let mut spilled = false;
    for mut counter in counters {
        spilled |= !counter.runs.is_empty();
        runs.push(Run::Memory(counter.sorted().into_iter()));
        for file in counter.runs {
            runs.push(Run::file(file)?);
        }
    }
    // First into a file, if there may be more than memory holds; then what of it is kept.
    let mut histogram = Histogram::default();
    if !spilled {
        let mut words = Vec::new();
        merge(runs, |word, count| {
            histogram.add(word, count);
            words.push((word.to_vec(), count));
            Ok(())
        })?;
        let least = histogram.least_count(bytes_max);
        words.retain(|&(_, count)| count >= least);
        return Ok(WordCounts { dropped: histogram.words - words.len() as u64, words });
    }
    let mut whole = BufWriter::new(tempfile::tempfile_in(folder)?);
    merge(runs, |word, count| {
        histogram.add(word, count);
        write_entry(&mut whole, word, count)
    })?;
    let least = histogram.least_count(bytes_max);
    let mut words = Vec::new();
    let mut run = Run::file(whole.into_inner()?)?;
    while let Some((word, count)) = run.next()? {
        if count >= least {
            words.push((word.into_vec(), count));
        }
    }
    Ok(WordCounts { dropped: histogram.words - words.len() as u64, words })
}

/// How many bytes the words of each count have.
#[derive(Default)]
struct Histogram {
    bytes: BTreeMap<u64, u64>,
    words: u64,
}

impl Histogram {
    fn add(&mut self, word: &[u8], count: u64) {
        *self.bytes.entry(count).or_default() += word.len() as u64;
        self.words += 1;
    }

    /// The smallest count so that all words of it and of higher ones have at most `bytes_max` bytes.
    fn least_count(&self, bytes_max: u64) -> u64 {
        let mut room = bytes_max;
        let mut least = u64::MAX;
        for (&count, &bytes) in self.bytes.iter().rev() {
            let Some(rest) = room.checked_sub(bytes) else { break };
            (room, least) = (rest, count);
        }
        least
    }
}

impl WordCounts {
    /// Itself, if there is a word.
    pub(crate) fn checked(self) -> Result<Self, TokenizerError> {
        match self.words.is_empty() {
            true if self.dropped > 0 => Err(TokenizerError::TooLittleMemory { words: self.dropped }),
            true => Err(TokenizerError::EmptyCorpus),
            false => Ok(self),
        }
    }
}

/// The multiply-and-rotate hash of rustc (FxHash): words and pairs are short, and nobody attacks our own training.
pub(crate) type FastHash = BuildHasherDefault<FxHasher>;

/// See [`FastHash`].
#[derive(Default)]
pub(crate) struct FxHasher(u64);

impl FxHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for FxHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            self.add(u64::from_le_bytes(*chunk));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last) ^ (rest.len() as u64) << 56);
    }
    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    fn finish(&self) -> u64 {
        // The map takes its bucket from the low bits, where a product has the least mixing.
        self.0 ^ self.0 >> 32
    }
}
