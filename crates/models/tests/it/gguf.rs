//! Decoders from GGUF files: the same bits as from a folder, and damaged files.

use std::path::{Path, PathBuf};

use tsumugi_base::Hint;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::gguf::{Array, Metadata, Value};
use tsumugi_files::{ElementType, ModelFiles, TensorView, write_gguf};
use tsumugi_models::gguf::architecture_of;
use tsumugi_models::llama::Llama;
use tsumugi_models::slots::{Layout, slots};
use tsumugi_models::{Decoder, DecoderSpec, Family, ModelError, Position, read_config};
use tsumugi_nn::{FeedForwardKind, RopeScaling};
use tsumugi_tensor::Activation;
use tsumugi_tensor::threads::Pool;

use crate::contract::{assert_same_bits, random, specs};
use crate::goldens::{GATE, fixtures};

/// What a tensor of a file holds: name, shape, numbers.
type Tensor = (String, Vec<usize>, Vec<f32>);

fn tensors_of(decoder: &Decoder) -> Vec<Tensor> {
    let architecture = architecture_of(&decoder.spec).unwrap();
    let stored = slots(decoder, Layout::Gguf(architecture)).into_iter().map(|slot| {
        let values = decoder.stored_values(&slot);
        (slot.tensor, slot.shape, values)
    });
    let tables = architecture.tables(&decoder.spec).into_iter();
    stored.chain(tables.map(|(name, values)| (name.to_owned(), vec![values.len()], values))).collect()
}

fn write(path: &Path, metadata: &Metadata, tensors: &[Tensor]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views: Vec<TensorView<'_>> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| TensorView { name, element_type: ElementType::F32, shape, bytes })
        .collect();
    write_gguf(path, metadata, &views).unwrap();
}

/// A file of this decoder in a folder of its own.
fn file_of(decoder: &Decoder) -> (impl AsRef<Path> + use<>, PathBuf) {
    let folder = temporary_folder();
    let path = folder.path().join("m.gguf");
    let metadata = architecture_of(&decoder.spec).unwrap().metadata(&decoder.spec).unwrap();
    write(&path, &metadata, &tensors_of(decoder));
    (folder, path)
}

fn load(path: &Path) -> Result<Decoder, ModelError> {
    Decoder::load(&ModelFiles::admit(path, &GATE)?, &Pool::new(1))
}

/// Architectures that GGUF has a word for.
fn storable() -> Vec<DecoderSpec> {
    let other_activation = |spec: &DecoderSpec| matches!(spec.feed_forward, FeedForwardKind::Plain(activation) if activation != Activation::GeluTanh);
    let stored = |spec: &DecoderSpec| ["llama", "gpt2"].contains(&spec.family);
    specs().into_iter().filter(|spec| stored(spec) && !other_activation(spec)).collect()
}

#[test]
fn written_and_read_they_have_the_same_spec_and_bits() {
    for spec in storable() {
        let decoder = random(&spec);
        let (folder, path) = file_of(&decoder);
        for path in [&*path, folder.as_ref()] {
            let loaded = load(path).unwrap();
            assert_eq!(loaded.spec, decoder.spec);
            assert_same_bits(&decoder, &loaded);
        }
    }
}

#[test]
fn fixtures_of_transformers_pass_through_gguf_with_the_same_bits() {
    for folder in fixtures() {
        let decoder = load(&folder).unwrap();
        if !["llama", "gpt2"].contains(&decoder.spec.family) {
            continue; // not stored as GGUF yet
        }
        let (_folder, path) = file_of(&decoder);
        let loaded = load(&path).unwrap();
        assert_same_bits(&decoder, &loaded);
        let is_llama3 = |position: &Position| match position {
            Position::Rotary(rotary) => matches!(rotary.scaling, Some(RopeScaling::Llama3 { .. })),
            Position::Learned | Position::Alibi => false,
        };
        let (one, other) = (&decoder.spec.position, &loaded.spec.position);
        assert!(one == other || is_llama3(one) && is_llama3(other), "{one:?}, {other:?}");
    }
}

#[test]
fn queries_and_keys_are_stored_with_rotated_rows_side_by_side() {
    let decoder = random(&DecoderSpec { layers: 1, ..Llama.tiny() }); // heads of width 4
    let tensors = tensors_of(&decoder);
    let stored = |name: &str| tensors.iter().find(|tensor| tensor.0 == name).map(|tensor| &tensor.2[..]).unwrap();
    let parameter = decoder.parameters.find("layers.0.attention.qkv.weight").unwrap();
    let ours: Vec<&[f32]> = decoder.parameters.values(parameter).chunks(16).collect();
    let query: Vec<&[f32]> = stored("blk.0.attn_q.weight").chunks(16).collect();
    assert_eq!(query[..8], [ours[0], ours[2], ours[1], ours[3], ours[4], ours[6], ours[5], ours[7]]);
    let key: Vec<&[f32]> = stored("blk.0.attn_k.weight").chunks(16).collect();
    assert_eq!(key[..4], [ours[16], ours[18], ours[17], ours[19]]);
    let value: Vec<&[f32]> = stored("blk.0.attn_v.weight").chunks(16).collect();
    assert_eq!(value[..4], ours[24..28]);
}

