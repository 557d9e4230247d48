//! The kernels over rows and slices against float64, for every length around the vector widths.

use tsumugi_tensor::kernels::elementwise as kernel;
use tsumugi_tensor::kernels::normalize as norm;
use tsumugi_tensor::kernels::optimizer::adamw;
use tsumugi_tensor::kernels::rows::{self, OnlineSoftmax, SCORE_COLUMNS, ScoreRows, Scoring};
use tsumugi_tensor::ops::cross_entropy::cross_entropy_reference;
use tsumugi_tensor::ops::feed_forward::gated_reference;
use tsumugi_tensor::ops::normalize::normalize_reference;
use tsumugi_tensor::ops::softmax::softmax_reference;
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::{Activation, AdamWStep, Isa, NormKind};

use crate::support::{assert_close, every_cpu, noise};

/// Lengths around every vector width, and some longer.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=50).chain([63, 64, 65, 100, 127, 384, 1000])
}

/// Numbers of float32 from `low` to `high`, dense enough to meet every binade and every residue of the reduction.
fn sweep(low: f32, high: f32) -> Vec<f32> {
    (0..200_003).map(|i| low + (high - low) * (i as f32 / 200_002.0)).collect()
}

/// Tiny and huge numbers of both signs, and those where a function turns.
fn corners() -> Vec<f32> {
    let positive = [0.0, 1e-45, 1e-38, 1e-30, 1e-7, 1e-3, 0.5, 1.0, 10.0, 86.9, 88.0, 100.0, 1e4, 1e18];
    positive.iter().flat_map(|&x| [x, -x]).collect()
}

#[test]
fn the_exponential_is_within_its_bound() {
    for isa in Isa::available() {
        let x = sweep(-87.0, 88.0);
        let mut y = vec![0.0; x.len()];
        kernel::exponential(isa, &x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let want = f64::from(x).exp();
            assert!((f64::from(y) / want - 1.0).abs() <= 2e-7, "{}: exp {x} is {want}, got {y}", isa.name());
        }
        let mut y = [0.0; 5];
        kernel::exponential(isa, &[0.0, f32::NEG_INFINITY, -1000.0, f32::INFINITY, f32::NAN], &mut y);
        assert!(y[0] == 1.0 && y[1] > 0.0 && y[1] < 2e-38 && y[2] == y[1] && y[3] > 2e38 && y[4].is_nan(), "{y:?}");
    }
}

#[test]
fn tanh_keeps_its_precision_near_zero() {
    for isa in Isa::available() {
        let x = [sweep(-12.0, 12.0), sweep(-1e-3, 1e-3), corners()].concat();
        let mut y = vec![0.0; x.len()];
        kernel::activate(isa, Activation::Tanh, &x, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let want = f64::from(x).tanh();
            let error = (f64::from(y) - want).abs();
            assert!(error <= 4e-7 * want.abs() + 1e-44, "{}: tanh {x} is {want}, got {y}", isa.name());
        }
    }
}

