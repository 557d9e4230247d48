//! What earlier scans found, so that a store is scanned again at the cost of asking the system for its files.
//!
//! A report is believed while the file is the same by everything that the system says of it: device, number, size, and both
//! times to the nanosecond. The time of the last change (`ctime`) is set by the system and cannot be set back, as the other can;
//! but a program that keeps the file mapped may write to it without a new time. The rules and limits must be the same, too: their hash is in the first line. So is that of all other
//! lines; where it does not fit, nothing is believed. It is no signature: who may write the file may write what he likes, so it
//! lies where only the scanner writes.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{read_limited, write_atomic};
use tsumugi_base::run_record::sha256;
use tsumugi_base::{FileAction, FileError};

use crate::context::Limits;
use crate::finding::{FileReport, Finding, Severity};
use crate::{formats, rules};

/// Largest cache that is read.
const BYTES_MAX: u64 = 1 << 30;

/// A file that changed so shortly before it was scanned may change again within the grain of the system's clock.
const QUIET: Duration = Duration::from_secs(1);

/// Everything by which a file that changed can be told from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    device: u64,
    number: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// None where the system does not say enough.
    #[cfg(unix)]
    pub fn of(about: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Some(Self {
            device: about.dev(),
            number: about.ino(),
            bytes: about.len(),
            modified_ns: nanoseconds(about.mtime(), about.mtime_nsec()),
            changed_ns: nanoseconds(about.ctime(), about.ctime_nsec()),
        })
    }

    /// None where the system does not say enough.
    #[cfg(not(unix))]
    pub fn of(_about: &Metadata) -> Option<Self> {
        None
    }

    /// Whether the last change is so long ago that another one would show.
    fn is_quiet(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        self.changed_ns + QUIET.as_nanos() as i128 <= now
    }
}

/// The reports of earlier scans, by path.
#[derive(Debug)]
pub struct Cache {
    file: PathBuf,
    rules: String,
    entries: BTreeMap<PathBuf, Entry>,
    is_changed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    rules: String,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    stamp: Stamp,
    formats: Vec<String>,
    unread: Option<String>,
    findings: Vec<Found>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    rule: String,
    severity: Severity,
    message: String,
    member: String,
    offset: Option<u64>,
    subject: String,
}

impl Cache {
    /// Reads the cache in `file`; an empty one where there is none, where rules or limits were others, or where it is damaged
    /// (then with a warning). An error where there is something else, which must not be written over.
    pub fn read(file: &Path, limits: &Limits) -> Result<(Self, Option<String>), FileError> {
        let rules = sha256(format!("{} {limits:?}", env!("TSUMUGI_SCAN_RULES")).as_bytes());
        let (entries, warning) = match entries(&bytes(file)?, &rules) {
            Ok(entries) => (entries, None),
            Err(why) => (BTreeMap::new(), Some(format!("{}: {why}; every file is scanned again", file.display()))),
        };
        Ok((Self { file: file.to_owned(), rules, entries, is_changed: false }, warning))
    }

    /// What is known of the file at `path` if it has this stamp.
    pub fn report(&self, path: &Path, stamp: &Stamp) -> Option<FileReport> {
        let entry = self.entries.get(&std::path::absolute(path).ok()?).filter(|entry| entry.stamp == *stamp)?;
        Some(FileReport { path: path.to_owned(), bytes: stamp.bytes, ..entry.report()? })
    }

    /// Keeps a report, if the file had the same stamp before and after it was scanned and has been quiet.
    pub fn keep(&mut self, report: &FileReport, stamp: Stamp, now: SystemTime) {
        let Ok(path) = std::path::absolute(&report.path) else { return };
        if stamp.is_quiet(now) && path.to_str().is_some() {
            self.entries.insert(path.clone(), Entry::of(path, stamp, report));
            self.is_changed = true;
        }
    }

