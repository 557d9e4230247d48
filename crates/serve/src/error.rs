//! What keeps the server from starting. What a request did wrong is `openai::error::ApiError`.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use tsumugi_base::Hint;

use crate::{Model, Options};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is nothing to serve.
    #[error("no model was given to serve")]
    NoModels,
    /// A request could not say which one it means.
    #[error("two models are both named `{name}`")]
    DuplicateModel {
        /// The name they share.
        name: String,
    },
    /// An API key that no client could send.
    #[error("API key {position} of {count} is {problem}")]
    BadApiKey {
        /// Which, from 1; the key itself is not repeated.
        position: usize,
        /// How many were given.
        count: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Port in use, not allowed, or not an address of this machine.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused a thread or a timer.
    #[error("cannot start the server: {source}")]
    Start {
        /// What the system said.
        source: io::Error,
    },
}

impl Hint for ServeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoModels => Some("name at least one model folder: `tsumugi serve MODEL`".into()),
            Self::DuplicateModel { .. } => Some("rename one of the folders: the folder's name is the model's".into()),
            Self::BadApiKey { .. } => Some("give a key of letters, digits and punctuation, without spaces".into()),
            Self::Listen { address, source } => listen_hint(*address, source.kind()),
            Self::Start { .. } => None,
        }
    }
}

fn listen_hint(address: SocketAddr, kind: io::ErrorKind) -> Option<String> {
    let port = address.port();
    match kind {
        io::ErrorKind::AddrInUse => Some(format!(
            "another program listens on port {port}, maybe `tsumugi serve` already; stop it or choose another: `--port {}`",
            if port == u16::MAX { 8080 } else { port.saturating_add(1) },
        )),
        io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 need a privilege; choose another: `--port 8080`".into())
        }
        io::ErrorKind::AddrNotAvailable => {
            Some(format!("{} is not an address of this machine; leave it out for 127.0.0.1", address.ip()))
        }
        _ => None,
    }
}

/// What can be refused before a socket is opened.
pub(crate) fn check(options: &Options, models: &[Model]) -> Result<(), ServeError> {
    if models.is_empty() {
        return Err(ServeError::NoModels);
    }
    let mut names = BTreeSet::new();
    for model in models {
        if !names.insert(model.name()) {
            return Err(ServeError::DuplicateModel { name: model.name().to_owned() });
        }
    }
    let count = options.api_keys.len();
    for (index, key) in options.api_keys.iter().enumerate() {
        let problem = match key {
            key if key.is_empty() => "empty",
            key if !key.bytes().all(|byte| byte.is_ascii_graphic()) => "not printable ASCII without spaces",
            _ => continue,
        };
        return Err(ServeError::BadApiKey { position: index + 1, count, problem });
    }
    Ok(())
}
