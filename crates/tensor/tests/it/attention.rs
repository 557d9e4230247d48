//! Attention: forward and backward against float64, segments, windows, soft caps, linear biases, both directions,
//! grouped queries, chunks over a cache.

use tsumugi_base::half;
use tsumugi_tensor::kernels::attention as kernel;
use tsumugi_tensor::ops::attention::{attention_reference, score_reference, sight_reference};
use tsumugi_tensor::{
    BlockLayout, CachedRows, Compute, Cpu, Heads, KEY_BLOCK, KeyValueBlocks, KeyValueType, Parameters, Plan, Segment,
    Tape,
};

use crate::support::{assert_close, assert_same_bits, every_cpu, noise, panics};

fn heads(query: usize, key: usize, width: usize, window: Option<usize>) -> Heads {
    // Larger than 1 / sqrt(width), so that the softmax is not nearly flat.
    Heads { window, ..Heads::new(query, key, width, 2.0 / (width as f32).sqrt()) }
}

/// The options beside the window, alone and together. The cap is near the scores, so that it bends them.
fn every_option(heads: Heads) -> impl Iterator<Item = Heads> {
    (0..8).map(move |bits| Heads {
        soft_cap: (bits & 1 != 0).then_some(1.5),
        alibi: bits & 2 != 0,
        causal: bits & 4 == 0,
        ..heads
    })
}

/// The gradient of [`attention_reference`] in float64, a pass per line of the derivation.
fn gradient_reference(qkv: &[f32], heads: &Heads, dout: &[f32]) -> Vec<f32> {
    let (row, d) = (heads.row(), heads.width);
    let rows = qkv.len() / row;
    let at = |r: usize, column: usize| f64::from(qkv[r * row + column]);
    let scale = f64::from(heads.scale);
    let cap = f64::from(heads.soft_cap.unwrap_or(f32::INFINITY));
    let mut dqkv = vec![0.0_f64; qkv.len()];
    for t in 0..rows {
        for h in 0..heads.query {
            let g = h / (heads.query / heads.key);
            let (q, k, v) = (h * d, (heads.query + g) * d, (heads.query + heads.key + g) * d);
            let seen: Vec<usize> = sight_reference(heads, t, rows).collect();
            let dot = |s: usize| (0..d).map(|i| at(t, q + i) * at(s, k + i)).sum::<f64>();
            let score = |s: usize| score_reference(heads, h, dot(s), t.abs_diff(s));
            let exponentials: Vec<f64> = seen.iter().map(|&s| score(s).exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            let p: Vec<f64> = exponentials.iter().map(|e| e / sum).collect();
            let dy = |i: usize| f64::from(dout[(t * heads.query + h) * d + i]);
            let dp: Vec<f64> = seen.iter().map(|&s| (0..d).map(|i| dy(i) * at(s, v + i)).sum()).collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, dp)| p * dp).sum();
            for (j, &s) in seen.iter().enumerate() {
                // The derivative of c tanh(x / c) is 1 - tanh^2; without a cap, 1.
                let ds = p[j] * (dp[j] - mean) * scale * (1.0 - (dot(s) * scale / cap).tanh().powi(2));
                for i in 0..d {
                    dqkv[t * row + q + i] += ds * at(s, k + i);
                    dqkv[s * row + k + i] += ds * at(t, q + i);
                    dqkv[s * row + v + i] += p[j] * dy(i);
                }
            }
        }
    }
    dqkv.iter().map(|&x| x as f32).collect()
}

/// Output, log-sums and gradients of a batch.
fn run(cpu: &Cpu, heads: &Heads, qkv: &[f32], segments: &[Segment], dout: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let rows = qkv.len() / heads.row();
    let mut out = vec![f32::NAN; rows * heads.query * heads.width];
    let mut log_sum = vec![f32::NAN; rows * heads.query];
    let mut dqkv = vec![f32::NAN; qkv.len()];
    kernel::forward(cpu, heads, qkv, segments, &mut out, &mut log_sum);
    let kept = out.clone();
    kernel::backward(cpu, heads, qkv, segments, &mut out, &mut log_sum, dout, &mut dqkv);
    assert_same_bits("backward leaves the output", &out, &kept);
    (out, dqkv)
}

