//! The safetensors format: eight bytes of header length (little-endian), a JSON header that gives each tensor its
//! type, shape and byte range, then the bytes of all tensors without holes.
//!
//! Format: huggingface/safetensors, README "Format". The reader is our own because a refusal must name file, tensor
//! and values, and because duplicate names must be refused (the format's own reader keeps the last one silently);
//! the tests hold it equal to the format's own reader in what it accepts.

mod read;
mod write;

use std::path::PathBuf;

use tsumugi_base::Hint;
use tsumugi_base::limits::SAFETENSORS_HEADER_BYTES_MAX;

use crate::element_type::ElementType;
use crate::looks_like::LooksLike;

pub use read::{Header, parse_header};
pub use write::{MODEL_FILE, MODEL_INDEX_FILE, write_model, write_safetensors, write_safetensors_with};

/// What is wrong with a safetensors file. Positions of tensors count from the first byte after the header, as the
/// header itself does.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}{place}", file = .file.display(), place = place(*.offset))]
pub struct SafetensorsError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: Box<Problem>,
    /// Where the header says it, from the start of the file.
    pub offset: Option<u64>,
}

fn place(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" (header, at byte {offset} of the file)")).unwrap_or_default()
}

/// What is wrong with a safetensors file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Not even a header length.
    #[error("{file_bytes} bytes are too few for a safetensors file, which begins with an 8-byte header length")]
    TooShort {
        /// Size of the file.
        file_bytes: u64,
    },
    /// The header does not fit in the file.
    #[error("the header should have {header_bytes} bytes, but the file ends {left_bytes} bytes after its length")]
    HeaderBeyondEnd {
        /// What the first eight bytes say.
        header_bytes: u64,
        /// What there is.
        left_bytes: u64,
        /// Another format, by its first bytes.
        looks_like: Option<LooksLike>,
    },
    /// A header over the format's limit.
    #[error("the header should have {header_bytes} bytes; the format allows {SAFETENSORS_HEADER_BYTES_MAX}")]
    HeaderTooLarge {
        /// What the first eight bytes say, or what we would have to write.
        header_bytes: u64,
        /// Another format, by its first bytes.
        looks_like: Option<LooksLike>,
    },
    /// The header is not UTF-8.
    #[error("the header is not UTF-8 text at byte {offset} of the file")]
    HeaderNotText {
        /// From the start of the file.
        offset: u64,
    },
    /// The header is not the JSON that it must be.
    #[error("the header is not as the format wants it: {source}")]
    HeaderJson {
        /// What and where.
        source: serde_json::Error,
    },
    /// One name twice.
    #[error("the header names tensor `{tensor}` twice")]
    DuplicateName {
        /// The name.
        tensor: String,
    },
    /// An element type that the format does not have.
    #[error("tensor `{tensor}` has the unknown type `{found}`")]
    UnknownElementType {
        /// The tensor.
        tensor: String,
        /// As it stands in the header.
        found: String,
    },
    /// A shape whose bytes cannot be counted.
    #[error("tensor `{tensor}` of type {element_type} and shape {shape:?} is no whole, countable number of bytes")]
    ImpossibleShape {
        /// The tensor.
        tensor: String,
        /// Its type.
        element_type: ElementType,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// Shape and byte range disagree.
    #[error(
        "tensor `{tensor}` of type {element_type} and shape {shape:?} needs {needed_bytes} bytes, \
             but {found_bytes} are given"
    )]
    SizeMismatch {
        /// The tensor.
        tensor: String,
        /// Its type.
        element_type: ElementType,
        /// Its shape.
        shape: Vec<usize>,
        /// By type and shape.
        needed_bytes: u64,
        /// By its range or its view.
        found_bytes: u64,
    },
    /// A range that ends before it begins.
    #[error("tensor `{tensor}` covers bytes {begin} to {end}, which is backwards")]
    BackwardRange {
        /// The tensor.
        tensor: String,
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
    },
    /// A range beyond the file's end.
    #[error("tensor `{tensor}` covers bytes {begin} to {end} of the data, but the file has {data_bytes}")]
    OutOfBounds {
        /// The tensor.
        tensor: String,
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
        /// Bytes after the header.
        data_bytes: u64,
    },
    /// Two tensors share bytes.
    #[error(
        "tensors `{first}` and `{second}` overlap: one ends at byte {first_end}, the other begins at {second_begin}"
    )]
    Overlap {
        /// The one that begins earlier.
        first: String,
        /// After its last byte.
        first_end: u64,
        /// The other.
        second: String,
        /// Its first byte.
        second_begin: u64,
    },
    /// Bytes that no tensor claims.
    #[error("bytes {begin} to {end} of the data belong to no tensor; the format allows no holes")]
    Hole {
        /// First byte.
        begin: u64,
        /// After the last byte.
        end: u64,
    },
    /// More tensors than we read.
    #[error("the header names more than {limit} tensors")]
    TooManyTensors {
        /// How many we read.
        limit: usize,
    },
    /// When writing: a name that the format keeps for itself, or one that is too long.
    #[error("a tensor cannot be named `{tensor}` in a safetensors file")]
    BadName {
        /// The name.
        tensor: String,
    },
}

impl Hint for SafetensorsError {
    fn hint(&self) -> Option<String> {
        let cut_short = Some("the file is cut short or damaged; fetch or copy it again".to_owned());
        match &*self.problem {
            Problem::HeaderBeyondEnd { looks_like: Some(kind), .. }
            | Problem::HeaderTooLarge { looks_like: Some(kind), .. } => Some(kind.hint().into()),
            Problem::TooShort { .. } | Problem::HeaderBeyondEnd { .. } | Problem::OutOfBounds { .. } => cut_short,
            Problem::HeaderTooLarge { .. } | Problem::HeaderNotText { .. } | Problem::HeaderJson { .. } => {
                Some("it is not a safetensors file, or it is damaged; fetch or copy it again".into())
            }
            Problem::Overlap { .. }
            | Problem::Hole { .. }
            | Problem::DuplicateName { .. }
            | Problem::ImpossibleShape { .. }
            | Problem::SizeMismatch { .. }
            | Problem::BackwardRange { .. }
            | Problem::TooManyTensors { .. } => {
                Some("no writer of the format makes this; do not trust the file".into())
            }
            Problem::UnknownElementType { .. } => {
                let known = ElementType::all().filter(|known| !known.is_quantized()).map(ElementType::name);
                Some(format!("known: {}", known.collect::<Vec<_>>().join(", ")))
            }
            Problem::BadName { .. } => None,
        }
    }
}
