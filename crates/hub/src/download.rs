//! One file from an address to a place beside its own: goes on where it was cut, and is what was promised.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tsumugi_base::io::create_folder;
use tsumugi_base::limits::DOWNLOAD_BYTES_MAX;
use tsumugi_base::progress::{Event, Meter, Observer};
use tsumugi_base::{FileAction, FileError};
use ureq::http::StatusCode;
use url::Url;

use crate::digest::{Digest, Hashes};
use crate::error::HubError;
use crate::http::{Answer, Ask, Client, HttpError, broken, host_of, shown};
use crate::settings::Secret;

/// How often a connection may break without anything new having arrived.
const BREAKS_MAX: u32 = 5;
const BUFFER_BYTES: usize = 256 << 10;
/// Between two looks at a lock that another process holds.
const LOCK_INTERVAL: Duration = Duration::from_millis(200);

/// What to fetch.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    /// For messages.
    pub(crate) name: &'a str,
    pub(crate) url: &'a Url,
    pub(crate) secret: Option<&'a Secret>,
    /// Its size, if it is known.
    pub(crate) bytes: Option<u64>,
    /// Its hash, if it is known. Without one it is resumed only if the server says that it is still the same.
    pub(crate) digest: Option<&'a Digest>,
    /// Where it lies until it is whole; the caller puts it into its place.
    pub(crate) partial: &'a Path,
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Those that came through the network this time.
    pub(crate) fetched_bytes: u64,
}

/// Tells how far several files together are.
pub(crate) struct Progress<'a> {
    stage: String,
    meter: Meter,
    done: u64,
    total: u64,
    observer: &'a dyn Observer,
}

impl<'a> Progress<'a> {
    /// `total_bytes` of all files; 0 if unknown.
    pub(crate) fn new(stage: &str, total_bytes: u64, observer: &'a dyn Observer) -> Self {
        let meter = Meter::new(stage, 0, total_bytes, "bytes");
        Self { stage: stage.to_owned(), meter, done: 0, total: total_bytes, observer }
    }

    /// So much is still to come of the file at hand: news where no total was known.
    fn expect(&mut self, left_bytes: u64) {
        let total = self.done.saturating_add(left_bytes);
        if total > self.total {
            self.total = total;
            self.meter = Meter::new(&*self.stage, self.done, total, "bytes");
        }
    }

    fn advance(&mut self, bytes: u64, name: &str) {
        self.done += bytes;
        if self.meter.is_due() {
            self.tell(name);
        }
    }

    fn tell(&mut self, name: &str) {
        let event = self.meter.step(self.done, vec![("file".into(), name.into())]);
        self.observer.event(&event);
    }

    /// What was there already does not count as speed.
    pub(crate) fn skip(&mut self, bytes: u64, name: &str) {
        self.done += bytes;
        self.tell(name);
    }

    /// What has arrived has to come again.
    fn take_back(&mut self, bytes: u64) {
        self.done = self.done.saturating_sub(bytes);
    }

    pub(crate) fn stop_if_asked(&self) -> Result<(), HubError> {
        if self.observer.stop_requested() { Err(HubError::Stopped) } else { Ok(()) }
    }
}

/// Fetches a file. A part of an earlier run is gone on with; if the whole is then not what was promised, it is fetched
/// once more from its beginning.
pub(crate) fn fetch(client: &Client, what: &Download<'_>, progress: &mut Progress<'_>) -> Result<Arrived, HubError> {
    let mut partial = Partial::open(what, progress)?;
    let was_begun = partial.bytes > 0;
    partial.complete(client, what, progress)?;
    let checked = partial.check(what);
    let arrived = match checked {
        Err(HubError::Wrong { .. }) if was_begun => {
            partial.restart(what, progress)?;
            partial.complete(client, what, progress)?;
            partial.check(what)
        }
        other => other,
    };
    if matches!(arrived, Err(HubError::Wrong { .. })) {
        let _ = fs::remove_file(what.partial); // the hash's error is the one to tell
    }
    let _ = fs::remove_file(version_path(what.partial)); // whole or wrong, nothing will be resumed
    let arrived = arrived?;
    partial.file.sync_all().map_err(|source| FileError::write(what.partial, source))?;
    progress.tell(what.name);
    Ok(arrived)
}

/// The part that is there, and its hashes so far.
struct Partial {
    file: File,
    bytes: u64,
    fetched_bytes: u64,
    hashes: Hashes,
    /// The server's name for the version that it is of (a strong `ETag`).
    version: Option<String>,
}

