//! The server over real sockets, with a model without weights.

mod client;
mod embeddings;
mod garbage;
mod generation;
mod guard;
mod life;
mod mock;
mod requests;
