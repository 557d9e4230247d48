//! `docs/reference/cli.md` is made from the code: a new flag is a visible line in review.

use tsumugi_base::testing::{assert_golden, repository_root};

#[test]
fn the_reference_page_matches_the_code() {
    let page = tsumugi_cli::reference::markdown();
    assert_golden(&repository_root().join("docs/reference/cli.md"), &page);
}

#[test]
fn every_command_has_an_example_that_parses() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name()).trim().to_owned();
        for child in command.get_subcommands() {
            check(child, &path);
        }
        if command.has_subcommands() {
            return;
        }
        let examples = command.get_after_help().unwrap_or_else(|| panic!("{path} has no example")).to_string();
        for line in examples.lines().skip(1) {
            let words: Vec<String> = shell_words(line.trim());
            assert!(line.trim().starts_with(&path), "`{line}` is no example of {path}");
            if let Err(error) = tsumugi_cli::commands::tree().try_get_matches_from(words) {
                panic!("`{line}`: {error}");
            }
        }
    }
    check(&tsumugi_cli::commands::tree(), "");
}

/// The README promises it.
#[test]
fn every_command_but_the_terminal_chat_has_json() {
    fn check(command: &clap::Command) {
        command.get_subcommands().for_each(check);
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        let expected = !command.has_subcommands() && command.get_name() != "chat";
        assert_eq!(has_json, expected, "{}", command.get_name());
    }
    check(&tsumugi_cli::commands::tree());
}

/// Words of a line as a shell cuts it, for single quotes only.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (index, piece) in line.split('\'').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    words
}
