//! Programs: Linux, Windows and macOS; scripts and Python under a model's name.

use super::{Format, archive, names, text};
use crate::context::{Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// Programs and libraries.
pub struct Executable;

impl Format for Executable {
    fn name(&self) -> &'static str {
        "program"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        kind(input.bytes).is_some() || script(input).is_some()
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let kind = kind(input.bytes).or_else(|| script(input)).unwrap_or_default();
        let versioned = input.name.contains(".so."); // libgomp.so.1
        let is_named = versioned || input.has_extension(names::PROGRAMS);
        let severity = if is_named { Severity::Low } else { rules::EXECUTABLE.severity };
        let message = format!("`{}` is {kind}", archive::shown(input.name));
        scan.find_as(&rules::EXECUTABLE, severity, Some(0), kind, message);
    }
}

/// What script has the name of weights.
fn script(input: &Input<'_>) -> Option<&'static str> {
    if !input.has_extension(names::MODELS) && !input.has_extension(names::WEIGHTS) || text::is_python_path(input) {
        return None;
    }
    match input.bytes.starts_with(b"#!") {
        true => Some("a script"),
        false => is_python(input.bytes).then_some("Python code"),
    }
}

/// Whether a text imports something as Python does it, and calls or defines something, or has a text run as Python. No weights
/// are such a text.
fn is_python(bytes: &[u8]) -> bool {
    const HEAD: usize = 64 << 10;
    let head = &bytes[..bytes.len().min(HEAD)];
    let is_text = |byte: &u8| *byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C);
    if !head.iter().all(is_text) {
        return false;
    }
    let text = String::from_utf8_lossy(head);
    let statements = || text.split(['\n', '\r', ';']).map(str::trim);
    statements().any(imports) && statements().any(acts) || evaluates(&text)
}

/// Whether a text calls what runs a text or imports by name, with an argument that Python would take: a text, or a name that goes
/// on. Lists of words have the words alone.
fn evaluates(text: &str) -> bool {
    let is_part = |before: char| before.is_alphanumeric() || matches!(before, '_' | '.' | '"' | '\'' | '#');
    let mut start = 0;
    text.split_inclusive(['\n', '\r']).any(|line| {
        let behind = &text[start..];
        start += line.len();
        !line.trim_start().starts_with('#')
            && ["exec", "eval", "execfile", "__import__"].iter().any(|word| {
                line.match_indices(word).any(|(at, _)| {
                    let argument = behind[at + word.len()..].trim_start_matches([' ', '\t']).strip_prefix('(');
                    argument.is_some_and(is_argument) && !line[..at].ends_with(is_part)
                })
            })
    })
}

/// Whether an argument of a call begins here.
fn is_argument(text: &str) -> bool {
    let text = text.trim_start();
    let name = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(name);
    let is_prefix = name.len() <= 2 && name.chars().all(|letter| "bBrRfFuU".contains(letter));
    rest.starts_with(['"', '\'']) && is_prefix || !name.is_empty() && rest.starts_with(['(', '.', '[', ')', ','])
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '.'))
}

/// Whether a statement is an import.
fn imports(statement: &str) -> bool {
    let code = statement.split('#').next().unwrap_or_default();
    let words: Vec<&str> = code.split_whitespace().collect();
    match words.as_slice() {
        ["import", _, ..] => code.trim_start()[6..].split(',').all(|part| {
            let words: Vec<&str> = part.split_whitespace().collect();
            matches!(words.as_slice(), [module] | [module, "as", _] if is_name(module))
        }),
        ["from", module, "import", _, ..] => is_name(module),
        _ => false,
    }
}

/// Whether a statement calls or defines something: no space stands before the parenthesis of a call.
fn acts(statement: &str) -> bool {
    let defines = ["def ", "class ", "async def "].iter().any(|word| statement.starts_with(word));
    let is_called = |before: char| before.is_alphanumeric() || matches!(before, '_' | ')' | ']');
    let calls = statement.match_indices('(').any(|(at, _)| statement[..at].ends_with(is_called));
    !statement.starts_with('#') && (calls || defines && statement.contains(':'))
}

/// What program begins here.
pub fn kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x7F, b'E', b'L', b'F', 1 | 2, 1 | 2, 1, ..] => Some("a Linux program"),
        [b'M', b'Z', ..] => {
            let at = u32::from_le_bytes(bytes.get(0x3C..0x40)?.try_into().ok()?) as usize;
            (bytes.get(at..at.checked_add(4)?)? == b"PE\0\0").then_some("a Windows program")
        }
        [0xCF | 0xCE, 0xFA, 0xED, 0xFE, _, 0, 0, 0 | 1, ..] => Some("a macOS program"),
        [0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 1..=8, ..] => Some("a macOS program"),
        _ => None,
    }
}
