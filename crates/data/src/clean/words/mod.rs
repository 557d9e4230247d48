//! Words of English as spaCy's blank `en` pipeline splits them, because datatrove's filters count these.
//!
//! Text is cut at white space; from each piece prefixes and suffixes are taken while there are any, special words
//! ("can't", "e.g.") are known by a table, addresses stay whole, and the rest is split at infixes. At last special
//! words that the affixes tore apart (":)" in "so:)") are put together again. Linear in the length of the text.

mod affixes;
mod special;
mod url;

use std::ops::Range;

use self::special::Special;
use super::characters::{Characters, Class};

/// A longer text is not split. spaCy has the same limit, in characters.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// A word's bytes in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    /// As a range of bytes.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The words of a text, in order. White space belongs to none.
///
/// ```
/// use tsumugi_data::clean::words::Words;
/// let words = Words::of("I can't (e.g. today) :)");
/// assert_eq!(words.iter().collect::<Vec<_>>(), ["I", "ca", "n't", "(", "e.g.", "today", ")", ":)"]);
/// ```
#[derive(Debug, Clone)]
pub struct Words<'t> {
    text: &'t str,
    spans: Vec<Span>,
}

impl<'t> Words<'t> {
    /// Splits a text.
    ///
    /// # Panics
    /// The text is longer than [`TEXT_BYTES_MAX`].
    pub fn of(text: &'t str) -> Self {
        assert!(text.len() <= TEXT_BYTES_MAX, "a text of {} bytes, at most {TEXT_BYTES_MAX}", text.len());
        let special = Special::english();
        let spans = Splitter::new(text, Some(special)).split();
        Self { text, spans: special.join_torn(text, spans) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The words.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'t str> + '_ {
        self.spans.iter().map(|span| &self.text[span.range()])
    }

    /// Where the words stand.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// How many sentences begin in the part of the text, which starts and ends at white space: as spaCy's
    /// `Sentencizer` counts, at least 1.
    pub fn sentences(&self, part: Range<usize>) -> usize {
        let characters = Characters::table();
        let first = self.spans.partition_point(|span| (span.start as usize) < part.start);
        let (mut count, mut after_end, mut place) = (1, false, part.start);
        for span in self.spans[first..].iter().take_while(|span| span.end as usize <= part.end) {
            // White space other than one blank is a word of spaCy's, and no punctuation.
            if after_end && has_space_token(&self.text[place..span.start as usize]) {
                (count, after_end) = (count + 1, false);
            }
            let word = &self.text[span.range()];
            if is_one(word, |character| characters.is(character, Class::SENTENCE_END)) {
                after_end = true;
            } else if after_end && !word.chars().all(|character| characters.is(character, Class::PUNCTUATION)) {
                (count, after_end) = (count + 1, false);
            }
            place = span.end as usize;
        }
        count
    }
}

/// Whether the white space between two words is a token of spaCy's: all but nothing and one blank.
fn has_space_token(gap: &str) -> bool {
    !matches!(gap, "" | " ")
}

fn is_one(word: &str, is: impl Fn(char) -> bool) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(is) && characters.next().is_none()
}

/// Splits one text, with or without the table of special words.
struct Splitter<'t> {
    text: &'t str,
    special: Option<&'static Special>,
    characters: Characters,
    spans: Vec<Span>,
    /// Suffixes of the piece at hand, the last of the piece first.
    suffixes: Vec<Span>,
}

impl<'t> Splitter<'t> {
    fn new(text: &'t str, special: Option<&'static Special>) -> Self {
        let spans = Vec::with_capacity(text.len() / 5 + 1);
        Self { text, special, characters: Characters::table(), spans, suffixes: Vec::new() }
    }

    fn split(mut self) -> Vec<Span> {
        let bytes = self.text.as_bytes();
        let mut place = 0;
        while place < bytes.len() {
            place = self.end_of_space(place);
            let (end, is_letters) = self.end_of_piece(place);
            if is_letters {
                self.push_whole(place..end);
            } else if place < end {
                self.split_piece(place..end);
            }
            place = end;
        }
        self.spans
    }

