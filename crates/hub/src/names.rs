//! Names that come from outside and become paths here.

use sha2::{Digest as _, Sha256};

/// Whether `name` is a relative path of plain parts, on every system: it can be joined to a folder and stays in it.
pub(crate) fn is_safe_path(name: &str) -> bool {
    const BYTES_MAX: usize = 1024;
    name.len() <= BYTES_MAX && name.split('/').all(is_safe_part)
}

/// One part of such a path. No `:`, which on Windows names a drive or a stream; no control characters; no dot or space at its
/// end, which Windows drops, so that two names would be one file (and `..` is refused with them).
fn is_safe_part(part: &str) -> bool {
    const BYTES_MAX: usize = 200; // file systems allow 255; `.incomplete` and the like are added
    let is_plain = |c: char| !c.is_control() && !"\\:*?\"<>|".contains(c);
    let is_sized = (1..=BYTES_MAX).contains(&part.len());
    is_sized && part.chars().all(is_plain) && !part.ends_with(['.', ' ']) && !is_device(part)
}

/// Whether Windows opens a device by this name, in every folder and whatever its ending: `aux`, `NUL.json`, `com1`. ("Naming
/// Files, Paths, and Namespaces" in Microsoft's documentation; the digits may be superscripts.)
fn is_device(part: &str) -> bool {
    let stem = part.split('.').next().unwrap_or(part).trim_end().to_ascii_lowercase();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let is_port = port.is_some_and(|number| number.chars().count() == 1 && number.contains(PORT_DIGITS));
    is_port || ["aux", "con", "conin$", "conout$", "nul", "prn"].contains(&stem.as_str())
}

const PORT_DIGITS: [char; 13] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '\u{b9}', '\u{b2}', '\u{b3}'];

/// Whether `text` is `digits` lower-case hexadecimal digits: a hash, which may name a file.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Hexadecimal digits of a SHA-256, and of a SHA-1.
pub(crate) const SHA256_DIGITS: usize = 64;
pub(crate) const SHA1_DIGITS: usize = 40;

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of what is in memory.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The last part of a path of the kind that hubs and archives have.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The one of `known` that differs from `word` in the fewest letters, if it is near.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|name| (edit_distance(word, name), name)).min()?;
    (near.0 <= word.len().max(near.1.len()) / 3).then_some(near.1)
}

/// Letters to insert, remove or replace (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_leave_its_folder_is_not_safe() {
        let plain = ["a", "a/b.json", "1_Pooling/config.json", ".gitattributes", "a b", "ü"];
        for name in plain.into_iter().chain(["auxiliary", "console.json", "com", "com10", "a.aux", "null", "lpt/x"]) {
            assert!(is_safe_path(name), "{name}");
        }
        let long = "a".repeat(201);
        for name in
            ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "...", "C:a", "a\\b", "a\0", "a\n", &long]
        {
            assert!(!is_safe_path(name), "{name:?}");
        }
        for name in ["aux", "a/NUL/b", "con.json", "Com1.tar.gz", "prn .x", "lpt\u{b9}", "conin$", "a.", "a /b", "b.."]
        {
            assert!(!is_safe_path(name), "{name:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["smollm2-135m", "gemma3-270m"];
        assert_eq!(nearest("smolm2-135m", known), Some("smollm2-135m"));
        assert_eq!(nearest("llama", known), None);
        assert_eq!((edit_distance("", "ab"), edit_distance("kitten", "sitting")), (2, 3));
    }
}
