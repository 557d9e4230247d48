//! The `tsumugi` binary.
fn main() {}
