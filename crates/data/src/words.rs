//! Words as white space sets them apart: a measure of amounts, the same for every source and stage.

/// How many there are. Scripts that do not put white space between words have few.
pub(crate) fn count_words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}