    /// Writes what changed, without files that are gone.
    pub fn write(&mut self) -> Result<(), FileError> {
        if !self.is_changed {
            return Ok(());
        }
        self.entries.retain(|path, _| path.exists());
        let lines: Vec<String> = self.entries.values().filter_map(|entry| serde_json::to_string(entry).ok()).collect();
        let body = lines.join("\n");
        let head = Head { rules: self.rules.clone(), sha256: sha256(body.as_bytes()) };
        let head = serde_json::to_string(&head).unwrap_or_default();
        write_atomic(&self.file, format!("{head}\n{body}").as_bytes())?;
        self.is_changed = false;
        Ok(())
    }
}

/// The bytes of a cache file; none where there is no file or an empty one. An error if its first line is not ours.
fn bytes(file: &Path) -> Result<Vec<u8>, FileError> {
    let refused = |why: &str| FileError::new(FileAction::Write, file, io::Error::other(why));
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::read(file, error)),
        Ok(about) if !about.is_file() => return Err(refused("it is no plain file, so no cache of scans")),
        Ok(_) => {}
    }
    let bytes = read_limited(file, BYTES_MAX).map_err(|error| refused(&error.to_string()))?;
    if bytes.is_empty() || head(&bytes).is_some() {
        return Ok(bytes);
    }
    Err(refused("it is there already and is no cache of scans"))
}

/// The first line, if it is one of ours, and what follows it.
fn head(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let at = bytes.iter().position(|&byte| byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..at]).ok()?;
    let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hash(&head.rules) && is_hash(&head.sha256)).then_some((head, &bytes[at + 1..]))
}

/// The entries of a cache that fit each other and `rules`; else what is wrong.
fn entries(bytes: &[u8], rules: &str) -> Result<BTreeMap<PathBuf, Entry>, String> {
    let damaged = || "the cache is damaged".to_owned();
    let Some((head, body)) = head(bytes) else { return Ok(BTreeMap::new()) };
    if head.sha256 != sha256(body) {
        return Err(damaged());
    }
    if head.rules != rules {
        return Ok(BTreeMap::new());
    }
    let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let entry = |line| serde_json::from_slice::<Entry>(line).map(|entry| (entry.path.clone(), entry));
    lines.map(entry).collect::<Result<_, _>>().map_err(|_| damaged())
}

impl Entry {
    fn of(path: PathBuf, stamp: Stamp, report: &FileReport) -> Self {
        let found = |finding: &Finding| {
            let Finding { rule, severity, message, member, offset, subject } = finding.clone();
            Found { rule: rule.id.into(), severity, message, member, offset, subject }
        };
        Self {
            path,
            stamp,
            formats: report.formats.iter().map(|&name| name.to_owned()).collect(),
            unread: report.unread.clone(),
            findings: report.findings.iter().map(found).collect(),
        }
    }

