//! Texts that a command takes: on the command line, from a file, or from standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};
use tsumugi_base::io::text_from_bytes;
use tsumugi_base::jsonl::read_numbered;
use tsumugi_base::limits::TEXT_BYTES_MAX;
use tsumugi_base::{FileError, units};

use crate::output::Failure;

/// Where the texts are.
#[derive(Debug, Args)]
pub struct Texts {
    /// The texts
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    texts: Vec<String>,
    /// Take the texts from this file instead, one a line; of a .jsonl file from its objects; `-` is standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key of the text in the objects of a .jsonl file
    #[arg(long, value_name = "KEY", default_value = "text", requires = "file")]
    field: String,
}

impl Texts {
    /// Whether they are on the command line, where a person reads the answer.
    pub fn are_typed(&self) -> bool {
        self.file.is_none()
    }

    /// All of them, at least one.
    pub fn read(&self) -> Result<Vec<String>, Failure> {
        let Some(file) = &self.file else { return Ok(self.texts.clone()) };
        let texts = match file.extension() {
            _ if file == Path::new("-") => lines(Path::new(STANDARD_INPUT), &standard_input()?)?,
            Some(ending) if ending == "jsonl" => self.fields(file)?,
            _ => lines(file, &tsumugi_data::read_text(file)?)?,
        };
        if texts.is_empty() {
            return Err(Failure::new(
                format!("{} holds no text", file.display()),
                "give a file with a text on each line",
            ));
        }
        Ok(texts)
    }

    fn fields(&self, file: &Path) -> Result<Vec<String>, Failure> {
        let records: Vec<(u64, Map<String, Value>)> = read_numbered(file)?;
        let field = &self.field;
        let text = |(line, record): &(u64, Map<String, Value>)| match record.get(field).and_then(Value::as_str) {
            Some(text) => not_blank(file, *line, text),
            None => Err(Failure::new(
                format!("{}, line {line}: there is no text `{field}`", file.display()),
                "`--field KEY` says where the text is",
            )),
        };
        records.iter().map(text).collect()
    }
}

const STANDARD_INPUT: &str = "standard input";

fn lines(file: &Path, text: &str) -> Result<Vec<String>, Failure> {
    text.lines().zip(1..).map(|(text, line)| not_blank(file, line, text)).collect()
}

/// Left out silently, the vectors would not be those of the lines; found by the model, the texts before it would be computed in vain.
fn not_blank(file: &Path, line: u64, text: &str) -> Result<String, Failure> {
    if text.trim().is_empty() {
        return Err(Failure::new(
            format!("{}, line {line}: the text is empty", file.display()),
            "leave texts without a word out, or write something in their place",
        ));
    }
    Ok(text.to_owned())
}

fn standard_input() -> Result<String, Failure> {
    let name = Path::new(STANDARD_INPUT);
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| FileError::read(name, source))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let limit = units::bytes(TEXT_BYTES_MAX);
        return Err(Failure::new(format!("standard input is longer than {limit}"), "split it"));
    }
    Ok(text_from_bytes(bytes, name)?)
}
