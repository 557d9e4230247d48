//! Lines and paragraphs taken out of a text, each by a rule that is counted.

use std::collections::HashSet;

use super::characters;
use super::hash::Fixed;

/// Phrases of the frame around a page's text, in lower case. A short line that holds one is taken out.
const BOILERPLATE: [&str; 24] = [
    "accept all cookies",
    "accept cookies",
    "all rights reserved",
    "back to top",
    "click here to",
    "cookie policy",
    "cookie settings",
    "enable javascript",
    "follow us on",
    "forgot your password",
    "javascript is disabled",
    "leave a comment",
    "log in or sign up",
    "lorem ipsum",
    "powered by",
    "privacy policy",
    "read more",
    "share on",
    "share this",
    "sign up for our",
    "skip to content",
    "skip to main content",
    "terms of use",
    "use of cookies",
];

/// A longer line is text that happens to speak of such things.
const BOILERPLATE_CHARACTERS_MAX: usize = 120;

/// Which lines and paragraphs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineRules {
    /// Short lines with a phrase of a page's frame: `line_boilerplate`.
    pub boilerplate: bool,
    /// Lines of at least so many characters that stood in the text before: `line_repeated`.
    pub repeated_line_characters: Option<usize>,
    /// Paragraphs (between empty lines) of at least so many characters that stood in the text before:
    /// `paragraph_repeated`.
    pub repeated_paragraph_characters: Option<usize>,
}

impl Default for LineRules {
    fn default() -> Self {
        Self { boilerplate: true, repeated_line_characters: Some(60), repeated_paragraph_characters: Some(20) }
    }
}

/// What was taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinesRemoved {
    /// Lines with a phrase of a page's frame.
    pub boilerplate: u64,
    /// Lines that stood before.
    pub repeated_lines: u64,
    /// Paragraphs that stood before.
    pub repeated_paragraphs: u64,
}

impl LineRules {
    /// The text without these lines; nothing if it has none. The line ends that stay are those of the text.
    pub fn apply(&self, text: &str) -> Option<(String, LinesRemoved)> {
        let mut removed = LinesRemoved::default();
        let mut kept = String::new();
        let mut lines = HashSet::with_hasher(Fixed);
        let mut paragraphs = HashSet::with_hasher(Fixed);
        for paragraph in paragraphs_of(text) {
            let is_long = reaches(paragraph.trim(), self.repeated_paragraph_characters);
            if is_long && !paragraphs.insert(paragraph.trim()) {
                removed.repeated_paragraphs += 1;
                continue;
            }
            for line in paragraph.split_inclusive('\n') {
                let content = characters::strip(line);
                if self.boilerplate && is_boilerplate(content) {
                    removed.boilerplate += 1;
                } else if reaches(content, self.repeated_line_characters) && !lines.insert(content) {
                    removed.repeated_lines += 1;
                } else {
                    kept.push_str(line);
                }
            }
        }
        (removed != LinesRemoved::default()).then_some((kept, removed))
    }
}

fn reaches(text: &str, characters: Option<usize>) -> bool {
    characters.is_some_and(|least| text.chars().take(least).count() == least)
}

fn is_boilerplate(line: &str) -> bool {
    if line.len() > 4 * BOILERPLATE_CHARACTERS_MAX || line.chars().count() > BOILERPLATE_CHARACTERS_MAX {
        return false;
    }
    let lower = line.to_lowercase();
    BOILERPLATE.iter().any(|phrase| lower.contains(phrase))
}

/// Paragraphs with the empty lines that follow them: joined they are the text.
fn paragraphs_of(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len();
        if let Some(gap) = rest.find("\n\n") {
            end = gap + rest[gap..].bytes().take_while(|byte| *byte == b'\n').count();
        }
        let (paragraph, after) = rest.split_at(end);
        rest = after;
        Some(paragraph)
    })
}
