//! Whether a model is what was signed, and by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use tsumugi_base::progress::Observer;
use tsumugi_files::OpenFolder;

use super::bundle::{Bundle, Material, PAYLOAD_TYPE, signed_bytes};
use super::certificate::Certificate;
use super::key::PublicKey;
use super::manifest::{FileHash, HashError, Manifest, Source, hash_files, list};
use super::statement;

/// Largest signature that is read. One of a hundred thousand files has 30 MB.
pub const SIGNATURE_BYTES_MAX: u64 = 64 << 20;

/// Who is believed: any of the keys, and whom any of the roots vouches for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Keys.
    pub keys: Vec<PublicKey>,
    /// Certificates of authorities.
    pub roots: Vec<Certificate>,
    /// When certificates must be valid: seconds since 1970.
    pub seconds: u64,
}

/// One reason to say no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The signature is none, or none of a model, or of nobody who is believed.
    Signature(String),
    /// Signed, but not there.
    Missing(String),
    /// There, but not signed.
    Extra(String),
    /// Other bytes than were signed.
    Changed(String),
    /// Opened to be loaded, though the signature leaves it out.
    LeftOut(String),
    /// A link, a pipe, or of a name that cannot be signed.
    NotAFile(String, &'static str),
}

impl Problem {
    /// `missing`, `extra`, …
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Signature(_) => "signature",
            Self::Missing(_) => "missing",
            Self::Extra(_) => "extra",
            Self::Changed(_) => "changed",
            Self::LeftOut(_) => "left out",
            Self::NotAFile(..) => "not a file",
        }
    }

    /// The file that it is about; none for the signature.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::Signature(_) => None,
            Self::Missing(name)
            | Self::Extra(name)
            | Self::Changed(name)
            | Self::LeftOut(name)
            | Self::NotAFile(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A model of one file has no other name for it.
        let name = self.file().map(|name| if name == "." { "the file" } else { name }).unwrap_or_default();
        match self {
            Self::Signature(reason) => write!(f, "the signature is not accepted: {reason}"),
            Self::Missing(_) => write!(f, "{name} was signed, but is not there"),
            Self::Extra(_) => write!(f, "{name} was not signed"),
            Self::Changed(_) => write!(f, "{name} is not what was signed"),
            Self::LeftOut(_) => write!(f, "{name} would be loaded, and the signature leaves it out"),
            Self::NotAFile(_, reason) => write!(f, "{name} {reason}"),
        }
    }
}

/// What was found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Who signed: the kind and hash of a key, or whom a certificate names. None if that could not be established.
    pub signer: Option<String>,
    /// Files that are what was signed.
    pub accepted: usize,
    /// Names that the signature leaves out, and that are there.
    pub ignored: Vec<String>,
    /// Empty files that a signature over pieces cannot hold, as an empty file has no piece: whether they were there when
    /// the model was signed, nobody knows.
    pub unsigned: Vec<String>,
    /// Every reason to say no.
    pub problems: Vec<Problem>,
}

impl Verdict {
    /// Whether the answer is yes.
    pub fn is_accepted(&self) -> bool {
        self.problems.is_empty()
    }
}

/// How a model on the disk is looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    /// The signature's own name in the model's folder, if it lies there.
    pub own_name: Option<String>,
    /// Whether links to files are taken for the files, even if the signature is over files.
    pub follow_links: bool,
    /// Threads that hash.
    pub threads: usize,
}

/// Checks a model on the disk against a signature: every file of it, and that there is none besides.
pub fn verify(
    model: &Path,
    signature: &str,
    trust: &Trust,
    options: &VerifyOptions,
    observer: &dyn Observer,
) -> Result<Verdict, HashError> {
    let (mut verdict, manifest) = match begin(signature, trust) {
        Ok(begun) => begun,
        Err(refused) => return Ok(refused),
    };
    let mut selection = manifest.selection.clone();
    selection.ignored.extend(options.own_name.clone());
    selection.follow_links |= options.follow_links;
    let listing = list(model, &selection)?;
    verdict.ignored = listing.ignored.into_iter().filter(|name| Some(name) != options.own_name.as_ref()).collect();
    let refusals = listing.refused.into_iter().map(|(name, _, reason)| Problem::NotAFile(name, reason));
    verdict.problems.extend(refusals);
    let files: Vec<_> = listing.files.into_iter().map(|(name, path)| (name, Source::Path(path))).collect();
    compare(&mut verdict, &manifest, &files, &|_| false, options.threads, observer)?;
    Ok(verdict)
}

