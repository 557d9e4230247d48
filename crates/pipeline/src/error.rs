//! What can go wrong in a whole run.

use std::path::PathBuf;

use tsumugi_base::jsonl::JsonLinesError;
use tsumugi_base::run_record::RunRecordError;
use tsumugi_base::{FileError, Hint, units};
use tsumugi_data::DataError;
use tsumugi_files::FilesError;
use tsumugi_infer::LoadError;
use tsumugi_infer::engine::EngineError;
use tsumugi_infer::sample::SampleError;
use tsumugi_infer::text::GenerateError;
use tsumugi_models::ModelError;
use tsumugi_tensor::{IsaError, PlanError};
use tsumugi_tokenizer::TokenizerError;
use tsumugi_train::TrainError;
use tsumugi_tune::TuneError;

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Pre-training, and the output folder.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Fine-tuning.
    #[error(transparent)]
    Tune(#[from] TuneError),
    /// Text and dialogue.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A model folder.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// `run.json`.
    #[error(transparent)]
    Record(#[from] RunRecordError),
    /// A log.
    #[error(transparent)]
    Log(#[from] JsonLinesError),
    /// The finished model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot answer.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A sample during training.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A sample during training.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// The model's tape.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The instruction set asked for is not there.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// A budget that cannot be kept.
    #[error("`minutes` is {minutes}, but it must be from {least} to {most}")]
    Minutes {
        /// What was asked for.
        minutes: f64,
        /// The least.
        least: f64,
        /// The most.
        most: f64,
    },
    /// Keys and values of so many answers need more memory than there is.
    #[error("the cache of {batch} answers needs {} of memory, but {} is available", units::bytes(*needed_bytes), units::bytes(*available_bytes))]
    CacheMemory {
        /// What they need.
        needed_bytes: u64,
        /// What the system has.
        available_bytes: u64,
        /// Answers at a time.
        batch: usize,
    },
    /// A file that an earlier run of ours wrote is damaged.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl Hint for PipelineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Train(error) => error.hint(),
            Self::Tune(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Files(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Log(error) => error.hint(),
            Self::Load(error) => error.hint(),
            Self::Generate(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Sample(error) => error.hint(),
            Self::Plan(_) | Self::Isa(_) => None,
            Self::Minutes { .. } => Some("a first look takes 1 minute, a good model some 10".into()),
            Self::CacheMemory { .. } => Some("a smaller --batch or --prompt".into()),
            Self::Damaged { .. } => Some("choose another --out, or remove this folder and begin anew".into()),
        }
    }
}
