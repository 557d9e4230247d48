//! A plan: a tape with a place in memory for every value and gradient. Running it allocates nothing.
//!
//! Time runs from 0 to n-1 through forward and from n to 2n-1 through backward in reverse order. A value
//! lives from the node that makes it to its last reader; a gradient from its first contribution to the
//! backward of the node that made its value.

use std::ops::Range;
use std::time::Instant;

use crate::cpu::Cpu;
use crate::kernels::elementwise;
use crate::layout::{Interval, lay_out};
use crate::memory::{Buffer, Lender};
use crate::operation::{
    Backward, CachedRows, Feed, Forward, Gradient, INPUTS_MAX, Ids, KeyValueBlocks, OUTPUTS_MAX, Operand, Segment,
};
use crate::parameters::{ParameterId, Parameters};
use crate::tape::{Origin, Tape, Var};

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
}

#[derive(Debug)]
struct BackwardStep {
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

/// Seconds per kind of operation since the profile was begun.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// (operation, direction, seconds, calls), in order of first use.
    pub rows: Vec<(&'static str, &'static str, f64, u64)>,
}

impl Profile {
    /// Adds a call that took so long.
    pub fn add(&mut self, name: &'static str, direction: &'static str, seconds: f64) {
        match self.rows.iter_mut().find(|row| row.0 == name && row.1 == direction) {
            Some(row) => {
                row.2 += seconds;
                row.3 += 1;
            }
            None => self.rows.push((name, direction, seconds, 1)),
        }
    }
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
        let layout = Planner::new(&tape, kept, false).finish();
        Self::new(tape, layout)
    }

    /// A plan for training: the gradient of `loss` for every trainable parameter. `kept` values (the loss
    /// and any other) can be read afterwards.
    pub fn training(tape: Tape, loss: Var, kept: &[Var], parameters: &Parameters) -> Result<Self, PlanError> {
        let mut kept = kept.to_vec();
        kept.push(loss);
        let mut planner = Planner::new(&tape, &kept, true);
        planner.differentiate(loss, parameters)?;
        let layout = planner.finish();
        Ok(Self::new(tape, layout))
    }

    /// Numbers of the arena of [`Self::training`], without making it.
    pub fn training_len(tape: &Tape, loss: Var, kept: &[Var], parameters: &Parameters) -> Result<usize, PlanError> {
        let mut planner = Planner::new(tape, &[kept, &[loss]].concat(), true);
        planner.differentiate(loss, parameters)?;
        Ok(planner.finish().arena_len)
    }

    /// Numbers of the arena of [`Self::forward_only`], without making it.
    pub fn forward_len(tape: &Tape, kept: &[Var]) -> usize {
        Planner::new(tape, kept, false).finish().arena_len
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
        self.run_backward(cpu, parameters, gradients, accumulate);
    }

    fn run_forward(&mut self, cpu: &Cpu, parameters: &Parameters, mut cache: Option<&mut dyn KeyValueBlocks>) {
        let training = self.feed.training;
        for step in &self.forward {
            let operation = &self.tape.nodes[step.node].operation;
            if training && self.loss == Some(step.node) {
                continue;
            }
            let begun = self.profile.is_some().then(Instant::now);
            if let Some(pass) = step.before {
                run_pass(cpu, &mut self.arena, &self.ranges, pass);
            }
            let mut lender = Lender::new(&mut self.arena);
            let run = Forward {
                cpu,
                inputs: step.inputs.map(|source| operand(source, &mut lender, &self.ranges, parameters)),
                outputs: step.outputs.map(|piece| write(piece, &mut lender, &self.ranges)),
                saved: write(step.saved, &mut lender, &self.ranges),
                scratch: write(step.scratch, &mut lender, &self.ranges),
                feed: &self.feed,
                cache: match &mut cache {
                    Some(cache) => Some(&mut **cache),
                    None => None,
                },
            };
            operation.forward(run);
            if let (Some(profile), Some(begun)) = (&mut self.profile, begun) {
                profile.add(operation.name(), "forward", begun.elapsed().as_secs_f64());
            }
        }
    }

    fn run_backward(&mut self, cpu: &Cpu, parameters: &Parameters, gradients: &mut [f32], accumulate_all: bool) {
        for step in &self.backward {
            let operation = &self.tape.nodes[step.node].operation;
            let begun = self.profile.is_some().then(Instant::now);
            for &pass in &step.before {
                run_pass(cpu, &mut self.arena, &self.ranges, pass);
            }
            let mut lender = Lender::new(&mut self.arena);
            let mut parameter_lender = Lender::new(gradients);
            let run = Backward {
                cpu,
                inputs: step.inputs.map(|source| operand(source, &mut lender, &self.ranges, parameters)),
                outputs: step.outputs.map(|piece| write(piece, &mut lender, &self.ranges)),
                saved: write(step.saved, &mut lender, &self.ranges),
                scratch: write(step.scratch, &mut lender, &self.ranges),
                doutputs: step.doutputs.map(|piece| write(piece, &mut lender, &self.ranges)),
                dinputs: step.dinputs.map(|target| match target {
                    Target::None => None,
                    Target::Arena { piece, accumulate } => {
                        Some(Gradient { values: write(Some(piece), &mut lender, &self.ranges), accumulate })
                    }
                    Target::Parameter { id, accumulate } => {
                        let values = parameter_lender.write(parameters.range(id));
                        Some(Gradient { values, accumulate: accumulate || accumulate_all })
                    }
                }),
                feed: &self.feed,
            };
            operation.backward(run);
            for &pass in &step.after {
                if let Pass::Give { from, to, accumulate } = pass {
                    let (from, to) = (&self.arena[self.ranges[from].clone()], &mut gradients[parameters.range(to)]);
                    copy_or_add(cpu, from, to, accumulate || accumulate_all);
                } else {
                    run_pass(cpu, &mut self.arena, &self.ranges, pass);
                }
            }
            if let (Some(profile), Some(begun)) = (&mut self.profile, begun) {
                profile.add(operation.name(), "backward", begun.elapsed().as_secs_f64());
            }
        }
    }
}

