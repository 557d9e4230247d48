//! Where the numbers of each parameter stand in a checkpoint, of either format: what every loader and writer walks.

use std::collections::BTreeSet;
use std::ops::Range;

use tsumugi_files::{Admitted, FilesError, ModelFiles, TensorFile, TensorView, read_f32_at, read_f32_into};
use tsumugi_tensor::{ParameterId, Parameters};

use crate::family::{Family, Place, Rename};
use crate::gguf::Architecture;
use crate::{Decoder, DecoderSpec, ModelError};

/// Which row of a stored tensor a row of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// The same.
    Same,
    /// Heads of so many rows. Stored side by side are the two rows that are rotated together; ours are half a head apart
    /// (the two layouts of rotary positions; llama.cpp, `convert_hf_to_gguf.py`, `permute`).
    Pairs(usize),
}

impl RowOrder {
    /// The stored row of our `row`, both counted from the first of the slot.
    pub fn stored(self, row: usize) -> usize {
        match self {
            Self::Same => row,
            Self::Pairs(width) => {
                let (head, in_head) = (row / width, row % width);
                let (half, pair) = (in_head / (width / 2), in_head % (width / 2));
                head * width + 2 * pair + half
            }
        }
    }
}

/// Rows of one of our parameters, and the stored tensor that fills them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Our parameter.
    pub parameter: ParameterId,
    /// The rows of it that the tensor fills. A row is what one index of the first axis selects.
    pub rows: Range<usize>,
    /// Numbers of a row.
    pub columns: usize,
    /// Which stored row each of them is.
    pub order: RowOrder,
    /// Whether the tensor has its axes swapped.
    pub transposed: bool,
}

impl Slot {
    /// Rows `rows` of a parameter, stored as they are.
    pub(crate) fn plain(tensor: String, parameters: &Parameters, parameter: ParameterId, rows: Range<usize>) -> Self {
        let mut shape = parameters.get(parameter).shape.clone();
        shape[0] = rows.len();
        let columns = shape[1..].iter().product();
        Self { tensor, shape, parameter, rows, columns, order: RowOrder::Same, transposed: false }
    }

    /// Widens the rows `rows` of the slot, counted from its first, into `to`.
    pub(crate) fn widen(&self, tensor: &TensorView<'_>, rows: Range<usize>, to: &mut [f32]) -> Result<(), FilesError> {
        if self.transposed {
            let mut stored = vec![0.0; tensor.element_count()];
            read_f32_into(tensor, &mut stored)?;
            let stored_columns = self.rows.len();
            for (row, values) in rows.zip(to.chunks_exact_mut(self.columns)) {
                for (column, value) in values.iter_mut().enumerate() {
                    *value = stored[column * stored_columns + row];
                }
            }
            return Ok(());
        }
        match self.order {
            RowOrder::Same => read_f32_at(tensor, rows.start * self.columns, to),
            order => rows
                .zip(to.chunks_exact_mut(self.columns))
                .try_for_each(|(row, values)| read_f32_at(tensor, order.stored(row) * self.columns, values)),
        }
    }
}

/// How a checkpoint names and lays out its tensors.
#[derive(Clone, Copy)]
pub enum Layout {
    /// A Hugging Face folder of a family.
    Folder(&'static dyn Family),
    /// A GGUF file of an architecture.
    Gguf(&'static Architecture),
}

impl Layout {
    fn names(self) -> Vec<Rename> {
        match self {
            Self::Folder(family) => family.names().to_vec(),
            Self::Gguf(architecture) => architecture.names(),
        }
    }

    fn order(self, place: Place, head_width: usize) -> RowOrder {
        match (self, place) {
            (Self::Gguf(architecture), Place::Query | Place::Key) if architecture.pairs => RowOrder::Pairs(head_width),
            _ => RowOrder::Same,
        }
    }

    /// Tensors that are no parameters.
    fn ignores(self, name: &str, spec: &DecoderSpec) -> bool {
        match self {
            Self::Folder(family) => family.ignored(name) || spec.tied && name == "lm_head.weight", // a repeated head
            Self::Gguf(architecture) => architecture.ignores(name),
        }
    }

    /// The tensor of that name, or of the name without the prefix that some checkpoints leave out.
    fn find<'a>(self, tensors: &'a TensorFile, name: &str) -> Option<TensorView<'a>> {
        let short = || match self {
            Self::Folder(family) if !family.optional_prefix().is_empty() => name.strip_prefix(family.optional_prefix()),
            _ => None,
        };
        tensors.get(name).or_else(|| tensors.get(short()?))
    }
}

