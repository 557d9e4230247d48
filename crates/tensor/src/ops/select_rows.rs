//! Chosen rows of a matrix, such as the last position of each sequence before the head.

use crate::kernels::elementwise;
use crate::operation::{Backward, Forward, Ids, Needs, Operation};
use crate::tape::{Tape, Var};

struct SelectRows {
    ids: Ids,
    width: usize,
}

impl Tape {
    /// Rows `ids` of `x [r, m]`; returns `[ids, m]`.
    pub fn select_rows(&mut self, x: Var, ids: Ids) -> Var {
        let width = self.rows_columns(x).1;
        let rows = self.id_lens[ids.0];
        self.record_one(SelectRows { ids, width }, &[x], &[rows, width])
    }
}

impl Operation for SelectRows {
    fn name(&self) -> &'static str {
        "select_rows"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let [y, _] = run.outputs;
        let x = run.inputs[0].values();
        for (&id, y) in run.feed.ids(self.ids).iter().zip(y.chunks_exact_mut(self.width)) {
            y.copy_from_slice(&x[id as usize * self.width..][..self.width]);
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        let [dx, ..] = run.dinputs;
        let Some(dx) = dx else { return };
        if !dx.accumulate {
            dx.values.fill(0.0);
        }
        for (&id, dy) in run.feed.ids(self.ids).iter().zip(dy.chunks_exact(self.width)) {
            elementwise::add_assign(run.cpu.isa(), dy, &mut dx.values[id as usize * self.width..][..self.width]);
        }
    }
}
