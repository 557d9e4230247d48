//! The control tokens of our own models.

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