fn operand<'a>(
    source: Source,
    lender: &mut Lender<'a>,
    ranges: &[Range<usize>],
    parameters: &'a Parameters,
) -> Operand<'a> {
    match source {
        Source::None => Operand::Values(&[]),
        Source::Arena(piece) => Operand::Values(lender.read(ranges[piece].clone())),
        Source::Parameter(id) => parameters.weight(id).into(),
    }
}

fn write<'a>(piece: Option<Piece>, lender: &mut Lender<'a>, ranges: &[Range<usize>]) -> &'a mut [f32] {
    piece.map_or(&mut [], |piece| lender.write(ranges[piece].clone()))
}

/// Numbers in a task of a pass.
const PASS_CHUNK: usize = 1 << 15;

fn run_pass(cpu: &Cpu, arena: &mut [f32], ranges: &[Range<usize>], pass: Pass) {
    let mut lender = Lender::new(arena);
    match pass {
        Pass::Zero(piece) => lender.write(ranges[piece].clone()).fill(0.0),
        Pass::Double(piece) => elementwise::scale(cpu.isa(), 2.0, lender.write(ranges[piece].clone())),
        Pass::Copy { from, to } | Pass::Add { from, to } => {
            let (from, to) = (lender.read(ranges[from].clone()), lender.write(ranges[to].clone()));
            copy_or_add(cpu, from, to, matches!(pass, Pass::Add { .. }));
        }
        Pass::Give { .. } => unreachable!("parameters' gradients are outside of the arena"),
    }
}

