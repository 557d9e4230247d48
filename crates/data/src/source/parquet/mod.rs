//! Parquet tables, one row group after another, without Arrow: the columns of simple types, of which one is the text.

mod pages;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Number, Value};
use tsumugi_base::units;

use crate::corpus::CorpusError;
use crate::source::jsonl::document_of_fields;
use crate::source::text::found;
use crate::source::{Part, Reading, Sink};

/// Cuts a table into runs of row groups of about `bytes`. One that cannot be opened is one part, whose reading says why.
pub(super) fn parts(path: &Path, bytes: u64) -> Vec<Part> {
    let sizes = guarded(|| {
        let reader = SerializedFileReader::new(File::open(path)?)?;
        let groups = reader.metadata().row_groups();
        Ok(groups.iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).collect::<Vec<_>>())
    });
    let Ok(sizes) = sizes else { return vec![Part::All] };
    let (mut parts, mut from, mut found) = (Vec::new(), 0, 0);
    for (index, size) in sizes.iter().enumerate() {
        found += size;
        if found >= bytes || index + 1 == sizes.len() {
            parts.push(Part::RowGroups { from, to: index + 1 });
            (from, found) = (index + 1, 0);
        }
    }
    if parts.is_empty() { vec![Part::All] } else { parts }
}

pub(super) fn read(reading: &Reading<'_>, sink: Sink<'_>) -> Result<(), CorpusError> {
    let opened = guarded(|| {
        let reader = SerializedFileReader::new(File::open(&reading.file.path)?)?;
        let schema = reader.metadata().file_metadata().schema();
        let simple = schema.get_fields().iter().filter(|field| field.is_primitive());
        let simple: Vec<_> = simple.cloned().collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(simple).build()?;
        Ok((reader, projection))
    });
    let (reader, projection) = match opened {
        Ok(opened) => opened,
        Err(problem) => return sink(reading.fault(None, problem)),
    };
    let text_field = &reading.source.text_field;
    let is_text = |column: &Type| column.name() == text_field && column.get_physical_type() == Physical::BYTE_ARRAY;
    if !projection.get_fields().iter().any(|column| is_text(column)) {
        return sink(reading.fault(None, format!("it has no column `{text_field}` of strings")));
    }
    let groups = match reading.part {
        Part::RowGroups { from, to } => from..to,
        _ => 0..reader.num_row_groups(),
    };
    let mut row_number: u64 = (0..groups.start).map(|group| rows_of(&reader, group)).sum();
    for group in groups {
        read_group(reading, &reader, &projection, group, row_number, sink)?;
        row_number += rows_of(&reader, group);
    }
    Ok(())
}

fn rows_of(reader: &SerializedFileReader<File>, group: usize) -> u64 {
    u64::try_from(reader.metadata().row_group(group).num_rows()).unwrap_or(0)
}

/// Rows up to the first that cannot be read: those behind it in the row group are lost with it.
fn read_group(
    reading: &Reading<'_>,
    reader: &SerializedFileReader<File>,
    projection: &Type,
    group: usize,
    first_row: u64,
    sink: Sink<'_>,
) -> Result<(), CorpusError> {
    let offset = reader.metadata().row_group(group).file_offset().and_then(|offset| u64::try_from(offset).ok());
    let broken = |row: u64, problem: String| {
        reading.fault(offset, format!("row group {group} cannot be read from its row {row} on: {problem}"))
    };
    let row_group = match guarded(|| reader.get_row_group(group)) {
        Ok(row_group) => row_group,
        Err(problem) => return sink(broken(0, problem)),
    };
    if let Err(problem) = check_pages(reading, row_group.as_ref(), projection) {
        return sink(broken(0, problem));
    }
    let mut rows = match guarded(|| RowIter::from_row_group(Some(projection.clone()), row_group.as_ref())) {
        Ok(rows) => rows,
        Err(problem) => return sink(broken(0, problem)),
    };
    for row in 0.. {
        let fields = match guarded(|| rows.next().transpose()) {
            Ok(Some(fields)) => fields,
            Ok(None) => break,
            Err(problem) => return sink(broken(row, problem)),
        };
        let fields = values(fields);
        let bytes = fields.get(&reading.source.text_field).and_then(Value::as_str).map_or(0, str::len) as u64;
        let number = first_row + row;
        if bytes > reading.document_bytes_max {
            sink(reading.too_large(number, Some(bytes)))?;
            continue;
        }
        let document =
            document_of_fields(reading, number, fields).map_err(|problem| format!("row {number}: {problem}"));
        sink(found(reading, offset.unwrap_or(0), document))?;
    }
    Ok(())
}

/// A page may be so many times as large as a document, packed and unpacked together.
pub(crate) const PAGE_DOCUMENTS: u64 = 8;

/// An error if a page of a column that is read needs more memory than it may.
fn check_pages(reading: &Reading<'_>, row_group: &dyn RowGroupReader, projection: &Type) -> Result<(), String> {
    let limit = PAGE_DOCUMENTS * reading.document_bytes_max;
    let file = File::open(&reading.file.path).map_err(|error| error.to_string())?;
    let is_read = |column: &&ColumnChunkMetaData| {
        let path = column.column_path().parts();
        projection.get_fields().iter().any(|field| *path == [field.name()])
    };
    for column in row_group.metadata().columns().iter().filter(is_read) {
        let (start, length) = guarded(|| Ok(column.byte_range()))?;
        let fit = pages::fit(&file, start..start.saturating_add(length), column.compression(), limit);
        if !fit.map_err(|error| format!("the pages of column {}: {error}", column.column_path()))? {
            let limit = units::bytes(limit);
            return Err(format!(
                "a page of column {} takes more than {limit}, the most that is read",
                column.column_path()
            ));
        }
    }
    Ok(())
}

/// The library checks most of what a file says, and panics at some of what it does not.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the file is damaged".into()),
    }
}

/// A row as named values; bytes that are no text, and times, are left out.
fn values(row: Row) -> Map<String, Value> {
    let named = |(name, field): (String, Field)| Some((name, value(field)?));
    row.into_columns().into_iter().filter_map(named).collect()
}

fn value(field: Field) -> Option<Value> {
    Some(match field {
        Field::Bool(value) => value.into(),
        Field::Byte(value) => value.into(),
        Field::Short(value) => value.into(),
        Field::Int(value) => value.into(),
        Field::Long(value) => value.into(),
        Field::UByte(value) => value.into(),
        Field::UShort(value) => value.into(),
        Field::UInt(value) => value.into(),
        Field::ULong(value) => value.into(),
        Field::Float(value) => Number::from_f64(value.into())?.into(),
        Field::Double(value) => Number::from_f64(value)?.into(),
        Field::Str(value) => value.into(),
        Field::Bytes(value) => String::from_utf8(value.data().to_vec()).ok()?.into(),
        _ => return None,
    })
}
