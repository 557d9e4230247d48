//! GFLOP/s of the float32 matrix product: the `gemm` crate's, as candle calls it, beside ours; in turn, in one process.
//!
//! `RAYON_NUM_THREADS=2 product [REPETITIONS]` prints the rows of a Markdown table (`--head`: its head too). The crate's own
//! function is `unsafe`, which this repository keeps out of such folders (`cargo xtask tidy`), so candle's `Tensor::matmul`
//! calls it. That allocates a zeroed result each time, so ours gets a new zeroed one each time as well. One process is one
//! number of threads, because candle reads it from the environment.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use candle_core::{Device, Tensor};
use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use tsumugi_tensor::{Compute, Cpu};

/// `(m, n, k)`, as in crates/tensor/examples/gemm_speed.rs: the products of a training step.
const SHAPES: [(usize, usize, usize); 15] = [
    (2048, 384, 384),
    (2048, 1152, 384),
    (2048, 1536, 384),
    (2048, 384, 1536),
    (384, 1536, 2048),
    (2048, 512, 384),
    (512, 3072, 768),
    (1024, 1024, 1024),
    (768, 384, 128),
    (768, 128, 128),
    (768, 512, 128),
    (768, 128, 512),
    (128, 512, 768),
    (128, 128, 768),
    (768, 65, 128),
];
/// The numbers of both matrices are below 0.5, so the sums over k are below 10 or so and their rounding is far below this.
const DIFFERENCE_MAX: f32 = 1e-3;
/// Each side's repetitions come in so many blocks, in turn with the other's, so that a slow moment hits both.
const BLOCKS: usize = 3;
const REPETITIONS: usize = 15;

/// Which matrices lie transposed: B (forward), none (gradient of the input), A (gradient of the weight).
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Nt,
    Nn,
    Tn,
}

struct Product {
    shape: (usize, usize, usize),
    form: Form,
    a: Vec<f32>,
    b: Vec<f32>,
    /// The same numbers.
    peer_a: Tensor,
    peer_b: Tensor,
}

impl Product {
    fn new(shape: (usize, usize, usize), form: Form) -> candle_core::Result<Self> {
        let (m, n, k) = shape;
        let (a, b) = (numbers(m * k, 12_289), numbers(n * k, 40_961));
        let tensor = |numbers: &[f32], rows, columns, transposed| {
            let tensor = Tensor::from_slice(numbers, (rows, columns), &Device::Cpu)?;
            if transposed { tensor.t() } else { Ok(tensor) }
        };
        let peer_a = if form == Form::Tn { tensor(&a, k, m, true)? } else { tensor(&a, m, k, false)? };
        let peer_b = if form == Form::Nt { tensor(&b, n, k, true)? } else { tensor(&b, k, n, false)? };
        Ok(Self { shape, form, a, b, peer_a, peer_b })
    }

    fn ours(&self, cpu: &Cpu) -> Vec<f32> {
        let (m, n, _) = self.shape;
        let mut c = vec![0.0; m * n];
        let a = if self.form == Form::Tn { MatrixA::Transposed(&self.a) } else { MatrixA::Plain(&self.a) };
        let b = if self.form == Form::Nt { MatrixB::Transposed(&self.b) } else { MatrixB::Plain(&self.b) };
        gemm(cpu, self.shape, a, b, &mut c, false, Epilogue::default());
        c
    }

    fn theirs(&self) -> candle_core::Result<Tensor> {
        self.peer_a.matmul(&self.peer_b)
    }

    /// An error if the two products are not the same.
    fn compare(&self, cpu: &Cpu) -> Result<(), Box<dyn Error>> {
        let theirs = self.theirs()?.flatten_all()?.to_vec1::<f32>()?;
        let largest = self.ours(cpu).iter().zip(&theirs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        if largest < DIFFERENCE_MAX {
            Ok(())
        } else {
            Err(format!("{:?}: results differ by {largest}", self.shape).into())
        }
    }

    /// GFLOP/s of ours and of theirs: medians.
    fn speeds(&self, cpu: &Cpu, repetitions: usize) -> candle_core::Result<[f64; 2]> {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..BLOCKS {
            // The first of a block warms up, and waits for the other side's threads to fall asleep.
            for repetition in 0..=repetitions.div_ceil(BLOCKS) {
                let begun = Instant::now();
                black_box(self.ours(cpu));
                if repetition > 0 {
                    seconds[0].push(begun.elapsed().as_secs_f64());
                }
            }
            for repetition in 0..=repetitions.div_ceil(BLOCKS) {
                let begun = Instant::now();
                black_box(self.theirs()?);
                if repetition > 0 {
                    seconds[1].push(begun.elapsed().as_secs_f64());
                }
            }
        }
        let (m, n, k) = self.shape;
        Ok(seconds.map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            2e-9 * (m * n * k) as f64 / seconds[seconds.len() / 2]
        }))
    }
}

/// Numbers spread evenly between -0.5 and 0.5, whose order repeats with no row of a matrix.
fn numbers(count: usize, period: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 7_919 % period) as f32 / period as f32 - 0.5).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let repetitions = arguments.iter().find(|x| *x != "--head").map_or(Ok(REPETITIONS), |x| x.parse())?.max(1);
    let threads = candle_core::utils::get_num_threads();
    let cpu = Cpu::detect(Some(threads))?.computing(Compute::F32);
    if arguments.iter().any(|x| x == "--head") {
        println!("| m x n x k | threads | NT ours | gemm | ratio | NN ours | gemm | ratio | TN ours | gemm | ratio |");
        println!("|---|---|---|---|---|---|---|---|---|---|---|");
    }
    for shape in SHAPES {
        let (m, n, k) = shape;
        let mut row = format!("| {m} x {n} x {k} | {threads} |");
        for form in [Form::Nt, Form::Nn, Form::Tn] {
            let product = Product::new(shape, form)?;
            product.compare(&cpu)?;
            let [ours, theirs] = product.speeds(&cpu, repetitions)?;
            row += &format!(" {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
        }
        println!("{row}");
    }
    Ok(())
}
