//! Forward and backward of a small GPT-2 without a tape: the kernels that the operations call, in the same order, with the
//! same cuts, over buffers made once. What it takes is what a tape can at best take.

use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use tsumugi_tensor::kernels::scatter::scatter_add;
use tsumugi_tensor::kernels::{attention, elementwise, normalize, rows};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::{Activation, Cpu, NormKind, ParameterId, Parameters};

use crate::tape::{Batch, Block, EPSILON, Model, Pair, Sizes};

/// Rows in a task of a norm, of the embedding; columns in a task of a sum of rows; numbers in a task of the activation's
/// gradient; rows in a task of the loss.
const NORM_ROWS: usize = 32;
const EMBEDDING_ROWS: usize = 64;
const SUM_COLUMNS: usize = 128;
const PASS: usize = 1 << 14;
const LOSS_ROWS: usize = 4;

/// What a block keeps for its backward.
struct Kept {
    normal: Buffer,
    qkv: Buffer,
    attended: Buffer,
    log_sum: Buffer,
    /// The stream after attention, with the norm of it.
    stream: Buffer,
    statistics: Buffer,
    middle: Buffer,
    pre: Buffer,
    up: Buffer,
    /// The stream after the block, with the statistics of the norm that follows.
    end: Buffer,
    end_statistics: Buffer,
}

/// Every buffer of a step.
pub struct ExplicitStep {
    embedded: Buffer,
    embedded_statistics: Buffer,
    blocks: Vec<Kept>,
    branch: Buffer,
    last: Buffer,
    logits: Buffer,
    nats: Buffer,
    dstream: Buffer,
    dnormal: Buffer,
    dqkv: Buffer,
    dup: Buffer,
    partials: Buffer,
    /// Of the embedding's rows.
    order: Buffer,
}

impl ExplicitStep {
    /// Buffers for a model and its batch.
    pub fn new(model: &Model) -> Self {
        let Sizes { width, vocabulary, heads, layers, .. } = model.sizes;
        let r = model.sizes.rows();
        let kept = |_| Kept {
            normal: Buffer::zeroed(r * width),
            qkv: Buffer::zeroed(r * 3 * width),
            attended: Buffer::zeroed(r * width),
            log_sum: Buffer::zeroed(r * heads),
            stream: Buffer::zeroed(r * width),
            statistics: Buffer::zeroed(2 * r),
            middle: Buffer::zeroed(r * width),
            pre: Buffer::zeroed(r * 4 * width),
            up: Buffer::zeroed(r * 4 * width),
            end: Buffer::zeroed(r * width),
            end_statistics: Buffer::zeroed(2 * r),
        };
        let [embedded, branch, last, dstream, dnormal] = [r * width; 5].map(Buffer::zeroed);
        Self {
            embedded,
            embedded_statistics: Buffer::zeroed(2 * r),
            blocks: (0..layers).map(kept).collect(),
            branch,
            last,
            logits: Buffer::zeroed(r * vocabulary),
            nats: Buffer::zeroed(r),
            dstream,
            dnormal,
            dqkv: Buffer::zeroed(r * 3 * width),
            dup: Buffer::zeroed(r * 4 * width),
            partials: Buffer::zeroed(r.div_ceil(NORM_ROWS) * 2 * width),
            order: Buffer::zeroed(2 * r),
        }
    }

    /// Forward and backward; replaces the gradients and returns the loss.
    pub fn step(
        &mut self,
        cpu: &Cpu,
        model: &Model,
        parameters: &Parameters,
        batch: &Batch,
        gradients: &mut [f32],
    ) -> f32 {
        let run = Run { cpu, parameters, rows: model.sizes.rows(), width: model.sizes.width };
        self.forward(run, model, batch);
        let loss = self.loss(run, model, batch, gradients);
        self.backward(run, model, batch, gradients);
        loss
    }

