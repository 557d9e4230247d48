//! Muon against its formula, against PyTorch, and against itself on other numbers of threads.

use allocation_counter::measure;
use tsumugi_tensor::kernels::optimizer::nesterov;
use tsumugi_tensor::muon::{orthogonalize, orthogonalize_reference, scratch_len};
use tsumugi_tensor::{AdamW, AdamWStep, Compute, Cpu, Isa, Muon, Parameters, ParametersBuilder};

use crate::support::{assert_close, assert_same_bits, every_cpu, noise, panics};

/// Every small shape, and some that are tall, wide, or around the tiles of the product.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let small = (1..=9).flat_map(|rows| (1..=9).map(move |columns| (rows, columns)));
    small.chain([(1, 64), (64, 1), (17, 33), (33, 17), (64, 16), (16, 64), (65, 65), (40, 200)])
}

fn orthogonalized(cpu: &Cpu, (rows, columns): (usize, usize), x: &[f32]) -> Vec<f32> {
    let norm = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let (mut x, mut scratch) = (x.to_vec(), vec![f32::NAN; scratch_len(rows, columns)]);
    orthogonalize(cpu, (rows, columns), norm, &mut x, &mut scratch).to_vec()
}

/// Reflects the columns of `x [rows, columns]` at the plane across `v [rows]`: an orthogonal matrix from the left.
fn reflect_columns(x: &mut [f64], columns: usize, v: &[f64]) {
    let squares: f64 = v.iter().map(|v| v * v).sum();
    for column in 0..columns {
        let dot: f64 = v.iter().enumerate().map(|(row, v)| v * x[row * columns + column]).sum();
        v.iter().enumerate().for_each(|(row, v)| x[row * columns + column] -= 2.0 * dot / squares * v);
    }
}

fn transposed(x: &[f64], columns: usize) -> Vec<f64> {
    (0..columns).flat_map(|column| x.iter().skip(column).step_by(columns).copied()).collect()
}

/// `U diag(singular) V^T` for orthogonal U and V that follow from the shape; the same call undoes itself.
fn rotated((rows, columns): (usize, usize), x: &[f64]) -> Vec<f64> {
    let direction = |seed, n| noise(seed, n).iter().map(|&x| f64::from(x) + 0.1).collect::<Vec<_>>();
    let mut x = x.to_vec();
    reflect_columns(&mut x, columns, &direction(rows as u64, rows));
    let mut x = transposed(&x, columns);
    reflect_columns(&mut x, rows, &direction(columns as u64 + 50, columns));
    transposed(&x, rows)
}

/// The polynomial on one number.
fn polynomial(x: f64) -> f64 {
    (0..5).fold(x, |x, _| 3.4445 * x - 4.7750 * x.powi(3) + 2.0315 * x.powi(5))
}

/// Singular values from 1 down to a fiftieth, of a matrix of known singular vectors.
fn known((rows, columns): (usize, usize)) -> (Vec<f64>, Vec<f32>) {
    let least = rows.min(columns);
    let singular: Vec<f64> = (0..least).map(|i| 50_f64.powf(-(i as f64) / least as f64)).collect();
    let mut diagonal = vec![0.0; rows * columns];
    singular.iter().enumerate().for_each(|(i, s)| diagonal[i * columns + i] = 3.0 * s);
    let norm = singular.iter().map(|s| s * s).sum::<f64>().sqrt();
    let x = rotated((rows, columns), &diagonal).iter().map(|&x| x as f32).collect();
    (singular.iter().map(|s| s / norm).collect(), x)
}

#[test]
fn the_reference_moves_singular_values_by_the_polynomial_and_leaves_singular_vectors() {
    for (rows, columns) in shapes() {
        let (singular, x) = known((rows, columns));
        let y: Vec<f64> = orthogonalize_reference(rows, columns, &x).iter().map(|&y| f64::from(y)).collect();
        for (index, value) in rotated((rows, columns), &y).iter().enumerate() {
            let (row, column) = (index / columns, index % columns);
            let want = if row == column { polynomial(singular[row]) } else { 0.0 };
            assert!((value - want).abs() < 2e-5, "{rows} x {columns}, {row} {column}: {value}, want {want}");
        }
    }
}

