//! A decoder to a Hugging Face folder: `config.json` and `model.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tsumugi_base::io::write_atomic;
use tsumugi_files::{ElementType, FilesError, TensorView, write_model};

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
        let slots = slots(self, Layout::Folder(family));
        let bytes: Vec<Vec<u8>> = slots.iter().map(|slot| self.bytes_of(slot)).collect();
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
        let mut text = serde_json::to_string_pretty(&config).unwrap_or_default();
        text.push('\n');
        write_atomic(&folder.join("config.json"), text.as_bytes()).map_err(FilesError::from)?;
        Ok(())
    }

    fn bytes_of(&self, slot: &Slot) -> Vec<u8> {
        self.stored_values(slot).iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The numbers of a slot in the order in which its tensor is stored: what [`Decoder::load`] reads.
    ///
    /// # Panics
    /// When the parameters were packed for serving.
    pub fn stored_values(&self, slot: &Slot) -> Vec<f32> {
        let values = &self.parameters.values(slot.parameter);
        let values = &values[slot.rows.start * slot.columns..slot.rows.end * slot.columns];
        slot.store(values)
    }
}
