//! A weight in tiles of 16 rows: packed once, or again whenever a product needs a tile.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::kind::{STEP, TILE_ROWS, TileLayout, WeightKind};
use crate::cpu::Cpu;
use crate::half::{from_bf16, from_f16};
use crate::kernels::Isa;
use crate::kernels::quantized::pack_tile;
use crate::memory::{Buffer, bytes_of_mut};

/// A weight `[rows, columns]` for products `x W^T`, or for looking up rows. Several pieces, each of one kind, stand one
/// below the other: files store queries, keys and values apart, and not always in one kind.
#[derive(Debug)]
pub struct QuantizedMatrix {
    columns: usize,
    pieces: Vec<Piece>,
}

/// Rows of one kind.
#[derive(Debug)]
pub struct Piece {
    /// How they are stored.
    pub kind: WeightKind,
    /// How many there are.
    pub rows: usize,
    /// Bytes of a tile of 16 rows.
    pub(crate) tile_bytes: usize,
    source: Source,
}

/// Where the tiles come from.
#[derive(Debug)]
enum Source {
    /// `[rows / 16]` tiles, the last one filled up with zeros.
    Packed(Buffer),
    /// Rows as the file has them, of so many bytes.
    Mapped(MappedRows, usize),
}

/// Rows as a file has them.
#[derive(Clone, Copy)]
pub struct StoredRows<'a> {
    /// How they are stored.
    pub kind: WeightKind,
    /// Row by row.
    pub bytes: &'a [u8],
    /// Which row of the file is row `i` of the weight.
    pub row_at: &'a (dyn Fn(usize) -> usize + Sync),
    /// Whether the file has the axes swapped, `[columns, rows]` (GPT-2's `Conv1D`): row `i` of the weight is its column `i`,
    /// and `row_at` is not asked. Only floating-point kinds.
    pub transposed: bool,
    /// Rows of the weight.
    pub rows: usize,
}

/// Rows that stay where the file has them.
pub struct MappedRows {
    /// How they are stored.
    pub kind: WeightKind,
    /// Row by row.
    pub bytes: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// Which row of the file is row `i` of the weight.
    pub row_at: Box<dyn Fn(usize) -> usize + Send + Sync>,
    /// As in [`StoredRows`].
    pub transposed: bool,
    /// Rows of the weight.
    pub rows: usize,
}

impl MappedRows {
    fn stored(&self) -> StoredRows<'_> {
        let &Self { kind, transposed, rows, .. } = self;
        StoredRows { kind, bytes: (*self.bytes).as_ref(), row_at: &*self.row_at, transposed, rows }
    }
}

impl fmt::Debug for MappedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedRows({} of {})", self.rows, self.kind.name())
    }
}

impl StoredRows<'_> {
    /// Fills a tile with the first of these rows; what there is no row for stays as it is.
    fn pack(&self, isa: Isa, row_bytes: usize, rows: Range<usize>, tile: &mut [u8]) {
        if self.transposed {
            return self.pack_transposed(rows, tile);
        }
        let mut lanes: [&[u8]; TILE_ROWS] = [&[]; TILE_ROWS];
        for (lane, row) in lanes.iter_mut().zip(rows) {
            *lane = &self.bytes[(self.row_at)(row) * row_bytes..][..row_bytes];
        }
        pack_tile(isa, self.kind, &lanes, tile);
    }

    /// In the file, as in the tile, what rows have in one column lies side by side.
    fn pack_transposed(&self, rows: Range<usize>, tile: &mut [u8]) {
        let bytes = self.kind.block_bytes();
        let (first, len) = (rows.start * bytes, rows.len().min(TILE_ROWS) * bytes);
        let columns = self.bytes.chunks_exact(self.rows * bytes);
        for (to, column) in tile.chunks_exact_mut(TILE_ROWS * bytes).zip(columns) {
            to[..len].copy_from_slice(&column[first..][..len]);
        }
    }
}

impl Piece {
    fn new(kind: WeightKind, columns: usize, rows: usize, source: impl FnOnce(usize, usize) -> Source) -> Self {
        let row_bytes = kind.row_bytes(columns).expect("whole blocks");
        let tile_bytes = kind.layout().map_or(TILE_ROWS * row_bytes, |layout| layout.tile_bytes(columns));
        Self { kind, rows, tile_bytes, source: source(row_bytes, tile_bytes) }
    }

