//! What can go wrong in a corpus pipeline. Bad input is no error: it is a [`super::Fault`], counted and named.

use std::path::PathBuf;

use tsumugi_base::io::TextError;
use tsumugi_base::run_folder::LockError;
use tsumugi_base::run_record::RunRecordError;
use tsumugi_base::{FileError, Hint, units};
use tsumugi_tokenizer::TokenizerError;

use super::Fault;
use super::folder::FAULTS;
use crate::DataError;

/// Each variant carries the values that disagreed.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// Reading or writing a plain file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A text that is read whole: a recipe, a list of words.
    #[error(transparent)]
    Text(#[from] TextError),
    /// `run.json`.
    #[error(transparent)]
    Record(#[from] RunRecordError),
    /// Token shards.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer of `[pack]`.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The folder could not be had for this run alone.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A recipe that is not TOML, or has a key that nobody reads.
    #[error("{}: {problem}", file.display())]
    RecipeFile {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line.
        problem: String,
    },
    /// A stage with a setting that cannot be.
    #[error("stage {number}, `{kind}`: {problem}")]
    Stage {
        /// Counted from 1.
        number: usize,
        /// Its kind.
        kind: String,
        /// What is wrong.
        problem: String,
    },
    /// A kind of stage that is not there.
    #[error("stage {number}: there is no stage `{kind}`")]
    UnknownStage {
        /// Counted from 1.
        number: usize,
        /// What was asked for.
        kind: String,
        /// Those that are there.
        known: Vec<&'static str>,
    },
    /// A source without a file.
    #[error("source `{source_name}`: no file at `{pattern}`")]
    NoFiles {
        /// Its name.
        source_name: String,
        /// Where files were looked for.
        pattern: String,
    },
    /// A file of an unknown format.
    #[error("source `{source_name}`: the format of {} is not known from its name", file.display())]
    UnknownFormat {
        /// The source's name.
        source_name: String,
        /// The file.
        file: PathBuf,
    },
    /// The output folder holds a run with other settings.
    #[error("{} holds a run with other settings: {}", folder.display(), differences.join(", "))]
    OtherRun {
        /// The output folder.
        folder: PathBuf,
        /// `key (there a, here b)`
        differences: Vec<String>,
    },
    /// The folder has something else in it.
    #[error("{} is not empty and holds no run of ours", folder.display())]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// Bad input under `--strict`.
    #[error("{0}")]
    Strict(Fault),
    /// Less memory than one shard needs.
    #[error("one shard takes {needed}, but the limit is {limit}", needed = units::bytes(*needed_bytes), limit = units::bytes(*limit_bytes))]
    Memory {
        /// What one shard takes.
        needed_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// Less memory than a stage needs.
    #[error("{what} takes {needed}, but the limit is {limit}", needed = units::bytes(*needed_bytes), limit = units::bytes(*limit_bytes))]
    StageMemory {
        /// What of it.
        what: &'static str,
        /// What it takes.
        needed_bytes: u64,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// A file that `against` names cannot be used.
    #[error("{}: {problem}", file.display())]
    Keys {
        /// The file.
        file: PathBuf,
        /// What disagrees.
        problem: String,
    },
    /// A file of the run's own is not what the run wrote.
    #[error("{} is damaged: {problem}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What disagrees.
        problem: String,
    },
    /// The sources have no document. The report is written.
    #[error("{}: no document was read from {files} files; {faults} parts could not be read", folder.display())]
    NothingRead {
        /// The output folder.
        folder: PathBuf,
        /// Files of the sources.
        files: usize,
        /// What of them could not be read.
        faults: u64,
    },
    /// Nothing is left to mix or pack.
    #[error("no document is left for `{what}`")]
    NothingLeft {
        /// `mix` or `pack`.
        what: &'static str,
    },
    /// Another rank could not go on.
    #[error("rank {rank} could not go on; its own message says why")]
    OtherRank {
        /// Counted from 0.
        rank: usize,
    },
    /// The user asked to stop.
    #[error("stopped; the same command goes on")]
    Stopped,
}

impl CorpusError {
    /// Whether the user asked for it.
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

impl Hint for CorpusError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenizer(error) => error.hint(),
            Self::Lock(error) => error.hint(),
            Self::UnknownStage { known, .. } => Some(format!("the stages are {}", known.join(", "))),
            Self::NoFiles { .. } => Some("check the path; it is taken relative to the current folder".into()),
            Self::UnknownFormat { .. } => Some("say `format` in the source, or give a narrower path".into()),
            Self::OtherRun { .. } => {
                Some("repeat the settings of that run to resume it, or choose another --out".into())
            }
            Self::NotARun { .. } => Some("choose an empty or new folder with --out".into()),
            Self::Strict(_) => Some("without --strict it is counted, named in the report, and left out".into()),
            Self::Memory { needed_bytes, .. } => Some(format!(
                "give --memory at least {}, or a smaller `document-bytes-max` in the recipe",
                units::bytes(*needed_bytes)
            )),
            Self::StageMemory { needed_bytes, .. } => {
                Some(format!("give --memory at least {}", units::bytes(*needed_bytes)))
            }
            Self::Damaged { .. } => Some("remove the output folder and run the same command again".into()),
            Self::NothingRead { folder, faults: 1.., .. } => {
                Some(format!("{} says why", folder.join(FAULTS).display()))
            }
            Self::NothingRead { .. } => Some("the files of the sources are empty".into()),
            Self::Keys { .. } => {
                Some("a stage with `save-keys = true` leaves one in its run, as stages/NN-KIND.keys".into())
            }
            Self::NothingLeft { .. } => Some("the report says which rules dropped the documents".into()),
            Self::RecipeFile { .. } | Self::Stage { .. } | Self::OtherRank { .. } | Self::Stopped => None,
        }
    }
}
