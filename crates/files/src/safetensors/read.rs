//! Reading a safetensors header: every number is checked before it is used, so that a view can never reach outside.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use tsumugi_base::limits::{MODEL_TENSORS_MAX, SAFETENSORS_HEADER_BYTES_MAX, TENSOR_NAME_BYTES_MAX, TENSOR_RANK_MAX};

use super::{Problem, SafetensorsError};
use crate::element_type::ElementType;
use crate::looks_like::LooksLike;
use crate::stored_tensor::TensorEntry;

/// The header's own key, beside the tensors.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// Bytes of the header length.
pub(super) const LENGTH_BYTES: u64 = 8;

/// A checked header: every range lies in the file, none overlap, and each has the bytes of its type and shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The tensors in the order of their bytes.
    pub tensors: Vec<TensorEntry>,
    /// Free words of the writer, such as `format: pt`.
    pub metadata: BTreeMap<String, String>,
}

/// Reads and checks the header of a whole safetensors file; `file` is for messages only. Never panics, and allocates
/// in proportion to the header, never to what the header claims.
pub fn parse_header(bytes: &[u8], file: &Path) -> Result<Header, SafetensorsError> {
    parse(bytes).map_err(|problem| {
        let offset = offset_of(bytes, &problem);
        SafetensorsError { file: file.to_owned(), problem: Box::new(problem), offset }
    })
}

/// Where the header says what is wrong with it, from the start of the file.
fn offset_of(bytes: &[u8], problem: &Problem) -> Option<u64> {
    let (length, rest) = bytes.split_first_chunk::<{ LENGTH_BYTES as usize }>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header = std::str::from_utf8(header).ok()?;
    let offset = match problem {
        Problem::HeaderJson { source } => {
            let before: usize = header.split_inclusive('\n').take(source.line().checked_sub(1)?).map(str::len).sum();
            before + source.column().saturating_sub(1)
        }
        Problem::DuplicateName { tensor } => entries(header, tensor).last()?,
        Problem::UnknownElementType { tensor, .. }
        | Problem::ImpossibleShape { tensor, .. }
        | Problem::SizeMismatch { tensor, .. }
        | Problem::BackwardRange { tensor, .. }
        | Problem::OutOfBounds { tensor, .. }
        | Problem::Overlap { second: tensor, .. } => entries(header, tensor).next()?,
        _ => return None,
    };
    Some(LENGTH_BYTES + offset as u64)
}

/// Where the entries of a tensor begin: its name, as writers spell it, before a colon and an object.
fn entries<'a>(header: &'a str, tensor: &str) -> impl Iterator<Item = usize> + 'a {
    let key = serde_json::Value::from(tensor).to_string();
    let at: Vec<usize> = header.match_indices(&key).map(|(at, _)| at).collect();
    at.into_iter().filter(move |at| {
        let behind = header[at + key.len()..].trim_start().strip_prefix(':');
        behind.is_some_and(|value| value.trim_start().starts_with('{'))
    })
}

fn parse(bytes: &[u8]) -> Result<Header, Problem> {
    let file_bytes = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk::<{ LENGTH_BYTES as usize }>() else {
        return Err(Problem::TooShort { file_bytes });
    };
    let header_bytes = u64::from_le_bytes(*length);
    let looks_like = LooksLike::instead_of(LooksLike::Safetensors, bytes);
    let left_bytes = rest.len() as u64;
    if header_bytes > SAFETENSORS_HEADER_BYTES_MAX {
        return Err(Problem::HeaderTooLarge { header_bytes, looks_like });
    }
    if header_bytes > left_bytes {
        return Err(Problem::HeaderBeyondEnd { header_bytes, left_bytes, looks_like });
    }
    let (header, data) = rest.split_at(header_bytes as usize);
    let text = std::str::from_utf8(header)
        .map_err(|error| Problem::HeaderNotText { offset: LENGTH_BYTES + error.valid_up_to() as u64 })?;
    let raw: RawHeader = serde_json::from_str(text).map_err(|source| Problem::HeaderJson { source })?;
    if raw.tensors.len() > MODEL_TENSORS_MAX {
        return Err(Problem::TooManyTensors { limit: MODEL_TENSORS_MAX });
    }
    if let Some(tensor) = first_duplicate(&raw.tensors) {
        return Err(Problem::DuplicateName { tensor });
    }
    let data_start = (LENGTH_BYTES + header_bytes) as usize;
    let mut tensors = Vec::with_capacity(raw.tensors.len());
    for (name, info) in raw.tensors {
        tensors.push(check_tensor(name, info, data_start, data.len())?);
    }
    tensors.sort_by(|a, b| (a.bytes.start, a.bytes.end, &a.name).cmp(&(b.bytes.start, b.bytes.end, &b.name)));
    check_layout(&tensors, data_start, data.len())?;
    Ok(Header { tensors, metadata: raw.metadata })
}

