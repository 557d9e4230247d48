//! Where the numbers of each parameter stand in a checkpoint, of either format: what every loader and writer walks.

use std::collections::BTreeSet;
use std::ops::Range;

use tsumugi_files::{Admitted, FilesError, ModelFiles, TensorFile, TensorView, read_f32_at, read_f32_into};
use tsumugi_tensor::{ParameterId, Parameters};

use crate::family::{Family, Place, Rename, rename};
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
    /// Heads of `width` rows, group by group: `queries` heads of queries, then the key and the value that they share. Ours
    /// are all queries, all keys, all values.
    Groups {
        /// Groups.
        groups: usize,
        /// Query heads in each.
        queries: usize,
        /// Rows of a head.
        width: usize,
    },
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
            Self::Groups { groups, queries, width } => {
                let (head, in_head) = (row / width, row % width);
                let (group, in_group) = match head.checked_sub(groups * queries) {
                    None => (head / queries, head % queries),
                    Some(head) => (head % groups, queries + head / groups),
                };
                (group * (queries + 2) + in_group) * width + in_head
            }
        }
    }
}

/// Rows of one of our parameters, and the stored tensor that fills them.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// The tensor's name in the checkpoint.
    pub tensor: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Our parameter.
    pub parameter: ParameterId,
    /// The rows of it that the tensor fills. A row is what lies along the last axis, or a number where there is one axis.
    pub rows: Range<usize>,
    /// Numbers of a row.
    pub columns: usize,
    /// The stored row from which on they are: a tensor may hold the rows of several slots, one of each expert.
    pub first: usize,
    /// Which row from there on each of them is.
    pub order: RowOrder,
    /// Whether the tensor has its axes swapped.
    pub transposed: bool,
    /// How much larger the stored numbers are than ours: norms whose weights stand for one more may be stored with it.
    pub added: f32,
}

impl Slot {
    /// Rows `rows` of a parameter, stored as they are.
    pub(crate) fn plain(tensor: String, parameters: &Parameters, parameter: ParameterId, rows: Range<usize>) -> Self {
        let mut shape = parameters.get(parameter).shape.clone();
        shape[0] = rows.len();
        let columns = shape[1..].iter().product();
        let order = RowOrder::Same;
        Self { tensor, shape, parameter, rows, columns, first: 0, order, transposed: false, added: 0.0 }
    }

    /// The stored row of the slot's `row`.
    pub fn stored(&self, row: usize) -> usize {
        self.first + self.order.stored(row)
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
            RowOrder::Same => read_f32_at(tensor, self.stored(rows.start) * self.columns, to)?,
            _ => rows
                .zip(to.chunks_exact_mut(self.columns))
                .try_for_each(|(row, values)| read_f32_at(tensor, self.stored(row) * self.columns, values))?,
        }
        if self.added != 0.0 {
            to.iter_mut().for_each(|value| *value -= self.added);
        }
        Ok(())
    }

    /// The other way: numbers of ours in the order in which they are stored. Rows of the slot from its first, or from the
    /// first of a head; of a transposed one all.
    pub(crate) fn store(&self, values: &[f32]) -> Vec<f32> {
        let rows = values.len() / self.columns;
        let mut stored = vec![0.0; values.len()];
        for (row, values) in values.chunks_exact(self.columns).enumerate() {
            if self.transposed {
                for (column, value) in values.iter().enumerate() {
                    stored[column * rows + row] = *value;
                }
            } else {
                stored[self.order.stored(row) * self.columns..][..self.columns].copy_from_slice(values);
            }
        }
        if self.added != 0.0 {
            stored.iter_mut().for_each(|value| *value += self.added);
        }
        stored
    }
}

