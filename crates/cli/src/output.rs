//! What goes where, and how it ends.
//!
//! Standard output is for what was asked for: text, or with `--json` one JSON object (or one a line). Everything
//! else, progress and errors, goes to standard error. An error is its chain of causes in one line, an empty line, and
//! `hint:` with one next step.

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;
use tsumugi_base::{Hint, error_chain};

/// What a command that did its work found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done. Exit code 0.
    Done,
    /// The answer to what was asked is no: a finding, a failed gate, a worse score. Exit code 1.
    No,
}

/// Why a command could not do its work. Exit code 2.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// One sentence and perhaps one next step.
    Error {
        /// What, where.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Ctrl-C; what there was is saved.
    Stopped {
        /// What was saved and how to go on.
        message: String,
    },
    /// The command line itself: help that was asked for (exit code 0), or what clap says is wrong with it.
    Usage {
        /// Ready to print.
        text: String,
        /// Whether it was asked for.
        asked: bool,
    },
    /// Whoever reads standard output has had enough. Not an error.
    BrokenPipe,
}

impl Failure {
    /// A sentence and one next step.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Error { message: message.into(), hint: Some(hint.into()) }
    }

    /// An error that knows no next step.
    pub fn without_hint(error: &(dyn Error + 'static)) -> Self {
        Self::Error { message: error_chain(error), hint: None }
    }

    /// Help, version, and what clap finds wrong, in our form: its `tip:` is our `hint:`.
    pub fn from_usage(error: clap::Error) -> Self {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        let coloured = asked && colours(&io::stdout());
        let text = if coloured { error.render().ansi().to_string() } else { error.render().to_string() };
        Self::Usage { text: text.replace("\n  tip: ", "\nhint: "), asked }
    }
}

impl<E: Error + Hint + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error { message: error_chain(&error), hint: error.hint() }
    }
}

/// Prints how a command ended, and its exit code.
pub fn exit_code(outcome: Result<Answer, Failure>) -> ExitCode {
    // Nothing is left to do where standard error is closed too.
    match outcome {
        Ok(Answer::Done) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(Failure::Usage { text, asked: true }) => match print(&text) {
            Ok(()) | Err(Failure::BrokenPipe) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
        Err(Failure::Usage { text, asked: false }) => {
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(2)
        }
        Err(Failure::Stopped { message }) => {
            let _ = writeln!(io::stderr(), "stopped: {message}");
            ExitCode::from(2)
        }
        Err(Failure::Error { message, hint }) => {
            let (bold, red, end) =
                if colours(&io::stderr()) { ("\x1b[1m", "\x1b[1;31m", "\x1b[0m") } else { ("", "", "") };
            let _ = writeln!(io::stderr(), "{red}error:{end} {message}");
            if let Some(hint) = hint {
                let _ = writeln!(io::stderr(), "\n{bold}hint:{end} {hint}");
            }
            ExitCode::from(2)
        }
    }
}

/// Whether to use colours on this stream: a terminal, and `NO_COLOR` (no-color.org) is not set.
pub fn colours(stream: &impl IsTerminal) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    stream.is_terminal() && !refused && !dumb
}

/// Writes to standard output as it is, at once.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| written(&error))
}

/// Writes a line to standard output.
pub fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// Writes a JSON value on one line of standard output.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    match serde_json::to_string(value) {
        Ok(text) => print_line(&text),
        Err(error) => Err(Failure::without_hint(&error)),
    }
}

/// Why standard output could not be written to.
pub fn written(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
        io::ErrorKind::StorageFull => Failure::new(
            "cannot write to standard output: the disk is full",
            "free some space and run the command again",
        ),
        _ => Failure::Error { message: format!("cannot write to standard output: {error}"), hint: None },
    }
}

/// Writes a line to standard error. Not being able to is no reason to fail.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A model's text as a terminal may safely show it: no control character but line feed and tab, so that a text cannot
/// command the terminal.
pub fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(shown).collect()
}

/// A model's or a tokenizer's text for standard output: on a terminal [`harmless`], for a pipe or a file as it is.
pub fn for_stdout(text: &str) -> Cow<'_, str> {
    for_stream(text, io::stdout().is_terminal())
}

fn for_stream(text: &str, is_terminal: bool) -> Cow<'_, str> {
    if is_terminal { Cow::Owned(harmless(text)) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::FileError;

    #[test]
    fn a_failure_has_the_chain_and_the_hint() {
        let error = FileError::read("a.txt", io::ErrorKind::NotFound.into());
        let hint = error.hint();
        let failure = Failure::from(error);
        assert_eq!(failure, Failure::Error { message: "cannot read a.txt: no such file or folder".into(), hint });
    }

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(harmless("a\x1b[2Jb\n\tc\u{9b}"), "a\u{FFFD}[2Jb\n\tc\u{FFFD}");
        assert_eq!(for_stream("a\x1b", true), "a\u{FFFD}");
        assert_eq!(for_stream("a\x1b", false), "a\x1b", "a pipe gets every byte");
    }
}
