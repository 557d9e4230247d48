//! Mixtures of experts and gated rows against their formulas, gradients against finite differences, and every way in which
//! an expert's weights can lie in memory against the others.

use tsumugi_tensor::memory::bytes_of;
use tsumugi_tensor::ops::experts::experts_reference;
use tsumugi_tensor::ops::gate_rows::gate_rows_reference;
use tsumugi_tensor::quant::{QuantizedMatrix, StoredRows, WeightKind};
use tsumugi_tensor::{Activation, Cpu, ParameterId, Parameters, ParametersBuilder, Plan, Routing, Tape, Var};

use crate::support::{assert_close, assert_same_bits, check_gradients, every_cpu, fill, noise, train_once};

/// Rows, experts, how many of them for each row, width, hidden width.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    experts: usize,
    chosen: usize,
    width: usize,
    hidden: usize,
}

const SIZES: [Sizes; 6] = [
    Sizes { rows: 1, experts: 1, chosen: 1, width: 1, hidden: 1 },
    Sizes { rows: 1, experts: 5, chosen: 2, width: 7, hidden: 3 },
    Sizes { rows: 9, experts: 4, chosen: 4, width: 16, hidden: 33 },
    Sizes { rows: 40, experts: 3, chosen: 1, width: 5, hidden: 8 },
    Sizes { rows: 70, experts: 8, chosen: 2, width: 32, hidden: 40 },
    Sizes { rows: 3, experts: 64, chosen: 6, width: 8, hidden: 2 },
];

impl Sizes {
    fn declare(self) -> (ParametersBuilder, [ParameterId; 2]) {
        let mut builder = ParametersBuilder::default();
        let gate_up = builder.add_experts("gate_up", self.experts, &[self.hidden, self.hidden], self.width);
        let down = builder.add_experts("down", self.experts, &[self.width], self.hidden);
        (builder, [gate_up, down])
    }

    fn parameters(self) -> (Parameters, [ParameterId; 2]) {
        let (builder, ids) = self.declare();
        let mut parameters = builder.build();
        fill(&mut parameters, 1.0);
        (parameters, ids)
    }

    fn inputs(self) -> (Vec<f32>, Vec<f32>) {
        (noise(1, self.rows * self.width), noise(2, self.rows * self.experts).iter().map(|x| 3.0 * x).collect())
    }
}

struct Recorded {
    plan: Plan,
    x: Var,
    logits: Var,
    y: Var,
}

fn record(sizes: Sizes, parameters: &Parameters, ids: [ParameterId; 2], routing: Routing, f: Activation) -> Recorded {
    let mut tape = Tape::new();
    let (x, logits) = (tape.input(&[sizes.rows, sizes.width]), tape.input(&[sizes.rows, sizes.experts]));
    let weights = ids.map(|id| tape.parameter(parameters, id));
    let y = tape.experts(x, logits, weights, routing, f);
    let flops = 6 * sizes.rows * routing.chosen * sizes.width * sizes.hidden;
    assert_eq!(tape.forward_flops(), flops as f64);
    Recorded { plan: Plan::forward_only(tape, &[y]), x, logits, y }
}

impl Recorded {
    fn run(&mut self, cpu: &Cpu, parameters: &Parameters, x: &[f32], logits: &[f32]) -> Vec<f32> {
        self.plan.set(self.x, x);
        self.plan.set(self.logits, logits);
        self.plan.evaluate(cpu, parameters);
        self.plan.value(self.y).to_vec()
    }
}

#[test]
fn experts_are_their_formula_however_their_weights_lie() {
    for cpu in every_cpu(2) {
        for (sizes, normalized) in SIZES.into_iter().flat_map(|sizes| [(sizes, false), (sizes, true)]) {
            let ((parameters, ids), (x, logits)) = (sizes.parameters(), sizes.inputs());
            let routing = Routing { chosen: sizes.chosen, normalized };
            let mut recorded = record(sizes, &parameters, ids, routing, Activation::Silu);
            let got = recorded.run(&cpu, &parameters, &x, &logits);
            let weights = ids.map(|id| parameters.values(id));
            let want = experts_reference(&x, &logits, weights, sizes.experts, routing, Activation::Silu);
            assert_close(&format!("{sizes:?}"), &got, &want, 1e-5, 1e-5);
            // Each row alone has the same bits.
            let alone = Sizes { rows: 1, ..sizes };
            let mut alone = record(alone, &parameters, ids, routing, Activation::Silu);
            let rows = x.chunks_exact(sizes.width).zip(logits.chunks_exact(sizes.experts));
            let apart: Vec<f32> = rows.flat_map(|(x, logits)| alone.run(&cpu, &parameters, x, logits)).collect();
            assert_same_bits("one by one", &apart, &got);
            let packed = parameters.pack(&cpu, |_| true);
            assert_same_bits("packed", &recorded.run(&cpu, &packed, &x, &logits), &got);
        }
    }
}

