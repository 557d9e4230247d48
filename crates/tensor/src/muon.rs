//! Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"): the running mean of a matrix's
//! gradients, orthogonalized, is its step. What is no matrix between hidden vectors (embeddings, heads, norms, biases) is
//! updated by AdamW at the same rate.
//!
//! The step of a `[rows, columns]` matrix is `0.2 sqrt(max(rows, columns))` times its orthogonalized mean: elements with a
//! root mean square of 0.2 or less, as AdamW's have, so that rates and weight decay found for AdamW serve here (Liu et al.
//! 2025, "Muon is Scalable for LLM Training", section 2.2). Layers that share one product are orthogonalized one by one.
//!
//! The products of a square matrix of width n are those of training it on 5 n tokens more (30 n^3 against 6 n^2 for each
//! token), however many the step has: small batches pay most.

use std::cell::RefCell;
use std::ops::Range;

use crate::cpu::{Compute, Cpu};
use crate::kernels::elementwise::{scale, scaled_sum};
use crate::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm, packed_lens, with_scratch};
use crate::kernels::optimizer::{AdamWStep, nesterov};
use crate::memory::Buffer;
use crate::optimizer_step::adamw_in_chunks;
use crate::parameters::{Parameter, ParameterId, Parameters};

/// Coefficients of `a X + b (X X^T) X + c (X X^T)^2 X`: steep at 0, and after five iterations between 0.68 and 1.13 rather
/// than at 1 (Jordan et al. 2024).
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
/// Least norm that is divided by.
const NORM_MIN: f64 = 1e-7;
/// Root mean square of a square matrix's step at rate 1.
const STEP: f64 = 0.2;
/// Numbers in a partial sum of the norm.
const CHUNK: usize = 1 << 15;

thread_local! {
    static SCRATCH: RefCell<Buffer> = RefCell::new(Buffer::zeroed(0));
}

/// The state of Muon, and of AdamW for what is no hidden matrix.
#[derive(Debug)]
pub struct Muon {
    /// Running mean of gradients, laid out as the parameters.
    pub first: Buffer,
    /// Running mean of the squares of gradients, for AdamW; where each lies says [`Muon::second_range`].
    pub second: Buffer,
    second_ranges: Vec<Range<usize>>,
    momentum: f32,
    /// Where each matrix lies in the parameters, ascending, and its columns.
    matrices: Vec<Range<usize>>,
    columns: Vec<usize>,
}

impl Muon {
    /// Zero state. What is frozen now is left alone.
    pub fn new(parameters: &Parameters, momentum: f32) -> Self {
        let (mut matrices, mut columns) = (Vec::new(), Vec::new());
        for (id, parameter) in parameters.iter().filter(|(_, parameter)| parameter.trainable) {
            let mut start = parameters.range(id).start;
            for (rows, width) in shapes(parameter) {
                matrices.push(start..start + rows * width);
                columns.push(width);
                start += rows * width;
            }
        }
        let mut end = 0;
        let second_ranges = parameters.iter().map(|(_, parameter)| {
            let start = end;
            end += second_len(parameter);
            start..end
        });
        Self {
            second_ranges: second_ranges.collect(),
            first: Buffer::zeroed(parameters.buffer_len()),
            second: Buffer::zeroed(Self::second_len(parameters)),
            momentum,
            matrices,
            columns,
        }
    }

    /// Numbers with a second moment.
    pub fn second_len(parameters: &Parameters) -> usize {
        parameters.iter().map(|(_, parameter)| second_len(parameter)).sum()
    }

    /// Where a parameter's second moment lies; empty for hidden matrices.
    pub fn second_range(&self, id: ParameterId) -> Range<usize> {
        self.second_ranges[id.0].clone()
    }

    /// Numbers of working memory that each thread takes for an update, with what its products pack.
    pub fn scratch_len(parameters: &Parameters, compute: Compute) -> usize {
        let of_matrix = |(rows, columns): (usize, usize)| {
            let (least, most) = (rows.min(columns), rows.max(columns));
            let products = [(least, least, most), (least, least, least), (least, most, least), (most, least, least)];
            let packed = products.map(|size| packed_lens(compute, size).iter().sum::<usize>());
            rows * columns + scratch_len(rows, columns) + packed.into_iter().max().unwrap_or(0)
        };
        parameters.iter().flat_map(|(_, parameter)| shapes(parameter)).map(of_matrix).max().unwrap_or(0)
    }

    /// Floating-point operations of the products of an update.
    pub fn flops(parameters: &Parameters) -> f64 {
        let products = |(rows, columns): (usize, usize)| {
            let (least, most) = (rows.min(columns) as f64, rows.max(columns) as f64);
            2.0 * least * least * (2.0 * most + least)
        };
        let shapes = parameters.iter().flat_map(|(_, parameter)| shapes(parameter));
        ITERATIONS as f64 * shapes.map(products).sum::<f64>()
    }

    /// Updates every trainable parameter. Rate, clipping and weight decay of `step` hold for all of them, the betas for
    /// those of AdamW.
    pub fn update(&mut self, cpu: &Cpu, parameters: &mut Parameters, gradients: &[f32], step: AdamWStep) {
        let alone = cpu.on_one_thread();
        let (momentum, columns, ranges) = (self.momentum, &self.columns, &self.matrices);
        // A matrix is one task: its products are too small to be worth cutting, and its numbers stay in one core's cache.
        cpu.pool().split_ranges(ranges, [parameters.buffer_mut(), &mut self.first], |index, [values, mean]| {
            step_matrix(&alone, step, momentum, columns[index], &gradients[ranges[index].clone()], values, mean);
        });
        for (index, second) in self.second_ranges.iter().enumerate() {
            let id = ParameterId(index);
            let (decays, trainable) = (parameters.get(id).decays, parameters.get(id).trainable);
            if !trainable || second.is_empty() {
                continue;
            }
            let range = parameters.range(id);
            let step = AdamWStep { weight_decay: if decays { step.weight_decay } else { 0.0 }, ..step };
            let moments = [&mut self.first[range.clone()], &mut self.second[second.clone()]];
            let values = &mut parameters.buffer_mut()[range.clone()];
            adamw_in_chunks(cpu, step, &gradients[range], values, moments);
        }
    }
}

