//! An n-gram model that scores: mapped from a model file, or read from an ARPA file.

use std::io::Read;
use std::path::Path;

use serde::Serialize;
use tsumugi_base::FileError;
use tsumugi_base::limits::NGRAM_ORDER_MAX;
use tsumugi_files::mmap::MappedFile;

use super::model_file::{FLOAT_BITS, Layout, LevelLayout, MAGIC};
use super::vocabulary::hash;
use super::{BEGIN, END, NgramError, UNKNOWN, WordId, arpa, text};

/// A model. May be shared between threads; each text has a [`Scorer`] of its own.
pub struct NgramModel {
    bytes: Bytes,
    layout: Layout,
    ends_begin: usize,
    word_bytes_begin: usize,
}

impl std::fmt::Debug for NgramModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NgramModel({:?})", self.counts())
    }
}

enum Bytes {
    Mapped(MappedFile),
    Owned(Vec<u8>),
}

/// A scored word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scored {
    /// log10 of its probability.
    pub log10: f32,
    /// Words of the longest n-gram of the model that ends with it.
    pub ngram_length: usize,
    /// Whether it is not in the vocabulary.
    pub is_unknown: bool,
}

/// What a text has, as the sums from which perplexities are made.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct TextScore {
    /// log10 of the probability of all words and ends of sentences.
    pub log10: f64,
    /// Of it, what words have that are not in the vocabulary.
    pub unknown_log10: f64,
    /// Words, and an end for each sentence.
    pub tokens: u64,
    /// Words that are not in the vocabulary.
    pub unknown: u64,
}

impl TextScore {
    /// 10 to the mean negative log10, all tokens counted.
    pub fn perplexity(&self) -> f64 {
        10_f64.powf(-self.log10 / self.tokens as f64)
    }

    /// The same without words that are not in the vocabulary.
    pub fn perplexity_of_known(&self) -> f64 {
        10_f64.powf(-(self.log10 - self.unknown_log10) / (self.tokens - self.unknown) as f64)
    }

    /// Adds another text.
    pub fn add(&mut self, other: &Self) {
        self.log10 += other.log10;
        self.unknown_log10 += other.unknown_log10;
        self.tokens += other.tokens;
        self.unknown += other.unknown;
    }

    /// Adds a word.
    pub fn count(&mut self, scored: Scored) {
        self.tokens += 1;
        self.log10 += f64::from(scored.log10);
        if scored.is_unknown {
            self.unknown += 1;
            self.unknown_log10 += f64::from(scored.log10);
        }
    }
}

impl NgramModel {
    /// Maps a model file in the time that its header takes, or reads an ARPA file whole.
    ///
    /// # Errors
    /// If the file cannot be read, or is neither.
    pub fn open(path: &Path) -> Result<Self, NgramError> {
        let mut file = std::fs::File::open(path).map_err(|source| FileError::read(path, source))?;
        let mut magic = Vec::new();
        (&mut file).take(MAGIC.len() as u64).read_to_end(&mut magic).map_err(|source| FileError::read(path, source))?;
        if magic == MAGIC {
            Self::of(Bytes::Mapped(MappedFile::of(&file, path)?), path)
        } else {
            Self::of_bytes(arpa::read(path)?, path)
        }
    }

    /// A model file in memory; `path` is for messages only.
    pub(super) fn of_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, NgramError> {
        Self::of(Bytes::Owned(bytes), path)
    }

    fn of(bytes: Bytes, path: &Path) -> Result<Self, NgramError> {
        let wrong = |reason| NgramError::ModelFile { path: path.to_owned(), reason };
        let data = bytes.all();
        let number = |i: usize| u64_at(data, MAGIC.len() + 8 * i).ok_or_else(|| wrong("the header is cut"));
        let order = number(0)?;
        if !(1..=NGRAM_ORDER_MAX as u64).contains(&order) {
            return Err(wrong("the order in its header is one that no model has"));
        }
        let nodes = (0..order as usize).map(|n| number(4 + n)).collect::<Result<Vec<_>, _>>()?;
        let (words, slots) = (number(1)?, number(3)?);
        if words != nodes[0] || words >= u64::from(WordId::MAX) || words <= u64::from(END) || slots <= words {
            return Err(wrong("the sizes in its header contradict each other"));
        }
        if !slots.is_power_of_two() {
            return Err(wrong("the hash table of its words has a size that none has"));
        }
        let layout = Layout::new(number(2)?, slots, &nodes);
        let layout = layout.filter(|layout| layout.file_bytes() == Some(data.len() as u64));
        let layout = layout.ok_or_else(|| wrong("it is not as long as its header says: it is cut or damaged"))?;
        let (ends, word_bytes) = layout.words_begin().ok_or_else(|| wrong("the header is cut"))?;
        Ok(Self { ends_begin: ends as usize, word_bytes_begin: word_bytes as usize, bytes, layout })
    }

