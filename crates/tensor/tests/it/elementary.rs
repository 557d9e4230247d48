//! Elementary operations against their references and finite differences, and as the oracle of coarse ones.

use tsumugi_tensor::kernels::elementwise::Activation;
use tsumugi_tensor::ops::cross_entropy::cross_entropy_reference;
use tsumugi_tensor::ops::elementwise::{Binary, Unary, binary_reference};
use tsumugi_tensor::ops::matmul::matmul_reference;
use tsumugi_tensor::ops::normalize_heads::normalize_heads_reference;
use tsumugi_tensor::ops::rearrange::transpose_reference;
use tsumugi_tensor::ops::reduce::{mean_squared_error_reference, sum_last_reference};
use tsumugi_tensor::ops::softmax::{log_softmax_reference, softmax_reference};
use tsumugi_tensor::{Heads, NormKind, ParameterId, Parameters, ParametersBuilder, Plan, Segment, Tape, Var};

use crate::support::{assert_close, assert_same_bits, check_gradients, every_cpu, noise, panics, train_once};

/// Records operations over the parameters.
type Record<'a> = &'a dyn Fn(&mut Tape, &[Var]) -> Var;

/// Parameters of these shapes with numbers in [0.25, 1.75): away from poles and kinks.
fn operands(shapes: &[&[usize]]) -> Parameters {
    let mut builder = ParametersBuilder::default();
    let ids: Vec<ParameterId> =
        shapes.iter().enumerate().map(|(i, shape)| builder.add(format!("operand {i}"), shape)).collect();
    let mut parameters = builder.build();
    for id in ids {
        let len = parameters.get(id).len();
        let values: Vec<f32> = noise(id.0 as u64 + 3, len).iter().map(|x| 1.0 + 0.75 * x).collect();
        parameters.values_mut(id).copy_from_slice(&values);
    }
    parameters
}

fn variables(tape: &mut Tape, parameters: &Parameters) -> Vec<Var> {
    let ids: Vec<ParameterId> = parameters.iter().map(|(id, _)| id).collect();
    ids.into_iter().map(|id| tape.parameter(parameters, id)).collect()
}

/// The value of `record`, after its gradients were held against finite differences of a weighted sum of it,
/// once alone and once added to gradients that are there (each operand is also read by a second operation).
fn check(what: &str, shapes: &[&[usize]], record: Record<'_>) -> Vec<f32> {
    let mut values = Vec::new();
    for cpu in every_cpu(1) {
        let mut parameters = operands(shapes);
        for twice in [false, true] {
            let mut tape = Tape::new();
            let given = variables(&mut tape, &parameters);
            // A value instead of a parameter as operand: other paths through the planner.
            let operands: Vec<Var> =
                if twice { given.iter().map(|&var| tape.scale(var, 1.0)).collect() } else { given.clone() };
            let y = record(&mut tape, &operands);
            let extra: Vec<Var> =
                if twice { operands.iter().map(|&var| tape.unary(Unary::Square, var)).collect() } else { vec![] };
            let rows: Vec<Var> = std::iter::once(y)
                .chain(extra)
                .map(|var| {
                    let len = tape.shape(var).iter().product();
                    tape.reshape(var, &[1, len])
                })
                .collect();
            let all = tape.concat_columns(&rows);
            let (shape, len) = (tape.shape(all).to_vec(), tape.shape(all).iter().product());
            let weights = tape.input(&shape);
            let loss = tape.weighted_sum_loss(all, weights);
            let numbers = noise(77, len);
            let (mut plan, gradients) =
                train_once(&cpu, tape, loss, &[y, all], &parameters, |plan| plan.set(weights, &numbers));
            let value = |plan: &Plan| -> f64 {
                plan.value(all).iter().zip(&numbers).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            };
            let trained = plan.value(loss)[0];
            plan.evaluate(&cpu, &parameters);
            assert_eq!(plan.value(loss)[0].to_bits(), trained.to_bits(), "{what}: evaluation gives the same loss");
            values = plan.value(y).to_vec();
            check_gradients(&cpu, &mut plan, &mut parameters, &gradients, &value, 3e-4);
        }
    }
    values
}

