//! The training loop: one for every objective. It resumes from the newest checkpoint to the same losses, bit for
//! bit, because a batch is a pure function of its step and every sum has a fixed order.

use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Deserializer, Serialize};
use tsumugi_base::jsonl::JsonLinesWriter;
use tsumugi_base::progress::{Event, Meter, Observer};
use tsumugi_base::rng::Key;
use tsumugi_data::{Batch, BatchSource, EvaluationSet};
use tsumugi_models::Decoder;
use tsumugi_models::plans::{LossPlan, LossRows};
use tsumugi_tensor::memory::Buffer;
use tsumugi_tensor::optimizer_step::global_norm;
use tsumugi_tensor::{AdamWStep, Cpu, Profile, Segment};

use crate::checkpoint::{self, State};
use crate::guard::{NOT_FINITE_MAX, Verdict};
use crate::settings::EPSILON;
use crate::{Optimizer, TrainError, TrainSettings};

/// Our part of the key space of a seed: dropout.
const DROPOUT: u64 = 0x6472_6f70;

/// A line of `log.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogRow {
    /// An evaluation on the held-out text.
    Evaluation {
        /// Steps done before it.
        step: u64,
        /// Mean nats per token.
        #[serde(deserialize_with = "number_or_nan")]
        held_out_loss: f64,
        /// Nats summed over tokens, in bits, over the bytes of the text.
        #[serde(deserialize_with = "number_or_nan")]
        held_out_bits_per_byte: f64,
    },
    /// A step.
    Step {
        /// Counts from 1.
        step: u64,
        /// Mean nats per trained token of its batch.
        #[serde(deserialize_with = "number_or_nan")]
        loss: f32,
        /// Norm of the gradient before clipping.
        #[serde(deserialize_with = "number_or_nan")]
        gradient_norm: f32,
        /// Learning rate.
        learning_rate: f64,
        /// Tokens read so far.
        tokens: u64,
        /// Seconds trained so far.
        seconds: f64,
        /// Why the step was not taken, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skipped: Option<String>,
    },
}

/// JSON has no word for what is not a finite number: it is written as null, and null is read as NaN.
fn number_or_nan<'de, D: Deserializer<'de>, T: From<f32> + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_else(|| T::from(f32::NAN)))
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluated {
    /// Steps done before it.
    pub step: u64,
    /// Mean nats per scored token.
    pub loss: f64,
    /// Bits per byte of the text.
    pub bits_per_byte: f64,
}

/// What to train.
pub struct Job<'a> {
    /// The processor.
    pub cpu: &'a Cpu,
    /// The model to begin with; a checkpoint in the folder replaces its weights.
    pub decoder: Decoder,
    /// Batches.
    pub source: &'a dyn BatchSource,
    /// Held-out text, if any.
    pub held_out: Option<&'a EvaluationSet>,
    /// Numbers.
    pub settings: &'a TrainSettings,
    /// Where checkpoints and the log go.
    pub folder: &'a Path,
    /// The stage's name for progress.
    pub stage: &'a str,
    /// The machine's peak, for the share of it; none if not known.
    pub peak_flops_per_second: Option<f64>,
    /// Whether to time each operation.
    pub profile: bool,
    /// Listens, and may ask to stop.
    pub observer: &'a dyn Observer,
    /// Called at each evaluation, with the model as it is: samples.
    pub on_evaluation: &'a mut dyn FnMut(Evaluated, &Decoder),
}

/// What came out.
pub struct Trained {
    /// The model.
    pub decoder: Decoder,
    /// The last evaluation.
    pub evaluated: Option<Evaluated>,
    /// Whether all steps were done; if not, the same job goes on from the checkpoint.
    pub finished: bool,
    /// Steps done, tokens read, seconds.
    pub state: State,
    /// Tokens per second of training, evaluations not counted; of this run.
    pub tokens_per_second: f64,
    /// Where the time of this run's steps went; empty unless it was asked for.
    pub profile: Profile,
}

