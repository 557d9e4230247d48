//! Checkpoints: weights and optimizer state of a step, written whole or not at all, bit for bit, with the hashes of their
//! files: a flipped bit or a file of another step would go on to other losses, and nobody would know.
//!
//! `DIR/checkpoints/step-NNNNNNNN/` holds `state.json`, `parameters.safetensors`, `first-moments.safetensors` and
//! `second-moments.safetensors` under our own names; they are no model folder for others.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{AtomicFolder, create_folder, read_to_string_limited, write_atomic};
use tsumugi_base::run_record::sha256;
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::safetensors::write_safetensors_with;
use tsumugi_files::{ElementType, FilesError, TensorFile, TensorSpec, read_f32_into};
use tsumugi_tensor::{ParameterId, Parameters};

use crate::guard::Guard;
use crate::{Optimizer, OptimizerKind, TrainError};

/// Checkpoints kept: the last one may be the step that went wrong.
const KEPT: usize = 2;
const FOLDER: &str = "checkpoints";
const STATE_BYTES_MAX: u64 = 1 << 20;

const PARAMETERS: &str = "parameters.safetensors";
const FIRST_MOMENTS: &str = "first-moments.safetensors";
const SECOND_MOMENTS: &str = "second-moments.safetensors";

/// What a checkpoint knows besides numbers of the model's shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// Whose moments they are.
    pub optimizer: OptimizerKind,
    /// Updates made: steps that were not skipped. AdamW's bias correction counts these.
    pub updates: u64,
    /// The loss-spike guard.
    pub guard: Guard,
    /// Tokens read so far.
    pub tokens: u64,
    /// Seconds spent training so far.
    pub seconds: f64,
}

/// What is in `state.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    state: State,
    /// Of each of the other files.
    sha256: BTreeMap<String, String>,
}

