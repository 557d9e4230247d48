//! candle's side: one process = one round. Times full training steps of a GPT-2 on the CPU, or checks its gradient.
//!
//! `RAYON_NUM_THREADS=2 train_step CASE [--steps N] [--gelu tanh|erf]` prints one JSON object; `train_step CASE --check` compares
//! every variable's gradient with the slope of the loss. A step is: forward, cross-entropy, backward, clip the gradient norm
//! to 1, AdamW. candle takes its number of threads from that environment variable.

mod gpt;
mod slopes;

use std::error::Error;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use serde_json::json;
use tsumugi_base::machine::peak_memory_bytes;

use gpt::{CASES, Case, Gelu, Gpt};

/// Steps before those that count: they touch memory for the first time. As in `tsumugi bench --train`.
const WARM_UP: usize = 2;
/// Rows that the steps take in turn.
const BATCHES: usize = 16;

struct Trainer {
    model: Gpt,
    variables: Vec<(String, Var)>,
    /// One with decay for matrices, one without for vectors, as nanoGPT groups them.
    optimizers: [AdamW; 2],
    batches: Vec<(Tensor, Tensor)>,
}

impl Trainer {
    fn new(case: &Case, gelu: Gelu) -> Result<Self> {
        let map = VarMap::new();
        let model = Gpt::new(case, gelu, VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
        let Ok(named) = map.data().lock().map(|data| data.clone()) else { bail!("the variables are locked") };
        let mut variables: Vec<_> = named.into_iter().collect();
        variables.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (matrices, vectors) = variables.iter().map(|(_, var)| var.clone()).partition(|var| var.rank() >= 2);
        let optimizer = |variables, weight_decay| {
            AdamW::new(variables, ParamsAdamW { lr: 1e-4, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay })
        };
        let optimizers = [optimizer(matrices, 0.1)?, optimizer(vectors, 0.0)?];
        let batches = (0..BATCHES).map(|_| random_batch(case)).collect::<Result<_>>()?;
        Ok(Self { model, variables, optimizers, batches })
    }

    fn loss(&self, step: usize) -> Result<Tensor> {
        let (ids, targets) = &self.batches[step % self.batches.len()];
        self.model.loss(ids, targets)
    }

    /// The loss before the step.
    fn step(&mut self, step: usize) -> Result<f32> {
        let loss = self.loss(step)?;
        let mut gradients = loss.backward()?;
        self.clip(&mut gradients)?;
        for optimizer in &mut self.optimizers {
            optimizer.step(&gradients)?;
        }
        loss.to_scalar()
    }

    /// Scales the gradients to a norm of 1 if it is more. candle has no function for it. A missing one is an error.
    fn clip(&self, gradients: &mut GradStore) -> Result<()> {
        let mut squares = 0.0_f64;
        for (name, variable) in &self.variables {
            let Some(gradient) = gradients.get(variable) else { bail!("`{name}` has no gradient") };
            squares += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
        if squares > 1.0 {
            for (_, variable) in &self.variables {
                if let Some(gradient) = gradients.remove(variable) {
                    gradients.insert(variable, (gradient * squares.sqrt().recip())?);
                }
            }
        }
        Ok(())
    }
}

fn random_batch(case: &Case) -> Result<(Tensor, Tensor)> {
    let ids = || {
        Tensor::rand(0.0_f32, case.vocabulary as f32, (case.batch, case.context), &Device::Cpu)?.to_dtype(DType::U32)
    };
    // A draw may be rounded up to the end of its range.
    let ids = || ids()?.minimum((case.vocabulary - 1) as u32);
    Ok((ids()?, ids()?.flatten_all()?))
}

fn measure(case: &Case, gelu: Gelu, steps: usize) -> Result<serde_json::Value> {
    let mut trainer = Trainer::new(case, gelu)?;
    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for step in 0..WARM_UP + steps {
        let begun = Instant::now();
        losses.push(trainer.step(step)?);
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let mut seconds = seconds.split_off(WARM_UP);
    seconds.sort_by(f64::total_cmp);
    let step_seconds = seconds[seconds.len() / 2];
    Ok(json!({
        "case": case.name,
        "threads": candle_core::utils::get_num_threads(),
        "parameters": trainer.variables.iter().map(|(_, variable)| variable.elem_count()).sum::<usize>(),
        "variables": trainer.variables.len(),
        "tokens_per_second": (case.batch * case.context) as f64 / step_seconds,
        "step_seconds": step_seconds,
        "step_seconds_min": seconds[0],
        "peak_memory_bytes": peak_memory_bytes(),
        "loss_first_nats": losses[0],
        "loss_last_nats": losses[losses.len() - 1],
    }))
}

/// Two steps first: at the start, biases and gains are all equal, which could hide something.
fn check(case: &Case, gelu: Gelu) -> Result<serde_json::Value> {
    let mut trainer = Trainer::new(case, gelu)?;
    trainer.step(0)?;
    trainer.step(1)?;
    let worst = slopes::check(&trainer.variables, || trainer.loss(2))?;
    Ok(json!({
        "case": case.name,
        "variables": trainer.variables.len(),
        "with_gradient": trainer.variables.len(),
        "worst_slope_difference": worst,
    }))
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| arguments.iter().position(|x| x == name).and_then(|at| arguments.get(at + 1));
    let case = CASES.iter().find(|case| arguments.first().is_some_and(|x| x == case.name));
    let case = case.ok_or_else(|| format!("first argument: one of {:?}", CASES.map(|case| case.name)))?;
    let gelu = if value("--gelu").is_some_and(|x| x == "erf") { Gelu::Erf } else { Gelu::Tanh };
    let steps = value("--steps").map_or(Ok(20), |x| x.parse())?;
    let is_check = arguments.iter().any(|x| x == "--check");
    println!("{}", if is_check { check(case, gelu)? } else { measure(case, gelu, steps)? });
    Ok(())
}