/// `tsumugi-data`'s segments as the tensors' crate has them.
fn segments(batch: &Batch) -> Vec<Segment> {
    batch.segments.iter().map(|segment| Segment { start: segment.start, len: segment.len }).collect()
}

fn set_batch(plan: &mut LossPlan, batch: &Batch) {
    let segments = segments(batch);
    plan.set(LossRows {
        tokens: &batch.tokens,
        positions: &batch.positions,
        targets: &batch.targets,
        weights: &batch.weights,
        segments: &segments,
    });
}

/// Mean nats per token and bits per byte of `decoder` on a set.
pub fn evaluate(cpu: &Cpu, decoder: &Decoder, plan: &mut LossPlan, set: &EvaluationSet, step: u64) -> Evaluated {
    let mut nats = 0.0;
    for batch in set.batches() {
        set_batch(plan, &batch);
        let rows = plan.score(cpu, &decoder.parameters).iter().zip(&batch.weights);
        nats += rows.map(|(&nats, &weight)| f64::from(nats) * f64::from(weight)).sum::<f64>();
    }
    Evaluated { step, loss: nats / set.scored_tokens().max(1) as f64, bits_per_byte: set.bits_per_byte(nats) }
}

/// Opens the log with what belongs to the first `step` steps of a run that was resumed; a new run's is empty. Lines that
/// are missing are told: no number of the run depends on them, but its report does.
fn open_log(job: &Job<'_>, resumed: bool, step: u64) -> Result<JsonLinesWriter, TrainError> {
    let path = job.folder.join("log.jsonl");
    let mut steps_there = 0;
    let log = JsonLinesWriter::open_keeping(&path, |row| {
        let is_evaluation = row.get("held_out_loss").is_some();
        // An evaluation belongs to the step that follows it: the resumed run makes that of its first step again.
        let keep = row["step"].as_u64().is_some_and(|row| resumed && row + u64::from(is_evaluation) <= step);
        steps_there += u64::from(keep && !is_evaluation);
        keep
    })?;
    if resumed {
        let message = format!("resumed from step {step} of {}", job.settings.steps);
        job.observer.event(&Event::Note { message });
    }
    if resumed && steps_there < step {
        let message = format!(
            "{} has lines of only {steps_there} of the {step} steps of this run: the others were lost, and the report will \
             lack them; the training itself goes on unchanged",
            path.display()
        );
        job.observer.event(&Event::Warning { message });
    }
    Ok(log)
}

struct Run<'a> {
    job: Job<'a>,
    optimizer: Optimizer,
    gradients: Buffer,
    plan: LossPlan,
    scoring: Option<LossPlan>,
    state: State,
    log: JsonLinesWriter,
    partials: Vec<f32>,
    evaluated: Option<Evaluated>,
    /// What is not on the tape.
    profile: Profile,
    /// Seconds and tokens of this run.
    trained_seconds: f64,
    trained_tokens: u64,
}

/// Trains until all steps are done or the observer asks to stop; either way a checkpoint is written.
pub fn train(job: Job<'_>) -> Result<Trained, TrainError> {
    let mut run = Run::begin(job)?;
    let total = run.job.settings.steps;
    let mut meter = Meter::new(run.job.stage, run.state.tokens, 0, "tokens");
    while run.state.step < total {
        if run.state.step.is_multiple_of(run.job.settings.evaluate_every) {
            run.evaluate()?;
        }
        if run.job.observer.stop_requested() {
            break;
        }
        let row = run.step()?;
        if meter.is_due() || run.state.step == total {
            run.tell(&mut meter, &row);
        }
        if run.state.step.is_multiple_of(run.job.settings.checkpoint_every) && run.state.step < total {
            run.log.sync()?; // a checkpoint without the lines before it would leave a hole in the log
            checkpoint::save(run.job.folder, &run.state, &run.job.decoder.parameters, &run.optimizer)?;
        }
    }
    run.log.sync()?;
    checkpoint::save(run.job.folder, &run.state, &run.job.decoder.parameters, &run.optimizer)?;
    let finished = run.state.step >= total;
    if finished && run.state.guard.not_finite > 0 {
        return Err(TrainError::Diverged { step: total, count: run.state.guard.not_finite });
    }
    if finished {
        run.evaluate()?;
    }
    run.log.sync()?;
    let tokens_per_second = run.trained_tokens as f64 / run.trained_seconds.max(1e-9);
    let mut profile = run.plan.plan.profile().cloned().unwrap_or_default();
    profile.rows.append(&mut run.profile.rows);
    let Run { job: Job { decoder, .. }, evaluated, state, .. } = run;
    Ok(Trained { decoder, evaluated, finished, state, tokens_per_second, profile })
}

