//! Learns the pieces of a unigram model (Kudo 2018, arXiv 1804.10959, section 3.2): all substrings that repeat are
//! candidates; expectation maximization gives each its probability; those that the text misses least are pruned, a quarter
//! at a time, until as many are left as were asked for. Constants are those of SentencePiece's trainer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tsumugi_base::progress::{Event, Observer};

use crate::TokenizerError;
use crate::bpe::{CountingOptions, WordCounts, text};
use crate::sentencepiece::DoubleArray;

/// The most candidates, if memory holds so many.
const SEEDS_MAX: u64 = 1_000_000;
/// What a candidate takes in memory: its text, twice while they are sorted out, its place in the trie and in what builds it,
/// its expectation in each part.
const SEED_BYTES: u64 = 448;
/// What learning takes for a byte of a distinct word: its entry, and while candidates are looked for its suffix and the
/// common prefixes.
pub(super) const LEARNING_BYTES: u64 = 100;
/// What is left after a pruning.
const KEPT_SHARE: f64 = 0.75;
/// Pruning ends at so many pieces over what was asked for; the rest goes by probability.
const SURPLUS: f64 = 1.1;
/// Rounds of expectation maximization between prunings.
const ROUNDS: usize = 2;
/// Pieces that are expected less often go.
const EXPECTED_MIN: f64 = 0.5;
/// Words are summed in so many parts, whatever the number of threads, so that rounding is the same.
const PARTS: usize = 16;

/// Learns at most `size` pieces of at most `length_max` characters, among them every character of the words; the most likely
/// first, with the logarithms of their probabilities.
pub(super) fn learn(
    words: &WordCounts,
    size: usize,
    length_max: usize,
    options: &CountingOptions,
    observer: &dyn Observer,
) -> Result<Vec<(String, f32)>, TokenizerError> {
    let (started, threads) = (Instant::now(), options.threads);
    let seeds_max = (options.memory_bytes / SEED_BYTES).min(SEEDS_MAX) as usize;
    let mut pieces = Pieces::new(seeds(words, length_max, seeds_max));
    let (first, last) = (pieces.texts.len(), (size as f64 * SURPLUS) as usize);
    loop {
        for _ in 0..ROUNDS {
            let expected = pieces.expected(words, threads);
            pieces.maximize(&expected);
        }
        if observer.stop_requested() {
            return Err(TokenizerError::Stopped { merges: 0 });
        }
        tell(observer, first, pieces.texts.len(), last, started);
        if pieces.texts.len() <= last {
            break;
        }
        let kept = ((pieces.texts.len() as f64 * KEPT_SHARE) as usize).max(last);
        let before = pieces.texts.len();
        pieces.prune(words, kept, threads);
        if pieces.texts.len() == before {
            break;
        }
    }
    Ok(pieces.finish(size))
}

fn tell(observer: &dyn Observer, first: usize, now: usize, last: usize, started: Instant) {
    let (total, done) = (first.saturating_sub(last), first - now.max(last).min(first));
    let rate_per_second = done as f64 / started.elapsed().as_secs_f64().max(1e-9);
    observer.event(&Event::Step {
        stage: "prune pieces".into(),
        done: done as u64,
        total: total as u64,
        unit: "pieces",
        rate_per_second,
        seconds_left: (total - done) as f64 / rate_per_second.max(1e-9),
        details: Vec::new(),
    });
}

/// Candidates with how much of the text they would cover: the single characters, and substrings of two or more that repeat
/// and that no longer one always stands for. From the sorted suffixes of all words and their common prefixes.
fn seeds(words: &WordCounts, length_max: usize, seeds_max: usize) -> Vec<(String, u64)> {
    // A suffix: its text to the end of the word, at most `length_max` characters; how often the word occurs; whether it is
    // the whole word, which needs no second word to be frequent.
    let mut suffixes: Vec<(&str, u64, bool)> = Vec::new();
    for (word, count) in &words.words {
        let word = text(word);
        for (at, _) in word.char_indices() {
            let end = word[at..].char_indices().nth(length_max).map_or(word.len(), |(end, _)| at + end);
            suffixes.push((&word[at..end], *count, at == 0 && end == word.len()));
        }
    }
    suffixes.sort_unstable();
    let mut found: Vec<(&str, u64)> = Vec::new();
    // Common prefixes that are still open: bytes, and the weight of the suffixes so far.
    let mut open: Vec<(usize, u64)> = Vec::new();
    for (at, &(suffix, weight, is_word)) in suffixes.iter().enumerate() {
        let next = suffixes.get(at + 1).map_or("", |&(next, ..)| next);
        let common = common_prefix(suffix, next);
        let mut total = weight;
        if is_word && suffix.len() > common.max(open.last().map_or(0, |&(length, _)| length)) {
            found.push((suffix, weight));
        }
        while let Some(&(length, sum)) = open.last().filter(|(length, _)| *length > common) {
            open.pop();
            total += sum;
            found.push((&suffix[..length], total));
        }
        match open.last_mut() {
            Some((length, sum)) if *length == common => *sum += total,
            _ if common > 0 => open.push((common, total)),
            _ => {}
        }
    }
    let mut seeds: Vec<(&str, u64)> = found
        .into_iter()
        .filter(|(piece, count)| *count > 1 && piece.chars().nth(1).is_some())
        .map(|(piece, count)| (piece, count * piece.chars().count() as u64))
        .collect();
    seeds.sort_by_key(|&(piece, score)| (Reverse(score), piece));
    seeds.truncate(seeds_max);
    let mut singles = BTreeMap::<char, u64>::new();
    for (word, count) in &words.words {
        text(word).chars().for_each(|character| *singles.entry(character).or_default() += count);
    }
    let singles = singles.into_iter().map(|(character, count)| (character.to_string(), count));
    singles.chain(seeds.into_iter().map(|(piece, score)| (piece.to_owned(), score))).collect()
}

