//! Which pieces of text are addresses, that stay one word: the language of spaCy's `URL_PATTERN`, in one pass.

use crate::clean::characters::{Characters, Class};

/// Whether the whole piece is an address: a scheme, a user and their `@`, a host or an IPv4 address, a port, a path, of
/// which all but the host may be missing.
pub fn is_url(piece: &str, characters: Characters) -> bool {
    // Most pieces have no dot, and an address without one has no top level.
    if !piece.contains('.') {
        return false;
    }
    let after_scheme = piece.find("://").filter(|end| is_scheme(&piece[..*end], characters)).map(|end| end + 3);
    let after_user = piece.match_indices('@').filter(|(place, _)| *place > 0).map(|(place, _)| place + 1);
    [0].into_iter().chain(after_scheme).chain(after_user).any(|start| {
        let rest = &piece[start..];
        ends_host(rest, ipv4(rest)) || ends_host(rest, host(rest, characters))
    })
}

/// `[\w+\-.]{2,}`
fn is_scheme(text: &str, characters: Characters) -> bool {
    let mut count = 0;
    let all = text.chars().inspect(|_| count += 1).all(|character| {
        matches!(character, '+' | '-' | '.' | '_') || character.is_numeric() || characters.is(character, Class::LETTER)
    });
    all && count >= 2
}

/// Whether what follows a host of this length is a port, a path, both, or nothing.
fn ends_host(text: &str, length: Option<usize>) -> bool {
    let Some(length) = length else { return false };
    let mut rest = &text[length..];
    if let Some(port) = rest.strip_prefix(':') {
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        if !(2..=5).contains(&digits) {
            return false;
        }
        rest = &port[digits..];
    }
    rest.is_empty() || rest.starts_with(['/', '?', '#'])
}

/// The length of a public IPv4 address at the front.
fn ipv4(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let mut parts = text[..length].split('.');
    let mut octets = [0u16; 4];
    for (place, octet) in octets.iter_mut().enumerate() {
        let part = parts.next()?;
        let is_end = place == 0 || place == 3;
        if !(1..=3).contains(&part.len()) || part.starts_with('0') && (is_end || part.len() == 3) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    let [first, second, third, fourth] = octets;
    let is_local = matches!(first, 10 | 127)
        || matches!((first, second), (169, 254) | (192, 168))
        || first == 172 && (16..32).contains(&second);
    let in_range = first <= 223 && second <= 255 && third <= 255 && fourth <= 254;
    (parts.next().is_none() && in_range && !is_local).then_some(length)
}

/// The length of a host with a top level at the front: labels with dots between, the last of lower-case letters.
fn host(text: &str, characters: Characters) -> Option<usize> {
    let is_outer = |c: char| c.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&c);
    let is_inner = |c: char| is_outer(c) || matches!(c, '_' | '-');
    let length =
        text.find(|c: char| !(is_inner(c) || c == '.' || characters.is(c, Class::LOWER))).unwrap_or(text.len());
    let (labels, top) = text[..length].rsplit_once('.')?;
    let is_top = top.chars().all(|c| characters.is(c, Class::LOWER)) && (2..=63).contains(&top.chars().count());
    let is_label = |label: &str| {
        label.starts_with(is_outer)
            && label.ends_with(is_outer)
            && label.chars().all(is_inner)
            && label.chars().count() <= 64
    };
    (is_top && labels.split('.').all(is_label)).then_some(length)
}
