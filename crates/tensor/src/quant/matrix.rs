//! A weight packed into tiles of 16 rows.

use std::ops::Range;

use super::block::Block;
use super::kind::{STEP, TILE_ROWS, TileLayout, WeightKind};
use crate::cpu::Cpu;
use crate::half::{from_bf16, from_f16};
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
    /// `[rows / 16]` tiles, the last one filled up with zeros.
    pub(crate) tiles: Buffer,
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
    /// Rows of the weight.
    pub rows: usize,
}

impl Piece {
    /// Tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// The bytes of one tile.
    pub(crate) fn tile(&self, index: usize) -> &[u8] {
        &self.tiles.as_bytes()[index * self.tile_bytes..][..self.tile_bytes]
    }

    fn row(&self, row: usize, to: &mut [f32]) {
        let (tile, lane) = (self.tile(row / TILE_ROWS), row % TILE_ROWS);
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
    /// When [`Self::can_hold`] is false or a row is outside of the bytes: mistakes of the caller.
    pub fn push(&mut self, cpu: &Cpu, stored: StoredRows<'_>) {
        let (kind, columns) = (stored.kind, self.columns);
        assert!(Self::can_hold(kind, columns), "{columns} columns of {}", kind.name());
        let row_bytes = kind.row_bytes(columns).expect("whole blocks");
        let layout = kind.layout();
        let tile_bytes = layout.map_or(TILE_ROWS * row_bytes, |layout| layout.tile_bytes(columns));
        let count = stored.rows.div_ceil(TILE_ROWS);
        let mut tiles = Buffer::zeroed(count * tile_bytes / size_of::<f32>());
        let per_task = (1_usize << 18).div_ceil(tile_bytes).max(1);
        cpu.pool().split([(&mut tiles, per_task * tile_bytes / size_of::<f32>())], |task, [chunk]| {
            for (index, tile) in bytes_of_mut(chunk).chunks_exact_mut(tile_bytes).enumerate() {
                let first = (task * per_task + index) * TILE_ROWS;
                for lane in 0..TILE_ROWS.min(stored.rows - first) {
                    let row = &stored.bytes[(stored.row_at)(first + lane) * row_bytes..][..row_bytes];
                    match layout {
                        Some(layout) => write_lane(kind, &layout, row, tile, lane),
                        None => write_numbers(row, kind.block_bytes(), tile, lane),
                    }
                }
            }
        });
        self.pieces.push(Piece { kind, rows: stored.rows, tile_bytes, tiles });
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

    /// Bytes that the weight takes in memory.
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

fn write_numbers(row: &[u8], bytes: usize, tile: &mut [u8], lane: usize) {
    for (number, column) in row.chunks_exact(bytes).zip(tile.chunks_exact_mut(TILE_ROWS * bytes)) {
        column[lane * bytes..][..bytes].copy_from_slice(number);
    }
}

/// Puts a row of the file into a tile, which is zero there.
fn write_lane(kind: WeightKind, layout: &TileLayout, row: &[u8], tile: &mut [u8], lane: usize) {
    for (index, block) in row.chunks_exact(kind.block_bytes()).enumerate() {
        let block = Block::read(kind, block);
        for within in 0..layout.super_steps {
            let (at, header) = layout.step_at(index * layout.super_steps + within);
            if layout.super_steps > 1 && within == 0 {
                put_units(&block, layout, &mut tile[header..][..layout.header_bytes()], lane);
            }
            let step = &mut tile[at..][..layout.step_bytes()];
            let codes: &[u8; STEP] = block.codes[within * STEP..].first_chunk().expect("whole steps");
            let (packed, scales) = step.split_at_mut(layout.code_bytes());
            put_codes(layout, codes, packed, lane);
            if layout.super_steps == 1 {
                put_units(&block, layout, scales, lane);
            } else {
                put_scales(&block, layout, within, scales, lane);
            }
        }
    }
}

fn put_codes(layout: &TileLayout, codes: &[u8; STEP], packed: &mut [u8], lane: usize) {
    let (low, high) = packed.split_at_mut(layout.low_bits * 64);
    let mask = u8::MAX >> (8 - layout.low_bits);
    for (column, &code) in codes.iter().enumerate() {
        let (register, bit) = layout.low_at(column);
        low[register * 64 + 4 * lane + column % 4] |= (code & mask) << bit;
        if layout.high_bits > 0 {
            let (register, bit) = layout.high_at(column);
            high[register * 64 + 4 * lane + column % 4] |= (code >> layout.low_bits) << bit;
        }
    }
}

fn put_units(block: &Block, layout: &TileLayout, to: &mut [u8], lane: usize) {
    for unit in 0..1 + usize::from(layout.minima) {
        to[2 * (unit * TILE_ROWS + lane)..][..2].copy_from_slice(&block.units[unit].to_le_bytes());
    }
}

fn put_scales(block: &Block, layout: &TileLayout, within: usize, to: &mut [u8], lane: usize) {
    let groups = STEP / layout.group;
    for group in 0..groups {
        let index = within * groups + group;
        let (scale, minimum) = (block.scales[index] as u8, block.minima[index]);
        match (layout.minima, layout.group) {
            (true, 16) => to[group * TILE_ROWS + lane] = scale | minimum << 4,
            (true, _) => (to[lane], to[TILE_ROWS + lane]) = (scale, minimum),
            (false, _) => to[group * TILE_ROWS + lane] = scale,
        }
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
