//! A decoder's tapes, planned: for training and scoring (loss), for the engine and for comparing predictions (logits).

use tsumugi_tensor::{
    Activations, CachedRows, Cpu, Ids, KeyValueBlocks, Parameters, Plan, PlanError, Segment, Tape, Var,
};

use crate::Decoder;

/// Tokens to loss, for a fixed number of rows.
pub struct LossPlan {
    /// The plan, for profiles and sizes.
    pub plan: Plan,
    tokens: Ids,
    positions: Ids,
    targets: Ids,
    weights: Var,
    loss: Var,
    nats: Var,
}

/// Tokens to loss, recorded.
struct LossTape {
    tape: Tape,
    tokens: Ids,
    positions: Ids,
    targets: Ids,
    weights: Var,
    loss: Var,
    nats: Var,
}

impl LossTape {
    fn record(decoder: &Decoder, rows: usize) -> Self {
        let mut tape = Tape::new();
        let (tokens, positions, targets) = (tape.ids(rows), tape.ids(rows), tape.ids(rows));
        let weights = tape.input(&[rows]);
        let hidden = decoder.record_hidden(&mut tape, tokens, positions);
        let (loss, nats) = decoder.record_loss(&mut tape, hidden, targets, weights);
        Self { tape, tokens, positions, targets, weights, loss, nats }
    }
}

/// One batch of rows, as `tsumugi-data` makes it.
#[derive(Debug, Clone, Copy)]
pub struct LossRows<'a> {
    /// `[r]`
    pub tokens: &'a [u32],
    /// `[r]`, within each segment.
    pub positions: &'a [u32],
    /// `[r]`
    pub targets: &'a [u32],
    /// `[r]`; 0 is not scored.
    pub weights: &'a [f32],
    /// Rows that attend to each other.
    pub segments: &'a [Segment],
}

impl LossPlan {
    /// Forward and backward for `rows` rows.
    pub fn training(decoder: &Decoder, rows: usize, activations: Activations) -> Result<Self, PlanError> {
        let LossTape { tape, tokens, positions, targets, weights, loss, nats } = LossTape::record(decoder, rows);
        let plan = Plan::training(tape, loss, &[nats], &decoder.parameters, activations)?;
        Ok(Self { plan, tokens, positions, targets, weights, loss, nats })
    }

    /// Forward only.
    pub fn scoring(decoder: &Decoder, rows: usize) -> Self {
        let LossTape { tape, tokens, positions, targets, weights, loss, nats } = LossTape::record(decoder, rows);
        let plan = Plan::forward_only(tape, &[loss, nats]);
        Self { plan, tokens, positions, targets, weights, loss, nats }
    }

    /// Numbers of the arenas of [`Self::training`] and of [`Self::scoring`], without making them; the decoder may be a
    /// [`Decoder::described`] one.
    pub fn arena_lens(decoder: &Decoder, rows: usize, activations: Activations) -> Result<(usize, usize), PlanError> {
        let LossTape { tape, loss, nats, .. } = LossTape::record(decoder, rows);
        let training = Plan::training_len(&tape, loss, &[nats], &decoder.parameters, activations)?;
        Ok((training, Plan::forward_len(&tape, &[loss, nats])))
    }

    /// Sets the batch.
    ///
    /// # Panics
    /// When it has another number of rows: a mistake of the caller.
    pub fn set(&mut self, rows: LossRows<'_>) {
        self.plan.set_ids(self.tokens, rows.tokens);
        self.plan.set_ids(self.positions, rows.positions);
        self.plan.set_ids(self.targets, rows.targets);
        self.plan.set(self.weights, rows.weights);
        self.plan.set_segments(rows.segments);
    }

    /// Forward, backward; returns `loss_scale * sum weight nats`. Gradients are replaced, or added to.
    pub fn train(
        &mut self,
        cpu: &Cpu,
        parameters: &Parameters,
        gradients: &mut [f32],
        loss_scale: f32,
        accumulate: bool,
    ) -> f32 {
        self.plan.set_loss_scale(loss_scale);
        self.plan.train(cpu, parameters, gradients, accumulate);
        self.plan.value(self.loss)[0]
    }

    /// Forward in evaluation; returns nats of each row, `[r]`.
    pub fn score(&mut self, cpu: &Cpu, parameters: &Parameters) -> &[f32] {
        self.plan.evaluate(cpu, parameters);
        self.plan.value(self.nats)
    }

    /// Nats of each row of the last run.
    pub fn nats(&self) -> &[f32] {
        self.plan.value(self.nats)
    }
}

/// New tokens to logits of chosen rows, over the engine's cache.
pub struct LogitsPlan {
    plan: Plan,
    tokens: Ids,
    positions: Ids,
    selected: Ids,
    logits: Var,
}

