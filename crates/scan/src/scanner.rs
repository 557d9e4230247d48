//! Files and folders, over threads.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tsumugi_base::progress::{Meter, Observer};
use tsumugi_base::{FileAction, FileError};
use tsumugi_files::mmap::MappedFile;

use crate::context::{Expectation, Input, Limits, Scan};
use crate::finding::{FileReport, Report};
use crate::formats;

/// Scans files, and folders with all that is in them. An error only where a path that was named is not there; a file
/// that cannot be read is told in the report.
pub fn scan(paths: &[PathBuf], limits: &Limits, threads: usize, observer: &dyn Observer) -> Result<Report, FileError> {
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut BTreeSet::new(), &mut files)?;
    }
    files.sort();
    files.dedup();
    let total: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|about| about.len()).sum();
    let meter = Mutex::new(Meter::new("scan", 0, total, "bytes"));
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let reports = Mutex::new(Vec::with_capacity(files.len()));
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if observer.stop_requested() {
                return;
            }
            let report = scan_file(file, limits);
            let done = done.fetch_add(report.bytes, Ordering::Relaxed) + report.bytes;
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            if meter.is_due() {
                observer.event(&meter.step(done, Vec::new()));
            }
            drop(meter);
            reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by(|a, b| a.path.cmp(&b.path));
    beside_weights(&mut reports);
    Ok(Report { files: reports })
}

/// Scans bytes as if they were a file of that name.
pub fn scan_bytes(bytes: &[u8], name: &str, limits: &Limits) -> FileReport {
    let mut scan = Scan::new(limits);
    scan.input(&Input { bytes, name, expectation: Expectation::File });
    FileReport { path: PathBuf::from(name), bytes: bytes.len() as u64, ..scan.into_report() }
}

fn scan_file(path: &Path, limits: &Limits) -> FileReport {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match MappedFile::open(path) {
        Ok(bytes) => FileReport { path: path.to_owned(), ..scan_bytes(&bytes, &name, limits) },
        Err(error) => {
            let mut scan = Scan::new(limits);
            scan.unread(None, &error.to_string());
            FileReport { path: path.to_owned(), ..scan.into_report() }
        }
    }
}

/// Every plain file at or below `path`. Links are followed, but no folder is entered twice.
fn list(path: &Path, entered: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<(), FileError> {
    let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
    if about.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    if !about.is_dir() {
        return Ok(()); // a pipe or a device: opening it would wait for its writer
    }
    let failed = |source: io::Error| FileError::new(FileAction::List, path, source);
    if !entered.insert(path.canonicalize().map_err(failed)?) {
        return Ok(());
    }
    let mut inside = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        inside.push(entry.map_err(failed)?.path());
    }
    inside.sort();
    for path in inside.iter().filter(|path| !path.ends_with(".git")) {
        match list(path, entered, files) {
            // A link to nowhere inside of a folder has nothing to load.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// Python beside weights: loaders that trust remote code import it.
fn beside_weights(reports: &mut [FileReport]) {
    let with_weights: BTreeSet<PathBuf> = reports
        .iter()
        .filter(|report| report.formats.iter().any(|format| formats::WEIGHTS.contains(format)))
        .filter_map(|report| report.path.parent().map(Path::to_owned))
        .collect();
    for report in reports {
        let is_python = report.path.extension().is_some_and(|extension| extension == "py");
        if is_python && report.path.parent().is_some_and(|folder| with_weights.contains(folder)) {
            formats::tell_python(report);
        }
    }
}
