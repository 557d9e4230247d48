//! The n-grams of benchmarks, and finding them in texts.

use std::collections::HashMap;
use std::ops::Range;

use super::benchmark::Item;
use super::words::{Word, words};
use crate::clean::hash::Fixed;
use crate::dedup::shingles::ngrams;

/// Every n-gram of all items.
#[derive(Debug)]
pub struct Index {
    n: usize,
    /// An n-gram's hash to its number.
    numbers: HashMap<u64, u32, Fixed>,
    /// The n-grams of each item, without repeats.
    items: Vec<Vec<u32>>,
}

/// An n-gram that stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub ngram: u32,
    /// Its bytes in the text.
    pub range: Range<usize>,
}

impl Index {
    /// Of no items.
    ///
    /// # Panics
    /// `n` is 0.
    pub fn new(n: usize) -> Self {
        assert!(n > 0, "an n-gram has a word");
        Self { n, numbers: HashMap::default(), items: Vec::new() }
    }

    /// Takes an item.
    pub fn push(&mut self, item: &Item) {
        let mut of_item: Vec<u32> = Vec::new();
        for ngram in ngrams(&hashes(&words(&item.text)), self.n) {
            let next = self.numbers.len() as u32;
            of_item.push(*self.numbers.entry(ngram).or_insert(next));
        }
        of_item.sort_unstable();
        of_item.dedup();
        self.items.push(of_item);
    }

    /// How many n-grams it has.
    pub fn ngrams(&self) -> usize {
        self.numbers.len()
    }

    /// The n-grams of each item. An item without any is too short to be decided about.
    pub fn items(&self) -> &[Vec<u32>] {
        &self.items
    }

    /// Where n-grams of items stand in a text, in its order.
    pub fn find(&self, text: &str) -> Vec<Found> {
        let words = words(text);
        let hashes = hashes(&words);
        let found = ngrams(&hashes, self.n).enumerate().filter_map(|(place, ngram)| {
            let range = words[place].range.start..words[place + self.n - 1].range.end;
            self.numbers.get(&ngram).map(|&ngram| Found { ngram, range })
        });
        found.collect()
    }
}

fn hashes(words: &[Word]) -> Vec<u64> {
    words.iter().map(|word| word.hash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::rng::{Key, Stream};

    #[test]
    fn what_is_found_is_what_comparing_all_words_finds() {
        let mut stream = Stream::new(Key::from_seed(4));
        let mut text = |length: u64| -> Vec<String> { (0..length).map(|_| format!("w{}", stream.below(4))).collect() };
        for n in [1, 3, 5] {
            let items: Vec<Vec<String>> = (0..6).map(&mut text).collect();
            let mut index = Index::new(n);
            items.iter().for_each(|words| index.push(&Item { id: String::new(), text: words.join(" ") }));
            let corpus = text(300);
            let joined = corpus.join(", ").to_uppercase();
            let found = index.find(&joined);
            let expected: Vec<Vec<usize>> = corpus
                .windows(n)
                .map(|window| (0..6).filter(|&item| items[item].windows(n).any(|other| other == window)).collect())
                .filter(|items: &Vec<usize>| !items.is_empty())
                .collect();
            let having = |ngram: u32| (0..6).filter(|&item| index.items()[item].contains(&ngram)).collect::<Vec<_>>();
            assert_eq!(found.iter().map(|found| having(found.ngram)).collect::<Vec<_>>(), expected);
            assert!(found.iter().all(|found| joined[found.range.clone()].split(' ').count() == n));
        }
    }
}
