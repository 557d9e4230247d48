//! The encoder of BERT (Devlin et al. 2019) and its relatives: every position sees the whole text.
//!
//! Post-norm blocks: `x = norm(x + attention x)`, then `x = norm(x + feed_forward x)` (Vaswani et al. 2017). The pooler is a
//! layer over the first position, the classifier one over that: what a cross-encoder scores a pair of texts with.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tsumugi_files::{Admitted, ModelFiles};
use tsumugi_nn::attention::AttentionConfig;
use tsumugi_nn::{Embedding, FeedForward, FeedForwardKind, Linear, Norm, SelfAttention};
use tsumugi_tensor::quant::QuantizedMatrix;
use tsumugi_tensor::threads::Pool;
use tsumugi_tensor::{
    Activation, Cpu, Heads, Ids, NormKind, Parameter, ParameterId, Parameters, ParametersBuilder, Tape, Var,
};

use crate::ModelError;
use crate::bert::{self, EncoderLayout};
use crate::decoder::is_multiplied;
use crate::load::{Precision, check_before_allocating, place_stored, widen};
use crate::save::write_folder;

/// Everything that tells one encoder from another.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderSpec {
    /// Its `model_type`, e.g. `bert`.
    pub family: &'static str,
    /// Token ids.
    pub vocabulary: usize,
    /// Model width m.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Heads h, of width m / h.
    pub heads: usize,
    /// Feed-forward width f.
    pub feed_forward_width: usize,
    /// Longest text.
    pub context: usize,
    /// The row of the table of positions that the first token has: RoBERTa keeps those before for padding.
    pub first_position: usize,
    /// Kinds of tokens, such as those of the first and of the second text of a pair.
    pub token_types: usize,
    /// Between the feed-forward block's layers.
    pub activation: Activation,
    /// Of the norms.
    pub epsilon: f32,
    /// Whether there is a layer over the first position.
    pub pooler: bool,
    /// Scores that a classifier gives, if there is one; it reads the pooler.
    pub labels: Option<usize>,
}

impl EncoderSpec {
    /// All matrices and tables, biases and norms not counted, without overflow for any sizes.
    pub fn parameters_at_least(&self) -> u128 {
        let [m, f] = [self.width as u128, self.feed_forward_width as u128];
        let block = (4 * m * m).saturating_add(2 * m * f);
        let rows = self.vocabulary as u128 + self.context as u128 + self.token_types as u128;
        block.saturating_mul(self.layers as u128).saturating_add(rows * m)
    }

    /// Floating-point operations of the blocks for a text of `length` tokens.
    pub fn forward_flops(&self, length: usize) -> f64 {
        let [m, f, length] = [self.width, self.feed_forward_width, length].map(|size| size as f64);
        self.layers as f64 * length * (2.0 * (4.0 * m * m + 2.0 * m * f) + 4.0 * m * length)
    }

    fn attention(&self) -> AttentionConfig {
        let head_width = self.width / self.heads;
        let scale = 1.0 / (head_width as f32).sqrt();
        AttentionConfig {
            width: self.width,
            heads: Heads { causal: false, ..Heads::new(self.heads, self.heads, head_width, scale) },
            qkv_bias: true,
            output_bias: true,
            head_norm: None,
            rotary: None,
            layer: 0, // there is no cache
        }
    }
}

#[derive(Debug, Clone)]
struct Block {
    attention: SelfAttention,
    attention_norm: Norm,
    feed_forward: FeedForward,
    feed_forward_norm: Norm,
}

/// An encoder: its spec, its parameters, and where each of them is used.
#[derive(Debug)]
pub struct Encoder {
    /// What it is.
    pub spec: EncoderSpec,
    /// Its weights.
    pub parameters: Parameters,
    embedding: Embedding,
    /// `[token types, m]`
    token_types: ParameterId,
    embedding_norm: Norm,
    blocks: Vec<Block>,
    pooler: Option<Linear>,
    classifier: Option<Linear>,
}

fn declare_block(builder: &mut ParametersBuilder, spec: &EncoderSpec, layer: usize) -> Block {
    let name = |part: &str| format!("layers.{layer}.{part}");
    let kind = FeedForwardKind::Plain(spec.activation);
    let (width, hidden) = (spec.width, spec.feed_forward_width);
    Block {
        attention: SelfAttention::declare(builder, &name("attention"), spec.attention()),
        attention_norm: declare_norm(builder, spec, &name("attention_norm")),
        feed_forward: FeedForward::declare(builder, &name("feed_forward"), width, hidden, kind, true),
        feed_forward_norm: declare_norm(builder, spec, &name("feed_forward_norm")),
    }
}

fn declare_norm(builder: &mut ParametersBuilder, spec: &EncoderSpec, name: &str) -> Norm {
    Norm::declare(builder, name, spec.width, NormKind::Layer, spec.epsilon)
}

impl Encoder {
    /// Zero weights.
    pub fn new(spec: EncoderSpec) -> Self {
        Self::declared(spec, ParametersBuilder::build)
    }

    /// Names and shapes alone: no numbers are kept.
    pub(crate) fn described(spec: EncoderSpec) -> Self {
        Self::declared(spec, ParametersBuilder::describe)
    }