#[test]
fn activations_and_their_derivatives_are_within_their_bounds() {
    for isa in Isa::available() {
        for activation in Activation::ALL {
            let x = [sweep(-20.0, 20.0), corners()].concat();
            let mut y = vec![0.0; x.len()];
            kernel::activate(isa, activation, &x, &mut y);
            let mut slope = vec![1.0; x.len()];
            kernel::activate_backward(isa, activation, &x, &mut slope);
            for ((&x, &y), &slope) in x.iter().zip(&y).zip(&slope) {
                let wide = f64::from(x);
                let want = activation.reference(wide);
                // The sigmoid: 2e-7. What is a multiple of x inherits that times |x|.
                let bound = 3e-7 * wide.abs().max(want.abs()).max(1.0);
                let error = (f64::from(y) - want).abs();
                assert!(error <= bound, "{} {activation:?} {x} is {want}, got {y}", isa.name());
                if wide.abs() > 1e-3 && wide.abs() < 50.0 {
                    let h = 1e-4 * wide.abs().max(1e-2);
                    let want = (activation.reference(wide + h) - activation.reference(wide - h)) / (2.0 * h);
                    let error = (f64::from(slope) - want).abs();
                    assert!(
                        error <= 4e-6 * wide.abs().max(1.0),
                        "{} {activation:?}' {x} is {want}, got {slope}",
                        isa.name()
                    );
                }
                assert!(slope.is_finite(), "{activation:?}' of {x} is {slope}");
            }
            let (mut y, mut slope) = ([0.0; 3], [1.0; 3]);
            kernel::activate(isa, activation, &[1.0, f32::NAN, -1.0], &mut y);
            kernel::activate_backward(isa, activation, &[1.0, f32::NAN, -1.0], &mut slope);
            assert!(y[1].is_nan() && slope[1].is_nan(), "{activation:?} keeps a NaN");
            assert!(y[0].is_finite() && y[2].is_finite());
        }
    }
}

#[test]
fn the_derivative_of_relu_at_and_around_zero() {
    for isa in Isa::available() {
        let x = [-1.0, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e30];
        let mut slope = [3.0; 9];
        kernel::activate_backward(isa, Activation::Relu, &x, &mut slope);
        assert_eq!(slope, [0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 3.0, 3.0], "{}", isa.name());
    }
}

#[test]
fn passes_over_slices_of_every_length() {
    for isa in Isa::available() {
        for n in lengths() {
            let (x, y) = (noise(1, n), noise(2, n));
            let map = |f: &dyn Fn(f32, f32) -> f32| -> Vec<f32> { x.iter().zip(&y).map(|(&x, &y)| f(x, y)).collect() };
            let mut got = y.clone();
            kernel::add_assign(isa, &x, &mut got);
            assert_close("add", &got, &map(&|x, y| x + y), 0.0, 0.0);
            let mut got = y.clone();
            kernel::scaled_sum(isa, 0.3, &x, -1.7, &mut got);
            assert_close("scaled_sum", &got, &map(&|x, y| 0.3 * x - 1.7 * y), 0.0, 3e-7);
            got.clone_from(&y);
            kernel::add_scaled(isa, 0.3, &x, &mut got);
            assert_close("add_scaled", &got, &map(&|x, y| y + 0.3 * x), 0.0, 2e-7);
            let mut got = y.clone();
            kernel::scale(isa, -2.0, &mut got);
            assert_close("scale", &got, &map(&|_, y| -2.0 * y), 0.0, 0.0);
            let wide = |v: &[f32], w: &[f32]| v.iter().zip(w).map(|(&v, &w)| f64::from(v) * f64::from(w)).sum::<f64>();
            let bound = n as f64 * 1.2e-7;
            assert!((f64::from(kernel::dot(isa, &x, &y)) - wide(&x, &y)).abs() <= bound, "dot of {n}");
            assert!((f64::from(kernel::sum_of_squares(isa, &x)) - wide(&x, &x)).abs() <= bound, "squares of {n}");
        }
    }
}

#[test]
fn gated_units_and_their_gradients() {
    for isa in Isa::available() {
        for (n, &activation) in lengths().zip(Activation::ALL.iter().cycle()) {
            let what = format!("{} {activation:?} of {n}", isa.name());
            let x: Vec<f32> = noise(3, 2 * n).iter().map(|x| 6.0 * x).collect();
            let ((gate, up), dy) = (x.split_at(n), noise(4, n));
            let mut y = vec![0.0; n];
            kernel::gated(isa, activation, gate, up, &mut y);
            assert_close(&what, &y, &gated_reference(&x, n, activation), 1e-6, 4e-6);
            let (mut dgate, mut dup) = (vec![0.0; n], vec![0.0; n]);
            kernel::gated_backward(isa, activation, gate, up, &dy, &mut dgate, &mut dup);
            for i in 0..n {
                let (g, u, d) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dy[i]));
                let f = |x: f64| activation.reference(x);
                let want = (d * u * (f(g + 1e-5) - f(g - 1e-5)) / 2e-5, d * f(g));
                assert!((f64::from(dgate[i]) - want.0).abs() <= 1e-5, "{what} {i}: {want:?} {}", dgate[i]);
                assert!((f64::from(dup[i]) - want.1).abs() <= 6e-6, "{what} {i}: {want:?} {}", dup[i]);
            }
        }
    }
}

