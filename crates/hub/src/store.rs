//! The store: one folder per model that was pulled, with a record of what came from where.
//!
//! ```text
//! $TSUMUGI_HOME/models/smollm2-135m/pulled.json, SmolLM2-135M-Instruct.Q4_1.gguf
//! $TSUMUGI_HOME/models/hf--org--name/pulled.json        its files lie in the hub's cache
//! $TSUMUGI_HOME/downloads/                              what has not arrived whole
//! $TSUMUGI_HOME/locks/                                  one pull of a model at a time
//! $TSUMUGI_HOME/verified/                               which files of the hub's cache have been hashed
//! ```
//!
//! A folder is made beside its place and renamed, with its record in it: a model is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::{AtomicFolder, create_folder, is_leftover, read_limited, write_atomic};
use tsumugi_base::limits::RUN_RECORD_BYTES_MAX;
use tsumugi_base::progress::Observer;
use tsumugi_base::{FileAction, FileError};

use crate::download::Lock;
use crate::error::HubError;
use crate::names::is_safe_path;
use crate::source::Source;
use crate::verified::Verified;

const RECORD: &str = "pulled.json";

/// What a pull left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledModel {
    /// The name that it was pulled by, and is found by.
    pub source: String,
    /// Where it came from: one of the catalogue's origins, or the same as `source`.
    pub origin: String,
    /// Commit of the hub, hash of the wheel: what says which version it is.
    pub version: String,
    /// Where the files lie, if that is not the folder of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What was fetched.
    pub files: Vec<PulledFile>,
}

/// A file of a pulled model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledFile {
    /// From the model's folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// In hexadecimal digits; none where it was in the hub's cache already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl PulledModel {
    /// All files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// What a loader takes: the folder of a model of several files; else the one file, or its first part.
    pub fn loadable(&self, folder: &Path) -> PathBuf {
        let is_gguf = |file: &&PulledFile| file.name.to_ascii_lowercase().ends_with(".gguf");
        let is_folder = |file: &PulledFile| file.name == "config.json" || file.name.ends_with(".safetensors");
        let one = match self.files.as_slice() {
            [file] => Some(file),
            files if files.iter().any(is_folder) => None,
            files => files.iter().filter(is_gguf).min_by_key(|file| &file.name),
        };
        one.map_or_else(|| folder.to_owned(), |file| folder.join(&file.name))
    }
}

/// The folder of everything that was pulled.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    home: PathBuf,
}

impl Store {
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home }
    }

    /// What is known of the hub's cache.
    pub(crate) fn verified(&self) -> Verified {
        Verified::new(self.home.join("verified"))
    }

    fn models(&self) -> PathBuf {
        self.home.join("models")
    }

    fn folder_of(&self, source: &Source) -> PathBuf {
        self.models().join(folder_name(&source.to_string()))
    }

    /// Where the file with this key lies until it is whole, for one process at a time.
    pub(crate) fn partial(&self, key: &str, observer: &dyn Observer) -> Result<(PathBuf, Lock), HubError> {
        let folder = self.home.join("downloads");
        create_folder(&folder)?;
        let lock = Lock::take(&self.home.join("locks").join(format!("{key}.lock")), "the same file", observer)?;
        Ok((folder.join(format!("{key}.incomplete")), lock))
    }

    /// One pull of this model at a time.
    pub(crate) fn lock(&self, source: &Source, observer: &dyn Observer) -> Result<Lock, HubError> {
        let name = source.to_string();
        Lock::take(&self.home.join("locks").join(format!("{}.lock", folder_name(&name))), &name, observer)
    }

    /// The model that was pulled by this name, if all of it is still there; with the folder of its files.
    pub(crate) fn find(&self, source: &Source) -> Option<(PulledModel, PathBuf)> {
        let (model, folder) = read_record(&self.folder_of(source))?;
        (model.source == source.to_string() && is_whole(&model, &folder)).then_some((model, folder))
    }

    /// Everything that is there, by name.
    pub(crate) fn all(&self) -> Vec<(PulledModel, PathBuf)> {
        let entries = fs::read_dir(self.models()).into_iter().flatten().flatten();
        let paths = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| !is_leftover(name)));
        let records = paths.filter_map(|entry| read_record(&entry.path()));
        let mut all: Vec<_> = records.filter(|(model, folder)| is_whole(model, folder)).collect();
        all.sort_by(|(a, _), (b, _)| a.source.cmp(&b.source));
        all
    }

    /// A folder to put a model into; [`NewModel::commit`] makes it the model of this name.
    pub(crate) fn begin(&self, source: &Source) -> Result<NewModel, HubError> {
        create_folder(&self.models())?;
        let place = self.folder_of(source);
        // What is there is broken, or of another version: a whole one would have been found.
        if place.exists() {
            fs::remove_dir_all(&place).map_err(|error| FileError::new(FileAction::Remove, &place, error))?;
        }
        Ok(NewModel { folder: AtomicFolder::create(&place)?, place })
    }
}

