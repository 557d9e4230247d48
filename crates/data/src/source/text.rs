//! Text files and pages.

use super::encoding::{Decoded, decode};
use super::html::{Page, declared_encoding};
use super::input::Input;
use super::lines::{Line, Lines};
use super::{Item, Reading, Sink, Split};
use crate::Document;
use crate::corpus::CorpusError;

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    match reading.source.split {
        Split::File => read_whole(reading, sink, &|bytes| text_document(reading, reading.file.name.clone(), bytes)),
        Split::Lines => read_lines(reading, sink),
        Split::Paragraphs => read_paragraphs(reading, sink),
    }
}

pub(super) fn read_page(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    read_whole(reading, sink, &|bytes| page(reading, reading.file.name.clone(), bytes, None))
}

fn read_whole(
    reading: &Reading<'_>,
    sink: Sink<'_>,
    document: &dyn Fn(Vec<u8>) -> Result<Document, String>,
) -> Result<(), CorpusError> {
    let whole = Input::open(&reading.file.path).and_then(|mut input| input.read_whole(reading.document_bytes_max));
    sink(match whole {
        Err(error) => reading.broken(&error),
        Ok(None) => reading.too_large(0, None),
        Ok(Some(bytes)) => found(reading, 0, document(bytes)),
    })
}

fn read_lines(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let mut lines = match Lines::open(reading) {
        Ok(lines) => lines,
        Err(error) => return sink(reading.broken(&error)),
    };
    while let Some(line) = lines.next() {
        match line {
            Line::Whole { bytes, .. } if bytes.trim_ascii().is_empty() => {}
            Line::Whole { offset, bytes } => {
                let document = text_document(reading, reading.id_at(offset), bytes.to_vec());
                sink(found(reading, offset, document))?;
            }
            Line::TooLong { offset, bytes } => sink(reading.too_large(offset, Some(bytes)))?,
            Line::Broken { error } => sink(reading.broken(&error))?,
        }
    }
    Ok(())
}

/// Lines are put together until a blank one; one that is too long is refused alone, and ends a paragraph.
fn read_paragraphs(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let mut lines = match Lines::open(reading) {
        Ok(lines) => lines,
        Err(error) => return sink(reading.broken(&error)),
    };
    let (mut paragraph, mut start, mut bytes_found) = (Vec::new(), 0, 0);
    loop {
        let line = lines.next();
        if let Some(Line::Whole { offset, bytes }) = line
            && !bytes.trim_ascii().is_empty()
        {
            if bytes_found == 0 {
                start = offset;
            }
            bytes_found += bytes.len() as u64 + 1;
            if bytes_found <= reading.document_bytes_max {
                paragraph.extend_from_slice(bytes);
                paragraph.push(b'\n');
            }
            continue;
        }
        if bytes_found > reading.document_bytes_max {
            sink(reading.too_large(start, Some(bytes_found)))?;
        } else if bytes_found > 0 {
            let bytes = std::mem::take(&mut paragraph);
            sink(found(reading, start, text_document(reading, reading.id_at(start), bytes)))?;
        }
        paragraph.clear();
        bytes_found = 0;
        match line {
            None => return Ok(()),
            Some(Line::Whole { .. }) => {}
            Some(Line::TooLong { offset, bytes }) => sink(reading.too_large(offset, Some(bytes)))?,
            Some(Line::Broken { error }) => sink(reading.broken(&error))?,
        }
    }
}

/// A document or what is wrong with it.
pub(super) fn found(reading: &Reading<'_>, offset: u64, document: Result<Document, String>) -> Item {
    document.map_or_else(|problem| reading.fault(Some(offset), problem), Item::Document)
}

/// A plain text as a document.
pub(super) fn text_document(reading: &Reading<'_>, id: String, bytes: Vec<u8>) -> Result<Document, String> {
    Ok(with_encoding(decode(bytes, None)?, |text| reading.document(id, text)))
}

/// A page as a document. `declared` is the encoding that its server named.
pub(super) fn page(
    reading: &Reading<'_>,
    id: String,
    bytes: Vec<u8>,
    declared: Option<&str>,
) -> Result<Document, String> {
    let meta = declared_encoding(&bytes);
    let decoded = decode(bytes, declared.or(meta.as_deref()))?;
    Ok(with_encoding(decoded, |html| {
        let page = Page::read(&html);
        let text = if reading.source.main_text { page.main_text() } else { page.all_text() };
        let mut document = reading.document(id, text);
        if !page.title.is_empty() {
            document.metadata.insert("title".into(), page.title.into());
        }
        document
    }))
}

/// Notes an encoding other than UTF-8.
fn with_encoding(decoded: Decoded, document: impl FnOnce(String) -> Document) -> Document {
    let mut document = document(decoded.text);
    if let Some(encoding) = decoded.encoding {
        document.metadata.insert("encoding".into(), encoding.into());
    }
    document
}
