//! A whole run: inputs, passes, mix, pack, report. Each step looks at what is done already, so that a run that was killed
//! anywhere goes on, and every file that it leaves has the bytes of an unbroken run's.

use std::path::Path;

use tsumugi_base::communicator::Communicator;
use tsumugi_base::machine::{Machine, available_memory_bytes};
use tsumugi_base::progress::Observer;
use tsumugi_base::run_record::{InputHash, RunRecord};
use tsumugi_files::Gate;
use tsumugi_tokenizer::Tokenizer;

use super::folder::{Folder, INPUTS};
use super::mix::MixRun;
use super::pack::PackRun;
use super::pass::{From, PassRun};
use super::plan::{self, Input};
use super::recipe::{BuiltStage, Recipe, passes};
use super::record::{FileRecord, ShardRecord, Summary};
use super::workers::Workers;
use super::{CorpusError, report};
use crate::source::{Format, PAGE_DOCUMENTS};

/// How a run works; none of it changes what comes out.
pub struct Options<'a> {
    /// Threads; none is one per core.
    pub threads: Option<usize>,
    /// Memory that it may take; none is half of what is available.
    pub memory_bytes: Option<u64>,
    /// Whether the first fault ends the run.
    pub strict: bool,
    /// The words of the command, for the record.
    pub command: Vec<String>,
    /// Decides about the vocabularies that stages name.
    pub gate: &'a dyn Gate,
    /// The tokenizer that `[pack]` names.
    pub tokenizer: Option<&'a Tokenizer>,
    /// The processes that share the work and the output folder.
    pub ranks: &'a dyn Communicator,
    /// Who is told, and may ask to stop.
    pub observer: &'a dyn Observer,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether it was finished before.
    pub was_finished: bool,
    /// What came of the documents.
    pub summary: Summary,
}

/// What a worker takes beside documents: packing, blocks that are read.
const WORKER_BYTES: u64 = 24 << 20;
/// How many times a document stands in memory while it is worked on: its line, its fields, its text, what is written.
const COPIES: u64 = 4;

/// Runs a recipe into `out`, or goes on with it.
pub fn run(recipe: &Recipe, out: &Path, options: &Options<'_>) -> Result<Outcome, CorpusError> {
    let memory_bytes = options.memory_bytes.unwrap_or_else(|| available_memory_bytes().unwrap_or(8 << 30) / 2);
    let mut workers = Workers { threads: 1, observer: options.observer, ranks: options.ranks };
    let stages = recipe.build_stages(options.gate)?;
    workers.threads = threads(recipe, false, options, memory_bytes)?;
    let inputs = plan::inputs(recipe, &workers)?;
    let has_tables = inputs.iter().any(|input| input.file.format == Format::Parquet);
    workers.threads = threads(recipe, has_tables, options, memory_bytes)?;
    let folder = Folder::new(out);
    let mut lock = None;
    workers.first(|| {
        let list = list(&inputs);
        let record = record(recipe, options, &stages, &list)?;
        lock = Some(folder.begin(&record, &list, options.observer)?);
        Ok(())
    })?;
    let whole = Whole { recipe, options, folder: &folder, stages, inputs, memory_bytes, workers: &workers };
    whole.run()
}

/// A run that is begun.
struct Whole<'a> {
    recipe: &'a Recipe,
    options: &'a Options<'a>,
    folder: &'a Folder,
    stages: Vec<BuiltStage>,
    inputs: Vec<Input>,
    memory_bytes: u64,
    workers: &'a Workers<'a>,
}

