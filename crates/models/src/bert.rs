//! BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): how their `config.json` reads,
//! and what their checkpoints call each tensor, as folders and as llama.cpp's GGUF files.

use std::ops::Range;

use serde_json::{Map, Value, json};
use tsumugi_files::gguf::{Metadata, Value as Stored};
use tsumugi_files::{Admitted, ModelFiles, TensorFile, TensorView};
use tsumugi_tensor::Activation;

use crate::ModelError;
use crate::encoder::{Encoder, EncoderSpec};
use crate::family::{Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, SIZE_MAX, activation_word, keys};
use crate::load::{config_file, read_config};
use crate::slots::Slot;

/// A family of encoders.
#[derive(Debug)]
pub struct EncoderFamily {
    /// Its `model_type` in `config.json`.
    pub name: &'static str,
    /// One line, with the paper.
    pub about: &'static str,
    /// The class of `transformers` without a head, and the one that classifies.
    classes: [&'static str; 2],
    /// Names of the encoder begin with it where there is a head, and in some files without one.
    prefix: &'static str,
    /// Names of pooler and classifier in a file that has both.
    heads: [&'static str; 2],
    /// Positions are counted from one after the id of padding.
    positions_after_padding: bool,
}

/// Every family, in the order of `tsumugi models`.
pub const ALL: &[EncoderFamily] = &[
    EncoderFamily {
        name: "bert",
        about: "BERT (Devlin et al. 2019), an encoder: embeddings and scores of pairs",
        classes: ["BertModel", "BertForSequenceClassification"],
        prefix: "bert.",
        heads: ["bert.pooler.dense", "classifier"],
        positions_after_padding: false,
    },
    EncoderFamily {
        name: "roberta",
        about: "RoBERTa (Liu et al. 2019), an encoder",
        classes: ["RobertaModel", "RobertaForSequenceClassification"],
        prefix: "roberta.",
        heads: ["classifier.dense", "classifier.out_proj"],
        positions_after_padding: true,
    },
    EncoderFamily {
        name: "xlm-roberta",
        about: "XLM-RoBERTa (Conneau et al. 2020), a multilingual encoder",
        classes: ["XLMRobertaModel", "XLMRobertaForSequenceClassification"],
        prefix: "roberta.",
        heads: ["classifier.dense", "classifier.out_proj"],
        positions_after_padding: true,
    },
];

/// The family of this `model_type`.
pub fn find(model_type: &str) -> Option<&'static EncoderFamily> {
    ALL.iter().find(|family| family.name == model_type)
}

/// What follows the prefix.
const NAMES: &[Rename] = &[
    rename("embeddings.word_embeddings.weight", "embedding.weight", Place::Whole),
    rename("embeddings.position_embeddings.weight", "positions.weight", Place::Whole),
    rename("embeddings.token_type_embeddings.weight", "token_types.weight", Place::Whole),
    rename("embeddings.LayerNorm.weight", "embedding_norm.weight", Place::Whole),
    rename("embeddings.LayerNorm.bias", "embedding_norm.bias", Place::Whole),
    rename("encoder.layer.{}.attention.self.query.weight", "layers.{}.attention.qkv.weight", Place::Query),
    rename("encoder.layer.{}.attention.self.query.bias", "layers.{}.attention.qkv.bias", Place::Query),
    rename("encoder.layer.{}.attention.self.key.weight", "layers.{}.attention.qkv.weight", Place::Key),
    rename("encoder.layer.{}.attention.self.key.bias", "layers.{}.attention.qkv.bias", Place::Key),
    rename("encoder.layer.{}.attention.self.value.weight", "layers.{}.attention.qkv.weight", Place::Value),
    rename("encoder.layer.{}.attention.self.value.bias", "layers.{}.attention.qkv.bias", Place::Value),
    rename("encoder.layer.{}.attention.output.dense.weight", "layers.{}.attention.output.weight", Place::Whole),
    rename("encoder.layer.{}.attention.output.dense.bias", "layers.{}.attention.output.bias", Place::Whole),
    rename("encoder.layer.{}.attention.output.LayerNorm.weight", "layers.{}.attention_norm.weight", Place::Whole),
    rename("encoder.layer.{}.attention.output.LayerNorm.bias", "layers.{}.attention_norm.bias", Place::Whole),
    rename("encoder.layer.{}.intermediate.dense.weight", "layers.{}.feed_forward.up.weight", Place::Whole),
    rename("encoder.layer.{}.intermediate.dense.bias", "layers.{}.feed_forward.up.bias", Place::Whole),
    rename("encoder.layer.{}.output.dense.weight", "layers.{}.feed_forward.down.weight", Place::Whole),
    rename("encoder.layer.{}.output.dense.bias", "layers.{}.feed_forward.down.bias", Place::Whole),
    rename("encoder.layer.{}.output.LayerNorm.weight", "layers.{}.feed_forward_norm.weight", Place::Whole),
    rename("encoder.layer.{}.output.LayerNorm.bias", "layers.{}.feed_forward_norm.bias", Place::Whole),
];

/// The pooler of an encoder without a classifier.
const POOLER: &str = "pooler.dense";

/// llama.cpp's names, of all three families (ggml-org/llama.cpp, `gguf-py/gguf/constants.py`).
const GGUF_NAMES: &[Rename] = &[
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

/// Pooler and classifier of a GGUF file that has them.
const GGUF_HEADS: [&str; 2] = ["cls", "cls.output"];

/// The `general.architecture` of encoders.
const GGUF_ARCHITECTURE: &str = "bert";

/// How a checkpoint names its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EncoderLayout {
    /// A Hugging Face folder of a family.
    Folder(&'static EncoderFamily),
    /// A GGUF file.
    Gguf,
}

/// Whether a GGUF file is an encoder.
pub(crate) fn is_gguf(metadata: &Metadata) -> bool {
    metadata.get("general.architecture").and_then(Stored::as_str) == Some(GGUF_ARCHITECTURE)
}

/// Whether a model is an encoder.
pub fn is_encoder(model: &Admitted<ModelFiles>) -> Result<bool, ModelError> {
    if let Some(metadata) = model.gguf() {
        return Ok(is_gguf(metadata));
    }
    let config = read_config(model)?;
    Ok(find(config.get("model_type").and_then(Value::as_str).unwrap_or_default()).is_some())
}

/// The spec of a GGUF file, which has the words of BERT for all families.
fn gguf_spec(metadata: &Metadata, tensors: &TensorFile) -> Result<EncoderSpec, String> {
    let key = |key: &str| format!("{GGUF_ARCHITECTURE}.{key}");
    let size = |name: &str| match metadata.get(&key(name)).and_then(Stored::as_u64) {
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
        Some(&Stored::F32(epsilon)) if epsilon > 0.0 && epsilon.is_finite() => epsilon,
        _ => return Err(format!("metadata `{}` must be a number above 0", key("attention.layer_norm_epsilon"))),
    };
    let classifier = format!("{}.weight", GGUF_HEADS[1]);
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
        pooler: labels.is_some(),
        labels,
    })
}

