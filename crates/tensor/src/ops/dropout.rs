//! Dropout (Srivastava et al. 2014), in place; the same mask in backward, from a counter (decision 6).

use crate::cpu::Cpu;
use crate::kernels::elementwise;
use crate::operation::{Backward, Feed, Forward, Needs, Operation};
use crate::tape::{Tape, Var};

struct Dropout {
    rate: f32,
    /// Tells apart the dropouts of one step.
    site: u64,
}

impl Tape {
    /// Zeroes numbers with probability `rate` in training and scales the rest; nothing in evaluation.
    /// A rate of 0 records nothing.
    pub fn dropout(&mut self, x: Var, rate: f32) -> Var {
        if rate == 0.0 {
            return x;
        }
        let shape = self.shape(x).to_vec();
        let site = self.nodes.len() as u64;
        self.record_one(Dropout { rate, site }, &[x], &shape)
    }
}

const CHUNK: usize = 1 << 14;

impl Dropout {
    fn apply(&self, cpu: &Cpu, feed: &Feed, y: &mut [f32]) {
        let key = (feed.key ^ self.site.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        cpu.pool().split([(y, CHUNK)], |index, [y]| {
            elementwise::dropout(self.rate, key, (index * CHUNK) as u64, y);
        });
    }
}

impl Operation for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn in_place(&self) -> bool {
        true
    }

    fn passes_gradient(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn forward(&self, run: Forward<'_>) {
        if run.feed.training {
            let [y, _] = run.outputs;
            self.apply(run.cpu, run.feed, y);
        }
    }

    fn backward(&self, run: Backward<'_>) {
        let [dy, _] = run.doutputs;
        self.apply(run.cpu, run.feed, dy);
    }
}