#[test]
fn singular_values_come_into_their_band_on_every_small_shape() {
    for cpu in every_cpu(2) {
        for (compute, slack) in [(Compute::F32, 1e-4), (Compute::Bf16, 0.04)] {
            let cpu = cpu.computing(compute);
            for (rows, columns) in shapes() {
                let (singular, x) = known((rows, columns));
                // Those under 0.006 of the norm are not there yet after five iterations.
                assert!(singular.iter().all(|&s| s > 0.006));
                let y: Vec<f64> = orthogonalized(&cpu, (rows, columns), &x).iter().map(|&y| f64::from(y)).collect();
                for (index, value) in rotated((rows, columns), &y).iter().enumerate() {
                    let on_diagonal = index / columns == index % columns;
                    let band = if on_diagonal { 0.6818 - slack..1.1344 + slack } else { -slack..slack };
                    assert!(band.contains(value), "{} {rows} x {columns}, {index}: {value}", cpu.kernels());
                }
            }
        }
    }
}

#[test]
fn orthogonalization_agrees_with_its_reference() {
    for cpu in every_cpu(2) {
        for (rows, columns) in shapes() {
            for size in [1e-12, 1.0, 1e12] {
                let x: Vec<f32> =
                    noise((rows * 100 + columns) as u64, rows * columns).iter().map(|x| x * size).collect();
                let want = orthogonalize_reference(rows, columns, &x);
                let what = format!("{} {rows} x {columns} of {size}", cpu.isa().name());
                assert_close(&what, &orthogonalized(&cpu, (rows, columns), &x), &want, 1e-4, 1e-4);
                let rounded = orthogonalized(&cpu.computing(Compute::Bf16), (rows, columns), &x);
                assert_close(&format!("{what} in bfloat16"), &rounded, &want, 0.05, 0.05);
            }
            let zero = vec![0.0; rows * columns];
            assert_same_bits("zero", &orthogonalized(&cpu, (rows, columns), &zero), &zero);
        }
    }
}

#[test]
fn the_momentum_kernel_agrees_with_float64() {
    for isa in Isa::available() {
        for n in (1..=50).chain([63, 64, 65, 1000]) {
            let (gradient, mut mean, mut ahead) = (noise(1, n), noise(2, n), vec![f32::NAN; n]);
            let exact = |g: f32, m: f32| {
                let g = 0.1 * 0.3 * f64::from(g);
                let m = 0.9 * f64::from(m) + g;
                (m as f32, (0.9 * m + g) as f32)
            };
            let (want_mean, want_ahead): (Vec<f32>, Vec<f32>) =
                gradient.iter().zip(&mean).map(|(&g, &m)| exact(g, m)).unzip();
            let squares = nesterov(isa, 0.9, 0.3, &gradient, &mut mean, &mut ahead);
            assert_close("mean", &mean, &want_mean, 0.0, 3e-7);
            assert_close("ahead", &ahead, &want_ahead, 0.0, 3e-7);
            let want: f32 = want_ahead.iter().map(|x| x * x).sum();
            assert!((squares - want).abs() <= 1e-5 * want, "{} {n}: {squares}, want {want}", isa.name());
        }
    }
}

/// An embedding, three layers in one product, a bias, a tall and a wide matrix.
fn parameters() -> Parameters {
    let mut builder = ParametersBuilder::default();
    builder.add("embedding", &[11, 24]);
    builder.add_matrices("qkv", &[24, 8, 8], 24);
    builder.add("bias", &[40]);
    builder.add_matrices("up", &[50], 24);
    builder.add_matrices("down", &[24], 50);
    filled(builder)
}

