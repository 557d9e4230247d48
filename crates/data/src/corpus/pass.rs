//! A pass over all shards: the stages between two barriers, one marker for each shard that is done.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::folder::{Folder, mark, marked, remove_file, remove_folder};
use super::frames::{FrameReader, FrameWriter};
use super::packed::{PackedWriter, for_each_document};
use super::plan::{Input, Shard};
use super::recipe::{BuiltStage, Pass, Recipe};
use super::record::{Amount, FileRecord, ShardRecord};
use super::workers::{Progress, Workers};
use super::{Context, CorpusError, DecisionWriter, Fault, SketchReader, Stage, Verdict};
use crate::Document;
use crate::source::{self, Item};
use tsumugi_base::FileError;
use tsumugi_base::io::{AtomicFile, create_folder};

/// Zstandard's level for what stays, and for what the next pass removes.
const KEPT_LEVEL: i32 = 3;
const WORK_LEVEL: i32 = 1;

/// What a pass reads: sources, or the files of the pass before it.
pub(super) enum From<'a> {
    Sources { inputs: &'a [Input], shards: &'a [Shard] },
    Pass { index: usize, files: Vec<FileRecord> },
}

/// One pass, ready to work.
pub(super) struct PassRun<'a> {
    pub recipe: &'a Recipe,
    pub stages: &'a [BuiltStage],
    pub pass: Pass,
    pub index: usize,
    pub from: From<'a>,
    pub folder: &'a Folder,
    pub strict: bool,
}

impl PassRun<'_> {
    /// How many shards there are.
    fn shards(&self) -> usize {
        match &self.from {
            From::Sources { shards, .. } => shards.len(),
            From::Pass { files, .. } => files.len(),
        }
    }

    fn shard_bytes(&self, shard: usize) -> u64 {
        match &self.from {
            From::Sources { shards, .. } => shards[shard].iter().map(|piece| piece.bytes).sum(),
            From::Pass { files, .. } => files[shard].amount.bytes,
        }
    }

    /// Works through the shards that have no marker yet. Gives what came of all, in order.
    pub fn run(&self, passes: usize, workers: &Workers<'_>) -> Result<Vec<ShardRecord>, CorpusError> {
        let work = self.folder.work(self.index);
        let folders = [work.clone(), self.out_folder(), self.folder.path("dropped")];
        folders.iter().try_for_each(|folder| create_folder(folder))?;
        let missing = |shard: &usize| !self.marker(*shard).exists();
        let todo: Vec<usize> = workers.ours(self.shards()).into_iter().filter(missing).collect();
        let total = todo.iter().map(|&shard| self.shard_bytes(shard)).sum();
        let stage = format!("pass {} of {passes}", self.index + 1);
        let progress = workers.progress(&stage, total);
        let done = workers.each(&todo, &|shard| {
            let record = ShardRun::new(self, shard, workers, &progress).run()?;
            mark(&self.marker(shard), &record)
        });
        drop(progress);
        workers.agree(done)?;
        let records = (0..self.shards()).map(|shard| {
            let path = self.marker(shard);
            let gone = || CorpusError::Damaged { file: path.clone(), problem: "it is gone".into() };
            marked(&path)?.ok_or_else(gone)
        });
        let records = records.collect::<Result<Vec<ShardRecord>, CorpusError>>()?;
        if let From::Pass { index, files } = &self.from {
            // Everything of the pass before is in this one now, but for its markers.
            let before = self.folder.work(*index);
            workers.first(|| {
                for file in files {
                    [file_in(&before, &file.name), sketch_of(&before, &file.name), decisions_of(&before, &file.name)]
                        .iter()
                        .try_for_each(|path| remove_file(path))?;
                }
                Ok(())
            })?;
        }
        Ok(records)
    }

    /// Lets the corpus stage at the end of this pass decide over all sketches. The first rank does, the others help.
    pub fn decide(&self, files: &[FileRecord], memory_bytes: u64, workers: &Workers<'_>) -> Result<(), CorpusError> {
        let Some(stage) = self.pass.sketches else { return Ok(()) };
        let Stage::Corpus(corpus) = &self.stages[stage].stage else {
            unreachable!("only such a stage is sketched for")
        };
        let work = self.folder.work(self.index);
        let decided = work.join("decided.json");
        // All see what the first rank sees: it may be done before another looks.
        if workers.ranks.gather(vec![u8::from(decided.exists())])[0] == [1] {
            return Ok(());
        }
        let rank = workers.ranks.rank();
        // Of all ranks: a run that was killed may have had more of them.
        let of_all = work.join("scratch");
        workers.first(|| remove_folder(&of_all))?;
        let scratch = of_all.join(rank.to_string());
        workers.agree(create_folder(&scratch).map_err(CorpusError::from))?;
        let counts: Vec<u64> = files.iter().map(|file| file.amount.documents).collect();
        let sketches = SketchReader::new(paths(files, &work, sketch_of), counts.clone());
        let name = format!("{:02}-{}.json", stage + 1, self.stages[stage].kind.name);
        let context = Context {
            memory_bytes,
            threads: workers.threads,
            scratch,
            report: self.folder.path("stages").join(name),
            ranks: workers.ranks,
            observer: workers.observer,
        };
        let decide = || {
            let mut decisions = DecisionWriter::new(paths(files, &work, decisions_of), counts);
            corpus.decide(&sketches, &mut decisions, &context)?;
            decisions.finish()
        };
        let done = if rank == 0 { decide() } else { corpus.help(&sketches, &context) };
        workers.agree(done)?;
        workers.first(|| {
            remove_folder(&of_all)?;
            mark(&decided, &true)
        })
    }

    fn marker(&self, shard: usize) -> PathBuf {
        self.folder.work(self.index).join(format!("{shard:05}.json"))
    }

    fn is_last(&self) -> bool {
        self.pass.sketches.is_none()
    }

    /// Where documents go.
    fn out_folder(&self) -> PathBuf {
        if self.is_last() { self.folder.path("documents") } else { self.folder.work(self.index) }
    }
}

