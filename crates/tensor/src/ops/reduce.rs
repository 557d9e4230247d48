//! Sums and means over the last axis, and losses that end a graph of elementary operations.
//!
//! Every loss is multiplied by the run's loss scale (`Plan::set_loss_scale`, 1 unless set).

use crate::cpu::Cpu;
use crate::operation::{Backward, Forward, Needs, Operation};
use crate::ops::elementwise::give;
use crate::tape::{Tape, Var};

/// `factor * sum` over the last axis.
struct SumLast {
    columns: usize,
    mean: bool,
}

/// How numbers become a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LossKind {
    /// `mean x`
    Mean,
    /// `sum w x`
    WeightedSum,
    /// `mean (x - t)^2`
    SquaredError,
}

struct Loss {
    kind: LossKind,
    len: usize,
}

impl Tape {
    /// The sum over the last axis: `[.., c]` gives `[..]`, and `[c]` gives `[1]`.
    pub fn sum_last(&mut self, x: Var) -> Var {
        self.reduce_last(x, false)
    }

    /// The mean over the last axis: `[.., c]` gives `[..]`, and `[c]` gives `[1]`.
    pub fn mean_last(&mut self, x: Var) -> Var {
        self.reduce_last(x, true)
    }

    fn reduce_last(&mut self, x: Var, mean: bool) -> Var {
        let columns = self.rows_columns(x).1;
        let shape = self.shape(x);
        let rest = if shape.len() > 1 { shape[..shape.len() - 1].to_vec() } else { vec![1] };
        self.record_one(SumLast { columns, mean }, &[x], &rest)
    }

    /// The mean of all numbers, as a loss `[1]`.
    pub fn mean_loss(&mut self, x: Var) -> Var {
        self.loss(LossKind::Mean, &[x])
    }

    /// `sum weights x` over all numbers, as a loss `[1]`: for any loss of one number per row.
    ///
    /// # Panics
    /// When the shapes differ: a mistake of the model.
    pub fn weighted_sum_loss(&mut self, x: Var, weights: Var) -> Var {
        self.loss(LossKind::WeightedSum, &[x, weights])
    }

    /// `mean (x - target)^2` over all numbers, as a loss `[1]`.
    ///
    /// # Panics
    /// When the shapes differ: a mistake of the model.
    pub fn mean_squared_error_loss(&mut self, x: Var, target: Var) -> Var {
        self.loss(LossKind::SquaredError, &[x, target])
    }

    fn loss(&mut self, kind: LossKind, operands: &[Var]) -> Var {
        let shape = self.shape(operands[0]).to_vec();
        assert!(operands.iter().all(|&var| self.shape(var) == shape), "{kind:?}: the operands' shapes differ");
        self.record_one(Loss { kind, len: shape.iter().product() }, operands, &[1])
    }
}

/// The formula in float64; `mean` divides by the number of columns.
pub fn sum_last_reference(x: &[f32], columns: usize, mean: bool) -> Vec<f32> {
    let divisor = if mean { columns as f64 } else { 1.0 };
    x.chunks_exact(columns).map(|row| (row.iter().map(|&x| f64::from(x)).sum::<f64>() / divisor) as f32).collect()
}

/// `mean (x - t)^2` in float64.
pub fn mean_squared_error_reference(x: &[f32], target: &[f32]) -> f64 {
    let errors = x.iter().zip(target).map(|(&x, &t)| f64::from(x) - f64::from(t));
    errors.map(|e| e * e).sum::<f64>() / x.len() as f64
}

const CHUNK: usize = 1 << 10;

impl SumLast {
    fn factor(&self) -> f32 {
        if self.mean { 1.0 / self.columns as f32 } else { 1.0 }
    }
}

impl Operation for SumLast {
    fn name(&self) -> &'static str {
        if self.mean { "mean_last" } else { "sum_last" }
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn forward(&self, run: Forward<'_>) {
        let x = run.inputs[0].values();
        let [y, _] = run.outputs;
        run.cpu.pool().split([(y, CHUNK)], |index, [y]| {
            for (i, y) in y.iter_mut().enumerate() {
                let row = &x[(index * CHUNK + i) * self.columns..][..self.columns];
                // In float64: a sum of many numbers should not be the largest error of a study.
                *y = (row.iter().map(|&x| f64::from(x)).sum::<f64>() * f64::from(self.factor())) as f32;
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let ([dy, _], [dx, ..]) = (run.doutputs, run.dinputs);
        let dy = &*dy;
        if let Some(dx) = dx {
            give(run.cpu, dx, |i| dy[i / self.columns] * self.factor());
        }
    }
}

impl Loss {
    /// The loss, summed in order and in float64.
    fn value(&self, x: &[f32], other: &[f32], scale: f32) -> f32 {
        let wide = |i: usize| (f64::from(x[i]), other.get(i).map_or(0.0, |&o| f64::from(o)));
        let pairs = (0..self.len).map(wide);
        let sum: f64 = match self.kind {
            LossKind::Mean => pairs.map(|(x, _)| x).sum::<f64>() / self.len as f64,
            LossKind::WeightedSum => pairs.map(|(x, w)| w * x).sum(),
            LossKind::SquaredError => pairs.map(|(x, t)| (x - t).powi(2)).sum::<f64>() / self.len as f64,
        };
        (sum * f64::from(scale)) as f32
    }

    fn gradients(&self, cpu: &Cpu, x: &[f32], other: &[f32], scale: f32, run: Gradients<'_>) {
        let per_number = scale / self.len.max(1) as f32;
        let [dx, dother] = run;
        if let Some(dx) = dx {
            match self.kind {
                LossKind::Mean => give(cpu, dx, |_| per_number),
                LossKind::WeightedSum => give(cpu, dx, |i| scale * other[i]),
                LossKind::SquaredError => give(cpu, dx, |i| 2.0 * per_number * (x[i] - other[i])),
            }
        }
        if let Some(dother) = dother {
            match self.kind {
                LossKind::Mean => {}
                LossKind::WeightedSum => give(cpu, dother, |i| scale * x[i]),
                LossKind::SquaredError => give(cpu, dother, |i| 2.0 * per_number * (other[i] - x[i])),
            }
        }
    }
}

type Gradients<'a> = [Option<crate::operation::Gradient<'a>>; 2];

impl Operation for Loss {
    fn name(&self) -> &'static str {
        match self.kind {
            LossKind::Mean => "mean_loss",
            LossKind::WeightedSum => "weighted_sum_loss",
            LossKind::SquaredError => "mean_squared_error_loss",
        }
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b11, outputs: 0 }
    }

    fn is_loss(&self) -> bool {
        true
    }

    fn forward(&self, run: Forward<'_>) {
        let [loss, _] = run.outputs;
        loss[0] = self.value(run.inputs[0].values(), run.inputs[1].values(), run.feed.loss_scale);
    }

    fn backward(&self, run: Backward<'_>) {
        let (x, other, scale) = (run.inputs[0].values(), run.inputs[1].values(), run.feed.loss_scale);
        let ([loss, _], [dx, dother, ..]) = (run.outputs, run.dinputs);
        loss[0] = self.value(x, other, scale);
        self.gradients(run.cpu, x, other, scale, [dx, dother]);
    }
}
