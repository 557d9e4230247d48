//! Only the sandbox of the agents and xtask start processes: a library that starts one can be made to start another.

use super::tree::{Finding, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let may = |path: &str| {
        path.starts_with("xtask/") || path.starts_with("crates/agents/src/sandbox") || path.contains("/tests/")
    };
    let files = tree.rust().filter(|file| !may(&file.path));
    let found = files.flat_map(|file| {
        let lines = file.code_lines().filter(|(_, code)| code.contains("process::Command"));
        lines.map(|(line, _)| file.finding(line, "starts a process; only crates/agents/src/sandbox/ and xtask may"))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_starts_a_process_is_found() {
        let text = "//! x\nuse std::process::Command;\n";
        assert_eq!(check(&Tree::of(&[("crates/serve/src/browser.rs", text)])).len(), 1);
        assert_eq!(check(&Tree::of(&[("xtask/src/ci.rs", text), ("crates/cli/tests/it/main.rs", text)])), []);
        assert_eq!(check(&Tree::of(&[("crates/cli/src/main.rs", "use std::process::ExitCode;")])), []);
    }
}
