//! The language-model head fused with cross-entropy, in chunks of rows: the logits of a whole batch never
//! exist, and a chunk's gradient is used while it is in cache (the idea of "Cut your losses", Wijmans et
//! al. 2024, and of Liger's fused linear cross-entropy).

use crate::cpu::Cpu;
use crate::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use crate::kernels::quantized::multiply;
use crate::kernels::rows;
use crate::operation::{Backward, Forward, Ids, Needs, Operand, Operation};
use crate::ops::elementwise::give;
use crate::tape::{Tape, Var};

struct HeadCrossEntropy {
    rows: usize,
    width: usize,
    vocabulary: usize,
    targets: Ids,
}

/// Numbers of logits in a chunk where the vocabulary is small: 8 MiB stay in the last-level cache.
const CHUNK_LOGITS: usize = 2 << 20;
/// Rows of a chunk at least: the head is packed anew for each chunk, which costs as much as some forty rows of the product.
const CHUNK_ROWS_MIN: usize = 512;

impl Tape {
    /// Cross-entropy of `softmax(x head^T)` against `targets`: `x [r, m]`, `head [v, m]`, `weights [r]`.
    /// Returns (loss `[1]`, nats `[r]`): nats of each row, and `loss_scale * sum weight nats`.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn head_cross_entropy(&mut self, x: Var, head: Var, targets: Ids, weights: Var) -> (Var, Var) {
        let (rows, width) = self.rows_columns(x);
        let (vocabulary, head_width) = self.rows_columns(head);
        assert_eq!(width, head_width, "head_cross_entropy: the head takes {head_width} inputs, x has {width}");
        assert!(self.id_lens[targets.0] == rows && self.shape(weights) == [rows], "head_cross_entropy: {rows} rows");
        let operation = HeadCrossEntropy { rows, width, vocabulary, targets };
        let outputs = self.record(operation, &[x, head, weights], &[vec![1], vec![rows]]);
        (outputs[0], outputs[1])
    }
}

/// The formula in float64: nats of each row.
pub fn cross_entropy_reference(logits: &[f32], targets: &[u32]) -> Vec<f64> {
    let vocabulary = logits.len() / targets.len();
    logits
        .chunks_exact(vocabulary)
        .zip(targets)
        .map(|(row, &target)| {
            let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            sum.ln() - f64::from(row[target as usize])
        })
        .collect()
}

/// Rows whose logits exist at a time.
pub fn chunk_rows(rows: usize, vocabulary: usize) -> usize {
    (CHUNK_LOGITS / vocabulary.max(1)).max(CHUNK_ROWS_MIN).min(rows)
}

impl HeadCrossEntropy {
    fn chunk(&self) -> usize {
        chunk_rows(self.rows, self.vocabulary)
    }

    /// Logits of a chunk, then nats; the logits become gradients of the loss.
    fn chunk_nats(&self, cpu: &Cpu, chunk: Chunk<'_>, head: Operand<'_>, scale: f32) {
        let Chunk { x, targets, weights, logits, nats } = chunk;
        let size = (targets.len(), self.vocabulary, self.width);
        let mut product = |head| gemm(cpu, size, MatrixA::Plain(x), head, logits, false, Epilogue::default());
        match head {
            Operand::Values(head) => product(MatrixB::Transposed(head)),
            Operand::Packed(packed) => product(MatrixB::Packed(packed)),
            Operand::Quantized(head) => multiply(cpu, targets.len(), x, head, None, logits),
        }
        const ROWS: usize = 4;
        cpu.pool().split([(logits, ROWS * self.vocabulary), (nats, ROWS)], |block, [logits, nats]| {
            for (i, (logits, nats)) in logits.chunks_exact_mut(self.vocabulary).zip(nats).enumerate() {
                let row = block * ROWS + i;
                *nats = rows::cross_entropy(cpu.isa(), logits, targets[row] as usize, scale * weights[row]);
            }
        });
    }
}

struct Chunk<'a> {
    x: &'a [f32],
    targets: &'a [u32],
    weights: &'a [f32],
    logits: &'a mut [f32],
    nats: &'a mut [f32],
}

/// `scale * sum weight nats`, in order and in float64.
pub(crate) fn weighted_sum(nats: &[f32], weights: &[f32], scale: f32) -> f32 {
    let sum: f64 = nats.iter().zip(weights).map(|(&n, &w)| f64::from(n) * f64::from(w)).sum();
    (sum * f64::from(scale)) as f32
}

impl Operation for HeadCrossEntropy {
    fn name(&self) -> &'static str {
        "head_cross_entropy"
    }

    fn scratch_len(&self) -> usize {
        self.chunk() * self.vocabulary
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b111, outputs: 0 }
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn forward_flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.width as f64 * self.vocabulary as f64
    }

    fn forward(&self, run: Forward<'_>) {
        let [loss, nats] = run.outputs;
        let (x, weights, targets) = (run.inputs[0].values(), run.inputs[2].values(), run.feed.ids(self.targets));
        let scale = run.feed.loss_scale;
        for first in (0..self.rows).step_by(self.chunk()) {
            let range = first..(first + self.chunk()).min(self.rows);
            let chunk = Chunk {
                x: &x[range.start * self.width..range.end * self.width],
                targets: &targets[range.clone()],
                weights: &weights[range.clone()],
                logits: &mut run.scratch[..range.len() * self.vocabulary],
                nats: &mut nats[range],
            };
            self.chunk_nats(run.cpu, chunk, run.inputs[1], scale);
        }
        loss[0] = weighted_sum(nats, weights, scale);
    }

    fn backward(&self, run: Backward<'_>) {
        let [loss, nats] = run.outputs;
        let (x, weights, targets) = (run.inputs[0].values(), run.inputs[2].values(), run.feed.ids(self.targets));
        let (head, scale) = (run.inputs[1].values(), run.feed.loss_scale);
        let [mut dx, mut dhead, dweights, ..] = run.dinputs;
        for first in (0..self.rows).step_by(self.chunk()) {
            let range = first..(first + self.chunk()).min(self.rows);
            let columns = range.start * self.width..range.end * self.width;
            let logits = &mut run.scratch[..range.len() * self.vocabulary];
            let chunk = Chunk {
                x: &x[columns.clone()],
                targets: &targets[range.clone()],
                weights: &weights[range.clone()],
                logits: &mut *logits,
                nats: &mut nats[range.clone()],
            };
            self.chunk_nats(run.cpu, chunk, run.inputs[1], scale);
            let dlogits = &*logits;
            if let Some(dx) = &mut dx {
                let size = (range.len(), self.width, self.vocabulary);
                let to = &mut dx.values[columns.clone()];
                gemm(
                    run.cpu,
                    size,
                    MatrixA::Plain(dlogits),
                    MatrixB::Plain(head),
                    to,
                    dx.accumulate,
                    Epilogue::default(),
                );
            }
            if let Some(dhead) = &mut dhead {
                let size = (self.vocabulary, self.width, range.len());
                let add = dhead.accumulate || first > 0;
                let x = MatrixB::Plain(&x[columns]);
                gemm(run.cpu, size, MatrixA::Transposed(dlogits), x, dhead.values, add, Epilogue::default());
            }
        }
        if let Some(dweights) = dweights {
            give(run.cpu, dweights, |row| scale * nats[row]);
        }
        loss[0] = weighted_sum(nats, weights, scale);
    }
}
