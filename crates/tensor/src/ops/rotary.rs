//! Rotary positions (Su et al. 2021, "RoFormer"), on queries and keys in place, in the half-split form
//! that Llama checkpoints use: number `i` turns with number `i + d/2`. A table for fewer than d numbers turns the
//! first ones of a head and leaves the rest.

use std::sync::Arc;

use crate::cpu::Cpu;
use crate::kernels::attention::Heads;
use crate::kernels::elementwise;
use crate::operation::{Backward, Feed, Forward, Ids, Needs, Operation};
use crate::tape::{Tape, Var};

/// Cosines and sines for every position: `[positions][turned / 2]` each, of `turned` numbers of each head.
#[derive(Debug)]
pub struct RotaryTable {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl RotaryTable {
    /// Angles `position * frequency[i]`, computed in float64; `factor` scales both (YaRN's attention factor, else 1).
    pub fn new(positions: usize, frequencies: &[f64], factor: f64) -> Self {
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        Self {
            half: frequencies.len(),
            cosines: angles().map(|angle| (angle.cos() * factor) as f32).collect(),
            sines: angles().map(|angle| (angle.sin() * factor) as f32).collect(),
        }
    }

    /// A table for so many numbers of each head without its own numbers, to plan with. Running it panics.
    pub fn described(turned: usize) -> Self {
        Self { half: turned / 2, cosines: Vec::new(), sines: Vec::new() }
    }

    /// The plain frequencies `base^(-2i/d)`, `d` the numbers of a head that turn.
    pub fn frequencies(turned: usize, base: f64) -> Vec<f64> {
        (0..turned / 2).map(|i| base.powf(-2.0 * i as f64 / turned as f64)).collect()
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cosines[range.clone()], &self.sines[range])
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
        assert!(table.half * 2 <= heads.width, "rotary: the table turns {} numbers of a head", table.half * 2);
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
                    let (low, high) = head[..2 * self.table.half].split_at_mut(self.table.half);
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