#[test]
fn soft_caps_of_every_length() {
    for isa in Isa::available() {
        for n in lengths() {
            let x: Vec<f32> = noise(1, n).iter().map(|x| 90.0 * x).collect();
            let mut y = vec![0.0; n];
            kernel::soft_cap(isa, 30.0, &x, &mut y);
            let want: Vec<f32> = x.iter().map(|&x| (30.0 * (f64::from(x) / 30.0).tanh()) as f32).collect();
            assert_close(&format!("{} {n}", isa.name()), &y, &want, 0.0, 1.2e-5);
        }
    }
}

/// dx, dweight and dbias of a norm in float64.
fn norm_gradient(x: &[f32], w: &[f32], dy: &[f32], kind: NormKind, epsilon: f32) -> [Vec<f32>; 3] {
    let n = x.len() as f64;
    let wide = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| f64::from(v)).collect() };
    let (x, w, dy) = (wide(x), wide(w), wide(dy));
    let mean = if kind == NormKind::Layer { x.iter().sum::<f64>() / n } else { 0.0 };
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let scale = 1.0 / (variance + f64::from(epsilon)).sqrt();
    let normal: Vec<f64> = x.iter().map(|x| (x - mean) * scale).collect();
    let offset = f64::from(kind.weight_offset());
    let d: Vec<f64> = dy.iter().zip(&w).map(|(dy, w)| dy * (w + offset)).collect();
    let mean_d = if kind == NormKind::Layer { d.iter().sum::<f64>() / n } else { 0.0 };
    let mean_dn = d.iter().zip(&normal).map(|(d, n)| d * n).sum::<f64>() / n;
    let dx = d.iter().zip(&normal).map(|(d, n)| ((d - mean_d - n * mean_dn) * scale) as f32).collect();
    [dx, dy.iter().zip(&normal).map(|(dy, n)| (dy * n) as f32).collect(), dy.iter().map(|&dy| dy as f32).collect()]
}

#[test]
fn norms_of_every_width() {
    for isa in Isa::available() {
        for n in lengths() {
            for kind in NormKind::ALL {
                for bias in [noise(5, n), vec![]] {
                    let what = format!("{} {kind:?} of {n}", isa.name());
                    let (x, w, dy) = (noise(1, n), noise(2, n), noise(3, n));
                    let mut y = vec![0.0; n];
                    let statistics = norm::forward(isa, kind, 1e-2, &x, &w, &bias, &mut y);
                    assert_close(&what, &y, &normalize_reference(&x, &w, &bias, kind, 1e-2), 4e-6, 4e-6);
                    let [dx, dweight, dbias] = norm_gradient(&x, &w, &dy, kind, 1e-2);
                    let (mut got, mut got_weight, mut got_bias) = (vec![7.0; n], vec![1.0; n], vec![2.0; bias.len()]);
                    norm::backward(isa, kind, statistics, &x, &w, &dy, &mut got, &mut got_weight, &mut got_bias, false);
                    assert_close(&what, &got, &dx, 1e-5, 1e-5);
                    let added: Vec<f32> = dweight.iter().map(|g| 1.0 + g).collect();
                    assert_close(&what, &got_weight, &added, 4e-6, 4e-6);
                    let added: Vec<f32> = dbias.iter().take(bias.len()).map(|g| 2.0 + g).collect();
                    assert_close(&what, &got_bias, &added, 1e-6, 0.0);
                    let before = got.clone();
                    norm::backward(isa, kind, statistics, &x, &w, &dy, &mut got, &mut got_weight, &mut got_bias, true);
                    assert_close(&what, &got, &before.iter().map(|g| 2.0 * g).collect::<Vec<_>>(), 1e-6, 0.0);
                }
            }
        }
    }
}

