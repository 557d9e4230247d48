//! HDF5: Keras's older files keep their configuration as JSON in an attribute.

use super::{Format, keras};
use crate::context::{Input, Scan};

/// HDF5 files. Their JSON is found by its words: a configuration in pieces or in a broken file is found as well.
pub struct Hdf5;

const MAGIC: &[u8] = b"\x89HDF\r\n\x1A\n";

impl Format for Hdf5 {
    fn name(&self) -> &'static str {
        "HDF5"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        // A user block of 512 bytes or a power of two more may stand before it.
        const USER_BLOCK_MAX: usize = 1 << 20;
        let mut places = std::iter::successors(Some(512), |at| Some(at * 2)).take_while(|at| *at <= USER_BLOCK_MAX);
        let starts = |at: usize| input.bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC));
        starts(0) || places.any(starts)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        keras::lint(input.bytes, scan);
    }
}
