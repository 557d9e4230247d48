//! A decoder from and to a Hugging Face folder: `config.json` and `model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use tsumugi_base::io::write_atomic;
use tsumugi_files::{
    Admitted, ElementType, FilesError, ModelFolder, TensorFile, TensorView, read_f32_into, write_model,
};
use tsumugi_tensor::ParameterId;

use crate::family::{self, Family, Place, Rename};
use crate::hf_config::ConfigReader;
use crate::{Decoder, DecoderSpec, ModelError, Position};

/// Largest shard that is written, as `transformers` has it.
const SHARD_BYTES_MAX: u64 = 5_000_000_000;

/// The part of a parameter that a checkpoint's tensor fills.
struct Slot {
    outside: String,
    id: ParameterId,
    /// Shape in the checkpoint.
    shape: Vec<usize>,
    /// First number of our parameter.
    offset: usize,
    transposed: bool,
}

/// First row and rows of a place, in a parameter with so many rows.
fn rows_of(place: Place, spec: &DecoderSpec, rows: usize) -> (usize, usize) {
    let (query, key) = (spec.heads * spec.head_width, spec.key_heads * spec.head_width);
    match place {
        Place::Whole | Place::Transposed => (0, rows),
        Place::Query => (0, query),
        Place::Key => (query, key),
        Place::Value => (query + key, key),
        Place::Gate => (0, rows / 2),
        Place::Up => (rows / 2, rows / 2),
    }
}

fn slot(decoder: &Decoder, name: &Rename, layer: Option<usize>) -> Option<Slot> {
    let fill = |template: &str| match layer {
        Some(layer) => template.replace("{}", &layer.to_string()),
        None => template.to_owned(),
    };
    let id = decoder.parameters.find(&fill(name.ours))?;
    let parameter = decoder.parameters.get(id);
    let (first, rows) = rows_of(name.place, &decoder.spec, parameter.shape[0]);
    let columns: usize = parameter.shape[1..].iter().product();
    let mut shape = parameter.shape.clone();
    shape[0] = rows;
    let transposed = name.place == Place::Transposed;
    if transposed {
        shape.reverse();
    }
    Some(Slot { outside: fill(name.outside), id, shape, offset: first * columns, transposed })
}

/// Every tensor of the checkpoint, in the family's order.
fn slots(decoder: &Decoder, family: &dyn Family) -> Vec<Slot> {
    let mut slots = Vec::new();
    let per_layer = |name: &&Rename| name.outside.contains("{}");
    slots.extend(family.names().iter().filter(|name| !per_layer(name)).filter_map(|name| slot(decoder, name, None)));
    for layer in 0..decoder.spec.layers {
        slots.extend(family.names().iter().filter(per_layer).filter_map(|name| slot(decoder, name, Some(layer))));
    }
    slots
}

fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// Reads `config.json`: the family and the spec.
pub fn read_spec(folder: &Admitted<ModelFolder>) -> Result<(&'static dyn Family, DecoderSpec), ModelError> {
    let file = folder.path().join("config.json");
    let text = folder.text("config.json")?.ok_or_else(|| ModelError::NoConfig { folder: folder.path().to_owned() })?;
    let problem = |problem: String| ModelError::Config { file: file.clone(), problem };
    let config: Value = serde_json::from_str(text).map_err(|error| problem(format!("not JSON: {error}")))?;
    let map = config.as_object().ok_or_else(|| problem("not a JSON object".into()))?;
    let reader = ConfigReader::new(map);
    let model_type = reader.word_or("model_type", "").map_err(|error| problem(error.0))?;
    let family = family::find(model_type).ok_or_else(|| {
        let known: Vec<_> = crate::ALL.iter().map(|family| family.name()).collect();
        ModelError::UnknownFamily { file: file.clone(), model_type: model_type.into(), known: known.join(", ") }
    })?;
    let spec = family.spec(&reader).map_err(|error| problem(error.0))?;
    Ok((family, spec))
}

impl Decoder {
    /// Loads a folder; weights are widened to float32. Tied heads that a file repeats are not read twice.
    pub fn load(folder: &Admitted<ModelFolder>) -> Result<Self, ModelError> {
        let (family, spec) = read_spec(folder)?;
        let tensors = folder.tensors()?;
        check_before_allocating(folder, &spec, &tensors)?;
        let mut decoder = Self::new(spec);
        let slots = slots(&decoder, family);
        let mut used = BTreeSet::new();
        for slot in &slots {
            let tensor = find(&tensors, family, &slot.outside).ok_or_else(|| ModelError::MissingTensor {
                folder: folder.path().to_owned(),
                tensor: slot.outside.clone(),
            })?;
            used.insert(tensor.name.to_owned());
            decoder.fill(folder.path(), slot, &tensor)?;
        }
        let repeated_head = |name: &str| decoder.spec.tied && name == "lm_head.weight";
        let unexpected: Vec<&str> = tensors
            .names()
            .filter(|name| !used.contains(*name) && !family.ignored(name) && !repeated_head(name))
            .collect();
        if let Some(first) = unexpected.first() {
            let (first, count) = ((*first).to_owned(), unexpected.len());
            return Err(ModelError::UnexpectedTensors { folder: folder.path().to_owned(), first, count });
        }
        Ok(decoder)
    }

