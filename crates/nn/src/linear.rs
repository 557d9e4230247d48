//! Linear layer: `x W^T + b`.

use tsumugi_tensor::{Activation, ParameterId, Parameters, ParametersBuilder, Tape, Var};

/// `[.., m]` to `[.., n]`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// `[n, m]`
    pub weight: ParameterId,
    /// `[n]`
    pub bias: Option<ParameterId>,
}

impl Linear {
    /// Declares `<name>.weight` and, with a bias, `<name>.bias`. Several `outputs` are as many layers in one product: their
    /// matrices stand one below the other in the weight.
    pub fn declare(builder: &mut ParametersBuilder, name: &str, inputs: usize, outputs: &[usize], bias: bool) -> Self {
        let weight = builder.add_matrices(format!("{name}.weight"), outputs, inputs);
        let bias = bias.then(|| builder.add(format!("{name}.bias"), &[outputs.iter().sum()]));
        Self { weight, bias }
    }

    /// Records the layer, with an activation in its epilogue.
    pub fn record(&self, tape: &mut Tape, parameters: &Parameters, x: Var, activation: Option<Activation>) -> Var {
        let weight = tape.parameter(parameters, self.weight);
        let bias = self.bias.map(|bias| tape.parameter(parameters, bias));
        tape.linear(x, weight, bias, activation)
    }
}
