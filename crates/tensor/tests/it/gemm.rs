//! The matrix product of every instruction set against float64, on every small shape and around every block size.

use tsumugi_base::half;
use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, PackedMatrix, gemm};
use tsumugi_tensor::{Activation, Compute, Cpu};

use crate::support::{assert_same_bits, every_cpu, noise, panics};

/// `sum a b` in float64 and `sum |a b|`, for one element.
fn exact(a: &[f32], b: &[f32]) -> (f64, f64) {
    a.iter().zip(b).fold((0.0, 0.0), |(sum, size), (&a, &b)| {
        let product = f64::from(a) * f64::from(b);
        (sum + product, size + product.abs())
    })
}

/// Row-major `[columns, rows]` of a row-major `[rows, columns]`.
fn transpose(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| x[r * columns + c])).collect()
}

/// `a [m, k]`, `b [n, k]` and `c [m, n]` with their transposes, and what the product must be.
struct Case {
    size: (usize, usize, usize),
    a: Vec<f32>,
    a_transposed: Vec<f32>,
    b: Vec<f32>,
    b_transposed: Vec<f32>,
    bias: Vec<f32>,
    c: Vec<f32>,
    exact: Vec<(f64, f64)>,
    /// With both operands rounded to bfloat16.
    exact_bf16: Vec<(f64, f64)>,
}

/// Every instruction set, with products in float32 and in bfloat16.
fn every_product(threads: usize) -> Vec<Cpu> {
    let in_type = |compute| every_cpu(threads).into_iter().map(move |cpu| cpu.computing(compute));
    [Compute::F32, Compute::Bf16].into_iter().flat_map(in_type).collect()
}

impl Case {
    fn new(m: usize, n: usize, k: usize) -> Self {
        let (a, b) = (noise(m as u64, m * k), noise(1000 + n as u64, n * k));
        let product = |a: &[f32], b: &[f32]| {
            let rows = |i: usize| (0..n).map(move |j| (i, j));
            (0..m).flat_map(rows).map(|(i, j)| exact(&a[i * k..][..k], &b[j * k..][..k])).collect()
        };
        let rounded = |x: &[f32]| x.iter().map(|&x| half::from_bf16(half::to_bf16(x))).collect::<Vec<_>>();
        let (exact, exact_bf16) = (product(&a, &b), product(&rounded(&a), &rounded(&b)));
        let (a_transposed, b_transposed) = (transpose(&a, m, k), transpose(&b, n, k));
        Self {
            size: (m, n, k),
            a,
            a_transposed,
            b,
            b_transposed,
            bias: noise(7, n),
            c: noise(8, m * n),
            exact,
            exact_bf16,
        }
    }

    /// Every form of B gives the same bits; returns C.
    fn run(&self, cpu: &Cpu, a: MatrixA<'_>, accumulate: bool, bias: bool) -> Vec<f32> {
        let (_, n, k) = self.size;
        let packed = PackedMatrix::from_weight(cpu, &self.b, n, k);
        let forms = [MatrixB::Packed(&packed), MatrixB::Transposed(&self.b), MatrixB::Plain(&self.b_transposed)];
        // What is packed is float32.
        let forms = if cpu.compute() == Compute::F32 { &forms[..] } else { &forms[1..] };
        let run = |&b: &MatrixB<'_>| {
            let mut c = if accumulate { self.c.clone() } else { vec![f32::NAN; self.c.len()] };
            let epilogue = Epilogue { bias: bias.then_some(&self.bias), activation: None };
            gemm(cpu, self.size, a, b, &mut c, accumulate, epilogue);
            c
        };
        let first = run(&forms[0]);
        for other in &forms[1..] {
            assert_same_bits(&format!("forms of B, {:?}", self.size), &run(other), &first);
        }
        first
    }

    fn check(&self, cpu: &Cpu, forms: &[(bool, bool)]) {
        let (_, n, k) = self.size;
        for &(accumulate, bias) in forms {
            let plain = self.run(cpu, MatrixA::Plain(&self.a), accumulate, bias);
            let turned = self.run(cpu, MatrixA::Transposed(&self.a_transposed), accumulate, bias);
            assert_same_bits(&format!("forms of A, {:?}", self.size), &turned, &plain);
            for (i, &got) in plain.iter().enumerate() {
                let exact = if cpu.compute() == Compute::F32 { &self.exact } else { &self.exact_bf16 };
                let (mut want, mut size) = exact[i];
                for extra in [accumulate.then_some(self.c[i]), bias.then_some(self.bias[i % n])].into_iter().flatten() {
                    (want, size) = (want + f64::from(extra), size + f64::from(extra).abs());
                }
                let bound = (k + 3) as f64 * f64::from(f32::EPSILON) * size;
                let error = (f64::from(got) - want).abs();
                let name = (cpu.isa().name(), cpu.compute().name());
                assert!(error <= bound, "{name:?} {:?} element {i}: want {want}, got {got}", self.size);
            }
        }
    }
}