fn filled(builder: ParametersBuilder) -> Parameters {
    let mut parameters = builder.build();
    let values = noise(7, parameters.buffer_len());
    parameters.buffer_mut().copy_from_slice(&values);
    parameters
}

fn step(t: i32) -> AdamWStep {
    AdamWStep {
        learning_rate: 1e-2 / t as f32,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 1.0 / (1.0 - 0.9_f32.powi(t)),
        correction2: 1.0 / (1.0 - 0.99_f32.powi(t)),
        gradient_scale: 0.7,
    }
}

/// Values and both moments after three steps.
fn three_steps(cpu: &Cpu, mut parameters: Parameters) -> [Vec<f32>; 3] {
    let (mut muon, len) = (Muon::new(&parameters, 0.95), parameters.buffer_len());
    for t in 1..=3 {
        muon.update(cpu, &mut parameters, &noise(t as u64, len), step(t));
    }
    [parameters.buffer().to_vec(), muon.first.to_vec(), muon.second.to_vec()]
}

#[test]
fn matrices_follow_the_formula_one_by_one_and_the_rest_follows_adamw() {
    for cpu in every_cpu(2) {
        let [got, ..] = three_steps(&cpu, parameters());
        let mut adamw = (parameters(), AdamW::new(&parameters()));
        let (mut want, mut mean) = (parameters().buffer().to_vec(), vec![0.0; got.len()]);
        let layout = parameters();
        for t in 1..=3 {
            let (gradient, step) = (noise(t as u64, got.len()), step(t));
            adamw.1.update(&cpu, &mut adamw.0, &gradient, step);
            for (id, parameter) in layout.iter() {
                let (mut start, columns) = (layout.range(id).start, *parameter.shape.last().unwrap());
                for &rows in &parameter.matrix_rows {
                    let range = start..start + rows * columns;
                    let fresh = |i: usize| 0.05 * step.gradient_scale * gradient[i];
                    range.clone().for_each(|i| mean[i] = 0.95 * mean[i] + fresh(i));
                    let ahead: Vec<f32> = range.clone().map(|i| 0.95 * mean[i] + fresh(i)).collect();
                    let direction = orthogonalize_reference(rows, columns, &ahead);
                    let rate = step.learning_rate * 0.2 * (rows.max(columns) as f32).sqrt();
                    for (i, direction) in range.clone().zip(direction) {
                        want[i] = want[i] * (1.0 - step.learning_rate * step.weight_decay) - rate * direction;
                    }
                    start = range.end;
                }
            }
        }
        for (id, parameter) in layout.iter() {
            let (got, range) = (&got[layout.range(id)], layout.range(id));
            match parameter.matrix_rows.is_empty() {
                true => assert_same_bits(&parameter.name, got, adamw.0.values(id)),
                false => assert_close(&parameter.name, got, &want[range], 0.0, 1e-5),
            }
        }
    }
}

#[test]
fn an_update_gives_the_same_bits_with_any_number_of_threads() {
    for isa in Isa::available() {
        for compute in [Compute::F32, Compute::Bf16] {
            let one = three_steps(&Cpu::with_isa(isa, 1).computing(compute), parameters());
            for threads in [2, 3, 8] {
                let more = three_steps(&Cpu::with_isa(isa, threads).computing(compute), parameters());
                for (more, one) in more.iter().zip(&one) {
                    assert_same_bits(isa.name(), more, one);
                }
            }
        }
    }
}

