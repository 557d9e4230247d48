//! Pickles that hide in a text or in bytes: as they are, in base64 or hexadecimal digits, or compressed.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use tsumugi_files::pickle::{PROTOCOL_MAX, opcode};

use super::{Budget, TOO_DEEP, judge};
use crate::context::Scan;
use crate::finding::Severity;

/// Layers of encodings that are taken off.
const LAYERS_MAX: usize = 4;

/// Bytes that are decoded of one value.
const DECODED_BYTES_MAX: usize = 16 << 20;

/// Opcodes of a hidden pickle; and how many pickles are looked at.
const OPCODES_MAX: u64 = 100_000;
const STREAMS_MAX: usize = 4;

/// What a value hides, and how bad it is. What was not looked at stands in the budget.
pub fn hidden(content: &[u8], budget: &mut Budget) -> Option<(Severity, String)> {
    unwrapped(content, LAYERS_MAX, budget)
}

/// What a text of a file hides; tells where that was not looked at as a whole.
pub fn hidden_in(content: &[u8], scan: &mut Scan<'_>) -> Option<(Severity, String)> {
    let mut budget = Budget::default();
    let found = hidden(content, &mut budget);
    if let Some(why) = budget.unread {
        scan.unread(None, why);
    }
    found
}

fn unwrapped(content: &[u8], layers: usize, budget: &mut Budget) -> Option<(Severity, String)> {
    if may_begin(content) {
        return judged(content, budget);
    }
    let limit = budget.decoded_bytes.min(DECODED_BYTES_MAX);
    let Decoded { name, bytes, is_cut } = inflated(content, limit).or_else(|| decoded(content, limit))?;
    budget.decoded_bytes -= bytes.len().min(budget.decoded_bytes);
    let Some(layers) = layers.checked_sub(1) else {
        budget.miss("a value is packed more often than the scanner unpacks it");
        return None;
    };
    let found = unwrapped(&bytes, layers, budget);
    if is_cut && (limit == 0 || may_begin(&bytes)) {
        budget.miss("values unpack to more bytes than the scanner looks at");
    }
    found.map(|(severity, what)| (severity, format!("{what}, {name}")))
}

fn judged(content: &[u8], budget: &mut Budget) -> Option<(Severity, String)> {
    let Some(depth) = budget.depth.checked_sub(1) else {
        budget.miss(TOO_DEEP);
        return None;
    };
    budget.depth = depth;
    let judgement = judge(content, 0, OPCODES_MAX, STREAMS_MAX, budget);
    budget.depth += 1;
    if judgement.is_limited() || may_begin(content.get(judgement.end..).unwrap_or_default()) {
        budget.miss("a pickle within a value is longer than the scanner follows");
    }
    let worst = judgement.worst_by_name()?;
    let severity = worst.severity.clamp(Severity::Medium, Severity::High);
    Some((severity, format!("a pickle that {}", worst.message)))
}

/// Whether a pickle may begin here: `PROTO` of a protocol that exists and an opcode, or an import in two lines.
pub fn may_begin(bytes: &[u8]) -> bool {
    match bytes {
        [opcode::PROTO, 0..=PROTOCOL_MAX, next, ..] => opcode::ALL.iter().any(|opcode| opcode.byte == *next),
        [opcode::GLOBAL, rest @ ..] | [opcode::MARK, opcode::INST | opcode::GLOBAL, rest @ ..] => {
            const NAMES_MAX: usize = 512;
            let mut lines = rest[..rest.len().min(NAMES_MAX)].split(|&byte| byte == b'\n');
            let is_name = |line: Option<&[u8]>| {
                line.is_some_and(|line| {
                    !line.is_empty() && line.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte))
                })
            };
            is_name(lines.next()) && is_name(lines.next()) && lines.next().is_some()
        }
        _ => false,
    }
}

/// What a value stands for.
struct Decoded {
    /// How it was written.
    name: &'static str,
    bytes: Vec<u8>,
    /// Whether there is more of it.
    is_cut: bool,
}

/// The bytes behind a zlib or gzip header.
fn inflated(content: &[u8], limit: usize) -> Option<Decoded> {
    let mut bytes = Vec::new();
    let read = match content {
        [0x78, 0x01 | 0x5E | 0x9C | 0xDA, ..] => {
            flate2::read::ZlibDecoder::new(content).take(limit as u64).read_to_end(&mut bytes)
        }
        [0x1F, 0x8B, 8, ..] => flate2::read::MultiGzDecoder::new(content).take(limit as u64).read_to_end(&mut bytes),
        _ => return None,
    };
    let is_cut = bytes.len() == limit;
    // What was unpacked before an error counts.
    (read.is_ok() || !bytes.is_empty()).then_some(Decoded { name: "compressed", bytes, is_cut })
}

