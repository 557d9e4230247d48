//! A model on disk: a Hugging Face style folder with `config.json`, `*.safetensors`, `tokenizer.json`.

use std::path::Path;

use tsumugi_base::limits::{
    CHAT_JSON_BYTES_MAX, CHECKPOINT_INDEX_BYTES_MAX, CONFIG_BYTES_MAX, TOKENIZER_FILE_BYTES_MAX,
};

use crate::admission::{Admitted, Gate, OpenFolder};
use crate::checkpoint_index::parse_index;
use crate::error::FilesError;
use crate::safetensors::{MODEL_FILE, MODEL_INDEX_FILE};
use crate::tensor_file::TensorFile;

/// Endings of files that a pickle is in (PyTorch and scikit-learn).
const PICKLE_ENDINGS: [&str; 6] = [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"];

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
            MODEL_INDEX_FILE => CHECKPOINT_INDEX_BYTES_MAX,
            _ => CONFIG_BYTES_MAX,
        };
        self.folder.file(name)?.map(|file| file.text(bytes_max)).transpose()
    }

    /// The weights: `model.safetensors`, else the shards that `model.safetensors.index.json` names, else the only
    /// `*.safetensors` file.
    pub fn tensors(&self) -> Result<TensorFile, FilesError> {
        if let Some(file) = self.folder.file(MODEL_FILE)? {
            return TensorFile::single(file.map()?);
        }
        if let Some(text) = self.text(MODEL_INDEX_FILE)? {
            let index_file = self.path().join(MODEL_INDEX_FILE);
            let index = parse_index(text, &index_file)?;
            return TensorFile::sharded(&index, &index_file, |shard| {
                self.folder.file(shard)?.map(|file| file.map()).transpose()
            });
        }
        let names: Vec<&str> = self.folder.files().map(|(name, _)| name).chain(self.folder.unreadable()).collect();
        let weights: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".safetensors")).collect();
        match weights[..] {
            [] => Err(self.no_weights(&names)),
            [only] => match self.folder.file(only)? {
                Some(file) => TensorFile::single(file.map()?),
                None => Err(self.no_weights(&names)),
            },
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