    /// Words of the longest n-gram.
    pub fn order(&self) -> usize {
        self.layout.levels.len()
    }

    /// N-grams of each order from 1.
    pub fn counts(&self) -> Vec<u64> {
        self.layout.levels.iter().map(|level| level.nodes).collect()
    }

    /// A word's id, [`UNKNOWN`] if it has none.
    pub fn id(&self, word: &[u8]) -> WordId {
        let hash = hash(word);
        let mask = self.layout.slots - 1;
        let begin = Layout::slots_begin(self.order());
        let mut at = hash & mask;
        // A damaged table may be full: no word is further away than there are slots.
        for _ in 0..self.layout.slots {
            match u64_at(self.bytes.all(), (begin + 8 * at) as usize) {
                None | Some(0) => return UNKNOWN,
                Some(slot) => {
                    let id = (slot as WordId).wrapping_sub(1);
                    if slot >> 32 == hash >> 32 && self.word(id) == Some(word) {
                        return id;
                    }
                }
            }
            at = (at + 1) & mask;
        }
        UNKNOWN
    }

    /// The word of an id.
    pub fn word(&self, id: WordId) -> Option<&[u8]> {
        if u64::from(id) >= self.layout.words {
            return None;
        }
        let end = |id: WordId| u64_at(self.bytes.all(), self.ends_begin + 8 * id as usize);
        let begin = id.checked_sub(1).map_or(Some(0), end)?;
        let words = self.bytes.all().get(self.word_bytes_begin..)?.get(..self.layout.word_bytes as usize)?;
        words.get(usize::try_from(begin).ok()?..usize::try_from(end(id)?).ok()?)
    }

    /// A scorer at the begin of a sentence.
    pub fn begin_sentence(&self) -> Scorer<'_> {
        let mut scorer = self.without_context();
        scorer.push(BEGIN);
        scorer
    }

    /// A scorer that knows nothing of what came before.
    pub fn without_context(&self) -> Scorer<'_> {
        let room = self.order().saturating_sub(1);
        let (words, backoffs) = (Vec::with_capacity(room + 1), Vec::with_capacity(room + 1));
        Scorer { model: self, words, backoffs, next_backoffs: Vec::with_capacity(room + 1) }
    }

    /// Scores a text: each line a sentence from `<s>` to `</s>`. A last line without a line feed is one too.
    ///
    /// ```no_run
    /// # use tsumugi_classical::ngram::{NgramError, NgramModel};
    /// let model = NgramModel::open("model.ngram".as_ref())?;
    /// println!("{}", model.score("to be or not to be").perplexity());
    /// # Ok::<(), NgramError>(())
    /// ```
    pub fn score(&self, text: &str) -> TextScore {
        let mut score = TextScore::default();
        for line in text.lines() {
            self.score_line(line.as_bytes(), |_, _, scored| score.count(scored));
        }
        score
    }

    /// Scores one sentence: `each` is given every word, its id and its score, at last those of `</s>`.
    pub fn score_line(&self, line: &[u8], mut each: impl FnMut(&[u8], WordId, Scored)) {
        let mut scorer = self.begin_sentence();
        for word in text::words(line) {
            let id = self.id(word);
            each(word, id, scorer.push(id));
        }
        each(super::END_WORD.as_bytes(), END, scorer.push(END));
    }

    /// Scores a file of any size, line by line. `read` is told the bytes of each block.
    ///
    /// # Errors
    /// If the file cannot be read, or `read` wants to stop.
    pub fn score_file(
        &self,
        path: &Path,
        read: impl FnMut(u64) -> Result<(), NgramError>,
    ) -> Result<TextScore, NgramError> {
        let mut score = TextScore::default();
        let mut scorer = self.begin_sentence();
        text::for_each_token(path, read, |token| {
            match token {
                text::Token::Word(word) => score.count(scorer.push(self.id(word))),
                text::Token::EndOfLine => {
                    score.count(scorer.push(END));
                    scorer.restart();
                }
            }
            Ok(())
        })?;
        Ok(score)
    }
}

