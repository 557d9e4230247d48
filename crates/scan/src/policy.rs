//! A policy: which findings are known and why, how bad they are here, which paths are not looked at. A file in TOML:
//!
//! ```toml
//! fail-on = "high"
//! exclude = ["checkpoints", "**/*.optim.pt"]
//!
//! [severity]
//! secret = "critical"
//!
//! [[suppress]]
//! rule = "remote-code"
//! paths = ["phi-2/config.json"]
//! reason = "the code was read on 2026-11-02, and its revision is pinned"
//! until = 2027-03-01
//!
//! [signatures]
//! required = true
//! keys = ["trusted.pub"]
//! ```
//!
//! A path names a file, or a folder with all that is in it, at any depth; one that begins with `/` is whole. `*` and `?` stand
//! for letters of a name, `**` for any folders. Keys and roots are files, counted from the policy's folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use toml::value::Datetime;
use tsumugi_base::io::{TextError, read_plain, text_from_bytes};
use tsumugi_base::limits::{PEM_BYTES_MAX, RECIPE_BYTES_MAX};
use tsumugi_base::run_record::utc_timestamp;
use tsumugi_base::{Hint, error_chain};

use crate::finding::{FileReport, Severity, Suppressed};
use crate::path_pattern::PathPattern;
use crate::provenance::{Certificate, PublicKey, roots_from_pem};
use crate::rules::{self, LIMIT};

/// What a user decided about findings. The default decides nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    /// The least severity at which the answer is no, if the policy says so.
    pub fail_on: Option<Severity>,
    /// Who must have signed a model before it is loaded, if the policy says so.
    pub signatures: Option<Signatures>,
    excluded: Vec<PathPattern>,
    severities: BTreeMap<String, Severity>,
    suppressions: Vec<Suppression>,
}

/// Whose signatures are believed where models are loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Signatures {
    /// Whether a model without a signature is refused; if not, only one whose signature is not right.
    pub required: bool,
    /// Keys that are believed.
    pub keys: Vec<PublicKey>,
    /// Authorities that are believed.
    pub roots: Vec<Certificate>,
    /// The policy that says so.
    pub policy: PathBuf,
}

#[derive(Debug, Clone, PartialEq)]
struct Suppression {
    rule: String,
    paths: Vec<PathPattern>,
    reason: String,
    /// The last day on which it counts, `2027-03-01`.
    until: String,
}

/// What can be wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// It is not TOML, or a key or value is none of ours.
    #[error("{file}: {problem}", file = .file.display())]
    Wrong {
        /// The policy.
        file: PathBuf,
        /// Where and what.
        problem: String,
    },
}

