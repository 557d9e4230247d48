//! Decoders from GGUF files: the same bits as from a folder, and damaged files.

use std::path::{Path, PathBuf};

use tsumugi_base::Hint;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_files::gguf::{Array, Metadata, Value};
use tsumugi_files::{ElementType, ModelFiles, TensorView, write_gguf};
use tsumugi_models::bloom::Bloom;
use tsumugi_models::falcon::Falcon;
use tsumugi_models::gemma::{Gemma2, Gemma3};
use tsumugi_models::gguf::architecture_of;
use tsumugi_models::granite::Granite;
use tsumugi_models::llama::Llama;
use tsumugi_models::mistral::Mistral;
use tsumugi_models::mixtral::Mixtral;
use tsumugi_models::phi3::Phi3;
use tsumugi_models::qwen::{Qwen2, Qwen3};
use tsumugi_models::qwen_moe::{Qwen2Moe, Qwen3Moe};
use tsumugi_models::slots::{Layout, by_tensor, slots};
use tsumugi_models::smollm3::SmolLm3;
use tsumugi_models::spec::{Experts, LayerPattern, Rotary, Window};
use tsumugi_models::stablelm::StableLm;
use tsumugi_models::{Decoder, DecoderSpec, Family, ModelError, Position, read_config};
use tsumugi_nn::{FeedForwardKind, LongRope, RopeScaling, Yarn, attention_factor, rotary_frequencies};
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{Activation, NormKind, Routing};

use crate::contract::{assert_same_bits, random, specs};
use crate::goldens::{GATE, fixtures};

/// What a tensor of a file holds: name, shape, numbers.
type Tensor = (String, Vec<usize>, Vec<f32>);

