//! The OpenAI API: requests in, answers out.
//!
//! The reference is the public description of `/v1/completions`, `/v1/chat/completions` and `/v1/embeddings`. A field of it that would
//! change the answer and that this server does not have is refused by name, never ignored; a field that would
//! not (`user`, `metadata`, `store`, …) is accepted. Beyond it are `top_k`, `min_p` and `repetition_penalty`
//! under the names that other servers gave them, and `minimum_room` (see `generation`).

pub mod body;
pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod error;
pub mod fields;
pub mod generation;
pub mod models;
pub mod stream;
