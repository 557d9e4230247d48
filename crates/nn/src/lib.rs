//! Layers by their textbook names: each holds the ids of its parameters and records itself on a tape.
//!
//! Shape letters, the same in every file: `r` rows (all positions of all sequences of a batch), `m` model
//! width, `n` outputs of a linear layer, `v` vocabulary, `h` query heads, `g` key/value heads, `d` head
//! width, `f` feed-forward width, `e` experts.
//!
//! **Invariant:** a layer knows no checkpoint name and no file.

pub mod attention;
pub mod embedding;
pub mod experts;
pub mod feed_forward;
pub mod init;
pub mod linear;
pub mod norm;
pub mod position;

pub use attention::SelfAttention;
pub use embedding::Embedding;
pub use experts::Experts;
pub use feed_forward::{FeedForward, FeedForwardKind};
pub use linear::Linear;
pub use norm::Norm;
pub use position::{LongRope, RopeScaling, Yarn, attention_factor, rotary_frequencies};
