//! What an operation of the tape is: a name, what backward needs, forward and backward over slices.

use crate::cpu::Cpu;
use crate::kernels::attention::{KEY_BLOCK, KeyValueType};
use crate::parameters::Weight;

/// Most inputs of an operation.
pub const INPUTS_MAX: usize = 6;
/// Most outputs of an operation.
pub const OUTPUTS_MAX: usize = 2;

/// Consecutive rows of a batch that attend to each other and to nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row.
    pub start: usize,
    /// Rows.
    pub len: usize,
}

/// New rows of a sequence whose earlier keys and values are in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedRows {
    /// Which sequence of the cache.
    pub sequence: usize,
    /// First row of the batch.
    pub start: usize,
    /// Rows.
    pub len: usize,
    /// Position of the first row in its sequence.
    pub position: usize,
}

/// Where the engine keeps keys and values: blocks of [`KEY_BLOCK`] positions in the layout of
/// [`crate::kernels::attention::BlockLayout`], one per layer, sequence, key head and block index. Blocks do not overlap.
pub trait KeyValueBlocks: Send + Sync {
    /// What the blocks hold.
    fn kind(&self) -> KeyValueType;
    /// The block that holds positions `64 * index …` of a sequence.
    fn block(&self, layer: usize, sequence: usize, head: usize, index: usize) -> &[f32];
    /// The same, to write. Several blocks are written at the same time, each by one thread: so this must borrow the memory of
    /// no other block on its way (as an index into a slice of all of them would), only of the one that it gives.
    fn block_mut(&mut self, layer: usize, sequence: usize, head: usize, index: usize) -> &mut [f32];
}

const _: () = assert!(KEY_BLOCK == 64);

/// Run-time data that is not float32: token ids, positions, segments; filled before each run.
#[derive(Debug, Default)]
pub struct Feed {
    /// One vector per declared id input.
    pub(crate) ids: Vec<Vec<u32>>,
    /// Rows that attend to each other (training and scoring).
    pub(crate) segments: Vec<Segment>,
    /// New rows of cached sequences (the engine).
    pub(crate) cached: Vec<CachedRows>,
    /// Key of this step's random numbers (dropout).
    pub(crate) key: u64,
    /// Factor of the loss: one over the sum of weights of the whole step, so that accumulation is scale-free.
    pub(crate) loss_scale: f32,
    /// Whether regularization is on.
    pub(crate) training: bool,
}

/// A handle to an id input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids(pub(crate) usize);

impl Feed {
    /// The numbers of an id input.
    pub fn ids(&self, ids: Ids) -> &[u32] {
        &self.ids[ids.0]
    }
}

/// Which values backward reads: bit `i` is input or output `i`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// Inputs.
    pub inputs: u32,
    /// Outputs.
    pub outputs: u32,
}

/// An operand: float32 values, or a packed weight.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Values.
    Values(&'a [f32]),
    /// A parameter packed for serving.
    Packed(&'a crate::kernels::gemm::PackedMatrix),
    /// A parameter as its checkpoint stores it, for serving.
    Quantized(&'a crate::quant::QuantizedMatrix),
}

impl<'a> Operand<'a> {
    /// The values.
    ///
    /// # Panics
    /// On a packed weight, which only linear layers and embeddings take: a mistake of the caller.
    pub fn values(self) -> &'a [f32] {
        match self {
            Self::Values(values) => values,
            Self::Packed(_) | Self::Quantized(_) => panic!("this operation cannot read a packed weight"),
        }
    }
}

impl<'a> From<Weight<'a>> for Operand<'a> {
    fn from(weight: Weight<'a>) -> Self {
        match weight {
            Weight::Dense(values) => Self::Values(values),
            Weight::Packed(matrix) => Self::Packed(matrix),
            Weight::Quantized(matrix) => Self::Quantized(matrix),
        }
    }
}

/// What forward gets.
pub struct Forward<'a> {
    /// The processor.
    pub cpu: &'a Cpu,
    /// Inputs in order; empty beyond the last.
    pub inputs: [Operand<'a>; INPUTS_MAX],
    /// Outputs in order, to be written whole.
    pub outputs: [&'a mut [f32]; OUTPUTS_MAX],
    /// Kept until backward.
    pub saved: &'a mut [f32],
    /// Free to use, contents arbitrary.
    pub scratch: &'a mut [f32],
    /// Ids, segments, keys.
    pub feed: &'a Feed,
    /// The engine's cache, if the run has one.
    pub cache: Option<&'a mut dyn KeyValueBlocks>,
    /// Output 0 holds its values already, and of the inputs only parameters are filled: the rest is made from it
    /// (only where [`Operation::remakes_from_output`]).
    pub from_output: bool,
}

/// Where an input's gradient goes.
pub struct Gradient<'a> {
    /// Its numbers.
    pub values: &'a mut [f32],
    /// Add to what is there instead of replacing it.
    pub accumulate: bool,
}

/// What backward gets.
pub struct Backward<'a> {
    /// The processor.
    pub cpu: &'a Cpu,
    /// Inputs; only those that `needs` names (and parameters) are filled.
    pub inputs: [Operand<'a>; INPUTS_MAX],
    /// Outputs; only those that `needs` names are filled. A loss writes its outputs here.
    pub outputs: [&'a mut [f32]; OUTPUTS_MAX],
    /// What forward saved.
    pub saved: &'a mut [f32],
    /// Free to use, contents arbitrary.
    pub scratch: &'a mut [f32],
    /// Gradients of the outputs; may be changed where the operation says so.
    pub doutputs: [&'a mut [f32]; OUTPUTS_MAX],
    /// Gradients of the inputs, where one is wanted.
    pub dinputs: [Option<Gradient<'a>>; INPUTS_MAX],
    /// Ids, segments, keys.
    pub feed: &'a Feed,
}

/// A coarse operation with hand-written forward and backward.
pub trait Operation: Send + Sync {
    /// For errors and profiles.
    fn name(&self) -> &'static str;

    /// Numbers kept from forward to backward.
    fn saved_len(&self) -> usize {
        0
    }

    /// Numbers of scratch memory in either direction.
    fn scratch_len(&self) -> usize {
        0
    }

    /// What backward reads.
    fn needs(&self) -> Needs;

    /// Output 0 begins as input 0, in the same memory where nobody else needs it; forward changes it in place.
    fn in_place(&self) -> bool {
        false
    }

    /// Whether a second run forward can make the other outputs and `saved` from output 0 and parameters: then a block
    /// that is recomputed keeps that one value in place of all that enters here.
    fn remakes_from_output(&self) -> bool {
        false
    }

    /// Pairs (input, output): the gradient of the input *is* the gradient of the output after backward
    /// has changed it in place (a residual connection, an operation in place).
    fn passes_gradient(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// Whether backward changes the gradients of its outputs.
    fn changes_output_gradient(&self) -> bool {
        !self.passes_gradient().is_empty()
    }

    /// A loss ends the graph: its backward computes value and gradients together, and forward is for
    /// evaluation only.
    fn is_loss(&self) -> bool {
        false
    }

    /// Floating-point operations of forward, for the share of the machine's peak.
    fn forward_flops(&self) -> f64 {
        0.0
    }

    /// Computes the outputs.
    fn forward(&self, run: Forward<'_>);

    /// Computes the gradients of the inputs.
    fn backward(&self, run: Backward<'_>);
}