fn copy_or_add(cpu: &Cpu, from: &[f32], to: &mut [f32], add: bool) {
    cpu.pool().split([(to, PASS_CHUNK)], |index, [to]| {
        let from = &from[index * PASS_CHUNK..][..to.len()];
        if add { elementwise::add_assign(cpu.isa(), from, to) } else { to.copy_from_slice(from) }
    });
}

/// Decides which values and gradients share memory, and when each is needed.
struct Planner<'t> {
    tape: &'t Tape,
    training: bool,
    loss: Option<usize>,
    kept: Vec<bool>,
    /// Nodes that read each value.
    consumers: Vec<Vec<usize>>,
    intervals: Vec<Interval>,
    values: Vec<Option<Piece>>,
    saved: Vec<Option<Piece>>,
    gradients: Vec<Option<Piece>>,
    forward: Vec<ForwardStep>,
    backward: Vec<BackwardStep>,
}

impl<'t> Planner<'t> {
    fn new(tape: &'t Tape, kept: &[Var], training: bool) -> Self {
        let mut consumers = vec![Vec::new(); tape.values.len()];
        for (index, node) in tape.nodes.iter().enumerate() {
            for input in &node.inputs {
                consumers[input.0].push(index);
            }
        }
        let mut keep = vec![false; tape.values.len()];
        for var in kept {
            keep[var.0] = true;
        }
        let mut planner = Self {
            tape,
            training,
            loss: None,
            kept: keep,
            consumers,
            intervals: Vec::new(),
            values: vec![None; tape.values.len()],
            saved: vec![None; tape.nodes.len()],
            gradients: vec![None; tape.values.len()],
            forward: Vec::new(),
            backward: Vec::new(),
        };
        planner.plan_forward();
        planner
    }

    fn end(&self) -> usize {
        2 * self.tape.nodes.len() + 1
    }

    fn backward_time(&self, node: usize) -> usize {
        2 * self.tape.nodes.len() - 1 - node
    }

    fn piece(&mut self, len: usize, birth: usize, death: usize) -> Piece {
        self.intervals.push(Interval { len, birth, death });
        self.intervals.len() - 1
    }

    fn extend(&mut self, piece: Piece, time: usize) {
        let interval = &mut self.intervals[piece];
        interval.death = interval.death.max(time);
    }

    fn plan_forward(&mut self) {
        let end = self.end();
        for (index, value) in self.tape.values.iter().enumerate() {
            if value.origin == Origin::Input {
                self.values[index] = Some(self.piece(value.len(), 0, end));
            }
        }
        for index in 0..self.tape.nodes.len() {
            let node = &self.tape.nodes[index];
            let mut before = None;
            let mut outputs = [None; OUTPUTS_MAX];
            for (slot, output) in node.outputs.iter().enumerate() {
                let shared = (slot == 0 && node.operation.in_place()).then(|| self.shared_input(index)).flatten();
                let piece = shared.unwrap_or_else(|| self.piece(self.tape.values[output.0].len(), index, index));
                if slot == 0 && node.operation.in_place() && shared.is_none() {
                    let from = self.values[node.inputs[0].0].expect("an operation in place works on a value");
                    before = Some(Pass::Copy { from, to: piece });
                }
                self.values[output.0] = Some(piece);
                outputs[slot] = Some(piece);
                let last = self.last_use(*output);
                self.extend(piece, last.max(index));
            }
            let saved = self.saved_piece(index);
            let scratch = self.scratch_piece(index, index);
            let mut inputs = self.sources(index, u32::MAX);
            if node.operation.in_place() {
                inputs[0] = Source::None; // it is output 0
            }
            self.forward.push(ForwardStep { node: index, before, inputs, outputs, saved, scratch });
        }
    }

    /// The memory of input 0, if nobody needs that value after this node.
    fn shared_input(&self, node: usize) -> Option<Piece> {
        let input = self.tape.nodes[node].inputs[0];
        let computed = matches!(self.tape.values[input.0].origin, Origin::Node { .. });
        let others = self.consumers[input.0].iter().any(|&consumer| consumer > node);
        let twice = self.consumers[input.0].iter().filter(|&&consumer| consumer == node).count() > 1;
        let read_later = self.training && self.read_in_backward(input).is_some();
        (computed && !others && !twice && !read_later && !self.kept[input.0]).then(|| self.values[input.0]).flatten()
    }

