//! Rotary positions (Su et al. 2021, "RoFormer"), on queries and keys in place, in the half-split form
//! that Llama checkpoints use: number `i` turns with number `i + d/2`. A table for fewer than d numbers turns the
//! first ones of a head and leaves the rest.

use std::sync::{Arc, OnceLock};

use crate::cpu::Cpu;
use crate::kernels::attention::Heads;
use crate::kernels::elementwise;
use crate::operation::{Backward, Feed, Forward, Ids, Needs, Operation};
use crate::tape::{Tape, Var};

/// Cosines and sines for every position, of `turned` numbers of each head. They are made when a position is first asked
/// for: a model's context may be far longer than its texts.
#[derive(Debug)]
pub struct RotaryTable {
    frequencies: Vec<f64>,
    factor: f64,
    /// Of so many positions each: `[BLOCK][cosines, then sines][turned / 2]`.
    blocks: Vec<OnceLock<Box<[f32]>>>,
}

/// Positions that are made at a time.
const BLOCK: usize = 64;

impl RotaryTable {
    /// Angles `position * frequency[i]`, computed in float64; `factor` scales both (YaRN's attention factor, else 1).
    pub fn new(positions: usize, frequencies: &[f64], factor: f64) -> Self {
        let blocks = (0..positions.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect();
        Self { frequencies: frequencies.to_vec(), factor, blocks }
    }

    /// A table for so many numbers of each head without its own numbers, to plan with. Running it panics.
    pub fn described(turned: usize) -> Self {
        Self { frequencies: vec![0.0; turned / 2], factor: 1.0, blocks: Vec::new() }
    }

    /// The plain frequencies `base^(-2i/d)`, `d` the numbers of a head that turn.
    pub fn frequencies(turned: usize, base: f64) -> Vec<f64> {
        (0..turned / 2).map(|i| base.powf(-2.0 * i as f64 / turned as f64)).collect()
    }

    fn half(&self) -> usize {
        self.frequencies.len()
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let block = self.blocks[position / BLOCK].get_or_init(|| self.block(position / BLOCK));
        block[position % BLOCK * 2 * self.half()..][..2 * self.half()].split_at(self.half())
    }

    fn block(&self, index: usize) -> Box<[f32]> {
        let row = |position: usize| {
            let angles = move || self.frequencies.iter().map(move |frequency| position as f64 * frequency);
            let cosines = angles().map(|angle| (angle.cos() * self.factor) as f32);
            cosines.chain(angles().map(|angle| (angle.sin() * self.factor) as f32))
        };
        (index * BLOCK..(index + 1) * BLOCK).flat_map(row).collect()
    }
}

struct Rotary {
    table: Arc<RotaryTable>,
    positions: Ids,
    /// Heads to turn: queries, then keys.
    heads: usize,
    width: usize,
    row: usize,
}

impl Tape {
    /// Turns the queries and keys of `qkv [r, (h + 2g) d]` by their positions.
    ///
    /// # Panics
    /// When the table turns more than a head has: a mistake of the model.
    pub fn rotary(&mut self, qkv: Var, positions: Ids, heads: &Heads, table: &Arc<RotaryTable>) -> Var {
        let shape = self.shape(qkv).to_vec();
        assert!(table.half() * 2 <= heads.width, "rotary: the table turns {} numbers of a head", table.half() * 2);
        let operation = Rotary {
            table: Arc::clone(table),
            positions,
            heads: heads.query + heads.key,
            width: heads.width,
            row: heads.row(),
        };
        self.record_one(operation, &[qkv], &shape)
    }
}

/// The formula for one head at one position.
pub fn rotary_reference(x: &[f32], position: usize, frequencies: &[f64]) -> Vec<f32> {
    let half = frequencies.len();
    let mut y = x.to_vec();
    for i in 0..half {
        let (sin, cos) = (position as f64 * frequencies[i]).sin_cos();
        let (a, b) = (f64::from(x[i]), f64::from(x[i + half]));
        y[i] = (a * cos - b * sin) as f32;
        y[i + half] = (b * cos + a * sin) as f32;
    }
    y
}

const ROWS: usize = 32;

impl Rotary {
    fn turn(&self, cpu: &Cpu, feed: &Feed, qkv: &mut [f32], direction: f32) {
        let positions = feed.ids(self.positions);
        cpu.pool().split([(qkv, ROWS * self.row)], |block, [qkv]| {
            for (i, row) in qkv.chunks_exact_mut(self.row).enumerate() {
                let (cosines, sines) = self.table.at(positions[block * ROWS + i] as usize);
                for head in row[..self.heads * self.width].chunks_exact_mut(self.width) {
                    let (low, high) = head[..2 * self.table.half()].split_at_mut(self.table.half());
                    elementwise::rotate(cpu.isa(), cosines, sines, direction, low, high);
                }
            }
        });
    }
}

impl Operation for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn in_place(&self) -> bool {
        true
    }

    fn passes_gradient(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn forward(&self, run: Forward<'_>) {
        let [qkv, _] = run.outputs;
        self.turn(run.cpu, run.feed, qkv, 1.0);
    }

    fn backward(&self, run: Backward<'_>) {
        let [dqkv, _] = run.doutputs;
        self.turn(run.cpu, run.feed, dqkv, -1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_when_they_are_asked_for() {
        let frequencies = RotaryTable::frequencies(8, 10_000.0);
        let table = RotaryTable::new(1 << 24, &frequencies, 1.5);
        for position in [3, (1 << 24) - 1, 70, 64, 3] {
            let (cosines, sines) = table.at(position);
            for (i, frequency) in frequencies.iter().enumerate() {
                let angle = position as f64 * frequency;
                assert_eq!((cosines[i], sines[i]), ((angle.cos() * 1.5) as f32, (angle.sin() * 1.5) as f32));
            }
        }
        assert_eq!(table.blocks.iter().filter(|block| block.get().is_some()).count(), 3);
    }
}