/// Where the version of a part without a hash is kept.
fn version_path(partial: &Path) -> PathBuf {
    partial.with_added_extension("version")
}

impl Partial {
    fn open(what: &Download<'_>, progress: &mut Progress<'_>) -> Result<Self, HubError> {
        let failed = |source| FileError::write(what.partial, source);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(what.partial);
        let file = open.map_err(failed)?;
        let there = file.metadata().map_err(failed)?.len();
        let version = fs::read_to_string(version_path(what.partial)).ok();
        let hashes = Hashes::new(what.digest, what.bytes);
        let mut partial = Self { file, bytes: 0, fetched_bytes: 0, hashes, version };
        let may_resume = what.digest.is_some() || partial.version.is_some();
        if there == 0 || !may_resume || what.bytes.is_some_and(|bytes| there > bytes) {
            partial.restart(what, progress)?;
            return Ok(partial);
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        while partial.bytes < there {
            progress.stop_if_asked()?;
            let count = partial.file.read(&mut buffer).map_err(|source| FileError::read(what.partial, source))?;
            if count == 0 {
                break;
            }
            partial.hash(&buffer[..count]);
        }
        progress.skip(partial.bytes, what.name);
        Ok(partial)
    }

    fn hash(&mut self, bytes: &[u8]) {
        self.hashes.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Begins with nothing.
    fn restart(&mut self, what: &Download<'_>, progress: &mut Progress<'_>) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| FileError::write(what.partial, source))?;
        progress.take_back(self.bytes);
        self.bytes = 0;
        self.version = None;
        self.hashes = Hashes::new(what.digest, what.bytes);
        Ok(())
    }

    /// Fetches what is missing, over as many connections as it takes.
    fn complete(&mut self, client: &Client, what: &Download<'_>, progress: &mut Progress<'_>) -> Result<(), HubError> {
        let (mut breaks, mut furthest) = (0, self.bytes);
        while what.bytes.is_none_or(|bytes| self.bytes < bytes) || self.fetched_bytes == 0 && self.bytes == 0 {
            match self.fetch_some(client, what, progress) {
                Ok(()) => return Ok(()),
                Err(HubError::Http(error)) if error.is_passing() => {
                    breaks = if self.bytes > furthest { 1 } else { breaks + 1 };
                    furthest = furthest.max(self.bytes);
                    if breaks > BREAKS_MAX {
                        return Err(error.into());
                    }
                    client.pause_before_retry(breaks, progress.observer)?;
                }
                Err(other) => return Err(other),
            }
            if what.digest.is_none() && self.version.is_none() {
                self.restart(what, progress)?;
            }
        }
        Ok(())
    }

    /// One connection, to its end.
    fn fetch_some(
        &mut self,
        client: &Client,
        what: &Download<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), HubError> {
        let if_version = self.version.clone().filter(|_| what.digest.is_none());
        let ask = Ask { from_byte: self.bytes, if_version: if_version.as_deref(), secret: what.secret, accept: None };
        let answer = match client.get(what.url, ask, progress.observer) {
            // Nothing is left from there on, or something else: the part is not of this file.
            Err(HttpError::Status { status: 416, .. }) if self.bytes > 0 => None,
            Ok(answer) if answer.status == StatusCode::PARTIAL_CONTENT && !continues(&answer, self.bytes) => None,
            other => Some(other?),
        };
        if answer.as_ref().is_none_or(|answer| answer.status == StatusCode::OK) {
            self.restart(what, progress)?;
        }
        let whole = Ask { from_byte: 0, if_version: None, ..ask };
        let answer = match answer {
            Some(answer) => answer,
            None => client.get(what.url, whole, progress.observer)?,
        };
        if self.bytes == 0 && answer.status != StatusCode::OK {
            let reason = "a part has come that was not asked for".into();
            return Err(HttpError::Broken { host: host_of(&answer.url), reason }.into());
        }
        self.keep_version(&answer, what)?;
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        let end = what.bytes.or_else(|| length.and_then(|length| self.bytes.checked_add(length)));
        let left = end.unwrap_or(0).saturating_sub(self.bytes);
        check_space(what.partial, left)?;
        progress.expect(left);
        self.receive(answer, end, what, progress)
    }

