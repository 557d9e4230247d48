//! A probe of the float32 peak: tiles of the matrix product that read one step of k again and again.

use std::time::Instant;

use super::micro::{PanelA, PanelB, TileC, multiply_tile, tile};
use crate::cpu::Cpu;

/// Steps of k in a tile: enough that writing the tile does not count.
const STEPS: usize = 4096;
/// Tiles per thread and round: some 10 milliseconds.
const TILES: usize = 256;
/// The best round counts: the others were disturbed.
const ROUNDS: usize = 8;

/// Float32 operations per second of all threads together.
pub fn probe(cpu: &Cpu) -> f64 {
    let (rows, columns) = tile(cpu.isa());
    let threads = cpu.pool().threads();
    let best = (0..ROUNDS).map(|_| {
        let begun = Instant::now();
        cpu.pool().run(threads, &|_| {
            let (a, b) = (vec![1.0_f32; rows], vec![1.0_f32; columns]);
            let mut c = vec![0.0_f32; rows * columns];
            for _ in 0..TILES {
                let a = PanelA { start: a.as_ptr(), row_stride: 1, k_stride: 0 };
                let b = PanelB { start: b.as_ptr(), k_stride: 0 };
                let c = TileC { start: c.as_mut_ptr(), row_stride: columns, rows, columns, accumulate: false };
                // SAFETY: the panels have one step, which is read in place of every other; the tile has its size.
                unsafe { multiply_tile(cpu.isa(), STEPS, a, b, c) };
            }
            std::hint::black_box(&mut c);
        });
        begun.elapsed().as_secs_f64()
    });
    let seconds = best.fold(f64::INFINITY, f64::min);
    (2 * rows * columns * STEPS * TILES * threads) as f64 / seconds
}
