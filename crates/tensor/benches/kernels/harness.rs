//! Medians of alternating rounds, and the machine's limits.

use std::time::Instant;

use tsumugi_base::rng::{Key, Stream};
use tsumugi_tensor::kernels::peak;
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Compute, Cpu};

/// Rounds of a row: odd, for a median.
const ROUNDS: usize = 11;
/// A sample takes at least so long, or the clock counts.
const SAMPLE_SECONDS: f64 = 2e-3;

/// What was asked for, and what the machine can do.
pub struct Bench {
    /// Float32 products.
    pub f32: Cpu,
    /// The same threads with bfloat16 products.
    pub bf16: Cpu,
    /// Operations per second in float32 and in bfloat16.
    pub peaks: [f64; 2],
    /// Bytes per second that all threads read.
    pub bandwidth: f64,
    words: Vec<String>,
}

impl Bench {
    /// Reads `[WORD ...] [--threads N]` (cargo adds `--bench`) and measures the limits.
    pub fn from_arguments(arguments: impl Iterator<Item = String>) -> Self {
        let (mut words, mut threads) = (Vec::new(), None);
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--threads" => {
                    let count = arguments.next().and_then(|count| count.parse().ok());
                    threads = Some(count.expect("--threads N"));
                }
                _ => words.push(argument),
            }
        }
        let f32 = Cpu::detect(threads).expect("an instruction set");
        let bf16 = f32.computing(Compute::Bf16);
        let peaks = [peak::probe(&f32), peak::probe(&bf16)];
        let bandwidth = peak::probe_memory(&f32);
        let [low, high] = peaks.map(|peak| peak / 1e9);
        println!(
            "{}, {} threads: float32 {low:.0} GFLOP/s, bfloat16 {high:.0}, memory read {:.0} GB/s",
            f32.isa().name(),
            f32.pool().threads(),
            bandwidth / 1e9
        );
        Self { f32, bf16, peaks, bandwidth, words }
    }

    /// Whether a row was asked for: it has every word.
    pub fn wants(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word))
    }

    /// Prints a row of work bound by arithmetic.
    pub fn print_flops(&self, name: &str, flops: f64, seconds: f64) {
        let speed = flops / seconds;
        println!(
            "{name:42} {:9.3} ms {:7.0} GFLOP/s {:4.0} % of float32",
            1e3 * seconds,
            speed / 1e9,
            100.0 * speed / self.peaks[0]
        );
    }

    /// Prints a row of a pass over memory.
    pub fn print_bytes(&self, name: &str, bytes: f64, seconds: f64) {
        let speed = bytes / seconds;
        println!(
            "{name:42} {:9.3} ms {:7.1} GB/s {:4.0} % of reading",
            1e3 * seconds,
            speed / 1e9,
            100.0 * speed / self.bandwidth
        );
    }
}

/// Median seconds of one call of each variant; the variants take turns.
pub fn medians<const N: usize>(mut variants: [&mut dyn FnMut(); N]) -> [f64; N] {
    let calls = variants.each_mut().map(|variant| {
        variant(); // touches its memory
        let begun = Instant::now();
        variant();
        (SAMPLE_SECONDS / begun.elapsed().as_secs_f64().max(1e-9)).ceil().max(1.0) as usize
    });
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..ROUNDS {
        for ((variant, calls), samples) in variants.iter_mut().zip(calls).zip(&mut samples) {
            let begun = Instant::now();
            (0..calls).for_each(|_| variant());
            samples.push(begun.elapsed().as_secs_f64() / calls as f64);
        }
    }
    samples.map(median)
}

/// The middle one.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Numbers from -1 to 1, in huge pages as values and parameters are.
pub fn noise(len: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(len);
    let mut random = Stream::new(Key::from_seed(len as u64));
    buffer.iter_mut().for_each(|x| *x = (random.below(1 << 16) as f32 - 32_768.0) / 32_768.0);
    buffer
}
