//! A probe of the float32 peak: tiles of the matrix product that read one step of k again and again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::micro::{PanelA, PanelB, TileC, multiply_tile, tile};
use crate::cpu::Cpu;

/// Steps of k in a tile: enough that writing the tile does not count.
const STEPS: usize = 4096;
/// Tiles per thread and round: some 10 milliseconds.
const TILES: usize = 256;
/// The best round counts: the others were disturbed.
const ROUNDS: usize = 8;
/// More threads than cores would make eight rounds take minutes; no tile begins after this.
const TIME_MAX: Duration = Duration::from_millis(500);

/// Float32 operations per second of all threads together.
pub fn probe(cpu: &Cpu) -> f64 {
    let deadline = Instant::now() + TIME_MAX;
    let mut best = round(cpu, deadline);
    for _ in 1..ROUNDS {
        if Instant::now() >= deadline {
            break;
        }
        best = best.max(round(cpu, deadline));
    }
    best
}

/// The rate of one round: of the tiles that were computed, at least one per thread.
fn round(cpu: &Cpu, deadline: Instant) -> f64 {
    let (rows, columns) = tile(cpu.isa());
    let done = AtomicUsize::new(0);
    let begun = Instant::now();
    cpu.pool().run_on_every_thread(&|_| {
        let (a, b) = (vec![1.0_f32; rows], vec![1.0_f32; columns]);
        let mut c = vec![0.0_f32; rows * columns];
        for count in 1..=TILES {
            let a = PanelA { start: a.as_ptr(), row_stride: 1, k_stride: 0 };
            let b = PanelB { start: b.as_ptr(), k_stride: 0 };
            let c = TileC { start: c.as_mut_ptr(), row_stride: columns, rows, columns, accumulate: false };
            // SAFETY: the panels have one step, which is read in place of every other; the tile has its size.
            unsafe { multiply_tile(cpu.isa(), STEPS, a, b, c) };
            if count == TILES || Instant::now() >= deadline {
                done.fetch_add(count, Ordering::Relaxed);
                break;
            }
        }
        std::hint::black_box(&mut c);
    });
    let operations = 2 * rows * columns * STEPS * done.load(Ordering::Relaxed);
    operations as f64 / begun.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    #[test]
    fn many_threads_do_not_make_the_probe_long() {
        let cpu = Cpu::with_isa(Isa::available()[0], 400);
        let begun = Instant::now();
        assert!(probe(&cpu) > 1e6);
        // Half a second, and starting the threads' work; the whole work would be 400 threads times 80 milliseconds.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_deadline_that_has_passed_still_gives_a_rate() {
        assert!(round(&Cpu::with_isa(Isa::PORTABLE, 2), Instant::now()) > 1e3);
    }
}