/// Numbers that bfloat16 holds, so that only what is computed from them is rounded.
fn rounded_noise(seed: u64, n: usize) -> Vec<f32> {
    noise(seed, n).into_iter().map(|x| half::from_bf16(half::to_bf16(x))).collect()
}

/// The least that a largest gradient counts as.
const FLOOR: f32 = 0.1;

fn check(cpus: &[Cpu], rows: usize, heads: &Heads) {
    let qkv = rounded_noise(rows as u64, rows * heads.row());
    let dout = rounded_noise(rows as u64 + 500, rows * heads.query * heads.width);
    let want = attention_reference(&qkv, heads);
    let want_gradient = gradient_reference(&qkv, heads, &dout);
    let parts = [0, heads.query, heads.query + heads.key, heads.query + 2 * heads.key].map(|head| head * heads.width);
    for cpu in both_types(cpus) {
        // Probabilities and the gradients of scores are rounded too: to 2^-9 of each, and values are below 1.
        let [relative, output, gradient] = match cpu.compute() {
            Compute::F32 => [1e-5, 2e-6, 4e-6],
            Compute::Bf16 => [0.0, 1.0 / 512.0, 1.0 / 128.0],
        };
        let (got, got_gradient) = run(&cpu, heads, &qkv, &[Segment { start: 0, len: rows }], &dout);
        let what = format!("{} {:?} {rows} rows {heads:?}", cpu.kernels(), cpu.compute());
        assert_close(&what, &got, &want, relative, output);
        for part in parts.windows(2) {
            let of_part = |all: &[f32]| -> Vec<f32> {
                all.chunks_exact(heads.row()).flat_map(|row| &row[part[0]..part[1]]).copied().collect()
            };
            let (got, want) = (of_part(&got_gradient), of_part(&want_gradient));
            // Of one row only, a query's and a key's gradients are sums that cancel.
            let largest = want.iter().fold(FLOOR, |m, g| m.max(g.abs()));
            assert_close(&format!("{what}, columns {part:?}"), &got, &want, relative, gradient * largest);
        }
    }
}

/// Each processor with products in each type.
fn both_types(cpus: &[Cpu]) -> impl Iterator<Item = Cpu> {
    cpus.iter().flat_map(|cpu| [Compute::F32, Compute::Bf16].map(|compute| cpu.computing(compute)))
}

#[test]
fn every_length_agrees_with_the_reference_forward_and_backward() {
    let cpus = every_cpu(1);
    let widths = [8, 16, 24, 32, 64, 80];
    let groups = [(1, 1), (4, 2), (3, 1), (2, 2)];
    let windows = [None, Some(1), Some(5), Some(64), Some(70)];
    for rows in 1..=130 {
        let (query, key) = groups[rows % groups.len()];
        check(&cpus, rows, &heads(query, key, widths[rows % widths.len()], windows[rows % windows.len()]));
        check(&cpus, rows, &heads(2, 1, widths[(rows / 6) % widths.len()], None));
    }
}

#[test]
fn lengths_around_a_block_with_every_width_group_and_window() {
    let cpus = every_cpu(1);
    for rows in [1, 63, 64, 65, 129] {
        for width in [1, 8, 24, 80] {
            for (query, key) in [(4, 2), (3, 1)] {
                for window in [None, Some(1), Some(63), Some(64), Some(65)] {
                    check(&cpus, rows, &heads(query, key, width, window));
                }
            }
        }
    }
}

