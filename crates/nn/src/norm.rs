//! LayerNorm and RMSNorm, alone or with the residual addition before them.

use tsumugi_tensor::{NormKind, ParameterId, Parameters, ParametersBuilder, Tape, Var};

/// Over the last dimension.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// `[m]`, begins at 1.
    pub weight: ParameterId,
    /// `[m]`, begins at 0.
    pub bias: Option<ParameterId>,
    /// Which.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
}

impl Norm {
    /// Declares `<name>.weight` and, for LayerNorm, `<name>.bias`.
    pub fn declare(builder: &mut ParametersBuilder, name: &str, width: usize, kind: NormKind, epsilon: f32) -> Self {
        let weight = builder.add(format!("{name}.weight"), &[width]);
        let bias = (kind == NormKind::Layer).then(|| builder.add(format!("{name}.bias"), &[width]));
        Self { weight, bias, kind, epsilon }
    }

    /// Records `norm(x)`.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var) -> Var {
        let (weight, bias) = self.operands(tape, parameters);
        tape.normalize(x, weight, bias, self.kind, self.epsilon)
    }

    /// Records `sum = x + residual`, `norm(sum)`; returns both.
    pub fn record_add(&self, tape: &mut Tape, parameters: &Parameters, x: Var, residual: Var) -> (Var, Var) {
        let (weight, bias) = self.operands(tape, parameters);
        tape.add_normalize(x, residual, weight, bias, self.kind, self.epsilon)
    }

    fn operands(&self, tape: &mut Tape, parameters: &Parameters) -> (Var, Option<Var>) {
        let weight = tape.parameter(parameters, self.weight);
        (weight, self.bias.map(|bias| tape.parameter(parameters, bias)))
    }
}
