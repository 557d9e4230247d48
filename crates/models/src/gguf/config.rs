//! The metadata of each architecture in the words of its family's `config.json`
//! (ggml-org/llama.cpp, `conversion/`, read backwards; where no key says a thing, its `src/models/`).

use serde_json::{Map, Value as Json, json};
use tsumugi_files::TensorFile;
use tsumugi_files::gguf::{Array, Metadata, Value};
use tsumugi_nn::{LongRope, Yarn};

use super::rope;
use crate::falcon;
use crate::hf_config::{self, SIZE_MAX};

/// What a file says about its model.
pub struct Described<'a> {
    /// What the keys begin with.
    pub architecture: &'static str,
    pub metadata: &'a Metadata,
    pub tensors: &'a dyn Tensors,
}

/// What the metadata are read with: some things only the tensors say.
pub trait Tensors {
    /// The shape of the tensor of that name.
    fn shape(&self, name: &str) -> Option<&[usize]>;
    /// The numbers of a table.
    fn numbers(&self, name: &str) -> Option<Result<Vec<f32>, String>>;
}

impl Tensors for TensorFile {
    fn shape(&self, name: &str) -> Option<&[usize]> {
        self.get(name).map(|tensor| tensor.shape)
    }

    fn numbers(&self, name: &str) -> Option<Result<Vec<f32>, String>> {
        Some(tsumugi_files::to_f32(&self.get(name)?).map_err(|error| error.to_string()))
    }
}

