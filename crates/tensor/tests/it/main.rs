//! The tests of `tsumugi-tensor`, one binary (but `allocations.rs`, which counts what the process allocates).

mod support;
mod transformer;
