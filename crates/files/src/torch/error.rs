//! What is wrong with a checkpoint of PyTorch.

use std::path::PathBuf;

use tsumugi_base::Hint;

use crate::pickle::Problem;
use crate::zip::Fault;

/// What is wrong with a checkpoint of PyTorch. Positions count from the start of the file.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}", file = .file.display())]
pub struct TorchError {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: TorchProblem,
}

/// What is wrong with a checkpoint of PyTorch.
#[derive(Debug, thiserror::Error)]
pub enum TorchProblem {
    /// Another kind of file.
    #[error("neither a zip archive nor a pickle, as `torch.save` writes them")]
    NotTorch,
    /// The archive is not as `torch.save` writes it.
    #[error("{0}")]
    Archive(Fault),
    /// An archive of something else.
    #[error("the archive holds {found} entries named `*/data.pkl`; a checkpoint has one")]
    NoPickle {
        /// How many.
        found: usize,
    },
    /// A packed entry.
    #[error("entry `{entry}` is compressed or encrypted, which `torch.save` does not do")]
    Packed {
        /// Its name.
        entry: String,
    },
    /// A damaged entry.
    #[error("entry `{entry}` does not have its checksum")]
    Checksum {
        /// Its name.
        entry: String,
    },
    /// A file of a big-endian machine.
    #[error("it was written on a big-endian machine, which is not read")]
    BigEndian,
    /// A pickle with a fault.
    #[error("the pickle is wrong at byte {offset}: {problem}")]
    Pickle {
        /// Of the opcode.
        offset: usize,
        /// What.
        problem: Problem,
    },
    /// Bytes behind the pickle.
    #[error("other bytes follow the pickle at byte {offset}")]
    BehindPickle {
        /// The first of them.
        offset: usize,
    },
    /// A pickle that is no checkpoint of the legacy format.
    #[error("the pickles of the legacy format are not as `torch.save` writes them: no {expected}, at byte {offset}")]
    Legacy {
        /// What should be there.
        expected: &'static str,
        /// The place.
        offset: usize,
    },
    /// An import beyond what tensors need.
    #[error("its pickle asks for `{global}` at byte {offset}, and tensors do not need that")]
    Import {
        /// Module and name.
        global: String,
        /// Of the opcode.
        offset: usize,
    },
    /// A call beyond what tensors need.
    #[error("its pickle calls `{call}` at byte {offset}, and tensors do not need that")]
    Call {
        /// As an expression.
        call: String,
        /// Of the opcode.
        offset: usize,
    },
    /// A write beyond what tensors need.
    #[error("its pickle writes to `{target}` at byte {offset}, and tensors do not need that")]
    Write {
        /// As an expression.
        target: String,
        /// Of the opcode.
        offset: usize,
    },
    /// A tensor's call with other arguments than PyTorch's.
    #[error("{what} is `{found}` at byte {offset}")]
    Malformed {
        /// What.
        what: &'static str,
        /// As an expression.
        found: String,
        /// Of the opcode that made it; 0 if it is not known.
        offset: usize,
    },
    /// A storage that is not there.
    #[error("storage `{key}` is not in the file")]
    NoStorage {
        /// Its key.
        key: String,
    },
    /// A storage of another size than said.
    #[error("storage `{key}` should have {needed} bytes, but the file has {found}")]
    StorageSize {
        /// Its key.
        key: String,
        /// By type and number of elements.
        needed: u64,
        /// What is there.
        found: u64,
    },
    /// A view beyond its storage.
    #[error(
        "tensor `{tensor}` (offset {offset}, shape {shape:?}, strides {strides:?}) reaches beyond its storage of {storage_bytes} bytes"
    )]
    OutOfBounds {
        /// The tensor.
        tensor: String,
        /// First element.
        offset: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in elements.
        strides: Vec<usize>,
        /// Bytes of the storage.
        storage_bytes: usize,
    },
    /// Views that would take too much memory.
    #[error("its views repeat elements so often that their copies would take {needed} bytes; at most {max} are made")]
    TooManyCopies {
        /// All views together.
        needed: u64,
        /// What we allow.
        max: u64,
    },
    /// No tensors.
    #[error("it holds `{found}`, which is no dictionary of tensors by name")]
    NoTensors {
        /// As an expression.
        found: String,
    },
    /// More than is read.
    #[error("the pickle is too large to be a dictionary of tensors")]
    TooLarge,
}

impl Hint for TorchError {
    fn hint(&self) -> Option<String> {
        let text = match self.problem {
            TorchProblem::Import { .. } | TorchProblem::Call { .. } | TorchProblem::Write { .. } => {
                "such a pickle can run code when Python loads it, so nothing of it is used; from a source that you trust, \
                 save the plain `state_dict()` with `safetensors.torch.save_file` and give that"
            }
            TorchProblem::NotTorch
            | TorchProblem::NoPickle { .. }
            | TorchProblem::NoTensors { .. }
            | TorchProblem::TooLarge => "give weights that `torch.save(model.state_dict(), FILE)` or safetensors wrote",
            TorchProblem::Archive(_) | TorchProblem::Checksum { .. } | TorchProblem::StorageSize { .. } => {
                "the file is cut short or damaged; fetch or copy it again"
            }
            TorchProblem::BigEndian => "convert it to safetensors on the machine that wrote it",
            TorchProblem::Packed { .. } | TorchProblem::TooManyCopies { .. } => {
                "save it again with `torch.save`, each tensor `.contiguous().clone()`"
            }
            TorchProblem::Pickle { .. }
            | TorchProblem::BehindPickle { .. }
            | TorchProblem::Legacy { .. }
            | TorchProblem::Malformed { .. }
            | TorchProblem::NoStorage { .. }
            | TorchProblem::OutOfBounds { .. } => "PyTorch does not write this; do not trust the file",
        };
        Some(text.into())
    }
}
