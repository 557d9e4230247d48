//! A scan in progress: what was found up to now, where we are, and what may still be spent.

use crate::bulk;
use crate::finding::{FileReport, Finding, Severity};
use crate::formats;
use crate::rules::{self, Rule};

/// How far a scan reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// What can do harm to whoever loads the file, from headers and the beginnings of tensors: for the gate, which everyone
    /// waits for.
    Load,
    /// That, and what the file should not hold: keys and tokens in texts.
    #[default]
    Headers,
    /// That, and every byte: pickles, programs, keys and tokens anywhere in the weights.
    Everything,
}

/// What one file may cost. What lies beyond is not looked at, and that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How far the scan reaches.
    pub reach: Reach,
    /// Archives in archives, pickles in texts.
    pub depth: usize,
    /// Unpacked bytes that are held in memory at once: those of a member, and of the members that it is in.
    pub member_bytes: u64,
    /// Unpacked bytes of all members together.
    pub unpacked_bytes: u64,
    /// Opcodes of one pickle.
    pub opcodes: u64,
    /// Findings that are kept.
    pub findings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reach: Reach::default(),
            depth: 8,
            member_bytes: 512 << 20,
            unpacked_bytes: 16 << 30,
            opcodes: tsumugi_base::limits::PICKLE_OPCODES_MAX,
            findings: 1000,
        }
    }
}

/// How much a piece of data is expected to be what it looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expectation {
    /// A file or a member: what looks like a format and is broken is a finding.
    File,
    /// Weights, texts, anything: by chance it may look like a pickle, and only what does harm is told.
    Payload,
}

/// A piece of data that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// The name of the file or member, without folders.
    pub name: &'a str,
    /// What it should be.
    pub expectation: Expectation,
}

/// How a text may begin that is in UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

impl Input<'_> {
    /// A text without the mark of UTF-8, which its readers pass over. In other files these bytes are what they are.
    fn without_mark(&self) -> Self {
        match self.bytes.strip_prefix(MARK) {
            Some(bytes) if self.expectation == Expectation::File && formats::is_text(bytes) => Self { bytes, ..*self },
            _ => *self,
        }
    }

    /// Whether its name ends so; without regard to case.
    pub fn has_extension(&self, extensions: &[&str]) -> bool {
        let Some((_, extension)) = self.name.rsplit_once('.') else { return false };
        extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
    }

    /// The same of what is not a pointer of Git LFS, which has the name of the file that it stands for.
    pub fn is_named(&self, extensions: &[&str]) -> bool {
        self.has_extension(extensions) && !formats::is_pointer(self.bytes)
    }
}

/// A scan in progress.
#[derive(Debug)]
pub struct Scan<'l> {
    /// What it may cost.
    pub limits: &'l Limits,
    members: Vec<String>,
    unpacked: u64,
    /// Unpacked bytes of the members that are looked at now.
    held: u64,
    report: FileReport,
}

impl<'l> Scan<'l> {
    pub(crate) fn new(limits: &'l Limits) -> Self {
        Self { limits, members: Vec::new(), unpacked: 0, held: 0, report: FileReport::default() }
    }

