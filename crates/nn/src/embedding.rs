//! Token embedding, with learned positions where a model has them.

use tsumugi_tensor::{Ids, ParameterId, Parameters, ParametersBuilder, Tape, Var};

/// Ids to `[r, m]`.
#[derive(Debug, Clone, Copy)]
pub struct Embedding {
    /// `[v, m]`
    pub tokens: ParameterId,
    /// `[context, m]`
    pub positions: Option<ParameterId>,
}

impl Embedding {
    /// Declares `embedding.weight` and, with learned positions for a context, `positions.weight`.
    pub fn declare(builder: &mut ParametersBuilder, vocabulary: usize, width: usize, learned: Option<usize>) -> Self {
        let tokens = builder.add("embedding.weight", &[vocabulary, width]);
        let positions = learned.map(|context| builder.add("positions.weight", &[context, width]));
        Self { tokens, positions }
    }

    /// Records the layer.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, tokens: Ids, positions: Ids) -> Var {
        let table = tape.parameter(parameters, self.tokens);
        let learned = self.positions.map(|table| (positions, tape.parameter(parameters, table)));
        tape.embedding(tokens, table, learned)
    }
}