    /// The last time in backward at which a value is read.
    fn read_in_backward(&self, var: Var) -> Option<usize> {
        let by_consumers = self.consumers[var.0].iter().copied().filter(|&consumer| {
            let node = &self.tape.nodes[consumer];
            let needs = node.operation.needs().inputs;
            node.inputs.iter().enumerate().any(|(slot, input)| *input == var && needs >> slot & 1 == 1)
        });
        let by_producer = match self.tape.values[var.0].origin {
            Origin::Node { node } => {
                let slot = self.tape.nodes[node].outputs.iter().position(|output| *output == var);
                let needs = self.tape.nodes[node].operation.needs().outputs;
                slot.filter(|slot| needs >> slot & 1 == 1).map(|_| node)
            }
            _ => None,
        };
        by_consumers.chain(by_producer).map(|node| self.backward_time(node)).max()
    }

    fn last_use(&self, var: Var) -> usize {
        if self.kept[var.0] {
            return self.end();
        }
        let forward = self.consumers[var.0].iter().copied().max().unwrap_or(0);
        let backward = self.training.then(|| self.read_in_backward(var)).flatten().unwrap_or(0);
        forward.max(backward)
    }

    fn saved_piece(&mut self, node: usize) -> Option<Piece> {
        let len = self.tape.nodes[node].operation.saved_len();
        if len == 0 {
            return None;
        }
        let death = if self.training { self.backward_time(node) } else { node };
        let piece = self.piece(len, node, death);
        self.saved[node] = Some(piece);
        Some(piece)
    }

    fn scratch_piece(&mut self, node: usize, time: usize) -> Option<Piece> {
        let len = self.tape.nodes[node].operation.scratch_len();
        (len > 0).then(|| self.piece(len, time, time))
    }

    fn sources(&self, node: usize, needed: u32) -> [Source; INPUTS_MAX] {
        let mut sources = [Source::None; INPUTS_MAX];
        for (slot, input) in self.tape.nodes[node].inputs.iter().enumerate() {
            sources[slot] = match (self.tape.values[input.0].origin, self.values[input.0]) {
                (Origin::Parameter(id), _) => Source::Parameter(id),
                (_, Some(piece)) if needed >> slot & 1 == 1 => Source::Arena(piece),
                _ => Source::None,
            };
        }
        sources
    }

    /// Whether a gradient is wanted for each value: a trainable parameter, or anything made from one.
    /// Inputs get one when they are kept (tests).
    fn wanted(&self, parameters: &Parameters) -> Vec<bool> {
        let mut wanted: Vec<bool> = self
            .tape
            .values
            .iter()
            .enumerate()
            .map(|(index, value)| match value.origin {
                Origin::Parameter(id) => parameters.get(id).trainable,
                Origin::Input => self.kept[index],
                Origin::Node { .. } => false,
            })
            .collect();
        for node in &self.tape.nodes {
            let any = node.inputs.iter().any(|input| wanted[input.0]);
            for output in &node.outputs {
                wanted[output.0] = any;
            }
        }
        wanted
    }

    fn differentiate(&mut self, loss: Var, parameters: &Parameters) -> Result<(), PlanError> {
        let made_by = match self.tape.values[loss.0].origin {
            Origin::Node { node } => node,
            _ => return Err(PlanError::NotALoss { operation: "an input".into() }),
        };
        let operation = &self.tape.nodes[made_by].operation;
        if !operation.is_loss() {
            return Err(PlanError::NotALoss { operation: operation.name().into() });
        }
        self.loss = Some(made_by);
        self.check_losses()?;
        let wanted = self.wanted(parameters);
        let mut reached = vec![false; parameters.iter().count()];
        for node in (0..=made_by).rev() {
            self.plan_backward(node, made_by, &wanted, &mut reached);
        }
        let names: Vec<String> = parameters
            .iter()
            .filter(|(id, parameter)| parameter.trainable && !reached[id.0])
            .map(|(_, parameter)| parameter.name.clone())
            .collect();
        if names.is_empty() { Ok(()) } else { Err(PlanError::UnreachedParameters { names }) }
    }

