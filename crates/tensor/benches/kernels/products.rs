//! The matrix product in both types, with packing (and rounding) in the time, as a training step has it.

use tsumugi_tensor::Cpu;
use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use tsumugi_tensor::memory::Buffer;

use crate::harness::{Bench, noise, time};

/// Those of training steps: `(m, n, k)`.
const SHAPES: [(usize, usize, usize); 24] = [
    (512, 3072, 768),
    (512, 768, 3072),
    (2048, 1536, 384),
    (2048, 384, 1536),
    (2048, 384, 384),
    (2048, 1152, 384),
    (2048, 512, 384),
    (384, 1536, 2048),
    (2048, 384, 8192),
    (1024, 1024, 1024),
    (256, 3072, 768),
    (256, 768, 3072),
    (3072, 768, 256),
    (512, 50_257, 768),
    (512, 768, 50_257),
    (50_257, 768, 512),
    (768, 384, 128),
    (768, 128, 128),
    (768, 512, 128),
    (768, 128, 512),
    (128, 512, 768),
    (128, 128, 768),
    (768, 65, 128),
    (65, 128, 768),
];
/// And those at which bfloat16 must not be slower than float32: rows and columns, k = 384.
const ROWS: [usize; 5] = [1, 3, 17, 64, 65];
const COLUMNS: [usize; 3] = [127, 384, 1000];
const INNER: usize = 384;

/// How the operands lie: `x W^T` of a layer's forward, `dy W` and `dy^T x` of its backward.
#[derive(Clone, Copy)]
enum Form {
    Nt,
    Nn,
    Tn,
}

const FORMS: [(&str, Form); 3] = [("NT", Form::Nt), ("NN", Form::Nn), ("TN", Form::Tn)];

/// Prints a row for each shape and form.
pub fn run(bench: &Bench) {
    let small = ROWS.iter().flat_map(|&m| COLUMNS.map(|n| (m, n, INNER)));
    let mut slower = Vec::new();
    for (m, n, k) in SHAPES.into_iter().chain(small) {
        let operands = [noise(m * k), noise(n * k)];
        for (name, form) in FORMS {
            let name = format!("product {m}x{n}x{k} {name}");
            if bench.wants(&name) {
                let ratio = row(bench, &name, (m, n, k), &operands, form);
                slower.extend((ratio < 1.0).then(|| format!("{name} ({ratio:.2})")));
            }
        }
    }
    if !slower.is_empty() {
        println!("slower in bfloat16 than in float32: {}", slower.join(", "));
    }
}

/// Prints a row; returns how many times as fast bfloat16 is, by medians.
fn row(bench: &Bench, name: &str, size: (usize, usize, usize), operands: &[Buffer; 2], form: Form) -> f64 {
    let (m, n, k) = size;
    let [mut c, mut c_bf16] = [Buffer::zeroed(m * n), Buffer::zeroed(m * n)];
    let multiply = |cpu: &Cpu, c: &mut [f32]| {
        let [a, b] = operands;
        let (a, b) = match form {
            Form::Nt => (MatrixA::Plain(a), MatrixB::Transposed(b)),
            Form::Nn => (MatrixA::Plain(a), MatrixB::Plain(b)),
            Form::Tn => (MatrixA::Transposed(a), MatrixB::Plain(b)),
        };
        gemm(cpu, size, a, b, c, false, Epilogue::default());
    };
    let seconds = time([&mut || multiply(&bench.f32, &mut c), &mut || multiply(&bench.bf16, &mut c_bf16)]);
    let flops = 2.0 * (m * n * k) as f64;
    let mut line = format!("{name:42}");
    for ((type_name, seconds), peak) in [("f32", seconds[0]), ("bf16", seconds[1])].into_iter().zip(bench.peaks) {
        let speed = flops / seconds.median;
        line += &format!(" {type_name} {:6.0} GFLOP/s {:3.0} %", speed / 1e9, 100.0 * speed / peak);
    }
    let [ratio, of_shortest] = seconds[1].ratios(seconds[0]);
    println!("{line}  bf16/f32 {ratio:.2}, of the shortest {of_shortest:.2}");
    ratio
}
