//! `cargo xtask assets`: the models that tests and benchmarks use, into `.assets/`, by the product's own `pull`.
//!
//! `tsumugi_base::testing::asset` finds them there. Gemma has terms of its own: it comes only with `--accept-gemma-terms`,
//! and nothing that must pass depends on it.

use std::path::Path;
use std::process::Command;

/// Names of the catalogue; each lies in `.assets/models/NAME/` afterwards.
const MODELS: &[&str] = &["smollm2-135m", "all-minilm-l6-v2"];
const GEMMA: &str = "gemma3-270m";
const GEMMA_FLAG: &str = "--accept-gemma-terms";

/// Fetches what is not there yet. Tries every model, also after one that failed.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let with_gemma = match arguments {
        [] => false,
        [flag] if flag == GEMMA_FLAG => true,
        _ => return Err(format!("usage: cargo xtask assets [{GEMMA_FLAG}]")),
    };
    let mut all_here = true;
    for model in MODELS {
        all_here &= pull(root, &[model])?;
    }
    if with_gemma {
        all_here &= pull(root, &[GEMMA, "--accept-licence"])?;
    }
    Ok(all_here)
}

fn pull(root: &Path, arguments: &[&str]) -> Result<bool, String> {
    let command = ["run", "--quiet", "--locked", "--package", "tsumugi-cli", "--", "pull"];
    println!("$ tsumugi pull {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(command)
        .args(arguments)
        .env("TSUMUGI_HOME", root.join(".assets"))
        .current_dir(root)
        .status()
        .map_err(|error| format!("cannot start cargo run: {error}"))?;
    Ok(status.success())
}
