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
use crate::stored_tensor::{PlacedTensor, TensorEntry, TensorView};
use crate::{llama2c, torch};

/// The stored tensors of a model, mapped. Cheap to clone; names are in alphabetical order everywhere.
#[derive(Debug, Clone)]
pub struct TensorFile {
    files: Vec<Arc<MappedFile>>,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
    unlisted: Vec<String>,
}

/// One tensor and its file.
#[derive(Debug, Clone)]
struct Stored {
    file: usize,
    tensor: PlacedTensor,
}

/// What one file holds.
pub(crate) struct Contents {
    pub tensors: Vec<PlacedTensor>,
    pub metadata: BTreeMap<String, String>,
}

/// Reads the header of one format.
pub(crate) type ReadContents = fn(&MappedFile) -> Result<Contents, FilesError>;

/// A safetensors file.
pub(crate) fn safetensors_contents(file: &MappedFile) -> Result<Contents, FilesError> {
    let header = parse_header(file, file.path())?;
    let tensors = header.tensors.into_iter().map(|entry| PlacedTensor { entry, strided: None }).collect();
    Ok(Contents { tensors, metadata: header.metadata })
}

/// A file that PyTorch wrote, or one of llama2.c, which has the same ending.
pub(crate) fn torch_contents(file: &MappedFile) -> Result<Contents, FilesError> {
    let tensors = match llama2c::Header::of(file) {
        Some(header) => header.tensors(),
        None => torch::tensors(file, file.path())?,
    };
    Ok(Contents { tensors, metadata: BTreeMap::new() })
}

impl TensorFile {
    /// One safetensors file.
    pub fn single(file: MappedFile) -> Result<Self, FilesError> {
        Self::of(file, safetensors_contents)
    }

    /// One file that `torch.save` wrote, its tensors in a dictionary by name. Nothing that it says is run.
    pub fn torch(file: MappedFile) -> Result<Self, FilesError> {
        Self::of(file, torch_contents)
    }

    pub(crate) fn of(file: MappedFile, read: ReadContents) -> Result<Self, FilesError> {
        let Contents { tensors, metadata } = read(&file)?;
        let stored = |tensor: PlacedTensor| (tensor.entry.name.clone(), Stored { file: 0, tensor });
        let tensors = tensors.into_iter().map(stored).collect();
        Ok(Self { files: vec![Arc::new(file)], tensors, metadata, unlisted: Vec::new() })
    }

    /// The shards that `index` names, each opened by `open` (none if it is not there); `index_file` is for messages.
    /// The index decides: a tensor that it does not name is in [`TensorFile::unlisted`] and nowhere else.
    pub(crate) fn sharded(
        index: &CheckpointIndex,
        index_file: &Path,
        read: ReadContents,
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
            let contents = read(&file)?;
            all.metadata.extend(contents.metadata);
            for tensor in contents.tensors {
                let name = tensor.entry.name.clone();
                if index.weight_map.get(&name).is_some_and(|file| file == shard) {
                    all.tensors.insert(name, Stored { file: all.files.len(), tensor });
                } else {
                    all.unlisted.push(name);
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
                let stored = Stored { file: all.files.len(), tensor: PlacedTensor { entry, strided: None } };
                if let Some(first) = all.tensors.insert(tensor.clone(), stored) {
                    let [first, second] = [all.files[first.file].path(), file.path()].map(Path::to_owned);
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
        let (name, stored) = self.tensors.get_key_value(name)?;
        Some(self.view(name, stored))
    }

    /// Every tensor, by name. Those that do not lie in row-major order are copied: [`TensorFile::entries`] does not look
    /// at their elements.
    pub fn iter(&self) -> impl Iterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|(name, stored)| self.view(name, stored))
    }

    /// Every tensor by name, with the bytes from its first to its last element.
    pub fn entries(&self) -> impl Iterator<Item = &TensorEntry> {
        self.tensors.values().map(|stored| &stored.tensor.entry)
    }

    fn view<'a>(&'a self, name: &'a str, stored: &'a Stored) -> TensorView<'a> {
        let entry = &stored.tensor.entry;
        let bytes = stored.tensor.bytes(&self.files[stored.file]);
        TensorView { name, element_type: entry.element_type, shape: &entry.shape, bytes }
    }

    /// The bytes of a tensor as a value of its own, which keeps the mapping alive: weights that are served from where
    /// they lie. Those that do not lie in row-major order are copied.
    pub fn mapped(&self, name: &str) -> Option<MappedBytes> {
        let Stored { file, tensor } = self.tensors.get(name)?;
        let (file, range) = (Arc::clone(&self.files[*file]), tensor.entry.bytes.clone());
        Some(match &tensor.strided {
            Some(strided) => MappedBytes::Copied(Arc::clone(strided.copy(&file[range]))),
            None => MappedBytes::Mapped { file, range },
        })
    }

    /// Gives the memory of a tensor's bytes back to the system: they were copied and will not be read soon.
    pub fn release(&self, name: &str) {
        if let Some(Stored { file, tensor }) = self.tensors.get(name) {
            self.files[*file].release(tensor.entry.bytes.clone());
        }
    }

    /// The file that holds a tensor: for messages.
    pub fn file_of(&self, name: &str) -> Option<&Path> {
        self.tensors.get(name).map(|stored| self.files[stored.file].path())
    }

    /// How many elements the files hold; those that several tensors share count once. What is allocated for a model is
    /// bounded by this: a small file may name a large tensor any number of times.
    pub fn distinct_elements(&self) -> u128 {
        let mut places: Vec<(usize, &TensorEntry)> =
            self.tensors.values().map(|stored| (stored.file, &stored.tensor.entry)).collect();
        places.sort_by_key(|(file, entry)| (*file, entry.bytes.start, entry.bytes.end));
        let (mut elements, mut covered) = (0, (0, 0));
        for (file, entry) in places {
            let covered_end = if covered.0 == file { covered.1 } else { 0 };
            let fresh = entry.bytes.end.saturating_sub(entry.bytes.start.max(covered_end));
            let all = entry.shape.iter().fold(1u128, |product, &axis| product.saturating_mul(axis as u128));
            let in_fresh = all.saturating_mul(fresh as u128) / u128::from(entry.stored_bytes().max(1));
            elements += in_fresh.min(all);
            covered = (file, covered_end.max(entry.bytes.end));
        }
        elements
    }

    /// Element type to number of tensors, bytes of all: what `models` and `plan` show.
    pub fn summary(&self) -> BTreeMap<ElementType, (usize, u64)> {
        let mut summary = BTreeMap::new();
        for tensor in self.entries() {
            let (count, bytes) = summary.entry(tensor.element_type).or_insert((0, 0));
            *count += 1;
            *bytes += tensor.stored_bytes();
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

/// The bytes of a tensor: a stretch of a mapped file that keeps its mapping alive, or a copy.
#[derive(Debug, Clone)]
pub enum MappedBytes {
    /// As they lie in the file.
    Mapped {
        /// The file.
        file: Arc<MappedFile>,
        /// The tensor's bytes in it.
        range: Range<usize>,
    },
    /// In another order than in the file.
    Copied(Arc<[u8]>),
}

impl Deref for MappedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped { file, range } => &file[range.clone()],
            Self::Copied(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for MappedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
