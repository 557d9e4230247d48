//! Parts of at least so many bytes that stand more than once in a corpus (Lee et al. 2022, arXiv 2107.06499), byte for byte,
//! in bounded memory.
//!
//! A *window* is `length` bytes of one document. Windows that are equal have the same least gram of [`GRAM_BYTES`] (a
//! minimizer: Schleimer et al. 2003, Roberts et al. 2004), so that windows with different ones need never be compared:
//! the corpus is cut into pieces of neighbouring windows with one minimizer, and these are dealt to parts by it. A suffix array
//! of each part has equal windows side by side. Of these the first of the corpus stays; what lies in others and in no
//! window that stays is repeated.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use tsumugi_base::FileError;

use super::pieces::{HASH_BYTES, hash};
use super::suffix_array::suffix_array;
use crate::clean::hash::{Fixed, mix};
use crate::corpus::CorpusError;

/// Bytes of a gram.
const GRAM_BYTES: usize = 32;
/// The least length of a window: less would have too few grams to choose from.
pub const LENGTH_MIN: usize = 2 * GRAM_BYTES;
/// Memory for each byte of a part's text: text, what begins where, suffix array, what its making takes.
const BYTES_PER_BYTE: u64 = 16;
/// What pieces of neighbouring windows take on the disk for each byte of text, as windows overlap.
const EXPANSION: u64 = 4;
/// So many files are open at once.
const PARTS_MAX: u64 = 512;

const BASE: u64 = 0x2545_f491_4f6c_dd1d;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// Stands in no text of UTF-8.
const SEPARATOR: u8 = 0xff;

/// Deals the windows of documents to parts.
#[derive(Debug)]
pub struct Partition {
    folder: PathBuf,
    length: usize,
    parts: Vec<BufWriter<File>>,
    /// Where the next document begins in the corpus.
    position: u64,
}

impl Partition {
    /// For `text_bytes` in all, of which a part may take `memory_bytes`.
    ///
    /// # Panics
    /// `length` is below [`LENGTH_MIN`].
    pub fn create(folder: &Path, length: usize, text_bytes: u64, memory_bytes: u64) -> Result<Self, FileError> {
        assert!(length >= LENGTH_MIN, "windows of {length} bytes");
        let parts = (text_bytes * EXPANSION * BYTES_PER_BYTE).div_ceil(memory_bytes.max(1)).clamp(1, PARTS_MAX);
        let part = |_| tempfile::tempfile_in(folder).map(|file| BufWriter::with_capacity(1 << 16, file));
        let parts =
            (0..parts).map(part).collect::<io::Result<_>>().map_err(|source| FileError::write(folder, source))?;
        Ok(Self { folder: folder.to_owned(), length, parts, position: 0 })
    }

    /// Takes the next document. Gives where it begins in the corpus.
    pub fn push(&mut self, text: &[u8]) -> Result<u64, FileError> {
        let begin = self.position;
        self.position += text.len() as u64;
        for piece in pieces(text, self.length) {
            let part = (mix(piece.minimizer, BASE) % self.parts.len() as u64) as usize;
            let bytes = &text[piece.starts.start..piece.starts.end + self.length - 1];
            let head = [
                begin + piece.starts.start as u64,
                piece.minimizer,
                (bytes.len() as u64) << 1 | u64::from(piece.is_tied),
            ];
            let writer = &mut self.parts[part];
            let mut written = head.iter().try_for_each(|number| writer.write_all(&number.to_le_bytes()));
            written = written.and_then(|()| writer.write_all(bytes));
            written.map_err(|source| FileError::write(&self.folder, source))?;
        }
        Ok(begin)
    }

    /// All parts.
    pub fn finish(self) -> Result<Parts, FileError> {
        let Self { folder, length, parts, .. } = self;
        let files = parts.into_iter().map(|writer| writer.into_inner().map_err(io::IntoInnerError::into_error));
        let files = files.collect::<io::Result<_>>().map_err(|source| FileError::write(&folder, source))?;
        Ok(Parts { folder, length, files })
    }
}

/// Neighbouring windows with the same minimizer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    /// The first bytes of its windows.
    starts: Range<usize>,
    minimizer: u64,
    /// Whether the minimizer stands more than once in a window: only then may windows of one piece be equal.
    is_tied: bool,
}

