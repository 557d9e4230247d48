//! Encoders to a file and back: the same numbers, vectors and scores.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tsumugi_base::Hint;
use tsumugi_base::progress::Silent;
use tsumugi_base::testing::{repository_root, temporary_folder};
use tsumugi_compress::{FolderType, write_folder};
use tsumugi_files::ElementType;
use tsumugi_files::gguf::Value as Stored;
use tsumugi_infer::text::{CrossEncoder, Embedder, EmbedderOptions};
use tsumugi_models::{Encoder, Precision};
use tsumugi_tensor::threads::Pool;

use crate::formats::{admit, numbers, to_gguf};

const TEXTS: [&str; 3] = ["the dog runs in the park", "A Café, a dog & a café!", "unknowable 日本 [MASK] zzz"];

fn fixture(name: &str) -> PathBuf {
    repository_root().join("crates/models/fixtures/encoders").join(name)
}

/// A fixture in `folder`, with keys of its config changed and files taken away.
fn changed(folder: &Path, name: &str, keys: &Value, without: &[&str]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.join("1_Pooling")).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "modules.json"] {
        if !without.contains(&file) && fixture(name).join(file).exists() {
            fs::copy(fixture(name).join(file), path.join(file)).unwrap();
        }
    }
    if fixture(name).join("1_Pooling").exists() {
        fs::copy(fixture(name).join("1_Pooling/config.json"), path.join("1_Pooling/config.json")).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    fs::write(path.join("config.json"), config.to_string()).unwrap();
    path
}

fn to_folder(model: &Path, out: &Path) {
    write_folder(&admit(model), out, FolderType::F32, &Pool::new(2), &Silent).unwrap();
}

