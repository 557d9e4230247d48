//! A bill of materials: what a model is made of, as its own files say, in CycloneDX 1.6 (ECMA-424, JSON).
//!
//! The same files give the same bytes: the serial number follows from the content, and a time stands in it only if one is
//! given. What no file says is left out.

mod card;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tsumugi_base::Hint;
use tsumugi_base::progress::Observer;
use tsumugi_base::run_record::{RunRecord, sha256};
use tsumugi_files::{FilesError, ModelCard, ModelFiles};

use crate::provenance::{FileHash, HashError, SIGNATURE_FILE, Source, hash_files};

/// A bill could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BomError {
    /// The files could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// They could not be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

impl Hint for BomError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Files(files) => files.hint(),
            Self::Hash(hash) => hash.hint(),
        }
    }
}

/// The bill of a model. `timestamp` is RFC 3339.
pub fn bom(
    model: &ModelFiles,
    timestamp: Option<&str>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Value, BomError> {
    let sources: Vec<(String, Source<'_>)> = model
        .files()
        .files()
        .filter(|(name, _)| *name != SIGNATURE_FILE)
        .map(|(name, file)| (name.to_owned(), Source::Open(file)))
        .collect();
    let hashes = hash_files(&sources, None, threads, observer)?;
    let facts = Facts::of(model)?;
    let files: Vec<Value> = hashes.iter().map(file_component).collect();
    let data = facts.data();
    let references = |components: &[Value]| components.iter().map(|component| component["bom-ref"].clone()).collect();
    let (of_files, of_data): (Vec<Value>, Vec<Value>) = (references(&files), references(&data));
    let depends_on = [of_files, of_data.clone()].concat();
    let components = [files, data].concat();
    let mut bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "tsumugi", "version": env!("CARGO_PKG_VERSION")}]},
            "component": facts.component(&of_data),
        },
        "dependencies": [{"ref": MODEL, "dependsOn": depends_on}],
        "components": components,
    });
    bom["serialNumber"] = json!(serial_number(&bom));
    if let Some(timestamp) = timestamp {
        bom["metadata"]["timestamp"] = json!(timestamp);
    }
    Ok(bom)
}

/// The reference of the model itself.
const MODEL: &str = "model";

