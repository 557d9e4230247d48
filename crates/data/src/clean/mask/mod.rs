//! Personal data and secrets, found and masked. Every finder takes time linear in the text, whatever it holds.

mod network;
mod numbers;
mod secrets;

use std::ops::Range;

/// What is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// E-mail addresses.
    Email,
    /// Public IPv4 and IPv6 addresses; private ones name nobody.
    Ip,
    /// Telephone numbers: international with `+`, North American, and any behind "tel", "phone", "fax".
    Phone,
    /// Numbers of payment cards: a known issuer and a right check digit.
    Card,
    /// International bank account numbers: the length of the country and the right check digits.
    Iban,
    /// Keys of well-known providers, private keys, JSON web tokens, passwords in addresses.
    Secret,
}

impl Kind {
    /// In the order of the report.
    pub const ALL: [Self; 6] = [Self::Email, Self::Ip, Self::Phone, Self::Card, Self::Iban, Self::Secret];

    /// What recipes and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Secret => "secret",
        }
    }

    /// What takes its place in the text.
    pub fn mask(self) -> &'static str {
        match self {
            Self::Email => "<email>",
            Self::Ip => "<ip>",
            Self::Phone => "<phone>",
            Self::Card => "<card>",
            Self::Iban => "<iban>",
            Self::Secret => "<secret>",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Its bytes in the text.
    pub range: Range<usize>,
}

/// All that is found in a text, in its order; none overlaps with another.
pub fn find(text: &str, kinds: &[Kind]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind, ranges: &mut dyn Iterator<Item = Range<usize>>| {
        found.extend(ranges.map(|range| Finding { kind, range }));
    };
    for &kind in kinds {
        match kind {
            Kind::Email => add(kind, &mut network::emails(text)),
            Kind::Ip => add(kind, &mut network::addresses(text)),
            Kind::Phone => add(kind, &mut numbers::phones(text)),
            Kind::Card => add(kind, &mut numbers::cards(text)),
            Kind::Iban => add(kind, &mut numbers::ibans(text)),
            Kind::Secret => add(kind, &mut secrets::secrets(text)),
        }
    }
    // Of two that begin together the longer counts, of two that overlap the first.
    found.sort_by_key(|finding| (finding.range.start, std::cmp::Reverse(finding.range.end), finding.kind));
    let mut end = 0;
    found.retain(|finding| {
        let is_free = finding.range.start >= end;
        if is_free {
            end = finding.range.end;
        }
        is_free
    });
    found
}

/// The text with masks in the place of what was found, and how many of each kind; nothing if nothing was.
///
/// ```
/// use tsumugi_data::clean::mask::{Kind, mask};
/// let (text, counts) = mask("Mail ann@example.org or call +49 30 901820.", &Kind::ALL).unwrap();
/// assert_eq!(text, "Mail <email> or call <phone>.");
/// assert_eq!(counts, [(Kind::Email, 1), (Kind::Phone, 1)]);
/// ```
pub fn mask(text: &str, kinds: &[Kind]) -> Option<(String, Vec<(Kind, u64)>)> {
    let found = find(text, kinds);
    if found.is_empty() {
        return None;
    }
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for finding in &found {
        masked.push_str(&text[done..finding.range.start]);
        masked.push_str(finding.kind.mask());
        done = finding.range.end;
    }
    masked.push_str(&text[done..]);
    let counts = Kind::ALL.map(|kind| (kind, found.iter().filter(|finding| finding.kind == kind).count() as u64));
    Some((masked, counts.into_iter().filter(|(_, count)| *count > 0).collect()))
}

/// Whether nothing of a word stands right before this place.
fn begins_word(bytes: &[u8], place: usize) -> bool {
    place == 0 || !is_word(bytes[place - 1])
}

/// Whether nothing of a word stands at this place.
fn ends_word(bytes: &[u8], place: usize) -> bool {
    bytes.get(place).is_none_or(|byte| !is_word(*byte))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}
