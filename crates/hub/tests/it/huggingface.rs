//! The Hugging Face hub, mocked.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tsumugi_base::progress::{Event, Observer, Recorder, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_base::{Hint, error_chain};
use tsumugi_hub::{Hub, HubError, PullOptions, Pulled, Secret, Settings, Source};

use crate::mock::{Mock, Reply, Request, git_blob, settings, sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const CONFIG: &[u8] = br#"{"model_type":"llama"}"#;
const API: &str = "/api/models/org/name/revision/main?blobs=true";

fn weights() -> Vec<u8> {
    (0..700_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn listing() -> String {
    let (weights, id) = (weights(), git_blob(CONFIG));
    let (hash, size) = (sha256(&weights), weights.len());
    format!(
        r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"config.json","size":{},"blobId":"{id}"}},
        {{"rfilename":"model.safetensors","size":{size},"blobId":"{id}","lfs":{{"sha256":"{hash}","size":{size},"pointerSize":1}}}},
        {{"rfilename":"pytorch_model.bin","size":1,"blobId":"{id}"}}]}}"#,
        CONFIG.len()
    )
}

/// What an honest hub answers.
fn honest(request: &Request) -> Reply {
    let file = format!("/org/name/resolve/{COMMIT}/");
    match request.target.strip_prefix(&file) {
        Some("config.json") => Reply::file(request, CONFIG),
        Some("model.safetensors") => Reply::file(request, &weights()),
        Some(_) => Reply::new(404, "").with("X-Error-Code", "EntryNotFound"),
        None if request.target == API => Reply::new(200, listing()),
        None => Reply::new(401, "").with("X-Error-Code", "RepoNotFound"),
    }
}

fn with_endpoint(folder: &Path, mock: &Mock) -> Settings {
    let mut settings = settings(folder);
    settings.huggingface.endpoint = mock.url().parse().unwrap();
    settings
}

fn pull(settings: Settings, source: &str) -> Result<Pulled, HubError> {
    Hub::new(settings).pull(&Source::parse(source).unwrap(), PullOptions::default(), &Silent)
}

#[test]
fn a_model_lies_in_the_layout_of_huggingface_hub() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| honest(request)));
    let settings = with_endpoint(folder.path(), &mock);
    let pulled = pull(settings.clone(), "hf:org/name").unwrap();
    let repository = folder.path().join("cache/models--org--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    assert_eq!(pulled.path, snapshot);
    assert_eq!(pulled.fetched_bytes, (CONFIG.len() + weights().len()) as u64);
    assert_eq!(fs::read(snapshot.join("config.json")).unwrap(), CONFIG);
    assert_eq!(fs::read(repository.join("blobs").join(sha256(&weights()))).unwrap(), weights());
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(snapshot.join("config.json")).unwrap(),
        Path::new("../../blobs").join(git_blob(CONFIG)),
        "relative, so that the cache may be moved"
    );
    assert!(!snapshot.join("pytorch_model.bin").exists(), "no pickle where safetensors are");
    let names: Vec<&str> = pulled.model.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!((names, pulled.model.version.as_str()), (vec!["config.json", "model.safetensors"], COMMIT));
    // Again: the hub is asked whether `main` has moved, and nothing is fetched.
    let again = pull(settings.clone(), "hf:org/name").unwrap();
    assert_eq!((again.fetched_bytes, again.path.clone()), (0, snapshot));
    assert_eq!(mock.requests().iter().filter(|request| request.target.contains("/resolve/")).count(), 2);
    let hub = Hub::new(settings);
    assert_eq!(hub.resolve(&Source::parse("hf:org/name").unwrap()).unwrap(), again.path);
    assert_eq!(hub.pulled().iter().map(|(model, _)| model.source.as_str()).collect::<Vec<_>>(), ["hf:org/name"]);
}

#[test]
fn what_another_tool_has_fetched_is_not_fetched_again() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| honest(request)));
    let blobs = folder.path().join("cache/models--org--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(sha256(&weights())), weights()).unwrap();
    let pulled = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap();
    assert_eq!(pulled.fetched_bytes, CONFIG.len() as u64);
}