/// The bytes that base64 or hexadecimal digits stand for, where their beginning may hide something.
fn decoded(content: &[u8], limit: usize) -> Option<Decoded> {
    let content = content.trim_ascii();
    let head = content.get(..8)?;
    let hides = |bytes: &[u8]| {
        matches!(bytes, [opcode::PROTO, 0..=PROTOCOL_MAX, ..] | [0x78 | 0x1F, ..])
            || bytes.first().is_some_and(|&first| first == opcode::GLOBAL || first == opcode::MARK)
            || bytes.iter().all(|&byte| byte.is_ascii_alphanumeric())
    };
    let is_cut = content.len() > limit;
    let begin = &content[..content.len().min(limit)];
    if head.iter().all(u8::is_ascii_hexdigit)
        && let Some(bytes) = from_hex(begin).filter(|bytes| hides(bytes))
    {
        return Some(Decoded { name: "in hexadecimal digits", bytes, is_cut });
    }
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=\r\n".contains(byte);
    if !head.iter().all(is_digit) || !hides(&from_base64(head)?) || !content.iter().all(is_digit) {
        return None;
    }
    Some(Decoded { name: "in base64", bytes: from_base64(begin)?, is_cut })
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

fn from_base64(digits: &[u8]) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let plain: Vec<u8> = digits
        .iter()
        .filter(|byte| !b"\r\n=".contains(byte))
        .map(|&byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        })
        .collect();
    GeneralPurpose::new(&base64::alphabet::STANDARD, ANY_PADDING).decode(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrapping_is_taken_off() {
        let pickle = b"cos\nsystem\n(S'a'\ntR.".as_slice();
        let base64 = base64::engine::general_purpose::STANDARD.encode(pickle);
        let twice = base64::engine::general_purpose::STANDARD.encode(&base64);
        let hex: String = pickle.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut deflated = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut deflated, pickle).expect("memory takes it");
        let deflated = deflated.finish().expect("memory takes it");
        for content in [pickle, base64.as_bytes(), twice.as_bytes(), hex.as_bytes(), &deflated] {
            let (severity, message) = hidden(content, &mut Budget::default()).expect("it is found");
            assert!(severity == Severity::High && message.contains("os.system"), "{message}");
        }
    }

    #[test]
    fn limits_that_are_reached_are_told() {
        let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes).into_bytes();
        let missed = |content: &[u8]| {
            let mut budget = Budget::default();
            hidden(content, &mut budget);
            budget.unread
        };
        let evil = b"cos\nsystem\n(S'a'\ntR.";
        let mut wrapped = evil.to_vec();
        for _ in 0..LAYERS_MAX {
            wrapped = base64(&wrapped);
            assert_eq!(missed(&wrapped), None);
        }
        assert!(missed(&base64(&wrapped)).is_some_and(|why| why.contains("packed more often")));
        // Numbers up to the limit of opcodes, and the import behind them; more pickles than are looked at; more bytes.
        let padded = [b"\x80\x02".as_slice(), &b"N0".repeat(OPCODES_MAX as usize), evil].concat();
        assert!(missed(&padded).is_some_and(|why| why.contains("longer")));
        let streams = [b"\x80\x02N.".repeat(STREAMS_MAX), b"\x80\x02N.".to_vec()].concat();
        assert!(missed(&streams).is_some_and(|why| why.contains("longer")));
        assert_eq!(missed(&b"\x80\x02N.".repeat(STREAMS_MAX)), None);
        let long =
            [b"\x80\x04\x8e".as_slice(), &(DECODED_BYTES_MAX as u64).to_le_bytes(), &vec![0; DECODED_BYTES_MAX], b"."];
        assert!(missed(&base64(&long.concat())).is_some_and(|why| why.contains("more bytes")));
        // A pickle in a pickle in a pickle …
        let within =
            |inner: Vec<u8>| [b"\x80\x04B".as_slice(), &(inner.len() as u32).to_le_bytes(), &inner, b"."].concat();
        let nested = (0..5).fold(evil.to_vec(), |inner, _| within(inner));
        assert_eq!(missed(&nested), Some(TOO_DEEP));
        assert_eq!(missed(&within(within(evil.to_vec()))), None);
    }

    #[test]
    fn texts_and_numbers_hide_nothing() {
        for content in
            ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij", "0123456789abcdef0123456789abcdef", "cat\nsat\non the mat", ""]
        {
            assert_eq!(hidden(content.as_bytes(), &mut Budget::default()), None, "{content}");
        }
    }
}