/// How a checkpoint names and lays out its tensors.
#[derive(Clone, Copy)]
pub enum Layout {
    /// A Hugging Face folder of a family.
    Folder(&'static dyn Family),
    /// The same with all experts of a layer in one tensor, as `transformers` 5 has them in memory and writes them where it
    /// is asked not to return to the published names. It is read, and not written.
    FusedExperts(&'static dyn Family),
    /// A GGUF file of an architecture.
    Gguf(&'static Architecture),
}

impl Layout {
    /// Of a folder with these tensors.
    pub(crate) fn of_folder(family: &'static dyn Family, tensors: &TensorFile) -> Self {
        match tensors.names().any(|name| name.ends_with(FUSED_GATE_UP)) {
            true => Self::FusedExperts(family),
            false => Self::Folder(family),
        }
    }

    fn names(self) -> Vec<Rename> {
        match self {
            Self::Folder(family) => family.names().to_vec(),
            Self::FusedExperts(family) => {
                let others = family.names().iter().filter(|name| !name.ours.contains(EXPERTS));
                others.chain(FUSED_EXPERTS).copied().collect()
            }
            Self::Gguf(architecture) => architecture.names(),
        }
    }

    fn order(self, place: Place, spec: &DecoderSpec) -> RowOrder {
        let width = spec.head_width;
        match (self, place) {
            (Self::Gguf(architecture), Place::Query | Place::Key) if architecture.pairs => RowOrder::Pairs(width),
            (_, Place::Groups) => {
                RowOrder::Groups { groups: spec.key_heads, queries: spec.heads / spec.key_heads, width }
            }
            _ => RowOrder::Same,
        }
    }

    fn added(self, parameter: &str) -> f32 {
        match self {
            Self::Gguf(architecture) if architecture.norms_with_one && parameter.ends_with("norm.weight") => 1.0,
            _ => 0.0,
        }
    }

    /// Tensors that are no parameters.
    fn ignores(self, name: &str, spec: &DecoderSpec) -> bool {
        match self {
            Self::Folder(family) | Self::FusedExperts(family) => {
                family.ignored(name) || spec.tied && name == "lm_head.weight" // a repeated head
            }
            Self::Gguf(architecture) => architecture.ignores(name),
        }
    }

    /// The tensor of that name, or of the name without the prefix that some checkpoints leave out.
    fn find<'a>(self, tensors: &'a TensorFile, name: &str) -> Option<TensorView<'a>> {
        let short = || match self {
            Self::Folder(family) | Self::FusedExperts(family) if !family.optional_prefix().is_empty() => {
                name.strip_prefix(family.optional_prefix())
            }
            _ => None,
        };
        tensors.get(name).or_else(|| tensors.get(short()?))
    }
}

/// The rows of a place, in a matrix of so many.
fn rows_of(place: Place, spec: &DecoderSpec, rows: usize) -> Range<usize> {
    let (query, key) = (spec.heads * spec.head_width, spec.key_heads * spec.head_width);
    let (first, rows) = match place {
        Place::Whole | Place::Transposed | Place::Groups => (0, rows),
        Place::Query => (0, query),
        Place::Key => (query, key),
        Place::Value => (query + key, key),
        Place::Gate => (0, rows / 2),
        Place::Up => (rows / 2, rows / 2),
    };
    first..first + rows
}

fn slot(decoder: &Decoder, layout: Layout, name: &Rename, layer: usize, expert: usize) -> Option<Slot> {
    let fill = |template: &str| template.replace("{}", &layer.to_string()).replace(ONE_EXPERT, &expert.to_string());
    let parameter = decoder.parameters.find(&fill(name.ours))?;
    // Rows of the parameter, or of each of its experts.
    let (rows, columns, experts) = match decoder.parameters.get(parameter).shape[..] {
        [rows] => (rows, 1, 1),
        [rows, columns] => (rows, columns, 1),
        [experts, rows, columns] => (rows, columns, experts),
        _ => return None,
    };
    let in_matrix = rows_of(name.place, &decoder.spec, rows);
    let count = in_matrix.len();
    let transposed = name.place == Place::Transposed;
    let is_stack = decoder.parameters.get(parameter).shape.len() == 3;
    let holds_all = is_stack && !name.outside.contains(ONE_EXPERT);
    let shape = match decoder.parameters.get(parameter).shape.len() {
        1 => vec![count],
        _ if holds_all => vec![experts, count, columns],
        _ if transposed => vec![columns, count],
        _ => vec![count, columns],
    };
    Some(Slot {
        tensor: fill(name.outside),
        shape,
        parameter,
        rows: expert * rows + in_matrix.start..expert * rows + in_matrix.end,
        columns,
        first: if holds_all { expert * count } else { 0 },
        order: layout.order(name.place, &decoder.spec),
        transposed,
        added: layout.added(name.ours),
    })
}

/// What stands for the expert in the name of a tensor that holds one.
const ONE_EXPERT: &str = "{e}";

/// In the names of our parameters of experts.
const EXPERTS: &str = ".experts.";

/// What tells that a folder has all experts of a layer in one tensor.
const FUSED_GATE_UP: &str = ".mlp.experts.gate_up_proj";

/// The experts of every family in [`Layout::FusedExperts`].
const FUSED_EXPERTS: &[Rename] = &[
    rename("model.layers.{}.mlp.gate.weight", "layers.{}.experts.router.weight", Place::Whole),
    rename("model.layers.{}.mlp.experts.gate_up_proj", "layers.{}.experts.gate_up.weight", Place::Whole),
    rename("model.layers.{}.mlp.experts.down_proj", "layers.{}.experts.down.weight", Place::Whole),
];

/// Slots tensor by tensor: those of one tensor, in the order in which their rows are stored.
pub fn by_tensor(slots: &[Slot]) -> impl Iterator<Item = &[Slot]> {
    slots.chunk_by(|one, next| one.tensor == next.tensor)
}

/// Every slot of a decoder, in the order of the layout's names; those of one tensor follow each other.
pub fn slots(decoder: &Decoder, layout: Layout) -> Vec<Slot> {
    let names = layout.names();
    let (per_layer, once): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.outside.contains("{}"));
    let mut slots: Vec<Slot> = once.into_iter().filter_map(|name| slot(decoder, layout, name, 0, 0)).collect();
    for layer in 0..decoder.spec.layers {
        for name in &per_layer {
            let of_experts = name.ours.contains(EXPERTS) && !name.ours.contains(".router.");
            let experts = decoder.spec.experts.filter(|_| of_experts).map_or(1, |experts| experts.count);
            slots.extend((0..experts).filter_map(|expert| slot(decoder, layout, name, layer, expert)));
        }
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
        // Some converters give a matrix of one row as a vector.
        let trimmed = |shape: &[usize]| shape[shape.iter().take_while(|&&rows| rows == 1).count()..].to_vec();
        if trimmed(tensor.shape) != trimmed(&slot.shape) {
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

    #[test]
    fn groups_are_queries_with_their_key_and_value() {
        // numpy: for two groups of three queries, heads of two rows, our heads are
        // arange(20).reshape(2, 5, 2)[:, :3], then [:, 3], then [:, 4].
        let stored_by_ours = [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 6, 7, 16, 17, 8, 9, 18, 19];
        let order = RowOrder::Groups { groups: 2, queries: 3, width: 2 };
        assert_eq!((0..20).map(|row| order.stored(row)).collect::<Vec<_>>(), stored_by_ours);
    }
}
