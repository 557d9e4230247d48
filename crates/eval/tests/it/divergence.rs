//! KL divergence against its definition over the logits of single windows; a model and itself; what is refused.

use std::collections::BTreeMap;

use tsumugi_base::error_chain;
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_eval::{Divergence, EvalError, Perplexity, PerplexityOptions, compare_models, divergence};
use tsumugi_files::{Admitted, ModelFiles, NoScan};
use tsumugi_models::{Decoder, LogitsPlan, Precision, family, gpt2::Gpt2};
use tsumugi_tensor::{Cpu, Segment};
use tsumugi_tokenizer::Tokenizer;
use tsumugi_tokenizer::train::{byte_tokenizer, character_tokenizer};

use crate::perplexity::{CONTEXT, Stop, TEXT, cpu, decoder, scored, with_bos};

/// Another model of the same shape, near the first.
fn near(share: f32) -> Decoder {
    let (mut near, mut noise) = (decoder(), decoder());
    noise.initialize(9, cpu().pool());
    for (value, noise) in near.parameters.buffer_mut().iter_mut().zip(noise.parameters.buffer()) {
        *value += share * noise;
    }
    near
}

fn diverged(
    [model, reference]: [&Decoder; 2],
    options: PerplexityOptions,
) -> Result<([Perplexity; 2], Divergence), EvalError> {
    divergence(&cpu(), [model, reference], &with_bos(), TEXT, options, &Silent)
}

/// Logits of the last of these tokens, as probabilities.
fn probabilities(cpu: &Cpu, decoder: &Decoder, tokens: &[u32]) -> Vec<f64> {
    let rows = tokens.len();
    let positions: Vec<u32> = (0..rows as u32).collect();
    let segments = [Segment { start: 0, len: rows }];
    let mut plan = LogitsPlan::new(decoder, rows, rows);
    let logits = plan.run_uncached(cpu, &decoder.parameters, tokens, &positions, &segments);
    let exps: Vec<f64> =
        logits[logits.len() - decoder.spec.vocabulary..].iter().map(|&logit| f64::from(logit).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|exp| exp / sum).collect()
}

fn likeliest(probabilities: &[f64]) -> usize {
    (0..probabilities.len()).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b])).unwrap()
}

/// The models of `decoder` have untied heads; Gemma's are tied and its logits capped.
fn capped(seed: u64) -> Decoder {
    let mut spec = family::find("gemma2").unwrap().tiny();
    (spec.vocabulary, spec.context) = (261, CONTEXT);
    assert!(spec.logit_cap.is_some());
    let mut decoder = Decoder::new(spec);
    decoder.initialize(seed, cpu().pool());
    decoder
}

#[test]
fn each_token_is_compared_by_the_definition_in_its_window() {
    let mut tokens = with_bos().prefix().to_vec();
    tokens.extend(with_bos().encode(TEXT));
    let (window, stride, cpu) = (20, 7, cpu());
    for [model, reference] in [[near(0.3), decoder()], [capped(1), capped(2)]] {
        let (mut expected, mut same, mut nll) = (Vec::new(), 0, 0.0);
        for target in 1..tokens.len() {
            let start = if target <= window { 0 } else { (target - window).div_ceil(stride) * stride };
            let [q, p] = [&model, &reference].map(|decoder| probabilities(&cpu, decoder, &tokens[start..target]));
            expected.push(p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>());
            same += usize::from(likeliest(&p) == likeliest(&q));
            nll -= q[tokens[target] as usize].ln();
        }
        expected.sort_by(f64::total_cmp);
        let count = expected.len();
        for rows in [1, 4096] {
            let options = PerplexityOptions { window: Some(window), stride: Some(stride), rows };
            let ([of_model, of_reference], found) = diverged([&model, &reference], options).unwrap();
            let near = |found: f64, expected: f64| (found - expected).abs() < 1e-6 + 1e-4 * expected;
            assert!(found.mean_nats > 1e-3, "{found:?}");
            assert!(near(found.mean_nats, expected.iter().sum::<f64>() / count as f64), "{found:?}");
            assert!(near(found.maximum_nats, expected[count - 1]), "{found:?}");
            assert!(near(found.percentile_99_nats, expected[(99 * count).div_ceil(100) - 1]), "{found:?}");
            assert_eq!(found.same_top, same as f64 / count as f64);
            assert!(near(of_model.nll_nats, nll), "{of_model:?}");
            for (decoder, found) in [(&model, of_model), (&reference, of_reference)] {
                let by_loss = scored(decoder, &with_bos(), options);
                assert!(near(found.nll_nats, by_loss.nll_nats), "{found:?}, not {by_loss:?}");
                assert_eq!((found.tokens_scored, found.window), (by_loss.tokens_scored, by_loss.window));
            }
        }
    }
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let ([model, reference], found) = diverged([&decoder(), &decoder()], PerplexityOptions::default()).unwrap();
    let nothing = Divergence { mean_nats: 0.0, percentile_99_nats: 0.0, maximum_nats: 0.0, same_top: 1.0 };
    assert_eq!(found, nothing);
    assert_eq!(model, reference);
}

