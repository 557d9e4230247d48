//! Tables as text: CSV with a head, columns apart by commas or tabs (RFC 4180).

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use csv::ByteRecord;
use serde_json::{Map, Value};

use super::encoding::decode;
use super::input::Input;
use super::jsonl::document_of_fields;
use super::text::found;
use super::{Reading, Sink};
use crate::corpus::CorpusError;

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let input = match Input::open(&reading.file.path) {
        Ok(input) => input,
        Err(error) => return sink(reading.broken(&error)),
    };
    let allowed = Rc::new(Cell::new(0));
    let limited = Limited { input, allowed: Rc::clone(&allowed) };
    let delimiter = if reading.file.name.to_ascii_lowercase().contains(".tsv") { b'\t' } else { b',' };
    let mut table = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(limited);
    // A record may begin in what the reader has buffered already.
    let refill = || allowed.set(reading.document_bytes_max + BUFFER);
    refill();
    let columns = match table.byte_headers() {
        Ok(head) => head.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect::<Vec<_>>(),
        Err(error) => return sink(reading.fault(Some(0), format!("a head that cannot be read: {error}"))),
    };
    if !columns.contains(&reading.source.text_field) {
        return sink(reading.fault(Some(0), format!("it has no column `{}`", reading.source.text_field)));
    }
    let mut record = ByteRecord::new();
    loop {
        refill();
        match table.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let offset = record.position().map_or(0, csv::Position::byte);
                let document = fields(&columns, &record).and_then(|row| document_of_fields(reading, offset, row));
                sink(found(reading, offset, document))?;
            }
            Err(error) => {
                let at = error.position().map(csv::Position::byte);
                match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        sink(reading.fault(at, format!("a row of {len} columns under a head of {expected_len}")))?;
                    }
                    csv::ErrorKind::Io(error) => return sink(reading.broken(error)),
                    _ => return sink(reading.fault(at, error.to_string())),
                }
            }
        }
    }
}

/// A row as named values.
fn fields(columns: &[String], record: &ByteRecord) -> Result<Map<String, Value>, String> {
    let text = |cell: &[u8]| decode(cell.to_vec(), None).map(|decoded| Value::from(decoded.text));
    columns.iter().zip(record).map(|(name, cell)| Ok((name.clone(), text(cell)?))).collect()
}

/// What the reader takes at a time.
const BUFFER: u64 = 1 << 16;

/// Ends with an error when a record takes more than is allowed: a quote that is never closed would take the whole file.
struct Limited {
    input: Input,
    allowed: Rc<Cell<u64>>,
}

impl Read for Limited {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed.get();
        if allowed == 0 {
            return Err(io::Error::other("a row is larger than a document may be; the rest of the file is left out"));
        }
        let most = into.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
        let count = self.input.read(&mut into[..most])?;
        self.allowed.set(allowed - count as u64);
        Ok(count)
    }
}
