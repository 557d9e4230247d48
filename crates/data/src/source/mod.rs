//! Where documents come from: files of many formats, read one document at a time. One file for each format; what is bad
//! becomes a [`Fault`], and the rest goes on.
//!
//! Memory is bounded by the largest document that is accepted, whatever a file says.

mod encoding;
mod files;
mod html;
mod input;
mod jsonl;
mod lines;
mod parquet;
mod table;
mod text;
mod texts;
mod warc;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsumugi_base::io::read_to_string_limited;
use tsumugi_base::limits::TEXT_BYTES_MAX;
use tsumugi_base::units;

use crate::corpus::{CorpusError, Fault};
use crate::{DataError, Document};

pub use files::find;
pub use html::main_text;
pub(crate) use parquet::PAGE_DOCUMENTS;
pub use texts::Texts;

/// Reads a whole UTF-8 text. Missing, empty, binary and too large files, and folders, are distinct errors.
pub fn read_text(path: &Path) -> Result<String, DataError> {
    Ok(read_to_string_limited(path, TEXT_BYTES_MAX)?)
}

/// How documents lie in a file. A file of any of them may be packed with gzip or zstd, but for Parquet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A JSON object on each line.
    Jsonl,
    /// A table with a row for each document.
    Parquet,
    /// A table with a head, columns apart by commas (or by tabs: `*.tsv`).
    Csv,
    /// Plain text or Markdown, taken as it is.
    Text,
    /// A page, of which the main text is taken.
    Html,
    /// What a crawler stored: WARC (pages), WET (texts).
    Warc,
}

impl Format {
    /// By the ending of a file's name, the packing's left out.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Some(match ending(path)?.as_str() {
            "jsonl" | "ndjson" => Self::Jsonl,
            "parquet" => Self::Parquet,
            "csv" | "tsv" => Self::Csv,
            "txt" | "text" | "md" | "markdown" => Self::Text,
            "html" | "htm" | "xhtml" => Self::Html,
            "warc" | "wet" => Self::Warc,
            _ => return None,
        })
    }
}

/// The ending of a file's name, in small letters, the packing's left out.
fn ending(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    Some(name.rsplit_once('.')?.1.to_owned())
}

/// What is one document of a text file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The whole file.
    #[default]
    File,
    /// Each line that is not blank.
    Lines,
    /// Lines up to a blank one.
    Paragraphs,
}

/// A source as a recipe names it: `[[source]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// Its name in documents and reports.
    pub name: String,
    /// Files, folders (with everything in them that has a known ending), and patterns such as `pages/**/*.html`; `~/` is the
    /// user's folder.
    pub paths: Vec<String>,
    /// How documents lie in the files; if it is not said, by the ending of each file's name.
    #[serde(default)]
    pub format: Option<Format>,
    /// The licence of documents that state none.
    #[serde(default)]
    pub license: Option<String>,
    /// The field or column that holds the text.
    #[serde(default = "default_text_field")]
    pub text_field: String,
    /// The field or column that holds the id; a document without one is named by its file and place.
    #[serde(default = "default_id_field")]
    pub id_field: String,
    /// What is one document of a text file.
    #[serde(default)]
    pub split: Split,
    /// Whether a page's main text is taken; otherwise all of its text.
    #[serde(default = "default_main_text")]
    pub main_text: bool,
    /// Whether `signals` of its JSON lines are taken as measured on the texts, though no manifest of a run says so.
    #[serde(default)]
    pub trust_signals: bool,
    /// How much of the mix it is, beside its size and the other sources' weights.
    #[serde(default = "default_weight")]
    pub weight: f64,
}

impl Source {
    /// A source of no paths, with every setting as it is where a recipe says nothing.
    pub(crate) fn new(name: &str, text_field: &str) -> Self {
        let value = serde_json::json!({ "name": name, "text-field": text_field, "paths": [] });
        serde_json::from_value(value).expect("these are keys of a source")
    }
}

