//! Wheels made by hand, good and bad.

use std::io::Write;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// An entry of an archive.
pub struct Entry<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub is_deflated: bool,
    /// What the archive says of the size, if not the truth.
    pub said_bytes: Option<u32>,
}

pub fn entry<'a>(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
    Entry { name, bytes, is_deflated: true, said_bytes: None }
}

/// The archive (PKWARE APPNOTE 4.3): headers with data, the directory, its end.
pub fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let (mut body, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let packed = if entry.is_deflated { deflated(entry.bytes) } else { entry.bytes.to_vec() };
        let mut facts = Vec::new();
        facts.extend(20u16.to_le_bytes());
        facts.extend(0u16.to_le_bytes());
        facts.extend(if entry.is_deflated { 8u16 } else { 0 }.to_le_bytes());
        facts.extend([0; 4]);
        facts.extend(crc32fast::hash(entry.bytes).to_le_bytes());
        facts.extend((packed.len() as u32).to_le_bytes());
        facts.extend(entry.said_bytes.unwrap_or(entry.bytes.len() as u32).to_le_bytes());
        facts.extend((entry.name.len() as u16).to_le_bytes());
        facts.extend(0u16.to_le_bytes());
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&facts);
        directory.extend([0; 10]);
        directory.extend((body.len() as u32).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        body.extend(b"PK\x03\x04");
        body.extend(&facts);
        body.extend(entry.name.as_bytes());
        body.extend(packed);
    }
    let (begin, count) = (body.len() as u32, entries.len() as u16);
    body.extend(&directory);
    body.extend(b"PK\x05\x06\0\0\0\0");
    body.extend(count.to_le_bytes());
    body.extend(count.to_le_bytes());
    body.extend((directory.len() as u32).to_le_bytes());
    body.extend(begin.to_le_bytes());
    body.extend([0; 2]);
    body
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
