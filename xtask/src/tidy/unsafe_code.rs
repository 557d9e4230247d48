//! `unsafe` only in the few places that cannot do without it, and there with its reason beside it. The compiler denies it
//! by a lint that any file can switch off; this rule cannot be.

use super::tree::{File, Finding, Tree, has_word};

/// Files, or folders with everything in them (both `x.rs` and `x/`).
const ALLOWED: &[&str] = &[
    "crates/tensor/src/kernels",
    "crates/tensor/src/memory",
    "crates/tensor/src/threads",
    "crates/tensor/src/cuda",
    "crates/files/src/mmap",
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let lines = file.code_lines().filter(|(_, code)| has_word(&without_strings(code), "unsafe"));
    if !is_allowed(&file.path) {
        return lines.map(|(line, _)| file.finding(line, format!("`unsafe` outside {}", ALLOWED.join(", ")))).collect();
    }
    let has_reason = file.text.contains("SAFETY") || file.text.contains("# Safety") || lines.count() == 0;
    if has_reason { Vec::new() } else { vec![file.finding(0, "`unsafe` without a `// SAFETY:` comment in the file")] }
}

fn is_allowed(path: &str) -> bool {
    let module = |allowed: &str| path.strip_prefix(allowed).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'));
    ALLOWED.iter().any(|allowed| module(allowed))
}

/// The line with the inside of its string literals left out.
fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_the_allowed_places_is_found() {
        let tree = Tree::of(&[("crates/nn/src/lib.rs", "//! x\nfn f() { unsafe { g() } }\n")]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn comments_strings_and_the_lint_are_no_unsafe() {
        let text = "//! no unsafe\n#![deny(unsafe_code)]\nlet x = \"unsafe\"; // unsafe\n";
        assert_eq!(check(&Tree::of(&[("crates/nn/src/lib.rs", text)])), []);
    }

    #[test]
    fn the_allowed_places_need_a_reason() {
        let bare = "//! x\nfn f() { unsafe { g() } }\n";
        let reasoned = "//! x\n// SAFETY: g reads nothing.\nfn f() { unsafe { g() } }\n";
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", bare)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", reasoned)])), []);
        assert_eq!(check(&Tree::of(&[("crates/tensor/src/kernels/avx2/exp.rs", reasoned)])), []);
        assert_eq!(check(&Tree::of(&[("crates/tensor/src/kernels_of_mine.rs", reasoned)])).len(), 1);
    }
}
