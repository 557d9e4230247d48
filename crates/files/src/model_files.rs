//! A model on disk: a Hugging Face style folder with `config.json`, `*.safetensors` (or PyTorch's files) and
//! `tokenizer.json`, or a GGUF file, which holds all of that.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tsumugi_base::FileError;
use tsumugi_base::limits::{
    CHAT_JSON_BYTES_MAX, CHECKPOINT_INDEX_BYTES_MAX, CONFIG_BYTES_MAX, TOKENIZER_FILE_BYTES_MAX,
};

use crate::admission::{Admitted, Gate, OpenFolder};
use crate::checkpoint_index::parse_index;
use crate::error::FilesError;
use crate::gguf::{GgufModel, Metadata, files_of};
use crate::looks_like::LooksLike;
use crate::safetensors::{MODEL_FILE, MODEL_INDEX_FILE};
use crate::tensor_file::{ReadContents, TensorFile, safetensors_contents, torch_contents};

/// Weights by one format: the file, its index if it is sharded, the endings of a file of another name.
struct Format {
    file: &'static str,
    index: &'static str,
    endings: &'static [&'static str],
    read: ReadContents,
}

impl Format {
    /// Whether a file of that name may hold the weights.
    fn is_weights(&self, name: &str) -> bool {
        let beside = BESIDE_WEIGHTS.iter().any(|prefix| name.starts_with(prefix));
        !beside && self.endings.iter().any(|ending| name.ends_with(ending))
    }
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
const OTHER_ENDINGS: [&str; 4] = [".h5", ".msgpack", ".onnx", ".npz"];

/// The ending of a GGUF file.
const GGUF_ENDING: &str = ".gguf";

/// A model whose files are open.
#[derive(Debug)]
pub struct ModelFiles {
    path: PathBuf,
    folder: OpenFolder,
    gguf: Option<GgufModel>,
}

impl ModelFiles {
    /// Opens the files of a folder, or a GGUF file, and asks the gate. What comes back reads through the same handles. Of
    /// a GGUF model in parts (`NAME-00001-of-00003.gguf`) any part may be given. A folder without other weights that
    /// holds one GGUF model is that model.
    pub fn admit(path: &Path, gate: &dyn Gate) -> Result<Admitted<Self>, FilesError> {
        let about = fs::metadata(path).map_err(|source| FileError::read(path, source))?;
        let (folder, names) = if about.is_dir() {
            let folder = OpenFolder::open(path)?;
            let names = only_gguf(&folder)?;
            (folder, names)
        } else if !about.is_file() {
            let reason = "it is a pipe or a device, and a model is read at any place";
            return Err(FileError::read(path, io::Error::new(io::ErrorKind::InvalidInput, reason)).into());
        } else {
            let Some(name) = path.file_name().and_then(OsStr::to_str).filter(|name| name.ends_with(GGUF_ENDING)) else {
                return Err(FilesError::NotAModel { path: path.to_owned() });
            };
            let names = files_of(name);
            (OpenFolder::of_files(path.parent().unwrap_or(Path::new("")), &names), Some(names))
        };
        gate.check(&folder)?;
        let gguf = names.map(|names| GgufModel::read(&folder, &names)).transpose()?;
        Ok(Admitted::new(Self { path: path.to_owned(), folder, gguf }))
    }

    /// The folder or file, as it was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open files.
    pub fn files(&self) -> &OpenFolder {
        &self.folder
    }

    /// What a GGUF model says about itself; none for a folder.
    pub fn gguf(&self) -> Option<&Metadata> {
        self.gguf.as_ref().map(|gguf| &gguf.metadata)
    }

    /// What a JSON file of the folder holds; none if it is not there.
    pub fn json(&self, name: &str) -> Result<Option<Value>, FilesError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let not_json = |error: serde_json::Error| FilesError::NotJson {
            file: self.folder.path().join(name),
            reason: error.to_string(),
            looks_like: LooksLike::of(text.as_bytes()),
        };
        serde_json::from_str(text).map(Some).map_err(not_json)
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

    /// The weights. Of a GGUF model those of all parts; of a folder `model.safetensors`, else the shards that
    /// `model.safetensors.index.json` names; else the same with `pytorch_model.bin`; else the only `*.safetensors` file,
    /// else the only one of PyTorch.
    pub fn tensors(&self) -> Result<TensorFile, FilesError> {
        if let Some(gguf) = &self.gguf {
            return Ok(gguf.tensors.clone());
        }
        for find in [Self::named_tensors, Self::only_tensors] {
            for format in &FORMATS {
                if let Some(tensors) = find(self, format)? {
                    return Ok(tensors);
                }
            }
        }
        Err(self.no_weights(&self.folder.names().collect::<Vec<_>>()))
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
        let weights: Vec<&str> = self.folder.names().filter(|name| format.is_weights(name)).collect();
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

/// The files of the one GGUF model of a folder; none where there is none, or where there are other weights.
fn only_gguf(folder: &OpenFolder) -> Result<Option<Vec<String>>, FilesError> {
    if folder.names().any(|name| FORMATS.iter().any(|format| format.is_weights(name))) {
        return Ok(None);
    }
    let mut models: Vec<Vec<String>> =
        folder.names().filter(|name| name.ends_with(GGUF_ENDING)).map(files_of).collect();
    models.sort();
    models.dedup(); // each part names all
    match models.len() {
        0 | 1 => Ok(models.pop()),
        _ => {
            let files = models.into_iter().filter_map(|model| model.into_iter().next()).collect();
            Err(FilesError::WhichGguf { path: folder.path().to_owned(), files })
        }
    }
}
