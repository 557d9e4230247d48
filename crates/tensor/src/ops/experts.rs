//! A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538; Fedus et al. 2022): each row is given to the few gated
//! feed-forward blocks that its router prefers, and gets their mean, weighted by the router's probabilities.
//!
//! Rows are sorted by expert, so that an expert's matrices are read once for all rows that chose it. A row's result does
//! not depend on the others: a product's sums depend on the row alone, and its experts are added up in the row's own order.
//!
//! Letters: `e` experts, `k` of them for each row, `f` their hidden width; a *slot* is a row at one of its experts.

use std::ops::Range;

use crate::cpu::Cpu;
use crate::kernels::elementwise::{self, Activation};
use crate::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};
use crate::kernels::quantized::multiply_rows;
use crate::kernels::rows;
use crate::operation::{Backward, Forward, Gradient, Needs, Operand, Operation};
use crate::tape::{Tape, Var};

/// How rows choose their experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routing {
    /// Experts of each row, k: those of the largest logits; of equal ones, the first.
    pub chosen: usize,
    /// Whether the probabilities of the chosen ones are divided by their sum.
    pub normalized: bool,
}

struct Experts {
    routing: Routing,
    activation: Activation,
    rows: usize,
    experts: usize,
    width: usize,
    hidden: usize,
}

impl Tape {
    /// For each row of `x [r, m]` the sum over its experts of `weight * down (f(gate x) * up x)`, `[r, m]`. The experts and
    /// their weights come from the router's `logits [r, e]`; `gate_up [e, 2 f, m]` has gate above up for each expert, `down`
    /// is `[e, m, f]`.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn experts(
        &mut self,
        x: Var,
        logits: Var,
        [gate_up, down]: [Var; 2],
        routing: Routing,
        activation: Activation,
    ) -> Var {
        let ((rows, width), (routed, experts)) = (self.rows_columns(x), self.rows_columns(logits));
        let &[_, _, hidden] = self.shape(down) else { panic!("experts: `down` is a stack of matrices") };
        assert_eq!(routed, rows, "experts: a row of logits for each row");
        assert_eq!(self.shape(gate_up), [experts, 2 * hidden, width], "experts: gate and up");
        assert_eq!(self.shape(down), [experts, width, hidden], "experts: down");
        assert!((1..=experts).contains(&routing.chosen), "experts: {} of {experts}", routing.chosen);
        let shape = self.shape(x).to_vec();
        let operation = Experts { routing, activation, rows, experts, width, hidden };
        self.record_one(operation, &[x, logits, gate_up, down], &shape)
    }
}

/// The formula, row by row, in float64.
pub fn experts_reference(
    x: &[f32],
    logits: &[f32],
    [gate_up, down]: [&[f32]; 2],
    experts: usize,
    routing: Routing,
    activation: Activation,
) -> Vec<f32> {
    let width = x.len() * experts / logits.len();
    let hidden = down.len() / experts / width;
    let product = |matrix: &[f32], x: &[f64]| -> Vec<f64> {
        let row = |row: &[f32]| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
        matrix.chunks_exact(x.len()).map(row).collect()
    };
    let mut y = Vec::new();
    for (x, logits) in x.chunks_exact(width).zip(logits.chunks_exact(experts)) {
        let x: Vec<f64> = x.iter().map(|&x| x.into()).collect();
        let exponentials: Vec<f64> = logits.iter().map(|&logit| f64::from(logit).exp()).collect();
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let chosen = &order[..routing.chosen];
        let among = if routing.normalized { chosen } else { &order };
        let sum: f64 = among.iter().map(|&expert| exponentials[expert]).sum();
        let mut row = vec![0.0; width];
        for &expert in chosen {
            let both = product(&gate_up[expert * 2 * hidden * width..][..2 * hidden * width], &x);
            let (gate, up) = both.split_at(hidden);
            let gated: Vec<f64> = gate.iter().zip(up).map(|(&gate, up)| activation.reference(gate) * up).collect();
            let fed = product(&down[expert * width * hidden..][..width * hidden], &gated);
            row.iter_mut().zip(fed).for_each(|(y, fed)| *y += exponentials[expert] / sum * fed);
        }
        y.extend(row.iter().map(|&y| y as f32));
    }
    y
}