/// A model that is being put together.
pub(crate) struct NewModel {
    folder: AtomicFolder,
    place: PathBuf,
}

impl NewModel {
    /// Where to write `name`, which is a safe path; folders above it are made.
    pub(crate) fn path_of(&self, name: &str) -> Result<PathBuf, HubError> {
        let path = self.folder.partial_path().join(name);
        if let Some(above) = path.parent() {
            create_folder(above)?;
        }
        Ok(path)
    }

    /// Puts it into its place; the folder of its files.
    pub(crate) fn commit(self, model: &PulledModel) -> Result<PathBuf, HubError> {
        let unwritable = |error: serde_json::Error| {
            let name = "the path of the cache (HF_HUB_CACHE)".into();
            HubError::Setting { name, reason: error.to_string() } // a path need not be text; nothing else can fail
        };
        let json = serde_json::to_string_pretty(model).map_err(unwritable)?;
        write_atomic(&self.folder.partial_path().join(RECORD), format!("{json}\n").as_bytes())?;
        self.folder.commit()?;
        Ok(model.folder.clone().unwrap_or(self.place))
    }
}

fn read_record(folder: &Path) -> Option<(PulledModel, PathBuf)> {
    let bytes = read_limited(&folder.join(RECORD), RUN_RECORD_BYTES_MAX).ok()?;
    let model: PulledModel = serde_json::from_slice(&bytes).ok()?;
    let folder = model.folder.clone().unwrap_or_else(|| folder.to_owned());
    Some((model, folder))
}

/// Whether every file is there in its size. (Its hash was checked when it came.)
fn is_whole(model: &PulledModel, folder: &Path) -> bool {
    let is_there = |file: &PulledFile| {
        let about = fs::metadata(folder.join(&file.name));
        is_safe_path(&file.name) && about.is_ok_and(|about| about.is_file() && about.len() == file.bytes)
    };
    !model.files.is_empty() && model.files.iter().all(is_there)
}

/// A source as the name of a folder: `hf:org/name:Q4_K_M` is `hf--org--name--Q4_K_M`. Two sources of one name are told
/// apart by the record, and by the hash that long ones and addresses end with.
fn folder_name(source: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut name = String::new();
    for c in source.chars() {
        match c {
            ':' | '/' | '=' | '@' | '?' | '&' | '#' if name.ends_with("--") => {}
            ':' | '/' | '=' | '@' | '?' | '&' | '#' => name.push_str("--"),
            c if c.is_ascii_alphanumeric() || "-._".contains(c) => name.push(c),
            _ => name.push('_'),
        }
    }
    // `@` and `:` before a last part would be the same name.
    if name.len() > CHARS_MAX || source.starts_with("http") || source.contains('@') {
        let hash = crate::names::sha256_of(source.as_bytes());
        let kept: String = name.chars().take(CHARS_MAX).collect();
        return format!("{kept}--{}", &hash[..16]);
    }
    name
}

#[cfg(test)]
mod tests {
    use tsumugi_base::progress::Silent;
    use tsumugi_base::testing::temporary_folder;

    use super::*;

