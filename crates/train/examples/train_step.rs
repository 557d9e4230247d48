//! The speed and profile of a training step: `cargo run --release -p tsumugi-train --example train_step -- gpt-512 10`.
#![allow(clippy::print_stdout)]

use tsumugi_tensor::Cpu;
use tsumugi_train::{StepOptions, bench};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let cpu = Cpu::detect(args.get(3).and_then(|threads| threads.parse().ok())).expect("an instruction set");
    let steps = args.get(2).and_then(|steps| steps.parse().ok()).unwrap_or(10);
    for case in bench::CASES.iter().filter(|case| args.get(1).is_none_or(|name| name == case.name)) {
        let measured = bench::train_step(case, StepOptions::default(), steps, true, &cpu).expect("a step");
        println!(
            "{} {} threads: {:.0} tokens/s, median {:.2} ms, min {:.2} ms, {:.1} % of {:.0} GFLOP/s, {} MiB",
            measured.case,
            measured.threads,
            measured.tokens_per_second,
            1e3 * measured.step_seconds,
            1e3 * measured.step_seconds_min,
            100.0 * measured.share_of_peak,
            measured.peak_flops_per_second / 1e9,
            measured.peak_memory_bytes.unwrap_or(0) >> 20
        );
        for (name, milliseconds) in &measured.profile {
            println!("    {name:32} {milliseconds:9.3} ms");
        }
    }
}
