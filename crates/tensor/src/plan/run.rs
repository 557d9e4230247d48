//! Runs the steps of a plan.

use std::ops::Range;
use std::time::Instant;

use super::{BackwardStep, ForwardStep, Pass, Piece, Source, Target};
use crate::cpu::Cpu;
use crate::kernels::elementwise;
use crate::memory::{Buffer, Lender};
use crate::operation::{Backward, Feed, Forward, Gradient, KeyValueBlocks, Operand};
use crate::parameters::Parameters;
use crate::tape::Tape;

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

/// What every step needs.
pub(super) struct Runner<'a> {
    pub cpu: &'a Cpu,
    pub parameters: &'a Parameters,
    pub tape: &'a Tape,
    pub ranges: &'a [Range<usize>],
    pub arena: &'a mut Buffer,
    pub feed: &'a Feed,
    pub profile: Option<&'a mut Profile>,
}

impl Runner<'_> {
    /// Runs a node forward; `direction` is for the profile.
    pub fn forward(&mut self, step: &ForwardStep, cache: Option<&mut dyn KeyValueBlocks>, direction: &'static str) {
        let operation = &self.tape.nodes[step.node].operation;
        let begun = self.profile.is_some().then(Instant::now);
        if let Some(pass) = step.before {
            run_pass(self.cpu, self.arena, self.ranges, pass);
        }
        let mut lender = Lender::new(self.arena);
        operation.forward(Forward {
            cpu: self.cpu,
            inputs: step.inputs.map(|source| operand(source, &mut lender, self.ranges, self.parameters)),
            outputs: step.outputs.map(|piece| write(piece, &mut lender, self.ranges)),
            saved: write(step.saved, &mut lender, self.ranges),
            scratch: write(step.scratch, &mut lender, self.ranges),
            feed: self.feed,
            cache: match cache {
                Some(cache) => Some(cache),
                None => None,
            },
            from_output: step.from_output,
        });
        self.timed(operation.name(), direction, begun);
    }

    /// Runs a node backward.
    pub fn backward(&mut self, step: &BackwardStep, gradients: &mut [f32], accumulate_all: bool) {
        let operation = &self.tape.nodes[step.node].operation;
        let begun = self.profile.is_some().then(Instant::now);
        for &pass in &step.before {
            run_pass(self.cpu, self.arena, self.ranges, pass);
        }
        let (ranges, parameters) = (self.ranges, self.parameters);
        let mut lender = Lender::new(self.arena);
        let mut parameter_lender = Lender::new(gradients);
        operation.backward(Backward {
            cpu: self.cpu,
            inputs: step.inputs.map(|source| operand(source, &mut lender, ranges, parameters)),
            outputs: step.outputs.map(|piece| write(piece, &mut lender, ranges)),
            saved: write(step.saved, &mut lender, ranges),
            scratch: write(step.scratch, &mut lender, ranges),
            doutputs: step.doutputs.map(|piece| write(piece, &mut lender, ranges)),
            dinputs: step.dinputs.map(|target| match target {
                Target::None => None,
                Target::Arena { piece, accumulate } => {
                    Some(Gradient { values: write(Some(piece), &mut lender, ranges), accumulate })
                }
                Target::Parameter { id, accumulate } => {
                    let values = parameter_lender.write(parameters.range(id));
                    Some(Gradient { values, accumulate: accumulate || accumulate_all })
                }
            }),
            feed: self.feed,
        });
        for &pass in &step.after {
            if let Pass::Give { from, to, accumulate } = pass {
                let (from, to) = (&self.arena[ranges[from].clone()], &mut gradients[parameters.range(to)]);
                copy_or_add(self.cpu, from, to, accumulate || accumulate_all);
            } else {
                run_pass(self.cpu, self.arena, ranges, pass);
            }
        }
        self.timed(operation.name(), "backward", begun);
    }

    fn timed(&mut self, name: &'static str, direction: &'static str, begun: Option<Instant>) {
        if let (Some(profile), Some(begun)) = (&mut self.profile, begun) {
            profile.add(name, direction, begun.elapsed().as_secs_f64());
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