fn pieces(text: &[u8], length: usize) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    // Grams of the window that have no smaller one after them: hash and place.
    let mut candidates: VecDeque<(u64, usize)> = VecDeque::new();
    let mut minimizer_at = 0;
    for (place, hash) in grams(text) {
        while candidates.back().is_some_and(|&(last, _)| last > hash) {
            candidates.pop_back();
        }
        candidates.push_back((hash, place));
        let Some(start) = (place + GRAM_BYTES).checked_sub(length) else { continue };
        while candidates.front().is_some_and(|&(_, first)| first < start) {
            candidates.pop_front();
        }
        let (minimizer, first) = candidates[0];
        let is_tied = candidates.get(1).is_some_and(|&(second, _)| second == minimizer);
        match pieces.last_mut() {
            // The same gram, as long as the window holds it: text of one character is not cut at each.
            Some(piece) if piece.minimizer == minimizer && minimizer_at >= start => {
                piece.starts.end = start + 1;
                piece.is_tied |= is_tied;
            }
            _ => {
                minimizer_at =
                    candidates.iter().take_while(|(hash, _)| *hash == minimizer).last().map_or(first, |last| last.1);
                pieces.push(Piece { starts: start..start + 1, minimizer, is_tied });
            }
        }
    }
    pieces
}

/// A hash for each gram (Karp and Rabin 1987) and its place.
fn grams(text: &[u8]) -> impl Iterator<Item = (usize, u64)> + '_ {
    let first_power = (0..GRAM_BYTES).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut sum = 0u64;
    text.iter().enumerate().filter_map(move |(end, &byte)| {
        sum = sum.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1);
        if let Some(gone) = end.checked_sub(GRAM_BYTES) {
            sum = sum.wrapping_sub((u64::from(text[gone]) + 1).wrapping_mul(first_power));
        }
        (end + 1 >= GRAM_BYTES).then(|| (end + 1 - GRAM_BYTES, mix(sum ^ FACTOR, FACTOR)))
    })
}

/// Parts of a corpus; equal windows are in the same one.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    length: usize,
    files: Vec<File>,
}

/// Windows that stand more than once, side by side in the corpus: the first byte of the first, how many there are, and whether
/// they are the first of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Where it begins in the corpus.
    pub start: u64,
    /// How many windows there are, each a byte after the other.
    pub count: u64,
    /// Whether they are the first of their kind, which stay.
    pub is_first: bool,
}

impl Parts {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// The windows of a part that stand more than once, each in one mark, in ascending order.
    pub fn marks(&self, index: usize, memory_bytes: u64) -> Result<Vec<Mark>, CorpusError> {
        let failed = |source| FileError::read(&self.folder, source);
        let mut minimizers: HashMap<u64, u64, Fixed> = HashMap::default();
        self.read(index, |head, _| *minimizers.entry(head.minimizer).or_default() += 1 + u64::from(head.is_tied))
            .map_err(failed)?;
        let mut part = Part::new(self.length);
        self.read(index, |head, bytes| {
            if minimizers[&head.minimizer] > 1 {
                part.push(head.position, bytes);
            }
        })
        .map_err(failed)?;
        drop(minimizers);
        let needed_bytes = part.text.len() as u64 * BYTES_PER_BYTE;
        if needed_bytes > memory_bytes || part.text.len() >= u32::MAX as usize {
            let (what, limit_bytes) = ("a part of the text with one repeated gram", memory_bytes);
            return Err(CorpusError::StageMemory { what, needed_bytes, limit_bytes });
        }
        Ok(part.marks())
    }

    fn read(&self, index: usize, mut visit: impl FnMut(Head, &[u8])) -> io::Result<()> {
        let mut file = &self.files[index];
        file.rewind()?;
        let mut left = file.metadata()?.len();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut bytes = Vec::new();
        while left > 0 {
            let mut number = || {
                let mut bytes = [0; 8];
                reader.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
            };
            let (position, minimizer, size) = (number()?, number()?, number()?);
            left = left.checked_sub(24 + (size >> 1)).ok_or(io::ErrorKind::UnexpectedEof)?;
            bytes.resize((size >> 1) as usize, 0);
            reader.read_exact(&mut bytes)?;
            visit(Head { position, minimizer, is_tied: size & 1 == 1 }, &bytes);
        }
        Ok(())
    }
}

/// What stands before the bytes of a piece.
struct Head {
    position: u64,
    minimizer: u64,
    is_tied: bool,
}

/// What begins at a byte of a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// No window, or one that begins in another piece.
    Nothing,
    Window,
    /// A window that was left out elsewhere, because its whole piece stood before.
    Copied,
}

