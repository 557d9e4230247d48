//! Token embedding, with learned positions where a model has them (GPT-2).

use crate::kernels::elementwise;
use crate::operation::{Backward, Forward, Ids, Needs, Operand, Operation};
use crate::tape::{Tape, Var};
use crate::threads::Columns;

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

/// Rows in a task of forward.
const ROWS: usize = 64;
/// Columns in a task of backward; more in a table wider than [`Columns::STRIPS_MAX`] times this.
const COLUMNS: usize = 64;

fn copy_row(table: Operand<'_>, index: usize, to: &mut [f32]) {
    match table {
        Operand::Values(values) => to.copy_from_slice(&values[index * to.len()..][..to.len()]),
        Operand::Packed(matrix) => matrix.copy_column(index, to),
    }
}

impl Operation for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
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
            self.scatter(run.cpu, run.feed.ids(ids), dy, gradient.values);
        }
    }
}

impl Embedding {
    /// Adds each row of `dy` to the row of its id. Split by columns, so that rows are added in order.
    fn scatter(&self, cpu: &crate::Cpu, ids: &[u32], dy: &[f32], table: &mut [f32]) {
        let columns = Columns::new(table, self.width, COLUMNS);
        cpu.pool().run(columns.strips(), &|task| {
            let range = columns.range(task);
            for (row, &id) in ids.iter().enumerate().take(self.rows) {
                let from = &dy[row * self.width..][range.clone()];
                columns.with(task, id as usize, |to| elementwise::add_assign(cpu.isa(), from, to));
            }
        });
    }
}
