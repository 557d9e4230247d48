//! Where a model comes from: signatures over its files, and what is needed to make and check them.
//!
//! [`sign`] hashes every file of a model into a [`Manifest`], writes that as an in-toto statement, and signs it in a DSSE
//! envelope; the result is a Sigstore bundle as the `model-signing` tool of OpenSSF writes and reads it. [`verify`] and
//! [`verify_open`] say whether a model is what was signed, by whom, and name every file that is not.
//!
//! | module | what |
//! |---|---|
//! | `key` | keys as openssl writes them, signatures |
//! | `certificate` | chains of certificates to a root that is trusted |
//! | `manifest` | names and hashes of a model's files |
//! | `statement` | a manifest as an in-toto statement, and back |
//! | `bundle` | the envelope around it |
//!
//! **Invariant:** nothing of a signature is used before it is checked, but to choose the key that checks it.

mod bundle;
mod certificate;
mod key;
mod manifest;
mod statement;
mod verify;

pub use bundle::Bundle;
pub use certificate::{Certificate, CertificateError, certificates_from_pem, roots_from_pem};
pub use key::{Algorithm, KeyError, PrivateKey, PublicKey};
pub use manifest::{FileHash, HashError, Manifest, PIECE_BYTES, Selection};
pub(crate) use manifest::{Source, hash_files};
use tsumugi_base::Hint;
pub use verify::{Problem, SIGNATURE_BYTES_MAX, Trust, Verdict, VerifyOptions, verify, verify_open};

/// The name of a signature in a model's folder.
pub const SIGNATURE_FILE: &str = "model.sig";

/// A manifest could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The key refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No verifier would take a signature over it.
    #[error("the manifest cannot be signed: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: String,
    },
}

impl Hint for SignError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Key(key) => key.hint(),
            Self::Manifest { .. } => None,
        }
    }
}

/// Signs what is in a manifest. What [`verify`] would not read is not signed: a name that stands twice or leads out of
/// the model, a selection that leaves out everything.
pub fn sign(manifest: &Manifest, key: &PrivateKey, chain: &[Certificate]) -> Result<Bundle, SignError> {
    let payload = statement::write(manifest);
    match statement::read(&payload) {
        Ok(read) if read == *manifest => {}
        Ok(_) => return Err(SignError::Manifest { reason: "its pieces are not those that it says".into() }),
        Err(reason) => return Err(SignError::Manifest { reason }),
    }
    let signature = key.sign(&bundle::signed_bytes(bundle::PAYLOAD_TYPE, &payload))?;
    let material = if chain.is_empty() {
        bundle::Material::Key { hint: Some(key.public().hash()) }
    } else {
        bundle::Material::Chain(chain.iter().map(|certificate| certificate.der().to_vec()).collect())
    };
    Ok(Bundle { payload, payload_type: bundle::PAYLOAD_TYPE.into(), signature, material })
}
