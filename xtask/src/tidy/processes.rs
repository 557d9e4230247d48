//! Who may act on the system: only the sandbox of the agents and xtask start processes (a library that starts one can be
//! made to start another), only cli ends its own, only serve has sockets. Tests and examples may all of it. Printing is
//! clippy's (`print_stdout`, `print_stderr` in `Cargo.toml`).

use super::tree::{File, Finding, Tree};

/// One thing that is done to the system.
struct Act {
    /// Files and folders that may.
    may: &'static [&'static str],
    /// What is found, and who may.
    message: &'static str,
    is: fn(&Name<'_>) -> bool,
}

const SOCKETS: &[&str] = &["TcpListener", "TcpStream", "UdpSocket", "UnixListener", "UnixStream", "UnixDatagram"];

const ACTS: &[Act] = &[
    Act {
        may: &["crates/agents/src/sandbox"],
        message: "starts a process; only crates/agents/src/sandbox/ and xtask may",
        is: |name| name.is_of_process(&["Command"]),
    },
    Act {
        may: &["crates/cli/"],
        message: "ends the process; only crates/cli may, others return an error",
        is: |name| name.is_of_process(&["exit", "abort"]),
    },
    Act {
        may: &["crates/serve/"],
        message: "opens a socket; only crates/serve may, and crates/hub through its client",
        is: |name| SOCKETS.contains(&name.word),
    },
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let is_free = |path: &str| path.starts_with("xtask/") || path.contains("/tests/") || path.contains("/examples/");
    let files = tree.rust().filter(|file| !is_free(&file.path));
    files.flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let names = names(file);
    let acts = ACTS.iter().filter(|act| !act.may.iter().any(|may| file.path.starts_with(may)));
    let found = acts.flat_map(|act| {
        let mut lines: Vec<usize> = names.iter().filter(|name| (act.is)(name)).map(|name| name.line).collect();
        lines.dedup();
        lines.into_iter().map(|line| file.finding(line, act.message))
    });
    found.collect()
}

/// A word of a path, with the module before it: in `process::{Command, Stdio}` both are of `process`.
struct Name<'a> {
    line: usize,
    word: &'a str,
    module: &'a str,
    /// Followed by `as`.
    is_renamed: bool,
}

impl Name<'_> {
    /// One of `words` of the module `process`; or all of its words, or a new name for it that would hide them.
    fn is_of_process(&self, words: &[&str]) -> bool {
        let is_hidden = self.is_renamed && (self.word == "process" || self.word == "self" && self.module == "process");
        is_hidden || self.module == "process" && (self.word == "*" || words.contains(&self.word))
    }
}

fn names(file: &File) -> Vec<Name<'_>> {
    let tokens: Vec<(usize, &str)> =
        file.code_lines().flat_map(|(line, code)| tokens(code).into_iter().map(move |token| (line, token))).collect();
    let mut names: Vec<Name<'_>> = Vec::new();
    // The module before each open brace; empty for a brace that no path opens.
    let mut braces: Vec<&str> = Vec::new();
    for (at, &(line, word)) in tokens.iter().enumerate() {
        let module = match at.checked_sub(1).map(|before| tokens[before].1) {
            Some("::") if at >= 2 => tokens[at - 2].1,
            Some("{" | ",") => braces.last().copied().unwrap_or_default(),
            _ => "",
        };
        match word {
            "{" => braces.push(module),
            "}" => drop(braces.pop()),
            _ => {
                let is_renamed = tokens.get(at + 1).is_some_and(|next| next.1 == "as");
                names.push(Name { line, word, module, is_renamed });
            }
        }
    }
    names
}

/// Words, `::`, and every other character that is not a space.
fn tokens(code: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match rest.find(|c| !is_word(c)).unwrap_or(rest.len()) {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            len => len,
        };
        let (token, after) = rest.split_at(len);
        tokens.push(token);
        rest = after.trim_start();
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_library_that_starts_a_process_is_found_however_it_is_named() {
        for text in [
            "//! x\nuse std::process::Command;\n",
            "use std::process::{Command, Stdio};\nlet child = Command::new(\"ls\");",
            "use std::process::{Stdio, Command as Start};",
            "use std::{\n    fs,\n    process::{\n        Child,\n        Command, // a comment\n    },\n};",
            "use std::{process::Command, fs};",
            "use tokio::process::{self, Command};",
            "let child = std::process::Command::new(\"ls\");",
            "use std::process::*;",
        ] {
            let found = check(&Tree::of(&[("crates/serve/src/browser.rs", text)]));
            assert!(found.iter().any(|finding| finding.to_string().contains("starts a process")), "{text}");
            for path in ["xtask/src/ci.rs", "crates/cli/tests/it/main.rs", "crates/agents/src/sandbox/linux.rs"] {
                let may_exit_too = text.contains('*') && path.starts_with("crates/agents");
                assert_eq!(count(path, text), usize::from(may_exit_too), "{path}: {text}");
            }
        }
        for text in ["use std::process as p;", "use std::process::{self as p};"] {
            assert!(count("crates/serve/src/browser.rs", text) > 0, "{text}");
        }
    }

    #[test]
    fn what_only_sounds_like_it_is_not_found() {
        for text in [
            "use std::process::ExitCode;",
            "use std::process::{ExitCode, Stdio, id};",
            "use clap::{Command, Parser};",
            "// std::process::Command",
            "fn exit() { Command::execute(self) }",
            "enum Command { Process { exit: bool } }",
            "let id = std::process::id(); Wish { Command, exit }",
        ] {
            assert_eq!(count("crates/pipeline/src/x.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn only_cli_exits() {
        for text in
            ["std::process::exit(1)", "use std::process::{ExitCode, exit};", "use std::process;\nprocess::abort()"]
        {
            assert_eq!(count("crates/pipeline/src/x.rs", text), 1, "{text}");
            assert_eq!(count("crates/cli/src/interrupt.rs", text), 0, "{text}");
            assert_eq!(count("crates/serve/examples/mock_server.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn only_serve_has_sockets() {
        for text in [
            "use std::net::{TcpListener, TcpStream};",
            "std::net::UdpSocket::bind(address)",
            "use std::os::unix::net::UnixStream;",
        ] {
            assert_eq!(count("crates/scan/src/x.rs", text), 1, "{text}");
            assert_eq!(count("crates/serve/src/server.rs", text), 0, "{text}");
            assert_eq!(count("crates/cli/tests/it/serve.rs", text), 0, "{text}");
        }
        assert_eq!(count("crates/infer/src/x.rs", "use std::net::IpAddr;"), 0);
    }
}