fn paths(files: &[FileRecord], folder: &Path, path: fn(&Path, &str) -> PathBuf) -> Vec<PathBuf> {
    files.iter().map(|file| path(folder, &file.name)).collect()
}

fn file_in(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}

fn sketch_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sketches"))
}

fn decisions_of(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.decisions"))
}

/// A dropped document: itself, and who dropped it.
#[derive(Serialize)]
struct Dropped<'a> {
    #[serde(flatten)]
    document: &'a Document,
    dropped: DroppedBy<'a>,
}

#[derive(Serialize)]
struct DroppedBy<'a> {
    stage: usize,
    kind: &'a str,
    rule: &'a str,
}

/// A shard on its way through a pass.
struct ShardRun<'a> {
    run: &'a PassRun<'a>,
    shard: usize,
    workers: &'a Workers<'a>,
    progress: &'a Progress<'a>,
    /// Bytes of the shard that were told as done.
    told: u64,
    record: ShardRecord,
    out: Option<(PackedWriter, Option<FrameWriter>)>,
    dropped: Option<PackedWriter>,
    faults: Option<AtomicFile>,
    sketch: Vec<u8>,
}

impl<'a> ShardRun<'a> {
    fn new(run: &'a PassRun<'a>, shard: usize, workers: &'a Workers<'a>, progress: &'a Progress<'a>) -> Self {
        let record = ShardRecord::default();
        let (out, dropped, faults) = (None, None, None);
        Self { run, shard, workers, progress, told: 0, record, out, dropped, faults, sketch: Vec::new() }
    }

    fn run(mut self) -> Result<ShardRecord, CorpusError> {
        let pass = &self.run.pass;
        for stage in pass.applies.into_iter().chain(pass.stages.clone()) {
            self.record.stages.insert(stage, super::StageRecord::default());
        }
        match &self.run.from {
            From::Sources { inputs, shards } => {
                for piece in &shards[self.shard] {
                    let (source, file) = (&self.run.recipe.sources[piece.source], &inputs[piece.input].file);
                    let most = self.run.recipe.document_bytes_max;
                    source::read(source, file, piece.part, most, &mut |item| self.item(item))?;
                }
            }
            From::Pass { index, files } => {
                let (work, name) = (self.run.folder.work(*index), &files[self.shard].name);
                let path = file_in(&work, name);
                let mut decisions = FrameReader::open(&decisions_of(&work, name))?;
                for_each_document(&path, |document| {
                    let decision = decisions.next()?.ok_or_else(|| CorpusError::Damaged {
                        file: path.clone(),
                        problem: "it has more documents than decisions".into(),
                    })?;
                    self.workers.go_on()?;
                    self.document(document, Some(decision))
                })?;
            }
        }
        self.finish_file()?;
        if let Some(dropped) = self.dropped.take() {
            self.record.dropped = Some(dropped.commit()?);
        }
        self.faults.take().map_or(Ok(()), AtomicFile::commit)?;
        let rest = self.run.shard_bytes(self.shard).saturating_sub(self.told);
        self.progress.advance(rest, 0);
        Ok(self.record)
    }

