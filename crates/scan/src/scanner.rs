//! Files and folders, over threads. A file that another program takes away or writes to meanwhile is a finding of its own, and
//! the others are looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use tsumugi_base::FileError;
use tsumugi_base::progress::{Meter, Observer};
use tsumugi_files::mmap::MappedFile;

use crate::cache::{Cache, Stamp};
use crate::context::{Expectation, Input, Limits, Scan};
use crate::finding::{FileReport, Report};
use crate::formats;
use crate::listing::{Listed, list};
use crate::policy::Policy;

/// Scans files, and folders with all that is in them. An error only where a path that was named is not there or is
/// neither file nor folder; what cannot be read is told in the report.
pub fn scan(paths: &[PathBuf], limits: &Limits, threads: usize, observer: &dyn Observer) -> Result<Report, FileError> {
    Scanner::new(*limits, threads).scan(paths, observer)
}

/// Scans bytes as if they were a file of that name.
pub fn scan_bytes(bytes: &[u8], name: &str, limits: &Limits) -> FileReport {
    let mut scan = Scan::new(limits);
    scan.input(&Input { bytes, name, expectation: Expectation::File });
    FileReport { path: PathBuf::from(name), bytes: bytes.len() as u64, ..scan.into_report() }
}

/// Scans with a policy, and remembers.
#[derive(Debug)]
pub struct Scanner {
    /// What a file may cost.
    pub limits: Limits,
    /// How many files are looked at at once.
    pub threads: usize,
    /// What its user decided about findings.
    pub policy: Policy,
    /// What earlier scans found.
    pub cache: Option<Cache>,
    with_weights: BTreeSet<PathBuf>,
}

impl Scanner {
    /// Without a policy and a memory.
    pub fn new(limits: Limits, threads: usize) -> Self {
        Self { limits, threads, policy: Policy::default(), cache: None, with_weights: BTreeSet::new() }
    }

    /// Scans files, and folders with all that is in them, as [`scan`] does; what was found before and cannot have changed is
    /// not looked for again.
    pub fn scan(&mut self, paths: &[PathBuf], observer: &dyn Observer) -> Result<Report, FileError> {
        let Listed { files, left_out, skipped, unread } = list(paths, &|path| self.policy.excludes(path))?;
        Ok(Report { excluded: left_out, skipped, ..self.scan_files(&files, unread, observer)? })
    }

    /// Scans again and again what is new or changed, once it is quiet: when two looks, `interval` apart, see it unchanged.
    /// `tell` gets what was found each time, and says whether to go on.
    pub fn watch(
        &mut self,
        paths: &[PathBuf],
        interval: Duration,
        observer: &dyn Observer,
        tell: &mut dyn FnMut(Report) -> bool,
    ) -> Result<(), FileError> {
        let mut known: BTreeMap<PathBuf, Seen> = BTreeMap::new();
        let mut closed: BTreeSet<PathBuf> = BTreeSet::new();
        while !observer.stop_requested() {
            let Listed { files, left_out, skipped, mut unread } = list(paths, &|path| self.policy.excludes(path))?;
            unread.retain(|(path, _)| closed.insert(path.clone()));
            let mut seen = BTreeMap::new();
            let mut quiet = Vec::new();
            for file in files {
                let Ok(about) = fs::metadata(&file) else { continue }; // it is gone again
                let now = Seen { stamp: (Stamp::of(&about), about.len(), about.modified().ok()), is_scanned: false };
                let before = known.remove(&file).filter(|before| before.stamp == now.stamp);
                if before.is_some_and(|before| !before.is_scanned) {
                    quiet.push(file.clone());
                }
                seen.insert(file, Seen { is_scanned: before.is_some(), ..now });
            }
            known = seen;
            if !quiet.is_empty() || !unread.is_empty() {
                // Weights that came later make of Python what lies beside weights.
                let folders: BTreeSet<&Path> = quiet.iter().filter_map(|file| file.parent()).collect();
                let is_beside =
                    |file: &&PathBuf| is_python(file) && file.parent().is_some_and(|at| folders.contains(at));
                let beside: Vec<PathBuf> = known.keys().filter(is_beside).cloned().collect();
                quiet.extend(beside);
                quiet.sort();
                quiet.dedup();
                let report = self.scan_files(&quiet, unread, observer)?;
                if observer.stop_requested() || !tell(Report { excluded: left_out, skipped, ..report }) {
                    return Ok(());
                }
            }
            wait(interval, observer);
        }
        Ok(())
    }