impl LogitsPlan {
    /// For `rows` new rows and logits of `outputs` of them.
    pub fn new(decoder: &Decoder, rows: usize, outputs: usize) -> Self {
        let mut tape = Tape::new();
        let (tokens, positions, selected) = (tape.ids(rows), tape.ids(rows), tape.ids(outputs));
        let hidden = decoder.record_hidden(&mut tape, tokens, positions);
        let hidden = if outputs == rows { hidden } else { tape.select_rows(hidden, selected) };
        let logits = decoder.record_logits(&mut tape, hidden);
        Self { plan: Plan::forward_only(tape, &[logits]), tokens, positions, selected, logits }
    }

    /// Runs over the cache: `tokens` and `positions` have as many rows as the plan (rows that `cached` does
    /// not cover are padding), `selected` as many ids as outputs (ignored when all rows are outputs).
    /// Returns logits `[outputs, v]`.
    pub fn run(
        &mut self,
        cpu: &Cpu,
        parameters: &Parameters,
        rows: CachedBatch<'_>,
        cache: &mut dyn KeyValueBlocks,
    ) -> &[f32] {
        self.plan.set_ids(self.tokens, rows.tokens);
        self.plan.set_ids(self.positions, rows.positions);
        self.plan.set_ids(self.selected, rows.selected);
        self.plan.set_cached_rows(rows.cached);
        self.plan.evaluate_cached(cpu, parameters, cache);
        self.plan.value(self.logits)
    }

    /// Runs without a cache, each segment on its own: the reference for the cached run.
    pub fn run_uncached(
        &mut self,
        cpu: &Cpu,
        parameters: &Parameters,
        tokens: &[u32],
        positions: &[u32],
        segments: &[Segment],
    ) -> &[f32] {
        self.plan.set_ids(self.tokens, tokens);
        self.plan.set_ids(self.positions, positions);
        self.plan.set_segments(segments);
        self.plan.evaluate(cpu, parameters);
        self.plan.value(self.logits)
    }
}

/// One step of the engine.
#[derive(Debug, Clone, Copy)]
pub struct CachedBatch<'a> {
    /// `[rows]`
    pub tokens: &'a [u32],
    /// `[rows]`
    pub positions: &'a [u32],
    /// `[outputs]`: rows whose logits are wanted.
    pub selected: &'a [u32],
    /// Which rows belong to which sequence.
    pub cached: &'a [CachedRows],
}

/// Tokens to logits of any rows, some at a time: all logits of a long window of a large vocabulary take gigabytes.
pub struct ChunkedLogitsPlan {
    body: Plan,
    tokens: Ids,
    positions: Ids,
    hidden: Var,
    head: Plan,
    /// `[chunk, m]`
    chunk: Var,
    logits: Var,
    /// What is copied to `chunk`.
    gathered: Vec<f32>,
    width: usize,
    vocabulary: usize,
}

impl ChunkedLogitsPlan {
    /// For `rows` rows and logits of up to `chunk` of them at once.
    pub fn new(decoder: &Decoder, rows: usize, chunk: usize) -> Self {
        let (width, vocabulary) = (decoder.spec.width, decoder.spec.vocabulary);
        let gathered = vec![0.0; chunk * width];
        let mut body = Tape::new();
        let (tokens, positions) = (body.ids(rows), body.ids(rows));
        let hidden = decoder.record_hidden(&mut body, tokens, positions);
        let mut head = Tape::new();
        let chunk = head.input(&[chunk, width]);
        let logits = decoder.record_logits(&mut head, chunk);
        let (body, head) = (Plan::forward_only(body, &[hidden]), Plan::forward_only(head, &[logits]));
        Self { body, tokens, positions, hidden, head, chunk, logits, gathered, width, vocabulary }
    }

    /// Runs all but the head, without a cache, each segment on its own.
    pub fn run(&mut self, cpu: &Cpu, parameters: &Parameters, tokens: &[u32], positions: &[u32], segments: &[Segment]) {
        self.body.set_ids(self.tokens, tokens);
        self.body.set_ids(self.positions, positions);
        self.body.set_segments(segments);
        self.body.evaluate(cpu, parameters);
    }

    /// Logits `[selected, v]` of these rows of the last run.
    ///
    /// # Panics
    /// When they are more than the chunk, or one is beyond the rows: a mistake of the caller.
    pub fn logits(&mut self, cpu: &Cpu, parameters: &Parameters, selected: impl Iterator<Item = usize>) -> &[f32] {
        let hidden = self.body.value(self.hidden);
        let mut end = 0;
        for row in selected {
            self.gathered[end..end + self.width].copy_from_slice(&hidden[row * self.width..][..self.width]);
            end += self.width;
        }
        self.head.set(self.chunk, &self.gathered);
        self.head.evaluate(cpu, parameters);
        &self.head.value(self.logits)[..end / self.width * self.vocabulary]
    }
}
