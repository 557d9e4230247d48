//! What the rules look at: every file of the repository that git does not ignore, and `cargo metadata`.

use std::fmt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A larger file is not read as text: no rule needs it.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// The repository as the rules see it.
#[derive(Default)]
pub struct Tree {
    /// Sorted by path.
    pub files: Vec<File>,
    /// The output of `cargo metadata --no-deps`.
    pub metadata: Value,
}

/// One file. `text` is empty for a binary one.
pub struct File {
    /// From the root, with `/`.
    pub path: String,
    pub text: String,
    pub size_bytes: u64,
}

/// One thing that is wrong, where, and what to do.
#[derive(Debug, PartialEq)]
pub struct Finding {
    path: String,
    /// From 1; 0 is the file as a whole.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.message),
            line => write!(formatter, "{}:{line}: {}", self.path, self.message),
        }
    }
}

impl Tree {
    /// Reads what git knows or would add. A file that is deleted but not yet committed is left out.
    pub fn read(root: &Path) -> Result<Self, String> {
        let listing = output(root, "git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        let files = paths.into_iter().filter_map(|path| File::read(root, path)).collect();
        let metadata = output(root, "cargo", &["metadata", "--no-deps", "--format-version", "1", "--offline"])?;
        let metadata = serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
        Ok(Self { files, metadata })
    }

    /// Whether the path is a file, or a folder with a file in it.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let is_inside = |file: &File| file.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.files.iter().any(|file| file.path == path || is_inside(file))
    }

    /// The text of a file, if it is there.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }

    /// Every Rust source file.
    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// A tree of strings, for the tests of the rules.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let file =
            |&(path, text): &(&str, &str)| File { path: path.into(), text: text.into(), size_bytes: text.len() as u64 };
        Self { files: files.iter().map(file).collect(), metadata: Value::Null }
    }
}

impl File {
    fn read(root: &Path, path: &str) -> Option<Self> {
        let full = root.join(path);
        let size_bytes = full.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        let bytes = if size_bytes <= TEXT_BYTES_MAX { std::fs::read(&full).ok()? } else { Vec::new() };
        let text = if bytes.contains(&0) { String::new() } else { String::from_utf8(bytes).unwrap_or_default() };
        Some(Self { path: path.into(), text, size_bytes })
    }

    /// The last part of the path, without its ending.
    pub fn stem(&self) -> &str {
        let name = self.name();
        name.split_once('.').map_or(name, |(stem, _)| stem)
    }

    /// The last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The path without its last part; empty at the root.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Numbered lines, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Numbered lines that are not a line comment, each cut at its `//` comment.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let cut = |(number, line)| (number, code_of(line));
        self.lines().map(cut).filter(|(_, code)| !code.trim().is_empty())
    }

    /// The reason in a first line `// tidy-allow(<what>): <reason>`, if it has one worth the name.
    pub fn allows(&self, what: &str) -> bool {
        let mark = format!("// tidy-allow({what}): ");
        let marks = self.text.lines().take_while(|line| line.starts_with("// tidy-allow("));
        marks.filter_map(|line| line.strip_prefix(&mark)).any(|reason| reason.trim().len() >= 10)
    }

    pub fn finding(&self, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, message: message.into() }
    }
}

/// The part of a line before `//`. A `//` right after `:` or inside a word is taken for an address in a string.
fn code_of(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Whether `word` occurs in `text` with no letter, digit or underscore beside it.
pub fn has_word(text: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + word.len()..].starts_with(is_word))
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let command = format!("{program} {}", arguments[0]);
    let run = Command::new(program).args(arguments).current_dir(root).output();
    let output = run.map_err(|error| format!("cannot start {command}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_found() {
        let tree = Tree::of(&[("docs/log.md", "")]);
        assert!(tree.has("docs/log.md") && tree.has("docs") && tree.has("docs/"));
        assert!(!tree.has("doc") && !tree.has("docs/log"));
    }

    #[test]
    fn a_mark_needs_a_reason_and_the_top_of_the_file() {
        let with = |text| Tree::of(&[("a.rs", text)]).files.remove(0).allows("file-length");
        assert!(with("// tidy-allow(file-length): one table of 900 rows\n//! x\n"));
        assert!(!with("// tidy-allow(file-length): yes\n//! x\n"));
        assert!(!with("//! x\n// tidy-allow(file-length): one table of 900 rows\n"));
        assert!(!with("// tidy-allow(function-length): one table of 900 rows\n//! x\n"));
    }

    #[test]
    fn comments_are_cut_and_addresses_are_not() {
        assert_eq!(code_of("let x = 1; // one"), "let x = 1; ");
        assert_eq!(code_of("let x = \"http://localhost\";"), "let x = \"http://localhost\";");
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("unsafe {", "unsafe") && has_word("(unsafe)", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe") && !has_word("notunsafe", "unsafe"));
    }
}
