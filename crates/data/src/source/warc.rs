//! What a crawler stored (WARC 1.1, ISO 28500): pages of `response` records, texts of `conversion` records (WET).

use std::io::{self, BufRead, Read};

use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::input::Input;
use super::text::{found, page, text_document};
use super::{Item, Reading, Sink};
use crate::Document;
use crate::corpus::CorpusError;

/// Longest line of a head, and most bytes of all of its lines.
const HEAD_BYTES_MAX: usize = 1 << 18;

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let input = match Input::open(&reading.file.path) {
        Ok(input) => input,
        Err(error) => return sink(reading.broken(&error)),
    };
    let mut records = Records { input, offset: 0, line: Vec::new() };
    loop {
        let begun = records.offset;
        let problem = match records.next(reading) {
            Ok(Some(Item::Document(document))) => {
                sink(Item::Document(document))?;
                continue;
            }
            Ok(Some(fault)) => {
                sink(fault)?;
                continue;
            }
            Ok(None) => continue,
            Err(Stop::End) => return Ok(()),
            Err(Stop::Malformed(problem)) => reading.fault(Some(begun), problem),
            Err(Stop::Broken(error)) => {
                let goes_on = records.input.goes_on(&error);
                sink(reading.broken(&error))?;
                if !goes_on {
                    return Ok(());
                }
                continue;
            }
        };
        sink(problem)?;
    }
}

/// Why there is no record.
enum Stop {
    End,
    /// What stands here is no record; the next one is looked for.
    Malformed(String),
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

struct Records {
    input: Input,
    /// Unpacked bytes that were read.
    offset: u64,
    line: Vec<u8>,
}

/// The names, in small letters, and values of a head.
type Head = Vec<(String, String)>;

fn value<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    head.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
}

impl Records {
    /// The document of the next record, its fault, or none for one of no interest.
    fn next(&mut self, reading: &Reading<'_>) -> Result<Option<Item>, Stop> {
        let offset = self.seek_record()?;
        let head = self.head()?;
        let length = value(&head, "content-length").and_then(|length| length.parse::<u64>().ok());
        let length = length.ok_or_else(|| Stop::Malformed("a record without its Content-Length".into()))?;
        let kind = value(&head, "warc-type").unwrap_or_default();
        if !matches!(kind, "response" | "conversion") {
            self.skip(length)?;
            return Ok(None);
        }
        // The head of the page's server stands before the page.
        if length > reading.document_bytes_max + HEAD_BYTES_MAX as u64 {
            self.skip(length)?;
            return Ok(Some(reading.too_large(offset, Some(length))));
        }
        let mut body = Vec::new();
        self.input.by_ref().take(length).read_to_end(&mut body)?;
        self.offset += body.len() as u64;
        if (body.len() as u64) < length {
            return Err(Stop::Malformed(format!("a record of {length} bytes, of which {} are there", body.len())));
        }
        let id = value(&head, "warc-record-id").map(|id| id.trim_matches(['<', '>']).to_owned());
        let id = id.unwrap_or_else(|| reading.id_at(offset));
        let document = match kind {
            "conversion" => Some(text_document(reading, id, body)),
            _ => response(reading, id, body),
        };
        Ok(document.map(|document| found(reading, offset, document.map(|document| with_origin(document, &head)))))
    }

    /// Passes over everything before the line that begins a record. Gives its place.
    fn seek_record(&mut self) -> Result<u64, Stop> {
        let begun = self.offset;
        loop {
            let offset = self.offset;
            if !self.read_line()? {
                return Err(Stop::End);
            }
            if self.line.starts_with(b"WARC/") {
                return Ok(offset);
            }
            // Two line ends stand between records; anything else was no record's.
            if !self.line.trim_ascii().is_empty() {
                self.skip_to_record()?;
                return Err(Stop::Malformed(format!("{} bytes that are no record", self.offset - begun)));
            }
        }
    }

    /// Up to the next line that begins a record, which is not taken.
    fn skip_to_record(&mut self) -> Result<(), Stop> {
        loop {
            let block = self.input.fill_buf()?;
            if block.is_empty() || block.starts_with(b"WARC/") || !self.read_line()? {
                return Ok(());
            }
        }
    }

