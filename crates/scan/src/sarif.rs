//! SARIF 2.1.0 (OASIS): the form in which code hosts show findings.

use serde_json::{Value, json};

use crate::finding::{FileReport, Finding, Report, Severity};
use crate::rules::{self, Rule};

/// The report as one SARIF log.
pub fn sarif(report: &Report) -> Value {
    let mut results: Vec<Value> = report.findings().map(|(file, finding)| result(file, finding)).collect();
    for (file, suppressed) in report.files.iter().flat_map(|file| file.suppressed.iter().map(move |one| (file, one))) {
        let mut result = result(file, &suppressed.finding);
        let justification = format!("{} (until {})", suppressed.reason, suppressed.until);
        let suppression = json!({ "kind": "external", "status": "accepted", "justification": justification });
        result["suppressions"] = json!([suppression]);
        results.push(result);
    }
    let notifications: Vec<Value> = report
        .unread()
        .map(|(file, why)| {
            json!({
                "level": "error",
                "message": { "text": why },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(file) } } }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "tsumugi scan",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules::ALL.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
            } },
            "invocations": [{
                "executionSuccessful": notifications.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.why },
        "help": { "text": format!("To do: {}.", rule.fix) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": { "cve": rule.references },
    })
}

fn result(file: &FileReport, finding: &Finding) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(file) } });
    // A place in an unpacked member is none in the file.
    if let Some(offset) = finding.offset.filter(|_| finding.member.is_empty()) {
        physical["region"] = json!({ "byteOffset": offset, "byteLength": 1 });
    }
    let mut location = json!({ "physicalLocation": physical });
    if !finding.member.is_empty() {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": finding.place(), "kind": "member" }]);
    }
    let index = rules::ALL.iter().position(|rule| rule.id == finding.rule.id);
    json!({
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": level(finding.severity),
        "rank": rank(finding.severity),
        "message": { "text": finding.message },
        "locations": [location],
        // Without offsets: a file that is written again has the same finding.
        "partialFingerprints": {
            "tsumugi/v1": format!("{}|{}|{}", finding.rule.id, finding.member, finding.subject),
        },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "note",
        Severity::Medium => "warning",
        Severity::High | Severity::Critical => "error",
    }
}

/// From 0 to 100.
fn rank(severity: Severity) -> f64 {
    match severity {
        Severity::Low => 20.0,
        Severity::Medium => 50.0,
        Severity::High => 80.0,
        Severity::Critical => 100.0,
    }
}

/// The path with forward slashes, and with percent signs where an address needs them.
fn uri(file: &FileReport) -> String {
    let path = file.path.to_string_lossy().replace('\\', "/");
    let mut uri = String::new();
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'+' | b'=' | b'@' | b',' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
