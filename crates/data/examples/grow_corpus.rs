//! Makes a corpus of any size out of real text, to measure what a stage costs: documents come again and again, now and then
//! as they are, or with few of their words changed, mostly with every second word another one. The same arguments give the same
//! bytes.
//!
//! ```sh
//! cargo run --release -p tsumugi-data --example grow_corpus -- OUT.jsonl BYTES FILE...
//! ```

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde_json::json;
use tsumugi_base::rng::{Key, Stream};
use tsumugi_data::corpus::CorpusError;
use tsumugi_data::source::Texts;

/// About how long a document is.
const DOCUMENT_BYTES: usize = 4000;
/// So much text is taken from the files.
const TEXT_BYTES_MAX: usize = 64 << 20;
/// How often a word becomes another one, and the share of copies that are treated so.
const CHANGES: [(f64, f64); 3] = [(0.0, 0.05), (0.02, 0.15), (0.5, 0.8)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, bytes, files @ ..] = &arguments[..] else { return Err("OUT.jsonl BYTES FILE...".into()) };
    let bytes: u64 = bytes.parse()?;
    let documents = documents(&files.iter().map(PathBuf::from).collect::<Vec<_>>())?;
    let words: Vec<&str> = documents.iter().flat_map(|text| text.split_ascii_whitespace()).collect();
    if words.is_empty() {
        return Err("the files have no text".into());
    }
    let mut writer = BufWriter::new(File::create(out)?);
    let (mut written, mut stream) = (0, Stream::new(Key::from_seed(0)));
    for copy in 0.. {
        for (number, document) in documents.iter().enumerate() {
            if written >= bytes {
                return Ok(writer.flush()?);
            }
            let text = if copy == 0 { document.clone() } else { changed(document, &words, &mut stream) };
            let line = json!({ "id": format!("{copy}-{number}"), "text": text }).to_string();
            writeln!(writer, "{line}")?;
            written += line.len() as u64 + 1;
        }
    }
    unreachable!("there is no last copy")
}

/// The files' text in pieces that end where a line does.
fn documents(files: &[PathBuf]) -> Result<Vec<String>, CorpusError> {
    let mut documents = vec![String::new()];
    let mut bytes = 0;
    let take = |text: &str| {
        for line in text.split_inclusive('\n') {
            bytes += line.len();
            if bytes > TEXT_BYTES_MAX {
                break;
            }
            if documents.last().is_none_or(|last: &String| last.len() >= DOCUMENT_BYTES) {
                documents.push(String::new());
            }
            documents.last_mut().expect("there is one").push_str(line);
        }
        Ok::<_, CorpusError>(())
    };
    Texts::find(files, "text", 1 << 30)?.for_each(take, |_| {})?;
    Ok(documents)
}

/// A document with some of its words changed.
fn changed(document: &str, words: &[&str], stream: &mut Stream) -> String {
    let mut draw = stream.next_f64();
    let chosen = CHANGES.iter().find(|(_, share)| {
        draw -= share;
        draw < 0.0
    });
    let rate = chosen.map_or(0.0, |(rate, _)| *rate);
    let mut text = String::with_capacity(document.len());
    for piece in document.split_inclusive(|letter: char| letter.is_ascii_whitespace()) {
        let word = piece.trim_end_matches(|letter: char| letter.is_ascii_whitespace());
        let is_changed = !word.is_empty() && stream.next_f64() < rate;
        text.push_str(if is_changed { words[stream.below(words.len() as u64) as usize] } else { word });
        text.push_str(&piece[word.len()..]);
    }
    text
}
