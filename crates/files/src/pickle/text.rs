//! Arguments of leaf opcodes as text and numbers, decoded as CPython's unpickler does. None: CPython raises an error.

use std::borrow::Cow;

/// `INT`: decimal; `00` and `01` are the Booleans of protocols 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Bool(bool),
    Int(i128),
    /// The digits of what an `i128` cannot hold.
    Long(&'a [u8]),
}

/// The argument of `INT`.
pub(super) fn int_line(line: &[u8]) -> Option<Line<'_>> {
    match line {
        b"00" => Some(Line::Bool(false)),
        b"01" => Some(Line::Bool(true)),
        _ => decimal(line),
    }
}

/// The argument of `LONG`: decimal, and the `L` of Python 2.
pub(super) fn long_line(line: &[u8]) -> Option<Line<'_>> {
    decimal(line.strip_suffix(b"L").unwrap_or(line))
}

fn decimal(line: &[u8]) -> Option<Line<'_>> {
    let trimmed = line.trim_ascii();
    let digits = trimmed.strip_prefix(b"-").or_else(|| trimmed.strip_prefix(b"+")).unwrap_or(trimmed);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(trimmed).ok()?;
    Some(text.parse().map_or(Line::Long(trimmed), Line::Int))
}

/// The argument of `GET` and `PUT`.
pub(super) fn memo_line(line: &[u8]) -> Option<u64> {
    match decimal(line)? {
        Line::Int(index) => u64::try_from(index).ok(),
        _ => None,
    }
}

/// The argument of `FLOAT`.
pub(super) fn float_line(line: &[u8]) -> Option<f64> {
    std::str::from_utf8(line.trim_ascii()).ok()?.parse().ok()
}

/// Little-endian two's complement, as `LONG1` and `LONG4` hold it; none beyond 16 bytes.
pub(super) fn little_endian(bytes: &[u8]) -> Option<i128> {
    let mut word = [if bytes.last().is_some_and(|&last| last >= 0x80) { 0xff } else { 0 }; 16];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(word))
}

/// What stands between the quotes of `STRING`.
fn quoted(line: &[u8]) -> Option<&[u8]> {
    let (&quote, rest) = line.split_first()?;
    let (&end, inside) = rest.split_last()?;
    (quote == end && matches!(quote, b'\'' | b'"')).then_some(inside)
}

/// The bytes of `STRING`: quoted, with the escapes of Python's bytes literals.
pub(super) fn string_line(line: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inside = quoted(line)?;
    if !inside.contains(&b'\\') {
        return Some(Cow::Borrowed(inside));
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut at = 0;
    while at < inside.len() {
        if inside[at] != b'\\' {
            bytes.push(inside[at]);
            at += 1;
            continue;
        }
        let escaped = *inside.get(at + 1)?;
        at += 2;
        let simple = match escaped {
            b'\n' => continue,
            b'\\' | b'\'' | b'"' => escaped,
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'x' => {
                let byte = hex(inside.get(at..at + 2)?)?;
                at += 2;
                byte as u8
            }
            b'0'..=b'7' => {
                let digits = inside[at - 1..].iter().take(3).take_while(|digit| matches!(digit, b'0'..=b'7')).count();
                let octal =
                    inside[at - 1..at - 1 + digits].iter().fold(0u32, |n, digit| n * 8 + u32::from(digit - b'0'));
                at += digits - 1;
                octal as u8 // above 255 Python drops the upper bit, too
            }
            _ => {
                bytes.push(b'\\');
                escaped
            }
        };
        bytes.push(simple);
    }
    Some(Cow::Owned(bytes))
}

fn hex(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None; // from_str_radix takes a sign
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The text of `UNICODE`: Latin-1, with `\uXXXX` and `\UXXXXXXXX` (Python's raw-unicode-escape). Half a surrogate pair,
/// which Python allows and Rust does not, becomes U+FFFD.
pub(super) fn unicode_line(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return std::str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let width = match (line[at], line.get(at + 1)) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(_)) => {
                // A backslash that escapes nothing stays, and so does the next byte: `\\u0041` is no escape.
                text.extend([b'\\', line[at + 1]].map(char::from));
                at += 2;
                continue;
            }
            (byte, _) => {
                text.push(char::from(byte));
                at += 1;
                continue;
            }
        };
        let number = hex(line.get(at + 2..at + 2 + width)?)?;
        if number > 0x10_ffff {
            return None;
        }
        text.push(char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER));
        at += 2 + width;
    }
    Some(Cow::Owned(text))
}

/// UTF-8 as Python's "surrogatepass" reads it: half a surrogate pair is allowed; here it becomes U+FFFD.
pub(super) fn utf8(bytes: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) => error.valid_up_to(),
        };
        let (good, bad) = rest.split_at(valid);
        text.push_str(std::str::from_utf8(good).ok()?);
        rest = bad;
        if let Some((surrogate, after)) = bad.split_at_checked(3) {
            if !matches!(surrogate, [0xed, 0xa0..=0xbf, 0x80..=0xbf]) {
                return None;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            rest = after;
        } else if !bad.is_empty() {
            return None;
        }
    }
    Some(Cow::Owned(text))
}

/// Text of Python 2's byte strings: UTF-8 where it is, else Latin-1.
pub(super) fn byte_text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), Cow::Borrowed),
        Cow::Owned(bytes) => {
            String::from_utf8(bytes).map_or_else(|error| latin1(error.as_bytes()).into_owned().into(), Cow::Owned)
        }
    }
}

fn latin1(bytes: &[u8]) -> Cow<'static, str> {
    Cow::Owned(bytes.iter().copied().map(char::from).collect())
}