    /// Keeps the version beside the part, so that another run can go on with it.
    fn keep_version(&mut self, answer: &Answer, what: &Download<'_>) -> Result<(), HubError> {
        if what.digest.is_some() || self.bytes > 0 {
            return Ok(());
        }
        self.version = answer.header("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned);
        let path = version_path(what.partial);
        let kept = match &self.version {
            Some(version) => fs::write(&path, version),
            None => fs::remove_file(&path).or(Ok(())),
        };
        Ok(kept.map_err(|source| FileError::write(path, source))?)
    }

    fn receive(
        &mut self,
        mut answer: Answer,
        end: Option<u64>,
        what: &Download<'_>,
        progress: &mut Progress<'_>,
    ) -> Result<(), HubError> {
        let limit_bytes = end.unwrap_or(DOWNLOAD_BYTES_MAX).min(DOWNLOAD_BYTES_MAX);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            progress.stop_if_asked()?;
            let count = answer.body.read(&mut buffer).map_err(|error| broken(&answer.url, &error))?;
            if count == 0 {
                break;
            }
            if self.bytes + count as u64 > limit_bytes {
                return Err(HttpError::TooLarge { url: shown(what.url), limit_bytes }.into());
            }
            let bytes = &buffer[..count];
            self.file.write_all(bytes).map_err(|source| FileError::write(what.partial, source))?;
            self.hash(bytes);
            self.fetched_bytes += count as u64;
            progress.advance(count as u64, what.name);
        }
        match end {
            Some(end) if self.bytes < end => {
                let reason = format!("{} of {end} bytes have arrived", self.bytes);
                Err(HttpError::Broken { host: host_of(&answer.url), reason }.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether it is what was promised.
    fn check(&self, what: &Download<'_>) -> Result<Arrived, HubError> {
        if let Some(expected) = what.bytes.filter(|&bytes| bytes != self.bytes) {
            let (file, found, expected) = (what.name.to_owned(), self.bytes.to_string(), expected.to_string());
            return Err(HubError::Wrong { file, what: "size", found, expected });
        }
        let sha256 = self.hashes.check(what.name, what.digest)?;
        Ok(Arrived { bytes: self.bytes, sha256, fetched_bytes: self.fetched_bytes })
    }
}

/// Whether the file at `path` is there in this size, and has this hash.
pub(crate) fn is_what_was_promised(
    path: &Path,
    bytes: u64,
    digest: &Digest,
    progress: &Progress<'_>,
) -> Result<bool, HubError> {
    let failed = |source| FileError::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hashes, mut buffer) = (Hashes::new(Some(digest), Some(bytes)), vec![0; BUFFER_BYTES]);
    let mut read_bytes = 0;
    loop {
        progress.stop_if_asked()?;
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            return Ok(read_bytes == bytes && hashes.check("", Some(digest)).is_ok());
        }
        hashes.update(&buffer[..count]);
        read_bytes += count as u64;
    }
}

/// Whether an answer goes on at `from_byte`. A server that cannot sends the whole with status 200.
fn continues(answer: &Answer, from_byte: u64) -> bool {
    let range = answer.header("content-range").and_then(|range| range.strip_prefix("bytes "));
    let begin = range.and_then(|range| range.split_once('-')?.0.parse::<u64>().ok());
    answer.status == StatusCode::PARTIAL_CONTENT && begin == Some(from_byte)
}

/// An error if the disk below `path` has no place for `needed_bytes`. Where the system does not tell, there is no error.
pub(crate) fn check_space(path: &Path, needed_bytes: u64) -> Result<(), HubError> {
    let Some(folder) = path.ancestors().find(|above| above.is_dir()) else { return Ok(()) };
    match fs4::available_space(folder) {
        Ok(free_bytes) if free_bytes < needed_bytes => {
            Err(HubError::NoSpace { folder: folder.to_owned(), free_bytes, needed_bytes })
        }
        _ => Ok(()),
    }
}

/// Renames what is whole into its place; the folder above must exist.
pub(crate) fn put_into_place(partial: &Path, place: &Path) -> Result<(), FileError> {
    fs::rename(partial, place).map_err(|source| FileError::write(place, source))
}

/// Held by one process at a time, as long as it lives. The file stays: removing it would let two processes hold it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until no other process holds it, and says so.
    pub(crate) fn take(path: &Path, name: &str, observer: &dyn Observer) -> Result<Self, HubError> {
        if let Some(folder) = path.parent() {
            create_folder(folder)?;
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = open.map_err(|source| FileError::create(path, source))?;
        let mut has_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => {
                    return Err(FileError::new(FileAction::Create, path, source).into());
                }
            }
            if observer.stop_requested() {
                return Err(HubError::Stopped);
            }
            if !has_told {
                has_told = true;
                observer.event(&Event::Note { message: format!("another process is fetching {name}; waiting for it") });
            }
            thread::sleep(LOCK_INTERVAL);
        }
    }
}
