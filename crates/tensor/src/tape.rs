//! The tape: operations recorded once per shape, then planned (`plan/`) and replayed.

use std::ops::Range;

use crate::operation::{INPUTS_MAX, Ids, OUTPUTS_MAX, Operation};
use crate::parameters::{ParameterId, Parameters};

/// A value on a tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Var(pub(crate) usize);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Set before each run.
    Input,
    /// A parameter of the model.
    Parameter(ParameterId),
    /// Output of a node.
    Node { node: usize },
}

#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub shape: Vec<usize>,
    pub origin: Origin,
}

impl Value {
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

pub(crate) struct Node {
    pub operation: Box<dyn Operation>,
    pub inputs: Vec<Var>,
    pub outputs: Vec<Var>,
}

/// A recorded computation. The methods that record operations are beside the operations, in `ops/`.
#[derive(Default)]
pub struct Tape {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) id_lens: Vec<usize>,
    /// Nodes of each block, in order.
    pub(crate) blocks: Vec<Range<usize>>,
    parameters: Vec<(ParameterId, Var)>,
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        Self::default()
    }

    fn value(&mut self, shape: Vec<usize>, origin: Origin) -> Var {
        self.values.push(Value { shape, origin });
        Var(self.values.len() - 1)
    }

    /// Float32 data set before each run.
    pub fn input(&mut self, shape: &[usize]) -> Var {
        self.value(shape.to_vec(), Origin::Input)
    }

    /// `len` token ids, positions or targets, set before each run.
    pub fn ids(&mut self, len: usize) -> Ids {
        self.id_lens.push(len);
        Ids(self.id_lens.len() - 1)
    }

    /// A parameter; the same value however often it is asked for, so that tied weights sum their gradients.
    pub fn parameter(&mut self, parameters: &Parameters, id: ParameterId) -> Var {
        if let Some(&(_, var)) = self.parameters.iter().find(|(known, _)| *known == id) {
            return var;
        }
        let var = self.value(parameters.get(id).shape.clone(), Origin::Parameter(id));
        self.parameters.push((id, var));
        var
    }

    /// Shape of a value.
    pub fn shape(&self, var: Var) -> &[usize] {
        &self.values[var.0].shape
    }

    /// Rows and columns: all dimensions but the last, and the last.
    pub fn rows_columns(&self, var: Var) -> (usize, usize) {
        let shape = self.shape(var);
        let columns = shape.last().copied().unwrap_or(1);
        (shape.iter().product::<usize>() / columns.max(1), columns)
    }

    /// Records an operation.
    pub fn record(&mut self, operation: impl Operation + 'static, inputs: &[Var], outputs: &[Vec<usize>]) -> Vec<Var> {
        assert!(inputs.len() <= INPUTS_MAX && outputs.len() <= OUTPUTS_MAX, "{}: too many operands", operation.name());
        let node = self.nodes.len();
        let outputs: Vec<Var> = outputs.iter().map(|shape| self.value(shape.clone(), Origin::Node { node })).collect();
        self.nodes.push(Node { operation: Box::new(operation), inputs: inputs.to_vec(), outputs: outputs.clone() });
        outputs
    }

    /// Records a block: what `record` records can be computed again from what enters it, so that between forward and
    /// backward only that is kept ([`crate::Activations::Recomputed`]). A layer of a model is one.
    ///
    /// # Panics
    /// When blocks are nested: a mistake of the model.
    pub fn block<T>(&mut self, record: impl FnOnce(&mut Self) -> T) -> T {
        let start = self.nodes.len();
        let made = record(self);
        assert!(self.blocks.last().is_none_or(|before| before.end <= start), "a block is recorded inside of another");
        self.blocks.push(start..self.nodes.len());
        made
    }

    /// Records an operation with one output.
    pub fn record_one(&mut self, operation: impl Operation + 'static, inputs: &[Var], output: &[usize]) -> Var {
        self.record(operation, inputs, &[output.to_vec()])[0]
    }

    /// Floating-point operations of one forward pass (products and attention).
    pub fn forward_flops(&self) -> f64 {
        self.nodes.iter().map(|node| node.operation.forward_flops()).sum()
    }
}