impl Described<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&self.key(key))
    }

    /// A size between 1 and 2^24; where the file has one for each layer, they must be equal.
    fn size(&self, key: &str) -> Result<usize, String> {
        let value = self.get(key).ok_or_else(|| format!("metadata `{}` are missing", self.key(key)))?;
        let single = match value {
            Value::Array(array) => uniform(array),
            value => value.as_u64(),
        };
        match single {
            Some(size @ 1..=SIZE_MAX) => Ok(size as usize),
            _ => Err(format!(
                "metadata `{}` must be a whole number from 1 to {SIZE_MAX}, the same in every layer",
                self.key(key)
            )),
        }
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize, String> {
        if self.get(key).is_none() { Ok(default) } else { self.size(key) }
    }

    /// A number, as short as it was before it became a `f32`.
    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        match self.get(key) {
            None => Ok(None),
            Some(&Value::F32(number)) => Ok(number.to_string().parse().ok()),
            Some(&Value::F64(number)) => Ok(Some(number)),
            Some(_) => Err(format!("metadata `{}` must be a floating-point number", self.key(key))),
        }
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, String> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    fn has_experts(&self) -> bool {
        self.get("expert_count").and_then(Value::as_u64).is_some_and(|experts| experts > 0)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// Whether a tensor is there: what no key says.
    fn has(&self, tensor: &str) -> bool {
        self.tensors.shape(tensor).is_some()
    }

    /// The embedding's rows: some files have more of them than their vocabulary has tokens.
    fn vocabulary(&self) -> Result<usize, String> {
        let shape = self.tensors.shape("token_embd.weight").ok_or("there is no tensor `token_embd.weight`")?;
        match shape {
            &[rows, _] => Ok(rows),
            shape => Err(format!("tensor `token_embd.weight` has shape {shape:?}, but must have two axes")),
        }
    }

    /// The width of all heads, for values as for keys.
    fn head_width(&self, width: usize, heads: usize) -> Result<usize, String> {
        let head_width = self.size_or("attention.key_length", width / heads)?;
        self.same_width("attention.value_length", "values", head_width)?;
        Ok(head_width)
    }

    fn same_width(&self, key: &str, what: &str, head_width: usize) -> Result<(), String> {
        let other = self.size_or(key, head_width)?;
        if other == head_width {
            return Ok(());
        }
        Err(format!("heads have keys of width {head_width}, but {what} of width {other} (`{}`)", self.key(key)))
    }

    /// `rope_scaling`, for the `turned` numbers of a head: what the metadata say, or else the tables of divisors.
    fn rope_scaling(&self, turned: usize, base: f64, context: usize, tables: Tables) -> Result<Json, String> {
        let original_context = self.size_or("rope.scaling.original_context_length", context)?;
        match self.text("rope.scaling.type") {
            None | Some("none" | "longrope") => {}
            Some("linear") => {
                return Ok(json!({"rope_type": "linear", "factor": self.number_or("rope.scaling.factor", 1.0)?}));
            }
            Some("yarn") => return self.yarn(original_context),
            Some(other) => {
                return Err(format!("rope scaling `{other}` is not supported; known: none, linear, yarn, longrope"));
            }
        }
        let table = |name: &str| self.tensors.numbers(name).transpose();
        match (table("rope_factors_short.weight")?, table("rope_factors_long.weight")?) {
            (Some(short), Some(long)) if tables != Tables::None => {
                return Ok(json!({
                    "rope_type": "longrope", "short_factor": rope::as_short(&short), "long_factor": rope::as_short(&long),
                    "original_max_position_embeddings": original_context,
                    "attention_factor": self.attention_factor(|| {
                        LongRope::recommended_attention_factor(
                            context as f64 / original_context as f64,
                            original_context as f64,
                        )
                    })?,
                }));
            }
            _ => {}
        }
        match table("rope_freqs.weight")? {
            Some(factors) if tables == Tables::All => rope::llama3(&factors, turned, base),
            _ => Ok(Json::Null),
        }
    }

    /// YaRN: llama.cpp scales queries and keys as the paper recommends, times `rope.scaling.attn_factor`
    /// (`llama-context.cpp`, which lets nothing come of `yarn_attn_factor`).
    fn yarn(&self, original_context: usize) -> Result<Json, String> {
        let factor = self.number_or("rope.scaling.factor", 1.0)?;
        let more = self.number_or("rope.scaling.attn_factor", 1.0)?;
        Ok(json!({
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": original_context,
            "beta_fast": self.number_or("rope.scaling.yarn_beta_fast", 32.0)?,
            "beta_slow": self.number_or("rope.scaling.yarn_beta_slow", 1.0)?,
            "attention_factor": Yarn::recommended_attention_factor(factor) * more,
        }))
    }

    /// `rope.scaling.attn_factor`; files of old converters do not have it.
    fn attention_factor(&self, otherwise: impl FnOnce() -> f64) -> Result<f64, String> {
        Ok(self.number("rope.scaling.attn_factor")?.unwrap_or_else(otherwise))
    }

    /// `sliding_window` and `layer_types`, where there is a window; `windowed` says which layers have it where the file does
    /// not.
    fn window(&self, windowed: impl Fn(usize) -> bool) -> Result<Map<String, Json>, String> {
        let (window, pattern) = ("attention.sliding_window", "attention.sliding_window_pattern");
        if self.get(window).is_none_or(|value| value.as_u64() == Some(0)) {
            return Ok(Map::new());
        }
        let layers = self.size("block_count")?;
        let windowed: Vec<bool> = match self.get(pattern) {
            None => (0..layers).map(windowed).collect(),
            Some(Value::Array(Array::Bool(listed))) if listed.len() == layers => listed.clone(),
            Some(value) => match value.as_u64() {
                Some(0) => vec![true; layers],
                Some(every) => (1..=layers as u64).map(|layer| !layer.is_multiple_of(every)).collect(),
                None => {
                    return Err(format!(
                        "metadata `{}` must be a whole number, or a truth value for each of {layers} layers",
                        self.key(pattern)
                    ));
                }
            },
        };
        let word = |&windowed: &bool| if windowed { "sliding_attention" } else { "full_attention" };
        Ok(hf_config::keys(json!({
            "sliding_window": self.size(window)?,
            "layer_types": windowed.iter().map(word).collect::<Vec<_>>(),
        })))
    }
}

/// The number of an array whose numbers are all the same.
fn uniform(array: &Array) -> Option<u64> {
    let numbers: Vec<u64> = match array {
        Array::I32(numbers) => numbers.iter().map(|&number| number.try_into().ok()).collect::<Option<_>>()?,
        Array::U32(numbers) => numbers.iter().map(|&number| number.into()).collect(),
        _ => return None,
    };
    numbers.first().copied().filter(|first| numbers.iter().all(|number| number == first))
}

/// Which tables of rotary divisors llama.cpp reads of an architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tables {
    None,
    LongRope,
    All,
}

