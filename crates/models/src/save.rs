//! A model to a Hugging Face folder: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tsumugi_base::io::write_atomic;
use tsumugi_files::{ElementType, FilesError, TensorView, write_model};
use tsumugi_tensor::Parameters;

use crate::slots::{Layout, Slot, slots};
use crate::{Decoder, ModelError, family};

/// Largest shard that is written, as `transformers` has it.
const SHARD_BYTES_MAX: u64 = 5_000_000_000;

impl Decoder {
    /// Writes `config.json` and the weights in float32; `extra` keys are added to the config (token ids).
    ///
    /// # Panics
    /// When the parameters were packed for serving.
    pub fn save(&self, folder: &Path, extra: &BTreeMap<String, Value>) -> Result<(), ModelError> {
        let family = family::find(self.spec.family).unwrap_or(crate::ALL[0]);
        let cannot = |what: String| ModelError::CannotSave { format: family.name(), what };
        let mut config = family.config(&self.spec).map_err(cannot)?;
        if let Some(map) = config.as_object_mut() {
            map.extend(extra.clone());
        }
        write_folder(folder, &config, &slots(self, Layout::Folder(family)), &self.parameters)
    }

    /// The numbers of a slot in the order in which its tensor is stored: what [`Decoder::load`] reads.
    ///
    /// # Panics
    /// When the parameters were packed for serving.
    pub fn stored_values(&self, slot: &Slot) -> Vec<f32> {
        stored_values(&self.parameters, slot)
    }
}

/// Writes a config and the parameters that fill the slots, in float32.
pub(crate) fn write_folder(
    folder: &Path,
    config: &Value,
    slots: &[Slot],
    parameters: &Parameters,
) -> Result<(), ModelError> {
    let bytes_of = |slot| stored_values(parameters, slot).into_iter().flat_map(f32::to_le_bytes).collect();
    let bytes: Vec<Vec<u8>> = slots.iter().map(bytes_of).collect();
    let views: Vec<TensorView<'_>> = slots
        .iter()
        .zip(&bytes)
        .map(|(slot, bytes)| TensorView {
            name: &slot.tensor,
            element_type: ElementType::F32,
            shape: &slot.shape,
            bytes,
        })
        .collect();
    write_model(folder, &views, &BTreeMap::new(), SHARD_BYTES_MAX)?;
    let mut text = serde_json::to_string_pretty(config).unwrap_or_default();
    text.push('\n');
    write_atomic(&folder.join("config.json"), text.as_bytes()).map_err(FilesError::from)?;
    Ok(())
}

/// The numbers of a slot in the order in which its tensor is stored.
pub(crate) fn stored_values(parameters: &Parameters, slot: &Slot) -> Vec<f32> {
    let values = parameters.values(slot.parameter);
    let values = &values[slot.rows.start * slot.columns..slot.rows.end * slot.columns];
    slot.store(values)
}
