//! Gopher's rules of quality (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1), as datatrove 0.10 has them.

use super::characters::{self, Characters, Class};
use super::filter::{Filter, Measured, Rule, View};
use super::share;

const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

const RULES: &[Rule] = &[
    Rule::min("gopher_short_doc", "gopher_words", 50.0),
    Rule::max("gopher_long_doc", "gopher_words", 100_000.0),
    Rule::min("gopher_below_avg_threshold", "gopher_mean_word_length", 3.0),
    Rule::max("gopher_above_avg_threshold", "gopher_mean_word_length", 10.0),
    Rule::max("gopher_too_many_hashes", "gopher_hashes_per_word", 0.1),
    Rule::max("gopher_too_many_ellipsis", "gopher_ellipses_per_word", 0.1),
    Rule::max("gopher_too_many_bullets", "gopher_bullet_lines", 0.9),
    Rule::max("gopher_too_many_end_ellipsis", "gopher_ellipsis_lines", 0.3),
    Rule::min("gopher_below_alpha_threshold", "gopher_alphabetic_words", 0.8),
    Rule::min("gopher_enough_stop_words", "gopher_stop_words", 2.0),
];

/// Drops texts that are too short or long, of odd words, of symbols or lists, or without common words of English.
pub fn filter() -> Filter {
    Filter::new("gopher_quality", RULES, measure)
}

fn measure(view: &View<'_>, _: &[Rule]) -> Measured {
    let words = view.words();
    let counts = WordCounts::of(words.iter());
    let text = view.text();
    let ellipses = text.matches("...").count() + text.matches('…').count();
    let lines = LineCounts::of(text);
    let signals = vec![
        ("gopher_words", counts.not_symbols as f64),
        ("gopher_mean_word_length", share(counts.characters, counts.not_symbols)),
        ("gopher_hashes_per_word", share(text.matches('#').count(), words.len())),
        ("gopher_ellipses_per_word", share(ellipses, words.len())),
        ("gopher_bullet_lines", share(lines.bullets, lines.all)),
        ("gopher_ellipsis_lines", share(lines.ellipses, lines.all)),
        ("gopher_alphabetic_words", share(counts.alphabetic, words.len())),
        ("gopher_stop_words", counts.stop_words() as f64),
    ];
    Measured { signals, ..Measured::default() }
}

#[derive(Default)]
struct WordCounts {
    /// Words that are not symbols alone.
    not_symbols: usize,
    /// The characters of these.
    characters: usize,
    /// Words with a letter.
    alphabetic: usize,
    /// A bit for each of [`STOP_WORDS`] that was seen.
    seen: u8,
}

impl WordCounts {
    fn of<'t>(words: impl Iterator<Item = &'t str>) -> Self {
        let characters = Characters::table();
        let mut counts = Self::default();
        for word in words {
            counts.add(word, characters);
        }
        counts
    }

    fn add(&mut self, word: &str, characters: Characters) {
        if word.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            self.not_symbols += 1;
            self.characters += word.len();
            self.alphabetic += 1;
            if (2..=4).contains(&word.len())
                && let Some(place) = STOP_WORDS.iter().position(|stop| *stop == word)
            {
                self.seen |= 1 << place;
            }
            return;
        }
        if word.chars().any(|character| !characters.is(character, Class::SYMBOL)) {
            self.not_symbols += 1;
            self.characters += word.chars().count();
        }
        self.alphabetic += usize::from(word.chars().any(|character| characters.is(character, Class::LETTER)));
    }

    fn stop_words(&self) -> u32 {
        self.seen.count_ones()
    }
}

#[derive(Default)]
struct LineCounts {
    all: usize,
    /// Lines that begin with a bullet.
    bullets: usize,
    /// Lines that end with an ellipsis.
    ellipses: usize,
}

impl LineCounts {
    fn of(text: &str) -> Self {
        characters::lines(text).map(characters::strip).fold(Self::default(), |counts, line| Self {
            all: counts.all + 1,
            bullets: counts.bullets + usize::from(line.starts_with(['•', '-'])),
            ellipses: counts.ellipses + usize::from(line.ends_with("...") || line.ends_with('…')),
        })
    }
}
