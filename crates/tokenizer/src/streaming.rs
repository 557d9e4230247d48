//! Token ids to text one by one, never splitting a character.

use std::collections::VecDeque;

use crate::{TokenId, Tokenizer};

/// Decodes a growing sequence. All that [`Self::push`] and [`Self::finish`] return, joined, is what
/// [`Tokenizer::decode`] gives for the whole. (SentencePiece vocabularies: only if the byte tokens are UTF-8; their
/// decoder turns a whole run of bytes into U+FFFD for one bad byte, which a stream cannot take back.)
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    state: State,
}

enum State {
    /// Tokens are bytes.
    Bytes {
        /// What is not yet a whole character.
        pending: Vec<u8>,
        /// Whether a space would be the one that a text begins with.
        at_start: bool,
    },
    /// Another decoder (SentencePiece style) looks at neighbours: decode a window, and emit what it adds.
    Window {
        /// Tokens whose text may depend on each other; the first `emitted` only give context.
        ids: VecDeque<TokenId>,
        emitted: usize,
    },
}

impl<'a> StreamDecoder<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        let state = match tokenizer.tokens_are_bytes() {
            true => State::Bytes { pending: Vec::new(), at_start: true },
            false => State::Window { ids: VecDeque::new(), emitted: 0 },
        };
        Self { tokenizer, state }
    }

    /// What follows `before`, whose text is out already: where a decoder looks at neighbours, the space between is kept.
    pub(crate) fn after(tokenizer: &'a Tokenizer, before: &[TokenId]) -> Self {
        let mut decoder = Self::new(tokenizer);
        let mut shown = before.iter().copied().filter(|&id| !tokenizer.is_special(id));
        match &mut decoder.state {
            State::Bytes { at_start, .. } => {
                while let Some(id) = shown.next().filter(|_| *at_start) {
                    tokenizer.append_bytes(id, at_start, &mut Vec::new());
                }
            }
            State::Window { ids, emitted } => {
                // One token, or the bytes of one character.
                for id in shown.rev().take(4) {
                    ids.push_front(id);
                    let bytes: Vec<u8> = ids.iter().flat_map(|&id| tokenizer.token_bytes(id).into_owned()).collect();
                    if std::str::from_utf8(&bytes).is_ok() {
                        break;
                    }
                }
                *emitted = ids.len();
            }
        }
        decoder
    }

    /// Adds a token; returns the characters that it completes.
    pub fn push(&mut self, id: TokenId) -> String {
        if self.tokenizer.is_special(id) {
            return String::new();
        }
        match &mut self.state {
            State::Bytes { pending, at_start } => {
                self.tokenizer.append_bytes(id, at_start, pending);
                take_characters(pending)
            }
            State::Window { ids, emitted } => {
                ids.push_back(id);
                let bytes: Vec<u8> =
                    ids.iter().skip(*emitted).flat_map(|&id| self.tokenizer.token_bytes(id).into_owned()).collect();
                if std::str::from_utf8(&bytes).is_err_and(|error| error.error_len().is_none()) {
                    return String::new();
                }
                let added = window_text(self.tokenizer, ids, *emitted);
                ids.drain(..*emitted);
                *emitted = ids.len();
                added
            }
        }
    }

    /// Ends the sequence: what is left of an unfinished character comes as U+FFFD. Where the sequence was cut short, drop
    /// the decoder instead: the character's beginning is no mistake of the model.
    pub fn finish(self) -> String {
        match self.state {
            State::Bytes { pending, .. } => String::from_utf8_lossy(&pending).into_owned(),
            State::Window { ids, emitted } => window_text(self.tokenizer, &ids, emitted),
        }
    }
}

/// The text that the tokens after the first `emitted` add.
fn window_text(tokenizer: &Tokenizer, ids: &VecDeque<TokenId>, emitted: usize) -> String {
    let all: Vec<TokenId> = ids.iter().copied().collect();
    let before = tokenizer.decode(&all[..emitted]);
    let whole = tokenizer.decode(&all);
    // They change what came before only in a run with bad bytes, of which they then are a part.
    whole.strip_prefix(before.as_str()).map_or_else(|| tokenizer.decode(&all[emitted..]), str::to_owned)
}

/// Takes all whole characters off the front of `pending`, each invalid sequence as one U+FFFD, and leaves the
/// beginning of a character that may still become whole.
fn take_characters(pending: &mut Vec<u8>) -> String {
    let mut text = String::new();
    let mut used = 0;
    loop {
        match std::str::from_utf8(&pending[used..]) {
            Ok(valid) => {
                text.push_str(valid);
                used = pending.len();
                break;
            }
            Err(error) => {
                let valid = &pending[used..used + error.valid_up_to()];
                text.push_str(std::str::from_utf8(valid).expect("the validator just said so"));
                used += valid.len();
                match error.error_len() {
                    Some(bad) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        used += bad;
                    }
                    None => break,
                }
            }
        }
    }
    pending.drain(..used);
    text
}
