//! The GGUF format, version 2 and 3: a magic number, metadata (configuration, vocabulary, chat template), a table of
//! tensors, then the bytes of the tensors at multiples of an alignment.
//!
//! Format: ggml-org/ggml, `docs/gguf.md`. The shape of a tensor stands in the file fastest axis first; here, as
//! everywhere, slowest first.

mod cursor;
mod metadata;
mod model;
mod read;
mod write;

use std::path::PathBuf;

use tsumugi_base::Hint;
use tsumugi_base::limits::{GGUF_ARRAY_DEPTH_MAX, GGUF_HEADER_BYTES_MAX};

use crate::element_type::ElementType;
use crate::looks_like::LooksLike;

pub use metadata::{Array, Metadata, Value};
pub use model::part_count;
pub(crate) use model::{GgufModel, files_of};
pub use read::{Header, parse_header, parse_outline};
pub use write::{write_gguf, write_gguf_with};

/// The first four bytes.
const MAGIC: &[u8; 4] = b"GGUF";

/// The version that we write.
const VERSION: u32 = 3;

/// The key of the alignment, and what it is where the key is not there.
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: usize = 32;

/// Most axes of a tensor: ggml's `GGML_MAX_DIMS`.
const RANK_MAX: usize = 4;

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}", file = .file.display())]
pub struct GgufError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a GGUF file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The first bytes are not `GGUF`.
    #[error("it does not begin with `GGUF`, so it is no GGUF file")]
    NotGguf {
        /// Another format, by its first bytes.
        looks_like: Option<LooksLike>,
    },
    /// Numbers with their highest byte first.
    #[error("it is a big-endian GGUF file; only little-endian ones are read")]
    BigEndian,
    /// A version that we do not read.
    #[error("it is a GGUF file of version {version}; versions 2 and 3 are read")]
    Version {
        /// As it stands in the file.
        version: u32,
    },
    /// More entries than we read.
    #[error("it has {found} {what}, and at most {limit} are read")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// By the file.
        found: u64,
        /// How many we read.
        limit: usize,
    },
    /// One field is wrong.
    #[error("{field} at byte {offset}: {fault}")]
    Field {
        /// Which one.
        field: String,
        /// Where it begins in the file.
        offset: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two tensors share bytes.
    #[error(
        "tensors `{first}` and `{second}` overlap: one ends at byte {first_end}, the other begins at {second_begin}"
    )]
    Overlap {
        /// The one that begins earlier.
        first: String,
        /// After its last byte, in the file.
        first_end: u64,
        /// The other.
        second: String,
        /// Its first byte, in the file.
        second_begin: u64,
    },
    /// A part of a model that is not what its name says.
    #[error("it says that it is part {part} of {parts}, but by its name it is part {named_part} of {named_parts}")]
    Part {
        /// `split.no`, from 1.
        part: u64,
        /// `split.count`.
        parts: u64,
        /// By the name, from 1.
        named_part: usize,
        /// By the name.
        named_parts: usize,
    },
    /// When writing: a key or a tensor that the format cannot hold.
    #[error("{field} cannot be written: {fault}")]
    Unwritable {
        /// Which one.
        field: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file ends.
    #[error("it needs {needed_bytes} bytes, but the file has {left_bytes} more")]
    Ended {
        /// Bytes of the field, at least.
        needed_bytes: u64,
        /// What there is.
        left_bytes: u64,
    },
    /// Metadata and table are longer than we read.
    #[error("metadata and tensor table exceed {GGUF_HEADER_BYTES_MAX} bytes")]
    HeaderTooLarge,
    /// Not UTF-8.
    #[error("it is not UTF-8 text")]
    NotText,
    /// No name at all.
    #[error("its name is empty")]
    Empty,
    /// A name over the limit.
    #[error("its name has {found} bytes, at most {limit} are allowed")]
    NameTooLong {
        /// By the file, or by the caller.
        found: u64,
        /// What is allowed.
        limit: usize,
    },
    /// One name twice.
    #[error("the name is there twice")]
    Duplicate,
    /// A kind of value that the format does not have.
    #[error("a value has the unknown kind {found}; kinds are 0 to 12")]
    UnknownKind {
        /// As it stands in the file.
        found: u32,
    },
    /// A truth value that is neither.
    #[error("a truth value is {found}; it must be 0 or 1")]
    NotBool {
        /// As it stands in the file.
        found: u8,
    },
    /// Arrays in arrays in arrays.
    #[error("arrays are nested deeper than {GGUF_ARRAY_DEPTH_MAX}")]
    TooDeep,
    /// An alignment that is none.
    #[error("the alignment must be a power of two, as a 32-bit unsigned number")]
    BadAlignment,
    /// More axes than the format has.
    #[error("it has {found} axes, at most {RANK_MAX} are allowed")]
    TooManyAxes {
        /// By the file, or by the caller.
        found: u64,
    },
    /// An element type that the format does not have, or that we do not know.
    #[error("it has the unknown element type {found}")]
    UnknownElementType {
        /// The number in the file, or the name of ours.
        found: String,
    },
    /// A shape whose bytes cannot be counted.
    #[error(
        "type {element_type} and shape {shape:?} are no whole, countable number of blocks \
             of {} elements", .element_type.block_elements()
    )]
    ImpossibleShape {
        /// Its type.
        element_type: ElementType,
        /// Its shape, slowest axis first.
        shape: Vec<u64>,
    },
    /// A tensor that does not begin at a multiple of the alignment.
    #[error("it begins at byte {begin} of the data, which is no multiple of the alignment {alignment}")]
    Misaligned {
        /// First byte.
        begin: u64,
        /// What the file promises.
        alignment: usize,
    },
    /// A range beyond the file's end.
    #[error("it covers {bytes} bytes from byte {begin} of the data, but the file has {data_bytes}")]
    OutOfBounds {
        /// First byte.
        begin: u64,
        /// How many.
        bytes: u64,
        /// Bytes after the table.
        data_bytes: u64,
    },
    /// When writing: other bytes than its shape says.
    #[error("type {element_type} and shape {shape:?} need {needed_bytes} bytes, but {found_bytes} are given")]
    SizeMismatch {
        /// Its type.
        element_type: ElementType,
        /// Its shape.
        shape: Vec<usize>,
        /// By type and shape.
        needed_bytes: u64,
        /// By the view, or as written.
        found_bytes: u64,
    },
}

impl Hint for GgufError {
    fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            Problem::NotGguf { looks_like: Some(kind) } => kind.hint(),
            Problem::NotGguf { looks_like: None } => "it is another file, or a damaged one; fetch or copy it again",
            Problem::BigEndian => "take the little-endian file of the same model",
            Problem::Version { version: 1 } => {
                "such files are older than August 2023; take a newer one of the same model"
            }
            Problem::Version { .. } => "it may need a newer version of this program",
            Problem::TooMany { .. } | Problem::Overlap { .. } => {
                "no writer of the format makes this; do not trust the file"
            }
            Problem::Part { .. } => "give the parts the names that they were published under",
            Problem::Field { fault: Fault::Ended { .. } | Fault::OutOfBounds { .. }, .. } => {
                "the file is cut short or damaged; fetch or copy it again"
            }
            Problem::Field { fault: Fault::UnknownElementType { .. }, .. } => {
                "take the same model in another quantization: Q4_K_M and Q8_0 are read everywhere"
            }
            Problem::Field { .. } => "the file is damaged, or no writer of the format made it; fetch or copy it again",
            Problem::Unwritable { .. } => return None,
        };
        Some(hint.into())
    }
}
