//! What a scan found, and where.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::Rule;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Nobody can say that it is safe.
    Medium,
    /// It reaches further than data should, or hides something.
    High,
    /// It runs what its author likes on the machine that loads it.
    Critical,
}

impl Severity {
    /// From the least to the worst.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The severity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which rule found it: why it matters and what to do stand there.
    pub rule: &'static Rule,
    /// The rule's own, or what this case deserves.
    pub severity: Severity,
    /// What was found, in one clause.
    pub message: String,
    /// Where inside of the file: members of archives from the outside in, joined by `!`. Empty for the file itself.
    pub member: String,
    /// Byte in the file or in the unpacked member.
    pub offset: Option<u64>,
    /// What stays the same when the file is written again: the name or word that was found.
    pub subject: String,
}

impl Finding {
    /// `member@0x1c`, as far as there is any.
    pub fn place(&self) -> String {
        let offset = self.offset.map(|offset| format!("@{offset:#x}")).unwrap_or_default();
        format!("{}{offset}", self.member)
    }

    fn json(&self) -> Value {
        json!({
            "rule": self.rule.id,
            "severity": self.severity.name(),
            "message": self.message,
            "member": self.member,
            "offset": self.offset,
            "why": self.rule.why,
            "fix": self.rule.fix,
            "references": self.rule.references,
        })
    }
}

/// A finding that a policy says is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppressed {
    /// What was found.
    pub finding: Finding,
    /// Why it is no reason to fail.
    pub reason: String,
    /// The last day on which that counts, `2027-03-01`.
    pub until: String,
}

impl Suppressed {
    fn json(&self) -> Value {
        let mut value = self.finding.json();
        value["reason"] = json!(self.reason);
        value["until"] = json!(self.until);
        value
    }
}

/// What a scan of one file found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// As what it was read, inner files too; each once.
    pub formats: Vec<&'static str>,
    /// The worst first, then by place.
    pub findings: Vec<Finding>,
    /// What a policy set aside.
    pub suppressed: Vec<Suppressed>,
    /// Why not all of it was looked at, if it was not.
    pub unread: Option<String>,
}

impl FileReport {
    /// The severity of its worst finding.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// Whether all of it was looked at, and nothing is as bad.
    pub fn passes(&self, threshold: Severity) -> bool {
        self.unread.is_none() && self.worst() < Some(threshold)
    }

    /// As one object.
    pub fn json(&self) -> Value {
        json!({
            "path": self.path.display().to_string(),
            "bytes": self.bytes,
            "formats": self.formats,
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "suppressed": self.suppressed.iter().map(Suppressed::json).collect::<Vec<_>>(),
            "unread": self.unread,
        })
    }
}

/// What a scan of files and folders found: every file, in the order of paths.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// One entry for each file.
    pub files: Vec<FileReport>,
    /// Files and folders that a policy excludes.
    pub excluded: usize,
    /// Files whose report was remembered from an earlier scan.
    pub remembered: usize,
    /// Pipes, sockets and devices in folders, which are not opened.
    pub skipped: usize,
}

impl Report {
    /// Every finding with its file.
    pub fn findings(&self) -> impl Iterator<Item = (&FileReport, &Finding)> {
        self.files.iter().flat_map(|file| file.findings.iter().map(move |finding| (file, finding)))
    }

    /// Whether any finding is at least as bad.
    pub fn fails(&self, threshold: Severity) -> bool {
        self.files.iter().any(|file| file.worst() >= Some(threshold))
    }

    /// Whether there was anything, all of it was looked at, and nothing is as bad.
    pub fn passes(&self, threshold: Severity) -> bool {
        !self.files.is_empty() && self.files.iter().all(|file| file.passes(threshold))
    }

    /// Files that could not be looked at as a whole, and why.
    pub fn unread(&self) -> impl Iterator<Item = (&FileReport, &str)> {
        self.files.iter().filter_map(|file| Some((file, file.unread.as_deref()?)))
    }

    /// How many findings a policy set aside.
    pub fn suppressed(&self) -> usize {
        self.files.iter().map(|file| file.suppressed.len()).sum()
    }

    /// All bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// As one object.
    pub fn json(&self, threshold: Severity) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "fail_on": threshold.name(),
            "passed": self.passes(threshold),
            "suppressed": self.suppressed(),
            "excluded": self.excluded,
            "remembered": self.remembered,
            "skipped": self.skipped,
            "files": self.files.iter().map(FileReport::json).collect::<Vec<_>>(),
        })
    }
}