    /// No operation reads the output of a loss: backward of a loss takes no gradient.
    fn check_losses(&self) -> Result<(), PlanError> {
        for node in self.tape.nodes.iter().filter(|node| node.operation.is_loss()) {
            let mut readers = node.outputs.iter().flat_map(|output| &self.consumers[output.0]);
            if let Some(&reader) = readers.next() {
                let (loss, reader) = (&node.operation, &self.tape.nodes[reader].operation);
                return Err(PlanError::LossInside { loss: loss.name().into(), operation: reader.name().into() });
            }
        }
        Ok(())
    }

    fn plan_backward(&mut self, index: usize, loss_node: usize, wanted: &[bool], reached: &mut [bool]) {
        let node = &self.tape.nodes[index];
        let has_gradient = node.outputs.iter().any(|output| self.gradients[output.0].is_some());
        let is_wanted = node.inputs.iter().any(|input| wanted[input.0]);
        if index != loss_node && !(has_gradient && is_wanted) {
            return;
        }
        let time = self.backward_time(index);
        let needs = node.operation.needs();
        let mut step = BackwardStep {
            node: index,
            before: Vec::new(),
            inputs: self.sources(index, needs.inputs),
            outputs: [None; OUTPUTS_MAX],
            saved: self.saved[index],
            scratch: self.scratch_piece(index, time),
            doutputs: [None; OUTPUTS_MAX],
            dinputs: [Target::None; INPUTS_MAX],
            after: Vec::new(),
        };
        for (slot, output) in node.outputs.iter().enumerate() {
            if index == loss_node {
                // Backward of a loss writes its values, kept or not.
                step.outputs[slot] = self.values[output.0];
                if let Some(piece) = self.values[output.0] {
                    self.extend(piece, time);
                }
                continue;
            }
            if needs.outputs >> slot & 1 == 1 {
                step.outputs[slot] = self.values[output.0];
            }
            let piece = match self.gradients[output.0] {
                Some(piece) => piece,
                None => {
                    let piece = self.piece(self.tape.values[output.0].len(), time, time);
                    step.before.push(Pass::Zero(piece));
                    piece
                }
            };
            self.extend(piece, time);
            step.doutputs[slot] = Some(piece);
        }
        self.pass_gradients(index, time, wanted, reached, &mut step);
        self.give_gradients(index, time, wanted, reached, &mut step);
        self.backward.push(step);
    }

    /// Inputs whose gradient is an output's gradient: the same memory where that is safe, else a copy.
    fn pass_gradients(
        &mut self,
        index: usize,
        time: usize,
        wanted: &[bool],
        reached: &mut [bool],
        step: &mut BackwardStep,
    ) {
        let node = &self.tape.nodes[index];
        let mut sharing: Vec<Var> = Vec::new();
        for &(slot, output) in node.operation.passes_gradient() {
            let input = node.inputs[slot];
            let Some(from) = step.doutputs[output] else { continue };
            if !wanted[input.0] {
                continue;
            }
            if let Origin::Parameter(id) = self.tape.values[input.0].origin {
                step.after.push(Pass::Give { from, to: id, accumulate: reached[id.0] });
                reached[id.0] = true;
                continue;
            }
            match self.gradients[input.0] {
                Some(to) if to == from => step.after.push(Pass::Double(to)), // both operands are one value
                Some(to) => {
                    self.extend(to, time);
                    step.after.push(Pass::Add { from, to });
                }
                None if sharing.iter().all(|&first| self.may_share(first, input, index)) && !self.kept[input.0] => {
                    sharing.push(input);
                    self.gradients[input.0] = Some(from);
                }
                None => {
                    let to = self.gradient_piece(input, time);
                    step.after.push(Pass::Copy { from, to });
                }
            }
        }
    }

