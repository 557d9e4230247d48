//! Reading the header of a GGUF file: every number is checked before it is used, so that a view can never reach outside.

use std::collections::BTreeSet;
use std::path::Path;

use tsumugi_base::limits::{GGUF_METADATA_MAX, GGUF_NAME_BYTES_MAX, MODEL_TENSORS_MAX, TENSOR_NAME_BYTES_MAX};

use super::cursor::Cursor;
use super::metadata::{Metadata, Value};
use super::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, Fault, GgufError, MAGIC, Problem, RANK_MAX};
use crate::element_type::ElementType;
use crate::looks_like::LooksLike;
use crate::stored_tensor::TensorEntry;

/// A checked header: every range lies in the file at a multiple of the alignment, none overlap, and each has the bytes
/// of its type and shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 2 or 3, which differ in nothing that is read here.
    pub version: u32,
    /// What the file says about itself.
    pub metadata: Metadata,
    /// The tensors in the order of the table.
    pub tensors: Vec<TensorEntry>,
}

/// Reads and checks the header of a whole GGUF file; `file` is for messages only. Never panics, and allocates in
/// proportion to the header's bytes, never to what it claims.
pub fn parse_header(bytes: &[u8], file: &Path) -> Result<Header, GgufError> {
    parse(bytes, Cursor::new(bytes)).map_err(|problem| GgufError { file: file.to_owned(), problem })
}

/// The same without what its arrays hold: they are passed over and come out empty, and that their texts are UTF-8 is not
/// checked. For who only wants to know what a file is.
pub fn parse_outline(bytes: &[u8], file: &Path) -> Result<Header, GgufError> {
    parse(bytes, Cursor::without_arrays(bytes)).map_err(|problem| GgufError { file: file.to_owned(), problem })
}

fn parse(bytes: &[u8], mut cursor: Cursor<'_>) -> Result<Header, Problem> {
    if !cursor.number(|magic: [u8; 4]| magic == *MAGIC).unwrap_or(false) {
        return Err(Problem::NotGguf { looks_like: LooksLike::instead_of(LooksLike::Gguf, bytes) });
    }
    let version = read_field(&mut cursor, || "the version".into(), |cursor| cursor.number(u32::from_le_bytes))?;
    match version {
        2 | 3 => {}
        _ if version.trailing_zeros() >= 16 => return Err(Problem::BigEndian),
        _ => return Err(Problem::Version { version }),
    }
    let tensor_count = read_count(&mut cursor, "tensors", MODEL_TENSORS_MAX)?;
    let metadata_count = read_count(&mut cursor, "metadata entries", GGUF_METADATA_MAX)?;
    let (metadata, alignment) = read_metadata(&mut cursor, metadata_count)?;
    let rows = read_table(&mut cursor, tensor_count)?;
    let data_start = cursor.offset().next_multiple_of(alignment);
    if data_start > bytes.len() && !rows.is_empty() {
        let fault = Fault::Ended { needed_bytes: (data_start - bytes.len()) as u64, left_bytes: 0 };
        return Err(Problem::Field { field: "the data".into(), offset: cursor.offset() as u64, fault });
    }
    let data_bytes = bytes.len().saturating_sub(data_start);
    let place = |row: Row| {
        let (field, offset) = (tensor_field(&row.name), row.offset as u64);
        row.place(alignment, data_start, data_bytes).map_err(|fault| Problem::Field { field, offset, fault })
    };
    let tensors: Vec<TensorEntry> = rows.into_iter().map(place).collect::<Result<_, _>>()?;
    check_overlaps(&tensors)?;
    Ok(Header { version, metadata, tensors })
}

/// Reads one field; a fault gets the field's name and where it begins.
fn read_field<'a, T>(
    cursor: &mut Cursor<'a>,
    field: impl FnOnce() -> String,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, Fault>,
) -> Result<T, Problem> {
    let offset = cursor.offset() as u64;
    read(cursor).map_err(|fault| Problem::Field { field: field(), offset, fault })
}

fn read_count(cursor: &mut Cursor<'_>, what: &'static str, limit: usize) -> Result<u64, Problem> {
    let found = read_field(cursor, || format!("the number of {what}"), |cursor| cursor.number(u64::from_le_bytes))?;
    if found > limit as u64 { Err(Problem::TooMany { what, found, limit }) } else { Ok(found) }
}

pub(super) fn metadata_field(key: &str) -> String {
    format!("metadata `{key}`")
}

pub(super) fn tensor_field(name: &str) -> String {
    format!("tensor `{name}`")
}

