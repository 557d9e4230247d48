//! Drama to conversations: `NAME:`, a speech on the following lines, an empty line (as in tiny Shakespeare).
//!
//! Every speech that answers another character's speech becomes an assistant's turn exactly once. Speeches `A B A B A`
//! give two conversations: one with B as the assistant (`A→B, A→B`), one with A (`B→A, B→A`). The text marks no
//! scenes; a conversation ends where its character does not answer every second speech any more, which is at the
//! latest the scene's end but for a character who speaks on both sides of it.

use serde::{Deserialize, Serialize};
use tsumugi_base::rng::Key;
use tsumugi_tokenizer::Message;

use crate::DataError;

/// What one character says at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speech<'a> {
    /// Who speaks, as the text writes it.
    pub speaker: &'a str,
    /// What is said, without surrounding whitespace.
    pub text: &'a str,
}

/// How conversations are made from speeches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DialogueConfig {
    /// Exchanges (a user's and an assistant's turn) of one conversation at most.
    pub exchanges_max: usize,
    /// The share of conversations in which the user's turns carry the speaker's name: the model then serves users
    /// who give a name and users who do not.
    pub named_share: f32,
    /// Chooses which.
    pub seed: u64,
}

impl Default for DialogueConfig {
    fn default() -> Self {
        Self { exchanges_max: 4, named_share: 0.5, seed: 0 }
    }
}

/// The training part and the held-out part of a text, the same in every stage: the last tenth of the bytes, cut at
/// the line border before it. A text without one is cut at a character.
pub fn split(text: &str) -> (&str, &str) {
    let tenth = text.floor_char_boundary(text.len() - text.len() / 10);
    let line = text[..tenth].rfind('\n').map(|newline| newline + 1);
    text.split_at(line.unwrap_or(tenth))
}

/// The speeches in order. A paragraph belongs to the speech before it unless its first line is a name with a colon;
/// what comes before the first name, and names that nothing follows, are left out.
pub fn speeches(text: &str) -> Result<Vec<Speech<'_>>, DataError> {
    let mut found: Vec<(&str, usize, usize)> = Vec::new();
    let mut paragraphs = 0;
    for (start, paragraph) in paragraphs_of(text) {
        paragraphs += 1;
        let end = start + paragraph.len();
        let (first_line, _) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        match (name_of(first_line), found.last_mut()) {
            (Some(name), _) => found.push((name, end.min(start + first_line.len() + 1), end)),
            (None, Some(last)) => last.2 = end,
            (None, None) => {}
        }
    }
    let speeches: Vec<Speech<'_>> = found
        .into_iter()
        .map(|(speaker, start, end)| Speech { speaker, text: text[start..end].trim() })
        .filter(|speech| !speech.text.is_empty())
        .collect();
    if speeches.is_empty() {
        return Err(DataError::NoSpeeches { paragraphs });
    }
    Ok(speeches)
}

/// Paragraphs with where they start; empty lines part them.
fn paragraphs_of(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < text.len() {
            let start = at;
            while let Some(line) = text[at..].split_inclusive('\n').next().filter(|line| !line.trim().is_empty()) {
                at += line.len();
            }
            let paragraph = &text[start..at];
            // Over the empty line that ended it.
            at += text[at..].split_inclusive('\n').next().map_or(0, str::len);
            if !paragraph.is_empty() {
                return Some((start, paragraph));
            }
        }
        None
    })
}

/// A name is short, begins with an upper-case letter, has no punctuation, and ends the line with its colon.
fn name_of(line: &str) -> Option<&str> {
    let name = line.trim().strip_suffix(':')?.trim_end();
    let short = name.len() <= 48 && name.split_whitespace().count() <= 6;
    (short && name.starts_with(char::is_uppercase) && !name.contains(['.', ',', '!', '?', ';', ':'])).then_some(name)
}

/// Conversations from the speeches of a text; see the module for the rule.
pub fn conversations(speeches: &[Speech<'_>], config: &DialogueConfig) -> Vec<Vec<Message>> {
    let answers = |at: usize| at > 0 && at < speeches.len() && speeches[at - 1].speaker != speeches[at].speaker;
    let key = Key::from_seed(config.seed).derive(&[DIALOGUE]);
    let mut used = vec![false; speeches.len()];
    let mut conversations = Vec::new();
    for first in 1..speeches.len() {
        if used[first] || !answers(first) {
            continue;
        }
        let speaker = speeches[first].speaker;
        let mut messages = vec![Message::new("system", system_message(speaker))];
        let named = key.uniform(first as u64) < config.named_share;
        let mut at = first;
        for _ in 0..config.exchanges_max.max(1) {
            let asked = speeches[at - 1];
            let name = named.then(|| asked.speaker.to_owned());
            messages.push(Message { role: "user".into(), content: asked.text.to_owned(), name });
            messages.push(Message::new("assistant", speeches[at].text));
            used[at] = true;
            at += 2;
            if at >= speeches.len() || speeches[at].speaker != speaker || !answers(at) {
                break;
            }
        }
        conversations.push(messages);
    }
    conversations
}

/// Our part of the key space of a seed.
const DIALOGUE: u64 = 0x6469_616c;

/// Tells the model whom to be.
pub fn system_message(character: &str) -> String {
    format!("You are {character}.")
}

/// The characters by how often they speak, the most frequent first; ties in the order of the alphabet.
pub fn characters<'a>(speeches: &[Speech<'a>]) -> Vec<(&'a str, usize)> {
    let mut counts: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for speech in speeches {
        *counts.entry(speech.speaker).or_default() += 1;
    }
    let mut characters: Vec<(&str, usize)> = counts.into_iter().collect();
    characters.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    characters
}
