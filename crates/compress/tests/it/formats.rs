//! Folder to file and back: the same numbers, the same text, and errors that leave nothing behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tsumugi_base::Hint;
use tsumugi_base::progress::{Event, Observer, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_compress::{CompressError, FolderType, Written, mix, write_folder, write_gguf_model};
use tsumugi_files::{Admitted, ElementType, ModelFiles, NoScan, to_f32};
use tsumugi_models::llama::Llama;
use tsumugi_models::mixtral::Mixtral;
use tsumugi_models::{ALL, Decoder, DecoderSpec, Family, read_spec};
use tsumugi_tensor::threads::Pool;
use tsumugi_tokenizer::{ChatTemplate, Tokenizer, end_tokens, special_tokens, train::byte_tokenizer};

const GATE: NoScan = NoScan { reason: "made by this test" };

pub fn admit(path: &Path) -> Admitted<ModelFiles> {
    ModelFiles::admit(path, &GATE).unwrap()
}

fn random(spec: &DecoderSpec) -> Decoder {
    let mut decoder = Decoder::new(spec.clone());
    decoder.initialize(5, &Pool::new(1));
    decoder
}

/// A folder of a model, in `folder`.
fn saved(folder: &Path, spec: &DecoderSpec) -> PathBuf {
    let path = folder.join("model");
    std::fs::create_dir_all(&path).unwrap();
    random(spec).save(&path, &BTreeMap::new()).unwrap();
    path
}

pub fn to_gguf(model: &Path, out: &Path, name: &str, threads: usize) -> Result<Written, CompressError> {
    write_gguf_model(&admit(model), out, mix::find(name).unwrap(), &Pool::new(threads), &Silent)
}

pub fn numbers(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let tensors = admit(path).tensors().unwrap();
    tensors.iter().map(|tensor| (tensor.name.to_owned(), to_f32(&tensor).unwrap())).collect()
}

#[test]
fn every_family_goes_to_a_file_and_back() {
    for family in ALL {
        let (folder, spec) = (temporary_folder(), family.tiny());
        let model = saved(folder.path(), &spec);
        let (file, back) = (folder.path().join("m.gguf"), folder.path().join("back"));
        let written = to_gguf(&model, &file, "F32", 2).unwrap();
        assert_eq!(written.bits_per_weight(), 32.0, "{}", family.name());
        write_folder(&admit(&file), &back, FolderType::F32, &Pool::new(3), &Silent).unwrap();
        assert_eq!(read_spec(&admit(&back)).unwrap().1, spec);
        let (before, after) = (numbers(&model), numbers(&back));
        assert!(before.keys().eq(after.keys()), "{}", family.name());
        for (name, before) in before {
            let same = |(a, b): (&f32, &f32)| (a - b).abs() <= f32::EPSILON / 2.0; // a norm's one was added and subtracted
            assert!(before.iter().zip(&after[&name]).all(same), "{}: {name}", family.name());
        }
    }
}

#[test]
fn vocabulary_template_and_ends_go_along() {
    let folder = temporary_folder();
    let tokenizer = byte_tokenizer(&special_tokens::all()).unwrap();
    let spec = DecoderSpec { vocabulary: tokenizer.vocabulary_size() + 3, ..Llama::sized(0, 24, 16, 1, 4, 2) };
    let model = saved(folder.path(), &spec);
    tokenizer.save_with_template(&model, &ChatTemplate::own()).unwrap();
    let (file, back) = (folder.path().join("m.gguf"), folder.path().join("back"));
    to_gguf(&model, &file, "F16", 1).unwrap();
    write_folder(&admit(&file), &back, FolderType::BF16, &Pool::new(1), &Silent).unwrap();
    let text = "Hello, world! 12 naïve 🙂\n\t<|end|> def f(x):";
    for path in [&file, &back] {
        let files = admit(path);
        let read = Tokenizer::of_model(&files).unwrap().unwrap();
        assert_eq!(read.encode(text), tokenizer.encode(text), "{}", path.display());
        assert_eq!(read.encode_with_special(text), tokenizer.encode_with_special(text));
        assert_eq!(ChatTemplate::of_model(&files).unwrap().unwrap().source(), ChatTemplate::own().source());
        assert_eq!(end_tokens(&files, &read).unwrap(), end_tokens(&admit(&model), &tokenizer).unwrap());
    }
    let config = std::fs::read_to_string(back.join("config.json")).unwrap();
    assert!(config.contains("\"torch_dtype\": \"bfloat16\"") && config.contains("eos_token_id"), "{config}");
    assert!(back.join("generation_config.json").exists());
}

/// Wide enough for blocks of 256, and for more than one piece.
fn wide() -> DecoderSpec {
    DecoderSpec { feed_forward_width: 512, ..Llama::sized(300, 32, 256, 2, 4, 2) }
}

#[test]
fn quantized_files_are_the_same_for_any_threads_and_their_error_is_that_of_their_numbers() {
    let folder = temporary_folder();
    let model = saved(folder.path(), &wide());
    let exact = folder.path().join("exact.gguf");
    to_gguf(&model, &exact, "F32", 1).unwrap();
    let exact = numbers(&exact);
    let mut last_bits = f64::INFINITY;
    for name in ["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q2_K"] {
        let files = [1, 3].map(|threads| folder.path().join(format!("{threads}.gguf")));
        let written = to_gguf(&model, &files[0], name, 1).unwrap();
        assert_eq!(to_gguf(&model, &files[1], name, 3).unwrap(), written);
        assert!(std::fs::read(&files[0]).unwrap() == std::fs::read(&files[1]).unwrap(), "{name}");
        let squares = |difference: bool| -> f64 {
            let stored = numbers(&files[0]);
            let square = |(x, y): (&f32, &f32)| (f64::from(*x) - if difference { f64::from(*y) } else { 0.0 }).powi(2);
            exact.iter().map(|(tensor, x)| x.iter().zip(&stored[tensor]).map(square).sum::<f64>()).sum()
        };
        let error = (squares(true) / squares(false)).sqrt();
        assert!((written.relative_error / error - 1.0).abs() < 1e-9, "{name}: {} {error}", written.relative_error);
        assert!(written.bits_per_weight() < last_bits, "{name}");
        last_bits = written.bits_per_weight();
    }
    assert!(last_bits < 4.0, "{last_bits}");
}

#[test]
fn what_has_the_wanted_type_already_keeps_its_bytes() {
    let with_experts = DecoderSpec { width: 256, head_width: 64, feed_forward_width: 256, layers: 1, ..Mixtral.tiny() };
    for spec in [wide(), with_experts] {
        let folder = temporary_folder();
        let model = saved(folder.path(), &spec);
        let (first, second) = (folder.path().join("1.gguf"), folder.path().join("2.gguf"));
        to_gguf(&model, &first, "Q4_K_M", 1).unwrap();
        let again = to_gguf(&first, &second, "Q4_K_M", 2).unwrap();
        assert_eq!(again.relative_error, 0.0);
        assert!(std::fs::read(first).unwrap() == std::fs::read(second).unwrap(), "{}", spec.family);
    }
}

/// Experts one by one in a folder, all of a layer in one tensor in another: the same file of either.
#[test]
fn folders_of_fused_experts_are_converted_too() {
    for name in ["mixtral-fused", "qwen2-moe-fused"] {
        let fused = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/fixtures").join(name);
        let folder = temporary_folder();
        let path = folder.path().join("model");
        std::fs::create_dir(&path).unwrap();
        Decoder::load(&admit(&fused), &Pool::new(1)).unwrap().save(&path, &BTreeMap::new()).unwrap();
        let files = ["fused.gguf", "apart.gguf"].map(|name| folder.path().join(name));
        for (model, file) in [&fused, &path].into_iter().zip(&files) {
            to_gguf(model, file, "F32", 2).unwrap();
        }
        let [fused, apart] = files.map(|file| numbers(&file));
        assert!(fused.len() > 10 && fused == apart, "{name}");
    }
}

/// Asks to stop at the second question.
#[derive(Default)]
struct Impatient(AtomicUsize);

impl Observer for Impatient {
    fn event(&self, _event: &Event) {}

    fn stop_requested(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) > 0
    }
}

