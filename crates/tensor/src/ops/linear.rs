//! Linear layer `y = f(x W^T + b)`, weight `[n, m]` as checkpoints have it, with the bias and the
//! activation applied while a block of the product is in cache.

use crate::cpu::Cpu;
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use crate::kernels::quantized::multiply;
use crate::operation::{Backward, Forward, Needs, Operand, Operation};
use crate::quant::QuantizedMatrix;
use crate::tape::{Tape, Var};

struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
    bias: bool,
    activation: Option<Activation>,
}

impl Tape {
    /// `f(x weight^T + bias)`: `x [.., m]`, `weight [n, m]`, `bias [n]`; returns `[.., n]`.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn linear(&mut self, x: Var, weight: Var, bias: Option<Var>, activation: Option<Activation>) -> Var {
        let (rows, inputs) = self.rows_columns(x);
        let &[outputs, width] = self.shape(weight) else { panic!("a linear weight is a matrix") };
        assert_eq!(width, inputs, "linear: the weight takes {width} inputs, x has {inputs}");
        let mut shape = self.shape(x).to_vec();
        if let Some(last) = shape.last_mut() {
            *last = outputs;
        }
        let mut operands = vec![x, weight];
        if let Some(bias) = bias {
            assert_eq!(self.shape(bias), [outputs], "linear: the bias has another length than the outputs");
            operands.push(bias);
        }
        self.record_one(Linear { rows, inputs, outputs, bias: bias.is_some(), activation }, &operands, &shape)
    }
}

/// `x weight^T + bias`, then `activation`: a pass per line of the formula, sums in float64.
pub fn linear_reference(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    inputs: usize,
    activation: Option<Activation>,
) -> Vec<f32> {
    let mut y = Vec::new();
    for row in x.chunks_exact(inputs) {
        for (n, w) in weight.chunks_exact(inputs).enumerate() {
            let sum: f64 = row.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            let sum = sum + bias.get(n).map_or(0.0, |&b| f64::from(b));
            y.push(activation.map_or(sum, |f| f.reference(sum)) as f32);
        }
    }
    y
}

/// Numbers in a task of a pass over rows.
const PASS: usize = 1 << 14;

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn saved_len(&self) -> usize {
        if self.activation.is_some() { self.rows * self.outputs } else { 0 }
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b11, outputs: 0 }
    }

    fn changes_output_gradient(&self) -> bool {
        self.activation.is_some()
    }

    fn forward_flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.inputs as f64 * self.outputs as f64
    }

    fn forward(&self, run: Forward<'_>) {
        let bias = self.bias.then(|| run.inputs[2].values());
        let [y, _] = run.outputs;
        let weight = match run.inputs[1] {
            Operand::Values(weight) => MatrixB::Transposed(weight),
            Operand::Packed(packed) => MatrixB::Packed(packed),
            Operand::Quantized(weight) => {
                return self.forward_quantized(run.cpu, run.inputs[0].values(), weight, bias, y, run.saved);
            }
        };
        let x = MatrixA::Plain(run.inputs[0].values());
        let size = (self.rows, self.outputs, self.inputs);
        match self.activation {
            None => gemm(run.cpu, size, x, weight, y, false, Epilogue { bias, activation: None }),
            Some(f) => gemm(run.cpu, size, x, weight, run.saved, false, Epilogue { bias, activation: Some((f, y)) }),
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        if let Some(activation) = self.activation {
            let pre = &*run.saved;
            run.cpu.pool().split([(&mut *dy, PASS)], |index, [dy]| {
                let pre = &pre[index * PASS..][..dy.len()];
                elementwise::activate_backward(run.cpu.isa(), activation, pre, dy);
            });
        }
        let dy = &*dy;
        let [dx, dweight, dbias, ..] = run.dinputs;
        if let Some(dx) = dx {
            let weight = MatrixB::Plain(run.inputs[1].values());
            let size = (self.rows, self.inputs, self.outputs);
            gemm(run.cpu, size, MatrixA::Plain(dy), weight, dx.values, dx.accumulate, Epilogue::default());
        }
        if let Some(dweight) = dweight {
            let x = MatrixB::Plain(run.inputs[0].values());
            let size = (self.outputs, self.inputs, self.rows);
            gemm(run.cpu, size, MatrixA::Transposed(dy), x, dweight.values, dweight.accumulate, Epilogue::default());
        }
        if let Some(dbias) = dbias {
            sum_rows(run.cpu, dy, self.outputs, dbias.values, dbias.accumulate);
        }
    }
}

impl Linear {
    fn forward_quantized(
        &self,
        cpu: &Cpu,
        x: &[f32],
        weight: &QuantizedMatrix,
        bias: Option<&[f32]>,
        y: &mut [f32],
        saved: &mut [f32],
    ) {
        let Some(activation) = self.activation else { return multiply(cpu, self.rows, x, weight, bias, y) };
        multiply(cpu, self.rows, x, weight, bias, saved);
        let saved = &*saved;
        cpu.pool().split([(y, PASS)], |index, [y]| {
            elementwise::activate(cpu.isa(), activation, &saved[index * PASS..][..y.len()], y);
        });
    }
}

/// Columns in a task of [`sum_rows`].
const COLUMNS: usize = 128;

/// `to (+)=` the sum of the rows of `x [.., columns]`, rows in ascending order.
pub(crate) fn sum_rows(cpu: &Cpu, x: &[f32], columns: usize, to: &mut [f32], accumulate: bool) {
    cpu.pool().split([(to, COLUMNS)], |index, [to]| {
        if !accumulate {
            to.fill(0.0);
        }
        for row in x.chunks_exact(columns) {
            elementwise::add_assign(cpu.isa(), &row[index * COLUMNS..][..to.len()], to);
        }
    });
}
