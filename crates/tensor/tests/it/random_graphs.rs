//! Random graphs: memory that the planner uses again, values changed in place and gradients that share memory must
//! give the bits of a plan that keeps every value, in which nothing is shared; and so must blocks that are recomputed.

use std::sync::Arc;

use tsumugi_tensor::{
    Activation, Activations, Cpu, Heads, Ids, Isa, NormKind, ParameterId, Parameters, ParametersBuilder, Plan,
    PlanError, RotaryTable, Segment, Tape, Var,
};

use crate::support::{assert_same_bits, fill, noise, noise_ids};

const ROWS: usize = 6;
const WIDTH: usize = 8;
const HEADS: Heads = Heads::new(2, 1, 4, 0.5);

/// A graph under construction: every value is `[ROWS, WIDTH]`.
struct Graph<'a> {
    tape: Tape,
    parameters: &'a Parameters,
    values: Vec<Var>,
    choices: std::vec::IntoIter<u32>,
    positions: Ids,
}

fn declare() -> Parameters {
    let mut builder = ParametersBuilder::default();
    builder.add("x", &[ROWS, WIDTH]);
    builder.add("square", &[WIDTH, WIDTH]);
    builder.add("other", &[WIDTH, WIDTH]);
    builder.add("qkv", &[HEADS.row(), WIDTH]);
    builder.add("scale.norm", &[WIDTH]);
    builder.add("bias", &[WIDTH]);
    let mut parameters = builder.build();
    fill(&mut parameters, 0.5);
    parameters
}

impl Graph<'_> {
    fn choose(&mut self, n: usize) -> usize {
        self.choices.next().expect("enough choices were drawn") as usize % n
    }

    /// An earlier value; the latest are likelier, so that there are chains.
    fn pick(&mut self) -> Var {
        let recent = self.values.len().min(3);
        let index = if self.choose(3) == 0 {
            self.choose(self.values.len())
        } else {
            self.values.len() - 1 - self.choose(recent)
        };
        self.values[index]
    }

    fn parameter(&mut self, name: &str) -> Var {
        let id = self.parameters.find(name).expect("declared");
        self.tape.parameter(self.parameters, id)
    }

    fn attention(&mut self, x: Var) -> Var {
        let weight = self.parameter("qkv");
        let qkv = self.tape.linear(x, weight, None, None);
        let table = Arc::new(RotaryTable::new(ROWS, &RotaryTable::frequencies(HEADS.width, 10.0), 1.0));
        let qkv = self.tape.rotary(qkv, self.positions, &HEADS, &table);
        self.tape.attention(qkv, HEADS, 0)
    }

    fn add_normalize(&mut self) -> Var {
        let (x, residual) = (self.pick(), self.pick());
        let weight = self.parameter("scale.norm");
        let bias = (self.choose(2) == 0).then(|| self.parameter("bias"));
        let kind = if self.choose(2) == 0 { NormKind::Layer } else { NormKind::Rms };
        let (sum, normal) = self.tape.add_normalize(x, residual, weight, bias, kind, 1e-3);
        self.values.push(sum);
        normal
    }

    fn step(&mut self) {
        let x = self.pick();
        let y = match self.choose(10) {
            0 | 1 => self.tape.dropout(x, 0.3),
            2..=4 => self.add_normalize(),
            5 => {
                let (weight, bias) = (self.parameter("square"), self.parameter("bias"));
                self.tape.linear(x, weight, Some(bias), Some(Activation::GeluTanh))
            }
            6 => {
                let weight = self.parameter("other");
                self.tape.linear(x, weight, None, None)
            }
            7 => self.attention(x),
            8 => {
                let up = self.pick();
                let both = self.tape.concat_columns(&[x, up]);
                self.tape.gated(both, Activation::Silu)
            }
            _ => {
                let y = self.pick();
                let y = self.tape.add(x, y);
                self.tape.tanh(y)
            }
        };
        self.values.push(y);
    }

    /// Up to four steps, mostly as a block.
    fn steps(&mut self) {
        let count = 1 + self.choose(4);
        if self.choose(4) == 0 {
            return (0..count).for_each(|_| self.step());
        }
        let mut tape = std::mem::take(&mut self.tape);
        tape.block(|tape| {
            std::mem::swap(&mut self.tape, tape);
            (0..count).for_each(|_| self.step());
            std::mem::swap(&mut self.tape, tape);
        });
        self.tape = tape;
    }
}