/// Bytes of the longest common prefix that ends between characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let equal = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    a.floor_char_boundary(equal)
}

/// The pieces of the moment.
struct Pieces {
    texts: Vec<String>,
    /// Logarithms of probabilities.
    scores: Vec<f64>,
    trie: DoubleArray,
}

impl Pieces {
    fn new(seeds: Vec<(String, u64)>) -> Self {
        let all: f64 = seeds.iter().map(|&(_, score)| score as f64).sum();
        let scores = seeds.iter().map(|&(_, score)| (score as f64 / all).ln()).collect();
        Self::of(seeds.into_iter().map(|(text, _)| text).collect(), scores)
    }

    fn of(texts: Vec<String>, scores: Vec<f64>) -> Self {
        let trie = DoubleArray::build(texts.iter().map(String::as_bytes).zip(0..));
        Self { texts, scores, trie }
    }

    /// Calls `edge` with the end, the place in the list and the score of all pieces that can begin at `start`: at least the
    /// character there.
    fn edges(&self, word: &str, start: usize, mut edge: impl FnMut(usize, u32, f64)) {
        for (length, id) in self.trie.prefixes(&word.as_bytes()[start..]) {
            edge(start + length, id, self.scores[id as usize]);
        }
    }

    /// How often each piece is expected in the text, over all ways to cut it (the forward-backward algorithm).
    fn expected(&self, words: &WordCounts, threads: usize) -> Vec<f64> {
        let sums = in_parts(words.words.len(), threads, |part| {
            let mut expected = vec![0.0; self.texts.len()];
            let (mut forward, mut backward) = (Vec::new(), Vec::new());
            for (word, count) in &words.words[part] {
                self.expect(text(word), *count as f64, (&mut forward, &mut backward), &mut expected);
            }
            expected
        });
        let mut total = vec![0.0; self.texts.len()];
        for part in sums {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        total
    }

    fn expect(
        &self,
        word: &str,
        count: f64,
        (forward, backward): (&mut Vec<f64>, &mut Vec<f64>),
        expected: &mut [f64],
    ) {
        for sums in [&mut *forward, &mut *backward] {
            sums.clear();
            sums.resize(word.len() + 1, f64::NEG_INFINITY);
        }
        forward[0] = 0.0;
        backward[word.len()] = 0.0;
        for (start, _) in word.char_indices() {
            let here = forward[start];
            self.edges(word, start, |end, _, score| forward[end] = log_add(forward[end], here + score));
        }
        for (start, _) in word.char_indices().rev() {
            let mut sum = f64::NEG_INFINITY;
            self.edges(word, start, |end, _, score| sum = log_add(sum, score + backward[end]));
            backward[start] = sum;
        }
        let all = forward[word.len()];
        for (start, _) in word.char_indices() {
            self.edges(word, start, |end, piece, score| {
                expected[piece as usize] += count * (forward[start] + score + backward[end] - all).exp();
            });
        }
    }

    /// The probabilities under which the expectations are most likely, with a Dirichlet prior that favours few pieces
    /// (SentencePiece's "Bayesianified" step: the digamma function in place of the logarithm).
    fn maximize(&mut self, expected: &[f64]) {
        let single = |text: &str| text.chars().nth(1).is_none();
        let texts = std::mem::take(&mut self.texts);
        let kept: Vec<(String, f64)> = texts
            .into_iter()
            .zip(expected)
            .filter(|(text, expected)| **expected >= EXPECTED_MIN || single(text))
            .map(|(text, &expected)| (text, expected.max(EXPECTED_MIN)))
            .collect();
        let all = digamma(kept.iter().map(|(_, expected)| expected).sum());
        let scores = kept.iter().map(|(_, expected)| digamma(*expected) - all).collect();
        *self = Self::of(kept.into_iter().map(|(text, _)| text).collect(), scores);
    }

    /// The best way to cut a word; `but` may not be used.
    fn best(&self, word: &str, but: Option<u32>) -> Vec<u32> {
        let mut best: Vec<(f64, usize, u32)> = vec![(f64::NEG_INFINITY, 0, 0); word.len() + 1];
        best[0].0 = 0.0;
        for (start, _) in word.char_indices() {
            let here = best[start].0;
            self.edges(word, start, |end, piece, score| {
                if here + score > best[end].0 && but != Some(piece) {
                    best[end] = (here + score, start, piece);
                }
            });
        }
        let mut path = Vec::new();
        let mut end = word.len();
        while end > 0 {
            let (_, start, piece) = best[end];
            path.push(piece);
            end = start;
        }
        path.reverse();
        path
    }

    /// Keeps `size` pieces: the characters, and those without which the text would lose most likelihood, each with its next
    /// best spelling in its place.
    fn prune(&mut self, words: &WordCounts, size: usize, threads: usize) {
        let parts = in_parts(words.words.len(), threads, |part| {
            let mut counts = vec![0u64; self.texts.len()];
            for (word, count) in &words.words[part] {
                for piece in self.best(text(word), None) {
                    counts[piece as usize] += count;
                }
            }
            counts
        });
        let mut counts = vec![0u64; self.texts.len()];
        for part in parts {
            counts.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        let all = counts.iter().sum::<u64>() as f64;
        let losses = in_parts(self.texts.len(), threads, |part| {
            part.map(|piece| self.loss(piece, &counts, all)).collect::<Vec<f64>>()
        });
        let mut order: Vec<(usize, f64)> = losses.into_iter().flatten().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(size);
        order.retain(|(_, loss)| *loss > f64::NEG_INFINITY);
        order.sort_unstable_by_key(|&(piece, _)| piece);
        let kept = |(piece, _): &(usize, f64)| (std::mem::take(&mut self.texts[*piece]), self.scores[*piece]);
        let (texts, scores) = order.iter().map(kept).unzip();
        *self = Self::of(texts, scores);
    }

    /// How much likelihood the text loses without a piece: infinite for characters, less than any for unused pieces.
    fn loss(&self, piece: usize, counts: &[u64], all: f64) -> f64 {
        let word = &self.texts[piece];
        if word.chars().nth(1).is_none() {
            return f64::INFINITY;
        }
        let count = counts[piece] as f64;
        if count == 0.0 {
            return f64::NEG_INFINITY;
        }
        let other = self.best(word, Some(piece as u32));
        let all_then = (all + count * (other.len() as f64 - 1.0)).ln();
        let instead: f64 = other.iter().map(|&part| (counts[part as usize] as f64 + count).ln() - all_then).sum();
        count / all * (count.ln() - all.ln() - instead)
    }

    /// All characters, then the most likely pieces up to `size`; characters that EM gave up score just below the rest.
    fn finish(self, size: usize) -> Vec<(String, f32)> {
        let is_single = |text: &str| text.chars().nth(1).is_none();
        let (mut kept, mut others): (Vec<_>, Vec<_>) =
            self.texts.into_iter().zip(self.scores).partition(|(text, _)| is_single(text));
        let by_score = |a: &(String, f64), b: &(String, f64)| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0));
        others.sort_by(by_score);
        others.truncate(size.saturating_sub(kept.len()));
        kept.append(&mut others);
        kept.sort_by(by_score);
        kept.into_iter().map(|(text, score)| (text, score as f32)).collect()
    }
}

/// What `work` gives for each of [`PARTS`] ranges of `count` things, in their order.
fn in_parts<R: Send>(count: usize, threads: usize, work: impl Fn(Range<usize>) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(PARTS));
    let run = || loop {
        let part = next.fetch_add(1, Ordering::Relaxed);
        if part >= PARTS {
            break;
        }
        let result = work(count * part / PARTS..count * (part + 1) / PARTS);
        done.lock().unwrap_or_else(PoisonError::into_inner).push((part, result));
    };
    std::thread::scope(|scope| (0..threads.clamp(1, PARTS)).for_each(|_| drop(scope.spawn(run))));
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(part, _)| part);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The logarithm of a sum, from logarithms.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// The derivative of the logarithm of the gamma function, for positive numbers (Bernardo 1976, algorithm AS 103).
fn digamma(mut x: f64) -> f64 {
    let mut below = 0.0;
    while x < 7.0 {
        below -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / (x * x);
    let series = inverse * (1.0 / 12.0 - inverse * (1.0 / 120.0 - inverse * (1.0 / 252.0 - inverse / 240.0)));
    below + x.ln() - 0.5 / x - series
}

#[cfg(test)]
mod tests;