/// Architectures that may have experts.
const WITH_EXPERTS: [&str; 3] = ["llama", "qwen2moe", "qwen3moe"];

/// What Llama's relatives share, with a base of the rotation for files that do not say it.
fn relative(file: &Described<'_>, model_type: &str, base: f64, tables: Tables) -> Result<Map<String, Json>, String> {
    if file.has_experts() && !WITH_EXPERTS.contains(&file.architecture) {
        return Err(format!(
            "experts are known in models of {}, not of {}",
            WITH_EXPERTS.join(", "),
            file.architecture
        ));
    }
    let (width, heads) = (file.size("embedding_length")?, file.size("attention.head_count")?);
    let context = file.size("context_length")?;
    let head_width = file.head_width(width, heads)?;
    let turned = file.size_or("rope.dimension_count", head_width)?;
    let base = file.number_or("rope.freq_base", base)?;
    Ok(hf_config::keys(json!({
        "model_type": model_type,
        "vocab_size": file.vocabulary()?,
        "hidden_size": width,
        "intermediate_size": file.size("feed_forward_length")?,
        "num_hidden_layers": file.size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": file.size_or("attention.head_count_kv", heads)?,
        "head_dim": head_width,
        "max_position_embeddings": context,
        "rms_norm_eps": file.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": base,
        "rope_scaling": file.rope_scaling(turned, base, context, tables)?,
        "partial_rotary_factor": rope::share(turned, head_width),
        "tie_word_embeddings": !file.has("output.weight"),
    })))
}

/// Llama and Granite: whole heads are rotated, and there may be biases.
fn with_biases(file: &Described<'_>, model_type: &str) -> Result<Map<String, Json>, String> {
    let mut keys = relative(file, model_type, 10_000.0, Tables::All)?;
    let head_width = file.head_width(file.size("embedding_length")?, file.size("attention.head_count")?)?;
    file.same_width("rope.dimension_count", "rotations", head_width)?;
    keys.insert("attention_bias".into(), file.has("blk.0.attn_q.bias").into());
    keys.insert("mlp_bias".into(), file.has("blk.0.ffn_up.bias").into());
    Ok(keys)
}

/// `LlamaModel`, which also stands for Mistral and Mixtral; a window is a key that llama.cpp neither writes nor reads.
pub fn llama(file: &Described<'_>) -> Result<Json, String> {
    let window = file.window(|_| true)?;
    let model_type = match (file.has_experts(), window.is_empty()) {
        (true, _) => "mixtral",
        (false, true) => "llama",
        (false, false) => "mistral",
    };
    let mut keys = with_biases(file, model_type)?;
    if file.has_experts() {
        keys.insert("num_local_experts".into(), file.size("expert_count")?.into());
        keys.insert("num_experts_per_tok".into(), file.size("expert_used_count")?.into());
    }
    keys.extend(window);
    Ok(keys.into())
}

