//! One compressed file: joblib's, and archives of checkpoints.

use std::io::{self, Read};

use super::{Format, archive};
use crate::context::{Expectation, Input, Scan};
use crate::rules;

/// Names of what is inside, without the ending of the compression.
fn inner_name<'n>(name: &'n str, ending: &[&str]) -> &'n str {
    let Some((stem, extension)) = name.rsplit_once('.') else { return name };
    match extension {
        "tgz" | "txz" | "tbz2" => stem,
        _ if ending.contains(&extension) => stem,
        _ => name,
    }
}

fn scan_unpacked(input: &Input<'_>, endings: &[&str], decoder: io::Result<impl Read>, scan: &mut Scan<'_>) {
    let decoder = match decoder {
        Ok(decoder) => decoder,
        Err(error) => return unreadable(&error, scan),
    };
    let (unpacked, error) = scan.unpack(decoder);
    archive::check_ratio(input.name, input.bytes.len(), unpacked.len(), scan);
    if let Some(error) = error {
        unreadable(&error, scan);
    }
    if !unpacked.is_empty() {
        scan.unpacked_member(inner_name(input.name, endings), &unpacked, Expectation::File);
    }
}

fn unreadable(error: &io::Error, scan: &mut Scan<'_>) {
    scan.find(&rules::ARCHIVE_UNREADABLE, None, "compressed", format!("it cannot be unpacked: {error}"));
}

macro_rules! compressed {
    ($($format:ident $name:literal $about:literal [$($ending:literal),*] $claims:expr, $decoder:expr;)*) => {
        $(#[doc = $about]
        pub struct $format;

        impl Format for $format {
            fn name(&self) -> &'static str {
                $name
            }

            fn claims(&self, input: &Input<'_>) -> bool {
                let claims: fn(&[u8]) -> bool = $claims;
                input.expectation == Expectation::File && claims(input.bytes)
            }

            fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
                scan_unpacked(input, &[$($ending),*], $decoder(input.bytes), scan);
            }
        })*
    };
}

/// Memory of a dictionary.
const MEMORY_KIB_MAX: u32 = 512 << 10;

compressed! {
    Gzip "gzip" "gzip (RFC 1952)." ["gz", "gzip"]
        |bytes| bytes.starts_with(&[0x1F, 0x8B, 8]), |bytes| Ok(flate2::read::MultiGzDecoder::new(bytes));
    Zlib "zlib" "zlib (RFC 1950), as joblib writes it." ["z", "zlib"]
        is_zlib, |bytes| Ok(flate2::read::ZlibDecoder::new(bytes));
    Bzip2 "bzip2" "bzip2." ["bz2"]
        |bytes| bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY"),
        |bytes| Ok(bzip2::read::MultiBzDecoder::new(bytes));
    Xz "xz" "xz." ["xz"]
        |bytes| bytes.starts_with(b"\xFD7zXZ\0"), |bytes| Ok(lzma_rust2::XzReader::new(bytes, true));
    Lzma "lzma" "The format before xz: properties, dictionary, length." ["lzma"]
        |bytes| bytes.starts_with(&[0x5D, 0, 0]) && bytes.len() > 13 && (bytes[5..13] == [0xFF; 8] || bytes[10..13] == [0; 3]),
        |bytes| lzma_rust2::LzmaReader::new_mem_limit(bytes, MEMORY_KIB_MAX, None).map_err(io::Error::other);
    Lz4 "LZ4" "LZ4 in frames, as joblib writes it." ["lz4"]
        |bytes| past_skippable(bytes).starts_with(&[0x04, 0x22, 0x4D, 0x18]), |bytes| Ok(Lz4Frames::new(bytes));
    Zstandard "zstd" "Zstandard (RFC 8878)." ["zst", "zstd"]
        |bytes| bytes.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]), zstd::stream::read::Decoder::with_buffer;
}

/// All frames of LZ4, one after another, as its readers take them: `lz4_flex` reads one.
struct Lz4Frames<'a>(lz4_flex::frame::FrameDecoder<&'a [u8]>);

impl<'a> Lz4Frames<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self(lz4_flex::frame::FrameDecoder::new(past_skippable(bytes)))
    }
}

impl Read for Lz4Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Each turn takes bytes of the file: a magic number, a block.
        loop {
            let read = self.0.read(buffer)?;
            let rest = self.0.get_mut();
            if read > 0 || buffer.is_empty() || rest.is_empty() {
                return Ok(read);
            }
            *rest = past_skippable(rest);
        }
    }
}

/// What stands behind the frames that readers of LZ4 and Zstandard skip (RFC 8878, 3.1.2): a magic number, a length in four
/// bytes, and so many bytes. Nothing where one is cut.
fn past_skippable(mut bytes: &[u8]) -> &[u8] {
    while let [0x50..=0x5F, 0x2A, 0x4D, 0x18, a, b, c, d, rest @ ..] = bytes {
        bytes = rest.get(u32::from_le_bytes([*a, *b, *c, *d]) as usize..).unwrap_or_default();
    }
    bytes
}

/// Two bytes that fit each other are not much: the beginning must unpack, too.
fn is_zlib(bytes: &[u8]) -> bool {
    let [first @ 0x78, second, ..] = *bytes else { return false };
    let fits = (u16::from(first) << 8 | u16::from(second)) % 31 == 0 && second & 0x20 == 0;
    fits && flate2::read::ZlibDecoder::new(bytes).read(&mut [0; 16]).is_ok_and(|read| read > 0)
}
