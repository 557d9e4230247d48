//! BERT (Devlin et al. 2019), RoBERTa (Liu et al. 2019) and XLM-RoBERTa (Conneau et al. 2020): how their `config.json` reads,
//! and what their checkpoints call each tensor, as folders and as llama.cpp's GGUF files (`gguf`).

mod gguf;

use std::ops::Range;

pub(crate) use gguf::is_encoder as is_gguf;
pub use gguf::{ARCHITECTURE as GGUF_ARCHITECTURE, metadata as gguf_metadata};
use serde_json::{Map, Value, json};
use tsumugi_files::{Admitted, ModelFiles, TensorFile, TensorView};
use tsumugi_tensor::Activation;

use crate::ModelError;
use crate::encoder::{Encoder, EncoderSpec};
use crate::family::{Place, Rename, rename};
use crate::hf_config::{ConfigProblem, ConfigReader, activation_word, as_short, keys};
use crate::load::{config_file, read_config};
use crate::slots::{Slot, fill};

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

/// Our table of positions.
const POSITIONS: &str = "positions.weight";

/// The pooler of an encoder without a classifier.
const POOLER: &str = "pooler.dense";

/// How a checkpoint names its tensors.
#[derive(Debug, Clone, Copy)]
pub enum EncoderLayout {
    /// A Hugging Face folder of a family.
    Folder(&'static EncoderFamily),
    /// A GGUF file.
    Gguf,
}

/// Whether a model is an encoder.
pub fn is_encoder(model: &Admitted<ModelFiles>) -> Result<bool, ModelError> {
    if let Some(metadata) = model.gguf() {
        return Ok(is_gguf(metadata));
    }
    let config = read_config(model)?;
    Ok(find(config.get("model_type").and_then(Value::as_str).unwrap_or_default()).is_some())
}

/// The spec of an encoder and how its tensors are laid out.
pub fn read(model: &Admitted<ModelFiles>) -> Result<(EncoderSpec, EncoderLayout), ModelError> {
    let problem = |problem: String| ModelError::Config { file: config_file(model), problem };
    if let Some(metadata) = model.gguf().filter(|metadata| is_gguf(metadata)) {
        let spec = gguf::spec(metadata, &model.tensors()?).map_err(problem)?;
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

/// What `transformers` calls scores that nobody named.
pub(crate) fn unnamed_labels(spec: &EncoderSpec) -> Vec<String> {
    (0..spec.labels.unwrap_or(0)).map(|id| format!("LABEL_{id}")).collect()
}

/// The names of a classifier's scores, in their order: those that the model's files give, if there is one for each.
pub fn label_names(model: &Admitted<ModelFiles>, spec: &EncoderSpec) -> Result<Vec<String>, ModelError> {
    let labels = spec.labels.unwrap_or(0);
    let named = if let Some(metadata) = model.gguf() {
        gguf::label_names(metadata).map(<[String]>::to_vec)
    } else {
        let config = read_config(model)?;
        let name = |id: usize| Some(config.get("id2label")?.get(id.to_string())?.as_str()?.to_owned());
        (0..labels).map(name).collect()
    };
    Ok(named.filter(|names: &Vec<String>| names.len() == labels).unwrap_or_else(|| unnamed_labels(spec)))
}

/// The `config.json` of a spec, with the names of its classifier's scores; an error says what the family has no word for.
pub fn config(spec: &EncoderSpec, label_names: &[String]) -> Result<Map<String, Value>, ModelError> {
    let family = find(spec.family)
        .ok_or_else(|| ModelError::CannotSave { format: "a folder", what: format!("the family `{}`", spec.family) })?;
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
        "layer_norm_eps": as_short(spec.epsilon),
        "pad_token_id": spec.first_position.saturating_sub(1),
        "torch_dtype": "float32",
    }));
    if spec.labels.is_some() {
        let names = || label_names.iter().enumerate();
        let id2label: Map<String, Value> = names().map(|(id, name)| (id.to_string(), json!(name))).collect();
        let label2id: Map<String, Value> = names().map(|(id, name)| (name.clone(), json!(id))).collect();
        config.insert("id2label".into(), id2label.into());
        config.insert("label2id".into(), label2id.into());
    }
    Ok(config)
}

impl EncoderLayout {
    /// Of a folder that we write.
    pub fn folder_of(spec: &EncoderSpec) -> Self {
        Self::Folder(find(spec.family).unwrap_or(&ALL[0]))
    }

    /// Every slot of an encoder.
    pub(crate) fn slots(self, encoder: &Encoder) -> Vec<Slot> {
        let classifies = encoder.spec.labels.is_some();
        let (names, prefix, [pooler, classifier]) = match self {
            Self::Folder(family) if classifies => (NAMES, family.prefix, family.heads),
            Self::Folder(_) => (NAMES, "", [POOLER, ""]),
            Self::Gguf => (gguf::NAMES, "", gguf::HEADS),
        };
        let layers_of = |outside: &str| if outside.contains("{}") { encoder.spec.layers } else { 1 };
        let body = names.iter().flat_map(|name| {
            (0..layers_of(name.outside)).filter_map(move |layer| {
                let fill = |template: &str| template.replace("{}", &layer.to_string());
                let slot = slot(encoder, format!("{prefix}{}", fill(name.outside)), &fill(name.ours), name.place);
                slot.map(|slot| self.without_padding(slot, encoder))
            })
        });
        let heads = [(pooler, "pooler"), (classifier, "classifier")].into_iter().flat_map(|(outside, ours)| {
            ["weight", "bias"].into_iter().filter_map(move |which| {
                slot(encoder, format!("{outside}.{which}"), &format!("{ours}.{which}"), Place::Whole)
            })
        });
        body.chain(heads).collect()
    }

    /// A GGUF file has no rows of the table of positions that only padding has.
    fn without_padding(self, slot: Slot, encoder: &Encoder) -> Slot {
        let is_table = encoder.parameters.get(slot.parameter).name == POSITIONS;
        match self {
            Self::Gguf if is_table => {
                let rows = encoder.spec.first_position..slot.rows.end;
                Slot::plain(slot.tensor, &encoder.parameters, slot.parameter, rows)
            }
            _ => slot,
        }
    }

    /// Every slot of an encoder with the stored tensor that fills it, as [`fill`] has them.
    pub(crate) fn filled_slots<'a>(
        self,
        encoder: &Encoder,
        model: &Admitted<ModelFiles>,
        tensors: &'a TensorFile,
    ) -> Result<Vec<(Slot, TensorView<'a>)>, ModelError> {
        let find = |name: &str| self.find(tensors, name);
        fill(self.slots(encoder), model, tensors, find, |name| self.ignores(encoder, name))
    }

    /// The tensor of that name. In a folder its prefix may be missing or there, and old files say `gamma` and `beta` for a
    /// norm's weight and bias.
    fn find<'a>(self, tensors: &'a TensorFile, name: &str) -> Option<TensorView<'a>> {
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
    fn ignores(self, encoder: &Encoder, name: &str) -> bool {
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