/// A piece for each matrix, as files that have a tensor for each matrix of each expert give them.
fn stored(cpu: &Cpu, parameters: &Parameters, id: ParameterId) -> QuantizedMatrix {
    let parameter = parameters.get(id);
    let columns = parameter.shape[2];
    let mut weight = QuantizedMatrix::new(columns);
    let mut values = parameters.values(id);
    for &rows in &parameter.matrix_rows {
        let (bytes, rest) = values.split_at(rows * columns);
        weight.push(
            cpu,
            StoredRows { kind: WeightKind::F32, bytes: bytes_of(bytes), row_at: &|row| row, transposed: false, rows },
        );
        values = rest;
    }
    weight
}

#[test]
fn stored_experts_give_what_dense_ones_give_and_rows_do_not_meet() {
    for cpu in every_cpu(2) {
        for sizes in SIZES {
            let ((parameters, ids), (x, logits)) = (sizes.parameters(), sizes.inputs());
            let routing = Routing { chosen: sizes.chosen, normalized: true };
            let mut recorded = record(sizes, &parameters, ids, routing, Activation::GeluTanh);
            let dense = recorded.run(&cpu, &parameters, &x, &logits);
            let mut weights = ids.map(|id| Some(stored(&cpu, &parameters, id))).into_iter().flatten();
            let serving = sizes.declare().0.build_serving(|_| weights.next());
            let got = recorded.run(&cpu, &serving, &x, &logits);
            assert_close(&format!("{sizes:?}"), &got, &dense, 1e-5, 1e-5);
            let mut alone = record(Sizes { rows: 1, ..sizes }, &parameters, ids, routing, Activation::GeluTanh);
            let rows = x.chunks_exact(sizes.width).zip(logits.chunks_exact(sizes.experts));
            let apart: Vec<f32> = rows.flat_map(|(x, logits)| alone.run(&cpu, &serving, x, logits)).collect();
            assert_same_bits("one by one", &apart, &got);
        }
    }
}

/// Ties and numbers that are not finite: always `chosen` different experts, the first of equal ones.
#[test]
fn of_equal_experts_the_first_are_chosen_and_strange_logits_do_not_panic() {
    let sizes = Sizes { rows: 3, experts: 5, chosen: 2, width: 4, hidden: 3 };
    let ((parameters, ids), (x, _)) = (sizes.parameters(), sizes.inputs());
    let routing = Routing { chosen: 2, normalized: true };
    for cpu in every_cpu(1) {
        let mut recorded = record(sizes, &parameters, ids, routing, Activation::Silu);
        let tied = recorded.run(&cpu, &parameters, &x, &[1.0; 15]);
        let first = [2.0, 2.0, 0.0, 0.0, 0.0].repeat(3);
        assert_same_bits("ties", &tied, &recorded.run(&cpu, &parameters, &x, &first));
        for strange in [f32::NAN, f32::INFINITY] {
            let y = recorded.run(&cpu, &parameters, &x, &[strange; 15]);
            assert!(y.iter().all(|y| y.is_nan()));
        }
    }
}

/// Everything is a parameter, so that every input has a gradient; the loss weighs every number.
fn check_backward(parameters: &mut Parameters, cpu: &Cpu, record: impl Fn(&mut Tape, &[Var]) -> Var) {
    let mut tape = Tape::new();
    let inputs: Vec<Var> = parameters.iter().map(|(id, _)| tape.parameter(parameters, id)).collect();
    let y = record(&mut tape, &inputs);
    let len = tape.shape(y).iter().product();
    let weights = noise(77, len);
    // The rows are used twice, so that one gradient is added to what is there.
    let both = tape.add(y, inputs[0]);
    let weighing = tape.input(&[len]);
    let flat = tape.reshape(both, &[len]);
    let loss = tape.weighted_sum_loss(flat, weighing);
    let (mut plan, mut gradients) =
        train_once(cpu, tape, loss, &[flat], parameters, |plan| plan.set(weighing, &weights));
    let of = |plan: &Plan| -> f64 {
        plan.value(flat).iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum()
    };
    check_gradients(cpu, &mut plan, parameters, &gradients, &of, 2e-3);
    let once = gradients.clone();
    plan.train(cpu, parameters, &mut gradients, true);
    assert_close("added", &gradients, &once.iter().map(|g| 2.0 * g).collect::<Vec<_>>(), 1e-5, 1e-6);
}

