//! Models of other languages and exchange formats, which are recognized but whose programs are not followed: torch7
//! (Lua), R, PMML. What is not looked at is told.

use memchr::memmem;

use super::Format;
use crate::context::{Expectation, Input, Scan};
use crate::rules;

/// torch7's binary files, which may hold Lua functions as bytecode.
pub struct Torch7;

impl Format for Torch7 {
    fn name(&self) -> &'static str {
        "torch7"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        // A type, here an object's, its number, the length of its version, the version (`torch/File.lua`).
        const OBJECT: &[u8] = b"\x04\0\0\0";
        const TEXT: &[u8] = b"4\n1\n3\nV 1\n";
        let is_object = input.bytes.starts_with(OBJECT) && input.bytes.get(8..15) == Some(b"\x03\0\0\0V 1");
        // Other values begin with less; `.th` is PyTorch's as well.
        let is_value = input.has_extension(&["t7"]) && matches!(input.bytes, [0..=8, 0, 0, 0, ..]);
        input.expectation == Expectation::File && (is_object || is_value || input.bytes.starts_with(TEXT))
    }

    fn scan(&self, _input: &Input<'_>, scan: &mut Scan<'_>) {
        scan.unread(None, "a torch7 file may hold Lua functions, which are not looked at");
    }
}

/// R's serialized objects (`R Internals`, serialization formats), plain or unpacked.
pub struct RObject;

impl Format for RObject {
    fn name(&self) -> &'static str {
        "R"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        let body = input.bytes.strip_prefix(b"RDX2\n").or(input.bytes.strip_prefix(b"RDX3\n")).unwrap_or(input.bytes);
        matches!(body, [b'X', b'\n', 0, 0, 0, 2 | 3, ..] | [b'A', b'\n', b'2' | b'3', b'\n', ..])
    }

    fn scan(&self, _input: &Input<'_>, scan: &mut Scan<'_>) {
        scan.unread(None, "an R file may hold promises and functions (CVE-2024-27322), which are not looked at");
    }
}

/// PMML, which is XML.
pub struct Pmml;

impl Format for Pmml {
    fn name(&self) -> &'static str {
        "PMML"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const HEAD: usize = 4096;
        let head = &input.bytes[..input.bytes.len().min(HEAD)];
        let is_xml = head.trim_ascii_start().starts_with(b"<") || head.starts_with(b"\xEF\xBB\xBF<");
        is_xml && memmem::find(head, b"<PMML").is_some() || input.has_extension(&["pmml"])
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if let Some(at) = memmem::find(input.bytes, b"<!ENTITY") {
            let message = "the XML defines entities, by which parsers read other files or fill their memory";
            scan.find(&rules::OTHER_FILE, Some(at), "entity", message);
        }
    }
}
