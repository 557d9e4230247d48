//! The Hugging Face hub: what a repository lists, and its files into the cache that `huggingface_hub` uses.

mod cache;
mod listing;

use std::path::{Path, PathBuf};

use tsumugi_base::progress::{Event, Observer};
use url::Url;

use crate::choose::{Listed, choose};
use crate::digest::Digest;
use crate::download::{Download, Progress, check_space, fetch, is_what_was_promised, put_into_place};
use crate::error::HubError;
use crate::http::{Client, HttpError};
use crate::settings::HuggingFaceSettings;
use crate::source::HuggingFaceModel;
use crate::store::PulledFile;
use crate::verified::Verified;

use cache::Repository;
use listing::RemoteFile;

/// What lies in the cache now.
pub(crate) struct Snapshot {
    pub(crate) folder: PathBuf,
    pub(crate) commit: String,
    pub(crate) files: Vec<PulledFile>,
    pub(crate) fetched_bytes: u64,
}

/// Fetches the files of a model. Those of `promised` (name, SHA-256) must be what the hub lists, before anything is
/// fetched. What lies in the cache already is hashed once, as `verified` remembers.
pub(crate) fn pull(
    client: &Client,
    settings: &HuggingFaceSettings,
    model: &HuggingFaceModel,
    promised: &[(&str, &str)],
    verified: &Verified,
    observer: &dyn Observer,
) -> Result<Snapshot, HubError> {
    if settings.offline {
        return Err(HubError::Offline { model: model.to_string(), cache: settings.cache.clone() });
    }
    let listing = listing::fetch(client, settings, model, observer)?;
    let listed: Vec<Listed<'_>> =
        listing.files.iter().map(|file| Listed { path: &file.path, bytes: file.bytes }).collect();
    let places = choose(&listed, model.file.as_deref())
        .map_err(|error| HubError::Choose { place: without_file(model), error })?;
    let files: Vec<&RemoteFile> = places.iter().map(|&place| &listing.files[place]).collect();
    check_promised(model, &files, promised)?;
    let repository = Repository::new(&settings.cache, &model.repository);
    let missing_bytes = files.iter().filter(|file| !repository.has(file)).map(|file| file.bytes).sum();
    check_space(&settings.cache, missing_bytes)?;
    let (repository, commit) = (&repository, &*listing.commit);
    let fetching = Fetching { client, settings, model, repository, commit, verified, observer };
    let mut progress = Progress::new(&format!("fetch {model}"), missing_bytes, observer);
    let mut pulled = Vec::with_capacity(files.len());
    let mut fetched_bytes = 0;
    for file in files {
        let (sha256, fetched) = fetching.file(file, &mut progress)?;
        fetched_bytes += fetched;
        repository.link(&listing.commit, file)?;
        pulled.push(PulledFile { name: file.path.clone(), bytes: file.bytes, sha256 });
    }
    repository.set_reference(model.revision(), &listing.commit)?;
    let folder = repository.snapshot(&listing.commit);
    Ok(Snapshot { folder, commit: listing.commit, files: pulled, fetched_bytes })
}

fn without_file(model: &HuggingFaceModel) -> String {
    HuggingFaceModel { file: None, ..model.clone() }.to_string()
}

/// The catalogue's hashes against the hub's, which saves fetching what would be refused.
fn check_promised(model: &HuggingFaceModel, files: &[&RemoteFile], promised: &[(&str, &str)]) -> Result<(), HubError> {
    for (name, expected) in promised {
        let found = files.iter().find(|file| file.path == *name).map(|file| file.digest.digits());
        // A small file has git's hash instead, and is as its commit has it.
        let is_other = found.is_none_or(|digits| digits.len() == expected.len() && digits != *expected);
        if is_other {
            let found = found.unwrap_or("of a file that is not there").to_owned();
            let (file, expected) = (format!("{model}: {name}"), (*expected).to_owned());
            return Err(HubError::Wrong { file, what: "SHA-256", found, expected });
        }
    }
    Ok(())
}

struct Fetching<'a> {
    client: &'a Client,
    settings: &'a HuggingFaceSettings,
    model: &'a HuggingFaceModel,
    repository: &'a Repository,
    commit: &'a str,
    verified: &'a Verified,
    observer: &'a dyn Observer,
}

