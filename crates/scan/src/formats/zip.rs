//! Zip archives: PyTorch's files, NumPy's `.npz`, Keras 3, skops, wheels.

use std::io::Read;

use tsumugi_files::zip::{self, Entry, FaultKind};

use super::{Format, archive};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// Zip archives, also with bytes before them.
pub struct Zip;

const DEFLATED: u16 = 8;
const BZIP2: u16 = 12;
const LZMA: u16 = 14;
const ZSTANDARD: u16 = 93;
const XZ: u16 = 95;

/// General purpose flag: encrypted.
const ENCRYPTED: u16 = 1;

impl Format for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        let has_end = || {
            const COMMENT_BYTES_MAX: usize = 22 + u16::MAX as usize;
            let tail = &input.bytes[input.bytes.len().saturating_sub(COMMENT_BYTES_MAX)..];
            memchr::memmem::rfind(tail, b"PK\x05\x06").is_some()
        };
        input.bytes.starts_with(b"PK\x03\x04")
            || input.expectation == Expectation::File && has_end() && !zip::walk(input.bytes).entries.is_empty()
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let archive = zip::walk(input.bytes);
        for fault in &archive.faults {
            let (severity, subject) = weigh(&fault.kind);
            scan.find_as(&rules::ARCHIVE_FAULT, severity, Some(fault.offset as usize), subject, fault.kind.to_string());
        }
        let names: Vec<String> = archive.entries.iter().map(Entry::name_text).collect();
        let torch = names.iter().find_map(|name| name.strip_suffix("data.pkl"));
        let mut by_folded_name: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        by_folded_name.sort();
        by_folded_name.dedup();
        if by_folded_name.len() < names.len() && archive.faults.is_empty() {
            let message = "two members differ only in the case of their letters";
            scan.find_as(&rules::ARCHIVE_FAULT, Severity::Low, None, "case", message);
        }
        for (entry, name) in archive.entries.iter().zip(&names) {
            archive::check_path(name, entry.header, scan);
            let of_torch = torch.and_then(|folder| name.strip_prefix(folder));
            let is_storage = of_torch.is_some_and(|name| name.starts_with("data/"));
            if of_torch.is_some_and(|name| name.ends_with(".py") && !name.starts_with("code/")) {
                let message = format!("`{name}` lies in a PyTorch file");
                scan.find_as(&rules::PYTHON_FILE, Severity::Medium, Some(entry.header), name, message);
            }
            let expectation = if is_storage { Expectation::Payload } else { input.expectation };
            member(input.bytes, entry, name, expectation, scan);
        }
    }
}

/// How bad a contradiction is: what makes two readers see two archives is worse than what only one of them minds.
fn weigh(kind: &FaultKind) -> (Severity, &'static str) {
    match kind {
        FaultKind::Name { .. } | FaultKind::Hidden { .. } | FaultKind::SecondEnd => (Severity::High, "two archives"),
        FaultKind::Overlap { .. } | FaultKind::Duplicate { .. } => (Severity::High, "overlap"),
        FaultKind::Field { .. } | FaultKind::StoredSize { .. } => (Severity::High, "field"),
        FaultKind::NoEnd | FaultKind::NoDirectory | FaultKind::BeyondEnd { .. } => (Severity::Medium, "broken"),
        FaultKind::EntryCount { .. } | FaultKind::NoHeader { .. } => (Severity::Medium, "broken"),
        FaultKind::Split | FaultKind::TooManyEntries { .. } => (Severity::Medium, "unread"),
        FaultKind::Unclaimed { .. } => (Severity::Low, "unclaimed bytes"),
    }
}

