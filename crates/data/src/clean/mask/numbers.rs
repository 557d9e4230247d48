//! Numbers of telephones, payment cards and bank accounts.

use std::ops::Range;

use super::{begins_word, ends_word};

/// ITU-T E.164: at most 15 digits.
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;
/// ISO/IEC 7812: at most 19 digits.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;
/// Words before a number that say what it is.
const PHONE_WORDS: [&str; 6] = ["tel", "telephone", "phone", "fax", "mobile", "cell"];

/// A number as it is written: digits with blanks, hyphens, dots and parentheses between.
struct Number {
    range: Range<usize>,
    /// The digits.
    digits: Vec<u8>,
    /// How many digits stand together, in order.
    groups: Vec<usize>,
}

/// Telephone numbers: `+` and 7 to 15 digits; (ddd) ddd-dddd and its like; 7 to 15 digits behind a word like "tel".
pub fn phones(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    numbers(text, |byte| matches!(byte, b' ' | b'-' | b'.' | b'(' | b')' | b'/'))
        .filter(|number| {
            let first = text.as_bytes()[number.range.start];
            let has_length = PHONE_DIGITS.contains(&number.digits.len());
            let is_american = matches!(number.groups[..], [3, 3, 4] | [1, 3, 3, 4]);
            has_length && (first == b'+' || is_american || is_named(&text[..number.range.start]))
        })
        .map(|number| number.range)
}

/// Whether a word that announces a telephone number stands right before.
fn is_named(before: &str) -> bool {
    let before = before.trim_end_matches([' ', ':', '.', '(']);
    let letters = before.bytes().rev().take(10).take_while(u8::is_ascii_alphabetic).count();
    let word = before[before.len() - letters..].to_ascii_lowercase();
    PHONE_WORDS.contains(&word.as_str())
}

/// Numbers of payment cards.
pub fn cards(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    numbers(text, |byte| matches!(byte, b' ' | b'-'))
        .filter(|number| {
            text.as_bytes()[number.range.start].is_ascii_digit()
                && CARD_DIGITS.contains(&number.digits.len())
                && number.groups.iter().all(|length| *length >= 3)
                && has_issuer(&number.digits)
                && has_check_digit(&number.digits)
        })
        .map(|number| number.range)
}

/// Visa, Mastercard, American Express, Discover, JCB, Diners Club, with the lengths of their numbers.
fn has_issuer(digits: &[u8]) -> bool {
    let first_four = digits[..4].iter().fold(0, |number, digit| 10 * number + u32::from(*digit));
    match first_four {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        5100..=5599 | 2221..=2720 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        6011 | 6440..=6599 | 3528..=3589 => (16..=19).contains(&digits.len()),
        3000..=3059 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&digits.len()),
        _ => false,
    }
}

/// Luhn's formula (ISO/IEC 7812-1, annex B).
fn has_check_digit(digits: &[u8]) -> bool {
    let sum: u32 = digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| {
        let doubled = u32::from(*digit) << (place % 2);
        sum + doubled / 10 + doubled % 10
    });
    sum.is_multiple_of(10)
}

/// Digits with single separators between; "+" or "(" may come first. Separators follow one another only as `) ` and ` (` do.
fn numbers(text: &str, is_separator: fn(u8) -> bool) -> impl Iterator<Item = Number> + '_ {
    let bytes = text.as_bytes();
    let mut place = 0;
    std::iter::from_fn(move || {
        loop {
            let found = bytes[place..].iter().position(|byte| byte.is_ascii_digit())?;
            let first = place + found;
            let (end, digits, groups) = digits_from(bytes, first, is_separator);
            place = end;
            let lead = match first.checked_sub(1).map(|before| bytes[before]) {
                Some(b'+') => 1,
                Some(b'(') if is_separator(b'(') => 1 + usize::from(first >= 2 && bytes[first - 2] == b'+'),
                _ => 0,
            };
            let start = first - lead;
            if begins_word(bytes, start) && ends_word(bytes, end) {
                return Some(Number { range: start..end, digits, groups });
            }
        }
    })
}

/// A longer one is nothing that is looked for; its rest is passed over, not read again.
const NUMBER_DIGITS_MAX: usize = 32;

fn digits_from(bytes: &[u8], first: usize, is_separator: fn(u8) -> bool) -> (usize, Vec<u8>, Vec<usize>) {
    let (mut digits, mut groups, mut place) = (Vec::new(), Vec::new(), first);
    loop {
        let length = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let kept = length.min(NUMBER_DIGITS_MAX - digits.len().min(NUMBER_DIGITS_MAX));
        digits.extend(bytes[place..place + kept].iter().map(|digit| digit - b'0'));
        groups.push(length);
        place += length;
        let gap = bytes[place..].iter().take(2).take_while(|byte| is_separator(**byte)).count();
        let is_one = gap == 1 || gap == 2 && matches!(&bytes[place..place + 2], b") " | b" (" | b")-" | b")/");
        if length > NUMBER_DIGITS_MAX || !is_one || !bytes.get(place + gap).is_some_and(u8::is_ascii_digit) {
            return (place, digits, groups);
        }
        place += gap;
    }
}

/// The length of an account number by its country (SWIFT's registry of IBAN formats).
const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 \
    EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 \
    LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 \
    SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20";

/// Bank account numbers by ISO 13616, with or without blanks in groups of four.
pub fn ibans(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let bytes = text.as_bytes();
    let mut end = 0;
    (0..bytes.len()).filter_map(move |start| {
        let is_candidate = start >= end
            && bytes[start].is_ascii_uppercase()
            && bytes.get(start + 2).is_some_and(u8::is_ascii_digit)
            && begins_word(bytes, start);
        if !is_candidate {
            return None;
        }
        end = iban_at(bytes, start)?;
        Some(start..end)
    })
}

/// The end of the account number that begins here.
fn iban_at(bytes: &[u8], start: usize) -> Option<usize> {
    let country = bytes.get(start..start + 2)?;
    let entry = IBAN_LENGTHS.split(' ').find(|entry| entry.as_bytes()[..2] == *country)?;
    let length: usize = entry[2..].parse().ok()?;
    let mut signs = Vec::with_capacity(length);
    let mut place = start;
    while signs.len() < length {
        match *bytes.get(place)? {
            sign if sign.is_ascii_uppercase() || sign.is_ascii_digit() => signs.push(sign),
            b' ' if signs.len().is_multiple_of(4) && !signs.is_empty() && bytes[place - 1] != b' ' => {}
            _ => return None,
        }
        place += 1;
    }
    // ISO 7064, mod 97-10: the first four signs go to the end, letters count from 10.
    signs.rotate_left(4);
    let remainder = signs.iter().fold(0u32, |rest, sign| match sign {
        b'0'..=b'9' => (10 * rest + u32::from(sign - b'0')) % 97,
        _ => (100 * rest + u32::from(sign - b'A') + 10) % 97,
    });
    (remainder == 1 && ends_word(bytes, place)).then_some(place)
}
