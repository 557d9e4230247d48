//! spaCy's rules for what is taken off the ends of a word and where it is split inside
//! (`spacy.lang.punctuation` and `spacy.lang.en.punctuation`, version 3.8), without regular expressions.

use std::ops::Range;

use crate::clean::characters::{Characters, Class};

/// Units and currencies: suffixes behind a digit. spaCy's own list, with the missing blank in "тбكم".
const AFTER_DIGIT: &str = "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz \
    m/s km/h kmh mph hPa Pa mbar mb MB kb KB gb GB tb TB T G M K % км км² км³ м м² м³ дм дм² дм³ см см² см³ мм мм² \
    мм³ нм кг г мг м/с км/ч кПа Па мбар Кб КБ кб Мб МБ мб Гб ГБ гб Тб ТБ тбكم كم² كم³ م م² م³ سم سم² سم³ مم مم² مم³ \
    كم غرام جرام جم كغ ملغ كوب اكواب \
    $ £ € ¥ ฿ US$ C$ A$ ₽ ﷼ ₴ ₠ ₡ ₢ ₣ ₤ ₥ ₦ ₧ ₨ ₩ ₪ ₫ ₭ ₮ ₯ ₰ ₱ ₲ ₳ ₵ ₶ ₷ ₸ ₹ ₺ ₻ ₼ ₾ ₿";

/// The longest of [`AFTER_DIGIT`], in bytes, rounded up.
const AFTER_DIGIT_BYTES_MAX: usize = 16;

/// The length in bytes of the prefix to take off, 0 for none.
pub fn prefix(word: &str, characters: Characters) -> usize {
    let bytes = word.as_bytes();
    let Some(first) = word.chars().next() else { return 0 };
    match first {
        'A'..='Z' => ["US$", "C$", "A$"].iter().find(|sign| word.starts_with(**sign)).map_or(0, |sign| sign.len()),
        'a'..='z' | '0'..='9' => 0,
        '+' => usize::from(!bytes.get(1).is_some_and(u8::is_ascii_digit)),
        '.' => several_dots(bytes.iter()),
        _ if characters.is(first, Class::PREFIX) => first.len_utf8(),
        _ => 0,
    }
}

/// The length in bytes of the suffix to take off, 0 for none: the longest that a rule knows.
pub fn suffix(word: &str, characters: Characters) -> usize {
    let mut before = word.chars();
    let Some(last) = before.next_back() else { return 0 };
    let before = before.as_str();
    let single = match last {
        's' | 'S' => possessive(before),
        '+' => usize::from(before.ends_with(|character: char| character.is_ascii_digit())),
        '.' => period(before, characters),
        '…' if before.ends_with('…') => 2 * '…'.len_utf8(),
        _ if characters.is(last, Class::SUFFIX) => last.len_utf8(),
        _ => 0,
    };
    single.max(after_digit(word))
}

/// `'s` with a straight or a curly apostrophe.
fn possessive(before: &str) -> usize {
    let apostrophe = ['\'', '’'].into_iter().find(|apostrophe| before.ends_with(*apostrophe));
    apostrophe.map_or(0, |apostrophe| apostrophe.len_utf8() + 1)
}

fn period(before: &str, characters: Characters) -> usize {
    if before.ends_with('.') {
        return 1 + before.bytes().rev().take_while(|byte| *byte == b'.').count();
    }
    let mut last_two = before.chars().rev();
    let (last, second) = (last_two.next(), last_two.next());
    let is = |character: Option<char>, class| character.is_some_and(|character| characters.is(character, class));
    let follows = is(last, Class::BEFORE_PERIOD)
        || is(last, Class::UPPER) && is(second, Class::UPPER)
        || second == Some('°') && last.is_some_and(|letter| "FfCcKk".contains(letter));
    usize::from(follows)
}

/// A unit or currency at the end, behind a digit of ASCII.
fn after_digit(word: &str) -> usize {
    let bytes = word.as_bytes();
    let tail = bytes.iter().rev().take(AFTER_DIGIT_BYTES_MAX + 1).position(u8::is_ascii_digit);
    let Some(length @ 1..) = tail else { return 0 };
    let unit = &word[word.len() - length..];
    if AFTER_DIGIT.split(' ').any(|known| known == unit) { length } else { 0 }
}

/// The number of dots that come first, if there are two or more.
fn several_dots<'b>(bytes: impl Iterator<Item = &'b u8>) -> usize {
    let dots = bytes.take_while(|byte| **byte == b'.').count();
    if dots >= 2 { dots } else { 0 }
}

/// Where a word is split inside, in order.
pub fn infixes(word: &str, characters: Characters) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut place = 0;
    let mut previous = None;
    std::iter::from_fn(move || {
        while let Some(character) = word[place..].chars().next() {
            let length = infix(previous, character, &word[place..], characters);
            let start = place;
            place += length.max(character.len_utf8());
            previous = word[..place].chars().next_back();
            if length > 0 {
                return Some(start..place);
            }
        }
        None
    })
}

/// The length in bytes of the infix at the front of `rest`, whose first character and the one before it are given.
fn infix(previous: Option<char>, first: char, rest: &str, characters: Characters) -> usize {
    if first.is_ascii_alphanumeric() {
        return 0;
    }
    let after = &rest[first.len_utf8()..];
    let is = |character: Option<char>, class| character.is_some_and(|character| characters.is(character, class));
    let after_alpha = is(previous, Class::ALPHA);
    let after_digit = previous.is_some_and(|previous| previous.is_ascii_digit());
    let before_alpha = |rest: &str| is(rest.chars().next(), Class::ALPHA);
    let before_number = || after.starts_with(|next: char| next.is_ascii_digit() || next == '-');
    match first {
        '.' if after.starts_with('.') => several_dots(rest.as_bytes().iter()),
        '.' => {
            let inside = is(previous, Class::LEFT_OF_PERIOD) && is(after.chars().next(), Class::RIGHT_OF_PERIOD);
            usize::from(inside)
        }
        '…' => first.len_utf8(),
        '+' | '-' | '*' | '^' if after_digit && before_number() => 1,
        ',' => usize::from(after_alpha && before_alpha(after)),
        '-' | '–' | '—' | '~' if after_alpha || after_digit => {
            let hyphens = ["-", "–", "—", "--", "---", "——", "~"].into_iter();
            let mut fitting = hyphens.filter(|hyphen| rest.strip_prefix(hyphen).is_some_and(before_alpha));
            fitting.next().map_or(0, str::len)
        }
        ':' | '<' | '>' | '=' | '/' => usize::from((after_alpha || after_digit) && before_alpha(after)),
        _ if characters.is(first, Class::ICON) => first.len_utf8(),
        _ => 0,
    }
}