    /// Tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Numbers of memory that [`Self::tile`] needs.
    pub(crate) fn tile_scratch(&self) -> usize {
        match self.source {
            Source::Packed(_) => 0,
            Source::Mapped(..) => self.tile_bytes / size_of::<f32>(),
        }
    }

    /// The bytes of one tile; `scratch` has as many numbers as [`Self::tile_scratch`] says.
    pub(crate) fn tile<'a>(&'a self, isa: Isa, index: usize, scratch: &'a mut [f32]) -> &'a [u8] {
        match &self.source {
            Source::Packed(tiles) => &tiles.as_bytes()[index * self.tile_bytes..][..self.tile_bytes],
            Source::Mapped(rows, row_bytes) => {
                let (first, tile) = (index * TILE_ROWS, bytes_of_mut(scratch));
                if first + TILE_ROWS > self.rows {
                    tile.fill(0);
                }
                rows.stored().pack(isa, *row_bytes, first..self.rows, tile);
                tile
            }
        }
    }

    fn row(&self, row: usize, to: &mut [f32]) {
        let mut scratch = vec![0.0; self.tile_scratch()];
        let (tile, lane) = match &self.source {
            Source::Packed(_) => (self.tile(Isa::PORTABLE, row / TILE_ROWS, &mut scratch), row % TILE_ROWS),
            // A tile of this row alone.
            Source::Mapped(rows, row_bytes) => {
                let tile = bytes_of_mut(&mut scratch);
                rows.stored().pack(Isa::PORTABLE, *row_bytes, row..row + 1, tile);
                (&*tile, 0)
            }
        };
        match self.kind.layout() {
            Some(layout) => read_lane(&layout, tile, lane, to),
            None => {
                let bytes = self.kind.block_bytes();
                for (column, to) in to.iter_mut().enumerate() {
                    *to = number(self.kind, &tile[(column * TILE_ROWS + lane) * bytes..][..bytes]);
                }
            }
        }
    }
}

fn number(kind: WeightKind, bytes: &[u8]) -> f32 {
    match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] if kind == WeightKind::F16 => from_f16(u16::from_le_bytes([a, b])),
        [a, b] => from_bf16(u16::from_le_bytes([a, b])),
        _ => unreachable!("a number has 2 or 4 bytes"),
    }
}

impl QuantizedMatrix {
    /// No rows yet, of `columns` numbers.
    pub fn new(columns: usize) -> Self {
        Self { columns, pieces: Vec::new() }
    }

    /// Whether rows of `columns` numbers of this kind can be packed: whole blocks, and whole steps.
    pub fn can_hold(kind: WeightKind, columns: usize) -> bool {
        columns > 0 && kind.row_bytes(columns).is_some() && (kind.layout().is_none() || columns.is_multiple_of(STEP))
    }

    /// Packs rows below those that are there.
    ///
    /// # Panics
    /// When [`Self::can_hold`] is false, a row is outside of the bytes, or a kind in blocks is transposed: mistakes of the
    /// caller.
    pub fn push(&mut self, cpu: &Cpu, stored: StoredRows<'_>) {
        let (kind, columns) = (stored.kind, self.columns);
        self.check(&stored);
        self.pieces.push(Piece::new(kind, columns, stored.rows, |row_bytes, tile_bytes| {
            let count = stored.rows.div_ceil(TILE_ROWS);
            let mut tiles = Buffer::zeroed(count * tile_bytes / size_of::<f32>());
            let per_task = (1_usize << 18).div_ceil(tile_bytes).max(1);
            cpu.pool().split([(&mut tiles, per_task * tile_bytes / size_of::<f32>())], |task, [chunk]| {
                for (index, tile) in bytes_of_mut(chunk).chunks_exact_mut(tile_bytes).enumerate() {
                    stored.pack(cpu.isa(), row_bytes, (task * per_task + index) * TILE_ROWS..stored.rows, tile);
                }
            });
            Source::Packed(tiles)
        }));
    }

    /// Rows below those that are there, which stay where they are: each product packs a tile when it needs it. The
    /// same bits, more slowly, and no memory.
    ///
    /// # Panics
    /// As [`Self::push`], but for a row outside of the bytes, which the first product that needs it finds.
    pub fn push_mapped(&mut self, mapped: MappedRows) {
        let (kind, columns) = (mapped.kind, self.columns);
        self.check(&mapped.stored());
        self.pieces.push(Piece::new(kind, columns, mapped.rows, |row_bytes, _| Source::Mapped(mapped, row_bytes)));
    }