fn tensors_of(decoder: &Decoder) -> Vec<Tensor> {
    let architecture = architecture_of(&decoder.spec).unwrap();
    let slots = slots(decoder, Layout::Gguf(architecture));
    let stored = by_tensor(&slots).map(|slots| {
        let values = slots.iter().flat_map(|slot| decoder.stored_values(slot)).collect();
        (slots[0].tensor.clone(), slots[0].shape.clone(), values)
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

/// What the parameters of a decoder are after their norms had one added, and subtracted again.
fn as_stored(decoder: &Decoder) -> Decoder {
    let mut stored = Decoder::new(decoder.spec.clone());
    stored.parameters.buffer_mut().copy_from_slice(decoder.parameters.buffer());
    let names: Vec<_> = decoder.parameters.iter().map(|(id, parameter)| (id, parameter.name.clone())).collect();
    for (id, name) in names {
        if decoder.spec.norm == NormKind::RmsPlusOne && name.ends_with("norm.weight") {
            stored.parameters.values_mut(id).iter_mut().for_each(|value| *value = (*value + 1.0) - 1.0);
        }
    }
    stored
}

/// Mistral without a window is stored as the Llama that it is; a scaling of positions may be described in other words.
fn assert_same_model(written: &DecoderSpec, read: &DecoderSpec) {
    let frequencies = |spec: &DecoderSpec| match &spec.position {
        Position::Learned | Position::Alibi => Vec::new(),
        Position::Rotary(rotary) => {
            let mut numbers =
                rotary_frequencies(rotary.turned(spec.head_width), rotary.base, rotary.scaling.as_ref(), spec.context);
            numbers.extend([attention_factor(rotary.scaling.as_ref()), rotary.window_base.unwrap_or(1.0)]);
            numbers
        }
    };
    for (one, other) in frequencies(written).into_iter().zip(frequencies(read)) {
        assert!((one / other - 1.0).abs() < 1e-4, "{:?}, {:?}", written.position, read.position);
    }
    let family = if written.family == "mistral" && written.window.is_none() { "llama" } else { written.family };
    assert_eq!(*read, DecoderSpec { family, position: read.position.clone(), ..written.clone() });
}

fn assert_round_trip(decoder: &Decoder) {
    let (folder, path) = file_of(decoder);
    for path in [&*path, folder.as_ref()] {
        let loaded = load(path).unwrap();
        assert_same_model(&decoder.spec, &loaded.spec);
        assert_same_bits(&as_stored(decoder), &loaded);
    }
}

/// Every family, and what else its config can say, but the activations that llama.cpp's GPT-2 does not have.
#[test]
fn written_and_read_they_have_the_same_spec_and_bits() {
    let (others, gelu): (Vec<_>, Vec<_>) = specs().into_iter().partition(|spec| {
        let tanh = spec.feed_forward == FeedForwardKind::Plain(Activation::GeluTanh);
        spec.family == "gpt2" && !tanh
    });
    assert_eq!(others.len(), 3);
    for spec in gelu {
        assert_round_trip(&random(&spec));
    }
    for spec in others {
        let error = architecture_of(&spec).unwrap().metadata(&spec).unwrap_err().to_string();
        assert!(error.contains("feed_forward"), "{error}");
    }
}

#[test]
fn fixtures_of_transformers_pass_through_gguf_with_the_same_bits() {
    for folder in fixtures() {
        let decoder = load(&folder).unwrap();
        assert_round_trip(&decoder);
    }
}

fn with(mut spec: DecoderSpec, change: &dyn Fn(&mut Rotary)) -> DecoderSpec {
    let Position::Rotary(rotary) = &mut spec.position else { panic!("no rotary positions") };
    change(rotary);
    spec
}

/// Scalings, windows in some layers, parts of heads: what no tiny spec has.
#[test]
fn what_published_models_add_passes_through_gguf() {
    let yarn = |attention_factor: f64| {
        let yarn = Yarn {
            factor: 4.0,
            original_context: 16.0,
            turns_kept: 32.0,
            turns_divided: 1.0,
            whole_indices: true,
            attention_factor,
        };
        Some(RopeScaling::Yarn(yarn))
    };
    let longrope = |numbers: usize| {
        let rope = LongRope {
            short: vec![1.1; numbers],
            long: vec![2.3; numbers],
            original_context: 16.0,
            attention_factor: 1.19,
        };
        Some(RopeScaling::LongRope(rope))
    };
    let specs = [
        with(Qwen2.tiny(), &|rotary| rotary.scaling = yarn(Yarn::recommended_attention_factor(4.0))),
        with(Qwen3.tiny(), &|rotary| rotary.scaling = yarn(1.3)),
        with(Phi3.tiny(), &|rotary| rotary.scaling = longrope(1)),
        with(Phi3.tiny(), &|rotary| rotary.share = 1.0),
        with(Granite.tiny(), &|rotary| rotary.scaling = longrope(2)),
        with(Gemma3.tiny(), &|rotary| rotary.scaling = Some(RopeScaling::Linear { factor: 8.0 })),
        with(Gemma3.tiny(), &|rotary| rotary.window_base = Some(10_000.0)),
        with(Llama.tiny(), &|rotary| rotary.scaling = Some(RopeScaling::Dynamic { factor: 2.0 })),
        DecoderSpec { window: None, ..Mistral.tiny() },
        DecoderSpec { window: None, ..Phi3.tiny() },
        DecoderSpec { window: None, ..Gemma3.tiny() },
        DecoderSpec { window: None, ..Qwen3.tiny() },
        DecoderSpec { window: None, ..Mixtral.tiny() },
        DecoderSpec { tied: true, ..Qwen3Moe.tiny() },
        DecoderSpec { tied: false, ..Bloom.tiny() },
        DecoderSpec { key_heads: 4, ..Falcon.tiny() },
        DecoderSpec { key_heads: 1, tied: false, ..Falcon.tiny() },
        DecoderSpec { window: Window::new(5, &[true, false]), ..SmolLm3.tiny() },
        with(SmolLm3.tiny(), &|rotary| rotary.unturned = None),
        with(StableLm.tiny(), &|rotary| rotary.share = 1.0),
        DecoderSpec { window: Window::new(4, &[true, true, true, true, true, false]), layers: 7, ..Gemma3.tiny() },
        DecoderSpec { score_scale: Some(6f32.sqrt().recip()), ..Gemma2.tiny() },
        DecoderSpec { layers: 46, score_scale: Some(2f32.sqrt().recip()), ..Gemma2.tiny() },
    ];
    for spec in specs {
        assert_round_trip(&random(&spec));
    }
}

/// What llama.cpp would compute otherwise, or not load, is refused by its name or told.
#[test]
fn what_gguf_has_no_word_for_is_refused_by_name_and_what_llama_cpp_does_not_read_is_told() {
    let refused = |spec: DecoderSpec, named: &str| {
        let error = architecture_of(&spec).unwrap().metadata(&spec).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    };
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 8.0,
    };
    let rotary = Rotary { scaling: Some(scaling), ..Rotary::plain(10_000.0) };
    refused(DecoderSpec { position: Position::Rotary(rotary), head_width: 8, ..Qwen3.tiny() }, "position");
    refused(DecoderSpec { qkv_bias: true, ..Qwen3.tiny() }, "qkv_bias");
    refused(DecoderSpec { qkv_bias: false, ..Qwen2.tiny() }, "qkv_bias");
    refused(DecoderSpec { tied: false, ..Gemma2.tiny() }, "tied");
    refused(DecoderSpec { tied: true, ..StableLm.tiny() }, "tied");
    refused(DecoderSpec { qkv_bias: true, output_bias: true, ..SmolLm3.tiny() }, "qkv_bias");
    let routed = |spec: DecoderSpec, normalized: bool| {
        let experts = spec.experts.map(|experts| Experts { routing: Routing { chosen: 2, normalized }, ..experts });
        DecoderSpec { experts, ..spec }
    };
    refused(routed(Mixtral.tiny(), false), "experts");
    refused(routed(Qwen2Moe.tiny(), true), "experts");
    refused(routed(Qwen3Moe.tiny(), false), "experts");
    refused(DecoderSpec { score_cap: None, ..Gemma2.tiny() }, "score_cap");
    refused(DecoderSpec { embedding_scale: 1.0, ..Gemma3.tiny() }, "embedding_scale");
    refused(DecoderSpec { feed_forward: FeedForwardKind::Gated(Activation::Gelu), ..Llama.tiny() }, "feed_forward");
    let partial = Rotary { share: 0.5, ..Rotary::plain(10_000.0) };
    refused(DecoderSpec { position: Position::Rotary(partial), ..Llama.tiny() }, "rotations of width 2");

    let told = |spec: &DecoderSpec| architecture_of(spec).unwrap().unread(spec);
    assert!(told(&Mistral.tiny())[0].contains("no window in models of architecture `llama`"));
    assert!(told(&Qwen2.tiny())[0].contains("longer than 5 tokens"));
    assert!(told(&Gemma2.tiny())[0].contains("by another number"));
    assert!(told(&SmolLm3.tiny())[0].contains("but every fourth"));
    let unturned = LayerPattern::new(&[false, false, false, true]);
    let every_fourth = with(SmolLm3.tiny(), &|rotary| rotary.unturned.clone_from(&unturned));
    assert_eq!(told(&DecoderSpec { layers: 8, ..every_fourth }), [""; 0]);
    assert_eq!(told(&Llama.tiny()), [""; 0]);
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

/// Of every expert gate, up and down are rows of one tensor; a router of one row may be a vector.
#[test]
fn the_experts_of_a_layer_are_in_one_tensor() {
    let decoder = random(&Qwen2Moe.tiny()); // 7 experts of width 6 in a model of width 16
    let mut tensors = tensors_of(&decoder);
    let find = |name: &str| tensors.iter().position(|tensor| tensor.0 == name).unwrap();
    let of_experts = ["gate", "up", "down"].map(|part| find(&format!("blk.1.ffn_{part}_exps.weight")));
    assert_eq!(of_experts.map(|index| &tensors[index].1[..]), [[7, 6, 16], [7, 6, 16], [7, 16, 6]]);
    let parameter = decoder.parameters.find("layers.1.experts.gate_up.weight").unwrap();
    let ours: Vec<&[f32]> = decoder.parameters.values(parameter).chunks(16).collect();
    let up: Vec<&[f32]> = tensors[of_experts[1]].2.chunks(16).collect();
    assert_eq!(up[3 * 6 + 2], ours[3 * 12 + 6 + 2]);

    let gate = find("blk.0.ffn_gate_inp_shexp.weight");
    assert_eq!(tensors[gate].1, [1, 16]);
    tensors[gate].1 = vec![16];
    let (_folder, path) = file_of(&decoder);
    let metadata = architecture_of(&decoder.spec).unwrap().metadata(&decoder.spec).unwrap();
    write(&path, &metadata, &tensors);
    assert_same_bits(&decoder, &load(&path).unwrap());
}

#[test]
fn experts_in_other_architectures_are_refused() {
    let decoder = random(&Qwen3.tiny());
    let (_folder, path) = file_of(&decoder);
    let mut metadata = architecture_of(&decoder.spec).unwrap().metadata(&decoder.spec).unwrap();
    metadata.insert("qwen3.expert_count", Value::U32(8));
    write(&path, &metadata, &tensors_of(&decoder));
    let error = load(&path).unwrap_err().to_string();
    assert!(error.ends_with("experts are known in models of llama, qwen2moe, qwen3moe, not of qwen3"), "{error}");
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
    assert!(
        text.ends_with(
            "unknown architecture `rwkv7`; known: llama, gpt2, qwen2, qwen3, qwen2moe, qwen3moe, gemma2, gemma3, granite, \
             phi3, bloom, falcon, stablelm, smollm3"
        ),
        "{text}"
    );
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
    let (text, _) = error(&set("llama.rope.scaling.type", Value::String("ntk".into())));
    assert!(text.contains("`ntk` is not supported"), "{text}");
    let (text, _) = error(&set("llama.expert_count", Value::U32(8)));
    assert!(text.contains("metadata `llama.expert_used_count` are missing"), "{text}");
    let (text, hint) = error(&set("llama.feed_forward_length", Value::U32(65)));
    assert!(
        text.contains("tensor `blk.0.ffn_down.weight` has shape [16, 64], but the config asks for [16, 65]"),
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