/// Rows or slots in a task.
const ROWS: usize = 8;

/// A whole number is kept as the bits of a float32, which saved memory is made of; none is so large that its bits would be
/// those of NaN.
fn index_of(number: f32) -> usize {
    number.to_bits() as usize
}

fn number_of(index: usize) -> f32 {
    f32::from_bits(index as u32)
}

/// What forward keeps, in parts.
struct Saved<'a> {
    /// The router's probabilities, `[r, e]`.
    probabilities: &'a mut [f32],
    /// Each row's experts, the preferred first, `[r, k]`.
    chosen: &'a mut [f32],
    /// Their weights, `[r, k]`.
    weights: &'a mut [f32],
    /// Where each of them is among the slots, `[r, k]`.
    places: &'a mut [f32],
    /// Which of the `[r, k]` each slot is: sorted by expert, then by row, `[r k]`.
    slots: &'a mut [f32],
    /// The first slot of each expert, and the end, `[e + 1]`.
    begins: &'a mut [f32],
    /// Gate and up of each slot, `[r k, 2 f]`.
    gate_up: &'a mut [f32],
}

/// Takes the first numbers off a slice.
fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    rest.split_off_mut(..len).expect("as long as was asked for")
}

impl Saved<'_> {
    /// Experts that were chosen, and their slots.
    fn experts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let slots = self.begins.windows(2).map(|pair| index_of(pair[0])..index_of(pair[1]));
        slots.enumerate().filter(|(_, slots)| !slots.is_empty())
    }

    /// A counting sort of the chosen experts.
    fn sort(&mut self, experts: usize) {
        self.begins.fill(number_of(0));
        for &expert in &*self.chosen {
            let count = &mut self.begins[index_of(expert) + 1];
            *count = number_of(index_of(*count) + 1);
        }
        for expert in 0..experts {
            self.begins[expert + 1] = number_of(index_of(self.begins[expert]) + index_of(self.begins[expert + 1]));
        }
        for (index, (&expert, place)) in self.chosen.iter().zip(&mut *self.places).enumerate() {
            let next = &mut self.begins[index_of(expert)];
            (*place, self.slots[index_of(*next)]) = (*next, number_of(index));
            *next = number_of(index_of(*next) + 1);
        }
        // Each begin has become the one after it.
        self.begins.copy_within(..experts, 1);
        self.begins[0] = number_of(0);
    }
}

/// The indices of the largest probabilities, the largest first; whatever they are, as many different ones as asked for.
fn choose(probabilities: &[f32], chosen: &mut [f32]) {
    for place in 0..chosen.len() {
        let (before, rest) = chosen.split_at_mut(place);
        let free = (0..probabilities.len()).filter(|&expert| !before.iter().any(|&taken| index_of(taken) == expert));
        let better = |best: usize, expert| if probabilities[expert] > probabilities[best] { expert } else { best };
        rest[0] = number_of(free.reduce(better).unwrap_or(0));
    }
}

impl Experts {
    fn slots(&self) -> usize {
        self.rows * self.routing.chosen
    }

