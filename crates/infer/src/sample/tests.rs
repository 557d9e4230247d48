//! Each stage by hand, and the distribution of draws.

use super::*;

fn plain() -> SamplingParameters {
    SamplingParameters { temperature: 1.0, top_k: None, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 7 }
}

/// Counts of 20,000 draws.
fn draws(parameters: &SamplingParameters, logits: &[f32], context: &[u32]) -> Vec<f64> {
    const DRAWS: usize = 20_000;
    let mut sampler = Sampler::new(parameters).unwrap();
    let mut counts = vec![0.0; logits.len()];
    for _ in 0..DRAWS {
        counts[sampler.sample(logits, context).unwrap() as usize] += 1.0 / DRAWS as f64;
    }
    counts
}

fn assert_near(found: &[f64], expected: &[f64]) {
    // Four deviations of a share of 20,000 draws are at most 0.0142.
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.0142), "{found:?} is not {expected:?}");
}

/// Probabilities 0.5, 0.25, 0.125, 0.125.
fn halves() -> [f32; 4] {
    [0.5f32.ln(), 0.25f32.ln(), 0.125f32.ln(), 0.125f32.ln()]
}

#[test]
fn draws_follow_the_softmax() {
    assert_near(&draws(&plain(), &halves(), &[]), &[0.5, 0.25, 0.125, 0.125]);
}

#[test]
fn temperature_half_squares_the_probabilities() {
    let squares = [0.25, 0.0625, 0.015625, 0.015625];
    let sum: f64 = squares.iter().sum();
    let expected = squares.map(|square| square / sum);
    assert_near(&draws(&SamplingParameters { temperature: 0.5, ..plain() }, &halves(), &[]), &expected);
}

#[test]
fn the_smallest_temperature_is_greedy_and_does_not_overflow() {
    let parameters = SamplingParameters { temperature: f32::MIN_POSITIVE, ..plain() };
    let mut sampler = Sampler::new(&parameters).unwrap();
    assert_eq!(sampler.sample(&[1.0, 3.0e38, 2.0], &[]), Ok(1));
}

#[test]
fn filters_keep_what_they_say() {
    let third = 1.0 / 3.0;
    let top_k = SamplingParameters { top_k: Some(2), ..plain() };
    assert_near(&draws(&top_k, &halves(), &[]), &[2.0 * third, third, 0.0, 0.0]);
    let top_p = SamplingParameters { top_p: 0.7, ..plain() };
    assert_near(&draws(&top_p, &halves(), &[]), &[2.0 * third, third, 0.0, 0.0]);
    let tiny = SamplingParameters { top_p: 1e-6, ..plain() };
    assert_near(&draws(&tiny, &halves(), &[]), &[1.0, 0.0, 0.0, 0.0]);
    let min_p = SamplingParameters { min_p: 0.4, ..plain() };
    assert_near(&draws(&min_p, &halves(), &[]), &[2.0 * third, third, 0.0, 0.0]);
}

#[test]
fn top_p_of_a_flat_distribution_goes_beyond_what_is_sorted_first() {
    let mut candidates = Candidates { list: (0..2000).map(|token| Candidate { token, logit: 0.0 }).collect() };
    let stages = top_p::stage(&SamplingParameters { top_p: 0.5, ..plain() }).unwrap().unwrap();
    stages.apply(&mut candidates, Context { tokens: &[] });
    let tokens: Vec<u32> = candidates.list.iter().map(|candidate| candidate.token).collect();
    assert_eq!(tokens, (0..1000).collect::<Vec<u32>>(), "of equals the lower ids");
}

#[test]
fn the_repetition_penalty_halves_positive_logits_and_doubles_negative_ones() {
    let stage = repetition_penalty::stage(&SamplingParameters { repetition_penalty: 2.0, ..plain() }).unwrap().unwrap();
    let logits = [4.0, -3.0, 4.0, -3.0];
    let mut candidates =
        Candidates { list: (0..).zip(logits).map(|(token, logit)| Candidate { token, logit }).collect() };
    stage.apply(&mut candidates, Context { tokens: &[3, 0, 0, 9] });
    let changed: Vec<f32> = candidates.list.iter().map(|candidate| candidate.logit).collect();
    assert_eq!(changed, [2.0, -3.0, 4.0, -6.0]);
}

#[test]
fn greedy_takes_the_likeliest_and_of_equals_the_lowest_id() {
    let mut sampler = Sampler::new(&SamplingParameters { temperature: 0.0, ..plain() }).unwrap();
    assert_eq!(sampler.sample(&[1.0, 5.0, 5.0, -1.0], &[]), Ok(1));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, -9.0], &[]), Ok(1));
}

#[test]
fn the_same_seed_draws_the_same_and_another_does_not() {
    let draw = |seed: u64| {
        let mut sampler = Sampler::new(&SamplingParameters { seed, ..plain() }).unwrap();
        (0..50).map(|_| sampler.sample(&[0.0; 100], &[]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn what_is_no_number_is_an_error() {
    let mut sampler = Sampler::new(&plain()).unwrap();
    let error = sampler.sample(&[0.0, f32::NAN], &[]).unwrap_err();
    assert!(matches!(error, SampleError::NotANumber { token: 1, .. }) && error.hint().is_some(), "{error}");
    assert!(matches!(sampler.sample(&[f32::INFINITY], &[]), Err(SampleError::NotANumber { token: 0, .. })));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY], &[]), Err(SampleError::NothingLeft));
    assert_eq!(sampler.sample(&[], &[]), Err(SampleError::NothingLeft));
}

#[test]
fn parameters_out_of_range_are_named() {
    let cases = [
        (SamplingParameters { temperature: -1.0, ..plain() }, "temperature"),
        (SamplingParameters { temperature: f32::NAN, ..plain() }, "temperature"),
        (SamplingParameters { temperature: 2.5, ..plain() }, "temperature"),
        (SamplingParameters { repetition_penalty: 11.0, ..plain() }, "repetition_penalty"),
        (SamplingParameters { top_k: Some(0), ..plain() }, "top_k"),
        (SamplingParameters { top_p: 0.0, ..plain() }, "top_p"),
        (SamplingParameters { top_p: 1.1, ..plain() }, "top_p"),
        (SamplingParameters { min_p: 1.0, ..plain() }, "min_p"),
        (SamplingParameters { min_p: f32::NAN, ..plain() }, "min_p"),
        (SamplingParameters { repetition_penalty: 0.0, ..plain() }, "repetition_penalty"),
    ];
    for (parameters, expected) in cases {
        match Sampler::new(&parameters).map(|_| ()) {
            Err(SampleError::BadParameter { name, .. }) => assert_eq!(name, expected),
            other => panic!("{parameters:?} gave {other:?}"),
        }
    }
}
