//! Every source file says in its first lines what it is: a reader opens it to find out.

use super::tree::{File, Finding, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let without = tree.rust().filter(|file| !has_header(file));
    without.map(|file| file.finding(1, "no `//!` header: say what this file is")).collect()
}

fn has_header(file: &File) -> bool {
    let first = file.text.lines().find(|line| !line.is_empty() && !line.starts_with("// tidy-allow("));
    first.is_some_and(|line| line.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_header_is_found() {
        let tree =
            Tree::of(&[("a.rs", "//! What it is.\n"), ("b.rs", "fn main() {}\n"), ("c.rs", "//!\n"), ("d.rs", "")]);
        let found: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 3);
        assert!(found[0].starts_with("b.rs:1:") && found[1].starts_with("c.rs") && found[2].starts_with("d.rs"));
    }

    #[test]
    fn marks_come_before_the_header() {
        let tree = Tree::of(&[("a.rs", "// tidy-allow(file-length): one table of tensors\n//! What it is.\n")]);
        assert_eq!(check(&tree), []);
    }
}
