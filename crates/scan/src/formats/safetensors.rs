//! safetensors: strict layout, and nothing else at the beginning of tensors.

use std::path::Path;

use tsumugi_files::safetensors::parse_header;

use super::Format;
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::pickle;
use crate::rules;

/// safetensors files.
pub struct Safetensors;

/// Bytes of a tensor that are looked at: what a loader could be made to run begins there.
const START_BYTES: usize = 1 << 20;

impl Format for Safetensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        let says_length = || {
            let length = input.bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
            let fits = length.is_some_and(|length| length >= 2 && length <= input.bytes.len() as u64 - 8);
            fits && input.bytes.get(8..10).is_some_and(|start| matches!(start, b"{\"" | b"{}" | b"{ " | b"{\n"))
        };
        input.expectation == Expectation::File && (input.is_named(&["safetensors"]) || says_length())
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let header = match parse_header(input.bytes, Path::new(input.name)) {
            Ok(header) => header,
            Err(error) => return scan.find(&rules::BROKEN_FILE, Some(0), "safetensors", error.problem.to_string()),
        };
        for (key, value) in &header.metadata {
            if let Some((severity, what)) = pickle::hidden_in(value.as_bytes(), scan) {
                let message = format!("metadata `{key}` holds {what}");
                scan.find_as(&rules::NESTED_PICKLE, severity, Some(8), key, message);
            }
        }
        check_padding(input.bytes, scan);
        for tensor in &header.tensors {
            payload_start(&tensor.name, input.bytes, tensor.bytes.clone(), scan);
        }
    }
}

/// Looks at the beginning of a tensor's bytes.
pub fn payload_start(name: &str, bytes: &[u8], range: std::ops::Range<usize>, scan: &mut Scan<'_>) {
    let start = &bytes[range.start..range.end.min(range.start + START_BYTES)];
    if pickle::may_begin(start) {
        scan.within(name, |scan| pickle::scan(start, 0, Expectation::Payload, scan));
    }
    if let Some(kind) = super::executable::kind(start) {
        let message = format!("tensor `{name}` begins like {kind}");
        scan.find(&rules::EXECUTABLE, Some(range.start), name, message);
    }
}

/// Writers align the header with up to a few bytes; a megabyte of spaces hides something or wastes it.
fn check_padding(bytes: &[u8], scan: &mut Scan<'_>) {
    const PADDING_MAX: usize = 64 << 10;
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length)) as usize;
    let header = &bytes[8..8 + length]; // it was parsed
    let padding = header.len() - header.trim_ascii_end().len();
    if padding > PADDING_MAX {
        let message = format!("the header ends with {padding} spaces");
        scan.find_as(&rules::BROKEN_FILE, Severity::Low, Some(8 + length - padding), "padding", message);
    }
}