impl Fetching<'_> {
    /// A file as a blob of the cache; its SHA-256 if that is known, and how many bytes came through the network.
    fn file(&self, file: &RemoteFile, progress: &mut Progress<'_>) -> Result<(Option<String>, u64), HubError> {
        let known = match &file.digest {
            Digest::Sha256(digits) => Some(digits.clone()),
            Digest::GitBlob(_) => None,
        };
        if self.is_verified(file) {
            return Ok((known, 0));
        }
        let was_missing = !self.repository.has(file);
        let _lock = self.repository.lock(file, self.observer)?;
        let (partial, place) = self.repository.blob_paths(file)?;
        if self.is_here(file, &place, progress)? {
            if was_missing {
                progress.skip(file.bytes, &file.path); // fetched by the process that held the lock
            }
            return Ok((known, 0));
        }
        let url = self.url(file);
        let download = Download {
            name: &file.path,
            url: &url,
            secret: self.settings.token.as_ref(),
            bytes: Some(file.bytes),
            digest: Some(&file.digest),
            partial: &partial,
        };
        let arrived =
            fetch(self.client, &download, progress).map_err(|error| explained(error, self.settings, self.model))?;
        put_into_place(&partial, &place)?;
        self.verified.keep(&file.digest, &place)?;
        Ok((Some(arrived.sha256), arrived.fetched_bytes))
    }

    /// Whether the blob is there and was seen to have its hash.
    fn is_verified(&self, file: &RemoteFile) -> bool {
        self.repository.about(file).is_some_and(|about| self.verified.knows(&file.digest, &about))
    }

    /// Whether the blob at `place` is there and has its hash: another process may have fetched it meanwhile, another tool long ago.
    fn is_here(&self, file: &RemoteFile, place: &Path, progress: &Progress<'_>) -> Result<bool, HubError> {
        if !self.repository.has(file) {
            return Ok(false);
        }
        let is_here = self.is_verified(file) || is_what_was_promised(place, file.bytes, &file.digest, progress)?;
        if is_here {
            self.verified.keep(&file.digest, place)?;
        } else {
            let message =
                format!("{} in the hub's cache has not the hash that it is named by; it is fetched again", file.path);
            self.observer.event(&Event::Warning { message });
        }
        Ok(is_here)
    }

    /// Of the commit, not of the branch: all files are of one version.
    fn url(&self, file: &RemoteFile) -> Url {
        let repository = self.model.repository.split('/');
        let parts = repository.chain(["resolve", self.commit]).chain(file.path.split('/'));
        below(&self.settings.endpoint, parts)
    }
}

/// An address below the hub's, each part escaped.
fn below<'a>(endpoint: &Url, parts: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = endpoint.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// The hub's refusals in plain words, by the word that it sends along: a storage behind it refuses without one. It says
/// `RepoNotFound` of what may not be read, too, so as not to tell what is there.
fn explained(error: HubError, settings: &HuggingFaceSettings, model: &HuggingFaceModel) -> HubError {
    let HubError::Http(HttpError::Status { status, code, .. }) = &error else { return error };
    match (*status, code.as_deref()) {
        (401 | 403, Some("GatedRepo")) => {
            let page = below(&settings.endpoint, model.repository.split('/')).to_string();
            HubError::Gated { model: model.to_string(), page, has_token: settings.token.is_some() }
        }
        (404, Some("RevisionNotFound")) => {
            HubError::NoRevision { model: format!("hf:{}", model.repository), revision: model.revision().to_owned() }
        }
        (401 | 403 | 404, Some("RepoNotFound")) => no_repository(settings, model),
        _ => error,
    }
}

fn no_repository(settings: &HuggingFaceSettings, model: &HuggingFaceModel) -> HubError {
    let has_token = settings.token.is_some();
    let who = if has_token { "the owner of this token" } else { "anybody" };
    HubError::NoRepository { model: model.to_string(), who, has_token }
}

/// What the cache has of a model that nobody has pulled with us: `huggingface_hub` fetched it, or we are offline.
pub(crate) fn cached(settings: &HuggingFaceSettings, model: &HuggingFaceModel) -> Option<Snapshot> {
    let repository = Repository::new(&settings.cache, &model.repository);
    let commit = repository.commit_of(model.revision())?;
    let files = repository.files_of(&commit);
    let listed: Vec<Listed<'_>> = files.iter().map(|(path, bytes)| Listed { path, bytes: *bytes }).collect();
    let places = choose(&listed, model.file.as_deref()).ok()?;
    let file = |&place: &usize| PulledFile { name: files[place].0.clone(), bytes: files[place].1, sha256: None };
    let chosen: Vec<PulledFile> = places.iter().map(file).collect();
    let has_all = crate::choose::is_complete(&chosen.iter().map(|file| file.name.as_str()).collect::<Vec<_>>());
    let folder = repository.snapshot(&commit);
    has_all.then_some(Snapshot { folder, commit, files: chosen, fetched_bytes: 0 })
}
