//! Tables as text: CSV with a head, columns apart by commas or tabs (RFC 4180).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use csv::ByteRecord;
use serde_json::{Map, Value};

use super::encoding::decode;
use super::input::Input;
use super::jsonl::document_of_fields;
use super::lines::BYTE_ORDER_MARK;
use super::text::found;
use super::{Reading, Sink, ending};
use crate::corpus::CorpusError;

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let input = match Input::open(&reading.file.path) {
        Ok(input) => input,
        Err(error) => return sink(reading.broken(&error)),
    };
    let delimiter = if ending(&reading.file.path).as_deref() == Some("tsv") { b'\t' } else { b',' };
    let watch = Rc::new(RefCell::new(Watch::new(delimiter)));
    let limited = Limited { input, watch: Rc::clone(&watch) };
    let mut table = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(limited);
    // A record may begin in what the reader has buffered already.
    let refill = || watch.borrow_mut().allowed = reading.document_bytes_max + BUFFER;
    refill();
    let columns = match table.byte_headers() {
        Ok(head) => head.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect::<Vec<_>>(),
        Err(error) => return sink(reading.fault(Some(0), format!("a head that cannot be read: {error}"))),
    };
    if let Some((at, problem)) = watch.borrow_mut().fault_before(table.position().byte()) {
        return sink(reading.fault(Some(at), format!("a head that cannot be read: {problem}")));
    }
    if !columns.contains(&reading.source.text_field) {
        return sink(reading.fault(Some(0), format!("it has no column `{}`", reading.source.text_field)));
    }
    let mut record = ByteRecord::new();
    loop {
        refill();
        let read = table.read_byte_record(&mut record);
        if let Some((at, problem)) = watch.borrow_mut().fault_before(table.position().byte()) {
            sink(reading.fault(Some(at), problem))?;
            if !matches!(&read, Err(error) if error.is_io_error()) {
                continue;
            }
        }
        match read {
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
    watch: Rc<RefCell<Watch>>,
}

impl Read for Limited {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut watch = self.watch.borrow_mut();
        if watch.allowed == 0 {
            return Err(io::Error::other("a row is larger than a document may be; the rest of the file is left out"));
        }
        let most = into.len().min(usize::try_from(watch.allowed).unwrap_or(usize::MAX));
        let count = self.input.read(&mut into[..most])?;
        watch.look_at(&into[..count]);
        Ok(count)
    }
}

/// Looks at the bytes before the library does, which takes quotes that are wrong without a word, and what follows with them.
struct Watch {
    /// Bytes that may be read before the record must have ended.
    allowed: u64,
    delimiter: u8,
    place: u64,
    state: State,
    /// The last opening quote.
    opened: u64,
    /// Wrong quotes that no record was blamed for: the first of each row.
    wrong: VecDeque<(u64, &'static str)>,
    row_is_wrong: bool,
}

/// Where in a field the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Plain,
    Quoted,
    /// Behind a quote that may have closed the field.
    Closed,
}

impl Watch {
    fn new(delimiter: u8) -> Self {
        let (state, wrong) = (State::Begin, VecDeque::new());
        Self { allowed: 0, delimiter, place: 0, state, opened: 0, wrong, row_is_wrong: false }
    }

    /// Takes the next bytes; none at the end of the file.
    fn look_at(&mut self, bytes: &[u8]) {
        self.allowed -= bytes.len() as u64;
        if bytes.is_empty() && self.state == State::Quoted {
            self.blame(self.opened, "a quote that is never closed; the rest of the file is left out");
            self.state = State::Begin;
        }
        for &byte in bytes {
            let is_mark = BYTE_ORDER_MARK.get(self.place as usize) == Some(&byte);
            self.state = match (self.state, byte) {
                (State::Begin, _) if is_mark => State::Begin,
                (State::Begin, b'"') => {
                    self.opened = self.place;
                    State::Quoted
                }
                (State::Quoted, b'"') => State::Closed,
                (State::Quoted, _) | (State::Closed, b'"') => State::Quoted,
                (_, b'\n' | b'\r') => {
                    self.row_is_wrong = false;
                    State::Begin
                }
                (_, byte) if byte == self.delimiter => State::Begin,
                (State::Closed, _) => {
                    self.blame(self.opened, "a quote that is closed in the middle of a field");
                    State::Plain
                }
                _ => State::Plain,
            };
            self.place += 1;
        }
    }

    fn blame(&mut self, at: u64, problem: &'static str) {
        if !std::mem::replace(&mut self.row_is_wrong, true) {
            self.wrong.push_back((at, problem));
        }
    }

    /// What is wrong with quotes of the record that ends before this byte.
    fn fault_before(&mut self, end: u64) -> Option<(u64, &'static str)> {
        self.wrong.pop_front_if(|&mut (at, _)| at < end)
    }
}
