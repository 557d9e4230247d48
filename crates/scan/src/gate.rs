//! The gate before loading: a model is let through if a scan of its open files finds nothing that fails.

use std::path::Path;

use tsumugi_files::{Gate, OpenFolder, Refusal};

use crate::context::{Limits, Reach};
use crate::finding::{FileReport, Finding, Severity};
use crate::rules::{self, Rule};
use crate::scanner::scan_bytes;

/// Damage that the readers of this product find themselves, and tell more exactly than the scanner: they check every size
/// before they believe it. To load such a file is no harm, but it does not work.
const LEFT_TO_READERS: &[&Rule] = &[&rules::BROKEN_FILE, &rules::UNKNOWN_FORMAT];

/// Lets through what has no finding of medium severity or worse. It looks through the handles that the loader will read from,
/// at headers, programs and the beginnings of tensors, so that it costs little beside loading.
#[derive(Debug, Clone, Copy)]
pub struct ScanGate {
    /// How to load it all the same, for the hint: `--allow-unsafe`.
    pub way_out: &'static str,
}

impl ScanGate {
    /// Judges one file that is in memory and that the loader will read from there.
    pub fn check_bytes(&self, bytes: &[u8], path: &Path) -> Result<(), Refusal> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let limits = Limits { reach: Reach::Load, ..Limits::default() };
        let report = FileReport { path: path.to_owned(), ..scan_bytes(bytes, &name, &limits) };
        // The worst comes first.
        match report.findings.iter().find(|finding| refuses(finding)) {
            Some(finding) => Err(self.refusal(&report, finding)),
            None => Ok(()),
        }
    }

    fn refusal(&self, report: &FileReport, finding: &Finding) -> Refusal {
        let Finding { rule, severity, message, .. } = finding;
        let place = Some(finding.place()).filter(|place| !place.is_empty());
        let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
        let others = report.findings.iter().filter(|finding| refuses(finding)).count() - 1;
        let others = if others > 0 { format!(", and {others} more") } else { String::new() };
        let severity = severity.name();
        let why = rule.why.trim_end_matches('.');
        let reason = format!("{message} ({severity}: {}{place}{others}). {why}", rule.id);
        // Names come from the file, and the message goes to a terminal.
        let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
        Refusal {
            path: report.path.clone(),
            reason: reason.chars().map(shown).collect(),
            next_step: Some(format!(
                "{}; `tsumugi scan {}` shows all; `{}` loads it all the same",
                rule.fix,
                report.path.display(),
                self.way_out
            )),
        }
    }
}

fn refuses(finding: &Finding) -> bool {
    finding.severity >= Severity::Medium && !LEFT_TO_READERS.iter().any(|rule| rule.id == finding.rule.id)
}

impl Gate for ScanGate {
    fn check(&self, folder: &OpenFolder) -> Result<(), Refusal> {
        for (_, file) in folder.files() {
            let bytes = file.map().map_err(|error| Refusal {
                path: file.path().to_owned(),
                reason: format!("it cannot be looked at: {error}"),
                next_step: None,
            })?;
            self.check_bytes(&bytes, file.path())?;
        }
        Ok(())
    }
}
