//! The n-grams of benchmarks, and finding them in texts.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::benchmark::Item;
use super::words::{Units, Word};
use crate::clean::hash::Fixed;
use crate::dedup::shingles::ngrams;

/// How long an n-gram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many words or tokens.
    Fixed(usize),
    /// GPT-3's rule (appendix C): the 5th percentile of the benchmark's items' lengths, from 8 to 13.
    Percentile,
}

impl Length {
    /// For a benchmark whose items have so many words.
    fn of(self, lengths: impl Iterator<Item = usize>) -> usize {
        match self {
            Self::Fixed(n) => n,
            Self::Percentile => {
                let mut lengths: Vec<usize> = lengths.collect();
                lengths.sort_unstable();
                let rank = lengths.len().div_ceil(20).saturating_sub(1);
                lengths.get(rank).map_or(8, |&length| length.clamp(8, 13))
            }
        }
    }
}

/// Every n-gram of all items.
pub struct Index {
    units: Units,
    /// By n: an n-gram's hash to its number.
    numbers: BTreeMap<usize, HashMap<u64, u32, Fixed>>,
    ngrams: usize,
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
    pub fn new(units: Units) -> Self {
        Self { units, numbers: BTreeMap::new(), ngrams: 0, items: Vec::new() }
    }

    /// Takes the items of a benchmark. Gives the n of its n-grams.
    ///
    /// # Panics
    /// The length is fixed at 0.
    pub fn push(&mut self, items: &[Item], length: Length) -> usize {
        let items: Vec<Vec<u64>> = items.iter().map(|item| hashes(&self.units.of(&item.text))).collect();
        let n = length.of(items.iter().map(Vec::len));
        assert!(n > 0, "an n-gram has a word");
        let numbers = self.numbers.entry(n).or_default();
        for words in items {
            let mut of_item: Vec<u32> = Vec::new();
            for ngram in ngrams(&words, n) {
                let number = *numbers.entry(ngram).or_insert(self.ngrams as u32);
                self.ngrams += usize::from(number as usize == self.ngrams);
                of_item.push(number);
            }
            of_item.sort_unstable();
            of_item.dedup();
            self.items.push(of_item);
        }
        n
    }

    /// How many n-grams it has.
    pub fn ngrams(&self) -> usize {
        self.ngrams
    }

    /// The n-grams of each item. An item without any is too short to be decided about.
    pub fn items(&self) -> &[Vec<u32>] {
        &self.items
    }

    /// Where n-grams of items stand in a text, in its order.
    pub fn find(&self, text: &str) -> Vec<Found> {
        let words = self.units.of(text);
        let hashes = hashes(&words);
        let mut found: Vec<Found> = Vec::new();
        for (&n, numbers) in &self.numbers {
            found.extend(ngrams(&hashes, n).enumerate().filter_map(|(place, ngram)| {
                let range = words[place].range.start..words[place + n - 1].range.end;
                numbers.get(&ngram).map(|&ngram| Found { ngram, range })
            }));
        }
        found.sort_by_key(|found| found.range.start);
        found
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
            let mut index = Index::new(Units::Words);
            let texts = items.iter().map(|words| Item { id: String::new(), text: words.join(" ") });
            index.push(&texts.collect::<Vec<_>>(), Length::Fixed(n));
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

    fn item(text: &str) -> Item {
        Item { id: String::new(), text: text.into() }
    }

    /// The example in the harness's own file (`decontamination/janitor.py`), with what its code gives for it.
    #[test]
    fn ngrams_are_those_of_the_harness() {
        let source =
            "   ,, I'm a very !dirty,, ,,  dirty boy. Clean me daddy. \n\nhe he he hehe heh.  lastword  ".repeat(2);
        let mut index = Index::new(Units::Words);
        index.push(&[item("dirty boy. Clean he he")], Length::Fixed(3));
        let expected = ["dirty boy clean", "boy clean he", "clean he he"];
        assert_eq!(index.ngrams(), expected.len());
        for ngram in expected {
            assert_eq!(index.find(ngram).len(), 1, "{ngram}");
        }
        let found: Vec<&str> = index.find(&source).into_iter().map(|found| &source[found.range]).collect();
        assert_eq!(found, ["dirty boy. Clean"; 2]);
    }

    #[test]
    fn the_length_follows_the_benchmark() {
        let length = |lengths: &[usize]| Length::Percentile.of(lengths.iter().copied());
        assert_eq!(length(&[]), 8);
        assert_eq!(length(&[3, 4]), 8, "never less: short phrases stand everywhere");
        assert_eq!(length(&[900; 30]), 13, "never more");
        let many = [&[9, 10][..], &[40; 38]].concat();
        assert_eq!(length(&many), 10, "the second of forty is the 5th percentile");
        let mut index = Index::new(Units::Words);
        let words = |from: usize, to: usize| (from..to).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        assert_eq!(index.push(&[item(&words(0, 10))], Length::Percentile), 10);
        assert_eq!(index.push(&[item(&words(0, 20))], Length::Percentile), 13);
        let places: Vec<(u32, usize)> =
            index.find(&words(0, 14)).into_iter().map(|found| (found.ngram, found.range.start)).collect();
        assert_eq!(places, [(0, 0), (1, 0), (2, 3)], "of both lengths, in the order of the text");
    }
}