    fn forward(&mut self, run: Run<'_>, model: &Model, batch: &Batch) {
        run.embed(model, batch, &mut self.embedded);
        let mut stream = &self.embedded;
        let first = &mut self.blocks[0].normal;
        run.normalize(&self.embedded, model.blocks[0].attention_norm, first, &mut self.embedded_statistics);
        let mut rest = &mut self.blocks[..];
        for (index, block) in model.blocks.iter().enumerate() {
            let (kept, after) = rest.split_first_mut().expect("a block's buffers");
            run.linear(block.qkv, &kept.normal, &mut kept.qkv);
            let heads = &model.sizes.heads();
            attention::forward(run.cpu, heads, &kept.qkv, &batch.segments, &mut kept.attended, &mut kept.log_sum);
            run.linear(block.output, &kept.attended, &mut self.branch);
            let sum = [stream, &self.branch];
            run.add_normalize(sum, block.feed_forward_norm, &mut kept.stream, &mut kept.middle, &mut kept.statistics);
            run.activated_linear(block.up, &kept.middle, &mut kept.pre, &mut kept.up);
            run.linear(block.down, &kept.up, &mut self.branch);
            let (norm, normal) = match after.first_mut() {
                Some(next) => (model.blocks[index + 1].attention_norm, &mut next.normal),
                None => (model.final_norm, &mut self.last),
            };
            let sum = [&kept.stream, &self.branch];
            run.add_normalize(sum, norm, &mut kept.end, normal, &mut kept.end_statistics);
            (stream, rest) = (&kept.end, after);
        }
    }

    /// Logits become their gradients; those of the last norm's output go to `dnormal`.
    fn loss(&mut self, run: Run<'_>, model: &Model, batch: &Batch, gradients: &mut [f32]) -> f32 {
        let (r, m, v) = (run.rows, run.width, model.sizes.vocabulary);
        let head = run.parameters.values(model.tokens);
        let x = &self.last;
        gemm(
            run.cpu,
            (r, v, m),
            MatrixA::Plain(x),
            MatrixB::Transposed(head),
            &mut self.logits,
            false,
            Epilogue::default(),
        );
        let chunks = [(&mut *self.logits, LOSS_ROWS * v), (&mut *self.nats, LOSS_ROWS)];
        run.cpu.pool().split(chunks, |block, [logits, nats]| {
            for (i, (logits, nats)) in logits.chunks_exact_mut(v).zip(nats).enumerate() {
                let row = block * LOSS_ROWS + i;
                let weight = batch.loss_scale * batch.weights[row];
                *nats = rows::cross_entropy(run.cpu.isa(), logits, batch.targets[row] as usize, weight);
            }
        });
        let dlogits = &self.logits;
        gemm(
            run.cpu,
            (r, m, v),
            MatrixA::Plain(dlogits),
            MatrixB::Plain(head),
            &mut self.dnormal,
            false,
            Epilogue::default(),
        );
        let dhead = &mut gradients[run.parameters.range(model.tokens)];
        gemm(run.cpu, (v, m, r), MatrixA::Transposed(dlogits), MatrixB::Plain(x), dhead, false, Epilogue::default());
        let sum: f64 = self.nats.iter().zip(&batch.weights).map(|(&n, &w)| f64::from(n) * f64::from(w)).sum();
        (sum * f64::from(batch.loss_scale)) as f32
    }

