//! The tests of `tsumugi-tensor`, one binary.

mod allocations;
mod attention;
mod coarse;
mod determinism;
mod elementary;
mod experts;
mod gemm;
mod gradients;
mod kernels;
mod muon;
mod planner;
mod quantized;
mod random_graphs;
mod recompute;
mod support;
mod transformer;