    /// Takes what a source has.
    fn item(&mut self, item: Item) -> Result<(), CorpusError> {
        self.workers.go_on()?;
        match item {
            Item::Document(document) => self.document(document, None),
            Item::Fault(fault) if self.run.strict => Err(CorpusError::Strict(fault)),
            Item::Fault(fault) => self.fault(fault),
        }
    }

    fn fault(&mut self, fault: Fault) -> Result<(), CorpusError> {
        if self.faults.is_none() {
            self.faults = Some(AtomicFile::create(&self.run.folder.faults_of(self.shard))?);
        }
        let file = self.faults.as_mut().expect("it was begun");
        let line = serde_json::to_string(&fault).expect("a fault is JSON") + "\n";
        file.write_all(line.as_bytes()).map_err(|source| FileError::write(file.path(), source))?;
        self.record.fault(fault);
        Ok(())
    }

    /// Takes a document through the stages.
    fn document(&mut self, mut document: Document, decision: Option<&[u8]>) -> Result<(), CorpusError> {
        let mut amount = Amount::of(document.text());
        self.record.received.add(amount);
        self.tell(amount.bytes);
        let pass = &self.run.pass;
        for index in pass.applies.into_iter().chain(pass.stages.clone()) {
            let record = self.record.stages.get_mut(&index).expect("it was put in");
            record.received.add(amount);
            let edits = document.edits();
            let verdict = match &self.run.stages[index].stage {
                Stage::Document(stage) => stage.apply(&mut document),
                Stage::Corpus(stage) => stage.apply(decision.unwrap_or_default(), &mut document),
            };
            if document.edits() != edits {
                record.changed += 1;
                amount = Amount::of(document.text());
            }
            match verdict {
                Verdict::Keep => record.kept.add(amount),
                Verdict::Drop { rule } => {
                    record.drop(&rule, &document, amount);
                    return self.drop(&document, amount, index, &rule);
                }
            }
        }
        self.keep(&document, amount)
    }

    fn keep(&mut self, document: &Document, amount: Amount) -> Result<(), CorpusError> {
        let is_full = |writer: &PackedWriter| writer.line_bytes() >= self.run.recipe.shard_bytes;
        if self.out.as_ref().is_some_and(|(writer, _)| is_full(writer)) {
            self.finish_file()?;
        }
        if self.out.is_none() {
            self.out = Some(self.begin_file()?);
        }
        let (writer, sketches) = self.out.as_mut().expect("it was begun");
        writer.push(document, amount)?;
        if let (Some(stage), Some(sketches)) = (self.run.pass.sketches, sketches) {
            let Stage::Corpus(stage) = &self.run.stages[stage].stage else {
                unreachable!("a pass ends at such a stage")
            };
            self.sketch.clear();
            stage.sketch(document, &mut self.sketch);
            sketches.push(&self.sketch)?;
        }
        Ok(())
    }

    fn begin_file(&self) -> Result<(PackedWriter, Option<FrameWriter>), CorpusError> {
        let (folder, name) = (self.run.out_folder(), format!("{:05}-{:03}", self.shard, self.record.files.len()));
        let level = if self.run.is_last() { KEPT_LEVEL } else { WORK_LEVEL };
        let writer = PackedWriter::create(&folder, &name, level)?;
        let sketches = match self.run.is_last() {
            true => None,
            false => Some(FrameWriter::create(&sketch_of(&folder, writer.name()))?),
        };
        Ok((writer, sketches))
    }

    fn finish_file(&mut self) -> Result<(), CorpusError> {
        if let Some((writer, sketches)) = self.out.take() {
            sketches.map_or(Ok(()), FrameWriter::commit)?;
            self.record.files.push(writer.commit()?);
        }
        Ok(())
    }

    fn drop(&mut self, document: &Document, amount: Amount, stage: usize, rule: &str) -> Result<(), CorpusError> {
        if self.dropped.is_none() {
            let name = format!("{}-{:05}", self.run.index, self.shard);
            self.dropped = Some(PackedWriter::create(&self.run.folder.path("dropped"), &name, KEPT_LEVEL)?);
        }
        let by = DroppedBy { stage: stage + 1, kind: self.run.stages[stage].kind.name, rule };
        let line = serde_json::to_vec(&Dropped { document, dropped: by }).expect("a document is JSON");
        let writer = self.dropped.as_mut().expect("it was begun");
        writer.push_line(&line, &document.source, amount)
    }

    /// Tells of progress: of a packed file's size at most what it takes on the disk.
    fn tell(&mut self, bytes: u64) {
        let bytes = bytes.min(self.run.shard_bytes(self.shard).saturating_sub(self.told));
        self.told += bytes;
        self.progress.advance(bytes, 1);
    }
}
