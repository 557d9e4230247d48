//! One integration test binary per crate, `tests/it/main.rs`: each more is linked and started on its own.

use super::tree::{Finding, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let found = tree.rust().filter(|file| {
        let behind = file.path.split_once("/tests/").map(|(_, rest)| rest);
        behind.is_some_and(|rest| !rest.starts_with("it/")) && file.path.starts_with("crates/")
    });
    found.map(|file| file.finding(0, "move it into tests/it/ and name it in tests/it/main.rs")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_binary_is_found() {
        let tree = Tree::of(&[
            ("crates/x/tests/it/main.rs", ""),
            ("crates/x/tests/more.rs", ""),
            ("crates/x/src/tests/a.rs", ""),
        ]);
        assert_eq!(check(&tree).len(), 2);
        assert_eq!(check(&Tree::of(&[("crates/x/tests/it/a/b.rs", "")])), []);
    }
}