    fn check(&self, stored: &StoredRows<'_>) {
        let (kind, columns) = (stored.kind, self.columns);
        assert!(Self::can_hold(kind, columns), "{columns} columns of {}", kind.name());
        if stored.transposed {
            assert!(kind.layout().is_none(), "blocks of {} lie along the rows", kind.name());
            assert_eq!(
                stored.bytes.len(),
                stored.rows * columns * kind.block_bytes(),
                "all columns of a transposed matrix"
            );
        }
    }

    /// Numbers of a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of all pieces.
    pub fn rows(&self) -> usize {
        self.pieces.iter().map(|piece| piece.rows).sum()
    }

    /// The pieces, from the top.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces that hold the rows `rows`.
    ///
    /// # Panics
    /// When the rows begin or end inside of a piece: a mistake of the caller.
    pub(crate) fn pieces_of(&self, rows: Range<usize>) -> &[Piece] {
        let piece_at = |row: usize| {
            let mut above = 0;
            let count = self.pieces.iter().take_while(|piece| {
                let whole = above + piece.rows <= row;
                above += if whole { piece.rows } else { 0 };
                whole
            });
            let count = count.count();
            assert_eq!(above, row, "row {row} of {} is not the first of a piece", self.rows());
            count
        };
        &self.pieces[piece_at(rows.start)..piece_at(rows.end)]
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| piece.tiles() * piece.tile_bytes).sum()
    }

    /// One row, as float32.
    ///
    /// # Panics
    /// When there is no such row: a mistake of the caller.
    pub fn copy_row(&self, row: usize, to: &mut [f32]) {
        assert_eq!(to.len(), self.columns);
        let mut below = row;
        for piece in &self.pieces {
            if below < piece.rows {
                return piece.row(below, to);
            }
            below -= piece.rows;
        }
        panic!("row {row} of {}", self.rows());
    }
}

/// Scale and offset of one row for a group of a step.
pub(crate) fn scale_and_offset(layout: &TileLayout, tile: &[u8], step: usize, group: usize, lane: usize) -> (f32, f32) {
    let (at, header) = layout.step_at(step);
    let scales = at + layout.code_bytes();
    let unit = |from: usize, index: usize| {
        let at = from + 2 * (index * TILE_ROWS + lane);
        from_f16(u16::from_le_bytes([tile[at], tile[at + 1]]))
    };
    if layout.super_steps == 1 {
        return (unit(scales, 0), if layout.minima { unit(scales, 1) } else { 0.0 });
    }
    let byte = |index: usize| tile[scales + index * TILE_ROWS + lane];
    let (scale, minimum) = match (layout.minima, layout.group) {
        (true, 16) => ((byte(group) & 15) as i8, byte(group) >> 4),
        (true, _) => (byte(0) as i8, byte(1)),
        (false, _) => (byte(group) as i8, 0),
    };
    let offset = if layout.minima { -(unit(header, 1) * f32::from(minimum)) } else { 0.0 };
    (unit(header, 0) * f32::from(scale), offset)
}

/// The code of one row and column of a step, without what it is too high by.
pub(crate) fn code_of(layout: &TileLayout, step: &[u8], column: usize, lane: usize) -> i32 {
    let byte = |register: usize| step[register * 64 + 4 * lane + column % 4];
    let (register, bit) = layout.low_at(column);
    let mut code = byte(register) >> bit & (u8::MAX >> (8 - layout.low_bits));
    if layout.high_bits > 0 {
        let (register, bit) = layout.high_at(column);
        code |= (byte(layout.low_bits + register) >> bit & (u8::MAX >> (8 - layout.high_bits))) << layout.low_bits;
    }
    i32::from(code) - if layout.zero_bits > 0 { 1 << layout.zero_bits } else { 0 }
}

fn read_lane(layout: &TileLayout, tile: &[u8], lane: usize, to: &mut [f32]) {
    for (step, to) in to.chunks_exact_mut(STEP).enumerate() {
        let codes = &tile[layout.step_at(step).0..];
        for (group, to) in to.chunks_exact_mut(layout.group).enumerate() {
            let (scale, offset) = scale_and_offset(layout, tile, step, group, lane);
            for (i, to) in to.iter_mut().enumerate() {
                *to = scale * code_of(layout, codes, group * layout.group + i, lane) as f32 + offset;
            }
        }
    }
}