/// Rows and columns of the hidden matrices in a parameter.
fn shapes(parameter: &Parameter) -> impl Iterator<Item = (usize, usize)> {
    let width = parameter.shape.last().copied().unwrap_or(1);
    parameter.matrix_rows.iter().map(move |&rows| (rows, width))
}

/// Numbers of a parameter's second moment: hidden matrices have none.
fn second_len(parameter: &Parameter) -> usize {
    if parameter.matrix_rows.is_empty() { parameter.len() } else { 0 }
}

/// Momentum, orthogonalization, decay and step of one matrix.
fn step_matrix(
    cpu: &Cpu,
    step: AdamWStep,
    momentum: f32,
    columns: usize,
    gradient: &[f32],
    values: &mut [f32],
    mean: &mut [f32],
) {
    let rows = values.len() / columns.max(1);
    with_scratch(&SCRATCH, values.len() + scratch_len(rows, columns), |scratch| {
        let (ahead, scratch) = scratch.split_at_mut(values.len());
        let mut squares = 0.0;
        let chunks = gradient.chunks(CHUNK).zip(mean.chunks_mut(CHUNK)).zip(ahead.chunks_mut(CHUNK));
        for ((gradient, mean), ahead) in chunks {
            squares += f64::from(nesterov(cpu.isa(), momentum, step.gradient_scale, gradient, mean, ahead));
        }
        let direction = orthogonalize(cpu, (rows, columns), squares.sqrt(), ahead, scratch);
        let rate = step.learning_rate * (STEP * (rows.max(columns) as f64).sqrt()) as f32;
        scaled_sum(cpu.isa(), -rate, direction, 1.0 - step.learning_rate * step.weight_decay, values);
    });
}

/// Numbers of working memory of [`orthogonalize`].
pub fn scratch_len(rows: usize, columns: usize) -> usize {
    let least = rows.min(columns);
    rows * columns + 2 * least * least
}

/// Newton-Schulz iterations on `x [rows, columns]`, whose Frobenius norm is `norm`: singular values move to about 1, singular
/// vectors stay. Overwrites x and `scratch`, which has [`scratch_len`] numbers; the result is in one of them.
///
/// # Panics
/// When a slice has another length.
pub fn orthogonalize<'a>(
    cpu: &Cpu,
    (rows, columns): (usize, usize),
    norm: f64,
    mut x: &'a mut [f32],
    scratch: &'a mut [f32],
) -> &'a [f32] {
    assert!(x.len() == rows * columns && scratch.len() == scratch_len(rows, columns));
    let isa = cpu.isa();
    scale(isa, (1.0 / norm.max(NORM_MIN)) as f32, x);
    let wide = rows <= columns;
    let (least, most) = if wide { (rows, columns) } else { (columns, rows) };
    let (mut next, squares) = scratch.split_at_mut(rows * columns);
    let (gram, polynomial) = squares.split_at_mut(least * least);
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let (left, right) = match wide {
            true => (MatrixA::Plain(x), MatrixB::Transposed(x)),
            false => (MatrixA::Transposed(x), MatrixB::Plain(x)),
        };
        gemm(cpu, (least, least, most), left, right, gram, false, Epilogue::default());
        let (left, right) = (MatrixA::Plain(gram), MatrixB::Plain(gram));
        gemm(cpu, (least, least, least), left, right, polynomial, false, Epilogue::default());
        scaled_sum(isa, b, gram, c, polynomial);
        next.copy_from_slice(x);
        scale(isa, a, next);
        let (left, right) = match wide {
            true => (MatrixA::Plain(polynomial), MatrixB::Plain(x)),
            false => (MatrixA::Plain(x), MatrixB::Plain(polynomial)),
        };
        gemm(cpu, (rows, columns, least), left, right, next, true, Epilogue::default());
        std::mem::swap(&mut x, &mut next);
    }
    x
}

/// [`orthogonalize`] as its formula reads, in float64.
pub fn orthogonalize_reference(rows: usize, columns: usize, x: &[f32]) -> Vec<f32> {
    let product = |a: &dyn Fn(usize, usize) -> f64, b: &dyn Fn(usize, usize) -> f64, (m, n, k)| -> Vec<f64> {
        let element = |index: usize| (0..k).map(|i| a(index / n, i) * b(i, index % n)).sum();
        (0..m * n).map(element).collect()
    };
    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(NORM_MIN);
    let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x) / norm).collect();
    let [a, b, c] = COEFFICIENTS.map(f64::from);
    for _ in 0..ITERATIONS {
        let at = |i: usize, j: usize| x[i * columns + j];
        let gram = product(&at, &|i, j| at(j, i), (rows, rows, columns));
        let at_gram = |i: usize, j: usize| gram[i * rows + j];
        let square = product(&at_gram, &at_gram, (rows, rows, rows));
        let polynomial = |i: usize, j: usize| b * gram[i * rows + j] + c * square[i * rows + j];
        let change = product(&polynomial, &at, (rows, columns, rows));
        x = x.iter().zip(&change).map(|(x, change)| a * x + change).collect();
    }
    x.iter().map(|&x| x as f32).collect()
}