/// Pieces that may hold equal windows.
struct Part {
    length: usize,
    /// The pieces, a separator behind each.
    text: Vec<u8>,
    begins: Vec<Begins>,
    /// Of each piece: where it begins in the text, and in the corpus.
    places: Vec<(usize, u64)>,
    /// The pieces by their bytes.
    known: HashMap<[u8; HASH_BYTES], usize, Fixed>,
    marks: Vec<Mark>,
}

impl Part {
    fn new(length: usize) -> Self {
        let (text, begins, places, known) = (Vec::new(), Vec::new(), Vec::new(), HashMap::default());
        Self { length, text, begins, places, known, marks: Vec::new() }
    }

    /// Takes a piece; they come in the order of the corpus. One that stood before as a whole needs no place in the suffix array.
    fn push(&mut self, position: u64, bytes: &[u8]) {
        let windows = bytes.len() + 1 - self.length;
        let begin = *self.known.entry(hash(bytes)).or_insert(self.text.len());
        if begin < self.text.len() {
            self.begins[begin..begin + windows].fill(Begins::Copied);
            self.marks.push(Mark { start: position, count: windows as u64, is_first: false });
            return;
        }
        self.places.push((begin, position));
        self.text.extend_from_slice(bytes);
        self.text.push(SEPARATOR);
        self.begins.resize(begin + windows, Begins::Window);
        self.begins.resize(self.text.len(), Begins::Nothing);
    }

    fn marks(mut self) -> Vec<Mark> {
        self.known = HashMap::default();
        let mut array = suffix_array(&self.text);
        array.retain(|&place| self.begins[place as usize] != Begins::Nothing);
        let window = |place: u32| &self.text[place as usize..place as usize + self.length];
        let mut marks = std::mem::take(&mut self.marks);
        for group in array.chunk_by(|&one, &other| window(one) == window(other)) {
            if group.len() == 1 && self.begins[group[0] as usize] == Begins::Window {
                continue;
            }
            let positions = || group.iter().map(|&place| self.position(place as usize));
            let first = positions().min().expect("a group is not empty");
            marks.extend(positions().map(|start| Mark { start, count: 1, is_first: start == first }));
        }
        marks.sort_unstable_by_key(|mark| mark.start);
        let mut merged: Vec<Mark> = Vec::new();
        for mark in marks {
            match merged.last_mut() {
                Some(last) if last.start + last.count == mark.start && last.is_first == mark.is_first => {
                    last.count += mark.count
                }
                _ => merged.push(mark),
            }
        }
        merged
    }

    fn position(&self, place: usize) -> u64 {
        let (begin, position) = self.places[self.places.partition_point(|&(begin, _)| begin <= place) - 1];
        position + (place - begin) as u64
    }
}

/// What of a document is repeated, from the marks in it.
#[derive(Debug, Default)]
pub struct Repeated {
    repeats: Vec<Range<u64>>,
    firsts: Vec<Range<u64>>,
}

