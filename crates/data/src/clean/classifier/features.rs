//! A text as a sparse vector: hashed n-grams of its words and of the characters in them.

use serde::{Deserialize, Serialize};

use crate::clean::hash::{hash, mix};

/// Which n-grams are features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSettings {
    /// There are 2 to this power of buckets.
    pub bucket_bits: u32,
    /// N-grams of up to so many words.
    pub word_ngrams: usize,
    /// The shortest n-gram of characters in a word with a sign at each end.
    pub character_ngram_min: usize,
    /// The longest; 0 for none.
    pub character_ngram_max: usize,
    /// What follows these bytes of a text is not looked at.
    pub text_bytes_max: usize,
}

impl Default for FeatureSettings {
    fn default() -> Self {
        Self {
            bucket_bits: 18,
            word_ngrams: 2,
            character_ngram_min: 3,
            character_ngram_max: 4,
            text_bytes_max: 64 << 10,
        }
    }
}

impl FeatureSettings {
    /// The number of buckets, or what is wrong.
    pub(super) fn check(&self) -> Result<usize, String> {
        if !(1..=28).contains(&self.bucket_bits) {
            return Err(format!("`bucket_bits` is {}, not from 1 to 28", self.bucket_bits));
        }
        if !(1..=8).contains(&self.word_ngrams) || self.character_ngram_max > 16 {
            return Err("n-grams of at most 8 words and 16 characters are known".into());
        }
        Ok(1 << self.bucket_bits)
    }
}

/// Bucket to value, sorted; the squares of the values add up to 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features(Vec<(u32, f32)>);

impl Features {
    /// Counts the n-grams. A value is the logarithm of 1 and the count, so that what repeats itself does not drown the rest.
    pub fn of(text: &str, settings: &FeatureSettings) -> Self {
        let text = &text[..text.floor_char_boundary(settings.text_bytes_max)];
        let mut buckets = collect(text, settings);
        buckets.sort_unstable();
        let mut values: Vec<(u32, f32)> =
            buckets.chunk_by(|a, b| a == b).map(|same| (same[0], (same.len() as f32).ln_1p())).collect();
        let length = values.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
        values.iter_mut().for_each(|(_, value)| *value /= length);
        Self(values)
    }

    /// Bucket and value, in the order of the buckets.
    pub fn iter(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.0.iter().map(|(bucket, value)| (*bucket as usize, *value))
    }
}

/// The bucket of every n-gram.
fn collect(text: &str, settings: &FeatureSettings) -> Vec<u32> {
    let shift = 64 - settings.bucket_bits;
    let mut buckets = Vec::with_capacity(text.len());
    let mut words: Vec<u64> = Vec::new();
    let mut padded = String::new();
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        padded.clear();
        padded.push('<');
        padded.extend(word.chars().flat_map(char::to_lowercase));
        padded.push('>');
        words.push(hash(padded.as_bytes()));
        let mut state = 0;
        for (length, word) in words.iter().rev().take(settings.word_ngrams).enumerate() {
            state = mix(state ^ word, WORD_SEED + 2 * length as u64);
            buckets.push((state >> shift) as u32);
        }
        add_characters(&padded, settings, shift, &mut buckets);
    }
    buckets
}

/// Odd, and unlike the seed of the characters: an n-gram of one kind is none of the other.
const WORD_SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const CHARACTER_SEED: u64 = 0xc2b2_ae3d_27d4_eb4f;

fn add_characters(word: &str, settings: &FeatureSettings, shift: u32, buckets: &mut Vec<u32>) {
    for (start, _) in word.char_indices() {
        let mut state = 0;
        for (count, character) in word[start..].chars().take(settings.character_ngram_max).enumerate() {
            state = mix(state ^ u64::from(character) ^ CHARACTER_SEED, WORD_SEED);
            if count + 1 >= settings.character_ngram_min {
                buckets.push((state >> shift) as u32);
            }
        }
    }
}
