//! What a GGUF file says about each architecture (ggml-org/llama.cpp, `conversion/`). Where llama.cpp has no key, there is
//! one of ours, which it does not read: [`unread`].

use tsumugi_files::gguf::{Array, Value};
use tsumugi_nn::{RopeScaling, Yarn};
use tsumugi_tensor::NormKind;

use super::config::{UNTURNED, every_fourth, gemma_scalar};
use crate::spec::Rotary;
use crate::{DecoderSpec, Position};

/// Keys, without the architecture's name in front, and values.
pub type Entries = Vec<(&'static str, Value)>;

/// llama.cpp's own; files do not say it.
const GEMMA_WINDOW_BASE: f64 = 10_000.0;

fn size(size: usize) -> Value {
    Value::U32(u32::try_from(size).unwrap_or(u32::MAX))
}

/// What every architecture says.
fn shared(spec: &DecoderSpec) -> Entries {
    vec![
        ("block_count", size(spec.layers)),
        ("context_length", size(spec.context)),
        ("embedding_length", size(spec.width)),
        ("feed_forward_length", size(spec.feed_forward_width)),
        ("attention.head_count", size(spec.heads)),
        ("vocab_size", size(spec.vocabulary)),
    ]
}

fn epsilon_key(spec: &DecoderSpec) -> &'static str {
    match spec.norm {
        NormKind::Layer => "attention.layer_norm_epsilon",
        NormKind::Rms | NormKind::RmsPlusOne => "attention.layer_norm_rms_epsilon",
    }
}

/// What those with rotary positions say.
fn relative(spec: &DecoderSpec) -> Entries {
    let mut entries = shared(spec);
    entries.extend([
        ("attention.head_count_kv", size(spec.key_heads)),
        ("attention.key_length", size(spec.head_width)),
        ("attention.value_length", size(spec.head_width)),
        (epsilon_key(spec), Value::F32(spec.epsilon)),
    ]);
    if let Position::Rotary(rotary) = &spec.position {
        entries.push(("rope.dimension_count", size(rotary.turned(spec.head_width))));
        entries.push(("rope.freq_base", Value::F32(rotary.base as f32)));
        entries.extend(scaling(rotary));
    }
    if let Some(experts) = &spec.experts {
        entries.push(("expert_count", size(experts.count)));
        entries.push(("expert_used_count", size(experts.routing.chosen)));
    }
    entries
}

fn scaling(rotary: &Rotary) -> Entries {
    let kind = |kind: &str| ("rope.scaling.type", Value::String(kind.into()));
    let number = |number: f64| Value::F32(number as f32);
    match &rotary.scaling {
        Some(RopeScaling::Linear { factor }) => vec![kind("linear"), ("rope.scaling.factor", number(*factor))],
        Some(RopeScaling::Yarn(yarn)) => {
            let mut entries = vec![
                kind("yarn"),
                ("rope.scaling.factor", number(yarn.factor)),
                ("rope.scaling.original_context_length", size(yarn.original_context as usize)),
                ("rope.scaling.yarn_beta_fast", number(yarn.turns_kept)),
                ("rope.scaling.yarn_beta_slow", number(yarn.turns_divided)),
            ];
            let more = yarn.attention_factor / Yarn::recommended_attention_factor(yarn.factor);
            if more != 1.0 {
                entries.push(("rope.scaling.attn_factor", number(more)));
            }
            entries
        }
        Some(RopeScaling::LongRope(rope)) => vec![
            kind("longrope"),
            ("rope.scaling.original_context_length", size(rope.original_context as usize)),
            ("rope.scaling.attn_factor", number(rope.attention_factor)),
        ],
        // Llama 3's is a table; within the context that a decoder ends at, the dynamic one scales nothing.
        None | Some(RopeScaling::Llama3 { .. } | RopeScaling::Dynamic { .. }) => Vec::new(),
    }
}

/// The window, and which layers have it where `usual` does not say so.
fn window(spec: &DecoderSpec, usual: impl Fn(usize) -> bool) -> Entries {
    let Some(window) = &spec.window else { return Vec::new() };
    let mut entries = vec![("attention.sliding_window", size(window.positions))];
    if (0..spec.layers).any(|layer| window.covers(layer) != usual(layer)) {
        let pattern = (0..spec.layers).map(|layer| window.covers(layer)).collect();
        entries.push(("attention.sliding_window_pattern", Value::Array(Array::Bool(pattern))));
    }
    entries
}

/// `LlamaModel`, `Qwen2Model` and `Qwen3Model`.
pub fn llama(spec: &DecoderSpec) -> Entries {
    let mut entries = relative(spec);
    entries.extend(window(spec, |_| true));
    entries
}

/// `Qwen2MoeModel` and `Qwen3MoeModel`.
pub fn qwen_moe(spec: &DecoderSpec) -> Entries {
    let mut entries = llama(spec);
    entries.push(("expert_feed_forward_length", size(spec.feed_forward_width)));
    let shared = spec.experts.and_then(|experts| experts.shared_width);
    entries.extend(shared.map(|width| ("expert_shared_feed_forward_length", size(width))));
    entries
}