#[test]
fn what_cannot_be_written_leaves_nothing_and_says_why() {
    let folder = temporary_folder();
    let model = saved(folder.path(), &wide());
    let out = folder.path().join("out.gguf");
    let q8_0 = mix::find("Q8_0").unwrap();
    let stopped = write_gguf_model(&admit(&model), &out, q8_0, &Pool::new(1), &Impatient::default()).unwrap_err();
    assert!(matches!(stopped, CompressError::Stopped { done: 1, .. }), "{stopped}");

    let mut damaged = random(&wide());
    let id = damaged.parameters.find("layers.1.feed_forward.down.weight").unwrap();
    damaged.parameters.values_mut(id)[7] = f32::NAN;
    damaged.save(&model, &BTreeMap::new()).unwrap();
    let error = to_gguf(&model, &out, "Q4_0", 2).unwrap_err();
    assert!(error.to_string().starts_with("tensor `blk.1.ffn_down.weight`: "), "{error}");
    assert!(!out.exists());

    let file = folder.path().join("m.gguf");
    to_gguf(&model, &file, "F32", 1).unwrap();
    let error = to_gguf(&file, &file, "F16", 1).unwrap_err();
    assert!(matches!(error, CompressError::Itself { .. }) && error.hint().is_some(), "{error}");
    let error = write_folder(&admit(&model), &model, FolderType::F16, &Pool::new(1), &Silent).unwrap_err();
    assert!(matches!(error, CompressError::Itself { .. }), "{error}");
    assert_eq!(admit(&file).tensors().unwrap().iter().next().unwrap().element_type, ElementType::F32);
}