#[test]
fn every_option_agrees_with_the_reference_forward_and_backward() {
    let cpus = every_cpu(1);
    for rows in [1, 2, 9, 63, 64, 65, 127, 130, 200] {
        let (width, (query, key)) = ([8, 24, 80][rows % 3], [(4, 2), (3, 1)][rows % 2]);
        for window in [None, Some(1), Some(40), Some(64), Some(130)] {
            every_option(heads(query, key, width, window)).for_each(|heads| check(&cpus, rows, &heads));
        }
    }
}

#[test]
fn the_gradient_reference_is_the_difference_quotient_of_the_reference() {
    const ROWS: usize = 6;
    const STEP: f32 = 1e-2;
    for heads in [None, Some(3)].into_iter().flat_map(|window| every_option(heads(3, 1, 4, window))) {
        let qkv = noise(7, ROWS * heads.row());
        let dout = noise(8, ROWS * heads.query * heads.width);
        let loss = |qkv: &[f32]| -> f64 {
            attention_reference(qkv, &heads).iter().zip(&dout).map(|(&y, &dy)| f64::from(y) * f64::from(dy)).sum()
        };
        let quotients: Vec<f32> = (0..qkv.len())
            .map(|at| {
                let moved = |by: f32| {
                    let mut qkv = qkv.clone();
                    qkv[at] += by;
                    loss(&qkv)
                };
                ((moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP)) as f32
            })
            .collect();
        assert_close(&format!("{heads:?}"), &gradient_reference(&qkv, &heads, &dout), &quotients, 0.0, 1e-3);
    }
}

#[test]
fn linear_biases_have_the_slopes_of_the_paper() {
    let slopes = |query: usize| -> Vec<f32> { (0..query).map(|head| heads(query, 1, 8, None).slope(head)).collect() };
    let halves: Vec<f32> = (1..=8).map(|power| 0.5_f32.powi(power)).collect();
    assert_eq!(slopes(8), halves);
    assert_eq!(slopes(1), [1.0 / 256.0]);
    // Twelve heads: those of eight, then every other one of sixteen.
    assert_eq!(slopes(12)[..8], halves);
    assert_close("the rest", &slopes(12)[8..], &[0.5, 1.5, 2.5, 3.5].map(|power| (-power as f32).exp2()), 1e-7, 0.0);
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let usual = heads(1, 1, 8, None);
    for bad in [
        Heads { window: Some(0), ..usual },
        Heads { soft_cap: Some(0.0), ..usual },
        Heads { soft_cap: Some(f32::NAN), ..usual },
    ] {
        let refused = panics(|| {
            let mut tape = Tape::new();
            let qkv = tape.input(&[2, bad.row()]);
            tape.attention(qkv, bad, 0);
        });
        assert!(refused, "{bad:?}");
    }
    let heads = Heads { causal: false, ..usual };
    let refused = panics(|| {
        let (cpu, qkv) = (&every_cpu(1)[0], noise(1, heads.row()));
        let rows = [CachedRows { sequence: 0, start: 0, len: 1, position: 0 }];
        let mut cache = Cache::new(cpu, &heads, KeyValueType::F32, [1, 1, 1]);
        kernel::forward_cached(cpu, &heads, 0, &qkv, &rows, &mut cache, &mut [0.0; 8]);
    });
    assert!(refused, "a cache knows nothing later");
}

#[test]
fn segments_do_not_see_each_other_and_uncovered_rows_are_zero() {
    let rows = 200;
    let layouts: [&[Segment]; 5] = [
        &[Segment { start: 0, len: 200 }],
        &[Segment { start: 0, len: 1 }, Segment { start: 1, len: 64 }, Segment { start: 65, len: 135 }],
        &[Segment { start: 3, len: 70 }, Segment { start: 80, len: 0 }, Segment { start: 100, len: 65 }],
        &[Segment { start: 0, len: 1 }, Segment { start: 1, len: 1 }, Segment { start: 5, len: 33 }],
        &[],
    ];
    let causal = heads(4, 2, 16, None);
    let both_ways = Heads { causal: false, alibi: true, ..heads(2, 1, 8, Some(50)) };
    for cpu in both_types(&every_cpu(2)) {
        for segments in layouts {
            [causal, both_ways].iter().for_each(|heads| check_segments(&cpu, heads, rows, segments));
        }
    }
}

