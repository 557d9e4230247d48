//! Rows of a file into the layout of a tile.

use super::super::kernel;
use super::super::simd::Simd;
use crate::quant::block::Block;
use crate::quant::{STEP, TILE_ROWS, TileLayout, WeightKind};

kernel!(
    /// Puts up to 16 rows of a file into a tile, from the first lane on. Lanes of empty rows have scales of zero.
    pub(crate) fn pack_tile(kind: WeightKind, rows: &[&[u8]; TILE_ROWS], tile: &mut [u8]) = pack_tile_body
);

#[inline(always)]
fn pack_tile_body<S: Simd>(simd: S, kind: WeightKind, rows: &[&[u8]; TILE_ROWS], tile: &mut [u8]) {
    use WeightKind as K;
    // One copy of the code for each kind, so that its shifts are constants.
    macro_rules! of_kind {
        ($($kind:ident)*) => {
            match kind {
                $(K::$kind => pack_blocks(simd, K::$kind, rows, tile),)*
                K::Q8_0 => pack_bytes(simd, rows, tile),
                K::F32 => pack_numbers::<4>(rows, tile),
                K::F16 | K::BF16 => pack_numbers::<2>(rows, tile),
            }
        };
    }
    of_kind!(Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K);
}

/// Numbers of `BYTES` bytes: `[columns][16]`. Sixteen columns at a time stay in the first-level cache.
#[inline(always)]
fn pack_numbers<const BYTES: usize>(rows: &[&[u8]; TILE_ROWS], tile: &mut [u8]) {
    let squares = tile.as_chunks_mut::<BYTES>().0.chunks_mut(TILE_ROWS * TILE_ROWS);
    for (square, to) in squares.enumerate() {
        for (lane, row) in rows.iter().take_while(|row| !row.is_empty()).enumerate() {
            let row = &row.as_chunks::<BYTES>().0[square * TILE_ROWS..];
            for (to, &number) in to.chunks_exact_mut(TILE_ROWS).zip(row) {
                to[lane] = number;
            }
        }
    }
}

/// Q8_0: a scale and 32 signed bytes.
#[inline(always)]
fn pack_bytes<S: Simd>(simd: S, rows: &[&[u8]; TILE_ROWS], tile: &mut [u8]) {
    const BLOCK: usize = 2 + STEP;
    let rows = rows.map(|row| row.as_chunks::<BLOCK>().0);
    for (index, step) in tile.chunks_exact_mut((STEP + 2) * TILE_ROWS).enumerate() {
        let blocks = rows.map(|row| row.get(index).unwrap_or(&[0; BLOCK]));
        let (codes, scales) = step.split_at_mut(STEP * TILE_ROWS);
        let fours = simd.fours(blocks.map(|block| block[2..].first_chunk().unwrap_or(&[0; STEP])));
        for (to, codes) in codes.iter_mut().zip(fours.as_flattened()) {
            *to = codes ^ 0x80;
        }
        for (to, block) in scales.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
            to.copy_from_slice(&block[..2]);
        }
    }
}

#[inline(always)]
fn pack_blocks<S: Simd>(simd: S, kind: WeightKind, rows: &[&[u8]; TILE_ROWS], tile: &mut [u8]) {
    let Some(layout) = kind.layout() else { return };
    let present = rows.iter().take_while(|row| !row.is_empty()).count();
    let count = rows[0].len() / kind.block_bytes();
    let mut blocks: [Block; TILE_ROWS] = std::array::from_fn(|_| Block::EMPTY);
    for index in 0..count {
        for (block, row) in blocks.iter_mut().zip(&rows[..present]) {
            *block = Block::read(kind, &row[index * kind.block_bytes()..][..kind.block_bytes()]);
        }
        for within in 0..layout.super_steps {
            let (at, header) = layout.step_at(index * layout.super_steps + within);
            if layout.super_steps > 1 && within == 0 {
                put_units(&blocks, &layout, &mut tile[header..][..layout.header_bytes()]);
            }
            let step = &mut tile[at..][..layout.step_bytes()];
            let (packed, scales) = step.split_at_mut(layout.code_bytes());
            put_codes(simd, &blocks, &layout, within, packed);
            if layout.super_steps == 1 {
                put_units(&blocks, &layout, scales);
            } else {
                put_scales(&blocks, &layout, within, scales);
            }
        }
    }
}