impl Repeated {
    /// Takes the next mark, in ascending order of their starts.
    pub fn push(&mut self, mark: Mark, length: usize) {
        let ranges = if mark.is_first { &mut self.firsts } else { &mut self.repeats };
        let range = mark.start..mark.start + mark.count + length as u64 - 1;
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range),
        }
    }

    /// Bytes of the corpus that lie in a repeated window and in none that stays; begins anew.
    pub fn take(&mut self) -> Vec<Range<u64>> {
        let (repeats, firsts) = (std::mem::take(&mut self.repeats), std::mem::take(&mut self.firsts));
        let (mut rest, mut firsts) = (Vec::new(), firsts.into_iter().peekable());
        for mut repeat in repeats {
            while let Some(first) = firsts.peek().filter(|first| first.start < repeat.end) {
                if repeat.start < first.start {
                    rest.push(repeat.start..first.start);
                }
                repeat.start = repeat.start.max(first.end).min(repeat.end);
                if first.end > repeat.end || repeat.is_empty() {
                    break;
                }
                firsts.next();
            }
            if !repeat.is_empty() {
                rest.push(repeat);
            }
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    use crate::dedup::sorter::Sorter;
    use tsumugi_base::rng::{Key, Stream};

    /// The reference: every window compared with all before it. Gives the repeated bytes of each document.
    fn repeated_reference(texts: &[&[u8]], length: usize) -> Vec<Vec<usize>> {
        let mut seen: HashSet<&[u8]> = HashSet::new();
        let mut all = Vec::new();
        for text in texts {
            let (mut is_repeated, mut stays) = (vec![false; text.len()], vec![false; text.len()]);
            for (start, window) in text.windows(length).enumerate() {
                // A window that never comes again stays too, but need not be protected: it lies in no repeated byte's way.
                let is_first = seen.insert(window);
                let comes_again = || count(texts, window) > 1;
                if !is_first {
                    is_repeated[start..start + length].fill(true);
                } else if comes_again() {
                    stays[start..start + length].fill(true);
                }
            }
            all.push((0..text.len()).filter(|&place| is_repeated[place] && !stays[place]).collect());
        }
        all
    }

    fn count(texts: &[&[u8]], window: &[u8]) -> usize {
        texts.iter().map(|text| text.windows(window.len()).filter(|other| *other == window).count()).sum()
    }

    /// The repeated bytes of each text, with so much memory for each part.
    fn repeated(texts: &[&[u8]], length: usize, memory_bytes: u64) -> Vec<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let text_bytes = texts.iter().map(|text| text.len() as u64).sum();
        let mut partition = Partition::create(folder.path(), length, text_bytes, memory_bytes).unwrap();
        let begins: Vec<u64> = texts.iter().map(|text| partition.push(text).unwrap()).collect();
        let parts = partition.finish().unwrap();
        let mut sorter: Sorter<3> = Sorter::new(folder.path(), 1 << 20, 1);
        for part in 0..parts.count() {
            for mark in parts.marks(part, u64::MAX).unwrap() {
                sorter.push([mark.start, mark.count, u64::from(mark.is_first)]).unwrap();
            }
        }
        let mark = |[start, count, first]: [u64; 3]| Mark { start, count, is_first: first == 1 };
        let marks: Vec<Mark> = sorter.sorted().unwrap().map(|record| mark(record.unwrap())).collect();
        let ends = begins.iter().zip(texts).map(|(begin, text)| begin + text.len() as u64);
        let of_document = |(begin, end): (u64, u64)| {
            let mut repeated = Repeated::default();
            marks
                .iter()
                .filter(|mark| (begin..end).contains(&mark.start))
                .for_each(|mark| repeated.push(*mark, length));
            repeated.take().into_iter().flatten().map(|place| (place - begin) as usize).collect()
        };
        begins.iter().copied().zip(ends).map(of_document).collect()
    }

    /// Texts with parts of one another, near the length of a window, and periodic ones.
    fn texts(seed: u64) -> Vec<Vec<u8>> {
        let mut stream = Stream::new(Key::from_seed(seed));
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for _ in 0..12 {
            let mut text = Vec::new();
            for _ in 0..stream.below(6) {
                match stream.below(4) {
                    0 => text.extend((0..stream.below(200)).map(|_| b'a' + stream.below(26) as u8)),
                    1 => text.extend((0..stream.below(300)).map(|place| b"xyz"[place as usize % 3])),
                    2 => text.extend(vec![b' '; stream.below(150) as usize]),
                    _ if !texts.is_empty() => {
                        let other = &texts[stream.below(texts.len() as u64) as usize];
                        let start = stream.below(other.len() as u64 + 1) as usize;
                        let end = start + stream.below((other.len() - start) as u64 + 1) as usize;
                        text.extend_from_slice(&other[start..end]);
                    }
                    _ => {}
                }
            }
            texts.push(text);
        }
        texts
    }

    #[test]
    fn what_is_repeated_is_what_comparing_all_windows_finds() {
        for seed in 0..30 {
            let texts = texts(seed);
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let expected = repeated_reference(&texts, 64);
            assert_eq!(repeated(&texts, 64, u64::MAX), expected, "seed {seed}");
            assert_eq!(repeated(&texts, 64, 20_000), expected, "seed {seed}, in parts");
        }
        assert!(
            texts(1).iter().map(Vec::len).sum::<usize>() * 64 > 3 * 20_000,
            "the second time there are several parts"
        );
    }

    #[test]
    fn too_little_memory_for_a_part_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut partition = Partition::create(folder.path(), 64, 4000, 1 << 30).unwrap();
        partition.push(&b"abc".repeat(1000)).unwrap();
        let error = partition.finish().unwrap().marks(0, 1000).unwrap_err();
        assert!(matches!(error, CorpusError::StageMemory { limit_bytes: 1000, .. }), "{error}");
    }
}
