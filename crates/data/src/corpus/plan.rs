//! What is read, and in which pieces: fixed before the first document, by the recipe and the files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::recipe::Recipe;
use super::{CorpusError, Workers, report};
use crate::source::{self, Format, Part, SourceFile};
use tsumugi_base::run_record::InputHash;

/// A file that goes in, as `inputs.jsonl` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    /// The source's name.
    pub source: String,
    #[serde(flatten)]
    pub file: SourceFile,
    /// SHA-256 of its bytes; none if it cannot be read, which becomes a fault.
    pub sha256: Option<String>,
}

/// A piece of a shard: a part of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The source's place in the recipe.
    pub source: usize,
    /// The input's place in the list.
    pub input: usize,
    pub part: Part,
    /// About how large it is.
    pub bytes: u64,
}

/// The pieces that are worked on as one.
pub(super) type Shard = Vec<Piece>;

/// Finds and hashes every file of the sources.
pub(super) fn inputs(recipe: &Recipe, workers: &Workers<'_>) -> Result<Vec<Input>, CorpusError> {
    let mut inputs = Vec::new();
    for source in &recipe.sources {
        let files = source::find(source)?;
        inputs.extend(files.into_iter().map(|file| Input { source: source.name.clone(), file, sha256: None }));
    }
    let total = inputs.iter().map(|input| input.file.bytes).sum();
    let progress = workers.progress("look at the inputs", total);
    let indices: Vec<usize> = (0..inputs.len()).collect();
    let hashes = workers.each(&indices, &|index| {
        let file = &inputs[index].file;
        let hash = InputHash::of(&file.path).ok().map(|hash| hash.sha256);
        progress.advance(file.bytes, 0);
        Ok(hash)
    })?;
    inputs.iter_mut().zip(hashes).for_each(|(input, hash)| input.sha256 = hash);
    find_measured(&mut inputs);
    Ok(inputs)
}

/// Marks the files that the manifest of a run lists with the hash that they have.
fn find_measured(inputs: &mut [Input]) {
    let mut runs: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for Input { file, sha256, .. } in inputs {
        // `DIR/documents/NAME` beside `DIR/manifest.json`.
        let root = file.path.parent().and_then(Path::parent).filter(|_| file.format == Format::Jsonl);
        let (Some(root), Some(sha256)) = (root, sha256) else { continue };
        let known = runs.entry(root.to_owned()).or_insert_with(|| {
            let summary = report::read_summary(&Folder::new(root)).unwrap_or_default();
            [summary.files, summary.mixed, summary.dropped_files].concat().into_iter().map(|file| file.sha256).collect()
        });
        file.is_measured = known.contains(sha256);
    }
}

/// Cuts large files and puts small ones together, in the order of the input.
pub(super) fn shards(recipe: &Recipe, inputs: &[Input]) -> Vec<Shard> {
    let (mut shards, mut shard, mut bytes) = (Vec::new(), Shard::new(), 0);
    for (index, input) in inputs.iter().enumerate() {
        let source = recipe.sources.iter().position(|source| source.name == input.source).expect("it was made from it");
        let parts = source::parts(&input.file, recipe.sources[source].split, recipe.shard_bytes);
        let share = input.file.bytes / parts.len() as u64;
        for part in parts {
            if !shard.is_empty() && (bytes + share > recipe.shard_bytes || shard.len() >= PIECES_MAX) {
                shards.push(std::mem::take(&mut shard));
                bytes = 0;
            }
            shard.push(Piece { source, input: index, part, bytes: share });
            bytes += share;
        }
    }
    if !shard.is_empty() {
        shards.push(shard);
    }
    shards
}

/// Most pieces of a shard: a marker must not stand for hours of work, however small the files are.
const PIECES_MAX: usize = 10_000;
