//! Classes of characters as Python's `str`, spaCy and datatrove have them, from one table.
//!
//! `assets/characters.txt` is written by `tools/goldens/make_word_tables.py` from these libraries themselves, so that
//! a decision that hangs on one character is theirs and not the decision of another version of Unicode.

use std::sync::LazyLock;

/// A set of classes, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(u16);

impl Class {
    /// `str.isspace`: Unicode's white space and the four separators of ASCII.
    pub const SPACE: Self = Self(1);
    /// `str.isalpha`: the general categories L*.
    pub const LETTER: Self = Self(1 << 1);
    /// `\d`: the general category Nd.
    pub const DIGIT: Self = Self(1 << 2);
    /// The general categories P*.
    pub const PUNCTUATION: Self = Self(1 << 3);
    /// datatrove's `PUNCTUATION_SET`: a word of these alone is a symbol.
    pub const SYMBOL: Self = Self(1 << 4);
    /// datatrove's `TERMINAL_PUNCTUATION`: what may end a line of prose.
    pub const TERMINAL: Self = Self(1 << 5);
    /// What ends a sentence for spaCy's `Sentencizer`.
    pub const SENTENCE_END: Self = Self(1 << 6);
    /// spaCy's `ALPHA`.
    pub const ALPHA: Self = Self(1 << 7);
    /// spaCy's `ALPHA_LOWER`, which holds the letters without case too.
    pub const LOWER: Self = Self(1 << 8);
    /// spaCy's `ALPHA_UPPER`, which holds the letters without case too.
    pub const UPPER: Self = Self(1 << 9);
    /// spaCy's `LIST_ICONS`.
    pub const ICON: Self = Self(1 << 10);
    /// Taken off the front of a word, whatever follows.
    pub const PREFIX: Self = Self(1 << 11);
    /// Taken off the end of a word, whatever stands before.
    pub const SUFFIX: Self = Self(1 << 12);
    /// A full stop after one of these is taken off the end of a word.
    pub const BEFORE_PERIOD: Self = Self(1 << 13);
    /// Left of a full stop at which a word is split inside.
    pub const LEFT_OF_PERIOD: Self = Self(1 << 14);
    /// Right of such a full stop.
    pub const RIGHT_OF_PERIOD: Self = Self(1 << 15);
}

/// In the order of the bits.
const NAMES: [&str; 16] = [
    "space",
    "letter",
    "digit",
    "punctuation",
    "symbol",
    "terminal",
    "sentence_end",
    "alpha",
    "lower",
    "upper",
    "icon",
    "prefix",
    "suffix",
    "before_period",
    "left_of_period",
    "right_of_period",
];

/// One entry per code point.
static TABLE: LazyLock<Box<[u16]>> = LazyLock::new(|| {
    let mut table = vec![0; char::MAX as usize + 1].into_boxed_slice();
    for line in include_str!("../../assets/characters.txt").lines() {
        let mut fields = line.split(' ');
        let bit = fields.next().and_then(|name| NAMES.iter().position(|known| *known == name));
        let bit = bit.expect("the asset names known classes");
        for range in fields {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let code = |text| usize::from_str_radix(text, 16).expect("the asset has hexadecimal code points");
            table[code(first)..=code(last)].iter_mut().for_each(|classes| *classes |= 1 << bit);
        }
    }
    table
});

/// The table, looked up once by what asks often.
#[derive(Clone, Copy)]
pub struct Characters(&'static [u16]);

impl Characters {
    /// The table.
    pub fn table() -> Self {
        Self(&TABLE)
    }

    /// Whether the character is in one of the classes.
    pub fn is(self, character: char, class: Class) -> bool {
        self.0[character as usize] & class.0 != 0
    }
}

/// Whether the character is in one of the classes.
pub fn is(character: char, class: Class) -> bool {
    Characters::table().is(character, class)
}

/// `str.strip`.
pub fn strip(text: &str) -> &str {
    let characters = Characters::table();
    text.trim_matches(|character| characters.is(character, Class::SPACE))
}

/// `str.splitlines`: unlike [`str::lines`] it ends a line at every line separator of Unicode.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(is_line_end).unwrap_or(rest.len());
        let line = &rest[..end];
        let mut after = rest[end..].chars();
        if after.next() == Some('\r') && after.as_str().starts_with('\n') {
            after.next();
        }
        rest = after.as_str();
        Some(line)
    })
}

fn is_line_end(character: char) -> bool {
    matches!(character, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
}
