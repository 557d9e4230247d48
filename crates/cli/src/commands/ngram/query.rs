//! `tsumugi ngram query`: the probability of every word.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tsumugi_classical::ngram::{NgramModel, TextScore};

use crate::commands::Command;
use crate::flags::Json;
use crate::output::{Answer, Failure, for_stdout, written};

/// Show how likely each word of a sentence is
///
/// As KenLM's `query` prints it: `word=id length log10` for each word, where length is that of the longest n-gram that was
/// found and id 0 a word that is not in the vocabulary. Sentences are arguments, or lines of standard input.
#[derive(Debug, Args)]
pub struct Query {
    /// A model file, or an ARPA file
    model: PathBuf,
    /// Sentences [default: the lines of standard input]
    #[arg(value_name = "SENTENCE")]
    sentences: Vec<String>,
    #[command(flatten)]
    json: Json,
}

impl Command for Query {
    const NAME: &'static str = "query";
    const EXAMPLES: &'static str = "
        tsumugi ngram query corpus.ngram 'to be or not to be'
        tsumugi ngram query corpus.arpa --json < sentences.txt";

    fn run(self) -> Result<Answer, Failure> {
        let model = NgramModel::open(&self.model)?;
        let mut out = io::BufWriter::new(io::stdout().lock());
        if self.sentences.is_empty() {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while read_line(&mut input, &mut line)? {
                self.answer(&model, &line, &mut out).map_err(|error| written(&error))?;
            }
        } else {
            for sentence in &self.sentences {
                self.answer(&model, sentence.as_bytes(), &mut out).map_err(|error| written(&error))?;
            }
        }
        out.flush().map_err(|error| written(&error))?;
        Ok(Answer::Done)
    }
}

/// Longest line of standard input.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Reads a line without its end; false at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let failed = |error: io::Error| Failure::without_hint(&error);
    let count = io::Read::take(&mut *input, LINE_BYTES_MAX).read_until(b'\n', line).map_err(failed)?;
    if count as u64 == LINE_BYTES_MAX {
        return Err(Failure::new("a line of standard input has more than 64 MiB", "put a sentence on each line"));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(count > 0)
}

impl Query {
    fn answer(&self, model: &NgramModel, line: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut words = Vec::new();
        let mut score = TextScore::default();
        model.score_line(line, |word, id, scored| {
            score.count(scored);
            words.push((String::from_utf8_lossy(word).into_owned(), id, scored));
        });
        if self.json.json {
            let words: Vec<_> = words
                .into_iter()
                .map(|(word, id, scored)| {
                    json!({"word": word, "id": id, "ngram_length": scored.ngram_length, "log10": scored.log10})
                })
                .collect();
            let answer = json!({"words": words, "log10": score.log10, "oov": score.unknown});
            return writeln!(out, "{answer}");
        }
        for (word, id, scored) in words {
            write!(out, "{}={id} {} {}\t", for_stdout(&word), scored.ngram_length, scored.log10)?;
        }
        writeln!(out, "Total: {} OOV: {}", score.log10 as f32, score.unknown)
    }
}
