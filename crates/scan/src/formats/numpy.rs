//! NumPy's `.npy`: arrays of Python objects are pickles.

use super::Format;
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::pickle;
use crate::rules;

/// `.npy` files; `.npz` are zip archives of them.
pub struct Numpy;

const MAGIC: &[u8] = b"\x93NUMPY";

impl Format for Numpy {
    fn name(&self) -> &'static str {
        "NumPy"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.starts_with(MAGIC)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let Some((header, data)) = header(input.bytes) else {
            return scan.find(&rules::BROKEN_FILE, Some(0), "npy", "the header goes beyond the end of the file");
        };
        let text = String::from_utf8_lossy(header);
        if let Some(word) = foreign_word(&text) {
            let message = format!("the header is no plain literal: it holds `{word}`");
            scan.find_as(&rules::BROKEN_FILE, Severity::High, Some(MAGIC.len()), "header", message);
        }
        let descr = field(&text, "descr").unwrap_or_default();
        let left = input.bytes.len() - data;
        if holds_objects(descr) {
            return pickle::scan(input.bytes, data, Expectation::File, scan);
        }
        match array_bytes(descr, field(&text, "shape").unwrap_or_default()) {
            Some(needed) if needed > left as u64 => {
                let message = format!("the array needs {needed} bytes, but {left} are left");
                scan.find(&rules::BROKEN_FILE, Some(data), "size", message);
            }
            Some(needed) if needed < left as u64 => {
                let behind = data + needed as usize; // less than what is left
                let rest = &input.bytes[behind..];
                let message = format!("{} bytes follow the array", rest.len());
                scan.find_as(&rules::BROKEN_FILE, Severity::Low, Some(behind), "behind", message);
                scan.member("behind the array", rest, Expectation::Payload);
            }
            _ => {}
        }
    }
}

/// The header's text, and where the data begins.
fn header(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, start) = match bytes.get(6)? {
        1 => (u32::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?)), 10),
        _ => (u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?), 12),
    };
    let end = start + length as usize;
    Some((bytes.get(start..end)?, end))
}

/// What stands behind a key of the header, up to the next key.
fn field<'t>(header: &'t str, key: &str) -> Option<&'t str> {
    let (_, rest) = header.split_once(&format!("'{key}':"))?;
    let ends = ["'descr':", "'fortran_order':", "'shape':"].iter().filter_map(|next| rest.find(next));
    Some(rest[..ends.min().unwrap_or(rest.len())].trim().trim_end_matches(['}', ' ']).trim_end_matches([',', ' ']))
}

/// Whether a type, or a field of a structured one, is a Python object.
fn holds_objects(descr: &str) -> bool {
    descr
        .split('\'')
        .skip(1)
        .step_by(2)
        .any(|code| matches!(code.trim_start_matches(['<', '>', '|', '=']), "O" | "O8" | "O4"))
}

/// Bytes of an array of a plain type.
fn array_bytes(descr: &str, shape: &str) -> Option<u64> {
    let code = descr.strip_prefix('\'')?.strip_suffix('\'')?.trim_start_matches(['<', '>', '|', '=']);
    let mut letters = code.chars();
    let bytes_of_one = if letters.next()? == 'U' { 4 } else { 1 };
    let digits: String = letters.take_while(char::is_ascii_digit).collect();
    let item: u64 = digits.parse().ok()?;
    let axes = shape.strip_prefix('(')?.strip_suffix(')')?;
    let axes = axes.split(',').map(str::trim).filter(|axis| !axis.is_empty());
    // An array whose size cannot be counted needs more than there is.
    let product = axes
        .map(|axis| axis.trim_end_matches('L').parse::<u64>())
        .try_fold(item.checked_mul(bytes_of_one)?, |product, axis| product.checked_mul(axis.ok()?));
    Some(product.unwrap_or(u64::MAX))
}

/// A word outside of quotes that no header has.
fn foreign_word(header: &str) -> Option<&str> {
    let outside = header.split('\'').step_by(2);
    let words = outside.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'));
    words
        .filter(|word| word.starts_with(|first: char| first.is_alphabetic() || first == '_'))
        .find(|word| !matches!(*word, "True" | "False" | "L" | "None"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_literals() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n";
        assert_eq!((field(header, "descr"), field(header, "shape")), (Some("'<f4'"), Some("(2, 3)")));
        assert_eq!(array_bytes("'<f4'", "(2, 3)"), Some(24));
        assert_eq!(array_bytes("'<f8'", "(4294967296, 4294967296)"), Some(u64::MAX));
        assert!(holds_objects("'|O'") && holds_objects("[('a', '<i8'), ('b', '|O')]") && !holds_objects("'<f8'"));
        assert_eq!(foreign_word(header), None);
        assert_eq!(foreign_word("{'descr': __import__('os')}"), Some("__import__"));
    }
}
