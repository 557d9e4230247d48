//! FineWeb's rules of quality (Penedo et al. 2024, arXiv 2406.17557, section 3.6), as datatrove 0.10 has them.

use super::characters::{self, Characters, Class};
use super::filter::{Filter, Measured, Rule, View};
use super::gopher_repetition::Duplicates;
use super::share;

/// A line of at most so many characters is short.
const SHORT_LINE_CHARACTERS: usize = 30;

const RULES: &[Rule] = &[
    Rule::min("empty", "fineweb_lines", 1.0),
    Rule::min("line_punct_ratio", "fineweb_punctuated_lines", 0.12),
    Rule::max("short_line_ratio", "fineweb_short_lines", 0.67),
    Rule::max("char_dup_ratio", "fineweb_duplicate_line_characters", 0.01),
    Rule::max("list_ratio", "fineweb_line_ends_per_word", 0.3),
];

/// Drops texts whose lines do not end as prose does, are short, or repeated.
pub fn filter() -> Filter {
    Filter::new("fineweb", RULES, measure)
}

fn measure(view: &View<'_>, _: &[Rule]) -> Measured {
    let table = Characters::table();
    let text = view.text();
    let lines: Vec<&str> = text.split('\n').filter(|line| !characters::strip(line).is_empty()).collect();
    let punctuated = |line: &&&str| line.ends_with(|last| table.is(last, Class::TERMINAL));
    let short = |line: &&&str| line.chars().take(SHORT_LINE_CHARACTERS + 1).count() <= SHORT_LINE_CHARACTERS;
    let line_ends = text.matches('\n').count();
    let duplicates = Duplicates::of(lines.iter().copied());
    let signals = vec![
        ("fineweb_lines", lines.len() as f64),
        ("fineweb_punctuated_lines", share(lines.iter().filter(punctuated).count(), lines.len())),
        ("fineweb_short_lines", share(lines.iter().filter(short).count(), lines.len())),
        ("fineweb_duplicate_line_characters", share(duplicates.characters, view.characters() - line_ends)),
        ("fineweb_line_ends_per_word", share(line_ends, view.words().len())),
    ];
    Measured { signals, ..Measured::default() }
}