/// Each segment has the bits that it has alone.
fn check_segments(cpu: &Cpu, heads: &Heads, rows: usize, segments: &[Segment]) {
    let (row, width) = (heads.row(), heads.query * heads.width);
    let (qkv, dout) = (noise(1, rows * row), noise(2, rows * width));
    let (out, dqkv) = run(cpu, heads, &qkv, segments, &dout);
    let mut covered = vec![false; rows];
    for &Segment { start, len } in segments {
        let end = start + len;
        let alone = [Segment { start: 0, len }];
        let qkv = &qkv[start * row..end * row];
        let (want, want_gradient) = run(cpu, heads, qkv, &alone, &dout[start * width..end * width]);
        assert_same_bits("output", &out[start * width..end * width], &want);
        assert_same_bits("gradient", &dqkv[start * row..end * row], &want_gradient);
        covered[start..end].fill(true);
    }
    for (at, _) in covered.iter().enumerate().filter(|(_, covered)| !**covered) {
        assert!(out[at * width..][..width].iter().all(|&x| x == 0.0), "row {at} is in no segment");
        assert!(dqkv[at * row..][..row].iter().all(|&x| x == 0.0));
    }
}

#[test]
fn segments_that_overlap_or_leave_the_batch_are_refused() {
    let cpu = &every_cpu(1)[0];
    let heads = heads(1, 1, 8, None);
    let qkv = noise(1, 4 * heads.row());
    let bad: [&[Segment]; 4] = [
        &[Segment { start: 0, len: 5 }],
        &[Segment { start: 0, len: 3 }, Segment { start: 2, len: 2 }],
        &[Segment { start: 2, len: 2 }, Segment { start: 0, len: 2 }],
        &[Segment { start: 2, len: usize::MAX - 1 }],
    ];
    for segments in bad {
        let result = panics(|| {
            let (mut out, mut log_sum) = (vec![0.0; 4 * 8], vec![0.0; 4]);
            kernel::forward(cpu, &heads, &qkv, segments, &mut out, &mut log_sum);
        });
        assert!(result, "{segments:?}");
    }
}

/// A cache for the tests: every block of every sequence.
struct Cache {
    kind: KeyValueType,
    blocks: Vec<Vec<f32>>,
    layers: usize,
    heads: usize,
    per_head: usize,
}

impl Cache {
    fn new(cpu: &Cpu, heads: &Heads, kind: KeyValueType, [layers, sequences, positions]: [usize; 3]) -> Self {
        let per_head = positions.div_ceil(KEY_BLOCK);
        let len = BlockLayout::new(cpu.isa(), heads.width, kind).len();
        // NaN: whatever another sequence left in a block must not reach a result.
        let blocks = vec![vec![f32::NAN; len]; layers * sequences * heads.key * per_head];
        Self { kind, blocks, layers, heads: heads.key, per_head }
    }

    fn index(&self, layer: usize, sequence: usize, head: usize, index: usize) -> usize {
        assert!(index < self.per_head && layer < self.layers && head < self.heads);
        ((sequence * self.layers + layer) * self.heads + head) * self.per_head + index
    }
}

impl KeyValueBlocks for Cache {
    fn kind(&self) -> KeyValueType {
        self.kind
    }
    fn block(&self, layer: usize, sequence: usize, head: usize, index: usize) -> &[f32] {
        &self.blocks[self.index(layer, sequence, head, index)]
    }
    fn block_mut(&mut self, layer: usize, sequence: usize, head: usize, index: usize) -> &mut [f32] {
        let index = self.index(layer, sequence, head, index);
        &mut self.blocks[index]
    }
}

