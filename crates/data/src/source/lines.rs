//! Lines of a file, of bounded length, with their places.

use std::io::{self, BufRead};

use super::input::{Input, is_packed};
use super::{Part, Reading, SourceFile};

/// Cuts a file that is not packed into ranges of bytes.
pub(super) fn parts(file: &SourceFile, bytes: u64) -> Vec<Part> {
    if is_packed(&file.path) || file.bytes <= bytes {
        return vec![Part::All];
    }
    let count = file.bytes.div_ceil(bytes);
    let border = |index: u64| file.bytes * index / count;
    (0..count).map(|index| Part::Bytes { from: border(index), to: border(index + 1) }).collect()
}

/// What stands next.
pub(super) enum Line<'a> {
    /// A line without its end, and the byte where it begins.
    Whole { offset: u64, bytes: &'a [u8] },
    /// A line that is longer than the limit; it was passed over.
    TooLong { offset: u64, bytes: u64 },
    /// A part that cannot be read, and with it the line that it is in.
    Broken { error: io::Error },
}

/// The lines that begin in a part of a file.
pub(super) struct Lines {
    input: Input,
    /// The byte that is read next, and the one at which no line may begin.
    offset: u64,
    end: u64,
    limit: u64,
    line: Vec<u8>,
    /// Whether what comes next is the rest of a line that was damaged.
    torn: bool,
    ended: bool,
}

impl Lines {
    pub fn open(reading: &Reading<'_>) -> io::Result<Self> {
        let path = &reading.file.path;
        let (input, offset, end) = match reading.part {
            // The line feed before it decides whether a line begins at the first byte.
            Part::Bytes { from: from @ 1.., to } => (Input::open_at(path, from - 1)?, from - 1, to),
            Part::Bytes { from: 0, to } => (Input::open(path)?, 0, to),
            _ => (Input::open(path)?, 0, u64::MAX),
        };
        let torn = offset > 0;
        let limit = reading.document_bytes_max;
        Ok(Self { input, offset, end, limit, line: Vec::new(), torn, ended: false })
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> Option<Line<'_>> {
        if self.torn && !self.ended {
            if let Err(error) = self.read_line() {
                return Some(self.broken(error));
            }
            self.torn = false;
        }
        if self.ended || self.offset >= self.end {
            return None;
        }
        let offset = self.offset;
        match self.read_line() {
            Err(error) => Some(self.broken(error)),
            Ok(0) => None,
            Ok(bytes) if bytes > self.limit => Some(Line::TooLong { offset, bytes }),
            Ok(_) => {
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                let line = if offset == 0 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
                Some(Line::Whole { offset, bytes: line.strip_suffix(b"\r").unwrap_or(line) })
            }
        }
    }

    fn broken(&mut self, error: io::Error) -> Line<'static> {
        self.ended = !self.input.goes_on(&error);
        // The next member may begin with a line, as those of most writers do: what it begins with is looked at.
        self.torn = false;
        Line::Broken { error }
    }

    /// Reads up to a line feed, and keeps the line unless it is too long. Gives its bytes; 0 at the end of the file.
    fn read_line(&mut self) -> io::Result<u64> {
        self.line.clear();
        if self.line.capacity() > SPARE_BYTES {
            self.line.shrink_to(SPARE_BYTES);
        }
        let mut bytes = 0;
        loop {
            let block = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if block.is_empty() {
                self.ended = true;
                return Ok(bytes);
            }
            let line_end = memchr::memchr(b'\n', block);
            let count = line_end.map_or(block.len(), |at| at + 1);
            bytes += count as u64;
            if bytes <= self.limit && !self.torn {
                self.line.extend_from_slice(&block[..count]);
            }
            self.input.consume(count);
            self.offset += count as u64;
            if line_end.is_some() {
                return Ok(bytes);
            }
        }
    }
}

/// What some editors begin a file with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Memory that is kept from one line to the next.
const SPARE_BYTES: usize = 1 << 20;
