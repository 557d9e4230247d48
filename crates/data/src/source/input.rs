//! The bytes of a file, unpacked. What is damaged in a gzip file costs the member that it is in: reading goes on at the
//! next one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder;

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 17;

/// Whether bytes of the file are not those that readers count.
pub(super) fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gz") || ending.eq_ignore_ascii_case("zst"))
}

/// An open file.
pub(super) struct Input {
    reader: Box<dyn BufRead>,
    /// Whether there may be more behind a part that cannot be read.
    goes_on: bool,
}

impl Input {
    /// Opens a file and unpacks it, if its first bytes say that it is packed.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(BLOCK, File::open(path)?);
        let first = file.fill_buf()?;
        if first.starts_with(&GZIP) {
            let members =
                Members { next: Next::Member, file: Some(Counted { inner: file, position: 0 }), decoder: None };
            return Ok(Self { reader: Box::new(BufReader::with_capacity(BLOCK, members)), goes_on: true });
        }
        if first.starts_with(&ZSTANDARD) {
            let decoder = Decoder::with_buffer(file)?;
            return Ok(Self { reader: Box::new(BufReader::with_capacity(BLOCK, decoder)), goes_on: false });
        }
        Ok(Self { reader: Box::new(file), goes_on: false })
    }

    /// Opens a file that is not packed, at a byte of it.
    pub fn open_at(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Self { reader: Box::new(BufReader::with_capacity(BLOCK, file)), goes_on: false })
    }

    /// Whether reading may go on after this error: behind a damaged part, never where the disk does not answer.
    pub fn goes_on(&self, error: &io::Error) -> bool {
        self.goes_on && broken_at(error).is_some()
    }

    /// Reads all, but for what is beyond `bytes_max`: then none.
    pub fn read_whole(&mut self, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.reader.by_ref().take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= bytes_max).then_some(bytes))
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }
}

/// The first bytes of a gzip member (RFC 1952, section 2.3.1; deflate is the only method).
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// The first bytes of a Zstandard frame (RFC 8878, section 3.1.1).
const ZSTANDARD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A damaged part of a packed file.
#[derive(Debug)]
struct Broken {
    /// The byte of the file where it begins.
    offset: u64,
    problem: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Broken {}

/// Where the damage begins, if the error knows.
pub(super) fn broken_at(error: &io::Error) -> Option<u64> {
    Some(error.get_ref()?.downcast_ref::<Broken>()?.offset)
}

/// Counts the bytes that were taken.
struct Counted<R> {
    inner: R,
    position: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
        self.inner.consume(count);
    }
}

/// The members of a gzip file, one after another. An error stands for a damaged member; reading goes on behind it. What the
/// member gave before the damage showed was given on: its checksum is at its end, and a member may be larger than memory.
struct Members<R> {
    next: Next,
    /// None while the decoder has it.
    file: Option<Counted<R>>,
    /// The member that is read, and where it began.
    decoder: Option<(GzDecoder<Counted<R>>, u64)>,
}

/// What stands where no member is read.
enum Next {
    /// A member, or the end.
    Member,
    /// Anything, because what came before was damaged.
    Anything,
}

impl<R: BufRead> Members<R> {
    /// Begins the next member; false at the end of the file.
    fn begin(&mut self) -> io::Result<bool> {
        let mut file = self.file.take().expect("no member is read");
        let begun = match self.next {
            Next::Member => skip_padding(&mut file),
            Next::Anything => skip_to_member(&mut file),
        };
        let offset = file.position;
        match begun {
            Ok(true) => {
                self.decoder = Some((GzDecoder::new(file), offset));
                Ok(true)
            }
            Ok(false) => {
                self.file = Some(file);
                Ok(false)
            }
            Err(error) => {
                self.file = Some(file);
                Err(error)
            }
        }
    }
}

/// Passes over zeros, with which tapes and some writers fill up; false at the end.
fn skip_padding(file: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let all = zeros == bytes.len();
        file.consume(zeros);
        if !all {
            return Ok(true);
        }
    }
}

/// Passes over everything before the next bytes that may begin a member; false at the end.
fn skip_to_member<R: BufRead>(file: &mut Counted<R>) -> io::Result<bool> {
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let Some(at) = bytes.iter().position(|&byte| byte == GZIP[0]) else {
            let all = bytes.len();
            file.consume(all);
            continue;
        };
        // A head that the buffer's end cuts is passed over: it would take a second look at bytes that are gone.
        if bytes[at..].starts_with(&GZIP) {
            file.consume(at);
            return Ok(true);
        }
        file.consume(at + 1);
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.decoder.is_none() && !self.begin()? {
                return Ok(0);
            }
            let (mut decoder, offset) = self.decoder.take().expect("a member is begun");
            match decoder.read(into) {
                Ok(0) if !into.is_empty() => {
                    self.next = Next::Member;
                    self.file = Some(decoder.into_inner());
                }
                Ok(count) => {
                    self.decoder = Some((decoder, offset));
                    return Ok(count);
                }
                Err(error) => {
                    self.next = Next::Anything;
                    self.file = Some(decoder.into_inner());
                    if error.raw_os_error().is_some() {
                        return Err(error);
                    }
                    let problem = format!("a gzip member that cannot be read: {error}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, Broken { offset, problem }));
                }
            }
        }
    }
}
