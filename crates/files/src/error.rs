//! What can be wrong with the files of a model.

use std::path::{Path, PathBuf};

use tsumugi_base::io::TextError;
use tsumugi_base::{FileError, Hint};

use crate::admission::Refusal;
use crate::checkpoint_index::IndexError;
use crate::element_type::ElementType;
use crate::gguf::GgufError;
use crate::looks_like::LooksLike;
use crate::safetensors::SafetensorsError;
use crate::torch::TorchError;

/// What can be wrong with the files of a model. Every variant holds the values that disagreed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A text of the folder cannot be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The gate does not let it through.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A safetensors file is wrong.
    #[error(transparent)]
    Safetensors(#[from] SafetensorsError),
    /// A GGUF file is wrong.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A checkpoint of PyTorch is wrong, or does more than tensors need.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// The index of a sharded checkpoint is wrong.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A file that no model is.
    #[error("{path} is a file, but a model is a folder with config.json and *.safetensors, or a .gguf file",
            path = .path.display())]
    NotAModel {
        /// What was given.
        path: PathBuf,
    },
    /// Too many files to be a model.
    #[error("{path} holds more than {limit} files, so it is not a model folder", path = .path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// How many we open.
        limit: usize,
    },
    /// The only weights are in a pickle that is no checkpoint of PyTorch.
    #[error("{path} has its weights only as {found}; we load safetensors and PyTorch's .bin, .pt, .pth", path = .path.display())]
    PickleOnly {
        /// The folder.
        path: PathBuf,
        /// The file that has them.
        found: String,
    },
    /// The only weights are in a format that we do not read.
    #[error("{path} has its weights only as {found}; we load safetensors and PyTorch's .bin, .pt, .pth", path = .path.display())]
    OtherFormatOnly {
        /// The folder.
        path: PathBuf,
        /// The file that has them.
        found: String,
    },
    /// No weights at all.
    #[error("{path} has no weights: no model.safetensors among its files ({files})", path = .path.display(),
            files = name_list(.files))]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// What is there.
        files: Vec<String>,
    },
    /// Several weights files and nothing that says which.
    #[error("{path} has several weights files and no index: {files}", path = .path.display(), files = name_list(.files))]
    WhichWeights {
        /// The folder.
        path: PathBuf,
        /// The candidates.
        files: Vec<String>,
    },
    /// Several GGUF models and nothing that says which.
    #[error("{path} holds several models: {files}", path = .path.display(), files = name_list(.files))]
    WhichGguf {
        /// The folder.
        path: PathBuf,
        /// The models, by their first file.
        files: Vec<String>,
    },
    /// A file that should hold JSON does not.
    #[error("{file} is not JSON: {reason}", file = .file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// What the parser said.
        reason: String,
        /// What the file seems to be instead.
        looks_like: Option<LooksLike>,
    },
    /// One tensor in two parts of a model.
    #[error("tensor `{tensor}` is in {first} and in {second}", first = .first.display(), second = .second.display())]
    TensorInTwoFiles {
        /// The tensor.
        tensor: String,
        /// One part.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The room for a tensor's numbers has another size.
    #[error("tensor `{tensor}` has {elements} elements, but there is room for {room}")]
    Room {
        /// The tensor.
        tensor: String,
        /// Its number of elements.
        elements: usize,
        /// Elements of the destination.
        room: usize,
    },
    /// A view whose bytes do not fit its shape.
    #[error("tensor `{tensor}` of type {element_type} and shape {shape:?} comes with {bytes} bytes")]
    ViewBytes {
        /// The tensor.
        tensor: String,
        /// Its type.
        element_type: ElementType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes of the view.
        bytes: usize,
    },
    /// An element type that does not become `f32`.
    #[error("tensor `{tensor}` is stored as {element_type}, which is not read as floating-point numbers")]
    NotWidened {
        /// The tensor.
        tensor: String,
        /// How it is stored.
        element_type: ElementType,
    },
    /// An element type that `f32` is not stored as.
    #[error("numbers cannot be stored as {element_type}")]
    NotNarrowed {
        /// What was asked for.
        element_type: ElementType,
    },
    /// Numbers that do not fill whole blocks.
    #[error("{elements} numbers do not fill whole blocks of {block}, as {element_type} needs them")]
    PartOfBlock {
        /// What was asked for.
        element_type: ElementType,
        /// How many numbers there are.
        elements: usize,
        /// Elements of a block.
        block: u64,
    },
    /// A number beyond what the scale of a block can hold.
    #[error("number {index} is {value}; {element_type} holds magnitudes up to {}", crate::blocks::MAGNITUDE_MAX)]
    NotQuantizable {
        /// What was asked for.
        element_type: ElementType,
        /// Its place among the numbers.
        index: usize,
        /// The number.
        value: f32,
    },
}

/// The first names of a list, and how many more there are.
fn name_list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return "it is empty".into();
    }
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

impl Hint for FilesError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Refused(error) => error.hint(),
            Self::Safetensors(error) => error.hint(),
            Self::Gguf(error) => error.hint(),
            Self::Torch(error) => error.hint(),
            Self::Index(error) => error.hint(),
            Self::NotAModel { path } => {
                let Some(folder) = path.parent().filter(|folder| folder.join("config.json").is_file()) else {
                    return Some("give the path of a model; `tsumugi pull` lists models that can be fetched".into());
                };
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                Some(format!("give the folder: {}", folder.display()))
            }
            Self::TooManyFiles { .. } | Self::NoWeights { .. } => {
                Some("give the folder that a training run or a download left: config.json, model.safetensors, tokenizer.json".into())
            }
            Self::PickleOnly { .. } => Some(
                "a pickle can run code, so we never load one; convert it where it came from: in Python, load the model \
                 with `transformers` and call `model.save_pretrained(FOLDER, safe_serialization=True)`, or take the \
                 `safetensors` revision of the same model"
                    .into(),
            ),
            Self::OtherFormatOnly { .. } => {
                Some("take the safetensors files of the same model, or convert it with the tool that made it".into())
            }
            Self::WhichWeights { .. } => {
                Some("add model.safetensors.index.json from the same source, or leave one file".into())
            }
            Self::WhichGguf { path, files } => {
                Some(format!("give one of them: {}", path.join(files.first()?).display()))
            }
            Self::NotJson { looks_like: Some(kind), .. } => Some(kind.hint().into()),
            Self::NotJson { .. } => Some("the file is cut short or damaged; fetch or copy it again".into()),
            Self::TensorInTwoFiles { .. } => Some("the parts are not of one model; fetch them again together".into()),
            Self::NotWidened { .. } => {
                Some("integers and floats of 8 bits and fewer need a loader that knows their scheme".into())
            }
            Self::NotNarrowed { .. } => {
                Some("choose one of F32, F16, BF16, Q8_0, Q5_0, Q5_1, Q4_0, Q4_1, Q6_K, Q5_K, Q4_K, Q3_K, Q2_K".into())
            }
            Self::PartOfBlock { .. } => Some("store a tensor whose rows are no multiple of it as F16 or F32".into()),
            Self::NotQuantizable { .. } => Some("store this tensor as F32, or look why it has such a number".into()),
            Self::Room { .. } | Self::ViewBytes { .. } => None,
        }
    }
}