fn admitted(folder: &std::path::Path, decoder: &Decoder, tokenizer: &Tokenizer) -> Admitted<ModelFiles> {
    std::fs::create_dir_all(folder).unwrap();
    decoder.save(folder, &BTreeMap::new()).unwrap();
    tokenizer.save(folder).unwrap();
    ModelFiles::admit(folder, &NoScan { reason: "made by this test" }).unwrap()
}

#[test]
fn folders_give_the_same_and_their_sizes() {
    let folder = temporary_folder();
    let model = admitted(&folder.path().join("model"), &near(0.3), &with_bos());
    let reference = admitted(&folder.path().join("reference"), &decoder(), &with_bos());
    let options = PerplexityOptions::default();
    let found = compare_models((&model, &reference), (Some(1), Precision::Float32), TEXT, options, &Silent).unwrap();
    let ([of_model, of_reference], expected) = diverged([&near(0.3), &decoder()], options).unwrap();
    assert_eq!((&found.model.perplexity, &found.reference.perplexity), (&of_model, &of_reference));
    assert_eq!((found.divergence, found.model.bits_per_weight), (expected, 32.0));
    assert_eq!(found.model.weight_bytes, 4 * decoder().parameters.count() as u64);
}

#[test]
fn models_of_other_tokens_are_refused() {
    let other = Decoder::new(Gpt2::sized(100, CONTEXT, 16, 1, 2));
    let error = diverged([&decoder(), &other], PerplexityOptions::default()).unwrap_err();
    assert!(matches!(error, EvalError::OtherVocabulary { model: 261, reference: 100 }), "{error}");

    let folder = temporary_folder();
    let model = admitted(&folder.path().join("model"), &decoder(), &with_bos());
    let refused = |name: &str, tokenizer: &Tokenizer| {
        let reference = admitted(&folder.path().join(name), &decoder(), tokenizer);
        let (compute, options) = ((Some(1), Precision::Float32), PerplexityOptions::default());
        compare_models((&model, &reference), compute, TEXT, options, &Silent).unwrap_err()
    };
    let error = refused("characters", &character_tokenizer(TEXT, &[]).unwrap());
    assert!(matches!(error, EvalError::OtherToken { .. }), "{error}");
    let error = refused("without BOS", &byte_tokenizer(&[]).unwrap());
    assert!(matches!(error, EvalError::OtherCut { index: 0 }), "{error}");
}

#[test]
fn a_short_reference_and_a_damaged_one_are_named_as_such_and_stopping_stops() {
    let short = Decoder::new(Gpt2::sized(261, 8, 16, 1, 2));
    let options = PerplexityOptions { window: Some(9), ..PerplexityOptions::default() };
    let error = diverged([&decoder(), &short], options).unwrap_err();
    let said = "the model to measure against: a window of 9 was asked for, but the model has 8 positions";
    assert_eq!(error_chain(&error), said);
    let ([of_model, _], _) = diverged([&decoder(), &short], PerplexityOptions::default()).unwrap();
    assert_eq!(of_model.window, 8, "what both have");

    let mut damaged = decoder();
    let id = damaged.parameters.find("final_norm.weight").unwrap();
    damaged.parameters.values_mut(id)[0] = f32::NAN;
    let options = PerplexityOptions::default();
    assert!(matches!(diverged([&damaged, &decoder()], options), Err(EvalError::NotANumber { index: 1, .. })));
    assert!(matches!(diverged([&decoder(), &damaged], options), Err(EvalError::Reference(_))));

    let stopped = divergence(&cpu(), [&decoder(), &decoder()], &with_bos(), TEXT, options, &Stop);
    assert!(matches!(stopped, Err(EvalError::Stopped { tokens_scored: 0, .. })), "{stopped:?}");
}
