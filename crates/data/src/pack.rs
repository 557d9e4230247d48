//! Text to token shards.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest, Sha256};
use tsumugi_base::FileError;
use tsumugi_base::io::{AtomicFolder, create_folder, write_atomic};
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::run_record::sha256;
use tsumugi_tokenizer::{TokenId, Tokenizer};

use crate::hashed_file::HashedFile;
use crate::shards::{DOCUMENTS_FILE, FORMAT, INDEX_FILE, Index, TOKENS_FILE, read_index};
use crate::{DataError, TokenShards};

/// Text that is encoded before its tokens are written: bounds the memory.
const ENCODE_TEXT_BYTES: usize = 64 << 20;
/// Text that one thread encodes at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Line ends that are tried for a cut; a text without one stays whole.
const BORDERS_TRIED: usize = 64;
/// Text on both sides of a cut that is encoded to see whether the cut changes an id.
const NEIGHBOURHOOD_BYTES: usize = 256;

/// Encodes `documents` on all threads, each beginning with what the tokenizer puts before a text (BOS), and writes
/// them into `folder`, which appears only when it is whole. If the folder already holds these documents under this
/// tokenizer, it is opened and nothing is done; if it holds others, that is an error.
pub fn pack_text<T: AsRef<str> + Sync>(
    documents: &[T],
    tokenizer: &Tokenizer,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<TokenShards, DataError> {
    let text_bytes: u64 = documents.iter().map(|document| document.as_ref().len() as u64).sum();
    if text_bytes == 0 {
        return Err(DataError::Empty { what: "training text" });
    }
    let text_sha256 = documents_sha256(documents);
    let tokenizer_sha256 = sha256(tokenizer.to_json().as_bytes());
    if folder.join(INDEX_FILE).exists() {
        let index = read_index(folder)?;
        let other = |what| DataError::OtherShards { path: folder.to_owned(), what };
        return match () {
            () if index.text_sha256 != text_sha256 => Err(other("text")),
            () if index.tokenizer_sha256 != tokenizer_sha256 => Err(other("tokenizer")),
            () => TokenShards::open_indexed(folder, &index),
        };
    }
    let mut writer = ShardsWriter::create(folder, tokenizer)?;
    write_documents(documents, tokenizer, &mut writer, observer)?;
    let index = writer.finish(text_bytes, text_sha256, tokenizer_sha256)?;
    TokenShards::open_indexed(folder, &index)
}

/// Writes token shards; the folder appears only when it is whole.
#[derive(Debug)]
pub(crate) struct ShardsWriter {
    partial: AtomicFolder,
    file: HashedFile,
    token_bytes: usize,
    vocabulary_size: usize,
    tokens: u64,
    starts: Vec<u64>,
}

impl ShardsWriter {
    pub fn create(folder: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        if let Some(parent) = folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create_folder(parent)?;
        }
        let partial = AtomicFolder::create(folder)?;
        let file = HashedFile::create(&partial.partial_path().join(TOKENS_FILE))?;
        let vocabulary_size = tokenizer.vocabulary_size();
        let token_bytes = token_bytes(tokenizer);
        let (tokens, starts) = (0, Vec::new());
        Ok(Self { partial, file, token_bytes, vocabulary_size, tokens, starts })
    }

    /// The next token begins a document.
    pub fn begin_document(&mut self) {
        self.starts.push(self.tokens);
    }

    /// Appends tokens as they lie in a file ([`token_bytes`] each, little-endian).
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.tokens += (bytes.len() / self.token_bytes) as u64;
        let written = self.file.write_all(bytes);
        Ok(written.map_err(|source| FileError::write(self.file.path(), source))?)
    }

    /// Appends tokens that were written elsewhere with the starts of their documents, counted from the first of them.
    pub fn append(&mut self, tokens: &mut impl Read, starts: &[u64]) -> Result<(), DataError> {
        self.starts.extend(starts.iter().map(|start| self.tokens + start));
        let copied = std::io::copy(tokens, &mut self.file);
        self.tokens += copied.map_err(|source| FileError::write(self.file.path(), source))? / self.token_bytes as u64;
        Ok(())
    }

    /// Puts the folder into its place; gives what its index says.
    pub fn finish(self, text_bytes: u64, text_sha256: String, tokenizer_sha256: String) -> Result<Index, DataError> {
        let file = |name| self.partial.partial_path().join(name);
        let (tokens_sha256, _) = self.file.commit()?;
        let start_bytes: Vec<u8> = self.starts.iter().flat_map(|start| start.to_le_bytes()).collect();
        write_atomic(&file(DOCUMENTS_FILE), &start_bytes)?;
        let index = Index {
            format: FORMAT.into(),
            token_bytes: self.token_bytes,
            tokens: self.tokens,
            documents: self.starts.len() as u64,
            vocabulary_size: self.vocabulary_size,
            text_bytes,
            text_sha256,
            tokenizer_sha256,
            tokens_sha256,
            documents_sha256: sha256(&start_bytes),
        };
        let text = serde_json::to_string_pretty(&index).expect("numbers and strings are JSON");
        write_atomic(&file(INDEX_FILE), format!("{text}\n").as_bytes())?;
        self.partial.commit()?;
        Ok(index)
    }
}

/// Bytes of a token on the disk: 2 for vocabularies up to 65,536, else 4.
pub(crate) fn token_bytes(tokenizer: &Tokenizer) -> usize {
    if tokenizer.vocabulary_size() <= 1 << 16 { 2 } else { 4 }
}