impl<'a> Run<'a> {
    fn begin(mut job: Job<'a>) -> Result<Self, TrainError> {
        let mut optimizer = Optimizer::new(job.settings.optimizer, &job.decoder.parameters);
        let loaded = checkpoint::load_newest(job.folder, &mut job.decoder.parameters, &mut optimizer)?;
        let resumed = loaded.is_some();
        let kind = job.settings.optimizer;
        let fresh = State { step: 0, optimizer: kind, updates: 0, guard: Default::default(), tokens: 0, seconds: 0.0 };
        let state = loaded.unwrap_or(fresh);
        let log = open_log(&job, resumed, state.step)?;
        let rows = job.source.batch(state.step, 0).rows;
        let mut plan = LossPlan::training(&job.decoder, rows, job.settings.options().activations)?;
        plan.plan.set_profiling(job.profile);
        let scoring = job.held_out.map(|set| LossPlan::scoring(&job.decoder, set.batch(0).rows));
        let gradients = Buffer::zeroed(job.decoder.parameters.buffer_len());
        let (partials, evaluated) = (Vec::new(), None);
        Ok(Self {
            job,
            optimizer,
            gradients,
            plan,
            scoring,
            state,
            log,
            partials,
            evaluated,
            profile: Profile::default(),
            trained_seconds: 0.0,
            trained_tokens: 0,
        })
    }

    /// Forward and backward of all micro-batches: the loss, and the norm of the gradient. The loss is divided by
    /// the trained tokens of the whole step, so that cutting it into micro-batches changes nothing.
    fn gradient(&mut self) -> Result<(f32, f32, u64), TrainError> {
        let step = self.state.step;
        let begun = Instant::now();
        let batches: Vec<Batch> =
            (0..self.job.settings.accumulate).map(|micro| self.job.source.batch(step, micro)).collect();
        let weight: f64 = batches.iter().flat_map(|batch| &batch.weights).map(|&weight| f64::from(weight)).sum();
        if weight == 0.0 {
            return Err(TrainError::NothingTrained { step });
        }
        self.timed("batch", "read", begun);
        let key = Key::from_seed(self.job.settings.seed).derive(&[DROPOUT, step]);
        let mut loss = 0.0;
        let mut tokens = 0;
        for (micro, batch) in batches.iter().enumerate() {
            set_batch(&mut self.plan, batch);
            self.plan.plan.set_random_key(key.bits(micro as u64));
            let parameters = &self.job.decoder.parameters;
            loss += self.plan.train(self.job.cpu, parameters, &mut self.gradients, (1.0 / weight) as f32, micro > 0);
            tokens += batch.rows as u64;
        }
        let begun = Instant::now();
        let norm = global_norm(self.job.cpu, &self.gradients, &mut self.partials);
        self.timed("gradient", "norm", begun);
        Ok((loss, norm, tokens))
    }

    fn timed(&mut self, what: &'static str, how: &'static str, begun: Instant) {
        if self.job.profile {
            self.profile.add(what, how, begun.elapsed().as_secs_f64());
        }
    }

