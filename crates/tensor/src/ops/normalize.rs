//! LayerNorm and RMSNorm, alone or with the residual addition before them.

use crate::cpu::Cpu;
use crate::kernels::elementwise;
use crate::kernels::normalize::{self, NormKind, RowStatistics};
use crate::operation::{Backward, Forward, Gradient, Needs, Operation};
use crate::tape::{Tape, Var};

struct Normalize {
    kind: NormKind,
    epsilon: f32,
    rows: usize,
    width: usize,
    bias: bool,
    residual: bool,
}

impl Tape {
    /// `normal(x) weight + bias` over the last dimension.
    pub fn normalize(&mut self, x: Var, weight: Var, bias: Option<Var>, kind: NormKind, epsilon: f32) -> Var {
        let (rows, width) = self.rows_columns(x);
        let shape = self.shape(x).to_vec();
        let mut operands = vec![x, weight];
        operands.extend(bias);
        let operation = Normalize { kind, epsilon, rows, width, bias: bias.is_some(), residual: false };
        self.record_one(operation, &operands, &shape)
    }

    /// `sum = x + residual` and `normal(sum) weight + bias`; returns (sum, normalized).
    ///
    /// # Panics
    /// When `x` and `residual` have different shapes: a mistake of the model.
    pub fn add_normalize(
        &mut self,
        x: Var,
        residual: Var,
        weight: Var,
        bias: Option<Var>,
        kind: NormKind,
        epsilon: f32,
    ) -> (Var, Var) {
        let (rows, width) = self.rows_columns(x);
        let shape = self.shape(x).to_vec();
        assert_eq!(shape, self.shape(residual), "add_normalize: the residual has another shape");
        // The stream first: its gradient memory is the one that is used again and again.
        let mut operands = vec![residual, x, weight];
        operands.extend(bias);
        let operation = Normalize { kind, epsilon, rows, width, bias: bias.is_some(), residual: true };
        let outputs = self.record(operation, &operands, &[shape.clone(), shape]);
        (outputs[0], outputs[1])
    }
}

/// The formula, a row at a time, in float64.
pub fn normalize_reference(x: &[f32], weight: &[f32], bias: &[f32], kind: NormKind, epsilon: f32) -> Vec<f32> {
    let width = weight.len();
    let mut y = Vec::new();
    for row in x.chunks_exact(width) {
        let n = width as f64;
        let mean = if kind == NormKind::Layer { row.iter().map(|&x| f64::from(x)).sum::<f64>() / n } else { 0.0 };
        let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
        for (i, &x) in row.iter().enumerate() {
            let normal = (f64::from(x) - mean) * scale;
            let weight = f64::from(weight[i]) + f64::from(kind.weight_offset());
            y.push((normal * weight + bias.get(i).map_or(0.0, |&b| f64::from(b))) as f32);
        }
    }
    y
}

/// Rows in a task, and in a partial sum of the weight's gradient.
const ROWS: usize = 32;

impl Normalize {
    /// Position of the weight among the inputs; the bias follows.
    fn weight(&self) -> usize {
        if self.residual { 2 } else { 1 }
    }

    fn blocks(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }
}