    /// None if it names what this program does not know.
    fn report(&self) -> Option<FileReport> {
        let format = |name: &String| formats::ALL.iter().map(|format| format.name()).find(|known| known == name);
        let finding = |found: &Found| {
            Some(Finding {
                rule: rules::find(&found.rule)?,
                severity: found.severity,
                message: found.message.clone(),
                member: found.member.clone(),
                offset: found.offset,
                subject: found.subject.clone(),
            })
        };
        Some(FileReport {
            formats: self.formats.iter().map(format).collect::<Option<_>>()?,
            findings: self.findings.iter().map(finding).collect::<Option<_>>()?,
            unread: self.unread.clone(),
            ..FileReport::default()
        })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::scanner::scan_bytes;
    use tsumugi_base::testing::temporary_folder;

    const LATER: Duration = Duration::from_secs(60);

    #[test]
    fn a_report_comes_back_until_the_file_or_the_limits_change() {
        let folder = temporary_folder();
        let (file, model) = (folder.path().join("cache"), folder.path().join("a.pkl"));
        let evil = b"cos\nsystem\n(S'ls'\ntR.";
        fs::write(&model, evil).expect("it is written");
        let limits = Limits::default();
        let report = FileReport { path: model.clone(), ..scan_bytes(evil, "a.pkl", &limits) };
        let stamp = Stamp::of(&fs::metadata(&model).expect("it is there")).expect("Unix says it");

        let (mut cache, warning) = Cache::read(&file, &limits).expect("it is ours");
        assert_eq!((warning, cache.report(&model, &stamp)), (None, None));
        cache.keep(&report, stamp, SystemTime::now());
        assert_eq!(cache.report(&model, &stamp), None, "it may change within the grain of the clock");
        cache.keep(&report, stamp, SystemTime::now() + LATER);
        cache.write().expect("it is written");

        let (cache, warning) = Cache::read(&file, &limits).expect("it is ours");
        assert_eq!((warning, cache.report(&model, &stamp)), (None, Some(report)));
        for other in [
            Stamp { device: stamp.device + 1, ..stamp },
            Stamp { number: stamp.number + 1, ..stamp },
            Stamp { bytes: stamp.bytes + 1, ..stamp },
            Stamp { modified_ns: stamp.modified_ns + 1, ..stamp },
            Stamp { changed_ns: stamp.changed_ns + 1, ..stamp },
        ] {
            assert_eq!(cache.report(&model, &other), None, "{other:?}");
        }
        let (cache, warning) = Cache::read(&file, &Limits { opcodes: 7, ..limits }).expect("it is ours");
        assert_eq!((warning, cache.report(&model, &stamp)), (None, None));
    }

    #[test]
    fn a_damaged_cache_is_not_believed() {
        let folder = temporary_folder();
        let (file, model) = (folder.path().join("cache"), folder.path().join("a.pkl"));
        fs::write(&model, b"N.").expect("it is written");
        let stamp = Stamp::of(&fs::metadata(&model).expect("it is there")).expect("Unix says it");
        let limits = Limits::default();
        let (mut cache, _) = Cache::read(&file, &limits).expect("it is ours");
        cache.keep(&FileReport { path: model.clone(), ..FileReport::default() }, stamp, SystemTime::now() + LATER);
        cache.write().expect("it is written");
        let whole = fs::read(&file).expect("it is there");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            for damaged in [&bytes[..], &whole[..at]] {
                fs::write(&file, damaged).expect("it is written");
                if let Ok((cache, _)) = Cache::read(&file, &limits) {
                    assert_eq!(cache.report(&model, &stamp), None, "byte {at}");
                }
            }
        }
    }

    #[test]
    fn another_file_is_not_taken_for_a_cache() {
        let folder = temporary_folder();
        let file = folder.path().join("notes");
        for text in ["a text", "a\nb\n", "{}\n", "{\"rules\": \"a\", \"sha256\": \"b\"}\n", "\n"] {
            fs::write(&file, text).expect("it is written");
            assert!(Cache::read(&file, &Limits::default()).is_err(), "{text}");
        }
        assert!(Cache::read(folder.path(), &Limits::default()).is_err(), "a folder");
        fs::write(&file, "").expect("it is written");
        assert!(Cache::read(&file, &Limits::default()).is_ok_and(|(_, warning)| warning.is_none()), "nothing is lost");
    }

    #[test]
    fn files_that_are_gone_are_forgotten() {
        let folder = temporary_folder();
        let (file, model) = (folder.path().join("cache"), folder.path().join("a.pkl"));
        fs::write(&model, b"N.").expect("it is written");
        let stamp = Stamp::of(&fs::metadata(&model).expect("it is there")).expect("Unix says it");
        let (mut cache, _) = Cache::read(&file, &Limits::default()).expect("it is ours");
        cache.keep(&FileReport { path: model.clone(), ..FileReport::default() }, stamp, SystemTime::now() + LATER);
        fs::remove_file(&model).expect("it is there");
        cache.write().expect("it is written");
        assert_eq!(fs::read_to_string(&file).expect("it is there").lines().count(), 1);
    }
}
