//! Tuning a model that exists: supervised fine-tuning on conversations.
//!
//! **Invariant:** the loop is `tsumugi_train::train` for every method that learns by batches of its own; what differs
//! is where the batches come from and what the loss counts. **Invariant:** what a method leaves is an ordinary model
//! folder, with the chat template that it was trained with.

pub mod conversations;
mod error;
pub mod methods;

pub use conversations::Conversations;
pub use error::TuneError;
