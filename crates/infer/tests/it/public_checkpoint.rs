//! A public checkpoint: SmolLM2-135M-Instruct, dequantized (`tools/goldens/smollm2_from_gguf.py` makes the asset).
//!
//! The numbers are from a forward pass in numpy over the same weights, which llama.cpp confirms on them expanded to
//! float32: within 1e-4 on every logit. (With rotary positions of the wrong layout the text below has 98.34 nats.)

use tsumugi_base::testing::asset;
use tsumugi_infer::{Engine, EngineOptions, Scorer, Window};
use tsumugi_models::Decoder;
use tsumugi_tensor::{Cpu, KeyValueType};

use crate::support::admit;

/// "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience and
/// should act towards one another in a spirit of brotherhood."
const TEXT: [u32; 32] = [
    4518, 1205, 7095, 359, 3988, 1904, 284, 4037, 281, 14166, 284, 2387, 30, 1069, 359, 32013, 351, 2166, 284, 20078,
    284, 868, 705, 2258, 582, 1372, 281, 253, 3330, 282, 47364, 30,
];
/// "Once upon a time"
const PROMPT: [u32; 4] = [6403, 1980, 253, 655];
/// The likeliest after it, and their logits: `,` ` in` ` there` ` the` ` a`.
const LIKELIEST: [(u32, f32); 5] = [(28, 18.1420), (281, 14.0825), (665, 13.3672), (260, 12.9355), (253, 12.9280)];
/// Logits of the ids 0 to 3.
const FIRST: [f32; 4] = [2.1129, -4.6567, -0.9569, -6.8446];
/// ", the city of Nova Haven was a thriving metropolis, with towering skyscrapers and bustling streets. But as"
const GREEDY: [u32; 20] =
    [28, 260, 2240, 282, 23324, 27108, 436, 253, 15114, 39228, 28, 351, 25854, 41658, 284, 14055, 9018, 30, 1249, 347];

#[test]
fn smollm2_predicts_and_continues_as_elsewhere() {
    let Some(folder) = asset("smollm2-135m") else { return };
    let decoder = Decoder::load(&admit(&folder)).unwrap();
    let cpu = Cpu::detect(None).unwrap();
    let nats = Scorer::new(&decoder, TEXT.len() - 1, 1).score(&cpu, &decoder, &[Window { tokens: &TEXT }]).remove(0);
    let sum: f64 = nats.iter().map(|&nats| f64::from(nats)).sum();
    assert!((sum - 58.7846).abs() < 1e-3, "{sum} nats");
    let options = EngineOptions { context: Some(64), kv: KeyValueType::F32, ..EngineOptions::default() };
    let mut engine = Engine::new(decoder, cpu, options);
    let (id, _) = engine.begin(&PROMPT).unwrap();
    let logits = engine.prefill(id, &PROMPT).unwrap();
    for (&found, expected) in logits.iter().zip(FIRST) {
        assert!((found - expected).abs() < 1e-3, "{found} is not {expected}");
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    for (&token, (expected, logit)) in order.iter().zip(LIKELIEST) {
        assert!(
            token == expected && (logits[token as usize] - logit).abs() < 1e-3,
            "{token}: {}",
            logits[token as usize]
        );
    }
    let mut token = order[0];
    let mut answer = vec![token];
    while answer.len() < GREEDY.len() {
        let logits = engine.decode(&[(id, token)]).unwrap();
        token = (0..logits.len() as u32).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap();
        answer.push(token);
    }
    assert_eq!(answer, GREEDY);
}
