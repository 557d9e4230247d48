//! Project chores, run as `cargo xtask <command>`. Prints and starts processes, which no library crate does.
//!
//! To add a chore: write `<name>.rs`, then its two lines in [`CHORES`].
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command of its own, not a library")]

mod assets;
mod ci;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One command of `cargo xtask`.
struct Chore {
    name: &'static str,
    about: &'static str,
    /// Says with `Ok(false)` that the answer is "no", with `Err` that it could not find out.
    run: fn(&Path, &[String]) -> Result<bool, String>,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "tidy",
        about: "rules about the code that the compiler does not know",
        run: |root, arguments| none(arguments).and_then(|()| tidy::run(root)),
    },
    Chore {
        name: "ci",
        about: "what must pass before a change lands: format, lints, tidy, tests",
        run: |root, arguments| none(arguments).and_then(|()| ci::run(root)),
    },
    Chore { name: "assets", about: "fetch the models that tests and benchmarks use into .assets/", run: assets::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen = arguments.split_first().and_then(|(name, rest)| {
        let chore = CHORES.iter().find(|chore| chore.name == name)?;
        Some((chore, rest))
    });
    let Some((chore, rest)) = chosen else {
        eprintln!("usage: cargo xtask <command>\n");
        for chore in CHORES {
            eprintln!("  {:<6} {}", chore.name, chore.about);
        }
        return ExitCode::from(2);
    };
    match (chore.run)(&repository_root(), rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

/// An error if a chore that takes no arguments got some.
fn none(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => Ok(()),
        [first, ..] => Err(format!("`{first}` is no argument of this command")),
    }
}

/// The folder above this package.
fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("xtask/ lies in the repository").to_path_buf()
}
