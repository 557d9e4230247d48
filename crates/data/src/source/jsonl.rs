//! A JSON object on each line: a field has the text, one may have an id; `metadata` is kept, and so is every other field,
//! in `metadata`. Lines that a run of ours wrote are read back with their signals.

use serde_json::{Map, Value};

use super::lines::{Line, Lines};
use super::{Item, Reading, Sink};
use crate::Document;
use crate::corpus::CorpusError;

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let mut lines = match Lines::open(reading) {
        Ok(lines) => lines,
        Err(error) => return sink(reading.broken(&error)),
    };
    while let Some(line) = lines.next() {
        match line {
            Line::Whole { bytes, .. } if bytes.trim_ascii().is_empty() => {}
            Line::Whole { offset, bytes } => sink(document_of_line(reading, offset, bytes))?,
            Line::TooLong { offset, bytes } => sink(reading.too_large(offset, Some(bytes)))?,
            Line::Broken { error } => sink(reading.broken(&error))?,
        }
    }
    Ok(())
}

fn document_of_line(reading: &Reading<'_>, offset: u64, bytes: &[u8]) -> Item {
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        let problem = format!("a line that is not UTF-8: 0x{:02x} is its byte {at}", bytes[at]);
        return reading.fault(Some(offset), problem);
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(fields)) => match document_of_fields(reading, offset, fields) {
            Ok(document) => Item::Document(document),
            Err(problem) => reading.fault(Some(offset), problem),
        },
        Ok(_) => reading.fault(Some(offset), "a line that is no JSON object"),
        Err(error) => reading.fault(Some(offset), format!("a line that is no JSON: {error}")),
    }
}

/// A document of named values: of a line, or of a row of a table.
pub(super) fn document_of_fields(
    reading: &Reading<'_>,
    place: u64,
    mut fields: Map<String, Value>,
) -> Result<Document, String> {
    let text_field = &reading.source.text_field;
    let text = match fields.shift_remove(text_field) {
        Some(Value::String(text)) => text,
        None | Some(Value::Null) => return Err(format!("it has no field `{text_field}`")),
        Some(_) => return Err(format!("its field `{text_field}` is no string")),
    };
    let id = match fields.shift_remove(&reading.source.id_field) {
        Some(Value::String(id)) if !id.is_empty() => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => reading.id_at(place),
    };
    let mut document = reading.document(id, text);
    if let Some(Value::String(license)) = fields.get("license") {
        document.license = Some(license.clone());
        fields.shift_remove("license");
    }
    // Anybody may write a field of this name: it counts if we measured it, and else is metadata as other fields are.
    let is_measured = reading.file.is_measured || reading.source.trust_signals;
    if is_measured && fields.get("signals").is_some_and(Value::is_object) {
        let signals = fields.shift_remove("signals");
        for (name, value) in signals.as_ref().and_then(Value::as_object).into_iter().flatten() {
            match value {
                Value::Number(number) => document.set_signal(name, number.as_f64().unwrap_or(f64::NAN)),
                Value::String(text) => document.set_signal(name, text.as_str()),
                _ => {}
            }
        }
    }
    if fields.get("source").and_then(Value::as_str) == Some(&document.source) {
        fields.shift_remove("source");
    }
    match fields.shift_remove("metadata") {
        Some(Value::Object(metadata)) => {
            document.metadata = metadata;
            document.metadata.extend(fields);
        }
        Some(other) => {
            document.metadata = fields;
            document.metadata.insert("metadata".into(), other);
        }
        None => document.metadata = fields,
    }
    if document.metadata.values().any(|value| is_deeper(value, DEPTH_MAX)) {
        return Err(format!("its fields are nested more than {DEPTH_MAX} deep"));
    }
    Ok(document)
}

/// What is read must be written and read again, and readers of JSON have limits.
const DEPTH_MAX: usize = 100;

fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(|value| is_deeper(value, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|value| is_deeper(value, levels - 1)),
        _ => false,
    }
}
