//! Hashes of files: those that are promised, those that are found.

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::HubError;
use crate::names::hex;

/// A hash that a file must have, in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha256(String),
    /// Git's name of a file: SHA-1 of `blob SIZE\0` and its bytes.
    GitBlob(String),
}

impl Digest {
    pub(crate) fn digits(&self) -> &str {
        match self {
            Self::Sha256(digits) | Self::GitBlob(digits) => digits,
        }
    }
}

/// The hashes of the bytes of a file, as they come.
#[derive(Debug, Clone)]
pub(crate) struct Hashes {
    sha256: Sha256,
    /// Only where git's name is promised: it begins with the size.
    sha1: Option<Sha1>,
}

impl Hashes {
    /// Of a file of which `promised` is known, and its size for git's name.
    pub(crate) fn new(promised: Option<&Digest>, size: Option<u64>) -> Self {
        let size = size.filter(|_| matches!(promised, Some(Digest::GitBlob(_))));
        let sha1 = size.map(|size| Sha1::new().chain_update(format!("blob {size}\0")));
        Self { sha256: Sha256::new(), sha1 }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.sha1.iter_mut().for_each(|sha1| sha1.update(bytes));
    }

    /// The SHA-256, if they are what is promised of the file `name`.
    pub(crate) fn check(&self, name: &str, promised: Option<&Digest>) -> Result<String, HubError> {
        let sha256 = hex(&self.sha256.clone().finalize());
        let (what, found, expected) = match (promised, &self.sha1) {
            (Some(Digest::Sha256(expected)), _) => ("SHA-256", sha256.clone(), expected),
            (Some(Digest::GitBlob(expected)), Some(sha1)) => ("git hash", hex(&sha1.clone().finalize()), expected),
            _ => return Ok(sha256),
        };
        match found == *expected {
            true => Ok(sha256),
            false => Err(HubError::Wrong { file: name.to_owned(), what, found, expected: expected.clone() }),
        }
    }
}
