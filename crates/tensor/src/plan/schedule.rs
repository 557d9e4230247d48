//! When each node of a tape runs, and until when each value is needed.
//!
//! Forward runs at times 0 to n-1, then backward in reverse order. Where a block's values are not kept, its nodes run
//! forward again just before its backward (Chen et al. 2016, "Training deep nets with sublinear memory cost"): only
//! those whose results are missing. A value that a later block reads after forward is never missing.

use std::ops::Range;

use super::{Activations, PlanError};
use crate::parameters::Parameters;
use crate::tape::{Origin, Tape, Var};

/// Which run of a node forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Run {
    First,
    /// Just before the backward of its block.
    Again,
}

/// Whether `mask`, as [`crate::operation::Needs`] has it, names a value.
fn names(vars: &[Var], mask: u32, var: Var) -> bool {
    vars.iter().enumerate().any(|(slot, other)| *other == var && mask >> slot & 1 == 1)
}

/// The order of a plan.
pub(super) struct Schedule<'t> {
    tape: &'t Tape,
    /// The node to differentiate; none for forward only.
    pub loss: Option<usize>,
    /// Whether a gradient is wanted, for each value.
    pub wanted: Vec<bool>,
    /// Whether it can be read when everything has run, for each value.
    pub kept: Vec<bool>,
    /// Nodes that read each value.
    pub consumers: Vec<Vec<usize>>,
    /// Time of each node's backward, if it has one.
    pub backward: Vec<Option<usize>>,
    /// Time of each node's second run forward, if it has one.
    pub again: Vec<Option<usize>>,
    /// Whether a node's second run starts from its first output.
    pub from_output: Vec<bool>,
    /// Whether each value is made anew by the second run of its node; otherwise it is where the first run left it.
    remade: Vec<bool>,
    /// After everything.
    pub end: usize,
}

impl<'t> Schedule<'t> {
    /// Forward only.
    pub fn forward(tape: &'t Tape, kept: &[Var]) -> Self {
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
        Self {
            tape,
            loss: None,
            wanted: vec![false; tape.values.len()],
            kept: keep,
            consumers,
            backward: vec![None; tape.nodes.len()],
            again: vec![None; tape.nodes.len()],
            from_output: vec![false; tape.nodes.len()],
            remade: vec![false; tape.values.len()],
            end: tape.nodes.len(),
        }
    }

