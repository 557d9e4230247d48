//! Whether candle's gradient is complete: every variable has one, and it is the slope of the loss along that variable.
//!
//! candle drops gradients without a word: a variable behind an operation that stops them has none, or half of one, and the
//! optimizer passes it over. A step that does so is fast and wrong, so each variable is moved along its gradient g, and
//! (loss(w + e g/|g|) - loss(w - e g/|g|)) / 2e has to be |g|. A gradient of length 0 is an error too.

use candle_core::{Result, Tensor, Var, bail};

/// How much the loss shall change in a difference: far above the rounding of float32, 1e-6 of a loss of 4, and small
/// enough that the loss is nearly straight over it.
const CHANGE: f64 = 4e-3;
/// The largest difference of the slope from |g|, relative.
const TOLERANCE: f64 = 0.02;

/// The largest relative difference found; an error that names the variable if one is above the tolerance.
pub fn check(variables: &[(String, Var)], loss: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let gradients = loss()?.backward()?;
    let mut worst = 0.0_f64;
    for (name, variable) in variables {
        let Some(gradient) = gradients.get(variable) else { bail!("`{name}` has no gradient") };
        let norm = f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt();
        let slope = slope(variable, &(gradient.detach() / norm)?, CHANGE / norm, &loss)?;
        let difference = (slope / norm - 1.0).abs();
        if difference.is_nan() || difference > TOLERANCE {
            bail!("`{name}`: the gradient is {norm:.3e} long, but the loss has the slope {slope:.3e} along it");
        }
        worst = worst.max(difference);
    }
    Ok(worst)
}

/// The slope of the loss along a direction of length 1; the variable is as it was afterwards.
fn slope(variable: &Var, direction: &Tensor, step: f64, loss: &impl Fn() -> Result<Tensor>) -> Result<f64> {
    let start = variable.as_tensor().copy()?.detach();
    let at = |distance: f64| {
        variable.set(&(&start + (direction * distance)?)?)?;
        Ok::<f64, candle_core::Error>(f64::from(loss()?.to_scalar::<f32>()?))
    };
    let slope = (at(0.5 * step)? - at(-0.5 * step)?) / step;
    variable.set(&start)?;
    Ok(slope)
}
