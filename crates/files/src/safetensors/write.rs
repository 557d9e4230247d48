//! Writing safetensors: header first, then each tensor streamed, whole file or none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};
use tsumugi_base::FileError;
use tsumugi_base::io::AtomicFile;
use tsumugi_base::limits::{SAFETENSORS_HEADER_BYTES_MAX, TENSOR_NAME_BYTES_MAX};

use super::read::{LENGTH_BYTES, METADATA_KEY};
use super::{Problem, SafetensorsError};
use crate::checkpoint_index::write_index;
use crate::element_type::ElementType;
use crate::error::FilesError;
use crate::stored_tensor::{CountingWriter, TensorSpec, TensorView};

/// Writes one file, atomically. `metadata` goes into the header, with `format: pt` added where it is missing (which
/// `transformers` asks for).
///
/// The tensors are stored widest type first and then by name, as the format's own writer does, so that each begins at
/// a multiple of its element; their order in `tensors` does not matter, and the same tensors give the same bytes.
pub fn write_safetensors(
    path: &Path,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), FilesError> {
    let specs: Vec<TensorSpec<'_>> = tensors.iter().map(TensorView::spec).collect();
    for tensor in tensors {
        check_size(path, tensor)?;
    }
    write_safetensors_with(path, &specs, metadata, |i, sink| sink.write_all(tensors[i].bytes))
}

fn wrong(path: &Path, problem: Problem) -> FilesError {
    SafetensorsError { file: path.to_owned(), problem: Box::new(problem), offset: None }.into()
}

fn check_size(path: &Path, tensor: &TensorView<'_>) -> Result<(), FilesError> {
    let (name, element_type, shape) = (tensor.name, tensor.element_type, tensor.shape);
    let needed_bytes = tensor_bytes(path, &tensor.spec())?;
    let found_bytes = tensor.bytes.len() as u64;
    if needed_bytes != found_bytes {
        let (tensor, shape) = (name.to_owned(), shape.to_vec());
        return Err(wrong(path, Problem::SizeMismatch { tensor, element_type, shape, needed_bytes, found_bytes }));
    }
    Ok(())
}

fn tensor_bytes(path: &Path, spec: &TensorSpec<'_>) -> Result<u64, FilesError> {
    if spec.element_type.is_quantized() {
        let (tensor, found) = (spec.name.to_owned(), spec.element_type.name().to_owned());
        return Err(wrong(path, Problem::UnknownElementType { tensor, found }));
    }
    spec.element_type.tensor_bytes(spec.shape).ok_or_else(|| {
        let shape = spec.shape.iter().map(|&axis| axis as u64).collect();
        wrong(path, Problem::ImpossibleShape { tensor: spec.name.into(), element_type: spec.element_type, shape })
    })
}