#[test]
fn a_norm_of_numbers_far_from_zero_keeps_its_digits() {
    for isa in Isa::available() {
        for n in lengths().filter(|&n| n > 1) {
            let x: Vec<f32> = noise(1, n).iter().map(|x| 1000.0 + x).collect();
            let (w, mut y) = (vec![1.0; n], vec![0.0; n]);
            norm::forward(isa, NormKind::Layer, 1e-5, &x, &w, &[], &mut y);
            // The mean itself has an error of some 1e-4 / sqrt(n) at this distance.
            let want = normalize_reference(&x, &w, &[], NormKind::Layer, 1e-5);
            assert_close(&format!("{} {n}", isa.name()), &y, &want, 2e-3, 2e-3);
        }
        let (mut y, w) = ([0.0; 21], [1.0; 21]);
        norm::forward(isa, NormKind::Layer, 1e-5, &[3.0; 21], &w, &[], &mut y);
        assert!(y.iter().all(|y| y.abs() < 1e-3), "a constant row is normal to 0: {y:?}");
        let mut x = [1.0; 21];
        x[20] = f32::NAN;
        for kind in NormKind::ALL {
            norm::forward(isa, kind, 1e-5, &x, &w, &[], &mut y);
            assert!(y.iter().all(|y| y.is_nan()), "{kind:?} of a NaN");
        }
    }
}

#[test]
fn softmax_and_cross_entropy_of_every_length() {
    for isa in Isa::available() {
        for n in lengths() {
            let x: Vec<f32> = noise(1, n).iter().map(|x| 8.0 * x).collect();
            let want = softmax_reference(&x, n);
            let mut y = x.clone();
            let log_sum = rows::softmax(isa, &mut y);
            assert_close("softmax", &y, &want, 4e-6, 1e-9);
            let exact = x.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
            assert!((f64::from(log_sum) - exact).abs() < 2e-6, "log-sum of {n}: {log_sum}, {exact}");
            for target in [0, n / 2, n - 1] {
                let mut logits = x.clone();
                let nats = rows::cross_entropy(isa, &mut logits, target, 0.5);
                let exact = cross_entropy_reference(&x, &[target as u32])[0];
                assert!((f64::from(nats) - exact).abs() < 2e-6, "{n}: {nats}, {exact}");
                let gradient: Vec<f32> =
                    want.iter().enumerate().map(|(i, p)| 0.5 * (p - f32::from(u8::from(i == target)))).collect();
                assert_close("its gradient", &logits, &gradient, 4e-6, 1e-7);
            }
            let dy = noise(2, n);
            let mean: f64 = want.iter().zip(&dy).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum();
            let gradient: Vec<f32> = want.iter().zip(&dy).map(|(y, d)| 1.0 + y * (d - mean as f32)).collect();
            let mut dx = vec![1.0; n];
            rows::softmax_backward(isa, &want, &dy, &mut dx, true);
            assert_close("backward", &dx, &gradient, 1e-6, 1e-6);
        }
    }
}

#[test]
fn softmax_of_extreme_rows() {
    for isa in Isa::available() {
        for n in [3, 16, 19, 40] {
            let mut x = vec![-1e30; n];
            x[n - 1] = 3e4;
            assert_eq!(rows::softmax(isa, &mut x), 3e4);
            assert!(x[n - 1] == 1.0 && x[0] < 1e-37);
            let mut x = vec![f32::NEG_INFINITY; n];
            x[1] = 2.0;
            rows::softmax(isa, &mut x);
            assert!(x[1] == 1.0 && x[0] < 1e-37, "forbidden numbers: {x:?}");
            for at in [0, n / 2, n - 1] {
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut x = noise(1, n);
                    x[at] = bad;
                    let nats = rows::cross_entropy(isa, &mut x, 0, 1.0);
                    assert!(nats.is_nan() || nats.is_infinite(), "{bad} at {at} of {n} gives {nats}");
                    assert!(x.iter().any(|x| x.is_nan()), "and its gradient");
                }
            }
        }
    }
}

