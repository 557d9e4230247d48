//! Cross-entropy of logits that exist as a value: elementary (training uses the head fused with it, `cross_entropy.rs`).

use crate::cpu::Cpu;
use crate::kernels::{elementwise, rows};
use crate::operation::{Backward, Feed, Forward, Ids, Needs, Operation};
use crate::ops::cross_entropy::weighted_sum;
use crate::tape::{Tape, Var};

struct LogitsCrossEntropy {
    rows: usize,
    vocabulary: usize,
    targets: Ids,
}

impl Tape {
    /// Cross-entropy of `softmax(logits)` against `targets`: `logits [r, v]`, `weights [r]`.
    /// Returns (loss `[1]`, nats `[r]`): nats of each row, and `loss_scale * sum weight nats`.
    /// The reference is [`cross_entropy_reference`](crate::ops::cross_entropy::cross_entropy_reference).
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn cross_entropy_loss(&mut self, logits: Var, targets: Ids, weights: Var) -> (Var, Var) {
        let (rows, vocabulary) = self.rows_columns(logits);
        assert!(self.id_lens[targets.0] == rows && self.shape(weights) == [rows], "cross_entropy_loss: {rows} rows");
        let operation = LogitsCrossEntropy { rows, vocabulary, targets };
        let outputs = self.record(operation, &[logits, weights], &[vec![1], vec![rows]]);
        (outputs[0], outputs[1])
    }
}

/// Rows in a task.
const ROWS: usize = 4;

impl LogitsCrossEntropy {
    /// `gradients` become those of the loss.
    fn run(&self, cpu: &Cpu, feed: &Feed, logits: &[f32], weights: &[f32], gradients: &mut [f32], nats: &mut [f32]) {
        let targets = feed.ids(self.targets);
        let block = ROWS * self.vocabulary;
        cpu.pool().split([(gradients, block), (nats, ROWS)], |index, [gradients, nats]| {
            gradients.copy_from_slice(&logits[index * block..][..gradients.len()]);
            for (i, (row, nats)) in gradients.chunks_exact_mut(self.vocabulary).zip(nats).enumerate() {
                let at = index * ROWS + i;
                *nats = rows::cross_entropy(cpu.isa(), row, targets[at] as usize, feed.loss_scale * weights[at]);
            }
        });
    }
}

impl Operation for LogitsCrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy_loss"
    }

    fn scratch_len(&self) -> usize {
        self.rows * self.vocabulary
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b11, outputs: 0 }
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn forward(&self, run: Forward<'_>) {
        let (logits, weights, [loss, nats]) = (run.inputs[0].values(), run.inputs[1].values(), run.outputs);
        self.run(run.cpu, run.feed, logits, weights, run.scratch, nats);
        loss[0] = weighted_sum(nats, weights, run.feed.loss_scale);
    }

    fn backward(&self, run: Backward<'_>) {
        let (logits, weights, [loss, nats]) = (run.inputs[0].values(), run.inputs[1].values(), run.outputs);
        let [dlogits, dweights, ..] = run.dinputs;
        match dlogits {
            Some(to) if !to.accumulate => self.run(run.cpu, run.feed, logits, weights, to.values, nats),
            other => {
                self.run(run.cpu, run.feed, logits, weights, run.scratch, nats);
                if let Some(to) = other {
                    elementwise::add_assign(run.cpu.isa(), run.scratch, to.values);
                }
            }
        }
        if let Some(to) = dweights {
            crate::ops::elementwise::give(run.cpu, to, |i| run.feed.loss_scale * nats[i]);
        }
        loss[0] = weighted_sum(nats, weights, run.feed.loss_scale);
    }
}
