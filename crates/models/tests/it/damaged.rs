//! Folders that are no model: each gives an error that names what is wrong, without a panic or a large allocation.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::Hint;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::{ElementType, ModelFiles, TensorView, to_f32, write_safetensors};
use tsumugi_models::bloom::Bloom;
use tsumugi_models::falcon::Falcon;
use tsumugi_models::gemma::{Gemma2, Gemma3};
use tsumugi_models::gpt2::Gpt2;
use tsumugi_models::granite::Granite;
use tsumugi_models::llama::Llama;
use tsumugi_models::mistral::Mistral;
use tsumugi_models::mixtral::Mixtral;
use tsumugi_models::phi3::Phi3;
use tsumugi_models::qwen::{Qwen2, Qwen3};
use tsumugi_models::qwen_moe::{Qwen2Moe, Qwen3Moe};
use tsumugi_models::smollm3::SmolLm3;
use tsumugi_models::stablelm::StableLm;
use tsumugi_models::{ALL, Decoder, Family, ModelError};
use tsumugi_tensor::threads::Pool;

use crate::goldens::GATE;

fn write(family: &dyn Family, folder: &Path) {
    let mut decoder = Decoder::new(family.tiny());
    decoder.initialize(1, &Pool::new(1));
    decoder.save(folder, &BTreeMap::new()).unwrap();
}

fn load(folder: &Path) -> Result<Decoder, ModelError> {
    Decoder::load(&ModelFiles::admit(folder, &GATE).unwrap(), &Pool::new(2))
}

fn change_config(folder: &Path, change: impl FnOnce(&mut Map<String, Value>)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(config.as_object_mut().unwrap());
    fs::write(path, config.to_string()).unwrap();
}

/// The error of a tiny folder with these keys of its config changed.
fn error_with(family: &dyn Family, changes: &[(&str, Value)]) -> String {
    let folder = temporary_folder();
    write(family, folder.path());
    change_config(folder.path(), |config| {
        for (key, value) in changes {
            config.insert((*key).to_owned(), value.clone());
        }
    });
    let error = load(folder.path()).expect_err(&format!("{changes:?} was loaded"));
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error.to_string()
}

#[test]
fn a_config_that_disagrees_with_the_weights_names_the_tensor_and_both_shapes() {
    let error = error_with(&Llama, &[("intermediate_size", json!(65))]);
    assert!(error.contains("mlp.gate_proj.weight") && error.contains("[65, 16]"), "{error}");
    let error = error_with(&Gpt2, &[("vocab_size", json!(51))]);
    assert!(error.contains("wte.weight") && error.contains("[51, 16]") && error.contains("[50, 16]"), "{error}");
    let error = error_with(&Llama, &[("num_hidden_layers", json!(3))]);
    assert!(error.contains("no tensor `model.layers.2."), "{error}");
    let error = error_with(&Llama, &[("num_hidden_layers", json!(1))]);
    assert!(error.contains("9 tensors have no place") && error.contains("model.layers.1."), "{error}");
    let error = error_with(&Llama, &[("tie_word_embeddings", json!(false))]);
    assert!(error.contains("no tensor `lm_head.weight`"), "{error}");
    let error = error_with(&Llama, &[("attention_bias", json!(true))]);
    assert!(error.contains("q_proj.bias"), "{error}");
}

#[test]
fn wrong_types_and_ranges_name_the_key_and_the_value() {
    for value in [json!("16"), json!(-1), json!(0), json!(1.5), json!([16]), json!(1u64 << 40)] {
        let error = error_with(&Llama, &[("hidden_size", value.clone())]);
        assert!(error.contains("`hidden_size`") && error.contains(&value.to_string()), "{error}");
    }
    assert!(error_with(&Llama, &[("hidden_size", Value::Null)]).contains("`hidden_size` is missing"));
    let cases: [(&dyn Family, &str, Value); 8] = [
        (&Llama, "rms_norm_eps", json!("small")),
        (&Llama, "rms_norm_eps", json!(0)),
        (&Llama, "rope_theta", json!(-5)),
        (&Llama, "hidden_act", json!("relu")),
        (&Llama, "tie_word_embeddings", json!("yes")),
        (&Llama, "rope_scaling", json!([1])),
        (&Gpt2, "activation_function", json!("mish")),
        (&Gpt2, "scale_attn_by_inverse_layer_idx", json!(true)),
    ];
    for (family, key, value) in cases {
        let error = error_with(family, &[(key, value)]);
        assert!(error.contains(key), "{key}: {error}");
    }
    assert!(error_with(&Llama, &[("rope_scaling", json!({ "rope_type": "spiral" }))]).contains("`spiral`"));
    assert!(error_with(&Llama, &[("num_key_value_heads", json!(3))]).contains("do not divide"));
    assert!(error_with(&Gpt2, &[("n_head", json!(3))]).contains("does not divide"));
    assert!(error_with(&Llama, &[("head_dim", json!(3))]).contains("even"));
}

