//! Answers of a model folder: streaming, ends, stop strings, limits, cancelling.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use tsumugi_base::testing::temporary_folder;
use tsumugi_infer::text::{
    Completion, Event, FinishReason, GenerateError, LocalModel, Options, Prompt, Request, SamplingParameters, TextModel,
};
use tsumugi_infer::{Engine, EngineOptions};
use tsumugi_models::Decoder;
use tsumugi_models::llama::Llama;
use tsumugi_tensor::Cpu;
use tsumugi_tokenizer::Message;

use crate::support::{VOCABULARY, admit, decoder, write_chat_model};

const CONTEXT: usize = 700;

fn tiny() -> Decoder {
    decoder(Llama::sized(VOCABULARY, CONTEXT, 48, 2, 4, 2), 3)
}

fn model() -> LocalModel {
    let folder = temporary_folder();
    write_chat_model(folder.path(), &tiny());
    let options = Options { threads: Some(1), name: Some("tiny".into()), ..Options::default() };
    LocalModel::load(&admit(folder.path()), options).unwrap()
}

fn request(prompt: &str) -> Request {
    Request {
        prompt: Prompt::Text(prompt.into()),
        sampling: SamplingParameters { seed: 11, ..SamplingParameters::default() },
        max_tokens: Some(60),
        stop: Vec::new(),
    }
}