/// [`write_safetensors`] for tensors whose bytes are made while writing: `write_tensor(i, sink)` writes exactly the
/// bytes of `specs[i]`. It is called once for each, in the order of storing.
pub fn write_safetensors_with(
    path: &Path,
    specs: &[TensorSpec<'_>],
    metadata: &BTreeMap<String, String>,
    mut write_tensor: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> Result<(), FilesError> {
    let order = storing_order(specs);
    let header = header_text(path, specs, &order, metadata)?;
    let mut file = AtomicFile::create(path)?;
    let failed = |source| FileError::write(path, source);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    file.write_all(header.as_bytes()).map_err(failed)?;
    for i in order {
        let mut sink = CountingWriter { inner: &mut file, written: 0 };
        write_tensor(i, &mut sink).map_err(failed)?;
        let (found_bytes, spec) = (sink.written, &specs[i]);
        let needed_bytes = tensor_bytes(path, spec)?;
        if found_bytes != needed_bytes {
            let (tensor, element_type, shape) = (spec.name.to_owned(), spec.element_type, spec.shape.to_vec());
            return Err(wrong(path, Problem::SizeMismatch { tensor, element_type, shape, needed_bytes, found_bytes }));
        }
    }
    Ok(file.commit()?)
}

/// Indices of `specs`, widest element first, then by name.
fn storing_order(specs: &[TensorSpec<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..specs.len()).collect();
    let bits = |element_type: ElementType| 8 * element_type.block_bytes() / element_type.block_elements();
    order.sort_by_key(|&i| (std::cmp::Reverse(bits(specs[i].element_type)), specs[i].name));
    order
}

fn header_text(
    path: &Path,
    specs: &[TensorSpec<'_>],
    order: &[usize],
    metadata: &BTreeMap<String, String>,
) -> Result<String, FilesError> {
    let mut words = metadata.clone();
    words.entry("format".into()).or_insert_with(|| "pt".into());
    let mut header = Map::new();
    header.insert(METADATA_KEY.into(), json!(words));
    let mut begin = 0u64;
    for &i in order {
        let spec = &specs[i];
        if spec.name == METADATA_KEY || spec.name.len() > TENSOR_NAME_BYTES_MAX {
            return Err(wrong(path, Problem::BadName { tensor: spec.name.into() }));
        }
        let end = begin.saturating_add(tensor_bytes(path, spec)?);
        let entry = json!({"dtype": spec.element_type.name(), "shape": spec.shape, "data_offsets": [begin, end]});
        if header.insert(spec.name.into(), entry).is_some() {
            return Err(wrong(path, Problem::DuplicateName { tensor: spec.name.into() }));
        }
        begin = end;
    }
    let mut text = Value::Object(header).to_string();
    let padding = text.len().next_multiple_of(LENGTH_BYTES as usize) - text.len();
    text.push_str(&" ".repeat(padding));
    let header_bytes = text.len() as u64;
    if header_bytes > SAFETENSORS_HEADER_BYTES_MAX {
        return Err(wrong(path, Problem::HeaderTooLarge { header_bytes, looks_like: None }));
    }
    Ok(text)
}

/// The name of a model's weights that are in one file.
pub const MODEL_FILE: &str = "model.safetensors";

/// The name of the index of a model's weights that are in several files.
pub const MODEL_INDEX_FILE: &str = "model.safetensors.index.json";

/// Writes the weights of a model into `folder` as `transformers` names them: `model.safetensors`, or, where they
/// exceed `shard_bytes_max`, `model-00001-of-0000N.safetensors` … with an index, which is written last. Weights that
/// the folder held under the other naming are removed afterwards, since a loader would take them.
pub fn write_model(
    folder: &Path,
    tensors: &[TensorView<'_>],
    metadata: &BTreeMap<String, String>,
    shard_bytes_max: u64,
) -> Result<(), FilesError> {
    let shards = split_into_shards(tensors, shard_bytes_max);
    if shards.len() <= 1 {
        write_safetensors(&folder.join(MODEL_FILE), tensors, metadata)?;
        remove_if_there(&folder.join(MODEL_INDEX_FILE))?;
        return Ok(());
    }
    let mut weight_map = BTreeMap::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_safetensors(&folder.join(&name), shard, metadata)?;
        for tensor in shard {
            if weight_map.insert(tensor.name.to_owned(), name.clone()).is_some() {
                return Err(wrong(&folder.join(&name), Problem::DuplicateName { tensor: tensor.name.into() }));
            }
        }
    }
    let total_bytes = tensors.iter().map(|tensor| tensor.bytes.len() as u64).sum();
    write_index(&folder.join(MODEL_INDEX_FILE), &weight_map, total_bytes)?;
    remove_if_there(&folder.join(MODEL_FILE))
}

/// Consecutive runs of `tensors` of at most `bytes_max` each; a larger tensor is alone.
fn split_into_shards<'a>(tensors: &[TensorView<'a>], bytes_max: u64) -> Vec<Vec<TensorView<'a>>> {
    let mut shards: Vec<Vec<TensorView<'a>>> = Vec::new();
    let mut last_bytes = 0;
    for &tensor in tensors {
        let bytes = tensor.bytes.len() as u64;
        match shards.last_mut() {
            Some(shard) if bytes.saturating_add(last_bytes) <= bytes_max => {
                shard.push(tensor);
                last_bytes += bytes;
            }
            _ => {
                shards.push(vec![tensor]);
                last_bytes = bytes;
            }
        }
    }
    shards
}

fn remove_if_there(path: &Path) -> Result<(), FilesError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::new(tsumugi_base::FileAction::Remove, path, error).into())
        }
        _ => Ok(()),
    }
}