#[test]
fn what_is_missing_or_of_another_shape_is_named() {
    let decoder = random(&Llama.tiny());
    let (_folder, path) = file_of(&decoder);
    let metadata = || architecture_of(&decoder.spec).unwrap().metadata(&decoder.spec).unwrap();
    let error = |change: &dyn Fn(&mut Metadata, &mut Vec<Tensor>)| {
        let (mut metadata, mut tensors) = (metadata(), tensors_of(&decoder));
        change(&mut metadata, &mut tensors);
        write(&path, &metadata, &tensors);
        let error = load(&path).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(path.to_str().unwrap()) && !text.contains("config.json"), "{text}");
        (text, error.hint().unwrap_or_default())
    };
    let set = |key: &'static str, value: Value| {
        move |metadata: &mut Metadata, _: &mut Vec<Tensor>| {
            metadata.insert(key, value.clone());
        }
    };
    let (text, _) = error(&set("general.architecture", Value::String("rwkv7".into())));
    assert!(text.ends_with("unknown architecture `rwkv7`; known: llama, gpt2"), "{text}");
    let (text, _) = error(&set("general.architecture", Value::U8(1)));
    assert!(text.ends_with("the metadata have no text `general.architecture`"), "{text}");
    for wrong in [Value::U32(0), Value::I64(-1), Value::U64(1 << 40), Value::Array(Array::U32(vec![2, 1]))] {
        let (text, _) = error(&set("llama.block_count", wrong));
        assert!(text.contains("metadata `llama.block_count` must be a whole number from 1 to 16777216"), "{text}");
    }
    let (text, _) = error(&set("llama.rope.freq_base", Value::U32(1)));
    assert!(text.ends_with("metadata `llama.rope.freq_base` must be a floating-point number"), "{text}");
    let (text, _) = error(&set("llama.rope.dimension_count", Value::U32(2)));
    assert!(text.contains("keys of width 4, but rotations of width 2"), "{text}");
    let (text, _) = error(&set("llama.rope.scaling.type", Value::String("yarn".into())));
    assert!(text.contains("`yarn` is not supported"), "{text}");
    let (text, _) = error(&set("llama.expert_count", Value::U32(8)));
    assert!(text.contains("experts"), "{text}");
    let (text, hint) = error(&set("llama.feed_forward_length", Value::U32(65)));
    assert!(
        text.contains("tensor `blk.0.ffn_gate.weight` has shape [64, 16], but the config asks for [65, 16]"),
        "{text}"
    );
    assert!(hint.contains("different models"), "{hint}");
    let (text, _) = error(&|_, tensors| tensors.retain(|tensor| tensor.0 != "blk.1.attn_k.weight"));
    assert!(text.ends_with("the weights have no tensor `blk.1.attn_k.weight`, which its config asks for"), "{text}");
    let (text, _) = error(&|_, tensors| tensors.push(("blk.0.extra".into(), vec![1], vec![0.0])));
    assert!(
        text.ends_with("1 tensors have no place in the model that the config describes, first `blk.0.extra`"),
        "{text}"
    );
    let (text, _) = error(&|_, tensors| tensors.clear());
    assert!(text.ends_with("there is no tensor `token_embd.weight`"), "{text}");
    let (text, _) = error(&|_, tensors| tensors.push(("rope_freqs.weight".into(), vec![2], vec![2.0, 1.0])));
    assert!(text.contains("`rope_freqs.weight`"), "{text}");
}

#[test]
fn sizes_that_each_layer_has_are_read_where_they_are_equal() {
    let decoder = random(&Llama.tiny());
    let (_folder, path) = file_of(&decoder);
    let mut metadata = architecture_of(&decoder.spec).unwrap().metadata(&decoder.spec).unwrap();
    metadata.insert("llama.attention.head_count_kv", Value::Array(Array::I32(vec![2; 2])));
    write(&path, &metadata, &tensors_of(&decoder));
    assert_eq!(load(&path).unwrap().spec, decoder.spec);
}

#[test]
fn numbers_come_back_as_short_as_they_were() {
    let (_folder, path) = file_of(&random(&Llama.tiny()));
    let config = read_config(&ModelFiles::admit(&path, &GATE).unwrap()).unwrap();
    assert_eq!((&config["rms_norm_eps"], &config["rope_theta"]), (&1e-5.into(), &10_000.0.into()));
}

/// The header of a real file, with weights that are small: whatever becomes of it, a model or an error.
#[test]
fn ten_thousand_mutated_headers_never_panic() {
    let decoder = random(&DecoderSpec { layers: 1, vocabulary: 8, ..Llama.tiny() });
    let (_folder, path) = file_of(&decoder);
    let original = std::fs::read(&path).unwrap();
    let data = tensors_of(&decoder).iter().map(|tensor| tensor.2.len() * 4).sum::<usize>();
    let (header, data) = original.split_at(original.len() - data);
    let mut refused = 0;
    for mutation in mutations(header, 23, 10_000) {
        std::fs::remove_file(&path).unwrap(); // writing over a file waits for the disk on some systems
        std::fs::write(&path, [&mutation.bytes, data].concat()).unwrap();
        refused += usize::from(load(&path).is_err());
    }
    assert!((5_000..10_000).contains(&refused), "{refused} of 10,000 were refused");
}
