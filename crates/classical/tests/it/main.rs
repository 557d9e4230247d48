//! The integration tests of `tsumugi-classical`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod broken_files;
mod kenlm;
mod random_texts;
mod reference;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tsumugi_base::progress::Silent;
use tsumugi_classical::ngram::{Discounts, Estimate, NgramError, TrainOptions, train};

/// Each n-gram's log10 probability and back-off weight.
pub type Ngrams = BTreeMap<String, (f64, f64)>;

/// For small texts.
pub fn options(order: usize, folder: &Path) -> TrainOptions {
    TrainOptions {
        order,
        prune: vec![],
        discount_fallback: Some(Discounts::FALLBACK),
        skip_symbols: false,
        memory_bytes: 16 << 20,
        threads: 1,
        scratch_folder: folder.to_owned(),
    }
}

/// A file of `fixtures/`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// [`train`] on one text.
pub fn estimate(text: &Path, options: &TrainOptions) -> Result<Estimate, NgramError> {
    train(&[text.to_owned()], options, &Silent)
}

/// The n-grams of an ARPA file, and its header.
pub fn read_arpa(text: &str) -> (Ngrams, Vec<&str>) {
    let mut ngrams = Ngrams::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let [probability, words, backoff @ ..] = fields.as_slice() {
            let backoff = backoff.first().map_or(0.0, |number| number.parse().unwrap());
            let twice = ngrams.insert((*words).to_owned(), (probability.parse().unwrap(), backoff));
            assert!(twice.is_none(), "{words} twice");
        }
    }
    (ngrams, text.lines().filter(|line| line.starts_with("ngram ")).collect())
}

/// The same n-grams with the same weights, to `tolerance`.
pub fn assert_same(found: &Ngrams, expected: &Ngrams, tolerance: f64, what: &str) {
    assert!(found.keys().eq(expected.keys()), "{what}: other n-grams: {found:?}\n{expected:?}");
    for (words, (probability, backoff)) in expected {
        let (found_probability, found_backoff) = found[words];
        let difference = (found_probability - probability).abs().max((found_backoff - backoff).abs());
        assert!(
            difference <= tolerance,
            "{what}: `{words}` has {found_probability} {found_backoff}, expected {probability} {backoff}"
        );
    }
}
