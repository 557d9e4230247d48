//! Products with quantized weights against the formula, for every kind, instruction set and small shape.

use std::ops::Range;
use std::sync::Arc;

use tsumugi_base::rng::{Key, Stream};
use tsumugi_tensor::kernels::quantized::{multiply, multiply_rows, round_row_reference};
use tsumugi_tensor::quant::{MappedRows, QuantizedMatrix, StoredRows, WeightKind};
use tsumugi_tensor::{Cpu, Isa};

use crate::support::{assert_same_bits, noise, panics};

/// Random blocks of a kind: any codes and scales, units that are finite and not tiny.
fn blocks(kind: WeightKind, rows: usize, columns: usize, rng: &mut Stream) -> Vec<u8> {
    let mut bytes = vec![0u8; rows * kind.row_bytes(columns).expect("whole blocks")];
    bytes.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
    let halves: &[usize] = match kind {
        WeightKind::F32 | WeightKind::F16 | WeightKind::BF16 => &[0],
        WeightKind::Q4_1 | WeightKind::Q5_1 | WeightKind::Q4_K | WeightKind::Q5_K => &[0, 2],
        WeightKind::Q2_K => &[80, 82],
        WeightKind::Q3_K => &[108],
        WeightKind::Q6_K => &[208],
        _ => &[0],
    };
    for block in bytes.chunks_exact_mut(kind.block_bytes()) {
        for &at in halves {
            match kind {
                WeightKind::F32 => block.copy_from_slice(&rng.next_normal().to_le_bytes()),
                WeightKind::BF16 => block[1] = 0x3f | (block[1] & 0x80),
                // Exponents from 2^-7 to 1, either sign.
                _ => block[at + 1] = 0x20 | (block[at + 1] & 0x9f),
            }
        }
    }
    bytes
}

fn packed(cpu: &Cpu, pieces: &[(WeightKind, usize)], columns: usize, rng: &mut Stream) -> QuantizedMatrix {
    let mut weight = QuantizedMatrix::new(columns);
    for &(kind, rows) in pieces {
        let bytes = blocks(kind, rows, columns, rng);
        weight.push(cpu, StoredRows { kind, bytes: &bytes, row_at: &|row| row, transposed: false, rows });
    }
    weight
}

/// `x W^T + bias` in float64, with `x` rounded where the piece is quantized; and the sum of magnitudes.
fn reference(weight: &QuantizedMatrix, x: &[f32], bias: &[f32]) -> Vec<(f64, f64)> {
    let columns = weight.columns();
    let mut kinds = weight.pieces().iter().flat_map(|piece| std::iter::repeat_n(piece.kind, piece.rows));
    let rows: Vec<(WeightKind, Vec<f32>)> = (0..weight.rows())
        .map(|row| {
            let mut values = vec![0.0; columns];
            weight.copy_row(row, &mut values);
            (kinds.next().expect("a kind for each row"), values)
        })
        .collect();
    let mut y = Vec::new();
    for x in x.chunks_exact(columns) {
        let (codes, scales) = round_row_reference(x);
        let rounded: Vec<f32> = codes.iter().enumerate().map(|(i, &code)| f32::from(code) * scales[i / 32]).collect();
        for ((kind, w), &bias) in rows.iter().zip(bias) {
            let x = if kind.layout().is_some() { &rounded[..] } else { x };
            let products = || x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
            y.push((products().sum::<f64>() + f64::from(bias), products().map(f64::abs).sum::<f64>()));
        }
    }
    y
}

fn check(cpu: &Cpu, m: usize, weight: &QuantizedMatrix, rng: &mut Stream, what: &str) {
    let x: Vec<f32> = (0..m * weight.columns()).map(|_| rng.next_normal()).collect();
    let bias: Vec<f32> = (0..weight.rows()).map(|_| rng.next_normal()).collect();
    let mut y = vec![f32::NAN; m * weight.rows()];
    multiply(cpu, m, &x, weight, Some(&bias), &mut y);
    for (index, (&y, (expected, magnitude))) in y.iter().zip(reference(weight, &x, &bias)).enumerate() {
        let bound = 4e-6 * (magnitude + f64::from(bias[index % bias.len()].abs())) + 1e-6;
        assert!((f64::from(y) - expected).abs() <= bound, "{what}, {m} rows, sum {index}: {y} for {expected}");
    }
    // Each row alone gives the same bits.
    let mut alone = vec![f32::NAN; weight.rows()];
    for (x, y) in x.chunks_exact(weight.columns()).zip(y.chunks_exact(weight.rows())) {
        multiply(cpu, 1, x, weight, Some(&bias), &mut alone);
        assert_eq!(y, alone, "{what}: one of {m} rows differs from itself alone");
    }
}

