//! Small random models, in memory and as folders.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_files::{Admitted, ModelFiles, NoScan};
use tsumugi_models::{ALL, Decoder, DecoderSpec, gpt2::Gpt2, llama::Llama};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::{ChatTemplate, Tokenizer, special_tokens, train::byte_tokenizer};

pub const GATE: NoScan = NoScan { reason: "made by this test" };

/// 256 bytes and our five control tokens.
pub const VOCABULARY: usize = 261;

/// Random weights, large enough that no two logits are nearly equal.
pub fn decoder(spec: DecoderSpec, seed: u64) -> Decoder {
    let mut decoder = Decoder::new(spec);
    decoder.initialize(seed, &Pool::new(1));
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, parameter)| (id, parameter.shape.len())).collect();
    let mut noise = Stream::new(Key::from_seed(seed).derive(&[1]));
    for (id, rank) in ids {
        for value in decoder.parameters.values_mut(id) {
            *value = if rank == 1 { *value + 0.2 * noise.next_normal() } else { *value * 8.0 };
        }
    }
    decoder
}

/// Every family, with grouped queries where there are any, and sizes that no vector width divides.
pub fn decoders(context: usize) -> Vec<Decoder> {
    let mut specs = vec![
        Gpt2::sized(VOCABULARY, context, 36, 2, 3),
        Llama::sized(VOCABULARY, context, 40, 2, 4, 2),
        DecoderSpec { tied: false, ..Llama::sized(VOCABULARY, context, 48, 3, 2, 1) },
    ];
    let others = ALL.iter().filter(|family| !["gpt2", "llama"].contains(&family.name()));
    specs.extend(others.map(|family| DecoderSpec { vocabulary: VOCABULARY, context, ..family.tiny() }));
    specs.into_iter().zip(1..).map(|(spec, seed)| decoder(spec, seed)).collect()
}

/// Random tokens.
pub fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut stream = Stream::new(Key::from_seed(seed));
    (0..count).map(|_| stream.below(VOCABULARY as u64) as u32).collect()
}

/// A chat model with a byte tokenizer.
pub fn write_chat_model(folder: &Path, decoder: &Decoder) -> Tokenizer {
    let tokenizer = byte_tokenizer(&special_tokens::all()).unwrap();
    let extra = BTreeMap::from([("eos_token_id".to_owned(), json!(260))]);
    decoder.save(folder, &extra).unwrap();
    tokenizer.save_with_template(folder, &ChatTemplate::own()).unwrap();
    tokenizer
}

pub fn admit(folder: &Path) -> Admitted<ModelFiles> {
    ModelFiles::admit(folder, &GATE).unwrap()
}

/// `sum p log(p / q)` of the distributions of two rows of logits, in nats.
pub fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_softmax = |logits: &[f32]| -> Vec<f64> {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
        logits.iter().map(|&x| f64::from(x - largest) - sum.ln()).collect()
    };
    log_softmax(p).iter().zip(log_softmax(q)).map(|(p, q)| p.exp() * (p - q)).sum()
}