/// The spec of an encoder and how its tensors are laid out.
pub(crate) fn read(model: &Admitted<ModelFiles>) -> Result<(EncoderSpec, EncoderLayout), ModelError> {
    let problem = |problem: String| ModelError::Config { file: config_file(model), problem };
    if let Some(metadata) = model.gguf().filter(|metadata| is_gguf(metadata)) {
        let spec = gguf_spec(metadata, &model.tensors()?).map_err(problem)?;
        return Ok((spec, EncoderLayout::Gguf));
    }
    let config = read_config(model)?;
    let map = config.as_object().ok_or_else(|| problem("not a JSON object".into()))?;
    let reader = ConfigReader::new(map);
    let model_type = reader.word_or("model_type", "").map_err(|error| problem(error.0))?;
    let family = find(model_type).ok_or_else(|| ModelError::UnknownFamily {
        file: config_file(model),
        model_type: model_type.into(),
        known: ALL.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
    })?;
    let mut spec = family.spec(&reader).map_err(|error| problem(error.0))?;
    let layout = EncoderLayout::Folder(family);
    if !spec.pooler {
        // No key says whether there is one, and embeddings need none.
        spec.pooler = layout.find(&model.tensors()?, &format!("{POOLER}.weight")).is_some();
    }
    Ok((spec, layout))
}