#[test]
fn what_relatives_of_llama_add_is_checked_too() {
    let long = |factors: Value| json!({"rope_type": "longrope", "short_factor": [1.0, 1.0], "long_factor": factors});
    let cases: [(&dyn Family, &str, Value); 25] = [
        (&Mixtral, "num_experts_per_tok", json!(6)),
        (&Mixtral, "num_local_experts", json!(-1)),
        (&Qwen2Moe, "mlp_only_layers", json!([1])),
        (&Qwen2Moe, "shared_expert_intermediate_size", json!("wide")),
        (&Qwen3Moe, "decoder_sparse_step", json!(2)),
        (&Qwen3Moe, "norm_topk_prob", json!(1)),
        (&Bloom, "apply_residual_connection_post_layernorm", json!(true)),
        (&Falcon, "alibi", json!(true)),
        (&Falcon, "bias", json!(true)),
        (&Falcon, "num_ln_in_parallel_attn", json!(2)),
        (&Falcon, "num_ln_in_parallel_attn", Value::Null),
        (&StableLm, "qk_layernorm", json!(true)),
        (&SmolLm3, "no_rope_layers", json!([1])),
        (&SmolLm3, "no_rope_layers", json!([1, 2])),
        (&Mistral, "sliding_window", json!(0)),
        (&Qwen2, "max_window_layers", json!(-1)),
        (&Qwen3, "layer_types", json!(["full_attention"])),
        (&Qwen3, "layer_types", json!(["full_attention", "chunked_attention"])),
        (&Gemma2, "attn_logit_softcapping", json!(0)),
        (&Gemma2, "use_bidirectional_attention", json!(true)),
        (&Gemma3, "rope_local_base_freq", json!("fast")),
        (&Gemma3, "query_pre_attn_scalar", json!(-1)),
        (&Granite, "residual_multiplier", json!([1])),
        (&Phi3, "partial_rotary_factor", json!(0)),
        (&Phi3, "sliding_window", json!(1.5)),
    ];
    for (family, key, value) in cases {
        let error = error_with(family, &[(key, value)]);
        assert!(error.contains(key), "{key}: {error}");
    }
    for factors in [json!([1.0]), json!([1.0, -1.0]), json!([1.0, "2"]), json!(7)] {
        let changes = [("rope_scaling", long(factors)), ("partial_rotary_factor", json!(1.0))];
        let error = error_with(&Phi3, &changes);
        assert!(error.contains("`long_factor`"), "{error}");
    }
    for (family, router) in [(&Mixtral as &dyn Family, "block_sparse_moe.gate"), (&Qwen3Moe, "mlp.gate")] {
        let error = error_with(family, &[("num_local_experts", json!(3)), ("num_experts", json!(3))]);
        assert!(error.contains(router), "{error}");
        let error = error_with(family, &[("num_local_experts", json!(1 << 24)), ("num_experts", json!(1 << 24))]);
        assert!(error.contains("but the weight files hold"), "{error}");
    }
    assert!(error_with(&Falcon, &[("num_kv_heads", json!(3))]).contains("do not divide"));
    assert!(error_with(&Phi3, &[("partial_rotary_factor", json!(1.5))]).contains("of the 4 numbers"));
}