/// Attention of `qkv` through plans over a cache, `chunk` rows of each sequence at a time.
fn chunked(cpu: &Cpu, heads: &Heads, kind: KeyValueType, sequences: &[Vec<f32>], chunk: usize) -> Vec<Vec<f32>> {
    let none: Parameters = tsumugi_tensor::ParametersBuilder::default().build();
    let row = heads.row();
    let longest = sequences.iter().map(|qkv| qkv.len() / row).max().unwrap_or(0);
    let mut cache = Cache::new(cpu, heads, kind, [2, sequences.len(), longest]);
    let mut outputs = vec![Vec::new(); sequences.len()];
    for position in (0..longest).step_by(chunk) {
        let (mut batch, mut rows) = (Vec::new(), Vec::new());
        for (sequence, qkv) in sequences.iter().enumerate() {
            let len = (qkv.len() / row).saturating_sub(position).min(chunk);
            if len > 0 {
                rows.push(CachedRows { sequence, start: batch.len() / row, len, position });
                batch.extend_from_slice(&qkv[position * row..(position + len) * row]);
            }
        }
        let mut tape = Tape::new();
        let x = tape.input(&[batch.len() / row, row]);
        let out = tape.attention(x, *heads, 1);
        let mut plan = Plan::forward_only(tape, &[out]);
        plan.set(x, &batch);
        plan.set_cached_rows(&rows);
        plan.evaluate_cached(cpu, &none, &mut cache);
        let width = heads.query * heads.width;
        for new in &rows {
            let range = new.start * width..(new.start + new.len) * width;
            outputs[new.sequence].extend_from_slice(&plan.value(out)[range]);
        }
    }
    outputs
}

/// Keys and values as a cache of this kind gives them back: the formula.
fn stored(kind: KeyValueType, heads: &Heads, qkv: &[f32]) -> Vec<f32> {
    let mut stored = qkv.to_vec();
    for row in stored.chunks_exact_mut(heads.row()) {
        for head in row[heads.query * heads.width..].chunks_exact_mut(heads.width) {
            let scale = head.iter().fold(0.0_f32, |m, x| m.max(x.abs())) / 127.0;
            for x in head {
                *x = match kind {
                    KeyValueType::F32 => *x,
                    KeyValueType::F16 => half::from_f16(half::to_f16(*x)),
                    KeyValueType::Bf16 => half::from_bf16(half::to_bf16(*x)),
                    KeyValueType::Q8 => (*x * (1.0 / scale)).round_ties_even() * scale,
                };
            }
        }
    }
    stored
}

/// Heads of every option, and lengths around the borders of blocks and chunks.
fn cached_cases() -> (Vec<Heads>, [usize; 5]) {
    let plain = [(4, 2, 16, None), (2, 1, 24, None), (2, 2, 80, None), (2, 1, 8, Some(30)), (6, 1, 32, Some(300))]
        .map(|(query, key, width, window)| heads(query, key, width, window));
    let capped = Heads { soft_cap: Some(1.5), ..heads(4, 2, 16, Some(70)) };
    let biased = Heads { alibi: true, ..heads(3, 3, 24, None) };
    let many = heads(67, 1, 8, None);
    (plain.into_iter().chain([capped, biased, many]).collect(), [300, 1, 65, 256, 530])
}