#[test]
fn functions_of_two_numbers() {
    for function in Binary::ALL {
        for (a, b) in [(&[3, 5][..], &[3, 5][..]), (&[2, 3, 4], &[4]), (&[7], &[7]), (&[1, 1], &[1])] {
            let parameters = operands(&[a, b]);
            let y = check(&format!("{function:?}"), &[a, b], &|tape, x| tape.binary(function, x[0], x[1]));
            let want = binary_reference(function, parameters.values(ParameterId(0)), parameters.values(ParameterId(1)));
            assert_close(&format!("{function:?}"), &y, &want, 1e-6, 1e-7);
        }
    }
    check("x x", &[&[2, 3]], &|tape, x| tape.multiply(x[0], x[0]));
    check("x + x", &[&[2, 3]], &|tape, x| tape.add(x[0], x[0]));
    check("x / (x - 3 x)", &[&[2, 3]], &|tape, x| {
        let three = tape.scale(x[0], 3.0);
        let below = tape.subtract(x[0], three);
        tape.divide(x[0], below)
    });
}

#[test]
fn functions_of_one_number() {
    use Unary::{Absolute, Exp, Ln, Negate, Reciprocal, Scale, SoftCap, Sqrt, Square};
    let x = operands(&[&[3, 7]]).values(ParameterId(0)).to_vec();
    for function in [Exp, Ln, Sqrt, Square, Negate, Reciprocal, Absolute, Scale(-1.5), SoftCap(0.7)] {
        let y = check(&format!("{function:?}"), &[&[3, 7]], &|tape, x| tape.unary(function, x[0]));
        let want: Vec<f32> = x.iter().map(|&x| function.reference(f64::from(x)) as f32).collect();
        assert_close(&format!("{function:?}"), &y, &want, 4e-7, 1e-7);
    }
    for activation in Activation::ALL {
        let y = check(&format!("{activation:?}"), &[&[3, 7]], &|tape, x| tape.activation(x[0], activation));
        let want: Vec<f32> = x.iter().map(|&x| activation.reference(f64::from(x)) as f32).collect();
        assert_close(&format!("{activation:?}"), &y, &want, 1e-6, 4e-7);
    }
    check("the three by name", &[&[4]], &|tape, x| {
        let (a, b, c) = (tape.tanh(x[0]), tape.sigmoid(x[0]), tape.relu(x[0]));
        let ab = tape.multiply(a, b);
        tape.multiply(ab, c)
    });
}

#[test]
fn norms_of_heads() {
    for (rows, query, key, width) in [(1, 1, 1, 2), (3, 2, 1, 3), (35, 4, 2, 5), (2, 3, 3, 18)] {
        let heads = Heads::new(query, key, width, 1.0);
        for kind in NormKind::ALL {
            let shapes: [&[usize]; 3] = [&[rows, heads.row()], &[width], &[width]];
            let what = format!("{kind:?} of {heads:?}");
            let y = check(&what, &shapes, &|tape, x| tape.normalize_heads(x[0], [x[1], x[2]], &heads, kind, 0.1));
            let parameters = operands(&shapes);
            let value = |i| parameters.values(ParameterId(i));
            let want = normalize_heads_reference(value(0), [value(1), value(2)], &heads, kind, 0.1);
            assert_close(&what, &y, &want, 4e-6, 4e-6);
        }
    }
}

#[test]
fn matrix_products_with_every_transposition() {
    for (m, n, k) in [(1, 1, 1), (2, 3, 4), (5, 1, 3), (1, 6, 2)] {
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            let a = if transposed[0] { [k, m] } else { [m, k] };
            let b = if transposed[1] { [n, k] } else { [k, n] };
            let parameters = operands(&[&a, &b]);
            let y = check(&format!("{m} {n} {k} {transposed:?}"), &[&a, &b], &|tape, x| {
                tape.matmul(x[0], x[1], transposed[0], transposed[1])
            });
            let (a, b) = (parameters.values(ParameterId(0)), parameters.values(ParameterId(1)));
            assert_close("matmul", &y, &matmul_reference(a, b, (m, n, k), transposed), 1e-6, 0.0);
        }
    }
    check("x x^T", &[&[3, 2]], &|tape, x| tape.matmul(x[0], x[0], false, true));
}

