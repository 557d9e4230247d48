//! Plain addresses.

use std::fs;

use tsumugi_base::progress::Silent;
use tsumugi_base::testing::temporary_folder;
use tsumugi_hub::{Hub, HubError, PullOptions, Pulled, Settings, Source};

use crate::mock::{Mock, Reply, Request, settings, sha256};

const BODY: &[u8] = b"GGUF and so on, a little longer than nothing";

fn pull(settings: &Settings, source: &str) -> Result<Pulled, HubError> {
    Hub::new(settings.clone()).pull(&Source::parse(source).unwrap(), PullOptions::default(), &Silent)
}

#[test]
fn a_file_is_fetched_once_and_found_by_its_address() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| Reply::file(request, BODY)));
    let settings = settings(folder.path());
    let address = format!("{}/models/a.gguf?download=true", mock.url());
    let pulled = pull(&settings, &format!("{address}#sha256={}", sha256(BODY))).unwrap();
    assert_eq!(fs::read(&pulled.path).unwrap(), BODY);
    assert!(pulled.path.ends_with("a.gguf") && pulled.path.starts_with(folder.path().join("home/models")));
    assert_eq!(pull(&settings, &address).unwrap().path, pulled.path);
    assert_eq!(mock.targets(), ["/models/a.gguf?download=true"]);
    assert_eq!(Hub::new(settings).resolve(&Source::parse(&address).unwrap()).unwrap(), pulled.path);
}

#[test]
fn the_hash_in_an_address_is_checked() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| Reply::file(request, BODY)));
    let error = pull(&settings(folder.path()), &format!("{}/a.gguf#sha256={}", mock.url(), sha256(b""))).unwrap_err();
    assert!(matches!(error, HubError::Wrong { what: "SHA-256", .. }), "{error}");
}

#[test]
fn what_was_pulled_without_a_hash_is_held_against_one_later() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| Reply::file(request, BODY)));
    let settings = settings(folder.path());
    let address = format!("{}/a.gguf", mock.url());
    pull(&settings, &address).unwrap();
    let error = pull(&settings, &format!("{address}#sha256={}", sha256(b""))).unwrap_err();
    assert!(matches!(error, HubError::Wrong { what: "SHA-256", .. }), "{error}");
}

/// Cut at the first request, then whole from where it is wanted, unless its version is another.
fn versioned(tags: [&'static str; 2]) -> Mock {
    Mock::start(move |request, before| {
        let tag = tags[before.min(1)];
        let is_same = request.header("if-range").is_none_or(|wanted| wanted == tag);
        let whole = Request { headers: Default::default(), ..request.clone() };
        let reply = Reply::file(if is_same { request } else { &whole }, BODY).with("ETag", tag);
        if before == 0 { reply.cut(10) } else { reply }
    })
}

#[test]
fn without_a_hash_a_part_is_used_only_if_the_file_is_still_the_same() {
    for (tags, second, fetched) in [
        (["\"a\"", "\"a\""], 10, BODY.len()),
        (["\"a\"", "\"b\""], 10, BODY.len() + 10),
        (["W/\"a\"", "W/\"a\""], 0, BODY.len() + 10),
    ] {
        let (folder, mock) = (temporary_folder(), versioned(tags));
        let pulled = pull(&settings(folder.path()), &format!("{}/a.gguf", mock.url())).unwrap();
        assert_eq!(fs::read(&pulled.path).unwrap(), BODY);
        assert_eq!((mock.requests()[1].begin(), pulled.fetched_bytes), (second, fetched as u64), "{tags:?}");
    }
}

#[test]
fn a_file_that_never_comes_whole_is_given_up() {
    let (folder, mock) = (temporary_folder(), Mock::start(|_, _| Reply::new(200, BODY).cut(10)));
    let error = pull(&settings(folder.path()), &format!("{}/a.gguf", mock.url())).unwrap_err();
    assert!(error.to_string().starts_with(&format!("the connection to {} broke", mock.address)), "{error}");
    assert_eq!(mock.requests().len(), 6, "each begins anew, and none gets further than the first");
}

#[test]
fn a_part_that_was_not_asked_for_is_not_taken() {
    let folder = temporary_folder();
    let wrong = |request: &Request| {
        let part = Reply::new(206, &BODY[20..]).with("Content-Range", format!("bytes 20-{}/{0}", BODY.len()));
        if request.begin() > 0 { part } else { Reply::new(200, BODY).with("ETag", "\"a\"") }
    };
    let mock = Mock::start(move |request, before| match before {
        0 => wrong(request).cut(10),
        _ => wrong(request),
    });
    let pulled = pull(&settings(folder.path()), &format!("{}/a.gguf", mock.url())).unwrap();
    assert_eq!(fs::read(&pulled.path).unwrap(), BODY);
    let always = Mock::start(|_, _| Reply::new(206, BODY).with("Content-Range", "bytes 0-9/10"));
    let error = pull(&settings(folder.path()), &format!("{}/a.gguf", always.url())).unwrap_err();
    assert!(error.to_string().ends_with("a part has come that was not asked for"), "{error}");
    let empty = Mock::start(|_, _| Reply::new(204, ""));
    assert!(pull(&settings(folder.path()), &format!("{}/a.gguf", empty.url())).is_err());
}

#[test]
fn plain_http_to_other_machines_is_refused() {
    let folder = temporary_folder();
    let error = pull(&settings(folder.path()), "http://models.example/a.gguf").unwrap_err();
    assert!(error.to_string().starts_with("http://models.example/a.gguf is not encrypted"), "{error}");
}

#[test]
fn a_missing_file_is_told() {
    let (folder, mock) = (temporary_folder(), Mock::start(|_, _| Reply::new(404, "")));
    let error = pull(&settings(folder.path()), &format!("{}/a.gguf", mock.url())).unwrap_err();
    assert_eq!(error.to_string(), format!("{}/a.gguf answers 404", mock.url()));
}
