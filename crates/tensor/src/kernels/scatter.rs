//! Rows added to the rows of a table: an embedding's backward.

use std::ops::Range;

use super::elementwise;
use crate::cpu::Cpu;

/// Rows of the batch in a task of backward; more in a batch of more than [`TASKS_MAX`] times this.
const SORTED_ROWS: usize = 16;
/// Tasks of backward.
const TASKS_MAX: usize = 64;

/// Adds each row of `rows [ids.len(), width]` to the row of its id in `table [.., width]`: the rows are sorted by id, and
/// one task adds all rows of an id, in the order of the batch. `scratch` has `2 * ids.len()` numbers.
///
/// # Panics
/// When sizes do not fit or an id is outside of the table: mistakes of the caller.
pub fn scatter_add(cpu: &Cpu, ids: &[u32], rows: &[f32], width: usize, table: &mut [f32], scratch: &mut [f32]) {
    assert_eq!(rows.len(), ids.len() * width, "a row for each id");
    let order = sort_rows(ids, scratch);
    let id_at = |place: usize| ids[row_at(order, place)] as usize;
    let tasks = ids.len().div_ceil(SORTED_ROWS).clamp(1, TASKS_MAX);
    // Task `i` has the ids that begin in its share of the sorted rows: each bound is the first place of an id.
    let mut places = [0; TASKS_MAX + 1];
    let mut starts = [0; TASKS_MAX + 1];
    for task in 1..=tasks {
        let mut place = places[task - 1].max(ids.len() * task / tasks);
        while (1..ids.len()).contains(&place) && id_at(place) == id_at(place - 1) {
            place += 1;
        }
        places[task] = place;
        starts[task] = if place < ids.len() { id_at(place) * width } else { table.len() };
    }
    let parts: [Range<usize>; TASKS_MAX] = std::array::from_fn(|task| starts[task]..starts[task + 1]);
    cpu.pool().split_ranges(&parts[..tasks], [table], |task, [part]| {
        for place in places[task]..places[task + 1] {
            let (from, to) = (row_at(order, place) * width, id_at(place) * width - starts[task]);
            elementwise::add_assign(cpu.isa(), &rows[from..][..width], &mut part[to..][..width]);
        }
    });
}

/// Row numbers are kept as the bits of float32, which scratch memory is made of: no row has a number so large that its
/// bits would be those of NaN.
fn row_at(order: &[f32], place: usize) -> usize {
    order[place].to_bits() as usize
}

/// The rows `0..ids.len()`, sorted by id, equal ids in order: a radix sort over the bytes that the largest id has. `scratch` holds
/// twice as many numbers.
fn sort_rows<'s>(ids: &[u32], scratch: &'s mut [f32]) -> &'s [f32] {
    let (mut order, mut next) = scratch[..2 * ids.len()].split_at_mut(ids.len());
    for (row, number) in (0..).zip(&mut *order) {
        *number = f32::from_bits(row);
    }
    let largest = ids.iter().copied().max().unwrap_or(0);
    for shift in (0..u32::BITS - largest.leading_zeros()).step_by(8) {
        let byte = |number: f32| (ids[number.to_bits() as usize] >> shift & 255) as usize;
        let mut begins = [0; 257];
        for &number in &*order {
            begins[byte(number) + 1] += 1;
        }
        for value in 0..256 {
            begins[value + 1] += begins[value];
        }
        for &number in &*order {
            let place = &mut begins[byte(number)];
            next[*place] = number;
            *place += 1;
        }
        std::mem::swap(&mut order, &mut next);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_by_id_and_equal_ids_keep_their_order() {
        let of_any_size = |i: u32| i.wrapping_mul(2_654_435_761) >> (i % 5 * 7);
        for len in [0, 1, 2, 300] {
            for ids in [vec![7; len], (0..len as u32).map(of_any_size).collect(), (0..len as u32).rev().collect()] {
                let mut want: Vec<usize> = (0..len).collect();
                want.sort_by_key(|&row| ids[row]);
                let mut scratch = vec![f32::NAN; 2 * len];
                let order = sort_rows(&ids, &mut scratch);
                assert_eq!((0..len).map(|place| row_at(order, place)).collect::<Vec<_>>(), want, "{ids:?}");
            }
        }
    }
}