    fn declared(spec: EncoderSpec, make: impl FnOnce(ParametersBuilder) -> Parameters) -> Self {
        let mut builder = ParametersBuilder::default();
        let width = spec.width;
        let positions = spec.first_position + spec.context;
        let embedding = Embedding::declare(&mut builder, spec.vocabulary, width, Some(positions));
        let token_types = builder.add("token_types.weight", &[spec.token_types, width]);
        let embedding_norm = declare_norm(&mut builder, &spec, "embedding_norm");
        let blocks = (0..spec.layers).map(|layer| declare_block(&mut builder, &spec, layer)).collect();
        let pooler = spec.pooler.then(|| Linear::declare(&mut builder, "pooler", width, &[width], true));
        let classifier = spec.labels.map(|labels| Linear::declare(&mut builder, "classifier", width, &[labels], true));
        let parameters = make(builder);
        Self { spec, parameters, embedding, token_types, embedding_norm, blocks, pooler, classifier }
    }

    /// Loads a model; weights are widened to float32, by the threads of `pool`.
    pub fn load(model: &Admitted<ModelFiles>, pool: &Pool) -> Result<Self, ModelError> {
        let (spec, layout) = bert::read(model)?;
        let tensors = model.tensors()?;
        check_before_allocating(model, spec.parameters_at_least(), &tensors)?;
        let mut encoder = Self::new(spec);
        let filled = layout.filled_slots(&encoder, model, &tensors)?;
        widen(&mut encoder.parameters, &filled, pool)?;
        Ok(encoder)
    }

    /// Loads a model to serve it, its matrices packed for the product: as the file stores them, or in float32.
    pub fn load_to_serve(model: &Admitted<ModelFiles>, cpu: &Cpu, precision: Precision) -> Result<Self, ModelError> {
        match precision {
            Precision::Stored => Ok(Self::load_stored(model, cpu, false)?.pack(cpu)),
            Precision::Mapped => Ok(Self::load_stored(model, cpu, true)?.pack(cpu)),
            Precision::Float32 => Ok(Self::load(model, cpu.pool())?.pack(cpu)),
        }
    }

    fn load_stored(model: &Admitted<ModelFiles>, cpu: &Cpu, mapped: bool) -> Result<Self, ModelError> {
        let (spec, layout) = bert::read(model)?;
        let tensors = model.tensors()?;
        check_before_allocating(model, spec.parameters_at_least(), &tensors)?;
        let described = Self::described(spec.clone());
        let mut filled = layout.filled_slots(&described, model, &tensors)?;
        let mut packed = place_stored(&described.parameters, &tensors, &mut filled, cpu, mapped);
        let quantized = |parameter: &Parameter| -> Option<QuantizedMatrix> { packed.remove(&parameter.name) };
        let mut encoder = Self::declared(spec, |builder| builder.build_serving(quantized));
        widen(&mut encoder.parameters, &filled, cpu.pool())?;
        Ok(encoder)
    }

    /// The embedding is looked up only, and stays as it is.
    fn pack(mut self, cpu: &Cpu) -> Self {
        let embedding = self.parameters.get(self.embedding.tokens).name.clone();
        self.parameters =
            self.parameters.pack(cpu, |parameter| is_multiplied(parameter) && parameter.name != embedding);
        self
    }

    /// Writes `config.json` and the weights in float32; `extra` keys are added to the config.
    ///
    /// # Panics
    /// When the parameters were packed for serving.
    pub fn save(&self, folder: &Path, extra: &BTreeMap<String, Value>) -> Result<(), ModelError> {
        let layout = EncoderLayout::folder_of(&self.spec);
        let mut config = bert::config(&self.spec, &bert::unnamed_labels(&self.spec))?;
        config.extend(extra.clone());
        write_folder(folder, &Value::Object(config), &layout.slots(self), &self.parameters)
    }

    /// Records ids to final hidden states, `[r, m]`. `tokens`, `positions` and `types` have r ids; positions begin at
    /// [`EncoderSpec::first_position`].
    pub fn record_hidden(&self, tape: &mut Tape, tokens: Ids, positions: Ids, types: Ids) -> Var {
        let parameters = &self.parameters;
        let embedded = self.embedding.record(tape, parameters, tokens, positions);
        let table = tape.parameter(parameters, self.token_types);
        let kinds = tape.embedding(types, table, None);
        let mut x = self.embedding_norm.record_add(tape, parameters, kinds, embedded).1;
        for block in &self.blocks {
            x = tape.block(|tape| {
                let mixed = block.attention.record(tape, parameters, x, positions);
                let x = block.attention_norm.record_add(tape, parameters, mixed, x).1;
                let fed = block.feed_forward.record(tape, parameters, x);
                block.feed_forward_norm.record_add(tape, parameters, fed, x).1
            });
        }
        x
    }

    /// Records the classifier's scores `[n, labels]` of the hidden states `[n, m]` of first positions.
    ///
    /// # Panics
    /// When there is no classifier: a mistake of the caller.
    pub fn record_scores(&self, tape: &mut Tape, first: Var) -> Var {
        let (Some(pooler), Some(classifier)) = (self.pooler, self.classifier) else { panic!("there is no classifier") };
        let pooled = pooler.record(tape, &self.parameters, first, Some(Activation::Tanh));
        classifier.record(tape, &self.parameters, pooled, None)
    }
}
