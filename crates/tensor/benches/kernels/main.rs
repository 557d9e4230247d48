//! Speed of the kernels beside the limits of the machine, and of the tape beside the same calls by hand:
//!
//! ```sh
//! cargo bench -p tsumugi-tensor                            # everything, some minutes
//! cargo bench -p tsumugi-tensor -- product                 # rows whose name has this word
//! cargo bench -p tsumugi-tensor -- attention --threads 1
//! ```
//!
//! What stands in one row is timed in turn, so that a disturbed moment disturbs all of it; only ratios within a row, and
//! shares of a limit on a quiet machine, mean something.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

mod attention;
mod explicit_step;
mod harness;
mod passes;
mod products;
mod quantized;
mod tape;

use harness::Bench;

fn main() {
    let bench = Bench::from_arguments(std::env::args().skip(1));
    products::run(&bench);
    quantized::run(&bench);
    attention::run(&bench);
    attention::run_cached(&bench);
    passes::run(&bench);
    tape::run(&bench);
}
