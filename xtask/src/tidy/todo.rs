//! What is left to do has an issue: `TODO(#12): ...`. A bare one is a promise to nobody.

use super::tree::{Finding, Tree, has_word};

/// Pieces, put together at run time so that this file does not find itself.
const MARKS: &[[&str; 2]] = &[["TO", "DO"], ["FIX", "ME"], ["XX", "X"]];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let marks: Vec<String> = MARKS.iter().map(|pieces| pieces.concat()).collect();
    let files = tree.files.iter().filter(|file| file.path.ends_with(".rs") || file.path.ends_with(".py"));
    let found = files.flat_map(|file| {
        let lines =
            file.lines().filter(|(_, line)| marks.iter().any(|mark| has_word(line, mark) && !has_issue(line, mark)));
        lines.map(|(number, _)| file.finding(number, "left to do without an issue: `(#number)` behind the word"))
    });
    found.collect()
}

fn has_issue(line: &str, mark: &str) -> bool {
    let number =
        |rest: &str| rest.strip_prefix("(#").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    line.match_indices(mark).all(|(at, _)| number(&line[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_with_an_issue_pass() {
        let word = MARKS[0].concat();
        let bare = format!("// {word}: faster\n");
        let named = format!("// {word}(#12): faster\n");
        assert_eq!(check(&Tree::of(&[("a.rs", &bare)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("a.rs", &named)])), []);
    }
}
