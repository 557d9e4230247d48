//! `tsumugi keygen`: a pair of keys for `sign` and `verify`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use tsumugi_base::io::{write_atomic, write_secret};
use tsumugi_scan::provenance::{Algorithm, PrivateKey};

use super::Command;
use crate::flags::Json;
use crate::output::{Answer, Failure, print_json, print_line};

/// Make a pair of keys: FILE signs models, FILE.pub verifies them
///
/// PEM files, as openssl reads and writes them; the private one is not locked with a password, but only you may read it. Keys that openssl made (`openssl ecparam -name prime256v1
/// -genkey -noout`, `openssl genpkey -algorithm ed25519`) serve as well.
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where the private key goes; the public one gets the same name and `.pub`
    file: PathBuf,
    /// What signatures it makes
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Kind::P256)]
    kind: Kind,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// ECDSA, which OpenSSF's `model-signing` checks as well
    P256,
    /// ECDSA with more bits, which it checks as well
    P384,
    /// Shorter and faster, for `tsumugi verify`
    Ed25519,
}

impl Command for Keygen {
    const NAME: &'static str = "keygen";
    const EXAMPLES: &'static str = "
        tsumugi keygen model.key
        tsumugi keygen model.key --kind ed25519";

    fn run(self) -> Result<Answer, Failure> {
        let algorithm = match self.kind {
            Kind::P256 => Algorithm::P256,
            Kind::P384 => Algorithm::P384,
            Kind::Ed25519 => Algorithm::Ed25519,
        };
        let (key, text) = PrivateKey::generate(algorithm)?;
        let mut public: OsString = self.file.clone().into();
        public.push(".pub");
        let public = PathBuf::from(public);
        write_secret(&self.file, text.as_bytes())?;
        write_atomic(&public, key.public().pem().as_bytes())?;
        let (file, public) = (self.file.display().to_string(), public.display().to_string());
        if self.json.json {
            print_json(&json!({"private": file, "public": public, "hash": key.public().hash()}))?;
        } else {
            print_line(&format!("{file}: keep it secret, it signs\n{public}: give it away, it verifies"))?;
        }
        Ok(Answer::Done)
    }
}