#[test]
fn gradients_of_experts_and_of_gated_rows_agree_with_finite_differences() {
    let sizes = Sizes { rows: 6, experts: 5, chosen: 2, width: 4, hidden: 3 };
    for cpu in every_cpu(2) {
        for normalized in [true, false] {
            let mut builder = ParametersBuilder::default();
            builder.add("x", &[sizes.rows, sizes.width]);
            let logits = builder.add("logits", &[sizes.rows, sizes.experts]);
            builder.add_experts("gate_up", sizes.experts, &[sizes.hidden; 2], sizes.width);
            builder.add_experts("down", sizes.experts, &[sizes.width], sizes.hidden);
            let mut parameters = builder.build();
            fill(&mut parameters, 1.0);
            // Far apart, so that no difference changes the choice: each row has another order.
            for (index, logit) in parameters.values_mut(logits).iter_mut().enumerate() {
                *logit = ((index / sizes.experts + index) * 3 % sizes.experts) as f32 * 0.4;
            }
            let routing = Routing { chosen: sizes.chosen, normalized };
            check_backward(&mut parameters, &cpu, |tape, inputs| {
                tape.experts(inputs[0], inputs[1], [inputs[2], inputs[3]], routing, Activation::Silu)
            });
        }
        let mut builder = ParametersBuilder::default();
        builder.add("x", &[20, 3]);
        builder.add("gate", &[20, 1]);
        let mut parameters = builder.build();
        fill(&mut parameters, 1.0);
        check_backward(&mut parameters, &cpu, |tape, inputs| tape.gate_rows(inputs[0], inputs[1]));
    }
}

/// An expert that no row chose has a gradient of 0, whatever was there.
#[test]
fn experts_without_rows_have_no_gradient() {
    let sizes = Sizes { rows: 2, experts: 3, chosen: 1, width: 2, hidden: 2 };
    let (parameters, ids) = sizes.parameters();
    for cpu in every_cpu(1) {
        let mut tape = Tape::new();
        let x = tape.input(&[2, 2]);
        let logits = tape.input(&[2, 3]);
        let weights = ids.map(|id| tape.parameter(&parameters, id));
        let routing = Routing { chosen: 1, normalized: false };
        let y = tape.experts(x, logits, weights, routing, Activation::Silu);
        let loss = tape.mean_loss(y);
        let (mut plan, mut gradients) = train_once(&cpu, tape, loss, &[], &parameters, |plan| {
            plan.set(x, &[0.5; 4]);
            plan.set(logits, &[0.0, 4.0, 0.0].repeat(2));
        });
        gradients.fill(7.0);
        plan.train(&cpu, &parameters, &mut gradients, false);
        for id in ids {
            let of_expert = parameters.get(id).len() / 3;
            let gradient = &gradients[parameters.range(id)];
            let is_zero = |expert: usize| gradient[expert * of_expert..][..of_expert].iter().all(|&g| g == 0.0);
            assert_eq!([0, 1, 2].map(is_zero), [true, false, true]);
        }
    }
}

#[test]
fn gated_rows_are_their_formula() {
    for cpu in every_cpu(2) {
        for (rows, width) in [(1, 1), (3, 7), (40, 64)] {
            let (x, gate) = (noise(1, rows * width), noise(2, rows));
            let gate: Vec<f32> = gate.iter().map(|gate| 5.0 * gate).collect();
            let mut tape = Tape::new();
            let (a, b) = (tape.input(&[rows, width]), tape.input(&[rows, 1]));
            let y = tape.gate_rows(a, b);
            let mut plan = Plan::forward_only(tape, &[y]);
            plan.set(a, &x);
            plan.set(b, &gate);
            plan.evaluate(&cpu, &ParametersBuilder::default().build());
            assert_close("gated rows", plan.value(y), &gate_rows_reference(&x, &gate), 1e-6, 1e-7);
        }
    }
}
