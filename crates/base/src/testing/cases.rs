//! Data-driven cases: a new test is a new file. `UPDATE_GOLDEN=1` rewrites what is expected.

use std::fs;
use std::path::Path;

/// Between the input and what is expected.
const SEPARATOR: &str = "\n----\n";

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Runs `run` on every `*.case` file of `folder`: the text before a line `----` is the input (without its last line
/// feed), the text after it is what must come out (a line feed at the end does not count). Files whose name ends in
/// anything else are not cases.
///
/// # Panics
/// With every differing case and both of its texts; if the folder has no case; if a case has no separator.
pub fn run_cases(folder: &Path, mut run: impl FnMut(&str) -> String) {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry of a folder that can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "case"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} has no *.case file", folder.display());

    let mut failures = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let Some((input, expected)) = split_case(&text) else {
            failures.push(format!("{}: no line `----` between input and expected output", file.display()));
            continue;
        };
        let found = run(input);
        if found.trim_end_matches('\n') == expected.trim_end_matches('\n') {
            continue;
        }
        if updating() {
            let text = format!("{input}{SEPARATOR}{}\n", found.trim_end_matches('\n'));
            fs::write(file, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
        } else {
            failures.push(difference(file, expected, &found));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases differ\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

fn split_case(text: &str) -> Option<(&str, &str)> {
    if let Some(expected) = text.strip_prefix("----\n") {
        return Some(("", expected));
    }
    text.split_once(SEPARATOR).or_else(|| text.strip_suffix("\n----").map(|input| (input, "")))
}

fn difference(file: &Path, expected: &str, found: &str) -> String {
    let line = expected.lines().zip(found.lines()).take_while(|(expected, found)| expected == found).count() + 1;
    format!(
        "{}: first difference in line {line} of the output\n---- expected\n{}\n---- found\n{}\n---- (UPDATE_GOLDEN=1 accepts)",
        file.display(),
        expected.trim_end_matches('\n'),
        found.trim_end_matches('\n')
    )
}

/// Compares `found` with the text file `golden`, byte for byte.
///
/// # Panics
/// If they differ, or if there is no such file and `UPDATE_GOLDEN=1` is not set.
pub fn assert_golden(golden: &Path, found: &str) {
    if updating() {
        fs::write(golden, found).unwrap_or_else(|error| panic!("cannot write {}: {error}", golden.display()));
        return;
    }
    let expected = fs::read_to_string(golden)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}; UPDATE_GOLDEN=1 writes it", golden.display()));
    assert!(expected == found, "{}", difference(golden, &expected, found));
}

/// Compares `found` with the numbers in the text file `golden` (one a line, `#` begins a comment), each to
/// `tolerance` relative to the larger of the expected magnitude and 1.
///
/// # Panics
/// At the first number that differs, with its index and both values.
pub fn assert_golden_numbers(golden: &Path, found: &[f64], tolerance: f64) {
    if updating() {
        let text: String = found.iter().map(|value| format!("{value:e}\n")).collect();
        fs::write(golden, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", golden.display()));
        return;
    }
    let text = fs::read_to_string(golden)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}; UPDATE_GOLDEN=1 writes it", golden.display()));
    let expected: Vec<f64> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| line.parse().unwrap_or_else(|error| panic!("{}: `{line}`: {error}", golden.display())))
        .collect();
    assert_eq!(expected.len(), found.len(), "{}: how many numbers", golden.display());
    for (i, (&expected, &found)) in expected.iter().zip(found).enumerate() {
        let bound = tolerance * expected.abs().max(1.0);
        assert!(
            (expected - found).abs() <= bound,
            "{}: number {i} is {found}, golden {expected} (tolerance {bound:e}); those before it agree",
            golden.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temporary_folder;

    fn panic_text(run: impl FnOnce() + std::panic::UnwindSafe) -> String {
        let panic = std::panic::catch_unwind(run).unwrap_err();
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    }

    #[test]
    fn every_differing_case_is_listed() {
        let folder = temporary_folder();
        let path = folder.path().to_owned();
        assert!(panic_text(|| run_cases(&path, str::to_uppercase)).contains("no *.case file"));
        for (name, text) in [("good", "ab\nc\n----\nAB\nC\n"), ("bad", "x\n----\ny\n"), ("worse", "no separator")] {
            fs::write(path.join(format!("{name}.case")), text).unwrap();
        }
        let text = panic_text(|| run_cases(&path, str::to_uppercase));
        assert!(text.contains("2 of 3 cases differ"), "{text}");
        assert!(text.contains("bad.case: first difference in line 1"), "{text}");
        assert!(text.contains("---- expected\ny\n---- found\nX\n"), "{text}");
        assert!(text.contains("worse.case: no line `----`"), "{text}");
    }

    #[test]
    fn a_case_may_have_no_input_or_no_output() {
        assert_eq!(split_case("----\nout\n"), Some(("", "out\n")));
        assert_eq!(split_case("in\n----\n"), Some(("in", "")));
        assert_eq!(split_case("in\n----"), Some(("in", "")));
        assert_eq!(split_case("in"), None);
    }

    #[test]
    fn golden_numbers_name_the_first_that_differs() {
        let folder = temporary_folder();
        let path = folder.path().join("losses");
        fs::write(&path, "# by hand\n1.0\n2.0 # two\n3e1\n").unwrap();
        assert_golden_numbers(&path, &[1.0, 2.0, 30.0000001], 1e-6);
        let text = panic_text(|| assert_golden_numbers(&path, &[1.0, 2.1, 31.0], 1e-6));
        assert!(text.contains("number 1 is 2.1, golden 2"), "{text}");
    }
}
