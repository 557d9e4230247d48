//! `model.safetensors.index.json`: which file of a sharded checkpoint holds which tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use tsumugi_base::io::write_atomic;
use tsumugi_base::limits::{MODEL_SHARDS_MAX, MODEL_TENSORS_MAX};
use tsumugi_base::{FileError, Hint};

/// A checked index: plain file names only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointIndex {
    /// Tensor to file.
    pub weight_map: BTreeMap<String, String>,
}

/// What is wrong with the index of a sharded checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Not the JSON that it must be.
    #[error("{file} is not an index of a checkpoint: {source}", file = .file.display())]
    Json {
        /// The index.
        file: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// No tensors.
    #[error("{file} names no tensor", file = .file.display())]
    Empty {
        /// The index.
        file: PathBuf,
    },
    /// A shard outside of the folder.
    #[error("{file} puts tensor `{tensor}` into `{shard}`, which is not a plain file name", file = .file.display())]
    BadShardName {
        /// The index.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Where it should be.
        shard: String,
    },
    /// Too many shards.
    #[error("{file} names {found} files; at most {MODEL_SHARDS_MAX} are opened", file = .file.display())]
    TooManyShards {
        /// The index.
        file: PathBuf,
        /// How many it names.
        found: usize,
    },
    /// A shard that is not there.
    #[error("{file} puts {tensors} tensors (`{tensor}` among them) into `{shard}`, which is not there", file = .file.display())]
    MissingShard {
        /// The index.
        file: PathBuf,
        /// The missing file.
        shard: String,
        /// How many tensors it should hold.
        tensors: usize,
        /// One of them.
        tensor: String,
    },
    /// A tensor that its shard does not have.
    #[error("{file} puts tensor `{tensor}` into `{shard}`, which does not have it", file = .file.display())]
    MissingTensor {
        /// The index.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shard.
        shard: String,
    },
}

impl Hint for IndexError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::MissingShard { shard, .. } => Some(format!("the download is not complete: fetch {shard}")),
            Self::MissingTensor { .. } => {
                Some("index and shards are of different versions; fetch them together".into())
            }
            Self::BadShardName { .. } | Self::TooManyShards { .. } => {
                Some("no writer of checkpoints makes this; do not trust the folder".into())
            }
            Self::Json { .. } | Self::Empty { .. } => Some("the file is damaged; fetch or copy it again".into()),
        }
    }
}

/// Reads and checks an index; `file` is for messages only.
pub fn parse_index(text: &str, file: &Path) -> Result<CheckpointIndex, IndexError> {
    let raw: RawIndex =
        serde_json::from_str(text).map_err(|source| IndexError::Json { file: file.to_owned(), source })?;
    let weight_map = raw.weight_map.0;
    if weight_map.is_empty() {
        return Err(IndexError::Empty { file: file.to_owned() });
    }
    for (tensor, shard) in &weight_map {
        let plain = !shard.is_empty() && !shard.contains(['/', '\\', '\0', ':']) && !shard.starts_with('.');
        if !plain {
            let (tensor, shard) = (tensor.clone(), shard.clone());
            return Err(IndexError::BadShardName { file: file.to_owned(), tensor, shard });
        }
    }
    let index = CheckpointIndex { weight_map };
    let found = index.shards().len();
    if found > MODEL_SHARDS_MAX {
        return Err(IndexError::TooManyShards { file: file.to_owned(), found });
    }
    Ok(index)
}

impl CheckpointIndex {
    /// Each shard and the tensors that it should hold, both in alphabetical order.
    pub fn shards(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, shard) in &self.weight_map {
            shards.entry(shard).or_default().push(tensor);
        }
        shards
    }
}

/// Writes an index as `transformers` does.
pub(crate) fn write_index(
    path: &Path,
    weight_map: &BTreeMap<String, String>,
    total_bytes: u64,
) -> Result<(), FileError> {
    let index = serde_json::json!({"metadata": {"total_size": total_bytes}, "weight_map": weight_map});
    write_atomic(path, format!("{index:#}\n").as_bytes())
}

#[derive(serde::Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
}

/// A map that refuses a name that stands there twice.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object from tensor names to file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut weights = BTreeMap::new();
        while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
            if weights.contains_key(&tensor) {
                return Err(A::Error::custom(format!("tensor `{tensor}` stands there twice")));
            }
            weights.insert(tensor, shard);
            if weights.len() > MODEL_TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {MODEL_TENSORS_MAX} tensors")));
            }
        }
        Ok(WeightMap(weights))
    }
}
