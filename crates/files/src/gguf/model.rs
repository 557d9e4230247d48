//! A model that is a GGUF file, or several parts of one.

use tsumugi_base::limits::MODEL_SHARDS_MAX;
use tsumugi_base::{FileAction, FileError};

use super::metadata::{Metadata, Value};
use super::read::parse_header;
use super::{GgufError, Problem};
use crate::admission::OpenFolder;
use crate::error::FilesError;
use crate::tensor_file::TensorFile;

/// A GGUF model whose headers were checked.
#[derive(Debug)]
pub(crate) struct GgufModel {
    /// What the file, or the first part, says about itself.
    pub metadata: Metadata,
    /// The stored tensors of all parts.
    pub tensors: TensorFile,
}

impl GgufModel {
    /// Reads the headers of these files of `folder`: one, or all parts in their order.
    pub fn read(folder: &OpenFolder, names: &[String]) -> Result<Self, FilesError> {
        let mut metadata = None;
        let mut parts = Vec::new();
        for (part, name) in names.iter().enumerate() {
            let path = folder.path().join(name);
            let Some(file) = folder.file(name)? else {
                return Err(FileError::new(FileAction::Read, path, std::io::ErrorKind::NotFound.into()).into());
            };
            let file = file.map()?;
            let header = parse_header(&file, &path)?;
            check_part(&header.metadata, part, names.len()).map_err(|problem| GgufError { file: path, problem })?;
            metadata.get_or_insert(header.metadata);
            parts.push((file, header.tensors));
        }
        let tensors = TensorFile::of_gguf_parts(parts)?;
        Ok(Self { metadata: metadata.unwrap_or_default(), tensors })
    }
}

/// The names of all files of the model that this file is, or is a part of (`NAME-00001-of-00003.gguf`).
pub(crate) fn files_of(name: &str) -> Vec<String> {
    part_names(name).unwrap_or_else(|| vec![name.to_owned()])
}

/// How many parts the model has that a file of this name belongs to.
pub fn part_count(name: &str) -> usize {
    files_of(name).len()
}

/// The names of all parts of a model in parts; none if it is not the name of one.
fn part_names(name: &str) -> Option<Vec<String>> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    let five_digits = |text: &str| (text.len() == 5).then(|| text.parse::<usize>().ok()).flatten();
    let (number, parts) = (five_digits(number)?, five_digits(count)?);
    let is_part = (1..=parts).contains(&number) && parts <= MODEL_SHARDS_MAX;
    is_part.then(|| (1..=parts).map(|part| format!("{base}-{part:05}-of-{count}.gguf")).collect())
}

/// A part that says which one it is must be the one that its name says. `part` counts from 0.
fn check_part(metadata: &Metadata, part: usize, parts: usize) -> Result<(), Problem> {
    let said = |key: &str, default: usize| metadata.get(key).and_then(Value::as_u64).unwrap_or(default as u64);
    let (said_part, said_parts) = (said("split.no", part), said("split.count", parts));
    if (said_part, said_parts.max(1)) == (part as u64, parts as u64) {
        return Ok(());
    }
    Err(Problem::Part {
        part: said_part.saturating_add(1),
        parts: said_parts,
        named_part: part + 1,
        named_parts: parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        assert_eq!(part_names("m-00002-of-00002.gguf").unwrap(), names);
        for other in ["m.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-1-of-2.gguf", "m-00001-of-00002"] {
            assert_eq!(part_names(other), None, "{other}");
        }
    }
}