impl Operation for Normalize {
    fn name(&self) -> &'static str {
        if self.residual { "add_normalize" } else { "normalize" }
    }

    fn saved_len(&self) -> usize {
        2 * self.rows
    }

    fn scratch_len(&self) -> usize {
        // Alone, x may want no gradient: then it goes here.
        self.blocks() * 2 * self.width + if self.residual { 0 } else { self.rows * self.width }
    }

    fn needs(&self) -> Needs {
        if self.residual { Needs { inputs: 0b100, outputs: 1 } } else { Needs { inputs: 0b11, outputs: 0 } }
    }

    fn remakes_from_output(&self) -> bool {
        self.residual
    }

    fn passes_gradient(&self) -> &'static [(usize, usize)] {
        if self.residual { &[(0, 0), (1, 0)] } else { &[] }
    }

    fn forward(&self, run: Forward<'_>) {
        let weight = run.inputs[self.weight()].values();
        let bias = if self.bias { run.inputs[self.weight() + 1].values() } else { &[] };
        let (x, isa) = (run.inputs[0].values(), run.cpu.isa());
        let block = ROWS * self.width;
        let norm = |x: &[f32], y: &mut [f32], saved: &mut [f32]| {
            let statistics = normalize::forward(isa, self.kind, self.epsilon, x, weight, bias, y);
            saved.copy_from_slice(&statistics);
        };
        if self.residual {
            let residual = run.inputs[1].values();
            let [sum, y] = run.outputs;
            run.cpu.pool().split([(sum, block), (y, block), (run.saved, 2 * ROWS)], |index, [sum, y, saved]| {
                if !run.from_output {
                    sum.copy_from_slice(&x[index * block..][..sum.len()]);
                    elementwise::add_assign(isa, &residual[index * block..][..sum.len()], sum);
                }
                let rows = sum.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width));
                for ((sum, y), saved) in rows.zip(saved.chunks_exact_mut(2)) {
                    norm(sum, y, saved);
                }
            });
        } else {
            let [y, _] = run.outputs;
            run.cpu.pool().split([(y, block), (run.saved, 2 * ROWS)], |index, [y, saved]| {
                let rows = x[index * block..].chunks_exact(self.width).zip(y.chunks_exact_mut(self.width));
                for ((x, y), saved) in rows.zip(saved.chunks_exact_mut(2)) {
                    norm(x, y, saved);
                }
            });
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let mut dinputs = run.dinputs;
        let weight = run.inputs[self.weight()].values();
        let dweight = dinputs[self.weight()].take();
        let dbias = if self.bias { dinputs[self.weight() + 1].take() } else { None };
        let [first, second] = run.doutputs;
        let (partials, spare) = run.scratch.split_at_mut(self.blocks() * 2 * self.width);
        let (x, dy, dx) = if self.residual {
            (&*run.outputs[0], &*second, Gradient { values: first, accumulate: true })
        } else {
            let unwanted = Gradient { values: spare, accumulate: false };
            (run.inputs[0].values(), &*first, dinputs[0].take().unwrap_or(unwanted))
        };
        let (block, accumulate) = (ROWS * self.width, dx.accumulate);
        let outputs = [(dx.values, block), (&mut *partials, 2 * self.width), (run.saved, 2 * ROWS)];
        run.cpu.pool().split(outputs, |index, [dx, partials, saved]| {
            partials.fill(0.0);
            let (dweight, dbias) = partials.split_at_mut(self.width);
            let dbias = if self.bias { dbias } else { &mut [] };
            let (x, dy) = (&x[index * block..], &dy[index * block..]);
            let rows = x.chunks_exact(self.width).zip(dy.chunks_exact(self.width));
            for (((x, dy), dx), saved) in rows.zip(dx.chunks_exact_mut(self.width)).zip(saved.chunks_exact(2)) {
                let statistics: RowStatistics = [saved[0], saved[1]];
                normalize::backward(
                    run.cpu.isa(),
                    self.kind,
                    statistics,
                    x,
                    weight,
                    dy,
                    dx,
                    dweight,
                    dbias,
                    accumulate,
                );
            }
        });
        for (gradient, half) in [(dweight, 0), (dbias, 1)] {
            if let Some(gradient) = gradient {
                sum_partials(run.cpu, partials, self.width, half, gradient);
            }
        }
    }
}

/// Sums the blocks' shares, `[blocks, 2, width]`, of one of two gradients in order: of a norm's weight (half 0) or bias (half 1).
pub(crate) fn sum_partials(cpu: &Cpu, partials: &[f32], width: usize, half: usize, gradient: Gradient<'_>) {
    if !gradient.accumulate {
        gradient.values.fill(0.0);
    }
    for partial in partials.chunks_exact(2 * width) {
        elementwise::add_assign(cpu.isa(), &partial[half * width..][..width], gradient.values);
    }
}
