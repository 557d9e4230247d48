//! Elementary operations, element by element: for research, and as the oracle of the coarse operations.

use crate::cpu::Cpu;
use crate::kernels::elementwise as kernel;
use crate::kernels::elementwise::Activation;
use crate::operation::{Backward, Forward, Gradient, Needs, Operation};
use crate::tape::{Tape, Var};

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a b`
    Multiply,
    /// `a / b`
    Divide,
}

impl Binary {
    /// Every one, for tests.
    pub const ALL: [Self; 4] = [Self::Add, Self::Subtract, Self::Multiply, Self::Divide];

    fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
        }
    }

    /// The derivatives by `a` and by `b`.
    fn slopes(self, a: f32, b: f32) -> (f32, f32) {
        match self {
            Self::Add => (1.0, 1.0),
            Self::Subtract => (1.0, -1.0),
            Self::Multiply => (b, a),
            Self::Divide => (1.0 / b, -a / (b * b)),
        }
    }
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    /// `e^x`; between 1e-38 and 2.4e38 (see [`crate::kernels::math::exp`]).
    Exp,
    /// The natural logarithm.
    Ln,
    /// The square root.
    Sqrt,
    /// `x^2`
    Square,
    /// `-x`
    Negate,
    /// `1 / x`
    Reciprocal,
    /// `|x|`; its derivative at 0 is 0.
    Absolute,
    /// `factor x`
    Scale(f32),
    /// `cap tanh(x / cap)`: nearly `x` where that is small, never beyond the cap (Gemma 2).
    SoftCap(f32),
}

impl Unary {
    /// The formula in float64.
    pub fn reference(self, x: f64) -> f64 {
        match self {
            Self::Exp => x.exp(),
            Self::Ln => x.ln(),
            Self::Sqrt => x.sqrt(),
            Self::Square => x * x,
            Self::Negate => -x,
            Self::Reciprocal => 1.0 / x,
            Self::Absolute => x.abs(),
            Self::Scale(factor) => f64::from(factor) * x,
            Self::SoftCap(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
        }
    }

    fn apply(self, cpu: &Cpu, x: &[f32], y: &mut [f32]) {
        let map = |y: &mut [f32], f: fn(f32) -> f32| y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
        match self {
            Self::Exp => kernel::exponential(cpu.isa(), x, y),
            Self::Ln => map(y, f32::ln),
            Self::Sqrt => map(y, f32::sqrt),
            Self::Square => map(y, |x| x * x),
            Self::Negate => map(y, |x| -x),
            Self::Reciprocal => map(y, |x| 1.0 / x),
            Self::Absolute => map(y, f32::abs),
            Self::Scale(factor) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = factor * x),
            Self::SoftCap(cap) => kernel::soft_cap(cpu.isa(), cap, x, y),
        }
    }

    /// The derivative, from `x` or from `y`, whichever [`Operation::needs`] asked for; the other is 0.
    fn slope(self, x: f32, y: f32) -> f32 {
        match self {
            Self::Exp => y,
            Self::Ln => 1.0 / x,
            Self::Sqrt => 0.5 / y,
            Self::Square => 2.0 * x,
            Self::Negate => -1.0,
            Self::Reciprocal => -y * y,
            Self::Absolute => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Self::Scale(factor) => factor,
            Self::SoftCap(cap) => 1.0 - (y / cap) * (y / cap),
        }
    }
}

struct Pair {
    function: Binary,
    len: usize,
    /// Columns of a row vector `b` that every row of `a` meets; `None` when the shapes are equal.
    row: Option<usize>,
}

struct Map(Unary);

impl Tape {
    /// `function(a, b)`: `b` has the shape of `a`, or is a row vector as long as the last dimension of `a`.
    ///
    /// # Panics
    /// On other shapes: a mistake of the model.
    pub fn binary(&mut self, function: Binary, a: Var, b: Var) -> Var {
        let shape = self.shape(a).to_vec();
        let columns = self.rows_columns(a).1;
        let equal = self.shape(b) == shape;
        assert!(equal || self.shape(b) == [columns], "{function:?} of {shape:?} and {:?}", self.shape(b));
        let pair = Pair { function, len: shape.iter().product(), row: (!equal).then_some(columns) };
        self.record_one(pair, &[a, b], &shape)
    }

    /// `a + b`; see [`Self::binary`].
    pub fn add(&mut self, a: Var, b: Var) -> Var {
        self.binary(Binary::Add, a, b)
    }

    /// `a - b`; see [`Self::binary`].
    pub fn subtract(&mut self, a: Var, b: Var) -> Var {
        self.binary(Binary::Subtract, a, b)
    }

    /// `a b`, element by element; see [`Self::binary`].
    pub fn multiply(&mut self, a: Var, b: Var) -> Var {
        self.binary(Binary::Multiply, a, b)
    }

    /// `a / b`, element by element; see [`Self::binary`].
    pub fn divide(&mut self, a: Var, b: Var) -> Var {
        self.binary(Binary::Divide, a, b)
    }

    /// `function(x)`, element by element. GELU and its like are in [`Self::activation`].
    pub fn unary(&mut self, function: Unary, x: Var) -> Var {
        let shape = self.shape(x).to_vec();
        self.record_one(Map(function), &[x], &shape)
    }

    /// `factor x`
    pub fn scale(&mut self, x: Var, factor: f32) -> Var {
        self.unary(Unary::Scale(factor), x)
    }

    /// `cap tanh(x / cap)`
    pub fn soft_cap(&mut self, x: Var, cap: f32) -> Var {
        self.unary(Unary::SoftCap(cap), x)
    }

    /// `tanh x`
    pub fn tanh(&mut self, x: Var) -> Var {
        self.activation(x, Activation::Tanh)
    }

    /// `1 / (1 + e^-x)`
    pub fn sigmoid(&mut self, x: Var) -> Var {
        self.activation(x, Activation::Sigmoid)
    }

    /// `max(x, 0)`
    pub fn relu(&mut self, x: Var) -> Var {
        self.activation(x, Activation::Relu)
    }
}

/// The formula in float64, `b` repeated as often as needed.
pub fn binary_reference(function: Binary, a: &[f32], b: &[f32]) -> Vec<f32> {
    let numbers = a.iter().zip(b.iter().cycle()).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let apply = |(a, b): (f64, f64)| match function {
        Binary::Add => a + b,
        Binary::Subtract => a - b,
        Binary::Multiply => a * b,
        Binary::Divide => a / b,
    };
    numbers.map(|pair| apply(pair) as f32).collect()
}

/// Numbers in a task.
const CHUNK: usize = 1 << 14;

/// `gradient (+)= value(i)` for every number, in tasks.
pub(crate) fn give(cpu: &Cpu, gradient: Gradient<'_>, value: impl Fn(usize) -> f32 + Sync) {
    let Gradient { values, accumulate } = gradient;
    cpu.pool().split([(values, CHUNK)], |index, [to]| {
        for (i, to) in to.iter_mut().enumerate() {
            let value = value(index * CHUNK + i);
            *to = if accumulate { *to + value } else { value };
        }
    });
}

impl Pair {
    fn b(&self, values: &[f32], i: usize) -> f32 {
        values[self.row.map_or(i, |columns| i % columns)]
    }
}

impl Operation for Pair {
    fn name(&self) -> &'static str {
        match self.function {
            Binary::Add => "add",
            Binary::Subtract => "subtract",
            Binary::Multiply => "multiply",
            Binary::Divide => "divide",
        }
    }

    fn needs(&self) -> Needs {
        let both = matches!(self.function, Binary::Multiply | Binary::Divide);
        Needs { inputs: if both { 0b11 } else { 0 }, outputs: 0 }
    }

    fn forward(&self, run: Forward<'_>) {
        let (a, b) = (run.inputs[0].values(), run.inputs[1].values());
        let [y, _] = run.outputs;
        run.cpu.pool().split([(y, CHUNK)], |index, [y]| {
            for (i, y) in y.iter_mut().enumerate() {
                let at = index * CHUNK + i;
                *y = self.function.apply(a[at], self.b(b, at));
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let (a, b) = (run.inputs[0].values(), run.inputs[1].values());
        let [dy, _] = run.doutputs;
        let dy = &*dy;
        let [da, db, ..] = run.dinputs;
        let reads = self.needs().inputs != 0;
        let slopes = |i: usize| {
            let (a, b) = if reads { (a[i], self.b(b, i)) } else { (0.0, 0.0) };
            self.function.slopes(a, b)
        };
        if let Some(da) = da {
            give(run.cpu, da, |i| dy[i] * slopes(i).0);
        }
        if let Some(db) = db {
            match self.row {
                None => give(run.cpu, db, |i| dy[i] * slopes(i).1),
                // Each column is summed over the rows in order.
                Some(columns) => {
                    give(run.cpu, db, |column| (column..self.len).step_by(columns).map(|i| dy[i] * slopes(i).1).sum())
                }
            }
        }
    }
}

impl Operation for Map {
    fn name(&self) -> &'static str {
        match self.0 {
            Unary::Exp => "exp",
            Unary::Ln => "ln",
            Unary::Sqrt => "sqrt",
            Unary::Square => "square",
            Unary::Negate => "negate",
            Unary::Reciprocal => "reciprocal",
            Unary::Absolute => "absolute",
            Unary::Scale(_) => "scale",
            Unary::SoftCap(_) => "soft_cap",
        }
    }

    fn needs(&self) -> Needs {
        match self.0 {
            Unary::Ln | Unary::Square | Unary::Absolute => Needs { inputs: 1, outputs: 0 },
            Unary::Exp | Unary::Sqrt | Unary::Reciprocal | Unary::SoftCap(_) => Needs { inputs: 0, outputs: 1 },
            Unary::Negate | Unary::Scale(_) => Needs::default(),
        }
    }

    fn forward(&self, run: Forward<'_>) {
        let x = run.inputs[0].values();
        let [y, _] = run.outputs;
        run.cpu.pool().split([(y, CHUNK)], |index, [y]| {
            self.0.apply(run.cpu, &x[index * CHUNK..][..y.len()], y);
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let needs = self.needs();
        let (x, [y, _], [dy, _]) = (run.inputs[0].values(), run.outputs, run.doutputs);
        let (y, dy) = (&*y, &*dy);
        let [dx, ..] = run.dinputs;
        if let Some(dx) = dx {
            give(run.cpu, dx, |i| {
                let x = if needs.inputs == 0 { 0.0 } else { x[i] };
                let y = if needs.outputs == 0 { 0.0 } else { y[i] };
                dy[i] * self.0.slope(x, y)
            });
        }
    }
}
