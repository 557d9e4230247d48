//! The stored tensors of a model, from one file or from the shards of one checkpoint.

use std::collections::BTreeMap;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint_index::{CheckpointIndex, IndexError};
use crate::element_type::ElementType;
use crate::error::FilesError;
use crate::mmap::MappedFile;
use crate::safetensors::parse_header;
use crate::stored_tensor::{TensorEntry, TensorView};

/// The stored tensors of a model, mapped. Cheap to clone; names are in alphabetical order everywhere.
#[derive(Debug, Clone)]
pub struct TensorFile {
    files: Vec<Arc<MappedFile>>,
    /// Name to file and place.
    tensors: BTreeMap<String, (usize, TensorEntry)>,
    metadata: BTreeMap<String, String>,
    unlisted: Vec<String>,
}

impl TensorFile {
    /// One safetensors file.
    pub fn single(file: MappedFile) -> Result<Self, FilesError> {
        let header = parse_header(&file, file.path())?;
        let tensors = header.tensors.into_iter().map(|entry| (entry.name.clone(), (0, entry))).collect();
        Ok(Self { files: vec![Arc::new(file)], tensors, metadata: header.metadata, unlisted: Vec::new() })
    }

    /// The shards that `index` names, each opened by `open` (none if it is not there); `index_file` is for messages.
    /// The index decides: a tensor that it does not name is in [`TensorFile::unlisted`] and nowhere else.
    pub fn sharded(
        index: &CheckpointIndex,
        index_file: &Path,
        mut open: impl FnMut(&str) -> Result<Option<MappedFile>, FilesError>,
    ) -> Result<Self, FilesError> {
        let mut all = Self { files: vec![], tensors: BTreeMap::new(), metadata: BTreeMap::new(), unlisted: vec![] };
        for (shard, listed) in index.shards() {
            let Some(file) = open(shard)? else {
                return Err(IndexError::MissingShard {
                    file: index_file.to_owned(),
                    shard: shard.into(),
                    tensors: listed.len(),
                    tensor: listed.first().copied().unwrap_or_default().into(),
                }
                .into());
            };
            let header = parse_header(&file, file.path())?;
            all.metadata.extend(header.metadata);
            for entry in header.tensors {
                if index.weight_map.get(&entry.name).is_some_and(|file| file == shard) {
                    all.tensors.insert(entry.name.clone(), (all.files.len(), entry));
                } else {
                    all.unlisted.push(entry.name);
                }
            }
            for tensor in listed {
                if !all.tensors.contains_key(tensor) {
                    let (tensor, shard) = (tensor.to_owned(), shard.to_owned());
                    return Err(IndexError::MissingTensor { file: index_file.to_owned(), tensor, shard }.into());
                }
            }
            all.files.push(Arc::new(file));
        }
        all.unlisted.sort();
        Ok(all)
    }

    /// The parts of a GGUF model with the tensors of each.
    pub(crate) fn of_gguf_parts(parts: Vec<(MappedFile, Vec<TensorEntry>)>) -> Result<Self, FilesError> {
        let mut all = Self { files: vec![], tensors: BTreeMap::new(), metadata: BTreeMap::new(), unlisted: vec![] };
        for (file, entries) in parts {
            for entry in entries {
                let tensor = entry.name.clone();
                if let Some((first, _)) = all.tensors.insert(tensor.clone(), (all.files.len(), entry)) {
                    let [first, second] = [all.files[first].path(), file.path()].map(Path::to_owned);
                    return Err(FilesError::TensorInTwoFiles { tensor, first, second });
                }
            }
            all.files.push(Arc::new(file));
        }
        Ok(all)
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, (file, entry)) = self.tensors.get_key_value(name)?;
        Some(self.view(name, *file, entry))
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|(name, (file, entry))| self.view(name, *file, entry))
    }

    fn view<'a>(&'a self, name: &'a str, file: usize, entry: &'a TensorEntry) -> TensorView<'a> {
        let bytes = &self.files[file][entry.bytes.clone()];
        TensorView { name, element_type: entry.element_type, shape: &entry.shape, bytes }
    }

    /// The bytes of a tensor as a value of its own, which keeps the mapping alive: weights that are served from where
    /// they lie.
    pub fn mapped(&self, name: &str) -> Option<MappedBytes> {
        let (file, entry) = self.tensors.get(name)?;
        Some(MappedBytes { file: Arc::clone(&self.files[*file]), range: entry.bytes.clone() })
    }

    /// The file that holds a tensor: for messages.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.tensors.get(name).map(|(file, _)| self.files[*file].path())
    }

    /// Element type to number of tensors, bytes of all: what `models` and `plan` show.
    pub fn summary(&self) -> BTreeMap<ElementType, (usize, u64)> {
        let mut summary = BTreeMap::new();
        for tensor in self.iter() {
            let (count, bytes) = summary.entry(tensor.element_type).or_insert((0, 0));
            *count += 1;
            *bytes += tensor.bytes.len() as u64;
        }
        summary
    }

    /// Free words of a safetensors writer. Of shards, the last one's word wins.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Tensors that lie in the shards but are not in the index, so that no loader sees them.
    pub fn unlisted(&self) -> &[String] {
        &self.unlisted
    }
}

/// A stretch of a mapped file that keeps its mapping alive.
#[derive(Debug, Clone)]
pub struct MappedBytes {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.file[self.range.clone()]
    }
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