/// The metadata, and the alignment that it says.
fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<(Metadata, usize), Problem> {
    let mut metadata = Metadata::default();
    let mut alignment = ALIGNMENT_DEFAULT;
    let mut seen = BTreeSet::new();
    for number in 0..count {
        let offset = cursor.offset() as u64;
        let field = || format!("the key of metadata entry {number}");
        let key = read_field(cursor, field, |cursor| cursor.name(GGUF_NAME_BYTES_MAX))?;
        let field = || metadata_field(&key);
        if !seen.insert(key.clone()) {
            return Err(Problem::Field { field: field(), offset, fault: Fault::Duplicate });
        }
        let value = read_field(cursor, field, |cursor| {
            let value = cursor.value()?;
            if key == ALIGNMENT_KEY {
                alignment = alignment_of(Some(&value))?;
            }
            Ok(value)
        })?;
        metadata.push(key, value);
    }
    Ok((metadata, alignment))
}

/// The multiple at which tensors begin, by the value of [`ALIGNMENT_KEY`].
pub(super) fn alignment_of(value: Option<&Value>) -> Result<usize, Fault> {
    match value {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(&Value::U32(alignment)) if alignment.is_power_of_two() => Ok(alignment as usize),
        Some(_) => Err(Fault::BadAlignment),
    }
}

/// A row of the tensor table.
struct Row {
    name: String,
    element_type: ElementType,
    /// Slowest axis first.
    shape: Vec<u64>,
    /// First byte, from the start of the data.
    begin: u64,
    /// Of the row, from the start of the file.
    offset: usize,
}

fn read_table(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Row>, Problem> {
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for number in 0..count {
        let offset = cursor.offset();
        let field = || format!("the name of tensor {number}");
        let name = read_field(cursor, field, |cursor| cursor.name(TENSOR_NAME_BYTES_MAX))?;
        let at_row = |fault| Problem::Field { field: tensor_field(&name), offset: offset as u64, fault };
        if !seen.insert(name.clone()) {
            return Err(at_row(Fault::Duplicate));
        }
        rows.push(read_row(cursor, &name, offset).map_err(at_row)?);
    }
    Ok(rows)
}

fn read_row(cursor: &mut Cursor<'_>, name: &str, offset: usize) -> Result<Row, Fault> {
    let rank = cursor.number(u32::from_le_bytes)?;
    if rank as usize > RANK_MAX {
        return Err(Fault::TooManyAxes { found: rank.into() });
    }
    let mut shape = (0..rank).map(|_| cursor.number(u64::from_le_bytes)).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let number = cursor.number(u32::from_le_bytes)?;
    let Some(element_type) = ElementType::from_gguf_number(number) else {
        return Err(Fault::UnknownElementType { found: number.to_string() });
    };
    let begin = cursor.number(u64::from_le_bytes)?;
    Ok(Row { name: name.to_owned(), element_type, shape, begin, offset })
}

impl Row {
    /// Where the tensor lies in the file.
    fn place(self, alignment: usize, data_start: usize, data_bytes: usize) -> Result<TensorEntry, Fault> {
        let Self { name, element_type, shape: axes, begin, .. } = self;
        let shape: Result<Vec<usize>, _> = axes.iter().map(|&axis| usize::try_from(axis)).collect();
        let counted = shape.ok().and_then(|shape| Some((element_type.tensor_bytes(&shape)?, shape)));
        let Some((bytes, shape)) = counted else {
            return Err(Fault::ImpossibleShape { element_type, shape: axes });
        };
        if !begin.is_multiple_of(alignment as u64) {
            return Err(Fault::Misaligned { begin, alignment });
        }
        let data_bytes = data_bytes as u64;
        if begin.checked_add(bytes).is_none_or(|end| end > data_bytes) {
            return Err(Fault::OutOfBounds { begin, bytes, data_bytes });
        }
        // Both ends are at most data_bytes, and data_start with it at most the file's length.
        let begin = data_start + begin as usize;
        Ok(TensorEntry { name, element_type, shape, bytes: begin..begin + bytes as usize })
    }
}

fn check_overlaps(tensors: &[TensorEntry]) -> Result<(), Problem> {
    let mut in_order: Vec<&TensorEntry> = tensors.iter().filter(|tensor| !tensor.bytes.is_empty()).collect();
    in_order.sort_by_key(|tensor| (tensor.bytes.start, tensor.bytes.end));
    for pair in in_order.windows(2) {
        if pair[1].bytes.start < pair[0].bytes.end {
            return Err(Problem::Overlap {
                first: pair[0].name.clone(),
                first_end: pair[0].bytes.end as u64,
                second: pair[1].name.clone(),
                second_begin: pair[1].bytes.start as u64,
            });
        }
    }
    Ok(())
}