#[test]
fn moving_numbers() {
    let x = operands(&[&[4, 6]]).values(ParameterId(0)).to_vec();
    let y = check("transpose", &[&[4, 6]], &|tape, x| tape.transpose(x[0]));
    assert_same_bits("transpose", &y, &transpose_reference(&x, 4, 6));
    let y = check("reshape", &[&[4, 6]], &|tape, x| tape.reshape(x[0], &[2, 3, 4]));
    assert_same_bits("reshape", &y, &x);
    for range in [0..6, 0..1, 2..5, 5..6] {
        let y = check("slice", &[&[4, 6]], &|tape, x| tape.slice_columns(x[0], range.clone()));
        let want: Vec<f32> = x.chunks(6).flat_map(|row| row[range.clone()].to_vec()).collect();
        assert_same_bits("slice", &y, &want);
    }
    let parameters = operands(&[&[2, 3], &[2, 1], &[2, 2]]);
    let y = check("concat", &[&[2, 3], &[2, 1], &[2, 2]], &|tape, x| tape.concat_columns(x));
    let part = |i: usize, row: usize, width: usize| parameters.values(ParameterId(i))[row * width..][..width].to_vec();
    let want: Vec<f32> = (0..2).flat_map(|row| [part(0, row, 3), part(1, row, 1), part(2, row, 2)].concat()).collect();
    assert_same_bits("concat", &y, &want);
    check("concat of one value twice", &[&[2, 3]], &|tape, x| tape.concat_columns(&[x[0], x[0]]));
}

#[test]
fn softmax_sums_and_means_over_the_last_axis() {
    for shape in [&[1, 1][..], &[3, 5], &[2, 2, 17], &[9]] {
        let columns = *shape.last().expect("not empty");
        let x = operands(&[shape]).values(ParameterId(0)).to_vec();
        // The weighted sum of a softmax over one number has no gradient; the others do.
        if columns > 1 {
            let y = check("softmax", &[shape], &|tape, x| tape.softmax(x[0]));
            assert_close("softmax", &y, &softmax_reference(&x, columns), 1e-6, 0.0);
            let y = check("log_softmax", &[shape], &|tape, x| tape.log_softmax(x[0]));
            assert_close("log_softmax", &y, &log_softmax_reference(&x, columns), 1e-6, 1e-7);
        }
        let y = check("sum", &[shape], &|tape, x| tape.sum_last(x[0]));
        assert_close("sum", &y, &sum_last_reference(&x, columns, false), 1e-6, 0.0);
        let y = check("mean", &[shape], &|tape, x| tape.mean_last(x[0]));
        assert_close("mean", &y, &sum_last_reference(&x, columns, true), 1e-6, 0.0);
    }
}

#[test]
fn losses() {
    for cpu in every_cpu(2) {
        let parameters = operands(&[&[3, 4], &[3, 4]]);
        let (x, t) = (parameters.values(ParameterId(0)).to_vec(), parameters.values(ParameterId(1)).to_vec());
        let run = |record: Record<'_>| {
            let mut tape = Tape::new();
            let given = variables(&mut tape, &parameters);
            let loss = record(&mut tape, &given);
            let (plan, gradients) = train_once(&cpu, tape, loss, &[], &parameters, |plan| plan.set_loss_scale(0.5));
            let parts: Vec<Vec<f32>> =
                parameters.iter().map(|(id, _)| gradients[parameters.range(id)].to_vec()).collect();
            (plan.value(loss)[0], parts)
        };
        let (loss, gradients) = run(&|tape, v| tape.mean_squared_error_loss(v[0], v[1]));
        assert!((f64::from(loss) - 0.5 * mean_squared_error_reference(&x, &t)).abs() < 1e-7);
        let want: Vec<f32> = x.iter().zip(&t).map(|(x, t)| (x - t) / 12.0).collect();
        assert_close("error by x", &gradients[0], &want, 1e-6, 1e-8);
        assert_close("error by t", &gradients[1], &want.iter().map(|g| -g).collect::<Vec<_>>(), 1e-6, 1e-8);
        let (loss, gradients) = run(&|tape, v| {
            let y = tape.multiply(v[0], v[1]);
            tape.mean_loss(y)
        });
        let want: f32 = x.iter().zip(&t).map(|(x, t)| x * t).sum::<f32>() / 24.0;
        assert!((loss - want).abs() < 1e-6);
        assert_close("mean by x", &gradients[0], &t.iter().map(|t| t / 24.0).collect::<Vec<_>>(), 1e-6, 0.0);
        let (_, gradients) = run(&|tape, v| tape.weighted_sum_loss(v[0], v[1]));
        assert_close("by weights", &gradients[1], &x.iter().map(|x| x / 2.0).collect::<Vec<_>>(), 1e-6, 0.0);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let attempts: [fn(&mut Tape, Var, Var); 7] = [
        |tape, a, b| _ = tape.add(a, b),
        |tape, a, b| _ = tape.matmul(a, b, true, false),
        |tape, a, b| _ = tape.mean_squared_error_loss(a, b),
        |tape, a, _| _ = tape.reshape(a, &[5]),
        |tape, a, _| _ = tape.slice_columns(a, 2..4),
        |tape, a, b| _ = tape.concat_columns(&[a, b]),
        |tape, a, b| _ = tape.weighted_sum_loss(a, b),
    ];
    for (i, attempt) in attempts.iter().enumerate() {
        let mut tape = Tape::new();
        let (a, b) = (tape.input(&[2, 3]), tape.input(&[3, 2]));
        assert!(panics(|| attempt(&mut tape, a, b)), "attempt {i}");
    }
}

