//! The control tokens of our own models, and finding those of any model in text.

use crate::SpecialToken;

/// Begins every document and every conversation (BOS); the first of the specials.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Begins a system turn.
pub const SYSTEM: &str = "<|system|>";
/// Begins a user turn.
pub const USER: &str = "<|user|>";
/// Begins an assistant turn; what the generation prompt ends with.
pub const ASSISTANT: &str = "<|assistant|>";
/// Ends every turn (EOS of a chat).
pub const END: &str = "<|end|>";

/// All of them, in the order of their ids.
pub const ALL: [&str; 5] = [END_OF_TEXT, SYSTEM, USER, ASSISTANT, END];

/// [`ALL`] as owned strings, for [`crate::train::TrainingConfig::special_tokens`].
pub fn all() -> Vec<String> {
    ALL.map(str::to_owned).to_vec()
}

/// Where `tokens` occur in `text`, from left to right without overlap; of two that begin together the longer.
pub(crate) fn find_all<'a>(tokens: &[&'a SpecialToken], text: &str) -> Vec<(usize, &'a SpecialToken)> {
    let find = |token: &SpecialToken, from: usize| text[from..].find(&token.content).map(|at| from + at);
    let mut found = Vec::new();
    let mut from = 0;
    // Each token's next occurrence; it is looked for again only once it is passed, so that the work is linear.
    let mut next: Vec<(Option<usize>, &SpecialToken)> =
        tokens.iter().filter(|token| !token.content.is_empty()).map(|token| (find(token, 0), *token)).collect();
    loop {
        for (at, token) in &mut next {
            if at.is_some_and(|at| at < from) {
                *at = find(token, from);
            }
        }
        let candidates = next.iter().filter_map(|&(at, token)| Some((at?, token)));
        let Some((at, token)) = candidates.min_by_key(|&(at, token)| (at, std::cmp::Reverse(token.content.len())))
        else {
            return found;
        };
        found.push((at, token));
        from = at + token.content.len();
    }
}
