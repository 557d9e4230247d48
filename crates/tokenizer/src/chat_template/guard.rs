//! Keeps the text of messages from becoming control tokens; see the parent module for how.

use std::ops::RangeInclusive;

use crate::special_tokens::find_all;
use crate::{Message, SpecialToken, TokenId, Tokenizer};

/// Protects the messages of one conversation, and encodes what a template made of them.
pub(super) struct Guard<'a> {
    tokenizer: &'a Tokenizer,
    control: Vec<&'a SpecialToken>,
    /// A character that no message has.
    mark: char,
    used: bool,
}

/// Plane 15, whose characters mean nothing by themselves (Unicode: "private use").
const MARKS: RangeInclusive<char> = '\u{F0000}'..='\u{FFFFD}';

/// The first of [`MARKS`] that no text has. One pass: a client's text may use up tens of thousands of them. A text that
/// has them all loses the character of plane 16 that is then taken, and nothing else.
fn unused_mark<'t>(texts: impl Iterator<Item = &'t str>) -> char {
    let mut seen = vec![false; *MARKS.end() as usize - *MARKS.start() as usize + 1];
    for c in texts.flat_map(str::chars).filter(|c| MARKS.contains(c)) {
        seen[c as usize - *MARKS.start() as usize] = true;
    }
    MARKS.zip(seen).find(|(_, seen)| !seen).map_or('\u{100000}', |(mark, _)| mark)
}

impl<'a> Guard<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, messages: &[Message]) -> Self {
        let control: Vec<&SpecialToken> =
            tokenizer.special_tokens().iter().filter(|token| token.control && !token.content.is_empty()).collect();
        let texts = || messages.iter().flat_map(|message| [Some(&message.content), message.name.as_ref()]).flatten();
        let mark = unused_mark(texts().map(String::as_str));
        let mut guard = Self { tokenizer, control, mark, used: false };
        guard.used = texts().any(|text| guard.protect_text(text) != *text);
        guard
    }

    /// The messages with marks inside of whatever could be read as control.
    pub(super) fn protect(&self, messages: &[Message]) -> Vec<Message> {
        if !self.used {
            return messages.to_vec();
        }
        messages
            .iter()
            .map(|message| Message {
                role: message.role.clone(),
                content: self.protect_text(&message.content),
                name: message.name.as_deref().map(|name| self.protect_text(name)),
            })
            .collect()
    }

    /// Marks go behind the first character of every occurrence of a control token (overlapping ones too), and at a
    /// border that could complete one: a text that ends as one begins, or begins as one ends. Whitespace at the
    /// borders is left outside, because templates trim it.
    fn protect_text(&self, text: &str) -> String {
        let mut marks: Vec<usize> = Vec::new();
        for token in &self.control {
            let content = token.content.as_str();
            let first = content.chars().next().map_or(0, char::len_utf8);
            let mut from = 0;
            while let Some(at) = text[from..].find(content) {
                marks.push(from + at + first);
                from += at + first;
            }
            let (start, end) = (text.len() - text.trim_start().len(), text.trim_end().len());
            let inner = text.trim();
            if (1..content.len()).any(|cut| content.is_char_boundary(cut) && inner.ends_with(&content[..cut])) {
                marks.push(end);
            }
            if (1..content.len()).any(|cut| content.is_char_boundary(cut) && inner.starts_with(&content[cut..])) {
                marks.push(start);
            }
        }
        marks.sort_unstable();
        marks.dedup();
        let mut marked = String::with_capacity(text.len() + 4 * marks.len());
        let mut done = 0;
        for at in marks {
            marked.push_str(&text[done..at]);
            marked.push(self.mark);
            done = at;
        }
        marked.push_str(&text[done..]);
        marked
    }

    /// The ids of a rendered text. Without marks this is what Hugging Face gives for the whole text.
    pub(super) fn encode(&self, rendered: &str) -> Vec<TokenId> {
        if !self.used {
            return self.tokenizer.encode_with_special(rendered);
        }
        let mut ids = Vec::new();
        let mut done = 0;
        let mut strip = false;
        for (at, token) in find_all(&self.control, rendered) {
            let before = &rendered[done..at];
            let before = if strip { before.trim_start() } else { before };
            ids.extend(self.encode_plain(if token.strips_left { before.trim_end() } else { before }));
            ids.push(token.id);
            done = at + token.content.len();
            strip = token.strips_right;
        }
        let rest = &rendered[done..];
        ids.extend(self.encode_plain(if strip { rest.trim_start() } else { rest }));
        ids
    }

    fn encode_plain(&self, text: &str) -> Vec<TokenId> {
        self.tokenizer.encode(&text.replace(self.mark, ""))
    }

    /// Where the first turn in `text` ends: behind its first control token, or all of it.
    pub(super) fn end_of_turn(&self, text: &str) -> usize {
        find_all(&self.control, text).first().map_or(text.len(), |&(at, token)| at + token.content.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_first_unused_mark_is_found_in_one_pass() {
        assert_eq!(unused_mark(["a", "\u{F0001}"].into_iter()), '\u{F0000}');
        assert_eq!(unused_mark(["\u{F0001}b", "\u{F0000}"].into_iter()), '\u{F0002}');
        let all: String = MARKS.collect();
        assert_eq!(unused_mark([all.as_str()].into_iter()), '\u{100000}');
        // A search of the whole text for each candidate takes half a minute here.
        let hostile = format!("{}{all}", "a".repeat(2 << 20));
        let (almost, began) = (hostile.replace('\u{FFFFD}', ""), Instant::now());
        assert_eq!(unused_mark([almost.as_str()].into_iter()), '\u{FFFFD}');
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
