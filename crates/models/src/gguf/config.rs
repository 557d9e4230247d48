//! The metadata of each architecture in the words of its family's `config.json`
//! (ggml-org/llama.cpp, `convert_hf_to_gguf.py`, read backwards).

use serde_json::{Value as Json, json};
use tsumugi_files::TensorFile;
use tsumugi_files::gguf::{Array, Metadata, Value};

use super::rope;
use crate::hf_config::SIZE_MAX;

/// What a file says about its model.
pub struct Described<'a> {
    /// What the keys begin with.
    pub architecture: &'static str,
    pub metadata: &'a Metadata,
    pub tensors: &'a TensorFile,
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

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    /// Whether a tensor is there: what no key says.
    fn has(&self, tensor: &str) -> bool {
        self.tensors.get(tensor).is_some()
    }

    /// The embedding's rows: some files have more of them than their vocabulary has tokens.
    fn vocabulary(&self) -> Result<usize, String> {
        let embedding = self.tensors.get("token_embd.weight").ok_or("there is no tensor `token_embd.weight`")?;
        match embedding.shape {
            &[rows, _] => Ok(rows),
            shape => Err(format!("tensor `token_embd.weight` has shape {shape:?}, but must have two axes")),
        }
    }

    /// The width of all heads, which must be wholly rotated.
    fn head_width(&self, width: usize, heads: usize) -> Result<usize, String> {
        let head_width = self.size_or("attention.key_length", width / heads)?;
        for (key, what) in [("attention.value_length", "values"), ("rope.dimension_count", "rotations")] {
            let other = self.size_or(key, head_width)?;
            if other != head_width {
                return Err(format!(
                    "heads have keys of width {head_width}, but {what} of width {other} (`{}`)",
                    self.key(key)
                ));
            }
        }
        Ok(head_width)
    }

    /// `rope_scaling`: what the metadata say, or else the factors that llama.cpp's converter makes of Llama 3's.
    fn rope_scaling(&self, head_width: usize, base: f64) -> Result<Json, String> {
        match self.text("rope.scaling.type") {
            None | Some("none") => {}
            Some("linear") => {
                return Ok(
                    json!({"rope_type": "linear", "factor": self.number("rope.scaling.factor")?.unwrap_or(1.0)}),
                );
            }
            Some(other) => return Err(format!("rope scaling `{other}` is not supported; known: none, linear")),
        }
        let Some(factors) = self.tensors.get("rope_freqs.weight") else { return Ok(Json::Null) };
        let factors = tsumugi_files::to_f32(&factors).map_err(|error| error.to_string())?;
        rope::llama3(&factors, head_width, base)
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

/// `LlamaModel`, which also stands for Mistral without a window.
pub fn llama(file: &Described<'_>) -> Result<Json, String> {
    if file.get("expert_count").and_then(Value::as_u64).is_some_and(|experts| experts > 0) {
        return Err("mixtures of experts are not supported".into());
    }
    let (width, heads) = (file.size("embedding_length")?, file.size("attention.head_count")?);
    let head_width = file.head_width(width, heads)?;
    let base = file.number("rope.freq_base")?.unwrap_or(10_000.0);
    Ok(json!({
        "model_type": "llama",
        "vocab_size": file.vocabulary()?,
        "hidden_size": width,
        "intermediate_size": file.size("feed_forward_length")?,
        "num_hidden_layers": file.size("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": file.size_or("attention.head_count_kv", heads)?,
        "head_dim": head_width,
        "max_position_embeddings": file.size("context_length")?,
        "rms_norm_eps": file.number("attention.layer_norm_rms_epsilon")?,
        "rope_theta": base,
        "rope_scaling": file.rope_scaling(head_width, base)?,
        "attention_bias": file.has("blk.0.attn_q.bias"),
        "mlp_bias": file.has("blk.0.ffn_up.bias"),
        "tie_word_embeddings": !file.has("output.weight"),
    }))
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
