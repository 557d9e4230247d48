//! What can be wrong with a model on disk.

use std::path::PathBuf;

use tsumugi_base::Hint;
use tsumugi_files::FilesError;

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// From reading or writing files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// No `config.json`.
    #[error("{}: there is no config.json", folder.display())]
    NoConfig {
        /// The folder.
        folder: PathBuf,
    },
    /// `config.json` is not JSON, or a key is missing, of a wrong type, or out of range.
    #[error("{}: {problem}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the value.
        problem: String,
    },
    /// A family that we do not have.
    #[error("{}: unknown model_type `{model_type}`; known: {known}", file.display())]
    UnknownFamily {
        /// The file.
        file: PathBuf,
        /// Its value.
        model_type: String,
        /// The families there are.
        known: String,
    },
    /// A GGUF file of an architecture that we do not have.
    #[error("{}: unknown architecture `{architecture}`; known: {known}", file.display())]
    UnknownArchitecture {
        /// The file.
        file: PathBuf,
        /// Its `general.architecture`.
        architecture: String,
        /// The architectures there are.
        known: String,
    },
    /// An encoder where a decoder is needed.
    #[error("{}: `{model_type}` is an encoder: it reads texts, but writes none", model.display())]
    IsEncoder {
        /// The folder or file.
        model: PathBuf,
        /// Its family.
        model_type: String,
    },
    /// A tensor that the config promises is not in the weights.
    #[error("{}: the weights have no tensor `{tensor}`, which its config asks for", model.display())]
    MissingTensor {
        /// The folder or file.
        model: PathBuf,
        /// Its name in the checkpoint.
        tensor: String,
    },
    /// Shapes disagree.
    #[error("{}: tensor `{tensor}` has shape {found:?}, but the config asks for {expected:?}", model.display())]
    ShapeMismatch {
        /// The folder or file.
        model: PathBuf,
        /// Its name in the checkpoint.
        tensor: String,
        /// In the file.
        found: Vec<usize>,
        /// By the config.
        expected: Vec<usize>,
    },
    /// Tensors that no part of the model takes.
    #[error("{}: {count} tensors have no place in the model that the config describes, first `{first}`", model.display())]
    UnexpectedTensors {
        /// The folder or file.
        model: PathBuf,
        /// The first by name.
        first: String,
        /// How many.
        count: usize,
    },
    /// The spec cannot be written in this form.
    #[error("a model with {what} cannot be saved as {format}")]
    CannotSave {
        /// The family or file format.
        format: &'static str,
        /// What it has no word for.
        what: String,
    },
}

impl Hint for ModelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(error) => error.hint(),
            Self::IsEncoder { .. } => Some("`tsumugi embed` and `tsumugi rerank` take such a model".into()),
            Self::NoConfig { .. } => {
                Some("give a folder with config.json and model.safetensors, or a .gguf file".into())
            }
            Self::ShapeMismatch { found, expected, .. } if found.iter().rev().eq(expected.iter()) => {
                Some("the axes are swapped: were these weights written for another architecture?".into())
            }
            Self::ShapeMismatch { .. } | Self::MissingTensor { .. } | Self::UnexpectedTensors { .. } => {
                Some("config and weights are of different models; fetch or export both together".into())
            }
            _ => None,
        }
    }
}