fn first_duplicate(tensors: &[(String, RawTensor)]) -> Option<String> {
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0].to_owned())
}

fn check_tensor(tensor: String, raw: RawTensor, data_start: usize, data_len: usize) -> Result<TensorEntry, Problem> {
    let Some(element_type) = ElementType::from_safetensors_name(&raw.dtype) else {
        return Err(Problem::UnknownElementType { tensor, found: raw.dtype });
    };
    let [begin, end] = raw.data_offsets;
    if begin > end {
        return Err(Problem::BackwardRange { tensor, begin, end });
    }
    let data_bytes = data_len as u64;
    if end > data_bytes {
        return Err(Problem::OutOfBounds { tensor, begin, end, data_bytes });
    }
    let axes: Result<Vec<usize>, _> = raw.shape.iter().map(|&axis| usize::try_from(axis)).collect();
    let counted = axes.ok().and_then(|shape| Some((element_type.tensor_bytes(&shape)?, shape)));
    let Some((needed_bytes, shape)) = counted.filter(|(_, shape)| shape.len() <= TENSOR_RANK_MAX) else {
        return Err(Problem::ImpossibleShape { tensor, element_type, shape: raw.shape });
    };
    let found_bytes = end - begin;
    if needed_bytes != found_bytes {
        return Err(Problem::SizeMismatch { tensor, element_type, shape, needed_bytes, found_bytes });
    }
    // Both are at most data_len, which is a usize; their sum is at most the file's length.
    let bytes = data_start + begin as usize..data_start + end as usize;
    Ok(TensorEntry { name: tensor, element_type, shape, bytes })
}

/// The tensors, in the order of their bytes, must cover the data exactly.
fn check_layout(tensors: &[TensorEntry], data_start: usize, data_len: usize) -> Result<(), Problem> {
    let mut covered = data_start;
    for (i, tensor) in tensors.iter().enumerate() {
        let begin = tensor.bytes.start;
        if begin < covered {
            return Err(Problem::Overlap {
                // The first tensor begins at data_start or later, so this one has a predecessor.
                first: tensors[i.saturating_sub(1)].name.clone(),
                first_end: (covered - data_start) as u64,
                second: tensor.name.clone(),
                second_begin: (begin - data_start) as u64,
            });
        }
        if begin > covered {
            return Err(Problem::Hole { begin: (covered - data_start) as u64, end: (begin - data_start) as u64 });
        }
        covered = tensor.bytes.end;
    }
    if covered < data_start + data_len {
        return Err(Problem::Hole { begin: (covered - data_start) as u64, end: data_len as u64 });
    }
    Ok(())
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// The header in the file's order, duplicates and all.
struct RawHeader {
    tensors: Vec<(String, RawTensor)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata: Option<Option<BTreeMap<String, String>>> = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                if metadata.is_some() {
                    return Err(A::Error::custom(format!("`{METADATA_KEY}` stands there twice")));
                }
                metadata = Some(map.next_value()?);
                continue;
            }
            if name.len() > TENSOR_NAME_BYTES_MAX {
                return Err(A::Error::custom(format!("a tensor name has more than {TENSOR_NAME_BYTES_MAX} bytes")));
            }
            tensors.push((name, map.next_value()?));
            if tensors.len() > MODEL_TENSORS_MAX {
                break; // told by the caller
            }
        }
        Ok(RawHeader { tensors, metadata: metadata.flatten().unwrap_or_default() })
    }
}