/// Runs two tapes over the same parameters: values and every gradient agree.
fn agree(
    what: &str,
    parameters: &Parameters,
    coarse: &dyn Fn(&mut Tape) -> Recorded,
    fine: &dyn Fn(&mut Tape) -> Recorded,
) {
    for cpu in every_cpu(2) {
        let run = |record: &dyn Fn(&mut Tape) -> Recorded| {
            let mut tape = Tape::new();
            let Recorded { loss, value, set } = record(&mut tape);
            let (plan, gradients) = train_once(&cpu, tape, loss, &[value], parameters, |plan| set(plan));
            (plan.value(value).to_vec(), plan.value(loss).to_vec(), gradients)
        };
        let (got, want) = (run(coarse), run(fine));
        assert_close(&format!("{what}: value"), &got.0, &want.0, 2e-6, 2e-6);
        assert_close(&format!("{what}: loss"), &got.1, &want.1, 2e-6, 2e-6);
        assert!(want.2.iter().any(|g| g.abs() > 1e-2), "{what}: there are gradients");
        assert_close(&format!("{what}: gradients"), &got.2, &want.2, 2e-5, 5e-6);
    }
}

struct Recorded {
    loss: Var,
    value: Var,
    set: Box<dyn Fn(&mut Plan)>,
}

/// The loss `sum weights value` with noise as weights.
fn weigh(tape: &mut Tape, value: Var, more: impl Fn(&mut Plan) + 'static) -> Recorded {
    let shape = tape.shape(value).to_vec();
    let numbers = noise(5, shape.iter().product());
    let weights = tape.input(&shape);
    let loss = tape.weighted_sum_loss(value, weights);
    let set = move |plan: &mut Plan| {
        plan.set(weights, &numbers);
        more(plan);
    };
    Recorded { loss, value, set: Box::new(set) }
}

#[test]
fn the_coarse_norms_equal_their_formulas() {
    let parameters = operands(&[&[70, 18], &[18], &[18]]);
    for kind in NormKind::ALL {
        agree(
            &format!("{kind:?}"),
            &parameters,
            &|tape| {
                let v = variables(tape, &parameters);
                let y = tape.normalize(v[0], v[1], Some(v[2]), kind, 1e-5);
                weigh(tape, y, |_| {})
            },
            &|tape| {
                let v = variables(tape, &parameters);
                let (epsilon, one) = (tape.input(&[1]), tape.input(&[1, 18]));
                let centred = if kind == NormKind::Layer {
                    let mean = tape.mean_last(v[0]);
                    let mean = tape.reshape(mean, &[70, 1]);
                    let mean = tape.matmul(mean, one, false, false);
                    tape.subtract(v[0], mean)
                } else {
                    v[0]
                };
                let squares = tape.unary(Unary::Square, centred);
                let variance = tape.mean_last(squares);
                let variance = tape.reshape(variance, &[70, 1]);
                let variance = tape.add(variance, epsilon);
                let deviation = tape.unary(Unary::Sqrt, variance);
                let deviation = tape.matmul(deviation, one, false, false);
                let normal = tape.divide(centred, deviation);
                let offset = tape.input(&[18]);
                let weight = tape.add(v[1], offset);
                let y = tape.multiply(normal, weight);
                let y = tape.add(y, v[2]);
                weigh(tape, y, move |plan| {
                    plan.set(epsilon, &[1e-5]);
                    plan.set(offset, &[kind.weight_offset(); 18]);
                    plan.set(one, &[1.0; 18]);
                })
            },
        );
    }
}