impl Whole<'_> {
    fn run(&self) -> Result<Outcome, CorpusError> {
        if self.folder.is_finished() {
            let summary = report::read_summary(self.folder)?;
            self.check_files(&summary)?;
            // It may have been killed after its manifest, before it had cleared away.
            self.workers.first(|| self.folder.tidy())?;
            self.check_read(&summary)?;
            return Ok(Outcome { was_finished: true, summary });
        }
        let kinds: Vec<&str> = self.stages.iter().map(|built| built.kind.name).collect();
        let mut summary = Summary::of(&kinds, &self.passes()?);
        let was_read = self.check_read(&summary);
        if let (Some(mix), true) = (&self.recipe.mix, was_read.is_ok()) {
            summary.mixed = MixRun::new(self.recipe, mix, &summary, self.folder)?.run(self.workers)?;
        }
        if let (Some(tokenizer), true) = (self.options.tokenizer, was_read.is_ok()) {
            let (from, files) = match self.recipe.mix {
                Some(_) => ("mixed", &summary.mixed),
                None => ("documents", &summary.files),
            };
            let pack = PackRun { tokenizer, folder: self.folder, from, files };
            summary.tokens = Some(pack.run(self.workers)?);
        }
        self.workers.first(|| {
            report::write(self.recipe, &summary, &self.inputs, self.folder)?;
            self.folder.tidy()
        })?;
        was_read?;
        Ok(Outcome { was_finished: false, summary })
    }

    /// A run that read nothing has a report like any other, but is no success.
    fn check_read(&self, summary: &Summary) -> Result<(), CorpusError> {
        if summary.received.documents > 0 {
            return Ok(());
        }
        let (folder, files) = (self.folder.root().to_owned(), self.inputs.len());
        Err(CorpusError::NothingRead { folder, files, faults: summary.faults })
    }

    /// What a finished run left must be there, in the sizes that it had.
    fn check_files(&self, summary: &Summary) -> Result<(), CorpusError> {
        let in_folder = |folder: &'static str, files: &[FileRecord]| {
            files.iter().map(|file| (format!("{folder}/{}", file.name), file.file_bytes)).collect::<Vec<_>>()
        };
        for (name, bytes) in [in_folder("documents", &summary.files), in_folder("mixed", &summary.mixed)].concat() {
            let file = self.folder.path(&name);
            if std::fs::metadata(&file).map_or(true, |found| found.len() != bytes) {
                let problem = format!("manifest.json says that it has {bytes} bytes");
                return Err(CorpusError::Damaged { file, problem });
            }
        }
        Ok(())
    }

    fn passes(&self) -> Result<Vec<Vec<ShardRecord>>, CorpusError> {
        let shards = plan::shards(self.recipe, &self.inputs);
        let passes = passes(&self.stages);
        let count = passes.len();
        let mut done: Vec<Vec<ShardRecord>> = Vec::new();
        for (index, pass) in passes.into_iter().enumerate() {
            let from = match done.last() {
                None => From::Sources { inputs: &self.inputs, shards: &shards },
                Some(before) => From::Pass { index: index - 1, files: files(before) },
            };
            let (recipe, folder, strict) = (self.recipe, self.folder, self.options.strict);
            let run = PassRun { recipe, stages: &self.stages, pass, index, from, folder, strict };
            let records = run.run(count, self.workers)?;
            let files = files(&records);
            run.decide(&files, self.memory_bytes, self.workers)?;
            done.push(records);
        }
        Ok(done)
    }
}

fn files(records: &[ShardRecord]) -> Vec<FileRecord> {
    records.iter().flat_map(|record| record.files.iter().cloned()).collect()
}

/// As many threads as are asked for and fit into the memory.
fn threads(recipe: &Recipe, has_tables: bool, options: &Options<'_>, memory_bytes: u64) -> Result<usize, CorpusError> {
    let copies = if has_tables { COPIES + PAGE_DOCUMENTS } else { COPIES };
    let mixing = if recipe.mix.is_some() { 3 * (recipe.shard_bytes + recipe.document_bytes_max) } else { 0 };
    let needed = WORKER_BYTES + (copies * recipe.document_bytes_max).max(mixing);
    let fit = memory_bytes / needed;
    if fit == 0 {
        return Err(CorpusError::Memory { needed_bytes: needed, limit_bytes: memory_bytes });
    }
    let threads = options.threads.unwrap_or_else(|| Machine::here().threads);
    Ok(threads.min(usize::try_from(fit).unwrap_or(usize::MAX)))
}

/// `inputs.jsonl`: what went in, by content.
fn list(inputs: &[Input]) -> String {
    inputs.iter().map(|input| serde_json::to_string(input).expect("a record is JSON") + "\n").collect()
}

fn record(recipe: &Recipe, options: &Options<'_>, stages: &[BuiltStage], list: &str) -> Result<RunRecord, CorpusError> {
    let value = serde_json::to_value(recipe).expect("a recipe is JSON");
    let mut record = RunRecord::begin(options.command.clone(), value, recipe.seed);
    record.inputs.push(InputHash::of_text(Path::new(INPUTS), list));
    for path in stages.iter().flat_map(|built| built.stage.inputs()) {
        record.inputs.push(InputHash::of(&path)?);
    }
    if let (Some(tokenizer), Some(pack)) = (options.tokenizer, &recipe.pack) {
        record.inputs.push(InputHash::of_text(Path::new(&pack.tokenizer), &tokenizer.to_json()));
    }
    Ok(record)
}
