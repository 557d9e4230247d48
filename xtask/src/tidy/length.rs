//! A function has at most 70 lines and a file at most 800: what is longer has two jobs, or is a table and says so.

use super::tree::{File, Finding, Tree};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX && !file.allows("file-length") {
        findings.push(file.finding(0, format!("{lines} lines, at most {FILE_LINES_MAX}: split it by what it does")));
    }
    if !file.allows("function-length") {
        for (line, length) in long_functions(&file.text) {
            let message = format!("a function of {length} lines, at most {FUNCTION_LINES_MAX}: name its steps");
            findings.push(file.finding(line, message));
        }
    }
    findings
}

/// `(first line, length)` of each function over the limit. Relies on rustfmt: a function ends at the first `}` in its
/// own column, and a declaration without a body at the first `;` there.
fn long_functions(source: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| is_function(line.trim_start()));
    let lengths = starts.filter_map(|(start, line)| {
        let indent = line.len() - line.trim_start().len();
        Some((start + 1, body_length(&lines[start..], indent)?))
    });
    lengths.filter(|&(_, length)| length > FUNCTION_LINES_MAX).collect()
}

fn is_function(line: &str) -> bool {
    let Some((before, _)) = line.split_once("fn ") else { return false };
    let is_qualifier = |word: &str| {
        matches!(word, "const" | "async" | "unsafe" | "extern" | "default" | "\"C\"") || word.starts_with("pub")
    };
    before.split_whitespace().all(is_qualifier)
}

/// Lines from the first to the closing brace; `None` for a declaration or for source that is not rustfmt's.
fn body_length(lines: &[&str], indent: usize) -> Option<usize> {
    if lines[0].ends_with(['}', ';']) {
        return None;
    }
    for (index, line) in lines.iter().enumerate().skip(1) {
        let own_column = line.len() > indent && line.is_char_boundary(indent) && line[..indent].trim().is_empty();
        let Some(rest) = own_column.then(|| &line[indent..]).filter(|rest| !rest.starts_with(' ')) else { continue };
        if rest.starts_with('}') {
            return Some(index + 1);
        }
        if rest.ends_with(';') {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(body_lines: usize) -> String {
        format!("//! x\nfn long() {{\n{}}}\n", "    step();\n".repeat(body_lines))
    }

    #[test]
    fn a_function_of_71_lines_is_found() {
        assert_eq!(long_functions(&function(69)), [(2, 71)]);
        assert_eq!(long_functions(&function(68)), []);
    }

    #[test]
    fn a_long_signature_counts_and_a_declaration_does_not() {
        let signature = format!("pub async fn f(\n    a: u8,\n) -> u8 {{\n{}}}\n", "    step();\n".repeat(68));
        assert_eq!(long_functions(&signature), [(1, 72)]);
        let declaration = format!("trait T {{\n    fn f(\n        a: u8,\n    ) -> u8;\n{}}}\n", "    //\n".repeat(90));
        assert_eq!(long_functions(&declaration), []);
    }

    #[test]
    fn methods_are_measured_in_their_own_column() {
        let source = format!("impl X {{\n    fn f() {{\n{}    }}\n}}\n", "        step();\n".repeat(80));
        assert_eq!(long_functions(&source), [(2, 82)]);
    }

    #[test]
    fn a_mark_with_a_reason_excepts_the_file() {
        let marked = format!("// tidy-allow(function-length): a table, one row per opcode\n{}", function(90));
        assert_eq!(check(&Tree::of(&[("a.rs", &marked)])), []);
        assert_eq!(check(&Tree::of(&[("a.rs", &function(90))])).len(), 1);
    }

    #[test]
    fn a_file_of_801_lines_is_found() {
        assert_eq!(check(&Tree::of(&[("a.rs", &"//! x\n".repeat(801))])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a.rs", &"//! x\n".repeat(800))])), []);
    }
}
