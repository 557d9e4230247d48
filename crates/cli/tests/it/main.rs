//! The binary, run and compared as text. One integration binary: a new area is a new module.

#![allow(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod bad_input;
mod bench;
mod chat;
mod convert;
mod data;
mod embed;
mod generate;
mod ngram;
mod perplexity;
mod provenance;
mod pull;
mod quickstart;
mod reference;
mod scan;
mod serve;
mod support;
mod tokenizer;
mod train;
mod tune;
mod usage;
