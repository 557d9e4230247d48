//! What a stage of a corpus pipeline is. To add one: write its file, then its two lines in [`super::stages::ALL`].
//!
//! A [`DocumentStage`] looks at one document at a time. A [`CorpusStage`] must have seen all of them before it judges
//! the first: it sketches each document, decides over all sketches, and applies what was decided. Both are pure
//! functions of documents and settings, so that shards may be worked on in any order, and again after a kill.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::Serialize;
use tsumugi_base::communicator::{Alone, Communicator};
use tsumugi_base::io::create_folder;
use tsumugi_base::progress::Observer;

use super::folder::mark;
use super::frames::{FrameReader, FrameWriter};
use super::workers::agree;
use super::{CorpusError, Workers};
use crate::Document;

/// What becomes of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, changed or not.
    Keep,
    /// It goes to the dropped ones.
    Drop {
        /// The rule that said so, in snake case: `gopher_short_doc`. There are few of them: no numbers of the document.
        rule: Cow<'static, str>,
    },
}

impl Verdict {
    /// Dropped by `rule`.
    pub fn drop(rule: impl Into<Cow<'static, str>>) -> Self {
        Self::Drop { rule: rule.into() }
    }
}

/// A stage that sees one document at a time: it may change the text, measure signals, or drop.
pub trait DocumentStage: Send + Sync {
    /// Looks at a document. Must depend on nothing but the document and the stage's settings.
    fn apply(&self, document: &mut Document) -> Verdict;

    /// Files that it was made from (models, lists of words): their hashes are part of what a run is.
    fn inputs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A stage with a barrier: every document is sketched before the first is judged.
pub trait CorpusStage: Send + Sync {
    /// Appends what it must know of a document to `sketch`, which is empty: a hash, a signature.
    fn sketch(&self, document: &Document, sketch: &mut Vec<u8>);

    /// Reads the sketches of all documents, in the order of the input, and pushes one decision for each, in the same order;
    /// an empty one is cheapest. The first rank does this.
    fn decide(
        &self,
        sketches: &SketchReader,
        decisions: &mut DecisionWriter,
        context: &Context<'_>,
    ) -> Result<(), CorpusError>;

    /// What another rank does while the first decides: by default nothing. It takes part in each collective operation of
    /// [`Self::decide`].
    fn help(&self, _sketches: &SketchReader, _context: &Context<'_>) -> Result<(), CorpusError> {
        Ok(())
    }

    /// Applies what was decided about a document.
    fn apply(&self, decision: &[u8], document: &mut Document) -> Verdict;

    /// Files that it was made from.
    fn inputs(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// What a stage may use while it decides.
pub struct Context<'a> {
    /// Memory that it may take, in bytes.
    pub memory_bytes: u64,
    /// Threads that it may start.
    pub threads: usize,
    /// An empty folder of its own for what does not fit into memory; removed when it has decided.
    pub scratch: PathBuf,
    /// Where [`Self::report`] puts what the stage has to tell.
    pub report: PathBuf,
    /// The processes that share the work.
    pub ranks: &'a dyn Communicator,
    /// Who is told, and who may ask to stop.
    pub observer: &'a dyn Observer,
}

impl Context<'_> {
    /// Does `work` for each of `units` on all threads, and gives what came of it in their order.
    pub fn each<T: Send>(
        &self,
        units: &[usize],
        work: &(dyn Fn(usize) -> Result<T, CorpusError> + Sync),
    ) -> Result<Vec<T>, CorpusError> {
        Workers { threads: self.threads, observer: self.observer, ranks: &Alone }.each(units, work)
    }

    /// Waits for the other ranks; an error of one ends all.
    pub fn agree<T>(&self, result: Result<T, CorpusError>) -> Result<T, CorpusError> {
        agree(self.ranks, result)
    }

    /// Writes what the stage found out as `stages/NN-KIND.json` of the run.
    pub fn report(&self, found: &impl Serialize) -> Result<(), CorpusError> {
        self.report.parent().map_or(Ok(()), create_folder)?;
        mark(&self.report, found)
    }