/// A finished graph.
struct Recorded {
    tape: Tape,
    positions: Ids,
    weights: Var,
    loss: Var,
    values: Vec<Var>,
}

fn record(seed: u64, parameters: &Parameters) -> Recorded {
    let mut tape = Tape::new();
    let positions = tape.ids(ROWS);
    let choices = noise_ids(seed, 400, 1 << 20).into_iter();
    let mut graph = Graph { tape, parameters, values: Vec::new(), choices, positions };
    let x = graph.parameter("x");
    let x = graph.tape.scale(x, 1.5);
    graph.values.push(x);
    for _ in 0..2 + graph.choose(5) {
        graph.steps();
    }
    let Graph { mut tape, values, .. } = graph;
    let ends: Vec<Var> = values.iter().rev().take(1 + seed as usize % 3).copied().collect();
    let weights = tape.input(&[ROWS, WIDTH * ends.len()]);
    let end = |tape: &mut Tape| {
        let all = tape.concat_columns(&ends);
        tape.weighted_sum_loss(all, weights)
    };
    let loss = if seed.is_multiple_of(5) { tape.block(end) } else { end(&mut tape) };
    Recorded { tape, positions, weights, loss, values }
}

/// Losses of training and evaluation, and gradients, of the graph of this seed, where every so many values are kept
/// (0: none).
fn run(cpu: &Cpu, seed: u64, keep_every: usize, activations: Activations) -> (f32, f32, Vec<f32>) {
    let mut parameters = declare();
    let (mut plan, Recorded { positions, weights, loss, .. }) = loop {
        let mut recorded = record(seed, &parameters);
        let is_kept = |index: usize| keep_every > 0 && index.is_multiple_of(keep_every);
        let kept: Vec<Var> =
            recorded.values.iter().enumerate().filter(|(index, _)| is_kept(*index)).map(|(_, &var)| var).collect();
        let tape = std::mem::take(&mut recorded.tape);
        match Plan::training(tape, recorded.loss, &kept, &parameters, activations) {
            Ok(plan) => break (plan, recorded),
            // What does not lead to the loss is frozen.
            Err(PlanError::UnreachedParameters { names }) => {
                let ids: Vec<ParameterId> = names.iter().filter_map(|name| parameters.find(name)).collect();
                ids.into_iter().for_each(|id| parameters.set_trainable(id, false));
            }
            Err(error) => panic!("graph {seed}: {error}"),
        }
    };
    let len = record(seed, &parameters).tape.shape(weights).iter().product();
    plan.set(weights, &noise(seed + 1, len));
    plan.set_ids(positions, &[0, 1, 2, 0, 1, 2]);
    plan.set_segments(&[Segment { start: 0, len: 3 }, Segment { start: 3, len: 3 }]);
    plan.set_random_key(seed * 77);
    let mut gradients = vec![0.0; parameters.buffer_len()];
    plan.train(cpu, &parameters, &mut gradients, false);
    let trained = plan.value(loss)[0];
    plan.evaluate(cpu, &parameters);
    let evaluated = plan.value(loss)[0];
    // Again: nothing of a run may reach the next.
    let mut again = vec![f32::NAN; parameters.buffer_len()];
    plan.train(cpu, &parameters, &mut again, false);
    for (id, _) in parameters.iter().filter(|(_, parameter)| parameter.trainable) {
        let range = parameters.range(id);
        assert_same_bits("a second run", &again[range.clone()], &gradients[range]);
    }
    assert_eq!(plan.value(loss)[0].to_bits(), trained.to_bits());
    (trained, evaluated, gradients)
}

#[test]
fn shared_memory_and_recomputation_change_no_bit() {
    let cpu = Cpu::with_isa(Isa::available()[0], 1);
    for seed in 0..600 {
        let apart = run(&cpu, seed, 1, Activations::Kept);
        for (keep_every, activations) in
            [(0, Activations::Kept), (0, Activations::Recomputed), (3, Activations::Recomputed)]
        {
            let shared = run(&cpu, seed, keep_every, activations);
            let what = format!("graph {seed}, one of {keep_every} kept, activations {activations:?}");
            assert_same_bits(&what, &[shared.0, shared.1], &[apart.0, apart.1]);
            assert_same_bits(&what, &shared.2, &apart.2);
        }
    }
}
