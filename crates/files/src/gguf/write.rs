//! Writing GGUF, version 3: metadata and table first, then each tensor streamed, whole file or none.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;
use tsumugi_base::limits::{GGUF_ARRAY_DEPTH_MAX, GGUF_NAME_BYTES_MAX};

use super::cursor::check_name;
use super::metadata::{Array, Kind, Metadata, Value};
use super::read::{alignment_of, metadata_field, tensor_field};
use super::{ALIGNMENT_KEY, Fault, GgufError, MAGIC, Problem, RANK_MAX, VERSION};
use crate::error::FilesError;
use crate::stored_tensor::{CountingWriter, TensorSpec, TensorView};

/// Longest name of a tensor that every reader takes: ggml's `GGML_MAX_NAME`, less its closing zero.
const TENSOR_NAME_BYTES_MAX: usize = 63;

/// Writes one file, atomically. Metadata and tensors stand in the order given; tensors begin at multiples of
/// `general.alignment`, or of 32 where the metadata has no such key.
pub fn write_gguf(path: &Path, metadata: &Metadata, tensors: &[TensorView<'_>]) -> Result<(), FilesError> {
    let specs: Vec<TensorSpec<'_>> = tensors.iter().map(TensorView::spec).collect();
    for tensor in tensors {
        check_size(&tensor.spec(), tensor.bytes.len() as u64).map_err(|problem| wrong(path, problem))?;
    }
    write_gguf_with(path, metadata, &specs, |i, sink| sink.write_all(tensors[i].bytes))
}

/// [`write_gguf`] for tensors whose bytes are made while writing: `write_tensor(i, sink)` writes exactly the bytes of
/// `specs[i]`. It is called once for each, in their order.
pub fn write_gguf_with(
    path: &Path,
    metadata: &Metadata,
    specs: &[TensorSpec<'_>],
    mut write_tensor: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<(), FilesError> {
    let alignment = alignment_of(metadata.get(ALIGNMENT_KEY))
        .map_err(|fault| wrong(path, Problem::Unwritable { field: metadata_field(ALIGNMENT_KEY), fault }))?;
    let header = header_bytes(metadata, specs, alignment).map_err(|problem| wrong(path, problem))?;
    let mut file = AtomicFile::create(path)?;
    let failed = |source| FileError::write(path, source);
    file.write_all(&header).map_err(failed)?;
    if !specs.is_empty() {
        pad(&mut file, header.len() as u64, alignment).map_err(failed)?;
    }
    for (i, spec) in specs.iter().enumerate() {
        let mut sink = CountingWriter { inner: &mut file, written: 0 };
        write_tensor(i, &mut sink).map_err(failed)?;
        let written = sink.written;
        check_size(spec, written).map_err(|problem| wrong(path, problem))?;
        pad(&mut file, written, alignment).map_err(failed)?;
    }
    Ok(file.commit()?)
}

fn wrong(path: &Path, problem: Problem) -> FilesError {
    GgufError { file: path.to_owned(), problem }.into()
}

/// Zeros after `written` bytes, up to the next multiple of `alignment`.
fn pad(file: &mut AtomicFile, written: u64, alignment: usize) -> io::Result<()> {
    let zeros = written.next_multiple_of(alignment as u64) - written;
    io::copy(&mut io::repeat(0).take(zeros), file).map(|_| ())
}

fn tensor_bytes(spec: &TensorSpec<'_>) -> Result<u64, Fault> {
    spec.element_type.tensor_bytes(spec.shape).ok_or_else(|| {
        let shape = spec.shape.iter().map(|&axis| axis as u64).collect();
        Fault::ImpossibleShape { element_type: spec.element_type, shape }
    })
}

fn check_size(spec: &TensorSpec<'_>, found_bytes: u64) -> Result<(), Problem> {
    let unwritable = |fault| Problem::Unwritable { field: tensor_field(spec.name), fault };
    let needed_bytes = tensor_bytes(spec).map_err(unwritable)?;
    if needed_bytes == found_bytes {
        return Ok(());
    }
    let (element_type, shape) = (spec.element_type, spec.shape.to_vec());
    Err(unwritable(Fault::SizeMismatch { element_type, shape, needed_bytes, found_bytes }))
}

fn header_bytes(metadata: &Metadata, specs: &[TensorSpec<'_>], alignment: usize) -> Result<Vec<u8>, Problem> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((specs.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        let unwritable = |fault| Problem::Unwritable { field: metadata_field(key), fault };
        check_name(key, GGUF_NAME_BYTES_MAX).map_err(unwritable)?;
        put_text(key, &mut bytes);
        put_value(value, &mut bytes).map_err(unwritable)?;
    }
    let mut names = BTreeSet::new();
    let mut begin = 0u64;
    for spec in specs {
        let unwritable = |fault| Problem::Unwritable { field: tensor_field(spec.name), fault };
        if !names.insert(spec.name) {
            return Err(unwritable(Fault::Duplicate));
        }
        put_row(spec, begin, &mut bytes).map_err(unwritable)?;
        let end = begin.saturating_add(tensor_bytes(spec).map_err(unwritable)?);
        begin = end.checked_next_multiple_of(alignment as u64).unwrap_or(u64::MAX);
    }
    Ok(bytes)
}

fn put_row(spec: &TensorSpec<'_>, begin: u64, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    check_name(spec.name, TENSOR_NAME_BYTES_MAX)?;
    if spec.shape.len() > RANK_MAX {
        return Err(Fault::TooManyAxes { found: spec.shape.len() as u64 });
    }
    let Some(number) = spec.element_type.gguf_number() else {
        return Err(Fault::UnknownElementType { found: spec.element_type.name().into() });
    };
    put_text(spec.name, bytes);
    bytes.extend((spec.shape.len() as u32).to_le_bytes());
    bytes.extend(spec.shape.iter().rev().flat_map(|&axis| (axis as u64).to_le_bytes()));
    bytes.extend(number.to_le_bytes());
    bytes.extend(begin.to_le_bytes());
    Ok(())
}

fn put_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put_value(value: &Value, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    let mut number = |kind: Kind, number: &[u8]| {
        bytes.extend((kind as u32).to_le_bytes());
        bytes.extend(number);
    };
    match value {
        Value::U8(value) => number(Kind::U8, &value.to_le_bytes()),
        Value::I8(value) => number(Kind::I8, &value.to_le_bytes()),
        Value::U16(value) => number(Kind::U16, &value.to_le_bytes()),
        Value::I16(value) => number(Kind::I16, &value.to_le_bytes()),
        Value::U32(value) => number(Kind::U32, &value.to_le_bytes()),
        Value::I32(value) => number(Kind::I32, &value.to_le_bytes()),
        Value::F32(value) => number(Kind::F32, &value.to_le_bytes()),
        Value::Bool(value) => number(Kind::Bool, &[u8::from(*value)]),
        Value::U64(value) => number(Kind::U64, &value.to_le_bytes()),
        Value::I64(value) => number(Kind::I64, &value.to_le_bytes()),
        Value::F64(value) => number(Kind::F64, &value.to_le_bytes()),
        Value::String(text) => {
            number(Kind::String, &[]);
            put_text(text, bytes);
        }
        Value::Array(array) => {
            number(Kind::Array, &[]);
            put_array(array, 1, bytes)?;
        }
    }
    Ok(())
}

fn put_array(array: &Array, depth: usize, bytes: &mut Vec<u8>) -> Result<(), Fault> {
    if depth > GGUF_ARRAY_DEPTH_MAX {
        return Err(Fault::TooDeep);
    }
    match array {
        Array::String(texts) => {
            put_kind_and_count(Kind::String, texts.len(), bytes);
            texts.iter().for_each(|text| put_text(text, bytes));
        }
        Array::Array(arrays) => {
            put_kind_and_count(Kind::Array, arrays.len(), bytes);
            return arrays.iter().try_for_each(|array| put_array(array, depth + 1, bytes));
        }
        Array::Bool(values) => put_numbers(Kind::Bool, values, |&value| [u8::from(value)], bytes),
        Array::U8(values) => put_numbers(Kind::U8, values, |value| value.to_le_bytes(), bytes),
        Array::I8(values) => put_numbers(Kind::I8, values, |value| value.to_le_bytes(), bytes),
        Array::U16(values) => put_numbers(Kind::U16, values, |value| value.to_le_bytes(), bytes),
        Array::I16(values) => put_numbers(Kind::I16, values, |value| value.to_le_bytes(), bytes),
        Array::U32(values) => put_numbers(Kind::U32, values, |value| value.to_le_bytes(), bytes),
        Array::I32(values) => put_numbers(Kind::I32, values, |value| value.to_le_bytes(), bytes),
        Array::F32(values) => put_numbers(Kind::F32, values, |value| value.to_le_bytes(), bytes),
        Array::U64(values) => put_numbers(Kind::U64, values, |value| value.to_le_bytes(), bytes),
        Array::I64(values) => put_numbers(Kind::I64, values, |value| value.to_le_bytes(), bytes),
        Array::F64(values) => put_numbers(Kind::F64, values, |value| value.to_le_bytes(), bytes),
    }
    Ok(())
}

fn put_kind_and_count(kind: Kind, count: usize, bytes: &mut Vec<u8>) {
    bytes.extend((kind as u32).to_le_bytes());
    bytes.extend((count as u64).to_le_bytes());
}

fn put_numbers<T, const N: usize>(kind: Kind, values: &[T], to: impl Fn(&T) -> [u8; N], bytes: &mut Vec<u8>) {
    put_kind_and_count(kind, values.len(), bytes);
    bytes.extend(values.iter().flat_map(to));
}
