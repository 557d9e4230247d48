//! Programs: Linux, Windows and macOS, and scripts under a model's name.

use super::{Format, archive, names};
use crate::context::{Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// Programs and libraries.
pub struct Executable;

impl Format for Executable {
    fn name(&self) -> &'static str {
        "program"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        kind(input.bytes).is_some() || input.bytes.starts_with(b"#!") && input.has_extension(names::MODELS)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let kind = kind(input.bytes).unwrap_or("a script");
        let versioned = input.name.contains(".so."); // libgomp.so.1
        let is_named = versioned || input.has_extension(names::PROGRAMS);
        let severity = if is_named { Severity::Low } else { rules::EXECUTABLE.severity };
        let message = format!("`{}` is {kind}", archive::shown(input.name));
        scan.find_as(&rules::EXECUTABLE, severity, Some(0), kind, message);
    }
}

/// What program begins here.
pub fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x7F, b'E', b'L', b'F', 1 | 2, 1 | 2, 1, ..] => Some("a Linux program"),
        [b'M', b'Z', ..] => {
            let at = u32::from_le_bytes(bytes.get(0x3C..0x40)?.try_into().ok()?) as usize;
            (bytes.get(at..at.checked_add(4)?)? == b"PE\0\0").then_some("a Windows program")
        }
        [0xCF | 0xCE, 0xFA, 0xED, 0xFE, _, 0, 0, 0 | 1, ..] => Some("a macOS program"),
        [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 1..=8, ..] => Some("a macOS program"),
        _ => None,
    }
}
