//! The binary, run and compared as text. One integration binary: a new area is a new module.

mod bad_input;
mod chat;
mod data;
mod generate;
mod reference;
mod serve;
mod support;
mod tokenizer;
mod usage;
