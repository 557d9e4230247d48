//! Token embedding, with learned positions where a model has them (GPT-2).

use crate::kernels::elementwise;
use crate::kernels::scatter::scatter_add;
use crate::operation::{Backward, Forward, Ids, Needs, Operand, Operation};
use crate::tape::{Tape, Var};

struct Embedding {
    rows: usize,
    width: usize,
    tokens: Ids,
    positions: Option<Ids>,
}

impl Tape {
    /// `table[token] (+ position_table[position])`: tables `[v, m]` and `[positions, m]`; returns `[r, m]`.
    ///
    /// # Panics
    /// When the tables' widths differ: a mistake of the model.
    pub fn embedding(&mut self, tokens: Ids, table: Var, positions: Option<(Ids, Var)>) -> Var {
        let (rows, width) = (self.id_lens[tokens.0], self.rows_columns(table).1);
        let mut operands = vec![table];
        if let Some((ids, positions)) = positions {
            assert_eq!(self.rows_columns(positions).1, width, "embedding: the tables have different widths");
            assert_eq!(self.id_lens[ids.0], rows, "embedding: as many positions as tokens");
            operands.push(positions);
        }
        let operation = Embedding { rows, width, tokens, positions: positions.map(|(ids, _)| ids) };
        self.record_one(operation, &operands, &[rows, width])
    }
}

/// The formula.
pub fn embedding_reference(tokens: &[u32], table: &[f32], width: usize) -> Vec<f32> {
    tokens.iter().flat_map(|&token| table[token as usize * width..][..width].iter().copied()).collect()
}

/// The formula of backward: each row of `dy` is added to the row of its token, in the order of the batch.
pub fn embedding_backward_reference(tokens: &[u32], dy: &[f32], width: usize, dtable: &mut [f32]) {
    for (&token, dy) in tokens.iter().zip(dy.chunks_exact(width)) {
        for (sum, &number) in dtable[token as usize * width..][..width].iter_mut().zip(dy) {
            *sum += number;
        }
    }
}

/// Rows in a task of forward.
const ROWS: usize = 64;

fn copy_row(table: Operand<'_>, index: usize, to: &mut [f32]) {
    match table {
        Operand::Values(values) => to.copy_from_slice(&values[index * to.len()..][..to.len()]),
        Operand::Packed(matrix) => matrix.copy_column(index, to),
        Operand::Quantized(matrix) => matrix.copy_row(index, to),
    }
}

impl Operation for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    /// For the order of the rows.
    fn scratch_len(&self) -> usize {
        2 * self.rows
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let [y, _] = run.outputs;
        let tokens = run.feed.ids(self.tokens);
        run.cpu.pool().split([(y, ROWS * self.width)], |block, [y]| {
            for (i, y) in y.chunks_exact_mut(self.width).enumerate() {
                let row = block * ROWS + i;
                copy_row(run.inputs[0], tokens[row] as usize, y);
                if let Some(positions) = self.positions {
                    let table = run.inputs[1].values();
                    let position = run.feed.ids(positions)[row] as usize;
                    elementwise::add_assign(run.cpu.isa(), &table[position * self.width..][..self.width], y);
                }
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        let [dtable, dpositions, ..] = run.dinputs;
        let ids = [Some(self.tokens), self.positions];
        for (gradient, ids) in [dtable, dpositions].into_iter().zip(ids) {
            let (Some(gradient), Some(ids)) = (gradient, ids) else { continue };
            if !gradient.accumulate {
                run.cpu.pool().split([(&mut *gradient.values, 1 << 15)], |_, [chunk]| chunk.fill(0.0));
            }
            let ids = &run.feed.ids(ids)[..self.rows];
            scatter_add(run.cpu, ids, dy, self.width, gradient.values, run.scratch);
        }
    }
}
