//! A stored model in another layout, tensor by tensor: what writes a model anew without loading it.

use std::ops::Range;

use tsumugi_files::{Admitted, ElementType, FilesError, ModelFiles, TensorFile, TensorView, read_f32_at};

use crate::bert::{self, EncoderLayout};
use crate::slots::{Layout, RowOrder, Slot, by_tensor, filled_slots, slots};
use crate::{Decoder, Encoder, ModelError, read_layout, read_spec};

/// Numbers of a piece, about.
const PIECE_NUMBERS: usize = 1 << 16;

/// The tensors of a layout, each made of those that the files of a model hold. No numbers are kept.
pub struct Translation<'a> {
    /// By parameter, and by the rows that they fill.
    from: Vec<(Slot, TensorView<'a>)>,
    to: Vec<NewTensor>,
}

/// A tensor that there will be.
pub struct NewTensor {
    slots: Vec<Slot>,
}

impl NewTensor {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.slots[0].tensor
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.slots[0].shape
    }
}

/// Rows of a tensor that are read at once.
pub struct Piece<'a> {
    slot: &'a Slot,
    /// Counted from the first of the slot.
    rows: Range<usize>,
}

impl Piece<'_> {
    /// How many numbers it has.
    pub fn numbers(&self) -> usize {
        self.rows.len() * self.slot.columns
    }
}

impl<'a> Translation<'a> {
    /// Of a decoder and its tensors, which are all found and of the right shapes.
    pub fn new(model: &Admitted<ModelFiles>, tensors: &'a TensorFile, to: Layout) -> Result<Self, ModelError> {
        let (_, spec) = read_spec(model)?;
        let decoder = Decoder::described(spec);
        let from = filled_slots(&decoder, read_layout(model)?, model, tensors)?;
        Ok(Self::between(from, &slots(&decoder, to)))
    }

    /// The same of an encoder.
    pub fn of_encoder(
        model: &Admitted<ModelFiles>,
        tensors: &'a TensorFile,
        to: EncoderLayout,
    ) -> Result<Self, ModelError> {
        let (spec, layout) = bert::read(model)?;
        let encoder = Encoder::described(spec);
        let from = layout.filled_slots(&encoder, model, tensors)?;
        Ok(Self::between(from, &to.slots(&encoder)))
    }

    fn between(mut from: Vec<(Slot, TensorView<'a>)>, to: &[Slot]) -> Self {
        from.sort_by_key(|(slot, _)| (slot.parameter, slot.rows.start));
        Self { from, to: by_tensor(to).map(|slots| NewTensor { slots: slots.to_vec() }).collect() }
    }

    /// The tensors that there will be.
    pub fn tensors(&self) -> &[NewTensor] {
        &self.to
    }

    /// The stored rows that the slot is made of: slots and tensors that overlap it.
    fn parts(&self, to: &Slot) -> &[(Slot, TensorView<'a>)] {
        let end = |from: &Slot| (from.parameter, from.rows.end);
        let first = self.from.partition_point(|(from, _)| end(from) <= (to.parameter, to.rows.start));
        let count = self.from[first..]
            .iter()
            .take_while(|(from, _)| from.parameter == to.parameter && from.rows.start < to.rows.end)
            .count();
        &self.from[first..first + count]
    }

    /// The stored rows that have the same numbers in the same order, where there are such.
    fn same(&self, to: &Slot) -> Option<&(Slot, TensorView<'a>)> {
        let layout = |slot: &Slot| (slot.rows.clone(), slot.order, slot.transposed, slot.added.to_bits());
        self.parts(to).first().filter(|(from, _)| layout(from) == layout(to))
    }

    /// The pieces in which a tensor can be read. One after the other they are its numbers in the order in which they are
    /// stored.
    pub fn pieces(&self, index: usize) -> Vec<Piece<'_>> {
        self.to[index].slots.iter().flat_map(|slot| self.pieces_of(slot)).collect()
    }

    fn pieces_of<'b>(&self, to: &'b Slot) -> impl Iterator<Item = Piece<'b>> {
        let rows = to.rows.len();
        let whole = to.transposed
            || matches!(to.order, RowOrder::Groups { .. })
            || self.parts(to).iter().any(|(from, _)| from.transposed);
        let step = match to.order {
            _ if whole => rows,
            RowOrder::Same | RowOrder::Groups { .. } => PIECE_NUMBERS.div_ceil(to.columns),
            RowOrder::Pairs(width) => PIECE_NUMBERS.div_ceil(to.columns).next_multiple_of(width),
        };
        let step = step.max(1);
        (0..rows).step_by(step).map(move |begin| Piece { slot: to, rows: begin..(begin + step).min(rows) })
    }

    /// The numbers of a piece, as they are to be stored.
    pub fn read(&self, piece: &Piece<'_>) -> Result<Vec<f32>, FilesError> {
        let to = piece.slot;
        let mut values = vec![0.0; piece.numbers()];
        if let Some((from, tensor)) = self.same(to) {
            read_f32_at(tensor, (from.first + piece.rows.start) * to.columns, &mut values)?;
            return Ok(values);
        }
        let wanted = to.rows.start + piece.rows.start..to.rows.start + piece.rows.end;
        for (from, tensor) in self.parts(to) {
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

    /// The bytes of a piece, where it is stored in the order and the type in which it is wanted already.
    pub fn stored_bytes(&self, piece: &Piece<'_>, wanted: ElementType) -> Option<&'a [u8]> {
        let (from, tensor) = self.same(piece.slot).filter(|(_, tensor)| tensor.element_type == wanted)?;
        let row_bytes = tensor.bytes.len() / (tensor.element_count() / from.columns);
        tensor.bytes.get((from.first + piece.rows.start) * row_bytes..(from.first + piece.rows.end) * row_bytes)
    }
}
