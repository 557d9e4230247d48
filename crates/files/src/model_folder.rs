//! A model on disk: a Hugging Face style folder with `config.json`, `*.safetensors` (or PyTorch's files), `tokenizer.json`.

use std::path::Path;

use tsumugi_base::limits::{
    CHAT_JSON_BYTES_MAX, CHECKPOINT_INDEX_BYTES_MAX, CONFIG_BYTES_MAX, TOKENIZER_FILE_BYTES_MAX,
};

use crate::admission::{Admitted, Gate, OpenFolder};
use crate::checkpoint_index::parse_index;
use crate::error::FilesError;
use crate::safetensors::{MODEL_FILE, MODEL_INDEX_FILE};
use crate::tensor_file::{ReadContents, TensorFile, safetensors_contents, torch_contents};

/// Weights by one format: the file, its index if it is sharded, the endings of a file of another name.
struct Format {
    file: &'static str,
    index: &'static str,
    endings: &'static [&'static str],
    read: ReadContents,
}

/// In the order in which they are looked for.
const FORMATS: [Format; 2] = [
    Format { file: MODEL_FILE, index: MODEL_INDEX_FILE, endings: &[".safetensors"], read: safetensors_contents },
    Format {
        file: "pytorch_model.bin",
        index: "pytorch_model.bin.index.json",
        endings: &[".bin", ".pt", ".pth", ".ckpt"],
        read: torch_contents,
    },
];

/// Files of PyTorch that trainers put beside the weights.
const BESIDE_WEIGHTS: [&str; 5] = ["training_args.bin", "optimizer.", "scheduler.", "rng_state", "scaler."];

/// Endings of pickles of other libraries.
const PICKLE_ENDINGS: [&str; 2] = [".pkl", ".pickle"];

/// Endings of other weights that we do not read from a folder.
const OTHER_ENDINGS: [&str; 5] = [".gguf", ".h5", ".msgpack", ".onnx", ".npz"];

/// A model folder whose files are open.
#[derive(Debug)]
pub struct ModelFolder {
    folder: OpenFolder,
}

impl ModelFolder {
    /// Opens the folder's files and asks the gate. What comes back reads through the same handles.
    pub fn admit(path: &Path, gate: &dyn Gate) -> Result<Admitted<Self>, FilesError> {
        let folder = OpenFolder::open(path)?;
        gate.check(&folder)?;
        Ok(Admitted::new(Self { folder }))
    }

    /// The folder, as it was named.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The open files.
    pub fn files(&self) -> &OpenFolder {
        &self.folder
    }

    /// A text of the folder, such as `config.json`; none if it is not there. Read once and kept.
    pub fn text(&self, name: &str) -> Result<Option<&str>, FilesError> {
        let bytes_max = match name {
            "tokenizer.json" => TOKENIZER_FILE_BYTES_MAX,
            "chat.json" => CHAT_JSON_BYTES_MAX,
            _ if FORMATS.iter().any(|format| format.index == name) => CHECKPOINT_INDEX_BYTES_MAX,
            _ => CONFIG_BYTES_MAX,
        };
        self.folder.file(name)?.map(|file| file.text(bytes_max)).transpose()
    }

    /// The weights: `model.safetensors`, else the shards that `model.safetensors.index.json` names; else the same with
    /// `pytorch_model.bin`; else the only `*.safetensors` file, else the only one of PyTorch.
    pub fn tensors(&self) -> Result<TensorFile, FilesError> {
        for find in [Self::named_tensors, Self::only_tensors] {
            for format in &FORMATS {
                if let Some(tensors) = find(self, format)? {
                    return Ok(tensors);
                }
            }
        }
        Err(self.no_weights(&self.names().collect::<Vec<_>>()))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.folder.files().map(|(name, _)| name).chain(self.folder.unreadable())
    }

    fn named_tensors(&self, format: &Format) -> Result<Option<TensorFile>, FilesError> {
        if let Some(file) = self.folder.file(format.file)? {
            return TensorFile::of(file.map()?, format.read).map(Some);
        }
        let Some(text) = self.text(format.index)? else { return Ok(None) };
        let index_file = self.path().join(format.index);
        let index = parse_index(text, &index_file)?;
        let open = |shard: &str| self.folder.file(shard)?.map(|file| file.map()).transpose();
        TensorFile::sharded(&index, &index_file, format.read, open).map(Some)
    }

    fn only_tensors(&self, format: &Format) -> Result<Option<TensorFile>, FilesError> {
        let is_weights = |name: &&str| {
            let beside = BESIDE_WEIGHTS.iter().any(|prefix| name.starts_with(prefix));
            !beside && format.endings.iter().any(|ending| name.ends_with(ending))
        };
        let weights: Vec<&str> = self.names().filter(is_weights).collect();
        match weights[..] {
            [] => Ok(None),
            [only] => {
                let file = self.folder.file(only)?;
                file.map(|file| TensorFile::of(file.map()?, format.read)).transpose()
            }
            _ => {
                let files = weights.into_iter().map(str::to_owned).collect();
                Err(FilesError::WhichWeights { path: self.path().to_owned(), files })
            }
        }
    }

    fn no_weights(&self, names: &[&str]) -> FilesError {
        let path = self.path().to_owned();
        let ends_in = |endings: &[&str]| names.iter().find(|name| endings.iter().any(|ending| name.ends_with(ending)));
        if let Some(&found) = ends_in(&PICKLE_ENDINGS) {
            return FilesError::PickleOnly { path, found: found.into() };
        }
        if let Some(&found) = ends_in(&OTHER_ENDINGS) {
            return FilesError::OtherFormatOnly { path, found: found.into() };
        }
        FilesError::NoWeights { path, files: names.iter().map(|&name| name.to_owned()).collect() }
    }
}
