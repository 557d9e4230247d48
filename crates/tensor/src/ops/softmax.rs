//! Softmax and its logarithm over the last axis: elementary (attention and the loss have their own, fused).

use crate::kernels::rows;
use crate::operation::{Backward, Forward, Needs, Operation};
use crate::tape::{Tape, Var};

struct Softmax {
    columns: usize,
}

struct LogSoftmax {
    columns: usize,
}

impl Tape {
    /// `e^x / sum e^x` over the last axis.
    pub fn softmax(&mut self, x: Var) -> Var {
        let (shape, columns) = (self.shape(x).to_vec(), self.rows_columns(x).1);
        self.record_one(Softmax { columns }, &[x], &shape)
    }

    /// `x - log sum e^x` over the last axis.
    pub fn log_softmax(&mut self, x: Var) -> Var {
        let (shape, columns) = (self.shape(x).to_vec(), self.rows_columns(x).1);
        self.record_one(LogSoftmax { columns }, &[x], &shape)
    }
}

/// The formula in float64.
pub fn softmax_reference(x: &[f32], columns: usize) -> Vec<f32> {
    log_softmax_in_f64(x, columns).iter().map(|y| y.exp() as f32).collect()
}

/// The formula in float64.
pub fn log_softmax_reference(x: &[f32], columns: usize) -> Vec<f32> {
    log_softmax_in_f64(x, columns).iter().map(|&y| y as f32).collect()
}

fn log_softmax_in_f64(x: &[f32], columns: usize) -> Vec<f64> {
    x.chunks_exact(columns)
        .flat_map(|row| {
            let largest = row.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(f64::from(x)));
            let sum: f64 = row.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
            row.iter().map(move |&x| f64::from(x) - largest - sum.ln())
        })
        .collect()
}

/// Rows in a task.
const ROWS: usize = 16;

impl Operation for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0, outputs: 1 }
    }

    fn forward(&self, run: Forward<'_>) {
        let x = run.inputs[0].values();
        let [y, _] = run.outputs;
        let block = ROWS * self.columns;
        run.cpu.pool().split([(y, block)], |index, [y]| {
            y.copy_from_slice(&x[index * block..][..y.len()]);
            for row in y.chunks_exact_mut(self.columns) {
                rows::softmax(run.cpu.isa(), row);
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let ([y, _], [dy, _], [dx, ..]) = (run.outputs, run.doutputs, run.dinputs);
        let Some(dx) = dx else { return };
        let (y, dy, block) = (&*y, &*dy, ROWS * self.columns);
        run.cpu.pool().split([(dx.values, block)], |index, [to]| {
            for (i, to) in to.chunks_exact_mut(self.columns).enumerate() {
                let range = index * block + i * self.columns..index * block + (i + 1) * self.columns;
                rows::softmax_backward(run.cpu.isa(), &y[range.clone()], &dy[range], to, dx.accumulate);
            }
        });
    }
}

impl Operation for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0, outputs: 1 }
    }

    fn scratch_len(&self) -> usize {
        self.columns
    }

    fn forward(&self, run: Forward<'_>) {
        let x = run.inputs[0].values();
        let [y, _] = run.outputs;
        let rows = x.chunks_exact(self.columns).zip(y.chunks_exact_mut(self.columns));
        for (x, y) in rows {
            run.scratch.copy_from_slice(x);
            let log_sum = rows::softmax(run.cpu.isa(), run.scratch);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x - log_sum);
        }
    }

    /// `dx = dy - softmax sum dy`
    fn backward(&self, run: Backward<'_>) {
        let ([y, _], [dy, _], [dx, ..]) = (run.outputs, run.doutputs, run.dinputs);
        let Some(dx) = dx else { return };
        let (y, dy, block) = (&*y, &*dy, ROWS * self.columns);
        run.cpu.pool().split([(dx.values, block)], |index, [to]| {
            for (i, to) in to.chunks_exact_mut(self.columns).enumerate() {
                let range = index * block + i * self.columns..index * block + (i + 1) * self.columns;
                let (y, dy) = (&y[range.clone()], &dy[range]);
                let sum: f32 = dy.iter().sum();
                for ((to, y), dy) in to.iter_mut().zip(y).zip(dy) {
                    let gradient = dy - y.exp() * sum;
                    *to = if dx.accumulate { *to + gradient } else { gradient };
                }
            }
        });
    }
}
