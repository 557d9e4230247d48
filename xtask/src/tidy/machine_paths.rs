//! No path or host of one machine: a clone lies elsewhere and installs from elsewhere.

use super::tree::{Finding, Tree};

/// Pieces, put together at run time so that this file does not find itself.
const PATHS: &[&[&str]] = &[&["/wo", "rk"], &["/ho", "me/"], &["/ro", "ot/"], &["/Us", "ers/"], &["C:\\Us", "ers"]];
const WORDS: &[&[&str]] = &[
    &[".libr", "ary/"],
    &["../shared/des", "ign"],
    &["../shared/anch", "ors"],
    &["pypi", ".org"],
    &["pythonhosted", ".org"],
    &["registry.npmjs", ".org"],
    &["deb.debian", ".org"],
];

/// Where a word means the place itself, for everybody: the index that pip asks where nothing is configured.
const MEANT: &[(&str, &[&str])] = &[("crates/hub/src/pypi/configuration.rs", &["pypi", ".org"])];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let paths: Vec<String> = PATHS.iter().map(|pieces| pieces.concat()).collect();
    let words: Vec<String> = WORDS.iter().map(|pieces| pieces.concat()).collect();
    let mut findings = Vec::new();
    for file in &tree.files {
        for (number, line) in file.lines() {
            let path = paths.iter().find(|path| names_path(line, path));
            let is_meant =
                |word: &str| MEANT.iter().any(|(path, pieces)| *path == file.path && pieces.concat() == word);
            let word = || words.iter().find(|word| line.contains(*word) && !is_meant(word));
            if let Some(word) = path.or_else(word) {
                findings.push(file.finding(number, format!("`{word}` is a place on one machine")));
            }
        }
    }
    findings
}

/// Whether an absolute path begins with `prefix` here: not the middle of a longer path, and no longer word.
fn names_path(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + prefix.len()..].chars().next();
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | '}' | '>'));
        starts && (prefix.ends_with('/') || !after.is_some_and(|c| c.is_alphanumeric() || c == '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found() {
        let line = |pieces: &[&str]| pieces.concat();
        for text in [
            line(&["see /wo", "rk/main"]),
            line(&["`/wo", "rk`"]),
            line(&["\"/ho", "me/anna/x\""]),
            line(&["pip --index pypi", ".org"]),
            line(&["../shared/des", "ign/style.md"]),
        ] {
            assert_eq!(check(&Tree::of(&[("README.md", &text)])).len(), 1, "{text}");
        }
    }

    #[test]
    fn the_default_index_stands_in_one_file() {
        let text = ["https://pypi", ".org/simple"].concat();
        assert_eq!(check(&Tree::of(&[(MEANT[0].0, &text)])), []);
        assert_eq!(check(&Tree::of(&[("crates/hub/src/http.rs", &text)])).len(), 1);
    }

    #[test]
    fn other_words_are_not() {
        for text in ["crates/worker", "net/work", "/workers", "../shared/data/tinyshakespeare", "$HOME/home/x"] {
            assert_eq!(check(&Tree::of(&[("README.md", text)])), [], "{text}");
        }
    }
}
