//! Stages of a run: a line in `stages.jsonl` says that one is done, how long it took and what memory it needed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tsumugi_base::jsonl::{self, JsonLinesWriter};
use tsumugi_base::machine::peak_memory_bytes;
use tsumugi_base::progress::{Event, Observer};

use crate::PipelineError;

const FILE: &str = "stages.jsonl";

/// A stage that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its name.
    pub name: String,
    /// Wall-clock seconds, those of earlier, stopped runs of it included as far as they are known.
    pub seconds: f64,
    /// The most memory the process had held by its end.
    pub peak_memory_bytes: Option<u64>,
}

/// The stages of a run's folder.
#[derive(Debug)]
pub struct Stages {
    file: PathBuf,
    /// Those that are done, in order.
    pub done: Vec<StageRecord>,
}

impl Stages {
    /// What is done in a folder.
    pub fn open(folder: &Path) -> Result<Self, PipelineError> {
        let file = folder.join(FILE);
        let done = if file.exists() { jsonl::read(&file)? } else { Vec::new() };
        Ok(Self { file, done })
    }

    /// Whether a stage is done.
    pub fn is_done(&self, name: &str) -> bool {
        self.done.iter().any(|stage| stage.name == name)
    }

    /// Announces a stage; its clock runs from here.
    pub fn begin(&self, name: &str, observer: &dyn Observer) -> Instant {
        observer.event(&Event::Stage { name: name.into() });
        Instant::now()
    }

    /// Marks a stage as done; `before` are seconds that earlier runs spent on it.
    pub fn finish(&mut self, name: &str, begun: Instant, before: f64) -> Result<(), PipelineError> {
        if self.is_done(name) {
            return Ok(());
        }
        let seconds = begun.elapsed().as_secs_f64() + before;
        let record = StageRecord { name: name.into(), seconds, peak_memory_bytes: peak_memory_bytes() };
        let mut log = JsonLinesWriter::open_append(&self.file)?;
        log.write(&record)?;
        log.sync()?;
        self.done.push(record);
        Ok(())
    }
}
