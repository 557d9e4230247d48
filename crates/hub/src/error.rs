//! What can go wrong between a name and a model, each with its values and one next step.

use std::path::PathBuf;

use tsumugi_base::{FileError, Hint, units};

use crate::choose::ChooseError;
use crate::http::HttpError;
use crate::pull::FailedOrigin;
use crate::source::SourceError;

/// A model could not be fetched or found.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The name cannot be understood.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No home folder to keep anything in.
    #[error("there is no home folder to keep models in")]
    NoHome,
    /// A variable or a line of a configuration file.
    #[error("{name} cannot be used: {reason}")]
    Setting {
        /// The variable, or the file and key.
        name: String,
        /// Why.
        reason: String,
    },
    /// No such name.
    #[error("`{name}` is no path that exists, and not in the catalogue")]
    Unknown {
        /// As it was given.
        name: String,
        /// A name that is nearly it.
        near: Option<&'static str>,
    },
    /// Not fetched yet.
    #[error("{model} is not on this machine yet")]
    NotHere {
        /// As it was given.
        model: String,
    },
    /// The hub's repository is not there, or not for us: the hub does not tell which.
    #[error("there is no {model} that {who} may read")]
    NoRepository {
        /// The source.
        model: String,
        /// `anybody`, or `the owner of this token`.
        who: &'static str,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The repository's owner wants terms to be accepted.
    #[error("{model} is gated: its owner gives access to those who ask for it")]
    Gated {
        /// The source.
        model: String,
        /// Where to ask.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// No such branch, tag or commit.
    #[error("{model} has no revision `{revision}`")]
    NoRevision {
        /// The repository.
        model: String,
        /// As it was given.
        revision: String,
    },
    /// Only the cache may be used, and it does not have the model.
    #[error("{model} is not in the cache {cache}, and HF_HUB_OFFLINE forbids to fetch it", cache = .cache.display())]
    Offline {
        /// The source.
        model: String,
        /// The cache.
        cache: PathBuf,
    },
    /// Which files to take.
    #[error("{place} {error}")]
    Choose {
        /// The source.
        place: String,
        /// What is wrong.
        #[source]
        error: ChooseError,
    },
    /// An answer that is not what the interface promises.
    #[error("{url} answers with something else than {expected}: {reason}")]
    Answer {
        /// The address.
        url: String,
        /// What was expected.
        expected: &'static str,
        /// What was found.
        reason: String,
    },
    /// The index has no such package.
    #[error("there is no package `{package}` in {index}")]
    NoPackage {
        /// Its name.
        package: String,
        /// The index, or several.
        index: String,
    },
    /// The package has no such version, or not as a wheel.
    #[error("`{package}` has no wheel of version {version}")]
    NoWheel {
        /// Its name.
        package: String,
        /// As it was given.
        version: String,
        /// Versions that are there as wheels, the newest last.
        known: Vec<String>,
    },
    /// `no-index` in pip's configuration.
    #[error("pip's configuration forbids to ask an index (`no-index`)")]
    NoIndex,
    /// An index that does not say what a file's hash is.
    #[error("{index} does not say which SHA-256 {file} has")]
    NoHash {
        /// The index.
        index: String,
        /// The file.
        file: String,
    },
    /// An archive that no honest writer makes.
    #[error("{wheel} is not unpacked: {reason}")]
    Wheel {
        /// The file.
        wheel: String,
        /// What is wrong.
        reason: String,
    },
    /// Other bytes than promised.
    #[error("{file} has the {what} {found}, but {expected} is promised")]
    Wrong {
        /// The file.
        file: String,
        /// `SHA-256`, `size`.
        what: &'static str,
        /// As it arrived.
        found: String,
        /// As it was promised.
        expected: String,
    },
    /// The disk is too small.
    #[error("{folder} has {free} free, but {needed} are to come", folder = .folder.display(),
            free = units::bytes(*.free_bytes), needed = units::bytes(*.needed_bytes))]
    NoSpace {
        /// Where it would lie.
        folder: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The licence must be accepted first.
    #[error("{name} comes under {licence}, which must be accepted first")]
    Licence {
        /// The model.
        name: String,
        /// The licence.
        licence: String,
        /// Its text.
        url: String,
    },
    /// None of the origins had it.
    #[error("{name} could not be fetched from any origin: {reasons}", reasons = reasons(.failures))]
    AllFailed {
        /// The model.
        name: String,
        /// Why, each.
        failures: Vec<FailedOrigin>,
    },
    /// The user asked to stop.
    #[error("stopped; what has arrived stays")]
    Stopped,
}

fn reasons(failures: &[FailedOrigin]) -> String {
    let texts: Vec<String> = failures.iter().map(|failed| format!("{}: {}", failed.origin, failed.reason)).collect();
    texts.join("; ")
}

impl Hint for HubError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Source(error) => return error.hint(),
            Self::File(error) => return error.hint(),
            Self::Http(error) => return error.hint(),
            Self::Choose { place, error } => return error.hint(place),
            Self::NoHome => "set HOME, or TSUMUGI_HOME to a folder for models".into(),
            Self::Unknown { near: Some(near), .. } => format!("did you mean `{near}`? `tsumugi pull` lists all"),
            Self::Unknown { near: None, .. } => "`tsumugi pull` lists the catalogue; others are hf:org/name".into(),
            Self::NotHere { model } => format!("fetch it: `tsumugi pull {model}`"),
            Self::NoRepository { has_token: false, .. } => {
                "check the name; if it is private, set HF_TOKEN to a token of an account that may read it".into()
            }
            Self::NoRepository { has_token: true, .. } => "check the name, and whose token HF_TOKEN is".into(),
            Self::Gated { page, has_token: false, .. } => {
                format!("ask for access at {page}, then set HF_TOKEN to a token of your account")
            }
            Self::Gated { page, has_token: true, .. } => {
                format!("ask for access at {page} with the account whose token HF_TOKEN is")
            }
            Self::NoRevision { .. } => "leave `@revision` out to get `main`".into(),
            Self::Offline { .. } => "unset HF_HUB_OFFLINE to fetch it".into(),
            Self::Answer { .. } => "is it the right address (HF_ENDPOINT, PIP_INDEX_URL)?".into(),
            Self::NoPackage { .. } => "check the name; the index is that of `pip config get global.index-url`".into(),
            Self::NoWheel { known, .. } if known.is_empty() => "only wheels are read, and it has none".into(),
            Self::NoWheel { known, .. } => format!("there are {}", known.join(", ")),
            Self::NoIndex => "unset PIP_NO_INDEX, or take it out of pip's configuration".into(),
            Self::Wrong { .. } => "do not use it; pull again, and if it stays so, tell whoever publishes it".into(),
            Self::NoSpace { .. } => "free some space, or set TSUMUGI_HOME (hub: HF_HUB_CACHE) to a larger disk".into(),
            Self::Licence { name, url, .. } => {
                format!("read {url}; if you accept it: `tsumugi pull {name} --accept-licence`")
            }
            Self::AllFailed { .. } => "check the network, and run the same command again".into(),
            Self::Stopped => "run the same command again: it goes on where it stopped".into(),
            Self::Setting { .. } | Self::NoHash { .. } | Self::Wheel { .. } => return None,
        })
    }
}

impl HubError {
    /// Whether another origin may do better: it may not if the user stopped, or if this machine is what fails.
    pub(crate) fn is_of_origin(&self) -> bool {
        !matches!(self, Self::Stopped | Self::Http(HttpError::Stopped) | Self::NoSpace { .. } | Self::File(_))
    }
}