/// Tokens as they lie in a file.
fn bytes_of(ids: &[TokenId], token_bytes: usize) -> Vec<u8> {
    match token_bytes {
        2 => ids.iter().flat_map(|&id| (id as u16).to_le_bytes()).collect(),
        _ => ids.iter().flat_map(|&id| id.to_le_bytes()).collect(),
    }
}

/// The tokens of one document as they lie in a file, with what the tokenizer puts before a text.
pub(crate) fn encode_document(text: &str, tokenizer: &Tokenizer) -> Vec<u8> {
    let token_bytes = token_bytes(tokenizer);
    let mut bytes = bytes_of(tokenizer.prefix(), token_bytes);
    for (_, piece) in pieces(&[text], tokenizer) {
        bytes.extend(bytes_of(&tokenizer.encode(piece), token_bytes));
    }
    bytes
}

/// Encodes and writes all documents.
fn write_documents<T: AsRef<str> + Sync>(
    documents: &[T],
    tokenizer: &Tokenizer,
    writer: &mut ShardsWriter,
    observer: &dyn Observer,
) -> Result<(), DataError> {
    let total: u64 = documents.iter().map(|document| document.as_ref().len() as u64).sum();
    let mut meter = Meter::new("encode", 0, total, "bytes");
    let (mut rest, mut done) = (documents, 0);
    while !rest.is_empty() {
        let (some, remainder) = rest.split_at(take_text(rest));
        rest = remainder;
        for (begins, ids) in encode_all(&pieces(some, tokenizer), tokenizer) {
            if begins {
                writer.begin_document();
            }
            writer.push(&bytes_of(&ids, writer.token_bytes))?;
        }
        done += some.iter().map(|document| document.as_ref().len() as u64).sum::<u64>();
        observer.event(&meter.step(done, Vec::new()));
    }
    Ok(())
}

/// How many documents make up [`ENCODE_TEXT_BYTES`]; at least one.
fn take_text<T: AsRef<str>>(documents: &[T]) -> usize {
    let mut bytes = 0;
    let within = documents.iter().take_while(|document| {
        bytes += document.as_ref().len();
        bytes <= ENCODE_TEXT_BYTES
    });
    within.count().max(1)
}

/// A document or a part of one, and whether it is the first part.
type Piece<'a> = (bool, &'a str);

/// Documents cut into pieces for the threads, at line ends where cutting changes no id.
fn pieces<'a, T: AsRef<str>>(documents: &'a [T], tokenizer: &Tokenizer) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for document in documents {
        let (mut rest, mut is_first) = (document.as_ref(), true);
        while rest.len() > PIECE_BYTES {
            let from = rest.floor_char_boundary(PIECE_BYTES);
            let line_ends = rest[from..].match_indices('\n').map(|(at, _)| from + at + 1).take(BORDERS_TRIED);
            let Some(border) = line_ends.into_iter().find(|&border| may_cut(rest, border, tokenizer)) else { break };
            let (piece, remainder) = rest.split_at(border);
            pieces.push((is_first, piece));
            (rest, is_first) = (remainder, false);
        }
        pieces.push((is_first, rest));
    }
    pieces
}

/// Whether a word ends before the line feed at `border` and another begins behind it, and the tokenizer gives the ids of
/// both sides for the two together (one that puts a space before every text does not).
fn may_cut(text: &str, border: usize, tokenizer: &Tokenizer) -> bool {
    let (before, after) = text.split_at(border);
    let before = &before[before.floor_char_boundary(border.saturating_sub(NEIGHBOURHOOD_BYTES))..];
    let after = &after[..after.floor_char_boundary(NEIGHBOURHOOD_BYTES)];
    let ends_a_word = before.trim_end_matches('\n').len() + 1 == before.len()
        && !before.trim_end_matches('\n').ends_with(char::is_whitespace);
    let ids = |text: &str| tokenizer.encode(text);
    ends_a_word
        && after.starts_with(char::is_alphanumeric)
        && ids(&[before, after].concat()) == [ids(before), ids(after)].concat()
}

/// The ids of each piece, in order, encoded on all threads; what a text begins with comes before a first one.
fn encode_all(documents: &[Piece<'_>], tokenizer: &Tokenizer) -> Vec<(bool, Vec<TokenId>)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(documents.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(is_first, text)) = documents.get(index) else { return done };
            let mut ids = if is_first { tokenizer.prefix().to_vec() } else { Vec::new() };
            ids.extend(tokenizer.encode(text));
            done.push((index, ids));
        }
    };
    let mut all: Vec<(usize, Vec<TokenId>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("encoding does not panic")).collect()
    });
    all.sort_unstable_by_key(|&(index, _)| index);
    all.into_iter().map(|(index, ids)| (documents[index].0, ids)).collect()
}

/// The hash of the documents' own hashes, so that the borders count.
fn documents_sha256<T: AsRef<str>>(documents: &[T]) -> String {
    let mut hash = DocumentsHash::default();
    documents.iter().for_each(|document| hash.push(&sha256(document.as_ref().as_bytes())));
    hash.finish()
}

/// Makes that hash of one document's after another.
#[derive(Debug, Default)]
pub(crate) struct DocumentsHash {
    hash: Sha256,
    is_begun: bool,
}

impl DocumentsHash {
    /// The hash of the next document, in hexadecimal digits.
    pub fn push(&mut self, sha256: &str) {
        if self.is_begun {
            self.hash.update(b"\n");
        }
        self.is_begun = true;
        self.hash.update(sha256.as_bytes());
    }

    pub fn finish(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
