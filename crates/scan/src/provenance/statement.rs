//! A manifest as an in-toto statement (v1) with the predicate `https://model_signing/signature/v1.0` of OpenSSF's model
//! signing: the subject is the model and the hash of the whole, the predicate has how files were chosen and each hash.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::manifest::{FileHash, Manifest, Selection};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// The statement as JSON.
pub(super) fn write(manifest: &Manifest) -> Vec<u8> {
    let Selection { ignored, follow_links, piece_bytes } = &manifest.selection;
    let method = if piece_bytes.is_some() { "shards" } else { "files" };
    let mut serialization = json!({"method": method, "hash_type": "sha256", "allow_symlinks": follow_links});
    if let Some(bytes) = piece_bytes {
        serialization["shard_size"] = json!(bytes);
    }
    serialization["ignore_paths"] = json!(ignored);
    let algorithm = algorithm(&manifest.selection);
    let resource = |file: &FileHash| {
        let name = match &file.range {
            Some(range) => format!("{}:{}:{}", file.name, range.start, range.end),
            None => file.name.clone(),
        };
        json!({"name": name, "algorithm": algorithm, "digest": file.hexadecimal()})
    };
    let root: String = manifest.root().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "_type": STATEMENT,
        "subject": [{"name": manifest.model, "digest": {"sha256": root}}],
        "predicateType": PREDICATE,
        "predicate": {
            "serialization": serialization,
            "resources": manifest.files.iter().map(resource).collect::<Vec<_>>(),
        },
    })
    .to_string()
    .into_bytes()
}

/// How a hash is called: one of a piece names the length of pieces.
fn algorithm(selection: &Selection) -> String {
    match selection.piece_bytes {
        Some(bytes) => format!("sha256-sharded-{bytes}"),
        None => "sha256".into(),
    }
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

#[derive(Deserialize)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Deserialize)]
struct Digest {
    sha256: String,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    hash_type: String,
    allow_symlinks: bool,
    /// JSON of protocol buffers has whole numbers as `1000000000.0`.
    shard_size: Option<f64>,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// The manifest that a statement states; what is wrong with it otherwise.
pub(super) fn read(payload: &[u8]) -> Result<Manifest, String> {
    let statement: Statement =
        serde_json::from_slice(payload).map_err(|error| format!("it is no statement: {error}"))?;
    if statement.kind != STATEMENT {
        return Err(format!("it is a statement of another kind: `{}`", statement.kind));
    }
    if statement.predicate_type != PREDICATE {
        return Err(format!("it states another thing than a model: `{}`", statement.predicate_type));
    }
    let [subject] = statement.subject.as_slice() else { return Err("it is about several things".into()) };
    let predicate: Predicate = serde_json::from_value(statement.predicate)
        .map_err(|error| format!("it is no statement of a model: {error}"))?;
    let selection = selection(predicate.serialization)?;
    let mut files = Vec::with_capacity(predicate.resources.len());
    let mut seen = BTreeSet::new();
    for resource in &predicate.resources {
        let file = file(resource, &selection)?;
        if !seen.insert((file.name.clone(), file.range.as_ref().map(|range| range.start))) {
            return Err(format!("it names `{}` twice", resource.name));
        }
        files.push(file);
    }
    let manifest = Manifest { model: subject.name.clone(), files, selection };
    match hash(&subject.digest.sha256) {
        Some(root) if root == manifest.root() => Ok(manifest),
        _ => Err("the hash of the whole is not that of its parts".into()),
    }
}

fn selection(serialization: Serialization) -> Result<Selection, String> {
    if serialization.hash_type != "sha256" {
        return Err(format!("files are hashed with `{}`, and only SHA-256 is known here", serialization.hash_type));
    }
    let piece_bytes = match (serialization.method.as_str(), serialization.shard_size) {
        ("files", _) => None,
        ("shards", Some(bytes)) if bytes >= 1024.0 && bytes.fract() == 0.0 && bytes < 1e15 => Some(bytes as u64),
        (method, _) => return Err(format!("files are listed in a way that is not known here: `{method}`")),
    };
    // What leads out of the model covers nothing in it; what is the model covers all.
    if serialization.ignore_paths.iter().any(|path| path.split('/').all(|part| part.is_empty() || part == ".")) {
        return Err("it leaves out the whole model".into());
    }
    Ok(Selection { ignored: serialization.ignore_paths, follow_links: serialization.allow_symlinks, piece_bytes })
}

fn file(resource: &Resource, selection: &Selection) -> Result<FileHash, String> {
    let wrong = |what: &str| Err(format!("`{}`: {what}", resource.name));
    if resource.algorithm != algorithm(selection) {
        return wrong("its hash is of another kind than the others");
    }
    let Some(sha256) = hash(&resource.digest) else { return wrong("its hash is none") };
    let mut parts = resource.name.rsplitn(3, ':');
    let (name, range) = if selection.piece_bytes.is_some() {
        let (end, start, name) = (parts.next(), parts.next(), parts.next());
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        match (name, number(start), number(end)) {
            (Some(name), Some(start), Some(end)) if start < end => (name, Some(start..end)),
            _ => return wrong("it is no piece of a file"),
        }
    } else {
        (resource.name.as_str(), None)
    };
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    if name != "." && !name.split('/').all(is_part) {
        return wrong("it is no name of a file in a model");
    }
    Ok(FileHash { name: name.to_owned(), range, sha256 })
}

/// 64 hexadecimal digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_must_not_say() {
        let file = |name: &str, sha256| FileHash { name: name.into(), range: None, sha256 };
        let files = vec![file("a", [1; 32]), file("b", [2; 32])];
        let manifest = Manifest { model: "m".into(), files, selection: Selection::default() };
        assert_eq!(read(&write(&manifest)).as_ref(), Ok(&manifest));
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut value: Value = serde_json::from_slice(&write(&manifest)).unwrap();
            change(&mut value);
            read(value.to_string().as_bytes()).unwrap_err()
        };
        let twice = refused(&|value| value["predicate"]["resources"][1]["name"] = json!("a"));
        assert_eq!(twice, "it names `a` twice");
        let wrong = "the hash of the whole is not that of its parts";
        assert_eq!(refused(&|value| value["subject"][0]["digest"]["sha256"] = json!("0".repeat(64))), wrong);
        assert_eq!(refused(&|value| value["predicate"]["resources"][0]["digest"] = json!("0".repeat(64))), wrong);
        assert_eq!(refused(&|value| value["predicate"]["resources"].as_array_mut().unwrap().reverse()), wrong);
        for name in ["", ".", "./", "/", ".//."] {
            let reason = refused(&|value| value["predicate"]["serialization"]["ignore_paths"] = json!(["x", name]));
            assert_eq!(reason, "it leaves out the whole model", "{name}");
        }
    }
}