#[test]
fn an_unknown_family_is_told_the_known_ones() {
    let error = error_with(&Llama, &[("model_type", json!("hyena"))]);
    assert!(error.contains("`hyena`"), "{error}");
    assert!(ALL.iter().all(|family| error.contains(family.name())), "{error}");
    assert!(error_with(&Llama, &[("model_type", json!(7))]).contains("`model_type` is 7"));
    assert!(error_with(&Llama, &[("model_type", Value::Null)]).contains("unknown model_type"));
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_allocated() {
    let most = json!(1 << 24);
    let llama: [&[(&str, Value)]; 5] = [
        &[("vocab_size", most.clone()), ("hidden_size", most.clone())],
        &[("vocab_size", most.clone())],
        &[("num_hidden_layers", most.clone())],
        &[("head_dim", most.clone())],
        &[("intermediate_size", most.clone())],
    ];
    for changes in llama {
        let error = error_with(&Llama, changes);
        assert!(error.contains("but the weight files hold"), "{error}");
    }
    let all: Vec<(&str, Value)> = [
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "head_dim",
        "max_position_embeddings",
    ]
    .into_iter()
    .map(|key| (key, most.clone()))
    .collect();
    assert!(error_with(&Llama, &all).contains("but the weight files hold"));
    assert!(error_with(&Gpt2, &[("n_positions", most)]).contains("but the weight files hold"));
}

#[test]
fn missing_and_unexpected_tensors_are_named() {
    let folder = temporary_folder();
    write(&Llama, folder.path());
    let tensors = ModelFiles::admit(folder.path(), &GATE).unwrap().tensors().unwrap();
    let path = folder.path().join("model.safetensors");
    let kept: Vec<TensorView<'_>> = tensors.iter().filter(|tensor| tensor.name != "model.norm.weight").collect();
    write_safetensors(&path, &kept, &BTreeMap::new()).unwrap();
    let missing = load(folder.path()).unwrap_err();
    assert!(matches!(&missing, ModelError::MissingTensor { tensor, .. } if tensor == "model.norm.weight"));
    assert!(missing.hint().is_some());
    let bytes = [0; 8];
    let extra = TensorView { name: "model.extra", element_type: ElementType::F32, shape: &[2], bytes: &bytes };
    let more: Vec<TensorView<'_>> = tensors.iter().chain([extra]).collect();
    write_safetensors(&path, &more, &BTreeMap::new()).unwrap();
    let unexpected = load(folder.path()).unwrap_err();
    assert!(matches!(&unexpected, ModelError::UnexpectedTensors { first, count: 1, .. } if first == "model.extra"));
    // Known leftovers, and a tied head that the file repeats, are no mistake.
    let head = tensors.get("model.embed_tokens.weight").unwrap();
    let head = TensorView { name: "lm_head.weight", ..head };
    let table = TensorView { name: "model.layers.0.self_attn.rotary_emb.inv_freq", ..extra };
    let more: Vec<TensorView<'_>> = tensors.iter().chain([head, table]).collect();
    write_safetensors(&path, &more, &BTreeMap::new()).unwrap();
    assert!(load(folder.path()).is_ok());
}

#[test]
fn a_checkpoint_without_its_prefix_is_read_too() {
    let folder = temporary_folder();
    write(&Gpt2, folder.path());
    let expected = load(folder.path()).unwrap();
    let tensors = ModelFiles::admit(folder.path(), &GATE).unwrap().tensors().unwrap();
    let short: Vec<TensorView<'_>> = tensors
        .iter()
        .map(|tensor| TensorView { name: tensor.name.trim_start_matches("transformer."), ..tensor })
        .collect();
    write_safetensors(&folder.path().join("model.safetensors"), &short, &BTreeMap::new()).unwrap();
    assert_eq!(load(folder.path()).unwrap().parameters.buffer(), expected.parameters.buffer());
    assert!(tensors.iter().all(|tensor| to_f32(&tensor).is_ok()));
}

#[test]
fn truncated_weights_are_refused_at_every_length() {
    let folder = temporary_folder();
    write(&Gpt2, folder.path());
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for len in (0..whole.len()).step_by(whole.len() / 60) {
        fs::write(&path, &whole[..len]).unwrap();
        let error = load(folder.path()).expect_err(&format!("{len} of {} bytes were loaded", whole.len()));
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn no_config_and_no_json_are_told_apart() {
    let folder = temporary_folder();
    write(&Gpt2, folder.path());
    let path = folder.path().join("config.json");
    for text in ["", "{", "[]", "null", "\u{0}"] {
        fs::write(&path, text).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(error.to_string().contains("config.json"), "{text:?}: {error}");
    }
    fs::remove_file(path).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::NoConfig { .. }) && error.hint().is_some());
}

#[test]
fn mutated_configs_never_panic() {
    for family in ALL {
        let folder = temporary_folder();
        write(*family, folder.path());
        let path = folder.path().join("config.json");
        let original = fs::read(&path).unwrap();
        let mut refused = 0;
        for mutation in mutations(&original, 17, 600) {
            fs::write(&path, &mutation.bytes).unwrap();
            refused += usize::from(load(folder.path()).is_err());
        }
        assert!(refused > 300, "{}: only {refused} of 600 were refused", family.name());
    }
}