/// First row and rows of a place, in a parameter with so many rows.
fn rows_of(place: Place, spec: &DecoderSpec, rows: usize) -> Range<usize> {
    let (query, key) = (spec.heads * spec.head_width, spec.key_heads * spec.head_width);
    let (first, rows) = match place {
        Place::Whole | Place::Transposed => (0, rows),
        Place::Query => (0, query),
        Place::Key => (query, key),
        Place::Value => (query + key, key),
        Place::Gate => (0, rows / 2),
        Place::Up => (rows / 2, rows / 2),
    };
    first..first + rows
}

fn slot(decoder: &Decoder, layout: Layout, name: &Rename, layer: Option<usize>) -> Option<Slot> {
    let fill = |template: &str| match layer {
        Some(layer) => template.replace("{}", &layer.to_string()),
        None => template.to_owned(),
    };
    let parameter = decoder.parameters.find(&fill(name.ours))?;
    let mut shape = decoder.parameters.get(parameter).shape.clone();
    let rows = rows_of(name.place, &decoder.spec, shape[0]);
    let columns = shape[1..].iter().product();
    shape[0] = rows.len();
    let transposed = name.place == Place::Transposed;
    if transposed {
        shape.reverse();
    }
    let order = layout.order(name.place, decoder.spec.head_width);
    Some(Slot { tensor: fill(name.outside), shape, parameter, rows, columns, order, transposed })
}

/// Every slot of a decoder, in the order of the layout's names.
pub fn slots(decoder: &Decoder, layout: Layout) -> Vec<Slot> {
    let names = layout.names();
    let (per_layer, once): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.outside.contains("{}"));
    let mut slots: Vec<Slot> = once.into_iter().filter_map(|name| slot(decoder, layout, name, None)).collect();
    for layer in 0..decoder.spec.layers {
        slots.extend(per_layer.iter().filter_map(|name| slot(decoder, layout, name, Some(layer))));
    }
    slots
}

/// Every slot of a decoder with the stored tensor that fills it, as [`fill`] has them.
pub fn filled_slots<'a>(
    decoder: &Decoder,
    layout: Layout,
    model: &Admitted<ModelFiles>,
    tensors: &'a TensorFile,
) -> Result<Vec<(Slot, TensorView<'a>)>, ModelError> {
    let find = |name: &str| layout.find(tensors, name);
    fill(slots(decoder, layout), model, tensors, find, |name| layout.ignores(name, &decoder.spec))
}

/// Slots with the stored tensors that fill them, undecoded, their names and shapes checked: `find` gives the tensor of a
/// name. A tensor that is there, fills no slot and is not one that `ignores` knows is an error too. [`TensorFile::mapped`]
/// gives the bytes of one with the file that holds them.
pub(crate) fn fill<'a>(
    slots: Vec<Slot>,
    model: &Admitted<ModelFiles>,
    tensors: &'a TensorFile,
    find: impl Fn(&str) -> Option<TensorView<'a>>,
    ignores: impl Fn(&str) -> bool,
) -> Result<Vec<(Slot, TensorView<'a>)>, ModelError> {
    let mut used = BTreeSet::new();
    let mut filled = Vec::new();
    for slot in slots {
        let Some(tensor) = find(&slot.tensor) else {
            return Err(ModelError::MissingTensor { model: model.path().to_owned(), tensor: slot.tensor });
        };
        if tensor.shape != slot.shape {
            return Err(ModelError::ShapeMismatch {
                model: model.path().to_owned(),
                tensor: tensor.name.to_owned(),
                found: tensor.shape.to_vec(),
                expected: slot.shape,
            });
        }
        used.insert(tensor.name);
        filled.push((slot, tensor));
    }
    let unexpected = || tensors.names().filter(|name| !used.contains(name) && !ignores(name));
    match unexpected().next() {
        None => Ok(filled),
        Some(first) => Err(ModelError::UnexpectedTensors {
            model: model.path().to_owned(),
            first: first.to_owned(),
            count: unexpected().count(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_the_halves_of_heads_interleaved() {
        // numpy: arange(12).reshape(2, 2, 3).swapaxes(1, 2).ravel() lists our row for each stored one.
        let ours_by_stored = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11];
        for (stored, ours) in ours_by_stored.into_iter().enumerate() {
            assert_eq!(RowOrder::Pairs(6).stored(ours), stored);
            assert_eq!(RowOrder::Same.stored(ours), ours);
        }
    }
}
