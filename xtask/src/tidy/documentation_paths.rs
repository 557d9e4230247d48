//! A path that the documentation names is there: the map is tested. Checked are the links of every Markdown file and what
//! stands in backticks and begins like a folder of the repository.

use super::tree::{File, Finding, Tree};

const FOLDERS: &[&str] =
    &["crates/", "docs/", "xtask/", "tools/", "bench/", "recipes/", "examples/", ".ci/", ".cargo/"];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    files.flat_map(|file| check_file(tree, file)).collect()
}

fn check_file(tree: &Tree, file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_comment = false;
    for (number, line) in file.lines() {
        in_comment |= line.contains("<!--");
        if !in_comment {
            let paths = named_in_backticks(line).filter(|path| !tree.has(path));
            let links = links(line).filter(|link| !tree.has(&resolve(file.folder(), link)));
            for missing in paths.chain(links) {
                findings.push(file.finding(number, format!("`{missing}` is not there")));
            }
        }
        in_comment &= !line.contains("-->");
    }
    findings
}

/// Words in backticks that are a path from the root. Patterns (`*`, `<name>`, `{a,b}`) are left alone.
fn named_in_backticks(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let is_plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    quoted.filter(is_plain).filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

/// The targets of `[text](target)` inside the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let paths = targets.map(|target| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:"))
}

/// `../a` as seen from `folder`, from the root.
fn resolve(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, text), ("crates/base/src/lib.rs", ""), ("docs/log.md", "")]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_missing_path_is_found() {
        assert_eq!(found("README.md", "see `crates/bass/src`"), ["README.md:1: `crates/bass/src` is not there"]);
        assert_eq!(found("docs/a.md", "[log](logs.md)"), ["docs/a.md:1: `logs.md` is not there"]);
    }

    #[test]
    fn what_is_there_or_no_path_passes() {
        assert_eq!(
            found("README.md", "`crates/base/src` and [log](docs/log.md#today) and <https://example.org>"),
            [""; 0]
        );
        assert_eq!(found("docs/a.md", "[log](log.md), [base](../crates/base), [web](https://example.org/x)"), [""; 0]);
        assert_eq!(found("README.md", "`crates/<word>` `crates/*/src` `recipes/{a,b}.toml` `runs/x`"), [""; 0]);
        assert_eq!(found("README.md", "<!-- ![chat](docs/images/chat.png) -->"), [""; 0]);
    }
}