    fn scan_files(
        &mut self,
        files: &[PathBuf],
        unread: Vec<(PathBuf, String)>,
        observer: &dyn Observer,
    ) -> Result<Report, FileError> {
        let scanned = self.over_threads(files, observer);
        let now = SystemTime::now();
        let mut report = Report::default();
        for Scanned { file, stamp, is_remembered } in scanned {
            report.remembered += usize::from(is_remembered);
            if let (Some(cache), Some(stamp), false) = (&mut self.cache, stamp, is_remembered) {
                cache.keep(&file, stamp, now);
            }
            report.files.push(file);
        }
        if let Some(cache) = &mut self.cache {
            cache.write()?;
        }
        report.files.extend(unread.into_iter().map(|(path, why)| self.unread(path, &why)));
        report.files.sort_by(|a, b| a.path.cmp(&b.path));
        beside_weights(&mut report.files, &mut self.with_weights);
        report.files.iter_mut().for_each(|file| self.policy.apply(file));
        Ok(report)
    }

    fn over_threads(&self, files: &[PathBuf], observer: &dyn Observer) -> Vec<Scanned> {
        let total: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|about| about.len()).sum();
        let meter = Mutex::new(Meter::new("scan", 0, total, "bytes"));
        let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
        let scanned = Mutex::new(Vec::with_capacity(files.len()));
        let work = || {
            while let Some(path) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                if observer.stop_requested() {
                    return;
                }
                let one = self.file(path);
                let done = done.fetch_add(one.file.bytes, Ordering::Relaxed) + one.file.bytes;
                let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
                if meter.is_due() {
                    observer.event(&meter.step(done, Vec::new()));
                }
                drop(meter);
                scanned.lock().unwrap_or_else(PoisonError::into_inner).push(one);
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.threads.min(files.len()) {
                scope.spawn(work);
            }
            work();
        });
        scanned.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, path: &Path) -> Scanned {
        match self.opened(path) {
            Ok(scanned) => scanned,
            Err(error) => {
                let file = self.unread(path.to_owned(), &error.to_string());
                Scanned { file, stamp: None, is_remembered: false }
            }
        }
    }

    /// The report of what cannot be looked at.
    fn unread(&self, path: PathBuf, why: &str) -> FileReport {
        let mut scan = Scan::new(&self.limits);
        scan.unread(None, why);
        FileReport { path, ..scan.into_report() }
    }

    fn opened(&self, path: &Path) -> Result<Scanned, FileError> {
        let failed = |source| FileError::read(path, source);
        // It was a file when it was listed, minutes ago; opening a pipe would wait for its writer.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("it is no plain file any more")));
        }
        let file = File::open(path).map_err(failed)?;
        let stamp = |file: &File| Ok(Stamp::of(&file.metadata().map_err(failed)?));
        let before = stamp(&file)?;
        let known = self.cache.as_ref().zip(before).and_then(|(cache, stamp)| cache.report(path, &stamp));
        if let Some(file) = known {
            return Ok(Scanned { file, stamp: before, is_remembered: true });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let state = Written::of(&file);
        let bytes = MappedFile::of_fleeting(&file, path)?;
        let report = FileReport { path: path.to_owned(), ..self.mapped(&bytes, &name, &file, state) };
        let stamp = before.filter(|before| stamp(&file).is_ok_and(|after| after == Some(*before)));
        Ok(Scanned { file: report, stamp, is_remembered: false })
    }

    /// Looks at a mapped file. One that another program shortened or wrote to, so that it is no longer as it was `before`, was not
    /// looked at as a whole, whatever was found.
    fn mapped(&self, bytes: &MappedFile, name: &str, file: &File, before: Option<Written>) -> FileReport {
        let mut scan = Scan::new(&self.limits);
        scan.input(&Input { bytes, name, expectation: Expectation::File });
        if !bytes.is_whole() {
            scan.unread(None, "it was shortened, or its disk failed, while it was looked at");
        } else if Written::of(file) != before {
            scan.unread(None, "it was written to while it was looked at");
        }
        FileReport { bytes: bytes.len() as u64, ..scan.into_report() }
    }
}

