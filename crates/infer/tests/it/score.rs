//! Scores equal the softmax of the logits, and do not depend on the batch.

use tsumugi_infer::{Scorer, Window};
use tsumugi_models::LogitsPlan;
use tsumugi_tensor::{Cpu, Isa, Segment};

use crate::support::{VOCABULARY, decoders, tokens};

#[test]
fn nats_are_those_of_the_logits() {
    let cpu = Cpu::with_isa(Isa::detect().unwrap(), 2);
    for decoder in decoders(128) {
        let tokens = tokens(90, 4);
        let inputs = &tokens[..89];
        let positions: Vec<u32> = (0..89).collect();
        let mut plan = LogitsPlan::new(&decoder, 89, 89);
        let segments = [Segment { start: 0, len: 89 }];
        let logits = plan.run_uncached(&cpu, &decoder.parameters, inputs, &positions, &segments);
        let found = Scorer::new(&decoder, 100, 1).score(&cpu, &decoder, &[Window { tokens: &tokens }]).remove(0);
        assert_eq!(found.len(), 89);
        for ((row, &target), &nats) in logits.chunks_exact(VOCABULARY).zip(&tokens[1..]).zip(&found) {
            let largest = row.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
            let expected = sum.ln() - f64::from(row[target as usize] - largest);
            assert!((f64::from(nats) - expected).abs() < 2e-5 * expected.max(1.0), "{nats} is not {expected}");
        }
    }
}

#[test]
fn a_window_has_the_same_bits_alone_and_among_others() {
    let cpu = Cpu::with_isa(Isa::detect().unwrap(), 2);
    for decoder in decoders(128) {
        let texts: Vec<Vec<u32>> = [70, 2, 101, 33].iter().map(|&len| tokens(len, len as u64)).collect();
        let windows: Vec<Window<'_>> = texts.iter().map(|tokens| Window { tokens }).collect();
        let mut scorer = Scorer::new(&decoder, 100, 4);
        let together = scorer.score(&cpu, &decoder, &windows);
        for (window, expected) in windows.iter().zip(&together) {
            assert_eq!(&scorer.score(&cpu, &decoder, &[*window])[0], expected);
        }
    }
}