#[test]
fn chunks_over_a_cache_give_the_bits_of_the_whole() {
    let (heads, lengths) = cached_cases();
    for cpu in every_cpu(2) {
        for heads in &heads {
            let sequences: Vec<Vec<f32>> = lengths.iter().map(|&rows| noise(rows as u64, rows * heads.row())).collect();
            let whole: Vec<Vec<f32>> = sequences
                .iter()
                .map(|qkv| {
                    let rows = qkv.len() / heads.row();
                    let (mut out, mut log_sum) =
                        (vec![f32::NAN; rows * heads.query * heads.width], vec![f32::NAN; rows * heads.query]);
                    kernel::forward(&cpu, heads, qkv, &[Segment { start: 0, len: rows }], &mut out, &mut log_sum);
                    out
                })
                .collect();
            for chunk in [1, 3, 64, 100, 530] {
                let found = chunked(&cpu, heads, KeyValueType::F32, &sequences, chunk);
                for (got, want) in found.iter().zip(&whole) {
                    assert_same_bits(&format!("{} {heads:?} chunks of {chunk}", cpu.isa().name()), got, want);
                }
            }
        }
    }
}

#[test]
fn narrow_caches_give_the_same_bits_for_every_chunk_neighbour_and_number_of_threads() {
    let (heads, lengths) = cached_cases();
    for cpus in every_cpu(1).iter().zip(every_cpu(3)) {
        for (heads, kind) in heads.iter().flat_map(|heads| KeyValueType::ALL.map(|kind| (heads, kind))) {
            let sequences: Vec<Vec<f32>> = lengths.iter().map(|&rows| noise(rows as u64, rows * heads.row())).collect();
            let alone = |qkv: &Vec<f32>| chunked(cpus.0, heads, kind, std::slice::from_ref(qkv), 64).remove(0);
            let whole: Vec<Vec<f32>> = sequences.iter().map(alone).collect();
            for (qkv, got) in sequences.iter().zip(&whole) {
                let want = attention_reference(&stored(kind, heads, qkv), heads);
                let tolerance = match kind {
                    KeyValueType::F32 | KeyValueType::F16 => 4e-6,
                    // A code may be the other one where a product was rounded to the middle of two.
                    KeyValueType::Q8 => 3e-4,
                    // Queries and probabilities are rounded too.
                    KeyValueType::Bf16 => 4e-3,
                };
                let what = format!("{} {} {heads:?}", cpus.0.isa().name(), kind.name());
                assert_close(&what, got, &want, 1e-5, tolerance);
            }
            for chunk in [1, 7, 530] {
                for (got, want) in chunked(&cpus.1, heads, kind, &sequences, chunk).iter().zip(&whole) {
                    let what = format!("{} {} {heads:?} chunks of {chunk}", cpus.1.isa().name(), kind.name());
                    assert_same_bits(&what, got, want);
                }
            }
        }
    }
}

#[test]
fn a_nan_in_a_narrow_cache_reaches_every_later_query() {
    for (cpu, kind) in every_cpu(1).iter().flat_map(|cpu| KeyValueType::ALL.map(|kind| (cpu, kind))) {
        let heads = heads(1, 1, 8, None);
        for column in [8, 16] {
            let mut qkv = noise(1, 100 * heads.row());
            qkv[70 * heads.row() + column] = f32::NAN;
            let out = chunked(cpu, &heads, kind, &[qkv], 1).remove(0);
            let (before, after) = out.split_at(70 * 8);
            assert!(before.iter().all(|x| x.is_finite()), "{}", kind.name());
            assert!(after.chunks_exact(8).all(|row| row.iter().any(|x| x.is_nan())), "{}", kind.name());
        }
    }
}

