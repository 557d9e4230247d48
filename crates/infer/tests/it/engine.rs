//! Decision 6: the logits of a sequence are the same bits whatever the chunks, neighbours, cache hits, padding,
//! threads, and packing; with keys and values in float32 they equal those without a cache.

use tsumugi_infer::{Engine, EngineError, EngineOptions};
use tsumugi_models::{Decoder, LogitsPlan};
use tsumugi_tensor::{Cpu, Isa, KeyValueType, Segment};

use crate::support::{VOCABULARY, decoders, divergence, tokens};

const CONTEXT: usize = 256;
/// Over two borders of key blocks.
const LENGTH: usize = 150;
/// Where the prompt ends and single steps begin.
const PROMPT: usize = 100;

/// Logits of every row without a cache, from weights as they are.
fn uncached(decoder: &Decoder, cpu: &Cpu, tokens: &[u32]) -> Vec<Vec<f32>> {
    let positions: Vec<u32> = (0..tokens.len() as u32).collect();
    let segments = [Segment { start: 0, len: tokens.len() }];
    let mut plan = LogitsPlan::new(decoder, tokens.len(), tokens.len());
    let logits = plan.run_uncached(cpu, &decoder.parameters, tokens, &positions, &segments);
    logits.chunks_exact(VOCABULARY).map(<[f32]>::to_vec).collect()
}

fn engine(which: usize, isa: Isa, threads: usize, prefill_rows: usize, kv: KeyValueType) -> Engine {
    let options = EngineOptions { prefill_rows, kv: Some(kv), ..EngineOptions::default() };
    Engine::new(decoders(CONTEXT).swap_remove(which), Cpu::with_isa(isa, threads), options)
}

/// Logits of the rows from `first` on: without a cache, or where keys and values are kept in fewer bits, of each beginning of
/// `tokens` read at once by an engine that has read nothing else.
fn expected(which: usize, isa: Isa, kv: KeyValueType, tokens: &[u32], first: usize) -> Vec<Vec<f32>> {
    if kv == KeyValueType::F32 {
        return uncached(&decoders(CONTEXT)[which], &Cpu::with_isa(isa, 1), tokens).split_off(first);
    }
    let mut engine = engine(which, isa, 1, CONTEXT, kv);
    let mut after = |tokens: &[u32]| {
        engine.clear();
        let (id, _) = engine.begin(tokens).unwrap();
        engine.prefill(id, tokens).unwrap().to_vec()
    };
    (first..tokens.len()).map(|last| after(&tokens[..=last])).collect()
}

/// Reads the prompt and steps through the rest; every step's logits.
fn cached(engine: &mut Engine, tokens: &[u32]) -> Vec<Vec<f32>> {
    let (id, hit) = engine.begin(&tokens[..PROMPT]).unwrap();
    let mut rows = vec![engine.prefill(id, &tokens[hit..PROMPT]).unwrap().to_vec()];
    for &token in &tokens[PROMPT..] {
        rows.push(engine.decode(&[(id, token)]).unwrap().to_vec());
    }
    engine.end(id);
    rows
}

/// Every family with every kind of cache.
fn cases() -> impl Iterator<Item = (usize, KeyValueType)> {
    (0..decoders(CONTEXT).len()).flat_map(|which| KeyValueType::ALL.map(|kv| (which, kv)))
}

fn assert_same_bits(found: &[Vec<f32>], expected: &[Vec<f32>], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        let differ = found.iter().zip(expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert_eq!(differ, 0, "{what}: row {row} differs in {differ} of {VOCABULARY} logits");
    }
}

#[test]
fn the_cached_run_is_the_same_for_every_chunk_size_and_thread_count() {
    let tokens = tokens(LENGTH, 5);
    for (which, kv) in cases() {
        for isa in Isa::available() {
            let expected = expected(which, isa, kv, &tokens, PROMPT - 1);
            for prefill_rows in [1, 3, 64, CONTEXT] {
                for threads in [1, 2] {
                    let found = cached(&mut engine(which, isa, threads, prefill_rows, kv), &tokens);
                    let what = format!("model {which} on {}, chunks of {prefill_rows}, {threads} threads", isa.name());
                    assert_same_bits(&found, &expected, &format!("{what}, {}", kv.name()));
                }
            }
        }
    }
}

#[test]
fn a_prompt_that_begins_like_another_begins_in_the_cache_with_the_same_bits() {
    let isa = Isa::detect().unwrap();
    for (which, kv) in cases() {
        let last = |tokens: &[u32]| expected(which, isa, kv, tokens, tokens.len() - 1);
        let mut engine = engine(which, isa, 2, 64, kv);
        let first = tokens(LENGTH, 5);
        cached(&mut engine, &first);
        // It goes on, it leaves the first inside of a block, at a block's border, at once, and repeats it.
        let mut goes_on = first.clone();
        goes_on.extend(tokens(30, 6));
        let parted = |at: usize| [&first[..at], &tokens(60, at as u64)[..]].concat();
        let cases =
            [(goes_on, LENGTH), (parted(70), 70), (parted(64), 64), (parted(0), 0), (first.clone(), LENGTH - 1)];
        for (prompt, expected_hit) in cases {
            let (id, hit) = engine.begin(&prompt).unwrap();
            assert_eq!(hit, expected_hit, "model {which}");
            let found = engine.prefill(id, &prompt[hit..]).unwrap().to_vec();
            engine.end(id);
            assert_same_bits(&[found], &last(&prompt), &format!("model {which}, {hit} of {} cached", prompt.len()));
        }
        let expected = expected(which, isa, kv, &first, PROMPT - 1);
        assert_same_bits(&cached(&mut engine, &first), &expected, "the first again: its pages are whole");
    }
}