/// `StableLMModel`.
pub fn stablelm(spec: &DecoderSpec) -> Entries {
    let mut entries = relative(spec);
    entries.push(("use_parallel_residual", Value::Bool(spec.parallel)));
    entries
}

/// `SmolLM3Model`. In which layers nothing turns is a key only where it is not every fourth.
pub fn smollm3(spec: &DecoderSpec) -> Entries {
    let mut entries = llama(spec);
    if !turns_as_llama_cpp(spec) {
        let unturned = (0..spec.layers).map(|layer| !spec.turns(layer)).collect();
        entries.push((UNTURNED, Value::Array(Array::Bool(unturned))));
    }
    entries
}

fn turns_as_llama_cpp(spec: &DecoderSpec) -> bool {
    (0..spec.layers).all(|layer| spec.turns(layer) != every_fourth(layer))
}

/// `FalconModel`.
pub fn falcon(spec: &DecoderSpec) -> Entries {
    let mut entries = relative(spec);
    entries.push(("tensor_data_layout", Value::String("jploski".into()))); // queries, keys and values one after the other
    entries
}

/// `GraniteModel`.
pub fn granite(spec: &DecoderSpec) -> Entries {
    let mut entries = relative(spec);
    entries.extend([
        ("embedding_scale", Value::F32(spec.embedding_scale)),
        ("residual_scale", Value::F32(spec.residual_scale)),
        ("logit_scale", Value::F32(spec.logit_divisor)),
    ]);
    entries.extend(spec.score_scale.map(|scale| ("attention.scale", Value::F32(scale))));
    entries
}

/// `Phi3MiniModel`, which says that there is no window.
pub fn phi3(spec: &DecoderSpec) -> Entries {
    let mut entries = relative(spec);
    if !matches!(&spec.position, Position::Rotary(Rotary { scaling: Some(RopeScaling::LongRope(_)), .. })) {
        entries.push(("rope.scaling.original_context_length", size(spec.context)));
    }
    if spec.window.is_none() {
        entries.push(("attention.sliding_window", size(0)));
    }
    entries.extend(window(spec, |_| true));
    entries
}

/// `Gemma2Model`.
pub fn gemma2(spec: &DecoderSpec) -> Entries {
    gemma(spec, |layer| layer % 2 == 0)
}

/// `Gemma3Model`.
pub fn gemma3(spec: &DecoderSpec) -> Entries {
    let mut entries = gemma(spec, |layer| !(layer + 1).is_multiple_of(6));
    if let Position::Rotary(Rotary { window_base: Some(base), .. }) = &spec.position
        && *base != GEMMA_WINDOW_BASE
    {
        entries.push(("rope.freq_base_swa", Value::F32(*base as f32)));
    }
    entries
}

fn gemma(spec: &DecoderSpec, windowed: impl Fn(usize) -> bool) -> Entries {
    let mut entries = relative(spec);
    entries.extend(window(spec, windowed));
    entries.extend(spec.score_cap.map(|cap| ("attn_logit_softcapping", Value::F32(cap))));
    entries.extend(spec.logit_cap.map(|cap| ("final_logit_softcapping", Value::F32(cap))));
    entries.extend(own_score_scale(spec).map(|scale| ("attention.scale", Value::F32(scale))));
    entries
}

/// The factor of Gemma's scores, where it is not the one that llama.cpp derives from the sizes.
fn own_score_scale(spec: &DecoderSpec) -> Option<f32> {
    let derived = gemma_scalar(spec.layers, spec.width, spec.heads, spec.head_width) as f64;
    spec.score_scale.filter(|&scale| scale != derived.sqrt().recip() as f32)
}

/// `GPT2Model` and `BloomModel`, whose activation is always the GELU that `tanh` approximates.
pub fn plain(spec: &DecoderSpec) -> Entries {
    let mut entries = shared(spec);
    entries.push(("attention.head_count_kv", size(spec.key_heads)));
    entries.push((epsilon_key(spec), Value::F32(spec.epsilon)));
    entries
}

/// What llama.cpp does not read of such a file, though it computes with it: sentences.
pub fn unread(architecture: &str, spec: &DecoderSpec) -> Vec<String> {
    let mut sentences = Vec::new();
    if let Some(window) = spec.window.as_ref().filter(|_| !architecture.starts_with("gemma")) {
        sentences.push(format!(
            "llama.cpp knows no window in models of architecture `{architecture}`: with texts longer than {} tokens it \
             computes other logits",
            window.positions
        ));
    }
    if architecture.starts_with("gemma") && own_score_scale(spec).is_some() {
        sentences.push(
            "llama.cpp scales attention scores by the width of heads, and this model by another number: it computes \
             other logits"
                .into(),
        );
    }
    if architecture == "smollm3" && !turns_as_llama_cpp(spec) {
        sentences.push(
            "llama.cpp turns queries and keys in all layers of such models but every fourth, and this model in others: \
             it computes other logits"
                .into(),
        );
    }
    sentences
}
