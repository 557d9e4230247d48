//! A report for people: what, where, why it matters, what to do.

use std::collections::BTreeMap;

use crate::finding::{Report, Severity};

/// Findings of one rule that are shown of one file.
const SHOWN_OF_A_RULE: usize = 5;

/// A name or message on one line, as a terminal may safely show it: control characters are escaped, and so are those that turn
/// the direction of writing.
pub fn printable(text: &str) -> String {
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// The report as text; the worst of each file first.
pub fn render(report: &Report, threshold: Severity) -> String {
    let mut text = String::new();
    for file in report.files.iter().filter(|file| !file.findings.is_empty()) {
        text.push_str(&format!("{} ({})\n", printable(&file.path.display().to_string()), file.formats.join(", ")));
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for finding in &file.findings {
            let count = shown.entry(finding.rule.id).or_default();
            *count += 1;
            if *count > SHOWN_OF_A_RULE {
                continue;
            }
            let place = finding.place();
            let place = if place.is_empty() { place } else { format!("  at {}", printable(&place)) };
            let severity = finding.severity.name();
            let message = printable(&finding.message);
            text.push_str(&format!("  {severity:8}  {message}  [{}]{place}\n", finding.rule.id));
            if *count == 1 {
                text.push_str(&format!(
                    "            why: {}\n            do: {}\n",
                    finding.rule.why, finding.rule.fix
                ));
            }
        }
        for (rule, count) in shown.into_iter().filter(|(_, count)| *count > SHOWN_OF_A_RULE) {
            text.push_str(&format!("            and {} more of {rule}\n", count - SHOWN_OF_A_RULE));
        }
        text.push('\n');
    }
    text + &summary(report, threshold)
}

fn summary(report: &Report, threshold: Severity) -> String {
    let count = |severity| report.findings().filter(|(_, finding)| finding.severity == severity).count();
    let counts: Vec<String> = Severity::ALL
        .into_iter()
        .rev()
        .filter(|&severity| count(severity) > 0)
        .map(|severity| format!("{} {}", count(severity), severity.name()))
        .collect();
    let files = report.files.len();
    let found = if counts.is_empty() { "nothing found".to_owned() } else { counts.join(", ") };
    let unread = report.unread().count();
    let verdict = match (report.fails(threshold), unread) {
        _ if files == 0 => "no files".to_owned(),
        (true, _) => format!("fails at {}", threshold.name()),
        (false, 0) => "passes".to_owned(),
        (false, _) => format!("{unread} could not be looked at as a whole"),
    };
    let plural = if files == 1 { "file" } else { "files" };
    let asides: String = [
        ("suppressed by the policy", report.suppressed()),
        ("left out by the policy", report.excluded),
        ("remembered", report.remembered),
        ("pipes and devices skipped", report.skipped),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
    .map(|(what, count)| format!("; {what}: {count}"))
    .collect();
    format!("{files} {plural}, {}: {found}; {verdict}{asides}\n", tsumugi_base::units::bytes(report.bytes()))
}
