//! BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): how their `config.json` reads,
//! and what their checkpoints call each tensor.

use std::ops::Range;

use serde_json::{Map, Value, json};
use tsumugi_files::{Admitted, ModelFiles, TensorFile, TensorView};
use tsumugi_tensor::Activation;

use crate::ModelError;
use crate::encoder::{Encoder, EncoderSpec};
use crate::family::{Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, activation_word, keys};
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

/// How a folder of a family names its tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncoderLayout {
    family: &'static EncoderFamily,
}

/// The spec of an encoder and how its tensors are laid out.
pub(crate) fn read(model: &Admitted<ModelFiles>) -> Result<(EncoderSpec, EncoderLayout), ModelError> {
    let config = read_config(model)?;
    let problem = |problem: String| ModelError::Config { file: config_file(model), problem };
    let map = config.as_object().ok_or_else(|| problem("not a JSON object".into()))?;
    let reader = ConfigReader::new(map);
    let model_type = reader.word_or("model_type", "").map_err(|error| problem(error.0))?;
    let family = find(model_type).ok_or_else(|| ModelError::UnknownFamily {
        file: config_file(model),
        model_type: model_type.into(),
        known: ALL.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
    })?;
    let mut spec = family.spec(&reader).map_err(|error| problem(error.0))?;
    let layout = EncoderLayout { family };
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
        Self { family: find(spec.family).unwrap_or(&ALL[0]) }
    }

    /// Every slot of an encoder.
    pub(crate) fn slots(self, encoder: &Encoder) -> Vec<Slot> {
        let prefix = if encoder.spec.labels.is_some() { self.family.prefix } else { "" };
        let [pooler, classifier] = match encoder.spec.labels {
            Some(_) => self.family.heads,
            None => [POOLER, ""],
        };
        let layer_of = |outside: &str| if outside.contains("{}") { encoder.spec.layers } else { 1 };
        let body = NAMES.iter().flat_map(|name| {
            (0..layer_of(name.outside)).filter_map(move |layer| {
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

    /// The tensor of that name; its prefix may be missing or there, and old files say `gamma` and `beta` for a norm's weight
    /// and bias.
    pub(crate) fn find<'a>(self, tensors: &'a TensorFile, name: &str) -> Option<TensorView<'a>> {
        let prefix = self.family.prefix;
        let bare = name.strip_prefix(prefix).unwrap_or(name);
        let old = |name: &str| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        };
        let candidates = [name.to_owned(), bare.to_owned(), format!("{prefix}{bare}")];
        candidates.iter().find_map(|name| tensors.get(name).or_else(|| tensors.get(&old(name))))
    }

    /// Tensors that are no parameters of ours: tables of indices, the heads of pre-training, and a pooler that the
    /// classifier does not read.
    pub(crate) fn ignores(self, encoder: &Encoder, name: &str) -> bool {
        let bare = name.strip_prefix(self.family.prefix).unwrap_or(name);
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