/// A UUID of version 8 (RFC 9562: bits of one's own) from the content.
fn serial_number(bom: &Value) -> String {
    let hash = sha256(bom.to_string().as_bytes());
    format!("urn:uuid:{}-{}-8{}-8{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
}

fn file_component(file: &FileHash) -> Value {
    json!({
        "type": "file",
        "bom-ref": format!("file:{}", file.name),
        "name": file.name,
        "hashes": [{"alg": "SHA-256", "content": file.hexadecimal()}],
    })
}

/// What the files say.
struct Facts {
    name: String,
    /// `LlamaForCausalLM`.
    architecture: Option<String>,
    /// `llama`.
    family: Option<String>,
    quantization: Option<String>,
    /// Kind and, where it is said, number of tokens.
    tokenizer: Option<String>,
    vocabulary: Option<u64>,
    context: Option<u64>,
    /// Elements of each type.
    parameters: BTreeMap<&'static str, u64>,
    card: ModelCard,
    run: Option<RunRecord>,
}

impl Facts {
    fn of(model: &ModelFiles) -> Result<Self, BomError> {
        let path = model.path().canonicalize().unwrap_or_else(|_| model.path().to_owned());
        let mut facts = Self {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            architecture: None,
            family: None,
            quantization: None,
            tokenizer: None,
            vocabulary: None,
            context: None,
            parameters: BTreeMap::new(),
            card: ModelCard::of(model),
            run: None,
        };
        for tensor in model.tensors()?.entries() {
            let elements = tensor.shape.iter().fold(1_u64, |product, &length| product.saturating_mul(length as u64));
            let count = facts.parameters.entry(tensor.element_type.name()).or_default();
            *count = count.saturating_add(elements);
        }
        if model.gguf().is_some() {
            facts.read_gguf(model);
        } else {
            facts.read_folder(model)?;
        }
        // A file of that name that is not ours says nothing.
        facts.run = model.json("run.json").ok().flatten().and_then(|record| serde_json::from_value(record).ok());
        Ok(facts)
    }

    fn read_folder(&mut self, model: &ModelFiles) -> Result<(), BomError> {
        let config = model.json("config.json")?.unwrap_or_default();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        self.architecture = text(&config["architectures"][0]);
        self.family = text(&config["model_type"]);
        self.quantization = text(&config["quantization_config"]["quant_method"]);
        self.vocabulary = config["vocab_size"].as_u64();
        self.context = config["max_position_embeddings"].as_u64();
        if let Some(json) = model.text("tokenizer.json")? {
            // Only this one word of it: a vocabulary has a hundred thousand others.
            #[derive(Deserialize)]
            struct File {
                model: Kind,
            }
            #[derive(Deserialize)]
            struct Kind {
                #[serde(rename = "type")]
                name: Option<String>,
            }
            self.tokenizer = serde_json::from_str::<File>(json).ok().and_then(|file| file.model.name);
        }
        Ok(())
    }

    fn read_gguf(&mut self, model: &ModelFiles) {
        let Some(metadata) = model.gguf() else { return };
        let text = |key: &str| metadata.get(key).and_then(|value| value.as_str()).map(str::to_owned);
        self.family = text("general.architecture");
        self.tokenizer = text("tokenizer.ggml.model");
        if let Some(family) = &self.family {
            let number = |key: &str| metadata.get(&format!("{family}.{key}")).and_then(|value| value.as_u64());
            (self.vocabulary, self.context) = (number("vocab_size"), number("context_length"));
        }
        let most = self.parameters.iter().max_by_key(|(_, elements)| **elements);
        self.quantization = most.map(|(kind, _)| (*kind).to_owned()).filter(|kind| kind.starts_with(['Q', 'I']));
    }

    /// The model as a component; `data` are references of what it was trained on.
    fn component(&self, data: &[Value]) -> Value {
        let mut component = json!({"type": "machine-learning-model", "bom-ref": MODEL, "name": self.name});
        if !self.card.licences.is_empty() {
            component["licenses"] = self.card.licences.iter().map(|name| card::licence(name)).collect();
        }
        if !self.card.bases.is_empty() {
            let ancestors: Vec<Value> = self.card.bases.iter().map(|base| ancestor(base)).collect();
            component["pedigree"] = json!({"ancestors": ancestors});
        }
        let mut parameters = Map::new();
        let words = [
            ("task", &self.card.task),
            ("architectureFamily", &self.family),
            ("modelArchitecture", &self.architecture),
        ];
        for (key, value) in words {
            parameters.extend(value.iter().map(|value| (key.to_owned(), json!(value))));
        }
        let named = self.card.datasets.iter().map(|name| json!({"type": "dataset", "name": name}));
        let datasets: Vec<Value> = data.iter().map(|reference| json!({"ref": reference})).chain(named).collect();
        if !datasets.is_empty() {
            parameters.insert("datasets".into(), json!(datasets));
        }
        if !parameters.is_empty() {
            component["modelCard"] = json!({"modelParameters": parameters});
        }
        component["properties"] = json!(self.properties());
        component
    }

    fn properties(&self) -> Vec<Value> {
        let mut properties = Vec::new();
        let mut add = |name: &str, value: String| {
            properties.push(json!({"name": format!("tsumugi:{name}"), "value": value}));
        };
        add("parameters", self.parameters.values().sum::<u64>().to_string());
        for (kind, elements) in &self.parameters {
            add(&format!("parameters:{kind}"), elements.to_string());
        }
        let words = [("quantization", &self.quantization), ("tokenizer", &self.tokenizer)];
        for (name, word) in words {
            if let Some(word) = word {
                add(name, word.clone());
            }
        }
        let numbers = [("vocabulary", self.vocabulary), ("context", self.context)];
        for (name, number) in numbers {
            if let Some(number) = number {
                add(name, number.to_string());
            }
        }
        if let Some(run) = &self.run {
            add("run:recipe", run.recipe.to_string());
            add("run:seed", run.seed.to_string());
            add("run:started", run.started.clone());
            for (name, version) in &run.versions {
                add(&format!("run:version:{name}"), version.clone());
            }
        }
        properties
    }

    /// What it was trained on, as the run's record has it.
    fn data(&self) -> Vec<Value> {
        let mut data: BTreeMap<&str, Value> = BTreeMap::new();
        for input in self.run.iter().flat_map(|run| &run.inputs) {
            let name = input.path.file_name().unwrap_or(input.path.as_os_str()).to_string_lossy();
            let component = json!({
                "type": "data",
                "bom-ref": format!("data:{}", input.sha256),
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": input.sha256}],
                "data": [{"type": "dataset", "name": name}],
            });
            data.insert(&input.sha256, component);
        }
        // A record that was written by hand may hold anything.
        data.retain(|hash, _| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        data.into_values().collect()
    }
}

/// What a model was made from; a name of the hub gets its address (purl).
fn ancestor(base: &str) -> Value {
    let mut component = json!({"type": "machine-learning-model", "name": base});
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if base.split_once('/').is_some_and(|(owner, name)| is_word(owner) && is_word(name)) {
        component["purl"] = json!(format!("pkg:huggingface/{base}"));
    }
    component
}
