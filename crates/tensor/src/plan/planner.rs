//! Decides which values and gradients share memory: forward here, backward in `gradients.rs`.

use std::ops::Range;

use super::schedule::{Run, Schedule};
use super::{BackwardStep, ForwardStep, Pass, Piece, Source};
use crate::layout::{Interval, lay_out};
use crate::operation::{INPUTS_MAX, OUTPUTS_MAX};
use crate::tape::{Origin, Tape};

/// Gives every value, gradient and scratch memory a piece with an interval of time.
pub(super) struct Planner<'t> {
    pub tape: &'t Tape,
    pub schedule: Schedule<'t>,
    pub intervals: Vec<Interval>,
    /// Where each value is at the moment.
    pub values: Vec<Option<Piece>>,
    pub saved: Vec<Option<Piece>>,
    pub gradients: Vec<Option<Piece>>,
    pub forward: Vec<ForwardStep>,
    pub backward: Vec<BackwardStep>,
}

impl<'t> Planner<'t> {
    /// Plans forward.
    pub fn new(tape: &'t Tape, schedule: Schedule<'t>) -> Self {
        let mut planner = Self {
            tape,
            schedule,
            intervals: Vec::new(),
            values: vec![None; tape.values.len()],
            saved: vec![None; tape.nodes.len()],
            gradients: vec![None; tape.values.len()],
            forward: Vec::new(),
            backward: Vec::new(),
        };
        for (index, value) in tape.values.iter().enumerate() {
            if value.origin == Origin::Input {
                planner.values[index] = Some(planner.piece(value.len(), 0, planner.schedule.end));
            }
        }
        planner.forward = (0..tape.nodes.len()).map(|index| planner.forward_step(index, Run::First)).collect();
        planner
    }

    pub fn piece(&mut self, len: usize, birth: usize, death: usize) -> Piece {
        self.intervals.push(Interval { len, birth, death });
        self.intervals.len() - 1
    }

    pub fn extend(&mut self, piece: Piece, time: usize) {
        let interval = &mut self.intervals[piece];
        interval.death = interval.death.max(time);
    }

    /// A run of a node forward, with a place for what it makes.
    pub fn forward_step(&mut self, index: usize, run: Run) -> ForwardStep {
        let node = &self.tape.nodes[index];
        let time = self.schedule.time(index, run);
        let from_output = run == Run::Again && self.schedule.from_output[index];
        let mut inputs = self.sources(index, if from_output { 0 } else { u32::MAX });
        let mut before = None;
        let mut outputs = [None; OUTPUTS_MAX];
        for (slot, output) in node.outputs.iter().enumerate() {
            let in_place = slot == 0 && node.operation.in_place();
            let shared = in_place.then(|| self.shared_input(index, run)).flatten();
            let piece = match self.values[output.0] {
                Some(piece) if !self.schedule.makes(run, *output) => piece,
                _ => shared.unwrap_or_else(|| self.piece(self.tape.values[output.0].len(), time, time)),
            };
            if in_place {
                let from = self.values[node.inputs[0].0].expect("an operation in place works on a value");
                before = (from != piece).then_some(Pass::Copy { from, to: piece });
                inputs[0] = Source::None; // it is output 0
            }
            self.values[output.0] = Some(piece);
            outputs[slot] = Some(piece);
            self.extend(piece, self.schedule.last_use(*output, run).max(time));
        }
        let saved_len = node.operation.saved_len();
        let saved = (saved_len > 0).then(|| self.piece(saved_len, time, self.schedule.last_use_of_saved(index, run)));
        self.saved[index] = saved;
        let scratch = self.scratch_piece(index, time);
        ForwardStep { node: index, before, inputs, outputs, saved, scratch, from_output }
    }

    /// The memory of input 0, if nobody needs that value after this run of the node.
    fn shared_input(&self, index: usize, run: Run) -> Option<Piece> {
        let input = self.tape.nodes[index].inputs[0];
        let computed = matches!(self.tape.values[input.0].origin, Origin::Node { .. });
        let twice = self.schedule.consumers[input.0].iter().filter(|&&consumer| consumer == index).count() > 1;
        let is_last = self.schedule.last_use(input, run) == self.schedule.time(index, run);
        (computed && !twice && is_last).then(|| self.values[input.0]).flatten()
    }

    pub fn scratch_piece(&mut self, node: usize, time: usize) -> Option<Piece> {
        let len = self.tape.nodes[node].operation.scratch_len();
        (len > 0).then(|| self.piece(len, time, time))
    }

    /// Where a node finds its parameters, and those of its other inputs that `needed` names.
    pub fn sources(&self, node: usize, needed: u32) -> [Source; INPUTS_MAX] {
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

    pub fn finish(self) -> Layout {
        let (offsets, arena_len) = lay_out(&self.intervals);
        let ranges =
            self.intervals.iter().zip(offsets).map(|(interval, offset)| offset..offset + interval.len).collect();
        let Self { schedule, values, gradients, forward, backward, .. } = self;
        Layout { loss: schedule.loss, ranges, arena_len, values, gradients, forward, backward }
    }
}

/// What the planner decided.
pub(super) struct Layout {
    pub loss: Option<usize>,
    pub ranges: Vec<Range<usize>>,
    pub arena_len: usize,
    pub values: Vec<Option<Piece>>,
    pub gradients: Vec<Option<Piece>>,
    pub forward: Vec<ForwardStep>,
    pub backward: Vec<BackwardStep>,
}
