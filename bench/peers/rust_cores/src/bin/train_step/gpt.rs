//! GPT-2 as nanoGPT writes it, in candle: learned positions, LayerNorm, GELU, tied head, biases; float32.
//!
//! Of candle-nn's operations only those that have a backward pass: its `layer_norm` and `softmax_last_dim` are fused but stop the
//! gradient, so these are `layer_norm_slow` and `softmax`. Shapes: batch b, time t, width m, heads h.

use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::{Embedding, Init, Linear, VarBuilder, loss, ops};

/// A configuration of `bench/peers/pytorch_train` and `tsumugi bench --train`.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub layers: usize,
    pub heads: usize,
    pub width: usize,
    pub context: usize,
    pub batch: usize,
    pub vocabulary: usize,
}

pub const CASES: [Case; 3] = [
    Case { name: "shakespeare-char", layers: 4, heads: 4, width: 128, context: 64, batch: 12, vocabulary: 65 },
    Case { name: "gpt-512", layers: 6, heads: 6, width: 384, context: 256, batch: 8, vocabulary: 512 },
    Case { name: "gpt-8192", layers: 6, heads: 6, width: 384, context: 256, batch: 8, vocabulary: 8192 },
];

/// candle has both; the faster one is measured by `run`.
#[derive(Clone, Copy)]
pub enum Gelu {
    Tanh,
    Erf,
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    fn new(width: usize, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(width, "weight", Init::Const(1.0))?;
        Ok(Self { weight, bias: vb.get_with_hints(width, "bias", Init::Const(0.0))? })
    }

    fn forward(&self, x_btm: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x_btm, &self.weight, &self.bias, 1e-5)
    }
}

fn linear(inputs: usize, outputs: usize, stdev: f64, vb: VarBuilder) -> Result<Linear> {
    let weight = vb.get_with_hints((outputs, inputs), "weight", Init::Randn { mean: 0.0, stdev })?;
    Ok(Linear::new(weight, Some(vb.get_with_hints(outputs, "bias", Init::Const(0.0))?)))
}

fn embedding(rows: usize, width: usize, vb: VarBuilder) -> Result<Embedding> {
    let weight = vb.get_with_hints((rows, width), "weight", Init::Randn { mean: 0.0, stdev: STDEV })?;
    Ok(Embedding::new(weight, width))
}

/// Of the weights of GPT-2 at the start; the last layer of each block has it divided by the root of the blocks' additions.
const STDEV: f64 = 0.02;

struct Block {
    heads: usize,
    gelu: Gelu,
    norm_1: LayerNorm,
    qkv: Linear,
    output: Linear,
    norm_2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    fn new(case: &Case, gelu: Gelu, vb: VarBuilder) -> Result<Self> {
        let width = case.width;
        let stdev_last = STDEV / ((2 * case.layers) as f64).sqrt();
        Ok(Self {
            heads: case.heads,
            gelu,
            norm_1: LayerNorm::new(width, vb.pp("norm_1"))?,
            qkv: linear(width, 3 * width, STDEV, vb.pp("qkv"))?,
            output: linear(width, width, stdev_last, vb.pp("output"))?,
            norm_2: LayerNorm::new(width, vb.pp("norm_2"))?,
            up: linear(width, 4 * width, STDEV, vb.pp("up"))?,
            down: linear(4 * width, width, stdev_last, vb.pp("down"))?,
        })
    }

    fn attention(&self, x_btm: &Tensor, mask_tt: &Tensor) -> Result<Tensor> {
        let (b, t, m) = x_btm.dims3()?;
        let head_width = m / self.heads;
        let qkv = self.qkv.forward(x_btm)?.chunk(3, D::Minus1)?;
        let heads = |x: &Tensor| x.reshape((b, t, self.heads, head_width))?.transpose(1, 2)?.contiguous();
        let (q, k, v) = (heads(&qkv[0])?, heads(&qkv[1])?, heads(&qkv[2])?);
        // The scale on q: that tensor is smaller than the scores.
        let q = (q * (head_width as f64).sqrt().recip())?;
        let scores_bhtt = q.matmul(&k.t()?)?.broadcast_add(mask_tt)?;
        let y = ops::softmax(&scores_bhtt, D::Minus1)?.matmul(&v)?;
        self.output.forward(&y.transpose(1, 2)?.contiguous()?.reshape((b, t, m))?)
    }

    fn forward(&self, x_btm: &Tensor, mask_tt: &Tensor) -> Result<Tensor> {
        let x_btm = (x_btm + self.attention(&self.norm_1.forward(x_btm)?, mask_tt)?)?;
        let up = self.up.forward(&self.norm_2.forward(&x_btm)?)?;
        let up = match self.gelu {
            Gelu::Tanh => up.gelu()?,
            Gelu::Erf => up.gelu_erf()?,
        };
        &x_btm + self.down.forward(&up)?
    }
}

pub struct Gpt {
    tokens: Embedding,
    positions: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
    position_ids: Tensor,
    mask_tt: Tensor,
}

impl Gpt {
    pub fn new(case: &Case, gelu: Gelu, vb: VarBuilder) -> Result<Self> {
        let blocks = (0..case.layers).map(|i| Block::new(case, gelu, vb.pp(format!("blocks.{i}"))));
        Ok(Self {
            tokens: embedding(case.vocabulary, case.width, vb.pp("tokens"))?,
            positions: embedding(case.context, case.width, vb.pp("positions"))?,
            blocks: blocks.collect::<Result<_>>()?,
            norm: LayerNorm::new(case.width, vb.pp("norm"))?,
            position_ids: Tensor::arange(0, case.context as u32, vb.device())?,
            mask_tt: causal_mask(case.context, vb.device())?,
        })
    }

    /// The mean cross-entropy in nats of `targets` `[b t]` after `ids` `[b, t]`.
    pub fn loss(&self, ids_bt: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let positions_tm = self.positions.forward(&self.position_ids)?;
        let mut x_btm = self.tokens.forward(ids_bt)?.broadcast_add(&positions_tm)?;
        for block in &self.blocks {
            x_btm = block.forward(&x_btm, &self.mask_tt)?;
        }
        let x = self.norm.forward(&x_btm)?.flatten_to(1)?;
        let logits = x.matmul(&self.tokens.embeddings().t()?)?;
        loss::cross_entropy(&logits, targets)
    }
}

/// 0 where a position may look, minus infinity at later ones.
fn causal_mask(context: usize, device: &Device) -> Result<Tensor> {
    let zeros = Tensor::zeros((context, context), DType::F32, device)?;
    let later = Tensor::full(f32::NEG_INFINITY, (context, context), device)?;
    Tensor::tril2(context, DType::U8, device)?.where_cond(&zeros, &later)
}
