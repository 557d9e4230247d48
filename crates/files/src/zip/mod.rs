//! Zip archives as they lie in the file (PKWARE APPNOTE 6.3.10), for readers that must not be fooled.
//!
//! A zip file says most things twice: in its central directory at the end and in a header before each entry. Readers
//! believe one or the other, so that a file whose two halves disagree shows one thing to a scanner and another to a loader.
//! [`walk`] reads both, never fails, and reports every disagreement as a [`Fault`]; a strict reader refuses an archive
//! that has any. Entries are places in the file; nothing is unpacked here.

mod records;
mod walk;

use std::ops::Range;

/// The checksum of zip's entries (ISO 3309).
pub use crc32fast::hash as crc32;
pub use walk::walk;

/// The method of an entry that is stored as it is.
pub const STORED: u16 = 0;

/// An archive as it lies in the file.
#[derive(Debug, Default)]
pub struct Archive<'a> {
    /// Those of the central directory in its order, then those that only have a header of their own.
    pub entries: Vec<Entry<'a>>,
    /// What is wrong, in no particular order.
    pub faults: Vec<Fault>,
}

/// One entry. Where directory and header disagree, the directory's word stands here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name: UTF-8 in every archive of today's writers.
    pub name: &'a [u8],
    /// How it is packed.
    pub method: u16,
    /// General purpose flags: bit 0 encrypted, bit 3 sizes behind the data, bit 11 the name is UTF-8.
    pub flags: u16,
    /// Checksum of the unpacked bytes.
    pub crc32: u32,
    /// Where its own header begins.
    pub header: usize,
    /// The packed bytes in the file.
    pub packed: Range<usize>,
    /// Unpacked bytes, as said.
    pub size: u64,
    /// Whether the central directory has it. A hidden entry is one that readers of the directory never see.
    pub is_listed: bool,
    /// Whether the central directory says that it is a symbolic link; its content is the target.
    pub is_link: bool,
}

/// Something that no honest writer does, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, at byte {offset}")]
pub struct Fault {
    /// From the start of the file.
    pub offset: u64,
    /// What.
    pub kind: FaultKind,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// Nothing ends the archive; entries were found by their own headers.
    #[error("the archive has no end record")]
    NoEnd,
    /// Several end records: readers may choose another one than we did.
    #[error("the archive has another end record")]
    SecondEnd,
    /// The archive is one of several parts.
    #[error("the archive is a part of another one")]
    Split,
    /// The end record does not lead to a directory.
    #[error("the directory of the archive is not where its end record says")]
    NoDirectory,
    /// More or fewer entries than said.
    #[error("the directory holds {found} entries, but {said} are announced")]
    EntryCount {
        /// By the end record.
        said: u64,
        /// In the directory.
        found: u64,
    },
    /// More entries than we read.
    #[error("the archive has more than {limit} entries")]
    TooManyEntries {
        /// How many we read.
        limit: usize,
    },
    /// No header where the directory says.
    #[error("entry `{name}` has no header where the directory says")]
    NoHeader {
        /// In the directory.
        name: String,
    },
    /// Two names for one entry.
    #[error("entry `{name}` is called `{local}` in its own header")]
    Name {
        /// In the directory.
        name: String,
        /// In its header.
        local: String,
    },
    /// Directory and header disagree about a number.
    #[error("entry `{name}` has {field} {local} in its own header and {said} in the directory")]
    Field {
        /// In the directory.
        name: String,
        /// Which number.
        field: &'static str,
        /// In the directory.
        said: u64,
        /// In its header.
        local: u64,
    },
    /// An entry beyond the end of the file.
    #[error("entry `{name}` has {packed} packed bytes, but {left} are left")]
    BeyondEnd {
        /// Its name.
        name: String,
        /// As said.
        packed: u64,
        /// What there is.
        left: u64,
    },
    /// A stored entry has as many unpacked bytes as packed ones.
    #[error("entry `{name}` is stored, but has {packed} packed and {size} unpacked bytes")]
    StoredSize {
        /// Its name.
        name: String,
        /// As said.
        packed: u64,
        /// As said.
        size: u64,
    },
    /// Two entries share bytes.
    #[error("entry `{name}` overlaps what comes before it")]
    Overlap {
        /// The later one.
        name: String,
    },
    /// A name twice.
    #[error("entry `{name}` stands in the directory twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// An entry that the directory does not have.
    #[error("entry `{name}` is hidden: the directory does not have it")]
    Hidden {
        /// In its header.
        name: String,
    },
    /// Bytes that belong to no entry.
    #[error("{bytes} bytes belong to no entry")]
    Unclaimed {
        /// How many.
        bytes: u64,
    },
}

impl<'a> Entry<'a> {
    /// Its name as text, for messages and comparisons.
    pub fn name_text(&self) -> String {
        String::from_utf8_lossy(self.name).into_owned()
    }

    /// Its content, if it is neither packed nor encrypted.
    pub fn stored<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        (self.method == STORED && self.flags & 1 == 0).then(|| bytes.get(self.packed.clone())).flatten()
    }
}