impl Bytes {
    #[inline]
    fn all(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Scores words one after the other. A clone goes on from the same context.
#[derive(Clone)]
pub struct Scorer<'m> {
    model: &'m NgramModel,
    /// What came before, the latest first: as many words as the model has an n-gram of, at most `order - 1`.
    words: Vec<WordId>,
    /// log10 back-off weights of the latest word, of the latest two, and so on.
    backoffs: Vec<f32>,
    /// Those of the next context, while they are collected.
    next_backoffs: Vec<f32>,
}

impl Scorer<'_> {
    /// The next word.
    pub fn push(&mut self, word: WordId) -> Scored {
        let data = self.model.bytes.all();
        let levels = &self.model.layout.levels;
        let word = if u64::from(word) < self.model.layout.words { word } else { UNKNOWN };
        let mut node = Node::at(data, &levels[0], word.into());
        let mut length = 1;
        let mut log10 = node.probability(data);
        self.next_backoffs.clear();
        if levels.len() > 1 {
            self.next_backoffs.push(node.backoff(data));
        }
        for (&before, pair) in self.words.iter().zip(levels.windows(2)) {
            let Some(found) = node.child(data, &pair[1], before) else { break };
            node = found;
            length += 1;
            log10 = node.probability(data);
            if length < levels.len() {
                self.next_backoffs.push(node.backoff(data));
            }
        }
        // Every context that is longer than the one of this n-gram backs off.
        log10 += self.backoffs.iter().skip(length - 1).sum::<f32>();
        std::mem::swap(&mut self.backoffs, &mut self.next_backoffs);
        self.words.insert(0, word);
        self.words.truncate(self.backoffs.len());
        Scored { log10, ngram_length: length, is_unknown: word == UNKNOWN }
    }

    /// Forgets what came before: the next word begins a sentence.
    pub fn restart(&mut self) {
        self.words.clear();
        self.backoffs.clear();
        self.push(BEGIN);
    }
}

/// An entry of a level.
#[derive(Clone, Copy)]
struct Node<'m> {
    level: &'m LevelLayout,
    place: u64,
}

impl<'m> Node<'m> {
    fn at(_data: &[u8], level: &'m LevelLayout, place: u64) -> Self {
        Self { level, place }
    }

    #[inline]
    fn field(self, data: &[u8], before: u32, width: u32) -> u64 {
        field(data, self.level, self.place, before, width)
    }

    fn probability(self, data: &[u8]) -> f32 {
        f32::from_bits(self.field(data, self.level.word_bits, FLOAT_BITS) as u32)
    }

    fn backoff(self, data: &[u8]) -> f32 {
        f32::from_bits(self.field(data, self.level.word_bits + FLOAT_BITS, FLOAT_BITS) as u32)
    }

    /// The child with this word.
    #[inline]
    fn child(self, data: &[u8], next: &'m LevelLayout, word: WordId) -> Option<Self> {
        let before = self.level.word_bits + 2 * FLOAT_BITS;
        let begin = field(data, self.level, self.place, before, self.level.child_bits);
        let end = field(data, self.level, self.place + 1, before, self.level.child_bits).min(next.nodes);
        let (mut low, mut high) = (begin, end);
        // The words of siblings increase from 0 on: none stands further back than its id says. Frequent words have small ids.
        high = high.min(low.saturating_add(u64::from(word) + 1));
        while low < high {
            let middle = low + (high - low) / 2;
            let found = field(data, next, middle, 0, next.word_bits) as WordId;
            match found.cmp(&word) {
                std::cmp::Ordering::Equal => return Some(Self { level: next, place: middle }),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

/// A bit field of at most 57 bits; 0 outside of the file.
#[inline]
fn field(data: &[u8], level: &LevelLayout, place: u64, before: u32, width: u32) -> u64 {
    let bit = place.wrapping_mul(u64::from(level.entry_bits())).wrapping_add(u64::from(before));
    let byte = (level.begin as usize).wrapping_add((bit >> 3) as usize);
    let value = u64_at(data, byte).unwrap_or_default() >> (bit & 7);
    value & ((1 << width) - 1)
}

#[inline]
fn u64_at(data: &[u8], byte: usize) -> Option<u64> {
    let bytes = data.get(byte..byte.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}