/// The codes of a step: those of four columns of each row side by side, then eight of these registers in fewer bits.
#[inline(always)]
fn put_codes<S: Simd>(simd: S, blocks: &[Block; TILE_ROWS], layout: &TileLayout, within: usize, packed: &mut [u8]) {
    let codes = |lane: usize| &blocks[lane].codes.as_chunks::<STEP>().0[within];
    let registers = simd.fours(std::array::from_fn(codes));
    let (low, high) = packed.split_at_mut(layout.low_bits * 64);
    put_bits(&registers, 0, layout.low_bits, low);
    if layout.high_bits > 0 {
        put_bits(&registers, layout.low_bits, layout.high_bits, high);
    }
}

/// `bits` bits of each code from bit `from` on; as many registers as fit into one of them share it. Eight bytes at a time.
#[inline(always)]
fn put_bits(registers: &[[u8; 64]; STEP / 4], from: usize, bits: usize, packed: &mut [u8]) {
    let mask = u64::from(u8::MAX >> (8 - bits)) * 0x0101_0101_0101_0101;
    for (shared, to) in registers.chunks_exact(8 / bits).zip(packed.as_chunks_mut::<64>().0) {
        for (at, to) in to.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut all = 0;
            for (place, register) in shared.iter().enumerate() {
                all |= (u64::from_le_bytes(register.as_chunks().0[at]) >> from & mask) << (place * bits);
            }
            *to = all.to_le_bytes();
        }
    }
}

#[inline(always)]
fn put_units(blocks: &[Block; TILE_ROWS], layout: &TileLayout, to: &mut [u8]) {
    for (unit, to) in to.chunks_exact_mut(2 * TILE_ROWS).enumerate().take(1 + usize::from(layout.minima)) {
        for (to, block) in to.as_chunks_mut().0.iter_mut().zip(blocks) {
            *to = block.units[unit].to_le_bytes();
        }
    }
}

#[inline(always)]
fn put_scales(blocks: &[Block; TILE_ROWS], layout: &TileLayout, within: usize, to: &mut [u8]) {
    let groups = STEP / layout.group;
    for group in 0..groups {
        let index = within * groups + group;
        for (lane, block) in blocks.iter().enumerate() {
            let (scale, minimum) = (block.scales[index] as u8, block.minima[index]);
            match (layout.minima, layout.group) {
                (true, 16) => to[group * TILE_ROWS + lane] = scale | minimum << 4,
                (true, _) => (to[lane], to[TILE_ROWS + lane]) = (scale, minimum),
                (false, _) => to[group * TILE_ROWS + lane] = scale,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tsumugi_base::rng::{Key, Stream};

    use super::*;
    use crate::Isa;

    #[test]
    fn tiles_are_the_same_bytes_whatever_the_instructions() {
        let mut stream = Stream::new(Key::from_seed(1));
        for kind in WeightKind::all() {
            // Three blocks of the widest kinds; a tile of 1, of 15 and of all 16 rows.
            let columns = 768;
            let row_bytes = kind.row_bytes(columns).unwrap();
            let tile_bytes = kind.layout().map_or(TILE_ROWS * row_bytes, |layout| layout.tile_bytes(columns));
            let bytes: Vec<u8> = (0..TILE_ROWS * row_bytes).map(|_| stream.below(256) as u8).collect();
            for present in [1, 15, 16] {
                let mut rows: [&[u8]; TILE_ROWS] = [&[]; TILE_ROWS];
                rows.iter_mut().zip(bytes.chunks_exact(row_bytes)).take(present).for_each(|(row, bytes)| *row = bytes);
                let packed = |isa: Isa| {
                    let mut tile = vec![0; tile_bytes];
                    pack_tile(isa, kind, &rows, &mut tile);
                    tile
                };
                let plain = packed(Isa::PORTABLE);
                assert!(Isa::available().into_iter().all(|isa| packed(isa) == plain), "{kind:?}, {present} rows");
            }
        }
    }

    #[test]
    fn four_bytes_of_each_row_lie_side_by_side() {
        let rows: [[u8; 32]; 16] = std::array::from_fn(|row| std::array::from_fn(|at| ((row * 32 + at) % 251) as u8));
        let wanted: [[u8; 64]; 8] = std::array::from_fn(|to| std::array::from_fn(|at| rows[at / 4][4 * to + at % 4]));
        kernel!(
            fn fours(rows: &[[u8; 32]; 16], to: &mut [[u8; 64]; 8]) = fours_body
        );
        #[inline(always)]
        fn fours_body<S: Simd>(simd: S, rows: &[[u8; 32]; 16], to: &mut [[u8; 64]; 8]) {
            *to = simd.fours(rows.each_ref());
        }
        for isa in Isa::available() {
            let mut to = [[0; 64]; 8];
            fours(isa, &rows, &mut to);
            assert_eq!(to, wanted, "{}", isa.name());
        }
    }
}
