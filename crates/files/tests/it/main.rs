//! The tests of `tsumugi-files`, one binary.

mod admission;
mod folders;
mod mutations;
mod safetensors_format;
mod support;
