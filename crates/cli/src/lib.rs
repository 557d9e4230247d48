//! The command line: joins commands, draws progress, prints, exits. No logic: what a command does can be called from
//! a library.
//!
//! | module | what |
//! |---|---|
//! | `commands` | one file per command and the list of all |
//! | `flags` | flags that several commands share, spelled the same everywhere |
//! | `model` | what a `MODEL` on the command line names |
//! | `texts` | texts on the command line, in a file or on standard input |
//! | `output` | standard output, errors with hints, exit codes |
//! | `progress` | a live line on a terminal, plain lines elsewhere |
//! | `ranks` | the processes of one job, under MPI |
//! | `interrupt` | the first Ctrl-C asks, the second kills |
//! | `reference` | `docs/reference/cli.md` from the code |
//!
//! **Invariant:** a flag exists only on the commands in which it does something.

pub mod commands;
mod flags;
mod interrupt;
mod model;
mod output;
mod progress;
mod ranks;
pub mod reference;
mod texts;

pub use output::{Answer, Failure};

/// Reads the command line, runs the command, prints, and says how it ended.
pub fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    let _ = tsumugi_files::mmap::tell_lost_mappings(); // without it such a process ends too, but says nothing
    let outcome = match commands::tree().try_get_matches() {
        Ok(matches) => commands::run(&matches),
        Err(error) => Err(Failure::from_usage(error)),
    };
    let code = output::exit_code(outcome);
    ranks::leave();
    code
}
