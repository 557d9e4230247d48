//! The layers of `docs/ARCHITECTURE.md`, held against `cargo metadata`: a crate uses only crates of a lower layer, and
//! some pairs never meet, not even through a third crate.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::tree::{Finding, Tree};

const PREFIX: &str = "tsumugi-";

/// `(crate, never reaches, why)`, along any chain of normal dependencies.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("scan", "tensor", "a scanner that can load a model can be made to run one"),
    ("scan", "nn", "a scanner that can load a model can be made to run one"),
    ("scan", "models", "a scanner that can load a model can be made to run one"),
    ("files", "tensor", "readers turn bytes into plain records"),
    ("files", "nn", "readers turn bytes into plain records"),
    ("files", "models", "readers turn bytes into plain records"),
    ("nn", "models", "a layer knows no checkpoint"),
    ("nn", "files", "a layer knows no checkpoint"),
    ("models", "tokenizer", "a model is ids to logits"),
    ("infer", "train", "serving carries no optimizer"),
    ("train", "infer", "an evaluation during a run comes in as a callback"),
    ("serve", "rag", "it reaches serve as a backend that cli hands in"),
    ("serve", "agents", "they reach serve as a backend that cli hands in"),
    ("eval", "tune", "what measures does not know what it measures"),
    ("eval", "redteam", "what measures does not know what it measures"),
    ("eval", "studies", "what measures does not know what it measures"),
];

/// `(outside package, crates that may name it, why)`.
const OUTSIDE: &[(&str, &[&str], &str)] = &[
    ("tokio", &["serve", "agents"], "async stays inside serve and agents"),
    ("axum", &["serve"], "only serve listens"),
    ("hyper", &["serve"], "only serve listens"),
    ("indicatif", &["cli"], "only cli draws"),
    ("mpi", &["mpi"], "only mpi knows the system's MPI library"),
    ("ureq", &["hub"], "only hub asks other machines"),
];

/// What the rule needs of one package.
struct Package {
    layer: Option<u64>,
    path: String,
    /// Names of packages of ours and of others; tests included.
    dependencies: BTreeSet<String>,
    /// Without dev-dependencies, which a user of the crate does not get.
    normal: BTreeSet<String>,
}

pub fn check(tree: &Tree) -> Vec<Finding> {
    let packages = packages(&tree.metadata);
    let mut findings = Vec::new();
    for (name, package) in &packages {
        let mut report = |message: String| findings.push(finding(package, message));
        let Some(layer) = package.layer else {
            report("no `[package.metadata.tsumugi] layer`; see the table in docs/ARCHITECTURE.md".into());
            continue;
        };
        for used in &package.dependencies {
            match packages.get(used.trim_start_matches(PREFIX)).and_then(|package| package.layer) {
                Some(lower) if used.starts_with(PREFIX) && lower >= layer => {
                    report(format!("layer {layer} uses `{used}` of layer {lower}; only lower layers may be used"));
                }
                _ => {}
            }
        }
        for (outside, allowed, why) in OUTSIDE {
            if package.dependencies.contains(*outside) && !allowed.contains(&name.as_str()) {
                report(format!("uses `{outside}`, which only {allowed:?} may: {why}"));
            }
        }
        for (_, never, why) in FORBIDDEN.iter().filter(|(from, ..)| from == name) {
            if reaches(&packages, name, never) {
                report(format!("reaches `{PREFIX}{never}`, which it must not: {why}"));
            }
        }
    }
    findings
}

fn finding(package: &Package, message: String) -> Finding {
    let file = super::tree::File { path: package.path.clone(), text: String::new(), size_bytes: 0 };
    file.finding(0, message)
}

/// The packages named `tsumugi-*`, by the rest of the name.
fn packages(metadata: &Value) -> BTreeMap<String, Package> {
    let root = metadata["workspace_root"].as_str().unwrap_or_default();
    let all = metadata["packages"].as_array().into_iter().flatten();
    let ours = all.filter_map(|package| {
        let word = package["name"].as_str()?.strip_prefix(PREFIX)?;
        let path = package["manifest_path"].as_str().unwrap_or_default();
        let path = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').to_string();
        let layer = package["metadata"]["tsumugi"]["layer"].as_u64();
        let names = |with_tests: bool| names_of(package, with_tests);
        Some((word.to_string(), Package { layer, path, dependencies: names(true), normal: names(false) }))
    });
    ours.collect()
}

fn names_of(package: &Value, with_tests: bool) -> BTreeSet<String> {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let kept = dependencies.filter(|dependency| with_tests || dependency["kind"].as_str() != Some("dev"));
    kept.filter_map(|dependency| Some(dependency["name"].as_str()?.to_string())).collect()
}

fn reaches(packages: &BTreeMap<String, Package>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        let Some(package) = packages.get(name).filter(|_| seen.insert(name)) else { continue };
        let used = package.normal.iter().filter_map(|name| name.strip_prefix(PREFIX));
        for next in used {
            if next == to {
                return true;
            }
            open.push(next);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(word: &str, layer: Option<u64>, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> =
            dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        json!({
            "name": format!("{PREFIX}{word}"),
            "manifest_path": format!("/r/crates/{word}/Cargo.toml"),
            "metadata": layer.map(|layer| json!({ "tsumugi": { "layer": layer } })),
            "dependencies": dependencies,
        })
    }

    fn messages(packages: &[Value]) -> Vec<String> {
        let metadata = json!({ "workspace_root": "/r", "packages": packages });
        check(&Tree { files: Vec::new(), metadata }).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lower_layers_are_fine() {
        let packages = [package("base", Some(0), &[]), package("tensor", Some(1), &[("tsumugi-base", None)])];
        assert_eq!(messages(&packages), [""; 0]);
    }

    #[test]
    fn the_same_layer_is_found_even_in_tests() {
        let packages = [package("tensor", Some(1), &[("tsumugi-files", Some("dev"))]), package("files", Some(1), &[])];
        assert_eq!(
            messages(&packages),
            ["crates/tensor/Cargo.toml: layer 1 uses `tsumugi-files` of layer 1; only lower layers may be used"]
        );
    }

    #[test]
    fn a_missing_layer_is_found() {
        assert_eq!(messages(&[package("base", None, &[])]).len(), 1);
    }

    #[test]
    fn a_forbidden_pair_is_found_through_a_third_crate() {
        let packages = [
            package("tokenizer", Some(2), &[]),
            package("classical", Some(2), &[]),
            package("hidden", Some(2), &[("tsumugi-tokenizer", None)]),
            package("models", Some(3), &[("tsumugi-hidden", None)]),
        ];
        let messages = messages(&packages);
        assert!(
            messages.iter().any(|message| message.contains("models") && message.contains("a model is ids to logits"))
        );
    }

    #[test]
    fn async_outside_serve_is_found() {
        assert_eq!(messages(&[package("serve", Some(5), &[("tokio", None)])]), [""; 0]);
        assert_eq!(messages(&[package("infer", Some(4), &[("tokio", None)])]).len(), 1);
    }
}
