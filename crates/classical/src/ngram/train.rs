//! A text to an estimate: counting, discounts, weights.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;
use tsumugi_base::limits::NGRAM_ORDER_MAX;
use tsumugi_base::progress::{Event, Meter, Observer};
use tsumugi_base::{FileError, units};

use super::column::Scratch;
use super::count::{Counter, Sink};
use super::estimate::{Resources, Weights, estimate};
use super::levels::{Level, LevelsBuilder};
use super::text::{Token, for_each_token};
use super::vocabulary::Vocabulary;
use super::{BEGIN, Discounts, END, FIRST_WORD, NgramError, WordId};

/// How a model is estimated.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Words of the longest n-gram, at least 1.
    pub order: usize,
    /// For each order from 1: n-grams that stand in the text at most that often are left out, and their probability goes
    /// to the lower order. Never decreasing; the last one holds for the orders that follow; none: everything stays.
    pub prune: Vec<u64>,
    /// For orders whose discounts the formula does not give; none: that is an error.
    pub discount_fallback: Option<Discounts>,
    /// Whether `<s>`, `</s>` and `<unk>` in the text count as spaces; otherwise they are errors.
    pub skip_symbols: bool,
    /// About the most that is held in memory at once.
    pub memory_bytes: u64,
    /// The result does not depend on it.
    pub threads: usize,
    /// Where files without a name go that do not fit the memory: a folder on a disk with room.
    pub scratch_folder: PathBuf,
}

/// N-grams of one order.
#[derive(Debug, Clone, Serialize)]
pub struct OrderCounts {
    /// In the text.
    pub counted: u64,
    /// In the model.
    pub kept: u64,
    /// What was taken from counts of 1, 2 and 3 or more.
    pub discounts: Discounts,
}

/// An estimated model that is not written yet.
pub struct Estimate {
    pub(super) vocabulary: Vocabulary,
    pub(super) levels: Vec<Level>,
    pub(super) weights: Vec<Weights>,
    pub(super) threads: usize,
    /// Words of the text.
    pub tokens: u64,
    /// Lines of the text.
    pub sentences: u64,
    /// Lowest first.
    pub orders: Vec<OrderCounts>,
}

/// Estimates an n-gram model from texts.
///
/// # Errors
/// If the options make no sense, a text cannot be read or has a word that models use for themselves, the formula has no
/// discounts, or the disk is full. What was spilled is gone in any case.
pub fn train(texts: &[PathBuf], options: &TrainOptions, observer: &dyn Observer) -> Result<Estimate, NgramError> {
    let thresholds = thresholds(options)?;
    let scratch = Scratch {
        folder: options.scratch_folder.clone(),
        buffer_bytes: (options.memory_bytes / 256).clamp(1 << 10, 1 << 20) as usize,
    };
    let counted = count(texts, options, &thresholds, &scratch, observer)?;
    let levels = counted.levels;
    let discounts = levels
        .iter()
        .zip(1..)
        .map(|(level, order)| Discounts::estimate(level.count_of_counts, order, options.discount_fallback))
        .collect::<Result<Vec<_>, _>>()?;
    let memory_bytes = options.memory_bytes.saturating_sub(counted.vocabulary.memory_bytes());
    let resources = Resources { scratch: &scratch, threads: options.threads, memory_bytes };
    let total = levels.iter().map(|level| level.len).sum();
    let mut meter = Meter::new("estimate", 0, total, "n-grams");
    let weights = estimate(&levels, &discounts, &resources, |done| {
        observer.event(&meter.step(done, vec![]));
        if observer.stop_requested() { Err(NgramError::Stopped) } else { Ok(()) }
    })?;
    let orders = levels
        .iter()
        .zip(discounts)
        .map(|(level, discounts)| OrderCounts { counted: level.len, kept: level.kept, discounts })
        .collect();
    Ok(Estimate {
        vocabulary: counted.vocabulary,
        levels,
        weights,
        threads: options.threads,
        tokens: counted.tokens,
        sentences: counted.sentences,
        orders,
    })
}

/// One threshold per order.
fn thresholds(options: &TrainOptions) -> Result<Vec<u64>, NgramError> {
    let &TrainOptions { order, ref prune, .. } = options;
    if !(1..=NGRAM_ORDER_MAX).contains(&order) {
        return Err(NgramError::Order { found: order });
    }
    if prune.len() > order || !prune.is_sorted() {
        return Err(NgramError::Pruning { found: prune.clone(), order });
    }
    let mut thresholds = prune.clone();
    thresholds.resize(order, prune.last().copied().unwrap_or(0));
    Ok(thresholds)
}

struct Counted {
    vocabulary: Vocabulary,
    levels: Vec<Level>,
    tokens: u64,
    sentences: u64,
}

/// N-grams that go to the counter at once.
const BATCH: usize = 1 << 13;

impl Sink for LevelsBuilder {
    fn push(&mut self, reversed: &[WordId], count: u64) -> Result<(), FileError> {
        LevelsBuilder::push(self, reversed, count)
    }
}

