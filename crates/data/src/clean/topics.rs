//! Topics that are left out by policy: lists of phrases, with what was found, so that each decision can be looked at.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tsumugi_base::io::{TextError, read_to_string_limited};

use super::hash::{Fixed, hash, mix};

/// A list of phrases is a few kilobytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// A longer line of a list is no phrase.
const PHRASE_WORDS_MAX: usize = 16;

/// A topic: its phrases, found as whole words whatever their case, punctuation and white space.
#[derive(Debug, Clone)]
pub struct Topic {
    /// The hash of a phrase's words to the phrase.
    phrases: HashMap<u64, String, Fixed>,
    /// The longest, in words.
    words_max: usize,
}

/// What of a topic stands in a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matches {
    /// Each phrase and how often it stands there.
    pub phrases: BTreeMap<String, u64>,
    /// Words of the text.
    pub words: u64,
}

impl Matches {
    /// All occurrences.
    pub fn count(&self) -> u64 {
        self.phrases.values().sum()
    }

    /// Occurrences per thousand words.
    pub fn per_thousand(&self) -> f64 {
        if self.words == 0 { 0.0 } else { 1000.0 * self.count() as f64 / self.words as f64 }
    }
}

impl Topic {
    /// Reads a list: a phrase per line; empty lines and those that begin with `#` are left out.
    pub fn open(path: &Path) -> Result<Self, TextError> {
        Ok(Self::new(&read_to_string_limited(path, LIST_BYTES_MAX)?))
    }

    /// From the text of a list.
    pub fn new(list: &str) -> Self {
        let mut topic = Self { phrases: HashMap::default(), words_max: 0 };
        for line in list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let words = word_hashes(line);
            if (1..=PHRASE_WORDS_MAX).contains(&words.len()) {
                topic.words_max = topic.words_max.max(words.len());
                topic.phrases.insert(words.into_iter().fold(0, mix_word), line.to_owned());
            }
        }
        topic
    }

    /// Phrases on the list.
    pub fn len(&self) -> usize {
        self.phrases.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.phrases.is_empty()
    }

    /// Everything of it in a text; of phrases that begin at one word the longest counts.
    pub fn find(&self, text: &str) -> Matches {
        let words = word_hashes(text);
        let mut matches = Matches { words: words.len() as u64, ..Matches::default() };
        for start in 0..words.len() {
            let mut state = 0;
            let ends = words[start..].iter().take(self.words_max).filter_map(|word| {
                state = mix_word(state, *word);
                self.phrases.get(&state)
            });
            if let Some(phrase) = ends.last() {
                *matches.phrases.entry(phrase.clone()).or_default() += 1;
            }
        }
        matches
    }
}

fn mix_word(state: u64, word: u64) -> u64 {
    mix(state ^ word, 0x9e37_79b9_7f4a_7c15)
}

/// The hash of each word in lower case, where a word is letters and digits.
fn word_hashes(text: &str) -> Vec<u64> {
    let mut lower = String::new();
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            lower.clear();
            lower.extend(word.chars().flat_map(char::to_lowercase));
            hash(lower.as_bytes())
        })
        .collect()
}