#[test]
fn frozen_parameters_stay_and_only_the_rest_has_second_moments() {
    let mut frozen = parameters();
    for name in ["qkv", "bias"] {
        let id = frozen.find(name).unwrap();
        frozen.set_trainable(id, false);
    }
    let muon = Muon::new(&frozen, 0.95);
    let lens: Vec<usize> = frozen.iter().map(|(id, _)| muon.second_range(id).len()).collect();
    assert_eq!(lens, [11 * 24, 0, 40, 0, 0]);
    assert_eq!((muon.second.len(), Muon::second_len(&frozen)), (11 * 24 + 40, 11 * 24 + 40));
    let before = frozen.buffer().to_vec();
    let ranges: Vec<_> = frozen.iter().map(|(id, parameter)| (frozen.range(id), parameter.trainable)).collect();
    let [after, ..] = three_steps(&every_cpu(2)[0], frozen);
    for (range, trainable) in ranges {
        assert_eq!(before[range.clone()] != after[range], trainable);
    }
}

#[test]
fn the_operations_are_those_of_five_iterations() {
    let mut builder = ParametersBuilder::default();
    builder.add("embedding", &[100, 8]);
    builder.add_matrices("square", &[8], 8);
    builder.add_matrices("wide", &[4], 16);
    let (square, wide) = (3 * 2 * 8 * 8 * 8, 2 * (4 * 4 * 16) * 2 + 2 * 4 * 4 * 4);
    assert_eq!(Muon::flops(&builder.build()), f64::from(5 * (square + wide)));
}

#[test]
fn an_update_allocates_nothing_after_the_first() {
    let cpu = &every_cpu(1)[0];
    let mut parameters = parameters();
    let mut muon = Muon::new(&parameters, 0.95);
    let gradient = noise(1, parameters.buffer_len());
    muon.update(cpu, &mut parameters, &gradient, step(1));
    assert_eq!(measure(|| muon.update(cpu, &mut parameters, &gradient, step(2))).count_total, 0);
}

#[test]
fn lengths_that_do_not_fit_are_mistakes_of_the_caller() {
    let cpu = &every_cpu(1)[0];
    assert!(panics(|| drop(orthogonalize(cpu, (2, 3), 1.0, &mut [0.0; 5], &mut [0.0; 14]).to_vec())));
    assert!(panics(|| drop(orthogonalize(cpu, (2, 3), 1.0, &mut [0.0; 6], &mut [0.0; 13]).to_vec())));
}

/// `torch.optim.Muon` in float64; `tools/goldens/make_muon_golden.py` says how.
#[test]
fn steps_are_those_of_pytorch() {
    let golden: serde_json::Value = serde_json::from_str(include_str!("../../fixtures/muon.json")).unwrap();
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
    };
    let setting = |name: &str| golden["settings"][name].as_f64().unwrap() as f32;
    let step = AdamWStep {
        learning_rate: setting("lr"),
        weight_decay: setting("weight_decay"),
        gradient_scale: 1.0,
        ..step(1)
    };
    for cpu in every_cpu(2) {
        // In bfloat16 an orthogonalized number is off by up to 0.05, and a step is a hundredth of it.
        for (compute, tolerance) in [(Compute::F32, 2e-6), (Compute::Bf16, 1e-3)] {
            for matrix in golden["matrices"].as_array().unwrap() {
                let [rows, columns] = ["rows", "columns"].map(|key| matrix[key].as_u64().unwrap() as usize);
                let mut builder = ParametersBuilder::default();
                let id = builder.add_matrices("matrix", &[rows], columns);
                let mut parameters = builder.build();
                parameters.values_mut(id).copy_from_slice(&numbers(&matrix["initial"]));
                let mut muon = Muon::new(&parameters, setting("momentum"));
                for golden in matrix["steps"].as_array().unwrap() {
                    let mut gradient = vec![0.0; parameters.buffer_len()];
                    gradient[..rows * columns].copy_from_slice(&numbers(&golden["gradient"]));
                    muon.update(&cpu.computing(compute), &mut parameters, &gradient, step);
                    let what = format!("{} {rows} x {columns}, {}", cpu.isa().name(), compute.name());
                    assert_close(&what, parameters.values(id), &numbers(&golden["after"]), 0.0, tolerance);
                }
            }
        }
    }
}
