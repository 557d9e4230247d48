//! Probes of the machine's limits: operations per second of the matrix product's tiles, which read one step of k again
//! and again, of eight-bit integers, and bytes per second read from memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::micro::{PanelA, PanelB, TileC, multiply_tile, tile};
use super::{bf16, elementwise};
use crate::cpu::{Compute, Cpu};
use crate::memory::Buffer;

/// Steps of k in a tile: enough that writing the tile does not count.
const STEPS: usize = 4096;
/// Tiles per thread and round: some 10 milliseconds.
const TILES: usize = 256;
/// The best round counts: the others were disturbed.
const ROUNDS: usize = 8;
/// More threads than cores would make eight rounds take minutes; no tile begins after this.
const TIME_MAX: Duration = Duration::from_millis(500);

/// Operations per second of all threads together, in the type that `cpu` computes products in.
pub fn probe(cpu: &Cpu) -> f64 {
    best_of_rounds(|deadline| round(cpu, deadline))
}

fn best_of_rounds(round: impl Fn(Instant) -> f64) -> f64 {
    let deadline = Instant::now() + TIME_MAX;
    let mut best = round(deadline);
    for _ in 1..ROUNDS {
        if Instant::now() >= deadline {
            break;
        }
        best = best.max(round(deadline));
    }
    best
}

/// Multiply-adds of an element of C in a step of k: a unit of bfloat16 holds two.
fn depth(compute: Compute) -> usize {
    match compute {
        Compute::F32 => 1,
        Compute::Bf16 => 2,
    }
}

/// The rate of one round: of the tiles that were computed, at least one per thread.
fn round(cpu: &Cpu, deadline: Instant) -> f64 {
    let (isa, compute, fast) = (cpu.isa(), cpu.compute(), bf16::is_fast(cpu.isa()));
    let (rows, columns) = tile(isa);
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
            unsafe {
                match compute {
                    Compute::F32 => multiply_tile(isa, STEPS, a, b, c),
                    Compute::Bf16 => bf16::multiply_tile(isa, fast, STEPS, a, b, std::ptr::null(), c),
                }
            };
            if count == TILES || Instant::now() >= deadline {
                done.fetch_add(count, Ordering::Relaxed);
                break;
            }
        }
        std::hint::black_box(&mut c);
    });
    let operations = 2 * depth(compute) * rows * columns * STEPS * done.load(Ordering::Relaxed);
    operations as f64 / begun.elapsed().as_secs_f64()
}

/// Operations per second on eight-bit integers (`VPDPBUSD`), of all threads; none where the processor has none that we
/// would use.
pub fn probe_int8(cpu: &Cpu) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if cpu.isa().level() == super::Level::Avx512 && is_x86_feature_detected!("avx512vnni") {
        let round = |deadline: Instant| {
            let done = AtomicUsize::new(0);
            let begun = Instant::now();
            cpu.pool().run_on_every_thread(&|_| {
                for count in 1..=TILES {
                    // SAFETY: detected.
                    std::hint::black_box(unsafe { vnni::chains(STEPS) });
                    if count == TILES || Instant::now() >= deadline {
                        done.fetch_add(count, Ordering::Relaxed);
                        break;
                    }
                }
            });
            (done.load(Ordering::Relaxed) * vnni::OPERATIONS * STEPS) as f64 / begun.elapsed().as_secs_f64()
        };
        return Some(best_of_rounds(round));
    }
    let _ = cpu;
    None
}

#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;

    const CHAINS: usize = 16;
    /// Of a step: 64 multiply-adds in each chain.
    pub const OPERATIONS: usize = 2 * 64 * CHAINS;

    /// Independent chains of `steps` dot products.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn chains(steps: usize) -> i32 {
        let x = std::hint::black_box(_mm512_set1_epi32(0x0101_0101));
        let mut sums = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, x);
            }
        }
        sums.into_iter().fold(0_i32, |total, sum| total.wrapping_add(_mm512_reduce_add_epi32(sum)))
    }
}

/// Far more than any cache holds.
const MEMORY_BYTES: usize = 512 << 20;

/// Bytes per second that all threads together read from memory, from huge pages where the system gives them.
pub fn probe_memory(cpu: &Cpu) -> f64 {
    let buffer = Buffer::zeroed(MEMORY_BYTES / size_of::<f32>());
    let threads = cpu.pool().threads();
    let part = buffer.len() / threads;
    let round = |_| {
        let begun = Instant::now();
        cpu.pool().run_on_every_thread(&|index| {
            std::hint::black_box(elementwise::sum_of_squares(cpu.isa(), &buffer[index * part..][..part]));
        });
        (part * threads * size_of::<f32>()) as f64 / begun.elapsed().as_secs_f64()
    };
    best_of_rounds(round)
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
