//! What recording and replaying costs: a training step of a small GPT-2 as a plan, and as the same calls by hand.

use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{
    Activation, Activations, Cpu, Heads, Ids, NormKind, ParameterId, Parameters, ParametersBuilder, Plan, Segment,
    Tape, Var,
};

use crate::explicit_step::ExplicitStep;
use crate::harness::{Bench, noise, time};

/// Sizes of a model and its batch.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub vocabulary: usize,
    pub context: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub batch: usize,
}

/// Steps of a millisecond, where the tape costs the most, and of ten.
const SIZES: [(&str, Sizes); 2] = [
    ("shakespeare-char", Sizes { vocabulary: 65, context: 64, width: 128, layers: 4, heads: 4, batch: 12 }),
    ("tiny", Sizes { vocabulary: 65, context: 32, width: 64, layers: 4, heads: 4, batch: 4 }),
];

impl Sizes {
    pub fn rows(&self) -> usize {
        self.batch * self.context
    }

    pub fn heads(&self) -> Heads {
        let width = self.width / self.heads;
        Heads::new(self.heads, self.heads, width, 1.0 / (width as f32).sqrt())
    }
}

/// Weight and bias.
#[derive(Clone, Copy)]
pub struct Pair {
    pub weight: ParameterId,
    pub bias: ParameterId,
}

/// The parameters of a block.
pub struct Block {
    pub attention_norm: Pair,
    pub qkv: Pair,
    pub output: Pair,
    pub feed_forward_norm: Pair,
    pub up: Pair,
    pub down: Pair,
}

/// The parameters of the model.
pub struct Model {
    pub sizes: Sizes,
    pub tokens: ParameterId,
    pub positions: ParameterId,
    pub blocks: Vec<Block>,
    pub final_norm: Pair,
}

/// A batch.
pub struct Batch {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
    pub segments: Vec<Segment>,
    pub loss_scale: f32,
}

/// Of every norm.
pub const EPSILON: f32 = 1e-5;

impl Model {
    fn declare(sizes: Sizes) -> (Self, Parameters) {
        let mut builder = ParametersBuilder::default();
        let m = sizes.width;
        let tokens = builder.add("tokens", &[sizes.vocabulary, m]);
        let positions = builder.add("positions", &[sizes.context, m]);
        let mut linear = |name: &str, outputs: usize, inputs: usize| Pair {
            weight: builder.add(name, &[outputs, inputs]),
            bias: builder.add(format!("{name}.bias"), &[outputs]),
        };
        let mut blocks: Vec<Block> = Vec::new();
        let mut norms = Vec::new();
        for layer in 0..sizes.layers {
            let matrices = [("qkv", 3 * m, m), ("output", m, m), ("up", 4 * m, m), ("down", m, 4 * m)];
            let [qkv, output, up, down] =
                matrices.map(|(name, outputs, inputs)| linear(&format!("{layer}.{name}"), outputs, inputs));
            norms.push((qkv, output, up, down));
        }
        let mut norm = || Pair { weight: builder.add("norm", &[m]), bias: builder.add("norm.bias", &[m]) };
        for (qkv, output, up, down) in norms {
            blocks.push(Block { attention_norm: norm(), qkv, output, feed_forward_norm: norm(), up, down });
        }
        let final_norm = norm();
        let mut parameters = builder.build();
        let ids: Vec<_> = parameters.iter().map(|(id, parameter)| (id, parameter.len())).collect();
        for (id, len) in ids {
            parameters.values_mut(id).iter_mut().zip(noise(len).iter()).for_each(|(to, from)| *to = 0.05 * from);
        }
        (Self { sizes, tokens, positions, blocks, final_norm }, parameters)
    }

    fn batch(&self) -> Batch {
        let Sizes { vocabulary, context, batch, .. } = self.sizes;
        let rows = self.sizes.rows();
        let ids = |factor: u32| (0..rows as u32).map(|row| row.wrapping_mul(factor) % vocabulary as u32).collect();
        Batch {
            tokens: ids(2_654_435_761),
            targets: ids(2_246_822_519),
            positions: (0..rows).map(|row| (row % context) as u32).collect(),
            weights: vec![1.0; rows],
            segments: (0..batch).map(|i| Segment { start: i * context, len: context }).collect(),
            loss_scale: 1.0 / rows as f32,
        }
    }

