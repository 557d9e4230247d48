//! Encoders in GGUF files (ggml-org/llama.cpp, `conversion/bert.py`, `src/models/bert.cpp`): metadata to a spec and back, and
//! what the tensors are called.

use tsumugi_files::TensorFile;
use tsumugi_files::gguf::{Array, Metadata, Value};
use tsumugi_tensor::Activation;

use super::ALL;
use crate::ModelError;
use crate::encoder::EncoderSpec;
use crate::family::{Place, Rename, rename};
use crate::hf_config::{SIZE_MAX, activation_word};

/// The `general.architecture` of encoders.
pub const ARCHITECTURE: &str = "bert";

/// How many kinds of tokens there are: llama.cpp holds it against the tensor.
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type_count";

/// The names of the classifier's scores: llama.cpp counts them.
const LABELS: &str = "bert.classifier.output_labels";

/// Pooler and classifier of a file that has them. llama.cpp computes with both; its converter leaves the pooler out.
pub const HEADS: [&str; 2] = ["cls", "cls.output"];

/// llama.cpp's names, of all three families (ggml-org/llama.cpp, `gguf-py/gguf/constants.py`).
pub const NAMES: &[Rename] = &[
    rename("token_embd.weight", "embedding.weight", Place::Whole),
    rename("position_embd.weight", "positions.weight", Place::Whole),
    rename("token_types.weight", "token_types.weight", Place::Whole),
    rename("token_embd_norm.weight", "embedding_norm.weight", Place::Whole),
    rename("token_embd_norm.bias", "embedding_norm.bias", Place::Whole),
    rename("blk.{}.attn_q.weight", "layers.{}.attention.qkv.weight", Place::Query),
    rename("blk.{}.attn_q.bias", "layers.{}.attention.qkv.bias", Place::Query),
    rename("blk.{}.attn_k.weight", "layers.{}.attention.qkv.weight", Place::Key),
    rename("blk.{}.attn_k.bias", "layers.{}.attention.qkv.bias", Place::Key),
    rename("blk.{}.attn_v.weight", "layers.{}.attention.qkv.weight", Place::Value),
    rename("blk.{}.attn_v.bias", "layers.{}.attention.qkv.bias", Place::Value),
    rename("blk.{}.attn_output.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("blk.{}.attn_output.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("blk.{}.attn_output_norm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("blk.{}.attn_output_norm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("blk.{}.ffn_up.weight", "layers.{}.feed_forward.up.weight", Place::Whole),
    rename("blk.{}.ffn_up.bias", "layers.{}.feed_forward.up.bias", Place::Whole),
    rename("blk.{}.ffn_down.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("blk.{}.ffn_down.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("blk.{}.layer_output_norm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("blk.{}.layer_output_norm.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
];

/// Whether a GGUF file is an encoder.
pub fn is_encoder(metadata: &Metadata) -> bool {
    metadata.get("general.architecture").and_then(Value::as_str) == Some(ARCHITECTURE)
}

/// The spec of a file, which has the words of BERT for all families.
pub fn spec(metadata: &Metadata, tensors: &TensorFile) -> Result<EncoderSpec, String> {
    let key = |key: &str| format!("{ARCHITECTURE}.{key}");
    let size = |name: &str| match metadata.get(&key(name)).and_then(Value::as_u64) {
        Some(size @ 1..=SIZE_MAX) => Ok(size as usize),
        _ => Err(format!("metadata `{}` must be a whole number from 1 to {SIZE_MAX}", key(name))),
    };
    let rows = |name: &str| match tensors.get(name).map(|tensor| tensor.shape) {
        Some(&[rows, _]) => Ok(rows),
        Some(shape) => Err(format!("tensor `{name}` has shape {shape:?}, but must have two axes")),
        None => Err(format!("there is no tensor `{name}`")),
    };
    let (width, heads) = (size("embedding_length")?, size("attention.head_count")?);
    if !width.is_multiple_of(heads) {
        return Err(format!("{heads} heads do not divide a width of {width}"));
    }
    let epsilon = match metadata.get(&key("attention.layer_norm_epsilon")) {
        Some(&Value::F32(epsilon)) if epsilon > 0.0 && epsilon.is_finite() => epsilon,
        _ => return Err(format!("metadata `{}` must be a number above 0", key("attention.layer_norm_epsilon"))),
    };
    let [pooler, classifier] = HEADS.map(|head| format!("{head}.weight"));
    let labels = tensors.get(&classifier).map(|_| rows(&classifier)).transpose()?;
    Ok(EncoderSpec {
        family: ALL[0].name,
        vocabulary: rows("token_embd.weight")?,
        width,
        layers: size("block_count")?,
        heads,
        feed_forward_width: size("feed_forward_length")?,
        context: size("context_length")?,
        first_position: 0, // rows of padding are left out of the file
        token_types: rows("token_types.weight")?,
        activation: Activation::Gelu,
        epsilon,
        pooler: labels.is_some() || tensors.get(&pooler).is_some(),
        labels,
    })
}

/// The names of the classifier's scores, where the file has them.
pub fn label_names(metadata: &Metadata) -> Option<&[String]> {
    match metadata.get(LABELS) {
        Some(Value::Array(Array::String(names))) => Some(names),
        _ => None,
    }
}

/// What a file says about an encoder of this spec, with the names of its classifier's scores. What it has no word for is an
/// error that names it.
pub fn metadata(spec: &EncoderSpec, label_names: &[String]) -> Result<Metadata, ModelError> {
    if spec.activation != Activation::Gelu {
        let what = format!("the activation `{}`", activation_word(spec.activation));
        return Err(ModelError::CannotSave { format: "a GGUF file of an encoder", what });
    }
    let mut metadata = Metadata::default();
    metadata.insert("general.architecture", Value::String(ARCHITECTURE.into()));
    let size = |size: usize| Value::U32(u32::try_from(size).unwrap_or(u32::MAX));
    for (key, value) in [
        ("block_count", size(spec.layers)),
        ("context_length", size(spec.context)),
        ("embedding_length", size(spec.width)),
        ("feed_forward_length", size(spec.feed_forward_width)),
        ("attention.head_count", size(spec.heads)),
        ("attention.layer_norm_epsilon", Value::F32(spec.epsilon)),
        ("attention.causal", Value::Bool(false)),
        ("vocab_size", size(spec.vocabulary)),
    ] {
        metadata.insert(format!("{ARCHITECTURE}.{key}"), value);
    }
    metadata.insert(TOKEN_TYPES, size(spec.token_types));
    if spec.labels.is_some() {
        metadata.insert(LABELS, Value::Array(Array::String(label_names.to_vec())));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::testing::temporary_folder;
    use tsumugi_files::{ElementType, ModelFiles, NoScan, TensorView, write_gguf};
    use tsumugi_tensor::threads::Pool;

    use crate::Encoder;
    use crate::bert::EncoderLayout;
    use crate::save::stored_values;

    const SPEC: EncoderSpec = EncoderSpec {
        family: "bert",
        vocabulary: 40,
        width: 12,
        layers: 2,
        heads: 3,
        feed_forward_width: 20,
        context: 16,
        first_position: 0,
        token_types: 2,
        activation: Activation::Gelu,
        epsilon: 1e-12,
        pooler: false,
        labels: None,
    };

    /// What we write, with some metadata changed.
    fn loaded_from_gguf(encoder: &Encoder, changes: &[(&str, Value)]) -> Result<Encoder, ModelError> {
        let mut metadata = metadata(&encoder.spec, &["LABEL_0".into()])?;
        for (key, value) in changes {
            metadata.insert(*key, value.clone());
        }
        let slots = EncoderLayout::Gguf.slots(encoder);
        let bytes_of = |slot| stored_values(&encoder.parameters, slot).into_iter().flat_map(f32::to_le_bytes).collect();
        let bytes: Vec<Vec<u8>> = slots.iter().map(bytes_of).collect();
        let element_type = ElementType::F32;
        let views: Vec<TensorView<'_>> = slots
            .iter()
            .zip(&bytes)
            .map(|(slot, bytes)| TensorView { name: &slot.tensor, element_type, shape: &slot.shape, bytes })
            .collect();
        let folder = temporary_folder();
        let path = folder.path().join("model.gguf");
        write_gguf(&path, &metadata, &views)?;
        Encoder::load(&ModelFiles::admit(&path, &NoScan { reason: "made by this test" })?, &Pool::new(1))
    }

    fn numbered(spec: EncoderSpec) -> Encoder {
        let mut encoder = Encoder::new(spec);
        let ids: Vec<_> = encoder.parameters.iter().map(|(id, _)| id).collect();
        for (number, value) in ids.iter().flat_map(|&id| encoder.parameters.range(id)).enumerate().collect::<Vec<_>>() {
            encoder.parameters.buffer_mut()[value] = number as f32;
        }
        encoder
    }

    #[test]
    fn gguf_files_hold_every_number_once() {
        let pooled = EncoderSpec { pooler: true, ..SPEC };
        for spec in [SPEC, pooled.clone(), EncoderSpec { labels: Some(1), ..pooled }] {
            let encoder = numbered(spec);
            let loaded = loaded_from_gguf(&encoder, &[]).expect("it loads");
            assert_eq!(loaded.spec, encoder.spec);
            assert!(loaded.parameters.buffer() == encoder.parameters.buffer());
        }
    }

    #[test]
    fn gguf_files_that_say_nonsense_are_refused() {
        let encoder = numbered(SPEC);
        let error = |key: &str, value: Value| {
            loaded_from_gguf(&encoder, &[(key, value)]).expect_err("it is refused").to_string()
        };
        assert!(error("bert.block_count", Value::U32(0)).contains("`bert.block_count`"));
        assert!(error("bert.block_count", Value::U32(3)).contains("no tensor `blk.2."));
        assert!(error("bert.attention.head_count", Value::U32(5)).contains("5 heads do not divide"));
        assert!(error("bert.attention.layer_norm_epsilon", Value::F32(f32::NAN)).contains("above 0"));
        assert!(error("bert.context_length", Value::U32(17)).contains("position_embd.weight"));
        assert!(error("bert.context_length", Value::U32(1 << 24)).contains("it describes"));
    }

    #[test]
    fn rows_of_positions_before_the_first_are_left_out() {
        let encoder = numbered(EncoderSpec { family: "roberta", first_position: 2, ..SPEC });
        let loaded = loaded_from_gguf(&encoder, &[]).expect("it loads");
        assert_eq!(loaded.spec, SPEC);
        let positions = |encoder: &Encoder| {
            let id = encoder.parameters.find("positions.weight").expect("it is there");
            encoder.parameters.values(id).to_vec()
        };
        assert_eq!(positions(&loaded), positions(&encoder)[2 * SPEC.width..]);
    }

    #[test]
    fn an_activation_without_a_word_is_refused_by_name() {
        let spec = EncoderSpec { activation: Activation::GeluTanh, ..SPEC };
        let error = metadata(&spec, &[]).expect_err("it is refused").to_string();
        assert!(error.contains("the activation `gelu_"), "{error}");
    }
}
