//! The headers of a column's pages, read for themselves: a page is unpacked whole, into as much memory as its header asks for.
//! They are structs of Thrift's compact protocol (parquet-format's `PageHeader`); what is not asked for is passed over.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

/// Structs, lists and maps within each other.
const DEPTH_MAX: usize = 16;
/// The largest header; its statistics may hold the least and the greatest text of the page.
const HEADER_BYTES_MAX: u64 = 64 << 20;

/// What the largest page of a column takes, packed and unpacked together.
pub(super) fn largest_page(file: &File, column: Range<u64>) -> io::Result<u64> {
    let mut reader = Counted { inner: BufReader::with_capacity(1 << 12, file), bytes: 0 };
    reader.inner.seek(SeekFrom::Start(column.start))?;
    let (mut largest, mut place) = (0, column.start);
    while place < column.end {
        reader.bytes = 0;
        let [unpacked, packed] = sizes(&mut reader)?;
        largest = largest.max(unpacked + packed);
        reader.inner.seek_relative(i64::try_from(packed).unwrap_or(i64::MAX))?;
        place += reader.bytes + packed;
    }
    Ok(largest)
}

/// The unpacked and the packed size that a header says.
fn sizes(reader: &mut impl Read) -> io::Result<[u64; 2]> {
    let (mut found, mut field) = ([None; 2], 0);
    while let Some(kind) = next_field(reader, &mut field)? {
        match (field, kind) {
            (2 | 3, I32) => found[field as usize - 2] = u64::try_from(zigzag(varint(reader)?)).ok(),
            _ => skip(reader, kind, DEPTH_MAX)?,
        }
    }
    let [Some(unpacked), Some(packed)] = found else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok([unpacked, packed])
}

const I32: u8 = 5;

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
        12 => {
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
        assert_eq!(largest_page(&file, 4..end).unwrap(), 1000 + 3);
        assert!(largest_page(&file, 4..end + 1).is_err(), "a header that is cut");
        assert!(largest_page(&file, 5..end).is_err());
    }

    #[test]
    fn nesting_has_an_end() {
        assert!(skip(&mut &[0x1c; 1000][..], 12, DEPTH_MAX).is_err());
        assert!(sizes(&mut &[0xff; 64][..]).is_err());
    }
}
