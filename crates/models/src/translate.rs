//! A stored model in another layout, tensor by tensor: what writes a model anew without loading it.

use std::ops::Range;

use tsumugi_files::{Admitted, FilesError, ModelFiles, TensorFile, TensorView, read_f32_at};

use crate::slots::{Layout, RowOrder, Slot, filled_slots, slots};
use crate::{Decoder, DecoderSpec, ModelError, read_layout, read_spec};

/// Numbers of a piece, about.
const PIECE_NUMBERS: usize = 1 << 16;

/// The tensors of a layout, each made of those that the files of a model hold. No numbers are kept.
pub struct Translation<'a> {
    spec: DecoderSpec,
    from: Vec<(Slot, TensorView<'a>)>,
    to: Vec<Slot>,
}

impl<'a> Translation<'a> {
    /// Of a model and its tensors, which are all found and of the right shapes.
    pub fn new(model: &Admitted<ModelFiles>, tensors: &'a TensorFile, to: Layout) -> Result<Self, ModelError> {
        let (_, spec) = read_spec(model)?;
        let decoder = Decoder::described(spec.clone());
        let from = filled_slots(&decoder, read_layout(model)?, model, tensors)?;
        Ok(Self { to: slots(&decoder, to), spec, from })
    }

    /// What the model is.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The tensors that there will be: names and shapes.
    pub fn slots(&self) -> &[Slot] {
        &self.to
    }

    /// The stored tensor that has the same numbers in the same order, where there is one.
    pub fn same(&self, index: usize) -> Option<&TensorView<'a>> {
        let layout = |slot: &Slot| {
            (slot.parameter, slot.rows.clone(), slot.first, slot.order, slot.transposed, slot.added.to_bits())
        };
        let to = layout(&self.to[index]);
        self.from.iter().find(|(from, _)| layout(from) == to).map(|(_, tensor)| tensor)
    }

    fn parts(&self, index: usize) -> impl Iterator<Item = &(Slot, TensorView<'a>)> {
        let to = &self.to[index];
        let overlaps = |from: &Slot| from.rows.start < to.rows.end && to.rows.start < from.rows.end;
        self.from.iter().filter(move |(from, _)| from.parameter == to.parameter && overlaps(from))
    }

    /// The pieces in which a tensor can be read: rows, counted from its first. One after the other they are its numbers
    /// in the order in which they are stored.
    pub fn pieces(&self, index: usize) -> Vec<Range<usize>> {
        let to = &self.to[index];
        let rows = to.rows.len();
        let whole = to.transposed
            || matches!(to.order, RowOrder::Groups { .. })
            || self.parts(index).any(|(from, _)| from.transposed);
        let step = match to.order {
            _ if whole => rows,
            RowOrder::Same | RowOrder::Groups { .. } => PIECE_NUMBERS.div_ceil(to.columns),
            RowOrder::Pairs(width) => PIECE_NUMBERS.div_ceil(to.columns).next_multiple_of(width),
        };
        (0..rows).step_by(step.max(1)).map(|begin| begin..(begin + step).min(rows)).collect()
    }

    /// The numbers of a piece, as they are to be stored.
    pub fn read(&self, index: usize, piece: &Range<usize>) -> Result<Vec<f32>, FilesError> {
        let to = &self.to[index];
        let mut values = vec![0.0; piece.len() * to.columns];
        if let Some(tensor) = self.same(index) {
            read_f32_at(tensor, piece.start * to.columns, &mut values)?;
            return Ok(values);
        }
        let wanted = to.rows.start + piece.start..to.rows.start + piece.end;
        for (from, tensor) in self.parts(index) {
            let rows = wanted.start.max(from.rows.start)..wanted.end.min(from.rows.end);
            if rows.is_empty() {
                continue;
            }
            let local = rows.start - from.rows.start..rows.end - from.rows.start;
            let begin = (rows.start - wanted.start) * to.columns;
            from.widen(tensor, local, &mut values[begin..][..rows.len() * to.columns])?;
        }
        Ok(to.store(&values))
    }
}