/// Checks the open files of a model, which are what will be loaded, through their handles. What was signed and is on the
/// disk, but would never be among them, as files of folders inside, is not looked at: nothing of it is loaded. What is
/// among them and left out by the signature is a problem, but for the signature itself. Links were followed when the files were opened.
pub fn verify_open(
    folder: &OpenFolder,
    signature: &str,
    trust: &Trust,
    options: &VerifyOptions,
    observer: &dyn Observer,
) -> Result<Verdict, HashError> {
    let (mut verdict, manifest) = match begin(signature, trust) {
        Ok(begun) => begun,
        Err(refused) => return Ok(refused),
    };
    // A signature of one file calls it `.`.
    let is_of_file = manifest.files.iter().all(|file| file.name == ".") && folder.files().count() == 1;
    let mut files = Vec::new();
    for (name, file) in folder.files() {
        if options.own_name.as_deref() == Some(name) {
            continue;
        }
        if manifest.selection.ignores(name) {
            verdict.problems.push(Problem::LeftOut(name.to_owned()));
        } else {
            files.push((if is_of_file { ".".to_owned() } else { name.to_owned() }, Source::Open(file)));
        }
    }
    // A folder or pipe in the place of a file would be there, and not be loaded.
    let is_own = |name: &str| options.own_name.as_deref() == Some(name);
    let is_elsewhere = |name: &str| (is_own(name) || !folder.takes(name)) && folder.path().join(name).exists();
    compare(&mut verdict, &manifest, &files, &is_elsewhere, options.threads, observer)?;
    Ok(verdict)
}

/// A verdict that knows who signed, and the manifest; a verdict that is no where the signature is not believed.
fn begin(signature: &str, trust: &Trust) -> Result<(Verdict, Manifest), Verdict> {
    match authenticate(signature, trust) {
        Ok((signer, manifest)) => Ok((Verdict { signer: Some(signer), ..Verdict::default() }, manifest)),
        Err(reason) => Err(Verdict { problems: vec![Problem::Signature(reason)], ..Verdict::default() }),
    }
}

/// Who signed, and what. From here on the manifest is believed.
fn authenticate(signature: &str, trust: &Trust) -> Result<(String, Manifest), String> {
    let bundle = Bundle::from_text(signature)?;
    if bundle.payload_type != PAYLOAD_TYPE {
        return Err(format!("it is of another kind of thing than a statement: `{}`", bundle.payload_type));
    }
    let signer = signer(&bundle, trust)?;
    Ok((signer, statement::read(&bundle.payload)?))
}

fn signer(bundle: &Bundle, trust: &Trust) -> Result<String, String> {
    let message = signed_bytes(&bundle.payload_type, &bundle.payload);
    let named = |key: &PublicKey| format!("{} key {}", key.algorithm().name(), key.hash());
    match &bundle.material {
        Material::Key { hint } => {
            let is_meant = |key: &&PublicKey| hint.as_ref().is_none_or(|hint| *hint == key.hash());
            let mut meant = trust.keys.iter().filter(is_meant).peekable();
            if meant.peek().is_none() {
                let which = hint.as_ref().map(|hint| format!(", of the hash {hint}")).unwrap_or_default();
                return Err(format!("it was made with another key{which}"));
            }
            meant.find(|key| key.verifies(&message, &bundle.signature)).map(named)
        }
        Material::Chain(chain) => {
            let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
            let chain = chain.map_err(|error| error.to_string())?;
            let [leaf, others @ ..] = chain.as_slice() else { return Err("its chain of certificates is empty".into()) };
            if trust.roots.is_empty() {
                return Err(format!("it was made with a certificate, of {}, and no root is trusted", leaf.subject()));
            }
            let key = leaf.trusted(others, &trust.roots, trust.seconds).map_err(|error| error.to_string())?;
            key.verifies(&message, &bundle.signature).then(|| leaf.subject().to_owned())
        }
    }
    .ok_or_else(|| "it is not one of this statement: one of the two was changed".into())
}

/// Tells how the files differ from the manifest.
fn compare(
    verdict: &mut Verdict,
    manifest: &Manifest,
    files: &[(String, Source<'_>)],
    is_elsewhere: &dyn Fn(&str) -> bool,
    threads: usize,
    observer: &dyn Observer,
) -> Result<(), HashError> {
    let signed = by_name(&manifest.files);
    let there: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let found = hash_files(files, manifest.selection.piece_bytes, threads, observer)?;
    let found = by_name(&found);
    for (name, hashes) in &signed {
        match found.get(name) {
            Some(found) if found == hashes => verdict.accepted += 1,
            // An empty file has no pieces.
            None if !there.contains(name) && is_elsewhere(name) => {}
            None if !there.contains(name) => verdict.problems.push(Problem::Missing((*name).to_owned())),
            _ => verdict.problems.push(Problem::Changed((*name).to_owned())),
        }
    }
    let has_no_piece = |name: &&str| !found.contains_key(name) && !signed.contains_key(name);
    verdict.unsigned.extend(there.into_iter().filter(has_no_piece).map(str::to_owned));
    let extra = found.keys().filter(|name| !signed.contains_key(*name));
    verdict.problems.extend(extra.map(|name| Problem::Extra((*name).to_owned())));
    Ok(())
}

/// The hashes of each file, by where they begin.
fn by_name(files: &[FileHash]) -> BTreeMap<&str, BTreeMap<u64, &FileHash>> {
    let mut names: BTreeMap<&str, BTreeMap<u64, &FileHash>> = BTreeMap::new();
    for file in files {
        let start = file.range.as_ref().map_or(0, |range| range.start);
        names.entry(&file.name).or_default().insert(start, file);
    }
    names
}
