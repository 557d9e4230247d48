//! A model that knows nothing has the vocabulary as its perplexity; windows and strides agree with single passes.

use std::collections::BTreeMap;

use tsumugi_base::Hint;
use tsumugi_base::progress::{Event, Observer, Recorder, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_eval::{EvalError, Perplexity, PerplexityOptions, perplexity, perplexity_of_model};
use tsumugi_files::{ModelFiles, NoScan};
use tsumugi_infer::{Scorer, Window};
use tsumugi_models::Precision;
use tsumugi_models::{Decoder, gpt2::Gpt2, llama::Llama};
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};
use tsumugi_tokenizer::{Tokenizer, special_tokens};

pub const TEXT: &str = "The quality of mercy is not strain'd, it droppeth as the gentle rain — from heaven.";
pub const CONTEXT: usize = 24;

pub fn cpu() -> Cpu {
    Cpu::detect(Some(2)).unwrap()
}

pub fn decoder() -> Decoder {
    let mut decoder = Decoder::new(Llama::sized(261, CONTEXT, 32, 2, 4, 2));
    decoder.initialize(4, cpu().pool());
    for value in decoder.parameters.buffer_mut() {
        *value *= 4.0;
    }
    decoder
}

pub fn with_bos() -> Tokenizer {
    byte_tokenizer(&special_tokens::all()).unwrap()
}

pub fn scored(decoder: &Decoder, tokenizer: &Tokenizer, options: PerplexityOptions) -> Perplexity {
    perplexity(&cpu(), decoder, tokenizer, TEXT, options, &Silent).unwrap()
}

/// Has had enough from the beginning.
pub struct Stop;

impl Observer for Stop {
    fn event(&self, _: &Event) {}

    fn stop_requested(&self) -> bool {
        true
    }
}

#[test]
fn weights_of_zero_give_the_vocabulary_as_perplexity() {
    let decoder = Decoder::new(Gpt2::sized(261, CONTEXT, 16, 1, 2));
    let found = scored(&decoder, &with_bos(), PerplexityOptions::default());
    assert!((found.perplexity - 261.0).abs() < 1e-3, "{found:?}");
    assert_eq!(found.tokens_scored, TEXT.len() as u64, "BOS predicts the first byte");
    assert!((found.bits_per_byte - 261f64.log2()).abs() < 1e-5);
    assert_eq!(found.bits_per_byte, found.bits_per_token);
    assert_eq!((found.window, found.stride), (CONTEXT, CONTEXT));
}

#[test]
fn without_bos_the_first_token_and_its_bytes_are_not_scored() {
    let tokenizer = character_tokenizer(&format!("—{TEXT}"), &[]).unwrap();
    assert!(tokenizer.prefix().is_empty());
    let size = tokenizer.vocabulary_size();
    let decoder = Decoder::new(Gpt2::sized(size, 200, 16, 1, 2));
    let text = format!("—{TEXT}");
    let found = perplexity(&cpu(), &decoder, &tokenizer, &text, PerplexityOptions::default(), &Silent).unwrap();
    assert_eq!(found.tokens_scored, TEXT.chars().count() as u64);
    let bits = TEXT.chars().count() as f64 * (size as f64).log2();
    assert!((found.bits_per_byte - bits / TEXT.len() as f64).abs() < 1e-4, "{found:?}");
}