    fn saved<'a>(&self, mut saved: &'a mut [f32]) -> Saved<'a> {
        let slots = self.slots();
        Saved {
            probabilities: take(&mut saved, self.rows * self.experts),
            chosen: take(&mut saved, slots),
            weights: take(&mut saved, slots),
            places: take(&mut saved, slots),
            slots: take(&mut saved, slots),
            begins: take(&mut saved, self.experts + 1),
            gate_up: take(&mut saved, slots * 2 * self.hidden),
        }
    }

    fn route(&self, cpu: &Cpu, logits: &[f32], saved: &mut Saved<'_>) {
        let (experts, chosen) = (self.experts, self.routing.chosen);
        let parts = [
            (&mut *saved.probabilities, ROWS * experts),
            (&mut *saved.chosen, ROWS * chosen),
            (&mut *saved.weights, ROWS * chosen),
        ];
        cpu.pool().split(parts, |block, [probabilities, experts_of, weights]| {
            probabilities.copy_from_slice(&logits[block * ROWS * experts..][..probabilities.len()]);
            let rows = probabilities.chunks_exact_mut(experts).zip(experts_of.chunks_exact_mut(chosen));
            for ((probabilities, experts_of), weights) in rows.zip(weights.chunks_exact_mut(chosen)) {
                rows::softmax(cpu.isa(), probabilities);
                choose(probabilities, experts_of);
                weights.iter_mut().zip(&*experts_of).for_each(|(to, &expert)| *to = probabilities[index_of(expert)]);
                if self.routing.normalized {
                    let sum: f32 = weights.iter().sum();
                    weights.iter_mut().for_each(|weight| *weight /= sum);
                }
            }
        });
        saved.sort(experts);
    }

    /// The rows of all slots, `[r k, m]`.
    fn gather(&self, cpu: &Cpu, x: &[f32], slots: &[f32], to: &mut [f32]) {
        cpu.pool().split([(to, ROWS * self.width)], |block, [to]| {
            for (to, &slot) in to.chunks_exact_mut(self.width).zip(&slots[block * ROWS..]) {
                let row = index_of(slot) / self.routing.chosen;
                to.copy_from_slice(&x[row * self.width..][..self.width]);
            }
        });
    }

    /// The gated linear unit of all slots, `[r k, f]`.
    fn gate(&self, cpu: &Cpu, gate_up: &[f32], to: &mut [f32]) {
        cpu.pool().split([(to, ROWS * self.hidden)], |block, [to]| {
            let both = gate_up[block * ROWS * 2 * self.hidden..].chunks_exact(2 * self.hidden);
            for (both, to) in both.zip(to.chunks_exact_mut(self.hidden)) {
                let (gate, up) = both.split_at(self.hidden);
                elementwise::gated(cpu.isa(), self.activation, gate, up, to);
            }
        });
    }

    /// To each row the sum of its slots, weighted or not, its preferred expert's first.
    fn sum_slots(&self, cpu: &Cpu, saved: &Saved<'_>, slots: &[f32], is_weighted: bool, to: Gradient<'_>) {
        let (chosen, isa) = (self.routing.chosen, cpu.isa());
        cpu.pool().split([(to.values, ROWS * self.width)], |block, [part]| {
            for (i, y) in part.chunks_exact_mut(self.width).enumerate() {
                if !to.accumulate {
                    y.fill(0.0);
                }
                let row = block * ROWS + i;
                for index in row * chosen..(row + 1) * chosen {
                    let weight = if is_weighted { saved.weights[index] } else { 1.0 };
                    let at = index_of(saved.places[index]) * self.width;
                    elementwise::add_scaled(isa, weight, &slots[at..][..self.width], y);
                }
            }
        });
    }

    /// From `hidden` and the gradients of what each slot gives: the gradients of the router's logits.
    fn route_backward(
        &self,
        cpu: &Cpu,
        saved: &Saved<'_>,
        [hidden, dhidden]: [&[f32]; 2],
        scratch: &mut [f32],
        to: Gradient<'_>,
    ) {
        let (experts, chosen, f, isa) = (self.experts, self.routing.chosen, self.hidden, cpu.isa());
        cpu.pool().split(
            [(to.values, ROWS * experts), (scratch, ROWS * experts)],
            |block, [dlogits, dprobabilities]| {
                let rows = dlogits.chunks_exact_mut(experts).zip(dprobabilities.chunks_exact_mut(experts));
                for (i, (dlogits, dprobabilities)) in rows.enumerate() {
                    let row = block * ROWS + i;
                    let probabilities = &saved.probabilities[row * experts..][..experts];
                    dprobabilities.fill(0.0);
                    let (mut sum, mut mean) = (0.0, 0.0);
                    for index in row * chosen..(row + 1) * chosen {
                        let (expert, slot) = (index_of(saved.chosen[index]), index_of(saved.places[index]));
                        let gradient = elementwise::dot(isa, &hidden[slot * f..][..f], &dhidden[slot * f..][..f]);
                        dprobabilities[expert] = gradient;
                        sum += probabilities[expert];
                        mean += saved.weights[index] * gradient;
                    }
                    if self.routing.normalized {
                        for index in row * chosen..(row + 1) * chosen {
                            let gradient = &mut dprobabilities[index_of(saved.chosen[index])];
                            *gradient = (*gradient - mean) / sum;
                        }
                    }
                    rows::softmax_backward(isa, probabilities, dprobabilities, dlogits, to.accumulate);
                }
            },
        );
    }

    /// Each slot's gradients, times the slot's weight.
    fn weigh(&self, cpu: &Cpu, saved: &Saved<'_>, width: usize, gradients: &mut [f32]) {
        cpu.pool().split([(gradients, ROWS * width)], |block, [gradients]| {
            for (gradient, &slot) in gradients.chunks_exact_mut(width).zip(&saved.slots[block * ROWS..]) {
                elementwise::scale(cpu.isa(), saved.weights[index_of(slot)], gradient);
            }
        });
    }

    fn gate_backward(&self, cpu: &Cpu, gate_up: &[f32], dhidden: &[f32], to: &mut [f32]) {
        let both = 2 * self.hidden;
        cpu.pool().split([(to, ROWS * both)], |block, [to]| {
            let slots = gate_up[block * ROWS * both..].chunks_exact(both).zip(to.chunks_exact_mut(both));
            for ((x, dx), dy) in slots.zip(dhidden[block * ROWS * self.hidden..].chunks_exact(self.hidden)) {
                let ((gate, up), (dgate, dup)) = (x.split_at(self.hidden), dx.split_at_mut(self.hidden));
                elementwise::gated_backward(cpu.isa(), self.activation, gate, up, dy, dgate, dup);
            }
        });
    }
}