/// The completion and the events: how many prompts were read, and the pieces of text.
fn run(model: &LocalModel, request: &Request) -> (Completion, usize, Vec<String>) {
    let (mut read, mut pieces) = (0, Vec::new());
    let completion = model
        .generate(request, &mut |event| {
            match event {
                Event::Reading { .. } => assert_eq!(read, 0, "it was read"),
                Event::PromptRead { .. } if pieces.is_empty() => read += 1,
                Event::PromptRead { .. } => panic!("text came before the prompt was read"),
                Event::Text(text) => pieces.push(text.to_owned()),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (completion, read, pieces)
}

/// A request whose answer is long.
fn long_answer(model: &LocalModel) -> (Request, String) {
    for seed in 0..50 {
        let mut request = request("To be");
        request.sampling.seed = seed;
        let text = run(model, &request).0.text;
        if text.chars().count() >= 30 {
            return (request, text);
        }
    }
    panic!("50 short answers");
}

#[test]
fn pieces_joined_are_the_answer_and_the_seed_decides_it() {
    let model = model();
    let (request, text) = long_answer(&model);
    let (again, read, pieces) = run(&model, &request);
    assert_eq!((again.text.as_str(), read, pieces.concat()), (text.as_str(), 1, text.clone()));
    let other = Request { sampling: SamplingParameters { seed: 12_345, ..request.sampling }, ..request };
    assert_ne!(run(&model, &other).0.text, text);
}

#[test]
fn a_stop_string_ends_the_answer_before_it_and_never_shows() {
    let model = model();
    let (request, text) = long_answer(&model);
    let characters: Vec<char> = text.chars().collect();
    for from in [0, 5, 20] {
        let stop: String = characters[from..from + 4].iter().collect();
        let expected = &text[..text.find(&stop).unwrap()];
        let (completion, _, pieces) = run(&model, &Request { stop: vec![stop.clone()], ..request.clone() });
        assert_eq!((completion.text.as_str(), completion.finish_reason), (expected, FinishReason::Stop));
        assert_eq!(pieces.concat(), expected);
    }
    let never = Request { stop: vec![format!("{}\0never", characters[29])], ..request };
    assert_eq!(run(&model, &never).0.text, text, "what was held back comes at the end");
}

#[test]
fn max_tokens_and_the_context_end_it_with_length() {
    let model = model();
    let (request, _) = long_answer(&model);
    let short = run(&model, &Request { max_tokens: Some(3), ..request.clone() }).0;
    assert_eq!((short.completion_tokens, short.finish_reason), (3, FinishReason::Length));
    let none = run(&model, &Request { max_tokens: Some(0), ..request.clone() }).0;
    assert_eq!((none.completion_tokens, none.finish_reason, none.text.as_str()), (0, FinishReason::Length, ""));
    let full = Request { prompt: Prompt::Text("x".repeat(CONTEXT - 2)), max_tokens: None, ..request.clone() };
    let full = run(&model, &full).0;
    assert_eq!((full.prompt_tokens, full.completion_tokens), (CONTEXT - 1, 1));
    let seeds = (0..20).map(|seed| SamplingParameters { seed, ..SamplingParameters::default() });
    let mut reasons = BTreeSet::new();
    for sampling in seeds {
        let completion = run(&model, &Request { max_tokens: None, sampling, ..request.clone() }).0;
        assert!(completion.prompt_tokens + completion.completion_tokens <= CONTEXT);
        reasons.insert(format!("{:?}", completion.finish_reason));
    }
    assert!(reasons.contains("Stop"), "no answer of 20 ended by itself: {reasons:?}");
}

#[test]
fn an_answer_that_was_cut_within_a_character_ends_before_it() {
    let model = model();
    let cpu = Cpu::detect(Some(1)).unwrap();
    let mut engine = Engine::new(tiny(), cpu, EngineOptions::default());
    let mut cut = 0;
    for first in 0..=255u32 {
        let (id, cached) = engine.begin(&[first]).unwrap();
        assert_eq!(cached, 0);
        let logits = engine.prefill(id, &[first]).unwrap();
        let token = (0..VOCABULARY).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        engine.end(id);
        engine.clear();
        let sampling = SamplingParameters { temperature: 0.0, ..SamplingParameters::default() };
        let one = Request { prompt: Prompt::Tokens(vec![first]), sampling, max_tokens: Some(1), stop: Vec::new() };
        let (completion, _, pieces) = run(&model, &one);
        let expected = match token {
            0xC2..=0xF4 => String::new(), // begins a character of several bytes
            0..=0xFF => String::from_utf8_lossy(&[token as u8]).into_owned(),
            _ => String::new(),
        };
        assert_eq!((&completion.text, pieces.concat()), (&expected, expected.clone()), "{token:x}");
        cut += usize::from((0xC2..=0xF4).contains(&token));
    }
    assert!(cut > 0, "no answer was cut within a character");
}

/// As Llama 2 has it: spaces as `▁`, and the space before a text is not shown.
fn sentencepiece_style() -> serde_json::Value {
    let letters = || ('a'..='z').map(String::from);
    let tokens = ["<unk>".to_owned()].into_iter().chain((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let tokens = tokens.chain(["▁".to_owned()]).chain(letters()).chain(letters().map(|letter| format!("▁{letter}")));
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        tokens.enumerate().map(|(id, token)| (token, id.into())).collect();
    let merges: Vec<[String; 2]> = letters().map(|letter| ["▁".to_owned(), letter]).collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges},
    })
}

#[test]
fn a_continuation_keeps_the_space_after_its_prompt() {
    let folder = temporary_folder();
    let vocabulary = 1 + 256 + 1 + 52;
    decoder(Llama::sized(vocabulary, 64, 48, 2, 4, 2), 3)
        .save(folder.path(), &std::collections::BTreeMap::new())
        .unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), sentencepiece_style().to_string()).unwrap();
    let model = LocalModel::load(&admit(folder.path()), Options { threads: Some(1), ..Options::default() }).unwrap();
    let (mut words, mut letters) = (0, 0);
    for seed in 0..100 {
        let sampling = SamplingParameters { seed, ..SamplingParameters::default() };
        let text = |prompt: Prompt| {
            run(&model, &Request { prompt, sampling: sampling.clone(), max_tokens: Some(1), stop: Vec::new() }).0.text
        };
        let answer = text(Prompt::Text("a b".into()));
        assert_eq!(answer, text(Prompt::Tokens(model.tokenizer().encode("a b"))));
        words += usize::from(answer.starts_with(' '));
        letters += usize::from(answer.starts_with(|c: char| c.is_ascii_lowercase()));
    }
    assert!(words > 0 && letters > 0, "{words} words and {letters} letters in 100 answers");
}

#[test]
fn a_prompt_as_long_as_the_context_is_refused() {
    let model = model();
    for length in [CONTEXT, CONTEXT + 1] {
        let long = Request { prompt: Prompt::Text("x".repeat(length - 1)), ..request("") }; // and BOS
        let error = model.generate(&long, &mut |_| ControlFlow::Continue(())).unwrap_err();
        let (prompt_tokens, context_length) = (length, CONTEXT);
        assert_eq!(error, GenerateError::ContextLengthExceeded { model: "tiny".into(), prompt_tokens, context_length });
    }
}

