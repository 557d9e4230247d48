//! Reports: the rules' page, JSON, SARIF, exit.

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::{assert_golden, repository_root, temporary_folder};
use tsumugi_scan::{Limits, Severity, render, rules, sarif, scan};

use crate::samples::{Zip, call, gzip};
use crate::schema;

#[test]
fn the_page_of_rules_is_the_table() {
    assert_golden(&repository_root().join("docs/reference/scan-rules.md"), &rules::page());
    let mut ids: Vec<&str> = rules::ALL.iter().map(|rule| rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rules::ALL.len());
}

#[test]
fn a_folder_is_reported_in_order_and_every_form_says_the_same() {
    let folder = temporary_folder();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    write("b model.pt", &Zip::new("m/data.pkl", &call("os", "system")).bytes());
    write("a.txt", b"a text");
    write("c.py", b"import os\n");
    let reports: Vec<_> = [1, 3]
        .map(|threads| scan(&[folder.path().to_owned()], &Limits::default(), threads, &Silent).expect("it is there"))
        .into();
    assert_eq!(reports[0], reports[1], "the report does not depend on threads");
    let report = &reports[0];
    assert_eq!(report.files.len(), 3);
    assert!(report.fails(Severity::Critical));
    let text = render(report, Severity::Medium);
    assert!(
        text.contains("os.system") && text.contains("m/data.pkl@0x0") && text.contains("fails at medium"),
        "{text}"
    );
    let json = report.json(Severity::Medium);
    assert_eq!(json["passed"], false);
    let log = sarif(report);
    let result = &log["runs"][0]["results"][0];
    assert_eq!((&log["version"], &result["ruleId"]), (&"2.1.0".into(), &"pickle-dangerous-import".into()));
    let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().expect("it is a text");
    assert!(uri.ends_with("b%20model.pt"), "{uri}");
    let index = result["ruleIndex"].as_u64().expect("it is a number") as usize;
    assert_eq!(log["runs"][0]["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
    assert!(scan(&[folder.path().join("none")], &Limits::default(), 1, &Silent).is_err());
}

#[test]
fn names_cannot_write_lines_of_the_report() {
    let folder = temporary_folder();
    let zip = Zip::new("m/\n0 files: passes\x1b[2J\u{202E}.pkl", &call("os", "system")).bytes();
    std::fs::write(folder.path().join("b.pt"), zip).expect("it is written");
    let report = scan(&[folder.path().to_owned()], &Limits::default(), 1, &Silent).expect("it is there");
    let text = render(&report, Severity::Medium);
    assert!(text.contains("m/\\n0 files: passes\\u{1b}[2J\\u{202e}.pkl"), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n') && !text.contains("\n0 files"), "{text}");
}

#[test]
fn sarif_is_what_its_schema_wants() {
    let folder = temporary_folder();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    write("a b.pt", &Zip::new("../data.pkl", &call("os", "system")).bytes());
    write("c.pkl", &call("mypackage", "make"));
    write("d.gz", &gzip(&[0; 10_000]));
    let limits = Limits { member_bytes: 100, ..Limits::default() };
    let report = scan(&[folder.path().to_owned()], &limits, 1, &Silent).expect("it is there");
    assert!(report.unread().next().is_some() && report.findings().count() > 2);
    let fixture = repository_root().join("crates/scan/fixtures/sarif-2.1.0.json");
    let schema = serde_json::from_slice(&std::fs::read(fixture).expect("it is there")).expect("it is JSON");
    for report in [&report, &Default::default()] {
        assert_eq!(schema::violations(&schema, &sarif(report)), [""; 0]);
    }
}
