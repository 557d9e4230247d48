//! Products with weights in their own width: a decoding step against reading memory, a prompt against the peak of 8-bit
//! products.

use std::sync::Arc;

use tsumugi_tensor::kernels::peak;
use tsumugi_tensor::kernels::quantized::multiply;
use tsumugi_tensor::quant::{MappedRows, QuantizedMatrix, StoredRows, WeightKind};

use crate::harness::{Bench, noise, time};

/// Rows and columns of weights; the first is larger than the caches.
const WEIGHTS: [(usize, usize); 4] = [(131_072, 2048), (1536, 576), (576, 1536), (3584, 1280)];
/// Rows of `x`: a step of one sequence, of four, of sixteen; a prompt.
const ROWS: [usize; 4] = [1, 4, 16, 512];

/// A weight, packed and in its file.
fn weights(bench: &Bench, kind: WeightKind, rows: usize, columns: usize) -> Option<[QuantizedMatrix; 2]> {
    let row_bytes = kind.row_bytes(columns).filter(|_| QuantizedMatrix::can_hold(kind, columns))?;
    let bytes = vec![0x2b; rows * row_bytes];
    let (mut packed, mut mapped) = (QuantizedMatrix::new(columns), QuantizedMatrix::new(columns));
    packed.push(&bench.f32, StoredRows { kind, bytes: &bytes, row_at: &|row| row, transposed: false, rows });
    mapped.push_mapped(MappedRows {
        kind,
        bytes: Arc::new(bytes),
        row_at: Box::new(|row| row),
        transposed: false,
        rows,
    });
    Some([packed, mapped])
}

/// Prints a row for each kind, weight and number of rows.
pub fn run(bench: &Bench) {
    let mut int8 = None;
    for kind in WeightKind::all() {
        for (n, k) in WEIGHTS {
            let names = ROWS.map(|m| format!("quantized {} {m}x{n}x{k}", kind.name()));
            if !names.iter().any(|name| bench.wants(name)) {
                continue;
            }
            let Some([weight, mapped]) = weights(bench, kind, n, k) else { continue };
            let int8 = *int8.get_or_insert_with(|| peak::probe_int8(&bench.f32).unwrap_or(f64::NAN));
            for (m, name) in ROWS.into_iter().zip(names).filter(|(_, name)| bench.wants(name)) {
                let (x, mut y) = (noise(m * k), noise(m * n));
                let [seconds] = time([&mut || multiply(&bench.f32, m, &x, &weight, None, &mut y)]);
                if m <= 4 {
                    bench.print_bytes(&name, weight.bytes() as f64, seconds);
                    let [seconds] = time([&mut || multiply(&bench.f32, m, &x, &mapped, None, &mut y)]);
                    bench.print_bytes(&format!("{name} mapped"), weight.bytes() as f64, seconds);
                } else {
                    let operations = 2.0 * (m * n * k) as f64;
                    println!(
                        "{name:42} {:9.3} ms {:7.0} GOP/s {:4.0} % of int8",
                        1e3 * seconds.median,
                        operations / seconds.median / 1e9,
                        100.0 * operations / seconds.median / int8
                    );
                }
            }
        }
    }
}
