//! Classifiers of fastText (Joulin et al. 2016, arXiv 1607.01759), plain (`.bin`) and quantized (`.ftz`), read from the
//! format of version 0.9 and evaluated as it does: the mean of the vectors of words, their character n-grams and word
//! n-grams, then a linear layer and a softmax, a tree of Huffman's, or one sigmoid per label.

mod matrix;
mod read;
mod tree;

use std::collections::HashMap;

use self::matrix::Rows;
use self::tree::Tree;
use crate::clean::hash::Fixed;

pub use read::FastTextError;

/// What labels begin with in the models of fastText.
pub const LABEL_PREFIX: &str = "__label__";

const END_OF_LINE: &[u8] = b"</s>";

/// A classifier.
pub struct FastText {
    settings: Settings,
    /// A word to its row.
    words: HashMap<Vec<u8>, u32, Fixed>,
    labels: Vec<String>,
    /// Where a pruned model keeps the rows of hashed n-grams, by their hash.
    kept_ngrams: Option<HashMap<u32, u32, Fixed>>,
    input: Rows,
    output: Rows,
    tree: Option<Tree>,
}

/// What of fastText's arguments matters to a prediction.
#[derive(Debug, Clone, Copy)]
struct Settings {
    dimensions: usize,
    /// Word n-grams of up to so many words.
    word_ngrams: usize,
    loss: Loss,
    /// How many hashed n-grams there are.
    buckets: u32,
    /// The shortest and the longest n-gram of characters; the longest is 0 where there are none.
    ngram_min: usize,
    ngram_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    HierarchicalSoftmax,
    Softmax,
    /// One sigmoid per label: negative sampling, one against all.
    Sigmoid,
}

impl std::fmt::Debug for FastText {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FastText").field("settings", &self.settings).field("labels", &self.labels).finish()
    }
}

impl FastText {
    /// The names of the classes, most frequent first, with their [`LABEL_PREFIX`].
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The `count` most likely labels of a text, best last, with their probabilities. A line end counts as a blank. Nothing of
    /// which the model knows no part has a label.
    pub fn predict(&self, text: &str, count: usize) -> Vec<(&str, f32)> {
        let features = self.features(text.as_bytes());
        if features.is_empty() {
            return Vec::new();
        }
        let mut hidden = vec![0.0; self.settings.dimensions];
        for &feature in &features {
            self.input.add_row(feature as usize, &mut hidden);
        }
        let scale = 1.0 / features.len() as f32;
        hidden.iter_mut().for_each(|value| *value *= scale);
        let probabilities = self.probabilities(&hidden);
        let mut ranked: Vec<_> = self.labels.iter().map(String::as_str).zip(probabilities).collect();
        // The sort is stable: of equal ones the more frequent label counts as the better.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(count);
        ranked.reverse();
        ranked
    }

    fn probabilities(&self, hidden: &[f32]) -> Vec<f32> {
        if let Some(tree) = &self.tree {
            return tree.probabilities(|node| self.output.dot(node, hidden));
        }
        let mut scores: Vec<f32> = (0..self.labels.len()).map(|label| self.output.dot(label, hidden)).collect();
        if self.settings.loss == Loss::Sigmoid {
            scores.iter_mut().for_each(|score| *score = sigmoid_in_steps(*score));
            return scores;
        }
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - most).exp());
        let sum: f32 = scores.iter().sum();
        scores.iter_mut().for_each(|score| *score /= sum);
        scores
    }

    /// The rows of the input matrix that a text is the mean of, in fastText's order: each word with its n-grams of characters,
    /// the end of the line, then n-grams of words.
    fn features(&self, text: &[u8]) -> Vec<u32> {
        let mut features = Vec::new();
        let mut hashes = Vec::new();
        let mut padded = Vec::new();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r' | 0);
        let words = text.split(is_space).filter(|word| !word.is_empty()).chain([END_OF_LINE]);
        for word in words {
            let known = self.words.get(word).copied();
            if known.is_none() && word.starts_with(LABEL_PREFIX.as_bytes()) {
                continue;
            }
            hashes.push(hash(word));
            features.extend(known);
            if word == END_OF_LINE {
                break;
            }
            if self.settings.ngram_max > 0 {
                padded.clear();
                padded.push(b'<');
                padded.extend_from_slice(word);
                padded.push(b'>');
                self.add_character_ngrams(&padded, &mut features);
            }
        }
        self.add_word_ngrams(&hashes, &mut features);
        features
    }

    fn add_character_ngrams(&self, word: &[u8], features: &mut Vec<u32>) {
        let begins = |byte: u8| byte & 0xc0 != 0x80;
        for start in (0..word.len()).filter(|start| begins(word[*start])) {
            let mut state = HASH_BASIS;
            let mut end = start;
            for length in 1..=self.settings.ngram_max {
                if end == word.len() {
                    break;
                }
                loop {
                    state = hash_step(state, word[end]);
                    end += 1;
                    if end == word.len() || begins(word[end]) {
                        break;
                    }
                }
                let is_edge = length == 1 && (start == 0 || end == word.len());
                if length >= self.settings.ngram_min && !is_edge {
                    self.add_hashed(u64::from(state), features);
                }
            }
        }
    }

    fn add_word_ngrams(&self, hashes: &[u32], features: &mut Vec<u32>) {
        // fastText keeps hashes in signed 32 bits and widens these.
        let widen = |hash: u32| hash as i32 as i64 as u64;
        for (start, first) in hashes.iter().enumerate() {
            let mut state = widen(*first);
            for next in hashes.iter().skip(start + 1).take(self.settings.word_ngrams.saturating_sub(1)) {
                state = state.wrapping_mul(116_049_371).wrapping_add(widen(*next));
                self.add_hashed(state, features);
            }
        }
    }

    fn add_hashed(&self, hash: u64, features: &mut Vec<u32>) {
        if self.settings.buckets == 0 {
            return;
        }
        let bucket = (hash % u64::from(self.settings.buckets)) as u32;
        let row = match &self.kept_ngrams {
            None => Some(bucket),
            Some(kept) => kept.get(&bucket).copied(),
        };
        features.extend(row.map(|row| self.words.len() as u32 + row));
    }
}

const HASH_BASIS: u32 = 2_166_136_261;

/// FNV-1a, but that fastText widens a byte with its sign.
fn hash(word: &[u8]) -> u32 {
    word.iter().fold(HASH_BASIS, |state, byte| hash_step(state, *byte))
}

fn hash_step(state: u32, byte: u8) -> u32 {
    (state ^ byte as i8 as u32).wrapping_mul(16_777_619)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// fastText looks this sigmoid up in a table of 512 steps from -8 to 8.
fn sigmoid_in_steps(x: f32) -> f32 {
    match x {
        ..-8.0 => 0.0,
        8.0.. => 1.0,
        _ => sigmoid(((x + 8.0) * 32.0).floor() / 32.0 - 8.0),
    }
}