    fn model(source: &str, files: &[(&str, u64)]) -> PulledModel {
        let file = |&(name, bytes): &(&str, u64)| PulledFile { name: name.into(), bytes, sha256: None };
        PulledModel {
            source: source.into(),
            origin: source.into(),
            version: String::new(),
            folder: None,
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn a_model_is_found_when_it_is_whole() {
        let folder = temporary_folder();
        let store = Store::new(folder.path().join("store"));
        let source = Source::parse("hf:org/name:Q8_0").unwrap();
        assert!(store.find(&source).is_none() && store.all().is_empty());
        let new = store.begin(&source).unwrap();
        fs::write(new.path_of("sub/a.gguf").unwrap(), "1234").unwrap();
        assert!(store.find(&source).is_none(), "not committed yet");
        let record = model("hf:org/name:Q8_0", &[("sub/a.gguf", 4)]);
        let place = new.commit(&record).unwrap();
        assert_eq!(store.find(&source), Some((record.clone(), place.clone())));
        assert_eq!(store.all(), [(record, place.clone())]);
        // Another source whose folder would be the same is not it.
        assert!(store.find(&Source::parse("hf:org/name@Q8_0").unwrap()).is_none());
        fs::write(place.join("sub/a.gguf"), "123").unwrap();
        assert!(store.find(&source).is_none(), "cut short");
        let again = store.begin(&source).unwrap();
        drop(again);
        assert!(store.all().is_empty());
    }

    #[test]
    fn a_record_cannot_lead_out_of_its_folder() {
        let folder = temporary_folder();
        fs::write(folder.path().join("secret"), "1234").unwrap();
        let store = Store::new(folder.path().to_owned());
        let source = Source::parse("hf:org/name").unwrap();
        let new = store.begin(&source).unwrap();
        new.commit(&model("hf:org/name", &[("../../secret", 4)])).unwrap();
        assert!(store.find(&source).is_none());
    }

    #[test]
    fn a_loader_gets_a_folder_or_the_one_file() {
        let folder = Path::new("f");
        for (files, expected) in [
            (&[("a.gguf", 1)][..], "f/a.gguf"),
            (&[("LICENSE", 1), ("a-00001-of-00002.gguf", 1), ("a-00002-of-00002.gguf", 1)], "f/a-00001-of-00002.gguf"),
            (&[("config.json", 1), ("model.safetensors", 1)], "f"),
            (&[("tokenizer.json", 1)], "f/tokenizer.json"),
            (&[("pytorch_model.bin", 1), ("vocab.txt", 1)], "f"),
        ] {
            assert_eq!(model("x", files).loadable(folder), Path::new(expected));
        }
    }

    #[test]
    fn folder_names_are_plain() {
        assert!(folder_name("hf:org/name@refs/pr/1:a.gguf").starts_with("hf--org--name--refs--pr--1--a.gguf--"));
        assert_ne!(folder_name("hf:org/name@Q8_0"), folder_name("hf:org/name:Q8_0"));
        assert_eq!(folder_name("pypi:a==1.0"), "pypi--a--1.0");
        let address = folder_name("https://example.org/../a?b=c");
        assert!(is_safe_path(&address) && !address.contains('/'), "{address}");
        let long = folder_name(&format!("hf:{}/{}", "a".repeat(90), "b".repeat(90)));
        assert_eq!(long.len(), 100 + 2 + 16);
    }

    #[test]
    fn a_second_pull_of_the_same_model_waits() {
        let folder = temporary_folder();
        let store = Store::new(folder.path().to_owned());
        let source = Source::parse("a").unwrap();
        let held = store.lock(&source, &Silent).unwrap();
        /// Stops the wait as soon as it has been told.
        #[derive(Default)]
        struct Told(std::sync::atomic::AtomicBool);
        impl Observer for Told {
            fn event(&self, _: &tsumugi_base::progress::Event) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
            fn stop_requested(&self) -> bool {
                self.0.load(std::sync::atomic::Ordering::SeqCst)
            }
        }
        assert!(matches!(store.lock(&source, &Told::default()), Err(HubError::Stopped)));
        drop(held);
        store.lock(&source, &Told::default()).unwrap();
    }
}
