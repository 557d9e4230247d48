//! The gate before loading: a model is let through if it is signed as a policy demands, and a scan of its open files finds
//! nothing that fails.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::SystemTime;

use tsumugi_base::error_chain;
use tsumugi_base::io::{TextError, read_plain, text_from_bytes};
use tsumugi_base::progress::Silent;
use tsumugi_files::{Gate, OpenFolder, Refusal};

use crate::context::{Limits, Reach};
use crate::finding::{FileReport, Finding, Severity};
use crate::policy::{Policy, Signatures};
use crate::provenance::{HashError, SIGNATURE_BYTES_MAX, SIGNATURE_FILE, Trust, Verdict, VerifyOptions, verify_open};
use crate::rules::{self, Rule};
use crate::scanner::scan_bytes;

/// Damage that the readers of this product find themselves, and tell more exactly than the scanner: they check every size
/// before they believe it. To load such a file is no harm, but it does not work.
const LEFT_TO_READERS: &[&Rule] = &[&rules::BROKEN_FILE, &rules::UNKNOWN_FORMAT, &rules::LFS_POINTER];

/// Lets through what is signed as the policy demands, and has no finding at the level at which the policy fails: medium, unless
/// it says otherwise. It looks through the handles that the loader will read from, at headers, programs and the beginnings of
/// tensors, so that it costs little beside loading; to verify a signature it reads everything once.
#[derive(Debug, Clone, Copy)]
pub struct ScanGate<'p> {
    /// How to load it all the same, for the hint: `--allow-unsafe`. What is not signed as it must be has no such way.
    pub way_out: &'static str,
    /// What its user decided. What it excludes from scans is looked at all the same: it is about to be loaded.
    pub policy: &'p Policy,
}

impl ScanGate<'_> {
    /// Whether the open files are what somebody signed whom the policy believes.
    pub fn verify(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        let Some(signatures) = &self.policy.signatures else { return Ok(()) };
        let model = folder.only_file().map_or(folder.path(), |file| file.path());
        let refused = |reason: String, next_step: String| {
            Err(Refusal { path: model.to_owned(), reason: harmless(&reason), next_step: Some(next_step) })
        };
        let path = signature_of(folder);
        let text = match read_plain(&path, SIGNATURE_BYTES_MAX).and_then(|bytes| text_from_bytes(bytes, &path)) {
            Ok(text) => text,
            Err(TextError::File(error)) if error.kind() == io::ErrorKind::NotFound => {
                if !signatures.required {
                    return Ok(());
                }
                let (policy, path) = (signatures.policy.display(), path.display());
                let next_step = format!(
                    "get the signature from whoever published the model and lay it there; `tsumugi sign` is for models of \
                     your own; `[signatures]` in {policy} says who is believed, and with `required = false` that a \
                     model may have none"
                );
                return refused(format!("{policy} demands a signature, and there is no {path}"), next_step);
            }
            Err(error) => {
                let reason = format!("its signature cannot be read: {}", error_chain(&error));
                return refused(reason, "fetch the signature again".into());
            }
        };
        match verdict(folder, &text, signatures) {
            Ok(verdict) if verdict.is_accepted() => Ok(()),
            Ok(verdict) => {
                let others = verdict.problems.len().saturating_sub(1);
                let others = if others > 0 { format!(", and {others} more") } else { String::new() };
                let first = verdict.problems.first().map(ToString::to_string).unwrap_or_default();
                let policy = signatures.policy.display();
                let reason = format!("{first}{others} ({policy} demands what {} says)", path.display());
                let next_step =
                    format!("`tsumugi verify {} --key FILE` shows all; fetch the model again", model.display());
                refused(reason, next_step)
            }
            Err(error) => refused(format!("it cannot be verified: {error}"), "try again".into()),
        }
    }

    /// Whether a scan of the open files finds nothing that fails.
    pub fn scan(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        for (_, file) in folder.files() {
            let bytes = file.map().map_err(|error| Refusal {
                path: file.path().to_owned(),
                reason: format!("it cannot be looked at: {error}"),
                next_step: None,
            })?;
            self.scan_file(&bytes, file.path())?;
        }
        Ok(())
    }

    fn scan_file(&self, bytes: &[u8], path: &Path) -> Result<(), Refusal> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let limits = Limits { reach: Reach::Load, ..Limits::default() };
        let mut report = FileReport { path: path.to_owned(), ..scan_bytes(bytes, &name, &limits) };
        self.policy.apply(&mut report);
        // The worst comes first.
        match report.findings.iter().find(|finding| self.refuses(finding)) {
            Some(finding) => Err(self.refusal(&report, finding)),
            None => Ok(()),
        }
    }

    fn refuses(&self, finding: &Finding) -> bool {
        let threshold = self.policy.fail_on.unwrap_or(Severity::Medium);
        finding.severity >= threshold && !LEFT_TO_READERS.iter().any(|rule| rule.id == finding.rule.id)
    }

    fn refusal(&self, report: &FileReport, finding: &Finding) -> Refusal {
        let Finding { rule, severity, message, .. } = finding;
        let place = Some(finding.place()).filter(|place| !place.is_empty());
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        let others = report.findings.iter().filter(|finding| self.refuses(finding)).count() - 1;
        let others = if others > 0 { format!(", and {others} more") } else { String::new() };
        let severity = severity.name();
        let why = rule.why.trim_end_matches('.');
        let reason = format!("{message} ({severity}: {}{place}{others}). {why}", rule.id);
        Refusal {
            path: report.path.clone(),
            reason: harmless(&reason),
            next_step: Some(format!(
                "{}; `tsumugi scan {}` shows all; `{}` loads it all the same",
                rule.fix,
                report.path.display(),
                self.way_out
            )),
        }
    }
}

/// Names come from the files, and the message goes to a terminal.
fn harmless(reason: &str) -> String {
    reason.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Where the signature of open files lies: in their folder; that of one file may lie beside it.
fn signature_of(folder: &OpenFolder) -> PathBuf {
    let of_folder = folder.path().join(SIGNATURE_FILE);
    let Some(file) = folder.only_file() else { return of_folder };
    let mut beside = file.path().as_os_str().to_owned();
    beside.push(".sig");
    let beside = PathBuf::from(beside);
    if !beside.exists() && of_folder.exists() { of_folder } else { beside }
}

fn verdict(folder: &OpenFolder, text: &str, signatures: &Signatures) -> Result<Verdict, HashError> {
    let seconds = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let trust = Trust { keys: signatures.keys.clone(), roots: signatures.roots.clone(), seconds };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let options = VerifyOptions { own_name: Some(SIGNATURE_FILE.into()), threads, ..VerifyOptions::default() };
    verify_open(folder, text, &trust, &options, &Silent)
}

impl Gate for ScanGate<'_> {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        self.verify(folder)?;
        self.scan(folder)
    }
}
