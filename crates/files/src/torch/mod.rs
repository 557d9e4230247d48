//! Checkpoints of PyTorch (`torch.save`), read without running anything: the zip format of version 1.6 and later, and
//! the legacy format before it (`torch/serialization.py`).
//!
//! Both hold a pickle of a dictionary from names to tensors, and the tensors' storages beside it. The pickle goes through
//! [`pickle::Machine`](crate::pickle::Machine); what it imports, calls and writes to must be on the list that plain tensors
//! need (`allowed`), and everything else is refused with its name and its place. What comes out are the same records as
//! from safetensors: views of a shared storage, each a place in the file.

mod allowed;
mod container;
mod error;
mod tensors;

use std::path::Path;

use tsumugi_base::limits::TENSOR_COPIES_BYTES_MAX;

use crate::stored_tensor::PlacedTensor;
use crate::strided::Strided;

pub use error::{TorchError, TorchProblem};

/// The tensors of a whole file, none reaching outside of it; `file` is for messages only.
pub fn tensors(bytes: &[u8], file: &Path) -> Result<Vec<PlacedTensor>, TorchError> {
    read(bytes).map_err(|problem| TorchError { file: file.to_owned(), problem })
}

fn read(bytes: &[u8]) -> Result<Vec<PlacedTensor>, TorchProblem> {
    let (pickle, storages) = container::read(bytes)?;
    let tensors = tensors::read(&pickle, &storages)?;
    let copies = tensors.iter().filter_map(|tensor| tensor.strided.as_ref()).map(Strided::copy_bytes);
    let needed = copies.fold(0, u64::saturating_add);
    let max = bytes.len() as u64 + TENSOR_COPIES_BYTES_MAX;
    if needed > max {
        return Err(TorchProblem::TooManyCopies { needed, max });
    }
    Ok(tensors)
}
