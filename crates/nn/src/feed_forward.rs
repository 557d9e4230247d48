//! The position-wise feed-forward block: two linear layers around an activation, or a gated linear unit.

use tsumugi_tensor::{Activation, Parameters, ParametersBuilder, Tape, Var};

use crate::Linear;

/// What lies between the linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// `down(f(up x))`
    Plain(Activation),
    /// `down(f(gate x) * (up x))` (Shazeer 2020): SwiGLU with SiLU, GeGLU with GELU.
    Gated(Activation),
}

impl FeedForwardKind {
    /// SwiGLU, as Llama has it.
    pub const SWIGLU: Self = Self::Gated(Activation::Silu);

    /// Matrices between the model's width and the feed-forward width, on the way in: gate and up, or one.
    pub fn matrices_in(self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Gated(_) => 2,
        }
    }
}

/// `[r, m]` to `[r, m]`.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward {
    /// `[f, m]`, or gate above up, `[2 f, m]`.
    pub up: Linear,
    /// `[m, f]`
    pub down: Linear,
    /// Which.
    pub kind: FeedForwardKind,
}

impl FeedForward {
    /// Declares `<name>.up` (or `<name>.gate_up`) and `<name>.down`.
    pub fn declare(
        builder: &mut ParametersBuilder,
        name: &str,
        width: usize,
        hidden: usize,
        kind: FeedForwardKind,
        bias: bool,
    ) -> Self {
        let up = match kind {
            FeedForwardKind::Plain(_) => Linear::declare(builder, &format!("{name}.up"), width, &[hidden], bias),
            FeedForwardKind::Gated(_) => {
                Linear::declare(builder, &format!("{name}.gate_up"), width, &[hidden, hidden], bias)
            }
        };
        Self { up, down: Linear::declare(builder, &format!("{name}.down"), hidden, &[width], bias), kind }
    }

    /// Records the block.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var) -> Var {
        let hidden = match self.kind {
            FeedForwardKind::Plain(activation) => self.up.record(tape, parameters, x, Some(activation)),
            FeedForwardKind::Gated(activation) => {
                let gate_up = self.up.record(tape, parameters, x, None);
                tape.gated(gate_up, activation)
            }
        };
        self.down.record(tape, parameters, hidden, None)
    }
}
