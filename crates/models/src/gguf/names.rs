//! llama.cpp's names of tensors and ours (ggml-org/llama.cpp, `gguf-py/gguf/constants.py`, `TENSOR_NAMES`); `{}` is the
//! layer. Names whose parameter a model does not have are left out, so that one table serves every architecture.

use crate::Rename;
use crate::family::{Place, rename};

/// What all architectures have in common.
pub const SHARED: &[Rename] = &[
    rename("token_embd.weight", "embedding.weight", Place::Whole),
    rename("token_embd_norm.weight", "embedding_norm.weight", Place::Whole),
    rename("token_embd_norm.bias", "embedding_norm.bias", Place::Whole),
    rename("position_embd.weight", "positions.weight", Place::Whole),
    rename("blk.{}.attn_norm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("blk.{}.attn_norm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("blk.{}.attn_q_norm.weight", "layers.{}.attention.query_norm.weight", Place::Whole),
    rename("blk.{}.attn_k_norm.weight", "layers.{}.attention.key_norm.weight", Place::Whole),
    rename("blk.{}.attn_output.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("blk.{}.attn_output.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("blk.{}.post_attention_norm.weight", "layers.{}.attention_post_norm.weight", Place::Whole),
    rename("blk.{}.ffn_norm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("blk.{}.ffn_norm.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
    rename("blk.{}.ffn_up.weight", "layers.{}.feed_forward.up.weight", Place::Whole),
    rename("blk.{}.ffn_up.bias", "layers.{}.feed_forward.up.bias", Place::Whole),
    rename("blk.{}.ffn_down.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("blk.{}.ffn_down.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("blk.{}.post_ffw_norm.weight", "layers.{}.feed_forward_post_norm.weight", Place::Whole),
    rename("blk.{}.ffn_gate_inp.weight", "layers.{}.experts.router.weight", Place::Whole),
    rename("blk.{}.ffn_gate_exps.weight", "layers.{}.experts.gate_up.weight", Place::Gate),
    rename("blk.{}.ffn_up_exps.weight", "layers.{}.experts.gate_up.weight", Place::Up),
    rename("blk.{}.ffn_down_exps.weight", "layers.{}.experts.down.weight", Place::Whole),
    rename("blk.{}.ffn_gate_inp_shexp.weight", "layers.{}.shared_expert.gate.weight", Place::Whole),
    rename("blk.{}.ffn_gate_shexp.weight", "layers.{}.shared_expert.gate_up.weight", Place::Gate),
    rename("blk.{}.ffn_up_shexp.weight", "layers.{}.shared_expert.gate_up.weight", Place::Up),
    rename("blk.{}.ffn_down_shexp.weight", "layers.{}.shared_expert.down.weight", Place::Whole),
    rename("output_norm.weight", "final_norm.weight", Place::Whole),
    rename("output_norm.bias", "final_norm.bias", Place::Whole),
    rename("output.weight", "head.weight", Place::Whole),
];

/// Queries, keys and values apart.
pub const SPLIT_QKV: &[Rename] = &[
    rename("blk.{}.attn_q.weight", "layers.{}.attention.qkv.weight", Place::Query),
    rename("blk.{}.attn_k.weight", "layers.{}.attention.qkv.weight", Place::Key),
    rename("blk.{}.attn_v.weight", "layers.{}.attention.qkv.weight", Place::Value),
    rename("blk.{}.attn_q.bias", "layers.{}.attention.qkv.bias", Place::Query),
    rename("blk.{}.attn_k.bias", "layers.{}.attention.qkv.bias", Place::Key),
    rename("blk.{}.attn_v.bias", "layers.{}.attention.qkv.bias", Place::Value),
];

/// Queries, keys and values in one tensor, in this order.
pub const FUSED_QKV: &[Rename] = &[
    rename("blk.{}.attn_qkv.weight", "layers.{}.attention.qkv.weight", Place::Whole),
    rename("blk.{}.attn_qkv.bias", "layers.{}.attention.qkv.bias", Place::Whole),
];

/// Gate and up apart.
pub const SPLIT_GATE_UP: &[Rename] = &[
    rename("blk.{}.ffn_gate.weight", "layers.{}.feed_forward.gate_up.weight", Place::Gate),
    rename("blk.{}.ffn_gate.bias", "layers.{}.feed_forward.gate_up.bias", Place::Gate),
    rename("blk.{}.ffn_up.weight", "layers.{}.feed_forward.gate_up.weight", Place::Up),
    rename("blk.{}.ffn_up.bias", "layers.{}.feed_forward.gate_up.bias", Place::Up),
];

/// Gate and up in one tensor, in this order.
pub const FUSED_GATE_UP: &[Rename] =
    &[rename("blk.{}.ffn_up.weight", "layers.{}.feed_forward.gate_up.weight", Place::Whole)];
