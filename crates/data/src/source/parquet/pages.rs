//! The headers of a column's pages, read for themselves: a page is unpacked whole, into as much memory as its header asks for,
//! or as what it holds does.
//! They are structs of Thrift's compact protocol (parquet-format's `PageHeader`); what is not asked for is passed over.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use flate2::read::MultiGzDecoder;
use parquet::basic::Compression;

/// Structs, lists and maps within each other.
const DEPTH_MAX: usize = 16;
/// The largest header; its statistics may hold the least and the greatest text of the page.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// Whether all pages of a column take at most `limit` bytes, packed and unpacked together: as their headers say and, where
/// the packing has no size of its own that holds, as they are unpacked.
pub(super) fn fit(file: &File, column: Range<u64>, compression: Compression, limit: u64) -> io::Result<bool> {
    let mut reader = Counted { inner: BufReader::with_capacity(1 << 12, file), bytes: 0 };
    let mut place = column.start;
    while place < column.end {
        reader.inner.seek(SeekFrom::Start(place))?;
        reader.bytes = 0;
        let header = header(&mut reader)?;
        let Some(room) = limit.checked_sub(header.packed) else { return Ok(false) };
        if header.unpacked > room {
            return Ok(false);
        }
        place += reader.bytes;
        if header.is_packed {
            reader.inner.seek(SeekFrom::Start(place.saturating_add(header.levels)))?;
            let body = (&mut reader.inner).take(header.packed.saturating_sub(header.levels));
            if !unpacks_to_at_most(body, compression, room)? {
                return Ok(false);
            }
        }
        place += header.packed;
    }
    Ok(true)
}

/// A byte of DEFLATE stands for at most so many: a length of 258 takes two bits.
const DEFLATE_RATIO: u64 = 1032;
/// A byte of LZ4 stands for at most so many.
const LZ4_RATIO: u64 = 255;
/// What a frame of LZ4 begins with, and one of its first version.
const LZ4_FRAMES: [[u8; 4]; 2] = [[0x04, 0x22, 0x4d, 0x18], [0x02, 0x21, 0x4c, 0x18]];

/// Whether what is packed gives at most `room` bytes, whatever its header says. The library gives Snappy, Zstandard and blocks
/// of LZ4 no more room than the header says; gzip, Brotli and frames of LZ4 it unpacks to their end.
fn unpacks_to_at_most(mut packed: io::Take<impl Read>, compression: Compression, room: u64) -> io::Result<bool> {
    let size = packed.limit();
    match compression {
        Compression::GZIP(_) if size > room / DEFLATE_RATIO => Ok(!gives_more(MultiGzDecoder::new(packed), room)),
        Compression::BROTLI(_) => Ok(!gives_more(brotli::Decompressor::new(packed, 1 << 12), room)),
        // Unless it is a frame the first bytes are the size of a block. There is no decoder here to look closer with.
        Compression::LZ4 if size > room / LZ4_RATIO => {
            let mut head = [0; 4];
            Ok(packed.read_exact(&mut head).is_err() || !LZ4_FRAMES.contains(&head))
        }
        _ => Ok(true),
    }
}

/// Whether a decoder gives more than `room` bytes before it ends or fails; the library will say why it fails.
fn gives_more(mut decoder: impl Read, room: u64) -> bool {
    let (mut buffer, mut given) = (vec![0; 1 << 16], 0);
    while given <= room {
        match decoder.read(&mut buffer) {
            Ok(count @ 1..) => given += count as u64,
            _ => return false,
        }
    }
    true
}

/// What a page's header says of its size.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    unpacked: u64,
    packed: u64,
    /// Bytes of the packed ones that come before what is packed, in pages of the second version.
    levels: u64,
    is_packed: bool,
}

fn header(reader: &mut impl Read) -> io::Result<Header> {
    let (mut found, mut field) = ([None; 2], 0);
    let (mut levels, mut is_packed) = (0, true);
    while let Some(kind) = next_field(reader, &mut field)? {
        match (field, kind) {
            (2 | 3, I32) => found[field as usize - 2] = u64::try_from(zigzag(varint(reader)?)).ok(),
            (8, STRUCT) => (levels, is_packed) = second_version(reader)?,
            _ => skip(reader, kind, DEPTH_MAX)?,
        }
    }
    let [Some(unpacked), Some(packed)] = found else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Header { unpacked, packed, levels, is_packed })
}

