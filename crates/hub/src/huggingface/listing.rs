//! What a repository has: `GET /api/models/ORG/NAME/revision/REVISION?blobs=true`, one answer with the commit and, for each
//! file, its size and its hash (SHA-256 for large files, git's for the others).

use serde::Deserialize;
use tsumugi_base::limits::{LISTING_BYTES_MAX, LISTING_FILES_MAX};
use tsumugi_base::progress::Observer;

use super::{below, explained, no_repository};
use crate::digest::Digest;
use crate::error::HubError;
use crate::http::{Ask, Client, HttpError, shown};
use crate::names::{SHA1_DIGITS, SHA256_DIGITS, is_hex, is_safe_path};
use crate::settings::HuggingFaceSettings;
use crate::source::HuggingFaceModel;

/// A commit and its files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RemoteFile {
    /// A safe path.
    pub(super) path: String,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<LargeFile>,
}

#[derive(Deserialize)]
struct LargeFile {
    sha256: String,
    size: u64,
}

/// Asks the hub.
pub(super) fn fetch(
    client: &Client,
    settings: &HuggingFaceSettings,
    model: &HuggingFaceModel,
    observer: &dyn Observer,
) -> Result<Listing, HubError> {
    let parts = ["api", "models"].into_iter().chain(model.repository.split('/'));
    let mut url = below(&settings.endpoint, parts.chain(["revision", model.revision()]));
    url.set_query(Some("blobs=true"));
    let ask = Ask { accept: Some("application/json"), secret: settings.token.as_ref(), ..Ask::default() };
    let answered = client.get(&url, ask, observer).and_then(|answer| client.read(answer, LISTING_BYTES_MAX));
    let bytes = answered.map_err(|error| match error {
        // Of the interface itself that is about the repository, also where a mirror sends no word along.
        HttpError::Status { status: 401 | 404, code: None, .. } => no_repository(settings, model),
        other => explained(other.into(), settings, model),
    })?;
    parse(&bytes).map_err(|reason| HubError::Answer { url: shown(&url), expected: "a list of a model's files", reason })
}

fn parse(bytes: &[u8]) -> Result<Listing, String> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    // It names a folder of the cache.
    if !is_hex(&answer.sha, SHA1_DIGITS) {
        return Err(format!("`{}` is no commit", answer.sha));
    }
    if answer.siblings.len() > LISTING_FILES_MAX {
        return Err(format!("{} files, but at most {LISTING_FILES_MAX} are read", answer.siblings.len()));
    }
    let files = answer.siblings.into_iter().map(remote_file).collect::<Result<_, _>>()?;
    Ok(Listing { commit: answer.sha, files })
}

fn remote_file(sibling: Sibling) -> Result<RemoteFile, String> {
    let Sibling { rfilename: path, size, blob_id, lfs } = sibling;
    if !is_safe_path(&path) {
        return Err(format!("`{path}` is no path of a file"));
    }
    let (bytes, digest, digits) = match (lfs, size, blob_id) {
        (Some(LargeFile { sha256, size }), ..) => (size, Digest::Sha256(sha256), SHA256_DIGITS),
        (None, Some(size), Some(id)) => (size, Digest::GitBlob(id), SHA1_DIGITS),
        _ => return Err(format!("`{path}` has no size or no hash")),
    };
    match is_hex(digest.digits(), digits) {
        true => Ok(RemoteFile { path, bytes, digest }),
        false => Err(format!("`{path}` has a hash that is none: `{}`", digest.digits())),
    }
}

#[cfg(test)]
mod tests {
    use tsumugi_base::testing::mutations;

    use super::*;

    const GOOD: &str = r#"{"id":"org/name","sha":"0123456789abcdef0123456789abcdef01234567","gated":false,"siblings":[
        {"rfilename":"config.json","size":612,"blobId":"72b987fd805cfa2b58c4c8c952b274a11bfd5a00"},
        {"rfilename":"sub/model.safetensors","size":90868376,"blobId":"a0ed9bf3a3d0e6e0d7b2c4c5d2e2b6d4f6a5a1a1","lfs":
         {"sha256":"53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db","size":90868376,"pointerSize":133}}]}"#;

    #[test]
    fn sizes_and_hashes_are_read() {
        let listing = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(listing.files[0].digest, Digest::GitBlob("72b987fd805cfa2b58c4c8c952b274a11bfd5a00".into()));
        assert_eq!((listing.files[1].path.as_str(), listing.files[1].bytes), ("sub/model.safetensors", 90_868_376));
        assert!(matches!(&listing.files[1].digest, Digest::Sha256(digits) if digits.starts_with("53aa")));
    }

    #[test]
    fn what_could_name_a_path_outside_is_refused() {
        for (good, bad, reason) in [
            ("0123456789abcdef0123456789abcdef01234567", "../../x", "`../../x` is no commit"),
            ("sub/model.safetensors", "../model.safetensors", "`../model.safetensors` is no path of a file"),
            ("72b987fd805cfa2b58c4c8c952b274a11bfd5a00", "../x", "`config.json` has a hash that is none: `../x`"),
            ("\"size\":612,", "", "`config.json` has no size or no hash"),
            ("\"sha\"", "\"sha_\"", "missing field `sha`"),
        ] {
            let found = parse(GOOD.replace(good, bad).as_bytes()).unwrap_err();
            assert!(found.starts_with(reason), "{found}");
        }
    }

    #[test]
    fn broken_answers_are_refused_or_name_safe_paths() {
        for mutation in mutations(GOOD.as_bytes(), 4, 10_000) {
            if let Ok(listing) = parse(&mutation.bytes) {
                assert!(listing.files.iter().all(|file| is_safe_path(&file.path)), "{}", mutation.number);
            }
        }
    }
}