    fn gradient_piece(&mut self, input: Var, time: usize) -> Piece {
        let death = if self.kept[input.0] { self.end() } else { time };
        let piece = self.piece(self.tape.values[input.0].len(), time, death);
        self.gradients[input.0] = Some(piece);
        piece
    }

    /// Whether `second` may share the gradient memory that `first` got at node `index`: it must be read
    /// unchanged by the node that made it, before anything changes the gradient of `first`.
    fn may_share(&self, first: Var, second: Var, index: usize) -> bool {
        let made_by = |var: Var| match self.tape.values[var.0].origin {
            Origin::Node { node } => Some(node),
            _ => None,
        };
        let contributions = |var: Var| self.consumers[var.0].iter().copied().filter(move |&node| node < index).max();
        let changes = |node: usize| self.tape.nodes[node].operation.changes_output_gradient();
        let Some(read_at) = made_by(second) else { return false };
        if first == second || changes(read_at) || contributions(second).is_some() {
            return false;
        }
        let first_changed = contributions(first).max(made_by(first).filter(|&node| changes(node)));
        first_changed.is_none_or(|node| node < read_at)
    }

    /// Inputs whose gradient backward computes.
    fn give_gradients(
        &mut self,
        index: usize,
        time: usize,
        wanted: &[bool],
        reached: &mut [bool],
        step: &mut BackwardStep,
    ) {
        let node = &self.tape.nodes[index];
        for (slot, input) in node.inputs.iter().enumerate() {
            let passes = node.operation.passes_gradient();
            if !wanted[input.0] || passes.iter().any(|&(passed, _)| passed == slot) {
                continue;
            }
            // This node has planned a gradient for the same value already, so this one is added afterwards.
            let passed = passes.iter().any(|&(passed, _)| node.inputs[passed] == *input);
            let again = passed || node.inputs[..slot].contains(input);
            if let Origin::Parameter(id) = self.tape.values[input.0].origin {
                if again {
                    let from = self.piece(self.tape.values[input.0].len(), time, time);
                    step.after.push(Pass::Give { from, to: id, accumulate: true });
                    step.dinputs[slot] = Target::Arena { piece: from, accumulate: false };
                    continue;
                }
                step.dinputs[slot] = Target::Parameter { id, accumulate: reached[id.0] };
                reached[id.0] = true;
                continue;
            }
            step.dinputs[slot] = match self.gradients[input.0] {
                Some(to) if again => {
                    let from = self.piece(self.tape.values[input.0].len(), time, time);
                    step.after.push(Pass::Add { from, to });
                    Target::Arena { piece: from, accumulate: false }
                }
                Some(piece) => {
                    self.extend(piece, time);
                    Target::Arena { piece, accumulate: true }
                }
                None => Target::Arena { piece: self.gradient_piece(*input, time), accumulate: false },
            };
        }
    }

    fn finish(self) -> Layout {
        let (offsets, arena_len) = lay_out(&self.intervals);
        let ranges =
            self.intervals.iter().zip(offsets).map(|(interval, offset)| offset..offset + interval.len).collect();
        let Self { loss, values, gradients, forward, backward, .. } = self;
        Layout { loss, ranges, arena_len, values, gradients, forward, backward }
    }
}

/// What the planner decided.
struct Layout {
    loss: Option<usize>,
    ranges: Vec<Range<usize>>,
    arena_len: usize,
    values: Vec<Option<Piece>>,
    gradients: Vec<Option<Piece>>,
    forward: Vec<ForwardStep>,
    backward: Vec<BackwardStep>,
}