/// parquet-format's `DataPageHeaderV2`: the length of levels, and whether what follows is packed.
fn second_version(reader: &mut impl Read) -> io::Result<(u64, bool)> {
    let (mut levels, mut is_packed, mut field) = (0u64, true, 0);
    while let Some(kind) = next_field(reader, &mut field)? {
        match (field, kind) {
            (5 | 6, I32) => levels = levels.saturating_add(u64::try_from(zigzag(varint(reader)?)).unwrap_or(0)),
            (7, TRUE | FALSE) => is_packed = kind == TRUE,
            _ => skip(reader, kind, DEPTH_MAX - 1)?,
        }
    }
    Ok((levels, is_packed))
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const STRUCT: u8 = 12;

/// The kind of the next field of a struct, whose number is put into `field`; none at its end.
fn next_field(reader: &mut impl Read, field: &mut i64) -> io::Result<Option<u8>> {
    let head = byte(reader)?;
    if head == 0 {
        return Ok(None);
    }
    *field = match head >> 4 {
        0 => zigzag(varint(reader)?),
        step => *field + i64::from(step),
    };
    Ok(Some(head & 15))
}

/// Passes over a value.
fn skip(reader: &mut impl Read, kind: u8, depth: usize) -> io::Result<()> {
    let deeper = || depth.checked_sub(1).ok_or(io::ErrorKind::InvalidData);
    match kind {
        1 | 2 => {}
        3 => drop(byte(reader)?),
        4..=6 => drop(varint(reader)?),
        7 => skip_bytes(reader, 8)?,
        8 => {
            let length = varint(reader)?;
            skip_bytes(reader, length)?;
        }
        9 | 10 => {
            let head = byte(reader)?;
            let count = if head >> 4 == 15 { varint(reader)? } else { u64::from(head >> 4) };
            (0..count).try_for_each(|_| skip_element(reader, head & 15, deeper()?))?;
        }
        11 => {
            let count = varint(reader)?;
            let kinds = if count == 0 { 0 } else { byte(reader)? };
            for _ in 0..count {
                skip_element(reader, kinds >> 4, deeper()?)?;
                skip_element(reader, kinds & 15, deeper()?)?;
            }
        }
        STRUCT => {
            let mut field = 0;
            while let Some(kind) = next_field(reader, &mut field)? {
                skip(reader, kind, deeper()?)?;
            }
        }
        _ => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(())
}

/// A value of a list or map: there a truth value is a byte, in a struct it is its kind.
fn skip_element(reader: &mut impl Read, kind: u8, depth: usize) -> io::Result<()> {
    skip(reader, if matches!(kind, 1 | 2) { 3 } else { kind }, depth)
}

fn skip_bytes(reader: &mut impl Read, count: u64) -> io::Result<()> {
    let skipped = io::copy(&mut reader.take(count), &mut io::sink())?;
    if skipped == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn byte(reader: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// A number of up to 64 bits, seven in each byte, the lowest first.
fn varint(reader: &mut impl Read) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let next = byte(reader)?;
        number |= u64::from(next & 127) << shift;
        if next < 128 {
            return Ok(number);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Counts the bytes of a header, and ends one that is too long.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.bytes > HEADER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let count = self.inner.read(into)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::basic::{BrotliLevel, GzipLevel};
    use std::io::Write;

    #[test]
    fn every_kind_of_field_is_passed_over() {
        // Field 1: 7; a struct in field 5 with text, list, map, double and truths; then sizes by long field numbers.
        let header = [
            &[0x15, 14][..],
            &[0x4c, 0x18, 2, b'a', b'b', 0x19, 0x25, 2, 4, 0x1b, 1, 0x85, 1, b'x', 9, 0x17, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x11, 0x12, 0x13, 1, 0x19, 0x22, 1, 2, 0x1b, 0, 0],
            &[0x05, 4, 0xd0, 0x0f, 0x15, 6, 0],
        ]
        .concat();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"....").unwrap();
        file.write_all(&[&header[..], b"...", &header, b"..."].concat()).unwrap();
        let end = 4 + 2 * (header.len() as u64 + 3);
        let fit = |column, limit| fit(&file, column, Compression::UNCOMPRESSED, limit);
        assert!(fit(4..end, 1000 + 3).unwrap() && !fit(4..end, 1000 + 2).unwrap());
        assert!(fit(4..end + 1, 2000).is_err(), "a header that is cut");
        assert!(fit(5..end, 2000).is_err());
    }

    #[test]
    fn a_page_of_the_second_version_says_what_is_packed() {
        // Fields 1 to 3, then a struct in field 8 with counts, lengths 300 and 2, and whether it is packed.
        let of = |truth| {
            [
                0x15,
                6,
                0x15,
                20,
                0x15,
                8,
                0x5c,
                0x15,
                2,
                0x15,
                0,
                0x15,
                2,
                0x15,
                0,
                0x15,
                0xd8,
                4,
                0x15,
                4,
                0x10 | truth,
                0,
                0,
            ]
        };
        let bytes = of(TRUE);
        let expected = Header { unpacked: 10, packed: 4, levels: 302, is_packed: true };
        assert_eq!(header(&mut &bytes[..]).unwrap(), expected);
        assert_eq!(header(&mut &of(FALSE)[..]).unwrap(), Header { is_packed: false, ..expected });
    }

    #[test]
    fn what_lies_about_its_size_is_unpacked_no_further_than_allowed() {
        let text = vec![b'x'; 300_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut packed = brotli::CompressorReader::new(&text[..], 1 << 12, 5, 20);
        let mut brotli = Vec::new();
        packed.read_to_end(&mut brotli).unwrap();
        let fits = |bytes: &[u8], compression, room| {
            unpacks_to_at_most(bytes.take(bytes.len() as u64), compression, room).unwrap()
        };
        for (bytes, compression) in
            [(&gzip, Compression::GZIP(GzipLevel::default())), (&brotli, Compression::BROTLI(BrotliLevel::default()))]
        {
            assert!(fits(bytes, compression, 300_000) && !fits(bytes, compression, 299_999), "{compression}");
            assert!(fits(&bytes[..bytes.len() / 2], compression, 300_000), "{compression}, cut");
            let two = [&bytes[..], &bytes[..]].concat();
            let is_one = matches!(compression, Compression::BROTLI(_));
            assert_eq!(fits(&two, compression, 400_000), is_one, "{compression}: gzip has members");
        }
        let frame = [&LZ4_FRAMES[0][..], &[0; 100]].concat();
        assert!(fits(&frame, Compression::LZ4, 104 * 255) && !fits(&frame, Compression::LZ4, 103 * 255));
        assert!(fits(&[0; 104], Compression::LZ4, 1) && fits(&frame, Compression::SNAPPY, 1));
    }

    #[test]
    fn nesting_has_an_end() {
        assert!(skip(&mut &[0x1c; 1000][..], 12, DEPTH_MAX).is_err());
        assert!(header(&mut &[0xff; 64][..]).is_err());
    }
}
