//! Plain texts: YAML, templates, code, notes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Format, json, secrets, template};
use crate::context::{Expectation, Input, Scan};
use crate::finding::Severity;
use crate::pickle;
use crate::rules;

/// Texts.
pub struct Text;

/// Extensions of YAML.
pub const YAML: &[&str] = &["yaml", "yml"];

/// Larger ones are corpora, not configurations.
const BYTES_MAX: usize = 64 << 20;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.expectation == Expectation::File
            && !input.bytes.is_empty()
            && is_text(input.bytes)
            && (!input.has_extension(super::names::MODELS) || is_python_path(input))
            && !json::Json.claims(input)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        let is_yaml = input.has_extension(YAML);
        if input.bytes.len() > BYTES_MAX {
            if is_yaml {
                scan.unread(None, "a YAML file of more than 64 MiB is not looked at");
            }
            return;
        }
        secrets::look(input.bytes, scan);
        pickle::tell_hidden(input.bytes, scan);
        if is_python_path(input) && String::from_utf8_lossy(input.bytes).lines().any(|line| line.starts_with("import"))
        {
            let message = "Python runs its lines of `import` where it lies among installed packages";
            scan.find(&rules::PYTHON_FILE, Some(0), "pth", message);
        }
        if is_yaml || input.has_extension(&["jinja", "jinja2", "j2", "template", "tmpl"]) {
            let text = String::from_utf8_lossy(input.bytes);
            if is_yaml {
                yaml(&text, scan);
            }
            template::lint(&text, scan);
        }
    }
}

/// Whether bytes begin as a text in UTF-8 does.
pub fn is_text(bytes: &[u8]) -> bool {
    const HEAD: usize = 1024;
    let head = &bytes[..bytes.len().min(HEAD)];
    let is_control = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0C);
    let is_utf8 = std::str::from_utf8(head).map_or_else(|error| error.error_len().is_none(), |_| true);
    is_utf8 && !head.iter().any(is_control)
}

/// Texts in UTF-16 with its mark: YAML's readers take them, and words are found in them only when they are decoded.
pub struct Utf16;

impl Format for Utf16 {
    fn name(&self) -> &'static str {
        "UTF-16"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        const HEAD: usize = 1024;
        let head = &input.bytes[..input.bytes.len().min(HEAD)];
        let is_text = |text: String| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
        input.expectation == Expectation::File
            && decoded(head).is_some_and(|text| text.map_or(head.len() == HEAD, is_text))
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        if input.bytes.len() > BYTES_MAX {
            return scan.unread(None, "a text in UTF-16 of more than 64 MiB is not looked at");
        }
        match decoded(input.bytes) {
            Some(Ok(text)) => scan.within("UTF-8", |scan| scan.input(&Input { bytes: text.as_bytes(), ..*input })),
            _ => scan.find(&rules::BROKEN_FILE, Some(0), "UTF-16", "it is marked as UTF-16, and is none"),
        }
    }
}

/// The text behind a mark of UTF-16; none without one.
fn decoded(bytes: &[u8]) -> Option<Result<String, std::string::FromUtf16Error>> {
    let (mark, rest) = bytes.split_first_chunk::<2>()?;
    let unit = match mark {
        [0xFF, 0xFE] => u16::from_le_bytes,
        [0xFE, 0xFF] => u16::from_be_bytes,
        _ => return None,
    };
    let units: Vec<u16> = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    Some(String::from_utf16(&units))
}

/// Whether it is a `.pth` file of a Python environment: lines of paths, comments, and imports that Python runs when it starts.
/// No pickle begins so.
pub fn is_python_path(input: &Input<'_>) -> bool {
    const BYTES_MAX: usize = 64 << 10;
    if !input.has_extension(&["pth"]) || input.bytes.len() > BYTES_MAX {
        return false;
    }
    let Ok(text) = std::str::from_utf8(input.bytes) else { return false };
    let is_one = |line: &str| {
        let begins = ["#", "import ", "import\t", "/", "./", "../"].iter().any(|start| line.starts_with(start));
        begins && !line.contains(|c: char| c.is_control() && c != '\t')
    };
    !text.trim().is_empty() && text.lines().all(|line| line.trim().is_empty() || is_one(line))
}

