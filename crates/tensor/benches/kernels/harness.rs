//! Times of alternating rounds, and the machine's limits.

use std::time::Instant;

use tsumugi_base::rng::{Key, Stream};
use tsumugi_tensor::kernels::peak;
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Compute, Cpu};

/// A row takes so long for each variant, within these numbers of rounds; odd, for a median.
const ROW_SECONDS: f64 = 0.2;
const ROUNDS: [usize; 2] = [7, 401];
/// A sample takes at least so long, or the clock counts; no longer where it can, or it is interrupted.
const SAMPLE_SECONDS: f64 = 3e-4;

/// Of one call.
#[derive(Clone, Copy)]
pub struct Seconds {
    pub median: f64,
    /// What is least disturbed.
    pub shortest: f64,
}

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

    /// Prints a row of work bound by the arithmetic of what `cpu` computes products in.
    pub fn print_flops(&self, name: &str, cpu: &Cpu, flops: f64, seconds: Seconds) {
        let peak = self.peaks[usize::from(cpu.compute() == Compute::Bf16)];
        let [speed, best] = [seconds.median, seconds.shortest].map(|seconds| flops / seconds);
        println!(
            "{name:42} {:9.3} ms {:7.0} GFLOP/s {:4.0} % of {}, best {:7.0}",
            1e3 * seconds.median,
            speed / 1e9,
            100.0 * speed / peak,
            cpu.compute().name(),
            best / 1e9,
        );
    }

    /// Prints a row of a pass over memory.
    pub fn print_bytes(&self, name: &str, bytes: f64, seconds: Seconds) {
        let [speed, best] = [seconds.median, seconds.shortest].map(|seconds| bytes / seconds);
        println!(
            "{name:42} {:9.3} ms {:7.1} GB/s {:4.0} % of reading, best {:7.1}",
            1e3 * seconds.median,
            speed / 1e9,
            100.0 * speed / self.bandwidth,
            best / 1e9,
        );
    }
}

/// Seconds of one call of each variant; the variants take turns.
pub fn time<const N: usize>(mut variants: [&mut dyn FnMut(); N]) -> [Seconds; N] {
    let mut longest = SAMPLE_SECONDS;
    let calls = variants.each_mut().map(|variant| {
        variant(); // touches its memory
        let begun = Instant::now();
        variant();
        let seconds = begun.elapsed().as_secs_f64();
        longest = longest.max(seconds);
        (SAMPLE_SECONDS / seconds.max(1e-9)).ceil().max(1.0) as usize
    });
    let rounds = ((ROW_SECONDS / longest) as usize).clamp(ROUNDS[0], ROUNDS[1]) | 1;
    let mut samples = [const { Vec::new() }; N];
    for _ in 0..rounds {
        for ((variant, calls), samples) in variants.iter_mut().zip(calls).zip(&mut samples) {
            let begun = Instant::now();
            (0..calls).for_each(|_| variant());
            samples.push(begun.elapsed().as_secs_f64() / calls as f64);
        }
    }
    samples.map(Seconds::of)
}

impl Seconds {
    /// Of samples.
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { median: samples[samples.len() / 2], shortest: samples[0] }
    }

    /// How many times as long another takes: medians, and shortest.
    pub fn ratios(self, other: Self) -> [f64; 2] {
        [other.median / self.median, other.shortest / self.shortest]
    }
}

/// Numbers from -1 to 1, in huge pages as values and parameters are.
pub fn noise(len: usize) -> Buffer {
    let mut buffer = Buffer::zeroed(len);
    let mut random = Stream::new(Key::from_seed(len as u64));
    buffer.iter_mut().for_each(|x| *x = (random.below(1 << 16) as f32 - 32_768.0) / 32_768.0);
    buffer
}