fn default_text_field() -> String {
    "text".into()
}

fn default_id_field() -> String {
    "id".into()
}

fn default_main_text() -> bool {
    true
}

fn default_weight() -> f64 {
    1.0
}

/// A file of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in ids: the path below the folder that the source names.
    pub name: String,
    /// How documents lie in it.
    pub format: Format,
    /// Its size.
    pub bytes: u64,
    /// Whether it is the output of a run, as that run's manifest beside it says: then its documents' signals are taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_measured: bool,
}

impl SourceFile {
    pub(crate) fn new(path: PathBuf, name: String, format: Format, bytes: u64) -> Self {
        Self { path, name, format, bytes, is_measured: false }
    }
}

/// A part of a file: bytes of one that can be cut at line ends, row groups of a table, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The whole file.
    All,
    /// Lines that begin in these bytes.
    Bytes {
        /// The first byte.
        from: u64,
        /// The byte behind the last.
        to: u64,
    },
    /// These row groups.
    RowGroups {
        /// The first.
        from: usize,
        /// The one behind the last.
        to: usize,
    },
}

/// What a reader finds.
#[derive(Debug)]
pub enum Item {
    /// A document.
    Document(Document),
    /// Something that is none.
    Fault(Fault),
}

/// Takes what a reader finds, in the order of the file; an error ends the reading.
pub type Sink<'a> = &'a mut dyn FnMut(Item) -> Result<(), CorpusError>;

/// The parts that a file can be cut into, of about `bytes` each.
pub fn parts(file: &SourceFile, split: Split, bytes: u64) -> Vec<Part> {
    match file.format {
        Format::Jsonl => lines::parts(file, bytes),
        Format::Text if split == Split::Lines => lines::parts(file, bytes),
        Format::Parquet => parquet::parts(&file.path, bytes),
        _ => vec![Part::All],
    }
}

/// Reads the documents of a part of a file.
pub fn read(
    source: &Source,
    file: &SourceFile,
    part: Part,
    document_bytes_max: u64,
    sink: Sink<'_>,
) -> Result<(), CorpusError> {
    let reading = Reading { source, file, part, document_bytes_max };
    match file.format {
        Format::Jsonl => jsonl::read(&reading, sink),
        Format::Parquet => parquet::read(&reading, sink),
        Format::Csv => table::read(&reading, sink),
        Format::Text => text::read(&reading, sink),
        Format::Html => text::read_page(&reading, sink),
        Format::Warc => warc::read(&reading, sink),
    }
}

/// What every reader must know.
struct Reading<'a> {
    source: &'a Source,
    file: &'a SourceFile,
    part: Part,
    document_bytes_max: u64,
}

impl Reading<'_> {
    /// A document of this source.
    fn document(&self, id: String, text: String) -> Document {
        let mut document = Document::new(id, text);
        document.source.clone_from(&self.source.name);
        document.license.clone_from(&self.source.license);
        document
    }

    /// The id of a document that has none: its file and what tells it from the others in it.
    fn id_at(&self, place: impl std::fmt::Display) -> String {
        format!("{}#{place}", self.file.name)
    }

    fn fault(&self, offset: Option<u64>, problem: impl Into<String>) -> Item {
        let unpacked = offset.is_some() && input::is_packed(&self.file.path);
        Item::Fault(Fault { file: self.file.path.clone(), offset, unpacked, problem: problem.into() })
    }

    /// A part of the file's own bytes that cannot be read.
    fn broken(&self, error: &io::Error) -> Item {
        let offset = input::broken_at(error);
        Item::Fault(Fault { file: self.file.path.clone(), offset, unpacked: false, problem: error.to_string() })
    }

    fn too_large(&self, offset: u64, bytes: Option<u64>) -> Item {
        let found = bytes.map_or_else(|| "more".into(), units::bytes);
        let limit = units::bytes(self.document_bytes_max);
        self.fault(Some(offset), format!("a document of {found}, but at most {limit} are read"))
    }
}