#[test]
fn what_lies_in_the_cache_is_hashed_once_and_fetched_again_when_it_is_something_else() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| honest(request)));
    let settings = with_endpoint(folder.path(), &mock);
    let blobs = folder.path().join("cache/models--org--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let mut damaged = weights();
    damaged[300_000] ^= 1;
    let (large, small) = (blobs.join(sha256(&weights())), blobs.join(git_blob(CONFIG)));
    fs::write(&large, damaged).unwrap();
    fs::write(&small, vec![b' '; CONFIG.len()]).unwrap();
    let recorder = Recorder::default();
    let source = Source::parse("hf:org/name").unwrap();
    let pulled = Hub::new(settings.clone()).pull(&source, PullOptions::default(), &recorder).unwrap();
    assert_eq!(pulled.fetched_bytes, (CONFIG.len() + weights().len()) as u64);
    assert_eq!((fs::read(&large).unwrap(), fs::read(&small).unwrap()), (weights(), CONFIG.to_vec()));
    let told = |event: &Event| matches!(event, Event::Warning { message } if message.ends_with("fetched again"));
    assert_eq!(recorder.events().iter().filter(|event| told(event)).count(), 2);
    // A file that looks as it did when it was hashed is not hashed again: here a change with its old time is not seen.
    let modified = fs::metadata(&large).unwrap().modified().unwrap();
    let rewrite = |time| {
        let file = fs::OpenOptions::new().write(true).open(&large).unwrap();
        std::io::Write::write_all(&mut &file, &[weights()[0] ^ 1]).unwrap();
        file.set_modified(time).unwrap();
    };
    rewrite(modified);
    assert_eq!(pull(settings.clone(), "hf:org/name").unwrap().fetched_bytes, 0);
    rewrite(modified + std::time::Duration::from_secs(1));
    assert_eq!(pull(settings, "hf:org/name").unwrap().fetched_bytes, weights().len() as u64);
    assert_eq!(fs::read(&large).unwrap(), weights());
}

#[test]
fn a_connection_that_breaks_is_made_again_where_it_stopped() {
    let folder = temporary_folder();
    let mock = Mock::start(|request, before| match request.target.ends_with("model.safetensors") && before < 3 {
        true => honest(request).cut(200_000),
        false => honest(request),
    });
    let pulled = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap();
    assert_eq!(fs::read(pulled.path.join("model.safetensors")).unwrap(), weights());
    let is_weights = |request: &&Request| request.target.ends_with("model.safetensors");
    let begins: Vec<usize> = mock.requests().iter().filter(is_weights).map(Request::begin).collect();
    assert_eq!(begins, [0, 200_000, 400_000, 600_000]);
    assert_eq!(pulled.fetched_bytes, (CONFIG.len() + weights().len()) as u64);
}

#[test]
fn a_connection_that_always_breaks_is_an_error_and_a_later_run_goes_on() {
    let folder = temporary_folder();
    let is_whole = std::sync::Arc::new(AtomicBool::new(false));
    let asked = std::sync::Arc::clone(&is_whole);
    let mock = Mock::start(move |request, before| {
        let is_weights = request.target.ends_with("model.safetensors") && !asked.load(Ordering::SeqCst);
        if is_weights { honest(request).cut(if before == 0 { 300_000 } else { 0 }) } else { honest(request) }
    });
    let settings = with_endpoint(folder.path(), &mock);
    let error = pull(settings.clone(), "hf:org/name").unwrap_err();
    assert!(error.to_string().starts_with("the connection to 127.0.0.1:"), "{error}");
    assert!(error.hint().unwrap().contains("goes on where it stopped"));
    assert!(Hub::new(settings.clone()).resolve(&Source::parse("hf:org/name").unwrap()).is_err());
    is_whole.store(true, Ordering::SeqCst);
    let pulled = pull(settings, "hf:org/name").unwrap();
    assert_eq!(pulled.fetched_bytes, (weights().len() - 300_000) as u64);
    assert_eq!(mock.requests().last().unwrap().begin(), 300_000);
}