    /// Where a stage leaves the keys of what it kept: `stages/NN-KIND.keys` of the run.
    pub fn keys(&self) -> Result<PathBuf, CorpusError> {
        self.report.parent().map_or(Ok(()), create_folder)?;
        Ok(self.report.with_extension("keys"))
    }

    /// An error if what takes so much does not fit into the memory.
    pub fn needs(&self, what: &'static str, needed_bytes: u64) -> Result<(), CorpusError> {
        let limit_bytes = self.memory_bytes;
        if needed_bytes > limit_bytes {
            return Err(CorpusError::StageMemory { what, needed_bytes, limit_bytes });
        }
        Ok(())
    }
}

/// One of both kinds.
pub enum Stage {
    /// Sees one document at a time.
    Document(Box<dyn DocumentStage>),
    /// Sees all before it judges one.
    Corpus(Box<dyn CorpusStage>),
}

impl Stage {
    /// Files that it was made from.
    pub fn inputs(&self) -> Vec<PathBuf> {
        match self {
            Self::Document(stage) => stage.inputs(),
            Self::Corpus(stage) => stage.inputs(),
        }
    }
}

/// The sketches of all documents, shard after shard, in the order of the input. May be read more than once.
#[derive(Debug)]
pub struct SketchReader {
    files: Vec<PathBuf>,
    /// Sketches of each shard.
    counts: Vec<u64>,
}

impl SketchReader {
    pub(super) fn new(files: Vec<PathBuf>, counts: Vec<u64>) -> Self {
        Self { files, counts }
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many shards there are; threads may each read some.
    pub fn shards(&self) -> usize {
        self.files.len()
    }

    /// How many documents shard `index` has.
    pub fn documents_of(&self, index: usize) -> u64 {
        self.counts[index]
    }

    /// Calls `visit` with each sketch of shard `index`.
    pub fn shard(
        &self,
        index: usize,
        visit: &mut dyn FnMut(&[u8]) -> Result<(), CorpusError>,
    ) -> Result<(), CorpusError> {
        let mut reader = FrameReader::open(&self.files[index])?;
        while let Some(sketch) = reader.next()? {
            visit(sketch)?;
        }
        Ok(())
    }

    /// Calls `visit` with the sketch of each document.
    pub fn all(&self, visit: &mut dyn FnMut(&[u8]) -> Result<(), CorpusError>) -> Result<(), CorpusError> {
        (0..self.shards()).try_for_each(|index| self.shard(index, visit))
    }
}

/// Takes a decision for each document, in the order of the input.
#[derive(Debug)]
pub struct DecisionWriter {
    files: Vec<PathBuf>,
    counts: Vec<u64>,
    /// The shard that is written, and how many of its decisions are missing.
    shard: usize,
    missing: u64,
    writer: Option<FrameWriter>,
}

impl DecisionWriter {
    pub(super) fn new(files: Vec<PathBuf>, counts: Vec<u64>) -> Self {
        Self { files, counts, shard: 0, missing: 0, writer: None }
    }

    /// The decision about the next document.
    ///
    /// # Panics
    /// If there are more decisions than documents: a mistake of the stage.
    pub fn push(&mut self, decision: &[u8]) -> Result<(), CorpusError> {
        while self.missing == 0 {
            self.next_shard()?;
        }
        self.missing -= 1;
        self.writer.as_mut().expect("a shard is begun").push(decision)
    }

    fn next_shard(&mut self) -> Result<(), CorpusError> {
        assert!(self.shard < self.files.len(), "more decisions than documents");
        if let Some(writer) = self.writer.take() {
            writer.commit()?;
        }
        self.writer = Some(FrameWriter::create(&self.files[self.shard])?);
        self.missing = self.counts[self.shard];
        self.shard += 1;
        Ok(())
    }

    /// Closes the last file.
    ///
    /// # Panics
    /// If a document has no decision.
    pub(super) fn finish(mut self) -> Result<(), CorpusError> {
        while self.missing == 0 && self.shard < self.files.len() {
            self.next_shard()?;
        }
        assert_eq!(self.missing, 0, "every document has a decision");
        self.writer.take().map_or(Ok(()), FrameWriter::commit)
    }
}
