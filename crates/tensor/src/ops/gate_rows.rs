//! Rows times a gate of their own, such as what an expert that all rows share gives (Qwen 2 MoE).

use crate::kernels::Isa;
use crate::kernels::elementwise::{self, Activation};
use crate::operation::{Backward, Forward, Needs, Operation};
use crate::tape::{Tape, Var};

struct GateRows {
    width: usize,
}

impl Tape {
    /// `sigmoid(gate) x`: each row of `x [r, m]` by its number of `gate [r, 1]`.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn gate_rows(&mut self, x: Var, gate: Var) -> Var {
        let (rows, width) = self.rows_columns(x);
        assert_eq!(self.rows_columns(gate), (rows, 1), "gate_rows: a gate for each row");
        let shape = self.shape(x).to_vec();
        self.record_one(GateRows { width }, &[x, gate], &shape)
    }
}

/// The formula.
pub fn gate_rows_reference(x: &[f32], gate: &[f32]) -> Vec<f32> {
    let width = x.len() / gate.len();
    let opened = |&gate: &f32| 1.0 / (1.0 + (-f64::from(gate)).exp());
    x.chunks_exact(width)
        .zip(gate)
        .flat_map(|(row, gate)| row.iter().map(move |&x| (f64::from(x) * opened(gate)) as f32))
        .collect()
}

/// Rows in a task.
const ROWS: usize = 16;

fn sigmoid(isa: Isa, x: f32) -> f32 {
    let mut y = [0.0];
    elementwise::activate(isa, Activation::Sigmoid, &[x], &mut y);
    y[0]
}

impl Operation for GateRows {
    fn name(&self) -> &'static str {
        "gate_rows"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b11, outputs: 0 }
    }

    fn forward(&self, run: Forward<'_>) {
        let (x, gate) = (run.inputs[0].values(), run.inputs[1].values());
        let ([y, _], isa) = (run.outputs, run.cpu.isa());
        run.cpu.pool().split([(y, ROWS * self.width)], |block, [y]| {
            y.copy_from_slice(&x[block * ROWS * self.width..][..y.len()]);
            for (y, &gate) in y.chunks_exact_mut(self.width).zip(&gate[block * ROWS..]) {
                elementwise::scale(isa, sigmoid(isa, gate), y);
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let (x, gate) = (run.inputs[0].values(), run.inputs[1].values());
        let ([dy, _], [dx, dgate, ..]) = (run.doutputs, run.dinputs);
        let (dy, isa) = (&*dy, run.cpu.isa());
        if let Some(dx) = dx {
            run.cpu.pool().split([(dx.values, ROWS * self.width)], |block, [part]| {
                for (i, part) in part.chunks_exact_mut(self.width).enumerate() {
                    let row = block * ROWS + i;
                    if !dx.accumulate {
                        part.fill(0.0);
                    }
                    elementwise::add_scaled(isa, sigmoid(isa, gate[row]), &dy[row * self.width..][..self.width], part);
                }
            });
        }
        if let Some(dgate) = dgate {
            run.cpu.pool().split([(dgate.values, ROWS)], |block, [part]| {
                for (i, to) in part.iter_mut().enumerate() {
                    let row = (block * ROWS + i) * self.width;
                    let open = sigmoid(isa, gate[block * ROWS + i]);
                    let slope = elementwise::dot(isa, &x[row..][..self.width], &dy[row..][..self.width]);
                    let gradient = open * (1.0 - open) * slope;
                    *to = if dgate.accumulate { *to + gradient } else { gradient };
                }
            });
        }
    }
}