    fn backward(&mut self, run: Run<'_>, model: &Model, batch: &Batch, gradients: &mut [f32]) {
        let Self { dstream, dnormal, dqkv, dup, partials, branch: dattended, .. } = self;
        // The gradient of the stream begins at zero: nothing reads the last one.
        dstream.fill(0.0);
        let norms = model.blocks[1..].iter().map(|block| block.attention_norm).chain([model.final_norm]);
        let norms: Vec<Pair> = norms.collect();
        for ((block, kept), norm) in model.blocks.iter().zip(&mut self.blocks).zip(norms).rev() {
            let Block { qkv, output, feed_forward_norm, up, down, .. } = *block;
            run.normalize_backward(norm, &kept.end, &kept.end_statistics, dnormal, dstream, true, partials, gradients);
            run.linear_backward(down, &kept.up, dstream, dup, gradients);
            let pre = &kept.pre;
            run.cpu.pool().split([(&mut **dup, PASS)], |index, [dy]| {
                let pre = &pre[index * PASS..][..dy.len()];
                elementwise::activate_backward(run.cpu.isa(), Activation::GeluTanh, pre, dy);
            });
            run.linear_backward(up, &kept.middle, dup, dnormal, gradients);
            run.normalize_backward(
                feed_forward_norm,
                &kept.stream,
                &kept.statistics,
                dnormal,
                dstream,
                true,
                partials,
                gradients,
            );
            run.linear_backward(output, &kept.attended, dstream, dattended, gradients);
            let (output, log_sum) = (&mut kept.attended, &mut kept.log_sum);
            attention::backward(
                run.cpu,
                &model.sizes.heads(),
                &kept.qkv,
                &batch.segments,
                output,
                log_sum,
                dattended,
                dqkv,
            );
            run.linear_backward(qkv, &kept.normal, dqkv, dnormal, gradients);
        }
        let first = model.blocks[0].attention_norm;
        run.normalize_backward(
            first,
            &self.embedded,
            &self.embedded_statistics,
            dnormal,
            dstream,
            true,
            partials,
            gradients,
        );
        let dtokens = &mut gradients[run.parameters.range(model.tokens)];
        scatter_add(run.cpu, &batch.tokens, dstream, run.width, dtokens, &mut self.order);
        let dpositions = &mut gradients[run.parameters.range(model.positions)];
        run.cpu.pool().split([(&mut *dpositions, 1 << 15)], |_, [chunk]| chunk.fill(0.0));
        scatter_add(run.cpu, &batch.positions, dstream, run.width, dpositions, &mut self.order);
    }
}

/// The calls of an operation each.
#[derive(Clone, Copy)]
struct Run<'a> {
    cpu: &'a Cpu,
    parameters: &'a Parameters,
    rows: usize,
    width: usize,
}

