//! The product of two values, either of them transposed: elementary (a layer's weight goes through `linear.rs`).

use crate::cpu::Cpu;
use crate::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use crate::operation::{Backward, Forward, Gradient, Needs, Operation};
use crate::tape::{Tape, Var};

struct MatMul {
    m: usize,
    n: usize,
    k: usize,
    transpose_a: bool,
    transpose_b: bool,
}

impl Tape {
    /// `A B`, `[m, n]`. `a` holds A `[m, k]`, or its transpose `[k, m]`; `b` holds B `[k, n]`, or its transpose `[n, k]`.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn matmul(&mut self, a: Var, b: Var, transpose_a: bool, transpose_b: bool) -> Var {
        let size = |var: Var, transposed: bool| {
            let &[rows, columns] = self.shape(var) else { panic!("matmul takes matrices, not {:?}", self.shape(var)) };
            if transposed { (columns, rows) } else { (rows, columns) }
        };
        let ((m, k), (inner, n)) = (size(a, transpose_a), size(b, transpose_b));
        assert_eq!(k, inner, "matmul: [{m}, {k}] times [{inner}, {n}]");
        self.record_one(MatMul { m, n, k, transpose_a, transpose_b }, &[a, b], &[m, n])
    }
}

/// The formula in float64, for operands as they lie in memory.
pub fn matmul_reference(a: &[f32], b: &[f32], (m, n, k): (usize, usize, usize), transposed: [bool; 2]) -> Vec<f32> {
    let a = |i: usize, p: usize| f64::from(if transposed[0] { a[p * m + i] } else { a[i * k + p] });
    let b = |p: usize, j: usize| f64::from(if transposed[1] { b[j * k + p] } else { b[p * n + j] });
    let element = |i: usize, j: usize| (0..k).map(|p| a(i, p) * b(p, j)).sum::<f64>() as f32;
    (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect()
}

fn left(values: &[f32], transposed: bool) -> MatrixA<'_> {
    if transposed { MatrixA::Transposed(values) } else { MatrixA::Plain(values) }
}

fn right(values: &[f32], transposed: bool) -> MatrixB<'_> {
    if transposed { MatrixB::Transposed(values) } else { MatrixB::Plain(values) }
}

fn product(cpu: &Cpu, size: (usize, usize, usize), a: MatrixA<'_>, b: MatrixB<'_>, to: Gradient<'_>) {
    gemm(cpu, size, a, b, to.values, to.accumulate, Epilogue::default());
}

impl Operation for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b11, outputs: 0 }
    }

    fn forward_flops(&self) -> f64 {
        2.0 * self.m as f64 * self.n as f64 * self.k as f64
    }

    fn forward(&self, run: Forward<'_>) {
        let (a, b) = (run.inputs[0].values(), run.inputs[1].values());
        let [values, _] = run.outputs;
        let size = (self.m, self.n, self.k);
        let to = Gradient { values, accumulate: false };
        product(run.cpu, size, left(a, self.transpose_a), right(b, self.transpose_b), to);
    }

    fn backward(&self, run: Backward<'_>) {
        let (a, b) = (run.inputs[0].values(), run.inputs[1].values());
        let Self { m, n, k, transpose_a, transpose_b } = *self;
        let [dy, _] = run.doutputs;
        let dy = &*dy;
        let [da, db, ..] = run.dinputs;
        match da {
            // dA^T = B dY^T
            Some(da) if transpose_a => product(run.cpu, (k, m, n), left(b, transpose_b), right(dy, true), da),
            // dA = dY B^T
            Some(da) => product(run.cpu, (m, k, n), left(dy, false), right(b, !transpose_b), da),
            None => {}
        }
        match db {
            // dB^T = dY^T A
            Some(db) if transpose_b => product(run.cpu, (n, k, m), left(dy, true), right(a, transpose_a), db),
            // dB = A^T dY
            Some(db) => product(run.cpu, (k, n, m), left(a, !transpose_a), right(dy, false), db),
            None => {}
        }
    }
}