    /// The first place from `place` that is no white space.
    fn end_of_space(&self, mut place: usize) -> usize {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(place) {
            let width = if byte < 0x80 {
                usize::from(matches!(byte, b'\t'..=b'\r' | 0x1c..=b' '))
            } else {
                let next = self.character_at(place);
                if self.characters.is(next, Class::SPACE) { next.len_utf8() } else { 0 }
            };
            if width == 0 {
                break;
            }
            place += width;
        }
        place
    }

    /// The first white space from `place`, and whether there are letters of ASCII alone before it.
    fn end_of_piece(&self, start: usize) -> (usize, bool) {
        let bytes = self.text.as_bytes();
        let mut place = start + bytes[start..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let letters = place;
        while let Some(&byte) = bytes.get(place) {
            if byte < 0x80 {
                if matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ') {
                    break;
                }
                place += 1;
            } else {
                let next = self.character_at(place);
                if self.characters.is(next, Class::SPACE) {
                    break;
                }
                place += next.len_utf8();
            }
        }
        (place, place == letters && start < place)
    }

    fn character_at(&self, place: usize) -> char {
        self.text[place..].chars().next().unwrap_or(' ')
    }

    /// A piece without affixes and infixes: the word, or what a special word is split into.
    fn push_whole(&mut self, piece: Range<usize>) {
        if !self.push_special(piece.clone()) {
            self.spans.push(Span::new(piece));
        }
    }

    fn push_special(&mut self, piece: Range<usize>) -> bool {
        let Some(lengths) = self.special.and_then(|special| special.pieces(&self.text[piece.clone()])) else {
            return false;
        };
        push_pieces(&mut self.spans, piece.start, lengths);
        true
    }

    fn is_special(&self, word: &str) -> bool {
        self.special.is_some_and(|special| special.pieces(word).is_some())
    }

    fn split_piece(&mut self, piece: Range<usize>) {
        let middle = self.take_affixes(piece);
        if !middle.is_empty() && !self.push_special(middle.clone()) {
            if url::is_url(&self.text[middle.clone()], self.characters) {
                self.spans.push(Span::new(middle));
            } else {
                self.split_infixes(middle);
            }
        }
        self.spans.extend(self.suffixes.drain(..).rev());
    }

    /// Pushes the prefixes, keeps the suffixes, and returns what is between them.
    fn take_affixes(&mut self, piece: Range<usize>) -> Range<usize> {
        let mut rest = piece;
        while !rest.is_empty() {
            let word = &self.text[rest.clone()];
            if self.is_special(word) {
                break;
            }
            let prefix = affixes::prefix(word, self.characters);
            let after_prefix = rest.start + prefix;
            if prefix > 0 && self.is_special(&word[prefix..]) {
                self.spans.push(Span::new(rest.start..after_prefix));
                rest.start = after_prefix;
                break;
            }
            let suffix = affixes::suffix(&word[prefix..], self.characters);
            let before_suffix = rest.end - suffix;
            if suffix > 0 && self.is_special(&word[..word.len() - suffix]) {
                self.suffixes.push(Span::new(before_suffix..rest.end));
                rest.end = before_suffix;
                break;
            }
            if prefix > 0 {
                self.spans.push(Span::new(rest.start..after_prefix));
            }
            if suffix > 0 {
                self.suffixes.push(Span::new(before_suffix..rest.end));
            }
            rest = after_prefix..before_suffix;
            if prefix == 0 && suffix == 0 {
                break;
            }
        }
        rest
    }

    fn split_infixes(&mut self, piece: Range<usize>) {
        let word = &self.text[piece.clone()];
        let mut start = 0;
        for infix in affixes::infixes(word, self.characters) {
            // An infix at the very front stays with what follows.
            if infix.start == 0 {
                continue;
            }
            if start < infix.start {
                self.spans.push(Span::new(piece.start + start..piece.start + infix.start));
            }
            self.spans.push(Span::new(piece.start + infix.start..piece.start + infix.end));
            start = infix.end;
        }
        if start < word.len() {
            self.spans.push(Span::new(piece.start + start..piece.end));
        }
    }
}

/// Pushes neighbouring spans of these lengths in bytes.
fn push_pieces(spans: &mut Vec<Span>, mut start: usize, lengths: &[u8]) {
    for &length in lengths {
        let end = start + usize::from(length);
        spans.push(Span::new(start..end));
        start = end;
    }
}
