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
    // Measures a peer through its unsafe interface; no part of the product.
    "bench/peers/rust_cores",
];

/// How far above a block its reason may begin.
const REASON_LINES: usize = 6;

pub fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let lines = file.code_lines().filter(|(_, code)| has_word(&without_strings(code), "unsafe"));
    if !is_allowed(&file.path) {
        return lines.map(|(line, _)| file.finding(line, format!("`unsafe` outside {}", ALLOWED.join(", ")))).collect();
    }
    let blocks = lines.filter(|(_, code)| code.contains("unsafe {") || code.contains("unsafe impl"));
    let bare = blocks.filter(|&(line, _)| !has_reason(file, line));
    bare.map(|(line, _)| {
        file.finding(line, "`unsafe` without a `// SAFETY:` (or `// SAFETY of every block below:`) comment above it")
    })
    .collect()
}

/// Whether the line or one of the few above it says why (one reason may cover the arms of a `match`), or anything above it
/// gives the reason of every block that follows.
fn has_reason(file: &File, line: usize) -> bool {
    let above = file.lines().take(line);
    let covers = |(number, text): (usize, &str)| {
        text.contains("SAFETY of every") || text.contains("SAFETY") && number + REASON_LINES >= line
    };
    above.into_iter().any(covers)
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
        let far = format!("//! x\n// SAFETY: g reads nothing.\n{}fn f() {{ unsafe {{ g() }} }}\n", "\n".repeat(6));
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", &far)])).len(), 1);
        let whole = far.replace("SAFETY:", "SAFETY of every block below:");
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", &whole)])), []);
        let reasoned = "//! x\n// SAFETY: g reads nothing.\nfn f() { unsafe { g() } }\n";
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", bare)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("crates/files/src/mmap.rs", reasoned)])), []);
        assert_eq!(check(&Tree::of(&[("crates/tensor/src/kernels/avx2/exp.rs", reasoned)])), []);
        assert_eq!(check(&Tree::of(&[("crates/tensor/src/kernels_of_mine.rs", reasoned)])).len(), 1);
    }
}