#[test]
fn online_softmax_over_blocks_equals_softmax() {
    let scoring = Scoring { scale: 0.5, soft_cap: None, slope: 0.0 };
    for isa in Isa::available() {
        for (n, block) in [(1, 1), (7, 3), (40, 16), (130, 64), (64, 64)] {
            for (first, end) in [(0, n), (n / 3, n), (0, n - n / 4), (n / 3, n - n / 4)] {
                if first >= end {
                    continue;
                }
                let x: Vec<f32> = noise(n as u64, n).iter().map(|x| 30.0 * x).collect();
                let values = noise(9, n);
                let (mut state, mut mean) = ([OnlineSoftmax::EMPTY], [0.0_f32]);
                for (index, part) in x.chunks(block).enumerate() {
                    let base = index * block;
                    let seen = [first, end].map(|column| column.saturating_sub(base).min(part.len()));
                    let mut scores = [f32::NAN; SCORE_COLUMNS];
                    scores[..part.len()].copy_from_slice(part);
                    let rows = ScoreRows { seen: &[(seen[0], seen[1])], keys: part.len(), scoring, ahead: 0.0 };
                    rows::online_softmax_rows(isa, &mut scores, rows, &mut state, &mut mean, 1);
                    let terms = scores[..part.len()].iter().zip(&values[base..]);
                    mean[0] += terms.map(|(&p, &v)| f64::from(p) * f64::from(v)).sum::<f64>() as f32;
                }
                let scaled: Vec<f32> = x[first..end].iter().map(|x| 0.5 * x).collect();
                let p = softmax_reference(&scaled, end - first);
                let want: f64 = p.iter().zip(&values[first..]).map(|(&p, &v)| f64::from(p) * f64::from(v)).sum();
                let got = f64::from(mean[0]) / f64::from(state[0].sum);
                assert!((got - want).abs() < 3e-6, "{} {n} in {block}: {got}, {want}", isa.name());
                let log_sum = scaled.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
                assert!((f64::from(state[0].log_sum()) - log_sum).abs() < 4e-6);
            }
        }
    }
}

#[test]
fn dropout_has_its_rate_and_does_not_depend_on_the_split() {
    let n = 400_000;
    for rate in [0.01_f32, 0.1, 0.5, 0.9] {
        let mut whole = vec![1.0; n];
        kernel::dropout(rate, 0xdead_beef_1234_5678, 0, &mut whole);
        let keep = 1.0 / (1.0 - rate);
        assert!(whole.iter().all(|&y| y == 0.0 || y == keep));
        let dropped = whole.iter().filter(|&&y| y == 0.0).count() as f64 / n as f64;
        let deviation = (f64::from(rate) * (1.0 - f64::from(rate)) / n as f64).sqrt();
        assert!((dropped - f64::from(rate)).abs() < 5.0 * deviation, "{dropped} of {rate}");
        // Neighbours are independent.
        let pairs = whole.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f64 / n as f64;
        assert!((pairs - f64::from(rate).powi(2)).abs() < 10.0 * deviation, "{pairs} pairs of {rate}");
        let mut parts = vec![1.0; n];
        for (first, end) in [(0, 1), (1, 17), (17, 100_000), (100_000, n)] {
            kernel::dropout(rate, 0xdead_beef_1234_5678, first as u64, &mut parts[first..end]);
        }
        assert_eq!(parts, whole);
        let mut other = vec![1.0; n];
        kernel::dropout(rate, 0xdead_beef_1234_5679, 0, &mut other);
        let both = whole.iter().zip(&other).filter(|(a, b)| **a == 0.0 && **b == 0.0).count() as f64 / n as f64;
        assert!((both - f64::from(rate).powi(2)).abs() < 10.0 * deviation, "two keys drop {both} of {rate} together");
    }
}

