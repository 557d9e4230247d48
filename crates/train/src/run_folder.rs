//! The output folder of a run: new, begun with the same settings, or finished; and locked while a run works in it.

use std::path::Path;

use serde_json::{Value, json};
use tsumugi_base::FileError;
use tsumugi_base::io::create_folder;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::run_folder::{FolderLock, names};
use tsumugi_base::run_record::{RunRecord, differences, sha256};
use tsumugi_files::{ModelFiles, NoScan};

use crate::{OptimizerKind, TrainError};

/// The record of a run, in its folder.
pub const RECORD: &str = "run.json";
/// What a run writes before its first step. A folder that holds no more than this has lost nothing if it is begun again
/// with other settings.
const BEFORE_THE_FIRST_STEP: [&str; 5] =
    [RECORD, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "tokens"];
/// The entry of a record's versions that says which kernels ran.
pub const KERNELS: &str = "kernels";

/// The setting that a run may change when it goes on: memory and time follow from it, and no bit of the result.
const RECOMPUTE: &str = "recompute";
/// A setting that older records lack: their runs have what is its default now.
const OPTIMIZER: &str = "optimizer";

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

/// A folder that nobody else works in until this is dropped.
#[derive(Debug)]
pub struct Opened {
    /// What it holds.
    pub state: Begun,
    _lock: FolderLock,
}

/// Opens the folder of a run: writes `record` into a new one; in a begun one, takes over its record, if the recipe
/// and the inputs are the same. `finished` is the file whose presence says that the run is done.
pub fn begin(
    folder: &Path,
    record: &mut RunRecord,
    finished: &str,
    observer: &dyn Observer,
) -> Result<Opened, TrainError> {
    let file = folder.join(RECORD);
    let is_new = !file.exists();
    if is_new && !names(folder).is_empty() {
        return Err(TrainError::NotARun { folder: folder.to_owned() });
    }
    create_folder(folder)?;
    let lock = FolderLock::take(folder)?;
    if file.exists() {
        let there = RunRecord::read(&file)?;
        let differences = run_differences(&there, record);
        if differences.is_empty() {
            tell_other_kernels(&there, record, observer);
            let recompute = record.recipe.get(RECOMPUTE).cloned();
            *record = there;
            if folder.join(finished).exists() {
                return Ok(Opened { state: Begun::Finished, _lock: lock });
            }
            if let Some(recompute) = recompute.filter(|now| record.recipe.get(RECOMPUTE) != Some(now)) {
                record.recipe[RECOMPUTE] = recompute;
                record.write(&file)?;
            }
            return Ok(Opened { state: Begun::Resumed, _lock: lock });
        }
        if names(folder).iter().any(|name| !BEFORE_THE_FIRST_STEP.contains(&name.as_str())) {
            return Err(TrainError::OtherRun { folder: folder.to_owned(), differences });
        }
        begin_again(folder)?;
    }
    record.write(&file)?;
    Ok(Opened { state: Begun::New, _lock: lock })
}

/// A setting of the run that a folder holds, if it holds one: what a run decided by itself stays decided when it is
/// resumed on another machine.
pub fn recorded(folder: &Path, key: &str) -> Option<serde_json::Value> {
    RunRecord::read(&folder.join(RECORD)).ok()?.recipe.get(key).cloned()
}

/// Whether a run recomputes activations: as was said; if nothing was, as the run in `folder` does; else not.
pub fn recompute_of_run(said: Option<bool>, folder: &Path) -> bool {
    said.or_else(|| recorded(folder, RECOMPUTE)?.as_bool()).unwrap_or(false)
}

/// A finished run's folder must still hold its model.
pub fn check_finished(folder: &Path) -> Result<(), TrainError> {
    let gate = NoScan { reason: "our own run wrote it, and nothing is loaded" };
    ModelFiles::admit(folder, &gate)?.tensors()?;
    Ok(())
}

/// The settings that make a run what it is: not what may differ when it goes on, nor the paths of inputs whose content is
/// known.
fn binding_settings(record: &RunRecord) -> Value {
    let mut settings = record.recipe.clone();
    if let Some(settings) = settings.as_object_mut() {
        let is_path = |key: &str| matches!(key, "data" | "model");
        settings.retain(|key, _| key != RECOMPUTE && (record.inputs.is_empty() || !is_path(key)));
        settings.entry(OPTIMIZER).or_insert_with(|| json!(OptimizerKind::default()));
    }
    settings.sort_all_objects();
    settings
}

/// Hashes of what went in.
fn input_hashes(record: &RunRecord) -> Vec<&str> {
    record.inputs.iter().map(|input| input.sha256.as_str()).collect()
}

/// A hash that two records share if they are of the same run: of the settings that must not differ, of the inputs, and of what
/// was worked out before the first step.
pub fn identity(record: &RunRecord) -> String {
    let mut derived = record.derived.clone();
    derived.sort_all_objects();
    sha256(json!([binding_settings(record), input_hashes(record), derived]).to_string().as_bytes())
}

/// Settings that differ, and inputs.
fn run_differences(there: &RunRecord, here: &RunRecord) -> Vec<String> {
    let mut found: Vec<String> = differences(&binding_settings(there), &binding_settings(here))
        .into_iter()
        .map(|difference| difference.to_string())
        .collect();
    if input_hashes(there) != input_hashes(here) {
        found.push("the content of the input files".into());
    }
    found
}

/// Bits are the same for one instruction set and one version only (decision 6).
fn tell_other_kernels(there: &RunRecord, here: &RunRecord, observer: &dyn Observer) {
    for (name, version) in &there.versions {
        if let Some(other) = here.versions.get(name).filter(|other| *other != version) {
            let message = format!(
                "this run was begun with {name} {version} and goes on with {other}: its losses will agree within \
                 rounding, not to the last bit"
            );
            observer.event(&Event::Warning { message });
        }
    }
}

/// Removes what a start left that never came to a step.
fn begin_again(folder: &Path) -> Result<(), TrainError> {
    for name in BEFORE_THE_FIRST_STEP {
        let path = folder.join(name);
        let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(FileError::write(&path, error).into());
            }
            _ => {}
        }
    }
    Ok(())
}