/// `y [slots, n] = x [slots, k] W^T`, each slot by its expert's matrix `[n, k]`.
fn multiply(cpu: &Cpu, saved: &Saved<'_>, x: &[f32], weights: Operand<'_>, (n, k): (usize, usize), y: &mut [f32]) {
    for (expert, slots) in saved.experts() {
        let (x, y) = (&x[slots.start * k..slots.end * k], &mut y[slots.start * n..slots.end * n]);
        let size = (slots.len(), n, k);
        let mut product = |weight| gemm(cpu, size, MatrixA::Plain(x), weight, y, false, Epilogue::default());
        match weights {
            Operand::Values(weights) => product(MatrixB::Transposed(&weights[expert * n * k..][..n * k])),
            Operand::Packed(stack) => product(MatrixB::PackedOf(stack, expert)),
            Operand::Quantized(stack) => multiply_rows(cpu, slots.len(), x, stack, expert * n..(expert + 1) * n, y),
        }
    }
}

/// `dx [slots, k] = dy [slots, n] W`.
fn multiply_backward(
    cpu: &Cpu,
    saved: &Saved<'_>,
    dy: &[f32],
    weights: &[f32],
    (n, k): (usize, usize),
    dx: &mut [f32],
) {
    for (expert, slots) in saved.experts() {
        let dy = MatrixA::Plain(&dy[slots.start * n..slots.end * n]);
        let weight = MatrixB::Plain(&weights[expert * n * k..][..n * k]);
        let dx = &mut dx[slots.start * k..slots.end * k];
        gemm(cpu, (slots.len(), k, n), dy, weight, dx, false, Epilogue::default());
    }
}