    fn head(&mut self) -> Result<Head, Stop> {
        let (mut head, mut bytes) = (Head::new(), 0);
        loop {
            if !self.read_line()? {
                return Err(Stop::Malformed("a head without its end".into()));
            }
            bytes += self.line.len();
            if bytes > HEAD_BYTES_MAX {
                return Err(Stop::Malformed("a head that is too long".into()));
            }
            let line = String::from_utf8_lossy(&self.line);
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(head);
            }
            push_field(&mut head, line);
        }
    }

    /// A line, or as much of it as a head may have; false at the end of the file.
    fn read_line(&mut self) -> Result<bool, Stop> {
        self.line.clear();
        let count = self.input.by_ref().take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut self.line)?;
        self.offset += count as u64;
        Ok(count > 0)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Stop> {
        let skipped = io::copy(&mut self.input.by_ref().take(bytes), &mut io::sink())?;
        self.offset += skipped;
        Ok(())
    }
}

fn push_field(head: &mut Head, line: &str) {
    if let Some((name, value)) = line.split_once(':') {
        head.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// The page of a server's answer; none if it is no text, or an error.
fn response(reading: &Reading<'_>, id: String, body: Vec<u8>) -> Option<Result<Document, String>> {
    let border = memchr::memmem::find(&body, b"\r\n\r\n").map(|at| (at, at + 4));
    let (end, start) = border.or_else(|| memchr::memmem::find(&body, b"\n\n").map(|at| (at, at + 2)))?;
    let mut head = Head::new();
    let text = String::from_utf8_lossy(&body[..end.min(HEAD_BYTES_MAX)]).into_owned();
    let mut lines = text.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.to_owned();
    lines.for_each(|line| push_field(&mut head, line));
    let kind = value(&head, "content-type").unwrap_or_default().to_ascii_lowercase();
    let is_html = kind.starts_with("text/html") || kind.starts_with("application/xhtml");
    if status != "200" || !(is_html || kind.starts_with("text/plain")) {
        return None;
    }
    let charset = kind.split_once("charset=").map(|(_, label)| label.trim_matches(['"', '\'', ' ']).to_owned());
    Some(content(&head, body[start..].to_vec(), reading.document_bytes_max).and_then(|bytes| match is_html {
        true => page(reading, id, bytes, charset.as_deref()),
        false => text_document(reading, id, bytes),
    }))
}

/// The content without chunks and packing, which some crawlers store as they came.
fn content(head: &Head, mut bytes: Vec<u8>, bytes_max: u64) -> Result<Vec<u8>, String> {
    if value(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        // A crawler that took the chunks apart may have left the name.
        bytes = without_chunks(&bytes).unwrap_or(bytes);
    }
    match value(head, "content-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("gzip") && bytes.starts_with(&[0x1f, 0x8b]) => {
            let mut unpacked = Vec::new();
            let read = MultiGzDecoder::new(&bytes[..]).take(bytes_max + 1).read_to_end(&mut unpacked);
            read.map_err(|error| format!("a packed page that cannot be read: {error}"))?;
            if unpacked.len() as u64 > bytes_max {
                return Err("a packed page that is larger than a document may be".into());
            }
            Ok(unpacked)
        }
        _ => Ok(bytes),
    }
}

/// The data of chunks (RFC 9112, section 7.1); none if these are not chunks.
fn without_chunks(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(bytes.len());
    loop {
        let line_end = memchr::memmem::find(&bytes[..bytes.len().min(1024)], b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..line_end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        bytes = &bytes[line_end + 2..];
        if size == 0 {
            return Some(data);
        }
        data.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn with_origin(mut document: Document, head: &Head) -> Document {
    for (field, name) in [("warc-target-uri", "url"), ("warc-date", "date")] {
        if let Some(value) = value(head, field) {
            document.metadata.insert(name.into(), Value::from(value.trim_matches(['<', '>'])));
        }
    }
    document
}
