//! What lies between the two linear layers of a feed-forward block: an activation, or a gated linear unit.

use crate::kernels::elementwise::{self, Activation};
use crate::operation::{Backward, Forward, Needs, Operation};
use crate::tape::{Tape, Var};

struct Gated {
    activation: Activation,
    rows: usize,
    width: usize,
}

struct Activate {
    activation: Activation,
    len: usize,
}

impl Tape {
    /// The gated linear unit (Shazeer 2020) of gate and up side by side: `x [.., 2 f]`; returns `f(gate) up`, `[.., f]`.
    /// With SiLU it is SwiGLU, with GELU GeGLU.
    ///
    /// # Panics
    /// When the width is odd: a mistake of the model.
    pub fn gated(&mut self, x: Var, activation: Activation) -> Var {
        let (rows, both) = self.rows_columns(x);
        assert!(both.is_multiple_of(2), "gated: gate and up have the same width");
        let mut shape = self.shape(x).to_vec();
        if let Some(last) = shape.last_mut() {
            *last = both / 2;
        }
        self.record_one(Gated { activation, rows, width: both / 2 }, &[x], &shape)
    }

    /// `f(x)`, element by element.
    pub fn activation(&mut self, x: Var, activation: Activation) -> Var {
        let shape = self.shape(x).to_vec();
        self.record_one(Activate { activation, len: shape.iter().product() }, &[x], &shape)
    }
}

/// The formula, `width` numbers of gate then of up in each row.
pub fn gated_reference(x: &[f32], width: usize, activation: Activation) -> Vec<f32> {
    x.chunks_exact(2 * width)
        .flat_map(|row| {
            let (gate, up) = row.split_at(width);
            gate.iter().zip(up).map(|(&g, &u)| (activation.reference(f64::from(g)) * f64::from(u)) as f32)
        })
        .collect()
}

const ROWS: usize = 16;
const CHUNK: usize = 1 << 14;

impl Operation for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 1, outputs: 0 }
    }

    fn forward(&self, run: Forward<'_>) {
        let [y, _] = run.outputs;
        let x = run.inputs[0].values();
        run.cpu.pool().split([(y, ROWS * self.width)], |block, [y]| {
            let x = &x[block * ROWS * 2 * self.width..];
            for (x, y) in x.chunks_exact(2 * self.width).zip(y.chunks_exact_mut(self.width)) {
                let (gate, up) = x.split_at(self.width);
                elementwise::gated(run.cpu.isa(), self.activation, gate, up, y);
            }
        });
    }

    fn scratch_len(&self) -> usize {
        self.rows * 2 * self.width
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        let [dx, ..] = run.dinputs;
        let Some(dx) = dx else { return };
        let (x, dy) = (run.inputs[0].values(), &*dy);
        let both = 2 * self.width;
        let backward = |block: usize, dx: &mut [f32]| {
            let (x, dy) = (&x[block * ROWS * both..], &dy[block * ROWS * self.width..]);
            let rows = x.chunks_exact(both).zip(dy.chunks_exact(self.width)).zip(dx.chunks_exact_mut(both));
            for ((x, dy), dx) in rows {
                let ((gate, up), (dgate, dup)) = (x.split_at(self.width), dx.split_at_mut(self.width));
                elementwise::gated_backward(run.cpu.isa(), self.activation, gate, up, dy, dgate, dup);
            }
        };
        if dx.accumulate {
            run.cpu.pool().split([(dx.values, ROWS * both), (run.scratch, ROWS * both)], |block, [dx, fresh]| {
                backward(block, fresh);
                elementwise::add_assign(run.cpu.isa(), fresh, dx);
            });
        } else {
            run.cpu.pool().split([(dx.values, ROWS * both)], |block, [dx]| backward(block, dx));
        }
    }
}

impl Operation for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 1, outputs: 0 }
    }

    fn forward(&self, run: Forward<'_>) {
        let [y, _] = run.outputs;
        let x = run.inputs[0].values();
        run.cpu.pool().split([(y, CHUNK)], |index, [y]| {
            elementwise::activate(run.cpu.isa(), self.activation, &x[index * CHUNK..][..y.len()], y);
        });
    }

    fn scratch_len(&self) -> usize {
        self.len
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        let [dx, ..] = run.dinputs;
        let Some(dx) = dx else { return };
        let (x, dy, isa, accumulate) = (run.inputs[0].values(), &*dy, run.cpu.isa(), dx.accumulate);
        run.cpu.pool().split([(dx.values, CHUNK), (run.scratch, CHUNK)], |index, [dx, fresh]| {
            fresh.copy_from_slice(&dy[index * CHUNK..][..fresh.len()]);
            elementwise::activate_backward(isa, self.activation, &x[index * CHUNK..][..fresh.len()], fresh);
            if accumulate { elementwise::add_assign(isa, fresh, dx) } else { dx.copy_from_slice(fresh) }
        });
    }
}