fn count(
    texts: &[PathBuf],
    options: &TrainOptions,
    thresholds: &[u64],
    scratch: &Scratch,
    observer: &dyn Observer,
) -> Result<Counted, NgramError> {
    // The other half is for the vocabulary, the buffers of columns, what is read, and vectors that grow by doubling.
    let mut counter = Counter::new(options.order, options.memory_bytes / 2, scratch, options.threads);
    let mut reading = Reading::new(options, observer, texts);
    if options.threads < 2 {
        reading.run(texts, &mut |batch| {
            counter.add(batch)?;
            batch.clear();
            Ok(())
        })?;
    } else {
        std::thread::scope(|scope| {
            let (batches, received) = sync_channel(4);
            let (empty, returned) = sync_channel(6);
            let counter = &mut counter;
            let counting = scope.spawn(move || count_batches(counter, &received, &empty));
            let read = reading.run(texts, &mut |batch| {
                let next = returned.try_recv().unwrap_or_default();
                // A counter that is gone has an error, which is told below.
                batches.send(std::mem::replace(batch, next)).map_err(|_| NgramError::Stopped)
            });
            drop(batches);
            counting.join().expect("counting does not panic")?;
            read
        })?;
    }
    let Reading { vocabulary, tokens, sentences, .. } = reading;
    if tokens == 0 {
        return Err(NgramError::NoWords);
    }
    observer.event(&Event::Note {
        message: format!(
            "{} words, {} different, in {} lines",
            units::count(tokens),
            units::count(vocabulary.len() as u64 - u64::from(FIRST_WORD)),
            units::count(sentences)
        ),
    });
    let mut builder = LevelsBuilder::new(thresholds, scratch)?;
    counter.finish(&mut builder)?;
    Ok(Counted { vocabulary, levels: builder.finish()?, tokens, sentences })
}

fn count_batches(
    counter: &mut Counter,
    batches: &Receiver<Vec<WordId>>,
    empty: &SyncSender<Vec<WordId>>,
) -> Result<(), FileError> {
    for mut batch in batches {
        counter.add(&batch)?;
        batch.clear();
        let _ = empty.try_send(batch); // otherwise a new one is made
    }
    Ok(())
}

/// Makes n-grams from texts.
struct Reading<'a> {
    options: &'a TrainOptions,
    observer: &'a dyn Observer,
    meter: Meter,
    read_bytes: u64,
    vocabulary: Vocabulary,
    /// The latest words of the sentence, the last first, then `<s>`.
    window: Vec<WordId>,
    tokens: u64,
    sentences: u64,
}

impl<'a> Reading<'a> {
    fn new(options: &'a TrainOptions, observer: &'a dyn Observer, texts: &[PathBuf]) -> Self {
        let total = texts.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|about| about.len()).sum();
        Self {
            options,
            observer,
            meter: Meter::new("count", 0, total, "bytes"),
            read_bytes: 0,
            vocabulary: Vocabulary::new(),
            window: vec![BEGIN; options.order],
            tokens: 0,
            sentences: 0,
        }
    }

    /// Gives all n-grams in batches to `full`, which leaves an empty batch.
    fn run(
        &mut self,
        texts: &[PathBuf],
        full: &mut dyn FnMut(&mut Vec<WordId>) -> Result<(), NgramError>,
    ) -> Result<(), NgramError> {
        let mut batch = Vec::with_capacity(BATCH * self.options.order);
        for path in texts {
            let mut line = 1;
            let Self { options, observer, meter, read_bytes, vocabulary, window, tokens, sentences } = self;
            let mut read = |bytes| {
                *read_bytes += bytes;
                if meter.is_due() {
                    observer.event(&meter.step(*read_bytes, vec![]));
                }
                if observer.stop_requested() { Err(NgramError::Stopped) } else { Ok(()) }
            };
            for_each_token(path, &mut read, |token| {
                let word = match token {
                    Token::EndOfLine => {
                        (line, *sentences) = (line + 1, *sentences + 1);
                        END
                    }
                    Token::Word(word) => match vocabulary.id(word)? {
                        id if id >= FIRST_WORD => {
                            *tokens += 1;
                            id
                        }
                        _ if options.skip_symbols => return Ok(()),
                        _ => {
                            let word = String::from_utf8_lossy(word).into_owned();
                            return Err(NgramError::SpecialWord { path: path.clone(), line, word });
                        }
                    },
                };
                window.copy_within(..options.order - 1, 1);
                window[0] = word;
                batch.extend_from_slice(window);
                if token == Token::EndOfLine {
                    window.fill(BEGIN);
                }
                if batch.len() < BATCH * options.order {
                    return Ok(());
                }
                let bytes = vocabulary.memory_bytes();
                if bytes > options.memory_bytes / 2 {
                    return Err(NgramError::VocabularyMemory { words: vocabulary.len() as u64, bytes });
                }
                full(&mut batch)
            })?;
        }
        full(&mut batch)
    }
}