#[test]
fn a_part_of_something_else_is_found_by_the_hash_and_replaced() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| honest(request)));
    let blobs = folder.path().join("cache/models--org--name/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&weights()))), vec![7; 1000]).unwrap();
    let pulled = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap();
    assert_eq!(fs::read(pulled.path.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn a_server_that_cannot_resume_sends_the_whole() {
    let folder = temporary_folder();
    let mock = Mock::start(|request, before| {
        let whole = Request { headers: Default::default(), ..request.clone() };
        let reply = honest(&whole);
        if request.target.ends_with("model.safetensors") && before == 0 { reply.cut(1000) } else { reply }
    });
    let pulled = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap();
    assert_eq!(fs::read(pulled.path.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn other_bytes_than_promised_are_refused() {
    for (name, what) in [("model.safetensors", "SHA-256"), ("config.json", "git hash")] {
        let folder = temporary_folder();
        let mock = Mock::start(move |request, _| {
            let mut reply = honest(request);
            if request.target.ends_with(name) {
                reply.body[3] ^= 1;
            }
            reply
        });
        let settings = with_endpoint(folder.path(), &mock);
        let error = pull(settings.clone(), "hf:org/name").unwrap_err();
        assert!(matches!(&error, HubError::Wrong { file, what: kind, .. } if file == name && *kind == what), "{error}");
        assert!(Hub::new(settings).resolve(&Source::parse("hf:org/name").unwrap()).is_err());
        let blobs = folder.path().join("cache/models--org--name/blobs");
        let left: Vec<_> = fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let wrong = if name == "config.json" { git_blob(CONFIG) } else { sha256(&weights()) };
        assert!(left.iter().all(|file| !file.to_str().unwrap().starts_with(&wrong)), "{left:?}");
    }
}

#[test]
fn refusals_are_told_in_plain_words() {
    for (status, code, message, hint) in [
        (401, Some("RepoNotFound"), "there is no hf:org/name that anybody may read", "set HF_TOKEN"),
        (401, None, "there is no hf:org/name that anybody may read", "set HF_TOKEN"),
        (404, Some("RepoNotFound"), "there is no hf:org/name that anybody may read", "set HF_TOKEN"),
        (403, Some("GatedRepo"), "hf:org/name is gated", "then set HF_TOKEN"),
        (404, Some("RevisionNotFound"), "hf:org/name has no revision `main`", "leave `@revision` out"),
    ] {
        let folder = temporary_folder();
        let mock = Mock::start(move |_, _| {
            let reply = Reply::new(status, "");
            if let Some(code) = code { reply.with("X-Error-Code", code) } else { reply }
        });
        let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error}: {:?}", error.hint());
        assert_eq!(mock.requests().len(), 1, "asking again would change nothing");
    }
}

#[test]
fn a_refusal_of_the_storage_is_not_one_of_the_hub() {
    let folder = temporary_folder();
    let mock = Mock::start(|request, _| match request.target.ends_with("config.json") {
        true => Reply::new(403, "<Error>expired</Error>"),
        false => honest(request),
    });
    let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
    assert!(error.to_string().ends_with("/config.json answers 403"), "{error}");
}

#[test]
fn a_gated_model_says_where_to_ask_and_a_token_gets_it() {
    let folder = temporary_folder();
    let mock = Mock::start(|request, _| match request.header("authorization") {
        Some("Bearer hf_right") => honest(request),
        _ => Reply::new(403, "").with("X-Error-Code", "GatedRepo"),
    });
    let mut settings = with_endpoint(folder.path(), &mock);
    settings.huggingface.token = Some(Secret::bearer(&settings.huggingface.endpoint, "hf_wrong"));
    let error = pull(settings.clone(), "hf:org/name").unwrap_err();
    let expected = format!("ask for access at {}/org/name with the account whose token HF_TOKEN is", mock.url());
    assert_eq!(error.hint().unwrap(), expected);
    settings.huggingface.token = Some(Secret::bearer(&settings.huggingface.endpoint, "hf_right"));
    pull(settings, "hf:org/name").unwrap();
}

#[test]
fn a_busy_hub_is_asked_again_when_it_says() {
    let folder = temporary_folder();
    let mock = Mock::start(|request, before| match before {
        0 => Reply::new(429, "").with("Retry-After", "0"),
        1 => Reply::new(503, ""),
        _ => honest(request),
    });
    let observer = Recorder::default();
    let hub = Hub::new(with_endpoint(folder.path(), &mock));
    hub.pull(&Source::parse("hf:org/name").unwrap(), PullOptions::default(), &observer).unwrap();
    let is_note = |event: &Event| matches!(event, Event::Note { message } if message.contains("is busy (429)"));
    assert!(observer.events().iter().any(is_note));
}

#[test]
fn a_hub_that_wants_a_long_wait_is_an_error_that_says_how_long() {
    let folder = temporary_folder();
    let mock = Mock::start(|_, _| Reply::new(429, "").with("Retry-After", "3600"));
    let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
    assert!(error.to_string().ends_with("has had too many requests and asks to wait 1 h 00 min"), "{error}");
    assert_eq!(mock.requests().len(), 1);
    let always = Mock::start(|_, _| Reply::new(500, "out of order").with("Content-Type", "text/plain"));
    let error = pull(with_endpoint(folder.path(), &always), "hf:org/name").unwrap_err();
    assert!(error.to_string().ends_with("answers 500: out of order"), "{error}");
}

#[test]
fn a_redirect_to_another_host_does_not_get_the_token() {
    let folder = temporary_folder();
    let storage = Mock::start(|request, _| Reply::file(request, &weights()));
    let elsewhere = format!("{}/signed", storage.url());
    let mock = Mock::start(move |request, _| match request.target.as_str() {
        target if target.ends_with("model.safetensors") => Reply::new(302, "").with("Location", &elsewhere),
        // Within the hub, as for a repository that was renamed: the token goes along.
        API => Reply::new(307, "").with("Location", "/api/moved"),
        "/api/moved" => Reply::new(200, listing()),
        _ => honest(request),
    });
    let mut settings = with_endpoint(folder.path(), &mock);
    settings.huggingface.token = Some(Secret::bearer(&settings.huggingface.endpoint, "hf_secret"));
    pull(settings, "hf:org/name").unwrap();
    assert!(mock.requests().iter().all(|request| request.header("authorization") == Some("Bearer hf_secret")));
    assert_eq!(storage.requests().len(), 1);
    assert_eq!(storage.requests()[0].header("authorization"), None);
}

#[test]
fn redirects_end() {
    let folder = temporary_folder();
    let mock = Mock::start(|_, _| Reply::new(302, "").with("Location", "/again"));
    let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
    assert!(error.to_string().ends_with("redirects more than 8 times"), "{error}");
}

#[test]
fn offline_only_the_cache_is_used() {
    let (folder, mock) = (temporary_folder(), Mock::start(|request, _| honest(request)));
    let mut settings = with_endpoint(folder.path(), &mock);
    settings.huggingface.offline = true;
    let error = pull(settings.clone(), "hf:org/name").unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE forbids to fetch it"), "{error}");
    settings.huggingface.offline = false;
    let path = pull(settings.clone(), "hf:org/name").unwrap().path;
    let asked = mock.requests().len();
    settings.huggingface.offline = true;
    assert_eq!(pull(settings.clone(), "hf:org/name").unwrap().path, path);
    // A dead hub is no reason to lose what is here, either.
    settings.huggingface.offline = false;
    settings.huggingface.endpoint = crate::mock::dead_url().parse().unwrap();
    assert_eq!(pull(settings.clone(), "hf:org/name").unwrap().path, path);
    assert_eq!(mock.requests().len(), asked);
    // Without a record of ours: what `huggingface_hub` fetched is found.
    fs::remove_dir_all(&settings.home).unwrap();
    assert_eq!(Hub::new(settings).resolve(&Source::parse("hf:org/name").unwrap()).unwrap(), path);
}

#[test]
fn a_listing_cannot_write_outside_of_the_cache() {
    for (from, to) in [(COMMIT, "../../../x"), ("config.json", "../../../../x"), ("config.json", "/x")] {
        let folder = temporary_folder();
        let mock = Mock::start(move |request, _| match request.target.as_str() {
            API => Reply::new(200, listing().replace(from, to)),
            _ => honest(request),
        });
        let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
        assert!(error.to_string().contains("answers with something else than a list of a model's files"), "{error}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["home"], "only the lock's folder");
    }
}

#[test]
fn what_is_no_list_and_what_does_not_fit_are_errors() {
    let folder = temporary_folder();
    let mock = Mock::start(|_, _| Reply::new(200, "<html>"));
    let error = pull(with_endpoint(folder.path(), &mock), "hf:org/name").unwrap_err();
    assert!(error_chain(&error).contains("expected value at line 1"), "{error}");
    let huge = Mock::start(|request, _| match request.target.as_str() {
        API => Reply::new(200, listing().replace("\"size\":700000", "\"size\":9000000000000000000")),
        _ => honest(request),
    });
    let error = pull(with_endpoint(folder.path(), &huge), "hf:org/name").unwrap_err();
    assert!(error.to_string().ends_with("free, but 7.8 EiB are to come"), "{error}");
    assert_eq!(huge.requests().len(), 1, "the space is looked at before anything is fetched");
    let missing = pull(with_endpoint(folder.path(), &mock_honest()), "hf:org/name:model.gguf").unwrap_err();
    assert_eq!(error_chain(&missing), "hf:org/name has no file and no quantization `model.gguf`");
}

fn mock_honest() -> Mock {
    Mock::start(|request, _| honest(request))
}

/// Asks to stop as soon as something has arrived.
#[derive(Default)]
struct Impatient(AtomicBool);

impl Observer for Impatient {
    fn event(&self, event: &Event) {
        if matches!(event, Event::Step { .. }) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_pull_that_is_stopped_goes_on_later() {
    let (folder, mock) = (temporary_folder(), mock_honest());
    let settings = with_endpoint(folder.path(), &mock);
    let hub = Hub::new(settings.clone());
    let source = Source::parse("hf:org/name").unwrap();
    let error = hub.pull(&source, PullOptions::default(), &Impatient::default()).unwrap_err();
    assert!(matches!(error, HubError::Stopped), "{error}");
    let pulled = pull(settings, "hf:org/name").unwrap();
    assert!(pulled.fetched_bytes < (CONFIG.len() + weights().len()) as u64);
}
