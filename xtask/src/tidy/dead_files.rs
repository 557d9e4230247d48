//! Every source file is a module of something: a file that no `mod` names is compiled by nobody and tested by nobody.

use super::tree::{File, Finding, Tree, has_word};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let dead = tree.rust().filter(|file| is_module(file) && !is_declared(tree, file));
    dead.map(|file| file.finding(0, format!("no `mod {};` declares it", module_name(file)))).collect()
}

/// Files that Cargo or the compiler finds by themselves are no modules of another.
fn is_module(file: &File) -> bool {
    let is_root = matches!(file.name(), "lib.rs" | "main.rs" | "build.rs");
    let folder = file.folder();
    let is_own_target =
        ["bin", "benches", "examples", "tests"].iter().any(|kind| folder.ends_with(&format!("/{kind}")));
    let is_fuzz_target = folder.contains("fuzz");
    let in_package = file.path.contains("/src/") || file.path.contains("/tests/");
    in_package && !is_root && !is_own_target && !is_fuzz_target
}

/// `a/b.rs` and `a/b/mod.rs` are both the module `b`.
fn module_name(file: &File) -> &str {
    match file.name() {
        "mod.rs" => file.folder().rsplit('/').next().unwrap_or_default(),
        _ => file.stem(),
    }
}

fn is_declared(tree: &Tree, file: &File) -> bool {
    let folder = match file.name() {
        "mod.rs" => file.folder().rsplit_once('/').map_or("", |(above, _)| above),
        _ => file.folder(),
    };
    let parents =
        [format!("{folder}.rs"), format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs")];
    let declaration = format!("mod {}", module_name(file));
    parents.iter().filter_map(|parent| tree.text(parent)).any(|text| has_word(text, &declaration))
        || has_path(tree, file)
}

/// Whether a `#[path = "..."]` of a file beside it or above it ends in its name.
fn has_path(tree: &Tree, file: &File) -> bool {
    let by_path = format!("{}\"]", file.name());
    let near = tree.rust().filter(|other| file.folder().starts_with(other.folder()));
    near.flat_map(File::code_lines).any(|(_, code)| code.contains("#[path = ") && code.contains(&by_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_nothing_declares_is_found() {
        let tree = Tree::of(&[
            ("crates/x/src/lib.rs", "//! x\nmod a;\npub mod b;\nmod c;\n"),
            ("crates/x/src/a.rs", "//! a\nmod inner;\n"),
            ("crates/x/src/a/inner.rs", ""),
            ("crates/x/src/a/lost.rs", ""),
            ("crates/x/src/b/mod.rs", "mod inner;\n"),
            ("crates/x/src/b/inner.rs", ""),
            ("crates/x/src/old_a.rs", ""),
            ("crates/x/src/c.rs", "#[path = \"c_tests.rs\"]\nmod tests;\n"),
            ("crates/x/src/c_tests.rs", ""),
            ("crates/x/tests/it/main.rs", "mod cases;"),
            ("crates/x/tests/it/cases.rs", ""),
        ]);
        let found: Vec<_> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "crates/x/src/a/lost.rs: no `mod lost;` declares it",
                "crates/x/src/old_a.rs: no `mod old_a;` declares it",
            ]
        );
    }
}