#[test]
fn what_a_query_does_not_see_changes_no_bit_whatever_it_is() {
    let (heads, _) = cached_cases();
    const ROWS: usize = 600;
    for (cpu, heads) in every_cpu(1).iter().flat_map(|cpu| heads.iter().map(move |heads| (cpu, heads))) {
        let clean = noise(5, ROWS * heads.row());
        for kind in KeyValueType::ALL {
            let want = chunked(cpu, heads, kind, std::slice::from_ref(&clean), 64).remove(0);
            // Keys and values of all heads, in the middle of a block and at the edges of blocks and chunks.
            for (position, bad) in [(70, f32::NAN), (511, f32::INFINITY), (512, f32::NEG_INFINITY)] {
                let mut qkv = clean.clone();
                qkv[position * heads.row()..][heads.query * heads.width..heads.row()].fill(bad);
                for chunk in [9, ROWS] {
                    let got = chunked(cpu, heads, kind, std::slice::from_ref(&qkv), chunk).remove(0);
                    let width = heads.query * heads.width;
                    let end = heads.window.map_or(ROWS, |window| (position + window).min(ROWS));
                    let what = format!("{} {} {heads:?} {bad} chunks of {chunk}", cpu.isa().name(), kind.name());
                    assert_same_bits(&what, &got[..position * width], &want[..position * width]);
                    assert_same_bits(&what, &got[end * width..], &want[end * width..]);
                    // Half precision has no infinity here: what is beyond its range is its largest number.
                    let is_seen = bad.is_nan() || [KeyValueType::F32, KeyValueType::Bf16].contains(&kind);
                    assert!(!is_seen || got[position * width..][..width].iter().any(|x| !x.is_finite()), "{what}");
                }
            }
        }
    }
}

#[test]
fn numbers_beyond_half_precision_stay_finite() {
    for cpu in &every_cpu(1) {
        let heads = Heads { scale: 1e-6, ..heads(1, 1, 8, None) };
        let mut qkv = noise(1, 70 * heads.row());
        qkv.iter_mut().for_each(|x| *x *= 1e6);
        assert!(chunked(cpu, &heads, KeyValueType::F16, &[qkv], 64)[0].iter().all(|x| x.is_finite()));
    }
}

#[test]
fn rows_that_two_sequences_claim_are_refused() {
    let cpu = &every_cpu(1)[0];
    let heads = heads(1, 1, 8, None);
    let mut cache = Cache::new(cpu, &heads, KeyValueType::F16, [1, 2, 64]);
    let rows = |sequence, start, len| CachedRows { sequence, start, len, position: 0 };
    for bad in [
        [rows(0, 0, 3), rows(1, 2, 2)],
        [rows(0, 2, 2), rows(1, 0, 2)],
        [rows(0, 0, 2), rows(1, 2, 3)],
        [rows(0, 0, 2), rows(1, 2, usize::MAX - 1)],
        [rows(0, 0, 2), rows(0, 2, 2)],
    ] {
        let result = panics(|| {
            let (qkv, mut out) = (noise(1, 4 * heads.row()), vec![0.0; 4 * 8]);
            kernel::forward_cached(cpu, &heads, 0, &qkv, &bad, &mut cache, &mut out);
        });
        assert!(result, "{bad:?}");
    }
}

#[test]
fn a_nan_in_a_key_reaches_every_later_query() {
    for cpu in both_types(&every_cpu(1)) {
        let heads = heads(1, 1, 8, None);
        let mut qkv = noise(1, 100 * heads.row());
        qkv[70 * heads.row() + 8] = f32::NAN;
        let dout = noise(2, 100 * 8);
        let (out, dqkv) = run(&cpu, &heads, &qkv, &[Segment { start: 0, len: 100 }], &dout);
        assert!(out[..70 * 8].iter().all(|x| x.is_finite()) && out[70 * 8..].iter().all(|x| x.is_nan()));
        assert!(dqkv.iter().any(|x| x.is_nan()));
    }
}

#[test]
fn scores_far_apart_do_not_overflow() {
    for cpu in every_cpu(1) {
        let heads = Heads { scale: 100.0, ..heads(1, 1, 8, None) };
        let rows = 90;
        let qkv = noise(1, rows * heads.row());
        let dout = noise(2, rows * 8);
        let (out, dqkv) = run(&cpu, &heads, &qkv, &[Segment { start: 0, len: rows }], &dout);
        assert_close("output", &out, &attention_reference(&qkv, &heads), 1e-4, 1e-4);
        assert!(dqkv.iter().all(|x| x.is_finite()));
    }
}
