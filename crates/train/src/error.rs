//! What can go wrong in training.

use std::path::PathBuf;

use tsumugi_base::jsonl::JsonLinesError;
use tsumugi_base::run_folder::LockError;
use tsumugi_base::run_record::RunRecordError;
use tsumugi_base::{FileError, Hint, units};
use tsumugi_data::DataError;
use tsumugi_files::FilesError;
use tsumugi_models::ModelError;
use tsumugi_tensor::PlanError;
use tsumugi_tokenizer::TokenizerError;

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Reading or writing a plain file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Weights and state files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A model on disk.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Text and batches.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The log.
    #[error(transparent)]
    Log(#[from] JsonLinesError),
    /// `run.json`.
    #[error(transparent)]
    Record(#[from] RunRecordError),
    /// The model's tape.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The instruction set asked for is not there.
    #[error(transparent)]
    Isa(#[from] tsumugi_tensor::IsaError),
    /// A recipe that is not TOML, or has a key that nobody reads.
    #[error("{}: {problem}", file.display())]
    RecipeFile {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A key or flag with a value that cannot be, or that would have no effect.
    #[error("`{key}` is {value}, but {problem}")]
    Setting {
        /// Its name as key and flag.
        key: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        problem: String,
    },
    /// The output folder holds a run with other settings.
    #[error("{} holds a run with other settings: {}", folder.display(), differences.join(", "))]
    OtherRun {
        /// The output folder.
        folder: PathBuf,
        /// `key (there a, here b)`
        differences: Vec<String>,
    },
    /// The folder could not be had for this run alone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// More memory than there is.
    #[error("training needs at least {needed} of memory ({parameters} parameters, {rows} tokens at a time), but {available} is available{}", recompute_bytes.map_or(String::new(), |bytes| format!("; with --recompute {}", units::bytes(bytes))), needed = units::bytes(*needed_bytes), parameters = units::count(*parameters), available = units::bytes(*available_bytes))]
    Memory {
        /// The least it takes.
        needed_bytes: u64,
        /// What the system has.
        available_bytes: u64,
        /// The least it takes with `--recompute`; none where the run has it.
        recompute_bytes: Option<u64>,
        /// Of the model.
        parameters: u64,
        /// Tokens of a micro-batch.
        rows: u64,
    },
    /// The folder has something else in it.
    #[error("{} is not empty and holds no run of ours", folder.display())]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// A checkpoint that does not fit the model.
    #[error("{}: {problem}", folder.display())]
    Checkpoint {
        /// The checkpoint.
        folder: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A checkpoint with the moments of another optimizer.
    #[error("{}: it has the moments of {there}, and this run's optimizer is {here}", folder.display())]
    OtherOptimizer {
        /// The checkpoint.
        folder: PathBuf,
        /// Whose moments it has.
        there: &'static str,
        /// Who was to read them.
        here: &'static str,
    },
    /// The tokenizer of a begun run was replaced.
    #[error("{} is not the tokenizer that this run was begun with", file.display())]
    OtherTokenizer {
        /// `tokenizer.json` of the run.
        file: PathBuf,
    },
    /// The loss or its gradient was not a number for many steps in a row, or the model is none at the end.
    #[error("step {step}: {problem}")]
    Diverged {
        /// The last step.
        step: u64,
        /// What is not finite.
        problem: String,
    },
    /// The model that a run begins with computes what is no number.
    #[error("the model's weights are damaged: {problem}")]
    DamagedModel {
        /// What is not finite.
        problem: String,
    },
    /// No row of a step is trained.
    #[error("step {step} has no token to train on")]
    NothingTrained {
        /// The step.
        step: u64,
    },
}

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Files(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Log(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::OtherRun { .. } => {
                Some("repeat the settings of that run to resume it, or choose another --out".into())
            }
            Self::Lock(error) => error.hint(),
            Self::Memory { available_bytes, recompute_bytes, .. } => {
                let smaller = "a smaller --depth (or --width), --batch or --context";
                let fits = recompute_bytes.is_some_and(|bytes| bytes <= *available_bytes);
                Some(if fits { format!("--recompute, or {smaller}") } else { smaller.into() })
            }
            Self::NotARun { .. } => Some("choose an empty or new folder with --out".into()),
            Self::Checkpoint { folder, .. } => {
                Some(format!("remove {} to resume from the checkpoint before it", folder.display()))
            }
            Self::OtherOptimizer { there, .. } => {
                Some(format!("resume with --optimizer {there}, or choose another --out"))
            }
            Self::OtherTokenizer { .. } => Some("put the file back as it was, or choose another --out".into()),
            Self::DamagedModel { .. } => {
                Some("fetch the model again; if it was trained here, its training diverged".into())
            }
            Self::Diverged { .. } => Some("lower --learning-rate or lengthen --warmup-steps, in another --out".into()),
            _ => None,
        }
    }
}
