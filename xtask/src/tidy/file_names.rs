//! No file is named after nothing: a helper lives with its one user until there are three, then it gets a name.

use super::tree::{File, Finding, Tree};

const NAMES: &[&str] = &["common", "helper", "helpers", "misc", "shared", "stuff", "util", "utilities", "utils"];
const SOURCES: &[&str] = &[".rs", ".py", ".js", ".sh"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let is_source = |file: &&File| SOURCES.iter().any(|ending| file.path.ends_with(ending));
    let is_named_so = |part: &str| NAMES.contains(&part.split('.').next().unwrap_or(part));
    let found = tree.files.iter().filter(is_source).filter(|file| file.path.split('/').any(is_named_so));
    found.map(|file| file.finding(0, "a name that says nothing: what is in it?")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_with_empty_names_are_found() {
        let tree = Tree::of(&[
            ("crates/x/src/utils.rs", ""),
            ("crates/x/src/common/mod.rs", ""),
            ("tools/helpers.py", ""),
            ("crates/x/src/common_crawl.rs", ""),
            ("docs/common.md", ""),
        ]);
        assert_eq!(check(&tree).len(), 3);
    }
}