fn embedder(path: &Path) -> Embedder {
    let options = EmbedderOptions { threads: Some(1), precision: Precision::Float32, ..EmbedderOptions::default() };
    Embedder::load(&admit(path), options).unwrap()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn vectors_are_the_same_bits_in_a_file_and_in_a_folder_of_it() {
    let folder = temporary_folder();
    let (model, file, back) = (fixture("bert"), folder.path().join("m.gguf"), folder.path().join("back"));
    assert_eq!(to_gguf(&model, &file, "F32", 2).unwrap().bits_per_weight(), 32.0);
    to_folder(&file, &back);
    let expected = embedder(&model);
    let vectors = expected.embed(&TEXTS, "").unwrap();
    for path in [&file, &back] {
        let found = embedder(path);
        assert_eq!(found.pooling(), expected.pooling(), "{}", path.display());
        assert_eq!(found.max_tokens(), 24);
        assert_eq!(found.prompt(Some("query")), Ok("the dog is: "));
        let found = found.embed(&TEXTS, "").unwrap();
        assert_eq!((bits(&found.values), found.tokens), (bits(&vectors.values), vectors.tokens), "{}", path.display());
    }
    let expected: Vec<_> = numbers(&model).into_iter().filter(|(name, _)| !name.starts_with("cls.")).collect();
    assert_eq!(numbers(&back).into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_says_what_llama_cpp_asks_of_it() {
    let folder = temporary_folder();
    let file = folder.path().join("m.gguf");
    to_gguf(&fixture("bert"), &file, "F16", 1).unwrap();
    let admitted = admit(&file);
    let metadata = admitted.gguf().unwrap();
    for (key, value) in [
        ("general.architecture", Stored::String("bert".into())),
        ("bert.pooling_type", Stored::U32(1)),
        ("bert.attention.causal", Stored::Bool(false)),
        ("bert.context_length", Stored::U32(32)),
        ("tokenizer.ggml.model", Stored::String("bert".into())),
        ("tokenizer.ggml.token_type_count", Stored::U32(2)),
        ("tokenizer.ggml.bos_token_id", Stored::U32(2)),
        ("tokenizer.ggml.cls_token_id", Stored::U32(2)),
        ("tokenizer.ggml.seperator_token_id", Stored::U32(3)),
        ("tokenizer.ggml.padding_token_id", Stored::U32(0)),
        ("tokenizer.ggml.unknown_token_id", Stored::U32(1)),
    ] {
        assert_eq!(metadata.get(key), Some(&value), "{key}");
    }
    assert_eq!(metadata.get("tokenizer.ggml.scores"), None);
}

#[test]
fn scores_of_pairs_are_the_same_bits_too() {
    let folder = temporary_folder();
    let named = json!({"id2label": {"0": "fits"}, "sentence_transformers": {"activation_fn": "torch.nn.Identity"}});
    let model = changed(folder.path(), "bert-cross-encoder", &named, &[]);
    let (file, back) = (folder.path().join("m.gguf"), folder.path().join("back"));
    to_gguf(&model, &file, "F32", 1).unwrap();
    to_folder(&file, &back);
    let scores = |path: &Path| {
        let model = CrossEncoder::load(&admit(path), Some(1), Precision::Float32).unwrap();
        bits(&model.score("a dog in the park", &TEXTS).unwrap().values)
    };
    assert_eq!([scores(&file), scores(&back)], [scores(&model), scores(&model)]);
    let config: Value = serde_json::from_slice(&fs::read(back.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["id2label"], json!({"0": "fits"}));
    assert_eq!(admit(&file).gguf().unwrap().get("bert.pooling_type"), Some(&Stored::U32(4)));
}

#[test]
fn a_folder_has_what_transformers_asks_of_an_encoder() {
    let folder = temporary_folder();
    let (file, back) = (folder.path().join("m.gguf"), folder.path().join("back"));
    to_gguf(&fixture("bert"), &file, "F32", 1).unwrap();
    to_folder(&file, &back);
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(back.join(name)).unwrap()).unwrap() };
    assert_eq!(json("config.json")["architectures"], json!(["BertModel"]));
    let tokenizer = json("tokenizer_config.json");
    for (key, token) in [("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("pad_token", "[PAD]"), ("unk_token", "[UNK]")]
    {
        assert_eq!(tokenizer[key], token);
    }
    assert_eq!(tokenizer["model_input_names"], json!(["input_ids", "token_type_ids", "attention_mask"]));
    assert_eq!(json("modules.json").as_array().unwrap().len(), 3);
    assert_eq!(json("1_Pooling/config.json")["word_embedding_dimension"], 24);
    assert!(!back.join("generation_config.json").exists());
}

/// A BERT of random weights whose rows are whole blocks of 256, without a vocabulary.
fn wide(folder: &Path) -> PathBuf {
    let keys = json!({"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 512});
    let path = changed(folder, "bert", &keys, &["tokenizer.json", "model.safetensors"]);
    let narrow = Encoder::load(&admit(&fixture("bert")), &Pool::new(1)).unwrap().spec;
    let spec = tsumugi_models::EncoderSpec { width: 256, heads: 4, feed_forward_width: 512, ..narrow };
    let mut encoder = Encoder::new(spec);
    for (index, number) in encoder.parameters.buffer_mut().iter_mut().enumerate() {
        *number = ((index * 7919) % 1009) as f32 / 1009.0 - 0.5;
    }
    encoder.save(&path, &Default::default()).unwrap();
    path
}

/// As llama.cpp 0.3.36 (of llama-cpp-python) quantizes the same file: tables of positions and of kinds stay, the embedding is
/// taken for the head.
#[test]
fn quantized_tensors_have_llama_cpps_types() {
    let folder = temporary_folder();
    let model = wide(folder.path());
    let (exact, file, again) =
        (folder.path().join("exact.gguf"), folder.path().join("m.gguf"), folder.path().join("again.gguf"));
    to_gguf(&model, &exact, "F32", 1).unwrap();
    for (name, embedding, queries, down) in [
        ("BF16", ElementType::BF16, ElementType::BF16, ElementType::BF16),
        ("Q8_0", ElementType::Q8_0, ElementType::Q8_0, ElementType::Q8_0),
        ("Q4_0", ElementType::Q6_K, ElementType::Q4_0, ElementType::Q4_0),
        ("Q4_K_M", ElementType::Q6_K, ElementType::Q4_K, ElementType::Q6_K),
    ] {
        let written = to_gguf(&model, &file, name, 2).unwrap();
        assert_eq!(to_gguf(&exact, &again, name, 1).unwrap().types, written.types);
        let tensors = admit(&file).tensors().unwrap();
        for (tensor, expected) in [
            ("token_embd.weight", embedding),
            ("position_embd.weight", ElementType::F32),
            ("token_types.weight", ElementType::F32),
            ("token_embd_norm.weight", ElementType::F32),
            ("blk.0.attn_q.weight", queries),
            ("blk.1.ffn_down.weight", down),
        ] {
            assert_eq!(tensors.get(tensor).unwrap().element_type, expected, "{name}: {tensor}");
        }
    }
}

#[test]
fn positions_of_roberta_begin_with_the_first_token() {
    let folder = temporary_folder();
    let model = changed(folder.path(), "roberta", &json!({"hidden_act": "gelu"}), &[]);
    let (file, back) = (folder.path().join("m.gguf"), folder.path().join("back"));
    to_gguf(&model, &file, "F32", 1).unwrap();
    to_folder(&file, &back);
    let expected = embedder(&model).embed(&TEXTS, "").unwrap();
    for path in [&file, &back] {
        let found = embedder(path).embed(&TEXTS, "").unwrap();
        assert_eq!(bits(&found.values), bits(&expected.values), "{}", path.display());
    }
}

#[test]
fn what_the_format_has_no_word_for_is_refused_by_name() {
    let folder = temporary_folder();
    let out = folder.path().join("m.gguf");
    let error = to_gguf(&fixture("roberta"), &out, "F16", 1).unwrap_err().to_string();
    assert!(error.contains("the activation `gelu_"), "{error}");
    let gelu = json!({"hidden_act": "gelu"});
    let pairs = changed(folder.path(), "xlm-roberta-cross-encoder", &gelu, &[]);
    let error = to_gguf(&pairs, &out, "F16", 1).unwrap_err();
    assert!(error.to_string().contains("around two texts"), "{error}");
    assert!(error.hint().is_some());
    assert!(!out.exists());
}
