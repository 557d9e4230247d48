//! A plan: a tape with a place in memory for every value and gradient. Running it allocates nothing.
//!
//! A value lives from the node that makes it to its last reader; a gradient from its first contribution to the
//! backward of the node that made its value. `schedule` says when everything runs, `planner` and `gradients` give it
//! memory, `run` runs it.

mod gradients;
mod planner;
mod run;
mod schedule;

use std::ops::Range;

pub use run::Profile;

use self::planner::{Layout, Planner};
use self::run::Runner;
use self::schedule::Schedule;
use crate::cpu::Cpu;
use crate::memory::Buffer;
use crate::operation::{CachedRows, Feed, INPUTS_MAX, Ids, KeyValueBlocks, OUTPUTS_MAX, Segment};
use crate::parameters::{ParameterId, Parameters};
use crate::tape::{Tape, Var};

/// What becomes, between forward and backward, of the values inside of a block ([`Tape::block`]). Gradients are the
/// same bits either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activations {
    /// They are kept.
    #[default]
    Kept,
    /// They are dropped and computed again from what enters the block (activation checkpointing): less memory for
    /// most of a second forward pass.
    Recomputed,
}

impl Activations {
    /// As a switch says.
    pub fn recomputed_if(recompute: bool) -> Self {
        if recompute { Self::Recomputed } else { Self::Kept }
    }
}

/// Why a tape cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Trainable parameters that no gradient would reach.
    #[error("no gradient reaches {}: nothing on the way to the loss uses {}", names.join(", "), if names.len() == 1 { "it" } else { "them" })]
    UnreachedParameters {
        /// Their names.
        names: Vec<String>,
    },
    /// The value to differentiate is not the output of a loss.
    #[error("`{operation}` is not a loss: training needs one, such as the fused head and cross-entropy")]
    NotALoss {
        /// What made the value.
        operation: String,
    },
    /// Another operation reads what a loss gives.
    #[error(
        "`{operation}` reads the output of the loss `{loss}`, but a loss ends the graph: no gradient flows through it"
    )]
    LossInside {
        /// The loss.
        loss: String,
        /// What reads it.
        operation: String,
    },
}

/// A place in the arena.
type Piece = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    None,
    Arena(Piece),
    Parameter(ParameterId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    None,
    Arena { piece: Piece, accumulate: bool },
    Parameter { id: ParameterId, accumulate: bool },
}

/// A pass over whole pieces before or after an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    Zero(Piece),
    Copy {
        from: Piece,
        to: Piece,
    },
    Add {
        from: Piece,
        to: Piece,
    },
    Double(Piece),
    /// To the gradient of a parameter.
    Give {
        from: Piece,
        to: ParameterId,
        accumulate: bool,
    },
}

#[derive(Debug)]
struct ForwardStep {
    node: usize,
    before: Option<Pass>,
    inputs: [Source; INPUTS_MAX],
    outputs: [Option<Piece>; OUTPUTS_MAX],
    saved: Option<Piece>,
    scratch: Option<Piece>,
    /// Output 0 is there already: everything else is made from it.
    from_output: bool,
}

#[derive(Debug)]
struct BackwardStep {
    /// Second runs forward, before anything else.
    again: Vec<ForwardStep>,
    node: usize,
    before: Vec<Pass>,
    inputs: [Source; INPUTS_MAX],
    outputs: [Option<Piece>; OUTPUTS_MAX],
    saved: Option<Piece>,
    scratch: Option<Piece>,
    doutputs: [Option<Piece>; OUTPUTS_MAX],
    dinputs: [Target; INPUTS_MAX],
    after: Vec<Pass>,
}

/// A planned tape, ready to run.
pub struct Plan {
    tape: Tape,
    /// The node to differentiate. Its backward computes its value too, so forward of training leaves it out.
    loss: Option<usize>,
    ranges: Vec<Range<usize>>,
    value_pieces: Vec<Option<Piece>>,
    gradient_pieces: Vec<Option<Piece>>,
    forward: Vec<ForwardStep>,
    backward: Vec<BackwardStep>,
    arena: Buffer,
    feed: Feed,
    profile: Option<Profile>,
}

impl Plan {
    /// A plan for forward only; `kept` can be read afterwards.
    pub fn forward_only(tape: Tape, kept: &[Var]) -> Self {
        let layout = forward_layout(&tape, kept);
        Self::new(tape, layout)
    }

    /// A plan for training: the gradient of `loss` for every trainable parameter. `kept` values (the loss
    /// and any other) can be read afterwards.
    pub fn training(
        tape: Tape,
        loss: Var,
        kept: &[Var],
        parameters: &Parameters,
        activations: Activations,
    ) -> Result<Self, PlanError> {
        let layout = training_layout(&tape, loss, kept, parameters, activations)?;
        Ok(Self::new(tape, layout))
    }

    /// Numbers of the arena of [`Self::training`], without making it.
    pub fn training_len(
        tape: &Tape,
        loss: Var,
        kept: &[Var],
        parameters: &Parameters,
        activations: Activations,
    ) -> Result<usize, PlanError> {
        Ok(training_layout(tape, loss, kept, parameters, activations)?.arena_len)
    }

    /// Numbers of the arena of [`Self::forward_only`], without making it.
    pub fn forward_len(tape: &Tape, kept: &[Var]) -> usize {
        forward_layout(tape, kept).arena_len
    }

