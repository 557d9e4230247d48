//! GFLOP/s of the product for the shapes of a training step:
//! `cargo run --release -p tsumugi-tensor --example gemm_speed [THREADS [f32|bf16]]`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Compute, Cpu};

fn main() {
    let threads = std::env::args().nth(1).and_then(|x| x.parse().ok());
    let compute = if std::env::args().nth(2).as_deref() == Some("bf16") { Compute::Bf16 } else { Compute::F32 };
    let cpu = Cpu::detect(threads).expect("an instruction set").computing(compute);
    println!("{} with {} threads, {}", cpu.isa().name(), cpu.pool().threads(), compute.name());
    let shapes = [
        (256, 3072, 768),
        (256, 768, 3072),
        (3072, 768, 256),
        (256, 50_257, 768),
        (256, 768, 50_257),
        (50_257, 768, 256),
        (2048, 384, 384),
        (2048, 1152, 384),
        (2048, 1536, 384),
        (2048, 384, 1536),
        (384, 1536, 2048),
        (2048, 512, 384),
        (512, 3072, 768),
        (512, 768, 3072),
        (2048, 384, 8192),
        (1024, 1024, 1024),
        (768, 384, 128),
        (768, 128, 128),
        (768, 512, 128),
        (768, 128, 512),
        (128, 512, 768),
        (128, 128, 768),
        (768, 65, 128),
    ];
    for (m, n, k) in shapes {
        // In huge pages, as values and parameters are.
        let (a, b, mut c) = (Buffer::zeroed(m * k), Buffer::zeroed(n * k), Buffer::zeroed(m * n));
        let mut line = format!("{m:5} x {n:5} x {k:5}:");
        for form in ["NT", "NN", "TN"] {
            let mut times: Vec<f64> = (0..15)
                .map(|_| {
                    let start = Instant::now();
                    let (a, b) = match form {
                        "NT" => (MatrixA::Plain(&a), MatrixB::Transposed(&b)),
                        "NN" => (MatrixA::Plain(&a), MatrixB::Plain(&b)),
                        _ => (MatrixA::Transposed(&a), MatrixB::Plain(&b)),
                    };
                    gemm(&cpu, (m, n, k), a, b, &mut c, false, Epilogue::default());
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let flop = 2.0 * (m * n * k) as f64;
            line += &format!("  {form} median {:5.0} best {:5.0}", flop / times[7] / 1e9, flop / times[0] / 1e9);
        }
        println!("{line}");
    }
}
