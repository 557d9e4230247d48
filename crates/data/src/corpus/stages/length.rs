//! Documents by their length.

use serde::Deserialize;

use crate::Document;
use crate::corpus::{DocumentStage, Verdict};
use crate::words::count_words;

/// The signal that holds the number of words.
pub(super) const WORDS: &str = "words";

/// Drops documents outside of these bounds; what is left out bounds nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Length {
    /// Fewest words, apart by white space.
    words_min: Option<u64>,
    /// Most words.
    words_max: Option<u64>,
    /// Fewest characters.
    characters_min: Option<u64>,
    /// Most characters.
    characters_max: Option<u64>,
}

impl DocumentStage for Length {
    fn apply(&self, document: &mut Document) -> Verdict {
        if self.words_min.is_some() || self.words_max.is_some() {
            let words = document.number_or(WORDS, |text| count_words(text) as f64) as u64;
            match () {
                () if self.words_min.is_some_and(|least| words < least) => return Verdict::drop("too_few_words"),
                () if self.words_max.is_some_and(|most| words > most) => return Verdict::drop("too_many_words"),
                () => {}
            }
        }
        if self.characters_min.is_some() || self.characters_max.is_some() {
            let characters = document.number_or("characters", |text| text.chars().count() as f64) as u64;
            match () {
                () if self.characters_min.is_some_and(|least| characters < least) => {
                    return Verdict::drop("too_few_characters");
                }
                () if self.characters_max.is_some_and(|most| characters > most) => {
                    return Verdict::drop("too_many_characters");
                }
                () => {}
            }
        }
        Verdict::Keep
    }
}
