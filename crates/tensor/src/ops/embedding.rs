//! Token embedding, with learned positions where a model has them (GPT-2).

use crate::cpu::Cpu;
use crate::kernels::elementwise;
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
/// Rows of the batch in a task of backward; more in a batch of more than [`TASKS_MAX`] times this.
const SORTED_ROWS: usize = 16;
/// Tasks of backward.
const TASKS_MAX: usize = 64;

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
            self.scatter(run.cpu, run.feed.ids(ids), dy, gradient.values, run.scratch);
        }
    }
}

impl Embedding {
    /// Adds each row of `dy` to the row of its id: the rows are sorted by id, and one task adds all rows of an id, in the
    /// order of the batch. `scratch` has the numbers of [`Operation::scratch_len`].
    fn scatter(&self, cpu: &Cpu, ids: &[u32], dy: &[f32], table: &mut [f32], scratch: &mut [f32]) {
        let (width, ids) = (self.width, &ids[..self.rows]);
        let order = sort_rows(ids, scratch);
        let id_at = |place: usize| ids[row_at(order, place)] as usize;
        let tasks = self.rows.div_ceil(SORTED_ROWS).clamp(1, TASKS_MAX);
        // Task `i` has the ids that begin in its share of the sorted rows: each bound is the first place of an id.
        let mut places = [0; TASKS_MAX + 1];
        let mut starts = [0; TASKS_MAX + 1];
        for task in 1..=tasks {
            let mut place = places[task - 1].max(self.rows * task / tasks);
            while (1..self.rows).contains(&place) && id_at(place) == id_at(place - 1) {
                place += 1;
            }
            places[task] = place;
            starts[task] = if place < self.rows { id_at(place) * width } else { table.len() };
        }
        cpu.pool().split_at(table, &starts[..=tasks], |task, part| {
            for place in places[task]..places[task + 1] {
                let (from, to) = (row_at(order, place) * width, id_at(place) * width - starts[task]);
                elementwise::add_assign(cpu.isa(), &dy[from..][..width], &mut part[to..][..width]);
            }
        });
    }
}

/// Row numbers are kept as the bits of float32, which scratch memory is made of: no row has a number so large that its
/// bits would be those of NaN.
fn row_at(order: &[f32], place: usize) -> usize {
    order[place].to_bits() as usize
}

/// The rows `0..ids.len()`, sorted by id, equal ids in order: a radix sort over the bytes that differ. `scratch` holds
/// twice as many numbers.
fn sort_rows<'s>(ids: &[u32], scratch: &'s mut [f32]) -> &'s [f32] {
    let (mut order, mut next) = scratch[..2 * ids.len()].split_at_mut(ids.len());
    for (row, number) in (0..).zip(&mut *order) {
        *number = f32::from_bits(row);
    }
    let largest = ids.iter().copied().max().unwrap_or(0);
    for shift in (0..u32::BITS - largest.leading_zeros()).step_by(8) {
        let byte = |number: f32| (ids[number.to_bits() as usize] >> shift & 255) as usize;
        let mut begins = [0; 257];
        for &number in &*order {
            begins[byte(number) + 1] += 1;
        }
        for value in 0..256 {
            begins[value + 1] += begins[value];
        }
        for &number in &*order {
            let place = &mut begins[byte(number)];
            next[*place] = number;
            *place += 1;
        }
        std::mem::swap(&mut order, &mut next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_id_and_equal_ids_keep_their_order() {
        let of_any_size = |i: u32| i.wrapping_mul(2_654_435_761) >> (i % 5 * 7);
        for len in [0, 1, 2, 300] {
            for ids in [vec![7; len], (0..len as u32).map(of_any_size).collect(), (0..len as u32).rev().collect()] {
                let mut want: Vec<usize> = (0..len).collect();
                want.sort_by_key(|&row| ids[row]);
                let mut scratch = vec![f32::NAN; 2 * len];
                let order = sort_rows(&ids, &mut scratch);
                assert_eq!((0..len).map(|place| row_at(order, place)).collect::<Vec<_>>(), want, "{ids:?}");
            }
        }
    }
}