impl EncoderFamily {
    fn spec(&'static self, config: &ConfigReader<'_>) -> Result<EncoderSpec, ConfigProblem> {
        let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
        if !width.is_multiple_of(heads) {
            return Err(ConfigProblem(format!("num_attention_heads {heads} does not divide hidden_size {width}")));
        }
        config.only("position_embedding_type", &json!("absolute"))?;
        config.only("is_decoder", &json!(false))?;
        config.only("add_cross_attention", &json!(false))?;
        let padding = config.count_or("pad_token_id", usize::from(self.positions_after_padding))?;
        let first_position = if self.positions_after_padding { padding + 1 } else { 0 };
        let positions = config.size_or("max_position_embeddings", 512)?;
        let context = positions.checked_sub(first_position).filter(|&context| context > 0).ok_or_else(|| {
            ConfigProblem(format!("`max_position_embeddings` is {positions}, but positions begin at {first_position}"))
        })?;
        let labels = self.labels(config)?;
        Ok(EncoderSpec {
            family: self.name,
            vocabulary: config.size("vocab_size")?,
            width,
            layers: config.size("num_hidden_layers")?,
            heads,
            feed_forward_width: config.size("intermediate_size")?,
            context,
            first_position,
            token_types: config.size_or("type_vocab_size", 2)?,
            activation: config.activation_or("hidden_act", Activation::Gelu)?,
            epsilon: config.positive_or("layer_norm_eps", 1e-12)? as f32,
            pooler: labels.is_some(),
            labels,
        })
    }

    /// Scores of the classifier, if the class of `transformers` that wrote the file has one.
    fn labels(&self, config: &ConfigReader<'_>) -> Result<Option<usize>, ConfigProblem> {
        let classes = config.list("architectures")?.unwrap_or_default();
        if !classes.iter().any(|class| class.as_str() == Some(self.classes[1])) {
            return Ok(None);
        }
        let names = config.object("id2label")?.map(|names| names.count());
        match names {
            Some(0) => Err(ConfigProblem("`id2label` is empty, but the classifier has at least one score".into())),
            Some(count) => Ok(Some(count)),
            None => config.size_or("num_labels", 2).map(Some), // what `transformers` assumes
        }
    }
}

/// The `config.json` of a spec; an error says what the family has no word for.
pub(crate) fn config(spec: &EncoderSpec) -> Result<Map<String, Value>, String> {
    let family = find(spec.family).ok_or_else(|| format!("the family `{}`", spec.family))?;
    let id2label: Option<Map<String, Value>> =
        spec.labels.map(|labels| (0..labels).map(|id| (id.to_string(), json!(format!("LABEL_{id}")))).collect());
    let label2id: Option<Map<String, Value>> =
        spec.labels.map(|labels| (0..labels).map(|id| (format!("LABEL_{id}"), json!(id))).collect());
    let mut config = keys(json!({
        "architectures": [family.classes[usize::from(spec.labels.is_some())]],
        "model_type": family.name,
        "vocab_size": spec.vocabulary,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.feed_forward_width,
        "max_position_embeddings": spec.first_position + spec.context,
        "type_vocab_size": spec.token_types,
        "hidden_act": activation_word(spec.activation),
        "layer_norm_eps": spec.epsilon,
        "pad_token_id": spec.first_position.saturating_sub(1),
        "torch_dtype": "float32",
    }));
    if let (Some(id2label), Some(label2id)) = (id2label, label2id) {
        config.insert("id2label".into(), id2label.into());
        config.insert("label2id".into(), label2id.into());
    }
    Ok(config)
}

impl EncoderLayout {
    /// Of a folder that we write.
    pub(crate) fn folder_of(spec: &EncoderSpec) -> Self {
        Self::Folder(find(spec.family).unwrap_or(&ALL[0]))
    }

    /// Every slot of an encoder.
    pub(crate) fn slots(self, encoder: &Encoder) -> Vec<Slot> {
        let classifies = encoder.spec.labels.is_some();
        let (names, prefix, [pooler, classifier]) = match self {
            Self::Folder(family) if classifies => (NAMES, family.prefix, family.heads),
            Self::Folder(_) => (NAMES, "", [POOLER, ""]),
            Self::Gguf => (GGUF_NAMES, "", GGUF_HEADS),
        };
        let layers_of = |outside: &str| if outside.contains("{}") { encoder.spec.layers } else { 1 };
        let body = names.iter().flat_map(|name| {
            (0..layers_of(name.outside)).filter_map(move |layer| {
                let fill = |template: &str| template.replace("{}", &layer.to_string());
                slot(encoder, format!("{prefix}{}", fill(name.outside)), &fill(name.ours), name.place)
            })
        });
        let heads = [(pooler, "pooler"), (classifier, "classifier")].into_iter().flat_map(|(outside, ours)| {
            ["weight", "bias"].into_iter().filter_map(move |which| {
                slot(encoder, format!("{outside}.{which}"), &format!("{ours}.{which}"), Place::Whole)
            })
        });
        body.chain(heads).collect()
    }