/// `dW (+)= dy^T x`; experts that no row chose have a gradient of 0.
fn weights_backward(cpu: &Cpu, saved: &Saved<'_>, dy: &[f32], x: &[f32], (n, k): (usize, usize), to: Gradient<'_>) {
    if !to.accumulate {
        cpu.pool().split([(&mut *to.values, 1 << 15)], |_, [part]| part.fill(0.0));
    }
    for (expert, slots) in saved.experts() {
        let dy = MatrixA::Transposed(&dy[slots.start * n..slots.end * n]);
        let x = MatrixB::Plain(&x[slots.start * k..slots.end * k]);
        let dweight = &mut to.values[expert * n * k..][..n * k];
        gemm(cpu, (n, k, slots.len()), dy, x, dweight, true, Epilogue::default());
    }
}

impl Operation for Experts {
    fn name(&self) -> &'static str {
        "experts"
    }

    fn saved_len(&self) -> usize {
        self.rows * self.experts + self.slots() * (4 + 2 * self.hidden) + self.experts + 1
    }

    /// Of backward, which takes more than forward.
    fn scratch_len(&self) -> usize {
        self.slots() * (2 * self.width + 4 * self.hidden) + self.rows * self.experts
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b1101, outputs: 0 }
    }

    fn forward_flops(&self) -> f64 {
        6.0 * self.slots() as f64 * self.width as f64 * self.hidden as f64
    }

    fn forward(&self, run: Forward<'_>) {
        let [y, _] = run.outputs;
        let [x, logits, gate_up, down, ..] = run.inputs;
        let (cpu, m, f) = (run.cpu, self.width, self.hidden);
        let mut saved = self.saved(run.saved);
        self.route(cpu, logits.values(), &mut saved);
        let mut scratch = run.scratch;
        let (slots, hidden) = (take(&mut scratch, self.slots() * m), take(&mut scratch, self.slots() * f));
        self.gather(cpu, x.values(), saved.slots, slots);
        let both = std::mem::take(&mut saved.gate_up);
        multiply(cpu, &saved, slots, gate_up, (2 * f, m), both);
        self.gate(cpu, both, hidden);
        multiply(cpu, &saved, hidden, down, (m, f), slots);
        self.sum_slots(cpu, &saved, slots, true, Gradient { values: y, accumulate: false });
    }

    fn backward(&self, run: Backward<'_>) {
        let ([dy, _], [dx, dlogits, dgate_up, ddown, ..]) = (run.doutputs, run.dinputs);
        let (x, gate_up, down) = (run.inputs[0].values(), run.inputs[2].values(), run.inputs[3].values());
        let (cpu, m, f) = (run.cpu, self.width, self.hidden);
        let saved = &self.saved(run.saved);
        let mut scratch = run.scratch;
        let (dslots, hidden) = (take(&mut scratch, self.slots() * m), take(&mut scratch, self.slots() * f));
        let (dhidden, dboth) = (take(&mut scratch, self.slots() * f), take(&mut scratch, self.slots() * 2 * f));
        self.gather(cpu, dy, saved.slots, dslots);
        self.gate(cpu, saved.gate_up, hidden);
        multiply_backward(cpu, saved, dslots, down, (m, f), dhidden);
        if let Some(dlogits) = dlogits {
            let dprobabilities = &mut scratch[..self.rows * self.experts];
            self.route_backward(cpu, saved, [hidden, dhidden], dprobabilities, dlogits);
        }
        self.weigh(cpu, saved, m, dslots);
        self.weigh(cpu, saved, f, dhidden);
        if let Some(ddown) = ddown {
            weights_backward(cpu, saved, dslots, hidden, (m, f), ddown);
        }
        self.gate_backward(cpu, saved.gate_up, dhidden, dboth);
        if let Some(dgate_up) = dgate_up {
            let slots = &mut scratch[self.rows * self.experts..][..self.slots() * m];
            self.gather(cpu, x, saved.slots, slots);
            weights_backward(cpu, saved, dboth, slots, (2 * f, m), dgate_up);
        }
        if let Some(dx) = dx {
            multiply_backward(cpu, saved, dboth, gate_up, (2 * f, m), dslots);
            self.sum_slots(cpu, saved, dslots, false, dx);
        }
    }
}
