//! The output folder of a run: new, begun with the same settings, or finished.

use std::path::Path;

use tsumugi_base::FileError;
use tsumugi_base::io::create_folder;
use tsumugi_base::run_record::{RunRecord, differing_keys};

use crate::TrainError;

/// The record of a run, in its folder.
pub const RECORD: &str = "run.json";

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Nothing: the run begins.
    New,
    /// The same run, not finished: it goes on.
    Resumed,
    /// The same run, finished.
    Finished,
}

/// Opens the folder of a run: writes `record` into a new one; in a begun one, takes over its record, if the recipe
/// and the inputs are the same. `finished` is the file whose presence says that the run is done.
pub fn begin(folder: &Path, record: &mut RunRecord, finished: &str) -> Result<Begun, TrainError> {
    let file = folder.join(RECORD);
    if file.exists() {
        let there = RunRecord::read(&file)?;
        let mut differences = differing_keys(&there.recipe, &record.recipe);
        let hashes = |record: &RunRecord| record.inputs.iter().map(|input| input.sha256.clone()).collect::<Vec<_>>();
        if hashes(&there) != hashes(record) {
            differences.push("the content of the input files".into());
        }
        if !differences.is_empty() {
            return Err(TrainError::OtherRun { folder: folder.to_owned(), differences });
        }
        *record = there;
        return Ok(if folder.join(finished).exists() { Begun::Finished } else { Begun::Resumed });
    }
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(TrainError::NotARun { folder: folder.to_owned() });
    }
    create_folder(folder).map_err(|error: FileError| TrainError::File(error))?;
    record.write(&file)?;
    Ok(Begun::New)
}
