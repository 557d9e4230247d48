//! GFLOP/s of the float32 matrix product: the `gemm` crate's beside ours; in turn, in one process.
//!
//! `RAYON_NUM_THREADS=2 product [REPETITIONS]` prints the rows of a Markdown table (`--head`: its head too). One process is one
//! number of threads, because rayon's pool stands once.

use std::error::Error;
use std::time::Instant;

use ::gemm::Parallelism;
use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use tsumugi_tensor::{Compute, Cpu};

/// `(m, n, k)`, as in crates/tensor/benches/kernels/products.rs: the products of a training step.
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
    /// The results.
    ours: Vec<f32>,
    theirs: Vec<f32>,
}

impl Product {
    fn new(shape: (usize, usize, usize), form: Form) -> Self {
        let (m, n, k) = shape;
        let (a, b) = (numbers(m * k, 12_289), numbers(n * k, 40_961));
        Self { shape, form, a, b, ours: vec![0.0; m * n], theirs: vec![0.0; m * n] }
    }

    fn ours(&mut self, cpu: &Cpu) {
        let a = if self.form == Form::Tn { MatrixA::Transposed(&self.a) } else { MatrixA::Plain(&self.a) };
        let b = if self.form == Form::Nt { MatrixB::Transposed(&self.b) } else { MatrixB::Plain(&self.b) };
        gemm(cpu, self.shape, a, b, &mut self.ours, false, Epilogue::default());
    }

    fn theirs(&mut self, threads: usize) {
        let (m, n, k) = self.shape;
        let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
        // Distance from column to column and from row to row.
        let (a_column, a_row) = if self.form == Form::Tn { (m, 1) } else { (1, k) };
        let (b_column, b_row) = if self.form == Form::Nt { (k, 1) } else { (1, n) };
        let (c, a, b) = (self.theirs.as_mut_ptr(), self.a.as_ptr(), self.b.as_ptr());
        let signed = |distance: usize| distance as isize;
        let [a_column, a_row, b_column, b_row, c_row] = [a_column, a_row, b_column, b_row, n].map(signed);
        // The factors are of the old C, which is not read, and of the product; then what is to be conjugated: nothing.
        // SAFETY: `new` made A, B and C of m k, n k and m n numbers, and the distances are those of their layouts.
        unsafe {
            ::gemm::gemm(
                m,
                n,
                k,
                c,
                1,
                c_row,
                false,
                a,
                a_column,
                a_row,
                b,
                b_column,
                b_row,
                0.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }

    /// An error if the two products are not the same.
    fn compare(&mut self, cpu: &Cpu) -> Result<(), Box<dyn Error>> {
        self.ours(cpu);
        self.theirs(cpu.pool().threads());
        let largest = self.ours.iter().zip(&self.theirs).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        if largest < DIFFERENCE_MAX {
            Ok(())
        } else {
            Err(format!("{:?}: results differ by {largest}", self.shape).into())
        }
    }

    /// GFLOP/s of ours and of theirs: medians.
    fn speeds(&mut self, cpu: &Cpu, repetitions: usize) -> [f64; 2] {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..BLOCKS {
            // The first of a block warms up, and waits for the other side's threads to fall asleep.
            for repetition in 0..=repetitions.div_ceil(BLOCKS) {
                let begun = Instant::now();
                self.ours(cpu);
                if repetition > 0 {
                    seconds[0].push(begun.elapsed().as_secs_f64());
                }
            }
            for repetition in 0..=repetitions.div_ceil(BLOCKS) {
                let begun = Instant::now();
                self.theirs(cpu.pool().threads());
                if repetition > 0 {
                    seconds[1].push(begun.elapsed().as_secs_f64());
                }
            }
        }
        let (m, n, k) = self.shape;
        seconds.map(|mut seconds| {
            seconds.sort_by(f64::total_cmp);
            2e-9 * (m * n * k) as f64 / seconds[seconds.len() / 2]
        })
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
            let mut product = Product::new(shape, form);
            product.compare(&cpu)?;
            let [ours, theirs] = product.speeds(&cpu, repetitions);
            row += &format!(" {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
        }
        println!("{row}");
    }
    Ok(())
}
