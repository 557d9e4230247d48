//! Elementary operations that move numbers without changing them: reshape, transpose, slices and joins of columns.

use crate::cpu::Cpu;
use crate::operation::{Backward, Forward, INPUTS_MAX, Needs, Operation};
use crate::ops::elementwise::give;
use crate::tape::{Tape, Var};

struct Reshape;

struct Transpose {
    rows: usize,
    columns: usize,
}

/// Columns `first .. first + width` of rows of `columns`.
struct SliceColumns {
    columns: usize,
    first: usize,
    width: usize,
}

struct ConcatColumns {
    widths: Vec<usize>,
}

impl Tape {
    /// The same numbers in another shape.
    ///
    /// # Panics
    /// When the shapes hold different counts: a mistake of the model.
    pub fn reshape(&mut self, x: Var, shape: &[usize]) -> Var {
        let (from, to): (usize, usize) = (self.shape(x).iter().product(), shape.iter().product());
        assert_eq!(from, to, "reshape: {:?} to {shape:?}", self.shape(x));
        self.record_one(Reshape, &[x], shape)
    }

    /// `[r, c]` to `[c, r]`.
    ///
    /// # Panics
    /// On anything but a matrix: a mistake of the model.
    pub fn transpose(&mut self, x: Var) -> Var {
        let &[rows, columns] = self.shape(x) else { panic!("transpose takes a matrix, not {:?}", self.shape(x)) };
        self.record_one(Transpose { rows, columns }, &[x], &[columns, rows])
    }

    /// Columns `range` of the last axis.
    ///
    /// # Panics
    /// When the range is outside: a mistake of the model.
    pub fn slice_columns(&mut self, x: Var, range: std::ops::Range<usize>) -> Var {
        let columns = self.rows_columns(x).1;
        assert!(range.start <= range.end && range.end <= columns, "slice_columns: {range:?} of {columns}");
        let mut shape = self.shape(x).to_vec();
        if let Some(last) = shape.last_mut() {
            *last = range.len();
        }
        self.record_one(SliceColumns { columns, first: range.start, width: range.len() }, &[x], &shape)
    }

    /// Matrices of equally many rows side by side: `[r, c1], [r, c2], ..` to `[r, c1 + c2 + ..]`.
    ///
    /// # Panics
    /// When the rows differ, or there are more parts than an operation has inputs: a mistake of the model.
    pub fn concat_columns(&mut self, parts: &[Var]) -> Var {
        assert!(!parts.is_empty() && parts.len() <= INPUTS_MAX, "concat_columns: {} parts", parts.len());
        let rows = self.rows_columns(parts[0]).0;
        assert!(
            parts.iter().all(|&part| self.rows_columns(part).0 == rows),
            "concat_columns: {rows} rows in each part"
        );
        let widths: Vec<usize> = parts.iter().map(|&part| self.rows_columns(part).1).collect();
        let columns = widths.iter().sum();
        self.record_one(ConcatColumns { widths }, parts, &[rows, columns])
    }
}

/// The formula, `x [rows, columns]`.
pub fn transpose_reference(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

const CHUNK: usize = 1 << 14;

/// `to[i] = from(i)`, in tasks.
fn fill(cpu: &Cpu, to: &mut [f32], from: impl Fn(usize) -> f32 + Sync) {
    cpu.pool().split([(to, CHUNK)], |index, [to]| {
        to.iter_mut().enumerate().for_each(|(i, to)| *to = from(index * CHUNK + i));
    });
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let (x, [y, _]) = (run.inputs[0].values(), run.outputs);
        y.copy_from_slice(x);
    }

    fn backward(&self, run: Backward<'_>) {
        let ([dy, _], [dx, ..]) = (run.doutputs, run.dinputs);
        let dy = &*dy;
        if let Some(dx) = dx {
            give(run.cpu, dx, |i| dy[i]);
        }
    }
}

impl Operation for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let (x, [y, _]) = (run.inputs[0].values(), run.outputs);
        fill(run.cpu, y, |i| x[i % self.rows * self.columns + i / self.rows]);
    }

    fn backward(&self, run: Backward<'_>) {
        let ([dy, _], [dx, ..]) = (run.doutputs, run.dinputs);
        let dy = &*dy;
        if let Some(dx) = dx {
            give(run.cpu, dx, |i| dy[i % self.columns * self.rows + i / self.columns]);
        }
    }
}

impl Operation for SliceColumns {
    fn name(&self) -> &'static str {
        "slice_columns"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let (x, [y, _]) = (run.inputs[0].values(), run.outputs);
        fill(run.cpu, y, |i| x[i / self.width * self.columns + self.first + i % self.width]);
    }

    fn backward(&self, run: Backward<'_>) {
        let ([dy, _], [dx, ..]) = (run.doutputs, run.dinputs);
        let dy = &*dy;
        let Some(dx) = dx else { return };
        give(run.cpu, dx, |i| {
            let (row, column) = (i / self.columns, (i % self.columns).wrapping_sub(self.first));
            if column < self.width { dy[row * self.width + column] } else { 0.0 }
        });
    }
}

impl Operation for ConcatColumns {
    fn name(&self) -> &'static str {
        "concat_columns"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let columns: usize = self.widths.iter().sum();
        let [y, _] = run.outputs;
        let mut first = 0;
        for (input, &width) in run.inputs.iter().zip(&self.widths) {
            let rows = input.values().chunks_exact(width.max(1)).zip(y.chunks_exact_mut(columns));
            rows.for_each(|(x, y)| y[first..first + width].copy_from_slice(x));
            first += width;
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let columns: usize = self.widths.iter().sum();
        let [dy, _] = run.doutputs;
        let dy = &*dy;
        let mut first = 0;
        for (dx, &width) in run.dinputs.into_iter().zip(&self.widths) {
            if let Some(dx) = dx {
                give(run.cpu, dx, |i| dy[i / width * columns + first + i % width]);
            }
            first += width;
        }
    }
}