fn hash(path: &Path) -> Result<String, FilesError> {
    Ok(sha256(&MappedFile::open(path)?))
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// Steps that have a checkpoint, ascending.
pub fn steps(run: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let step = |name: &str| name.strip_prefix("step-")?.parse().ok();
    let mut steps: Vec<u64> = entries.flatten().filter_map(|entry| step(entry.file_name().to_str()?)).collect();
    steps.sort_unstable();
    steps
}

/// Writes the ranges of `buffer` that belong to each parameter; those that have none are left out.
fn write_buffer(
    path: &Path,
    parameters: &Parameters,
    buffer: &[f32],
    range: impl Fn(ParameterId) -> Range<usize>,
) -> Result<(), TrainError> {
    let written: Vec<_> = parameters
        .iter()
        .map(|(id, parameter)| (range(id), parameter))
        .filter(|(range, parameter)| range.len() == parameter.len())
        .collect();
    let specs: Vec<TensorSpec<'_>> = written
        .iter()
        .map(|(_, parameter)| TensorSpec {
            name: &parameter.name,
            element_type: ElementType::F32,
            shape: &parameter.shape,
        })
        .collect();
    write_safetensors_with(path, &specs, &BTreeMap::new(), |index, sink| {
        let mut bytes = Vec::with_capacity(1 << 16);
        for chunk in buffer[written[index].0.clone()].chunks(1 << 14) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            sink.write_all(&bytes)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Reads what [`write_buffer`] wrote, if it still has the hash that it had then.
fn read_buffer(
    folder: &Path,
    name: &str,
    hashes: &BTreeMap<String, String>,
    parameters: &Parameters,
    buffer: &mut [f32],
    range: impl Fn(ParameterId) -> Range<usize>,
) -> Result<(), TrainError> {
    let problem = |problem: String| TrainError::Checkpoint { folder: folder.to_owned(), problem };
    let damaged = |error: FilesError| problem(error.to_string());
    let mapped = MappedFile::open(&folder.join(name)).map_err(|error| problem(error.to_string()))?;
    if hashes.get(name) != Some(&sha256(&mapped)) {
        return Err(problem(format!(
            "{name} is not the file that was written: its content does not have the hash in state.json"
        )));
    }
    let file = TensorFile::single(mapped).map_err(damaged)?;
    for (id, parameter) in parameters.iter().filter(|(id, parameter)| range(*id).len() == parameter.len()) {
        let tensor = file.get(&parameter.name).ok_or_else(|| problem(format!("no tensor `{}`", parameter.name)))?;
        if tensor.shape != parameter.shape {
            let (found, expected) = (tensor.shape, &parameter.shape);
            return Err(problem(format!("`{}` has shape {found:?}, the model {expected:?}", parameter.name)));
        }
        read_f32_into(&tensor, &mut buffer[range(id)]).map_err(damaged)?;
    }
    Ok(())
}

/// Writes the checkpoint of `state.step`, then removes those older than the last two.
pub fn save(run: &Path, state: &State, parameters: &Parameters, optimizer: &Optimizer) -> Result<(), TrainError> {
    create_folder(&run.join(FOLDER))?;
    let target = run.join(FOLDER).join(name(state.step));
    if !target.exists() {
        let folder = AtomicFolder::create(&target)?;
        let path = |file: &str| folder.partial_path().join(file);
        let mut file = StateFile { state: state.clone(), sha256: BTreeMap::new() };
        let mut write = |name: &str, buffer, range: &dyn Fn(ParameterId) -> Range<usize>| {
            write_buffer(&path(name), parameters, buffer, range)?;
            file.sha256.insert(name.into(), hash(&path(name))?);
            Ok::<_, TrainError>(())
        };
        let [first, second] = optimizer.moments();
        write(PARAMETERS, parameters.buffer(), &|id| parameters.range(id))?;
        write(FIRST_MOMENTS, first, &|id| parameters.range(id))?;
        write(SECOND_MOMENTS, second, &|id| optimizer.second_range(parameters, id))?;
        let text = serde_json::to_string_pretty(&file).unwrap_or_default();
        write_atomic(&path("state.json"), text.as_bytes())?;
        folder.commit()?;
    }
    let all = steps(run);
    for &old in &all[..all.len().saturating_sub(KEPT)] {
        let _ = std::fs::remove_dir_all(run.join(FOLDER).join(name(old))); // best effort: only space is lost
    }
    Ok(())
}

/// Loads the newest checkpoint into `parameters` and `optimizer`; none where there is none.
pub fn load_newest(
    run: &Path,
    parameters: &mut Parameters,
    optimizer: &mut Optimizer,
) -> Result<Option<State>, TrainError> {
    let Some(step) = steps(run).pop() else { return Ok(None) };
    let folder: PathBuf = run.join(FOLDER).join(name(step));
    let problem = |problem: String| TrainError::Checkpoint { folder: folder.clone(), problem };
    let text = read_to_string_limited(&folder.join("state.json"), STATE_BYTES_MAX)
        .map_err(|error| problem(error.to_string()))?;
    let StateFile { state, sha256 } =
        serde_json::from_str(&text).map_err(|error| problem(format!("state.json: {error}")))?;
    if state.optimizer != optimizer.kind() {
        let (there, here) = (state.optimizer.name(), optimizer.kind().name());
        return Err(TrainError::OtherOptimizer { folder, there, here });
    }
    let whole = |id| parameters.range(id);
    let mut values = vec![0.0; parameters.buffer_len()];
    read_buffer(&folder, PARAMETERS, &sha256, parameters, &mut values, whole)?;
    let seconds: Vec<_> = parameters.iter().map(|(id, _)| optimizer.second_range(parameters, id)).collect();
    let [first, second] = optimizer.moments_mut();
    read_buffer(&folder, FIRST_MOMENTS, &sha256, parameters, first, whole)?;
    read_buffer(&folder, SECOND_MOMENTS, &sha256, parameters, second, |id| seconds[id.0].clone())?;
    parameters.buffer_mut().copy_from_slice(&values);
    Ok(Some(state))
}

/// Removes all checkpoints: the run is finished and its model saved.
pub fn remove_all(run: &Path) {
    let _ = std::fs::remove_dir_all(run.join(FOLDER)); // best effort: only space is lost
}
