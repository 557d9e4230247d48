//! `cargo xtask ci`: what must pass before a change lands, cheapest first. Prints each command before it runs it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The command that the README names, and with it everything that is tested.
const TEST: &[&str] = &["test", "--workspace", "--locked"];
const FORMAT: &[&str] = &["fmt", "--all", "--check"];
const LINTS: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--", "-D", "warnings"];

/// Runs every check, also after one that failed, so that one run shows all that is wrong.
pub fn run(root: &Path) -> Result<bool, String> {
    let mut failed = Vec::new();
    let mut note = |name: &'static str, passed: bool| {
        if !passed {
            failed.push(name);
        }
    };
    note("format", cargo(root, FORMAT)?);
    println!("$ cargo xtask tidy");
    note("tidy", crate::tidy::run(root)?);
    note("lints", cargo(root, LINTS)?);
    note("tests", cargo(root, TEST)?);
    match failed.as_slice() {
        [] => println!("ci: all checks passed"),
        failed => println!("ci: failed: {}", failed.join(", ")),
    }
    Ok(failed.is_empty())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<bool, String> {
    println!("$ cargo {}", arguments.join(" "));
    let start = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .status()
        .map_err(|error| format!("cannot start cargo {}: {error}", arguments[0]))?;
    println!("cargo {}: {status} after {:.0} s", arguments[0], start.elapsed().as_secs_f64());
    Ok(status.success())
}
