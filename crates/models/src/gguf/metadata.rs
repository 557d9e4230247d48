//! What a GGUF file says about each architecture (ggml-org/llama.cpp, `convert_hf_to_gguf.py`).

use tsumugi_files::gguf::Value;
use tsumugi_nn::{FeedForwardKind, RopeScaling};
use tsumugi_tensor::{Activation, NormKind};

use crate::{DecoderSpec, Position};

/// Keys, without the architecture's name in front, and values.
pub type Entries = Vec<(&'static str, Value)>;

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
    ]
}

/// Rotary positions over whole heads.
fn rotary(spec: &DecoderSpec) -> Result<Entries, String> {
    let Position::Rotary(rotary) = &spec.position else { return Err("learned positions".into()) };
    let mut entries = vec![
        ("attention.head_count_kv", size(spec.key_heads)),
        ("attention.key_length", size(spec.head_width)),
        ("attention.value_length", size(spec.head_width)),
        ("rope.dimension_count", size(spec.head_width)),
        ("rope.freq_base", Value::F32(rotary.base as f32)),
    ];
    if let Some(RopeScaling::Linear { factor }) = rotary.scaling {
        entries.push(("rope.scaling.type", Value::String("linear".into())));
        entries.push(("rope.scaling.factor", Value::F32(factor as f32)));
    }
    Ok(entries)
}

/// `LlamaModel`.
pub fn llama(spec: &DecoderSpec) -> Result<Entries, String> {
    let mut entries = shared(spec);
    entries.extend(rotary(spec)?);
    entries.push(("attention.layer_norm_rms_epsilon", Value::F32(spec.epsilon)));
    entries.push(("vocab_size", size(spec.vocabulary)));
    Ok(entries)
}

/// `GPT2Model`, whose activation is always the GELU that `tanh` approximates.
pub fn gpt2(spec: &DecoderSpec) -> Result<Entries, String> {
    if spec.feed_forward != FeedForwardKind::Plain(Activation::GeluTanh) || spec.norm != NormKind::Layer {
        return Err(format!("the feed-forward block {:?}", spec.feed_forward));
    }
    let mut entries = shared(spec);
    entries.push(("attention.layer_norm_epsilon", Value::F32(spec.epsilon)));
    Ok(entries)
}
