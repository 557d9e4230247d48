//! The output folder of a corpus run: who works in it, what is where, and what is done.
//!
//! ```text
//! run.json inputs.jsonl             what went in
//! documents/NNNNN-NNN.jsonl.zst     what stayed, in the order of the input
//! dropped/P-NNNNN.jsonl.zst         what was dropped in pass P, with stage and rule
//! stages/NN-KIND.json              what a stage that saw all documents found out
//! mixed/NNNNN.jsonl.zst  tokens/    what mix and pack made of it
//! manifest.json README.md report.html faults.jsonl
//! work/                             markers and what lies between two passes; gone when all is done
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tsumugi_base::FileError;
use tsumugi_base::io::{create_folder, read_to_string_limited, write_atomic};
use tsumugi_base::limits::CORPUS_RECORD_BYTES_MAX;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_folder::{FolderLock, names};
use tsumugi_base::run_record::{RunRecord, differences};

use super::CorpusError;

pub(super) const RECORD: &str = "run.json";
pub(super) const INPUTS: &str = "inputs.jsonl";
/// Everything that could not be read, in the order of the input.
pub(super) const FAULTS: &str = "faults.jsonl";
/// The last file that a run writes.
pub(super) const MANIFEST: &str = "manifest.json";

/// The folder of a run.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// What lies between pass `pass` and the next.
    pub fn work(&self, pass: usize) -> PathBuf {
        self.root.join(format!("work/pass-{pass}"))
    }

    /// Everything of shard `shard` of the sources that could not be read, until [`FAULTS`] has it.
    pub fn faults_of(&self, shard: usize) -> PathBuf {
        self.work(0).join(format!("{shard:05}.faults.jsonl"))
    }

    /// Locks the folder and makes sure that it is of this run: writes `record` and `inputs` into a new one, compares those
    /// of a begun one.
    pub fn begin(&self, record: &RunRecord, inputs: &str, observer: &dyn Observer) -> Result<FolderLock, CorpusError> {
        let file = self.path(RECORD);
        if !file.exists() && !names(&self.root).is_empty() {
            return Err(CorpusError::NotARun { folder: self.root.clone() });
        }
        create_folder(&self.root)?;
        let lock = FolderLock::take(&self.root)?;
        if file.exists() {
            let there = RunRecord::read(&file)?;
            let mut found: Vec<String> =
                differences(&there.recipe, &record.recipe).iter().map(ToString::to_string).collect();
            if there.inputs != record.inputs {
                found.push("the list or the content of the input files".into());
            }
            if found.is_empty() {
                tell_other_version(&there, record, observer);
                return Ok(lock);
            }
            // What a start that never came to a shard has written binds nobody.
            if names(&self.root).iter().any(|name| ![RECORD, INPUTS].contains(&name.as_str())) {
                return Err(CorpusError::OtherRun { folder: self.root.clone(), differences: found });
            }
        }
        write_atomic(&self.path(INPUTS), inputs.as_bytes())?;
        record.write(&file)?;
        Ok(lock)
    }

    pub fn is_finished(&self) -> bool {
        self.path(MANIFEST).exists()
    }

    /// Removes what only a run at work needs.
    pub fn tidy(&self) -> Result<(), CorpusError> {
        remove_folder(&self.path("work"))
    }
}

fn tell_other_version(there: &RunRecord, here: &RunRecord, observer: &dyn Observer) {
    if there.versions != here.versions {
        let message = "this run was begun with another version: what its stages do may differ".into();
        observer.event(&Event::Warning { message });
    }
}

/// Removes a folder, if it is there.
pub(super) fn remove_folder(path: &Path) -> Result<(), CorpusError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new(tsumugi_base::FileAction::Remove, path, error).into())
        }
        _ => Ok(()),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), CorpusError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new(tsumugi_base::FileAction::Remove, path, error).into())
        }
        _ => Ok(()),
    }
}

/// Marks something as done by writing what came of it.
pub(super) fn mark(path: &Path, record: &impl Serialize) -> Result<(), CorpusError> {
    let mut text = serde_json::to_string(record).expect("a record is JSON");
    text.push('\n');
    Ok(write_atomic(path, text.as_bytes())?)
}

/// What came of it, if it is done.
pub(super) fn marked<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CorpusError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = read_to_string_limited(path, CORPUS_RECORD_BYTES_MAX)?;
    let record = serde_json::from_str(&text);
    record.map(Some).map_err(|error| CorpusError::Damaged { file: path.to_owned(), problem: error.to_string() })
}
