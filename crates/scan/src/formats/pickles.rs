//! Pickles and joblib's files.

use super::{Format, names, text};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::pickle::{self, Budget};
use crate::rules;

/// Pickles of every protocol, one or several.
pub struct Pickle;

impl Format for Pickle {
    fn name(&self) -> &'static str {
        "pickle"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        pickle::may_begin(input.bytes) || is_named(input) || acts_as_pickle(input.bytes)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        // Of what only acts like a pickle, only harm counts.
        let has_mark = input.bytes.first() == Some(&tsumugi_files::pickle::opcode::PROTO);
        let is_sure = has_mark || is_named(input);
        let expectation = if is_sure { input.expectation } else { Expectation::Payload };
        let before = scan.worst();
        pickle::scan(input.bytes, 0, expectation, scan);
        if !is_named(input)
            && input.name.contains('.')
            && scan.worst() > before
            && scan.worst() >= Some(Severity::Medium)
        {
            let message = format!("`{}` holds a pickle", input.name);
            scan.find(&rules::FORMAT_MISMATCH, Some(0), "pickle", message);
        }
    }
}

/// Named like a pickle, and nothing else by its first bytes.
fn is_named(input: &Input<'_>) -> bool {
    const OTHERS: &[&[u8]] = &[
        b"PK\x03\x04",
        b"\x89",
        b"\x1F\x8B",
        b"BZh",
        b"\xFD7zXZ",
        b"\x28\xB5\x2F\xFD",
        b"\x04\x22\x4D\x18",
        b"7z\xBC\xAF",
        b"x\x9C",
        b"x\x01",
        b"x\xDA",
        b"x^",
        b"\x5D\x00\x00",
        b"GGUF",
        b"\x93NUMPY",
        b"\x7FELF",
        b"MZ",
    ];
    let is_tar = input.bytes.get(257..262) == Some(b"ustar");
    input.expectation == Expectation::File
        && input.is_named(names::PICKLES)
        && !input.bytes.is_empty()
        && !is_tar
        && !text::is_python_path(input)
        && !OTHERS.iter().any(|magic| input.bytes.starts_with(magic))
}

/// Whether the first opcodes are whole and call something: protocols 0 and 1 have no mark at their beginning.
fn acts_as_pickle(bytes: &[u8]) -> bool {
    const PROBED_BYTES: usize = 64 << 10;
    const PROBED_OPCODES: u64 = 1000;
    let could = matches!(
        bytes.first(),
        Some(
            b'(' | b'c'
                | b']'
                | b'}'
                | b')'
                | b'N'
                | b'S'
                | b'U'
                | b'V'
                | b'X'
                | b'I'
                | b'K'
                | b'M'
                | b'J'
                | b'L'
                | b'F'
                | b'G'
                | b'i'
                | b'l'
                | b'd'
                | b't'
                | b'q'
                | b'0'
                | b'1'
                | b'2'
                | 0x80..=0x98
        )
    );
    let head = &bytes[..bytes.len().min(PROBED_BYTES)];
    could && pickle::judge(head, 0, PROBED_OPCODES, 1, &mut Budget { depth: 0, decoded_bytes: 0, unread: None }).calls
}