    pub(crate) fn into_report(mut self) -> FileReport {
        let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.member.clone(), finding.offset);
        self.report.findings.sort_by_key(key);
        self.report.findings.dedup();
        self.report
    }

    /// Tells a finding of the rule's own severity.
    pub fn find(&mut self, rule: &'static Rule, offset: Option<usize>, subject: &str, message: impl Into<String>) {
        self.find_as(rule, rule.severity, offset, subject, message);
    }

    /// Tells a finding.
    pub fn find_as(
        &mut self,
        rule: &'static Rule,
        severity: Severity,
        offset: Option<usize>,
        subject: &str,
        message: impl Into<String>,
    ) {
        let findings = &mut self.report.findings;
        if findings.len() >= self.limits.findings {
            // The first thousand say enough, but none may hide a worse one.
            match findings.iter_mut().min_by_key(|finding| finding.severity) {
                Some(least) if least.severity < severity => findings.retain(|finding| finding.severity >= severity),
                _ => return,
            }
        }
        self.report.findings.push(Finding {
            rule,
            severity,
            message: message.into(),
            member: self.members.join("!"),
            offset: offset.map(|offset| offset as u64),
            subject: subject.to_owned(),
        });
    }

    /// Notes that not everything was looked at.
    pub fn unread(&mut self, offset: Option<usize>, why: &str) {
        self.unread_as(&rules::LIMIT, offset, why);
    }

    /// Notes it as a finding of that rule.
    pub fn unread_as(&mut self, rule: &'static Rule, offset: Option<usize>, why: &str) {
        self.find(rule, offset, why, why);
        let place = self.members.join("!");
        let text = if place.is_empty() { why.to_owned() } else { format!("{place}: {why}") };
        self.report.unread.get_or_insert(text);
    }

    /// The severity of the worst finding up to now.
    pub fn worst(&self) -> Option<Severity> {
        self.report.worst()
    }

    /// Looks at a piece of data as every format that recognizes it.
    pub fn input(&mut self, input: &Input<'_>) {
        let input = &input.without_mark();
        if self.members.len() > self.limits.depth {
            return self.unread(None, "archives are nested deeper than the scanner goes");
        }
        let mut is_known = false;
        for format in formats::ALL.iter().filter(|format| format.claims(input)) {
            is_known = true;
            if !self.report.formats.contains(&format.name()) {
                self.report.formats.push(format.name());
            }
            format.scan(input, self);
        }
        if !is_known && input.expectation == Expectation::File {
            formats::unknown(input, self);
        }
        if self.members.is_empty() {
            self.bulk(input.bytes);
        }
    }

    /// Looks at every byte, if the scan reaches so far: once for a file, and once for what was unpacked of it.
    fn bulk(&mut self, bytes: &[u8]) {
        if self.limits.reach == Reach::Everything {
            bulk::look(bytes, self);
        }
    }

    /// Whether a finding of this rule and subject was told already, wherever.
    pub fn has_found(&self, rule: &Rule, subject: &str) -> bool {
        self.report.findings.iter().any(|finding| finding.rule.id == rule.id && finding.subject == subject)
    }

    /// Looks at a member.
    pub fn member(&mut self, name: &str, bytes: &[u8], expectation: Expectation) {
        self.members.push(name.to_owned());
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        self.input(&Input { bytes, name, expectation });
        self.members.pop();
    }

    /// Looks at a member that was unpacked: its bytes are nowhere in the file.
    pub fn unpacked_member(&mut self, name: &str, bytes: &[u8], expectation: Expectation) {
        self.held += bytes.len() as u64;
        self.member(name, bytes, expectation);
        self.within(name, |scan| scan.bulk(bytes));
        self.held -= bytes.len() as u64;
    }

    /// Runs `look` with findings placed in the member `name`.
    pub fn within(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        self.members.push(name.to_owned());
        look(self);
        self.members.pop();
    }

    /// Unpacks at most what may still be spent; says so where there is more. Bytes up to an error count.
    pub fn unpack(&mut self, mut packed: impl std::io::Read) -> (Vec<u8>, Option<std::io::Error>) {
        use std::io::Read as _;
        let room = self.limits.member_bytes.saturating_sub(self.held);
        let left = self.limits.unpacked_bytes.saturating_sub(self.unpacked).min(room);
        let mut bytes = Vec::new();
        let error = packed.by_ref().take(left).read_to_end(&mut bytes).err();
        self.unpacked += bytes.len() as u64;
        if error.is_none() && bytes.len() as u64 == left && packed.read(&mut [0]).is_ok_and(|more| more > 0) {
            self.unread(None, "it unpacks to more bytes than the scanner holds");
        }
        (bytes, error)
    }
}
