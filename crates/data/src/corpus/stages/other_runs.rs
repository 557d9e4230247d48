//! Duplicates of what other runs kept: a stage with `save-keys` leaves the sketches of what stayed beside its run's documents, as
//! `stages/NN-KIND.keys`, and stages of later runs read them by `against`. There they stand before all documents, and stay.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::corpus::frames::{FrameReader, FrameWriter};
use crate::corpus::{Context, CorpusError};

/// What a file begins with says which stages may read it.
#[derive(Debug)]
pub(super) struct OtherRuns {
    files: Vec<PathBuf>,
    head: Value,
    saves: bool,
}

impl OtherRuns {
    /// Files of a stage of `kind` with the same settings, as far as they make sketches what they are.
    pub fn open(files: Vec<PathBuf>, saves: bool, kind: &str, settings: Value) -> Result<Self, String> {
        let others = Self { files, head: json!({ "format": "tsumugi keys 1", "kind": kind, "of": settings }), saves };
        others.files.iter().try_for_each(|file| others.reader(file).map(drop)).map_err(|error| error.to_string())?;
        Ok(others)
    }

    /// Behind the head of a file, which must be ours.
    fn reader(&self, file: &Path) -> Result<FrameReader, CorpusError> {
        let damaged = |problem: String| CorpusError::Keys { file: file.to_owned(), problem };
        let mut reader = FrameReader::open(file)?;
        let head = reader.next().ok().flatten().and_then(|head| serde_json::from_slice::<Value>(head).ok());
        match head {
            Some(head) if head == self.head => Ok(reader),
            Some(head) if head["format"] == self.head["format"] => {
                let shown = |head: &Value| format!("{} of {}", head["kind"], head["of"]);
                Err(damaged(format!(
                    "it has the keys for {}, but these are needed for {}",
                    shown(&head),
                    shown(&self.head)
                )))
            }
            _ => Err(damaged("it is no file of keys".into())),
        }
    }

    /// Calls `visit` with the sketch of each document that other runs kept.
    pub fn all(&self, visit: &mut dyn FnMut(&[u8]) -> Result<(), CorpusError>) -> Result<(), CorpusError> {
        for file in &self.files {
            let mut reader = self.reader(file)?;
            while let Some(sketch) = reader.next()? {
                if sketch.len() < size_of::<u64>() {
                    let problem = "a document's keys are cut".into();
                    return Err(CorpusError::Keys { file: file.clone(), problem });
                }
                visit(sketch)?;
            }
        }
        Ok(())
    }

    /// How many documents they kept.
    pub fn documents(&self) -> Result<u64, CorpusError> {
        let mut documents = 0;
        self.all(&mut |_| {
            documents += 1;
            Ok(())
        })?;
        Ok(documents)
    }

    pub fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// Where to save what stays here, if it is to be.
    pub fn saver(&self, context: &Context<'_>) -> Result<Option<FrameWriter>, CorpusError> {
        if !self.saves {
            return Ok(None);
        }
        let mut writer = FrameWriter::create(&context.keys()?)?;
        writer.push(self.head.to_string().as_bytes())?;
        Ok(Some(writer))
    }
}