#[test]
fn rotation_turns_and_turns_back() {
    for isa in Isa::available() {
        for half in [1, 2, 3, 8, 16, 20, 32, 40] {
            let angles = noise(1, half);
            let cosines: Vec<f32> = angles.iter().map(|a| (3.0 * a).cos()).collect();
            let sines: Vec<f32> = angles.iter().map(|a| (3.0 * a).sin()).collect();
            let x = noise(2, 2 * half);
            let mut y = x.clone();
            let (low, high) = y.split_at_mut(half);
            kernel::rotate(isa, &cosines, &sines, 1.0, low, high);
            for i in 0..half {
                let (a, b, c, s) = (x[i], x[i + half], cosines[i], sines[i]);
                assert!((low[i] - (a * c - b * s)).abs() < 3e-7 && (high[i] - (b * c + a * s)).abs() < 3e-7);
            }
            kernel::rotate(isa, &cosines, &sines, -1.0, low, high);
            assert_close("back", &y, &x, 0.0, 5e-7);
        }
    }
}

#[test]
fn adamw_agrees_with_float64_over_many_steps() {
    for isa in Isa::available() {
        for n in [1, 5, 16, 33] {
            let (beta1, beta2, epsilon, decay, clip) = (0.9_f64, 0.95_f64, 1e-8_f64, 0.1_f64, 0.37_f64);
            let mut w = noise(1, n);
            let (mut first, mut second) = (vec![0.0; n], vec![0.0; n]);
            let mut exact: Vec<(f64, f64, f64)> = w.iter().map(|&w| (f64::from(w), 0.0, 0.0)).collect();
            for t in 1..=50 {
                let gradient = noise(100 + t as u64, n);
                let rate = 1e-2 / f64::from(t);
                let corrections = (1.0 / (1.0 - beta1.powi(t)), 1.0 / (1.0 - beta2.powi(t)));
                let step = AdamWStep {
                    learning_rate: rate as f32,
                    beta1: beta1 as f32,
                    beta2: beta2 as f32,
                    epsilon: epsilon as f32,
                    weight_decay: decay as f32,
                    correction1: corrections.0 as f32,
                    correction2: corrections.1 as f32,
                    gradient_scale: clip as f32,
                };
                adamw(isa, step, &gradient, &mut w, &mut first, &mut second);
                for ((w, m, v), &g) in exact.iter_mut().zip(&gradient) {
                    let g = f64::from(g) * clip;
                    *m = beta1 * *m + (1.0 - beta1) * g;
                    *v = beta2 * *v + (1.0 - beta2) * g * g;
                    *w -= rate * decay * *w;
                    *w -= rate * *m * corrections.0 / ((*v * corrections.1).sqrt() + epsilon);
                }
            }
            let want: Vec<f32> = exact.iter().map(|(w, _, _)| *w as f32).collect();
            assert_close(&format!("{} {n}", isa.name()), &w, &want, 2e-6, 2e-6);
        }
    }
}

#[test]
fn the_global_norm_is_that_of_the_whole_buffer() {
    for n in [0, 1, 100, 32_768, 32_769, 100_001] {
        let x = noise(1, n);
        let want = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        for cpu in every_cpu(2) {
            let got = f64::from(global_norm(&cpu, &x, &mut Vec::new()));
            assert!((got - want).abs() <= 1e-5 * want, "{n}: {got}, {want}");
        }
    }
    let cpu = &every_cpu(1)[0];
    let mut x = noise(1, 70_000);
    x[69_999] = f32::NAN;
    assert!(global_norm(cpu, &x, &mut Vec::new()).is_nan());
}
