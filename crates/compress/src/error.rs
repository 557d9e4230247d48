//! Why a model was not written in another form.

use std::path::{Path, PathBuf};

use tsumugi_base::Hint;
use tsumugi_files::FilesError;
use tsumugi_infer::LoadError;
use tsumugi_models::ModelError;
use tsumugi_tokenizer::{ModelTextError, TokenizerError};

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// Reading or writing a file.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What the model is.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// What it says of its use.
    #[error(transparent)]
    Use(#[from] LoadError),
    /// Its vocabulary or chat template.
    #[error(transparent)]
    Text(#[from] ModelTextError),
    /// The vocabulary has no form in the format to be written.
    #[error(transparent)]
    Vocabulary(#[from] TokenizerError),
    /// A tensor has numbers that the type cannot hold.
    #[error("tensor `{tensor}`: {source}")]
    Tensor {
        /// Its name in the file to be written.
        tensor: String,
        /// Which number.
        source: Box<FilesError>,
    },
    /// What is read would be written over.
    #[error("{} is the model itself, which is read while the other is written", path.display())]
    Itself {
        /// Its path.
        path: PathBuf,
    },
    /// A GGUF file under a name by which it would not be read.
    #[error("{} would not be read as a model: its name does not end in .gguf, or is that of one part of several", path.display())]
    NotGgufName {
        /// Its path.
        path: PathBuf,
    },
    /// The observer asked to stop.
    #[error("stopped after {done} of {total} tensors; nothing was written")]
    Stopped {
        /// How many were done.
        done: usize,
        /// How many there are.
        total: usize,
    },
}

impl Hint for CompressError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::Tensor { source, .. } => source.hint(),
            Self::Model(error) => error.hint(),
            Self::Use(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Vocabulary(error) => error.hint(),
            Self::Itself { .. } => Some("give another path to write".into()),
            Self::NotGgufName { path } => {
                let name = path.with_extension("gguf");
                let name = if name == *path { Path::new("model.gguf") } else { &name };
                Some(format!("give a name that ends in .gguf: {}", name.display()))
            }
            Self::Stopped { .. } => None,
        }
    }
}