    /// Forward and backward.
    pub fn training(
        tape: &'t Tape,
        loss: Var,
        kept: &[Var],
        parameters: &Parameters,
        activations: Activations,
    ) -> Result<Self, PlanError> {
        let made_by = match tape.values[loss.0].origin {
            Origin::Node { node } => node,
            _ => return Err(PlanError::NotALoss { operation: "an input".into() }),
        };
        let operation = &tape.nodes[made_by].operation;
        if !operation.is_loss() {
            return Err(PlanError::NotALoss { operation: operation.name().into() });
        }
        let mut schedule = Self::forward(tape, &[kept, &[loss]].concat());
        schedule.check_losses()?;
        schedule.loss = Some(made_by);
        schedule.want(parameters);
        let runs_backward = schedule.reach(made_by);
        let mut runs_again = vec![false; tape.nodes.len()];
        if activations == Activations::Recomputed {
            for block in tape.blocks.iter().rev() {
                schedule.recompute(block.start..block.end.min(made_by + 1), &runs_backward, &mut runs_again);
            }
        }
        schedule.order(made_by, &runs_backward, &runs_again);
        Ok(schedule)
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

    /// A gradient is wanted for a trainable parameter, and for anything made from one; for an input when it is kept
    /// (tests).
    fn want(&mut self, parameters: &Parameters) {
        for (index, value) in self.tape.values.iter().enumerate() {
            self.wanted[index] = match value.origin {
                Origin::Parameter(id) => parameters.get(id).trainable,
                Origin::Input => self.kept[index],
                Origin::Node { node } => self.tape.nodes[node].inputs.iter().any(|input| self.wanted[input.0]),
            };
        }
    }

    /// Nodes through which a gradient flows from the loss to where one is wanted.
    fn reach(&self, loss: usize) -> Vec<bool> {
        let mut runs = vec![false; self.tape.nodes.len()];
        let mut has_gradient = vec![false; self.tape.values.len()];
        for index in (0..=loss).rev() {
            let node = &self.tape.nodes[index];
            let is_wanted = node.inputs.iter().any(|input| self.wanted[input.0]);
            runs[index] = index == loss || (is_wanted && node.outputs.iter().any(|output| has_gradient[output.0]));
            if runs[index] {
                node.inputs.iter().for_each(|input| has_gradient[input.0] |= self.wanted[input.0]);
            }
        }
        runs
    }

    /// Decides what of a block runs again: what its backward reads, or a node that runs again, and that nothing later
    /// has kept there.
    fn recompute(&mut self, block: Range<usize>, runs_backward: &[bool], runs_again: &mut [bool]) {
        let mut needed = vec![false; self.tape.values.len()];
        for index in block.clone().rev() {
            let node = &self.tape.nodes[index];
            if runs_backward[index] {
                let needs = node.operation.needs();
                for (vars, mask) in [(&node.inputs, needs.inputs), (&node.outputs, needs.outputs)] {
                    vars.iter().for_each(|&var| needed[var.0] |= names(vars, mask, var));
                }
            }
            // A later block is decided already: what it reads after forward is there until then.
            let reads_later = |reader: usize, var: Var| {
                let node = &self.tape.nodes[reader];
                let again = runs_again[reader] && !self.from_output[reader];
                again || (runs_backward[reader] && names(&node.inputs, node.operation.needs().inputs, var))
            };
            let is_there = |var: Var| {
                let mut outside = self.consumers[var.0].iter().filter(|&&reader| reader >= block.end);
                self.kept[var.0] || outside.any(|&reader| reads_later(reader, var))
            };
            let missing = |var: &&Var| !is_there(**var);
            let missing: Vec<Var> = node.outputs.iter().filter(missing).copied().collect();
            let saves = runs_backward[index] && node.operation.saved_len() > 0;
            if missing.is_empty() || !(saves || missing.iter().any(|var| needed[var.0])) {
                continue;
            }
            runs_again[index] = true;
            // At the border of the block one value that is kept may do in place of several.
            let is_inside =
                |var: &Var| matches!(self.tape.values[var.0].origin, Origin::Node { node } if block.contains(&node));
            self.from_output[index] = node.operation.remakes_from_output() && !node.inputs.iter().any(is_inside);
            for var in missing {
                self.remade[var.0] = !(self.from_output[index] && var == node.outputs[0]);
            }
            if !self.from_output[index] {
                node.inputs.iter().for_each(|input| needed[input.0] = true);
            }
        }
    }

    /// Gives everything after forward its time.
    fn order(&mut self, loss: usize, runs_backward: &[bool], runs_again: &[bool]) {
        let mut clock = self.tape.nodes.len();
        let mut tick = |runs: bool| {
            clock += usize::from(runs);
            runs.then(|| clock - 1)
        };
        for index in (0..=loss).rev() {
            for node in self.block_from_the_end(loss, index) {
                self.again[node] = tick(runs_again[node]);
            }
            self.backward[index] = tick(runs_backward[index]);
        }
        self.end = clock;
    }

    /// The block whose last node before the loss is this one, or nothing.
    pub fn block_from_the_end(&self, loss: usize, last: usize) -> Range<usize> {
        let ends = |block: &Range<usize>| block.end.min(loss + 1);
        let found = self.tape.blocks.iter().find(|block| ends(block) == last + 1 && !block.is_empty());
        found.map_or(0..0, |block| block.start..ends(block))
    }

    /// Whether this run of a node makes the value; otherwise it is there, and the same bits are written to it again.
    pub fn makes(&self, run: Run, var: Var) -> bool {
        run == Run::First || self.remade[var.0]
    }

    /// When a node runs forward.
    pub fn time(&self, node: usize, run: Run) -> usize {
        match run {
            Run::First => node,
            Run::Again => self.again[node].expect("only nodes that run again are asked for"),
        }
    }

    /// The last time at which the value that a run made is read; 0 if never.
    pub fn last_use(&self, var: Var, run: Run) -> usize {
        if self.kept[var.0] {
            return self.end;
        }
        let forward = self.consumers[var.0].iter().copied().max().unwrap_or(0);
        if run == Run::First && self.remade[var.0] { forward } else { forward.max(self.last_use_after_forward(var)) }
    }

    /// The last time at which a second run forward or backward reads a value, or writes it again.
    fn last_use_after_forward(&self, var: Var) -> usize {
        let reads_in_backward =
            |node: usize, vars: &[Var], mask: u32| self.backward[node].filter(|_| names(vars, mask, var));
        let by_consumers = self.consumers[var.0].iter().flat_map(|&consumer| {
            let node = &self.tape.nodes[consumer];
            let again = self.again[consumer].filter(|_| !self.from_output[consumer]);
            [again, reads_in_backward(consumer, &node.inputs, node.operation.needs().inputs)]
        });
        let by_producer = match self.tape.values[var.0].origin {
            Origin::Node { node: index } => {
                let node = &self.tape.nodes[index];
                [self.again[index], reads_in_backward(index, &node.outputs, node.operation.needs().outputs)]
            }
            _ => [None, None],
        };
        by_consumers.chain(by_producer).flatten().max().unwrap_or(0)
    }

    /// Until when what a run of a node saved is needed.
    pub fn last_use_of_saved(&self, node: usize, run: Run) -> usize {
        let time = self.time(node, run);
        let kept = run == Run::Again || self.again[node].is_none();
        self.backward[node].filter(|_| kept).unwrap_or(time)
    }
}
