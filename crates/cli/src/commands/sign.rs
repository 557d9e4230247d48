//! `tsumugi sign`: a signature over the files of a model.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use tsumugi_base::io::{read_plain, write_atomic};
use tsumugi_base::limits::PEM_BYTES_MAX;
use tsumugi_base::{Hint, error_chain};
use tsumugi_scan::provenance::{
    Certificate, HashError, KeyError, Manifest, PIECE_BYTES, PrivateKey, SIGNATURE_FILE, Selection,
    certificates_from_pem, sign,
};

use super::Command;
use crate::flags::{Json, Threads};
use crate::output::{Answer, Failure, print_json, print_line};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Sign a model: who has the public key can tell that no file of it was changed, added or taken away
///
/// Hashes of all files, as an in-toto statement in a DSSE envelope in a Sigstore bundle: what OpenSSF's `model-signing` writes and verifies, too. Left out are `.git`,
/// `.gitattributes`, `.github`, `.gitignore` and the signature itself.
#[derive(Debug, Args)]
pub struct Sign {
    /// A model's folder or file
    model: String,
    /// The private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The certificate that was issued for this key (PEM), behind it those that lead to its root; may be given several times
    #[arg(long, value_name = "FILE")]
    certificate: Vec<PathBuf>,
    /// Where the signature goes [default: MODEL/model.sig, or FILE.sig]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Leave out a file or folder of the model; may be given several times
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
    /// Take links to files for the files; otherwise they are refused
    #[arg(long)]
    follow_links: bool,
    /// Hash files in pieces of 1 GB, so that all threads share a large one
    #[arg(long)]
    pieces: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

impl Command for Sign {
    const NAME: &'static str = "sign";
    const EXAMPLES: &'static str = "
        tsumugi sign runs/quickstart/chat --key model.key
        tsumugi sign model.gguf --key signer.key --certificate signer.pem";

    fn run(self) -> Result<Answer, Failure> {
        let model = model::path_of(&self.model)?;
        let key = read_with(&self.key, PrivateKey::from_pem)?;
        let mut chain: Vec<Certificate> = Vec::new();
        for path in &self.certificate {
            chain.extend(read_with(path, certificates_from_pem)?);
        }
        if chain.first().is_some_and(|certificate| certificate.public() != Some(key.public())) {
            return Err(KeyError::OtherCertificate.into());
        }
        let path = self.signature.unwrap_or_else(|| signature_of(&model));
        let mut selection = Selection { follow_links: self.follow_links, ..Selection::default() };
        selection.piece_bytes = self.pieces.then_some(PIECE_BYTES);
        selection.ignored.extend(self.ignore);
        selection.ignored.extend(name_in(&model, &path).filter(|name| name != SIGNATURE_FILE));
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let manifest = Manifest::of(&model, selection, self.threads.count(), &progress).map_err(hashed)?;
        drop(progress);
        write_atomic(&path, sign(&manifest, &key, &chain)?.text().as_bytes())?;
        let signature = path.display().to_string();
        if self.json.json {
            let files = manifest.files.len();
            print_json(&json!({"signature": signature, "files": files, "key": key.public().hash()}))?;
        } else {
            print_line(&format!("{signature}: {} with {}", counted(&manifest), key.public().algorithm().name()))?;
        }
        Ok(Answer::Done)
    }
}

fn counted(manifest: &Manifest) -> String {
    let (count, what) = (manifest.files.len(), if manifest.selection.piece_bytes.is_some() { "piece" } else { "file" });
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Where the signature of a model lies if nothing else is said.
pub fn signature_of(model: &Path) -> PathBuf {
    if model.is_dir() {
        return model.join(SIGNATURE_FILE);
    }
    let mut path = model.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// The signature's name in the model's folder, if it lies there.
pub fn name_in(model: &Path, signature: &Path) -> Option<String> {
    let folder = match signature.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let folder = folder.canonicalize().ok()?;
    let inside = folder.strip_prefix(model.canonicalize().ok()?).ok()?.join(signature.file_name()?);
    Some(inside.to_str()?.replace('\\', "/"))
}

/// What a PEM file holds; its path stands before what is wrong with it.
pub fn read_with<T, E: Hint + std::error::Error + 'static>(
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, E>,
) -> Result<T, Failure> {
    let bytes = read_plain(path, PEM_BYTES_MAX)?;
    parse(&bytes).map_err(|error| Failure::Error {
        message: format!("{}: {}", path.display(), error_chain(&error)),
        hint: error.hint(),
    })
}

/// Ctrl-C is no error.
pub fn hashed(error: HashError) -> Failure {
    match error {
        HashError::Stopped => Failure::Stopped { message: format!("{error}; run it again") },
        other => other.into(),
    }
}