#[test]
fn bad_requests_are_named() {
    let model = model();
    let ask = |request: &Request| model.generate(request, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(ask(&Request { prompt: Prompt::Tokens(vec![]), ..request("") }), GenerateError::EmptyPrompt);
    let unknown = Request { prompt: Prompt::Tokens(vec![1, 261]), ..request("") };
    assert_eq!(ask(&unknown), GenerateError::UnknownToken { id: 261, vocabulary_size: VOCABULARY });
    let mut hot = request("a");
    hot.sampling.temperature = -1.0;
    assert!(matches!(ask(&hot), GenerateError::BadParameter { name: "temperature", .. }));
    let role = Request { prompt: Prompt::Chat(vec![Message::new("wizard", "hm")]), ..request("") };
    assert!(matches!(ask(&role), GenerateError::Template { .. }));
}

#[test]
fn cancelling_ends_it_at_once_and_the_next_answer_is_whole() {
    let model = model();
    let (request, text) = long_answer(&model);
    let mut seen = String::new();
    let cancelled = model
        .generate(&request, &mut |event| match event {
            Event::Reading { .. } | Event::PromptRead { .. } => ControlFlow::Continue(()),
            Event::Text(text) => {
                seen.push_str(text);
                ControlFlow::Break(())
            }
        })
        .unwrap();
    assert_eq!((cancelled.finish_reason, &cancelled.text), (FinishReason::Cancelled, &seen));
    let at_once = model.generate(&request, &mut |_| ControlFlow::Break(())).unwrap();
    assert_eq!((at_once.finish_reason, at_once.completion_tokens), (FinishReason::Cancelled, 0));
    assert_eq!(run(&model, &request).0.text, text);
}

#[test]
fn the_reading_of_a_long_prompt_can_be_ended() {
    let model = model();
    let long = Request { prompt: Prompt::Text("x".repeat(600)), max_tokens: Some(5), ..request("") };
    let mut events = Vec::new();
    let cancelled = model
        .generate(&long, &mut |event| {
            events.push(format!("{event:?}"));
            ControlFlow::Break(())
        })
        .unwrap();
    assert_eq!((cancelled.finish_reason, cancelled.completion_tokens), (FinishReason::Cancelled, 0));
    assert_eq!(events, ["Reading { tokens: 512 }"], "and nothing after it");
    let whole = run(&model, &long);
    assert_eq!(whole.0.text, run(&self::model(), &long).0.text, "what was read stays, and changes nothing");
}

#[test]
fn a_token_that_gives_no_text_is_a_chance_to_stop() {
    let model = model();
    let (request, text) = long_answer(&model);
    // The answer's own text may always become this stop string: it is all held back.
    let held = Request { stop: vec![format!("{text}\0never")], ..request };
    let mut asked = 0;
    let cancelled = model
        .generate(&held, &mut |event| {
            asked += usize::from(matches!(event, Event::Text("")));
            if asked == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    let expected = (FinishReason::Cancelled, 3, "");
    assert_eq!((cancelled.finish_reason, cancelled.completion_tokens, cancelled.text.as_str()), expected);
}

#[test]
fn a_caller_that_panics_leaves_a_model_that_answers() {
    let model = model();
    let (request, text) = long_answer(&model);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = model.generate(&request, &mut |_| panic!("of the test"));
    }));
    assert!(panicked.is_err());
    assert_eq!(run(&model, &request).0.text, text);
}

#[test]
fn a_conversation_goes_on_from_the_cache_with_the_same_answers() {
    let warm = model();
    let mut messages = vec![Message::new("system", "You are Romeo."), Message::new("user", "Who's there?")];
    for _ in 0..3 {
        let chat = Request { prompt: Prompt::Chat(messages.clone()), max_tokens: Some(20), ..request("") };
        let answer = run(&warm, &chat).0.text;
        assert_eq!(run(&model(), &chat).0.text, answer, "a model that has seen nothing says the same");
        messages.push(Message::new("assistant", answer));
        messages.push(Message::new("user", "Go on."));
    }
}

#[test]
fn damaged_weights_are_named_as_the_cause() {
    let folder = temporary_folder();
    let mut damaged = tiny();
    let id = damaged.parameters.find("final_norm.weight").unwrap();
    damaged.parameters.values_mut(id)[0] = f32::NAN;
    write_chat_model(folder.path(), &damaged);
    let options = Options { threads: Some(1), name: Some("tiny".into()), ..Options::default() };
    let model = LocalModel::load(&admit(folder.path()), options).unwrap();
    for temperature in [0.0, 0.8] {
        let mut request = request("To be");
        request.sampling.temperature = temperature;
        let error = model.generate(&request, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`tiny` cannot answer: the logit of token 0 is NaN: the model's weights are damaged"
        );
        let hint = tsumugi_base::Hint::hint(&error).unwrap();
        assert!(hint.starts_with("fetch the model again"), "{hint}");
    }
}
