//! Backward: where each gradient lies, and which gradients share memory.

use super::planner::Planner;
use super::schedule::Run;
use super::{BackwardStep, ForwardStep, Pass, Piece, PlanError, Target};
use crate::operation::{INPUTS_MAX, OUTPUTS_MAX};
use crate::parameters::Parameters;
use crate::tape::{Origin, Var};

impl Planner<'_> {
    /// Plans backward from the loss, each block's second run forward before it.
    pub fn differentiate(&mut self, parameters: &Parameters) -> Result<(), PlanError> {
        let loss = self.schedule.loss.expect("a schedule of training has one");
        let mut reached = vec![false; parameters.iter().count()];
        let mut again = Vec::new();
        for index in (0..=loss).rev() {
            for node in self.schedule.block_from_the_end(loss, index) {
                if self.schedule.again[node].is_some() {
                    again.push(self.forward_step(node, Run::Again));
                }
            }
            if let Some(time) = self.schedule.backward[index] {
                self.backward_step(index, time, std::mem::take(&mut again), &mut reached);
            }
        }
        let names: Vec<String> = parameters
            .iter()
            .filter(|(id, parameter)| parameter.trainable && !reached[id.0])
            .map(|(_, parameter)| parameter.name.clone())
            .collect();
        if names.is_empty() { Ok(()) } else { Err(PlanError::UnreachedParameters { names }) }
    }

    /// Backward of a node, after `again`.
    fn backward_step(&mut self, index: usize, time: usize, again: Vec<ForwardStep>, reached: &mut [bool]) {
        let node = &self.tape.nodes[index];
        let needs = node.operation.needs();
        let mut step = BackwardStep {
            again,
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
            if self.schedule.loss == Some(index) {
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
        self.pass_gradients(index, time, reached, &mut step);
        self.give_gradients(index, time, reached, &mut step);
        self.backward.push(step);
    }

    /// Inputs whose gradient is an output's gradient: the same memory where that is safe, else a copy.
    fn pass_gradients(&mut self, index: usize, time: usize, reached: &mut [bool], step: &mut BackwardStep) {
        let node = &self.tape.nodes[index];
        let mut sharing: Vec<Var> = Vec::new();
        for &(slot, output) in node.operation.passes_gradient() {
            let input = node.inputs[slot];
            let Some(from) = step.doutputs[output] else { continue };
            if !self.schedule.wanted[input.0] {
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
                None if sharing.iter().all(|&first| self.may_share(first, input, index))
                    && !self.schedule.kept[input.0] =>
                {
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
        let death = if self.schedule.kept[input.0] { self.schedule.end } else { time };
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
        let contributions =
            |var: Var| self.schedule.consumers[var.0].iter().copied().filter(move |&node| node < index).max();
        let changes = |node: usize| self.tape.nodes[node].operation.changes_output_gradient();
        let Some(read_at) = made_by(second) else { return false };
        if first == second || changes(read_at) || contributions(second).is_some() {
            return false;
        }
        let first_changed = contributions(first).max(made_by(first).filter(|&node| changes(node)));
        first_changed.is_none_or(|node| node < read_at)
    }

    /// Inputs whose gradient backward computes.
    fn give_gradients(&mut self, index: usize, time: usize, reached: &mut [bool], step: &mut BackwardStep) {
        let node = &self.tape.nodes[index];
        for (slot, input) in node.inputs.iter().enumerate() {
            let passes = node.operation.passes_gradient();
            if !self.schedule.wanted[input.0] || passes.iter().any(|&(passed, _)| passed == slot) {
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
}
