//! `tsumugi verify`: whether a model is what was signed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use serde_json::json;
use tsumugi_base::io::{TextError, read_plain, text_from_bytes};
use tsumugi_base::run_record::seconds_of_day;
use tsumugi_scan::provenance::{
    Certificate, Problem, PublicKey, SIGNATURE_BYTES_MAX, Trust, Verdict, VerifyOptions, roots_from_pem, verify,
};

use super::Command;
use super::sign::{hashed, name_in, read_with, signature_of};
use crate::flags::{Json, Threads};
use crate::output::{Answer, Failure, harmless, print, print_json};
use crate::progress::Progress;
use crate::{interrupt, model};

/// Problems that are shown; `--json` has all.
const SHOWN: usize = 20;

/// Check a model against its signature: every file is what was signed, and there is none besides
///
/// Reads what `tsumugi sign` and OpenSSF's `model-signing` (key or certificate) wrote. Exit code 0: it is what was signed; 1: it is not, and what differs is named; 2: it could not be
/// looked at.
#[derive(Debug, Args)]
pub struct Verify {
    /// A model's folder or file
    model: String,
    /// A public key (PEM) that is believed; may be given several times
    #[arg(long, value_name = "FILE", required_unless_present = "root")]
    key: Vec<PathBuf>,
    /// Certificates of authorities (PEM) that are believed; may be given several times
    #[arg(long, value_name = "FILE")]
    root: Vec<PathBuf>,
    /// The day on which certificates must be valid, for signatures that outlive them [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", requires = "root", value_parser = day)]
    at: Option<u64>,
    /// Where the signature is [default: MODEL/model.sig, or FILE.sig]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Take links to files for the files, as the cache of the Hugging Face hub is made of
    #[arg(long)]
    follow_links: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    json: Json,
}

/// Seconds since 1970.
fn day(text: &str) -> Result<u64, String> {
    seconds_of_day(text).ok_or_else(|| "it is no day as `2026-01-31` is one".into())
}

impl Command for Verify {
    const NAME: &'static str = "verify";
    const EXAMPLES: &'static str = "
        tsumugi verify runs/quickstart/chat --key model.key.pub
        tsumugi verify model.gguf --root company-root.pem --at 2026-01-31";

    fn run(self) -> Result<Answer, Failure> {
        let model = model::path_of(&self.model)?;
        let path = self.signature.unwrap_or_else(|| signature_of(&model));
        let signature = signature_text(&path)?;
        let mut roots: Vec<Certificate> = Vec::new();
        for path in &self.root {
            roots.extend(read_with(path, roots_from_pem)?);
        }
        let now = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let keys = self.key.iter().map(|path| read_with(path, PublicKey::from_pem)).collect::<Result<_, _>>()?;
        let trust = Trust { keys, roots, seconds: self.at.unwrap_or_else(now) };
        interrupt::listen("stopping")?;
        let progress = Progress::new();
        let options = VerifyOptions {
            own_name: name_in(&model, &path),
            follow_links: self.follow_links,
            threads: self.threads.count(),
        };
        let verdict = verify(&model, &signature, &trust, &options, &progress).map_err(hashed)?;
        drop(progress);
        let answer = if verdict.is_accepted() { Answer::Done } else { Answer::No };
        if self.json.json {
            print_json(&object(&verdict))?;
        } else {
            print(&harmless(&text(&verdict)))?;
        }
        Ok(answer)
    }
}

/// The text of a signature. That there is none says nothing of the model, but whom to ask.
fn signature_text(path: &Path) -> Result<String, Failure> {
    match read_plain(path, SIGNATURE_BYTES_MAX).and_then(|bytes| text_from_bytes(bytes, path)) {
        Err(TextError::File(error)) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            format!("there is no signature {}", path.display()),
            "get it from whoever published the model, or say where it is with `--signature FILE`; `tsumugi sign` makes \
             one for a model of your own",
        )),
        read => Ok(read?),
    }
}

fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for problem in verdict.problems.iter().take(SHOWN) {
        text.push_str(&format!("{problem}\n"));
    }
    if verdict.problems.len() > SHOWN {
        text.push_str(&format!("and {} more\n", verdict.problems.len() - SHOWN));
    }
    if !verdict.unsigned.is_empty() {
        let more = if verdict.unsigned.len() > SHOWN { ", …" } else { "" };
        let names = verdict.unsigned.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("note: empty files, which a signature over pieces cannot hold: {names}{more}\n"));
    }
    let files = |count: usize| format!("{count} file{}", if count == 1 { "" } else { "s" });
    match &verdict.signer {
        Some(signer) if verdict.is_accepted() => {
            text + &format!("verified: {} as signed by {signer}\n", files(verdict.accepted))
        }
        Some(signer) => text + &format!("not verified: signed by {signer}, {} as signed\n", files(verdict.accepted)),
        None => text + "not verified\n",
    }
}

fn object(verdict: &Verdict) -> serde_json::Value {
    let problem =
        |problem: &Problem| json!({"kind": problem.kind(), "file": problem.file(), "message": problem.to_string()});
    json!({
        "verified": verdict.is_accepted(),
        "signer": verdict.signer,
        "files": verdict.accepted,
        "left_out": verdict.ignored,
        "unsigned": verdict.unsigned,
        "problems": verdict.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}
