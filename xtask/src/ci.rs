//! `cargo xtask ci`: what must pass before a change lands, cheapest first. Prints each command before it runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The command that the README names, and with it everything that is tested.
const TEST: &[&str] = &["test", "--workspace", "--locked", "--no-fail-fast"];
const FORMAT: &[&str] = &["fmt", "--all", "--check"];
const LINTS: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--keep-going", "--", "-D", "warnings"];

/// Where a test leaves a file named after each asset that it missed (`tsumugi_base::testing::asset`).
const SKIPPED_ASSETS: &str = "target/skipped-assets";

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
    let skipped = root.join(SKIPPED_ASSETS);
    empty(&skipped)?;
    note("tests", cargo(root, TEST)?);
    print_skipped(&skipped_assets(&skipped)?);
    match failed.as_slice() {
        [] => println!("ci: all checks passed"),
        failed => println!("ci: failed: {}", failed.join(", ")),
    }
    Ok(failed.is_empty())
}

/// A file of an earlier run would count as skipped in this one.
fn empty(folder: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot empty {}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The names of the assets that tests missed, each once.
fn skipped_assets(folder: &Path) -> Result<Vec<String>, String> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let paths = std::fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_, _>>().map_err(failed)?;
    let mut names: Vec<String> = paths.iter().map(std::fs::read_to_string).collect::<Result<_, _>>().map_err(failed)?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn print_skipped(assets: &[String]) {
    for asset in assets {
        println!("skipped: the asset `{asset}` is not here");
    }
    println!("assets that tests missed: {}", assets.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_assets_are_named_once_and_those_of_an_earlier_run_are_gone() {
        let folder = std::env::temp_dir().join(format!("tsumugi-xtask-skipped-{}", std::process::id()));
        empty(&folder).unwrap();
        assert_eq!(skipped_assets(&folder), Ok(vec![]));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, name) in [("b_c", "b/c"), ("a", "a"), ("b-c", "b/c")] {
            std::fs::write(folder.join(file), name).unwrap();
        }
        assert_eq!(skipped_assets(&folder), Ok(vec!["a".to_owned(), "b/c".to_owned()]));
        empty(&folder).unwrap();
        assert!(!folder.exists());
    }
}