    fn new(tape: Tape, layout: Layout) -> Self {
        let Layout { loss, ranges, arena_len, values, gradients, forward, backward } = layout;
        let ids = tape.id_lens.iter().map(|&len| vec![0; len]).collect();
        let feed = Feed { ids, loss_scale: 1.0, ..Feed::default() };
        let arena = Buffer::zeroed(arena_len);
        let (value_pieces, gradient_pieces) = (values, gradients);
        Self { tape, loss, ranges, value_pieces, gradient_pieces, forward, backward, arena, feed, profile: None }
    }

    /// Bytes of the arena: activations, gradients of activations, scratch.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len() * size_of::<f32>()
    }

    /// Floating-point operations of one forward pass.
    pub fn forward_flops(&self) -> f64 {
        self.tape.forward_flops()
    }

    /// Sets an input.
    ///
    /// # Panics
    /// When the length is another than declared.
    pub fn set(&mut self, var: Var, values: &[f32]) {
        if let Some(piece) = self.value_pieces[var.0] {
            self.arena[self.ranges[piece].clone()].copy_from_slice(values);
        }
    }

    /// Sets an id input.
    ///
    /// # Panics
    /// When the length is another than declared.
    pub fn set_ids(&mut self, ids: Ids, values: &[u32]) {
        self.feed.ids[ids.0].copy_from_slice(values);
    }

    /// Sets which rows attend to each other.
    pub fn set_segments(&mut self, segments: &[Segment]) {
        self.feed.segments.clear();
        self.feed.segments.extend_from_slice(segments);
        self.feed.cached.clear();
    }

    /// Sets the new rows of cached sequences.
    pub fn set_cached_rows(&mut self, rows: &[CachedRows]) {
        self.feed.cached.clear();
        self.feed.cached.extend_from_slice(rows);
        self.feed.segments.clear();
    }

    /// Sets the factor of the loss, usually one over the summed weights of the whole step.
    pub fn set_loss_scale(&mut self, scale: f32) {
        self.feed.loss_scale = scale;
    }

    /// Sets the key of dropout's random numbers: derive it from seed, step and micro-batch.
    pub fn set_random_key(&mut self, key: u64) {
        self.feed.key = key;
    }

    /// A kept value.
    ///
    /// # Panics
    /// When the value was not kept.
    pub fn value(&self, var: Var) -> &[f32] {
        let piece = self.value_pieces[var.0].expect("a kept value has a place");
        &self.arena[self.ranges[piece].clone()]
    }

    /// The gradient of an input or kept value after backward, if one was computed; for tests.
    pub fn gradient(&self, var: Var) -> Option<&[f32]> {
        self.gradient_pieces[var.0].map(|piece| &self.arena[self.ranges[piece].clone()])
    }

    /// Starts or stops timing each operation.
    pub fn set_profiling(&mut self, on: bool) {
        self.profile = on.then(Profile::default);
    }

    /// What was timed.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    /// Runs forward for evaluation: no dropout.
    pub fn evaluate(&mut self, cpu: &Cpu, parameters: &Parameters) {
        self.feed.training = false;
        self.run_forward(cpu, parameters, None);
    }

    /// Runs forward for serving, with the engine's cache.
    pub fn evaluate_cached(&mut self, cpu: &Cpu, parameters: &Parameters, cache: &mut dyn KeyValueBlocks) {
        self.feed.training = false;
        self.run_forward(cpu, parameters, Some(cache));
    }

    /// Runs forward and backward. The parameters' gradients go to `gradients` (laid out as
    /// [`Parameters::buffer`]): replaced, or added to when `accumulate`.
    pub fn train(&mut self, cpu: &Cpu, parameters: &Parameters, gradients: &mut [f32], accumulate: bool) {
        assert_eq!(gradients.len(), parameters.buffer_len(), "gradients are laid out as the parameters");
        self.feed.training = true;
        self.run_forward(cpu, parameters, None);
        let Self { tape, ranges, arena, feed, profile, backward, .. } = self;
        let mut runner = Runner { cpu, parameters, tape, ranges, arena, feed, profile: profile.as_mut() };
        for step in backward {
            for again in &step.again {
                runner.forward(again, None, "again");
            }
            runner.backward(step, gradients, accumulate);
        }
    }

    fn run_forward(&mut self, cpu: &Cpu, parameters: &Parameters, mut cache: Option<&mut dyn KeyValueBlocks>) {
        let Self { tape, loss, ranges, arena, feed, profile, forward, .. } = self;
        let mut runner = Runner { cpu, parameters, tape, ranges, arena, feed, profile: profile.as_mut() };
        for step in forward {
            if runner.feed.training && *loss == Some(step.node) {
                continue;
            }
            let cache: Option<&mut dyn KeyValueBlocks> = match &mut cache {
                Some(cache) => Some(&mut **cache),
                None => None,
            };
            runner.forward(step, cache, "forward");
        }
    }
}

fn forward_layout(tape: &Tape, kept: &[Var]) -> Layout {
    Planner::new(tape, Schedule::forward(tape, kept)).finish()
}

fn training_layout(
    tape: &Tape,
    loss: Var,
    kept: &[Var],
    parameters: &Parameters,
    activations: Activations,
) -> Result<Layout, PlanError> {
    let mut planner = Planner::new(tape, Schedule::training(tape, loss, kept, parameters, activations)?);
    planner.differentiate(parameters)?;
    Ok(planner.finish())
}