/// (accumulate, bias)
const FORMS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[test]
fn every_small_shape_in_every_form() {
    let cpus = every_product(2);
    for m in 1..=20 {
        for n in 1..=20 {
            for k in [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 19, 20] {
                let case = Case::new(m, n, k);
                cpus.iter().for_each(|cpu| case.check(cpu, &FORMS));
            }
        }
    }
}

#[test]
fn shapes_around_every_block_size() {
    let edges = [31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 384, 385];
    let cpus = every_product(2);
    for (i, &m) in edges.iter().enumerate() {
        for (j, &n) in edges.iter().enumerate() {
            // A Latin square: every pair of sizes meets, without every triple; the forms take turns.
            let case = Case::new(m, n, edges[(i + j) % edges.len()]);
            cpus.iter().for_each(|cpu| case.check(cpu, &[FORMS[(i + j) % 4]]));
        }
    }
    for (m, n, k) in [(1, 1100, 9), (3, 17, 1200), (200, 1030, 5), (97, 2, 769), (0, 3, 4), (3, 0, 4), (3, 4, 0)] {
        let case = Case::new(m, n, k);
        cpus.iter().for_each(|cpu| case.check(cpu, &FORMS));
    }
}

#[test]
fn a_row_does_not_depend_on_how_many_rows_are_computed_with_it() {
    for cpu in every_product(2) {
        for (n, k) in [(5, 3), (33, 17), (40, 400), (530, 40)] {
            let whole = Case::new(150, n, k);
            let want = whole.run(&cpu, MatrixA::Plain(&whole.a), false, true);
            for m in (1..=20).chain([31, 64, 95, 96, 97, 128]) {
                for first in [0, 1, 22] {
                    let a = whole.a[first * k..(first + m) * k].to_vec();
                    let a_transposed = transpose(&a, m, k);
                    let part = Case { size: (m, n, k), a, a_transposed, c: vec![0.0; m * n], ..Case::new(1, n, k) };
                    let got = part.run(&cpu, MatrixA::Plain(&part.a), false, true);
                    assert_same_bits(&format!("{m} rows from {first}"), &got, &want[first * n..(first + m) * n]);
                }
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for (one, three) in every_product(1).iter().zip(every_product(3)) {
        for (m, n, k) in [(20, 20, 20), (65, 97, 33), (150, 600, 400), (1, 513, 64)] {
            let case = Case::new(m, n, k);
            let a = MatrixA::Plain(&case.a);
            assert_same_bits("threads", &case.run(&three, a, true, true), &case.run(one, a, true, true));
        }
    }
}

#[test]
fn the_activation_goes_to_its_own_matrix() {
    for cpu in every_product(2) {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 20), (100, 520, 30)] {
            let case = Case::new(m, n, k);
            let want = case.run(&cpu, MatrixA::Plain(&case.a), false, true);
            for activation in Activation::ALL {
                let (mut pre, mut y) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
                let epilogue = Epilogue { bias: Some(&case.bias), activation: Some((activation, &mut y)) };
                let b = MatrixB::Transposed(&case.b);
                gemm(&cpu, case.size, MatrixA::Plain(&case.a), b, &mut pre, false, epilogue);
                assert_same_bits("before the activation", &pre, &want);
                for (&x, &y) in pre.iter().zip(&y) {
                    let want = activation.reference(f64::from(x));
                    assert!((f64::from(y) - want).abs() <= 4e-7 * (1.0 + want.abs()), "{activation:?} of {x}: {y}");
                }
            }
        }
    }
}

#[test]
fn a_packed_weight_gives_its_rows_back() {
    for cpu in every_cpu(1) {
        for (n, k) in [(1, 1), (7, 5), (33, 64), (70, 400)] {
            let weight = noise(3, n * k);
            let packed = PackedMatrix::from_weight(&cpu, &weight, n, k);
            assert_eq!((packed.n(), packed.k()), (n, k));
            let mut row = vec![0.0; k];
            for i in 0..n {
                packed.copy_column(i, &mut row);
                assert_same_bits("row", &row, &weight[i * k..][..k]);
            }
        }
    }
}

#[test]
fn a_nan_in_either_operand_comes_out_in_its_row_or_column() {
    for cpu in every_product(1) {
        let mut case = Case::new(9, 19, 21);
        case.a[3 * 21 + 20] = f32::NAN;
        case.a_transposed = transpose(&case.a, 9, 21);
        let c = case.run(&cpu, MatrixA::Plain(&case.a), false, true);
        for (i, x) in c.iter().enumerate() {
            assert_eq!(x.is_nan(), i / 19 == 3, "element {i}");
        }
    }
}

#[test]
fn sizes_whose_product_wraps_are_refused() {
    // 2^32 * 2^32 wraps to 0, the length of an empty slice; 2^62 * 4 too.
    let cpu = &every_cpu(1)[0];
    for (n, k) in [(1 << 32, 1 << 32), (1 << 62, 4), (4, 1 << 62)] {
        assert!(panics(|| drop(PackedMatrix::from_weight(cpu, &[], n, k))), "{n} x {k}");
        let (a, b) = (MatrixA::Plain(&[]), MatrixB::Plain(&[]));
        assert!(panics(|| gemm(cpu, (n, k, 0), a, b, &mut [], false, Epilogue::default())), "{n} x {k}");
    }
}

#[test]
fn rounding_to_bfloat16_is_to_nearest_and_ties_to_even() {
    for (x, want) in [
        (1.0, 1.0),
        (1.0 + 0.5 / 128.0, 1.0),              // halfway between 1 and 1 + 2^-7: to even
        (1.0 + 1.5 / 128.0, 1.0 + 1.0 / 64.0), // halfway between 1 + 2^-7 and 1 + 2^-6: to even
        (1.003_906_4, 1.007_812_5),
        (-3.0e38, -3.004_055_3e38),
        (f32::MAX, f32::INFINITY),
        (f32::INFINITY, f32::INFINITY),
        (0.0, 0.0),
    ] {
        assert_eq!(half::from_bf16(half::to_bf16(x)), want, "{x}");
    }
    assert!(half::from_bf16(half::to_bf16(f32::from_bits(0x7f80_0001))).is_nan(), "a NaN whose bits would be cut off");
}

/// A product with one is the rounded number: every way into units, under every instruction set.
#[test]
fn every_packing_rounds_as_the_formula_does() {
    let mut values = vec![1.0 + 0.5 / 128.0, 1.0 + 1.5 / 128.0, -3.0e38, f32::MAX, f32::INFINITY, 0.0, 1e-30];
    values.extend(noise(3, 60));
    let want: Vec<f32> = values.iter().map(|&x| half::from_bf16(half::to_bf16(x))).collect();
    let n = values.len();
    for cpu in every_cpu(2).into_iter().map(|cpu| cpu.computing(Compute::Bf16)) {
        let product = |size: (usize, usize, usize), a: MatrixA<'_>, b: MatrixB<'_>| {
            let mut c = vec![f32::NAN; n];
            gemm(&cpu, size, a, b, &mut c, false, Epilogue::default());
            assert_same_bits(&format!("{} {size:?}", cpu.kernels()), &c, &want);
        };
        for b in [MatrixB::Plain(&values), MatrixB::Transposed(&values)] {
            product((1, n, 1), MatrixA::Plain(&[1.0]), b);
        }
        for a in [MatrixA::Plain(&values), MatrixA::Transposed(&values)] {
            product((n, 1, 1), a, MatrixB::Plain(&[1.0]));
        }
    }
}