/// The key whose value Hydra imports and calls.
const TARGET: &str = "_target_";

/// Where a value is further from its key, or is longer, it is not understood.
const NEAR: usize = 4096;

/// What a value of YAML is, as far as it can be told without a parser.
enum Scalar<'t> {
    /// A text on one line.
    Text(&'t str),
    /// The value of an anchor.
    Alias(&'t str),
    /// Nothing that can be called.
    None,
    /// Written in a way that is not understood.
    Unclear,
}

/// Tells what a YAML file constructs or has called.
pub fn yaml(text: &str, scan: &mut Scan<'_>) {
    let text = text.replace(['\r', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    let spelled = unescaped(&text);
    for tag in ["!!python/", "tag:yaml.org,2002:python/"] {
        if let Some(at) = text.find(tag) {
            scan.find(&rules::UNSAFE_YAML, Some(at), tag, format!("it has the tag `{tag}…`"));
        }
    }
    let mut names = BTreeSet::new();
    let mut is_unclear = targets(&text, &mut names);
    if let Cow::Owned(spelled) = &spelled {
        is_unclear |= targets(spelled, &mut names);
    }
    for name in names {
        json::check_target(name, scan);
    }
    if is_unclear {
        let message = "it has a `_target_` called that is written so that it cannot be judged";
        scan.find_as(&rules::CONFIG_TARGET, Severity::Medium, None, TARGET, message);
    }
}

/// Collects what `_target_` keys name. True where one is not understood.
fn targets<'t>(text: &'t str, names: &mut BTreeSet<&'t str>) -> bool {
    let (mut line, mut seen, mut is_comment, mut is_unclear) = (0, 0, text.starts_with('#'), false);
    let mut aliases = BTreeSet::new();
    let has_anchors = text.contains('&') && text.contains('*');
    for (at, _) in text.match_indices(TARGET) {
        if let Some(end) = text[seen..at].rfind('\n') {
            line = seen + end + 1;
            is_comment = text[line..].trim_start_matches([' ', '\t']).starts_with('#');
        }
        seen = at;
        let is_part =
            text[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '.' | '-'));
        if is_comment || is_part {
            continue;
        }
        let after = near(text, at + TARGET.len());
        let quoted = after.strip_prefix(['"', '\'']);
        let Some(next) = past_space(quoted.unwrap_or(after)) else {
            is_unclear |= after.len() >= NEAR - 4;
            continue;
        };
        let Some(value) = next.strip_prefix(':') else {
            // An anchor on the name, which another line makes a key.
            let is_whole = quoted.unwrap_or(after).starts_with(['\n', ' ', ',', ']', '}']);
            let before = text[line..at].trim_end_matches(['"', '\'', ' ']);
            is_unclear |= is_whole && has_anchors && (before.contains('&') || before.is_empty());
            continue;
        };
        match scalar(value) {
            Scalar::Text(name) => is_unclear |= !take(name, names),
            Scalar::Alias(name) => drop(aliases.insert(name)),
            Scalar::None => {}
            Scalar::Unclear => is_unclear = true,
        }
    }
    for alias in aliases.iter().take(ALIASES_MAX) {
        is_unclear |= !anchored(text, alias, names);
    }
    is_unclear || aliases.len() > ALIASES_MAX
}

/// More aliases of functions have no configurations.
const ALIASES_MAX: usize = 64;

/// Collects the values of an anchor. False where one is not understood or there is none.
fn anchored<'t>(text: &'t str, name: &str, names: &mut BTreeSet<&'t str>) -> bool {
    let mut is_clear = false;
    for (at, anchor) in text.match_indices(&format!("&{name}")) {
        match scalar(near(text, at + anchor.len())) {
            Scalar::Text(value) if take(value, names) => is_clear = true,
            Scalar::None => {}
            _ => return false,
        }
    }
    is_clear
}

