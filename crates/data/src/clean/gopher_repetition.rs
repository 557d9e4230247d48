//! Gopher's rules of repetition (Rae et al. 2021, arXiv 2112.11446, table A1), as datatrove 0.10 has them.

use std::collections::HashSet;

use super::characters;
use super::filter::{Filter, Measured, Rule, View};
use super::hash::Fixed;
use super::share;

mod ngrams;

use ngrams::{Repeats, most_frequent};

const RULES: &[Rule] = &[
    Rule::min("empty", "repetition_characters", 1.0),
    Rule::max("dup_para_frac", "repetition_paragraphs", 0.3),
    Rule::max("dup_para_char_frac", "repetition_paragraph_characters", 0.2),
    Rule::max("dup_line_frac", "repetition_lines", 0.3),
    Rule::max("dup_line_char_frac", "repetition_line_characters", 0.2),
    Rule::max("top_2_gram", "repetition_top_2_gram", 0.2),
    Rule::max("top_3_gram", "repetition_top_3_gram", 0.18),
    Rule::max("top_4_gram", "repetition_top_4_gram", 0.16),
    Rule::max("duplicated_5_n_grams", "repetition_5_grams", 0.15),
    Rule::max("duplicated_6_n_grams", "repetition_6_grams", 0.14),
    Rule::max("duplicated_7_n_grams", "repetition_7_grams", 0.13),
    Rule::max("duplicated_8_n_grams", "repetition_8_grams", 0.12),
    Rule::max("duplicated_9_n_grams", "repetition_9_grams", 0.11),
    Rule::max("duplicated_10_n_grams", "repetition_10_grams", 0.10),
];

const TOP: [(usize, &str); 3] =
    [(2, "repetition_top_2_gram"), (3, "repetition_top_3_gram"), (4, "repetition_top_4_gram")];
const REPEATED: [(usize, &str); 6] = [
    (5, "repetition_5_grams"),
    (6, "repetition_6_grams"),
    (7, "repetition_7_grams"),
    (8, "repetition_8_grams"),
    (9, "repetition_9_grams"),
    (10, "repetition_10_grams"),
];

/// Drops texts that repeat their lines, paragraphs or phrases.
pub fn filter() -> Filter {
    Filter::new("gopher_repetition", RULES, measure)
}

fn measure(view: &View<'_>, _: &[Rule]) -> Measured {
    let (text, characters) = (view.text(), view.characters());
    let paragraphs = Duplicates::of(split_at_line_ends(characters::strip(text), 2));
    let lines = Duplicates::of(split_at_line_ends(text, 1));
    let mut signals = vec![
        ("repetition_characters", characters as f64),
        ("repetition_paragraphs", share(paragraphs.repeated, paragraphs.all)),
        ("repetition_paragraph_characters", share(paragraphs.characters, characters)),
        ("repetition_lines", share(lines.repeated, lines.all)),
        ("repetition_line_characters", share(lines.characters, characters)),
    ];
    let words = view.words();
    let top = most_frequent(words);
    signals.extend(TOP.iter().zip(top).map(|((_, name), length)| (*name, share(length, characters))));
    let mut repeats = Repeats::of(words);
    signals.extend(REPEATED.iter().map(|(n, name)| (*name, share(repeats.characters(*n), characters))));
    Measured { signals, ..Measured::default() }
}

/// `re.split` at runs of at least so many line ends: text before the first and after the last counts, even if empty.
fn split_at_line_ends(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let all = rest.take()?;
        let mut start = 0;
        while let Some(found) = memchr::memchr(b'\n', &all.as_bytes()[start..]) {
            let end = start + found;
            let run = all.as_bytes()[end..].iter().take_while(|byte| **byte == b'\n').count();
            start = end + run;
            if run >= least {
                rest = Some(&all[start..]);
                return Some(&all[..end]);
            }
        }
        Some(all)
    })
}

/// What of some pieces stood before already.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Duplicates {
    /// Pieces in all.
    pub all: usize,
    /// Pieces that were there before.
    pub repeated: usize,
    /// The characters of these.
    pub characters: usize,
}

impl Duplicates {
    /// Counts the pieces.
    pub fn of<'t>(pieces: impl Iterator<Item = &'t str>) -> Self {
        let mut seen = HashSet::with_hasher(Fixed);
        let mut duplicates = Self::default();
        for piece in pieces {
            duplicates.all += 1;
            if !seen.insert(piece) {
                duplicates.repeated += 1;
                duplicates.characters += piece.chars().count();
            }
        }
        duplicates
    }
}