/// `GraniteModel`.
pub fn granite(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = with_biases(file, "granite")?;
    for (theirs, ours) in [
        ("embedding_scale", "embedding_multiplier"),
        ("attention.scale", "attention_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        keys.insert(ours.into(), json!(file.number(theirs)?));
    }
    Ok(keys.into())
}

/// `Qwen2Model` and `Qwen3Model`; a window is a key that llama.cpp neither writes nor reads.
fn qwen(file: &Described<'_>, model_type: &str) -> Result<Json, String> {
    let mut keys = relative(file, model_type, 10_000.0, Tables::None)?;
    let window = file.window(|_| true)?;
    keys.insert("use_sliding_window".into(), (!window.is_empty()).into());
    keys.extend(window);
    Ok(keys.into())
}

/// `Qwen2Model`.
pub fn qwen2(file: &Described<'_>) -> Result<Json, String> {
    qwen(file, "qwen2")
}

/// `Qwen3Model`.
pub fn qwen3(file: &Described<'_>) -> Result<Json, String> {
    qwen(file, "qwen3")
}

/// `Qwen2MoeModel` and `Qwen3MoeModel`; whether the shares of a token's experts are made to add up to one follows from the
/// architecture.
fn qwen_moe(file: &Described<'_>, model_type: &str, normalized: bool) -> Result<Map<String, Json>, String> {
    let mut keys = hf_config::keys(qwen(file, model_type)?);
    let chosen = file.size("expert_used_count")?;
    let width = match file.get("expert_feed_forward_length") {
        None => file.size("feed_forward_length")? / chosen,
        Some(_) => file.size("expert_feed_forward_length")?,
    };
    keys.extend(hf_config::keys(json!({
        "num_experts": file.size("expert_count")?,
        "num_experts_per_tok": chosen,
        "moe_intermediate_size": width,
        "norm_topk_prob": normalized,
    })));
    Ok(keys)
}

/// `Qwen2MoeModel`, whose head is never the embedding.
pub fn qwen2_moe(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = qwen_moe(file, "qwen2_moe", false)?;
    let shared = file.size_or("expert_shared_feed_forward_length", file.size("feed_forward_length")?)?;
    keys.insert("shared_expert_intermediate_size".into(), shared.into());
    keys.insert("qkv_bias".into(), file.has("blk.0.attn_q.bias").into());
    keys.remove("tie_word_embeddings");
    Ok(keys.into())
}

/// `Qwen3MoeModel`.
pub fn qwen3_moe(file: &Described<'_>) -> Result<Json, String> {
    Ok(qwen_moe(file, "qwen3_moe", true)?.into())
}

/// `Phi3MiniModel`, whose window of 0 positions is none.
pub fn phi3(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = relative(file, "phi3", 10_000.0, Tables::LongRope)?;
    keys.insert("sliding_window".into(), file.window(|_| true)?.remove("sliding_window").unwrap_or(Json::Null));
    Ok(keys.into())
}

/// Gemma's divisor of the scores, squared, as llama.cpp derives it: the head width, and in the largest models, which have
/// so many layers, the width by the heads. Another one is a key that llama.cpp neither writes nor reads.
pub fn gemma_scalar(layers: usize, width: usize, heads: usize, head_width: usize) -> usize {
    if [46, 62].contains(&layers) { width / heads } else { head_width }
}

fn gemma(file: &Described<'_>, model_type: &str, base: f64) -> Result<Map<String, Json>, String> {
    let mut keys = relative(file, model_type, base, Tables::None)?;
    let (width, heads) = (file.size("embedding_length")?, file.size("attention.head_count")?);
    let derived = gemma_scalar(file.size("block_count")?, width, heads, file.head_width(width, heads)?);
    let scalar = match file.number("attention.scale")? {
        None => derived as f64,
        Some(scale) => {
            let scalar = scale.powi(-2);
            let whole = scalar.round();
            if whole.sqrt().recip() as f32 == scale as f32 { whole } else { scalar }
        }
    };
    keys.insert("query_pre_attn_scalar".into(), json!(scalar));
    caps(file, &mut keys, &["final_logit_softcapping"])?;
    Ok(keys)
}

/// Caps have the same name in both; an absent one is the family's own.
fn caps(file: &Described<'_>, keys: &mut Map<String, Json>, names: &[&str]) -> Result<(), String> {
    for &name in names {
        if let Some(cap) = file.number(name)? {
            keys.insert(name.into(), cap.into());
        }
    }
    Ok(())
}

/// `Gemma2Model`: every other layer has a window, the head is the embedding.
pub fn gemma2(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = gemma(file, "gemma2", 10_000.0)?;
    keys.remove("tie_word_embeddings");
    caps(file, &mut keys, &["attn_logit_softcapping"])?;
    let window = file.window(|layer| layer % 2 == 0)?;
    // An absent window is the family's own; one of 0 positions is none.
    keys.insert(
        "sliding_window".into(),
        if file.get("attention.sliding_window").is_none() { 4096.into() } else { Json::Null },
    );
    keys.extend(window);
    Ok(keys.into())
}

/// `Gemma3Model`: every sixth layer has no window, the others turn by a base of their own.
pub fn gemma3(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = gemma(file, "gemma3_text", 1_000_000.0)?;
    keys.insert("rope_local_base_freq".into(), file.number_or("rope.freq_base_swa", 10_000.0)?.into());
    keys.insert("sliding_window".into(), Json::Null);
    keys.extend(file.window(|layer| !(layer + 1).is_multiple_of(6))?);
    Ok(keys.into())
}

/// `GPT2Model`.
pub fn gpt2(file: &Described<'_>) -> Result<Json, String> {
    Ok(json!({
        "model_type": "gpt2",
        "vocab_size": file.vocabulary()?,
        "n_positions": file.size("context_length")?,
        "n_embd": file.size("embedding_length")?,
        "n_layer": file.size("block_count")?,
        "n_head": file.size("attention.head_count")?,
        "n_inner": file.size("feed_forward_length")?,
        "layer_norm_epsilon": file.number("attention.layer_norm_epsilon")?,
        "tie_word_embeddings": !file.has("output.weight"),
    }))
}

/// `BloomModel`.
pub fn bloom(file: &Described<'_>) -> Result<Json, String> {
    Ok(json!({
        "model_type": "bloom",
        "vocab_size": file.vocabulary()?,
        "seq_length": file.size("context_length")?,
        "hidden_size": file.size("embedding_length")?,
        "n_layer": file.size("block_count")?,
        "n_head": file.size("attention.head_count")?,
        "layer_norm_epsilon": file.number("attention.layer_norm_epsilon")?,
        "tie_word_embeddings": !file.has("output.weight"),
    }))
}

/// `FalconModel`.
pub fn falcon(file: &Described<'_>) -> Result<Json, String> {
    let relative = relative(file, "falcon", 10_000.0, Tables::None)?;
    let key_heads = file.size_or("attention.head_count_kv", 1)?;
    let mut keys = falcon::heads_keys(file.size("attention.head_count")?, key_heads);
    keys.extend(relative);
    keys.extend(hf_config::keys(json!({
        "num_ln_in_parallel_attn": if file.has("blk.0.attn_norm_2.weight") { 2 } else { 1 },
        "ffn_hidden_size": file.size("feed_forward_length")?,
        "layer_norm_epsilon": file.number("attention.layer_norm_epsilon")?,
    })));
    Ok(keys.into())
}

/// `StableLMModel`, whose head is never the embedding. What has no second norm has its two parts side by side.
pub fn stablelm(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = relative(file, "stablelm", 10_000.0, Tables::None)?;
    keys.extend(hf_config::keys(json!({
        "layer_norm_eps": file.number("attention.layer_norm_epsilon")?,
        "use_qkv_bias": file.has("blk.0.attn_q.bias"),
        "use_parallel_residual": !file.has("blk.0.ffn_norm.weight"),
        "tie_word_embeddings": false,
    })));
    Ok(keys.into())
}

/// For each layer, whether nothing turns in it: a key that llama.cpp neither writes nor reads.
pub const UNTURNED: &str = "rope.unturned_layers";

/// The layers of SmolLM 3 in which nothing turns.
pub fn every_fourth(layer: usize) -> bool {
    (layer + 1).is_multiple_of(4)
}

/// `SmolLM3Model`.
pub fn smollm3(file: &Described<'_>) -> Result<Json, String> {
    let mut keys = hf_config::keys(qwen(file, "smollm3")?);
    let layers = file.size("block_count")?;
    let turned: Vec<u8> = match file.get(UNTURNED) {
        None => (0..layers).map(|layer| (!every_fourth(layer)).into()).collect(),
        Some(Value::Array(Array::Bool(unturned))) => unturned.iter().map(|&unturned| (!unturned).into()).collect(),
        Some(_) => return Err(format!("metadata `{}` must be truth values", file.key(UNTURNED))),
    };
    keys.insert("no_rope_layers".into(), json!(turned));
    Ok(keys.into())
}
