//! Shingles: hashes of a text's n-grams of words, after what does not tell texts apart is taken out.

use serde::{Deserialize, Serialize};
use unicode_normalization::char::{canonical_combining_class, decompose_canonical};

use crate::clean::characters::{Characters, Class};
use crate::clean::hash::{hash, mix};
use crate::clean::words::{TEXT_BYTES_MAX, Words};

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xe703_7ed1_a0b4_28db;

/// datatrove's `PUNCTUATION`, but for control characters.
const PUNCTUATION: &str = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»";
/// What may stand between the two parts of a number.
const POINTS: &str = ".,،٫⎖⎗⎘";

/// A hash for each n-gram of a row of words, given by their hashes.
pub fn ngrams(words: &[u64], n: usize) -> impl Iterator<Item = u64> + '_ {
    words.windows(n.max(1)).map(|ngram| ngram.iter().fold(FIRST, |state, &word| mix(state ^ word, FACTOR)))
}

/// What the words of a text are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cutting {
    /// Those of the simplified text ([`simplify`]), as in datatrove: long texts are not told apart by numbers, accents and
    /// punctuation.
    #[default]
    Simplified,
    /// What stands between two characters that are neither letters nor digits, in small letters, as in text-dedup: numbers
    /// tell texts apart, and between two marks there is an empty word, so that n-grams reach over fewer real ones.
    Plain,
}

/// The shingles of a text, in its order: none if it has fewer than `n` words. What lies behind its first 256 MiB is not looked at.
pub fn shingles(text: &str, n: usize, cutting: Cutting) -> Vec<u64> {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX / 4)];
    let words: Vec<u64> = match cutting {
        Cutting::Simplified => Words::of(&simplify(text)).iter().map(|word| hash(word.as_bytes())).collect(),
        Cutting::Plain => plain_words(&text.to_lowercase()).map(|word| hash(word.as_bytes())).collect(),
    };
    ngrams(&words, n).collect()
}

/// Cuts at every character that Python's `\W` matches; but vowel signs, which are marks, belong to words.
fn plain_words(lower: &str) -> impl Iterator<Item = &str> {
    lower.split(|character: char| !character.is_alphanumeric() && character != '_')
}

/// In small letters without accents, every number a 0, white space for punctuation, one blank for white space: datatrove's
/// `simplify_text`. Its accents are the category Mn; ours are what has a combining class, which spares vowel signs.
pub fn simplify(text: &str) -> String {
    let characters = Characters::table();
    let is_digit = |character: &char| characters.is(*character, Class::DIGIT);
    let lower = text.to_lowercase();
    let mut simple = String::with_capacity(lower.len());
    let mut rest = lower.chars();
    let mut is_gap = false;
    while let Some(character) = rest.next() {
        if is_digit(&character) {
            skip(&mut rest, is_digit);
            let mut ahead = rest.clone();
            if ahead.next().is_some_and(|point| POINTS.contains(point))
                && ahead.next().is_some_and(|next| is_digit(&next))
            {
                skip(&mut ahead, is_digit);
                rest = ahead;
            }
            push(&mut simple, &mut is_gap, '0');
        } else if is_punctuation(character) || characters.is(character, Class::SPACE) {
            is_gap = true;
        } else if character.is_ascii() {
            push(&mut simple, &mut is_gap, character);
        } else {
            decompose_canonical(character, |part| {
                if canonical_combining_class(part) == 0 {
                    push(&mut simple, &mut is_gap, part);
                }
            });
        }
    }
    simple
}

fn skip(rest: &mut std::str::Chars<'_>, is: impl Fn(&char) -> bool) {
    while rest.clone().next().is_some_and(|next| is(&next)) {
        rest.next();
    }
}

fn push(simple: &mut String, is_gap: &mut bool, character: char) {
    if std::mem::take(is_gap) && !simple.is_empty() {
        simple.push(' ');
    }
    simple.push(character);
}

fn is_punctuation(character: char) -> bool {
    if character.is_ascii() {
        // Control characters but for the line end and the tab, which are white space.
        return character.is_ascii_punctuation() || character.is_ascii_control() && !matches!(character, '\t' | '\n');
    }
    matches!(character, '\u{80}'..='\u{9f}') || PUNCTUATION.contains(character)
}

/// How alike two sets are, from 0 to 1: what they share of what either has (Jaccard 1901). Both are sorted, without repeats.
pub fn jaccard(one: &[u32], other: &[u32]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while i < one.len() && j < other.len() {
        let order = one[i].cmp(&other[j]);
        shared += usize::from(order.is_eq());
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
    let all = one.len() + other.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// The set of a text's shingles, 32 bits of each.
pub fn set(shingles: &[u64]) -> Vec<u32> {
    let mut set: Vec<u32> = shingles.iter().map(|&shingle| shingle as u32).collect();
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use tsumugi_base::rng::{Key, Stream};

    #[test]
    fn what_does_not_tell_texts_apart_is_taken_out() {
        // What datatrove 0.10.1 makes of them.
        for (text, expected) in [
            ("  Café,  NAÏVE\n\tÜbung!", "cafe naive ubung"),
            ("1,234.5 of 3.14 in ٣٫١ or 7.", "0 0 of 0 in 0 or 0"),
            ("a-b_c (d) \u{1c}e…", "a b c d e"),
            ("한 ① $5.", "\u{1112}\u{1161}\u{11ab} ① 0"),
            ("...", ""),
        ] {
            assert_eq!(simplify(text), expected, "{text:?}");
        }
    }

    #[test]
    fn there_is_a_shingle_for_each_ngram() {
        let one = shingles("The cat sat on the mat, the cat sat on the mat.", 5, Cutting::Simplified);
        assert_eq!(one.len(), 8);
        assert_eq!(one[0], one[6], "the cat sat on the");
        assert_eq!(one.iter().collect::<HashSet<_>>().len(), 6);
        assert!(shingles("one two three four", 5, Cutting::Simplified).is_empty());
    }

    #[test]
    fn plain_words_stand_between_any_two_marks() {
        // `re.split(r"\W", text.lower())`, which text-dedup 0.4.0 does.
        for (text, expected) in [
            ("A (b), c_d 1.5\n", &["a", "", "b", "", "", "c_d", "1", "5", ""][..]),
            ("É½ Ⅳ²!", &["é½", "ⅳ²", ""]),
            ("", &[""]),
        ] {
            assert_eq!(plain_words(&text.to_lowercase()).collect::<Vec<_>>(), expected, "{text:?}");
        }
        let [one, other] = ["house 12", "house 13"].map(|text| shingles(text, 2, Cutting::Plain));
        assert_ne!(one, other);
        assert_eq!(shingles("house 12", 2, Cutting::Simplified), shingles("house 13", 2, Cutting::Simplified));
    }

    #[test]
    fn alike_is_shared_of_all() {
        let mut stream = Stream::new(Key::from_seed(3));
        for _ in 0..200 {
            let mut random = || -> Vec<u64> { (0..stream.below(12)).map(|_| stream.below(10)).collect() };
            let (one, other) = (random(), random());
            let (a, b): (HashSet<_>, HashSet<_>) = (one.iter().collect(), other.iter().collect());
            let all = a.union(&b).count();
            let expected = if all == 0 { 1.0 } else { a.intersection(&b).count() as f64 / all as f64 };
            assert_eq!(jaccard(&set(&one), &set(&other)), expected);
        }
    }
}
