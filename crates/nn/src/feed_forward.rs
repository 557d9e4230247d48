//! The position-wise feed-forward block: two linear layers around an activation, or SwiGLU.

use tsumugi_tensor::{Activation, Parameters, ParametersBuilder, Tape, Var};

use crate::Linear;

/// What lies between the linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardKind {
    /// `down(f(up x))`
    Plain(Activation),
    /// `down(silu(gate x) * (up x))` (Shazeer 2020).
    SwiGlu,
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
            FeedForwardKind::SwiGlu => {
                Linear::declare(builder, &format!("{name}.gate_up"), width, &[hidden, hidden], bias)
            }
        };
        Self { up, down: Linear::declare(builder, &format!("{name}.down"), hidden, &[width], bias), kind }
    }

    /// Records the block.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var) -> Var {
        let hidden = match self.kind {
            FeedForwardKind::Plain(activation) => self.up.record(tape, parameters, x, Some(activation)),
            FeedForwardKind::SwiGlu => {
                let gate_up = self.up.record(tape, parameters, x, None);
                tape.swiglu(gate_up)
            }
        };
        self.down.record(tape, parameters, hidden, None)
    }
}