#[test]
fn each_token_is_scored_from_the_tokens_of_its_window() {
    let (decoder, tokenizer, cpu) = (decoder(), with_bos(), cpu());
    let mut tokens = tokenizer.prefix().to_vec();
    tokens.extend(tokenizer.encode(TEXT));
    let (window, stride) = (20, 7);
    let mut expected = 0.0;
    let mut single = Scorer::new(&decoder, window, 1);
    for target in 1..tokens.len() {
        // The first window that reaches the target.
        let start = if target <= window { 0 } else { (target - window).div_ceil(stride) * stride };
        let nats = single.score(&cpu, &decoder, &[Window { tokens: &tokens[start..=target] }]);
        expected += f64::from(*nats[0].last().unwrap());
    }
    for rows in [1, 64, 4096] {
        let options = PerplexityOptions { window: Some(window), stride: Some(stride), rows };
        let found = scored(&decoder, &tokenizer, options);
        assert_eq!(found.nll_nats, expected, "in batches of {rows} rows");
        assert_eq!(found.tokens_scored as usize, tokens.len() - 1);
        assert!((found.perplexity.ln() * found.tokens_scored as f64 - found.nll_nats).abs() < 1e-9);
    }
}

#[test]
fn a_folder_gives_the_same_and_the_result_is_json() {
    let folder = temporary_folder();
    decoder().save(folder.path(), &BTreeMap::new()).unwrap();
    with_bos().save(folder.path()).unwrap();
    let admitted = ModelFiles::admit(folder.path(), &NoScan { reason: "made by this test" }).unwrap();
    let observer = Recorder::default();
    let options = PerplexityOptions { rows: CONTEXT, ..PerplexityOptions::default() };
    let found = perplexity_of_model(&admitted, (Some(1), Precision::Stored), TEXT, options, &observer).unwrap();
    assert_eq!(found, scored(&decoder(), &with_bos(), options));
    let events = observer.events();
    let Some(Event::Step { done, total, unit: "tokens", .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!((*done, *total), (TEXT.len() as u64, TEXT.len() as u64));
    let json = serde_json::to_value(&found).unwrap();
    let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["nll_nats", "tokens_scored", "perplexity", "bits_per_byte", "bits_per_token", "window", "stride"];
    assert_eq!(keys, expected);
}

#[test]
fn bad_sizes_and_texts_are_named() {
    let (decoder, tokenizer) = (decoder(), with_bos());
    let ask = |text: &str, window, stride| {
        let options = PerplexityOptions { window, stride, ..PerplexityOptions::default() };
        perplexity(&cpu(), &decoder, &tokenizer, text, options, &Silent).unwrap_err()
    };
    assert!(matches!(ask(TEXT, Some(25), None), EvalError::Window { window: 25, context: CONTEXT }));
    assert!(matches!(ask(TEXT, Some(0), None), EvalError::Window { .. }));
    assert!(matches!(ask(TEXT, Some(8), Some(9)), EvalError::Stride { stride: 9, window: 8 }));
    assert!(matches!(ask(TEXT, None, Some(0)), EvalError::Stride { .. }));
    let empty = ask("", None, None);
    assert!(matches!(empty, EvalError::TooShort { tokens: 1, needed: 2 }) && empty.hint().is_some());
    let small = Decoder::new(Gpt2::sized(100, CONTEXT, 16, 1, 2));
    let error = perplexity(&cpu(), &small, &tokenizer, TEXT, PerplexityOptions::default(), &Silent).unwrap_err();
    assert!(matches!(error, EvalError::Vocabulary { vocabulary: 100, .. }), "{error}");
}

#[test]
fn damaged_weights_are_an_error_and_stopping_stops() {
    let mut damaged = decoder();
    let id = damaged.parameters.find("final_norm.weight").unwrap();
    damaged.parameters.values_mut(id)[0] = f32::NAN;
    let found = perplexity(&cpu(), &damaged, &with_bos(), TEXT, PerplexityOptions::default(), &Silent);
    assert!(matches!(found, Err(EvalError::NotANumber { index: 1, .. })), "{found:?}");
    assert!(found.unwrap_err().hint().is_some_and(|hint| hint.contains("fetch the model again")));
    let stopped = perplexity(&cpu(), &decoder(), &with_bos(), TEXT, PerplexityOptions::default(), &Stop);
    assert!(matches!(stopped, Err(EvalError::Stopped { tokens_scored: 0, .. })));
}