    fn step(&mut self) -> Result<LogRow, TrainError> {
        let begun = Instant::now();
        let settings = self.job.settings;
        let (loss, norm, tokens) = self.gradient()?;
        let learning_rate = settings.rate(self.state.step);
        let verdict = self.state.guard.judge(loss, norm);
        if verdict == Verdict::Take {
            self.state.updates += 1;
            let correction = |beta: f64| (1.0 / (1.0 - beta.powi(self.state.updates.min(1 << 30) as i32))) as f32;
            let step = AdamWStep {
                learning_rate: learning_rate as f32,
                beta1: settings.beta1 as f32,
                beta2: settings.beta2 as f32,
                epsilon: EPSILON as f32,
                weight_decay: settings.weight_decay as f32,
                correction1: correction(settings.beta1),
                correction2: correction(settings.beta2),
                gradient_scale: (settings.clip / f64::from(norm).max(settings.clip)) as f32,
            };
            let begun = Instant::now();
            self.optimizer.update(self.job.cpu, &mut self.job.decoder.parameters, &self.gradients, step);
            self.timed(settings.optimizer.name(), "update", begun);
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.trained_seconds += seconds;
        self.trained_tokens += tokens;
        self.state.step += 1;
        self.state.tokens += tokens;
        self.state.seconds += seconds;
        self.log_step(verdict, loss, norm, learning_rate)
    }

    fn log_step(
        &mut self,
        verdict: Verdict,
        loss: f32,
        gradient_norm: f32,
        learning_rate: f64,
    ) -> Result<LogRow, TrainError> {
        let skipped = match verdict {
            Verdict::Take => None,
            Verdict::Spike => Some("the gradient is far larger than of late"),
            Verdict::NotFinite => Some("the loss or its gradient is not a number"),
        };
        let State { step, tokens, seconds, .. } = self.state;
        if let Some(reason) = skipped {
            let message = format!("step {step} skipped: {reason} (loss {loss}, gradient norm {gradient_norm})");
            self.job.observer.event(&Event::Warning { message });
        }
        let skipped = skipped.map(str::to_owned);
        let row = LogRow::Step { step, loss, gradient_norm, learning_rate, tokens, seconds, skipped };
        self.log.write(&row)?;
        if self.state.guard.not_finite >= NOT_FINITE_MAX {
            return Err(TrainError::Diverged { step, count: self.state.guard.not_finite });
        }
        Ok(row)
    }

    fn evaluate(&mut self) -> Result<(), TrainError> {
        let (Some(set), Some(plan)) = (self.job.held_out, &mut self.scoring) else { return Ok(()) };
        let evaluated = evaluate(self.job.cpu, &self.job.decoder, plan, set, self.state.step);
        let Evaluated { step, loss, bits_per_byte } = evaluated;
        self.evaluated = Some(evaluated);
        self.log.write(&LogRow::Evaluation { step, held_out_loss: loss, held_out_bits_per_byte: bits_per_byte })?;
        let message = format!("step {step}: held-out loss {loss:.4} nats per token, {bits_per_byte:.4} bits per byte");
        self.job.observer.event(&Event::Note { message });
        (self.job.on_evaluation)(evaluated, &self.job.decoder);
        Ok(())
    }

    fn tell(&self, meter: &mut Meter, row: &LogRow) {
        let Event::Step { stage, done, unit, rate_per_second, .. } = meter.step(self.state.tokens, Vec::new()) else {
            return;
        };
        let LogRow::Step { step, loss, .. } = row else { return };
        let total_steps = self.job.settings.steps;
        let seconds_left = self.trained_seconds / (self.trained_tokens.max(1) as f64)
            * (self.state.tokens as f64 / (*step).max(1) as f64)
            * (total_steps - step) as f64;
        let mut details =
            vec![("step".to_owned(), format!("{step}/{total_steps}")), ("loss".to_owned(), format!("{loss:.3}"))];
        if let Some(peak) = self.job.peak_flops_per_second {
            let speed = self.trained_tokens as f64 / self.trained_seconds.max(1e-9);
            let share = self.job.decoder.spec.training_flops_per_token(self.job.source.context()) * speed / peak;
            details.push(("of peak".to_owned(), format!("{:.0} %", 100.0 * share)));
        }
        let total = (self.state.tokens / (*step).max(1)).saturating_mul(total_steps);
        self.job.observer.event(&Event::Step { stage, done, total, unit, rate_per_second, seconds_left, details });
    }
}