#[test]
fn neighbours_in_a_step_change_nothing() {
    let isa = Isa::detect().unwrap();
    for (which, kv) in cases() {
        let options = EngineOptions { cache_positions: Some(4 * CONTEXT), kv: Some(kv), ..EngineOptions::default() };
        let cpu = Cpu::with_isa(isa, 2);
        let mut engine = Engine::new(decoders(CONTEXT).swap_remove(which), cpu, options);
        let prompts: Vec<Vec<u32>> = (0..5).map(|n| tokens(20 + 31 * n, n as u64)).collect();
        let next = tokens(5, 99);
        let mut step = Vec::new();
        for (prompt, &token) in prompts.iter().zip(&next) {
            let (id, hit) = engine.begin(prompt).unwrap();
            engine.prefill(id, &prompt[hit..]).unwrap();
            step.push((id, token));
        }
        let logits = engine.decode(&step).unwrap().to_vec();
        for ((prompt, token), found) in prompts.iter().zip(&next).zip(logits.chunks_exact(VOCABULARY)) {
            let whole = [&prompt[..], &[*token]].concat();
            let expected = expected(which, isa, kv, &whole, prompt.len());
            assert_same_bits(&[found.to_vec()], &expected, &format!("model {which}, {} tokens", whole.len()));
        }
    }
}

#[test]
fn fewer_bits_change_the_logits_little() {
    let isa = Isa::detect().unwrap();
    let tokens = tokens(LENGTH, 5);
    for which in 0..decoders(CONTEXT).len() {
        let exact = expected(which, isa, KeyValueType::F32, &tokens, PROMPT - 1);
        for (kv, most) in [(KeyValueType::F16, 1e-5), (KeyValueType::Bf16, 1e-3), (KeyValueType::Q8, 2e-2)] {
            let found = cached(&mut engine(which, isa, 1, 64, kv), &tokens);
            let mean = exact.iter().zip(&found).map(|(p, q)| divergence(p, q)).sum::<f64>() / exact.len() as f64;
            assert!(mean < most && found != exact, "model {which}, {}: {mean:e} nats", kv.name());
        }
    }
}

#[test]
fn a_small_cache_forgets_the_oldest_and_stays_bounded() {
    let isa = Isa::detect().unwrap();
    let options = EngineOptions { cache_positions: Some(CONTEXT), ..EngineOptions::default() };
    let mut engine = Engine::new(decoders(CONTEXT).swap_remove(1), Cpu::with_isa(isa, 1), options);
    let mut largest = 0;
    for round in 0..12 {
        let prompt = tokens(CONTEXT - 20 * (round as usize % 4), round % 5);
        let (id, hit) = engine.begin(&prompt).unwrap();
        engine.prefill(id, &prompt[hit..]).unwrap();
        engine.end(id);
        largest = largest.max(engine.cache_bytes());
    }
    let page = engine.cache_bytes() / 4;
    assert_eq!(largest, 4 * page, "256 positions are 4 pages");
    let prompt = tokens(200, 3);
    let (first, hit) = engine.begin(&prompt).unwrap();
    engine.prefill(first, &prompt[hit..]).unwrap();
    let other = tokens(100, 77);
    let (second, hit) = engine.begin(&other).unwrap();
    let error = engine.prefill(second, &other[hit..]).unwrap_err();
    assert!(matches!(error, EngineError::CacheFull(_)), "running sequences are never forgotten: {error}");
    engine.end(second);
    engine.end(first);
    let (third, hit) = engine.begin(&other).unwrap();
    assert!(engine.prefill(third, &other[hit..]).is_ok());
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut engine = engine(1, Isa::detect().unwrap(), 1, 64, KeyValueType::F16);
    assert_eq!(engine.begin(&[]).unwrap_err(), EngineError::EmptyPrompt);
    assert_eq!(engine.begin(&[261]).unwrap_err(), EngineError::UnknownToken { id: 261, vocabulary: VOCABULARY });
    let long = EngineError::ContextFull { tokens: CONTEXT + 1, context: CONTEXT };
    assert_eq!(engine.begin(&tokens(CONTEXT + 1, 0)).unwrap_err(), long);
    let prompt = tokens(CONTEXT, 0);
    let (id, hit) = engine.begin(&prompt).unwrap();
    engine.prefill(id, &prompt[hit..]).unwrap();
    assert_eq!(engine.decode(&[(id, 1)]).unwrap_err(), long);
}
