//! Causal attention over segments, forward and backward.

use tsumugi_tensor::kernels::attention::{backward, forward};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Heads, Segment};

use crate::harness::{Bench, noise, time};

const HEADS: Heads = Heads::new(6, 6, 64, 0.125);
/// Segments and their length.
const BATCHES: [(usize, usize); 2] = [(8, 256), (1, 1024)];

/// Prints a row for each batch and direction. Operations are those of the causal half: two products forward, five backward
/// (scores again, and the gradients of probabilities, values, queries and keys).
pub fn run(bench: &Bench) {
    let types = [&bench.f32, &bench.bf16];
    for ((count, len), cpu) in BATCHES.into_iter().flat_map(|batch| types.map(|cpu| (batch, cpu))) {
        let name = |direction: &str| format!("attention {count}x{len} {} {direction}", cpu.compute().name());
        if !["forward", "backward"].iter().any(|direction| bench.wants(&name(direction))) {
            continue;
        }
        let rows = count * len;
        let segments: Vec<Segment> = (0..count).map(|i| Segment { start: i * len, len }).collect();
        let (qkv, doutput) = (noise(rows * HEADS.row()), noise(rows * HEADS.query * HEADS.width));
        let (mut output, mut log_sum) = (Buffer::zeroed(doutput.len()), Buffer::zeroed(rows * HEADS.query));
        let mut dqkv = Buffer::zeroed(qkv.len());
        let pairs = (count * len * (len + 1) / 2 * HEADS.query * HEADS.width) as f64;
        let [ahead] = time([&mut || forward(cpu, &HEADS, &qkv, &segments, &mut output, &mut log_sum)]);
        bench.print_flops(&name("forward"), cpu, 2.0 * 2.0 * pairs, ahead);
        let [back] = time([&mut || {
            backward(cpu, &HEADS, &qkv, &segments, &mut output, &mut log_sum, &doutput, &mut dqkv);
        }]);
        bench.print_flops(&name("backward"), cpu, 5.0 * 2.0 * pairs, back);
    }
}
