//! Supervised fine-tuning: what is learned, what is not, and that a stopped run goes on to the same bits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tsumugi_base::progress::{Event, Observer, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_files::{Admitted, ModelFiles, NoScan};
use tsumugi_models::{Decoder, family};
use tsumugi_tensor::Cpu;
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::train::byte_tokenizer;
use tsumugi_tokenizer::{Message, special_tokens};
use tsumugi_tune::methods::sft::{self, SftRecipe, Tuned};
use tsumugi_tune::{Conversations, TuneError};

/// A llama of a few thousand weights on bytes.
fn base(folder: &Path) -> Admitted<ModelFiles> {
    std::fs::create_dir_all(folder).unwrap();
    let tokenizer = byte_tokenizer(&special_tokens::all()).unwrap();
    let mut spec = family::find("llama").unwrap().tiny();
    (spec.vocabulary, spec.context) = (tokenizer.vocabulary_size(), 64);
    let mut decoder = Decoder::new(spec);
    decoder.initialize(5, &Pool::new(1));
    decoder.save(folder, &BTreeMap::new()).unwrap();
    tokenizer.save(folder).unwrap();
    ModelFiles::admit(folder, &NoScan { reason: "the test made it" }).unwrap()
}

/// Every question has the same answer; the questions are noise.
fn conversations() -> Conversations {
    let ask = |index: u64| {
        let noise = format!("{:x}", index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        vec![Message::new("user", noise), Message::new("assistant", "aye")]
    };
    Conversations { train: (0..40).map(ask).collect(), held_out: (100..104).map(ask).collect(), places: None }
}

fn recipe() -> SftRecipe {
    SftRecipe {
        model: Some("base".into()),
        data: Some("made.jsonl".into()),
        batch: Some(2),
        steps: Some(60),
        learning_rate: Some(1e-2),
        checkpoint_every: Some(7),
        ..SftRecipe::default()
    }
}

fn tune(recipe: &SftRecipe, out: &Path, threads: usize, observer: &dyn Observer) -> Result<Tuned, TuneError> {
    let model = base(&out.parent().unwrap().join("base"));
    let source = sft::Source { model: &model, conversations: &conversations(), inputs: Vec::new() };
    let cpu = Cpu::detect(Some(threads)).unwrap();
    sft::run_on(&source, recipe, out, &cpu, Vec::new(), observer, &mut |_, _, _, _| {})
}

#[test]
fn it_learns_the_answers_and_their_end_and_not_the_questions() {
    let folder = temporary_folder();
    let mut losses = Vec::new();
    let model = base(&folder.path().join("base"));
    let source = sft::Source { model: &model, conversations: &conversations(), inputs: Vec::new() };
    let cpu = Cpu::detect(Some(1)).unwrap();
    let out = folder.path().join("chat");
    let tuned = sft::run_on(&source, &recipe(), &out, &cpu, Vec::new(), &Silent, &mut |evaluated, _, _, _| {
        losses.push(evaluated.loss);
    })
    .unwrap();
    assert!(tuned.finished);
    // Four tokens of each conversation count: three letters and the end of the turn. Noise could not be learned.
    assert_eq!(tuned.packing.trained_tokens, 4 * 40);
    assert!(losses[0] > 3.0 && *losses.last().unwrap() < 0.5, "{losses:?}");
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        assert!(out.join(file).exists(), "{file}");
    }
}

/// Asks to stop when it has been asked so many times.
struct StopAfter(AtomicU64);

impl Observer for StopAfter {
    fn event(&self, _event: &Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_weights() {
    let folder = temporary_folder();
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    assert!(tune(&recipe(), &whole, 2, &Silent).unwrap().finished);
    for (steps, threads) in [(1, 1), (25, 2), (13, 1)] {
        assert!(!tune(&recipe(), &pieces, threads, &StopAfter(AtomicU64::new(steps))).unwrap().finished);
    }
    assert!(tune(&recipe(), &pieces, 2, &Silent).unwrap().finished);
    let weights = |run: &Path| std::fs::read(run.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&pieces), "the weights differ");
    assert!(tune(&recipe(), &whole, 1, &Silent).unwrap().was_finished);
    let other = SftRecipe { steps: Some(61), ..recipe() };
    let error = tune(&other, &whole, 1, &Silent).unwrap_err().to_string();
    assert!(error.contains("steps"), "{error}");
}

/// And the folder is as free as before.
#[test]
fn weights_that_are_no_numbers_are_named() {
    let folder = temporary_folder();
    let path = folder.path();
    let sound = base(&path.join("base"));
    let mut decoder = Decoder::load(&sound, &Pool::new(1)).unwrap();
    let tune = |decoder: &Decoder| {
        decoder.save(&path.join("base"), &BTreeMap::new()).unwrap();
        let model = ModelFiles::admit(&path.join("base"), &NoScan { reason: "the test made it" }).unwrap();
        let source = sft::Source { model: &model, conversations: &conversations(), inputs: Vec::new() };
        let cpu = Cpu::detect(Some(1)).unwrap();
        sft::run_on(&source, &recipe(), &path.join("out"), &cpu, Vec::new(), &Silent, &mut |_, _, _, _| {})
    };
    let written = std::mem::replace(&mut decoder.parameters.buffer_mut()[0], f32::INFINITY);
    let error = tune(&decoder).unwrap_err().to_string();
    assert!(error.starts_with("the model's weights are damaged: `"), "{error}");
    decoder.parameters.buffer_mut()[0] = written;
    assert!(tune(&decoder).unwrap().finished);
}

/// In the part that is trained on, and in the one held out; blank lines count.
#[test]
fn a_conversation_that_the_template_refuses_is_named_by_file_and_line() {
    let folder = temporary_folder();
    let path = folder.path();
    let model = base(&path.join("base"));
    let template = "{% for message in messages %}{% if 'refuse' in message.content %}{{ raise_exception('no') }}{% endif %}\
                    {{ message.content }}{% endfor %}";
    let config = serde_json::json!({ "chat_template": template }).to_string();
    std::fs::write(path.join("base/tokenizer_config.json"), config).unwrap();
    let model = ModelFiles::admit(model.path(), &NoScan { reason: "the test made it" }).unwrap();
    for (bad, line) in [(2, 4), (19, 21)] {
        let lines = (0..20).map(|index| {
            let content = if index == bad { "refuse" } else { "say" };
            let messages = [Message::new("user", content), Message::new("assistant", "aye")];
            serde_json::json!({ "messages": messages }).to_string() + if index == 0 { "\n\n" } else { "\n" }
        });
        let data = path.join("made.jsonl");
        std::fs::write(&data, lines.collect::<String>()).unwrap();
        let recipe = SftRecipe { data: Some(data.clone()), ..recipe() };
        let cpu = Cpu::detect(Some(1)).unwrap();
        let error = sft::run(&recipe, &model, &path.join("out"), &cpu, Vec::new(), &Silent, &mut |_, _, _, _| {});
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}, line {line}: the chat template ", data.display())), "{error}");
    }
}