#[test]
fn coarse_attention_equals_its_formula() {
    const ROWS: usize = 67;
    let heads = Heads::new(1, 1, 8, 0.7);
    let parameters = operands(&[&[ROWS, 24]]);
    agree(
        "attention",
        &parameters,
        &|tape| {
            let v = variables(tape, &parameters);
            let y = tape.attention(v[0], heads, 0);
            weigh(tape, y, |plan| plan.set_segments(&[Segment { start: 0, len: ROWS }]))
        },
        &|tape| {
            let v = variables(tape, &parameters);
            let mask = tape.input(&[ROWS, ROWS]);
            let [q, k, value] = [0, 8, 16].map(|first| tape.slice_columns(v[0], first..first + 8));
            let scores = tape.matmul(q, k, false, true);
            let scores = tape.scale(scores, heads.scale);
            let scores = tape.add(scores, mask);
            let weights = tape.softmax(scores);
            let y = tape.matmul(weights, value, false, false);
            let causal: Vec<f32> = (0..ROWS * ROWS).map(|i| if i % ROWS <= i / ROWS { 0.0 } else { -1e9 }).collect();
            weigh(tape, y, move |plan| plan.set(mask, &causal))
        },
    );
}

#[test]
fn the_coarse_head_equals_its_formula() {
    const ROWS: usize = 9;
    const VOCABULARY: usize = 21;
    let parameters = operands(&[&[ROWS, 6], &[VOCABULARY, 6]]);
    let targets_of: Vec<u32> = (0..ROWS as u32).map(|row| row * 2).collect();
    let weights_of: Vec<f32> = (0..ROWS).map(|row| row as f32 / 4.0).collect();
    let record = |fused: bool, tape: &mut Tape| {
        let v = variables(tape, &parameters);
        let (targets, weights) = (tape.ids(ROWS), tape.input(&[ROWS]));
        let (loss, nats) = if fused {
            tape.head_cross_entropy(v[0], v[1], targets, weights)
        } else {
            let logits = tape.matmul(v[0], v[1], false, true);
            tape.cross_entropy_loss(logits, targets, weights)
        };
        let (targets_of, weights_of) = (targets_of.clone(), weights_of.clone());
        let set = move |plan: &mut Plan| {
            plan.set_ids(targets, &targets_of);
            plan.set(weights, &weights_of);
            plan.set_loss_scale(0.25);
        };
        Recorded { loss, value: nats, set: Box::new(set) }
    };
    agree("head", &parameters, &|tape| record(true, tape), &|tape| record(false, tape));
    // And with nothing but softmax: sum over rows of weight (log_softmax at the target).
    agree("log_softmax", &parameters, &|tape| record(true, tape), &|tape| {
        let v = variables(tape, &parameters);
        let logits = tape.matmul(v[0], v[1], false, true);
        let log = tape.log_softmax(logits);
        let (chosen, weights) = (tape.input(&[ROWS, VOCABULARY]), tape.input(&[ROWS]));
        let picked = tape.multiply(log, chosen);
        let nats = tape.sum_last(picked);
        let nats = tape.unary(Unary::Negate, nats);
        let loss = tape.weighted_sum_loss(nats, weights);
        let mut one_hot = vec![0.0; ROWS * VOCABULARY];
        targets_of.iter().enumerate().for_each(|(row, &target)| one_hot[row * VOCABULARY + target as usize] = 1.0);
        let weights_of = weights_of.clone();
        let set = move |plan: &mut Plan| {
            plan.set(chosen, &one_hot);
            plan.set(weights, &weights_of);
            plan.set_loss_scale(0.25);
        };
        Recorded { loss, value: nats, set: Box::new(set) }
    });
    let (x, head) = (parameters.values(ParameterId(0)), parameters.values(ParameterId(1)));
    let logits = matmul_reference(x, head, (ROWS, VOCABULARY, 6), [false, true]);
    let want: Vec<f32> = cross_entropy_reference(&logits, &targets_of).iter().map(|&n| n as f32).collect();
    for cpu in every_cpu(1) {
        let mut tape = Tape::new();
        let Recorded { loss, value, set } = record(true, &mut tape);
        let (plan, _) = train_once(&cpu, tape, loss, &[value], &parameters, |plan| set(plan));
        assert_close("nats", plan.value(value), &want, 2e-6, 1e-6);
    }
}
