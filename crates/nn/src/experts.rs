//! Experts in place of a feed-forward block (Shazeer et al. 2017; Jiang et al. 2024, arXiv 2401.04088): a router gives each
//! row to a few of them, and one more may serve every row.

use tsumugi_tensor::{Activation, ParameterId, Parameters, ParametersBuilder, Routing, Tape, Var};

use crate::{FeedForward, FeedForwardKind, Linear};

/// `[r, m]` to `[r, m]`.
#[derive(Debug, Clone, Copy)]
pub struct Experts {
    /// `[e, m]`
    pub router: Linear,
    /// Of each expert gate above up, `[e, 2 f, m]`.
    pub gate_up: ParameterId,
    /// `[e, m, f]`
    pub down: ParameterId,
    /// The expert of every row, and its gate `[1, m]`.
    pub shared: Option<(FeedForward, Linear)>,
    /// How rows choose.
    pub routing: Routing,
    /// Of the gates.
    pub activation: Activation,
}

/// Sizes and options of experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertsConfig {
    /// Model width m.
    pub width: usize,
    /// Hidden width of an expert, f.
    pub hidden: usize,
    /// Experts e.
    pub count: usize,
    /// How rows choose.
    pub routing: Routing,
    /// Hidden width of the expert of every row, where there is one.
    pub shared_hidden: Option<usize>,
    /// Of the gates.
    pub activation: Activation,
}

impl Experts {
    /// Declares `<layer>.experts.router`, `<layer>.experts.gate_up`, `<layer>.experts.down` and, with an expert of every row,
    /// `<layer>.shared_expert.gate_up`, `<layer>.shared_expert.down` and `<layer>.shared_expert.gate`.
    pub fn declare(builder: &mut ParametersBuilder, layer: &str, config: ExpertsConfig) -> Self {
        let ExpertsConfig { width, hidden, count, routing, shared_hidden, activation } = config;
        let name = format!("{layer}.experts");
        let router = builder.add(format!("{name}.router.weight"), &[count, width]);
        let gate_up = builder.add_experts(format!("{name}.gate_up.weight"), count, &[hidden, hidden], width);
        let down = builder.add_experts(format!("{name}.down.weight"), count, &[width], hidden);
        let shared = shared_hidden.map(|hidden| {
            let (name, kind) = (format!("{layer}.shared_expert"), FeedForwardKind::Gated(activation));
            let expert = FeedForward::declare(builder, &name, width, hidden, kind, false);
            (expert, Linear { weight: builder.add(format!("{name}.gate.weight"), &[1, width]), bias: None })
        });
        Self { router: Linear { weight: router, bias: None }, gate_up, down, shared, routing, activation }
    }

    /// Records the experts.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var) -> Var {
        let logits = self.router.record(tape, parameters, x, None);
        let weights = [self.gate_up, self.down].map(|id| tape.parameter(parameters, id));
        let routed = tape.experts(x, logits, weights, self.routing, self.activation);
        let Some((expert, gate)) = &self.shared else { return routed };
        let shared = expert.record(tape, parameters, x);
        let gate = gate.record(tape, parameters, x, None);
        let shared = tape.gate_rows(shared, gate);
        tape.add(routed, shared)
    }
}