impl Run<'_> {
    fn values(&self, id: ParameterId) -> &[f32] {
        self.parameters.values(id)
    }

    /// Outputs and inputs of a linear layer.
    fn shape(&self, weight: ParameterId) -> (usize, usize) {
        let shape = &self.parameters.get(weight).shape;
        (shape[0], shape[1])
    }

    fn embed(&self, model: &Model, batch: &Batch, y: &mut [f32]) {
        let m = self.width;
        let (table, positions) = (self.values(model.tokens), self.values(model.positions));
        self.cpu.pool().split([(y, EMBEDDING_ROWS * m)], |block, [y]| {
            for (i, y) in y.chunks_exact_mut(m).enumerate() {
                let row = block * EMBEDDING_ROWS + i;
                y.copy_from_slice(&table[batch.tokens[row] as usize * m..][..m]);
                elementwise::add_assign(self.cpu.isa(), &positions[batch.positions[row] as usize * m..][..m], y);
            }
        });
    }

    fn norm_rows(&self, norm: Pair, x: &[f32], y: &mut [f32], statistics: &mut [f32]) {
        let (weight, bias) = (self.values(norm.weight), self.values(norm.bias));
        let rows = x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width));
        for ((x, y), saved) in rows.zip(statistics.chunks_exact_mut(2)) {
            saved.copy_from_slice(&normalize::forward(self.cpu.isa(), NormKind::Layer, EPSILON, x, weight, bias, y));
        }
    }

    fn normalize(&self, x: &[f32], norm: Pair, y: &mut [f32], statistics: &mut [f32]) {
        let block = NORM_ROWS * self.width;
        self.cpu.pool().split([(y, block), (statistics, 2 * NORM_ROWS)], |index, [y, saved]| {
            self.norm_rows(norm, &x[index * block..][..y.len()], y, saved);
        });
    }

    fn add_normalize(&self, of: [&Buffer; 2], norm: Pair, sum: &mut [f32], y: &mut [f32], statistics: &mut [f32]) {
        let block = NORM_ROWS * self.width;
        self.cpu.pool().split([(sum, block), (y, block), (statistics, 2 * NORM_ROWS)], |index, [sum, y, saved]| {
            sum.copy_from_slice(&of[0][index * block..][..sum.len()]);
            elementwise::add_assign(self.cpu.isa(), &of[1][index * block..][..sum.len()], sum);
            self.norm_rows(norm, sum, y, saved);
        });
    }

    #[allow(clippy::too_many_arguments, reason = "as many as the operation has")]
    fn normalize_backward(
        &self,
        norm: Pair,
        x: &[f32],
        statistics: &Buffer,
        dy: &[f32],
        dx: &mut [f32],
        accumulate: bool,
        partials: &mut [f32],
        gradients: &mut [f32],
    ) {
        let (isa, width, block) = (self.cpu.isa(), self.width, NORM_ROWS * self.width);
        let weight = self.values(norm.weight);
        self.cpu.pool().split([(dx, block), (&mut *partials, 2 * width)], |index, [dx, partials]| {
            partials.fill(0.0);
            let (dweight, dbias) = partials.split_at_mut(width);
            let saved = statistics[index * 2 * NORM_ROWS..].chunks_exact(2);
            let (x, dy) = (x[index * block..].chunks_exact(width), dy[index * block..].chunks_exact(width));
            for (((x, dy), dx), saved) in x.zip(dy).zip(dx.chunks_exact_mut(width)).zip(saved) {
                let saved = [saved[0], saved[1]];
                normalize::backward(isa, NormKind::Layer, saved, x, weight, dy, dx, dweight, dbias, accumulate);
            }
        });
        for (id, half) in [(norm.weight, 0), (norm.bias, 1)] {
            let to = &mut gradients[self.parameters.range(id)];
            to.fill(0.0);
            for partial in partials.chunks_exact(2 * width) {
                elementwise::add_assign(isa, &partial[half * width..][..width], to);
            }
        }
    }

    fn linear(&self, of: Pair, x: &[f32], y: &mut [f32]) {
        self.product(of, x, y, None);
    }

    fn activated_linear(&self, of: Pair, x: &[f32], pre: &mut [f32], y: &mut [f32]) {
        self.product(of, x, pre, Some((Activation::GeluTanh, y)));
    }

    fn product(&self, of: Pair, x: &[f32], y: &mut [f32], activation: Option<(Activation, &mut [f32])>) {
        let (outputs, inputs) = self.shape(of.weight);
        let epilogue = Epilogue { bias: Some(self.values(of.bias)), activation };
        let weight = MatrixB::Transposed(self.values(of.weight));
        gemm(self.cpu, (self.rows, outputs, inputs), MatrixA::Plain(x), weight, y, false, epilogue);
    }

    fn linear_backward(&self, of: Pair, x: &[f32], dy: &[f32], dx: &mut [f32], gradients: &mut [f32]) {
        let (outputs, inputs) = self.shape(of.weight);
        let weight = MatrixB::Plain(self.values(of.weight));
        gemm(self.cpu, (self.rows, inputs, outputs), MatrixA::Plain(dy), weight, dx, false, Epilogue::default());
        let dweight = &mut gradients[self.parameters.range(of.weight)];
        let size = (outputs, inputs, self.rows);
        gemm(self.cpu, size, MatrixA::Transposed(dy), MatrixB::Plain(x), dweight, false, Epilogue::default());
        let dbias = &mut gradients[self.parameters.range(of.bias)];
        self.cpu.pool().split([(dbias, SUM_COLUMNS)], |index, [to]| {
            to.fill(0.0);
            for row in dy.chunks_exact(outputs) {
                elementwise::add_assign(self.cpu.isa(), &row[index * SUM_COLUMNS..][..to.len()], to);
            }
        });
    }
}
