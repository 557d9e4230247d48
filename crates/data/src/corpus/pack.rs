//! Documents to token shards: each file is encoded for itself, with a marker; then all are put together in order.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tsumugi_base::FileError;
use tsumugi_base::io::{AtomicFile, create_folder};
use tsumugi_base::run_record::sha256;
use tsumugi_tokenizer::Tokenizer;

use super::CorpusError;
use super::folder::{Folder, mark, marked, remove_folder};
use super::packed::for_each_document;
use super::record::FileRecord;
use super::workers::Workers;
use crate::DataError;
use crate::pack::{DocumentsHash, ShardsWriter, encode_document, token_bytes};
use crate::shards::read_index;

/// What came of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Encoded {
    text_bytes: u64,
    /// The first token of each document, counted in the file.
    starts: Vec<u64>,
    /// SHA-256 of each document.
    sha256: Vec<String>,
}

/// The packing of one run.
pub(super) struct PackRun<'a> {
    pub tokenizer: &'a Tokenizer,
    pub folder: &'a Folder,
    /// The folder of the documents, in the run's.
    pub from: &'static str,
    pub files: &'a [FileRecord],
}

impl PackRun<'_> {
    /// Writes `tokens/`. Gives how many there are.
    pub fn run(&self, workers: &Workers<'_>) -> Result<u64, CorpusError> {
        create_folder(&self.folder.path("work/pack"))?;
        let all = workers.ours(self.files.len());
        let todo: Vec<usize> = all.into_iter().filter(|&file| !self.encoded(file, "json").exists()).collect();
        let progress = workers.progress("pack", todo.iter().map(|&file| self.files[file].amount.bytes).sum());
        let done = workers.each(&todo, &|file| {
            mark(&self.encoded(file, "json"), &self.encode(file)?)?;
            progress.advance(self.files[file].amount.bytes, self.files[file].amount.documents);
            Ok(())
        });
        drop(progress);
        workers.agree(done)?;
        workers.first(|| self.join())?;
        // Not by opening them: that reads all tokens, and what is mapped counts as memory.
        Ok(read_index(&self.folder.path("tokens"))?.tokens)
    }

    fn encoded(&self, file: usize, ending: &str) -> PathBuf {
        self.folder.path("work/pack").join(format!("{file:05}.{ending}"))
    }

    fn encode(&self, file: usize) -> Result<Encoded, CorpusError> {
        let path = self.encoded(file, "tokens");
        let mut out = AtomicFile::create(&path)?;
        let mut encoded = Encoded { text_bytes: 0, starts: Vec::new(), sha256: Vec::new() };
        let (mut tokens, token_bytes) = (0, token_bytes(self.tokenizer) as u64);
        for_each_document(&self.folder.path(self.from).join(&self.files[file].name), |document| {
            let bytes = encode_document(document.text(), self.tokenizer);
            encoded.starts.push(tokens);
            encoded.sha256.push(sha256(document.text().as_bytes()));
            encoded.text_bytes += document.text().len() as u64;
            tokens += bytes.len() as u64 / token_bytes;
            Ok(out.write_all(&bytes).map_err(|source| FileError::write(&path, source))?)
        })?;
        out.commit()?;
        Ok(encoded)
    }

    /// Puts the files together. A folder that is there already is whole.
    fn join(&self) -> Result<(), CorpusError> {
        let folder = self.folder.path("tokens");
        if folder.exists() {
            return Ok(());
        }
        let mut writer = ShardsWriter::create(&folder, self.tokenizer)?;
        let (mut text_bytes, mut hash) = (0, DocumentsHash::default());
        for file in 0..self.files.len() {
            let marker = self.encoded(file, "json");
            let gone = || CorpusError::Damaged { file: marker.clone(), problem: "it is gone".into() };
            let encoded: Encoded = marked(&marker)?.ok_or_else(gone)?;
            let path = self.encoded(file, "tokens");
            let mut tokens = File::open(&path).map_err(|source| FileError::read(&path, source))?;
            writer.append(&mut tokens, &encoded.starts)?;
            encoded.sha256.iter().for_each(|sha256| hash.push(sha256));
            text_bytes += encoded.text_bytes;
        }
        if text_bytes == 0 {
            return Err(DataError::Empty { what: "corpus" }.into());
        }
        writer.finish(text_bytes, hash.finish(), sha256(self.tokenizer.to_json().as_bytes()))?;
        remove_folder(&self.folder.path("work/pack"))
    }
}
