//! Token ids on disk, memory-mapped: `tokens.bin` (little-endian u16, or u32 for vocabularies above 65,536),
//! `documents.bin` (little-endian u64: where each document starts), `index.json` (counts and hashes).

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::limits::CONFIG_BYTES_MAX;
use tsumugi_base::run_record::sha256;
use tsumugi_files::mmap::MappedFile;

use crate::DataError;

pub(crate) const TOKENS_FILE: &str = "tokens.bin";
pub(crate) const DOCUMENTS_FILE: &str = "documents.bin";
pub(crate) const INDEX_FILE: &str = "index.json";

/// `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    pub format: String,
    /// Bytes of a token: 2 or 4.
    pub token_bytes: usize,
    pub tokens: u64,
    pub documents: u64,
    pub vocabulary_size: usize,
    /// Bytes of the text.
    pub text_bytes: u64,
    pub text_sha256: String,
    pub tokenizer_sha256: String,
    pub tokens_sha256: String,
    pub documents_sha256: String,
}

pub(crate) const FORMAT: &str = "tsumugi token shards 1";

/// A long sequence of token ids, mapped from a folder or in memory.
#[derive(Debug)]
pub struct TokenShards {
    tokens: Storage,
    documents: Vec<u64>,
    vocabulary_size: usize,
    text_bytes: u64,
}

#[derive(Debug)]
enum Storage {
    Memory(Vec<u32>),
    Two(MappedFile),
    Four(MappedFile),
}

impl TokenShards {
    /// Tokens that are in memory; each document starts where `documents` says (the first at 0).
    ///
    /// # Panics
    /// If the starts are not ascending from 0, or an id is not below `vocabulary_size`: our own mistake.
    pub fn from_tokens(tokens: Vec<u32>, documents: Vec<u64>, vocabulary_size: usize, text_bytes: u64) -> Self {
        assert!(tokens.iter().all(|&id| (id as usize) < vocabulary_size), "ids are below {vocabulary_size}");
        assert!(starts_are_sound(&documents, tokens.len() as u64), "document starts ascend from 0");
        Self { tokens: Storage::Memory(tokens), documents, vocabulary_size, text_bytes }
    }

    /// Opens a folder that [`crate::pack_text`] wrote, and checks it: sizes, hashes, that every id is below the
    /// vocabulary's size. Reads everything once, about a second per gigabyte.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        Self::open_indexed(folder, &read_index(folder)?)
    }

    pub(crate) fn open_indexed(folder: &Path, index: &Index) -> Result<Self, DataError> {
        let tokens = checked(folder, TOKENS_FILE, index.tokens, index.token_bytes, &index.tokens_sha256)?;
        let starts = checked(folder, DOCUMENTS_FILE, index.documents, 8, &index.documents_sha256)?;
        let documents: Vec<u64> = starts.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        if !starts_are_sound(&documents, index.tokens) {
            return Err(corrupt(folder, DOCUMENTS_FILE, "the starts of documents do not ascend".into()));
        }
        let storage = if index.token_bytes == 2 { Storage::Two(tokens) } else { Storage::Four(tokens) };
        let shards =
            Self { tokens: storage, documents, vocabulary_size: index.vocabulary_size, text_bytes: index.text_bytes };
        let largest = shards.largest_id();
        if largest.is_some_and(|id| id as usize >= index.vocabulary_size) {
            let reason = format!("token id {} in a vocabulary of {}", largest.unwrap_or(0), index.vocabulary_size);
            return Err(corrupt(folder, TOKENS_FILE, reason));
        }
        Ok(shards)
    }

    /// How many tokens there are.
    pub fn len(&self) -> u64 {
        match &self.tokens {
            Storage::Memory(tokens) => tokens.len() as u64,
            Storage::Two(map) => map.len() as u64 / 2,
            Storage::Four(map) => map.len() as u64 / 4,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where each document starts, ascending.
    pub fn documents(&self) -> &[u64] {
        &self.documents
    }

    /// Every id is below this.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// Bytes of the text that the tokens were made from.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// The ids of `range`.
    ///
    /// # Panics
    /// If the range reaches beyond [`Self::len`].
    pub fn slice(&self, range: Range<u64>) -> Vec<u32> {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {} tokens", self.len());
        let (start, end) = (range.start as usize, range.end as usize);
        match &self.tokens {
            Storage::Memory(tokens) => tokens[start..end].to_vec(),
            Storage::Two(map) => {
                map[start * 2..end * 2].as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).collect()
            }
            Storage::Four(map) => {
                map[start * 4..end * 4].as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
            }
        }
    }

    fn largest_id(&self) -> Option<u32> {
        match &self.tokens {
            Storage::Memory(tokens) => tokens.iter().copied().max(),
            Storage::Two(map) => map.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes).into()).max(),
            Storage::Four(map) => map.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).max(),
        }
    }
}

pub(crate) fn read_index(folder: &Path) -> Result<Index, DataError> {
    let path = folder.join(INDEX_FILE);
    let text = read_to_string_limited(&path, CONFIG_BYTES_MAX)?;
    let index: Index = serde_json::from_str(&text).map_err(|error| corrupt(folder, INDEX_FILE, error.to_string()))?;
    if index.format != FORMAT {
        return Err(corrupt(folder, INDEX_FILE, format!("its format is `{}`, not `{FORMAT}`", index.format)));
    }
    if ![2, 4].contains(&index.token_bytes) {
        return Err(corrupt(folder, INDEX_FILE, format!("tokens of {} bytes", index.token_bytes)));
    }
    Ok(index)
}

fn checked(folder: &Path, name: &str, count: u64, width: usize, expected: &str) -> Result<MappedFile, DataError> {
    let map = MappedFile::open(&folder.join(name))?;
    let bytes = count.checked_mul(width as u64);
    if bytes != Some(map.len() as u64) {
        let reason = format!("it has {} bytes, but index.json says {count} entries of {width}", map.len());
        return Err(corrupt(folder, name, reason));
    }
    let found = sha256(&map);
    if found != expected {
        return Err(corrupt(folder, name, format!("its SHA-256 is {found}, but index.json says {expected}")));
    }
    Ok(map)
}

fn corrupt(folder: &Path, name: &str, reason: String) -> DataError {
    DataError::Corrupt { path: folder.join(name), reason }
}

fn starts_are_sound(starts: &[u64], tokens: u64) -> bool {
    let first_is_zero = starts.first().is_none_or(|&first| first == 0);
    first_is_zero && starts.is_sorted() && starts.last().is_none_or(|&last| last <= tokens)
}