    /// The tensor of that name. In a folder its prefix may be missing or there, and old files say `gamma` and `beta` for a
    /// norm's weight and bias.
    pub(crate) fn find<'a>(self, tensors: &'a TensorFile, name: &str) -> Option<TensorView<'a>> {
        let Self::Folder(family) = self else { return tensors.get(name) };
        let prefix = family.prefix;
        let bare = name.strip_prefix(prefix).unwrap_or(name);
        let old = |name: &str| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        };
        let candidates = [name.to_owned(), bare.to_owned(), format!("{prefix}{bare}")];
        candidates.iter().find_map(|name| tensors.get(name).or_else(|| tensors.get(&old(name))))
    }

    /// Tensors of a folder that are no parameters of ours: tables of indices, the heads of pre-training, and a pooler that
    /// the classifier does not read.
    pub(crate) fn ignores(self, encoder: &Encoder, name: &str) -> bool {
        let Self::Folder(family) = self else { return false };
        let bare = name.strip_prefix(family.prefix).unwrap_or(name);
        let unread_pooler = encoder.spec.labels.is_some() && bare.starts_with(POOLER);
        let tables = ["embeddings.position_ids", "embeddings.token_type_ids"];
        tables.contains(&bare) || name.starts_with("cls.") || name.starts_with("lm_head.") || unread_pooler
    }
}

fn slot(encoder: &Encoder, tensor: String, ours: &str, place: Place) -> Option<Slot> {
    let parameter = encoder.parameters.find(ours)?;
    let rows = rows_of(place, encoder.parameters.get(parameter).shape[0]);
    Some(Slot::plain(tensor, &encoder.parameters, parameter, rows))
}

/// The rows of a place, in a parameter of so many: queries, keys and values are a third each.
fn rows_of(place: Place, rows: usize) -> Range<usize> {
    let third = rows / 3;
    match place {
        Place::Query => 0..third,
        Place::Key => third..2 * third,
        Place::Value => 2 * third..rows,
        _ => 0..rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsumugi_base::testing::temporary_folder;
    use tsumugi_files::{ElementType, NoScan, write_gguf};
    use tsumugi_tensor::threads::Pool;

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

    /// As llama.cpp writes it, with some metadata changed.
    fn loaded_from_gguf(encoder: &Encoder, changes: &[(&str, Stored)]) -> Result<Encoder, ModelError> {
        let spec = &encoder.spec;
        let mut metadata = Metadata::default();
        metadata.insert("general.architecture", Stored::String("bert".into()));
        for (key, size) in [
            ("block_count", spec.layers),
            ("context_length", spec.context),
            ("embedding_length", spec.width),
            ("feed_forward_length", spec.feed_forward_width),
            ("attention.head_count", spec.heads),
        ] {
            metadata.insert(format!("bert.{key}"), Stored::U32(size as u32));
        }
        metadata.insert("bert.attention.layer_norm_epsilon", Stored::F32(spec.epsilon));
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
        for spec in [SPEC, EncoderSpec { pooler: true, labels: Some(1), ..SPEC }] {
            let encoder = numbered(spec);
            let loaded = loaded_from_gguf(&encoder, &[]).expect("it loads");
            assert_eq!(loaded.spec, encoder.spec);
            assert!(loaded.parameters.buffer() == encoder.parameters.buffer());
        }
    }

    #[test]
    fn gguf_files_that_say_nonsense_are_refused() {
        let encoder = numbered(SPEC);
        let error = |key: &str, value: Stored| {
            loaded_from_gguf(&encoder, &[(key, value)]).expect_err("it is refused").to_string()
        };
        assert!(error("bert.block_count", Stored::U32(0)).contains("`bert.block_count`"));
        assert!(error("bert.block_count", Stored::U32(3)).contains("no tensor `blk.2."));
        assert!(error("bert.attention.head_count", Stored::U32(5)).contains("5 heads do not divide"));
        assert!(error("bert.attention.layer_norm_epsilon", Stored::F32(f32::NAN)).contains("above 0"));
        assert!(error("bert.context_length", Stored::U32(17)).contains("position_embd.weight"));
        assert!(error("bert.context_length", Stored::U32(1 << 24)).contains("it describes"));
    }
}