    /// The tape of the whole step, planned, with its batch set; and its loss.
    fn plan(&self, parameters: &Parameters, batch: &Batch) -> (Plan, Var) {
        let rows = self.sizes.rows();
        let mut tape = Tape::new();
        let [tokens, positions, targets] = [rows; 3].map(|len| tape.ids(len));
        let weights = tape.input(&[rows]);
        let hidden = self.record(&mut tape, parameters, tokens, positions);
        let table = tape.parameter(parameters, self.tokens);
        let (loss, nats) = tape.head_cross_entropy(hidden, table, targets, weights);
        let mut plan =
            Plan::training(tape, loss, &[nats], parameters, Activations::Kept).expect("every parameter is reached");
        for (input, ids) in [(tokens, &batch.tokens), (positions, &batch.positions), (targets, &batch.targets)] {
            plan.set_ids(input, ids);
        }
        plan.set(weights, &batch.weights);
        plan.set_segments(&batch.segments);
        plan.set_loss_scale(batch.loss_scale);
        (plan, loss)
    }

    fn record(&self, tape: &mut Tape, parameters: &Parameters, tokens: Ids, positions: Ids) -> Var {
        let pair = |tape: &mut Tape, pair: Pair| {
            (tape.parameter(parameters, pair.weight), tape.parameter(parameters, pair.bias))
        };
        let linear = |tape: &mut Tape, x: Var, of: Pair, activation: Option<Activation>| {
            let (weight, bias) = pair(tape, of);
            tape.linear(x, weight, Some(bias), activation)
        };
        let add_norm = |tape: &mut Tape, x: Var, stream: Var, of: Pair| {
            let (weight, bias) = pair(tape, of);
            tape.add_normalize(x, stream, weight, Some(bias), NormKind::Layer, EPSILON)
        };
        let (table, position_table) =
            (tape.parameter(parameters, self.tokens), tape.parameter(parameters, self.positions));
        let mut stream = tape.embedding(tokens, table, Some((positions, position_table)));
        let (weight, bias) = pair(tape, self.blocks[0].attention_norm);
        let mut normal = tape.normalize(stream, weight, Some(bias), NormKind::Layer, EPSILON);
        for (layer, block) in self.blocks.iter().enumerate() {
            let qkv = linear(tape, normal, block.qkv, None);
            let mixed = tape.attention(qkv, self.sizes.heads(), layer);
            let mixed = linear(tape, mixed, block.output, None);
            (stream, normal) = add_norm(tape, mixed, stream, block.feed_forward_norm);
            let up = linear(tape, normal, block.up, Some(Activation::GeluTanh));
            let fed = linear(tape, up, block.down, None);
            let next = self.blocks.get(layer + 1).map_or(self.final_norm, |next| next.attention_norm);
            (stream, normal) = add_norm(tape, fed, stream, next);
        }
        normal
    }
}

/// Prints a row for each size and type, after both steps gave the same bits.
pub fn run(bench: &Bench) {
    for (size, sizes) in SIZES {
        for (type_name, cpu) in [("float32", &bench.f32), ("bfloat16", &bench.bf16)] {
            let name = format!("tape {size} {type_name}");
            if bench.wants(&name) {
                row(&name, sizes, cpu);
            }
        }
    }
}

fn row(name: &str, sizes: Sizes, cpu: &Cpu) {
    let (model, parameters) = Model::declare(sizes);
    let batch = model.batch();
    let (mut plan, loss) = model.plan(&parameters, &batch);
    let mut explicit = ExplicitStep::new(&model);
    let [mut planned, mut by_hand] = [parameters.buffer_len(); 2].map(Buffer::zeroed);
    plan.train(cpu, &parameters, &mut planned, false);
    let loss_by_hand = explicit.step(cpu, &model, &parameters, &batch, &mut by_hand);
    assert_eq!(plan.value(loss)[0].to_bits(), loss_by_hand.to_bits(), "both are the same step");
    assert!(planned.iter().map(|x| x.to_bits()).eq(by_hand.iter().map(|x| x.to_bits())), "with the same gradients");
    let [tape, hand] = time([&mut || plan.train(cpu, &parameters, &mut planned, false), &mut || {
        std::hint::black_box(explicit.step(cpu, &model, &parameters, &batch, &mut by_hand));
    }]);
    let [median, shortest] = hand.ratios(tape).map(|ratio| 100.0 * (ratio - 1.0));
    let [tape, hand] = [tape, hand].map(|seconds| 1e3 * seconds.median);
    println!("{name:42} {tape:9.3} ms, by hand {hand:9.3} ms: {median:+.1} %, of the shortest {shortest:+.1} %");
}
