//! Causal attention over segments, forward and backward, and over the engine's cache.

use tsumugi_tensor::kernels::attention::{backward, forward, forward_cached};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{BlockLayout, CachedRows, Cpu, Heads, Isa, KEY_BLOCK, KeyValueBlocks, KeyValueType, Segment};

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

/// The heads of SmolLM2-135M: three query heads read one key head.
const GROUPED: Heads = Heads::new(9, 3, 64, 0.125);
/// Its layers: together their keys and values are larger than the processor's caches.
const LAYERS: usize = 30;

/// Keys and values of one sequence, in zeros.
struct Cache {
    kind: KeyValueType,
    block: usize,
    depth: usize,
    blocks: Buffer,
}

impl Cache {
    fn new(isa: Isa, kind: KeyValueType, depth: usize) -> Self {
        let block = BlockLayout::new(isa, GROUPED.width, kind).len();
        let depth = depth.div_ceil(KEY_BLOCK);
        Self { kind, block, depth, blocks: Buffer::zeroed(LAYERS * GROUPED.key * depth * block) }
    }

    /// As the engine's pages lie: block by block of the sequence, with all layers and heads of each.
    fn range(&self, layer: usize, head: usize, index: usize) -> std::ops::Range<usize> {
        assert!(index < self.depth);
        let start = ((index * LAYERS + layer) * GROUPED.key + head) * self.block;
        start..start + self.block
    }
}

impl KeyValueBlocks for Cache {
    fn kind(&self) -> KeyValueType {
        self.kind
    }
    fn block(&self, layer: usize, _: usize, head: usize, index: usize) -> &[f32] {
        &self.blocks[self.range(layer, head, index)]
    }
    fn block_mut(&mut self, layer: usize, _: usize, head: usize, index: usize) -> &mut [f32] {
        let range = self.range(layer, head, index);
        &mut self.blocks[range]
    }
}

/// One new row, and a piece of a prompt, at a depth: a call is one layer, the next call the next layer.
pub fn run_cached(bench: &Bench) {
    for (kind, depth) in KeyValueType::ALL.into_iter().flat_map(|kind| [512, 4096].map(|depth| (kind, depth))) {
        let name = |rows: usize| format!("attention cached {} {rows} at {depth}", kind.name());
        for rows in [1, 128].into_iter().filter(|&rows| bench.wants(&name(rows))) {
            let mut cache = Cache::new(bench.f32.isa(), kind, depth);
            let (qkv, mut output) = (noise(rows * GROUPED.row()), vec![0.0; rows * GROUPED.query * GROUPED.width]);
            let new = [CachedRows { sequence: 0, start: 0, len: rows, position: depth - rows }];
            let mut layer = 0;
            let mut call = |cpu: &Cpu| {
                layer = (layer + 1) % LAYERS;
                forward_cached(cpu, &GROUPED, layer, &qkv, &new, &mut cache, &mut output);
            };
            let [seconds] = time([&mut || call(&bench.f32)]);
            let block_bytes = (cache.block * size_of::<f32>()) as f64;
            match rows {
                1 => bench.print_bytes(&name(rows), (GROUPED.key * depth / KEY_BLOCK) as f64 * block_bytes, seconds),
                _ => {
                    let pairs = (rows * (depth - rows) + rows * (rows + 1) / 2) * GROUPED.query * GROUPED.width;
                    bench.print_flops(&name(rows), &bench.f32, 2.0 * 2.0 * pairs as f64, seconds);
                }
            }
        }
    }
}