#[test]
fn every_kind_on_every_small_shape() {
    let mut rng = Stream::new(Key::from_seed(1));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2);
        for kind in WeightKind::all() {
            let block = kind.block_numbers();
            let columns: &[usize] = if block == 1 { &[1, 7, 32] } else { &[block, 3 * block] };
            for &columns in columns {
                for rows in [1, 15, 16, 17, 50] {
                    let weight = packed(&cpu, &[(kind, rows)], columns, &mut rng);
                    for m in [1, 2, 3, 4, 5, 8, 9, 12, 13, 17, 26] {
                        let what = format!("{} {}, {rows} x {columns}", isa.name(), kind.name());
                        check(&cpu, m, &weight, &mut rng, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn rows_that_stay_where_they_are_give_the_bits_of_packed_ones() {
    let mut rng = Stream::new(Key::from_seed(7));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2);
        for kind in WeightKind::all() {
            let columns = 2 * kind.block_numbers().max(32);
            for rows in [1, 15, 32, 50] {
                let bytes = blocks(kind, rows, columns, &mut rng);
                let backwards = move |row: usize| rows - 1 - row;
                let (mut packed, mut mapped) = (QuantizedMatrix::new(columns), QuantizedMatrix::new(columns));
                packed.push(&cpu, StoredRows { kind, bytes: &bytes, row_at: &backwards, transposed: false, rows });
                mapped.push_mapped(MappedRows {
                    kind,
                    bytes: Arc::new(bytes),
                    row_at: Box::new(backwards),
                    transposed: false,
                    rows,
                });
                assert_eq!(packed.bytes(), mapped.bytes());
                let what = format!("{} {}, {rows} rows", isa.name(), kind.name());
                for m in [1, 3, 13] {
                    let x: Vec<f32> = (0..m * columns).map(|_| rng.next_normal()).collect();
                    let mut sums = [vec![f32::NAN; m * rows], vec![f32::NAN; m * rows]];
                    for (weight, sums) in [&packed, &mapped].into_iter().zip(&mut sums) {
                        multiply(&cpu, m, &x, weight, None, sums);
                    }
                    assert_same_bits(&what, &sums[1], &sums[0]);
                }
                let mut values = [vec![0.0; columns], vec![0.0; columns]];
                packed.copy_row(rows / 2, &mut values[0]);
                mapped.copy_row(rows / 2, &mut values[1]);
                assert_same_bits(&what, &values[1], &values[0]);
            }
        }
    }
}

#[test]
fn columns_of_a_file_are_rows_as_well() {
    use WeightKind as K;
    let mut rng = Stream::new(Key::from_seed(8));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2);
        for (kind, columns, rows) in [K::F32, K::F16, K::BF16]
            .into_iter()
            .flat_map(|kind| [1, 7, 32].map(|columns| (kind, columns)))
            .flat_map(|(kind, columns)| [1, 15, 16, 17, 50].map(|rows| (kind, columns, rows)))
        {
            let straight = blocks(kind, rows, columns, &mut rng);
            let number = kind.block_bytes();
            let turned: Vec<u8> = (0..columns * rows)
                .flat_map(|at| straight[(at % rows * columns + at / rows) * number..][..number].to_vec())
                .collect();
            let mut weights = [(); 3].map(|()| QuantizedMatrix::new(columns));
            let row_at = &|row| row;
            weights[0].push(&cpu, StoredRows { kind, bytes: &straight, row_at, transposed: false, rows });
            weights[1].push(&cpu, StoredRows { kind, bytes: &turned, row_at, transposed: true, rows });
            let bytes = Arc::new(turned);
            weights[2].push_mapped(MappedRows { kind, bytes, row_at: Box::new(row_at), transposed: true, rows });
            let what = format!("{} {}, {rows} x {columns}", isa.name(), kind.name());
            let x = noise(3, 3 * columns);
            let [expected, packed, mapped] = weights.each_ref().map(|weight| {
                let mut all = vec![f32::NAN; 3 * rows + columns];
                let (sums, row) = all.split_at_mut(3 * rows);
                multiply(&cpu, 3, &x, weight, None, sums);
                weight.copy_row(rows - 1, row);
                all
            });
            assert_same_bits(&what, &packed, &expected);
            assert_same_bits(&what, &mapped, &expected);
        }
    }
    let mut weight = QuantizedMatrix::new(32);
    let bytes = blocks(K::Q8_0, 16, 32, &mut rng);
    let row_at = &|row| row;
    let stored = StoredRows { kind: K::Q8_0, bytes: &bytes, row_at, transposed: true, rows: 16 };
    assert!(panics(|| weight.push(&Cpu::with_isa(Isa::PORTABLE, 1), stored)));
}

#[test]
fn pieces_of_several_kinds_stand_one_below_the_other() {
    use WeightKind as K;
    let mut rng = Stream::new(Key::from_seed(2));
    for isa in Isa::available() {
        for threads in [1, 3] {
            let cpu = Cpu::with_isa(isa, threads);
            let pieces = [(K::Q4_K, 40), (K::Q4_K, 5), (K::Q6_K, 16), (K::F16, 3), (K::Q8_0, 33), (K::Q2_K, 1)];
            let weight = packed(&cpu, &pieces, 256, &mut rng);
            assert_eq!((weight.rows(), weight.columns()), (98, 256));
            for m in [1, 4, 40] {
                check(&cpu, m, &weight, &mut rng, isa.name());
            }
        }
    }
}

#[test]
fn the_rows_of_some_pieces_are_those_of_the_whole_product() {
    use WeightKind as K;
    let mut rng = Stream::new(Key::from_seed(6));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 2);
        let weight = packed(&cpu, &[(K::Q4_K, 5), (K::F16, 20), (K::Q6_K, 1)], 256, &mut rng);
        for m in [1, 3, 20] {
            let x = noise(9, m * 256);
            let mut whole = vec![0.0; m * 26];
            multiply(&cpu, m, &x, &weight, None, &mut whole);
            let part = |rows: Range<usize>| {
                let mut part = vec![0.0; m * rows.len()];
                multiply_rows(&cpu, m, &x, &weight, rows, &mut part);
                part
            };
            for rows in [0..5, 5..25, 0..25, 5..26, 25..26, 26..26, 0..0] {
                let want: Vec<f32> = whole.chunks_exact(26).flat_map(|row| row[rows.clone()].to_vec()).collect();
                assert_same_bits(&format!("{rows:?}"), &part(rows), &want);
            }
            for inside in [5..24, 1..25, 0..27] {
                assert!(panics(|| drop(part(inside))));
            }
        }
    }
}

