//! The hub against servers of its own: a mock of the Hugging Face hub, of a package index and of a plain server, on
//! loopback. Nothing here leaves the machine.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod catalogue;
mod huggingface;
mod index;
mod mock;
mod url;
mod wheels;
