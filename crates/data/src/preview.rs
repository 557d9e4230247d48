//! Shows which tokens of a conversation are trained.

use tsumugi_tokenizer::{Tokenizer, TrainingConversation};

/// How trained text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreviewStyle {
    /// `⟦trained⟧`, for files and terminals without colour.
    Marked,
    /// Green, the rest dim (ANSI).
    Coloured,
}

/// The conversation as text, control tokens included, with what is trained marked. Control characters of the text
/// (escape sequences) are shown as U+FFFD, so that a text cannot command a terminal.
pub fn preview(tokenizer: &Tokenizer, conversation: &TrainingConversation, style: PreviewStyle) -> String {
    let (trained_from, trained_to, other_from, other_to) = match style {
        PreviewStyle::Marked => ("⟦", "⟧", "", ""),
        PreviewStyle::Coloured => ("\u{1b}[32m", "\u{1b}[0m", "\u{1b}[2m", "\u{1b}[0m"),
    };
    let mut text = String::new();
    let mut start = 0;
    for run in conversation.trained.chunk_by(|a, b| a == b) {
        let ids = &conversation.ids[start..start + run.len()];
        start += run.len();
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).into_owned()).collect();
        let (from, to) = if run[0] { (trained_from, trained_to) } else { (other_from, other_to) };
        text.push_str(from);
        text.extend(String::from_utf8_lossy(&bytes).chars().map(harmless));
        text.push_str(to);
    }
    text
}

fn harmless(character: char) -> char {
    match character {
        '\n' | '\t' => character,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}
