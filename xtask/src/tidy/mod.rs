//! Rules about the code that the compiler does not know. Each says why in its message.
//!
//! To add a rule: write `<name>.rs` with its test, then its two lines here. A rule sees the [`Tree`], never the disk, so
//! its test is a tree of a few strings.
//!
//! A file may be excepted from a length rule by its first lines: `// tidy-allow(function-length): <reason>`.

mod dead_files;
mod documentation_paths;
mod file_names;
mod fixtures;
mod header;
mod layers;
mod length;
mod machine_paths;
mod processes;
mod test_binaries;
mod text_border;
mod todo;
mod tree;
mod unsafe_code;

use std::path::Path;

use tree::{Finding, Tree};

/// One rule.
struct Rule {
    /// The word in brackets behind each finding.
    name: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

const ALL: &[Rule] = &[
    Rule { name: "layers", check: layers::check },
    Rule { name: "text-border", check: text_border::check },
    Rule { name: "length", check: length::check },
    Rule { name: "header", check: header::check },
    Rule { name: "dead-file", check: dead_files::check },
    Rule { name: "file-name", check: file_names::check },
    Rule { name: "unsafe", check: unsafe_code::check },
    Rule { name: "processes", check: processes::check },
    Rule { name: "machine-path", check: machine_paths::check },
    Rule { name: "todo", check: todo::check },
    Rule { name: "fixture", check: fixtures::check },
    Rule { name: "documentation-path", check: documentation_paths::check },
    Rule { name: "test-binary", check: test_binaries::check },
];

/// Prints every finding; `Ok(false)` if there is one.
pub fn run(root: &Path) -> Result<bool, String> {
    let tree = Tree::read(root)?;
    let mut count = 0;
    for rule in ALL {
        for finding in (rule.check)(&tree) {
            println!("{finding} [{}]", rule.name);
            count += 1;
        }
    }
    println!("tidy: {} files, {} rules, {count} findings", tree.files.len(), ALL.len());
    Ok(count == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_names_of_their_own() {
        let mut names: Vec<_> = ALL.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