fn member(bytes: &[u8], entry: &Entry<'_>, name: &str, expectation: Expectation, scan: &mut Scan<'_>) {
    let Some(packed) = bytes.get(entry.packed.clone()).filter(|packed| !packed.is_empty()) else { return };
    let is_encrypted = entry.flags & ENCRYPTED != 0;
    if entry.method == zip::STORED {
        let fits = expectation == Expectation::Payload || zip::crc32(packed) == entry.crc32;
        tell_flags(is_encrypted, fits, entry, name, scan);
        check_if_link(entry, name, packed, scan);
        return scan.member(name, packed, expectation);
    }
    let decoder: Box<dyn Read + '_> = match entry.method {
        DEFLATED => Box::new(flate2::read::DeflateDecoder::new(packed)),
        BZIP2 => Box::new(bzip2::read::BzDecoder::new(packed)),
        XZ => Box::new(lzma_rust2::XzReader::new(packed, true)),
        LZMA => match lzma(packed, entry.size) {
            Some(decoder) => decoder,
            None => return unreadable(entry, name, "its LZMA header is broken", scan),
        },
        ZSTANDARD => match zstd::stream::read::Decoder::with_buffer(packed) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => return unreadable(entry, name, &error.to_string(), scan),
        },
        method => return unreadable(entry, name, &format!("method {method} is not known"), scan),
    };
    let (unpacked, error) = scan.unpack(decoder);
    archive::check_ratio(name, packed.len(), unpacked.len(), scan);
    match error {
        Some(_) if is_encrypted => return unreadable(entry, name, "it is encrypted", scan),
        Some(error) => unreadable(entry, name, &error.to_string(), scan),
        None => {
            let is_cut = unpacked.len() as u64 >= scan.limits.member_bytes;
            tell_flags(is_encrypted, is_cut || zip::crc32(&unpacked) == entry.crc32, entry, name, scan);
        }
    }
    check_if_link(entry, name, &unpacked, scan);
    scan.unpacked_member(name, &unpacked, expectation);
}

/// A link for some readers, a file for the others.
fn check_if_link(entry: &Entry<'_>, name: &str, content: &[u8], scan: &mut Scan<'_>) {
    const PATH_BYTES_MAX: usize = 4096;
    if entry.is_link {
        let target = String::from_utf8_lossy(&content[..content.len().min(PATH_BYTES_MAX)]);
        archive::check_link(name, &target, entry.header, scan);
    }
}

/// Zip's own header before LZMA's raw stream: two bytes of version, two of the length of the properties.
fn lzma(packed: &[u8], size: u64) -> Option<Box<dyn Read + '_>> {
    const MEMORY_KIB_MAX: u32 = 512 << 10;
    let properties = packed.get(4..9)?;
    let dictionary = u32::from_le_bytes(properties[1..].try_into().ok()?);
    let stream = packed.get(9..)?;
    if dictionary / 1024 > MEMORY_KIB_MAX {
        return None;
    }
    let reader = lzma_rust2::LzmaReader::new_with_props(stream, size, properties[0], dictionary, None).ok()?;
    Some(Box::new(reader))
}

/// A member that can be read although its flag or checksum says otherwise: some readers refuse it, others do not mind.
fn tell_flags(is_encrypted: bool, fits: bool, entry: &Entry<'_>, name: &str, scan: &mut Scan<'_>) {
    let offset = Some(entry.header);
    if is_encrypted && fits {
        let message = format!("member `{name}` says that it is encrypted, but is not");
        scan.find(&rules::ARCHIVE_FAULT, offset, "encryption flag", message);
    } else if is_encrypted {
        unreadable(entry, name, "it is encrypted", scan);
    } else if !fits {
        let message = format!("member `{name}` does not fit its checksum");
        scan.find_as(&rules::ARCHIVE_FAULT, Severity::Medium, offset, "checksum", message);
    }
}

fn unreadable(entry: &Entry<'_>, name: &str, why: &str, scan: &mut Scan<'_>) {
    let message = format!("member `{}` cannot be unpacked: {why}", archive::shown(name));
    scan.find(&rules::ARCHIVE_UNREADABLE, Some(entry.header), name, message);
}