/// What changes when somebody writes to a file; a new name or owner is no matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    bytes: u64,
    time: Option<SystemTime>,
}

impl Written {
    /// None if the system does not say.
    fn of(file: &File) -> Option<Self> {
        let about = file.metadata().ok()?;
        Some(Self { bytes: about.len(), time: about.modified().ok() })
    }
}

/// A file that was looked at.
struct Scanned {
    file: FileReport,
    /// What the system said of it, if that was the same before and after.
    stamp: Option<Stamp>,
    is_remembered: bool,
}

/// A file of a store that is watched.
#[derive(Clone, Copy)]
struct Seen {
    stamp: (Option<Stamp>, u64, Option<SystemTime>),
    is_scanned: bool,
}

/// Sleeps, but not through a wish to stop.
fn wait(interval: Duration, observer: &dyn Observer) {
    const NAP: Duration = Duration::from_millis(50);
    let mut left = interval;
    while !left.is_zero() && !observer.stop_requested() {
        thread::sleep(left.min(NAP));
        left = left.saturating_sub(NAP);
    }
}

fn is_python(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py")
}

/// Python beside weights: loaders that trust remote code import it. `with_weights` are the folders in which weights were seen.
fn beside_weights(reports: &mut [FileReport], with_weights: &mut BTreeSet<PathBuf>) {
    let weights = reports.iter().filter(|report| report.formats.iter().any(|format| formats::WEIGHTS.contains(format)));
    with_weights.extend(weights.filter_map(|report| report.path.parent().map(Path::to_owned)));
    for report in reports {
        if is_python(&report.path) && report.path.parent().is_some_and(|folder| with_weights.contains(folder)) {
            formats::tell_python(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;
    use tsumugi_base::progress::Silent;
    use tsumugi_base::testing::temporary_folder;

    /// Looks at a file of a megabyte that `change` is done to once it is mapped.
    #[cfg(unix)]
    fn looked_at(change: impl FnOnce(&File)) -> FileReport {
        tsumugi_files::mmap::tell_lost_mappings().expect("nobody else takes the signal");
        let folder = temporary_folder();
        let path = folder.path().join("a.bin");
        fs::write(&path, vec![b'a'; 1 << 20]).expect("it is written");
        let file = File::options().read(true).write(true).open(&path).expect("it is there");
        let before = Written::of(&file);
        let bytes = MappedFile::of_fleeting(&file, &path).expect("it is mapped");
        change(&file);
        let limits = Limits { reach: crate::Reach::Everything, ..Limits::default() };
        Scanner::new(limits, 1).mapped(&bytes, "a.bin", &file, before)
    }

    #[test]
    #[cfg(unix)]
    fn a_file_that_changes_meanwhile_was_not_looked_at() {
        let report = looked_at(|file| file.set_len(10).expect("it is ours"));
        assert_eq!(report.findings.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), [rules::LIMIT.id]);
        assert!(report.unread.is_some_and(|why| why.contains("shortened")));
        let report = looked_at(|file| file.set_len(2 << 20).expect("it is ours"));
        assert!(report.unread.is_some_and(|why| why.contains("written to")));
        assert_eq!(looked_at(|_| {}).unread, None);
    }

    #[test]
    fn a_file_that_is_gone_again_does_not_keep_from_the_others() {
        let folder = temporary_folder();
        let files = ["a.pkl", "b.pkl", "c.pkl"].map(|name| folder.path().join(name));
        fs::write(&files[1], b"cos\nsystem\n(S'ls'\ntR.").expect("it is written");
        fs::create_dir(&files[2]).expect("it is made");
        let report = Scanner::new(Limits::default(), 2).scan_files(&files, Vec::new(), &Silent).expect("no cache");
        let unread = |file: usize| report.files[file].unread.as_deref().unwrap_or_default();
        assert!(unread(0).contains("no such file") && unread(1).is_empty() && unread(2).contains("no plain file"));
        assert_eq!(report.files[1].worst(), Some(crate::Severity::Critical));
    }
}