    fn fill(&mut self, folder: &Path, slot: &Slot, tensor: &TensorView<'_>) -> Result<(), ModelError> {
        if tensor.shape != slot.shape {
            return Err(ModelError::ShapeMismatch {
                folder: folder.to_owned(),
                tensor: tensor.name.to_owned(),
                found: tensor.shape.to_vec(),
                expected: slot.shape.clone(),
            });
        }
        let len: usize = slot.shape.iter().product();
        let to = &mut self.parameters.values_mut(slot.id)[slot.offset..slot.offset + len];
        read_f32_into(tensor, to)?;
        if slot.transposed {
            let values = transpose(to, slot.shape[0], slot.shape[1]);
            to.copy_from_slice(&values);
        }
        Ok(())
    }

    /// Writes `config.json` and the weights in float32; `extra` keys are added to the config (token ids).
    ///
    /// # Panics
    /// When the parameters were packed for serving.
    pub fn save(&self, folder: &Path, extra: &BTreeMap<String, Value>) -> Result<(), ModelError> {
        let family = family::find(self.spec.family).unwrap_or(crate::ALL[0]);
        let cannot = |what: String| ModelError::CannotSave { family: family.name(), what };
        let mut config = family.config(&self.spec).map_err(cannot)?;
        if let Some(map) = config.as_object_mut() {
            map.extend(extra.clone());
        }
        let slots = slots(self, family);
        let bytes: Vec<Vec<u8>> = slots.iter().map(|slot| self.bytes_of(slot)).collect();
        let views: Vec<TensorView<'_>> = slots
            .iter()
            .zip(&bytes)
            .map(|(slot, bytes)| TensorView {
                name: &slot.outside,
                element_type: ElementType::F32,
                shape: &slot.shape,
                bytes,
            })
            .collect();
        write_model(folder, &views, &BTreeMap::new(), SHARD_BYTES_MAX)?;
        let mut text = serde_json::to_string_pretty(&config).unwrap_or_default();
        text.push('\n');
        write_atomic(&folder.join("config.json"), text.as_bytes()).map_err(FilesError::from)?;
        Ok(())
    }

    fn bytes_of(&self, slot: &Slot) -> Vec<u8> {
        let len: usize = slot.shape.iter().product();
        let values = &self.parameters.values(slot.id)[slot.offset..slot.offset + len];
        let little_endian = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        if slot.transposed {
            little_endian(&transpose(values, slot.shape[1], slot.shape[0]))
        } else {
            little_endian(values)
        }
    }
}

fn find<'a>(tensors: &'a TensorFile, family: &dyn Family, name: &str) -> Option<TensorView<'a>> {
    tensors.get(name).or_else(|| {
        let short = name.strip_prefix(family.optional_prefix()).filter(|_| !family.optional_prefix().is_empty())?;
        tensors.get(short)
    })
}

/// Numbers of a rotary table that a config alone may ask for (1 GiB): the weights' size does not bound the context.
const ROTARY_NUMBERS_MAX: u128 = 1 << 28;

/// What is allocated before the weights are looked at one by one, whatever their size: room for a named error.
const SLACK: u128 = 1 << 20;

/// A config may promise more than fits in memory: the weights' size in the file bounds what is allocated.
fn check_before_allocating(
    folder: &Admitted<ModelFolder>,
    spec: &DecoderSpec,
    tensors: &TensorFile,
) -> Result<(), ModelError> {
    let problem = |problem: String| Err(ModelError::Config { file: folder.path().join("config.json"), problem });
    let product = |sizes: &[usize]| sizes.iter().fold(1u128, |product, &size| product.saturating_mul(size as u128));
    let found = tensors.distinct_elements();
    let promised = spec.parameters_at_least();
    if promised > found.saturating_mul(2).saturating_add(SLACK) {
        return problem(format!("it describes {promised} weights, but the weight files hold {found}"));
    }
    let rotary = product(&[spec.context, spec.head_width]);
    if spec.position != Position::Learned && rotary > ROTARY_NUMBERS_MAX {
        let (context, width) = (spec.context, spec.head_width);
        return problem(format!(
            "`max_position_embeddings` is {context}, too many for heads of width {width}: the largest table of \
             positions has {ROTARY_NUMBERS_MAX} numbers"
        ));
    }
    Ok(())
}