impl Hint for PolicyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Text(error) => error.hint(),
            Self::Wrong { .. } => {
                Some("docs/scan.md shows a policy, docs/reference/scan-rules.md has every rule".into())
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Document {
    fail_on: Option<Severity>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    severity: BTreeMap<String, Severity>,
    #[serde(default)]
    suppress: Vec<SuppressTable>,
    signatures: Option<SignaturesTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignaturesTable {
    required: bool,
    #[serde(default)]
    keys: Vec<PathBuf>,
    #[serde(default)]
    roots: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuppressTable {
    rule: String,
    paths: Vec<String>,
    reason: String,
    until: Datetime,
}

impl Policy {
    /// Reads a policy file.
    pub fn read(file: &Path) -> Result<Self, PolicyError> {
        let text = text_from_bytes(read_plain(file, RECIPE_BYTES_MAX)?, file)?;
        Self::parse(&text, file).map_err(|problem| PolicyError::Wrong { file: file.to_owned(), problem })
    }

    /// The policy that the text of a file states, or what is wrong with it.
    fn parse(text: &str, file: &Path) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        for rule in document.severity.keys() {
            check_rule(rule)?;
        }
        Ok(Self {
            fail_on: document.fail_on,
            excluded: patterns(&document.exclude)?,
            signatures: document.signatures.map(|table| Signatures::of(table, file)).transpose()?,
            severities: document.severity,
            suppressions: document.suppress.into_iter().map(Suppression::of).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a path is not looked at.
    pub fn excludes(&self, path: &Path) -> bool {
        !self.excluded.is_empty() && any_matches(&self.excluded, path)
    }

    /// Changes severities, and takes away what is suppressed today.
    pub fn apply(&self, report: &mut FileReport) {
        self.apply_on(&utc_timestamp(SystemTime::now())[..10], report);
    }

    fn apply_on(&self, today: &str, report: &mut FileReport) {
        for mut finding in std::mem::take(&mut report.findings) {
            if let Some(&severity) = self.severities.get(finding.rule.id) {
                finding.severity = severity;
            }
            let of_rule = self.suppressions.iter().filter(|suppression| suppression.rule == finding.rule.id);
            let of_path: Vec<_> = of_rule.filter(|suppression| any_matches(&suppression.paths, &report.path)).collect();
            match of_path.iter().max_by_key(|suppression| &suppression.until) {
                Some(Suppression { reason, until, .. }) if until.as_str() >= today => {
                    report.suppressed.push(Suppressed { finding, reason: reason.clone(), until: until.clone() });
                    continue;
                }
                Some(Suppression { until, .. }) => {
                    finding.message.push_str(&format!(" (it was suppressed until {until})"));
                }
                None => {}
            }
            report.findings.push(finding);
        }
        report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if report.suppressed.iter().any(|suppressed| suppressed.finding.rule.id == LIMIT.id) {
            report.unread = None;
        }
    }
}

impl Signatures {
    fn of(table: SignaturesTable, policy: &Path) -> Result<Self, String> {
        let SignaturesTable { required, keys, roots } = table;
        if keys.is_empty() && roots.is_empty() {
            return Err("`[signatures]` believes nobody: give `keys` or `roots`".into());
        }
        let folder = policy.parent().unwrap_or(Path::new(""));
        let keys = keys.iter().map(|key| read_pem(&folder.join(key), PublicKey::from_pem));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let roots = roots.iter().map(|root| read_pem(&folder.join(root), roots_from_pem));
        let roots = roots.collect::<Result<Vec<_>, _>>()?.concat();
        Ok(Self { required, keys, roots, policy: policy.to_owned() })
    }
}

/// What a PEM file that a policy names holds.
fn read_pem<T, E: Error + 'static>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, E>) -> Result<T, String> {
    let bytes = read_plain(path, PEM_BYTES_MAX).map_err(|error| error_chain(&error))?;
    parse(&bytes).map_err(|error| format!("{}: {}", path.display(), error_chain(&error)))
}

impl Suppression {
    fn of(table: SuppressTable) -> Result<Self, String> {
        let SuppressTable { rule, paths, reason, until } = table;
        check_rule(&rule)?;
        if reason.trim().is_empty() {
            return Err(format!("the suppression of `{rule}` has no reason"));
        }
        if paths.is_empty() {
            return Err(format!("the suppression of `{rule}` names no paths"));
        }
        let date = until.date.filter(|_| until.time.is_none() && until.offset.is_none());
        let date = date.ok_or_else(|| format!("`until = {until}` of `{rule}` is no day, such as 2027-03-01"))?;
        Ok(Self { rule, paths: patterns(&paths)?, reason, until: date.to_string() })
    }
}

fn check_rule(id: &str) -> Result<(), String> {
    match rules::find(id) {
        Some(_) => Ok(()),
        None => Err(format!("there is no rule `{id}`")),
    }
}

fn patterns(texts: &[String]) -> Result<Vec<PathPattern>, String> {
    texts.iter().map(|text| PathPattern::parse(text)).collect()
}

fn any_matches(patterns: &[PathPattern], path: &Path) -> bool {
    let Ok(whole) = std::path::absolute(path) else { return false };
    patterns.iter().any(|pattern| pattern.covers(&whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Finding;

    fn report(path: &str, ids: &[&str]) -> FileReport {
        let finding = |id: &&str| {
            let rule = rules::find(id).expect("it is a rule");
            Finding {
                rule,
                severity: rule.severity,
                message: "it does".into(),
                member: String::new(),
                offset: None,
                subject: String::new(),
            }
        };
        FileReport { path: path.into(), findings: ids.iter().map(finding).collect(), ..FileReport::default() }
    }

    const POLICY: &str = r#"
        fail-on = "high"
        exclude = ["old", "**/*.tmp", "/whole/a"]
        [severity]
        secret = "critical"
        [[suppress]]
        rule = "remote-code"
        paths = ["phi-*/config.json", "trusted"]
        reason = "read"
        until = 2027-03-01
        [[suppress]]
        rule = "limit"
        paths = ["big.pt"]
        reason = "ours"
        until = 2027-03-01
    "#;

    #[test]
    fn what_is_suppressed_is_set_aside_until_its_day_is_over() {
        let policy = Policy::parse(POLICY, Path::new("policy.toml")).expect("it is a policy");
        assert_eq!(policy.fail_on, Some(Severity::High));
        for (path, day, left) in [
            ("a/phi-2/config.json", "2027-03-01", 0),
            ("a/phi-2/config.json", "2027-03-02", 1),
            ("a/phi-2/b/config.json", "2026-01-01", 1),
            ("trusted/b/config.json", "2026-01-01", 0),
            ("untrusted/config.json", "2026-01-01", 1),
        ] {
            let mut report = report(path, &["remote-code"]);
            policy.apply_on(day, &mut report);
            assert_eq!((report.findings.len(), report.suppressed.len()), (left, 1 - left), "{path} {day}");
            let tells = report.findings.iter().any(|finding| finding.message.contains("until 2027-03-01"));
            assert_eq!(tells, day == "2027-03-02", "{path} {day}");
        }
    }

    #[test]
    fn severities_and_what_was_not_read() {
        let policy = Policy::parse(POLICY, Path::new("policy.toml")).expect("it is a policy");
        let mut report = report("m/big.pt", &["pickle-junk", "secret", "limit"]);
        report.unread = Some("it is long".into());
        policy.apply_on("2026-01-01", &mut report);
        let found: Vec<_> = report.findings.iter().map(|finding| (finding.rule.id, finding.severity)).collect();
        assert_eq!(found, [("secret", Severity::Critical), ("pickle-junk", Severity::Low)]);
        assert_eq!(report.unread, None);
    }

    #[test]
    fn excluded_paths() {
        let policy = Policy::parse(POLICY, Path::new("policy.toml")).expect("it is a policy");
        for (path, expected) in [
            ("a/old/b.pt", true),
            ("a/older/b.pt", false),
            ("b.tmp", true),
            ("/whole/a/b", true),
            ("/x/whole/a", false),
        ] {
            assert_eq!(policy.excludes(Path::new(path)), expected, "{path}");
        }
        assert!(!Policy::default().excludes(Path::new("a")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let suppress = |rest: &str| format!("[[suppress]]\n{rest}");
        for (text, problem) in [
            ("fail_on = 'high'".into(), "unknown field `fail_on`"),
            ("fail-on = 'bad'".into(), "unknown variant `bad`"),
            ("severity = {secrets = 'low'}".into(), "there is no rule `secrets`"),
            ("exclude = ['a**b']".into(), "the path `a**b`"),
            ("exclude = ['/']".into(), "names no path"),
            (suppress("rule = 'secret'\npaths = ['a']\nreason = 'b'"), "missing field `until`"),
            (suppress("rule = 'secre'\npaths = ['a']\nreason = 'b'\nuntil = 2027-01-01"), "there is no rule `secre`"),
            (suppress("rule = 'secret'\npaths = ['a']\nreason = ' '\nuntil = 2027-01-01"), "has no reason"),
            (suppress("rule = 'secret'\npaths = []\nreason = 'b'\nuntil = 2027-01-01"), "names no paths"),
            (suppress("rule = 'secret'\npaths = ['a']\nreason = 'b'\nuntil = 10:00:00"), "is no day"),
            ("[signatures]\nkeys = ['a.pub']".into(), "missing field `required`"),
            ("[signatures]\nrequired = true".into(), "believes nobody"),
            ("[signatures]\nrequired = true\nkeys = ['a.pub']".into(), "cannot read no/a.pub"),
            ("[signatures]\nrequired = true\nroots = ['a.pem']".into(), "cannot read no/a.pem"),
        ] {
            let found = Policy::parse(&text, Path::new("no/policy.toml")).expect_err(&text);
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