#[test]
fn a_product_that_passes_by_the_cache_in_parts_is_the_same() {
    let mut rng = Stream::new(Key::from_seed(3));
    let cpu = Cpu::with_isa(Isa::available()[0], 2);
    let weight = packed(&cpu, &[(WeightKind::Q5_0, 70)], 4096, &mut rng);
    check(&cpu, 120, &weight, &mut rng, "long rows");
}

#[test]
fn numbers_that_are_not_finite_show() {
    let mut rng = Stream::new(Key::from_seed(4));
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(isa, 1);
        let weight = packed(&cpu, &[(WeightKind::Q4_0, 20)], 64, &mut rng);
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 128];
            x[70] = strange;
            let mut y = vec![0.0; 40];
            multiply(&cpu, 2, &x, &weight, None, &mut y);
            assert!(y[..20].iter().all(|y| y.is_finite()) && y[20..].iter().all(|y| y.is_nan()), "{strange}");
        }
        let mut y = vec![1.0; 20];
        multiply(&cpu, 1, &[0.0; 64], &weight, None, &mut y);
        assert_eq!(y, vec![0.0; 20]);
        multiply(&cpu, 1, &[1e-42; 64], &weight, None, &mut y);
        assert!(y.iter().all(|y| y.abs() < 1e-36), "subnormal numbers");
    }
}

#[test]
fn rows_are_taken_in_the_order_that_is_asked_for() {
    let mut rng = Stream::new(Key::from_seed(5));
    let cpu = Cpu::with_isa(Isa::PORTABLE, 1);
    let bytes = blocks(WeightKind::Q8_0, 20, 32, &mut rng);
    let pack = |row_at: &(dyn Fn(usize) -> usize + Sync)| {
        let mut weight = QuantizedMatrix::new(32);
        weight.push(&cpu, StoredRows { kind: WeightKind::Q8_0, bytes: &bytes, row_at, transposed: false, rows: 20 });
        weight
    };
    let (straight, reversed) = (pack(&|row| row), pack(&|row| 19 - row));
    let (mut a, mut b) = ([0.0; 32], [0.0; 32]);
    for row in 0..20 {
        straight.copy_row(row, &mut a);
        reversed.copy_row(19 - row, &mut b);
        assert_eq!(a, b);
    }
}