/// Collects a name. False where it is computed or escaped.
fn take<'t>(name: &'t str, names: &mut BTreeSet<&'t str>) -> bool {
    names.insert(name);
    !name.contains(['$', '\\', '*', '&', '!', '%', '@', '`'])
}

/// The value behind a colon.
fn scalar(text: &str) -> Scalar<'_> {
    let mut rest = text;
    loop {
        let Some(value) = past_space(rest) else {
            return if text.len() >= NEAR / 2 { Scalar::Unclear } else { Scalar::None };
        };
        let word_end = value.find([' ', '\t', '\n', ',', ']', '}']);
        let word = &value[..word_end.unwrap_or(value.len())];
        return match value.as_bytes()[0] {
            // Properties of the value stand before it.
            b'&' | b'!' => {
                rest = &value[word.len()..];
                continue;
            }
            b'*' => Scalar::Alias(&word[1..]),
            quote @ (b'"' | b'\'') => match value[1..].split_once(char::from(quote)) {
                Some((inner, _)) if !inner.contains('\n') => Scalar::Text(inner.trim()),
                _ => Scalar::Unclear,
            },
            b'|' | b'>' => match value.split_once('\n') {
                Some((_, block)) if !block.trim().is_empty() => {
                    Scalar::Text(block.trim_start().lines().next().unwrap_or_default().trim_end())
                }
                _ => Scalar::Unclear,
            },
            b'{' | b'[' | b'~' => Scalar::None,
            _ if word_end.is_none() && value.len() >= NEAR / 2 => Scalar::Unclear,
            _ => Scalar::Text(word),
        };
    }
}

/// What stands behind white space, line breaks and comments.
fn past_space(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start_matches([' ', '\t', '\n']);
        if !text.starts_with('#') {
            return (!text.is_empty()).then_some(text);
        }
        text = text.split_once('\n')?.1;
    }
}

/// The text from a place on, as far as one looks.
fn near(text: &str, start: usize) -> &str {
    let mut end = text.len().min(start + NEAR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[start..end]
}

/// The text with its escaped letters and line breaks read, wherever they stand.
fn unescaped(text: &str) -> Cow<'_, str> {
    let mut read = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        read.push_str(before);
        let digits = match escape.as_bytes().first() {
            Some(b'x') => 2,
            Some(b'u') => 4,
            Some(b'U') => 8,
            Some(b'\n') => {
                rest = escape.trim_start_matches([' ', '\t', '\n']);
                continue;
            }
            _ => 0,
        };
        let code = escape.get(1..=digits).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code.and_then(char::from_u32) {
            Some(letter) => {
                read.push(letter);
                rest = &escape[1 + digits..];
            }
            None => {
                read.push('\\');
                rest = escape;
            }
        }
    }
    if rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    read.push_str(rest);
    Cow::Owned(read)
}

#[cfg(test)]
mod tests {
    use crate::{Limits, Severity, scan_bytes};

    #[test]
    fn paths_of_python_are_no_pickles() {
        let worst = |bytes: &[u8]| scan_bytes(bytes, "a.pth", &Limits::default()).worst();
        let setuptools = "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; enabled = os.environ.get(var, 'local') == 'local'; \
            enabled and __import__('_distutils_hack').add_shim(); ";
        assert_eq!(worst(setuptools.as_bytes()), Some(Severity::Low));
        assert_eq!(worst(b"# ours\n\n/usr/lib/python3/dist-packages\n../src\n"), None);
        assert_eq!(worst(b"cos\nsystem\n(S'true'\ntR."), Some(Severity::Critical));
        assert_eq!(worst(b"cmine\nmake\n(S'true'\ntR."), Some(Severity::Medium));
        assert_eq!(worst(b"version https://git-lfs.github.com/spec/v1\n"), Some(Severity::Medium));
    }
}
