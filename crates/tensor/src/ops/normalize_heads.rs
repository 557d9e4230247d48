//! A norm of each head of the queries and keys (Henry et al. 2020, "QKNorm"; Qwen 3 and Gemma 3), with one weight
//! for all heads of the queries and one for those of the keys.

use crate::kernels::attention::Heads;
use crate::kernels::elementwise;
use crate::kernels::normalize::{self, NormKind};
use crate::operation::{Backward, Forward, Gradient, Needs, Operation};
use crate::ops::normalize::{normalize_reference, sum_partials};
use crate::tape::{Tape, Var};

struct NormalizeHeads {
    kind: NormKind,
    epsilon: f32,
    rows: usize,
    query: usize,
    key: usize,
    width: usize,
}

impl Tape {
    /// Normalizes the heads of `qkv [r, (h + 2g) d]`: queries with `query_weight [d]`, keys with `key_weight [d]`;
    /// values stay as they are.
    ///
    /// # Panics
    /// When the shapes do not fit: a mistake of the model.
    pub fn normalize_heads(
        &mut self,
        qkv: Var,
        [query_weight, key_weight]: [Var; 2],
        heads: &Heads,
        kind: NormKind,
        epsilon: f32,
    ) -> Var {
        let (rows, width) = self.rows_columns(qkv);
        assert_eq!(width, heads.row(), "normalize_heads: qkv has {width} columns, the heads {}", heads.row());
        for weight in [query_weight, key_weight] {
            assert_eq!(self.shape(weight), [heads.width], "normalize_heads: a weight for heads of another width");
        }
        let shape = self.shape(qkv).to_vec();
        let (query, key, width) = (heads.query, heads.key, heads.width);
        let operation = NormalizeHeads { kind, epsilon, rows, query, key, width };
        self.record_one(operation, &[qkv, query_weight, key_weight], &shape)
    }
}

/// The formula: each head is a row of a norm.
pub fn normalize_heads_reference(
    qkv: &[f32],
    weights: [&[f32]; 2],
    heads: &Heads,
    kind: NormKind,
    epsilon: f32,
) -> Vec<f32> {
    let mut y = qkv.to_vec();
    for row in y.chunks_exact_mut(heads.row()) {
        for (index, head) in row.chunks_exact_mut(heads.width).enumerate().take(heads.query + heads.key) {
            let weight = weights[usize::from(index >= heads.query)];
            let normal = normalize_reference(head, weight, &[], kind, epsilon);
            head.copy_from_slice(&normal);
        }
    }
    y
}

/// Rows in a task, and in a partial sum of the weights' gradients.
const ROWS: usize = 32;

impl NormalizeHeads {
    /// Numbers in a row of queries, keys and values.
    fn row(&self) -> usize {
        (self.query + 2 * self.key) * self.width
    }

    /// Numbers in a row that are normalized: queries and keys.
    fn normal(&self) -> usize {
        (self.query + self.key) * self.width
    }

    /// Numbers that are kept of a row: two of each head.
    fn kept(&self) -> usize {
        2 * (self.query + self.key)
    }

    fn partials_len(&self) -> usize {
        self.rows.div_ceil(ROWS) * 2 * self.width
    }
}

impl Operation for NormalizeHeads {
    fn name(&self) -> &'static str {
        "normalize_heads"
    }

    fn saved_len(&self) -> usize {
        self.rows * self.kept()
    }

    fn scratch_len(&self) -> usize {
        // qkv may want no gradient: then it goes here.
        self.partials_len() + self.rows * self.row()
    }

    fn needs(&self) -> Needs {
        Needs { inputs: 0b111, outputs: 0 }
    }

    fn forward(&self, run: Forward<'_>) {
        let (qkv, isa) = (run.inputs[0].values(), run.cpu.isa());
        let weights = [run.inputs[1].values(), run.inputs[2].values()];
        let [y, _] = run.outputs;
        run.cpu.pool().split([(y, ROWS * self.row()), (run.saved, ROWS * self.kept())], |block, [y, saved]| {
            let rows = qkv[block * ROWS * self.row()..].chunks_exact(self.row()).zip(y.chunks_exact_mut(self.row()));
            for ((x, y), saved) in rows.zip(saved.chunks_exact_mut(self.kept())) {
                y[self.normal()..].copy_from_slice(&x[self.normal()..]);
                let heads = x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width));
                for (head, ((x, y), saved)) in heads.zip(saved.chunks_exact_mut(2)).enumerate() {
                    let weight = weights[usize::from(head >= self.query)];
                    saved.copy_from_slice(&normalize::forward(isa, self.kind, self.epsilon, x, weight, &[], y));
                }
            }
        });
    }

    fn backward(&self, run: Backward<'_>) {
        let (qkv, isa) = (run.inputs[0].values(), run.cpu.isa());
        let weights = [run.inputs[1].values(), run.inputs[2].values()];
        let ([dy, _], [dqkv, dquery, dkey, ..]) = (run.doutputs, run.dinputs);
        let (partials, spare) = run.scratch.split_at_mut(self.partials_len());
        let Gradient { values, accumulate } = dqkv.unwrap_or(Gradient { values: spare, accumulate: false });
        let (dy, row) = (&*dy, self.row());
        run.cpu.pool().split([(values, ROWS * row), (&mut *partials, 2 * self.width)], |block, [dqkv, partials]| {
            partials.fill(0.0);
            let (dquery, dkey) = partials.split_at_mut(self.width);
            for (i, dx) in dqkv.chunks_exact_mut(row).enumerate() {
                let at = block * ROWS + i;
                let (x, dy) = (&qkv[at * row..][..row], &dy[at * row..][..row]);
                let saved = &run.saved[at * self.kept()..][..self.kept()];
                let (normal, values) = dx.split_at_mut(self.normal());
                match accumulate {
                    true => elementwise::add_assign(isa, &dy[self.normal()..], values),
                    false => values.copy_from_slice(&dy[self.normal()..]),
                }
                let heads = x.chunks_exact(self.width).zip(dy.chunks_exact(self.width));
                let heads = heads.zip(normal.chunks_exact_mut(self.width)).zip(saved.chunks_exact(2));
                for (head, (((x, dy), dx), saved)) in heads.enumerate() {
                    let (kind, statistics) = (self.kind, [saved[0], saved[1]]);
                    let (weight, dweight) =
                        if head < self.query { (weights[0], &mut *dquery) } else { (weights[1], &mut *dkey) };
                    normalize::backward(isa, kind, statistics, x, weight, dy, dx, dweight, &mut [], accumulate);
                }
            }
        });
        for (gradient, half) in [(dquery, 0), (dkey, 1)] {
            if let Some(gradient) = gradient {
                sum_partials(run.cpu, partials, self.width, half, gradient);
            }
        }
    }
}
